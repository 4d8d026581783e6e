//! Where on its device a file lies, as far as its file system tells: ext4, XFS and btrfs do, FAT and what goes through FUSE do not.

use fiemap::{Fiemap, FiemapExtentFlags, FiemapFlags};
use std::ops::Range;
use std::os::fd::AsFd;

/// Files in more pieces are not asked for all of them.
const MOST: usize = 4096;

/// The stretches of the device that hold the contents of a file, as offsets in bytes; `None` if that is not told of all of it.
pub fn of(file: impl AsFd) -> Option<Vec<Range<u64>>> {
    let elsewhere = FiemapExtentFlags::UNKNOWN
        | FiemapExtentFlags::DELALLOC
        | FiemapExtentFlags::DATA_INLINE
        | FiemapExtentFlags::DATA_TAIL;
    let extents =
        Fiemap::with_flags(file, FiemapFlags::SYNC).take(MOST + 1).collect::<std::io::Result<Vec<_>>>().ok()?;
    let is_told = extents.len() <= MOST && extents.iter().all(|extent| !extent.fe_flags.intersects(elsewhere));
    let place = |start: u64, len: u64| start.checked_add(len).map(|end| start..end);
    is_told.then(|| extents.iter().filter_map(|extent| place(extent.fe_physical, extent.fe_length)).collect())
}
