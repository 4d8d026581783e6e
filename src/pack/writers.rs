//! Writing to drives: one thread each behind a queue that the stripe pool bounds. A volume gets its name when its group is
//! complete and durable.

use crate::error::{Error, Result};
use crate::format::hashes::Value;
use crate::format::header::Header;
use crate::format::manifest::{Group, Listed, Span, Volume, volume_name};
use crate::format::names;
use crate::media::durable::{Partial, finish_all, sync_all};
use crate::media::pace::Reach;
use crate::media::underway::Underway;
use crate::pack::directories::SetDirs;
use crate::pack::gathered::Gathered;
use crate::pack::mark::{Coming, Mark, Passed};
use crate::pack::plan::Plan;
use crate::pack::stripe::{GroupEnd, Order, Sink};
use crate::progress::Progress;
use crate::stages::filehash::Page;
use crate::stages::runs::run_bytes;
use crate::threads::lock;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of which note is taken at a time.
const COUNTED: usize = 512 << 10;

/// Who takes down what is safe.
pub trait Log: Sync {
    /// A group is complete and durable on all drives.
    fn group(&self, group: &Group, end: &GroupEnd, logged: &Logged) -> Result<()>;
    /// All before a mark is durable on all drives.
    fn mark(&self, at: (u32, u32), mark: &Mark) -> Result<()>;
}

/// What has been taken down of a group that is not complete.
#[derive(Debug, Default)]
pub struct Logged {
    /// Marks.
    pub marks: u32,
    /// Frames before the last of them.
    pub frames: usize,
    /// Files that were finished before it.
    pub finished: usize,
}

impl Logged {
    fn add(&mut self, mark: &Mark) {
        self.marks += 1;
        self.frames += mark.frames.len();
        self.finished += mark.page.finished.len();
    }
}

/// A group that is complete and durable, as an export remembers it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Known {
    /// Its volumes.
    pub group: Group,
    /// Bytes of the frame of each of its segments.
    pub frames: Vec<u32>,
    /// What is known of the hashes of files when it ends, beyond what was known when it began.
    pub page: Page,
    /// So many marks come before these frames and that page, and are not said again.
    #[serde(default)]
    pub marks: u32,
}

/// What is on the drives in the end, for inventory and manifest.
pub struct Packed {
    /// The groups, with their volumes.
    pub groups: Vec<Group>,
    /// Bytes of the frame of each segment.
    pub frames: Vec<u32>,
    /// The hashes of files, as far as they are known.
    pub page: Page,
    /// `hashes.b3`.
    pub hashes: Listed,
    /// Its copies.
    pub copies: Vec<Partial>,
    /// The first segment that did not fit the drives any more, or that there is none.
    pub end: u64,
}

/// Passes orders to the writers of all drives, and keeps the record for the manifest.
pub struct Drives<'a> {
    /// `None` once there are no more orders.
    writers: Mutex<Option<Vec<Sender<Order>>>>,
    /// How many drives there are.
    drives: usize,
    template: Header,
    placement: Vec<usize>,
    record: Mutex<Record>,
    /// By drive, the volumes of a group that goes on.
    taken_up: Mutex<Vec<Vec<(usize, Partial)>>>,
    log: &'a dyn Log,
}

#[derive(Default)]
struct Record {
    groups: Vec<Group>,
    frames: Vec<u32>,
    page: Page,
    hashes: blake3::Hasher,
    values: u64,
    /// Groups that are not on all drives yet, and on which they are.
    underway: BTreeMap<u32, (BTreeSet<usize>, Arc<GroupEnd>)>,
    /// The same of marks, by group and number.
    marks: BTreeMap<(u32, u32), BTreeSet<usize>>,
    logged: Logged,
}

impl<'a> Drives<'a> {
    /// The passing side, and the queue of each of the `drives` drives.
    pub fn new(plan: &Plan, template: Header, drives: usize, log: &'a dyn Log) -> (Drives<'a>, Vec<Receiver<Order>>) {
        let (writers, queues): (Vec<_>, Vec<_>) = (0..drives).map(|_| channel()).unzip();
        let drives = Drives {
            writers: Mutex::new(Some(writers)),
            drives: queues.len(),
            template,
            placement: plan.placement.clone(),
            record: Mutex::default(),
            taken_up: Mutex::default(),
            log,
        };
        (drives, queues)
    }

    /// Ends the queues.
    pub fn close(&self) {
        *lock(&self.writers) = None;
    }

    /// What has been written, of which `end` is the first segment that has not.
    pub fn finish(self, end: u64, copies: Vec<Partial>) -> Packed {
        let record = self.record.into_inner().unwrap_or_else(PoisonError::into_inner);
        let hashes = Listed::without_pieces(record.values * 32, *record.hashes.finalize().as_bytes());
        Packed { groups: record.groups, frames: record.frames, page: record.page, hashes, copies, end }
    }

    /// A group that is on the drives already, with the values of its blocks.
    pub fn know(&self, known: &Known, values: Vec<Vec<Value>>) -> Result<()> {
        let mut record = lock(&self.record);
        values.iter().for_each(|values| record.count(values));
        record.groups.push(known.group.clone());
        record.learn(&known.frames, &known.page);
        drop(record);
        self.send(Order::Known(Arc::new(values)))
    }

    /// A group that was begun goes on in its volumes, which are on these drives.
    pub fn go_on(
        &self,
        group: u32,
        logged: Logged,
        volumes: impl Iterator<Item = (usize, usize, Partial)>,
    ) -> Result<()> {
        let mut by_drive: Vec<Vec<(usize, Partial)>> = (0..self.drives).map(|_| Vec::new()).collect();
        volumes.for_each(|(drive, volume, file)| by_drive[drive].push((volume, file)));
        *lock(&self.taken_up) = by_drive;
        lock(&self.record).logged = logged;
        self.send(Order::GoOn(group))
    }

    /// All before a mark is durable on one more drive; with the last one it is taken down.
    fn safe(&self, passed: &Passed, drive: usize) -> Result<()> {
        let mut record = lock(&self.record);
        let on_drives = record.marks.entry(passed.at).or_default();
        on_drives.insert(drive);
        if on_drives.len() < self.drives {
            return Ok(());
        }
        record.marks.remove(&passed.at);
        self.log.mark(passed.at, &passed.mark)?;
        record.logged.add(&passed.mark);
        Ok(())
    }

    fn keep(&self, end: &Arc<GroupEnd>) {
        let mut record = lock(&self.record);
        record.underway.insert(end.group, (BTreeSet::new(), end.clone()));
        let mut volumes = Vec::new();
        for (v, values) in end.values.iter().enumerate() {
            let (spans, root) = self.template.block.spans_and_root(values, end.lengths[v]);
            let spans = if spans.len() > 1 { spans.into_iter().map(Span).collect() } else { Vec::new() };
            volumes.push(Volume { drive: self.placement[v] as u16 + 1, bytes: end.lengths[v], blake3: root, spans });
            record.count(values);
        }
        record.groups.push(Group { k: self.template.k, m: self.template.m, volumes });
        record.learn(&end.frames, &end.page);
    }

    /// A writer has made its volumes of a group durable; the last one has it taken down.
    fn wrote(&self, group: u32, drive: usize) -> Result<()> {
        let mut record = lock(&self.record);
        let Some((on_drives, end)) = record.underway.get_mut(&group) else { return Ok(()) };
        on_drives.insert(drive);
        if on_drives.len() < self.drives {
            return Ok(());
        }
        let end = end.clone();
        record.underway.remove(&group);
        // Marks that not all drives have reached are of no use any more.
        record.marks.retain(|(of, _), _| *of > group);
        let logged = std::mem::take(&mut record.logged);
        match record.groups.get(group as usize) {
            Some(done) => self.log.group(done, &end, &logged),
            None => Err(Error::Internal("a group is on the drives, but not in the record".into())),
        }
    }

    fn send(&self, order: Order) -> Result<()> {
        let writers = lock(&self.writers);
        for writer in writers.iter().flatten() {
            // A writer that has ended has left its error; the workers are being stopped.
            writer.send(order.clone()).map_err(|_| Error::Interrupted)?;
        }
        Ok(())
    }
}

impl Record {
    fn learn(&mut self, frames: &[u32], page: &Page) {
        self.frames.extend(frames);
        self.page.finished.extend(&page.finished);
        self.page.open = page.open.clone();
    }

    fn count(&mut self, values: &[Value]) {
        self.hashes.update(values.as_flattened());
        self.values += values.len() as u64;
    }
}

impl Sink for Drives<'_> {
    fn order(&self, order: Order) -> Result<()> {
        if let Order::End(end) = &order {
            self.keep(end);
        }
        self.send(order)
    }

    fn header(&self, group: u32, volume: usize) -> Vec<u8> {
        self.template.at(group, volume as u16).encode()
    }
}

/// The writer of one drive.
pub struct Writer<'a> {
    /// Its position among the drives.
    pub drive: usize,
    /// The directories of the set.
    pub dirs: &'a SetDirs,
    /// Which volumes of a group are its own.
    pub volumes: Vec<usize>,
    /// Header pages of volumes.
    pub template: Header,
    /// Bytes of volumes that it has written.
    pub written: Cell<u64>,
    /// Where to report.
    pub progress: &'a dyn Progress,
    /// Who gave the orders.
    pub drives: &'a Drives<'a>,
}

/// The group that a drive is at.
struct AtHand {
    /// Its volumes on this drive.
    open: Vec<(usize, Partial)>,
    gathered: Gathered,
    marks: Coming,
}

impl AtHand {
    /// How far what was written to the file system of the volumes is.
    fn reach(&self) -> Reach {
        reach(&self.open)
    }

    /// What was written is to be durable soon, if a mark was passed with it.
    fn hasten(&mut self) {
        if self.marks.wrote(self.gathered.written(), self.reach())
            && let Some((_, file)) = self.open.first()
        {
            file.want_durable();
        }
    }
}

impl Writer<'_> {
    /// Carries out orders until there are no more.
    /// Returns the copies of `hashes.b3`, which still have to be finished.
    pub fn run(&self, queue: &Receiver<Order>) -> Result<Vec<Partial>> {
        let mut at_hand = AtHand { open: Vec::new(), gathered: self.gathered(), marks: Coming::default() };
        let result = self.carry_out(queue, &mut at_hand);
        if result.is_err() && !self.progress.cancelled() {
            self.save(at_hand);
        }
        result
    }

    fn carry_out(&self, queue: &Receiver<Order>, at_hand: &mut AtHand) -> Result<Vec<Partial>> {
        let (mut hashes, mut written) = (Vec::new(), 0u64);
        let underway = Underway::default();
        for order in queue {
            // What waits in the queue would keep a slow drive busy for a while.
            self.may_go_on()?;
            match order {
                Order::Begin(group) => at_hand.open = self.begin(group)?,
                Order::GoOn(group) => at_hand.open = self.go_on(group)?,
                Order::Rows(stripe) => {
                    if let Some(end) = at_hand.gathered.take(stripe, at_hand.open.len()) {
                        self.write(&at_hand.open, &mut at_hand.gathered, &underway, end)?;
                    }
                }
                Order::Mark(passed) => at_hand.marks.push(passed),
                Order::End(end) => {
                    self.write(&at_hand.open, &mut at_hand.gathered, &underway, u64::MAX)?;
                    self.may_go_on()?;
                    self.progress.syncing(self.drive, true);
                    finish_all(at_hand.open.drain(..).map(|(_, file)| file).collect())?;
                    self.progress.syncing(self.drive, false);
                    (at_hand.gathered, at_hand.marks) = (self.gathered(), Coming::default());
                    underway.all(|bytes| self.count(bytes));
                    written = self.write_values(&mut hashes, &end.values, written)?;
                    self.drives.wrote(end.group, self.drive)?;
                }
                Order::Known(values) => written = self.write_values(&mut hashes, &values, written)?,
            }
            at_hand.hasten();
            let durable = at_hand.marks.durable(at_hand.reach());
            durable.iter().try_for_each(|passed| self.drives.safe(passed, self.drive))?;
        }
        match at_hand.open.is_empty() {
            true => Ok(hashes),
            false => Err(Error::Interrupted),
        }
    }

    /// Something went wrong, maybe elsewhere: what was written before a mark is to be gone on with, if it can be made durable.
    fn save(&self, mut at_hand: AtHand) {
        if let Some((_, file)) = at_hand.open.first()
            && file.sync_file_system().is_ok()
        {
            // The first error is what is told.
            let _ = at_hand.marks.all().iter().try_for_each(|passed| self.drives.safe(passed, self.drive));
        }
    }

    fn gathered(&self) -> Gathered {
        Gathered::new(self.template.block, run_bytes(self.drives.placement.len(), self.template.segment_bytes))
    }

    /// Writes a run of each volume, or what there is of it.
    fn write(
        &self,
        open: &[(usize, Partial)],
        gathered: &mut Gathered,
        underway: &Underway<(u64, u64)>,
        end: u64,
    ) -> Result<()> {
        let is_alone = open.len() == 1;
        for (i, (volume, file)) in open.iter().enumerate() {
            // The header page gets its place with the first run.
            let from = if gathered.begins().is_some() { 0 } else { gathered.written() };
            let comes = gathered.show(*volume, end, |_, _| Ok(()))?;
            if !is_alone && comes > 0 {
                file.place(from, gathered.written() + comes);
            }
            if let Some(group) = gathered.begins() {
                // Not before there is more to write: it would lie apart.
                file.write_at(&self.template.at(group, *volume as u16).encode(), 0)?;
                underway.wrote((self.template.block.bytes(), 0), file.reach(), |bytes| self.count(bytes));
            }
            let write = |bytes: &[u8], offset| {
                self.may_go_on()?;
                for (at, piece) in bytes.chunks(COUNTED).enumerate() {
                    file.write_at(piece, offset + (at * COUNTED) as u64)?;
                    underway.wrote((piece.len() as u64, 0), file.reach(), |bytes| self.count(bytes));
                }
                Ok(())
            };
            let wrote = gathered.show(*volume, end, write)?;
            if !is_alone && wrote > 0 {
                file.begin_writing(from, gathered.written() + wrote);
            }
            self.pass(wrote, &open[..=i])?;
        }
        underway.wrote((0, gathered.wrote(end)), reach(open), |bytes| self.count(bytes));
        Ok(())
    }

    /// Takes note of bytes of volumes. Behind enough of them, third copies get their places: those of the volumes must be settled, for
    /// file systems that choose places when they write.
    fn pass(&self, bytes: u64, open: &[(usize, Partial)]) -> Result<()> {
        let (before, middle) = (self.written.get(), self.dirs.sizes().middle(self.drive));
        self.written.set(before + bytes);
        if before < middle && middle <= before + bytes {
            let files: Vec<&Partial> = open.iter().map(|(_, file)| file).collect();
            sync_all(&files)?;
            self.dirs.reserve_third(self.drive)?;
        }
        Ok(())
    }

    /// Adds the values of a group to the copies of `hashes.b3`; returns the length that they then have. Nobody knows before how long it
    /// becomes: a second one that is not needed ends when it would be too long.
    fn write_values(&self, copies: &mut Vec<Partial>, values: &[Vec<Value>], mut at: u64) -> Result<u64> {
        if copies.is_empty() {
            self.dirs.reserve_hashes(self.drive)?;
            let places = self.dirs.places_on(self.drive, names::HASHES).into_iter();
            *copies = places.map(|place| self.dirs.begin(place, names::HASHES)).collect::<Result<_>>()?;
        }
        let then = at + values.iter().map(|v| v.as_flattened().len() as u64).sum::<u64>();
        if !names::is_needed(&format!("{}/{}", names::COPY, names::HASHES), then, self.drives.drives as u64) {
            // The last is the one in the set's directory.
            copies.drain(..copies.len() - 1).for_each(Partial::discard);
        }
        for bytes in values.iter().map(|v| v.as_flattened()) {
            copies.iter().try_for_each(|file| file.write_at(bytes, at))?;
            at += bytes.len() as u64;
        }
        Ok(at)
    }

    /// So much is durable: bytes on this drive, and of the stream.
    fn count(&self, (bytes, plain): (u64, u64)) {
        self.progress.drive(self.drive, bytes);
        self.progress.share(self.drive, plain);
    }

    fn may_go_on(&self) -> Result<()> {
        if self.progress.cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Takes up the volumes of a group that was begun. Their header pages, which no mark tells of, are written again.
    fn go_on(&self, group: u32) -> Result<Vec<(usize, Partial)>> {
        let open = lock(&self.drives.taken_up).get_mut(self.drive).map(std::mem::take).unwrap_or_default();
        for (volume, file) in &open {
            file.write_at(&self.template.at(group, *volume as u16).encode(), 0)?;
        }
        Ok(open)
    }

    fn begin(&self, group: u32) -> Result<Vec<(usize, Partial)>> {
        let name = |volume: usize| volume_name(group as usize, volume, self.template.k);
        let create = |volume: &usize| Ok((*volume, Partial::create(&self.dirs.dirs[self.drive], &name(*volume))?));
        self.volumes.iter().map(create).collect()
    }
}

/// How far what was written to the file system of these volumes is.
fn reach(open: &[(usize, Partial)]) -> Reach {
    open.first().map(|(_, file)| file.reach()).unwrap_or_default()
}
