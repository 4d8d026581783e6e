//! The header page of a volume: what is taken is what would be written.

#![no_main]

use ckvault::format::header::Header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Header::parse(data);
    // A hash and zeros need not be found.
    let mut page = data[..data.len().min(64)].to_vec();
    page.resize(64, 0);
    page.extend(blake3::hash(&page).as_bytes().to_owned());
    page.resize(Header::length(&page).unwrap_or(1 << 16), 0);
    if let Ok(header) = Header::parse(&page) {
        assert!(header.encode() == page);
    }
});
