//! The filter header: how the bytes of a segment were rearranged before they were compressed. It is a skippable frame of zstd
//! (RFC 8878, 3.1.2) before the frames of the segment, so `zstd -d` passes over it.

use super::limits::SEGMENTS;
use super::{FormatError, within};

/// The magic number of a skippable frame, the last of the sixteen that RFC 8878 sets aside.
pub(super) const MAGIC: [u8; 4] = 0x184D_2A5F_u32.to_le_bytes();
/// Magic number and length.
const HEAD: usize = 8;
/// Bytes that say one range.
const RANGE: usize = 5;
/// The most ranges of a segment.
pub const MOST_RANGES: usize = 256;
/// The longest filter header.
pub const LONGEST: usize = HEAD + RANGE * MOST_RANGES;

/// What is done to segments before they are sealed, as the manifest says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Rearranged where that helps, which a filter header says, and compressed.
    Planes,
    /// Only compressed.
    Zstd,
}

impl Filter {
    /// Its name in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Filter::Planes => "planes",
            Filter::Zstd => "zstd",
        }
    }

    /// By its name.
    pub fn parse(name: &str) -> Option<Filter> {
        [Filter::Planes, Filter::Zstd].into_iter().find(|f| f.name() == name)
    }
}

const ROTATED: u8 = 0x80;

/// How the bytes of a range are rearranged: as planes of words of 2, 4 or 8 bytes, which may be rotated first, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape(u8);

impl Shape {
    /// Bytes as they are.
    pub const PLAIN: Shape = Shape(1);
    /// Every shape there is.
    pub const ALL: [Shape; 7] =
        [Shape(1), Shape(2), Shape(4), Shape(8), Shape(ROTATED | 2), Shape(ROTATED | 4), Shape(ROTATED | 8)];

    /// Planes of words of `stride` bytes, if there is such a shape.
    pub fn new(stride: usize, rotated: bool) -> Option<Shape> {
        Shape::ALL.into_iter().find(|s| s.stride() == stride && s.is_rotated() == rotated)
    }

    /// Bytes in a word.
    pub fn stride(self) -> usize {
        (self.0 & !ROTATED).into()
    }

    /// Whether words are rotated left by one bit before they are taken apart.
    pub fn is_rotated(self) -> bool {
        self.0 & ROTATED != 0
    }
}

/// Some bytes of a segment, and how they are rearranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// How many bytes.
    pub len: u32,
    /// How.
    pub shape: Shape,
}

/// Writes the filter header for these ranges, 1 to [`MOST_RANGES`] of them.
pub fn write(ranges: &[Range], out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&((ranges.len() * RANGE) as u32).to_le_bytes());
    for range in ranges {
        out.extend_from_slice(&range.len.to_le_bytes());
        out.push(range.shape.0);
    }
}

/// Reads the ranges at the head of a compressed segment into `ranges`, none if it has no filter header.
pub fn read(packed: &[u8], ranges: &mut Vec<Range>) -> Result<(), FormatError> {
    ranges.clear();
    if packed.get(..MAGIC.len()) != Some(&MAGIC) {
        return Ok(());
    }
    let bytes = |offset: u64, what| FormatError::Bytes { offset, what };
    let len = packed.get(MAGIC.len()..HEAD).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let len = len.ok_or(bytes(4, "the length of a filter header"))?;
    within("length of a filter header", len.into(), RANGE as u64, (RANGE * MOST_RANGES) as u64)?;
    let body = packed.get(HEAD..HEAD + len as usize).ok_or(bytes(8, "the ranges of a filter header"))?;
    let (records, rest) = body.as_chunks::<RANGE>();
    if !rest.is_empty() {
        return Err(bytes(4, "a length that is a multiple of 5"));
    }
    for (i, [a, b, c, d, shape]) in records.iter().enumerate() {
        let len = u32::from_le_bytes([*a, *b, *c, *d]);
        let shape = Shape::ALL.into_iter().find(|s| s.0 == *shape);
        let shape = shape.ok_or(bytes((HEAD + i * RANGE + 4) as u64, "the shape of a range"))?;
        within("length of a range", len.into(), 1, *SEGMENTS.end())?;
        ranges.push(Range { len, shape });
    }
    Ok(())
}

/// Whether the ranges cover a segment of `len` bytes, and no more.
pub fn covers(ranges: &[Range], len: usize) -> bool {
    ranges.iter().map(|r| u64::from(r.len)).sum::<u64>() == len as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::limits::of_page;
    use proptest::prelude::*;

    #[test]
    fn limits_are_those_of_the_page() {
        assert_eq!(of_page::of("ranges of a segment"), [1, MOST_RANGES as u64]);
        let mut written = Vec::new();
        write(&[Range { len: 1, shape: Shape::PLAIN }; MOST_RANGES], &mut written);
        assert_eq!(written.len(), LONGEST);
        assert_eq!(Shape::ALL.map(|shape| shape.0), [1, 2, 4, 8, 0x82, 0x84, 0x88]);
    }

    proptest! {
        #[test]
        fn round_trip(ranges in prop::collection::vec((1u32..=8 << 20, 0usize..7), 1..MOST_RANGES), tail in any::<[u8; 3]>()) {
            let ranges: Vec<Range> = ranges.into_iter().map(|(len, i)| Range { len, shape: Shape::ALL[i] }).collect();
            let (mut bytes, mut back) = (Vec::new(), Vec::new());
            write(&ranges, &mut bytes);
            prop_assert!(bytes.len() <= LONGEST);
            prop_assert!(read(&bytes[..bytes.len() - 1], &mut back).is_err());
            bytes.extend_from_slice(&tail);
            read(&bytes, &mut back).unwrap();
            prop_assert_eq!(&back, &ranges);
            let len: u64 = ranges.iter().map(|r| u64::from(r.len)).sum();
            prop_assert!(covers(&ranges, len as usize) && !covers(&ranges, len as usize + 1));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(tail in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend_from_slice(&tail);
            let _ = read(&bytes, &mut Vec::new());
        }
    }

    #[test]
    fn each_rule_is_checked() {
        let good = [&MAGIC[..], &[5, 0, 0, 0, 7, 0, 0, 0, 0x82]].concat();
        let mut ranges = Vec::new();
        read(&good, &mut ranges).unwrap();
        assert_eq!(ranges, [Range { len: 7, shape: Shape::new(2, true).unwrap() }]);
        let with = |at: usize, byte: u8| {
            let mut bad = good.clone();
            bad[at] = byte;
            read(&bad, &mut Vec::new())
        };
        assert!(with(4, 4).is_err() && with(4, 6).is_err() && with(4, 0).is_err() && with(6, 1).is_err());
        assert!(with(8, 0).is_err() && with(11, 1).is_err());
        let long = |len: u32| read(&[&MAGIC[..], &[5, 0, 0, 0], &len.to_le_bytes(), &[0x82]].concat(), &mut Vec::new());
        assert!(long(8 << 20).is_ok() && long((8 << 20) + 1).is_err());
        assert!([0u8, 3, 16, 0x80, 0x81, 0x42].iter().all(|shape| with(12, *shape).is_err()));
        let mut second = Vec::new();
        write(&[ranges[0], Range { len: 9, shape: Shape::PLAIN }], &mut second);
        second[17] = 3;
        assert!(matches!(read(&second, &mut Vec::new()), Err(FormatError::Bytes { offset: 17, .. })));
        read(b"no filter header", &mut ranges).unwrap();
        assert!(ranges.is_empty());
    }
}
