//! Which drive, by its number, each directory that was found belongs to.

use crate::format::hashes::Value;
use crate::format::manifest::Manifest;
use crate::format::{header, manifest, names};
use crate::media::dir::{Dir, Location};
use crate::set::part::Part;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Directories that say by their `B3SUMS` of which drive they are, each with that drive: as far as this is told without looking at
/// volumes.
pub(crate) fn said_homes<'a>(manifest: &Manifest, dirs: &'a [Dir]) -> Vec<(&'a Dir, u16)> {
    let sums = manifest.b3sums_hashes();
    let of = |dir: &Dir| {
        let all = names::copies(names::B3SUMS);
        let said: Vec<Value> =
            all.filter_map(|name| Some(*blake3::hash(&dir.read(name, manifest::LONGEST).ok()?).as_bytes())).collect();
        (1..).zip(&sums).filter(|(_, sums)| said.contains(sums)).map(|(drive, _)| drive).collect()
    };
    let mut held: Vec<BTreeSet<u16>> = dirs.iter().map(of).collect();
    share_out(manifest, &mut held);
    dirs.iter().zip(held).flat_map(|(dir, held)| held.into_iter().map(move |drive| (dir, drive))).collect()
}

/// Drives without volumes have one `B3SUMS`: each directory with that is one of them.
fn share_out(manifest: &Manifest, held: &mut [BTreeSet<u16>]) {
    let filled: BTreeSet<u16> = manifest.volumes().map(|(_, _, _, volume)| volume.drive).collect();
    let empty: BTreeSet<u16> = (1..=manifest.drives).filter(|drive| !filled.contains(drive)).collect();
    let mut next = empty.iter().copied();
    for held in held.iter_mut().filter(|held| !held.is_disjoint(&empty)) {
        held.retain(|drive| !empty.contains(drive));
        held.extend(next.next().or(empty.last().copied()));
    }
}

impl Part {
    /// Directories that are not there any more belong to drives that went away; returns whether there are any.
    pub fn forget_vanished(&mut self) -> bool {
        let before = self.dirs.len();
        self.look_again();
        let gone: Vec<Dir> = self.dirs.iter().filter(|dir| self.is_gone(dir)).cloned().collect();
        self.dirs.retain(|dir| !gone.contains(dir));
        if self.dirs.len() < before {
            self.holdings = OnceLock::new();
        }
        self.dirs.len() < before
    }

    /// The drives of which a file is the `B3SUMS`. It is neither kept nor compared with that of each drive: there may be as many
    /// files and drives as somebody likes.
    pub fn drives_said(&self, file: &Location) -> BTreeSet<u16> {
        let mut hasher = blake3::Hasher::new();
        let read = self.read_through(file, manifest::LONGEST, &mut |piece| {
            hasher.update(piece);
        });
        let (said, known) = (hasher.finalize(), self.sums.get_or_init(|| self.manifest.b3sums_hashes()));
        (1..).zip(known).filter(|(_, sums)| read.is_some() && said == **sums).map(|(drive, _)| drive).collect()
    }

    /// The drives that a directory names: it has their `B3SUMS`.
    fn named_by(&self, dir: &Dir) -> BTreeSet<u16> {
        names::copies(names::B3SUMS).flat_map(|name| self.drives_said(&dir.at(name))).collect()
    }

    /// The drives of which a directory is the copy though none names them, since it has the headers of half of their volumes. One volume
    /// alone, copied to another drive, does not make its own drive present. Nor do all of them that were copied to another drive: only
    /// where that is all that is here, so that nothing else could be lost, several drives have been copied into one directory.
    fn held_by(&self, dir: &Dir, names_another: bool, named: &BTreeSet<u16>) -> BTreeSet<u16> {
        if names_another && self.dirs.len() > 1 {
            return BTreeSet::new();
        }
        let mut volumes = vec![(0u32, 0u32, 0u32); usize::from(self.manifest.drives) + 1];
        // A large set has thousands of volumes: none of a drive that is known to be here is opened.
        for (group, index, name, volume) in self.manifest.volumes().filter(|v| !named.contains(&v.3.drive)) {
            let (begun, there, all) = &mut volumes[usize::from(volume.drive)];
            *all += 1;
            *there += u32::from(dir.has_file(&name));
            *begun += u32::from(self.has_header(&dir.at(name), group, index));
        }
        let half = |d: &u16| {
            let (begun, there, all) = volumes[usize::from(*d)];
            begun > 0 && 2 * begun >= all && (there == all || !names_another)
        };
        (1..=self.manifest.drives).filter(half).collect()
    }

    /// Whether a file begins as the volume does, up to the hash of the header page; what it is filled up with may be damaged.
    fn has_header(&self, at: &Location, group: usize, index: usize) -> bool {
        let Some(source) = self.source(at, self.manifest.block()) else { return false };
        let mut begins = [0; header::USED];
        let read = self.read_blocks(&source, &mut begins, 0, &|_| true);
        read == [true] && begins == self.manifest.header(group, index).encode()[..header::USED]
    }

    /// The drives that are here.
    pub fn present(&self) -> BTreeSet<u16> {
        self.homes().map(|(_, drive)| drive).collect()
    }

    /// The directories that are the copy of a drive, each with that drive. Several drives may have been copied into one.
    pub fn homes(&self) -> impl Iterator<Item = (&Dir, u16)> {
        let there = self.dirs.iter().zip(self.holdings()).filter(|(dir, _)| !self.is_gone(dir));
        there.flat_map(|(dir, held)| held.iter().map(move |drive| (dir, *drive)))
    }

    /// For each directory, the drives that it is the copy of. Found out once, since it may read headers.
    pub fn holdings(&self) -> &[BTreeSet<u16>] {
        self.holdings.get_or_init(|| {
            let mut held: Vec<BTreeSet<u16>> = self.dirs.iter().map(|dir| self.named_by(dir)).collect();
            let named: BTreeSet<u16> = held.iter().flatten().copied().collect();
            // The B3SUMS of a drive without volumes is empty, as one may be that a power cut has cut off.
            let with_volumes: BTreeSet<u16> = self.manifest.volumes().map(|(.., volume)| volume.drive).collect();
            for (dir, held) in self.dirs.iter().zip(&mut held) {
                held.append(&mut self.held_by(dir, !held.is_disjoint(&with_volumes), &named));
            }
            share_out(&self.manifest, &mut held);
            held
        })
    }

    /// The drives that the manifest names and that are not here.
    pub fn absent(&self) -> BTreeSet<u16> {
        let present = self.present();
        (1..=self.manifest.drives).filter(|d| !present.contains(d)).collect()
    }

    /// The numbers among all drives of the set of those that are not here.
    pub fn absent_numbers(&self) -> Vec<u32> {
        self.absent().into_iter().map(|d| self.manifest.drive_number(d)).collect()
    }

    /// How many blocks could not be read, by the number of the drive.
    pub fn read_errors(&self) -> BTreeMap<u32, u64> {
        let mut errors = BTreeMap::new();
        // Which drive a directory is of may have to be read first.
        self.holdings();
        for (file, blocks) in self.failing.counts() {
            if let Some(drive) = self.drive_of(&file) {
                *errors.entry(self.manifest.drive_number(drive)).or_default() += blocks;
            }
        }
        errors
    }

    /// The drive that a file is on: the one that its directory is the copy of, or that the volume belongs to.
    fn drive_of(&self, at: &Location) -> Option<u16> {
        let held = self.dirs.iter().zip(self.holdings()).find(|(d, _)| **d == at.dir).map(|(_, held)| held)?;
        let own = self.manifest.volumes().find(|(_, _, name, _)| at.name == *name).map(|(_, _, _, v)| v.drive);
        match own {
            Some(own) if held.contains(&own) || held.is_empty() => Some(own),
            _ => held.first().copied(),
        }
    }
}
