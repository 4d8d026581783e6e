//! What is asked of a drive before it is needed. Segments are wanted one after the other, each from another volume; a drive holds, and
//! is read, a run of each volume in turn.

use crate::error::Result;
use crate::set::{At, Blocks};
use crate::stages::runs::{run_bytes, run_end};
use crate::threads::lock;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Mutex;

/// Bytes that are asked for of the runs after those that segments are being read from.
const BEYOND: u64 = 32 << 20;

/// A frame: its volume, and where in it.
type Frame = (At, Range<u64>);

/// How far each drive has been asked.
pub struct Ahead(Vec<Mutex<Front>>);

/// How far a drive has been asked.
#[derive(Default)]
struct Front {
    /// Segments of its queue of which it is known where they are.
    seen: usize,
    /// The frames of a run of each volume that have not been asked for, in the order in which they lie.
    frames: VecDeque<Frame>,
    /// Bytes of the frames of these runs.
    runs: u64,
    /// The ends of frames that began in them, which are in the next runs.
    ends: Vec<Frame>,
    /// Bytes that have been asked for and not been taken.
    asked: u64,
}

impl Ahead {
    /// For so many drives.
    pub fn new(drives: usize) -> Ahead {
        Ahead((0..drives).map(|_| Mutex::default()).collect())
    }

    /// A frame of the segments `queue` of a drive is about to be read: as many bytes are asked for, in front of it by a run of
    /// each volume and more.
    pub fn taken(
        &self,
        drive: usize,
        queue: &[u64],
        bytes: Range<u64>,
        blocks: &Blocks,
        frame: &dyn Fn(u64) -> Result<Frame>,
    ) -> Result<()> {
        let mut front = lock(&self.0[drive]);
        while front.asked < front.runs + BEYOND {
            if front.frames.is_empty() {
                front.learn(queue, blocks, frame)?;
            }
            let Some((at, bytes)) = front.frames.pop_front() else { break };
            blocks.ask_ahead(at, &bytes);
            front.asked += bytes.end - bytes.start.max(blocks.block_size().bytes());
        }
        front.asked = front.asked.saturating_sub(bytes.end - bytes.start);
        Ok(())
    }
}

impl Front {
    /// Looks where the next frames are, up to the ends of the runs in which the first of them is. Frames of later segments never
    /// begin before those of earlier ones (see `format::deal`).
    fn learn(&mut self, queue: &[u64], blocks: &Blocks, frame: &dyn Fn(u64) -> Result<Frame>) -> Result<()> {
        let mut runs: Option<(usize, u64)> = None;
        let segment_bytes = blocks.set().manifest.segment_bytes;
        let mut frames = std::mem::take(&mut self.ends);
        while let Some(segment) = queue.get(self.seen) {
            let (at, bytes) = frame(*segment)?;
            let own = (at.group, run_end(bytes.start, run_bytes(blocks.volumes(at.group), segment_bytes)));
            if *runs.get_or_insert(own) != own {
                break;
            }
            if bytes.end > own.1 {
                self.ends.push((at, own.1..bytes.end));
            }
            // A disk is through with the header page sooner than it has passed by it; nobody takes it, and it does not count.
            let from = if bytes.start == blocks.block_size().bytes() { 0 } else { bytes.start };
            frames.push((at, from..bytes.end.min(own.1)));
            self.seen += 1;
        }
        frames.sort_by_key(|(at, bytes)| (at.index, bytes.start));
        self.runs = frames.iter().map(|(_, bytes)| bytes.end - bytes.start).sum();
        self.frames = frames.into();
        Ok(())
    }
}
