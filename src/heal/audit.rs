//! The audit: every block of every volume and every metadata file that is here, read and compared, and the verdict that
//! follows from K, M and what is bad.

use crate::error::{Error, Result};
use crate::format::manifest::volume_name;
use crate::format::names;
use crate::heal::findings::{Audit, FileState, NEEDED, State, VolumeFile, VolumeState};
use crate::heal::queue::{Piece, Queue};
use crate::media::buffer::Buffer;
use crate::media::dir::Location;
use crate::progress::{Lane, Phase, Progress};
use crate::set::{At, Bits, Blocks, Part, Seen, Source};
use crate::threads::FirstError;
use crate::threads::lock;
use crate::threads::workers;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Reads and judges everything that is here.
pub fn audit(set: &Part, blocks: &Blocks, this_drive: bool, progress: &dyn Progress) -> Result<Audit> {
    let before = set.present();
    let wanted = |drive: u16| !this_drive || before.contains(&drive);
    let readings = read_volumes(set, blocks, &wanted, progress)?;
    progress.stage(Phase::Judge);
    let files = judge_files(set);
    set.look_again();
    let absent = set.absent();
    let judge = |group: Vec<Reading>| group.into_iter().map(|bad| bad.judge(set, blocks)).collect();
    let mut found = Audit {
        m: set.manifest.groups[0].m,
        volumes: readings.into_iter().map(judge).collect(),
        mended: Vec::new(),
        combined: BTreeSet::new(),
        rewritten: set.has_rewritten_slot(),
        files: files.into_iter().filter(|f| !set.is_gone(&f.dir)).collect(),
        present: set.present(),
        gone: before.intersection(&absent).copied().collect(),
        absent,
        this_drive,
    };
    let saved = |name: &&str| !found.has_good(name) && set.combined(name).is_some();
    found.combined = NEEDED.into_iter().filter(saved).collect();
    found.mended = mend_rows(blocks, &found, progress)?;
    Ok(found)
}

struct Reading {
    at: At,
    /// Not judged at all: the volume of an absent drive under `--this-drive`.
    left_out: bool,
    files: Vec<VolumeFile>,
}

fn read_volumes(
    set: &Part,
    blocks: &Blocks,
    wanted: &dyn Fn(u16) -> bool,
    progress: &dyn Progress,
) -> Result<Vec<Vec<Reading>>> {
    let block = blocks.block_size();
    let mut readings: Vec<Vec<Reading>> = Vec::new();
    let mut queues: Vec<Queue> =
        (0..set.manifest.drives).map(|_| Queue::new(block, set.manifest.segment_bytes)).collect();
    let (mut total, mut on) = (0, vec![0; set.manifest.drives.into()]);
    for (group, index, _, volume) in set.manifest.volumes() {
        let (at, count) = (At { group, index }, block.blocks(volume.bytes));
        let left_out = !wanted(volume.drive);
        let sources = if left_out { Vec::new() } else { blocks.files(at) };
        if index == 0 {
            readings.push(Vec::new());
        }
        for source in &sources {
            // Past the end of its file a volume may be said to be as long as somebody likes.
            let real = source.file.metadata().map_or(volume.bytes, |m| m.len().min(volume.bytes));
            total += real;
            on[usize::from(volume.drive) - 1] += real;
            queues[usize::from(volume.drive) - 1].push(
                at,
                blocks.volumes(group),
                &source.at,
                block.blocks(real).min(count),
            );
        }
        let files = sources.iter().map(|source| VolumeFile::new(source, volume.bytes)).collect();
        readings[group].push(Reading { at, left_out, files });
    }
    let lane = |d: u16| Lane { number: set.manifest.drive_number(d), bytes: Some(on[usize::from(d) - 1]) };
    let lanes: Vec<Lane> = (1..=set.manifest.drives).map(lane).collect();
    progress.begin(Phase::Verify, total, &lanes);
    let mut found = check_all(blocks, queues, progress)?;
    for file in readings.iter_mut().flatten().flat_map(|r| &mut r.files) {
        if let Some((bad, unread)) = found.remove(&file.at) {
            (file.bad, file.unread) = (bad, unread);
        }
        file.bad.insert_from(file.read);
        file.unread.insert_from(file.read);
    }
    Ok(readings)
}

impl VolumeFile {
    fn new(source: &Source, bytes: u64) -> VolumeFile {
        let none = || Bits::new(source.block.blocks(bytes), false);
        let len = source.file.metadata().map_or(bytes, |m| m.len());
        let read = source.block.blocks(len.min(bytes));
        VolumeFile { at: source.at.clone(), bad: none(), unread: none(), read, fits: len == bytes }
    }

    /// Whether all of it is as signed.
    pub fn is_whole(&self) -> bool {
        self.fits && self.bad.is_empty()
    }
}

/// By file, the blocks that are not good, and those of them that could not be read.
type Bad = HashMap<Location, (Bits, Bits)>;

/// Checks all that there is on the drives. A worker stays with a drive while that has work, so that each is read in order.
fn check_all(blocks: &Blocks, queues: Vec<Queue>, progress: &dyn Progress) -> Result<Bad> {
    let queues: Vec<Mutex<Queue>> = queues.into_iter().map(Mutex::new).collect();
    let bad: Mutex<Bad> = Mutex::default();
    let failure = FirstError::default();
    let work = |worker: usize| -> Result<()> {
        let mut buffer = Buffer::default();
        for turn in 0..queues.len() {
            let q = (worker + turn) % queues.len();
            let next = || lock(&queues[q]).next(blocks);
            while let Some(piece) = next() {
                if progress.cancelled() {
                    return Err(Error::Interrupted);
                }
                let sources: Vec<_> = blocks.files(piece.at).into_iter().filter(|s| s.at == piece.file).collect();
                for bite in piece.bites(blocks.block_size()) {
                    let seen = blocks.check_in(&sources, piece.at, bite.clone(), &mut buffer);
                    progress.drive(q, buffer.len() as u64);
                    progress.advance(buffer.len() as u64);
                    let found: Vec<(u64, Seen)> = bite.zip(seen).filter(|(_, seen)| *seen != Seen::Good).collect();
                    if !found.is_empty() {
                        note(&mut lock(&bad), &piece, blocks.count(piece.at), &found);
                    }
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        for worker in 0..workers().max(queues.len()) {
            let (work, failure) = (&work, &failure);
            scope.spawn(move || failure.keep(work(worker), || ()));
        }
    });
    failure.check()?;
    Ok(bad.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn note(bad: &mut Bad, piece: &Piece, count: u64, found: &[(u64, Seen)]) {
    let none = || (Bits::new(count, false), Bits::new(count, false));
    let (wrong, unread) = bad.entry(piece.file.clone()).or_insert_with(none);
    for (block, seen) in found {
        wrong.insert(*block);
        if *seen == Seen::Unread {
            unread.insert(*block);
        }
    }
}

impl Reading {
    fn judge(mut self, set: &Part, blocks: &Blocks) -> VolumeState {
        let group = &set.manifest.groups[self.at.group];
        let volume = &group.volumes[self.at.index];
        let name = volume_name(self.at.group, self.at.index, group.k);
        // What is on a drive that is gone by now is as absent as the drive.
        self.files.retain(|file| !set.is_gone(&file.at.dir));
        let homes = set.homes().filter(|(_, d)| *d == volume.drive).map(|(dir, _)| dir.at(&name)).collect();
        let none = Bits::new(blocks.block_size().blocks(volume.bytes), false);
        let (bad, unread) = (none.clone(), none);
        let mut judged = VolumeState {
            name,
            drive: volume.drive,
            state: State::Missing,
            bad,
            unread,
            files: self.files,
            homes,
            diagnosis: None,
        };
        if !self.left_out {
            judged.settle();
            judged.diagnosis = judged.diagnosis(set, blocks, self.at);
        }
        judged
    }
}

/// Tries to mend all rows that have more than M bad blocks; by group, those of which all blocks became good.
fn mend_rows(blocks: &Blocks, found: &Audit, progress: &dyn Progress) -> Result<Vec<BTreeSet<u64>>> {
    let m = usize::from(found.m);
    let mut rows: Vec<(usize, u64)> = Vec::new();
    for (g, group) in found.volumes.iter().enumerate() {
        let hopeful = |run: &Range<u64>| {
            let count = |of: fn(&VolumeState) -> &Bits| group.iter().filter(|v| of(v).contains(run.start)).count();
            count(|v| &v.bad) > m && count(|v| &v.unread) + 2 <= m
        };
        rows.extend(found.runs(g).filter(hopeful).flatten().map(|row| (g, row)));
    }
    let (next, failure, mended) = (AtomicUsize::new(0), FirstError::default(), Mutex::new(Vec::new()));
    mended.lock().unwrap_or_else(PoisonError::into_inner).resize(found.volumes.len(), BTreeSet::new());
    let work = || -> Result<()> {
        while let Some((group, row)) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
            if progress.cancelled() {
                return Err(Error::Interrupted);
            }
            if blocks.can_mend(*group, *row, found.bad_in(*group, *row)) {
                lock(&mended)[*group].insert(*row);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        for _ in 0..workers().min(rows.len()) {
            let (work, failure) = (&work, &failure);
            scope.spawn(move || failure.keep(work(), || ()));
        }
    });
    failure.check()?;
    Ok(mended.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Judges every metadata file of every directory, and its further copies.
fn judge_files(set: &Part) -> Vec<FileState> {
    let mut states = Vec::new();
    for (dir, drives) in set.dirs.iter().zip(set.holdings()) {
        for name in set.manifest.metadata() {
            let needed: Vec<String> = set.manifest.places(name).collect();
            for name_in_dir in names::copies(name) {
                let state = judge_file(set, &dir.at(&name_in_dir), name, drives);
                if state == State::Missing && !needed.contains(&name_in_dir) {
                    continue;
                }
                states.push(FileState { dir: dir.clone(), name: name_in_dir, state });
            }
        }
    }
    states
}

fn judge_file(set: &Part, at: &Location, name: &str, drives: &BTreeSet<u16>) -> State {
    if !at.exists() {
        return State::Missing;
    }
    let read = |limit: usize| set.read_whole(at, limit as u64);
    let good = match name {
        names::MANIFEST => read(set.bytes.len()).is_some_and(|b| b == set.bytes),
        names::SIGNATURE => read(crate::format::signature::LONGEST as usize).is_some_and(|b| set.is_vouched_for_by(&b)),
        names::B3SUMS => set.drives_said(at).iter().any(|drive| drives.is_empty() || drives.contains(drive)),
        _ => {
            let listed = set.manifest.files.get(name);
            listed.is_some_and(|listed| set.hash_of(at, listed.bytes) == Some(listed.blake3))
        }
    };
    let newer = || name == names::KEYS && set.holds_rewritten_slot(at);
    match good {
        true => State::Ok,
        false if newer() => State::Newer,
        false => State::Damaged,
    }
}
