//! Drives and file systems: discovery, capacity, durable files, read-back, reading a source, placing files. Everything that
//! depends on the platform is here.

pub mod cache;
pub mod drive;
pub mod durable;
pub mod sets;
pub mod staging;
pub mod tree;

use crate::error::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Reads a small file whole, up to `limit` bytes; a longer one is an error of kind `FileTooLarge`.
pub fn read_small(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes")));
    }
    Ok(bytes)
}

/// The text of a small file of the user's.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    let bytes = read_small(path, limit).map_err(Error::io("read", path))?;
    String::from_utf8(bytes)
        .map_err(|_| Error::usage(format!("{} is not a text file", path.display()), "check the path"))
}

/// Opens a file of a set. What lies on a drive may be anything: only regular files are opened, and no link is followed.
pub fn open_regular(path: &Path) -> std::io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits() as i32;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "not a regular file")),
    }
}

/// Reads a small file of a set whole, up to `limit` bytes.
pub fn read_regular(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// Fills `buffer` from `offset` on; returns how many bytes there were.
pub fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    use std::os::unix::fs::FileExt;
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}
