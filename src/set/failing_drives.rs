//! Drives with read errors. A block that could not be read is remembered, since each new attempt may take seconds; and a drive that
//! does not answer at all any more counts as absent.

use crate::media::dir::{Dir, Location};
use crate::threads::lock;
use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

/// After so many blocks in a row that could not be read, a drive is asked whether it is there at all.
const SUSPICIOUS: u32 = 8;

/// What is known of the failures of the drives with a part of a set.
#[derive(Debug, Default)]
pub struct Failing {
    /// By file, the blocks that could not be read.
    blocks: Mutex<HashMap<Location, BTreeSet<u64>>>,
    /// By directory.
    dirs: Mutex<HashMap<Dir, Trouble>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Trouble {
    in_a_row: u32,
    gone: bool,
}

impl Failing {
    /// The blocks of a file that could not be read.
    pub fn blocks_of(&self, file: &Location) -> BTreeSet<u64> {
        lock(&self.blocks).get(file).cloned().unwrap_or_default()
    }

    /// How many blocks of each file could not be read.
    pub fn counts(&self) -> Vec<(Location, u64)> {
        lock(&self.blocks).iter().map(|(file, blocks)| (file.clone(), blocks.len() as u64)).collect()
    }

    /// A drive has answered.
    pub fn note_answer(&self, dir: &Dir) {
        if let Some(trouble) = lock(&self.dirs).get_mut(dir) {
            trouble.in_a_row = 0;
        }
    }

    /// A block of a file could not be read; returns whether it is time to ask whether the drive is there at all.
    pub fn note_failure(&self, file: &Location, block: u64) -> bool {
        lock(&self.blocks).entry(file.clone()).or_default().insert(block);
        let mut dirs = lock(&self.dirs);
        let trouble = dirs.entry(file.dir.clone()).or_default();
        trouble.in_a_row += 1;
        trouble.in_a_row.is_multiple_of(SUSPICIOUS)
    }

    /// A drive does not answer any more.
    pub fn note_gone(&self, dir: &Dir) {
        lock(&self.dirs).entry(dir.clone()).or_default().gone = true;
    }

    /// Whether a drive has stopped to answer.
    pub fn is_gone(&self, dir: &Dir) -> bool {
        lock(&self.dirs).get(dir).is_some_and(|trouble| trouble.gone)
    }
}
