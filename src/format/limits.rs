//! How large the pieces of a set may be: what its signed manifest and the unsigned header pages are both held to.

use std::ops::RangeInclusive;

/// The least volume size, in bytes.
pub const LEAST_VOLUME: u64 = 2 << 20;
/// The greatest, in bytes.
pub const LARGEST_VOLUME: u64 = 1 << 46;
/// Bytes of a block: a power of two in this range.
pub const BLOCKS: RangeInclusive<u64> = 1 << 16..=1 << 20;
/// The most bytes of a row over all volumes of its group.
pub const LONGEST_ROW: u64 = 32 << 20;
/// Bytes of the tar stream in a segment: a power of two in this range.
pub const SEGMENTS: RangeInclusive<u64> = 1 << 16..=8 << 20;
/// Rule 82: a `hashes.b3` that is longer has one copy on each of several drives, and no second.
pub const HASHES_TWICE: u64 = 64 << 20;
/// The most volumes that a set may have.
pub const MOST_VOLUMES: u64 = 1 << 16;
/// The most drives that a set may have.
pub const MOST_DRIVES: u64 = 255;
/// The most parts that a chain may have.
pub const MOST_PARTS: u64 = 1 << 16;
