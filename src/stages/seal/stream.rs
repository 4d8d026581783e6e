//! The payload of an age file that is in memory whole: STREAM over ChaCha20-Poly1305, in chunks of 64 KiB (age-encryption.org/v1,
//! "Payload"). The age crate writes and opens the header, and wraps the file key; with the file key that passes through it here,
//! the chunks go through ring, which is twice as fast as the crate's own stream.

use super::header;
use crate::format::sealed::{Header, SEALED};
use age::secrecy::ExposeSecret;
use age::{DecryptError, EncryptError, Identity, Recipient};
use age_core::format::{FileKey, Stanza};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use zeroize::Zeroizing;

const CHUNK: usize = 64 << 10;
const TAG: usize = 16;
/// Bytes of the nonce between header and chunks.
const NONCE: usize = 16;

/// Seals `plain` as an age file at the end of `out`.
pub fn seal(to: &dyn Recipient, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let passing = Passing { inner: to, key: RefCell::default() };
    let encryptor = age::Encryptor::with_recipients(std::iter::once(&passing as &dyn Recipient));
    // Nothing is written to the crate's own stream: this is the header, and the nonce.
    encryptor.map_err(io::Error::other)?.wrap_output(&mut *out)?;
    let nonce = out.len().checked_sub(NONCE).and_then(|at| out.get(at..));
    let key = payload_key(passing.key.into_inner(), nonce)?;
    out.reserve(plain.len() + (plain.len() / CHUNK + 1) * TAG);
    let chunks = plain.len().div_ceil(CHUNK).max(1);
    for n in 0..chunks {
        let at = out.len();
        out.extend_from_slice(&plain[n * CHUNK..plain.len().min((n + 1) * CHUNK)]);
        let sealed = key.seal_in_place_separate_tag(chunk_nonce(n, n + 1 == chunks), Aad::empty(), &mut out[at..]);
        let tag = sealed.map_err(|_| io::Error::other("a chunk cannot be sealed"))?;
        out.extend_from_slice(tag.as_ref());
    }
    Ok(())
}

/// Opens an age file where it lies; more than `limit` bytes are an error. After an error, what lies there is of no use.
pub fn open<'a>(with: &dyn Identity, sealed: &'a mut [u8], limit: usize) -> io::Result<&'a [u8]> {
    let passing = Passing { inner: with, key: RefCell::default() };
    let scanned = Header::scan(sealed, SEALED).and_then(|h| h.require_one_recipient().map(|()| h.len));
    let (header, rest) = sealed.split_at_mut(scanned.map_err(io::Error::other)?);
    let (nonce, payload) = rest.split_at_mut_checked(NONCE).ok_or_else(|| invalid("cut short"))?;
    // This proves the header with the file key, and reads nothing of the payload yet.
    let decryptor = header::decryptor(header, &nonce[..]).map_err(io::Error::other)?;
    decryptor.decrypt(std::iter::once(&passing as &dyn Identity)).map_err(io::Error::other)?;
    let key = payload_key(passing.key.into_inner(), Some(nonce))?;
    let chunks = payload.len().div_ceil(CHUNK + TAG).max(1);
    // Only an empty file has an empty chunk.
    let least = if chunks == 1 { TAG } else { (chunks - 1) * (CHUNK + TAG) + TAG + 1 };
    if payload.len() < least {
        return Err(invalid("cut short"));
    }
    let len = payload.len() - chunks * TAG;
    if len > limit {
        return Err(invalid("more than a segment can hold"));
    }
    for n in 0..chunks {
        let end = payload.len().min((n + 1) * (CHUNK + TAG));
        // Each is opened to where the one before it ends, over the tags that have been checked.
        let (nonce, chunk) = (chunk_nonce(n, n + 1 == chunks), &mut payload[n * CHUNK..end]);
        let opened = key.open_within(nonce, Aad::empty(), chunk, n * TAG..);
        opened.map_err(|_| invalid("a chunk is not what was sealed"))?;
    }
    Ok(&payload[..len])
}

/// The key of the chunks, from the file key and the nonce behind the header.
fn payload_key(file_key: Option<FileKey>, nonce: Option<&[u8]>) -> io::Result<LessSafeKey> {
    let (Some(file_key), Some(nonce)) = (file_key, nonce) else { return Err(invalid("no file key")) };
    let key = Zeroizing::new(age_core::primitives::hkdf(nonce, b"payload", file_key.expose_secret()));
    let key = UnboundKey::new(&CHACHA20_POLY1305, &key[..]).map_err(|_| invalid("a key of another length"))?;
    Ok(LessSafeKey::new(key))
}

/// Eleven bytes that count, and one that marks the last chunk. No key has two payloads, and no payload two chunks of one number.
fn chunk_nonce(n: usize, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&(n as u64).to_be_bytes());
    nonce[11] = last.into();
    Nonce::assume_unique_for_key(nonce)
}

/// A recipient or an identity that keeps the file key which passes through it.
struct Passing<'a, T: ?Sized> {
    inner: &'a T,
    key: RefCell<Option<FileKey>>,
}

impl<T: ?Sized> Passing<'_, T> {
    fn keep(&self, key: &FileKey) {
        let bytes = Box::new(*key.expose_secret());
        *self.key.borrow_mut() = Some(FileKey::new(bytes));
    }
}

impl Recipient for Passing<'_, dyn Recipient + '_> {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        self.keep(file_key);
        self.inner.wrap_file_key(file_key)
    }
}

impl Identity for Passing<'_, dyn Identity + '_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.inner.unwrap_stanza(stanza).map(|key| key.inspect(|key| self.keep(key)))
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use age::x25519;
    use std::io::{Read, Write};

    const LENGTHS: [usize; 10] = [0, 1, 100, 65535, 65536, 65537, 131_071, 131_072, 131_073, 1_000_000];

    fn plain(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn the_age_crate_opens_what_is_sealed_here() {
        let identity = x25519::Identity::generate();
        for len in LENGTHS {
            let mut sealed = Vec::new();
            seal(&identity.to_public(), &plain(len), &mut sealed).unwrap();
            let decryptor = age::Decryptor::new(&sealed[..]).unwrap();
            let mut opened = Vec::new();
            let mut reader = decryptor.decrypt(std::iter::once(&identity as &dyn Identity)).unwrap();
            reader.read_to_end(&mut opened).unwrap();
            assert!(opened == plain(len), "{len}");
        }
    }

    #[test]
    fn what_the_age_crate_seals_is_opened_here() {
        let identity = x25519::Identity::generate();
        for len in LENGTHS {
            let recipient = identity.to_public();
            let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn Recipient)).unwrap();
            let mut sealed = Vec::new();
            let mut writer = encryptor.wrap_output(&mut sealed).unwrap();
            writer.write_all(&plain(len)).unwrap();
            writer.finish().unwrap();
            assert!(open(&identity, &mut sealed, len).unwrap() == plain(len), "{len}");
        }
    }

    #[test]
    fn whatever_is_changed_cut_or_moved_is_noticed() {
        let identity = x25519::Identity::generate();
        let mut sealed = Vec::new();
        seal(&identity.to_public(), &plain(3 * CHUNK), &mut sealed).unwrap();
        let payload = sealed.len() - 3 * (CHUNK + TAG);
        let refused = |bytes: &[u8]| assert!(open(&identity, &mut bytes.to_vec(), 4 * CHUNK).is_err());
        for at in (0..sealed.len()).step_by(9973).chain(payload - NONCE..payload + 2).chain([sealed.len() - 1]) {
            let mut bad = sealed.clone();
            bad[at] ^= 0x40;
            refused(&bad);
        }
        for cut in [1, TAG, TAG + 1, CHUNK, CHUNK + TAG, CHUNK + TAG + 1, 2 * (CHUNK + TAG), 3 * (CHUNK + TAG)] {
            refused(&sealed[..sealed.len() - cut]);
        }
        refused(&[&sealed[..], &[0]].concat());
        refused(&[&sealed[..], &[0; TAG]].concat());
        let (one, two) = (payload + CHUNK + TAG, payload + 2 * (CHUNK + TAG));
        refused(&[&sealed[..payload], &sealed[one..two], &sealed[payload..one], &sealed[two..]].concat());
        refused(&[&sealed[..payload], &sealed[one..]].concat());
        let stranger = x25519::Identity::generate();
        assert!(open(&stranger, &mut sealed, 4 * CHUNK).is_err());
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let identity = x25519::Identity::generate();
        for len in LENGTHS.into_iter().filter(|len| *len > 0) {
            let mut sealed = Vec::new();
            seal(&identity.to_public(), &plain(len), &mut sealed).unwrap();
            assert!(open(&identity, &mut sealed.clone(), len - 1).is_err());
            assert!(open(&identity, &mut sealed, len).is_ok());
        }
    }
}
