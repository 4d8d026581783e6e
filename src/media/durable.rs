//! Files that are complete or not there: written as `.partial`, fsynced, renamed, the directory fsynced.

use crate::error::{Error, Result};
use rustix::io::Errno;
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What the name of an unfinished file ends with.
pub const PARTIAL_SUFFIX: &str = ".partial";

/// A file in the making. Dropped without [`Partial::finish`], it keeps its `.partial` name.
#[must_use = "an unfinished file keeps its .partial name"]
pub struct Partial {
    file: File,
    dir: PathBuf,
    name: String,
}

impl Partial {
    /// Begins a new file; one of the same name, finished or not, must not exist.
    pub fn create(dir: &Path, name: &str) -> Result<Partial> {
        let last = dir.join(name);
        if last.symlink_metadata().is_ok() {
            return Err(Error::on_drive("create", &last)(std::io::ErrorKind::AlreadyExists.into()));
        }
        let partial = dir.join(format!("{name}{PARTIAL_SUFFIX}"));
        let options = OpenOptions::new().write(true).create_new(true).mode(0o644).clone();
        let file = options.open(&partial).map_err(Error::on_drive("create", &partial))?;
        // Whatever the umask of the sender: the receiver is another user. File systems without modes refuse, and need none.
        let _ = file.set_permissions(Permissions::from_mode(0o644));
        Ok(Partial { file, dir: dir.to_owned(), name: name.to_owned() })
    }

    /// Where it is now.
    pub fn path(&self) -> PathBuf {
        self.dir.join(format!("{}{PARTIAL_SUFFIX}", self.name))
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|e| {
            let path = format!("{} at byte {offset}", self.path().display());
            Error::on_drive("write", path)(e)
        })
    }

    /// Makes the contents durable, then gives the file its name, then makes the name durable.
    pub fn finish(self) -> Result<()> {
        let (partial, last) = (self.path(), self.dir.join(&self.name));
        self.file.sync_all().map_err(Error::on_drive("sync", &partial))?;
        std::fs::rename(&partial, &last).map_err(Error::on_drive("rename", &partial))?;
        sync_dir(&self.dir)
    }
}

/// Writes a small file durably.
pub fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let partial = Partial::create(dir, name)?;
    partial.write_at(bytes, 0)?;
    partial.finish()
}

/// Makes the names in a directory durable. File systems that cannot (some FUSE ones) say so, and are excused.
pub fn sync_dir(dir: &Path) -> Result<()> {
    let excused = |e: &std::io::Error| {
        let code = e.raw_os_error().unwrap_or(0);
        [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP].iter().any(|x| x.raw_os_error() == code)
    };
    match File::open(dir).and_then(|d| d.sync_all()) {
        Err(e) if !excused(&e) => Err(Error::on_drive("sync", dir)(e)),
        _ => Ok(()),
    }
}

/// Makes a directory on a drive, durably, for anybody to read.
pub fn create_dir(parent: &Path, name: &str) -> Result<PathBuf> {
    let dir = parent.join(name);
    std::fs::create_dir(&dir).map_err(Error::on_drive("create", &dir))?;
    let _ = std::fs::set_permissions(&dir, Permissions::from_mode(0o755));
    sync_dir(parent)?;
    Ok(dir)
}

/// Writes a secret of the user's: mode 0600, never over an existing file.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    create_new(path, bytes, 0o600)
}

/// Writes a public file of the user's, never over an existing one.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<()> {
    create_new(path, bytes, 0o644)
}

fn create_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    use std::io::Write;
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = opened.map_err(Error::io("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io("write", path))
}
