//! One public key in OpenSSH's notation: type, blanks, base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

/// Where the name of a type ends with this, it is a certificate.
const CERTIFICATE: &str = "-cert-v01@openssh.com";
/// What signs sets.
const OURS: [&str; 2] = ["ssh-ed25519", "sk-ssh-ed25519@openssh.com"];

/// A key at the beginning of `text`; what follows it is a comment.
pub enum Key {
    /// One that may sign sets.
    Ours(KeyData),
    /// A certificate for one.
    Certified(KeyData),
    /// Of a type that can match no signature of a set.
    Other,
}

/// Reads it as OpenSSH does.
pub fn read(text: &[u8]) -> Result<Key, String> {
    let (kind, rest) = word(text);
    let (encoded, _) = word(rest);
    let Some(kind) = std::str::from_utf8(kind).ok().filter(|kind| is_type(kind) && !encoded.is_empty()) else {
        return Err("a public key is missing".into());
    };
    let unreadable = |why: &str| format!("the public key cannot be read: {why}");
    // OpenSSH passes over all that C calls space.
    let encoded: Vec<u8> = encoded.iter().copied().filter(|b| !b" \t\n\x0b\x0c\r".contains(b)).collect();
    let blob = STANDARD.decode(encoded).map_err(|e| unreadable(&e.to_string()))?;
    // The names of RSA's signatures stand for its keys, too.
    let inner = if kind.starts_with("rsa-sha2-") { "ssh-rsa" } else { kind };
    if !blob.starts_with(&[&(inner.len() as u32).to_be_bytes(), inner.as_bytes()].concat()) {
        return Err(unreadable("it is of another type than the line says"));
    }
    if OURS.contains(&kind) {
        let key = PublicKey::from_bytes(&blob).map_err(|e| unreadable(&e.to_string()))?;
        // The ssh-key crate passes over lengths in it that are wrong.
        return match key.to_bytes().is_ok_and(|canonical| canonical == blob) {
            true => Ok(Key::Ours(key.key_data().clone())),
            false => Err(unreadable("it is not in its canonical form")),
        };
    }
    match kind.strip_suffix(CERTIFICATE) {
        Some(plain) if OURS.iter().any(|own| own.split('@').next() == Some(plain)) => {
            let key = certified(&blob).ok_or_else(|| unreadable("it is no certificate"))?;
            Ok(Key::Certified(key))
        }
        _ => Ok(Key::Other),
    }
}

/// The key in a certificate for one of ours. It stands there as in a public key, but behind a nonce.
fn certified(blob: &[u8]) -> Option<KeyData> {
    let string = |blob: &mut &[u8]| -> Option<Vec<u8>> {
        let (len, rest) = blob.split_first_chunk::<4>()?;
        let (string, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        *blob = rest;
        Some([&len[..], string].concat())
    };
    let mut rest = blob;
    let (kind, _nonce, key) = (string(&mut rest)?, string(&mut rest)?, string(&mut rest)?);
    let plain = match kind.ends_with(b"sk-ssh-ed25519-cert-v01@openssh.com") {
        false => [&b"\0\0\0\x0bssh-ed25519"[..], &key].concat(),
        true => [&b"\0\0\0\x1ask-ssh-ed25519@openssh.com"[..], &key, &string(&mut rest)?].concat(),
    };
    PublicKey::from_bytes(&plain).ok().map(|key| key.key_data().clone())
}

/// Whether a word is the type of a key, also of one that this version does not know.
pub fn is_type(word: &str) -> bool {
    ["ssh-", "sk-ssh-", "ecdsa-sha2-", "sk-ecdsa-sha2-", "rsa-sha2-"].iter().any(|p| word.starts_with(p))
}

/// The first word, and what follows the blanks after it.
pub fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|b| b" \t".contains(b)).unwrap_or(text.len());
    (&text[..end], skip_blanks(&text[end..]))
}

/// What follows the blanks at the beginning.
pub fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|b| b" \t".contains(b)).count();
    &text[blanks..]
}
