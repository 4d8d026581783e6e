//! Claiming the staging directory of a target: one import at a time has it, and what an earlier one left there is found.
//!
//! The name of a new one cannot be known before it is there, and one that is there is taken up only if we have made it: a
//! directory of this user's that nobody else can look into, with a journal that says that it is of this import. Anything else
//! of such a name is told, and left as it is.

use super::Staging;
use super::shortfalls::Shortfalls;
use super::target::{FILES, JOURNAL, PREFIX, SUFFIX, Target};
use crate::error::{Error, Result};
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::durable::private_name;
use crate::media::fence::Needs;
use crate::media::lock;
use crate::media::modes::Modes;
use crate::media::removal::remove_held;
use crate::text::printable;
use rustix::fs::FileType;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The longest journal that is read.
const LONGEST_JOURNAL: u64 = 1 << 30;
/// Hexadecimal digits in a name that nobody can know.
const RANDOM: usize = 16;

/// Where a target is, and the staging directories of earlier imports to it.
pub struct Claim {
    target: Target,
    /// What the names of its staging directories begin with.
    prefix: String,
    earlier: Vec<Earlier>,
}

/// A staging directory of an earlier import, locked.
pub struct Earlier {
    name: String,
    dir: Dir,
}

impl Claim {
    /// For the set with this beginning of an id and a target that does not exist or is a directory. Makes nothing but the
    /// parents of the target.
    pub fn on(disk: &Disk, target: &Path, id: &str) -> Result<Claim> {
        let target = Target::find(disk, target)?;
        let prefix = match target.inside {
            true => format!("{PREFIX}{id}-"),
            false => format!("{PREFIX}{id}-{}-", tag(&target.name)),
        };
        let mut claim = Claim { target, prefix, earlier: Vec::new() };
        claim.earlier = claim.look()?;
        Ok(claim)
    }

    /// Where the files go.
    pub fn target(&self) -> &Path {
        &self.target.path
    }

    /// Whether something of this name is in a target that stays.
    pub fn has_at_the_top(&self, name: &str) -> bool {
        self.target.there.as_ref().is_some_and(|there| self.target.inside && there.has(name))
    }

    /// What earlier imports of this set to this target have left.
    pub fn earlier(&self) -> &[Earlier] {
        &self.earlier
    }

    fn look(&self) -> Result<Vec<Earlier>> {
        let place = self.target.place();
        let listed = match place.entries() {
            // Where nothing can be listed, nothing is found; what is made has a name that is free.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Vec::new(),
            other => other.map_err(Error::io("read", place.path()))?,
        };
        let mut earlier = Vec::new();
        for (name, kind) in listed {
            let Some(name) = name.to_str().filter(|n| is_named(n, &self.prefix)) else { continue };
            if kind != FileType::Directory {
                return Err(in_the_way(&place.show(name), &format!("it is {}", what(kind))));
            }
            earlier.push(taken_up(place, name)?);
        }
        Ok(earlier)
    }

    /// The beginnings of the ids of other sets of which an unfinished import to the same target is there.
    pub fn others(&self) -> Vec<String> {
        let own_tag = (!self.target.inside).then(|| tag(&self.target.name));
        let other = |name: OsString| {
            let name = name.into_string().ok().filter(|n| !n.starts_with(&self.prefix))?;
            let parts: Vec<&str> = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split('-').collect();
            match (&parts[..], &own_tag) {
                ([id, tag, _], Some(own)) if tag == own => Some((*id).to_owned()),
                ([id, _], None) => Some((*id).to_owned()),
                _ => None,
            }
        };
        self.target.place().names().unwrap_or_default().into_iter().filter_map(other).collect()
    }

    /// Removes those of the earlier ones that are `unwanted`. The journal goes first: nobody can go on with what is left by
    /// a removal that was stopped.
    pub fn clear(&mut self, unwanted: impl Fn(&Earlier) -> bool) -> Result<()> {
        let place = self.target.place().clone();
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.earlier).into_iter().partition(unwanted);
        self.earlier = kept;
        for earlier in gone {
            remove(&place, &earlier.name, &earlier.dir).map_err(Error::io("remove", earlier.path()))?;
        }
        Ok(())
    }

    /// Refuses a target that has anything in it but our staging directory, and what ext4 puts at its top.
    pub fn require_empty_target(&self) -> Result<()> {
        let Some(dir) = &self.target.there else { return Ok(()) };
        let excused = |name: &OsString| {
            self.target.inside
                && (name == "lost+found" || self.earlier.iter().any(|e| name.as_bytes() == e.name.as_bytes()))
        };
        match dir.names().map_err(Error::io("read", dir.path()))?.iter().all(excused) {
            true => Ok(()),
            false => Err(Error::refused(
                format!("{} is not empty", self.target.path.display()),
                "import into a directory that is empty or does not exist",
            )),
        }
    }

    /// Makes the staging directory, whose journal begins with `first_line`, or goes on with the one that is there; if that is
    /// `finished`, nothing is placed in it. Files get the modes of the set as `modes` says.
    pub fn begin(mut self, finished: bool, first_line: &[u8], modes: Modes) -> Result<Staging> {
        let place = self.target.place().clone();
        let (Earlier { name, dir }, is_new) = match self.earlier.pop() {
            Some(there) => (there, false),
            None => (make(&place, &self.prefix, first_line)?, true),
        };
        // It is gone if an import was stopped between giving it its final name and tidying up.
        let moved = dir.stat(FILES).map_err(Error::io("look at", dir.show(FILES)))?.is_none();
        if !finished {
            // The mode of the set may have been given to it already.
            dir.permit(FILES);
        }
        let files = match finished && moved {
            true => dir.clone(),
            false => match dir.dir(FILES) {
                Ok(files) => files,
                Err(error) => {
                    let error = Error::io("open", dir.show(FILES))(error);
                    return Err(if is_new { unmade(&place, &name, &dir, error) } else { error });
                }
            },
        };
        let disk = dir.disk().clone();
        Ok(Staging {
            disk,
            files,
            own: dir,
            name,
            target: self.target,
            modes,
            moved,
            shortfalls: Shortfalls::default(),
        })
    }
}

impl Earlier {
    /// Where it is, to be shown.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Its journal; empty if there is none.
    pub fn journal(&self) -> Result<Vec<u8>> {
        match self.dir.read(JOURNAL, LONGEST_JOURNAL) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(Error::io("read", self.dir.show(JOURNAL))),
        }
    }

    /// Whether there is nothing in it that an import would have put there after the first line of its journal.
    pub fn is_bare(&self) -> bool {
        self.dir.names().is_ok_and(|names| names.iter().all(|name| name == JOURNAL || *name == *unnamed()))
    }
}

/// Where something may be made or changed before there is a staging directory for a target, and in making it.
pub fn reach(target: &Path) -> Vec<PathBuf> {
    let whole = std::path::absolute(target).ok();
    let above = whole.as_deref().and_then(Path::parent).map(Needs::nearest);
    above.into_iter().chain([target.join(".."), target.to_owned()]).collect()
}

/// What is there under a name that only we give, and is not what we make.
pub fn in_the_way(path: &Path, why: &str) -> Error {
    Error::refused(
        format!(
            "{} has the name of an unfinished import of ours, but {why}: nothing in it was touched",
            printable(path.as_os_str().as_bytes())
        ),
        "look at what it is and who put it there, and move it away",
    )
}

fn what(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        FileType::RegularFile => "a file",
        _ => "no directory",
    }
}

/// Whether a name is one that [`make`] gives.
fn is_named(name: &str, prefix: &str) -> bool {
    let random = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|r| r.len() == RANDOM && r.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Opens and locks a staging directory that is there, if it is one of ours.
fn taken_up(place: &Dir, name: &str) -> Result<Earlier> {
    let path = place.show(name);
    let dir = place.dir(name).map_err(Error::io("open", &path))?;
    if !is_private(place, &dir)? {
        return Err(in_the_way(&path, "it belongs to somebody else, or others may look into it"));
    }
    lock(&dir)?;
    Ok(Earlier { name: name.to_owned(), dir })
}

/// Whether a directory is this user's, and nobody else can look into it.
fn is_private(place: &Dir, dir: &Dir) -> Result<bool> {
    let own = |stat: &rustix::fs::Stat| (stat.st_uid, stat.st_mode & 0o5777);
    let is = own(&dir.metadata().map_err(Error::io("read", dir.path()))?);
    let ours = (rustix::process::geteuid().as_raw(), 0o700);
    // Where there are no modes or owners, it is as everything there that we make.
    Ok(is == ours || Some(is) == freshly_made(place).as_ref().map(own).filter(|fresh| *fresh != ours))
}

/// What a directory looks like that has just been made.
fn freshly_made(place: &Dir) -> Option<rustix::fs::Stat> {
    let name = private_name("probe").ok()?;
    let stat = place.make_dir(&name, 0o700).and_then(|dir| dir.metadata());
    let _ = place.remove_dir(&name);
    stat.ok()
}

/// Makes and locks a staging directory with nothing in it but the beginning of its journal, and a directory for files.
fn make(place: &Dir, prefix: &str, first_line: &[u8]) -> Result<Earlier> {
    let kind = prefix.strip_prefix(PREFIX).unwrap_or(prefix).trim_end_matches('-');
    let name = private_name(kind).map_err(Error::io("make a name in", place.path()))?;
    let path = place.show(&name);
    let dir = place.make_dir(&name, 0o700).map_err(Error::io("create", &path))?;
    let begun = lock(&dir).and_then(|()| {
        let stat = dir.metadata().map_err(Error::io("read", &path))?;
        // A umask may have taken more away; where there are no modes, none is missing.
        if stat.st_mode & 0o777 != 0o700 {
            let _ = dir.set_own_mode(0o700 | stat.st_mode & 0o2000);
        }
        // Somebody who may rename here could have put another in its place before it was opened.
        if !is_private(place, &dir)? {
            return Err(in_the_way(&path, "it belongs to somebody else, or others may look into it"));
        }
        begin_journal(&dir, first_line)?;
        dir.make_dir(FILES, 0o700).map(drop).map_err(Error::io("create", dir.show(FILES)))
    });
    match begun {
        Ok(()) => Ok(Earlier { name, dir }),
        Err(error) => Err(unmade(place, &name, &dir, error)),
    }
}

/// The journal has its name only with its first line, and before there is anything else: what has no journal has been given up.
fn begin_journal(dir: &Dir, first_line: &[u8]) -> Result<()> {
    let (disk, unnamed, path) = (dir.disk(), unnamed(), dir.show(JOURNAL));
    let journal = dir.create(&unnamed, 0o600).map_err(Error::io("create", &path))?;
    disk.write_all_at(&journal, first_line, 0).map_err(Error::io("write", &path))?;
    disk.sync(&journal, &path).map_err(Error::io("sync", &path))?;
    dir.rename(&unnamed, JOURNAL).map_err(Error::io("rename", &path))?;
    dir.sync().map_err(Error::io("sync", dir.path()))
}

/// The name of a journal whose first line may not be whole.
fn unnamed() -> String {
    format!("{JOURNAL}{SUFFIX}")
}

/// Removes a staging directory that was just made, because of an error, which tells it if that fails too.
fn unmade(place: &Dir, name: &str, dir: &Dir, error: Error) -> Error {
    match remove(place, name, dir) {
        Ok(()) => error,
        Err(_) => error.leaving(dir.path()),
    }
}

/// Removes a staging directory, its journal first.
pub(super) fn remove(place: &Dir, name: &str, dir: &Dir) -> io::Result<()> {
    let _ = dir.remove(JOURNAL);
    // The name must still be that of the directory that is held.
    match place.dir(name).and_then(|there| Ok(there.identity()? == dir.identity()?)) {
        Ok(true) => remove_held(dir, place, name),
        Ok(false) => Err(io::Error::other("another directory has taken its name")),
        Err(e) => Err(e),
    }
}

/// What tells the staging directories of targets beside each other apart.
fn tag(name: &OsStr) -> String {
    blake3::hash(name.as_bytes()).to_hex()[..8].to_owned()
}

/// Locks a staging directory for this process.
fn lock(dir: &Dir) -> Result<()> {
    match lock::whole(dir).map_err(Error::io("lock", dir.path()))? {
        true => Ok(()),
        false => Err(Error::refused(
            format!("another import is writing to {}", dir.path().display()),
            "wait for it, or stop it",
        )),
    }
}
