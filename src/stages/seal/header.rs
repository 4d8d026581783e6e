//! The way of a header to the age crate: scanned and bounded first, and then given to it as a whole.

use crate::format::sealed::{Header, SEALED};
use age::{DecryptError, Decryptor};
use std::io::{self, BufRead, Cursor, Read};

/// Takes the header of a frame or of the inventory off a stream, and looks that it has one recipient.
pub fn take(sealed: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    // One byte more than there may be, so that a header that is longer is seen to be.
    let mut bounded = sealed.take(SEALED.bytes as u64 + 1);
    loop {
        let begun = header.len();
        if bounded.read_until(b'\n', &mut header)? == 0 || header[begun..].starts_with(b"--- ") {
            break;
        }
    }
    let scanned = Header::scan(&header, SEALED).and_then(|h| h.require_one_recipient());
    scanned.map_err(io::Error::other)?;
    Ok(header)
}

/// What decrypts an age file of which `header` has been scanned and `rest` follows.
pub fn decryptor<R: BufRead>(header: &[u8], rest: R) -> Result<Decryptor<impl BufRead + use<R>>, DecryptError> {
    Decryptor::new_buffered(Whole(Cursor::new(header.to_vec()).chain(rest)))
}

/// Gives the header in one piece to who asks for a line. The age crate asks for one after the other, and after each parses anew
/// all that it has: with a thousand recipients it would parse two thousand times.
struct Whole<R>(io::Chain<Cursor<Vec<u8>>, R>);

impl<R: BufRead> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: BufRead> BufRead for Whole<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }

    fn read_until(&mut self, delimiter: u8, out: &mut Vec<u8>) -> io::Result<usize> {
        match self.0.get_mut().0.read_to_end(out)? {
            0 => self.0.read_until(delimiter, out),
            header => Ok(header),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::sealed::SLOT;
    use age::Identity;
    use age::x25519;
    use proptest::prelude::*;
    use std::io::Write;

    fn sealed(to: &[x25519::Recipient]) -> Vec<u8> {
        let recipients = to.iter().map(|r| r as &dyn age::Recipient);
        let mut writer = age::Encryptor::with_recipients(recipients).unwrap().wrap_output(Vec::new()).unwrap();
        writer.write_all(b"plain").unwrap();
        writer.finish().unwrap()
    }

    fn opened(bytes: &[u8], with: &x25519::Identity) -> Option<Vec<u8>> {
        let len = Header::scan(bytes, SLOT).ok()?.len;
        let mut plain = Vec::new();
        let with = std::iter::once(with as &dyn Identity);
        decryptor(&bytes[..len], &bytes[len..]).ok()?.decrypt(with).ok()?.read_to_end(&mut plain).ok()?;
        Some(plain)
    }

    #[test]
    fn what_is_scanned_opens() {
        let (one, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        let file = sealed(&[other.to_public(), one.to_public()]);
        assert_eq!(opened(&file, &one).as_deref(), Some(&b"plain"[..]));
        assert_eq!(opened(&file, &x25519::Identity::generate()), None);
    }

    #[test]
    fn a_header_is_taken_off_and_nothing_after_it() {
        let file = sealed(&[x25519::Identity::generate().to_public()]);
        let mut rest = &file[..];
        let header = take(&mut rest).unwrap();
        assert!(header == file[..header.len()] && rest == &file[header.len()..]);
        let two = sealed(&[x25519::Identity::generate().to_public(), x25519::Identity::generate().to_public()]);
        let endless = [&file[..22], &b"-> a\n\n".repeat(100_000)[..]].concat();
        for bad in [&b""[..], &file[1..], &file[..60], &two, &endless] {
            let mut rest = bad;
            assert!(take(&mut rest).is_err());
            assert!(bad.len() - rest.len() <= SEALED.bytes + 1, "all of it was read");
        }
    }

    proptest! {
        /// The age crate must see the end of a header where the scan saw it, or refuse it, and never ask for more.
        #[test]
        fn the_scan_and_the_age_crate_agree_on_the_end(
            stanzas in prop::collection::vec("-> [!-~]{1,5}( [!-~]{1,43}){0,2}(\n[A-Za-z0-9+/]{64}){0,2}(\n[A-Za-z0-9+/]{0,63})?", 1..8),
        ) {
            let header = format!("age-encryption.org/v1\n{}\n--- {}\n", stanzas.join("\n"), "A".repeat(43));
            let scanned = Header::scan(header.as_bytes(), SEALED);
            prop_assert_eq!(scanned.map(|h| h.len), Ok(header.len()));
            let follows = [b'x'; 200];
            let mut rest = &follows[..];
            let taken = decryptor(header.as_bytes(), &mut rest).is_ok();
            // Of what follows it has the nonce, or nothing.
            prop_assert_eq!(rest.len(), if taken { 184 } else { 200 });
        }
    }
}
