//! Files that say whom to trust, and secrets. One that others could have written is not read: it would say whatever they like.
//!
//! The rule is that of OpenSSH (`safe_path` in its misc.c): a file, and the directory that it lies in, belong to root or to
//! this user, and nobody else may write them. Three cases are harmless, and allowed: a directory in which only owners may
//! remove their files (as /tmp), a group that nobody else is in, and what was handed over as an open descriptor. Links on the way,
//! and the directories that they lie in, are judged alike. Other directories further up are not: who may rename in those can only
//! put another directory of ours in the place of this one.

use super::accounts::Accounts;
use super::dir::Dir;
use super::{drive, memory, take_all};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::text::{for_shell, has_text_after_armour, mark_of_encoding};
use rustix::fs::{
    CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, Stat, fcntl_setfl, fstat, fstatfs, getxattr_query, openat,
    readlinkat,
};
use rustix::io::Errno;
use std::cell::LazyCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use zeroize::Zeroizing;

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;
const ACL: &str = "system.posix_acl_access";
/// What helps always.
const COPY: &str = "copy it to a directory in which only you may write, and use the copy";

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It says whom to trust: nobody else may write it.
    Trust,
    /// It is a secret: nobody else should read it either.
    Secret,
}

/// Reads a file whole, up to `limit` bytes. The outer error says that others may write it, the inner one that it cannot be read.
pub fn read(path: &Path, limit: u64, kind: Kind, progress: &dyn Progress) -> Result<io::Result<Vec<u8>>> {
    Ok(open(path, kind, progress)?.and_then(|file| take_all(file, limit)))
}

/// The same for a secret, into memory for such.
pub fn read_secret(path: &Path, limit: u64, progress: &dyn Progress) -> Result<io::Result<Zeroizing<Vec<u8>>>> {
    Ok(open(path, Kind::Secret, progress)?.and_then(|file| plain(memory::read_secret(file, limit)?)))
}

/// Refuses what an editor has put before or after what is meant: everyone who reads it would say something else of it.
fn plain<B: AsRef<[u8]>>(bytes: B) -> io::Result<B> {
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    if let Some(encoding) = mark_of_encoding(bytes.as_ref()) {
        return refused(format!(
            "it begins with a byte order mark (BOM) of {encoding}; save it as plain UTF-8 without one"
        ));
    }
    match has_text_after_armour(bytes.as_ref()) && !bytes.as_ref().starts_with(b"#") {
        true => refused("there is text after the line that ends its armour; remove that".into()),
        false => Ok(bytes),
    }
}

fn open(path: &Path, kind: Kind, progress: &dyn Progress) -> Result<io::Result<File>> {
    let (way, end) = match follow(path) {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    let judge = Judge::new(kind, progress);
    // Before it is opened: a fifo of somebody else would hold us there.
    judge.writable(&way, COPY)?;
    let file = match end {
        End::Handed(file) => file,
        End::Named { dir, name } => match open_same(&dir, &name, way.last()) {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        },
    };
    judge.readable(&way);
    Ok(Ok(file))
}

/// The text of such a file.
pub fn read_text(path: &Path, limit: u64, kind: Kind, progress: &dyn Progress) -> Result<String> {
    let bytes = read(path, limit, kind, progress)?.and_then(plain).map_err(Error::io("read", path))?;
    String::from_utf8(bytes)
        .map_err(|_| Error::usage(format!("{} is not a text file", path.display()), "check the path"))
}

/// Refuses a directory, for secrets or for what is believed later, in which others may write.
pub fn check_dir(dir: &Dir, progress: &dyn Progress) -> Result<()> {
    let seen = |fd: OwnedFd| Ok(Seen { path: dir.path().to_owned(), stat: fstat(&fd)?, fd });
    let held = dir.as_fd().try_clone_to_owned().and_then(seen).map_err(Error::io("open", dir.path()))?;
    let dir = held;
    Judge::new(Kind::Secret, progress).writable(&[dir], "choose a directory in which only you may write")
}

/// Something on the way to a file, or the file: what it is and, as long as this lives, stays.
struct Seen {
    path: PathBuf,
    stat: Stat,
    fd: OwnedFd,
}

impl Seen {
    fn is(&self, kind: FileType) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == kind
    }
}

/// Where the way to a file ends.
enum End {
    /// At a name in a directory.
    Named { dir: OwnedFd, name: PathBuf },
    /// At a descriptor that whoever started us has opened: `/dev/stdin`, `<(command)` of a shell.
    Handed(File),
}

/// Goes to a file component by component: the directory that it is looked up in, each link on the way, whether to the file or to a
/// directory above it, with the directory in which that link lies, and what is at the end, held by handles. No name is looked up twice.
fn follow(path: &Path) -> io::Result<(Vec<Seen>, End)> {
    const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    let start = |path: &Path| {
        let shown = PathBuf::from(if path.is_absolute() { "/" } else { "" });
        let dir = openat(CWD, if path.is_absolute() { "/" } else { "." }, DIRECTORY, Mode::empty())?;
        Ok::<_, io::Error>((dir, shown))
    };
    let (mut way, mut links) = (Vec::new(), 0);
    let (mut dir, mut shown) = start(path)?;
    let mut ahead: VecDeque<OsString> = components(path).collect();
    while let Some(name) = ahead.pop_front().map(PathBuf::from) {
        let is_last = ahead.is_empty();
        let fd = openat(&dir, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let found = Seen { path: shown.join(&name), stat: fstat(&fd)?, fd };
        let is_link = found.is(FileType::Symlink);
        if is_link && is_last && fstatfs(&dir)?.f_type == PROC_SUPER_MAGIC {
            return handed(way, found.path, &dir, &name);
        }
        if is_link || is_last {
            way.push(Seen { path: shown.clone(), stat: fstat(&dir)?, fd: dir.try_clone()? });
        }
        if is_link {
            links += 1;
            if links > MOST_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = PathBuf::from(OsString::from_vec(readlinkat(&found.fd, "", Vec::new())?.into_bytes()));
            way.push(found);
            if target.is_absolute() {
                (dir, shown) = start(&target)?;
            }
            components(&target).rev().for_each(|component| ahead.push_front(component));
        } else if is_last && name.as_os_str() != ".." {
            way.push(found);
            return Ok((way, End::Named { dir, name }));
        } else {
            (dir, shown) = (openat(&dir, &name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?, found.path);
        }
    }
    Err(io::ErrorKind::IsADirectory.into())
}

/// The names in a path, and the steps up.
fn components(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    let named = |c: &Component| matches!(c, Component::Normal(_) | Component::ParentDir);
    path.components().filter(named).map(|c| c.as_os_str().to_owned())
}

/// A link of proc(5) to a descriptor. Pipes and terminals have no modes that matter; of a file, the name is not known.
fn handed(mut way: Vec<Seen>, path: PathBuf, dir: &OwnedFd, name: &Path) -> io::Result<(Vec<Seen>, End)> {
    let file = File::from(openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    let seen = Seen { path, stat: fstat(&file)?, fd: file.as_fd().try_clone_to_owned()? };
    if seen.is(FileType::RegularFile) {
        way.push(seen);
    }
    Ok((way, End::Handed(file)))
}

/// Opens a file that has been judged, and no other that may have taken its name since.
fn open_same(dir: &OwnedFd, name: &Path, judged: Option<&Seen>) -> io::Result<File> {
    // A fifo to which nobody writes is empty: it holds nobody up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty())?;
    fcntl_setfl(&file, OFlags::empty())?;
    let what = |s: &Stat| (s.st_dev, s.st_ino, s.st_mode, s.st_uid, s.st_gid);
    let now = fstat(&file)?;
    match judged.is_some_and(|seen| what(&seen.stat) == what(&now)) {
        true => Ok(file.into()),
        false => Err(io::Error::other("it was replaced just now")),
    }
}

struct Judge<'a> {
    accounts: LazyCell<Accounts>,
    us: u32,
    kind: Kind,
    progress: &'a dyn Progress,
}

impl<'a> Judge<'a> {
    fn new(kind: Kind, progress: &'a dyn Progress) -> Judge<'a> {
        let us = rustix::process::geteuid().as_raw();
        Judge { accounts: LazyCell::new(Accounts::read), us, kind, progress }
    }

    /// Refuses what others may write, with the commands that mend it and what else could be done; only warns where the file
    /// system has no modes by which that could be told.
    fn writable(&self, way: &[Seen], or: &str) -> Result<()> {
        let exposed: Vec<&Seen> = way.iter().filter(|seen| self.others_may_write(seen)).collect();
        let what: Vec<String> =
            exposed.iter().map(|seen| format!("others may write {}", self.describe(seen))).collect();
        let (what, fs_types) = (what.join("; "), exposed.iter().map(|seen| without_modes(seen)));
        match fs_types.collect::<Option<Vec<String>>>().map(|all| all.into_iter().next()) {
            Some(None) => Ok(()),
            Some(Some(fs_type)) => {
                self.progress.warn(&format!("{what}: {}", advice(&fs_type)));
                Ok(())
            }
            None => {
                Err(Error::usage(what, self.cure(&exposed).map_or(or.to_owned(), |cure| format!("{cure}; or {or}"))))
            }
        }
    }

    /// Warns of a secret that others may read.
    fn readable(&self, way: &[Seen]) {
        let Some(seen) = way.last().filter(|seen| self.kind == Kind::Secret && seen.is(FileType::RegularFile)) else {
            return;
        };
        if self.others_have(seen, 0o4) {
            let cure = without_modes(seen).map_or_else(|| self.chmod(seen), |fs| advice(&fs));
            self.progress.warn(&format!("others may read the secret {}: {cure}", self.describe(seen)));
        }
    }

    fn is_foreign(&self, seen: &Seen) -> bool {
        seen.stat.st_uid != 0 && seen.stat.st_uid != self.us
    }

    fn others_may_write(&self, seen: &Seen) -> bool {
        let mode_matters = match FileType::from_raw_mode(seen.stat.st_mode) {
            // It has none, and is as its owner made it.
            FileType::Symlink => false,
            // Its mode is a matter of the system.
            FileType::CharacterDevice => false,
            // Sticky: others cannot put their files in the place of ours.
            FileType::Directory => seen.stat.st_mode & 0o1000 == 0,
            _ => true,
        };
        self.is_foreign(seen) || mode_matters && self.others_have(seen, 0o2)
    }

    /// Whether the mode gives a right to others. An access control list hides behind the rights of the group.
    fn others_have(&self, seen: &Seen, right: u32) -> bool {
        let private = || self.accounts.is_private(seen.stat.st_gid, self.us) && !has_acl(&seen.fd);
        seen.stat.st_mode & right != 0 || seen.stat.st_mode & right << 3 != 0 && !private()
    }

    fn describe(&self, seen: &Seen) -> String {
        let (mode, owner) = (seen.stat.st_mode & 0o7777, self.accounts.name(seen.stat.st_uid));
        format!("{} (mode {mode:04o}, owner {owner})", seen.path.display())
    }

    /// The commands after which nobody else may write these. There are none that one should give for a directory of others.
    fn cure(&self, exposed: &[&Seen]) -> Option<String> {
        let mut commands = Vec::new();
        for seen in exposed {
            match FileType::from_raw_mode(seen.stat.st_mode) {
                FileType::Directory if self.is_foreign(seen) => return None,
                FileType::Directory | FileType::RegularFile | FileType::Symlink => {}
                _ => return None,
            }
            if self.is_foreign(seen) {
                let sudo = if self.us == 0 { "" } else { "sudo " };
                let link = if seen.is(FileType::Symlink) { "-h " } else { "" };
                commands.push(format!("{sudo}chown {link}{} {}", self.accounts.name(self.us), for_shell(&seen.path)));
            }
            if !seen.is(FileType::Symlink) && seen.stat.st_mode & 0o22 != 0 {
                commands.push(self.chmod(seen));
            }
        }
        Some(commands.join(" && "))
    }

    fn chmod(&self, seen: &Seen) -> String {
        let mode = if self.kind == Kind::Secret && seen.is(FileType::RegularFile) { "600" } else { "go-w" };
        // What is not root's is ours, or will be when it has been given to us.
        let sudo = if self.us != 0 && seen.stat.st_uid == 0 { "sudo " } else { "" };
        format!("{sudo}chmod {mode} {}", for_shell(&seen.path))
    }
}

/// The type of a file system that keeps no modes and owners, but shows what it was mounted with.
fn without_modes(seen: &Seen) -> Option<String> {
    let fs_type = drive::fs_type(seen.stat.st_dev);
    let keeps_none = ["fat", "msdos", "ntfs"].iter().any(|name| fs_type.contains(name)) || fs_type == "fuseblk";
    keeps_none.then_some(fs_type)
}

fn advice(fs_type: &str) -> String {
    format!(
        "{fs_type} keeps no modes, so mount it with umask=077, or copy the file to a directory of your own on another file system"
    )
}

/// Whether rights of single users or groups may be set besides the mode.
fn has_acl(fd: &OwnedFd) -> bool {
    let named = getxattr_query(format!("/proc/self/fd/{}", fd.as_raw_fd()), ACL);
    !matches!(named, Err(Errno::NODATA | Errno::OPNOTSUPP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_was_judged_is_what_is_opened() {
        type Change = fn(&Path);
        let to_link = |dir: &Path| {
            fs::remove_file(dir.join("good")).unwrap();
            symlink("other", dir.join("good")).unwrap();
        };
        let changes: [(Change, bool); 5] = [
            (|_| {}, true),
            // Its name has been looked up already.
            (|dir| fs::rename(dir.join("other"), dir.join("link")).unwrap(), true),
            (|dir| fs::rename(dir.join("other"), dir.join("good")).unwrap(), false),
            (to_link, false),
            (|dir| fs::set_permissions(dir.join("good"), fs::Permissions::from_mode(0o606)).unwrap(), false),
        ];
        for (i, (change, same)) in changes.into_iter().enumerate() {
            let temp = tempfile::tempdir().unwrap();
            let dir = temp.path();
            ["good", "other"].iter().for_each(|name| fs::write(dir.join(name), name).unwrap());
            symlink("good", dir.join("link")).unwrap();
            let (way, end) = follow(&dir.join("link")).unwrap();
            let End::Named { dir: last, name } = end else { panic!("not at a name") };
            change(dir);
            assert_eq!(open_same(&last, &name, way.last()).is_ok(), same, "change {i}");
        }
    }
}
