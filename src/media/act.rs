//! What has been done to a file system, for who keeps account of it.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::panic::Location;

/// A name in a directory that is held.
pub type Place<'a> = (BorrowedFd<'a>, &'a OsStr);

/// Where in the source something was asked for.
pub type Site = &'static Location<'static>;

/// What has been done; bytes that were written have been told already.
#[derive(Debug, Clone, Copy)]
pub enum Act<'a> {
    /// Something has this name now, be it new or not.
    Named(Place<'a>),
    /// What had the first name has the second one.
    Renamed(Place<'a>, Place<'a>),
    /// Nothing has this name any more.
    Removed(Place<'a>),
    /// A file is so long.
    Resized(BorrowedFd<'a>, u64),
    /// The contents of a file, or the names in a directory, are durable.
    Synced(BorrowedFd<'a>, Site),
    /// All of the file system is durable on which this is.
    SyncedAll(BorrowedFd<'a>, Site),
}
