//! Bytes to structs and back, without I/O: what a set is made of. `ckvault-format(5)` is the normative text; the rule
//! numbers in this module are its MUSTs.

pub mod deal;
pub mod entry;
pub mod filter;
pub mod frame;
pub mod hashes;
pub mod header;
pub mod inventory;
pub(crate) mod json;
pub(crate) mod limits;
pub mod manifest;
pub(crate) mod packed;
pub mod pieces;
pub(crate) mod recovery;
pub mod sealed;
pub mod signature;
pub mod signers;
pub(crate) mod version;

/// The format that this version writes and reads. It does not change; a version that writes another one reads this one all the same.
pub const FORMAT: &str = "1";

/// Names of the files in a set's directory.
pub mod names {
    /// The public, signed description of the set.
    pub const MANIFEST: &str = "manifest.json";
    /// SSHSIG over the bytes of the manifest.
    pub const SIGNATURE: &str = "manifest.json.sig";
    /// The set's own age identity, encrypted to the recipients.
    pub const KEYS: &str = "keys.age";
    /// The private list of everything in the set.
    pub const INVENTORY: &str = "inventory.age";
    /// The block values of all volumes.
    pub const HASHES: &str = "hashes.b3";
    /// `b3sum -c` input for the volumes of one drive.
    pub const B3SUMS: &str = "B3SUMS";
    /// How to recover without ckvault.
    pub const RECOVER_TXT: &str = "RECOVER.txt";
    /// The script that does it.
    pub const RECOVER_PY: &str = "recover.py";
    /// The program itself, on sets that were exported with it.
    pub const PROGRAM: &str = "ckvault";
    /// The directory with the second copy of each metadata file.
    pub const COPY: &str = "copy";
    /// The directory with the third copy of the small ones without which nothing can be had.
    pub const THIRD: &str = "third";
    /// The directories with further copies.
    pub const COPIES: [&str; 2] = [COPY, THIRD];
    /// Those small ones: two copies of so short a file may lie side by side, and go together.
    pub const SMALL: [&str; 3] = [KEYS, MANIFEST, SIGNATURE];
    /// The directory for signed attachments, in which ckvault looks at nothing (rule 72).
    pub const CUSTODY: &str = "custody";
    /// The signature of a key slot that was written anew, which no version makes yet.
    pub const KEYS_SIGNATURE: &str = "keys.age.sig";
    /// What the name of a volume ends with.
    pub const VOLUME_SUFFIX: &str = ".ckv";
    /// The places of a metadata file in a set's directory.
    pub fn copies(name: &str) -> impl DoubleEndedIterator<Item = String> + use<> {
        let third = SMALL.contains(&name).then(|| format!("{THIRD}/{name}"));
        [Some(name.to_owned()), Some(format!("{COPY}/{name}")), third].into_iter().flatten()
    }

    /// Rules 9 and 82: whether a file of `bytes` bytes must be in this place, one of its [`copies`], on each of `drives` drives. Where it
    /// need not be, it may be all the same.
    pub fn is_needed(place: &str, bytes: u64, drives: u64) -> bool {
        let long = bytes > super::limits::HASHES_TWICE && drives > 1;
        !long || place == HASHES || of_copies(place) != HASHES
    }

    /// The name of the file that has this place in a set's directory.
    pub fn of_copies(place: &str) -> &str {
        place.split_once('/').filter(|(dir, _)| COPIES.contains(dir)).map_or(place, |(_, name)| name)
    }

    /// What the name of a set's directory ends with.
    pub const SET_SUFFIX: &str = ".ckvault";
    /// What stands before the number of a later part of a chain, before [`SET_SUFFIX`].
    pub const PART_INFIX: &str = ".p";

    /// Metadata files whose bytes are the same on every drive and stand in the manifest.
    pub const LISTED: [&str; 5] = [KEYS, INVENTORY, HASHES, RECOVER_TXT, RECOVER_PY];
    /// Every metadata file that each set has, in the order in which they are judged. Some sets have [`PROGRAM`] as well, or others that
    /// only later versions know.
    pub const METADATA: [&str; 8] = [MANIFEST, SIGNATURE, KEYS, INVENTORY, HASHES, B3SUMS, RECOVER_TXT, RECOVER_PY];
    /// Whether the contents of a set are independent of a file, as they are of all files that this version does not know.
    pub fn is_aid(name: &str) -> bool {
        ![MANIFEST, SIGNATURE, KEYS, INVENTORY, HASHES, B3SUMS].contains(&name) && !name.ends_with(VOLUME_SUFFIX)
    }

    /// Rule 71: whether a file that is not known may have this name. It is no other file of a set, nor takes the place of one on
    /// a file system that does not tell upper from lower case, or passes over a dot at the end.
    pub fn may_be_listed(name: &str) -> bool {
        let of_name = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let lower = name.to_ascii_lowercase();
        let taken = METADATA.into_iter().chain([PROGRAM, COPY, THIRD, CUSTODY]);
        let endings = [".", VOLUME_SUFFIX, ".partial"];
        // Room for more signatures: what signs the manifest cannot stand in it.
        let beginnings = ["manifest.json.", "keys.age."];
        (1..=64).contains(&name.len())
            && name.bytes().all(of_name)
            && !endings.iter().any(|end| lower.ends_with(end))
            && !beginnings.iter().any(|begin| lower.starts_with(begin))
            && taken.into_iter().all(|other| !other.eq_ignore_ascii_case(name))
    }
}

/// One variant a broken rule of the format. The file it was found in is added by who read it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Rule 1: the format version is not one that this program reads.
    #[error("format {0:?} is not readable by this version (it reads {FORMAT:?})")]
    Version(String),
    /// Rules 1 and 70: what development versions wrote.
    #[error(
        "the set has the format {0:?}: a development version wrote it, and this ckvault ({own}, which reads {FORMAT:?}) reads no drafts",
        own = env!("CARGO_PKG_VERSION")
    )]
    Draft(String),
    /// Rules 1, 2, 69 and 70: a later reader is wanted.
    #[error(
        "the set needs the {what} {name:?}, which is newer than this ckvault ({}, which reads {FORMAT:?})",
        env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// What it needs: a format, a feature or a filter.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Rule 3: JSON or its types.
    #[error("not well-formed: {0}")]
    Syntax(String),
    /// Rule 4: a number outside of its limits.
    #[error("{what} is {value}, outside of {min}…{max}")]
    Limit {
        /// Which number.
        what: &'static str,
        /// What it is.
        value: u64,
        /// The least allowed.
        min: u64,
        /// The most allowed.
        max: u64,
    },
    /// Rule 5: a text that does not have the form it must have.
    #[error("{what} {value:?} is not valid")]
    Text {
        /// Which text.
        what: &'static str,
        /// What it is.
        value: String,
    },
    /// Rule 5: the time of the export is not written as it must be.
    #[error("the creation time {0:?} is not of the form YYYY-MM-DDTHH:MM:SSZ")]
    Time(String),
    /// Rule 6: two statements contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// Rule 7: bytes where others must stand.
    #[error("wrong bytes at offset {offset}: {what}")]
    Bytes {
        /// Where.
        offset: u64,
        /// What should be there.
        what: &'static str,
    },
}

/// Checks rule 4 for one number.
pub(crate) fn within(what: &'static str, value: u64, min: u64, max: u64) -> Result<(), FormatError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(FormatError::Limit { what, value, min, max })
}

/// A label: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
pub fn valid_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    (1..=64).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(HEX_DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The 16 bytes of a set id written as 32 lower-case hex digits.
pub fn parse_id(text: &str) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return None;
    }
    for (i, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(id)
}

/// 32 bytes as hex in JSON. An inventory has one a file, so nothing is allocated on the way.
pub mod hash_hex {
    use serde::de::{Error, Unexpected, Visitor};
    use serde::{Deserializer, Serializer};
    use std::fmt;

    /// Writes 64 lower-case hex digits.
    pub fn serialize<S: Serializer>(hash: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&blake3::Hash::from_bytes(*hash).to_hex())
    }

    /// Reads them; upper case is refused, so that every hash has one spelling.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        d.deserialize_str(Digits)
    }

    struct Digits;

    impl<'de> Visitor<'de> for Digits {
        type Value = [u8; 32];

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a BLAKE3 hash, which is 64 lower-case hex digits")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<[u8; 32], E> {
            // What stands there instead may be of any length, so it is not repeated.
            parse(text).ok_or_else(|| E::invalid_value(Unexpected::Other("another text"), &self))
        }
    }

    /// The same for a hash that may not be known yet.
    pub mod optional {
        use serde::de::{Deserializer, Error, Visitor};
        use serde::ser::Serializer;
        use std::fmt;

        /// Writes 64 lower-case hex digits, or null.
        pub fn serialize<S: Serializer>(hash: &Option<[u8; 32]>, s: S) -> Result<S::Ok, S::Error> {
            match hash {
                Some(hash) => super::serialize(hash, s),
                None => s.serialize_none(),
            }
        }

        /// Reads them.
        pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<[u8; 32]>, D::Error> {
            d.deserialize_option(Known)
        }

        struct Known;

        impl<'de> Visitor<'de> for Known {
            type Value = Option<[u8; 32]>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a BLAKE3 hash or null")
            }

            fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
                Ok(None)
            }

            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
                super::deserialize(d).map(Some)
            }
        }
    }

    /// 64 lower-case hex digits as bytes.
    pub fn parse(text: &str) -> Option<[u8; 32]> {
        let mut hash = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != hash.len() || !rest.is_empty() {
            return None;
        }
        let mut all = 0;
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            let (high, low) = (DIGITS[usize::from(*high)], DIGITS[usize::from(*low)]);
            all |= high | low;
            *byte = high << 4 | low;
        }
        (all < NO_DIGIT).then_some(hash)
    }

    const NO_DIGIT: u8 = 16;
    /// What each byte is worth as a digit.
    const DIGITS: [u8; 256] = {
        let mut digits = [NO_DIGIT; 256];
        let mut worth = 0;
        while worth < 16 {
            digits[super::HEX_DIGITS[worth] as usize] = worth as u8;
            worth += 1;
        }
        digits
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for good in ["a", "7B", "llama-3.1_70b", &"x".repeat(64)] {
            assert!(valid_label(good), "{good}");
        }
        for bad in ["", ".a", "-a", "a b", "ü", "a/b", &"x".repeat(65)] {
            assert!(!valid_label(bad), "{bad}");
        }
    }

    #[test]
    fn files_have_places_and_some_are_aids() {
        assert_eq!(names::copies(names::KEYS).collect::<Vec<_>>(), ["keys.age", "copy/keys.age", "third/keys.age"]);
        assert_eq!(names::copies(names::HASHES).collect::<Vec<_>>(), ["hashes.b3", "copy/hashes.b3"]);
        for (place, name) in [("keys.age", "keys.age"), ("third/keys.age", "keys.age"), ("copy/B3SUMS", "B3SUMS")] {
            assert_eq!(names::of_copies(place), name);
        }
        assert_eq!(names::of_copies("custody/keys.age"), "custody/keys.age");
        for aid in [names::RECOVER_TXT, names::RECOVER_PY, names::PROGRAM, "later.txt"] {
            assert!(names::is_aid(aid), "{aid}");
        }
        for other in [names::MANIFEST, names::KEYS, names::B3SUMS, "g00000-d000.ckv"] {
            assert!(!names::is_aid(other), "{other}");
        }
    }

    #[test]
    fn hashes_have_one_spelling() {
        let hash = *blake3::hash(b"x").as_bytes();
        let text = hex(&hash);
        assert_eq!(text, blake3::hash(b"x").to_hex().as_str());
        assert_eq!(hash_hex::parse(&text), Some(hash));
        let zeros = "0".repeat(63);
        for bad in [
            &text[1..],
            &text[2..],
            &format!("{text}0"),
            &text.to_uppercase(),
            &text.replace(&text[..1], "g"),
            &format!("gg{}", &text[2..]),
            &format!("{zeros}g"),
            &format!("g{zeros}"),
        ] {
            assert_eq!(hash_hex::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn ids_have_one_spelling() {
        let id = parse_id("000102030405060708090a0b0c0d0eff").unwrap();
        assert_eq!(hex(&id), "000102030405060708090a0b0c0d0eff");
        assert!(parse_id("000102030405060708090a0b0c0d0eFF").is_none());
        for length in [2, 31, 33, 34, 64] {
            assert!(parse_id(&"0".repeat(length)).is_none(), "{length}");
        }
    }

    #[test]
    fn only_long_hashes_on_several_drives_have_no_second_copy() {
        use names::{copies, is_needed};
        let needed = |name: &str, bytes: u64, drives: u64| {
            copies(name).filter(|place| is_needed(place, bytes, drives)).collect::<Vec<_>>()
        };
        const MOST: u64 = 64 << 20;
        let both = ["hashes.b3", "copy/hashes.b3"];
        assert_eq!([needed("hashes.b3", MOST, 2), needed("hashes.b3", 0, 255)], [both, both]);
        assert_eq!([needed("hashes.b3", MOST + 32, 1), needed("hashes.b3", 1 << 50, 1)], [both, both]);
        assert_eq!(needed("hashes.b3", MOST + 32, 2), ["hashes.b3"]);
        assert_eq!(needed("hashes.b3", 1 << 50, 255), ["hashes.b3"]);
        assert_eq!(needed("inventory.age", 1 << 40, 255), ["inventory.age", "copy/inventory.age"]);
        assert_eq!(needed("manifest.json", MOST, 255).len(), 3);
    }

    /// A number as people write it: 4,194,304.
    fn grouped(number: u64) -> String {
        let digits = number.to_string();
        let from_the_end = |(i, digit): (usize, char)| {
            let comma = i > 0 && (digits.len() - i).is_multiple_of(3);
            [comma.then_some(','), Some(digit)]
        };
        digits.chars().enumerate().flat_map(from_the_end).flatten().collect()
    }

    #[test]
    fn limits_in_the_pages_are_those_of_the_code() {
        let export = include_str!("../../man/ckvault-export.1").replace('\n', " ");
        let format = include_str!("../../man/ckvault-format.5").replace('\n', " ");
        assert_eq!(grouped(4_194_304), "4,194,304");
        for told in [
            format!("more than {} entries", grouped(inventory::MOST_ENTRIES)),
            format!("a path of more than {} bytes", inventory::LONGEST_PATH),
            format!("a set can have {} recipients", sealed::SLOT.stanzas - 1),
        ] {
            assert!(export.contains(&told), "the page of export does not say: {told}");
        }
        for told in [
            format!("entries\t0\t2^{}", inventory::MOST_ENTRIES.ilog2()),
            format!("inventory, all lines\t1\t{} GiB", inventory::MOST_BYTES >> 30),
            format!("line of the inventory\t1\t{} MiB", inventory::LONGEST_LINE >> 20),
            format!(
                "frame, with its header of {}\t{}\tS + {} KiB",
                frame::HEADER,
                frame::HEADER + 1,
                frame::MOST_AROUND >> 10
            ),
            format!("segment_bytes\t{} KiB\t{} MiB", limits::SEGMENTS.start() >> 10, limits::SEGMENTS.end() >> 20),
            format!("length of a range\t1\t{} MiB", limits::SEGMENTS.end() >> 20),
            format!("age file of a segment, opened\t0\tS + {} KiB", frame::MOST_BEYOND >> 10),
            format!("extents of a file\t0\t{}", inventory::MOST_EXTENTS),
            format!("drives\t1\t{}", limits::MOST_DRIVES),
        ] {
            assert!(format.contains(&told), "the page of the format does not say: {told:?}");
        }
        let entries = inventory::MOST_ENTRIES.ilog2();
        assert!(include_str!("../../README.md").contains(&format!("2^{entries} entries in a set")));
        assert!(recovery::SCRIPT.contains(&format!("head[\"entries\"], 0, 1 << {entries}")));
    }
}
