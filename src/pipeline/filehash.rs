//! The hashes of files, put together while segments pass in any order.

use crate::format::hashes::{FileHasher, Part, Value};
use crate::pipeline::lock;
use std::collections::HashMap;
use std::sync::Mutex;

/// Files of which some segments have passed, by the number of their entry.
#[derive(Default)]
pub struct FileHashes(Mutex<HashMap<usize, (FileHasher, u64)>>);

impl FileHashes {
    /// Takes a stretch of the stored bytes of an entry of `total` stored bytes; returns its hash with the last stretch.
    pub fn add(&self, entry: usize, total: u64, offset: u64, bytes: &[u8]) -> Option<Value> {
        let len = bytes.len() as u64;
        if offset == 0 && len == total {
            return Some(*blake3::hash(bytes).as_bytes());
        }
        let part = Part::new(offset, bytes);
        let mut open = lock(&self.0);
        let (hasher, seen) = open.entry(entry).or_default();
        hasher.add(part);
        *seen += len;
        if *seen < total {
            return None;
        }
        open.remove(&entry).and_then(|(hasher, _)| hasher.finish(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_files_do_not_mix() {
        let (a, b) = (vec![1u8; 5000], vec![2u8; 3000]);
        let hashes = FileHashes::default();
        assert_eq!(hashes.add(0, 5000, 2048, &a[2048..]), None);
        assert_eq!(hashes.add(1, 3000, 0, &b), Some(*blake3::hash(&b).as_bytes()));
        assert_eq!(hashes.add(0, 5000, 0, &a[..2048]), Some(*blake3::hash(&a).as_bytes()));
    }
}
