//! The zstd frames of a segment (RFC 8878), walked from one to the next without opening them: what a decompressor would pass over,
//! or take although another does not, is refused (rules 55 and 73).

use super::filter::{self, Filter};
use super::{FormatError, within};

/// The magic number of a frame.
const MAGIC: u32 = 0xFD2F_B528;
/// That of a skippable frame, but for its last four bits.
const SKIPPABLE: u32 = 0x184D_2A50;
/// Rule 73: the largest window. Every decompressor should have room for it (RFC 8878, 3.1.1.1.2).
const LARGEST_WINDOW: u64 = 8 << 20;

/// Looks at all frames of a segment.
pub fn check(packed: &[u8], filter: Filter) -> Result<(), FormatError> {
    let mut rest = Rest { packed, at: 0 };
    while rest.at < packed.len() {
        let begun = rest.at;
        match rest.number(4)? as u32 {
            MAGIC => rest.frame()?,
            magic if magic & !15 == SKIPPABLE => {
                if filter == Filter::Planes && begun > 0 && magic.to_le_bytes() == filter::MAGIC {
                    return Err(FormatError::Bytes { offset: begun as u64, what: "no second filter header" });
                }
                let len = rest.number(4)?;
                rest.skip(len)?;
            }
            _ => return Err(FormatError::Bytes { offset: begun as u64, what: "the magic number of a zstd frame" }),
        }
    }
    Ok(())
}

/// What has not been walked over yet.
struct Rest<'a> {
    packed: &'a [u8],
    at: usize,
}

impl Rest<'_> {
    fn skip(&mut self, len: u64) -> Result<(), FormatError> {
        match len <= (self.packed.len() - self.at) as u64 {
            true => {
                self.at += len as usize;
                Ok(())
            }
            false => Err(FormatError::Bytes { offset: self.at as u64, what: "the rest of a zstd frame" }),
        }
    }

    /// A number of so many bytes, the lowest first.
    fn number(&mut self, len: usize) -> Result<u64, FormatError> {
        let begun = self.at;
        self.skip(len as u64)?;
        Ok(self.packed[begun..self.at].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A frame after its magic number.
    fn frame(&mut self) -> Result<(), FormatError> {
        let descriptor = self.number(1)?;
        let (single, checksum) = (descriptor & 0x20 != 0, descriptor & 4 != 0);
        if !single {
            let window = self.number(1)?;
            let base = 1 << (10 + (window >> 3));
            within("window of a zstd frame", base + base / 8 * (window & 7), 1, LARGEST_WINDOW)?;
        }
        // 0 is no dictionary (RFC 8878, 3.1.1.1.3).
        let at = self.at as u64;
        if self.number([0, 1, 2, 4][(descriptor & 3) as usize])? != 0 {
            return Err(FormatError::Bytes { offset: at, what: "a zstd frame without a dictionary" });
        }
        self.skip([u64::from(single), 2, 4, 8][(descriptor >> 6) as usize])?;
        loop {
            let block = self.number(3)?;
            // One byte stands for all of a block of equal bytes.
            self.skip(if block >> 1 & 3 == 1 { 1 } else { block >> 3 })?;
            if block & 1 == 1 {
                return self.skip(if checksum { 4 } else { 0 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::limits::of_page;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn the_largest_window_is_that_of_the_page() {
        assert_eq!(of_page::of("window of a segment")[1], LARGEST_WINDOW);
    }

    const HEADER: &[u8] = b"\x5f\x2a\x4d\x18\x05\0\0\0\x03\0\0\0\x01";

    fn packed(level: i32, bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, level).unwrap()
    }

    /// As a stream, which does not say how long it is, with this window.
    fn streamed(window: u32, checksum: bool) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window).unwrap();
        encoder.include_checksum(checksum).unwrap();
        encoder.write_all(&[b'x'; 300_000]).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn windows_are_bounded() {
        for log in [10, 17, 23] {
            check(&[streamed(log, true), streamed(log, false)].concat(), Filter::Zstd).unwrap();
        }
        for log in [24, 27, 31] {
            let refused = check(&streamed(log, false), Filter::Zstd);
            assert!(matches!(refused, Err(FormatError::Limit { what: "window of a zstd frame", .. })), "{log}");
        }
        // In eighths between the powers of two.
        let with = |log: u8, eighths: u8| {
            let mut frame = streamed(23, false);
            assert_eq!(frame[5], 13 << 3);
            frame[5] = (log - 10) << 3 | eighths;
            check(&frame, Filter::Zstd)
        };
        assert_eq!((with(10, 0), with(10, 7), with(22, 7), with(23, 0)), (Ok(()), Ok(()), Ok(()), Ok(())));
        for eighths in 1..8 {
            assert!(with(23, eighths).is_err(), "{eighths}");
        }
    }

    #[test]
    fn a_dictionary_is_refused() {
        let mut frame = packed(1, b"abc");
        check(&frame, Filter::Zstd).unwrap();
        // The flag, and the one byte that it stands for: in a frame that is a single segment it is the first after the descriptor.
        assert_eq!(frame[4] & 0x20, 0x20);
        frame[4] |= 1;
        frame.insert(5, 7);
        assert!(matches!(check(&frame, Filter::Zstd), Err(FormatError::Bytes { offset: 5, .. })));
        frame[5] = 0;
        assert_eq!(check(&frame, Filter::Zstd), Ok(()));
        // In four bytes, of which the last says something.
        frame[4] |= 3;
        frame.splice(6..6, [0, 0, 1]);
        assert!(matches!(check(&frame, Filter::Zstd), Err(FormatError::Bytes { offset: 5, .. })));
        frame[8] = 0;
        assert_eq!(check(&frame, Filter::Zstd), Ok(()));
    }

    #[test]
    fn a_second_filter_header_is_refused_and_other_skippable_frames_are_not() {
        let (frame, other) = (packed(1, b"abc"), b"\x50\x2a\x4d\x18\x03\0\0\0abc");
        for good in
            [&[&frame[..], other, &frame][..], &[other, HEADER], &[HEADER, other, &frame], &[&frame, HEADER], &[]]
        {
            assert!(check(&good.concat(), Filter::Zstd).is_ok());
        }
        assert!(check(&[HEADER, other, &frame, other].concat(), Filter::Planes).is_ok());
        for bad in
            [&[HEADER, HEADER, &frame][..], &[&frame, HEADER], &[HEADER, &frame, HEADER], &[other, HEADER, &frame]]
        {
            assert!(check(&bad.concat(), Filter::Planes).is_err());
        }
    }

    #[test]
    fn other_formats_are_refused() {
        let frame = packed(1, b"abc");
        // gzip, xz, lz4, an old zstd: what `zstd -d` may take.
        for magic in
            [&b"\x1f\x8b\x08\0"[..], b"\xfd7zX", b"\x04\x22\x4d\x18", b"\x27\xb5\x2f\xfd", b"\x60\x2a\x4d\x18\0\0\0\0"]
        {
            assert!(check(magic, Filter::Zstd).is_err() && check(&[&frame, magic].concat(), Filter::Zstd).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_zstd_writes_is_walked_to_its_end(
            parts in prop::collection::vec((1i32..6, prop::collection::vec(0u8..4, 0..5000)), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let all = parts.iter().map(|(level, bytes)| packed(*level, bytes)).collect::<Vec<_>>();
            let whole = all.concat();
            prop_assert_eq!(check(&whole, Filter::Zstd), Ok(()));
            let ends = all.iter().scan(0, |end, part| { *end += part.len(); Some(*end) }).collect::<Vec<_>>();
            let cut = cut.index(whole.len() + 1);
            prop_assert_eq!(check(&whole[..cut], Filter::Zstd).is_ok(), cut == 0 || ends.contains(&cut));
        }

        #[test]
        fn any_bytes_are_walked_without_a_panic(tail in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = check(&[&MAGIC.to_le_bytes()[..], &tail].concat(), Filter::Planes);
        }
    }

    #[test]
    fn a_frame_that_is_no_single_segment_may_say_its_length_and_that_it_has_no_dictionary() {
        // Magic number, descriptor, window: there is neither a dictionary nor a length.
        let frame = streamed(20, false);
        assert_eq!(frame[4], 0);
        for (flag, length) in [(1 << 6, 2), (2 << 6, 4), (3 << 6, 8)] {
            let mut said = frame.clone();
            said[4] |= flag;
            said.splice(6..6, vec![7; length]);
            assert_eq!(check(&said, Filter::Zstd), Ok(()), "{length}");
        }
        for (flag, length) in [(1, 1), (2, 2), (3, 4)] {
            let mut said = frame.clone();
            said[4] |= flag;
            said.splice(6..6, vec![0; length]);
            assert_eq!(check(&said, Filter::Zstd), Ok(()), "{length}");
            said[5 + length] = 1;
            assert!(matches!(check(&said, Filter::Zstd), Err(FormatError::Bytes { offset: 6, .. })), "{length}");
        }
    }
}
