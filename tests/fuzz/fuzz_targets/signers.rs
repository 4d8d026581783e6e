//! A list of trusted signers: a key is trusted only if it stands in it.

#![no_main]

use ckvault::format::signature::{Signature, public_line};
use ckvault::format::signers::Signers;
use ckvault_fuzz::compose::Keys;
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

static KEYS: OnceLock<Keys> = OnceLock::new();

fuzz_target!(|text: &str| {
    let keys = KEYS.get_or_init(Keys::new);
    let Ok(signers) = Signers::parse(text) else { return };
    let key = Signature::parse(&keys.sign("ckvault", b"m")).unwrap().verify(b"m").unwrap();
    if signers.judge(&key, Default::default()).is_ok() {
        let own = public_line(&key);
        assert!(text.contains(own.split(' ').nth(1).unwrap()), "trusted, and not in the list");
    }
});
