//! Files that are complete or not there: written as `.partial`, fsynced, renamed, the directory fsynced.

use crate::error::{Error, Result};
use crate::media::dir::Dir;
use crate::media::disk::Operation;
use crate::media::mounts::mount_holding;
use rustix::fs::{FallocateFlags, FileType};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// What the name of an unfinished file ends with.
pub const PARTIAL_SUFFIX: &str = ".partial";

/// A name of ours that nobody can know before it is there: 64 random bits between `.ckvault-KIND-` and `.partial`.
pub fn private_name(kind: &str) -> std::io::Result<String> {
    let random = getrandom::u64().map_err(|e| std::io::Error::other(e.to_string()))?;
    Ok(format!(".ckvault-{kind}-{random:016x}{}", PARTIAL_SUFFIX))
}

/// A file in the making. Dropped without [`Partial::finish`], it keeps its `.partial` name.
#[must_use = "an unfinished file keeps its .partial name"]
pub struct Partial {
    dir: Dir,
    name: String,
    file: File,
    /// Whether there may be more room behind its end than it needs.
    reserved: bool,
}

impl Partial {
    /// Begins a new file; one of the same name, finished or not, must not exist.
    pub fn create(dir: &Dir, name: &str) -> Result<Partial> {
        if dir.has(name) {
            return Err(Error::on_drive("create", dir.show(name))(std::io::ErrorKind::AlreadyExists.into()));
        }
        Partial::replacing(dir, name)
    }

    /// Begins a file that may take the place of another one when it is finished.
    pub fn replacing(dir: &Dir, name: &str) -> Result<Partial> {
        let partial = format!("{name}{PARTIAL_SUFFIX}");
        let file = dir.create(&partial, 0o644).map_err(Error::on_drive("create", dir.show(&partial)))?;
        // Whatever the umask of the sender: the receiver is another user. File systems without modes refuse, and need none.
        let _ = file.set_permissions(Permissions::from_mode(0o644));
        Ok(Partial { dir: dir.clone(), name: name.to_owned(), file, reserved: false })
    }

    /// Reserves room for `bytes` bytes, where the file system does that without writing them: files that are written side by side
    /// would lie in pieces among each other otherwise, and a disk would go to and fro between these. What is not needed of it is
    /// given back in the end. False if there is no such room.
    pub fn reserve(&mut self, bytes: u64) -> bool {
        let known = mount_holding(&self.file).fs_type;
        if !["ext4", "xfs", "btrfs", "f2fs"].contains(&known.as_str()) {
            return true;
        }
        self.reserved = true;
        let allowed = self.dir.disk().allow(Operation::Resize, &self.path()).is_ok();
        allowed && rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, bytes).is_ok()
    }

    /// Gives back what was reserved and is not needed.
    pub fn give_back(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.reserved) {
            return Ok(());
        }
        let allowed = self.dir.disk().allow(Operation::Resize, &self.path());
        let shorter = allowed.and_then(|()| self.file.set_len(self.file.metadata()?.len()));
        shorter.map_err(Error::on_drive("shorten", self.path()))
    }

    /// It is a program that anybody may run, where the file system has modes.
    pub fn executable(self) -> Partial {
        let _ = self.file.set_permissions(Permissions::from_mode(0o755));
        self
    }

    /// The directory that it is in.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The name that it has now.
    pub fn partial_name(&self) -> String {
        format!("{}{PARTIAL_SUFFIX}", self.name)
    }

    /// Where it is now, to be shown.
    pub fn path(&self) -> PathBuf {
        self.dir.show(self.partial_name())
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.dir.disk().write_all_at(&self.file, bytes, offset).map_err(|e| {
            let path = format!("{} at byte {offset}", self.path().display());
            Error::on_drive("write", path)(e)
        })
    }

    /// Makes the contents durable, so that they can be read back before they get their name.
    pub fn sync(&self) -> Result<()> {
        self.dir.disk().sync(&self.file, &self.path()).map_err(Error::on_drive("sync", self.path()))
    }

    /// Removes it, as far as the drive lets it.
    pub fn discard(self) {
        let _ = self.dir.remove(self.partial_name());
    }

    /// Makes the contents durable, then gives the file its name, then makes the name durable.
    pub fn finish(mut self) -> Result<()> {
        self.give_back()?;
        self.sync()?;
        self.dir.rename(self.partial_name(), &self.name).map_err(Error::on_drive("rename", self.path()))?;
        self.dir.sync().map_err(Error::on_drive("sync", self.dir.path()))
    }
}

/// Writes a small file durably.
pub fn write(dir: &Dir, name: &str, bytes: &[u8]) -> Result<()> {
    let partial = Partial::create(dir, name)?;
    partial.write_at(bytes, 0)?;
    partial.finish()
}

/// Makes a directory on a drive, durably, for anybody to read.
pub fn create_dir(parent: &Dir, name: &str) -> Result<Dir> {
    let dir = parent.make_dir(name, 0o755).map_err(Error::on_drive("create", parent.show(name)))?;
    // Whatever the umask of the sender.
    let _ = dir.set_own_mode(0o755);
    parent.sync().map_err(Error::on_drive("sync", parent.path()))?;
    Ok(dir)
}

/// The directory of that name on a drive: the one that is there, or a new one, also in the place of a link.
pub fn ensure_dir(parent: &Dir, name: &str) -> Result<Dir> {
    if matches!(parent.kind(name), Ok(Some(FileType::Symlink))) {
        parent.remove(name).map_err(Error::on_drive("remove", parent.show(name)))?;
    }
    match parent.dir(name) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => create_dir(parent, name),
        other => other.map_err(Error::on_drive("open", parent.show(name))),
    }
}

/// Writes a secret of the user's: mode 0600, never over an existing file.
pub fn write_secret(dir: &Dir, name: &str, bytes: &[u8]) -> Result<()> {
    create_new(dir, name, bytes, 0o600)
}

/// Writes a public file of the user's, never over an existing one.
pub fn write_public(dir: &Dir, name: &str, bytes: &[u8]) -> Result<()> {
    create_new(dir, name, bytes, 0o644)
}

fn create_new(dir: &Dir, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    use std::io::Write;
    let path = dir.show(name);
    let mut file = dir.create(name, mode).map_err(Error::io("create", &path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io("write", &path))
}
