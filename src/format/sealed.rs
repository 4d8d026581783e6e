//! The header of an age file (age-encryption.org/v1), as far as it has to be known before a parser gets it: how long it is, and
//! what stanzas it has. Read once from front to back, and no further than the limits.

use super::{FormatError, within};
use serde::Serialize;

const MAGIC: &[u8] = b"age-encryption.org/v1\n";
const STANZA: &[u8] = b"-> ";
/// What the last line begins with, before the MAC in base64.
const END: &[u8] = b"--- ";
const MAC: usize = 43;
/// Body lines of a stanza are no longer.
const COLUMNS: usize = 64;
/// The type of a stanza for an X25519 recipient.
const NATIVE: &[u8] = b"X25519";
/// What the type of a stanza ends with that is there for nobody.
const GREASE: &[u8] = b"-grease";
/// The types of which the specification of age says that no quantum computer opens them.
const POST_QUANTUM: [&[u8]; 2] = [b"mlkem768x25519", b"mlkem768p256tag"];
/// The types that are opened by who computes discrete logarithms, or factors.
const CLASSICAL: [&[u8]; 4] = [NATIVE, b"p256tag", b"ssh-ed25519", b"ssh-rsa"];

/// How much of a header is read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the header.
    pub bytes: usize,
    /// Stanzas in it.
    pub stanzas: usize,
}

/// Rule 56: of a key slot, so many recipients, each as large as that of a post-quantum key.
pub const SLOT: Limits = Limits { bytes: 2 << 20, stanzas: 1024 };
/// Rule 56: of a frame or the inventory, which have one recipient, and perhaps grease.
pub const SEALED: Limits = Limits { bytes: 4 << 10, stanzas: 16 };

/// What a header holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Its bytes, the line of the MAC with them.
    pub len: usize,
    stanzas: usize,
    native: usize,
    grease: usize,
    post_quantum: usize,
    classical: usize,
}

/// Whether who records a set now can read it when there are quantum computers, as far as the types of the stanzas in its key slot
/// tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidentiality {
    /// All recipients are of a type that withstands them.
    PostQuantum,
    /// At least one is of a type that does not.
    Classical,
    /// At least one is of a type that only its plugin knows, and none is of a type that does not withstand; or there is no slot.
    Unknown,
}

impl Confidentiality {
    /// Of a set with this key slot.
    pub fn of_slot(slot: &[u8]) -> Confidentiality {
        Header::scan(slot, SLOT).map_or(Confidentiality::Unknown, |header| header.confidentiality())
    }
}

impl Header {
    /// Scans what stands at the beginning of `bytes`. One that is longer than the limits is [`FormatError::Limit`], and anything
    /// else that is no whole header [`FormatError::Bytes`].
    pub fn scan(bytes: &[u8], limits: Limits) -> Result<Header, FormatError> {
        let bounded = &bytes[..bytes.len().min(limits.bytes)];
        let wrong = |offset: usize, what| Err(FormatError::Bytes { offset: offset as u64, what });
        let mut header = Header { len: MAGIC.len(), ..Header::default() };
        if !bounded.starts_with(MAGIC) {
            return wrong(0, "the first line of an age file");
        }
        loop {
            let rest = &bounded[header.len..];
            let Some(end) = rest.iter().position(|b| *b == b'\n') else {
                let too_long =
                    within("length of the header of an age file", bytes.len() as u64, 1, limits.bytes as u64);
                return too_long.and(wrong(bytes.len(), "the end of the header of an age file"));
            };
            let line = &rest[..end];
            let begun = header.len;
            header.len += end + 1;
            if let Some(mac) = line.strip_prefix(END) {
                let whole = header.stanzas > 0 && mac.len() == MAC && mac.iter().all(is_base64);
                return if whole { Ok(header) } else { wrong(begun, "the MAC of an age file") };
            }
            match line.strip_prefix(STANZA) {
                Some(arguments) if is_text(arguments) => header.count(arguments),
                None if header.stanzas > 0 && line.len() <= COLUMNS && line.iter().all(is_base64) => {}
                _ => return wrong(begun, "a stanza of an age file"),
            }
            within("stanzas of an age file", header.stanzas as u64, 0, limits.stanzas as u64)?;
        }
    }

    fn count(&mut self, arguments: &[u8]) {
        let kind = arguments.split(|b| *b == b' ').next().unwrap_or_default();
        self.stanzas += 1;
        self.native += usize::from(kind == NATIVE);
        self.grease += usize::from(kind.ends_with(GREASE));
        self.post_quantum += usize::from(POST_QUANTUM.contains(&kind));
        self.classical += usize::from(CLASSICAL.contains(&kind));
    }

    fn confidentiality(&self) -> Confidentiality {
        match (self.classical, self.post_quantum) {
            (1.., _) => Confidentiality::Classical,
            (0, 1..) if self.post_quantum + self.grease == self.stanzas => Confidentiality::PostQuantum,
            _ => Confidentiality::Unknown,
        }
    }

    /// Rule 32: it has one recipient, of the kind that sets have, and beside it nothing but grease.
    pub fn require_one_recipient(&self) -> Result<(), FormatError> {
        match self.native == 1 && self.native + self.grease == self.stanzas {
            true => Ok(()),
            false => Err(FormatError::Contradiction("it is not encrypted to one recipient alone".into())),
        }
    }
}

/// Words of printable ASCII with single blanks between them.
fn is_text(arguments: &[u8]) -> bool {
    arguments.split(|b| *b == b' ').all(|word| !word.is_empty() && word.iter().all(u8::is_ascii_graphic))
}

fn is_base64(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/".contains(byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::limits::of_page;

    #[test]
    fn limits_are_those_of_the_page() {
        let of = |limits: Limits| [limits.bytes as u64, limits.stanzas as u64];
        let said = |of: &str| [format!("header of {of}"), format!("stanzas of {of}")].map(|what| of_page::of(&what)[1]);
        assert_eq!((said("the key slot"), said("a frame or the inventory")), (of(SLOT), of(SEALED)));
    }

    fn header(stanzas: &str) -> Vec<u8> {
        format!("age-encryption.org/v1\n{stanzas}--- {}\n", "A".repeat(MAC)).into_bytes()
    }

    fn native() -> String {
        format!("-> X25519 {}\n{}\n", "B".repeat(43), "C".repeat(43))
    }

    fn alone(stanzas: &str) -> bool {
        Header::scan(&header(stanzas), SEALED).unwrap().require_one_recipient().is_ok()
    }

    #[test]
    fn a_header_ends_with_its_mac_whatever_follows() {
        for stanzas in [native(), native() + "-> x-grease\n\n", "-> a b ~!\n".to_owned() + &"D".repeat(64) + "\n\n"] {
            let whole = header(&stanzas);
            for after in ["", "\n", "--- x", "payload\n-> X25519\n"] {
                let scanned = Header::scan(&[&whole[..], after.as_bytes()].concat(), SEALED);
                assert_eq!(scanned.map(|h| h.len), Ok(whole.len()), "{stanzas}");
            }
            // Cut anywhere it is no header.
            for len in 0..whole.len() {
                assert!(matches!(Header::scan(&whole[..len], SEALED), Err(FormatError::Bytes { .. })), "{len}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_no_header() {
        for bad in [
            header(""),
            header("body\n"),
            header("body\n-> a\n\n"),
            header("-> \n"),
            header("-> a  b\n"),
            header("-> a \n"),
            header("-> a\nb=\n"),
            header("-> a\n\0\n"),
            header(&("-> a\n".to_owned() + &"D".repeat(65) + "\n")),
            header("-> a\u{e9}\n"),
            header(&native())[1..].to_vec(),
            b"age-encryption.org/v2\n-> a\n\n".to_vec(),
            b"age-encryption.org/v1\n-> a\n\n--- AAAA\n".to_vec(),
            format!("age-encryption.org/v1\n-> a\n\n--- {}=\n", "A".repeat(MAC - 1)).into_bytes(),
        ] {
            let scanned = Header::scan(&bad, SEALED);
            assert!(matches!(scanned, Err(FormatError::Bytes { .. })), "{}", String::from_utf8_lossy(&bad));
        }
    }

    #[test]
    fn one_that_is_too_long_or_has_too_many_stanzas_is_not_read_to_its_end() {
        let most = "-> a\n\n".repeat(SEALED.stanzas);
        assert!(Header::scan(&header(&most), SEALED).is_ok());
        let more = header(&(most + "-> a\n\n"));
        assert!(matches!(Header::scan(&more, SEALED), Err(FormatError::Limit { value: 17, .. })));
        let long = header(&format!("-> a\n{}", ("D".repeat(64) + "\n").repeat(64)));
        assert!(matches!(Header::scan(&long, SEALED), Err(FormatError::Limit { max: 4096, .. })));
        assert!(Header::scan(&long, SLOT).is_ok());
        // One line that never ends.
        let endless = [MAGIC, b"-> ", &[b'x'; 5000][..]].concat();
        assert!(matches!(Header::scan(&endless, SEALED), Err(FormatError::Limit { .. })));
    }

    #[test]
    fn one_recipient_is_one_native_stanza_and_any_grease() {
        let native = native();
        assert!(alone(&native) && alone(&format!("-> ab-grease 1 2\nDD\n{native}-> -grease\n\n")));
        for others in [
            native.repeat(2),
            format!("{native}-> ssh-ed25519 AAAA BBBB\nCCCC\n"),
            format!("{native}-> greased\n\n"),
            "-> x-grease\n\n".to_owned(),
            "-> scrypt AAAA 18\nBBBB\n".to_owned(),
        ] {
            assert!(!alone(&others), "{others}");
        }
    }

    #[test]
    fn one_recipient_that_is_not_post_quantum_spoils_all_others() {
        use Confidentiality::{Classical, PostQuantum, Unknown};
        let (pq, tag, grease) = ("-> mlkem768x25519 AA\n\n", "-> mlkem768p256tag AA BB\n\n", "-> x-grease\n\n");
        let x25519 = native();
        for (stanzas, expected) in [
            (pq.to_owned(), PostQuantum),
            ([pq, grease, tag, pq].concat(), PostQuantum),
            (x25519.clone(), Classical),
            ([pq, &x25519].concat(), Classical),
            ([pq, "-> ssh-rsa AA\n\n"].concat(), Classical),
            (["-> toy\n\n", "-> p256tag AA BB\n\n"].concat(), Classical),
            ([pq, "-> toy\n\n"].concat(), Unknown),
            ([pq, "-> mlkem768x25519+ AA\n\n"].concat(), Unknown),
            (grease.to_owned(), Unknown),
            (String::new(), Unknown),
        ] {
            assert_eq!(Confidentiality::of_slot(&header(&stanzas)), expected, "{stanzas}");
        }
    }
}
