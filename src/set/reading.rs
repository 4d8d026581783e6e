//! Reading files of a set from drives that may fail: what could not be read is noted, and not asked for again.

use crate::error::{Error, is_failure};
use crate::format::hashes::BlockSize;
use crate::format::names;
use crate::media::buffer::Buffer;
use crate::media::dir::{Dir, Location};
use crate::media::disk::Opened;
use crate::media::drive;
use crate::media::process::open_files;
use crate::set::part::Part;
use rustix::io::Errno;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Pieces in which metadata files are read.
pub(super) const METADATA: BlockSize = BlockSize::SMALLEST;
/// How often opening is tried again when the process, or the system, has too many files open.
const ATTEMPTS: usize = 100;
const A_MOMENT: Duration = Duration::from_millis(10);

/// Set when waiting did not help: then nothing that was found missing can be believed.
static EXHAUSTED: AtomicBool = AtomicBool::new(false);

/// What to say instead of anything else when too many files were open at a time.
pub fn exhausted() -> Option<Error> {
    EXHAUSTED.load(Ordering::Relaxed).then(|| {
        Error::refused(
            format!("this process may not open enough files at a time ({})", open_files()),
            "raise the limit (ulimit -n 256), or end other programs",
        )
    })
}

fn is_exhausted(error: &std::io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A file of a set that has been opened.
#[derive(Debug)]
pub struct Source {
    /// Where it is.
    pub at: Location,
    /// The file.
    pub file: Opened,
    /// In which pieces it is read, and given up where it cannot be.
    pub block: BlockSize,
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
        let block = source.block;
        let count = block.blocks(out.len() as u64) as usize;
        if self.is_gone(&source.at.dir) {
            return vec![false; count];
        }
        let failed = self.failing.blocks_of(&source.at);
        let may_ask = |i: usize| wanted(i) && !failed.contains(&(first + i as u64));
        if count > 1
            && (0..count).all(may_ask)
            && let Ok(read) = source.file.read_up_to(out, first * block.bytes())
        {
            self.failing.note_answer(&source.at.dir);
            return (0..count).map(|i| ((i + 1) * block.size()).min(out.len()) <= read).collect();
        }
        let each = out.chunks_mut(block.size()).enumerate();
        each.map(|(i, out)| may_ask(i) && self.read_block(source, out, first + i as u64)).collect()
    }

    fn read_block(&self, source: &Source, out: &mut [u8], number: u64) -> bool {
        if self.is_gone(&source.at.dir) {
            return false;
        }
        match source.file.read_up_to(out, number * source.block.bytes()) {
            Ok(read) => {
                self.failing.note_answer(&source.at.dir);
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
        let source = self.source(at, METADATA)?;
        let (end, file_end) = (from + len as u64, source.file.metadata().ok()?.len());
        let first = from / METADATA.bytes();
        let start = first * METADATA.bytes();
        let mut bytes = vec![0; (end.next_multiple_of(METADATA.bytes()).min(file_end).checked_sub(start)?) as usize];
        let all = end <= file_end && self.read_blocks(&source, &mut bytes, first, &|_| true).iter().all(|read| *read);
        all.then(|| bytes[(from - start) as usize..(end - start) as usize].to_vec())
    }

    /// Passes all of a file on, in order; `None` if it is longer than `limit` or cannot be read.
    pub(crate) fn read_through(&self, at: &Location, limit: u64, take: &mut dyn FnMut(&[u8])) -> Option<u64> {
        const RUN: usize = 16;
        let source = self.source(at, METADATA)?;
        let len = source.file.metadata().ok()?.len();
        if len > limit {
            return None;
        }
        let mut buffer = Buffer::new((RUN * METADATA.size()).min(len as usize));
        for first in (0..METADATA.blocks(len)).step_by(RUN) {
            let piece = (len - first * METADATA.bytes()).min(buffer.len() as u64) as usize;
            if !self.read_blocks(&source, &mut buffer[..piece], first, &|_| true).iter().all(|read| *read) {
                return None;
            }
            take(&buffer[..piece]);
        }
        Some(len)
    }

    /// Opens a file of the set, to be read in such pieces, unless its drive is gone.
    pub fn source(&self, at: &Location, block: BlockSize) -> Option<Source> {
        if self.is_gone(&at.dir) {
            return None;
        }
        let attempts = if EXHAUSTED.load(Ordering::Relaxed) { 1 } else { ATTEMPTS };
        for _ in 0..attempts {
            match at.open() {
                Ok(file) => return Some(Source { at: at.clone(), file, block }),
                // That nothing more can be opened says nothing about the file: others are closed soon.
                Err(e) if is_exhausted(&e) => std::thread::sleep(A_MOMENT),
                Err(e) => {
                    if is_failure(&e) {
                        self.note_failure(at, 0);
                    }
                    return None;
                }
            }
        }
        EXHAUSTED.store(true, Ordering::Relaxed);
        None
    }

    fn note_failure(&self, file: &Location, block: u64) {
        if self.failing.note_failure(file, block) {
            self.ask_whether_there(&file.dir);
        }
    }

    fn ask_whether_there(&self, dir: &Dir) {
        if !drive::answers(dir, &names::METADATA) {
            self.failing.note_gone(dir);
        }
    }

    /// Asks all drives whether they are still there; those that do not answer count as absent from now on.
    pub fn look_again(&self) {
        self.dirs.iter().filter(|dir| !self.is_gone(dir)).for_each(|dir| self.ask_whether_there(dir));
    }

    /// Whether a directory has stopped to answer.
    pub fn is_gone(&self, dir: &Dir) -> bool {
        self.failing.is_gone(dir)
    }
}
