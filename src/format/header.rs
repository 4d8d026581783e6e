//! The header page: block 0 of every volume. A pure function of manifest fields that are known when the volume is begun,
//! so a lost one is rebuilt from the manifest alone.

use super::hashes::BlockSize;
use super::limits::{LARGEST_VOLUME, LEAST_VOLUME, LONGEST_ROW, MOST_PARTS, MOST_VOLUMES, SEGMENTS};
use super::{FormatError, within};

const MAGIC: &[u8; 8] = b"ckvault\n";
const VERSION: u32 = 1;
/// Bytes of the fields; the hash of them follows (rule 76).
const FIELDS: usize = 64;
/// Bytes of the page that say something; the rest are zeros.
pub const USED: usize = FIELDS + 32;

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
    /// Bytes of a block, and so of this page.
    pub block: BlockSize,
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

    /// The page, which is a block long.
    pub fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(self.block.size());
        page.extend_from_slice(MAGIC);
        page.extend_from_slice(&VERSION.to_le_bytes());
        page.extend_from_slice(&u32::from(self.block).to_le_bytes());
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
        let hash = blake3::hash(&page);
        page.extend_from_slice(hash.as_bytes());
        page.resize(self.block.size(), 0);
        page
    }

    /// Reads a page; every byte of it is accounted for. One that does not fit its hash is damaged, whatever it says.
    pub fn parse(page: &[u8]) -> Result<Header, FormatError> {
        let field = |at: usize, what| page.get(at..).ok_or(FormatError::Bytes { offset: at as u64, what });
        if page.len() < USED || !page.starts_with(MAGIC) {
            return Err(FormatError::Bytes { offset: 0, what: "the magic of a volume" });
        }
        if page[FIELDS..USED] != *blake3::hash(&page[..FIELDS]).as_bytes() {
            return Err(FormatError::Bytes { offset: FIELDS as u64, what: "the hash of the header page" });
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
            block: BlockSize::new(number(12, 4)?)?,
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

    /// How long the page is that begins like this, as it says.
    pub fn length(begun: &[u8]) -> Option<usize> {
        let bytes = begun.get(12..16).filter(|_| begun.starts_with(MAGIC))?;
        let bytes = bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
        BlockSize::new(bytes).ok().map(BlockSize::size)
    }

    fn validate(&self) -> Result<(), FormatError> {
        let n = u64::from(self.k) + u64::from(self.m);
        within("K", self.k.into(), 1, 254)?;
        within("M", self.m.into(), 1, 254)?;
        within("K+M", n, 1, 255)?;
        within("bytes of a row", n * self.block.bytes(), 0, LONGEST_ROW)?;
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(set in any::<[u8; 16]>(), group in 0u32..1 << 16, (k, m, index) in (1u16..200, 1u16..50, 0u16..2),
                      part in 1u32..=1 << 16, (block, segment) in (16u32..=17, 16u32..=20), volume_bytes in 2u64 << 20..=1 << 46) {
            let block = BlockSize::try_from(1 << block).unwrap();
            let header = Header { set, group, index, k, m, part, block, segment_bytes: 1 << segment, volume_bytes };
            prop_assert_eq!(Header::parse(&header.encode()), Ok(header));
        }

        #[test]
        fn a_flipped_bit_where_the_page_says_nothing_is_damage(bit in 8 * USED..8 << 16) {
            prop_assert!(Header::parse(&flipped(bit)).is_err());
        }
    }

    fn flipped(bit: usize) -> Vec<u8> {
        let mut page = sample().encode();
        page[bit / 8] ^= 1 << (bit % 8);
        page
    }

    fn sample() -> Header {
        Header {
            set: [7; 16],
            group: 1,
            index: 2,
            k: 16,
            m: 2,
            part: 1,
            block: BlockSize::SMALLEST,
            segment_bytes: 1 << 20,
            volume_bytes: 1 << 30,
        }
    }

    #[test]
    fn each_flipped_bit_of_what_a_page_says_is_damage() {
        for bit in 0..8 * USED {
            let refused = Header::parse(&flipped(bit)).map_err(|e| e.to_string());
            let offset = if bit < 64 { 0 } else { FIELDS };
            assert!(refused.as_ref().is_err_and(|e| e.contains(&format!("{offset}"))), "bit {bit}: {refused:?}");
        }
    }

    #[test]
    fn the_hash_is_that_of_the_bytes_before_it() {
        let page = sample().encode();
        assert_eq!(page[64..96], *blake3::hash(&page[..64]).as_bytes());
        assert!(page[96..].iter().all(|byte| *byte == 0) && page.len() == 1 << 16);
        let page = Header { block: BlockSize::LARGEST, ..sample() }.encode();
        assert!(page[USED..].iter().all(|byte| *byte == 0) && page.len() == 1 << 20);
        assert!(Header::parse(&page).is_ok() && Header::parse(&page[..1 << 16]).is_err());
    }

    #[test]
    fn a_page_that_is_cut_off_is_damage() {
        let page = sample().encode();
        for len in [0, 8, FIELDS - 1, FIELDS, USED - 1, USED, USED + 1, page.len() - 1] {
            assert!(Header::parse(&page[..len]).is_err(), "{len}");
        }
        assert!(Header::parse(&[&page[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_page_says_how_long_it_is() {
        for block in [1 << 16, 1 << 17, 1 << 20].map(|bytes| BlockSize::new(bytes).unwrap()) {
            let page = Header { block, ..sample() }.encode();
            assert_eq!(Header::length(&page[..16]), Some(block.size()));
            assert_eq!(Header::length(&page[..15]), None);
        }
        let mut page = sample().encode();
        page[13] = 1;
        assert_eq!(Header::length(&page), None);
        assert_eq!(Header::length(&flipped(7)), None);
        assert_eq!(Header::length(&[0; 16]), None);
    }

    #[test]
    fn all_volumes_of_a_set_have_such_a_page() {
        let other = Header { group: 5, index: 17, ..sample() };
        assert_eq!(sample().at(5, 17), other);
        assert_eq!(other.at(1, 2), sample());
    }

    #[test]
    fn every_field_has_its_limits() {
        type Change = fn(&mut Header);
        let changes: [Change; 14] = [
            |h| h.group = 1 << 16,
            |h| h.index = 18,
            |h| h.k = 0,
            |h| (h.k, h.index) = (0, 0),
            |h| h.m = 0,
            |h| h.k = 254,
            |h| (h.k, h.m, h.block) = (16, 17, BlockSize::LARGEST),
            |h| h.part = 0,
            |h| h.part = (1 << 16) + 1,
            |h| h.segment_bytes = 1 << 15,
            |h| h.segment_bytes = 3 << 16,
            |h| h.segment_bytes = 16 << 20,
            |h| h.volume_bytes = (2 << 20) - 1,
            |h| h.volume_bytes = (1 << 46) + 1,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut header = sample();
            change(&mut header);
            assert!(Header::parse(&header.encode()).is_err(), "change {number}");
        }
    }

    #[test]
    fn what_is_at_a_limit_is_allowed() {
        type Change = fn(&mut Header);
        let changes: [Change; 8] = [
            |h| h.group = (1 << 16) - 1,
            |h| (h.k, h.m, h.index) = (254, 1, 254),
            |h| (h.k, h.m, h.index) = (1, 254, 254),
            |h| (h.k, h.m, h.index, h.block) = (16, 16, 31, BlockSize::LARGEST),
            |h| h.part = 1 << 16,
            |h| h.segment_bytes = 8 << 20,
            |h| h.volume_bytes = 2 << 20,
            |h| h.volume_bytes = 1 << 46,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut header = sample();
            change(&mut header);
            assert_eq!(Header::parse(&header.encode()), Ok(header), "change {number}");
        }
    }

    #[test]
    fn a_page_of_another_version_is_told_from_a_damaged_one() {
        for version in [0, 2] {
            let mut page = sample().encode();
            page[8] = version;
            let hash = blake3::hash(&page[..FIELDS]);
            page[FIELDS..USED].copy_from_slice(hash.as_bytes());
            let refused = Header::parse(&page);
            assert!(
                matches!(refused, Err(FormatError::Limit { what: "version of the volume header", .. })),
                "{version}"
            );
        }
    }
}
