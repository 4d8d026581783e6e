//! The stages, and the one place that knows their order.
//!
//! Out: source → planes → compress → seal → frames into stripes → drives. Back: blocks (repaired if need be) → open →
//! decompress → planes → place. Both directions are run by identical workers, at least as many as there are cores, each taking
//! a segment all the way; on the way back each drive has one that reads it.

pub mod audit;
pub mod bits;
pub mod blocks;
pub mod change;
pub mod compress;
pub mod contents;
pub mod copies;
pub mod diagnose;
pub mod drives;
pub mod failing;
pub mod filehash;
pub mod fixed;
pub mod gather;
pub mod journal;
pub mod known;
pub mod metadata;
pub mod open;
pub mod pages;
pub mod parity;
pub mod part;
pub mod paths;
pub mod place;
pub mod plan;
pub mod program;
pub mod proven;
pub mod readback;
pub mod rebuild;
pub mod recent;
pub mod refusal;
pub mod rehash;
pub mod remedy;
pub mod renew;
pub mod restore;
pub mod room;
pub mod rows;
pub mod salvage;
pub mod scratch;
pub mod seal;
pub mod setdirs;
pub mod sign;
pub mod source;
pub mod state;
pub mod stripe;
pub mod striper;
pub mod tally;
pub mod tar;
pub mod turns;
pub mod verdict;
pub mod walk;
pub mod wanted;

use crate::error::{Error, Result};
use crate::format::frame;
use crate::format::header::Header;
use crate::format::manifest::{Group, Listed};
use crate::progress::{Phase, Progress};
use blocks::{At, Blocks};
use compress::{Compression, Compressor, Decompressor};
use contents::Contents;
use drives::{Drives, Log, Writer};
use filehash::Page;
use known::Known;
use plan::Plan;
use refusal::breaks;
use room::Room;
use seal::SetRecipient;
use setdirs::SetDirs;
use source::Source;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use striper::Striper;
use turns::Turns;

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

/// How many workers to use.
pub fn workers() -> usize {
    crate::media::processor::workers()
}

/// The way out: the segments of the source, as far as there is room, into the volumes of a part, durable on the drives.
pub fn pack(packing: &Packing, progress: &dyn Progress) -> Result<Packed> {
    let (plan, dirs) = (packing.plan, packing.dirs);
    let (sink, queues) = Drives::new(plan, packing.header.clone(), dirs.dirs.len(), packing.log);
    let failure = FirstError::default();
    let end = std::thread::scope(|scope| {
        for (drive, queue) in queues.into_iter().enumerate() {
            let volumes = (0..plan.placement.len()).filter(|v| plan.placement[*v] == drive).collect();
            let (disk, dir, template) = (&dirs.disk, &dirs.dirs[drive], packing.header.clone());
            let writer = Writer { drive, disk, dir, volumes, template, progress, drives: &sink };
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
    let start = known::recheck(packing.known, dirs, sink, packing.first, packing.page, progress)?;
    dirs.remove_groups_after(start.after.as_ref().map(|(group, _)| *group))?;
    let names: Vec<String> = dirs.dirs.iter().map(|d| d.display().to_string()).collect();
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

/// The way back: those segments of one part that are wanted, from the volumes to `place`. Returns those that what is here
/// does not give, and why: all of them, or the first if it need not `go_on` after that.
pub fn unpack(
    blocks: &Blocks,
    contents: &Contents,
    segments: Vec<u64>,
    place: &Place,
    go_on: bool,
    progress: &dyn Progress,
) -> Result<Vec<(u64, Error)>> {
    let drive = |segment: u64| Ok((segment, blocks.drive(frame_of(blocks, contents, segment)?.0)));
    let turns = Turns::new(segments.into_iter().map(drive).collect::<Result<Vec<_>>>()?);
    let opening = Opening { blocks, contents, place, progress, turns, go_on, lacking: Mutex::default() };
    let failure = FirstError::default();
    std::thread::scope(|scope| {
        for reader in 0..workers().max(opening.turns.drives()) {
            let (opening, failure) = (&opening, &failure);
            scope.spawn(move || failure.keep(opening.work(reader), || opening.turns.stop()));
        }
    });
    failure.check()?;
    let mut lacking = opening.lacking.into_inner().unwrap_or_else(PoisonError::into_inner);
    lacking.sort_by_key(|(segment, _)| *segment);
    Ok(lacking)
}

/// What takes a segment that has been opened.
pub type Place<'a> = dyn Fn(u64, &[u8]) -> Result<()> + Sync + 'a;

/// What the opening workers share.
struct Opening<'a> {
    blocks: &'a Blocks<'a>,
    contents: &'a Contents,
    place: &'a Place<'a>,
    progress: &'a dyn Progress,
    turns: Turns,
    go_on: bool,
    lacking: Mutex<Vec<(u64, Error)>>,
}

impl Opening<'_> {
    fn work(&self, reader: usize) -> Result<()> {
        let mut decompressor = Decompressor::new()?;
        let (mut sealed, mut plain) = (Vec::new(), Vec::new());
        let limit = self.contents.segment_bytes as usize;
        let filter = self.blocks.set().manifest.filter();
        while let Some(segment) = self.turns.next(reader) {
            if self.progress.cancelled() {
                return Err(Error::Interrupted);
            }
            let Some(range) = self.read(segment, &mut sealed)? else { continue };
            let frame = &mut sealed[range];
            frame::payload(frame, segment).map_err(breaks(format!("segment {segment}")))?;
            let opened = self.contents.identity.open(&mut frame[frame::HEADER..], compress::longest(limit));
            let opened = opened.and_then(|packed| decompressor.decompress(filter, packed, limit, &mut plain));
            opened.map_err(|e| broken(segment, &e))?;
            (self.place)(segment, &plain)?;
            self.progress.advance(plain.len() as u64);
        }
        Ok(())
    }

    /// Reads the frame of a segment; `None` if what is here does not give it.
    fn read(&self, segment: u64, sealed: &mut Vec<u8>) -> Result<Option<Range<usize>>> {
        let (at, bytes) = frame_of(self.blocks, self.contents, segment)?;
        match self.blocks.read(at, bytes.start, bytes.end, sealed) {
            Ok(range) => {
                self.progress.drive(self.blocks.drive(at), bytes.end - bytes.start);
                Ok(Some(range))
            }
            Err(why @ (Error::Drive { .. } | Error::Lost { .. })) => {
                lock(&self.lacking).push((segment, why));
                if !self.go_on {
                    self.turns.stop();
                }
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }
}

/// The volume that has the frame of a segment, and where in it.
fn frame_of(blocks: &Blocks, contents: &Contents, segment: u64) -> Result<(At, Range<u64>)> {
    let place = contents.tables.get(&blocks.part()).and_then(|table| table.place(segment));
    let place = place.ok_or_else(|| Error::Internal(format!("segment {segment} is not in this part")))?;
    let at = At { group: place.group as usize, index: place.volume.into() };
    Ok((at, place.offset..place.offset + u64::from(place.bytes)))
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
    pub fn take(self) -> Option<Error> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same as a result.
    pub fn check(self) -> Result<()> {
        self.take().map_or(Ok(()), Err)
    }
}
