//! Files that are complete or not there: written as `.partial`, fsynced, renamed, the directory fsynced.

use crate::error::{Error, Result};
use crate::media::disk::Disk;
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What the name of an unfinished file ends with.
pub const PARTIAL_SUFFIX: &str = ".partial";

/// A file in the making. Dropped without [`Partial::finish`], it keeps its `.partial` name.
#[must_use = "an unfinished file keeps its .partial name"]
pub struct Partial {
    disk: Disk,
    file: File,
    dir: PathBuf,
    name: String,
}

impl Partial {
    /// Begins a new file; one of the same name, finished or not, must not exist.
    pub fn create(disk: &Disk, dir: &Path, name: &str) -> Result<Partial> {
        let last = dir.join(name);
        if last.symlink_metadata().is_ok() {
            return Err(Error::on_drive("create", &last)(std::io::ErrorKind::AlreadyExists.into()));
        }
        Partial::replacing(disk, dir, name)
    }

    /// Begins a file that may take the place of another one when it is finished.
    pub fn replacing(disk: &Disk, dir: &Path, name: &str) -> Result<Partial> {
        let partial = dir.join(format!("{name}{PARTIAL_SUFFIX}"));
        let file = disk.create(&partial, 0o644).map_err(Error::on_drive("create", &partial))?;
        // Whatever the umask of the sender: the receiver is another user. File systems without modes refuse, and need none.
        let _ = file.set_permissions(Permissions::from_mode(0o644));
        Ok(Partial { disk: disk.clone(), file, dir: dir.to_owned(), name: name.to_owned() })
    }

    /// It is a program that anybody may run, where the file system has modes.
    pub fn executable(self) -> Partial {
        let _ = self.file.set_permissions(Permissions::from_mode(0o755));
        self
    }

    /// Where it is now.
    pub fn path(&self) -> PathBuf {
        self.dir.join(format!("{}{PARTIAL_SUFFIX}", self.name))
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.disk.write_all_at(&self.file, bytes, offset).map_err(|e| {
            let path = format!("{} at byte {offset}", self.path().display());
            Error::on_drive("write", path)(e)
        })
    }

    /// Makes the contents durable, so that they can be read back before they get their name.
    pub fn sync(&self) -> Result<()> {
        self.disk.sync(&self.file, &self.path()).map_err(Error::on_drive("sync", self.path()))
    }

    /// Removes it, as far as the drive lets it.
    pub fn discard(self) {
        let _ = self.disk.remove(&self.path());
    }

    /// Makes the contents durable, then gives the file its name, then makes the name durable.
    pub fn finish(self) -> Result<()> {
        let (partial, last) = (self.path(), self.dir.join(&self.name));
        self.disk.sync(&self.file, &partial).map_err(Error::on_drive("sync", &partial))?;
        self.disk.rename(&partial, &last).map_err(Error::on_drive("rename", &partial))?;
        self.disk.sync_dir(&self.dir).map_err(Error::on_drive("sync", &self.dir))
    }
}

/// Writes a small file durably.
pub fn write(disk: &Disk, dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let partial = Partial::create(disk, dir, name)?;
    partial.write_at(bytes, 0)?;
    partial.finish()
}

/// Makes a directory on a drive, durably, for anybody to read.
pub fn create_dir(disk: &Disk, parent: &Path, name: &str) -> Result<PathBuf> {
    let dir = parent.join(name);
    disk.create_dir(&dir).map_err(Error::on_drive("create", &dir))?;
    let _ = std::fs::set_permissions(&dir, Permissions::from_mode(0o755));
    disk.sync_dir(parent).map_err(Error::on_drive("sync", parent))?;
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
