//! Placing files on import: everything is made in a staging directory of our own, and renamed when it is whole.
//!
//! In it are `files`, which becomes the target (or whose contents do), the journal of what has been placed, and a scratch
//! directory for blocks of drives that had to leave.

pub mod claim;
mod commit;
mod removal;

pub use commit::Own;

use crate::error::{Error, Result};
use crate::media::disk::{Disk, Opened, Operation};
use crate::media::fence::Needs;
use crate::text::printable;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

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
    dir: File,
    path: PathBuf,
    target: PathBuf,
    /// Contents are moved into the target, which stays (a mount point, or in a directory that may not be written to).
    inside: bool,
    /// The target is a mount point, whose mode is not for a set to decide.
    keeps_attributes: bool,
    /// The files have got their final name already.
    moved: bool,
    attributes_lost: AtomicU64,
    _lock: File,
}

/// The beginning of the name of every staging directory, and its end.
const PREFIX: &str = ".ckvault-";
const SUFFIX: &str = ".partial";
/// What is in it.
const FILES: &str = "files";
const JOURNAL: &str = "journal";
const SCRATCH: &str = "scratch";
const PROBE: &str = ".ckvault-probe";

/// The name of the staging directory that is made inside of a target that stays.
pub fn name_inside(id: &str) -> String {
    format!("{PREFIX}{id}{SUFFIX}")
}

impl Staging {
    /// Where the journal is.
    pub fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL)
    }

    /// Where blocks of drives that had to leave are kept.
    pub fn scratch(&self) -> PathBuf {
        self.path.join(SCRATCH)
    }

    /// What it is written through.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// What is needed now that it is there. What is placed becomes the target, or is moved into it.
    pub fn narrowed(&self, needs: Needs) -> Needs {
        let files = self.path.join(FILES);
        let parent = self.target.parent().map(Path::to_owned);
        let (inside, receive) = match self.inside {
            true => (Some(self.target.clone()), Vec::new()),
            false => (None, parent.into_iter().collect()),
        };
        Needs { write: [self.path.clone(), files].into_iter().chain(inside).collect(), receive, ..needs }
    }

    /// Whether the file system below takes two spellings of a name for the same.
    pub fn folds_case(&self) -> Result<bool> {
        let lower = self.probe()?;
        let folds = self.path.join(PROBE.to_uppercase()).symlink_metadata().is_ok();
        std::fs::remove_file(&lower).map_err(Error::io("remove", &lower))?;
        Ok(folds)
    }

    /// Whether it takes symbolic links.
    pub fn takes_symlinks(&self) -> bool {
        let link = self.path.join(PROBE);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink("nowhere", &link).and_then(|()| std::fs::remove_file(&link)).is_ok()
    }

    /// Whether it takes second names of files.
    pub fn takes_hard_links(&self) -> Result<bool> {
        let (file, link) = (self.probe()?, self.path.join(format!("{PROBE}-link")));
        let _ = std::fs::remove_file(&link);
        let takes = std::fs::hard_link(&file, &link).and_then(|()| std::fs::remove_file(&link)).is_ok();
        std::fs::remove_file(&file).map_err(Error::io("remove", &file))?;
        Ok(takes)
    }

    /// A file to try things with; one that an import that was killed has left is removed.
    fn probe(&self) -> Result<PathBuf> {
        let path = self.path.join(PROBE);
        let _ = std::fs::remove_file(&path);
        File::create_new(&path).map_err(Error::io("create", &path))?;
        Ok(path)
    }

    /// Whether a process serves the file system below (FUSE). There are such that lose what is written out of order, and say
    /// nothing.
    pub fn is_served(&self) -> bool {
        is_fuse(&self.dir)
    }

    /// Whether there is room for so many bytes of files.
    pub fn require_room(&self, needed: u64) -> Result<()> {
        let vfs = rustix::fs::fstatvfs(&self.dir).map_err(|e| Error::io("measure", &self.path)(e.into()))?;
        if vfs.f_blocks == 0 && is_fuse(&self.dir) {
            return Err(Error::drive(
                format!("the driver of the file system of {} does not tell its size", self.target.display()),
                "import to another file system: simple drivers can lose what is written to them, and nobody would notice",
            ));
        }
        let free = crate::media::drive::free(&vfs);
        match needed <= free {
            true => Ok(()),
            false => Err(Error::drive(
                format!("{} bytes are free for {}, and the files need {needed}", free, self.target.display()),
                "make room, import to a larger disk, or only some files with --only",
            )),
        }
    }

    /// Makes a directory.
    pub fn make_dir(&self, path: &[u8]) -> Result<()> {
        self.allow(Operation::Create, "create", path)?;
        rustix::fs::mkdirat(&self.dir, os(path), Mode::from_raw_mode(0o700)).map_err(self.failed("create", path))
    }

    /// Makes a file; it must not exist under any spelling that the file system takes for the same.
    pub fn create_file(&self, path: &[u8]) -> Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.allow(Operation::Create, "create", path)?;
        let fd = rustix::fs::openat(&self.dir, os(path), flags, Mode::from_raw_mode(0o600));
        fd.map(File::from).map_err(self.failed("create", path))
    }

    /// Makes a directory that an import that was stopped may have made already; whatever has to be done in it can be done.
    pub fn make_dir_again(&self, path: &[u8]) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.allow(Operation::Create, "create", path)?;
        match rustix::fs::mkdirat(&self.dir, os(path), Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) => {
                // Where there are no modes, none forbids anything.
                let _ = rustix::fs::chmodat(&self.dir, os(path), Mode::from_raw_mode(0o700), AtFlags::empty());
                rustix::fs::openat(&self.dir, os(path), flags, Mode::empty())
                    .map(drop)
                    .map_err(self.failed("open", path))
            }
            other => other.map_err(self.failed("create", path)),
        }
    }

    /// Whether there is something of this name.
    pub fn has(&self, path: &[u8]) -> bool {
        rustix::fs::statat(&self.dir, os(path), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Removes a file or link, if it is there.
    pub fn remove(&self, path: &[u8]) -> Result<()> {
        self.allow(Operation::Remove, "remove", path)?;
        match rustix::fs::unlinkat(&self.dir, os(path), AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => other.map_err(self.failed("remove", path)),
        }
    }

    /// Gives a file another name, which nothing has.
    pub fn rename(&self, from: &[u8], to: &[u8]) -> Result<()> {
        self.allow(Operation::Rename, "rename", from)?;
        rustix::fs::renameat(&self.dir, os(from), &self.dir, os(to)).map_err(self.failed("rename", from))
    }

    /// Opens a file for reading that may have got the mode of the set already, which may forbid it.
    pub fn open_to_read(&self, path: &[u8]) -> Result<Opened> {
        self.reopen_with(path, OFlags::RDONLY).map(|file| self.disk.opened(file))
    }

    /// The same for writing. Some file systems give no file for both.
    pub fn reopen(&self, path: &[u8]) -> Result<File> {
        self.reopen_with(path, OFlags::WRONLY)
    }

    fn reopen_with(&self, path: &[u8], flags: OFlags) -> Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.allow(Operation::Open, "open", path)?;
        let open = || rustix::fs::openat(&self.dir, os(path), flags, Mode::empty());
        let opened = open().or_else(|e| {
            if e == Errno::ACCESS {
                rustix::fs::chmodat(&self.dir, os(path), Mode::from_raw_mode(0o600), AtFlags::empty())?;
            }
            open()
        });
        opened.map(File::from).map_err(self.failed("open", path))
    }

    /// Reads from a file that has been placed; returns how many bytes there were.
    pub fn read_at(&self, file: &Opened, path: &[u8], buffer: &mut [u8], offset: u64) -> Result<usize> {
        let at = || self.target.join(printable(path));
        file.read_up_to(buffer, offset).map_err(|e| Error::io("read", at())(e))
    }

    /// Opens a file that has been created.
    pub fn open_file(&self, path: &[u8]) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.allow(Operation::Open, "open", path)?;
        let fd = rustix::fs::openat(&self.dir, os(path), flags, Mode::empty());
        fd.map(File::from).map_err(self.failed("open", path))
    }

    /// Writes all of `bytes` at `offset` of a file that has been created or opened.
    pub fn write_at(&self, file: &File, path: &[u8], bytes: &[u8], offset: u64) -> Result<()> {
        let at = || self.target.join(printable(path));
        self.disk.write_all_at(file, bytes, offset).map_err(|e| Error::io("write", at())(e))
    }

    /// Gives a file its length, where that is not what was written last.
    pub fn set_len(&self, file: &File, path: &[u8], len: u64) -> Result<()> {
        self.allow(Operation::Resize, "extend", path)?;
        file.set_len(len).map_err(|e| Error::io("extend", self.target.join(printable(path)))(e))
    }

    fn allow(&self, operation: Operation, action: &'static str, path: &[u8]) -> Result<()> {
        let at = self.target.join(printable(path));
        self.disk.allow(operation, &at).map_err(Error::io(action, &at))
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, path: &[u8], target: &[u8], mtime: (i64, u32)) -> Result<()> {
        self.allow(Operation::Change, "create", path)?;
        rustix::fs::symlinkat(os(target), &self.dir, os(path)).map_err(self.failed("create", path))?;
        let times = timestamps(mtime);
        rustix::fs::utimensat(&self.dir, os(path), &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(self.failed("set the time of", path))
    }

    /// Makes a hard link to a file that has been placed.
    pub fn hardlink(&self, path: &[u8], target: &[u8]) -> Result<()> {
        self.allow(Operation::Change, "link", path)?;
        rustix::fs::linkat(&self.dir, os(target), &self.dir, os(path), AtFlags::empty())
            .map_err(self.failed("link", path))
    }

    /// Gives an open file its metadata; the time last, since the others do not change it.
    pub fn finish_file(&self, file: &File, path: &[u8], attributes: Attributes) -> Result<()> {
        self.allow(Operation::Change, "set the mode of", path)?;
        self.set_xattrs(file, path, attributes.xattrs)?;
        // Programs that run with another user's rights do not travel.
        let mode = Mode::from_raw_mode(attributes.mode & 0o1777);
        self.set_mode(file, path, mode)?;
        rustix::fs::futimens(file, &timestamps(attributes.mtime)).map_err(self.failed("set the time of", path))
    }

    /// Gives a directory its metadata; the empty path is the staging directory itself.
    pub fn finish_dir(&self, path: &[u8], attributes: Attributes) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.allow(Operation::Change, "set the mode of", path)?;
        let name = if path.is_empty() { OsStr::new(".") } else { os(path) };
        let dir = rustix::fs::openat(&self.dir, name, flags, Mode::empty()).map_err(self.failed("open", path))?;
        self.set_xattrs(&dir, path, attributes.xattrs)?;
        let mode = Mode::from_raw_mode(attributes.mode & 0o3777);
        self.set_mode(&dir, path, mode)?;
        rustix::fs::futimens(&dir, &timestamps(attributes.mtime)).map_err(self.failed("set the time of", path))
    }

    /// The mode of a target whose set has none for it.
    pub fn open_to_all(&self) -> Result<()> {
        self.set_mode(&self.dir, b"", Mode::from_raw_mode(Own::default().mode))
    }

    fn set_mode(&self, fd: impl AsFd, path: &[u8], mode: Mode) -> Result<()> {
        match rustix::fs::fchmod(fd, mode) {
            Err(Errno::NOTSUP | Errno::NOSYS) => {
                self.attributes_lost.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            other => other.map_err(self.failed("set the mode of", path)),
        }
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
            match rustix::fs::fsetxattr(&fd, &c_name, value, rustix::fs::XattrFlags::empty()) {
                Err(Errno::NOTSUP) => {
                    self.attributes_lost.fetch_add(1, Ordering::Relaxed);
                }
                other => other.map_err(self.failed("set an attribute of", path))?,
            }
        }
        Ok(())
    }

    /// How many modes and extended attributes the file system could not take.
    pub fn attributes_lost(&self) -> u64 {
        self.attributes_lost.load(Ordering::Relaxed)
    }

    fn failed<'a>(&'a self, action: &'static str, path: &'a [u8]) -> impl FnOnce(Errno) -> Error + 'a {
        move |e| match e {
            Errno::EXIST => Error::refused(
                format!(
                    "{} clashes with another name on the file system of {}",
                    printable(path),
                    self.target.display()
                ),
                "import to a file system that tells such names apart (ext4, for example)",
            ),
            // Drivers of exFAT and FAT differ in what they call a name with a colon, for example.
            Errno::NOENT | Errno::INVAL | Errno::ILSEQ | Errno::NAMETOOLONG if action == "create" => Error::refused(
                format!("the file system of {} does not take the name {}", self.target.display(), printable(path)),
                "import to a file system that does (ext4, for example), or only some files with --only",
            ),
            e => Error::io(action, self.target.join(printable(path)))(e.into()),
        }
    }
}

/// Of FUSE drivers that do not even answer statfs, the one for FAT loses bytes that are not written in order. An export is
/// read back and would find out; an import is not.
fn is_fuse(dir: &File) -> bool {
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
