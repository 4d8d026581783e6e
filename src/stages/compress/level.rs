//! The levels of zstd that are used, and what is known of its results.

use crate::error::Error;
use std::io;

/// A level at which zstd looks at so few places that it is done at once, and is left with coding frequencies, or with nothing.
pub const NO_SEARCH: i32 = -(1 << 17);
/// Where little repeats.
pub const QUICK: i32 = 1;
/// Where much repeats, as in text. The next level takes twice the time, which is more than twice that of not compressing.
pub const DENSE: i32 = 4;

/// Bytes of a segment that are compressed into one frame, and judged together, at most: the memory that this takes, and the window of
/// the frame, do not grow with segments.
pub const FRAME: usize = 1 << 20;

/// The most bytes that `plain` bytes can compress to.
pub fn longest(plain: usize) -> usize {
    zstd::zstd_safe::compress_bound(plain)
}

/// An error of zstd in memory is one of ours.
pub fn internal(e: io::Error) -> Error {
    Error::Internal(format!("zstd: {e}"))
}
