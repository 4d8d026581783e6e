//! What repair does to one part of a set: which files are in need, and where they are made anew.

use crate::error::{Error, Result};
use crate::format::manifest::{set_dir_name, volume_name};
use crate::format::names;
use crate::heal::findings::{Audit, FileState, State};
use crate::heal::metadata::renew;
use crate::heal::volumes::{Made, Target, Why, finish_file, rebuild};
use crate::media::dir::{Dir, Location};
use crate::media::drive::{self, Drive, PER_FILE};
use crate::media::durable::{self, PARTIAL_SUFFIX, Partial};
use crate::media::lock::{self, WriteLock};
use crate::progress::{Phase, Progress};
use crate::set::{At, Blocks, Origin, Part, Set};
use crate::text::human_bytes;
use rustix::fs::FileType;
use std::collections::{BTreeMap, BTreeSet};

/// Metadata in the order in which it is put on a new drive: whether the set can be opened at all first, the manifest last.
const ORDER: [&str; 7] = [
    names::KEYS,
    names::HASHES,
    names::INVENTORY,
    names::RECOVER_PY,
    names::RECOVER_TXT,
    names::B3SUMS,
    names::SIGNATURE,
];

/// Those that are put there before the volumes, as far as [`is_first`] says so.
const NEEDED_FIRST: [&str; 4] = [names::KEYS, names::HASHES, names::INVENTORY, names::SIGNATURE];

/// Whether a metadata file in this place of a new drive is made before the volumes.
fn is_first(place: &str) -> bool {
    place == names::KEYS || NEEDED_FIRST.contains(&names::of_copies(place)) && place.starts_with(names::COPY)
}

/// What is to be made of a part, and what became of it.
#[derive(Debug, Default)]
pub struct Remedy {
    volumes: Vec<Target>,
    files: Vec<(Location, Option<u16>)>,
    new: Vec<NewDrive>,
    /// Places of key slots on new drives, of which nobody here can say which one belongs there.
    undecided: Vec<(Location, Why)>,
    /// Files that were made in their places.
    pub made: Vec<MadeFile>,
    /// Drives that were made.
    pub replaced: Vec<NewDrive>,
    /// Files that could not be made.
    pub left: Vec<(Location, Why)>,
    /// Where what was made was read back from.
    pub origin: Option<Origin>,
}

/// A file that was made.
#[derive(Debug)]
pub struct MadeFile {
    /// Where it is.
    pub at: Location,
    /// Its drive, if that is known.
    pub drive: Option<u16>,
    /// Blocks of it that were computed.
    pub blocks: u64,
}

/// A drive that takes the place of another one.
#[derive(Debug)]
pub struct NewDrive {
    /// Which.
    pub drive: u16,
    /// The directory of the set on it.
    pub dir: Dir,
    /// Volumes that it has.
    pub volumes: u64,
    /// Blocks of them that were computed.
    pub blocks: u64,
    /// The second copy of its manifest, written before the volumes, which gets its name at the end.
    manifest: Option<Partial>,
    /// Nobody else writes there meanwhile.
    _lock: WriteLock,
}

impl Drop for NewDrive {
    fn drop(&mut self) {
        if let Some(unfinished) = self.manifest.take() {
            unfinished.discard();
        }
    }
}

/// Another process writes there.
pub fn busy(dir: &Dir) -> Error {
    Error::drive(
        format!("{} is being written now, by an export or a repair", dir.path().display()),
        "wait until the other command has ended, then run this one again",
    )
}

/// The numbers of the drives of which something is damaged, missing or absent; but what nothing depends on and no drive has
/// whole is no reason to replace a drive.
pub fn needs(set: &Set, found: &[Audit]) -> Vec<u32> {
    let of = |(part, found): (&Part, &Audit)| {
        let mut drives: BTreeSet<u16> = found.absent.clone();
        drives.extend(found.volumes.iter().flatten().filter(|v| v.state != State::Ok).map(|v| v.drive));
        let gone = |f: &FileState| names::is_aid(f.of()) && !found.has_good(f.of());
        let bad = |dir: &Dir| found.files.iter().any(|f| f.dir == *dir && found.is_in_need(f) && !gone(f));
        drives.extend(part.homes().filter(|(dir, _)| bad(dir)).map(|(_, drive)| drive));
        drives.into_iter().map(|d| part.manifest.drive_number(d)).collect::<Vec<_>>()
    };
    set.parts.iter().zip(found).flat_map(of).collect()
}

/// Removes what an interrupted repair left behind.
pub fn sweep(part: &Part) {
    part.dirs.iter().for_each(|dir| sweep_dir(part, dir));
}

fn sweep_dir(part: &Part, dir: &Dir) {
    let mut ours: BTreeSet<String> = part.manifest.volumes().map(|(_, _, name, _)| name).collect();
    ours.extend(part.manifest.metadata().map(str::to_owned));
    for place in std::iter::once(dir.clone()).chain(names::COPIES.iter().filter_map(|sub| dir.dir(sub).ok())) {
        for name in place.names().unwrap_or_default() {
            let finished = name.to_str().and_then(|n| n.strip_suffix(PARTIAL_SUFFIX));
            if finished.is_some_and(|name| ours.contains(name)) {
                // What cannot be removed is told when it is in the way.
                let _ = place.remove(&name);
            }
        }
    }
}

impl Remedy {
    /// Every damaged or missing file of the drives that are here.
    pub fn plan_in_place(&mut self, blocks: &Blocks, found: &Audit) {
        for (group, volumes) in found.volumes.iter().enumerate() {
            for (index, volume) in volumes.iter().enumerate() {
                let at = At { group, index };
                let bad = volume.homes.iter().filter(|home| !volume.is_whole_at(home));
                self.volumes.extend(bad.filter_map(|home| target(blocks, at, &home.dir)));
            }
        }
        for file in found.files.iter().filter(|f| found.is_in_need(f)) {
            let drive = blocks.set().homes().find(|(dir, _)| **dir == file.dir).map(|(_, drive)| drive);
            self.files.push((file.dir.at(&file.name), drive));
        }
        // The manifest last, as always.
        self.files.sort_by_key(|(at, _)| at.name.ends_with(names::MANIFEST));
    }

    /// Complete directories for those of the new drives, by number, that are of this part.
    pub fn plan_replacements(&mut self, blocks: &Blocks, given: &BTreeMap<u32, Dir>) -> Result<()> {
        let (part, manifest) = (blocks.set(), &blocks.set().manifest);
        let name = set_dir_name(manifest.label.as_deref(), &manifest.set, manifest.part);
        let own = |drive: u16| Some((drive, given.get(&manifest.drive_number(drive))?));
        let own: Vec<(u16, &Dir)> = (1..=manifest.drives).filter_map(own).collect();
        let mut room: BTreeMap<u64, u64> = BTreeMap::new();
        for (number, to) in &own {
            check_new(part, *number, to, &name, &mut room)?;
        }
        for (drive, to) in own {
            let dir = durable::ensure_dir(to, &name)?;
            names::COPIES.iter().try_for_each(|sub| durable::ensure_dir(&dir, sub).map(drop))?;
            let locked = WriteLock::take(&dir).map_err(Error::on_drive("lock", dir.show(lock::name())))?;
            let lock = locked.ok_or_else(|| busy(&dir))?;
            sweep_dir(part, &dir);
            let own = manifest.volumes().filter(|(_, _, _, v)| v.drive == drive);
            let mut all: Vec<Target> =
                own.filter_map(|(group, index, _, _)| target(blocks, At { group, index }, &dir)).collect();
            let volumes = all.len() as u64;
            // What an interrupted repair has finished stays.
            all.retain(|t| part.hash_of(&dir.at(&t.name), t.bytes) != Some(blocks.root(t.at)));
            self.volumes.extend(all);
            self.new.push(NewDrive { drive, dir, volumes, blocks: 0, manifest: None, _lock: lock });
        }
        self.volumes.sort_by_key(|t| (t.at.group, t.at.index));
        Ok(())
    }

    /// Bytes that will be written and read back, by the position of the drive.
    pub fn bytes<'a>(&'a self, blocks: &'a Blocks) -> impl Iterator<Item = (usize, u64)> + 'a {
        self.volumes.iter().map(|t| (blocks.drive(t.at), 2 * t.bytes))
    }

    /// Does all of it. Fails only if it was interrupted; what cannot be made is left, and said.
    pub fn run(&mut self, blocks: &Blocks, found: &mut Audit, progress: &dyn Progress) -> Result<()> {
        // Second copies before the volumes, all others behind them (rule 80).
        self.make_new_files(blocks, &NEEDED_FIRST, &is_first);
        self.begin_manifests(blocks);
        let mut volumes = std::mem::take(&mut self.volumes);
        while let Some(group) = volumes.first().map(|t| t.at.group) {
            let later = volumes.split_off(volumes.partition_point(|t| t.at.group == group));
            self.make_group(blocks, volumes, found, progress)?;
            volumes = later;
        }
        progress.stage(Phase::Metadata);
        for (at, drive) in std::mem::take(&mut self.files) {
            if self.renew(blocks, &at, drive) {
                found.renew_file(&at.dir, &at.name);
            }
        }
        self.make_new_files(blocks, &ORDER, &|place| !is_first(place));
        // The program, if one travels with the set, and what only later versions know.
        let known = |name: &&str| ORDER.contains(name) || *name == names::MANIFEST;
        let further: Vec<&str> = blocks.set().manifest.metadata().filter(|name| !known(name)).collect();
        self.make_new_files(blocks, &further, &|_| true);
        self.finish_new_drives(blocks, found);
        Ok(())
    }

    /// Makes volumes of one group: all at once, or, where room is scarce, as many as there is room for at a time.
    fn make_group(
        &mut self,
        blocks: &Blocks,
        mut pending: Vec<Target>,
        found: &mut Audit,
        progress: &dyn Progress,
    ) -> Result<()> {
        while !pending.is_empty() {
            let (now, later, mut left) = fitting(pending);
            self.left.append(&mut left);
            pending = later;
            for (target, made) in now.iter().zip(rebuild(blocks, &now, progress)?) {
                let file = target.dir.at(&target.name);
                let drive = blocks.set().manifest.groups[target.at.group].volumes[target.at.index].drive;
                if let Some(new) = self.new.iter_mut().find(|n| n.dir == target.dir) {
                    new.blocks += made.as_ref().map_or(0, |m| m.blocks);
                }
                if self.note(&file, Some(drive), made) && self.new.is_empty() {
                    found.renew_volume(target.at, &file);
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, at: &Location, drive: Option<u16>, made: Result<Made, Why>) -> bool {
        match made {
            Ok(made) => {
                self.origin = Some(self.origin.map_or(made.origin, |o| o.and(made.origin)));
                if self.new.is_empty() {
                    self.made.push(MadeFile { at: at.clone(), drive, blocks: made.blocks });
                }
                true
            }
            Err(why) => {
                self.left.push((at.clone(), why));
                false
            }
        }
    }

    /// Makes a metadata file; returns whether that went well.
    fn renew(&mut self, blocks: &Blocks, at: &Location, drive: Option<u16>) -> bool {
        let made = renew(blocks, &at.dir, &at.name, drive);
        self.note(at, drive, made.map(|origin| Made { blocks: 0, origin }).map_err(Why::from))
    }

    /// Those of which the place in a directory is `wanted`.
    fn make_new_files(&mut self, blocks: &Blocks, names: &[&str], wanted: &dyn Fn(&str) -> bool) {
        let new: Vec<(Dir, u16)> = self.new.iter().map(|n| (n.dir.clone(), n.drive)).collect();
        for name in names {
            for (dir, drive) in &new {
                for place in blocks.set().manifest.places(name).rev().filter(|place| wanted(place)) {
                    match *name == names::KEYS && blocks.set().has_rewritten_slot() {
                        true => self.undecided.push((dir.at(place), undecided_slot().into())),
                        false => drop(self.renew(blocks, &dir.at(place), Some(*drive))),
                    }
                }
            }
        }
    }

    /// The manifest gets its name last, but a place for its second copy first. What cannot be begun now is made at the end.
    fn begin_manifests(&mut self, blocks: &Blocks) {
        let bytes = &blocks.set().bytes;
        for new in &mut self.new {
            let begun = durable::ensure_dir(&new.dir, names::COPY).and_then(|copy| {
                let file = Partial::replacing(&copy, names::MANIFEST)?;
                file.write_at(bytes, 0).and_then(|()| file.sync()).map(|()| file)
            });
            new.manifest = begun.ok();
        }
    }

    /// A copy of the manifest of a new drive.
    fn name_manifest(&mut self, blocks: &Blocks, new: usize, at: &Location) {
        let (drive, bytes) = (self.new[new].drive, &blocks.set().bytes);
        match self.new[new].manifest.take_if(|begun| begun.dir().show(names::MANIFEST) == at.path()) {
            Some(begun) => {
                let expected = (bytes.len() as u64, *blake3::hash(bytes).as_bytes());
                let made = finish_file(begun, names::MANIFEST, expected);
                self.note(at, Some(drive), made.map(|origin| Made { blocks: 0, origin }).map_err(Why::from));
            }
            None => drop(self.renew(blocks, at, Some(drive))),
        }
    }

    /// A new drive to which nothing is lacking that the contents depend on gets its manifest; the others stay what they are,
    /// unfinished.
    fn finish_new_drives(&mut self, blocks: &Blocks, found: &mut Audit) {
        for at in 0..self.new.len() {
            let dir = self.new[at].dir.clone();
            if self.lacks(&dir) {
                continue;
            }
            for name in names::copies(names::MANIFEST).rev() {
                self.name_manifest(blocks, at, &dir.at(name));
            }
        }
        for new in std::mem::take(&mut self.new) {
            if !self.lacks(&new.dir) {
                note_new_drive(blocks.set(), found, &new);
                self.left.iter().chain(&self.undecided).for_each(|(at, _)| found.miss_file(at));
                self.replaced.push(new);
            }
        }
        self.left.append(&mut self.undecided);
    }

    /// Whether something could not be made in a directory, besides what is to be had nowhere and the contents can do without.
    fn lacks(&self, dir: &Dir) -> bool {
        let may_lack = |at: &Location| can_do_without(names::of_copies(&at.name));
        let nowhere = |why: &Why| why.exit_code == Error::refused("", "").exit_code();
        self.left.iter().any(|(at, why)| at.dir == *dir && !(may_lack(at) && nowhere(why)))
    }
}

/// Whether the contents of a set can be had without a file; the hashes of its volumes are proven by the manifest in any case.
fn can_do_without(name: &str) -> bool {
    names::is_aid(name) || name == names::HASHES
}

/// Rule 81.
fn undecided_slot() -> Error {
    Error::newer(
        "a key slot of the set was written anew, and only a later version can say which one belongs here: keep the old drive until one has put it here",
        "have a newer ckvault judge the set",
    )
}

fn note_new_drive(part: &Part, found: &mut Audit, new: &NewDrive) {
    let old: Vec<Dir> = part.homes().filter(|(_, d)| *d == new.drive).map(|(dir, _)| dir.clone()).collect();
    let alone = |dir: &&Dir| part.homes().filter(|(d, _)| d == dir).count() == 1;
    let emptied: Vec<Dir> = old.iter().filter(alone).cloned().collect();
    found.replace_drive(new.drive, &old, &emptied);
    for (group, index, name, _) in part.manifest.volumes().filter(|(_, _, _, v)| v.drive == new.drive) {
        found.renew_volume(At { group, index }, &new.dir.at(name));
    }
    for name in part.manifest.metadata().flat_map(|name| part.manifest.places(name)) {
        found.renew_file(&new.dir, &name);
    }
}

fn target(blocks: &Blocks, at: At, dir: &Dir) -> Option<Target> {
    let group = blocks.set().manifest.groups.get(at.group)?;
    let bytes = group.volumes.get(at.index)?.bytes;
    Some(Target { at, dir: dir.clone(), name: volume_name(at.group, at.index, group.k), bytes })
}

/// Those for which there is room now, together; those that must wait; and those that will never fit.
fn fitting(pending: Vec<Target>) -> (Vec<Target>, Vec<Target>, Vec<(Location, Why)>) {
    let (mut now, mut later, mut left) = (Vec::new(), Vec::new(), Vec::new());
    let mut taken: BTreeMap<u64, u64> = BTreeMap::new();
    for target in pending {
        let file = target.dir.at(&target.name);
        match drive::examine(&target.dir) {
            Err(error) => left.push((file, error.into())),
            Ok(drive) => {
                let taken = taken.entry(drive.device).or_default();
                match *taken + target.bytes + PER_FILE <= drive.free {
                    true => {
                        *taken += target.bytes + PER_FILE;
                        now.push(target);
                    }
                    false if *taken > 0 => later.push(target),
                    false => left.push((file, no_room(&drive, target.bytes).into())),
                }
            }
        }
    }
    (now, later, left)
}

fn no_room(drive: &Drive, needed: u64) -> Error {
    Error::drive(
        format!(
            "no room in {}: {} are needed, {} are free",
            drive.path.display(),
            human_bytes(needed),
            human_bytes(drive.free)
        ),
        "make room there, or make a replacement for the drive with --to DRIVE",
    )
}

/// Whether a new drive can take all that was on the old one; nothing is written before that is certain.
fn check_new(part: &Part, number: u16, to: &Dir, name: &str, room: &mut BTreeMap<u64, u64>) -> Result<()> {
    let drive = drive::examine(to)?;
    if !matches!(to.kind(name), Ok(None | Some(FileType::Directory))) {
        return Err(Error::usage(
            format!("{} is in the way of the set, and no directory", to.show(name).display()),
            "remove it, or give an empty drive with --to",
        ));
    }
    let inside = |file: &str| format!("{name}/{file}");
    if names::copies(names::MANIFEST).any(|file| matches!(to.kind(inside(&file)), Ok(Some(_)))) {
        return Err(Error::usage(
            format!("{} holds a drive of the set already", to.show(name).display()),
            "give an empty drive with --to; or, if a repair made that drive before and was stopped, name it among the drives in place of the old drive, without --to",
        ));
    }
    let volumes = || part.manifest.volumes().filter(|(_, _, _, v)| v.drive == number);
    let longest = volumes().map(|(_, _, _, v)| v.bytes).max().unwrap_or(0);
    if !drive.can_hold(longest, Some(to)) {
        return Err(Error::drive(
            format!(
                "the file system of {} ({}) cannot hold files of {longest} bytes",
                to.path().display(),
                drive.fs_type
            ),
            "give a drive with another file system",
        ));
    }
    let there = |name: &str| to.stat(inside(name)).ok().flatten().map_or(0, |stat| stat.st_size as u64);
    let lacking: u64 = volumes().map(|(_, _, name, v)| v.bytes.saturating_sub(there(&name)) + PER_FILE).sum();
    // What is not in the manifest is no longer than it.
    let bytes = |name: &str| part.manifest.files.get(name).map_or(part.bytes.len() as u64, |listed| listed.bytes);
    let copies = |name: &str| part.manifest.places(name).count() as u64 * (bytes(name) + PER_FILE);
    let metadata: u64 = part.manifest.metadata().map(copies).sum();
    let needed = room.entry(drive.device).or_default();
    *needed += lacking + metadata;
    match *needed <= drive.free {
        true => Ok(()),
        false => Err(Error::drive(
            format!(
                "no room in {}: {} are needed, {} are free",
                to.path().display(),
                human_bytes(*needed),
                human_bytes(drive.free)
            ),
            "give an emptier drive with --to",
        )),
    }
}
