//! The whole importer against a set that lies: everything or nothing, and nothing anywhere else.

use crate::bytes::Bytes;
use crate::compose::Keys;
use crate::lies::{Told, tell};
use crate::ustar::Kind;
use ckvault::commands::{import, list, verify};
use ckvault::set::Where;
use ckvault::progress::{Nobody, Silent};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A receiver, made once.
pub struct Site {
    temp: TempDir,
    keys: Keys,
}

impl Default for Site {
    fn default() -> Site {
        Site::new()
    }
}

impl Site {
    pub fn new() -> Site {
        use age::secrecy::ExposeSecret as _;
        let (temp, keys) = (tempfile::Builder::new().prefix("ckvault-fuzz-").tempdir().unwrap(), Keys::new());
        let identity = keys.receiver.to_string();
        fs::write(temp.path().join("identity"), format!("{}\n", identity.expose_secret())).unwrap();
        fs::write(temp.path().join("signers"), format!("exporter {}\n", keys.public())).unwrap();
        Site { temp, keys }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn place(&self) -> Where {
        Where { drives: vec![self.path("drive")], signers: Some(self.path("signers")), ..Where::default() }
    }

    /// Composes what `data` says, and lets every verb that reads a set meet it.
    pub fn meet(&self, data: &[u8]) {
        let mut bytes = Bytes(data);
        let flags = bytes.byte();
        let told = tell(&mut bytes);
        for name in ["drive", "place"] {
            let _ = fs::remove_dir_all(self.path(name));
        }
        fs::create_dir_all(self.path("place")).unwrap();
        fs::write(self.path("precious"), "precious").unwrap();
        let dirs = told.recipe.write(&self.keys, &[self.path("drive")]).unwrap();
        damage(&dirs[0], flags >> 4);
        let identities = vec![self.path("identity")];
        if flags & 8 == 8 {
            let this_drive = flags & 1 == 1;
            let _ = verify::run(&verify::Options { place: self.place(), this_drive }, &Silent::default());
            let options = list::Options { place: self.place(), identities: identities.clone() };
            let _ = list::run(&options, Nobody, &Silent::default());
        }
        let target = self.path("place/target");
        let only = if flags & 2 == 2 { vec!["d/**".to_owned(), "a".to_owned()] } else { Vec::new() };
        let options = import::Options {
            place: self.place(),
            to: target.clone(),
            identities,
            only: only.clone(),
            links: if flags & 4 == 4 { import::Links::Keep } else { import::Links::Refuse },
            ..import::Options::default()
        };
        match import::run(&options, Nobody, &Silent::default()) {
            Ok(report) => self.all_is_there(&report, &told, &target, &options),
            // What can be gone on with stays, under the name of a staging directory.
            Err(error) if error.hint().contains("--resume") => assert!(!target.exists(), "{error}"),
            Err(_) => assert_eq!(names(&self.path("place")), Vec::<PathBuf>::new(), "left behind"),
        }
        assert_eq!(fs::read(self.path("precious")).unwrap(), b"precious");
        assert_eq!(names(self.temp.path()).len(), 5, "{:?}", names(self.temp.path()));
    }

    fn all_is_there(&self, report: &import::Report, told: &Told, target: &Path, options: &import::Options) {
        assert_eq!(names(&self.path("place")), [target]);
        let mut files = 0;
        inspect(target, target, options.links == import::Links::Keep, &mut files);
        assert_eq!(files, report.files, "files that are there, and files that are reported");
        if !told.honest_lines || !options.only.is_empty() {
            return;
        }
        for item in &told.recipe.items {
            let path = target.join(OsStr::from_bytes(&item.path));
            match &item.kind {
                Kind::Dir => assert!(path.is_dir(), "{path:?}"),
                Kind::File(contents) => assert!(fs::read(&path).unwrap() == *contents, "{path:?}"),
                Kind::Sparse(size, _) => assert_eq!(fs::metadata(&path).unwrap().len(), *size),
                Kind::Symlink(to) => assert_eq!(fs::read_link(&path).unwrap().as_os_str().as_bytes(), to),
                Kind::Hardlink(_) => assert!(path.is_file(), "{path:?}"),
            }
        }
    }
}

/// What a courier may do on top: one volume is lost or damaged, which parity must make good, or a copy of something else.
fn damage(dir: &Path, how: u8) {
    match how {
        1 => fs::remove_file(dir.join("g00000-d000.ckv")).unwrap(),
        2 => fs::write(dir.join("g00000-d000.ckv"), "short").unwrap(),
        3 => fs::remove_file(dir.join("hashes.b3")).unwrap(),
        4 => fs::write(dir.join("manifest.json"), "{}").unwrap(),
        5 => fs::remove_file(dir.join("inventory.age")).unwrap(),
        6 => ["copy", "third"].iter().for_each(|name| fs::remove_dir_all(dir.join(name)).unwrap()),
        _ => {}
    }
}

fn names(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect()
}

/// Whatever was said: files have no rights of others, and no link that was not wished for leaves the target.
fn inspect(dir: &Path, target: &Path, keep_links: bool, files: &mut u64) {
    // The set may have closed a directory to us.
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for path in names(dir) {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            inspect(&path, target, keep_links, files);
        } else if meta.is_file() {
            *files += 1;
            assert_eq!(meta.permissions().mode() & 0o6000, 0, "{path:?}");
        } else {
            assert!(meta.is_symlink(), "{path:?}");
            let leaves = fs::canonicalize(&path).is_ok_and(|to| !to.starts_with(target));
            assert!(keep_links || !leaves, "{path:?} leads out of the target");
        }
    }
}
