//! Reading segments of the tar stream from the sources, hashing files in passing, and noticing files that change meanwhile.

use crate::error::{Error, Result};
use crate::format::hashes::Value;
use crate::format::inventory::{Entry, Kind};
use crate::media::buffer::Buffer;
use crate::media::disk::{Disk, Opened};
use crate::media::tree;
use crate::pack::walk::{Walked, changed, untold};
use crate::stages::filehash::Stretch;
use crate::stages::tar::{self, Piece};
use std::path::Path;

/// The sources of an export, laid out as one stream.
pub struct Source {
    disk: Disk,
    walked: Walked,
    tar_bytes: u64,
    segment_bytes: u32,
}

impl Source {
    /// Entries that have been laid out as a stream of `tar_bytes`, to be cut every `segment_bytes`.
    pub fn new(disk: &Disk, walked: Walked, tar_bytes: u64, segment_bytes: u32) -> Source {
        let mut source = Source { disk: disk.clone(), walked, tar_bytes, segment_bytes };
        let empty: Vec<usize> = (0..source.entries().len()).filter(|i| source.entries()[*i].stored() == 0).collect();
        source.note(empty.into_iter().map(|i| (i, *blake3::hash(b"").as_bytes())));
        source
    }

    /// What was found on the way through them.
    pub fn walked(&self) -> &Walked {
        &self.walked
    }

    /// The entries, with those hashes that are known.
    pub fn entries(&self) -> &[Entry] {
        &self.walked.entries
    }

    /// Takes down the hashes of files.
    pub fn note(&mut self, hashes: impl IntoIterator<Item = (usize, Value)>) {
        for (index, hash) in hashes {
            if let Some(Kind::File { blake3, .. }) = self.walked.entries.get_mut(index).map(|e| &mut e.kind) {
                *blake3 = Some(hash);
            }
        }
    }

    /// Bytes of the whole stream.
    pub fn tar_bytes(&self) -> u64 {
        self.tar_bytes
    }

    /// Where a segment begins in the stream; the end of the stream for those that are not.
    pub fn start_of(&self, segment: u64) -> u64 {
        (segment * u64::from(self.segment_bytes)).min(self.tar_bytes)
    }

    /// How many segments there are.
    pub fn segments(&self) -> u64 {
        self.tar_bytes.div_ceil(self.segment_bytes.into())
    }

    /// Reads segment `n` into `buffer`, which is replaced; returns the hashes of what is in it.
    pub fn read(&self, n: u64, buffer: &mut Buffer) -> Result<Vec<Stretch>> {
        let start = n * u64::from(self.segment_bytes);
        let end = (start + u64::from(self.segment_bytes)).min(self.tar_bytes);
        buffer.resize((end - start) as usize);
        let (mut at, mut stretches) = (0, Vec::new());
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
                    stretches.push(self.read_file(entry, offset, &mut buffer[at..at + len])?);
                    at += len;
                }
            }
        }
        Ok(stretches)
    }

    fn read_file(&self, index: usize, offset: u64, buffer: &mut [u8]) -> Result<Stretch> {
        let entry = &self.walked.entries[index];
        let path = self.walked.roots.locate(&entry.path);
        let file = self.disk.open_source(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => changed(&path),
            _ => Error::io("read", &path)(e),
        })?;
        let mut at = 0;
        for (from, len) in tar::file_ranges(entry, offset, buffer.len()) {
            let read = file.read_up_to(&mut buffer[at..at + len], from).map_err(Error::io("read", &path))?;
            if read < len {
                let same = self.is_still(index, &file, &path)?;
                return Err(if same { untold(&path, entry.size()) } else { changed(&path) });
            }
            at += len;
        }
        // The last piece ends where the file does.
        let ends = offset + buffer.len() as u64 == entry.stored();
        let more = ends && file.read_up_to(&mut [0], entry.size()).map_err(Error::io("read", &path))? > 0;
        // After reading: what was read up to now is then what the walk saw.
        if !self.is_still(index, &file, &path)? {
            return Err(changed(&path));
        }
        if more {
            return Err(untold(&path, entry.size()));
        }
        Ok(Stretch::new(index, entry.stored(), offset, buffer))
    }

    fn is_still(&self, index: usize, file: &Opened, path: &Path) -> Result<bool> {
        let now = tree::Stamp::of(&file.metadata().map_err(Error::io("read", path))?);
        Ok(self.walked.stamps[index].is_still(&now, || tree::keeps_inodes(path)))
    }

    /// Whether every entry is still what the walk saw: a directory that has gained or lost a name has another time.
    pub fn check_unchanged(&self) -> Result<()> {
        for (entry, stamp) in self.walked.entries.iter().zip(&self.walked.stamps) {
            let path = self.walked.roots.locate(&entry.path);
            let meta = match entry.kind {
                Kind::Symlink { .. } => std::fs::symlink_metadata(&path),
                _ => std::fs::metadata(&path),
            };
            let now = tree::Stamp::of(&meta.map_err(|_| changed(&path))?);
            if !stamp.is_still(&now, || tree::keeps_inodes(path.parent().unwrap_or(&path))) {
                return Err(changed(&path));
            }
        }
        Ok(())
    }
}
