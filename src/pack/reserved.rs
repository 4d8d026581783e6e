//! Places on the drives for copies of small files, taken long before there is anything to write: a file system that gives places in
//! the order in which they are asked for would put all copies side by side else, and one bad place could end them all.

use crate::error::Result;
use crate::format::names;
use crate::media::dir::Dir;
use crate::media::drive::{Drive, UNTOLD};
use crate::media::durable::{LEAST_ROOM, Partial};
use crate::media::process::open_files;
use crate::pack::one_place::LEAST_APART;
use crate::pack::plan::{PER_VOLUME, Plan};
use crate::threads::lock;
use std::sync::Mutex;

/// Files of a drive that have a place and no contents yet, at most.
const PER_DRIVE: usize = 10;

/// About how long files will be, by upper bounds as far as they are small: what is not needed is given back.
#[derive(Debug, Clone, Default)]
pub struct Sizes {
    manifest: u64,
    inventory: u64,
    hashes: u64,
    /// By drive, the most for a file; nothing where that is not known.
    most: Vec<u64>,
    /// By drive, the bytes of volumes after which third copies get their places.
    middle: Vec<u64>,
}

impl Sizes {
    /// Of a part that is written to these drives by this plan, where the lines of the inventory have about `lines` bytes.
    pub fn of(plan: &Plan, drives: &[Drive], lines: u64) -> Sizes {
        let holds = |(drive, needed): (&Drive, &u64)| drive.free.min(*needed);
        let held: Vec<u64> = drives.iter().zip(&plan.needed).map(holds).collect();
        let hashes = held.iter().sum::<u64>() / (plan.block.bytes() / 32);
        let volumes = plan.most_groups.saturating_mul(plan.placement.len() as u64);
        let many = PER_DRIVE * drives.len() > open_files() / 4;
        let most = |drive: &Drive| if drive.free == UNTOLD || many { 0 } else { drive.free / 64 };
        Sizes {
            // Beside the volumes, spans: one for 2048 values.
            manifest: LEAST_ROOM + volumes.saturating_mul(PER_VOLUME) + hashes / 512,
            // What is in those lines and does not repeat, names and hashes, is less than half of them.
            inventory: LEAST_ROOM + lines / 2,
            hashes: LEAST_ROOM + hashes,
            most: drives.iter().map(most).collect(),
            // In the first half: frames may be much shorter than segments.
            middle: held.iter().map(|held| (held / 4).max(LEAST_APART)).collect(),
        }
    }

    /// How many bytes of volumes the writer of a drive writes before third copies get their places.
    pub fn middle(&self, drive: usize) -> u64 {
        self.middle.get(drive).copied().unwrap_or(u64::MAX)
    }

    /// The most bytes that copies of `hashes.b3` and of the manifest are given before they have contents.
    pub fn hashes_and_manifest(&self) -> (u64, u64) {
        (self.hashes, self.manifest)
    }

    /// What a file on a drive is given.
    pub fn of_file(&self, drive: usize, name: &str) -> u64 {
        let most = self.most.get(drive).copied().unwrap_or(0);
        let bytes = match name {
            names::MANIFEST => self.manifest,
            names::INVENTORY => self.inventory,
            names::HASHES => self.hashes,
            _ => LEAST_ROOM,
        };
        if most < LEAST_ROOM { 0 } else { bytes.min(most) }
    }
}

/// Files that have a place, and no contents.
#[derive(Default)]
pub struct Reserved(Mutex<Vec<Partial>>);

impl Reserved {
    /// Begins a file, if it has not been begun, with room for what it will hold.
    pub fn add(&self, place: &Dir, name: &str, bytes: u64) -> Result<()> {
        let begun = lock(&self.0).iter().any(|file| file.is(place, name));
        if bytes > 0 && !begun {
            let file = Partial::create(place, name)?.reserving(bytes)?;
            lock(&self.0).push(file);
        }
        Ok(())
    }

    /// A file that was begun.
    pub fn take(&self, place: &Dir, name: &str) -> Option<Partial> {
        let mut files = lock(&self.0);
        let at = files.iter().position(|file| file.is(place, name))?;
        Some(files.swap_remove(at))
    }
}
