//! Segments on the way back: read from their volumes, opened and decompressed by identical workers.

use crate::error::{Error, Result};
use crate::format::{frame, names};
use crate::media::buffer::Buffer;
use crate::media::pace::Reach;
use crate::media::underway::Underway;
use crate::progress::Progress;
use crate::restore::ahead::Ahead;
use crate::restore::schedule::Turns;
use crate::set::{At, Blocks, Contents};
use crate::stages::compress::Decompressor;
use crate::stages::refusal::breaks;
use crate::threads::{FirstError, lock, workers, workers_within};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// A reader holds a segment sealed, as planes, and as it is; and one more where a volume has several files.
const HELD: u64 = 4;
/// Bytes that all readers together hold of them, at most, however many drives there are.
const MOST_HELD: u64 = 256 << 20;

/// The way back: those segments of one part that are wanted, from the volumes to `place`. Returns those that what is here
/// does not give, and why: all of them, or the first if it need not `go_on` after that.
pub fn unpack(
    blocks: &Blocks,
    contents: &Contents,
    segments: Vec<u64>,
    place: &Place,
    go_on: bool,
    (underway, progress): (&Underway<u64>, &dyn Progress),
) -> Result<Vec<(u64, Error)>> {
    let drive = |segment: u64| Ok((segment, blocks.drive(frame_of(blocks, contents, segment)?.0)));
    let turns = Turns::new(segments.into_iter().map(drive).collect::<Result<Vec<_>>>()?);
    let ahead = Ahead::new(turns.queues().len());
    let opening =
        Opening { blocks, contents, place, underway, progress, turns, ahead, go_on, lacking: Mutex::default() };
    let failure = FirstError::default();
    std::thread::scope(|scope| {
        let most = workers().max(opening.turns.queues().len());
        let readers = workers_within(most, HELD * u64::from(contents.segment_bytes), MOST_HELD);
        for reader in 0..readers {
            let (opening, failure) = (&opening, &failure);
            scope.spawn(move || failure.keep(opening.work(reader), || opening.turns.stop()));
        }
    });
    failure.check()?;
    let mut lacking = opening.lacking.into_inner().unwrap_or_else(PoisonError::into_inner);
    lacking.sort_by_key(|(segment, _)| *segment);
    Ok(lacking)
}

/// What takes a segment that has been opened, and says how far the file system is that it is placed on.
pub type Place<'a> = dyn Fn(u64, &[u8]) -> Result<Reach> + Sync + 'a;

/// What the opening workers share.
struct Opening<'a> {
    blocks: &'a Blocks<'a>,
    contents: &'a Contents,
    place: &'a Place<'a>,
    /// What is placed, and not durable yet.
    underway: &'a Underway<u64>,
    progress: &'a dyn Progress,
    turns: Turns,
    ahead: Ahead,
    go_on: bool,
    lacking: Mutex<Vec<(u64, Error)>>,
}

impl Opening<'_> {
    fn work(&self, reader: usize) -> Result<()> {
        let mut decompressor = Decompressor::new()?;
        let (mut sealed, mut plain) = (Buffer::default(), Vec::new());
        let limit = self.contents.segment_bytes as usize;
        let filter = self.blocks.set().manifest.filter().map_err(breaks(names::MANIFEST))?;
        while let Some((queue, segment)) = self.turns.next(reader) {
            if self.progress.cancelled() {
                return Err(Error::Interrupted);
            }
            self.ask_ahead(queue, segment)?;
            let Some(range) = self.read(segment, &mut sealed)? else { continue };
            let frame = &mut sealed[range];
            frame::payload(frame, segment).map_err(breaks(format!("segment {segment}")))?;
            let opened = self.contents.identity.open(&mut frame[frame::HEADER..], limit + frame::MOST_BEYOND);
            let opened = opened.and_then(|packed| decompressor.decompress(filter, packed, limit, &mut plain));
            opened.map_err(|e| broken(segment, &e))?;
            let reach = (self.place)(segment, &plain)?;
            self.underway.wrote(plain.len() as u64, reach, |bytes| self.progress.advance(bytes));
        }
        Ok(())
    }

    /// Has the drive of a segment read what comes after it.
    fn ask_ahead(&self, queue: usize, segment: u64) -> Result<()> {
        let frame = |segment: u64| frame_of(self.blocks, self.contents, segment);
        self.ahead.taken(queue, &self.turns.queues()[queue], frame(segment)?.1, self.blocks, &frame)
    }

    /// Reads the frame of a segment; `None` if what is here does not give it.
    fn read(&self, segment: u64, sealed: &mut Buffer) -> Result<Option<Range<usize>>> {
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
