//! The audit: every block of every volume and every metadata file that is here, read and compared, and the verdict that
//! follows from K, M and what is bad.

use crate::error::{Error, Result};
use crate::format::hashes::{self, BLOCK};
use crate::format::header::Header;
use crate::format::manifest::volume_name;
use crate::format::signature::Signature;
use crate::format::{hex, names};
use crate::media::{read_regular, read_up_to};
use crate::pipeline::bits::Bits;
use crate::pipeline::blocks::{At, Blocks};
use crate::pipeline::open::{Set, hash_of};
use crate::pipeline::{FirstError, lock, workers};
use crate::progress::{Phase, Progress};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Blocks that a worker reads at a time: 4 MiB.
const RUN: u64 = 64;
/// Up to so many bad blocks of a volume are examined for having been swapped.
const MOST_EXAMINED: usize = 64;

/// What was found out about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All of it is as it was signed.
    Ok,
    /// Some of it is not.
    Damaged,
    /// It is not here.
    Missing,
}

/// A volume.
#[derive(Debug)]
pub struct VolumeState {
    /// Its file name.
    pub name: String,
    /// Its drive.
    pub drive: u16,
    /// The judgement.
    pub state: State,
    /// The blocks that are not as signed, by number; all of a missing volume.
    pub bad: Bits,
    /// What kind of damage it is, as far as that can be told.
    pub diagnosis: Option<String>,
}

/// A metadata file.
#[derive(Debug)]
pub struct FileState {
    /// The directory of the set that it belongs in.
    pub dir: PathBuf,
    /// Its path in there.
    pub name: String,
    /// The judgement.
    pub state: State,
}

/// What the audit found.
pub struct Audit {
    /// Parity volumes in each group.
    pub m: u16,
    /// Volumes by group.
    pub volumes: Vec<Vec<VolumeState>>,
    /// Metadata files of the drives that are here.
    pub files: Vec<FileState>,
    /// Drives that are here.
    pub present: BTreeSet<u16>,
    /// Drives that are not.
    pub absent: BTreeSet<u16>,
    /// Only what the drives that are here should hold was judged.
    pub this_drive: bool,
}

/// The verdict on a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is here and as signed.
    Intact,
    /// Something is not, but every byte can be recovered from what is here.
    Repairable,
    /// What is here does not suffice; drives that are absent may.
    Incomplete,
    /// Beyond repair, whatever is brought.
    Lost,
}

/// Reads and judges everything that is here.
pub fn audit(set: &Set, this_drive: bool, progress: &dyn Progress) -> Result<Audit> {
    let blocks = Blocks::new(set)?;
    let present = set.present();
    let absent = set.absent();
    let wanted = |drive: u16| !this_drive || present.contains(&drive);
    let volumes = read_volumes(set, &blocks, &wanted, progress)?;
    let volumes =
        volumes.into_iter().map(|group| group.into_iter().map(|bad| bad.judge(set, &blocks)).collect()).collect();
    let m = set.manifest.groups[0].m;
    Ok(Audit { m, volumes, files: judge_files(set), present, absent, this_drive })
}

/// What there is to read on a drive: runs of blocks, in order.
type Queue = Vec<(At, std::ops::Range<u64>)>;

struct Reading {
    at: At,
    /// Not judged at all: the volume of an absent drive under `--this-drive`.
    left_out: bool,
    here: bool,
    bad: Bits,
}

fn read_volumes(
    set: &Set,
    blocks: &Blocks,
    wanted: &dyn Fn(u16) -> bool,
    progress: &dyn Progress,
) -> Result<Vec<Vec<Reading>>> {
    let mut readings: Vec<Vec<Reading>> = Vec::new();
    let mut queues: Vec<Queue> = vec![Vec::new(); set.manifest.drives.into()];
    let mut total = 0;
    for (group, index, _, volume) in set.manifest.volumes() {
        let at = At { group, index };
        let (here, count) = (!blocks.files(at).is_empty(), hashes::blocks(volume.bytes));
        if index == 0 {
            readings.push(Vec::new());
        }
        let left_out = !wanted(volume.drive);
        readings[group].push(Reading { at, left_out, here, bad: Bits::new(count, !here && !left_out) });
        if here && !left_out {
            total += volume.bytes;
            let runs = (0..count).step_by(RUN as usize).map(|start| (at, start..(start + RUN).min(count)));
            queues[usize::from(volume.drive) - 1].extend(runs);
        }
    }
    let names: Vec<String> = (1..=set.manifest.drives).map(|d| format!("drive {d}")).collect();
    progress.begin(Phase::Verify, total, &names);
    for (at, bad) in check_all(set, blocks, &queues, progress)? {
        readings[at.group][at.index].bad = bad;
    }
    progress.end();
    Ok(readings)
}

/// Checks the runs of all drives. A worker stays with a drive while that has work, so that each is read in order.
fn check_all(set: &Set, blocks: &Blocks, queues: &[Queue], progress: &dyn Progress) -> Result<HashMap<At, Bits>> {
    let next: Vec<AtomicUsize> = queues.iter().map(|_| AtomicUsize::new(0)).collect();
    let bad: Mutex<HashMap<At, Bits>> = Mutex::default();
    let failure = FirstError::default();
    let work = |worker: usize| -> Result<()> {
        let mut buffer = Vec::new();
        for turn in 0..queues.len() {
            let q = (worker + turn) % queues.len();
            while let Some((at, range)) = queues[q].get(next[q].fetch_add(1, Ordering::Relaxed)) {
                if progress.cancelled() {
                    return Err(Error::Interrupted);
                }
                let bytes = set.manifest.groups[at.group].volumes[at.index].bytes;
                // Past the ends of its files a volume may be said to be as long as somebody likes.
                if past_the_end(&blocks.files(*at), range.start) {
                    let mut bad = lock(&bad);
                    let of_volume = bad.entry(*at).or_insert_with(|| Bits::new(hashes::blocks(bytes), false));
                    range.clone().for_each(|block| of_volume.insert(block));
                    continue;
                }
                let good = blocks.check(*at, range.clone(), &mut buffer);
                progress.drive(q, buffer.len() as u64);
                progress.advance(buffer.len() as u64);
                if good.iter().all(|g| *g) {
                    continue;
                }
                let mut bad = lock(&bad);
                let of_volume = bad.entry(*at).or_insert_with(|| Bits::new(hashes::blocks(bytes), false));
                range.clone().zip(good).filter(|(_, good)| !good).for_each(|(block, _)| of_volume.insert(block));
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

fn past_the_end(files: &[std::sync::Arc<File>], block: u64) -> bool {
    let end = block * BLOCK as u64;
    files.iter().all(|f| f.metadata().is_ok_and(|m| m.is_file() && m.len() <= end))
}

impl Reading {
    fn judge(self, set: &Set, blocks: &Blocks) -> VolumeState {
        let group = &set.manifest.groups[self.at.group];
        let volume = &group.volumes[self.at.index];
        let name = volume_name(self.at.group, self.at.index, group.k);
        let mut judged = VolumeState { name, drive: volume.drive, state: State::Ok, bad: self.bad, diagnosis: None };
        if self.left_out {
            judged.state = State::Missing;
            return judged;
        }
        let files = blocks.files(self.at);
        let lengths: Vec<u64> = files.iter().filter_map(|f| f.metadata().ok()).map(|m| m.len()).collect();
        let Some(file) = files.first().filter(|_| self.here) else {
            judged.state = State::Missing;
            return judged;
        };
        if !judged.bad.is_empty() || !lengths.contains(&volume.bytes) {
            judged.state = State::Damaged;
            judged.diagnosis = diagnose(set, blocks, self.at, file, lengths[0], &judged.bad);
        }
        judged
    }
}

/// Names damage for what it is, where that can be told.
fn diagnose(set: &Set, blocks: &Blocks, at: At, file: &File, actual: u64, bad: &Bits) -> Option<String> {
    let expected = set.manifest.groups[at.group].volumes[at.index].bytes;
    let mut page = vec![0; BLOCK];
    let read = read_up_to(file, &mut page, 0).unwrap_or(0);
    if let Ok(header) = Header::parse(&page[..read]) {
        if header.set != set.manifest.id() {
            return Some(format!("belongs to another set ({}…)", &hex(&header.set)[..8]));
        }
        if (header.group as usize, usize::from(header.index)) != (at.group, at.index) {
            let other = volume_name(header.group as usize, header.index.into(), header.k);
            return Some(format!("holds the volume {other}: swapped or copied"));
        }
    }
    match actual {
        _ if actual < expected => Some(format!("truncated: {actual} of {expected} bytes")),
        _ if actual > expected => Some(format!("lengthened: {actual} instead of {expected} bytes")),
        _ => swapped(set, blocks, at, file, bad),
    }
}

/// Blocks that hold what belongs to another place, in this volume or at the same place of another one.
fn swapped(set: &Set, blocks: &Blocks, at: At, file: &File, bad: &Bits) -> Option<String> {
    let numbers: Vec<u64> = bad.iter().take(MOST_EXAMINED + 1).collect();
    if numbers.len() > MOST_EXAMINED {
        return None;
    }
    let group = &set.manifest.groups[at.group];
    let mut block = vec![0; BLOCK];
    for number in &numbers {
        let read = read_up_to(file, &mut block, number * BLOCK as u64).ok().filter(|n| *n > 0)?;
        for other in &numbers {
            let value = hashes::subtree(other * BLOCK as u64, &block[..read]);
            if other != number && blocks.value(at, *other) == Some(value) {
                return Some(format!("block {number} holds block {other}: swapped"));
            }
        }
        let value = hashes::subtree(number * BLOCK as u64, &block[..read]);
        for index in (0..group.volumes.len()).filter(|i| *i != at.index) {
            if blocks.value(At { group: at.group, index }, *number) == Some(value) {
                let other = volume_name(at.group, index, group.k);
                return Some(format!("block {number} holds that of {other}: swapped"));
            }
        }
    }
    None
}

/// Judges every metadata file of every directory, and its second copy.
fn judge_files(set: &Set) -> Vec<FileState> {
    let mut states = Vec::new();
    for (dir, drives) in set.dirs.iter().zip(set.holdings()) {
        for name in names::METADATA {
            for name_in_dir in [name.to_owned(), format!("{}/{name}", names::COPY)] {
                let state = judge_file(set, &dir.join(&name_in_dir), name, drives);
                states.push(FileState { dir: dir.clone(), name: name_in_dir, state });
            }
        }
    }
    states
}

fn judge_file(set: &Set, path: &Path, name: &str, drives: &BTreeSet<u16>) -> State {
    if path.symlink_metadata().is_err() {
        return State::Missing;
    }
    let read = |limit: usize| read_regular(path, limit as u64).ok();
    let good = match name {
        names::MANIFEST => read(set.bytes.len()).is_some_and(|b| b == set.bytes),
        names::SIGNATURE => read(crate::format::signature::LONGEST as usize).is_some_and(|b| vouches(set, &b)),
        names::B3SUMS => {
            let candidates = if drives.is_empty() { (1..=set.manifest.drives).collect() } else { drives.clone() };
            candidates.iter().map(|d| set.manifest.b3sums(*d)).any(|sums| read(sums.len()).is_some_and(|b| b == sums))
        }
        _ => set.manifest.files.get(name).is_some_and(|listed| hash_of(path, listed.bytes) == Some(listed.blake3)),
    };
    if good { State::Ok } else { State::Damaged }
}

fn vouches(set: &Set, armour: &[u8]) -> bool {
    let key = Signature::parse(armour).and_then(|s| s.verify(&set.bytes));
    key.is_ok_and(|key| set.signers.judge(&key, set.now).is_ok())
}

impl Audit {
    /// The verdict, from the worst row.
    pub fn verdict(&self) -> Verdict {
        let (mut lost, mut incomplete) = (false, false);
        for group in &self.volumes {
            let m = usize::from(self.m);
            let longest = group.iter().map(|v| v.bad.len()).max().unwrap_or(0);
            for row in 1..longest {
                let bad = group.iter().filter(|v| v.bad.contains(row));
                let (brought, here) = bad.partition::<Vec<_>, _>(|v| self.could_be_brought(v));
                lost |= here.len() > m;
                incomplete |= here.len() + brought.len() > m;
            }
        }
        for needed in [names::KEYS, names::INVENTORY] {
            let mut copies = self.files.iter().filter(|f| f.name.rsplit('/').next() == Some(needed));
            if !copies.any(|f| f.state == State::Ok) {
                lost |= self.absent.is_empty();
                incomplete |= !self.absent.is_empty();
            }
        }
        let all_well = self.files.iter().all(|f| f.state == State::Ok)
            && (self.absent.is_empty() || self.this_drive)
            && self.volumes.iter().flatten().all(|v| v.state == State::Ok || self.is_left_out(v));
        match (lost, incomplete, all_well) {
            (true, _, _) => Verdict::Lost,
            (_, true, _) => Verdict::Incomplete,
            (_, _, false) => Verdict::Repairable,
            _ => Verdict::Intact,
        }
    }

    /// Whatever has its name here: while its own drive is absent, a volume may still be whole there.
    fn could_be_brought(&self, volume: &VolumeState) -> bool {
        self.absent.contains(&volume.drive)
    }

    /// A volume that was not asked about: it is missing, and nothing of it counts as bad.
    pub fn is_left_out(&self, volume: &VolumeState) -> bool {
        volume.state == State::Missing && volume.bad.is_empty()
    }
}
