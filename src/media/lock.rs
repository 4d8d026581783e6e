//! Directories of sets that somebody is writing to. Who writes there keeps a file in it locked that only a writer can lock:
//! a process that may merely read the drive cannot make a set look as if it were being written.

use super::dir::Dir;
use super::durable::PARTIAL_SUFFIX;
use super::mounts::mount_holding;
use crate::error::is_failure;
use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, fcntl_getlk};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

/// The beginning of the name of that file; its end says that it is nothing finished.
const WRITING: &str = "writing";
/// Another writer may remove the file between opening and locking it, but not so often.
const ATTEMPTS: usize = 100;

/// Types of file systems that have no locks, as far as that came up.
static WITHOUT_LOCKS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// What is to be said of file systems that have no locks (NFS and Lustre by their options, 9p): nobody else is taken to be at work
/// there, and nobody keeps others from it.
pub fn warning() -> Option<String> {
    let types = WITHOUT_LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    let list = types.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    (!types.is_empty()).then(|| {
        format!("there are no locks on {list} here: see to it that no other ckvault writes to the same place meanwhile")
    })
}

/// Locks a file or directory as a whole for this process; false if another has it.
pub fn whole(file: &impl AsFd) -> io::Result<bool> {
    is_ours(file, flock(file, FlockOperation::NonBlockingLockExclusive))
}

/// What a try to lock said.
fn is_ours(file: &impl AsFd, tried: Result<(), Errno>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK | Errno::ACCESS) => Ok(false),
        // Directories are not locked everywhere either (BADF of NFS).
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOLCK | Errno::INVAL | Errno::BADF | Errno::NOTTY) => {
            let kind = mount_holding(file).fs_type;
            let kind = if kind.is_empty() { "this file system".to_owned() } else { kind };
            WITHOUT_LOCKS.lock().unwrap_or_else(PoisonError::into_inner).insert(kind);
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

/// The name of the file that is kept locked.
pub fn name() -> String {
    format!("{WRITING}{PARTIAL_SUFFIX}")
}

/// A lock that is held; dropped, its file is removed.
#[derive(Debug)]
pub struct WriteLock {
    dir: Dir,
    /// `None` where nobody can write, or no file can be made.
    file: Option<File>,
}

impl WriteLock {
    /// Locks a directory; `None` if another process has it. File systems that have no locks are taken to be ours alone.
    pub fn take(dir: &Dir) -> io::Result<Option<WriteLock>> {
        for _ in 0..ATTEMPTS {
            let file = match dir.open_or_create(name(), 0o600) {
                Err(e) if cannot_be_made(&e) => return Ok(Some(WriteLock { dir: dir.clone(), file: None })),
                other => other?,
            };
            if !is_ours(&file, fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive))? {
                return Ok(None);
            }
            // What was removed meanwhile can be locked, but is not what others see.
            if is_named(dir, &file)? {
                return Ok(Some(WriteLock { dir: dir.clone(), file: Some(file) }));
            }
        }
        Ok(None)
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = self.dir.remove(name());
        }
    }
}

/// What is read only, full or failing is not written to by anybody, and may still have to be read.
fn cannot_be_made(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    [PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull].contains(&error.kind()) || is_failure(error)
}

fn is_named(dir: &Dir, file: &File) -> io::Result<bool> {
    let own = rustix::fs::fstat(file)?;
    Ok(dir.stat(name())?.is_some_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)))
}

/// Whether another process is writing to a directory right now, as far as this user can tell.
pub fn is_being_written(dir: &Dir) -> bool {
    let Ok(file) = dir.open(name()) else { return false };
    matches!(fcntl_getlk(file.file(), &Flock::from(FlockType::ReadLock)), Ok(Some(_)))
}
