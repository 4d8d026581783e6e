//! The directories of a part in the making, one a drive: made, locked, taken up again, removed. Only what we put there is ever
//! removed; of what somebody else put there it is said that it is in the way.

use crate::error::{Error, Result};
use crate::format::manifest::group_of_volume;
use crate::format::names;
use crate::media::dir::Dir;
use crate::media::durable::{self, LEAST_ROOM, PARTIAL_SUFFIX, Partial};
use crate::media::lock::{self, WriteLock};
use crate::pack::apart::copies_lie_near;
use crate::pack::reserved::{Reserved, Sizes};
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::io::ErrorKind;

/// What is written when the volumes are, and whose second copies have their places before them.
const LATE: [&str; 4] = [names::MANIFEST, names::SIGNATURE, names::INVENTORY, names::HASHES];

/// The directories of a part, in the order of its drives.
pub struct SetDirs {
    /// The directories.
    pub dirs: Vec<Dir>,
    /// Their directories for second copies, and for third ones.
    copies: Vec<Dir>,
    thirds: Vec<Dir>,
    /// Files that have places on them already, and how long they may become.
    reserved: Reserved,
    sizes: Sizes,
    /// Held while they are written to.
    locks: Vec<WriteLock>,
    drives: Vec<Dir>,
    name: String,
}

impl SetDirs {
    fn none(drives: &[Dir], name: &str, sizes: Sizes) -> SetDirs {
        let (dirs, copies, thirds, locks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (drives, name, reserved) = (drives.to_vec(), name.to_owned(), Reserved::default());
        SetDirs { dirs, copies, thirds, reserved, sizes, locks, drives, name }
    }

    /// Makes them; none of this name may exist.
    pub fn create(drives: &[Dir], name: &str, sizes: Sizes) -> Result<SetDirs> {
        let mut made = SetDirs::none(drives, name, sizes);
        let result = drives.iter().try_for_each(|drive| {
            let dir = durable::create_dir(drive, name)?;
            made.dirs.push(dir.clone());
            made.locks.push(lock(&dir)?);
            made.copies.push(durable::create_dir(&dir, names::COPY)?);
            made.thirds.push(durable::create_dir(&dir, names::THIRD)?);
            Ok(())
        });
        match result {
            Ok(()) => Ok(made),
            Err(error) => {
                made.remove();
                Err(error)
            }
        }
    }

    /// Takes up those that an interrupted export left: what is not a volume or the key slot is removed, the manifest
    /// first, so that nothing looks complete. Of further copies only the names go: those of files that were given a place before
    /// volumes that are there keep it, and are written anew in it.
    /// Those on drives that are `replaced` may be new.
    pub fn take_up(drives: &[Dir], name: &str, sizes: Sizes, replaced: &[usize]) -> Result<SetDirs> {
        let mut taken = SetDirs::none(drives, name, sizes);
        for (position, drive) in drives.iter().enumerate() {
            if replaced.contains(&position) && !is_on(drive, name) {
                durable::create_dir(drive, name)?;
            }
            let dir = drive.dir(name).map_err(|e| match e.kind() {
                ErrorKind::NotFound => Error::drive(
                    format!("{name} is not on {}", drive.path().display()),
                    "mount the drive that the export was writing to; with --to, give its new place",
                ),
                _ => Error::on_drive("open", drive.show(name))(e),
            })?;
            taken.locks.push(lock(&dir)?);
            taken.copies.push(durable::ensure_dir(&dir, names::COPY)?);
            taken.thirds.push(durable::ensure_dir(&dir, names::THIRD)?);
            taken.dirs.push(dir);
        }
        (0..taken.dirs.len()).try_for_each(|drive| taken.tidy(drive))?;
        Ok(taken)
    }

    /// Removes the volumes of groups after `group`, of all if there is none, and those that are unfinished; but not the ones of the
    /// group that goes on.
    pub fn remove_groups_after(&self, group: Option<u32>, goes_on: Option<u32>) -> Result<()> {
        let removed = |name: &str| {
            let finished = finished_name(name);
            let of = group_of_volume(finished.unwrap_or(name)).filter(|of| finished.is_none() || goes_on != Some(*of));
            of.is_some_and(|of| finished.is_some() || group.is_none_or(|last| of > last))
        };
        for dir in &self.dirs {
            names_in(dir)?.iter().filter(|name| removed(name)).try_for_each(|name| remove_file(dir, name))?;
        }
        Ok(())
    }

    /// By drive, the room that the unfinished volumes of a group take.
    pub fn bytes_of_group(&self, group: u32) -> Result<Vec<u64>> {
        let is_of = |name: &&String| finished_name(name).and_then(group_of_volume) == Some(group);
        let bytes = |stat: rustix::fs::Stat| (stat.st_blocks.max(0) as u64).saturating_mul(512);
        let of_file = |dir: &Dir, name: &String| dir.stat(name).ok().flatten().map_or(0, bytes);
        let on = |dir: &Dir| Ok(names_in(dir)?.iter().filter(is_of).map(|name| of_file(dir, name)).sum());
        self.dirs.iter().map(on).collect()
    }

    /// Where the key slot goes before there is a volume.
    pub fn first_places(&self) -> Vec<Dir> {
        self.copies.iter().chain(&self.dirs).cloned().collect()
    }

    /// Where a metadata file goes: on every drive, further copies first.
    pub fn places(&self, name: &str) -> Vec<Dir> {
        let thirds = if names::SMALL.contains(&name) { &self.thirds[..] } else { &[] };
        self.copies.iter().chain(thirds).chain(&self.dirs).cloned().collect()
    }

    /// Its places on the drive at a position, the one in the directory itself last.
    pub fn places_on(&self, drive: usize, name: &str) -> Vec<&Dir> {
        let third = names::SMALL.contains(&name).then_some(&self.thirds[drive]);
        [Some(&self.copies[drive]), third, Some(&self.dirs[drive])].into_iter().flatten().collect()
    }

    fn tidy(&self, drive: usize) -> Result<()> {
        let own: Vec<&str> = names::METADATA.into_iter().chain([names::PROGRAM]).collect();
        self.reserved.keep(tidy(&self.copies[drive], &LATE, &own)?);
        self.reserved.keep(tidy(&self.thirds[drive], &names::SMALL, &names::SMALL)?);
        tidy(&self.dirs[drive], &[], &own).map(drop)
    }

    /// Whether all copies of a file have come to lie near each other; with several drives, there are others.
    pub fn copies_lie_near(&self) -> bool {
        matches!(&self.dirs[..], [only] if copies_lie_near(only))
    }

    /// Whether some copy may lie near another one, since it has no place of its own, or has it in the wrong place.
    pub fn lack_places(&self) -> bool {
        self.reserved.lacks()
    }

    /// Begins a metadata file in one of its places, in which it may have been given room already.
    pub fn begin(&self, place: &Dir, name: &str) -> Result<Partial> {
        match self.reserved.take(place, name) {
            Some(begun) => Ok(begun),
            None => Partial::create(place, name),
        }
    }

    /// The second copies get their places, before there is a volume.
    pub fn reserve_first(&self) -> Result<()> {
        (0..self.dirs.len()).try_for_each(|drive| self.reserve(drive, &self.copies[drive], &LATE, u64::MAX))
    }

    /// Those in the set's directory get theirs behind the volumes, and so do third copies on drives on which that has not been before.
    pub fn reserve_last(&self) -> Result<()> {
        for drive in 0..self.dirs.len() {
            self.reserve_third(drive)?;
            self.reserve(drive, &self.dirs[drive], &[names::MANIFEST, names::SIGNATURE], u64::MAX)?;
            self.reserve(drive, &self.dirs[drive], &[names::INVENTORY], LEAST_ROOM)?;
        }
        Ok(())
    }

    /// Third copies get their places now, if they have none.
    pub fn reserve_third(&self, drive: usize) -> Result<()> {
        let third = &self.thirds[drive];
        let mut lacking = names::SMALL.into_iter().filter(|name| !third.has(name));
        lacking.try_for_each(|name| self.reserved.add(third, name, self.sizes.of_third(drive, name)))
    }

    /// The copy of `hashes.b3` in the set's directory grows with the volumes, behind them.
    pub fn reserve_hashes(&self, drive: usize) -> Result<()> {
        self.reserve(drive, &self.dirs[drive], &[names::HASHES], LEAST_ROOM)
    }

    fn reserve(&self, drive: usize, place: &Dir, files: &[&str], most: u64) -> Result<()> {
        files.iter().try_for_each(|name| self.reserved.add(place, name, self.sizes.of_file(drive, name).min(most)))
    }

    /// How long files may become.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Removes an export that did not end well, as far as the drives let it.
    fn remove(mut self) {
        self.locks.clear();
        for drive in &self.drives {
            let _ = remove_from(drive, &self.name);
        }
    }
}

/// Removes from what an interruption left all that makes it look complete, and all that is not; but files that are `placed` lose only
/// their names, and are returned. Names that are not its `own` are not looked at.
fn tidy(place: &Dir, placed: &[&str], own: &[&str]) -> Result<Vec<Partial>> {
    let mut kept = Vec::from_iter(take_name(place, names::MANIFEST, placed)?);
    place.sync().map_err(Error::on_drive("sync", place.path()))?;
    let there = names_in(place)?;
    for name in own.iter().filter(|name| **name != names::KEYS && there.iter().any(|there| there == **name)) {
        kept.extend(take_name(place, name, placed)?);
    }
    // Those that have no name may have a place.
    for name in placed.iter().filter(|name| **name != names::MANIFEST && !there.iter().any(|there| there == **name)) {
        kept.extend(Partial::taken_up(place, name, LEAST_ROOM));
    }
    let is_kept = |name: &str| kept.iter().any(|file| file.partial_name() == name);
    // Volumes that are unfinished may be gone on with.
    let is_file = |name: &str| is_ours(name) && group_of_volume(name).is_none();
    let is_partial = |name: &str| name != lock::name() && finished_name(name).is_some_and(is_file);
    for name in names_in(place)?.iter().filter(|name| is_partial(name) && !is_kept(name)) {
        remove_file(place, name)?;
    }
    Ok(kept)
}

/// A file has its name no more. If it is one of those that are `placed`, and has its place still, it is returned.
fn take_name(place: &Dir, name: &str, placed: &[&str]) -> Result<Option<Partial>> {
    let placed = placed.contains(&name);
    let finished = placed && place.has_file(name);
    match finished {
        true => place
            .rename(name, format!("{name}{PARTIAL_SUFFIX}"))
            .map_err(Error::on_drive("rename", place.show(name)))?,
        false => remove_file(place, name)?,
    }
    // What it did not need was given back when it got its name.
    let least = if finished { 1 } else { LEAST_ROOM };
    Ok(placed.then(|| Partial::taken_up(place, name, least)).flatten())
}

/// The name that an unfinished file is to get.
fn finished_name(name: &str) -> Option<&str> {
    name.strip_suffix(PARTIAL_SUFFIX)
}

/// Whether a file of a set has such a name.
fn is_ours(name: &str) -> bool {
    group_of_volume(name).is_some() || names::METADATA.contains(&name) || name == names::PROGRAM
}

/// Whether the directory of a set of this name is on a drive; a link is none.
pub fn is_on(drive: &Dir, name: &str) -> bool {
    drive.has_dir(name)
}

/// Removes from a drive what an interrupted export has left in the directory of this name: files of a set, and nothing else.
pub fn remove_from(drive: &Dir, name: &str) -> Result<()> {
    let dir = drive.dir(name).map_err(Error::on_drive("open", drive.show(name)))?;
    let mut places = vec![dir.clone()];
    for sub in names::COPIES {
        match dir.dir(sub) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            other => places.push(other.map_err(Error::on_drive("open", dir.show(sub)))?),
        }
    }
    for place in &places {
        // First of all, nothing may look complete any more.
        remove_file(place, names::MANIFEST)?;
        let ours = |name: &String| is_ours(finished_name(name).unwrap_or(name)) || *name == lock::name();
        names_in(place)?.iter().filter(|name| ours(name)).try_for_each(|name| remove_file(place, name))?;
    }
    for sub in names::COPIES.into_iter().filter(|sub| dir.has_dir(sub)) {
        remove_emptied(&dir, sub)?;
    }
    remove_emptied(drive, name)
}

fn remove_emptied(parent: &Dir, name: &str) -> Result<()> {
    parent.remove_dir(name).map_err(|e| match e.kind() {
        ErrorKind::DirectoryNotEmpty => Error::drive(
            format!("{} holds something that is not of the set, and was left as it is", parent.show(name).display()),
            "move it away, then run the command again",
        ),
        _ => Error::on_drive("remove", parent.show(name))(e),
    })
}

fn remove_file(dir: &Dir, name: impl AsRef<OsStr>) -> Result<()> {
    match dir.remove(&name) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::on_drive("remove", dir.show(name))(e)),
        _ => Ok(()),
    }
}

fn lock(dir: &Dir) -> Result<WriteLock> {
    let busy = || {
        Error::drive(
            format!("{} is being written by another ckvault", dir.path().display()),
            "wait until that has ended",
        )
    };
    WriteLock::take(dir).map_err(Error::on_drive("lock", dir.show(lock::name())))?.ok_or_else(busy)
}

/// The names of what is no directory.
fn names_in(dir: &Dir) -> Result<Vec<String>> {
    let entries = dir.entries().map_err(Error::on_drive("read", dir.path()))?;
    let files = entries.into_iter().filter(|(_, kind)| *kind != FileType::Directory);
    Ok(files.filter_map(|(name, _)| name.into_string().ok()).collect())
}
