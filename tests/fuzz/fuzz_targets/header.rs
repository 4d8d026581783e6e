//! The header page of a volume: what is taken is what would be written.

#![no_main]

use ckvault::format::hashes::BLOCK;
use ckvault::format::header::Header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Header::parse(data);
    // Most of a page is zeros, which need not be found.
    let mut page = data.to_vec();
    page.resize(BLOCK, 0);
    if let Ok(header) = Header::parse(&page) {
        assert!(header.encode() == page);
    }
});
