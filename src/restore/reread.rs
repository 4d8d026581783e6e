//! Reading files again that were placed: those of which not all passed in this run, so that nobody has seen their hash yet.

use crate::error::{Error, Result};
use crate::format::inventory::{Entry, Kind};
use crate::media::buffer::Buffer;
use crate::progress::{Phase, Progress};
use crate::restore::place::Placer;
use crate::set::Contents;
use crate::stages::filehash::FileHashes;
use crate::stages::tar;
use crate::threads::FirstError;
use crate::threads::lock;
use crate::threads::workers;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that a worker takes at a time; even a single file keeps them all busy.
const STRETCH: u64 = 8 << 20;

/// Reads these files again, and returns those that do not have their hash.
pub fn rehash(placer: &Placer, contents: &Contents, files: &[usize], progress: &dyn Progress) -> Result<Vec<usize>> {
    let stored = |i: usize| contents.entries[i].stored();
    let stretches = |i: usize| (0..stored(i)).step_by(STRETCH as usize).map(move |at| (i, at));
    let reading = Reading {
        placer,
        contents,
        progress,
        stretches: files.iter().flat_map(|i| stretches(*i)).collect(),
        next: AtomicUsize::new(0),
        hashes: FileHashes::default(),
        good: Mutex::default(),
    };
    progress.begin(Phase::ReadBack, files.iter().map(|i| stored(*i)).sum(), &[]);
    let failure = FirstError::default();
    std::thread::scope(|scope| {
        for _ in 0..workers() {
            let (reading, failure) = (&reading, &failure);
            scope.spawn(move || failure.keep(reading.work(), || reading.stop()));
        }
    });
    failure.check()?;
    let good = lock(&reading.good);
    placer.prove(good.iter().copied());
    Ok(files.iter().copied().filter(|i| !good.contains(i)).collect())
}

struct Reading<'a> {
    placer: &'a Placer<'a>,
    contents: &'a Contents,
    progress: &'a dyn Progress,
    /// Files, and where in their stored bytes.
    stretches: Vec<(usize, u64)>,
    next: AtomicUsize,
    hashes: FileHashes,
    good: Mutex<BTreeSet<usize>>,
}

impl Reading<'_> {
    fn work(&self) -> Result<()> {
        let mut buffer = Buffer::default();
        while let Some((index, at)) = self.stretches.get(self.next.fetch_add(1, Ordering::Relaxed)).copied() {
            if self.progress.cancelled() {
                return Err(Error::Interrupted);
            }
            let entry = &self.contents.entries[index];
            buffer.resize((entry.stored() - at).min(STRETCH) as usize);
            match self.read(index, entry, at, &mut buffer)? {
                false => self.hashes.give_up(index),
                true => {
                    let hash = self.hashes.add(index, entry.stored(), at, &buffer);
                    let fits = |h| matches!(&entry.kind, Kind::File { blake3, .. } if *blake3 == Some(h));
                    if hash.is_some_and(fits) {
                        lock(&self.good).insert(index);
                    }
                }
            }
            self.progress.advance(buffer.len() as u64);
        }
        Ok(())
    }

    /// Reads a stretch of a file; false if the file is not there or has not its length.
    fn read(&self, index: usize, entry: &Entry, at: u64, buffer: &mut [u8]) -> Result<bool> {
        let name = self.placer.wanted().name(&self.contents.entries, index);
        let staging = self.placer.staging;
        let file = match staging.open_to_read(&name.0) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        let len = file.metadata().map_err(Error::io("read", name.printable()))?.len();
        if !matches!(entry.kind, Kind::File { size, .. } if size == len) {
            return Ok(false);
        }
        let mut done = 0;
        for (offset, len) in tar::file_ranges(entry, at, buffer.len()) {
            if staging.read_at(&file, &name.0, &mut buffer[done..done + len], offset)? < len {
                return Ok(false);
            }
            done += len;
        }
        Ok(true)
    }

    fn stop(&self) {
        self.next.store(self.stretches.len(), Ordering::Relaxed);
    }
}
