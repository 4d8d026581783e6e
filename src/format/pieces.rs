//! Pieces of the inventory (rule 78): BLAKE3 subtrees whose values the manifest has, so that each is proven alone, whichever copy it
//! is from.

use super::hashes::{Tree, Value, subtree};
use blake3::hazmat::HasherExt;
use std::ops::Range;

/// Bytes of the shortest piece.
pub const LEAST: u64 = 64 << 10;
/// The most pieces that a file has.
pub const MOST: u64 = 256;

/// Bytes of each piece but the last of a file of `len` bytes: the smallest power of two from [`LEAST`] on that gives no more than
/// [`MOST`] pieces.
pub fn piece_bytes(len: u64) -> u64 {
    len.div_ceil(MOST).max(LEAST).next_power_of_two()
}

/// How many pieces a file of `len` bytes has.
pub fn count(len: u64) -> u64 {
    len.div_ceil(piece_bytes(len)).max(1)
}

/// Where a piece lies.
pub fn range(len: u64, piece: u64) -> Range<u64> {
    let bytes = piece_bytes(len);
    (piece * bytes).min(len)..((piece + 1) * bytes).min(len)
}

/// The value of a piece, of a file that has several.
pub fn value(len: u64, piece: u64, bytes: &[u8]) -> Value {
    subtree(range(len, piece).start, bytes)
}

/// The hash of a file of `len` bytes from the values of its pieces, of which there are several.
pub fn root(values: &[Value], len: u64) -> Value {
    fold(values, piece_bytes(len), len).root().unwrap_or_default()
}

/// The tree over subtrees of `bytes` bytes, the last of which ends at `len`.
fn fold(values: &[Value], bytes: u64, len: u64) -> Tree {
    let mut tree = Tree::default();
    for (value, from) in values.iter().zip((0..).step_by(bytes as usize)) {
        tree.push(*value, bytes.min(len.saturating_sub(from)));
    }
    tree
}

/// Hashes a file of which the length is not known before its end.
#[derive(Default)]
pub struct Hasher {
    whole: blake3::Hasher,
    /// The values of the first stretches of [`LEAST`] bytes.
    values: Vec<Value>,
    /// The stretch after these.
    begun: Option<(blake3::Hasher, u64)>,
}

impl Hasher {
    /// Takes the bytes that come next.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        while !bytes.is_empty() {
            let (mut stretch, filled) = self.begun.take().unwrap_or_else(|| {
                let mut hasher = blake3::Hasher::new();
                hasher.set_input_offset(self.values.len() as u64 * LEAST);
                (hasher, 0)
            });
            let (now, later) = bytes.split_at((LEAST - filled).min(bytes.len() as u64) as usize);
            stretch.update(now);
            self.begun = Some((stretch, filled + now.len() as u64));
            self.end_stretch(LEAST);
            bytes = later;
        }
    }

    /// Keeps the value of the stretch that was begun, if it has this many bytes.
    fn end_stretch(&mut self, least: u64) {
        if let Some((stretch, _)) = self.begun.take_if(|(_, filled)| *filled >= least) {
            self.values.push(stretch.finalize_non_root());
        }
    }

    /// The length of the file, its hash, and the values of its pieces if it has several.
    pub fn finish(mut self) -> (u64, Value, Vec<Value>) {
        let (len, hash) = (self.whole.count(), *self.whole.finalize().as_bytes());
        self.end_stretch(1);
        if count(len) == 1 {
            return (len, hash, Vec::new());
        }
        let bytes = piece_bytes(len);
        let in_piece = |(piece, values): (usize, &[Value])| {
            let end = len.saturating_sub(piece as u64 * bytes).min(bytes);
            fold(values, LEAST, end).node()
        };
        let pieces = self.values.chunks((bytes / LEAST) as usize).enumerate().filter_map(in_piece);
        (len, hash, pieces.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::limits::of_page;
    use proptest::prelude::*;

    #[test]
    fn there_are_no_more_than_the_page_says() {
        assert_eq!((of_page::of("pieces of the inventory, if listed")[1], LEAST), (MOST, 1 << 16));
    }

    #[test]
    fn pieces_are_as_short_as_their_number_lets_them() {
        for (len, bytes, pieces) in [
            (0, LEAST, 1),
            (1, LEAST, 1),
            (LEAST, LEAST, 1),
            (LEAST + 1, LEAST, 2),
            (MOST * LEAST, LEAST, 256),
            (MOST * LEAST + 1, 2 * LEAST, 129),
            (1 << 50, 1 << 42, 256),
        ] {
            assert_eq!((piece_bytes(len), count(len)), (bytes, pieces), "{len}");
            assert_eq!(range(len, pieces - 1).end, len);
        }
        assert_eq!(range(LEAST + 1, 1), LEAST..LEAST + 1);
        assert!(piece_bytes(u64::MAX) >= u64::MAX / 256);
    }

    fn check(bytes: &[u8], step: usize) {
        let mut hasher = Hasher::default();
        bytes.chunks(step).for_each(|some| hasher.update(some));
        let (len, hash, pieces) = hasher.finish();
        assert_eq!((len, &hash), (bytes.len() as u64, blake3::hash(bytes).as_bytes()));
        if count(len) == 1 {
            return assert!(pieces.is_empty());
        }
        let of = |piece| {
            let range = range(len, piece);
            value(len, piece, &bytes[range.start as usize..range.end as usize])
        };
        assert_eq!(pieces, (0..count(len)).map(of).collect::<Vec<_>>(), "{len}");
        assert_eq!(root(&pieces, len), hash, "{len}");
    }

    #[test]
    fn pieces_fold_to_the_hash_of_the_file() {
        let bytes: Vec<u8> = (0..(MOST * LEAST + LEAST + 5) as usize).map(|i| ((i * 31) >> 3) as u8).collect();
        let (least, most) = (LEAST as usize, (LEAST * MOST) as usize);
        for len in [0, 1, least - 1, least, least + 1, 2 * least, 3 * least + 1, most, most + 1, most + least + 5] {
            check(&bytes[..len], 1 << 20);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn however_the_bytes_come(len in 0usize..400_000, step in 1usize..100_000) {
            let bytes: Vec<u8> = (0..len).map(|i| ((i * 7919) >> 5) as u8).collect();
            check(&bytes, step);
        }
    }
}
