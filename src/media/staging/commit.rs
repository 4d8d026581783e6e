//! The end of an import: what was placed gets its final name, or is removed.

use super::removal::remove_tree;
use super::{FILES, Staging, os, timestamps};
use crate::error::{Error, Result};
use crate::media::disk::Operation;
use crate::text::printable;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// What the target itself gets.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// Permission bits.
    pub mode: u32,
    /// Seconds and nanoseconds, if the set has a time for it.
    pub mtime: Option<(i64, u32)>,
}

impl Default for Own {
    fn default() -> Own {
        Own { mode: 0o755, mtime: None }
    }
}

impl Staging {
    /// Makes everything that has been written durable.
    pub fn sync(&self) -> Result<()> {
        self.disk.allow(Operation::Sync, &self.path).map_err(Error::io("sync", &self.path))?;
        rustix::fs::syncfs(&self.dir).map_err(|e| Error::io("sync", &self.path)(e.into()))
    }

    /// Gives everything its final name, after [`Staging::sync`]; goes on with that if it was stopped before. The target
    /// itself gets the mode and time `own`, if it is not a mount point.
    pub fn commit(&self, own: Own) -> Result<()> {
        match (self.moved, self.inside) {
            (true, _) => {}
            (false, true) => self.move_contents()?,
            (false, false) => self.move_files()?,
        }
        let parent = if self.inside { Some(&*self.target) } else { self.target.parent() };
        let sync = |dir: &Path| File::open(dir).and_then(|d| d.sync_all()).map_err(Error::io("sync", dir));
        parent.map_or(Ok(()), sync)?;
        // Everything has its name: what is left of the staging directory is litter, and no failure.
        self.tidy();
        // A directory that was renamed has them already, unless that was stopped in the middle.
        match !self.keeps_attributes && (self.inside || self.moved) {
            true => self.adopt(own),
            false => Ok(()),
        }
    }

    fn move_files(&self) -> Result<()> {
        let files = self.path.join(FILES);
        let allowed = self.disk.allow(Operation::Rename, &files);
        allowed.and_then(|()| move_entry(&files, &self.target)).map_err(Error::io("rename to", &self.target))
    }

    /// After [`Staging::commit`]: whether each of these paths is in the target with its length. There are file systems that
    /// lose what is in a directory when it is renamed.
    pub fn confirm<'a>(&self, paths: impl Iterator<Item = (&'a [u8], Option<u64>)>) -> Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let target = rustix::fs::open(&self.target, flags, Mode::empty());
        let target = target.map_err(|e| Error::io("open", &self.target)(e.into()))?;
        for (path, len) in paths.filter(|(path, _)| !path.is_empty()) {
            let there = match rustix::fs::statat(&target, os(path), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => len.is_none_or(|len| stat.st_size as u64 == len),
                // In a directory that the set closes to this user nothing can be seen, and nothing is known to be missing.
                Err(e) => e == Errno::ACCESS,
            };
            if !there {
                return Err(Error::refused(
                    format!("the file system lost {} when it was moved to {}", printable(path), self.target.display()),
                    "import to another file system",
                ));
            }
        }
        Ok(())
    }

    /// Moves the contents of the directory of files into the target, all or nothing.
    fn move_contents(&self) -> Result<()> {
        let files = self.path.join(FILES);
        // The set's mode for it may forbid what has to be done now; where there are no modes, none does.
        let _ = std::fs::set_permissions(&files, Permissions::from_mode(0o700));
        let mut moves = Vec::new();
        for entry in std::fs::read_dir(&files).map_err(Error::io("read", &files))? {
            let entry = entry.map_err(Error::io("read", &files))?;
            let to = self.target.join(entry.file_name());
            if to.symlink_metadata().is_ok() {
                return Err(Error::refused(
                    format!("{} exists already", to.display()),
                    "import into a directory that is empty or does not exist",
                ));
            }
            moves.push((entry.path(), to));
        }
        for (done, (from, to)) in moves.iter().enumerate() {
            let moved = self.disk.allow(Operation::Rename, from).and_then(|()| move_entry(from, to));
            if let Err(e) = moved {
                moves[..done].iter().for_each(|(from, to)| drop(move_entry(to, from)));
                return Err(Error::io("rename to", to)(e));
            }
        }
        Ok(())
    }

    /// Gives a target that stays its mode and time, if it is ours to change and the file system has such.
    fn adopt(&self, own: Own) -> Result<()> {
        let changed = std::fs::set_permissions(&self.target, Permissions::from_mode(own.mode)).and_then(|()| {
            let Some(mtime) = own.mtime else { return Ok(()) };
            rustix::fs::utimensat(rustix::fs::CWD, &self.target, &timestamps(mtime), AtFlags::empty())
                .map_err(Into::into)
        });
        match changed {
            Err(e) if ![io::ErrorKind::PermissionDenied, io::ErrorKind::Unsupported].contains(&e.kind()) => {
                Err(Error::io("set the mode of", &self.target)(e))
            }
            _ => Ok(()),
        }
    }

    /// Removes what was kept for repairs: an import that goes on does not know what it is.
    pub fn drop_scratch(&self) {
        let _ = remove_tree(&self.scratch());
    }

    /// Removes everything that was placed.
    pub fn abandon(self) {
        self.tidy();
    }

    fn tidy(&self) {
        const ATTEMPTS: u32 = 10;
        // FUSE drivers keep a file that was removed, under another name, until they have heard that it was closed.
        for attempt in 0..ATTEMPTS {
            std::thread::sleep(std::time::Duration::from_millis(10) * attempt);
            if remove_tree(&self.path).is_ok() || self.path.symlink_metadata().is_err() {
                break;
            }
        }
    }
}

/// Renames; a directory that may not be written to cannot change its parent, so it may be for that moment.
fn move_entry(from: &Path, to: &Path) -> io::Result<()> {
    let meta = from.symlink_metadata()?;
    if !meta.is_dir() || meta.mode() & 0o200 != 0 {
        return std::fs::rename(from, to);
    }
    std::fs::set_permissions(from, Permissions::from_mode(0o700))?;
    let renamed = std::fs::rename(from, to);
    std::fs::set_permissions(if renamed.is_ok() { to } else { from }, meta.permissions())?;
    renamed
}
