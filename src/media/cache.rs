//! What the kernel is asked to do with the contents of files: to forget them, since what is read back after writing should come from the
//! drive, not from memory; to fetch or to write them; to find a place for them.

use crate::media::kind::Kind;
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::fs::File;
use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::path::Path;

/// Asks the kernel to read a stretch of a file ahead. It does so in the order in which it is asked, and a disk then reads in that order
/// too, whoever wants the bytes first.
pub fn fetch(file: &File, from: u64, bytes: u64) {
    /// No more than this is read for each time it is asked, by the default of most devices (`read_ahead_kb`).
    const PIECE: u64 = 128 << 10;
    for at in (from..from + bytes).step_by(PIECE as usize) {
        // Who reads it notices whether it is there.
        let _ = fadvise(file, at, NonZeroU64::new(PIECE.min(from + bytes - at)), Advice::WillNeed);
    }
}

/// Asks the kernel to begin to write a stretch of a file to the drive. File systems that choose places when they write then
/// choose them in the order in which they are asked.
pub fn begin_writing(file: &File, from: u64, bytes: u64) {
    // What is dirty is written, and what is not yet written cannot be forgotten.
    let _ = fadvise(file, from, NonZeroU64::new(bytes), Advice::DontNeed);
}

/// Asks the file system for a place for the first `bytes` bytes of a file, which then read as zeros. Some cannot do that.
pub fn reserve(file: &File, bytes: u64) -> std::io::Result<()> {
    Ok(fallocate(file, FallocateFlags::empty(), 0, bytes)?)
}

/// Asks the file system for a place in one piece for what is written next, so that it gives no more: ext4 and XFS leave room behind each
/// stretch for what may follow it in its file, over which a disk has to go. Others find a place when they write, or fill it with
/// zeros, and are not asked.
pub fn place(file: &File, from: u64, bytes: u64) {
    if Kind::of(file).gives_places_when_asked() {
        // Without a place it is written all the same, or there is an error then.
        let _ = fallocate(file, FallocateFlags::KEEP_SIZE, from, bytes);
    }
}

/// Asks the kernel to forget the pages of a file that has been synced.
pub fn evict(file: &File) {
    // Advice that is not taken shows in `is_cached_at`.
    let _ = fadvise(file, 0, None, Advice::DontNeed);
}

/// The same for the device below a FUSE file system, whose server reads through the cache of that device. Needs the
/// permission to open the device; says whether it had it.
pub fn evict_device(device: &Path) -> bool {
    match File::open(device) {
        Ok(file) if device.is_absolute() => {
            evict(&file);
            true
        }
        _ => false,
    }
}

/// Whether the page of a file with the byte at `offset` is in the cache, by asking for it in a way that may not block. That starts
/// reading it, and some after it.
pub fn is_cached_at(file: &File, offset: u64) -> bool {
    let read = preadv2(file, &mut [IoSliceMut::new(&mut [0u8])], offset, ReadWriteFlags::NOWAIT);
    // "Not without blocking" is the proof, and that there is nothing; anything else (no support, for example) proves nothing.
    !matches!(read, Err(Errno::AGAIN) | Ok(0))
}
