//! The end of an import: what was placed gets its final name, or is removed.

use super::claim::remove;
use super::target::{FILES, Own, SCRATCH, Target};
use super::{Staging, os, timestamps};
use crate::error::{Error, Result};
use crate::media::dir::Dir;
use crate::media::pace::Reach;
use crate::media::removal::remove_tree;
use crate::text::printable;
use rustix::fs::FileType;
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

impl Staging {
    /// Makes everything that has been written durable. Who has been told to stop does not begin with that: it can take a slow drive
    /// long, and nobody can end it.
    pub fn sync(&self) -> Result<()> {
        let path = self.own.path();
        let settled = self.disk.settle(&self.own);
        if self.disk.is_stopped() {
            return Err(Error::Interrupted);
        }
        // Drivers that are processes hear of the first only.
        self.own.sync().map_err(Error::io("sync", path))?;
        self.disk.sync_all_of(&self.own).and(settled).map_err(Error::io("sync", path))
    }

    /// How far what was written to its file system is.
    pub fn reach(&self) -> Reach {
        self.disk.reach(&self.own).unwrap_or_default()
    }

    /// Gives everything its final name, after [`Staging::sync`]; goes on with that if it was stopped before. The staging directory
    /// stays: who cannot see that all is there may look again.
    pub fn commit(&self) -> Result<()> {
        match (self.moved, &self.target.there) {
            (true, _) => {}
            (false, Some(there)) if self.target.inside => self.move_contents(there)?,
            (false, _) => self.move_files()?,
        }
        let place = self.target.place();
        place.sync().map_err(Error::io("sync", place.path()))
    }

    /// The end, after [`Staging::confirm`]: the target itself gets the mode and time `own`, if it is not a mount point. Returns what
    /// is left of the staging directory, if that cannot be removed: it is litter, and no failure.
    pub fn close(&self, own: Own) -> Result<Option<PathBuf>> {
        let left = self.tidy();
        // A directory that was renamed has them already, unless that was stopped in the middle.
        match &self.target.there {
            Some(there) if !self.target.keeps_attributes && (self.target.inside || self.moved) => {
                self.adopt(there, own)?;
            }
            _ => {}
        }
        Ok(left)
    }

    fn move_files(&self) -> Result<()> {
        let Target { parent, name, path, .. } = &self.target;
        let same = self.own.identity_of(FILES).and_then(|found| Ok(found == Some(self.files.identity()?)));
        if !same.map_err(Error::io("look at", self.files.path()))? {
            return Err(Error::refused(
                format!("another directory has taken the place of {}", self.files.path().display()),
                "somebody else writes where you import to: choose a directory in which only you may",
            ));
        }
        move_entry(&self.own, OsStr::new(FILES), parent, name).map_err(Error::io("rename to", path))
    }

    /// After [`Staging::commit`]: whether each of these paths is in the target with its length. There are file systems that
    /// lose what is in a directory when it is renamed.
    pub fn confirm<'a>(&self, paths: impl Iterator<Item = (&'a [u8], Option<u64>)>) -> Result<()> {
        let Target { parent, name, path, there, inside, .. } = &self.target;
        let target = match there {
            Some(there) if *inside => there.clone(),
            _ => parent.dir(name).map_err(Error::io("open", path))?,
        };
        let listed = |dir: &io::Result<Dir>| dir.as_ref().ok().and_then(|dir| dir.names().ok()).map(HashSet::from_iter);
        let mut last = (&b""[..], Ok(target.clone()));
        // Asked for a name, a file system that a process serves may be answered for from the cache; its directories are read.
        let mut names: Option<HashSet<OsString>> = listed(&last.1);
        for (path, len) in paths.filter(|(path, _)| !path.is_empty()) {
            let (above, name) = match path.iter().rposition(|b| *b == b'/') {
                Some(slash) => (&path[..slash], &path[slash + 1..]),
                None => (&b""[..], path),
            };
            // Those in one directory follow each other.
            if last.0 != above {
                last = (above, if above.is_empty() { Ok(target.clone()) } else { target.dir(os(above)) });
                names = listed(&last.1);
            }
            let is_listed = names.as_ref().is_none_or(|names| names.contains(os(name)));
            let seen = if is_listed { is_there(&last.1, name, len) } else { Ok(false) };
            if !seen.map_err(|e| Error::io("look at", target.path().join(printable(path)))(e))? {
                return Err(Error::refused(
                    format!(
                        "the file system lost {} when it was moved to {}",
                        printable(path),
                        target.path().display()
                    ),
                    "import to another file system",
                ));
            }
        }
        Ok(())
    }

    /// Moves the contents of the directory of files into the target, all or nothing.
    fn move_contents(&self, there: &Dir) -> Result<()> {
        // The set's mode for it may forbid what has to be done now.
        self.own.permit(FILES);
        let names = self.files.names().map_err(Error::io("read", self.files.path()))?;
        if let Some(taken) = names.iter().find(|name| there.has(name)) {
            return Err(Error::refused(
                format!("{} exists already", there.show(taken).display()),
                "import into a directory that is empty or does not exist",
            ));
        }
        for (done, name) in names.iter().enumerate() {
            if let Err(e) = move_entry(&self.files, name, there, name) {
                names[..done].iter().for_each(|name| drop(move_entry(there, name, &self.files, name)));
                return Err(Error::io("rename to", there.show(name))(e));
            }
        }
        Ok(())
    }

    /// Gives a target that stays its mode and time, if it is ours to change and the file system has such.
    fn adopt(&self, there: &Dir, own: Own) -> Result<()> {
        let mode = self.own_mode(own.mode);
        let changed = there.set_own_mode(mode).and_then(|()| {
            let Some(mtime) = own.mtime else { return Ok(()) };
            Ok(rustix::fs::futimens(there, &timestamps(mtime))?)
        });
        match changed {
            Err(e) if ![io::ErrorKind::PermissionDenied, io::ErrorKind::Unsupported].contains(&e.kind()) => {
                Err(Error::refused(
                    format!(
                        "everything is in {}, but its own mode and time cannot be set: {e}",
                        there.path().display()
                    ),
                    "check the disk (dmesg), and set its mode with chmod",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Removes what was kept for repairs: an import that goes on does not know what it is.
    pub fn drop_scratch(&self) {
        let _ = remove_tree(&self.own, SCRATCH);
    }

    /// Removes everything that was placed; returns what is left if that is not possible.
    pub fn abandon(self) -> Option<PathBuf> {
        self.tidy()
    }

    fn tidy(&self) -> Option<PathBuf> {
        const ATTEMPTS: u32 = 10;
        let _ = self.disk.settle(&self.own);
        // FUSE drivers keep a file that was removed, under another name, until they have heard that it was closed.
        for attempt in 0..ATTEMPTS {
            std::thread::sleep(std::time::Duration::from_millis(10) * attempt);
            let place = self.target.place();
            if remove(place, &self.name, &self.own).is_ok() || matches!(place.stat(&self.name), Ok(None)) {
                return None;
            }
        }
        Some(self.own.path().to_owned())
    }
}

/// Whether something of this name and length is in a directory.
fn is_there(dir: &io::Result<Dir>, name: &[u8], len: Option<u64>) -> io::Result<bool> {
    let stat = match dir {
        Ok(dir) => dir.stat(os(name)),
        Err(e) => Err(again(e)),
    };
    match stat {
        Ok(Some(stat)) => Ok(len.is_none_or(|len| stat.st_size as u64 == len)),
        Ok(None) => Ok(false),
        // In a directory that the set closes to this user nothing can be seen, and nothing is known to be missing.
        Err(e) if e.raw_os_error() == Some(Errno::ACCESS.raw_os_error()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// The same once more, which cannot be copied.
fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

/// Renames; a directory that may not be written to cannot change its parent, so it may be for that moment.
fn move_entry(from: &Dir, name: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    let Some(stat) = from.stat(name)? else { return Err(io::ErrorKind::NotFound.into()) };
    let mode = stat.st_mode & 0o7777;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory || mode & 0o200 != 0 {
        return from.rename_to(name, to, new);
    }
    from.set_mode(name, mode | 0o700)?;
    let renamed = from.rename_to(name, to, new);
    if renamed.is_ok() {
        to.set_mode(new, mode)?
    } else {
        from.set_mode(name, mode)?
    }
    renamed
}
