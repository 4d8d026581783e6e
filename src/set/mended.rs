//! A small cache of blocks that have just been reconstructed: a row is reconstructed as a whole, and each of its blocks is asked for
//! separately soon after.

use crate::set::part::At;
use crate::threads::lock;
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

/// The most bytes that are kept: the rows of as many segments as there are data volumes, twice, if segments have 1 MiB.
const MOST: usize = 64 << 20;

/// A block: its volume and its number.
type Key = (At, u64);

/// The latest of them.
#[derive(Default)]
pub struct Recent(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    blocks: HashMap<Key, Vec<u8>>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Recent {
    /// Keeps a block, and forgets the oldest if there are too many.
    pub fn keep(&self, at: At, number: u64, block: &[u8]) {
        let mut kept = lock(&self.0);
        if kept.blocks.insert((at, number), block.to_vec()).is_some() {
            return;
        }
        kept.bytes += block.len();
        kept.order.push_back((at, number));
        while kept.bytes > MOST {
            let Some(oldest) = kept.order.pop_front() else { break };
            kept.bytes -= kept.blocks.remove(&oldest).map_or(0, |b| b.len());
        }
    }

    /// Copies a block, if it is one of them and has that length.
    pub fn copy(&self, at: At, number: u64, out: &mut [u8]) -> bool {
        let kept = lock(&self.0);
        let found = kept.blocks.get(&(at, number)).and_then(|block| block.get(..out.len()));
        found.is_some_and(|block| {
            out.copy_from_slice(block);
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let (recent, at) = (Recent::default(), At { group: 0, index: 3 });
        let block = vec![7u8; 1 << 20];
        (0..80).for_each(|number| recent.keep(at, number, &block));
        let mut out = vec![0; 5];
        assert!(!recent.copy(at, 15, &mut out) && !recent.copy(At { group: 1, ..at }, 79, &mut out));
        assert!((16..80).all(|number| recent.copy(at, number, &mut out)));
        assert_eq!(out, [7; 5]);
    }
}
