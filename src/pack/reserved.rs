//! Places on the drives for copies of small files, taken long before there is anything to write: a file system that gives places in
//! the order in which they are asked for would put all copies side by side else, and one bad place could end them all.

use crate::error::Result;
use crate::format::names;
use crate::media::dir::Dir;
use crate::media::drive::{Drive, UNTOLD};
use crate::media::durable::{LEAST_ROOM, Partial};
use crate::media::process::open_files;
use crate::pack::margins;
use crate::pack::one_place::LEAST_APART;
use crate::pack::plan::Plan;
use crate::threads::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Files of a drive that have a place and no contents yet, at most.
const PER_DRIVE: usize = 10;
/// What third copies are given on drives with plenty of room: too much for the gaps that ext4 leaves beside what was asked for first.
const THIRD: u64 = 4 << 20;
/// So much room is plenty, beside what the set needs.
const PLENTY: u64 = 64 << 20;

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
    /// By drive, what third copies are given at least.
    third: Vec<u64>,
}

impl Sizes {
    /// Of a part that is written to these drives by this plan, where the lines of the inventory have about `lines` bytes.
    pub fn of(plan: &Plan, drives: &[Drive], lines: u64) -> Sizes {
        let holds = |(drive, needed): (&Drive, &u64)| drive.free.min(*needed);
        let held: Vec<u64> = drives.iter().zip(&plan.needed).map(holds).collect();
        let volumes = plan.most_groups_on(drives).saturating_mul(plan.placement.len() as u64);
        let (hashes, manifest) = margins::given(at_hand(plan, drives), volumes, drives.len() as u64, plan.block);
        let many = PER_DRIVE * drives.len() > open_files() / 4;
        let spare = |drive: &Drive, needed: u64| drive.free != UNTOLD && drive.free.saturating_sub(needed) >= PLENTY;
        let third = |(drive, needed): (&Drive, &u64)| if spare(drive, *needed) { THIRD } else { 0 };
        let most = |drive: &Drive| if drive.free == UNTOLD || many { 0 } else { (drive.free / 64).max(LEAST_ROOM) };
        Sizes {
            manifest,
            // What is in those lines and does not repeat, names and hashes, is less than half of them.
            inventory: LEAST_ROOM + lines / 2,
            hashes,
            most: drives.iter().map(most).collect(),
            // In the first half: frames may be much shorter than segments.
            middle: held.iter().map(|held| (held / 4).max(LEAST_APART)).collect(),
            third: drives.iter().zip(&plan.needed).map(third).collect(),
        }
    }

    /// What a third copy is given on a drive.
    pub fn of_third(&self, drive: usize, name: &str) -> u64 {
        match self.of_file(drive, name) {
            0 => 0,
            bytes => bytes.max(self.third.get(drive).copied().unwrap_or(0)),
        }
    }

    /// How many bytes of volumes the writer of a drive writes before third copies get their places.
    pub fn middle(&self, drive: usize) -> u64 {
        self.middle.get(drive).copied().unwrap_or(u64::MAX)
    }

    /// The most bytes that a copy of `hashes.b3` and one of the manifest are given on a drive before they have contents.
    pub fn hashes_and_manifest(&self) -> (u64, u64) {
        let most = |name| (0..self.most.len()).map(|drive| self.of_file(drive, name)).max().unwrap_or(0);
        (most(names::HASHES), most(names::MANIFEST))
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
        bytes.min(most)
    }
}

/// Bytes that a part takes of these drives at most. Directories on one file system share its room.
fn at_hand(plan: &Plan, drives: &[Drive]) -> u64 {
    let first = |(i, drive): &(usize, &Drive)| drives.iter().position(|d| d.device == drive.device) == Some(*i);
    let held = |(_, drive): (usize, &Drive)| {
        let together = drives.iter().zip(&plan.needed).filter(|(d, _)| d.device == drive.device);
        together.fold(0u64, |sum, (_, needed)| sum.saturating_add(*needed)).min(drive.free)
    };
    drives.iter().enumerate().filter(first).map(held).fold(0, u64::saturating_add)
}

/// Files that have a place, and no contents.
#[derive(Default)]
pub struct Reserved {
    files: Mutex<Vec<Partial>>,
    /// Some file has no place of its own, or not where it should be.
    lack: AtomicBool,
}

impl Reserved {
    /// Begins a file, if it has not been begun, with room for what it will hold.
    pub fn add(&self, place: &Dir, name: &str, bytes: u64) -> Result<()> {
        if lock(&self.files).iter().any(|file| file.is(place, name)) {
            return Ok(());
        }
        if bytes == 0 {
            self.note_lack();
            return Ok(());
        }
        let file = Partial::create(place, name)?.reserving(bytes)?;
        if !file.is_placed() {
            self.note_lack();
        }
        lock(&self.files).push(file);
        Ok(())
    }

    /// Files that were given their places before an interruption.
    pub fn keep(&self, files: Vec<Partial>) {
        lock(&self.files).extend(files);
    }

    /// A file that was begun.
    pub fn take(&self, place: &Dir, name: &str) -> Option<Partial> {
        let mut files = lock(&self.files);
        let at = files.iter().position(|file| file.is(place, name))?;
        Some(files.swap_remove(at))
    }

    /// Some file has no place of its own.
    pub fn note_lack(&self) {
        self.lack.store(true, Ordering::Relaxed);
    }

    /// Whether that is so.
    pub fn lacks(&self) -> bool {
        self.lack.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::hashes::BlockSize;
    use crate::format::limits::MOST_VOLUMES;
    use crate::media::device::Device;
    use crate::pack::margins::PER_VOLUME;

    const MIB: u64 = 1 << 20;

    fn drive(device: u64, free: u64) -> Drive {
        Drive {
            path: "/d".into(),
            free,
            device,
            longest_file: u64::MAX >> 1,
            fs_type: "ext4".into(),
            source: "/dev/x".into(),
            known: Device::default(),
        }
    }

    /// Of much more than the drives hold, in volumes of 2 MiB.
    fn sizes(drives: &[Drive]) -> Sizes {
        let plan = Plan {
            k: 2,
            m: 1,
            volume_bytes: 2 * MIB,
            block: BlockSize::SMALLEST,
            segment_bytes: 64 << 10,
            compression: Default::default(),
            placement: (0..3).map(|v| v % drives.len()).collect(),
            needed: vec![1 << 40; drives.len()],
            most_groups: 1 << 18,
            in_parts: true,
        };
        Sizes::of(&plan, drives, 0)
    }

    #[test]
    fn places_are_for_what_the_drives_at_hand_can_take() {
        let one = sizes(&[drive(1, 600 * MIB)]);
        // About 300 volumes, not all of the set.
        assert!((LEAST_ROOM + 300 * PER_VOLUME..LEAST_ROOM + 340 * PER_VOLUME).contains(&one.manifest), "{one:?}");
        let two = sizes(&[drive(1, 600 * MIB), drive(1, 600 * MIB)]);
        assert_eq!((two.hashes, two.manifest), (one.hashes, one.manifest));
        // Of several drives, none has a second copy of long hashes.
        let apart = sizes(&[drive(1, 1 << 40), drive(2, 1 << 40)]);
        assert_eq!(apart.hashes, 64 * MIB);
        assert!(apart.manifest > sizes(&[drive(1, 1 << 40)]).manifest && sizes(&[drive(1, 1 << 40)]).hashes > 64 * MIB);
        let large = sizes(&[drive(1, 1 << 40)]);
        assert!(large.manifest <= LEAST_ROOM + MOST_VOLUMES * PER_VOLUME + large.hashes / 512, "{large:?}");
        // What is charged of a drive is what its files are given.
        assert_eq!(one.hashes_and_manifest(), (one.of_file(0, names::HASHES), one.of_file(0, names::MANIFEST)));
        let small = sizes(&[drive(1, 6 * MIB)]);
        assert_eq!(small.hashes_and_manifest(), (LEAST_ROOM, LEAST_ROOM));
        assert_eq!(small.of_file(0, names::SIGNATURE), LEAST_ROOM);
        assert_eq!(sizes(&[drive(1, UNTOLD)]).of_file(0, names::SIGNATURE), 0);
    }

    #[test]
    fn third_copies_are_given_more_where_there_is_plenty_of_room() {
        let of = |free: u64| sizes(&[drive(1, free)]).of_third(0, names::KEYS);
        assert_eq!((of(1 << 40), of((1 << 40) + PLENTY - 1)), (LEAST_ROOM, LEAST_ROOM));
        assert_eq!((of((1 << 40) + PLENTY), of(UNTOLD)), (THIRD, 0));
    }
}
