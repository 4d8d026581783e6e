//! What there is to read on a drive: a run of each volume in turn, as it was written.

use crate::format::hashes::BlockSize;
use crate::media::dir::Location;
use crate::set::{At, Blocks};
use crate::stages::runs::run_bytes;
use std::collections::VecDeque;
use std::ops::Range;

/// Bytes that a worker takes at a time.
const PIECE: u64 = 4 << 20;
/// Bytes that it reads at a time: they are still in the processor's own cache when they are hashed.
const BITE: u64 = 256 << 10;
/// Bytes that a drive is asked for before somebody wants them.
const AHEAD: u64 = 32 << 20;

/// Some blocks of a file.
#[derive(Clone)]
pub(super) struct Piece {
    pub at: At,
    pub file: Location,
    pub blocks: Range<u64>,
}

impl Piece {
    /// The same blocks, as many at a time as should be read at once.
    pub fn bites(&self, block: BlockSize) -> impl Iterator<Item = Range<u64>> + use<> {
        let Range { start, end } = self.blocks;
        let bite = block.within(BITE);
        (start..end).step_by(bite as usize).map(move |from| from..end.min(from + bite))
    }
}

/// The files of a group on one drive.
struct Lot {
    group: usize,
    /// Blocks of a run.
    run: u64,
    files: Vec<(At, Location, u64)>,
}

/// The files of a drive, and how far it has been read.
pub(super) struct Queue {
    block: BlockSize,
    segment_bytes: u32,
    lots: VecDeque<Lot>,
    /// The next piece: the run, the file, and the block in that file.
    next: (u64, usize, u64),
    /// What has been asked for.
    asked: VecDeque<Piece>,
    blocks: u64,
}

impl Queue {
    /// An empty one, for volumes with such blocks, and segments of that length.
    pub fn new(block: BlockSize, segment_bytes: u32) -> Queue {
        Queue { block, segment_bytes, lots: VecDeque::new(), next: (0, 0, 0), asked: VecDeque::new(), blocks: 0 }
    }

    /// A file of a group of `volumes` volumes; groups come in order.
    pub fn push(&mut self, at: At, volumes: usize, file: &Location, blocks: u64) {
        if self.lots.back().is_none_or(|lot| lot.group != at.group) {
            let run = self.block.within(run_bytes(volumes, self.segment_bytes));
            self.lots.push_back(Lot { group: at.group, run, files: Vec::new() });
        }
        if let Some(lot) = self.lots.back_mut() {
            lot.files.push((at, file.clone(), blocks));
        }
    }

    /// What is to be read next. What comes after it is asked for.
    pub fn next(&mut self, blocks: &Blocks) -> Option<Piece> {
        while self.blocks < self.block.within(AHEAD) {
            let Some(piece) = self.advance() else { break };
            blocks.ask_ahead_in(&piece.file, piece.at, &piece.blocks);
            self.blocks += piece.blocks.end - piece.blocks.start;
            self.asked.push_back(piece);
        }
        let piece = self.asked.pop_front()?;
        self.blocks -= piece.blocks.end - piece.blocks.start;
        Some(piece)
    }

    fn advance(&mut self) -> Option<Piece> {
        loop {
            let lot = self.lots.front()?;
            let (run, file, block) = self.next;
            let Some((at, location, count)) = lot.files.get(file) else {
                let end = run + lot.run;
                self.next = (end, 0, end);
                if lot.files.iter().all(|(_, _, count)| *count <= end) {
                    self.lots.pop_front();
                    self.next = (0, 0, 0);
                }
                continue;
            };
            let end = (run + lot.run).min(*count);
            if block >= end {
                self.next = (run, file + 1, run);
                continue;
            }
            let to = end.min(block + self.block.within(PIECE));
            self.next = (run, file, to);
            return Some(Piece { at: *at, file: location.clone(), blocks: block..to });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::dir::Dir;
    use crate::media::disk::Disk;

    #[test]
    fn a_run_of_each_volume_in_turn_and_every_block_once() {
        let here = Dir::given(&Disk::default(), std::path::Path::new("/")).unwrap();
        let mut queue = Queue::new(BlockSize::SMALLEST, 1 << 20);
        let of = |group, index| At { group, index };
        for (group, index, blocks) in [(0, 0, 300), (0, 2, 70), (1, 1, 0), (1, 2, 1)] {
            queue.push(of(group, index), 18, &here.at(format!("{group}-{index}")), blocks);
        }
        let pieces = std::iter::from_fn(|| queue.advance()).map(|p| (p.at.group, p.at.index, p.blocks));
        let expected =
            [(0, 0, 0..64), (0, 0, 64..128), (0, 2, 0..64), (0, 2, 64..70), (0, 0, 128..192), (0, 0, 192..256)];
        let expected = expected.into_iter().chain([(0, 0, 256..300), (1, 2, 0..1)]);
        assert_eq!(pieces.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        // Runs of many volumes are shorter than a large block.
        let mut queue = Queue::new(BlockSize::LARGEST, 1 << 20);
        (0..2).for_each(|i| queue.push(of(0, i), 255, &here.at(format!("{i}")), 2));
        let pieces = std::iter::from_fn(|| queue.advance()).map(|p| (p.at.index, p.blocks));
        assert_eq!(pieces.collect::<Vec<_>>(), [(0, 0..1), (1, 0..1), (0, 1..2), (1, 1..2)]);
    }
}
