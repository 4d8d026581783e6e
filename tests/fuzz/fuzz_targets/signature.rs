//! The signature: nothing holds but what was signed, in its one spelling.

#![no_main]

use ckvault::format::signature::{Signature, fingerprint, public_line};
use ckvault_fuzz::compose::Keys;
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

static KEYS: OnceLock<Keys> = OnceLock::new();

/// What the seeds sign.
const MESSAGE: &[u8] = b"manifest";

fuzz_target!(|data: &[u8]| {
    let keys = KEYS.get_or_init(Keys::new);
    let Ok(signature) = Signature::parse(data) else { return };
    if let Ok(key) = signature.verify(MESSAGE) {
        assert_eq!(public_line(&key), keys.public(), "{}", fingerprint(&key));
        let sha512 = keys.sign("ckvault", MESSAGE);
        let sha256 = keys.sign_with(ssh_key::HashAlg::Sha256, "ckvault", MESSAGE);
        assert!(data == sha512 || data == sha256, "another spelling of a signature");
    }
    assert!(signature.verify(b"manifesto").is_err());
});
