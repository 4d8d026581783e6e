//! Drives and file systems: discovery, capacity, durable files, read-back, reading a source, placing files; and what the
//! process asks of the system for its own safety. Everything that depends on the platform is here.

pub mod accounts;
pub mod act;
mod beneath;
pub mod buffer;
pub(crate) mod cache;
pub mod device;
pub(crate) mod dir;
pub mod disk;
pub(crate) mod drive;
pub(crate) mod durable;
pub mod errand;
pub(crate) mod extents;
pub mod fence;
pub(crate) mod guarded;
pub(crate) mod kind;
pub mod lock;
pub mod memory;
pub(crate) mod modes;
mod mounts;
pub(crate) mod pace;
pub(crate) mod probe;
pub mod process;
pub mod processor;
pub mod program;
pub(crate) mod record;
pub(crate) mod removal;
pub(crate) mod sets;
pub(crate) mod staging;
pub(crate) mod statefile;
pub(crate) mod tree;
pub(crate) mod underway;
pub mod unfinished;

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Reads a small file whole, up to `limit` bytes; a longer one is an error of kind `FileTooLarge`.
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
