//! Drives that fail as drives do. A block that a drive could not read is remembered, since each attempt may cost seconds; and
//! a drive that answers nothing any more is gone, as if it had never been here.

use crate::format::hashes::BLOCK;
use crate::format::names;
use crate::media::dir::{Dir, Location};
use crate::media::disk::{Opened, is_failure};
use crate::media::drive;
use crate::set::part::Part;
use crate::threads::lock;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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

/// A file of a set that has been opened.
#[derive(Debug)]
pub struct Source {
    /// Where it is.
    pub at: Location,
    /// The file.
    pub file: Opened,
}

impl Part {
    /// Reads those blocks of a file that are `wanted`, from block `first` on; true for each that was read whole. A run that
    /// fails is asked for once more block by block, so that a bad sector costs no more than its own.
    pub fn read_blocks(
        &self,
        source: &Source,
        out: &mut [u8],
        first: u64,
        wanted: &dyn Fn(usize) -> bool,
    ) -> Vec<bool> {
        let count = out.len().div_ceil(BLOCK);
        if self.is_gone(&source.at.dir) {
            return vec![false; count];
        }
        let failed = lock(&self.failing.blocks).get(&source.at).cloned().unwrap_or_default();
        let may_ask = |i: usize| wanted(i) && !failed.contains(&(first + i as u64));
        if count > 1
            && (0..count).all(may_ask)
            && let Ok(read) = source.file.read_up_to(out, first * BLOCK as u64)
        {
            self.note_answer(&source.at.dir);
            return (0..count).map(|i| ((i + 1) * BLOCK).min(out.len()) <= read).collect();
        }
        let each = out.chunks_mut(BLOCK).enumerate();
        each.map(|(i, block)| may_ask(i) && self.read_block(source, block, first + i as u64)).collect()
    }

    fn read_block(&self, source: &Source, out: &mut [u8], number: u64) -> bool {
        if self.is_gone(&source.at.dir) {
            return false;
        }
        match source.file.read_up_to(out, number * BLOCK as u64) {
            Ok(read) => {
                self.note_answer(&source.at.dir);
                read == out.len()
            }
            Err(_) => {
                self.note_failure(&source.at, number);
                false
            }
        }
    }

    /// Reads a metadata file whole, if it has no more than `limit` bytes and can be read.
    pub fn read_whole(&self, at: &Location, limit: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_through(at, limit, &mut |piece| bytes.extend_from_slice(piece))?;
        Some(bytes)
    }

    /// The hash of a file, if it has `len` bytes and can be read.
    pub fn hash_of(&self, at: &Location, len: u64) -> Option<[u8; 32]> {
        let mut hasher = blake3::Hasher::new();
        let read = self.read_through(at, len, &mut |piece| {
            hasher.update(piece);
        })?;
        (read == len).then(|| *hasher.finalize().as_bytes())
    }

    /// Reads `len` bytes of a file; `None` if they are not there or cannot be read.
    pub fn read_range(&self, at: &Location, from: u64, len: usize) -> Option<Vec<u8>> {
        let source = self.source(at)?;
        let (end, file_end) = (from + len as u64, source.file.metadata().ok()?.len());
        let first = from / BLOCK as u64;
        let start = first * BLOCK as u64;
        let mut bytes = vec![0; (end.next_multiple_of(BLOCK as u64).min(file_end).checked_sub(start)?) as usize];
        let all = end <= file_end && self.read_blocks(&source, &mut bytes, first, &|_| true).iter().all(|read| *read);
        all.then(|| bytes[(from - start) as usize..(end - start) as usize].to_vec())
    }

    /// Passes all of a file on, in order; `None` if it is longer than `limit` or cannot be read.
    pub(crate) fn read_through(&self, at: &Location, limit: u64, take: &mut dyn FnMut(&[u8])) -> Option<u64> {
        const RUN: usize = 16;
        let source = self.source(at)?;
        let len = source.file.metadata().ok()?.len();
        if len > limit {
            return None;
        }
        let mut buffer = vec![0; (RUN * BLOCK).min(len as usize)];
        for first in (0..len.div_ceil(BLOCK as u64)).step_by(RUN) {
            let piece = (len - first * BLOCK as u64).min(buffer.len() as u64) as usize;
            if !self.read_blocks(&source, &mut buffer[..piece], first, &|_| true).iter().all(|read| *read) {
                return None;
            }
            take(&buffer[..piece]);
        }
        Some(len)
    }

    /// Opens a file of the set, unless its drive is gone.
    pub fn source(&self, at: &Location) -> Option<Source> {
        if self.is_gone(&at.dir) {
            return None;
        }
        match at.open() {
            Ok(file) => Some(Source { at: at.clone(), file }),
            Err(e) => {
                if is_failure(&e) {
                    self.note_failure(at, 0);
                }
                None
            }
        }
    }

    fn note_answer(&self, dir: &Dir) {
        if let Some(trouble) = lock(&self.failing.dirs).get_mut(dir) {
            trouble.in_a_row = 0;
        }
    }

    fn note_failure(&self, at: &Location, number: u64) {
        lock(&self.failing.blocks).entry(at.clone()).or_default().insert(number);
        let suspicious = {
            let mut dirs = lock(&self.failing.dirs);
            let trouble = dirs.entry(at.dir.clone()).or_default();
            trouble.in_a_row += 1;
            trouble.in_a_row.is_multiple_of(SUSPICIOUS)
        };
        if suspicious {
            self.ask_whether_there(&at.dir);
        }
    }

    fn ask_whether_there(&self, dir: &Dir) {
        if !drive::answers(dir, &names::METADATA) {
            lock(&self.failing.dirs).entry(dir.clone()).or_default().gone = true;
        }
    }

    /// Asks all drives whether they are still there; those that do not answer count as absent from now on.
    pub fn look_again(&self) {
        self.dirs.iter().filter(|dir| !self.is_gone(dir)).for_each(|dir| self.ask_whether_there(dir));
    }

    /// Whether a directory has stopped to answer.
    pub fn is_gone(&self, dir: &Dir) -> bool {
        lock(&self.failing.dirs).get(dir).is_some_and(|trouble| trouble.gone)
    }

    /// How many blocks could not be read, by the number of the drive.
    pub fn read_errors(&self) -> BTreeMap<u32, u64> {
        let mut errors = BTreeMap::new();
        // Which drive a directory is of may have to be read first.
        self.holdings();
        for (at, blocks) in lock(&self.failing.blocks).iter() {
            if let Some(drive) = self.drive_of(at) {
                *errors.entry(self.manifest.drive_number(drive)).or_default() += blocks.len() as u64;
            }
        }
        errors
    }

    /// The drive that a file is on: the one that its directory is the copy of, or that the volume belongs to.
    fn drive_of(&self, at: &Location) -> Option<u16> {
        let held = self.dirs.iter().zip(self.holdings()).find(|(d, _)| **d == at.dir).map(|(_, held)| held)?;
        let own = self.manifest.volumes().find(|(_, _, name, _)| at.name == *name).map(|(_, _, _, v)| v.drive);
        match own {
            Some(own) if held.contains(&own) || held.is_empty() => Some(own),
            _ => held.first().copied(),
        }
    }
}
