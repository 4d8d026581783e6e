//! The stages, and the one place that knows their order.
//!
//! Out: source → compress → seal → frames into stripes → drives. Back: blocks (repaired if need be) → open → decompress →
//! place. Both directions are run by identical workers, as many as there are cores, each taking a segment all the way.

pub mod audit;
pub mod bits;
pub mod blocks;
pub mod compress;
pub mod contents;
pub mod drives;
pub mod filehash;
pub mod metadata;
pub mod open;
pub mod parity;
pub mod part;
pub mod paths;
pub mod place;
pub mod plan;
pub mod readback;
pub mod refusal;
pub mod seal;
pub mod sign;
pub mod source;
pub mod stripe;
pub mod striper;
pub mod tar;
pub mod walk;

use crate::error::{Error, Result};
use crate::format::frame;
use crate::format::header::Header;
use crate::format::manifest::{Group, Listed};
use crate::progress::Progress;
use blocks::{At, Blocks};
use compress::{Compressor, Decompressor};
use contents::Contents;
use drives::{Drives, SetDirs, Writer};
use place::Placer;
use plan::Plan;
use refusal::breaks;
use seal::SetRecipient;
use source::Source;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use striper::Striper;

/// What [`pack`] leaves behind for inventory and manifest.
pub struct Packed {
    /// The groups, with their volumes.
    pub groups: Vec<Group>,
    /// Bytes of the frame of each segment.
    pub frames: Vec<u32>,
    /// `hashes.b3`.
    pub hashes: Listed,
}

/// How many workers to use.
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The way out: every segment of the source into the volumes of a set, durable on the drives.
pub fn pack(
    source: &Source,
    plan: &Plan,
    dirs: &SetDirs,
    template: Header,
    to: &SetRecipient,
    progress: &dyn Progress,
) -> Result<Packed> {
    let (sink, queues) = Drives::new(plan, template.clone(), dirs.dirs.len());
    let failure = FirstError::default();
    let workers = workers();
    let frames = {
        let striper = Striper::new(plan, workers, &sink)?;
        let sealing = Sealing { source, striper: &striper, to, progress, next: AtomicU64::new(0) };
        std::thread::scope(|scope| {
            for (drive, queue) in queues.into_iter().enumerate() {
                let volumes = (0..plan.placement.len()).filter(|v| plan.placement[*v] == drive).collect();
                let writer = Writer {
                    drive,
                    disk: &dirs.disk,
                    dir: &dirs.dirs[drive],
                    volumes,
                    template: template.clone(),
                    progress,
                };
                let (failure, striper) = (&failure, &striper);
                scope.spawn(move || failure.keep(writer.run(&queue), || striper.stop()));
            }
            let seal = || {
                let _awake = StopOnPanic(&striper);
                failure.keep(sealing.work(), || striper.stop());
            };
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(seal)).collect();
            for thread in threads {
                let ended = thread.join().map_err(|_| Error::Internal("a worker ended early".into()));
                failure.keep(ended, || striper.stop());
            }
            let frames = if failure.is_none() { striper.finish() } else { Err(Error::Interrupted) };
            // The end of the queues is what lets the writers end.
            sink.close();
            frames
        })
    };
    failure.check()?;
    let (groups, hashes) = sink.finish();
    Ok(Packed { groups, frames: frames?, hashes })
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
    progress: &'a dyn Progress,
    next: AtomicU64,
}

impl Sealing<'_> {
    fn work(&self) -> Result<()> {
        let mut compressor = Compressor::new()?;
        let (mut plain, mut packed) = (Vec::new(), Vec::new());
        loop {
            let segment = self.next.fetch_add(1, Ordering::Relaxed);
            if segment >= self.source.segments() || !self.striper.wait_turn(segment) {
                return Ok(());
            }
            if self.progress.cancelled() {
                return Err(Error::Interrupted);
            }
            self.source.read(segment, &mut plain)?;
            compressor.compress(&plain, &mut packed)?;
            let mut sealed = Vec::with_capacity(packed.len() + (packed.len() >> 12) + 512);
            sealed.resize(frame::HEADER, 0);
            self.to.seal(&packed, &mut sealed).map_err(|e| Error::Internal(format!("age: {e}")))?;
            self.striper.place(segment, sealed)?;
            self.progress.advance(plain.len() as u64);
        }
    }
}

/// The way back: those segments of one part that are wanted, from the volumes into files.
pub fn unpack(
    blocks: &Blocks,
    contents: &Contents,
    segments: Vec<u64>,
    placer: &Placer,
    progress: &dyn Progress,
) -> Result<()> {
    let opening = Opening { blocks, contents, placer, progress, segments, next: AtomicUsize::new(0) };
    let failure = FirstError::default();
    std::thread::scope(|scope| {
        for _ in 0..workers() {
            let (opening, failure) = (&opening, &failure);
            scope.spawn(move || failure.keep(opening.work(), || opening.stop()));
        }
    });
    failure.check()
}

/// What the opening workers share.
struct Opening<'a> {
    blocks: &'a Blocks<'a>,
    contents: &'a Contents,
    placer: &'a Placer<'a>,
    progress: &'a dyn Progress,
    segments: Vec<u64>,
    next: AtomicUsize,
}

impl Opening<'_> {
    fn work(&self) -> Result<()> {
        let mut decompressor = Decompressor::new()?;
        let (mut sealed, mut packed, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        let limit = self.contents.segment_bytes as usize;
        while let Some(segment) = self.segments.get(self.next.fetch_add(1, Ordering::Relaxed)).copied() {
            if self.progress.cancelled() {
                return Err(Error::Interrupted);
            }
            let table = self.contents.tables.get(&self.blocks.part());
            let place = table.and_then(|t| t.place(segment));
            let place = place.ok_or_else(|| Error::Internal(format!("segment {segment} is not in this part")))?;
            let at = At { group: place.group as usize, index: place.volume.into() };
            let end = place.offset + u64::from(place.bytes);
            let range = self.blocks.read(at, place.offset, end, &mut sealed)?;
            self.progress.drive(self.blocks.drive(at), place.bytes.into());
            let frame = &sealed[range];
            let payload = frame::payload(frame, segment).map_err(breaks(format!("segment {segment}")))?;
            let opened = self.contents.identity.open(payload, compress::longest(limit), &mut packed);
            opened.map_err(|e| broken(segment, &e))?;
            decompressor.decompress(&packed, limit, &mut plain).map_err(|e| broken(segment, &e))?;
            self.placer.place(segment, &plain)?;
            self.progress.advance(plain.len() as u64);
        }
        Ok(())
    }

    fn stop(&self) {
        self.next.store(self.segments.len(), Ordering::Relaxed);
    }
}

fn broken(segment: u64, why: &std::io::Error) -> Error {
    Error::refused(
        format!("segment {segment} is as it was signed, but does not open: {why}"),
        "the sender signed a broken set: ask for a new export",
    )
}

/// Locks; a thread that panicked while it held the lock has ended the whole verb anyway.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the first error of many threads: those after it are its echo.
#[derive(Default)]
pub struct FirstError(Mutex<Option<Error>>);

impl FirstError {
    /// Takes the result of a thread; `stop` is called if it is an error.
    pub fn keep(&self, result: Result<()>, stop: impl FnOnce()) {
        if let Err(error) = result {
            let mut first = lock(&self.0);
            match &*first {
                // Threads that were stopped say so; a real cause says more.
                Some(kept) if !matches!(kept, Error::Interrupted) || matches!(error, Error::Interrupted) => {}
                _ => *first = Some(error),
            }
            drop(first);
            stop();
        }
    }

    /// Whether all went well so far.
    pub fn is_none(&self) -> bool {
        lock(&self.0).is_none()
    }

    /// The first error, if there is one.
    pub fn check(self) -> Result<()> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}
