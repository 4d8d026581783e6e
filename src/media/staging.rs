//! Placing files on import: everything is made in a staging directory of our own, and renamed when it is whole.

use crate::error::{Error, Result};
use crate::text::printable;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
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

/// A directory that becomes the target, or whose contents do.
pub struct Staging {
    dir: File,
    path: PathBuf,
    target: PathBuf,
    /// Contents are moved into the target, which stays (a mount point, or in a directory that may not be written to).
    inside: bool,
    /// The target is a mount point, whose mode is not for a set to decide.
    keeps_attributes: bool,
    attributes_lost: AtomicU64,
}

/// The beginning of the name of every staging directory.
const PREFIX: &str = ".ckvault-";

/// The name of the staging directory that is made inside of a target that stays.
pub fn name_inside(id: &str) -> String {
    format!("{PREFIX}{id}.partial")
}

impl Staging {
    /// Prepares the staging directory for a target that does not exist or is an empty directory.
    pub fn begin(target: &Path, id: &str) -> Result<Staging> {
        let target = std::path::absolute(target).map_err(Error::io("resolve", target))?;
        let target = if target.file_name().is_some() {
            target
        } else {
            target.canonicalize().map_err(Error::io("resolve", &target))?
        };
        let parent = target.parent().unwrap_or(&target).to_owned();
        let (inside, keeps_attributes) = match std::fs::symlink_metadata(&target) {
            Ok(_) => must_stay(&target, &parent)?,
            Err(_) => {
                std::fs::create_dir_all(&parent).map_err(Error::io("create", &parent))?;
                (false, false)
            }
        };
        let path = match inside {
            true => target.join(name_inside(id)),
            false => {
                let name = target.file_name().unwrap_or_default().as_bytes();
                let tag = blake3::hash(name).to_hex();
                parent.join(format!("{PREFIX}{id}-{}.partial", &tag[..8]))
            }
        };
        require_empty(&target, inside.then_some(&*path))?;
        let dir = own(&path)?;
        Ok(Staging { dir, path, target, inside, keeps_attributes, attributes_lost: AtomicU64::new(0) })
    }

    /// Whether the file system below takes two spellings of a name for the same.
    pub fn folds_case(&self) -> Result<bool> {
        let lower = self.path.join(".ckvault-probe");
        File::create_new(&lower).map_err(Error::io("create", &lower))?;
        let folds = self.path.join(".CKVAULT-PROBE").symlink_metadata().is_ok();
        std::fs::remove_file(&lower).map_err(Error::io("remove", &lower))?;
        Ok(folds)
    }

    /// Whether there is room for so many bytes of files.
    pub fn require_room(&self, needed: u64) -> Result<()> {
        let vfs = rustix::fs::fstatvfs(&self.dir).map_err(|e| Error::io("measure", &self.path)(e.into()))?;
        let free = vfs.f_bavail.saturating_mul(vfs.f_frsize);
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
        rustix::fs::mkdirat(&self.dir, os(path), Mode::from_raw_mode(0o700)).map_err(self.failed("create", path))
    }

    /// Makes a file; it must not exist under any spelling that the file system takes for the same.
    pub fn create_file(&self, path: &[u8]) -> Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.dir, os(path), flags, Mode::from_raw_mode(0o600));
        fd.map(File::from).map_err(self.failed("create", path))
    }

    /// Opens a file that has been created.
    pub fn open_file(&self, path: &[u8]) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.dir, os(path), flags, Mode::empty());
        fd.map(File::from).map_err(self.failed("open", path))
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, path: &[u8], target: &[u8], mtime: (i64, u32)) -> Result<()> {
        rustix::fs::symlinkat(os(target), &self.dir, os(path)).map_err(self.failed("create", path))?;
        let times = timestamps(mtime);
        rustix::fs::utimensat(&self.dir, os(path), &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(self.failed("set the time of", path))
    }

    /// Makes a hard link to a file that has been placed.
    pub fn hardlink(&self, path: &[u8], target: &[u8]) -> Result<()> {
        rustix::fs::linkat(&self.dir, os(target), &self.dir, os(path), AtFlags::empty())
            .map_err(self.failed("link", path))
    }

    /// Gives an open file its metadata; the time last, since the others do not change it.
    pub fn finish_file(&self, file: &File, path: &[u8], attributes: Attributes) -> Result<()> {
        self.set_xattrs(file, path, attributes.xattrs)?;
        // Programs that run with another user's rights do not travel.
        let mode = Mode::from_raw_mode(attributes.mode & 0o1777);
        self.set_mode(file, path, mode)?;
        rustix::fs::futimens(file, &timestamps(attributes.mtime)).map_err(self.failed("set the time of", path))
    }

    /// Gives a directory its metadata; the empty path is the staging directory itself.
    pub fn finish_dir(&self, path: &[u8], attributes: Attributes) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = if path.is_empty() { OsStr::new(".") } else { os(path) };
        let dir = rustix::fs::openat(&self.dir, name, flags, Mode::empty()).map_err(self.failed("open", path))?;
        self.set_xattrs(&dir, path, attributes.xattrs)?;
        let mode = Mode::from_raw_mode(attributes.mode & 0o3777);
        self.set_mode(&dir, path, mode)?;
        rustix::fs::futimens(&dir, &timestamps(attributes.mtime)).map_err(self.failed("set the time of", path))
    }

    /// The mode of a target whose set has none for it.
    pub fn open_to_all(&self) -> Result<()> {
        self.set_mode(&self.dir, b"", Mode::from_raw_mode(0o755))
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

    /// Makes everything durable and gives it its final name.
    pub fn commit(&self) -> Result<()> {
        rustix::fs::syncfs(&self.dir).map_err(|e| Error::io("sync", &self.path)(e.into()))?;
        if self.inside {
            self.move_contents()?;
        } else {
            std::fs::rename(&self.path, &self.target).map_err(Error::io("rename to", &self.target))?;
        }
        let parent = if self.inside { Some(&*self.target) } else { self.target.parent() };
        match parent {
            Some(parent) => File::open(parent).and_then(|d| d.sync_all()).map_err(Error::io("sync", parent)),
            None => Ok(()),
        }
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

    /// Moves the contents of the staging directory into the target, all or nothing.
    fn move_contents(&self) -> Result<()> {
        let meta = std::fs::metadata(&self.path).map_err(Error::io("read", &self.path))?;
        // The set's mode for it may forbid what has to be done now; where there are no modes, none does.
        let _ = std::fs::set_permissions(&self.path, Permissions::from_mode(0o700));
        let mut moves = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(Error::io("read", &self.path))? {
            let entry = entry.map_err(Error::io("read", &self.path))?;
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
            if let Err(e) = move_entry(from, to) {
                moves[..done].iter().for_each(|(from, to)| drop(move_entry(to, from)));
                return Err(Error::io("rename to", to)(e));
            }
        }
        std::fs::remove_dir(&self.path).map_err(Error::io("remove", &self.path))?;
        match self.keeps_attributes {
            true => Ok(()),
            false => self.adopt(&meta),
        }
    }

    /// Gives a target that stays the mode and time that the staging directory had, if it is ours to change.
    fn adopt(&self, meta: &std::fs::Metadata) -> Result<()> {
        let mtime = (meta.mtime(), meta.mtime_nsec() as u32);
        let changed = std::fs::set_permissions(&self.target, meta.permissions()).and_then(|()| {
            rustix::fs::utimensat(rustix::fs::CWD, &self.target, &timestamps(mtime), AtFlags::empty())
                .map_err(Into::into)
        });
        match changed {
            Err(e) if e.kind() != io::ErrorKind::PermissionDenied => Err(Error::io("set the mode of", &self.target)(e)),
            _ => Ok(()),
        }
    }

    /// Removes everything that was placed.
    pub fn abandon(self) {
        let _ = remove_tree(&self.path);
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
            e => Error::io(action, self.target.join(printable(path)))(e.into()),
        }
    }
}

fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

fn timestamps(mtime: (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: mtime.0, tv_nsec: mtime.1.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Whether a target that exists is one that stays and only receives contents, and whether it keeps its mode and time too.
fn must_stay(target: &Path, parent: &Path) -> Result<(bool, bool)> {
    let meta = std::fs::metadata(target).map_err(Error::io("read", target))?;
    if !meta.is_dir() {
        return Err(Error::refused(
            format!("{} is not a directory", target.display()),
            "name a directory that is empty or does not exist",
        ));
    }
    let above = std::fs::metadata(parent).map_err(Error::io("read", parent))?;
    let mount_point = meta.dev() != above.dev() || meta.ino() == above.ino();
    let link = target.is_symlink();
    // Another directory under the same name would leave who stands in this one in a directory that is gone.
    let here = std::fs::metadata(".").is_ok_and(|m| (m.dev(), m.ino()) == (meta.dev(), meta.ino()));
    let writable = rustix::fs::access(parent, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok();
    Ok((mount_point || link || here || !writable, mount_point))
}

/// What else may be in a target that stays: an old staging directory, and what ext4 puts at its top.
fn require_empty(target: &Path, staging: Option<&Path>) -> Result<()> {
    let entries = match std::fs::read_dir(target) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(Error::io("read", target))?,
    };
    for entry in entries {
        let path = entry.map_err(Error::io("read", target))?.path();
        let excused = staging.is_some_and(|s| path == s || path.ends_with("lost+found"));
        if !excused {
            return Err(Error::refused(
                format!("{} is not empty", target.display()),
                "import into a directory that is empty or does not exist",
            ));
        }
    }
    Ok(())
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

/// Removes a tree of ours, whatever modes its directories have been given. What lies deep is moved up first: a set may nest
/// as deep as the longest path, below which neither that path nor a descriptor for each level is to be had.
fn remove_tree(path: &Path) -> io::Result<()> {
    let mut moved = 0u64;
    loop {
        let dirs = remove_files(path)?;
        if dirs.is_empty() {
            return std::fs::remove_dir(path);
        }
        for dir in dirs {
            for inner in remove_files(&dir)? {
                // A directory that may not be written to cannot change its parent.
                let _ = std::fs::set_permissions(&inner, Permissions::from_mode(0o700));
                move_up(&inner, path, &mut moved)?;
            }
            std::fs::remove_dir(&dir)?;
        }
    }
}

/// Removes all that is no directory from one of ours, and returns the directories in it.
fn remove_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    // File systems without modes refuse, and need none.
    let _ = std::fs::set_permissions(path, Permissions::from_mode(0o700));
    let mut dirs = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => dirs.push(entry.path()),
            false => std::fs::remove_file(entry.path())?,
        }
    }
    Ok(dirs)
}

/// Moves a directory into `to` under a name that nothing has; an empty directory that has it is gone anyway.
fn move_up(dir: &Path, to: &Path, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        match std::fs::rename(dir, to.join(format!("{PREFIX}{moved}"))) {
            Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {}
            other => return other,
        }
    }
}

/// Makes the staging directory and locks it; what an import that was killed left there is removed first.
fn own(path: &Path) -> Result<File> {
    let busy = || Error::refused(format!("another import is writing to {}", path.display()), "wait for it, or stop it");
    if let Ok(old) = File::open(path) {
        rustix::fs::flock(&old, FlockOperation::NonBlockingLockExclusive).map_err(|_| busy())?;
        remove_tree(path).map_err(Error::io("remove", path))?;
    }
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(path).map_err(Error::io("create", path))?;
    let dir = File::open(path).map_err(Error::io("open", path))?;
    rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).map_err(|_| busy())?;
    Ok(dir)
}
