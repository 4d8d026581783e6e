//! Directories that are opened once and held. Everything in them is done through that descriptor: whatever somebody puts in
//! the place of the directory, or of one in it, nothing outside is read, written or removed.
//!
//! A link is followed only on the way to a directory that the user has named, once. Inside of a held directory no link is
//! ever followed, not even in the middle of a name: the kernel is told so (openat2(2), `RESOLVE_NO_SYMLINKS`), and where it
//! does not know how, each component is opened by itself. Paths are kept to be shown, and not used again.

use super::act::Act;
pub use super::beneath::{LINK, what};
use super::beneath::{beneath, dir_beneath, is_link, only_file, parent_of, told, why_not};
use super::disk::{Disk, Opened, Operation};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory that is held. Clones share the descriptor; the last one closes it.
#[derive(Clone)]
pub struct Dir(Arc<Held>);

struct Held {
    disk: Disk,
    fd: OwnedFd,
    path: PathBuf,
}

/// A name in a held directory, which may have several components.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The directory.
    pub dir: Dir,
    /// The name.
    pub name: String,
}

/// By which a directory is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
}

/// How every directory is opened.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Dir {
    /// Opens a directory that the user has named; if that is a link, it is followed.
    pub fn given(disk: &Disk, path: &Path) -> io::Result<Dir> {
        disk.allow(Operation::Open, path)?;
        let open = |flags| rustix::fs::openat(CWD, path, flags, Mode::empty());
        Ok(Dir::held(disk, or_unlisted(open)?, path.to_owned()))
    }

    /// The same for one that may not be there yet: it is made, durably, and those above it.
    pub fn given_or_made(disk: &Disk, path: &Path) -> io::Result<Dir> {
        Dir::made_with(disk, path, 0o777)
    }

    /// The same for a directory that nobody else may look into if it is made.
    pub fn given_or_made_private(disk: &Disk, path: &Path) -> io::Result<Dir> {
        Dir::made_with(disk, path, 0o700)
    }

    fn made_with(disk: &Disk, path: &Path, mode: u32) -> io::Result<Dir> {
        match (Dir::given(disk, path), path.parent(), path.file_name()) {
            (Err(e), Some(parent), Some(name)) if e.kind() == io::ErrorKind::NotFound => {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                let parent = Dir::made_with(disk, parent, mode)?;
                let made = parent.make_dir(name, mode)?;
                parent.sync()?;
                Ok(Dir::held(disk, made.0.fd.try_clone()?, path.to_owned()))
            }
            (opened, ..) => opened,
        }
    }

    fn held(disk: &Disk, fd: OwnedFd, path: PathBuf) -> Dir {
        Dir(Arc::new(Held { disk: disk.clone(), fd, path }))
    }

    /// Where it was when it was opened: to be shown.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What it is read and written through.
    pub fn disk(&self) -> &Disk {
        &self.0.disk
    }

    /// Where it really is, without links, as far as the system tells.
    pub fn real_path(&self) -> PathBuf {
        let told = rustix::fs::readlinkat(CWD, proc_path(&self.0.fd), Vec::new());
        told.map_or_else(|_| self.path().to_owned(), |path| PathBuf::from(OsString::from_vec(path.into_bytes())))
    }

    /// The last component of its path, also where that is `.` or `/`.
    pub fn name(&self) -> OsString {
        let named = self.path().file_name().map(OsStr::to_owned);
        named.unwrap_or_else(|| self.real_path().file_name().map(OsStr::to_owned).unwrap_or_default())
    }

    /// A place in it.
    pub fn at(&self, name: impl Into<String>) -> Location {
        Location { dir: self.clone(), name: name.into() }
    }

    /// The path of something in it, to be shown.
    pub fn show(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path().join(Path::new(name.as_ref()))
    }

    /// By which it is known again.
    pub fn identity(&self) -> io::Result<Identity> {
        Ok(Identity::of(&rustix::fs::fstat(&self.0.fd)?))
    }

    /// The same of something in it, if it is there.
    pub fn identity_of(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Identity>> {
        Ok(self.stat(name)?.as_ref().map(Identity::of))
    }

    /// Whether it says more about who may do what than its mode does (acl(5)).
    pub fn has_access_list(&self) -> bool {
        const LISTS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];
        LISTS.iter().any(|list| rustix::fs::fgetxattr(&self.0.fd, *list, &mut [0u8; 0][..]).is_ok_and(|len| len > 0))
    }

    /// Whether a file system is mounted here, as far as the system tells; a bind mount counts.
    pub fn is_mount_point(&self) -> bool {
        use rustix::fs::{StatxAttributes, StatxFlags, statx};
        let told = statx(&self.0.fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).ok();
        let told = told.filter(|s| s.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT));
        match told {
            Some(stat) => stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
            None => self.is_on_another_device(),
        }
    }

    /// What systems before Linux 5.8 can tell: the directory above is on another device, or is this one.
    fn is_on_another_device(&self) -> bool {
        let above = rustix::fs::statat(&self.0.fd, "..", AtFlags::empty());
        let own = rustix::fs::fstat(&self.0.fd);
        matches!((own, above), (Ok(own), Ok(above)) if own.st_dev != above.st_dev || own.st_ino == above.st_ino)
    }

    /// Its metadata.
    pub fn metadata(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.0.fd)?)
    }

    /// The directory above, without a name: for questions only.
    pub fn above(&self) -> io::Result<Dir> {
        let open = |flags| rustix::fs::openat(&self.0.fd, "..", flags, Mode::empty());
        let fd = or_unlisted(open)?;
        let path = self.real_path().parent().map_or_else(|| self.path().join(".."), Path::to_owned);
        Ok(Dir::held(self.disk(), fd, path))
    }

    /// Whether this user may do that in it.
    pub fn access(&self, wanted: rustix::fs::Access) -> io::Result<()> {
        Ok(rustix::fs::accessat(&self.0.fd, ".", wanted, AtFlags::empty())?)
    }

    /// A directory in it; never a link.
    pub fn dir(&self, name: impl AsRef<OsStr>) -> io::Result<Dir> {
        let path = self.show(&name);
        self.disk().allow(Operation::Open, &path)?;
        let open = |flags| dir_beneath(&self.0.fd, name.as_ref(), flags);
        Ok(Dir::held(self.disk(), or_unlisted(open)?, path))
    }

    /// Makes a directory that must not exist, and opens it.
    pub fn make_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<Dir> {
        let (parent, last) = parent_of(&self.0.fd, name.as_ref())?;
        self.disk().allow(Operation::Create, &self.show(&name))?;
        rustix::fs::mkdirat(parent.as_fd(), last, Mode::from_raw_mode(mode)).map_err(|e| self.full(e.into()))?;
        self.disk().did(&Act::Named((parent.as_fd(), last)));
        let made = self.dir(name.as_ref()).and_then(|dir| match dir.names() {
            // Somebody who may rename here has put another directory in the place of the new one.
            Ok(names) if !names.is_empty() => Err(io::ErrorKind::DirectoryNotEmpty.into()),
            _ => Ok(dir),
        });
        made.inspect_err(|_| {
            let _ = rustix::fs::unlinkat(parent.as_fd(), last, AtFlags::REMOVEDIR);
        })
    }

    /// Opens a file for reading. What lies on a drive may be anything: only regular files are opened.
    pub fn open(&self, name: impl AsRef<OsStr>) -> io::Result<Opened> {
        self.open_with(name, OFlags::RDONLY, 0).map(|file| self.disk().opened(file))
    }

    /// Reads a small file whole, up to `limit` bytes.
    pub fn read(&self, name: impl AsRef<OsStr>, limit: u64) -> io::Result<Vec<u8>> {
        super::take_all(self.open(name)?, limit)
    }

    /// Opens a file for writing and reading.
    pub fn open_to_write(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open_with(name, OFlags::RDWR, 0)
    }

    /// Makes a file that must not exist, to be written and read.
    pub fn create(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        self.disk().allow(Operation::Create, &self.show(&name))?;
        self.made(name.as_ref(), OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, mode)
    }

    /// Opens a file of ours for reading and writing; makes it if it is not there.
    pub fn open_or_create(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        self.disk().allow(Operation::Create, &self.show(&name))?;
        self.made(name.as_ref(), OFlags::RDWR | OFlags::CREATE, mode)
    }

    fn made(&self, name: &OsStr, flags: OFlags, mode: u32) -> io::Result<File> {
        let file = self.open_unasked(name, flags, mode)?;
        if let Ok((parent, last)) = parent_of(&self.0.fd, name) {
            self.disk().did(&Act::Named((parent.as_fd(), last)));
        }
        Ok(file)
    }

    /// Opens a file of ours for reading and for writing at its end.
    pub fn open_to_append(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open_with(name, OFlags::RDWR | OFlags::APPEND, 0)
    }

    fn open_with(&self, name: impl AsRef<OsStr>, flags: OFlags, mode: u32) -> io::Result<File> {
        self.disk().allow(Operation::Open, &self.show(&name))?;
        self.open_unasked(name.as_ref(), flags, mode)
    }

    fn open_unasked(&self, name: &OsStr, flags: OFlags, mode: u32) -> io::Result<File> {
        // A fifo that nobody writes to must not keep us waiting.
        let flags = flags | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = beneath(&self.0.fd, name, flags, Mode::from_raw_mode(mode));
        let opened = opened.map_err(|e| self.full(why_not(&self.0.fd, name, e)))?;
        only_file(File::from(opened))
    }

    /// What has a name in it; `None` if nothing has.
    pub fn kind(&self, name: impl AsRef<OsStr>) -> io::Result<Option<FileType>> {
        Ok(self.stat(name)?.map(|stat| FileType::from_raw_mode(stat.st_mode)))
    }

    /// The metadata of what has a name in it, be it a link; `None` if nothing has.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Stat>> {
        let found = parent_of(&self.0.fd, name.as_ref())
            .and_then(|(parent, last)| Ok(rustix::fs::statat(parent.as_fd(), last, AtFlags::SYMLINK_NOFOLLOW)?));
        match found {
            Err(e) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&e.kind()) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Whether anything has this name.
    pub fn has(&self, name: impl AsRef<OsStr>) -> bool {
        !matches!(self.kind(name), Ok(None))
    }

    /// Whether a directory has this name.
    pub fn has_dir(&self, name: impl AsRef<OsStr>) -> bool {
        matches!(self.kind(name), Ok(Some(FileType::Directory)))
    }

    /// Whether a regular file has this name.
    pub fn has_file(&self, name: impl AsRef<OsStr>) -> bool {
        matches!(self.kind(name), Ok(Some(FileType::RegularFile)))
    }

    /// The names in it, in no order.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        Ok(self.entries()?.into_iter().map(|(name, _)| name).collect())
    }

    /// The names in it and what has them, in no order.
    pub fn entries(&self) -> io::Result<Vec<(OsString, FileType)>> {
        self.disk().allow(Operation::Open, self.path())?;
        // A descriptor of its own, which begins at the first name.
        let listing = rustix::fs::openat(&self.0.fd, ".", DIRECTORY, Mode::empty())?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::new(listing)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => self.kind(&name)?.unwrap_or(FileType::Unknown),
                known => known,
            };
            entries.push((name, kind));
        }
        Ok(entries)
    }

    /// Gives a file or directory in it another name.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        self.rename_to(from, self, to)
    }

    /// The same into another directory of the same file system.
    pub fn rename_to(&self, from: impl AsRef<OsStr>, dir: &Dir, to: impl AsRef<OsStr>) -> io::Result<()> {
        self.disk().allow(Operation::Rename, &self.show(&from))?;
        let (old, from) = parent_of(&self.0.fd, from.as_ref())?;
        let (new, to) = parent_of(&dir.0.fd, to.as_ref())?;
        rustix::fs::renameat(old.as_fd(), from, new.as_fd(), to)?;
        self.disk().did(&Act::Renamed((old.as_fd(), from), (new.as_fd(), to)));
        Ok(())
    }

    /// Gives a file another name in `dir` that nothing has. Where the file system cannot do that at once, it is looked for first.
    pub fn rename_to_new(&self, from: impl AsRef<OsStr>, dir: &Dir, to: impl AsRef<OsStr>) -> io::Result<()> {
        self.disk().allow(Operation::Rename, &self.show(&from))?;
        let (old, from) = parent_of(&self.0.fd, from.as_ref())?;
        let (new, to) = parent_of(&dir.0.fd, to.as_ref())?;
        let renamed = match rustix::fs::renameat_with(old.as_fd(), from, new.as_fd(), to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match dir.stat(to)? {
                None => Ok(rustix::fs::renameat(old.as_fd(), from, new.as_fd(), to)?),
                Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            },
            other => Ok(other?),
        };
        renamed.inspect(|()| self.disk().did(&Act::Renamed((old.as_fd(), from), (new.as_fd(), to))))
    }

    /// Removes what is no directory: of a link the link itself.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        self.unlink(name.as_ref(), AtFlags::empty())
    }

    /// Removes a directory that is empty.
    pub fn remove_dir(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        self.unlink(name.as_ref(), AtFlags::REMOVEDIR)
    }

    fn unlink(&self, name: &OsStr, flags: AtFlags) -> io::Result<()> {
        self.disk().allow(Operation::Remove, &self.show(name))?;
        let (parent, last) = parent_of(&self.0.fd, name)?;
        rustix::fs::unlinkat(parent.as_fd(), last, flags)?;
        self.disk().did(&Act::Removed((parent.as_fd(), last)));
        Ok(())
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, text: &OsStr, name: impl AsRef<OsStr>) -> io::Result<()> {
        self.disk().allow(Operation::Change, &self.show(&name))?;
        let (parent, last) = parent_of(&self.0.fd, name.as_ref())?;
        rustix::fs::symlinkat(text, parent.as_fd(), last).map_err(|e| self.full(e.into()))?;
        self.disk().did(&Act::Named((parent.as_fd(), last)));
        Ok(())
    }

    /// What a file system has run out of, if it is not bytes.
    fn full(&self, error: io::Error) -> io::Error {
        let none_left = || {
            rustix::fs::fstatvfs(&self.0.fd).is_ok_and(|vfs| vfs.f_files > 0 && vfs.f_favail == 0 && vfs.f_bavail > 0)
        };
        match error.kind() == io::ErrorKind::StorageFull && none_left() {
            true => {
                io::Error::new(error.kind(), "No space left on device: no inode is free, whatever bytes are (df -i)")
            }
            false => error,
        }
    }

    /// Makes a second name of a file in it.
    pub fn hard_link(&self, file: impl AsRef<OsStr>, name: impl AsRef<OsStr>) -> io::Result<()> {
        self.disk().allow(Operation::Change, &self.show(&name))?;
        let (old, file) = parent_of(&self.0.fd, file.as_ref())?;
        let (new, last) = parent_of(&self.0.fd, name.as_ref())?;
        rustix::fs::linkat(old.as_fd(), file, new.as_fd(), last, AtFlags::empty())?;
        self.disk().did(&Act::Named((new.as_fd(), last)));
        Ok(())
    }

    /// Sets the times of a link itself.
    pub fn set_link_times(&self, name: impl AsRef<OsStr>, times: &rustix::fs::Timestamps) -> io::Result<()> {
        let (parent, last) = parent_of(&self.0.fd, name.as_ref())?;
        Ok(rustix::fs::utimensat(parent.as_fd(), last, times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets the mode of a file or directory in it, also of one that may not be opened; never of what a link leads to.
    pub fn set_mode(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = beneath(&self.0.fd, name.as_ref(), flags, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) == FileType::Symlink {
            return Err(is_link());
        }
        // Before Linux 6.6 no call changes the mode of what is open without any permission, but for this name of it.
        Ok(rustix::fs::chmodat(CWD, proc_path(&found), Mode::from_raw_mode(mode), AtFlags::empty())?)
    }

    /// Lets its owner do everything with a file or directory in it, where the file system has modes.
    pub fn permit(&self, name: impl AsRef<OsStr>) {
        if let Ok(Some(stat)) = self.stat(&name)
            && stat.st_mode & 0o700 != 0o700
        {
            // Where there are no modes, none forbids anything.
            let _ = self.set_mode(name, stat.st_mode & 0o7777 | 0o700);
        }
    }

    /// Sets its own mode.
    pub fn set_own_mode(&self, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.0.fd, Mode::from_raw_mode(mode))?)
    }

    /// Makes the names in it durable. File systems that cannot (some FUSE ones) say so, and are excused.
    #[track_caller]
    pub fn sync(&self) -> io::Result<()> {
        self.disk().allow(Operation::Sync, self.path())?;
        match rustix::fs::fsync(&self.0.fd) {
            Ok(()) => self.disk().did(&Act::Synced(self.0.fd.as_fd(), std::panic::Location::caller())),
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            // A directory that may not be listed is held without the right to sync it.
            Err(Errno::BADF) => {}
            other => other?,
        }
        Ok(())
    }

    /// The last that is done on a drive: makes durable whatever is not yet, and holds it no more. Whether that went well.
    pub fn release(self) -> bool {
        // Drivers that are processes hear of this one only, and the others of the next.
        let _ = self.sync();
        self.disk().sync_all_of(&self).is_ok()
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

/// A directory that may be passed through, but not listed, is held all the same: what is in it is found by name.
fn or_unlisted(open: impl Fn(OFlags) -> Result<OwnedFd, Errno>) -> io::Result<OwnedFd> {
    match open(DIRECTORY) {
        Err(Errno::ACCESS) => Ok(open(OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?),
        other => other.map_err(told),
    }
}

/// The name that a descriptor has while it is open.
fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

impl Identity {
    fn of(stat: &Stat) -> Identity {
        Identity { device: stat.st_dev, inode: stat.st_ino }
    }
}

impl Location {
    /// Its path, to be shown.
    pub fn path(&self) -> PathBuf {
        self.dir.show(&self.name)
    }

    /// Opens the file.
    pub fn open(&self) -> io::Result<Opened> {
        self.dir.open(&self.name)
    }

    /// Whether anything has this name.
    pub fn exists(&self) -> bool {
        self.dir.has(&self.name)
    }
}

impl fmt::Debug for Dir {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.path().fmt(f)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.path().fmt(f)
    }
}

// Directories are told apart by the path that they were opened by.
impl PartialEq for Dir {
    fn eq(&self, other: &Dir) -> bool {
        self.path() == other.path()
    }
}

impl Eq for Dir {}

impl PartialOrd for Dir {
    fn partial_cmp(&self, other: &Dir) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Dir {
    fn cmp(&self, other: &Dir) -> std::cmp::Ordering {
        self.path().cmp(other.path())
    }
}

impl Hash for Dir {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.path().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn everything_is_done_through_the_descriptor_whatever_takes_the_place() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        fs::create_dir_all(at("held/sub")).unwrap();
        fs::create_dir_all(at("victim/sub")).unwrap();
        fs::write(at("victim/a"), "mine").unwrap();
        let dir = Dir::given(&Disk::default(), &at("held")).unwrap();
        fs::rename(at("held"), at("moved")).unwrap();
        symlink(at("victim"), at("held")).unwrap();
        dir.create("a", 0o600).unwrap();
        dir.rename("a", "sub/b").unwrap();
        dir.set_mode("sub/b", 0o640).unwrap();
        dir.make_dir("sub/c", 0o700).unwrap();
        dir.symlink(OsStr::new("b"), "sub/l").unwrap();
        assert!(dir.set_mode("sub/l", 0o777).is_err());
        let mut names = dir.dir("sub").unwrap().names().unwrap();
        names.sort();
        assert_eq!(names, ["b", "c", "l"]);
        dir.remove("sub/l").unwrap();
        dir.remove_dir("sub/c").unwrap();
        assert!(at("moved/sub/b").exists() && !at("moved/a").exists());
        assert_eq!(fs::read_to_string(at("victim/a")).unwrap(), "mine");
        assert_eq!(fs::read_dir(at("victim/sub")).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened_and_does_not_hang() {
        let temp = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(CWD, temp.path().join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        fs::create_dir(temp.path().join("dir")).unwrap();
        let dir = Dir::given(&Disk::default(), temp.path()).unwrap();
        for name in ["fifo", "dir"] {
            assert!(dir.open(name).is_err() && dir.open_or_create(name, 0o600).is_err(), "{name}");
            assert!(dir.create(name, 0o600).is_err(), "{name}");
        }
    }
}
