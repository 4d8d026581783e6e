//! Damage: what happens to drives on the road.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes in a block, but in tests with larger blocks.
pub const BLOCK: u64 = 64 << 10;

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The length of a file.
pub fn len(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// Flips one bit; doing it again undoes it.
pub fn flip(path: &Path, offset: u64, bit: u8) {
    let file = open(path);
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << bit], offset).unwrap();
}

/// Writes zeros.
pub fn zero(path: &Path, offset: u64, bytes: u64) {
    let bytes = bytes.min(len(path) - offset);
    open(path).write_all_at(&vec![0; bytes as usize], offset).unwrap();
}

/// Cuts a file short, or lengthens it with zeros.
pub fn resize(path: &Path, bytes: u64) {
    open(path).set_len(bytes).unwrap();
}

/// Removes files.
pub fn remove<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) {
    paths.into_iter().for_each(|p| fs::remove_file(p).unwrap());
}

/// Exchanges two files.
pub fn swap_files(a: &Path, b: &Path) {
    let aside = a.with_extension("aside");
    fs::rename(a, &aside).unwrap();
    fs::rename(b, a).unwrap();
    fs::rename(aside, b).unwrap();
}

/// Exchanges two blocks, of one file or of two.
pub fn swap_blocks(size: u64, a: (&Path, u64), b: (&Path, u64)) {
    let read = |(path, block): (&Path, u64)| {
        let mut bytes = vec![0; size as usize];
        open(path).read_exact_at(&mut bytes, block * size).unwrap();
        bytes
    };
    let (in_a, in_b) = (read(a), read(b));
    open(a.0).write_all_at(&in_b, a.1 * size).unwrap();
    open(b.0).write_all_at(&in_a, b.1 * size).unwrap();
}

/// Every file below a directory, by its path from the directories right below it on, with its bytes.
pub fn files_under(drive: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn collect(drive: &Path, dir: &Path, all: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for path in fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
            match path.is_dir() {
                true => collect(drive, &path, all),
                false => drop(all.insert(path.strip_prefix(drive).unwrap().to_owned(), fs::read(&path).unwrap())),
            }
        }
    }
    let mut all = BTreeMap::new();
    collect(drive, drive, &mut all);
    all
}

/// Copies a tree of files and directories.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
