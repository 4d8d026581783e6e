//! Opening what lies beneath a directory that is held, without following a link and without leaving it.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// The directory beneath `dir` that the last component of `name` lies in, and that component.
pub(super) fn parent_of<'d, 'n>(dir: &'d OwnedFd, name: &'n OsStr) -> io::Result<(Parent<'d>, &'n OsStr)> {
    let bytes = name.as_bytes();
    let Some(slash) = bytes.iter().rposition(|b| *b == b'/') else {
        return Ok((Parent::Own(dir.as_fd()), plain(name)?));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = dir_beneath(dir, OsStr::from_bytes(&bytes[..slash]), flags).map_err(told)?;
    Ok((Parent::Beneath(above), plain(OsStr::from_bytes(&bytes[slash + 1..]))?))
}

/// Where the last component of a name lies.
pub(super) enum Parent<'a> {
    Own(BorrowedFd<'a>),
    Beneath(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Parent::Own(fd) => *fd,
            Parent::Beneath(fd) => fd.as_fd(),
        }
    }
}

/// A component that stays where it is.
fn plain(name: &OsStr) -> io::Result<&OsStr> {
    match Path::new(name).components().next() {
        Some(Component::Normal(only)) if only == name => Ok(name),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain name")),
    }
}

/// An error of the system, or that something is a link.
pub(super) fn told(error: Errno) -> io::Error {
    if error == Errno::LOOP { is_link() } else { error.into() }
}

/// What there is to say of a link.
pub(super) fn is_link() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("is {LINK}"))
}

/// What is said of a link where something of ours belongs.
pub const LINK: &str = "a symbolic link, which is not followed";

/// What something is called that has a name.
pub fn what(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something unknown",
    }
}

/// Why a file could not be opened. What is none may say so with an error that drives have (NXIO of a socket).
pub(super) fn why_not(dir: &OwnedFd, name: &OsStr, error: Errno) -> io::Error {
    let kind = || {
        let (parent, last) = parent_of(dir, name).ok()?;
        let found = rustix::fs::statat(parent.as_fd(), last, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(FileType::from_raw_mode(found.st_mode))
    };
    let is_other = |kind: &FileType| ![FileType::RegularFile, FileType::Symlink].contains(kind);
    match error {
        Errno::NOENT | Errno::EXIST => told(error),
        _ => kind().filter(is_other).map_or_else(|| told(error), no_file),
    }
}

/// What was opened, if that is a file.
pub(super) fn only_file(opened: File) -> io::Result<File> {
    match FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode) {
        FileType::RegularFile => Ok(opened),
        other => Err(no_file(other)),
    }
}

fn no_file(kind: FileType) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}, and no regular file", what(kind)))
}

/// Opens a directory beneath another one. The system calls a link no directory; it is told apart.
pub(super) fn dir_beneath(dir: &OwnedFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    beneath(dir, name, flags, Mode::empty()).map_err(|error| {
        let what = beneath(dir, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let kind = what.and_then(|fd| rustix::fs::fstat(&fd)).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if error == Errno::NOTDIR && kind == Ok(FileType::Symlink) { Errno::LOOP } else { error }
    })
}

/// Opens what lies beneath a directory, following no link and leaving it by no other way.
pub(super) fn beneath(dir: &OwnedFd, name: &OsStr, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    loop {
        return match rustix::fs::openat2(dir, name, flags | OFlags::NOFOLLOW, mode, resolve) {
            // Something was renamed meanwhile, and the kernel could not tell whether that mattered.
            Err(Errno::AGAIN) => continue,
            // Older than Linux 5.6, or behind a filter that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => by_component(dir, name, flags, mode),
            other => other,
        };
    }
}

/// The same one component after the other.
fn by_component(dir: &OwnedFd, name: &OsStr, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let mut above: Option<OwnedFd> = None;
    let mut components = Path::new(name).components().peekable();
    while let Some(component) = components.next() {
        let Component::Normal(component) = component else { return Err(Errno::XDEV) };
        let at = above.as_ref().unwrap_or(dir);
        if components.peek().is_none() {
            let opened = rustix::fs::openat(at, component, flags | OFlags::NOFOLLOW, mode)?;
            // With O_PATH a link can be opened itself.
            let link = FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode) == FileType::Symlink;
            return if link && !flags.contains(OFlags::PATH) { Err(Errno::LOOP) } else { Ok(opened) };
        }
        let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        above = Some(rustix::fs::openat(at, component, way, Mode::empty())?);
    }
    Err(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    type Way = fn(&OwnedFd, &OsStr, OFlags, Mode) -> Result<OwnedFd, Errno>;

    /// Both ways to open, the one of this kernel and the one of old ones, judge alike.
    #[test]
    fn no_link_is_followed_and_nothing_above_is_reached() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        fs::create_dir_all(at("held/real/deep")).unwrap();
        fs::create_dir(at("outside")).unwrap();
        for file in ["outside/secret", "held/real/file", "held/real/deep/file"] {
            fs::write(at(file), file).unwrap();
        }
        symlink(at("outside"), at("held/link")).unwrap();
        symlink("real", at("held/inside")).unwrap();
        symlink(at("outside/secret"), at("held/real/alias")).unwrap();
        let dir = File::open(at("held")).map(OwnedFd::from).unwrap();
        let read = OFlags::RDONLY | OFlags::CLOEXEC;
        for way in [beneath as Way, by_component as Way] {
            let opens = |name: &str| way(&dir, OsStr::new(name), read, Mode::empty()).map(drop);
            for good in ["real/file", "real/deep/file", "real/deep", "real"] {
                assert_eq!(opens(good), Ok(()), "{good}");
            }
            let absolute = at("outside/secret");
            for bad in [
                "link",
                "link/secret",
                "inside/file",
                "real/alias",
                "../outside/secret",
                "..",
                absolute.to_str().unwrap(),
            ] {
                assert!(opens(bad).is_err(), "{bad}");
            }
            let missing = opens("real/nothing").unwrap_err();
            assert_eq!(missing, Errno::NOENT);
        }
    }
}
