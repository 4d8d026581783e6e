//! The header page: block 0 of every volume. A pure function of manifest fields that are known when the volume is begun,
//! so a lost one is rebuilt from the manifest alone.

use super::hashes::BLOCK;
use super::limits::{LARGEST_VOLUME, LEAST_VOLUME, MOST_PARTS, MOST_VOLUMES, SEGMENTS};
use super::{FormatError, within};

const MAGIC: &[u8; 8] = b"ckvault\n";
const VERSION: u32 = 1;
/// Bytes of the page that say something; the rest are zeros.
pub const USED: usize = 64;
/// Rule 57: ids of two sets differ in about 64 of their 128 bits, and in less than this once in five hundred million pairs.
/// Damage that leaves all else of a page whole flips a few.
pub const LEAST_DIFFERENCE: u32 = 32;

/// What a volume says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The set it belongs to.
    pub set: [u8; 16],
    /// Its group.
    pub group: u32,
    /// Its index in the group: below `k` for data, from `k` for parity.
    pub index: u16,
    /// Data volumes of the group.
    pub k: u16,
    /// Parity volumes of the group.
    pub m: u16,
    /// Which part of a chain of sets.
    pub part: u32,
    /// Bytes of the tar stream in a segment.
    pub segment_bytes: u32,
    /// No volume of the set is longer, in bytes.
    pub volume_bytes: u64,
}

impl Header {
    /// The same for another volume of the set.
    pub fn at(&self, group: u32, index: u16) -> Header {
        Header { group, index, ..self.clone() }
    }

    /// The 64 KiB page.
    pub fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(BLOCK);
        page.extend_from_slice(MAGIC);
        page.extend_from_slice(&VERSION.to_le_bytes());
        page.extend_from_slice(&(BLOCK as u32).to_le_bytes());
        page.extend_from_slice(&self.set);
        page.extend_from_slice(&self.group.to_le_bytes());
        page.extend_from_slice(&self.index.to_le_bytes());
        page.extend_from_slice(&self.k.to_le_bytes());
        page.extend_from_slice(&self.m.to_le_bytes());
        page.extend_from_slice(&[0; 2]);
        page.extend_from_slice(&self.part.to_le_bytes());
        page.extend_from_slice(&self.segment_bytes.to_le_bytes());
        page.extend_from_slice(&[0; 4]);
        page.extend_from_slice(&self.volume_bytes.to_le_bytes());
        page.resize(BLOCK, 0);
        page
    }

    /// Reads a page; every byte of it is accounted for.
    pub fn parse(page: &[u8]) -> Result<Header, FormatError> {
        let field = |at: usize, what| page.get(at..).ok_or(FormatError::Bytes { offset: at as u64, what });
        if page.len() != BLOCK || !page.starts_with(MAGIC) {
            return Err(FormatError::Bytes { offset: 0, what: "the magic of a volume" });
        }
        let number = |at: usize, len: usize| -> Result<u64, FormatError> {
            let bytes = field(at, "a number")?.iter().take(len);
            Ok(bytes.rev().fold(0, |n, b| n << 8 | u64::from(*b)))
        };
        let mut set = [0; 16];
        set.copy_from_slice(&field(16, "a set id")?[..16]);
        let header = Header {
            set,
            group: number(32, 4)? as u32,
            index: number(36, 2)? as u16,
            k: number(38, 2)? as u16,
            m: number(40, 2)? as u16,
            part: number(44, 4)? as u32,
            segment_bytes: number(48, 4)? as u32,
            volume_bytes: number(56, 8)?,
        };
        within("version of the volume header", number(8, 4)?, 1, VERSION.into())?;
        if header.encode() != page {
            return Err(FormatError::Bytes { offset: USED as u64, what: "zeros to the end of the header page" });
        }
        header.validate()?;
        Ok(header)
    }

    fn validate(&self) -> Result<(), FormatError> {
        let n = u64::from(self.k) + u64::from(self.m);
        within("K", self.k.into(), 1, 254)?;
        within("M", self.m.into(), 1, 254)?;
        within("K+M", n, 1, 255)?;
        within("index of a volume", self.index.into(), 0, n - 1)?;
        within("group", self.group.into(), 0, MOST_VOLUMES - 1)?;
        within("part", self.part.into(), 1, MOST_PARTS)?;
        within("segment size", self.segment_bytes.into(), *SEGMENTS.start(), *SEGMENTS.end())?;
        within("volume size", self.volume_bytes, LEAST_VOLUME, LARGEST_VOLUME)?;
        match self.segment_bytes.is_power_of_two() {
            true => Ok(()),
            false => Err(FormatError::Contradiction("the segment size is not a power of two".into())),
        }
    }

    /// Whether the id is that of another set, and not ours with some bits flipped.
    pub fn is_of_another_set(&self, ours: &[u8; 16]) -> bool {
        let differ: u32 = self.set.iter().zip(ours).map(|(a, b)| (a ^ b).count_ones()).sum();
        differ >= LEAST_DIFFERENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(set in any::<[u8; 16]>(), group in 0u32..1 << 16, (k, m, index) in (1u16..200, 1u16..50, 0u16..2),
                      part in 1u32..=1 << 16, segment in 16u32..=20, volume_bytes in 2u64 << 20..=1 << 46) {
            let header = Header { set, group, index, k, m, part, segment_bytes: 1 << segment, volume_bytes };
            prop_assert_eq!(Header::parse(&header.encode()), Ok(header));
        }

        #[test]
        fn any_flipped_bit_is_another_header_or_none(at in 0usize..BLOCK, bit in 0u8..8) {
            let header = sample();
            let mut page = header.encode();
            page[at] ^= 1 << bit;
            prop_assert_ne!(Header::parse(&page).ok(), Some(header));
        }

        #[test]
        fn a_few_flipped_bits_are_no_other_set(ours in any::<[u8; 16]>(), flips in prop::collection::vec(0usize..128, 0..32)) {
            let mut page = Header { set: ours, ..sample() };
            flips.iter().for_each(|bit| page.set[bit / 8] ^= 1 << (bit % 8));
            prop_assert!(!page.is_of_another_set(&ours));
        }
    }

    fn sample() -> Header {
        Header { set: [7; 16], group: 1, index: 2, k: 16, m: 2, part: 1, segment_bytes: 1 << 20, volume_bytes: 1 << 30 }
    }

    #[test]
    fn random_ids_are_of_different_sets() {
        for n in 0u64..10_000 {
            let id = |n: u64| -> [u8; 16] { blake3::hash(&n.to_le_bytes()).as_bytes()[..16].try_into().unwrap() };
            assert!(Header { set: id(n), ..sample() }.is_of_another_set(&id(n + 1)));
        }
    }

    #[test]
    fn every_field_has_its_limits() {
        type Change = fn(&mut Header);
        let changes: [Change; 11] = [
            |h| h.group = 1 << 16,
            |h| h.index = 18,
            |h| h.k = 0,
            |h| h.m = 0,
            |h| h.k = 254,
            |h| h.part = 0,
            |h| h.part = (1 << 16) + 1,
            |h| h.segment_bytes = 1 << 15,
            |h| h.segment_bytes = 3 << 16,
            |h| h.volume_bytes = (2 << 20) - 1,
            |h| h.volume_bytes = (1 << 46) + 1,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut header = sample();
            change(&mut header);
            assert!(Header::parse(&header.encode()).is_err(), "change {number}");
        }
    }
}
