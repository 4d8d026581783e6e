//! A segment on its way out of a frame: never more than it may have, and what zstd says it is. The steps that come between zstd and
//! the tar stream belong here as well.

#![no_main]

use ckvault::format::filter::Filter;
use ckvault::stages::compress::{Compression, Compressor, Decompressor};
use libfuzzer_sys::fuzz_target;
use std::io::Read;

const LIMIT: usize = 64 << 10;

fuzz_target!(|data: &[u8]| {
    let mut out = Vec::new();
    if Decompressor::new().unwrap().decompress(Filter::Zstd, data, LIMIT, &mut out).is_ok() {
        assert!(out.len() <= LIMIT);
        // For zstd nothing is an error; here it is a segment of no bytes, which no set has.
        if data.is_empty() {
            return;
        }
        let mut streamed = Vec::new();
        let mut decoder = zstd::Decoder::new(data).unwrap();
        // The largest window that a segment may ask for (rule 73).
        decoder.window_log_max(23).unwrap();
        decoder.take(LIMIT as u64 + 1).read_to_end(&mut streamed).unwrap();
        assert!(streamed == out, "zstd -d has something else");
    }
    // A filter header permutes what zstd gives, and adds nothing to it.
    let mut planes = Vec::new();
    if Decompressor::new().unwrap().decompress(Filter::Planes, data, LIMIT, &mut planes).is_ok() {
        assert!(planes.len() == out.len() && ones(&planes) == ones(&out));
    }
    let plain = &data[..data.len().min(LIMIT)];
    let (mut packed, mut back) = (Vec::new(), Vec::new());
    for compression in [Compression::Auto, Compression::Zstd(3), Compression::None] {
        Compressor::new(compression).unwrap().compress(plain, &mut packed).unwrap();
        Decompressor::new().unwrap().decompress(compression.filter(), &packed, LIMIT, &mut back).unwrap();
        assert!(back == plain);
    }
});

fn ones(bytes: &[u8]) -> u64 {
    bytes.iter().map(|b| u64::from(b.count_ones())).sum()
}
