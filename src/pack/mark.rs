//! Marks: points inside a group before which everything is on the drives for good, so that an interrupted export goes on there. What
//! lies before one is known again by a hash: of it, no byte has to be remembered elsewhere.

use crate::format::hashes::{SLICE, Value, subtree};
use crate::media::pace::Reach;
use crate::media::underway::Underway;
use crate::pack::plan::Plan;
use crate::stages::filehash::Page;
use crate::threads::lock;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// So many marks a group has, about, but none sooner than after the least and none later than after the most bytes of frames.
const PER_GROUP: u64 = 16;
const LEAST: u64 = 1 << 20;
const MOST: u64 = 256 << 20;

/// A point in a group, by what came between the one before it, or the beginning of the group, and this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Bytes of the frames.
    pub frames: Vec<u32>,
    /// What is known of the hashes of files.
    pub page: Page,
    /// The rows that are complete end here in their volumes.
    pub rows: u64,
    /// The hash of what is in the volumes, see [`Digest`].
    pub hash: Value,
}

/// How many bytes of frames lie between two marks, about.
pub fn interval(plan: &Plan) -> u64 {
    let group = plan.volume_bytes.saturating_mul(plan.k.into());
    (group / PER_GROUP).clamp(LEAST, MOST)
}

/// Hashes, volume by volume, what lies between two marks: the slices, and of data volumes what is of the next one before the mark. Of
/// parity volumes only the complete rows count.
#[derive(Default)]
pub struct Digest(blake3::Hasher);

impl Digest {
    /// The next volume.
    pub fn volume(&mut self, slices: &[Value], edge: Option<Value>) {
        self.0.update(slices.as_flattened());
        self.0.update(edge.as_ref().map_or(&[], |value| &value[..]));
    }

    /// Of all of them.
    pub fn finish(&self) -> Value {
        *self.0.finalize().as_bytes()
    }
}

/// The value of the bytes of a slice that begins there, before a mark in it; `None` if there are none.
pub fn edge(offset: u64, bytes: &[u8]) -> Option<Value> {
    (!bytes.is_empty()).then(|| subtree(offset, bytes))
}

/// How many whole slices lie between two offsets, of which the first is the beginning of one.
pub fn whole_slices(from: u64, to: u64) -> usize {
    (to.saturating_sub(from) / SLICE.bytes()) as usize
}

/// A mark that was set while frames were dealt; what lies before it is still on its way.
pub struct Set {
    /// The group.
    pub group: u32,
    /// Its number in the group.
    pub index: u32,
    /// Bytes of the frames.
    pub frames: Vec<u32>,
    /// What is known of the hashes of files.
    pub page: Page,
    /// Where the rows that are complete end.
    pub rows: u64,
    /// The lengths of the data volumes.
    pub lengths: Vec<u64>,
    /// Of each data volume, the value of what is before the mark of a slice that is not.
    edges: Mutex<Vec<Option<Value>>>,
}

impl Set {
    /// With all that is known of it at once.
    pub fn new((group, index): (u32, u32), frames: Vec<u32>, page: Page, rows: u64, lengths: Vec<u64>) -> Set {
        let edges = Mutex::new(vec![None; lengths.len()]);
        Set { group, index, frames, page, rows, lengths, edges }
    }

    /// The bytes before it of the slice of a volume that begins there.
    pub fn has_edge(&self, volume: usize, offset: u64, bytes: &[u8]) {
        lock(&self.edges)[volume] = edge(offset, bytes);
    }

    /// The mark, when all that lies before it has passed, of which these are the values of the slices from `from` on, by volume.
    pub fn mark(&self, from: u64, slices: &[Vec<Value>]) -> Mark {
        let (edges, mut digest) = (lock(&self.edges), Digest::default());
        for (volume, values) in slices.iter().enumerate() {
            let end = self.lengths.get(volume).copied().unwrap_or(self.rows);
            let whole = whole_slices(from, end).min(values.len());
            digest.volume(&values[..whole], edges.get(volume).copied().flatten());
        }
        Mark { frames: self.frames.clone(), page: self.page.clone(), rows: self.rows, hash: digest.finish() }
    }
}

/// A mark on its way to the drives.
pub struct Passed {
    /// The group, and the number of the mark in it.
    pub at: (u32, u32),
    /// How far the volumes must have been written, and be durable.
    pub end: u64,
    /// The mark.
    pub mark: Mark,
}

/// Marks on their way to one drive.
#[derive(Default)]
pub struct Coming {
    ahead: VecDeque<Arc<Passed>>,
    underway: Underway<Arc<Passed>>,
    durable: Vec<Arc<Passed>>,
}

impl Coming {
    /// The next one.
    pub fn push(&mut self, passed: Arc<Passed>) {
        self.ahead.push_back(passed);
    }

    /// The volumes have been written up to here; returns whether that is behind a mark. Their file system is as far as `reach`.
    pub fn wrote(&mut self, written: u64, reach: Reach) -> bool {
        let before = self.ahead.len();
        while let Some(passed) = self.ahead.pop_front_if(|passed| passed.end <= written) {
            self.underway.wrote(passed, reach, |passed| self.durable.push(passed));
        }
        self.ahead.len() < before
    }

    /// Those before which all is durable.
    pub fn durable(&mut self, reach: Reach) -> Vec<Arc<Passed>> {
        self.underway.look(reach, |passed| self.durable.push(passed));
        std::mem::take(&mut self.durable)
    }

    /// All behind which was written: all of that is durable.
    pub fn all(&mut self) -> Vec<Arc<Passed>> {
        self.underway.all(|passed| self.durable.push(passed));
        std::mem::take(&mut self.durable)
    }
}
