//! Placing files on import: everything is made in a staging directory of our own, and renamed when it is whole.
//!
//! In it are `files`, which becomes the target (or whose contents do), the journal of what has been placed, and a scratch
//! directory for blocks of drives that had to leave.

pub mod claim;
mod commit;
mod shortfalls;
mod target;

pub use shortfalls::{Few, Shortfall};
pub use target::Own;

use crate::error::{Error, Result};
use crate::media::dir::{Dir, Location};
use crate::media::disk::{Disk, Opened, Operation};
use crate::media::durable::private_name;
use crate::media::fence::Needs;
use crate::media::modes::Modes;
use crate::text::{human_bytes, printable};
use rustix::fs::{Mode, Timespec, Timestamps};
use rustix::io::Errno;
use shortfalls::Shortfalls;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use target::{JOURNAL, PREFIX, SCRATCH, SUFFIX, Target};

/// The metadata of an entry.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// Permission bits.
    pub mode: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Names and values of extended attributes.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// A directory of which one part becomes the target, or its contents do.
pub struct Staging {
    disk: Disk,
    /// The directory of files.
    files: Dir,
    /// The staging directory itself, and its name.
    own: Dir,
    name: String,
    target: Target,
    modes: Modes,
    /// The files have got their final name already.
    moved: bool,
    shortfalls: Shortfalls,
}

/// Whether a name at the top of a target could be that of a staging directory for the set with this beginning of an id.
pub fn is_reserved(name: &[u8], id: &str) -> bool {
    name.starts_with(format!("{PREFIX}{id}").as_bytes()) && name.ends_with(SUFFIX.as_bytes())
}

/// Whether a name could be that of any staging directory.
pub fn is_staging(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes()) && name.ends_with(SUFFIX.as_bytes())
}

impl Staging {
    /// Where the journal is.
    pub fn journal(&self) -> Location {
        self.own.at(JOURNAL)
    }

    /// Where blocks of drives that had to leave are kept.
    pub fn scratch(&self) -> Location {
        self.own.at(SCRATCH)
    }

    /// What is needed now that it is there. What is placed becomes the target, or is moved into it.
    pub fn narrowed(&self, needs: Needs) -> Needs {
        let (own, files) = (self.own.path().to_owned(), self.files.path().to_owned());
        let (inside, receive) = match &self.target.there {
            Some(there) if self.target.inside => (Some(there.path().to_owned()), Vec::new()),
            _ => (None, vec![self.target.parent.path().to_owned()]),
        };
        Needs { write: [own, files].into_iter().chain(inside).collect(), receive, ..needs }
    }

    /// Whether the file system below takes two spellings of a name for the same.
    pub fn folds_case(&self) -> Result<bool> {
        let lower = self.probe()?;
        let folds = self.own.has(lower.to_uppercase());
        self.own.remove(&lower).map_err(Error::io("remove", self.own.show(&lower)))?;
        Ok(folds)
    }

    /// Whether it takes symbolic links.
    pub fn takes_symlinks(&self) -> bool {
        let try_it =
            |link: String| self.own.symlink(OsStr::new("nowhere"), &link).and_then(|()| self.own.remove(&link));
        private_name("probe").and_then(try_it).is_ok()
    }

    /// Whether it takes second names of files.
    pub fn takes_hard_links(&self) -> Result<bool> {
        let file = self.probe()?;
        let link = format!("{file}-link");
        let takes = self.own.hard_link(&file, &link).and_then(|()| self.own.remove(&link)).is_ok();
        self.own.remove(&file).map_err(Error::io("remove", self.own.show(&file)))?;
        Ok(takes)
    }

    /// A file to try things with.
    fn probe(&self) -> Result<String> {
        let made = private_name("probe").and_then(|name| self.own.create(&name, 0o600).map(|_| name));
        made.map_err(Error::io("create a file in", self.own.path()))
    }

    /// Whether a process serves the file system below (FUSE). There are such that lose what is written out of order, and say
    /// nothing.
    pub fn is_served(&self) -> bool {
        is_fuse(&self.own)
    }

    /// Whether there is room for so many bytes of files.
    pub fn require_room(&self, needed: u64) -> Result<()> {
        let vfs = rustix::fs::fstatvfs(&self.own).map_err(|e| Error::io("measure", self.own.path())(e.into()))?;
        let target = self.target.path.display();
        if vfs.f_blocks == 0 && is_fuse(&self.own) {
            return Err(Error::drive(
                format!("the driver of the file system of {target} does not tell its size"),
                "import to another file system: simple drivers can lose what is written to them, and nobody would notice",
            ));
        }
        let free = crate::media::drive::free(&vfs);
        match needed <= free {
            true => Ok(()),
            false => Err(Error::drive(
                format!("{} are free for {target}, and the files need {}", human_bytes(free), human_bytes(needed)),
                "make room, import to a larger disk, or only some files with --only",
            )),
        }
    }

    /// Makes a directory.
    pub fn make_dir(&self, path: &[u8]) -> Result<()> {
        self.files.make_dir(os(path), 0o700).map(drop).map_err(self.failed("create", path))
    }

    /// Makes a file; it must not exist under any spelling that the file system takes for the same.
    pub fn create_file(&self, path: &[u8]) -> Result<File> {
        self.files.create(os(path), 0o600).map_err(self.failed("create", path))
    }

    /// Makes a directory that an import that was stopped may have made already; whatever has to be done in it can be done.
    pub fn make_dir_again(&self, path: &[u8]) -> Result<()> {
        match self.files.make_dir(os(path), 0o700) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.files.permit(os(path));
                self.files.dir(os(path)).map(drop).map_err(self.failed("open", path))
            }
            other => other.map(drop).map_err(self.failed("create", path)),
        }
    }

    /// Whether there is something of this name.
    pub fn has(&self, path: &[u8]) -> bool {
        self.files.has(os(path))
    }

    /// Removes a file or link, if it is there.
    pub fn remove(&self, path: &[u8]) -> Result<()> {
        match self.files.remove(os(path)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(self.failed("remove", path)),
        }
    }

    /// Gives a file another name, which nothing has.
    pub fn rename(&self, from: &[u8], to: &[u8]) -> Result<()> {
        self.files.rename(os(from), os(to)).map_err(self.failed("rename", from))
    }

    /// Opens a file for reading that may have got the mode of the set already, which may forbid it.
    pub fn open_to_read(&self, path: &[u8]) -> Result<Opened> {
        let opened = self.files.open(os(path)).or_else(|e| {
            self.permit(path, &e);
            self.files.open(os(path))
        });
        opened.map_err(self.failed("open", path))
    }

    /// The same for writing. Some file systems give no file for both.
    pub fn reopen(&self, path: &[u8]) -> Result<File> {
        let opened = self.files.open_to_write(os(path)).or_else(|e| {
            self.permit(path, &e);
            self.files.open_to_write(os(path))
        });
        opened.map_err(self.failed("open", path))
    }

    fn permit(&self, path: &[u8], refusal: &io::Error) {
        if refusal.kind() == io::ErrorKind::PermissionDenied {
            self.files.permit(os(path));
        }
    }

    /// Reads from a file that has been placed; returns how many bytes there were.
    pub fn read_at(&self, file: &Opened, path: &[u8], buffer: &mut [u8], offset: u64) -> Result<usize> {
        let at = || self.target.path.join(printable(path));
        file.read_up_to(buffer, offset).map_err(|e| Error::io("read", at())(e))
    }

    /// Opens a file that has been created.
    pub fn open_file(&self, path: &[u8]) -> Result<File> {
        self.files.open_to_write(os(path)).map_err(self.failed("open", path))
    }

    /// Writes all of `bytes` at `offset` of a file that has been created or opened.
    pub fn write_at(&self, file: &File, path: &[u8], bytes: &[u8], offset: u64) -> Result<()> {
        let at = || self.target.path.join(printable(path));
        self.disk.write_all_at(file, bytes, offset).map_err(|e| Error::io("write", at())(e))
    }

    /// Gives a file its length, where that is not what was written last.
    pub fn set_len(&self, file: &File, path: &[u8], len: u64) -> Result<()> {
        let at = self.target.path.join(printable(path));
        self.disk.resize(file, &at, len).map_err(Error::io("extend", &at))
    }

    fn allow(&self, operation: Operation, action: &'static str, path: &[u8]) -> Result<()> {
        let at = self.target.path.join(printable(path));
        self.disk.allow(operation, &at).map_err(Error::io(action, &at))
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, path: &[u8], target: &[u8], mtime: (i64, u32)) -> Result<()> {
        self.files.symlink(os(target), os(path)).map_err(self.failed("create", path))?;
        let set = self.files.set_link_times(os(path), &timestamps(mtime));
        self.count(set, "set the time of", path)
    }

    /// Makes a hard link to a file that has been placed.
    pub fn hardlink(&self, path: &[u8], target: &[u8]) -> Result<()> {
        self.files.hard_link(os(target), os(path)).map_err(self.failed("link", path))
    }

    /// Gives an open file its metadata; the time last, since the others do not change it.
    pub fn finish_file(&self, file: &File, path: &[u8], attributes: Attributes) -> Result<()> {
        self.allow(Operation::Change, "set the mode of", path)?;
        self.set_xattrs(file, path, attributes.xattrs)?;
        self.set_mode(file, path, self.modes.of_file(attributes.mode))?;
        self.set_time(file, path, attributes.mtime)
    }

    /// Gives a directory its metadata; the empty path is the directory of files itself.
    pub fn finish_dir(&self, path: &[u8], attributes: Attributes) -> Result<()> {
        self.allow(Operation::Change, "set the mode of", path)?;
        if path.is_empty() {
            self.set_xattrs(&self.files, path, attributes.xattrs)?;
            self.set_mode(&self.files, path, self.own_mode(attributes.mode))?;
            return self.set_time(&self.files, path, attributes.mtime);
        }
        let dir = self.files.dir(os(path)).map_err(self.failed("open", path))?;
        self.set_xattrs(&dir, path, attributes.xattrs)?;
        let made = dir.metadata().map_or(0, |stat| stat.st_mode);
        self.set_mode(&dir, path, self.modes.of_dir(attributes.mode, made))?;
        self.set_time(&dir, path, attributes.mtime)
    }

    /// The mode of a target whose set has none for it.
    pub fn open_to_all(&self) -> Result<()> {
        self.set_mode(&self.files, b"", self.own_mode(Own::default().mode))
    }

    /// The mode that the target gets for one that was recorded.
    fn own_mode(&self, recorded: u32) -> u32 {
        let made = self.files.metadata().map_or(0, |stat| stat.st_mode);
        self.modes.of_dir(recorded, made) & self.target.most_open()
    }

    fn set_mode(&self, fd: impl AsFd, path: &[u8], mode: u32) -> Result<()> {
        let set = rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode));
        // Some drivers say yes, and do nothing.
        if set.is_ok() && rustix::fs::fstat(&fd).is_ok_and(|stat| stat.st_mode & 0o777 != mode & 0o777) {
            self.shortfalls.refused(path);
        }
        self.count(set.map_err(Into::into), "set the mode of", path)
    }

    /// What a file system has no room for is cut, and not told: that is looked at.
    fn set_time(&self, fd: impl AsFd, path: &[u8], mtime: (i64, u32)) -> Result<()> {
        let set = rustix::fs::futimens(&fd, &timestamps(mtime));
        self.count(set.map_err(Into::into), "set the time of", path)?;
        if let Ok(stat) = rustix::fs::fstat(&fd) {
            self.shortfalls.compare(path, mtime, (stat.st_mtime, stat.st_mtime_nsec as u32));
        }
        Ok(())
    }

    fn set_xattrs(&self, fd: impl AsFd, path: &[u8], xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        for (name, value) in xattrs {
            let bad = |_| {
                Error::refused(
                    format!("{} has an attribute with a NUL in its name", printable(path)),
                    "ask the sender for a new export",
                )
            };
            let c_name = CString::new(&name[..]).map_err(bad)?;
            let set = rustix::fs::fsetxattr(&fd, &c_name, value, rustix::fs::XattrFlags::empty());
            self.count(set.map_err(Into::into), "set an attribute of", path)?;
        }
        Ok(())
    }

    /// What a file system cannot take of a mode, a time or an attribute is counted, and no reason to stop.
    fn count(&self, set: io::Result<()>, action: &'static str, path: &[u8]) -> Result<()> {
        match set {
            Err(e) if cannot_take(&e) => {
                self.shortfalls.refused(path);
                Ok(())
            }
            other => other.map_err(self.failed(action, path)),
        }
    }

    /// What the file system could not take.
    pub fn shortfalls(&self) -> Shortfall {
        self.shortfalls.told()
    }

    fn failed<'a>(&'a self, action: &'static str, path: &'a [u8]) -> impl FnOnce(io::Error) -> Error + 'a {
        const NAMES: [Errno; 4] = [Errno::NOENT, Errno::INVAL, Errno::ILSEQ, Errno::NAMETOOLONG];
        move |e| match Errno::from_io_error(&e) {
            Some(Errno::EXIST) => Error::refused(
                format!(
                    "{} clashes with another name on the file system of {}",
                    printable(path),
                    self.target.path.display()
                ),
                "import to a file system that tells such names apart (ext4, for example)",
            ),
            // Drivers of exFAT and FAT differ in what they call a name with a colon, for example.
            Some(errno) if action == "create" && NAMES.contains(&errno) => Error::refused(
                format!("the file system of {} does not take the name {}", self.target.path.display(), printable(path)),
                "import to a file system that does (ext4, for example), or only some files with --only",
            ),
            _ => Error::io(action, self.target.path.join(printable(path)))(e),
        }
    }
}

/// Whether a file system says that it has no such thing, not so much of it, or not for this user.
fn cannot_take(error: &io::Error) -> bool {
    const REFUSALS: [Errno; 10] = [
        Errno::NOTSUP,
        Errno::NOSYS,
        Errno::PERM,
        Errno::ACCESS,
        Errno::INVAL,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::TOOBIG,
        Errno::RANGE,
        Errno::NAMETOOLONG,
    ];
    Errno::from_io_error(error).is_some_and(|errno| REFUSALS.contains(&errno))
}

/// Of FUSE drivers that do not even answer statfs, the one for FAT loses bytes that are not written in order. An export is
/// read back and would find out; an import is not.
fn is_fuse(dir: &Dir) -> bool {
    // FUSE_SUPER_MAGIC of linux/magic.h.
    rustix::fs::fstatfs(dir).is_ok_and(|fs| fs.f_type == 0x6573_5546)
}

fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

fn timestamps(mtime: (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: mtime.0, tv_nsec: mtime.1.into() };
    Timestamps { last_access: time, last_modification: time }
}
