//! The group in which an export was interrupted: what lies before its last mark counts, if it is still what was written.

use crate::error::{Error, Result};
use crate::format::deal::{Dealer, Shape};
use crate::format::hashes::{BlockValues, SLICE, Value, subtree};
use crate::format::manifest::volume_name;
use crate::media::durable::Partial;
use crate::pack::mark::{self, Digest, Mark};
use crate::pack::packing::Packing;
use crate::pack::plan::Plan;
use crate::pack::rebuild::Rebuilding;
use crate::pack::writers::{Drives, Logged};
use crate::progress::Progress;
use crate::stages::filehash::{Ledger, Page};
use crate::stages::parity::Codec;
use crate::threads::lock;
use std::io;
use std::sync::Mutex;

/// Bytes that are read at a time.
const RUN: usize = 1 << 20;

/// Where it stands.
#[derive(Debug, Clone, Default)]
pub struct BegunGroup {
    /// Its number.
    pub group: u32,
    /// Its marks before that point.
    pub marks: u32,
    /// Bytes of the frames before it.
    pub frames: Vec<u32>,
    /// The hashes of files that were finished in it.
    pub finished: Vec<(usize, Value)>,
    /// What is known of the file that is not.
    pub open: Page,
    /// The lengths of its data volumes.
    pub lengths: Vec<u64>,
    /// Where the rows end that are complete.
    pub rows: u64,
    /// The values of the blocks of each volume in these.
    pub values: Vec<BlockValues>,
    /// What data volumes have behind them.
    pub tails: Vec<Vec<u8>>,
}

/// A volume that was begun, and where it is.
struct Begun {
    volume: usize,
    drive: usize,
    file: Partial,
}

/// What was read of a volume between two marks.
#[derive(Default)]
pub(super) struct Stretch {
    /// The values of its slices, and of what comes before the mark of the next one.
    slices: Vec<Value>,
    edge: Option<Value>,
    /// What lies behind the rows that are complete.
    tail: Vec<u8>,
}

impl BegunGroup {
    /// Before its first mark.
    pub(super) fn new(group: u32, plan: &Plan) -> BegunGroup {
        let header = plan.block.bytes();
        BegunGroup {
            group,
            lengths: vec![header; plan.k.into()],
            rows: header,
            values: vec![BlockValues::new(plan.block); plan.placement.len()],
            ..BegunGroup::default()
        }
    }

    /// The lengths of its data volumes at a mark.
    pub(super) fn lengths_at(&self, mark: &Mark, shape: Shape) -> Option<Vec<u64>> {
        let mut dealer = Dealer::after(shape, self.group, self.lengths.clone());
        for bytes in &mark.frames {
            dealer.deal(*bytes);
        }
        let shortest = dealer.lengths().iter().copied().min()?;
        let sound = dealer.group() == self.group && (self.rows..=shortest).contains(&mark.rows);
        (sound && mark.rows.is_multiple_of(SLICE.bytes())).then(|| dealer.lengths().to_vec())
    }

    /// Goes on to a mark, if what was read is what was written.
    pub(super) fn advance(&mut self, mark: &Mark, lengths: Vec<u64>, read: Vec<Stretch>) -> bool {
        let mut digest = Digest::default();
        read.iter().for_each(|stretch| digest.volume(&stretch.slices, stretch.edge));
        if digest.finish() != mark.hash {
            return false;
        }
        let complete = mark::whole_slices(self.rows, mark.rows);
        self.tails.clear();
        for (all, stretch) in self.values.iter_mut().zip(read) {
            all.extend(&stretch.slices[..complete]);
            self.tails.push(stretch.tail);
        }
        self.tails.truncate(lengths.len());
        self.frames.extend(&mark.frames);
        self.finished.extend(&mark.page.finished);
        self.open = Page { finished: Vec::new(), open: mark.page.open.clone() };
        (self.lengths, self.rows, self.marks) = (lengths, mark.rows, self.marks + 1);
        true
    }

    /// What is known of the hashes of files.
    pub fn ledger(&self) -> Ledger {
        Ledger::from_page(self.open.clone())
    }
}

/// Reads what lies before the marks of a group, and has the writers go on behind the last one that holds; `None` if none does.
pub fn take_up(group: u32, packing: &Packing, sink: &Drives, progress: &dyn Progress) -> Result<Option<BegunGroup>> {
    let mut begun = BegunGroup::new(group, packing.plan);
    let mut marks = packing.marks;
    let Some(last) = marks.last() else { return Ok(None) };
    let (mut volumes, lost) = volumes((group, last.rows), packing)?;
    if !lost.is_empty() {
        // What is behind the rows that are complete is lost with its volume: but those that the last mark knows reach behind the
        // mark before.
        let before = &marks[..marks.len() - 1];
        let Some(made) = remake(&volumes, &lost, (group, last.rows), packing, progress)? else { return Ok(None) };
        volumes.extend(made);
        volumes.sort_by_key(|begun| begun.volume);
        marks = before;
        packing.recheck(group as usize, progress);
    }
    for mark in marks {
        let Some(lengths) = begun.lengths_at(mark, packing.plan.shape()) else { break };
        let Some(read) = read(&volumes, &begun, (mark.rows, &lengths), progress)? else { break };
        if !begun.advance(mark, lengths, read) {
            break;
        }
    }
    if begun.marks == 0 {
        return Ok(None);
    }
    for v in &volumes {
        v.file.stands_at(begun.lengths.get(v.volume).copied().unwrap_or(begun.rows));
    }
    let (frames, finished) = (begun.frames.len(), begun.finished.len());
    let logged = Logged { marks: begun.marks, frames, finished };
    sink.go_on(group, logged, volumes.into_iter().map(|v| (v.drive, v.volume, v.file)))?;
    Ok(Some(begun))
}

/// The volumes of a group, all of them unfinished, and those that are not there, or end before these rows.
fn volumes((group, rows): (u32, u64), packing: &Packing) -> Result<(Vec<Begun>, Vec<usize>)> {
    let (mut there, mut lost) = (Vec::new(), Vec::new());
    for (volume, drive) in packing.plan.placement.iter().enumerate() {
        let name = volume_name(group as usize, volume, packing.plan.k);
        match Partial::unfinished(&packing.dirs.dirs[*drive], &name)?.filter(|file| file.len() >= rows) {
            Some(file) => {
                file.forget();
                there.push(Begun { volume, drive: *drive, file });
            }
            None => lost.push(volume),
        }
    }
    Ok((there, lost))
}

/// Makes those volumes again that are lost, as far as rows are complete, from the others; `None` if these do not suffice.
fn remake(
    there: &[Begun],
    lost: &[usize],
    (group, rows): (u32, u64),
    packing: &Packing,
    progress: &dyn Progress,
) -> Result<Option<Vec<Begun>>> {
    let plan = packing.plan;
    if lost.len() > plan.m.into() {
        return Ok(None);
    }
    let make = |volume: &usize| {
        let (drive, name) = (plan.placement[*volume], volume_name(group as usize, *volume, plan.k));
        let file = Partial::anew(&packing.dirs.dirs[drive], &name)?;
        Ok(Begun { volume: *volume, drive, file })
    };
    let made: Vec<Begun> = lost.iter().map(make).collect::<Result<_>>()?;
    let file = |all: &[Begun], volume: usize| all.iter().position(|begun| begun.volume == volume).unwrap_or(0);
    let read = |volume: usize, bytes: &mut [u8], at: u64| {
        Ok(there[file(there, volume)].file.read_up_to(bytes, at)? == bytes.len())
    };
    let write = |volume: usize, bytes: &[u8], at: u64| made[file(&made, volume)].file.write_at(bytes, at);
    let rebuilding = Rebuilding {
        codec: &Codec::new(plan.k, plan.m)?,
        volumes: plan.placement.len(),
        sources: &there.iter().map(|begun| begun.volume).take(plan.k.into()).collect::<Vec<_>>(),
        targets: &lost.iter().map(|volume| (*volume, rows)).collect::<Vec<_>>(),
        read: &read,
        write: &write,
    };
    Ok(rebuilding.run(plan.block.bytes()..rows, progress)?.then_some(made))
}

/// Reads from all volumes what lies between where a group stands and a mark; `None` if not all of that is there.
fn read(
    volumes: &[Begun],
    begun: &BegunGroup,
    (rows, lengths): (u64, &[u64]),
    progress: &dyn Progress,
) -> Result<Option<Vec<Stretch>>> {
    let drives = volumes.iter().map(|v| v.drive).max().map_or(0, |last| last + 1);
    let stretches: Vec<Mutex<Option<Stretch>>> = volumes.iter().map(|_| Mutex::default()).collect();
    let read = |drive: usize| -> Result<()> {
        for begun_volume in volumes.iter().filter(|v| v.drive == drive) {
            let end = lengths.get(begun_volume.volume).copied().unwrap_or(rows);
            let known = begun.lengths.get(begun_volume.volume).copied().unwrap_or(begun.rows);
            let read = |buffer: &mut [u8], at| begun_volume.file.read_up_to(buffer, at);
            let stretch = stretch(&read, (begun.rows, rows, end), &mut |to: u64, bytes| {
                if known < to {
                    progress.drive(drive, bytes.min(to - known));
                    progress.advance(bytes.min(to - known));
                }
                if progress.cancelled() { Err(Error::Interrupted) } else { Ok(()) }
            })?;
            *lock(&stretches[begun_volume.volume]) = stretch;
        }
        Ok(())
    };
    let read = &read;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..drives).map(|drive| scope.spawn(move || read(drive))).collect();
        let join = |t: std::thread::ScopedJoinHandle<Result<()>>| {
            t.join().unwrap_or_else(|_| Err(Error::Internal("a reader ended early".into())))
        };
        threads.into_iter().try_for_each(join)
    })?;
    Ok(stretches.into_iter().map(|s| std::mem::take(&mut *lock(&s))).collect())
}

/// One volume, from a row to its end, or that of the rows that are complete; what lies behind these is kept.
pub(super) fn stretch(
    read: &dyn Fn(&mut [u8], u64) -> io::Result<usize>,
    (from, rows, end): (u64, u64, u64),
    seen: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<Option<Stretch>> {
    let (mut stretch, mut buffer, mut at) = (Stretch::default(), vec![0; RUN], from);
    while at < end {
        let len = RUN.min((end - at) as usize);
        match read(&mut buffer[..len], at) {
            Ok(n) if n == len => {}
            _ => return Ok(None),
        }
        for (i, slice) in buffer[..len].chunks(SLICE.size()).enumerate() {
            let offset = at + (i * SLICE.size()) as u64;
            match slice.len() == SLICE.size() {
                true => stretch.slices.push(subtree(offset, slice)),
                false => stretch.edge = mark::edge(offset, slice),
            }
            if offset >= rows {
                stretch.tail.extend_from_slice(slice);
            }
        }
        at += len as u64;
        seen(at, len as u64)?;
    }
    Ok(Some(stretch))
}
