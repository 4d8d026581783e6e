//! A stream of frames: each is taken only if every byte of its header is the one that its place gives.

#![no_main]

use ckvault::format::frame::{HEADER, header, payload};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (mut rest, mut segment) = (data, 0);
    while rest.len() >= HEADER {
        let len = u32::from_le_bytes([rest[4], rest[5], rest[6], rest[7]]) as usize;
        let end = HEADER.saturating_add(len).min(rest.len());
        let frame = &rest[..end];
        if let Ok(sealed) = payload(frame, segment) {
            assert_eq!([&header(segment, sealed.len() as u32)[..], sealed].concat(), frame);
            assert!(payload(frame, segment + 1).is_err());
        }
        rest = &rest[end..];
        segment += 1;
    }
    let _ = payload(rest, segment);
});
