//! The file of a vector: lines `key: value`, an empty line, and the drives as a tar stream that zstd compressed.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The version of this form.
pub const VERSION: &str = "1";

/// What a file of a vector says, and holds.
pub struct Container {
    pub head: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Container {
    pub fn read(path: &Path) -> Container {
        let bytes = fs::read(path).unwrap();
        let end = bytes.windows(2).position(|w| w == b"\n\n").unwrap_or_else(|| panic!("{path:?} has no empty line"));
        let text = std::str::from_utf8(&bytes[..end]).unwrap_or_else(|_| panic!("{path:?}: the header is not UTF-8"));
        let line = |line: &str| {
            let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("{path:?}: no key in {line:?}"));
            (key.to_owned(), value.to_owned())
        };
        Container { head: text.lines().map(line).collect(), body: bytes[end + 2..].to_vec() }
    }

    pub fn write(&self, path: &Path) {
        let mut bytes = Vec::new();
        for (key, value) in &self.head {
            assert!(!value.contains('\n') && !value.is_empty(), "{path:?}: {key} is {value:?}");
            bytes.extend(format!("{key}: {value}\n").bytes());
        }
        bytes.push(b'\n');
        bytes.extend(&self.body);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// All values of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.head.iter().filter(move |(k, _)| k == key).map(|(_, value)| &value[..])
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.head.iter().find(|(k, _)| k == key).map(|(_, value)| &value[..])
    }

    /// Puts the drives into a directory.
    pub fn unpack(&self, to: &Path) {
        let tar = zstd::decode_all(&self.body[..]).unwrap();
        let mut archive = tar::Archive::new(&tar[..]);
        archive.set_preserve_mtime(false);
        archive.unpack(to).unwrap();
    }
}

/// What lies in a directory, as the body of a vector: all of it in order, and nothing that differs from time to time.
pub fn pack(dir: &Path) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut all = Vec::new();
    walk(dir, dir, &mut all);
    for path in all {
        let (mut header, from) = (tar::Header::new_gnu(), dir.join(&path));
        let meta = fs::symlink_metadata(&from).unwrap();
        header.set_mtime(0);
        if meta.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            header.set_mode(0o777);
            tar.append_link(&mut header, &path, fs::read_link(&from).unwrap()).unwrap();
        } else if meta.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            header.set_mode(0o755);
            tar.append_data(&mut header, &path, &b""[..]).unwrap();
        } else {
            let mut bytes = Vec::new();
            fs::File::open(&from).unwrap().read_to_end(&mut bytes).unwrap();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, &path, &bytes[..]).unwrap();
        }
    }
    zstd::encode_all(&tar.into_inner().unwrap()[..], 19).unwrap()
}

fn walk(top: &Path, dir: &Path, found: &mut Vec<PathBuf>) {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        found.push(path.strip_prefix(top).unwrap().to_owned());
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            walk(top, &path, found);
        }
    }
}

/// All files of vectors below a directory.
pub fn all_vectors(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(dir, dir, &mut found);
    found.into_iter().filter(|path| path.extension().is_some_and(|e| e == "vec")).map(|path| dir.join(path)).collect()
}

/// Where the vectors are.
pub fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors")
}
