//! A list of trusted signers: a key is trusted only if it stands in it.

#![no_main]

use ckvault::format::signature::{Signature, public_line};
use ckvault::format::signers::Signers;
use ckvault_fuzz::compose::Keys;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

static KEYS: OnceLock<Keys> = OnceLock::new();

fuzz_target!(|list: &[u8]| {
    let keys = KEYS.get_or_init(Keys::new);
    let signers = Signers::parse(list, &TimeZone::UTC);
    let key = Signature::parse(&keys.sign("ckvault", b"m")).unwrap().verify(b"m").unwrap();
    let asked = list.split(|b| *b == b',').next();
    if signers.judge(&key, asked, Default::default()).is_ok() || signers.judge(&key, None, Default::default()).is_ok() {
        // White space in the base64 means nothing.
        let plain: Vec<u8> = list.iter().copied().filter(|b| !b.is_ascii_whitespace() && *b != b'\x0b').collect();
        let own = public_line(&key);
        let own = own.split(' ').nth(1).unwrap().as_bytes();
        assert!(plain.windows(own.len()).any(|w| w == own), "trusted, and not in the list");
    }
});
