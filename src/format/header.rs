//! The header page: block 0 of every volume. A pure function of manifest fields that are known when the volume is begun,
//! so a lost one is rebuilt from the manifest alone.

use super::hashes::BLOCK;
use super::{FormatError, within};

const MAGIC: &[u8; 8] = b"ckvault\n";
const VERSION: u32 = 1;
/// Bytes of the page that say something; the rest are zeros.
pub const USED: usize = 64;

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
        within("K+M", u64::from(header.k) + u64::from(header.m), 1, 255)?;
        if header.encode() != page {
            return Err(FormatError::Bytes { offset: USED as u64, what: "zeros to the end of the header page" });
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(set in any::<[u8; 16]>(), group in any::<u32>(), index in any::<u16>(), k in 1u16..200, m in 0u16..50,
                      part in any::<u32>(), segment_bytes in any::<u32>(), volume_bytes in any::<u64>()) {
            let header = Header { set, group, index, k, m, part, segment_bytes, volume_bytes };
            prop_assert_eq!(Header::parse(&header.encode()), Ok(header));
        }

        #[test]
        fn any_flipped_bit_is_another_header_or_none(at in 0usize..BLOCK, bit in 0u8..8) {
            let header = Header { set: [7; 16], group: 1, index: 2, k: 16, m: 2, part: 1, segment_bytes: 1 << 20, volume_bytes: 1 << 30 };
            let mut page = header.encode();
            page[at] ^= 1 << bit;
            prop_assert_ne!(Header::parse(&page).ok(), Some(header));
        }
    }
}
