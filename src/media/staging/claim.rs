//! Claiming the staging directory of a target: one import at a time has it, and what an earlier one left there is found.

use super::removal::remove_tree;
use super::{FILES, JOURNAL, PREFIX, SUFFIX, Staging, name_inside};
use crate::error::{Error, Result};
use crate::media::disk::Disk;
use crate::media::fence::Needs;
use rustix::fs::FlockOperation;
use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

/// The longest journal that is read.
const LONGEST_JOURNAL: u64 = 1 << 30;

/// Where the staging directory of a target is, locked if it is there already.
pub struct Claim {
    disk: Disk,
    target: PathBuf,
    path: PathBuf,
    inside: bool,
    keeps_attributes: bool,
    lock: Option<File>,
}

impl Claim {
    /// For the set with this beginning of an id and a target that does not exist or is a directory. Makes nothing but the
    /// parents of the target.
    pub fn on(disk: &Disk, target: &Path, id: &str) -> Result<Claim> {
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
            false => parent.join(format!("{PREFIX}{id}-{}{SUFFIX}", tag(&target))),
        };
        let lock = match File::open(&path) {
            Ok(old) => Some(locked(old, &path)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::io("open", &path)(e)),
        };
        Ok(Claim { disk: disk.clone(), target, path, inside, keeps_attributes, lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the files go.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The journal that is there; empty if there is none.
    pub fn journal(&self) -> Result<Vec<u8>> {
        let path = self.path.join(JOURNAL);
        match self.disk.read(&path, LONGEST_JOURNAL) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(Error::io("read", &path)),
        }
    }

    /// The beginnings of the ids of other sets of which an unfinished import to the same target is there.
    pub fn others(&self) -> Vec<String> {
        let dir = if self.inside { &*self.target } else { self.path.parent().unwrap_or(&self.path) };
        let end = if self.inside { SUFFIX.to_owned() } else { format!("-{}{SUFFIX}", tag(&self.target)) };
        let names = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
        let others = names.filter(|p| *p != self.path).filter_map(|p| {
            let name = p.file_name()?.to_str()?.to_owned();
            let id = name.strip_prefix(PREFIX)?.strip_suffix(&end)?;
            (!id.contains('-')).then(|| id.to_owned())
        });
        others.collect()
    }

    /// Removes what is there.
    pub fn clear(&mut self) -> Result<()> {
        match self.lock.take() {
            None => Ok(()),
            Some(_held) => remove_tree(&self.path).map_err(Error::io("remove", &self.path)),
        }
    }

    /// Refuses a target that has anything in it but the staging directory, and what ext4 puts at its top.
    pub fn require_empty_target(&self) -> Result<()> {
        let entries = match std::fs::read_dir(&self.target) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(Error::io("read", &self.target))?,
        };
        for entry in entries {
            let path = entry.map_err(Error::io("read", &self.target))?.path();
            let excused = self.inside && (path == self.path || path.ends_with("lost+found"));
            if !excused {
                return Err(Error::refused(
                    format!("{} is not empty", self.target.display()),
                    "import into a directory that is empty or does not exist",
                ));
            }
        }
        Ok(())
    }

    /// Makes the staging directory, or goes on with the one that is there; if that is `finished`, nothing is placed in it.
    pub fn begin(self, finished: bool) -> Result<Staging> {
        let lock = match self.lock {
            Some(held) => held,
            None => make(&self.path)?,
        };
        let files = self.path.join(FILES);
        // It is gone if an import was stopped between giving it its final name and tidying up.
        let moved = files.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        if !finished {
            // The mode of the set may have been given to it already.
            let _ = std::fs::set_permissions(&files, Permissions::from_mode(0o700));
        }
        let opened = if finished { &self.path } else { &files };
        let dir = File::open(opened).map_err(Error::io("open", opened))?;
        Ok(Staging {
            disk: self.disk,
            dir,
            path: self.path,
            target: self.target,
            inside: self.inside,
            keeps_attributes: self.keeps_attributes,
            moved,
            attributes_lost: AtomicU64::new(0),
            _lock: lock,
        })
    }
}

/// Where something may be made or changed before there is a staging directory for a target, and in making it.
pub fn reach(target: &Path) -> Vec<PathBuf> {
    let whole = if target.file_name().is_some() { std::path::absolute(target) } else { target.canonicalize() };
    let above = whole.ok().and_then(|t| t.parent().map(Needs::nearest));
    above.into_iter().chain([target.to_owned()]).collect()
}

/// Makes and locks an empty staging directory.
fn make(path: &Path) -> Result<File> {
    DirBuilder::new().mode(0o700).create(path).map_err(Error::io("create", path))?;
    let made = File::open(path).map_err(Error::io("open", path))?;
    let lock = locked(made, path)?;
    let files = path.join(FILES);
    match DirBuilder::new().mode(0o700).create(&files) {
        Ok(()) => Ok(lock),
        Err(e) => {
            let _ = std::fs::remove_dir(path);
            Err(Error::io("create", &files)(e))
        }
    }
}

/// What tells the staging directories of targets beside each other apart.
fn tag(target: &Path) -> String {
    blake3::hash(target.file_name().unwrap_or_default().as_bytes()).to_hex()[..8].to_owned()
}

fn locked(dir: File, path: &Path) -> Result<File> {
    rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Error::refused(format!("another import is writing to {}", path.display()), "wait for it, or stop it")
    })?;
    Ok(dir)
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
