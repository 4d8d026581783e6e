//! The way out.

pub mod capacity;
pub mod deal;
pub mod directories;
pub mod finished_groups;
pub mod metadata;
pub mod plan;
pub mod read_back;
mod rows_out;
pub mod sign;
pub mod source;
pub mod state;
pub mod stripe;
pub mod walk;
pub mod writers;

use crate::error::{Error, Result};
use crate::format::frame;
use crate::format::header::Header;
use crate::format::manifest::{Group, Listed};
use crate::progress::{Phase, Progress};
use crate::stages::compress::{Compression, Compressor};
use crate::stages::filehash::Page;
use crate::stages::seal::SetRecipient;
use crate::threads::{FirstError, workers};
use capacity::Room;
use deal::Striper;
use directories::SetDirs;
use plan::Plan;
use source::Source;
use std::sync::atomic::{AtomicU64, Ordering};
use writers::{Drives, Known, Log, Writer};

/// What [`pack`] leaves behind for inventory and manifest.
pub struct Packed {
    /// The groups, with their volumes.
    pub groups: Vec<Group>,
    /// Bytes of the frame of each segment.
    pub frames: Vec<u32>,
    /// The hashes of files, as far as they are known.
    pub page: Page,
    /// `hashes.b3`.
    pub hashes: Listed,
    /// The first segment that did not fit the drives any more, or that there is none.
    pub end: u64,
}

/// What [`pack`] packs, and where to.
pub struct Packing<'a> {
    /// What is read.
    pub source: &'a Source,
    /// How.
    pub plan: &'a Plan,
    /// Where it goes.
    pub dirs: &'a SetDirs,
    /// The header page of its volumes.
    pub header: Header,
    /// To whom it is sealed.
    pub to: &'a SetRecipient,
    /// The first segment of this part.
    pub first: u64,
    /// What is known of the hashes of files before it.
    pub page: &'a Page,
    /// Groups of the part that are on the drives already.
    pub known: &'a [Known],
    /// How much fits, if not all does.
    pub room: Option<&'a Room>,
    /// Who takes down each group that is safe.
    pub log: &'a dyn Log,
}

/// The way out: the segments of the source, as far as there is room, into the volumes of a part, durable on the drives.
pub fn pack(packing: &Packing, progress: &dyn Progress) -> Result<Packed> {
    let (plan, dirs) = (packing.plan, packing.dirs);
    let (sink, queues) = Drives::new(plan, packing.header.clone(), dirs.dirs.len(), packing.log);
    let failure = FirstError::default();
    let end = std::thread::scope(|scope| {
        for (drive, queue) in queues.into_iter().enumerate() {
            let volumes = (0..plan.placement.len()).filter(|v| plan.placement[*v] == drive).collect();
            let (places, template) = (dirs.places_on(drive), packing.header.clone());
            let writer = Writer { drive, places, volumes, template, progress, drives: &sink };
            let failure = &failure;
            // When a writer ends early, the next order to it stops the workers.
            scope.spawn(move || failure.keep(writer.run(&queue), || ()));
        }
        let end = fill(packing, &sink, &failure, progress);
        // The end of the queues is what lets the writers end.
        sink.close();
        end
    });
    let end = failure.take().map_or(end, Err)?;
    Ok(sink.finish(end))
}

/// Passes what is on the drives already and then the segments after it to `sink`; returns the first segment that did not fit.
fn fill(packing: &Packing, sink: &Drives, failure: &FirstError, progress: &dyn Progress) -> Result<u64> {
    let (dirs, source) = (packing.dirs, packing.source);
    let start = finished_groups::recheck(packing.known, dirs, sink, packing.first, packing.page, progress)?;
    dirs.remove_groups_after(start.after.as_ref().map(|(group, _)| *group))?;
    let names: Vec<String> = dirs.dirs.iter().map(|d| d.path().display().to_string()).collect();
    let first = start.segment;
    progress.begin(Phase::Export, source.tar_bytes() - source.start_of(first), &names);
    let workers = workers();
    let striper = Striper::new(packing.plan, workers, start, packing.room, sink)?;
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
        true => striper.finish().inspect(|_| progress.end()),
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
        let (mut plain, mut packed) = (Vec::new(), Vec::new());
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
            self.striper.place(segment, sealed, stretches)?;
            self.progress.advance(plain.len() as u64);
        }
    }
}
