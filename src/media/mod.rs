//! Drives and file systems: discovery, capacity, durable files, read-back, reading a source, placing files; and what the
//! process asks of the system for its own safety. Everything that depends on the platform is here.

pub mod cache;
pub mod disk;
pub mod drive;
pub mod durable;
pub mod errand;
pub mod fence;
pub mod memory;
pub mod process;
pub mod processor;
pub mod program;
pub mod sets;
pub mod staging;
pub mod statefile;
pub mod tree;

use crate::error::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Reads a small file of the user's whole, up to `limit` bytes; a longer one is an error of kind `FileTooLarge`.
pub fn read_small(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    take_all(File::open(path)?, limit)
}

/// Reads to the end; more than `limit` bytes are an error of kind `FileTooLarge`.
fn take_all(source: impl Read, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// The text of a small file of the user's.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    let bytes = read_small(path, limit).map_err(Error::io("read", path))?;
    String::from_utf8(bytes)
        .map_err(|_| Error::usage(format!("{} is not a text file", path.display()), "check the path"))
}

/// Locks a directory for this process, until the file is dropped; `None` if another process has locked it. File systems that
/// have no locks are taken to be ours alone.
pub fn lock_dir(dir: &Path) -> std::io::Result<Option<File>> {
    use rustix::fs::{FlockOperation, flock};
    let file = File::open(dir)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        _ => Ok(Some(file)),
    }
}

/// Whether another process has locked a directory right now.
pub fn is_locked(dir: &Path) -> bool {
    use rustix::fs::{FlockOperation, flock};
    let busy = Err(rustix::io::Errno::WOULDBLOCK);
    File::open(dir).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared) == busy)
}
