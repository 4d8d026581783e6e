//! Segments on the way out: read, compressed and sealed by identical workers, each taking a segment all the way.

use crate::error::{Error, Result};
use crate::format::frame;
use crate::media::buffer::Buffer;
use crate::pack::deal::Striper;
use crate::pack::finished_groups;
use crate::pack::packing::Packing;
use crate::pack::source::Source;
use crate::pack::writers::Drives;
use crate::progress::{Phase, Progress};
use crate::stages::compress::{Compression, Compressor};
use crate::stages::seal::SetRecipient;
use crate::threads::{FirstError, workers, workers_within};
use std::sync::atomic::{AtomicU64, Ordering};

/// A worker holds a segment as it is, as planes, compressed and sealed.
const HELD: u64 = 4;
/// Bytes that all workers together hold of them, at most.
const MOST_HELD: u64 = 512 << 20;

/// Passes what is on the drives already and then the segments after it to `sink`; returns the first segment that did not fit.
pub fn fill(packing: &Packing, sink: &Drives, failure: &FirstError, progress: &dyn Progress) -> Result<u64> {
    let (dirs, source) = (packing.dirs, packing.source);
    let start = finished_groups::recheck(packing, sink, progress)?;
    dirs.remove_groups_after(start.after.as_ref().map(|(group, _)| *group), start.begun.as_ref().map(|b| b.group))?;
    let room = packing.room.map(|measure| measure(start.begun.as_ref().map(|b| b.group))).transpose()?;
    let first = start.segment;
    progress.begin(Phase::Export, source.tar_bytes() - source.start_of(first), &packing.lanes(|_| None));
    let workers = workers_within(workers(), HELD * u64::from(packing.plan.segment_bytes), MOST_HELD);
    let striper = Striper::new(packing.plan, workers, start, room.as_ref(), sink)?;
    let (to, compression) = (packing.to, packing.plan.compression);
    let sealing = Sealing { source, striper: &striper, to, compression, progress, next: AtomicU64::new(first) };
    std::thread::scope(|scope| {
        let seal = || {
            let _awake = StopOnPanic(&striper);
            failure.keep(sealing.work(), || striper.stop());
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(seal)).collect();
        for thread in threads {
            let ended = thread.join().map_err(|_| Error::Internal("a worker ended early".into()));
            failure.keep(ended, || striper.stop());
        }
    });
    match failure.is_none() {
        true => striper.finish(),
        false => Err(Error::Interrupted),
    }
}

/// A worker that panics must not leave the others waiting for its segment.
struct StopOnPanic<'a>(&'a Striper<'a>);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// What the sealing workers share.
struct Sealing<'a> {
    source: &'a Source,
    striper: &'a Striper<'a>,
    to: &'a SetRecipient,
    compression: Compression,
    progress: &'a dyn Progress,
    next: AtomicU64,
}

/// How often a segment is sealed until its frame has a length that fits.
const MOST_SEALINGS: usize = 10_000;

impl Sealing<'_> {
    /// The age file of a compressed segment, with room for the header of its frame.
    fn seal(&self, packed: &[u8]) -> Result<Vec<u8>> {
        let mut sealed = Vec::with_capacity(packed.len() + (packed.len() >> 12) + 512);
        sealed.resize(frame::HEADER, 0);
        self.to.seal(packed, &mut sealed).map_err(|e| Error::Internal(format!("age: {e}")))?;
        Ok(sealed)
    }

    fn work(&self) -> Result<()> {
        let mut compressor = Compressor::new(self.compression)?;
        let (mut plain, mut packed) = (Buffer::default(), Vec::new());
        loop {
            let segment = self.next.fetch_add(1, Ordering::Relaxed);
            if segment >= self.source.segments() || !self.striper.wait_turn(segment) {
                return Ok(());
            }
            if self.progress.cancelled() {
                return Err(Error::Interrupted);
            }
            let stretches = self.source.read(segment, &mut plain)?;
            compressor.compress(&plain, &mut packed)?;
            let mut sealed = self.seal(&packed)?;
            // The header of an age file has a stanza of random length, so sealing again may give what is long enough.
            for _ in 0..MOST_SEALINGS {
                if self.striper.accepts(segment, sealed.len()) {
                    break;
                }
                sealed = self.seal(&packed)?;
            }
            self.striper.place(segment, sealed, stretches, plain.len() as u64)?;
        }
    }
}
