//! Volumes made anew: what is good of them is copied through its hashes, the rest is computed from the other volumes of the
//! group. A file gets its name only after it has been read back from the drive.

use crate::error::{Error, IN_THE_WAY, Result};
use crate::format::names;
use crate::media::buffer::Buffer;
use crate::media::cache;
use crate::media::dir::Dir;
use crate::media::drive;
use crate::media::durable::{LEAST_ROOM, Partial};
use crate::media::pace::PIECE;
use crate::media::underway::Underway;
use crate::progress::Progress;
use crate::set::{At, Blocks, Origin, Seen, bad_runs, compare};
use crate::stages::runs::run_bytes;
use crate::threads::FirstError;
use crate::threads::lock;
use crate::threads::workers;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A volume that is to be made, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which volume.
    pub at: At,
    /// The directory that it belongs in.
    pub dir: Dir,
    /// Its file name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A file that has been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Blocks of it that were computed.
    pub blocks: u64,
    /// Where it was read back from.
    pub origin: Origin,
}

/// Why a file could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// The exit code that says so.
    pub exit_code: u8,
}

impl From<Error> for Why {
    fn from(error: Error) -> Why {
        Why { message: error.to_string(), hint: error.hint().to_owned(), exit_code: error.exit_code() }
    }
}

/// Makes volumes of one group, all from one reading of it. Fails only if it was interrupted; what became of each target is
/// said one by one.
pub fn rebuild(blocks: &Blocks, targets: &[Target], progress: &dyn Progress) -> Result<Vec<Result<Made, Why>>> {
    let Some(group) = targets.first().map(|t| t.at.group) else { return Ok(Vec::new()) };
    let makings = targets.iter().map(Making::begin).collect();
    let rebuilding = Rebuilding { blocks, group, makings, progress, next: AtomicU64::new(0), asked: Mutex::new(0) };
    let failure = FirstError::default();
    std::thread::scope(|scope| {
        for _ in 0..workers() {
            let (rebuilding, failure) = (&rebuilding, &failure);
            scope.spawn(move || failure.keep(rebuilding.work(), || ()));
        }
    });
    let interrupted = failure.check();
    if interrupted.is_err() {
        progress.tidies();
    }
    let end = |making: Making| match &interrupted {
        Ok(()) => making.finish(blocks, progress),
        Err(_) => making.give_up(Error::Interrupted.into()),
    };
    let ends = std::thread::scope(|scope| {
        let threads: Vec<_> = rebuilding.makings.into_iter().map(|m| scope.spawn(move || end(m))).collect();
        let join = |t: std::thread::ScopedJoinHandle<Result<Made, Why>>| {
            t.join().unwrap_or_else(|_| Err(Error::Internal("a reader ended early".into()).into()))
        };
        threads.into_iter().map(join).collect()
    });
    blocks.forget_files();
    match progress.cancelled() {
        true => Err(Error::Interrupted),
        false => interrupted.map(|()| ends),
    }
}

/// A file in the making.
struct Making<'a> {
    target: &'a Target,
    file: Option<Partial>,
    failed: Mutex<Option<Why>>,
    computed: AtomicU64,
    underway: Underway<u64>,
}

impl<'a> Making<'a> {
    fn begin(target: &'a Target) -> Making<'a> {
        let free = require_place(&target.dir, &target.name);
        let made = free.and_then(|()| Partial::replacing(&target.dir, &target.name)).map(Partial::fleeting);
        let (file, failed) = match made {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(error.into())),
        };
        let (failed, computed) = (Mutex::new(failed), AtomicU64::new(0));
        Making { target, file, failed, computed, underway: Underway::default() }
    }

    fn fail(&self, why: impl Into<Why>) {
        lock(&self.failed).get_or_insert(why.into());
    }

    fn is_alive(&self) -> bool {
        lock(&self.failed).is_none()
    }

    fn give_up(self, why: Why) -> Result<Made, Why> {
        let why = lock(&self.failed).take().unwrap_or(why);
        if let Some(file) = self.file {
            file.discard();
        }
        Err(why)
    }

    /// Syncs, reads back, compares with the signed root, and only then gives the file its name.
    fn finish(mut self, blocks: &Blocks, progress: &dyn Progress) -> Result<Made, Why> {
        let failed = lock(&self.failed).take();
        if let Some(why) = failed {
            return self.give_up(why);
        }
        let Some(file) = self.file.take() else { return self.give_up(Error::Interrupted.into()) };
        let volume = blocks.volume(self.target.at);
        let advance = |bytes| {
            progress.drive(blocks.drive(self.target.at), bytes);
            progress.advance(bytes);
        };
        let drive = blocks.drive(self.target.at);
        progress.syncing(drive, true);
        let synced = || {
            progress.syncing(drive, false);
            self.underway.all(advance);
        };
        let proven = confirm(&file, volume.bytes, &volume.blake3, progress, synced, advance);
        let named = |origin| install(file, &self.target.name).map(|()| origin);
        let origin = proven.and_then(named).map_err(Why::from)?;
        Ok(Made { blocks: self.computed.into_inner(), origin })
    }
}

/// Reads back a file that has no name yet; it is removed if it is not what it must be.
fn confirm(
    file: &Partial,
    len: u64,
    hash: &[u8; 32],
    progress: &dyn Progress,
    synced: impl FnOnce(),
    advance: impl Fn(u64),
) -> Result<Origin> {
    let (dir, name) = (file.dir(), file.partial_name());
    let compared = file.sync().inspect(|()| synced()).and_then(|()| {
        let drive = drive::examine(dir)?;
        let evicted = !drive.is_fuse() || cache::evict_device(&drive.source);
        let from_drive = compare(&dir.at(&name), len, hash, progress, advance)?;
        Ok(if evicted && from_drive { Origin::Drive } else { Origin::CachePossible })
    });
    compared.inspect_err(|_| drop(dir.remove(&name)))
}

/// Gives a file that has been proven its name. What has that name is replaced, but never a directory with something in it.
fn install(file: Partial, last: &str) -> Result<()> {
    let (dir, partial) = (file.dir().clone(), file.partial_name());
    if dir.has_dir(last) {
        let removed = dir.remove_dir(last);
        if let Err(error) = require_place(&dir, last).and(removed.map_err(Error::on_drive("remove", dir.show(last)))) {
            file.discard();
            return Err(error);
        }
    }
    file.finish().inspect_err(|_| drop(dir.remove(&partial)))
}

/// What is foreign is not removed: nothing is begun where a directory with something in it has the place of a file.
fn require_place(dir: &Dir, name: &str) -> Result<()> {
    let holds = |there: Dir| there.entries().is_ok_and(|entries| !entries.is_empty());
    match dir.has_dir(name) && dir.dir(name).is_ok_and(holds) {
        false => Ok(()),
        true => Err(Error::drive(
            format!(
                "{} is a directory with something in it, where a file belongs: it is left as it is",
                dir.show(name).display()
            ),
            IN_THE_WAY,
        )),
    }
}

/// Makes a metadata file: `write` writes it, and it must then have this length and hash.
pub fn make_file(
    dir: &Dir,
    name: &str,
    (len, hash): (u64, [u8; 32]),
    write: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
) -> Result<Origin> {
    require_place(dir, name)?;
    let mut file = Partial::replacing(dir, name)?.fleeting();
    if name == names::PROGRAM {
        file = file.executable();
    }
    // Rule 80: on a new drive, what is not in `copy` is written behind the volumes, and must lie there.
    if !names::is_aid(name) && dir.name() != names::COPY {
        file = file.reserving(LEAST_ROOM)?;
    }
    let mut at = 0;
    let written = write(&mut |bytes| {
        file.write_at(bytes, at)?;
        at += bytes.len() as u64;
        Ok(())
    });
    match written.and_then(|()| file.sync()).and_then(|()| file.cut()) {
        Ok(_) => finish_file(file, name, (len, hash)),
        Err(error) => {
            file.discard();
            Err(error)
        }
    }
}

/// Reads back a metadata file that has been written, and gives it its name.
pub fn finish_file(file: Partial, name: &str, (len, hash): (u64, [u8; 32])) -> Result<Origin> {
    let silent = crate::progress::Silent::default();
    match confirm(&file, len, &hash, &silent, || (), |_| ()) {
        Ok(origin) => install(file, name).map(|()| origin),
        Err(error) => {
            file.discard();
            Err(error)
        }
    }
}

/// What the workers share.
struct Rebuilding<'a> {
    blocks: &'a Blocks<'a>,
    group: usize,
    makings: Vec<Making<'a>>,
    progress: &'a dyn Progress,
    next: AtomicU64,
    /// Rows up to which drives have been asked ahead.
    asked: Mutex<u64>,
}

/// Some blocks of a volume that is being made.
struct Column {
    at: At,
    bytes: Buffer,
    seen: Vec<Seen>,
    computed: u64,
}

impl Rebuilding<'_> {
    fn work(&self) -> Result<()> {
        let batch = self.blocks.batch(self.group);
        let block = self.blocks.block_size();
        let end = self.makings.iter().map(|m| block.blocks(m.target.bytes)).max().unwrap_or(0);
        loop {
            let start = self.next.fetch_add(1, Ordering::Relaxed) * batch;
            let wanted = self.wanted(start);
            if start >= end || wanted.is_empty() {
                return Ok(());
            }
            if self.progress.cancelled() {
                return Err(Error::Interrupted);
            }
            self.ask_ahead(start + batch, end);
            self.make_rows(start..(start + batch).min(end), &wanted);
        }
    }

    /// Has the drives read ahead by a run of each volume that rows are made from: those that are made, as far as they are there, and,
    /// if one is not, as many others as it takes.
    fn ask_ahead(&self, row: u64, end: u64) {
        let volumes = self.blocks.volumes(self.group);
        let block = self.blocks.block_size();
        let run = block.within(run_bytes(volumes, self.blocks.set().manifest.segment_bytes));
        // For blocks that are bad here and there, others are read only where these are.
        let absent = self.makings.iter().any(|m| self.blocks.files(m.target.at).is_empty());
        let others = if absent { self.blocks.set().manifest.groups[self.group].k } else { 0 };
        let mut asked = lock(&self.asked);
        while *asked < (row + run).min(end) {
            let bytes = *asked * block.bytes()..(*asked + run) * block.bytes();
            let mut others = others;
            for at in (0..volumes).map(|index| At { group: self.group, index }) {
                let made = self.makings.iter().any(|m| m.target.at == at);
                if made || others > 0 {
                    let there = self.blocks.ask_ahead(at, &bytes);
                    others -= u16::from(there && !made);
                }
            }
            *asked += run;
        }
    }

    /// The volumes of which something is still to be made from row `start` on.
    fn wanted(&self, start: u64) -> Vec<At> {
        let open = |m: &&Making| m.is_alive() && self.blocks.block_size().blocks(m.target.bytes) > start;
        let mut all: Vec<At> = self.makings.iter().filter(open).map(|m| m.target.at).collect();
        all.sort_by_key(|at| at.index);
        all.dedup();
        all
    }

    fn make_rows(&self, rows: Range<u64>, wanted: &[At]) {
        let mut columns: Vec<Column> = wanted.iter().map(|at| self.read(*at, &rows)).collect();
        let is_bad = |row: usize| columns.iter().any(|c| c.seen.get(row).is_some_and(|s| *s != Seen::Good));
        let bad = |row| if is_bad(row) { Seen::Wrong } else { Seen::Good };
        let judged: Vec<Seen> = (0..(rows.end - rows.start) as usize).map(bad).collect();
        for run in bad_runs(&judged) {
            if !self.compute(rows.start, run.clone(), &mut columns) {
                // Somewhere in the run is a row that cannot be had; the others can.
                for row in run {
                    self.compute(rows.start, row..row + 1, &mut columns);
                }
            }
        }
        columns.into_iter().for_each(|column| self.write(rows.start, column));
    }

    fn read(&self, at: At, rows: &Range<u64>) -> Column {
        let end = self.blocks.block_size().blocks(self.blocks.volume(at).bytes).min(rows.end);
        let mut bytes = Buffer::default();
        let seen = self.blocks.check(at, rows.start..end, &mut bytes);
        Column { at, bytes, seen, computed: 0 }
    }

    /// Computes what is bad in some rows; false if that does not go for all of them together. A volume of which a block
    /// cannot be computed alone either cannot be made.
    fn compute(&self, first: u64, run: Range<usize>, columns: &mut [Column]) -> bool {
        let lacks = |c: &Column, row: usize| c.seen.get(row).is_some_and(|s| *s != Seen::Good);
        let alive = |c: &Column| self.makings.iter().any(|m| m.target.at == c.at && m.is_alive());
        let bad = columns.iter_mut().filter(|c| alive(c) && run.clone().any(|row| lacks(c, row)));
        let mut bad: Vec<&mut Column> = bad.collect();
        let rows = first + run.start as u64..first + run.end as u64;
        let indexes: Vec<usize> = bad.iter().map(|c| c.at.index).collect();
        if indexes.is_empty() {
            return true;
        }
        match self.blocks.solve(self.group, rows.clone(), &indexes) {
            Ok(solved) => bad.iter_mut().for_each(|c| self.take(first, run.clone(), c, solved.of(c.at.index))),
            Err(_) if run.len() > 1 => return false,
            Err(_) => {
                for column in bad {
                    let alone = self.blocks.solve(self.group, rows.clone(), &[column.at.index]);
                    match alone {
                        Ok(solved) => self.take(first, run.clone(), column, solved.of(column.at.index)),
                        Err(error) => self.fail(column.at, error),
                    }
                }
            }
        }
        true
    }

    /// Takes over what was computed, after comparing it with its values.
    fn take(&self, first: u64, run: Range<usize>, column: &mut Column, solved: &[u8]) {
        let size = self.blocks.block_size().size();
        for row in run.start..run.end.min(column.seen.len()) {
            if column.seen[row] == Seen::Good {
                continue;
            }
            let (from, number) = (row * size, first + row as u64);
            let to = column.bytes.len().min(from + size);
            let block = &solved[(row - run.start) * size..][..to - from];
            if !self.blocks.agrees(column.at, number, block) {
                return self.fail(column.at, self.blocks.unproven(column.at, number));
            }
            column.bytes[from..to].copy_from_slice(block);
            column.seen[row] = Seen::Good;
            column.computed += 1;
        }
    }

    /// None of the files of a volume can be made.
    fn fail(&self, at: At, error: Error) {
        let why = Why::from(error);
        self.makings.iter().filter(|m| m.target.at == at).for_each(|m| m.fail(why.clone()));
    }

    fn write(&self, first: u64, column: Column) {
        let (bytes, offset) = (column.bytes.len() as u64, first * self.blocks.block_size().bytes());
        for making in self.makings.iter().filter(|m| m.target.at == column.at && m.is_alive()) {
            if let Err(error) = self.write_to(making, &column.bytes, offset) {
                making.fail(error);
            }
            making.computed.fetch_add(column.computed, Ordering::Relaxed);
            let reach = making.file.as_ref().map(Partial::reach).unwrap_or_default();
            making.underway.wrote(bytes, reach, |bytes| {
                self.progress.drive(self.blocks.drive(column.at), bytes);
                self.progress.advance(bytes);
            });
        }
    }

    /// Writes some bytes to a file, unless the verb is stopped meanwhile: a slow drive takes its time for them.
    fn write_to(&self, making: &Making, bytes: &[u8], mut offset: u64) -> Result<()> {
        for piece in bytes.chunks(PIECE) {
            if self.progress.cancelled() {
                return Err(Error::Interrupted);
            }
            making.file.as_ref().map_or(Ok(()), |file| file.write_at(piece, offset))?;
            offset += piece.len() as u64;
        }
        Ok(())
    }
}
