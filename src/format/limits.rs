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

/// What the page says, for the tests beside the numbers themselves.
#[cfg(test)]
pub(crate) mod of_page {
    use super::*;

    /// The least and the most that the table LIMITS has for something.
    pub(crate) fn of(what: &str) -> [u64; 2] {
        let page = include_str!("../../man/ckvault-format.5");
        let (_, table) = page.split_once(".Sh LIMITS").unwrap();
        let row = table.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix('\t')).expect(what);
        let mut row = row.split('\t').map(number);
        [row.next().unwrap(), row.next().unwrap()]
    }

    /// `64 KiB`, `2^46` or `16`.
    fn number(text: &str) -> u64 {
        let (digits, unit) = text.split_once(' ').unwrap_or((text, ""));
        let scale = match unit {
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => 0,
        };
        let power = |two: &str| 1 << two.parse::<u64>().unwrap();
        let plain: u64 = digits.strip_prefix("2^").map_or_else(|| digits.parse().unwrap_or(0), power);
        plain << scale
    }

    #[test]
    fn the_limits_of_a_set_are_those_of_the_page() {
        assert_eq!(of("volume_bytes"), [LEAST_VOLUME, LARGEST_VOLUME]);
        assert_eq!(of("block_bytes"), [*BLOCKS.start(), *BLOCKS.end()]);
        assert_eq!(of("row over all volumes")[1], LONGEST_ROW);
        assert_eq!(of("segment_bytes"), [*SEGMENTS.start(), *SEGMENTS.end()]);
        assert_eq!(of("volumes of a part"), [1, MOST_VOLUMES]);
        assert_eq!(of("groups"), [1, MOST_VOLUMES]);
        assert_eq!(of("drives"), [1, MOST_DRIVES]);
        assert_eq!(of("part"), [1, MOST_PARTS]);
    }
}
