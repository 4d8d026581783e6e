//! Which file system something is on, where it matters how that one works.

use rustix::fs::fstatfs;
use std::os::fd::AsFd;

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ext4, and ext3 and ext2 with the same driver.
    Ext4,
    /// XFS.
    Xfs,
    /// One whose driver is a process.
    Fuse,
    /// Any other.
    Other,
}

impl Kind {
    /// That of the file system of a file or directory.
    pub fn of(file: &impl AsFd) -> Kind {
        // EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC and FUSE_SUPER_MAGIC of linux/magic.h.
        match fstatfs(file).map(|told| told.f_type as u64) {
            Ok(0xef53) => Kind::Ext4,
            Ok(0x5846_5342) => Kind::Xfs,
            Ok(0x6573_5546) => Kind::Fuse,
            _ => Kind::Other,
        }
    }

    /// Whether it gives what is to be written a place in one piece when it is asked to, without writing anything; and whatever it has no
    /// place for yet when it is asked to begin writing.
    pub fn gives_places_when_asked(self) -> bool {
        matches!(self, Kind::Ext4 | Kind::Xfs)
    }
}
