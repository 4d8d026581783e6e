//! Reading segments of the tar stream from the sources, hashing files in passing, and noticing files that change meanwhile.

use crate::error::{Error, Result};
use crate::format::inventory::{Entry, Kind};
use crate::media::disk::Disk;
use crate::media::tree;
use crate::pipeline::filehash::FileHashes;
use crate::pipeline::lock;
use crate::pipeline::tar::{self, Piece};
use crate::pipeline::walk::Walked;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The sources of an export, laid out as one stream.
pub struct Source {
    disk: Disk,
    walked: Walked,
    tar_bytes: u64,
    segment_bytes: u32,
    hashes: FileHashes,
    finished: Mutex<Vec<(usize, [u8; 32])>>,
}

impl Source {
    /// Entries that have been laid out as a stream of `tar_bytes`, to be cut every `segment_bytes`.
    pub fn new(disk: &Disk, walked: Walked, tar_bytes: u64, segment_bytes: u32) -> Source {
        Source {
            disk: disk.clone(),
            walked,
            tar_bytes,
            segment_bytes,
            hashes: FileHashes::default(),
            finished: Mutex::default(),
        }
    }

    /// How many segments there are.
    pub fn segments(&self) -> u64 {
        self.tar_bytes.div_ceil(self.segment_bytes.into())
    }

    /// Reads segment `n` into `buffer`, which is replaced.
    pub fn read(&self, n: u64, buffer: &mut Vec<u8>) -> Result<()> {
        let start = n * u64::from(self.segment_bytes);
        let end = (start + u64::from(self.segment_bytes)).min(self.tar_bytes);
        buffer.resize((end - start) as usize, 0);
        let mut at = 0;
        for piece in tar::pieces(&self.walked.entries, start, end) {
            match piece {
                Piece::Header { entry, range } => {
                    let headers = tar::headers(&self.walked.entries[entry]);
                    buffer[at..at + range.len()].copy_from_slice(&headers[range.clone()]);
                    at += range.len();
                }
                Piece::Zeros(len) => {
                    buffer[at..at + len].fill(0);
                    at += len;
                }
                Piece::Data { entry, offset, len } => {
                    self.read_file(entry, offset, &mut buffer[at..at + len])?;
                    at += len;
                }
            }
        }
        Ok(())
    }

    fn read_file(&self, index: usize, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let entry = &self.walked.entries[index];
        let path = self.walked.roots.locate(&entry.path);
        let file = self.disk.open_source(&path).map_err(Error::io("read", &path))?;
        let mut at = 0;
        for (from, len) in tar::file_ranges(entry, offset, buffer.len()) {
            let read = file.read_up_to(&mut buffer[at..at + len], from).map_err(Error::io("read", &path))?;
            if read < len {
                return Err(changed(&path));
            }
            at += len;
        }
        // After reading: what was read up to now is then what the walk saw.
        let stamp = tree::Stamp::of(&file.metadata().map_err(Error::io("read", &path))?);
        if stamp != self.walked.stamps[index] {
            return Err(changed(&path));
        }
        if let Some(hash) = self.hashes.add(index, entry.stored(), offset, buffer) {
            lock(&self.finished).push((index, hash));
        }
        Ok(())
    }

    /// Whether every entry is still what the walk saw: a directory that has gained or lost a name has another time.
    pub fn check_unchanged(&self) -> Result<()> {
        for (entry, stamp) in self.walked.entries.iter().zip(&self.walked.stamps) {
            let path = self.walked.roots.locate(&entry.path);
            let meta = match entry.kind {
                Kind::Symlink { .. } => std::fs::symlink_metadata(&path),
                _ => std::fs::metadata(&path),
            };
            if tree::Stamp::of(&meta.map_err(|_| changed(&path))?) != *stamp {
                return Err(changed(&path));
            }
        }
        Ok(())
    }

    /// The entries with their hashes, after all segments have been read.
    pub fn finish(self) -> Vec<Entry> {
        let mut entries = self.walked.entries;
        for entry in entries.iter_mut().filter(|e| e.stored() == 0) {
            if let Kind::File { blake3, .. } = &mut entry.kind {
                *blake3 = Some(*blake3::hash(b"").as_bytes());
            }
        }
        for (index, hash) in self.finished.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if let Kind::File { blake3, .. } = &mut entries[index].kind {
                *blake3 = Some(hash);
            }
        }
        entries
    }
}

fn changed(path: &Path) -> Error {
    Error::source(format!("{} changed while it was read", path.display()), "export again when nothing writes to it")
}
