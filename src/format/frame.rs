//! The frame: a sealed segment inside a volume. Sixteen bytes, then one age file.

use super::limits::SEGMENTS;
use super::{FormatError, within};

const MAGIC: &[u8; 4] = b"ckvF";

/// Bytes of a frame before its age file.
pub const HEADER: usize = 16;

/// Rule 88: what a frame may have beyond the bytes of its segment, which is ample room for what is around them.
pub const MOST_AROUND: usize = 64 << 10;

/// The longest frame: that of a segment of the greatest length.
pub const LONGEST: usize = *SEGMENTS.end() as usize + MOST_AROUND;

/// What the age file of a segment may hold beyond the bytes of the segment: a filter header with all ranges, and zstd frames around
/// each plane of them.
pub const MOST_BEYOND: usize = 32 << 10;

/// Rule 88: the frame of a segment of `segment` bytes must have no more bytes than it may need.
pub fn check_length(bytes: u32, segment: u32) -> Result<(), FormatError> {
    within("length of a frame", bytes.into(), HEADER as u64 + 1, u64::from(segment) + MOST_AROUND as u64)
}

/// The sixteen bytes before the age file of segment `segment`, which has `len` bytes.
pub fn header(segment: u64, len: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    bytes[8..].copy_from_slice(&segment.to_le_bytes());
    bytes
}

/// The age file in `frame`, which must be that of segment `segment` and end where the frame ends.
pub fn payload(frame: &[u8], segment: u64) -> Result<&[u8], FormatError> {
    let payload = frame.get(HEADER..).ok_or(FormatError::Bytes { offset: 0, what: "a frame header of 16 bytes" })?;
    within("length of a frame", frame.len() as u64, HEADER as u64 + 1, LONGEST as u64)?;
    if frame[..HEADER] != header(segment, payload.len() as u32) {
        return Err(FormatError::Bytes { offset: 0, what: "the frame header of this segment" });
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::limits::of_page;
    use proptest::prelude::*;

    #[test]
    fn limits_are_those_of_the_page() {
        assert_eq!(of_page::of("frame, with its header of 16")[0], HEADER as u64 + 1);
    }

    proptest! {
        #[test]
        fn round_trip(segment in any::<u64>(), body in prop::collection::vec(any::<u8>(), 1..300)) {
            let mut frame = header(segment, body.len() as u32).to_vec();
            frame.extend_from_slice(&body);
            prop_assert_eq!(payload(&frame, segment), Ok(&body[..]));
            prop_assert!(payload(&frame, segment ^ 1).is_err());
            prop_assert!(payload(&frame[..frame.len() - 1], segment).is_err());
        }
    }

    #[test]
    fn empty_and_short_frames_are_refused() {
        assert!(payload(&[], 0).is_err());
        assert!(payload(&header(0, 0), 0).is_err());
        assert_eq!(payload(&[&header(3, 1)[..], b"x"].concat(), 3), Ok(&b"x"[..]));
        assert!(check_length(16, 1 << 16).is_err() && check_length(17, 1 << 16).is_ok());
    }

    #[test]
    fn a_frame_is_no_longer_than_its_segment_needs() {
        for segment in [64 << 10, 1 << 20, 8 << 20] {
            assert!(check_length(segment + (64 << 10), segment).is_ok(), "{segment}");
            assert!(check_length(segment + (64 << 10) + 1, segment).is_err(), "{segment}");
        }
        // The header of its age file, the tags of its chunks, and all that the age file may hold.
        let chunks = (*SEGMENTS.end() as usize + MOST_BEYOND).div_ceil(64 << 10);
        assert!(HEADER + (4 << 10) + 16 + MOST_BEYOND + 16 * chunks <= MOST_AROUND);
    }
}
