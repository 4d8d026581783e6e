//! The frame: a sealed segment inside a volume. Sixteen bytes, then one age file.

use super::{FormatError, within};

const MAGIC: &[u8; 4] = b"ckvF";

/// Bytes of a frame before its age file.
pub const HEADER: usize = 16;

/// The longest frame: a segment of 1 MiB that did not compress, and ample room for what is around it.
pub const LONGEST: usize = (1 << 20) + (1 << 16);

/// What the age file of a segment may hold beyond the bytes of the segment: a filter header with all ranges, and zstd frames around
/// each plane of them.
pub const MOST_BEYOND: usize = 32 << 10;

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
        assert_eq!(of_page::of("frame, with its header of 16"), [HEADER as u64 + 1, LONGEST as u64]);
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
    }
}
