//! Read-back of one file: what was written is read from the drive again and compared.

use crate::error::{ANOTHER_DRIVE, Error, Result};
use crate::media::buffer::Buffer;
use crate::media::cache;
use crate::media::dir::Location;
use crate::media::disk::Opened;
use crate::progress::Progress;
use crate::stages::runs::run_bytes;
use std::ops::Range;
use std::path::PathBuf;

/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;

/// Where the bytes came from when they were read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The page cache did not hold them.
    Drive,
    /// The page cache may have held some of them.
    CachePossible,
}

impl Origin {
    /// Of two readings.
    pub fn and(self, other: Origin) -> Origin {
        if self == Origin::Drive { other } else { self }
    }
}

/// A file that is to be read back: where it is, its length, its hash.
pub(crate) type Expected<'a> = (Location, u64, &'a [u8; 32]);

/// Compares a file with its hash, not from the cache; says whether the cache can be ruled out.
pub(crate) fn compare(
    file: &Location,
    len: u64,
    hash: &[u8; 32],
    progress: &dyn Progress,
    advance: impl Fn(u64),
) -> Result<bool> {
    compare_in_turn(&[(file.clone(), len, hash)], run_bytes(1, 0), progress, advance)
}

/// The same of several files of one drive, of which it holds a run of `run` bytes in turn.
pub(crate) fn compare_in_turn(
    files: &[Expected],
    run: u64,
    progress: &dyn Progress,
    advance: impl Fn(u64),
) -> Result<bool> {
    let mut readings = files.iter().map(|(file, ..)| Reading::begin(file)).collect::<Result<Vec<_>>>()?;
    let mut buffer = Buffer::new(PIECE);
    let longest = files.iter().map(|(_, len, _)| *len).max().unwrap_or(0);
    let runs = (0..longest.div_ceil(run)).map(|nth| nth * run..(nth + 1) * run);
    let mut turns = runs.flat_map(|run| (0..files.len()).map(move |file| (file, run.clone()))).peekable();
    if let Some((first, run)) = turns.peek() {
        readings[*first].ask_ahead(run);
    }
    while let Some((file, run)) = turns.next() {
        if let Some((next, run)) = turns.peek() {
            readings[*next].ask_ahead(run);
        }
        while readings[file].take(run.end, &mut buffer, &advance)? {
            if progress.cancelled() {
                return Err(Error::Interrupted);
            }
        }
    }
    let cached = readings.iter().any(|reading| reading.cached);
    let mut readings = readings.into_iter().zip(files);
    readings.try_for_each(|(reading, (_, len, hash))| reading.finish(*len, hash))?;
    Ok(!cached)
}

/// A file that is being read back.
struct Reading {
    path: PathBuf,
    file: Opened,
    cached: bool,
    hasher: blake3::Hasher,
    read: u64,
}

impl Reading {
    fn begin(file: &Location) -> Result<Reading> {
        let path = file.path();
        let file = file.open().map_err(Error::on_drive("read back", &path))?;
        cache::evict(file.file());
        Ok(Reading { path, file, cached: false, hasher: blake3::Hasher::new(), read: 0 })
    }

    /// Has a run read from the drive; notes whether the cache has it.
    fn ask_ahead(&mut self, run: &Range<u64>) {
        self.cached |= cache::is_cached_at(self.file.file(), run.start);
        cache::fetch(self.file.file(), run.start, run.end - run.start);
    }

    /// Reads on, but not beyond `end`; false if there is no more before it.
    fn take(&mut self, end: u64, buffer: &mut [u8], advance: &impl Fn(u64)) -> Result<bool> {
        let most = end.saturating_sub(self.read).min(buffer.len() as u64) as usize;
        let read = self.file.read_up_to(&mut buffer[..most], self.read);
        let n = read.map_err(Error::on_drive("read back", &self.path))?;
        self.hasher.update(&buffer[..n]);
        advance(n as u64);
        self.read += n as u64;
        Ok(n > 0)
    }

    fn finish(self, len: u64, hash: &[u8; 32]) -> Result<()> {
        // There must be nothing behind its end either.
        let behind = self.file.read_up_to(&mut [0], len).map_err(Error::on_drive("read back", &self.path))?;
        match self.read == len && behind == 0 && self.hasher.finalize().as_bytes() == hash {
            true => Ok(()),
            false => Err(Error::drive(
                format!("{} does not hold what was written to it", self.path.display()),
                ANOTHER_DRIVE,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::dir::Dir;
    use crate::media::disk::Disk;
    use crate::progress::Silent;
    use std::cell::Cell;

    #[test]
    fn files_are_read_back_in_turn_and_whole() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::given(&Disk::default(), temp.path()).unwrap();
        let contents: [Vec<u8>; 4] = [vec![1; 3 << 20], vec![], vec![2; 5], vec![3; (2 << 20) + 1]];
        let hashes = contents.each_ref().map(|bytes| *blake3::hash(bytes).as_bytes());
        for (i, bytes) in contents.iter().enumerate() {
            std::fs::write(temp.path().join(i.to_string()), bytes).unwrap();
        }
        let length = |i: usize| contents[i].len() as u64;
        let expected: Vec<Expected> = (0..4).map(|i| (dir.at(i.to_string()), length(i), &hashes[i])).collect();
        for run in [1 << 16, (1 << 20) + 7, 8 << 20] {
            let read = Cell::new(0);
            let compare = |files: &[Expected]| {
                compare_in_turn(files, run, &Silent::default(), |bytes| read.set(read.get() + bytes)).map(drop)
            };
            compare(&expected).unwrap();
            assert_eq!(read.get(), (0..4).map(length).sum::<u64>());
            // Each of them counts: its hash, a byte that is missing, a byte too many.
            for i in 0..4 {
                let other = |len, hash| {
                    let mut files = expected.clone();
                    files[i] = (files[i].0.clone(), len, hash);
                    compare(&files).unwrap_err().exit_code()
                };
                assert_eq!(other(length(i), &[9; 32]), 7);
                assert_eq!(other(length(i) + 1, &hashes[i]), 7);
                let begun = *blake3::hash(&contents[i][..contents[i].len().saturating_sub(1)]).as_bytes();
                assert!(contents[i].is_empty() || other(length(i) - 1, &begun) == 7);
            }
        }
    }
}
