//! What damage in one place of a drive does to a set, as this version lays it out: how far apart copies lie, and blocks of one row.

use crate::format::manifest::{Group, Manifest};
use crate::stages::runs::run_bytes;

/// So many bytes of volumes lie between copies, if there are as many at all.
pub const LEAST_APART: u64 = 2 << 20;
/// Nothing is said of longer damage, nor of shorter.
const LONGEST: u64 = 1 << 20;
const SHORTEST: u64 = 8 << 10;

/// The longest damage, in bytes, that a whole set survives in whichever place of one drive it is, but in the tables of the file system.
/// `apart` if copies on one drive have their places with the volumes between.
pub fn survived(manifest: &Manifest, apart: bool) -> Option<u64> {
    let between = || manifest.volumes().map(|(_, _, _, v)| v.bytes).sum::<u64>();
    // On other drives there are other copies.
    let apart = manifest.drives > 1 || apart && between() >= LEAST_APART;
    let on_drives = |damage: u64| {
        let groups = manifest.groups.iter();
        groups
            .flat_map(|group| (1..=manifest.drives).map(move |drive| (group, drive)))
            .all(|(group, drive)| hit(group, drive, damage, manifest) <= u64::from(group.m))
    };
    let mut lengths = std::iter::successors(Some(LONGEST), |length| Some(length / 2).filter(|half| *half >= SHORTEST));
    lengths.find(|length| apart && on_drives(*length))
}

/// How many blocks of one row such damage to a drive reaches at most.
fn hit(group: &Group, drive: u16, damage: u64, manifest: &Manifest) -> u64 {
    let (run, block) = (run_bytes(group.volumes.len(), manifest.segment_bytes), u64::from(manifest.block_bytes));
    let own = group.volumes.iter().filter(|volume| volume.drive == drive);
    // A run of each volume lies behind a run of the one before it; the last of a group are what is left.
    let last = own.clone().map(|volume| (volume.bytes.max(1) - 1) % run + 1).min().unwrap_or(run);
    ((damage + block - 1) / last + 1).min(own.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::manifest::tests::sample;

    fn of(m: u16, bytes: u64, drives: u16) -> Option<u64> {
        let mut manifest = Manifest { drives, ..sample(16, m, 1) };
        for (i, volume) in manifest.groups[0].volumes.iter_mut().enumerate() {
            (volume.bytes, volume.drive) = (bytes, 1 + i as u16 % drives);
        }
        // Of copies that lie side by side on the only drive nothing is promised.
        assert!(drives > 1 || survived(&manifest, false).is_none());
        survived(&manifest, true)
    }

    #[test]
    fn long_volumes_lie_apart_and_short_ones_do_not() {
        const MIB: u64 = 1 << 20;
        assert_eq!(of(2, MIB, 1), Some(MIB));
        assert_eq!(of(1, MIB, 1), Some(MIB / 2));
        assert_eq!(of(1, 2 * MIB, 1), Some(MIB));
        // Three volumes, or more, within a MiB.
        assert_eq!(of(2, MIB / 2, 1), Some(MIB / 2));
        assert_eq!(of(2, 3 * (64 << 10), 1), Some(256 << 10));
        // What is left of runs of 8 MiB is as short.
        assert_eq!((of(2, 8 * MIB, 1), of(2, 8 * MIB + MIB / 2, 1)), (Some(MIB), Some(MIB / 2)));
        // All copies lie side by side.
        assert_eq!(of(2, 64 << 10, 1), None);
        // Of each row a drive has no more than may be lost.
        assert_eq!(of(2, 64 << 10, 9), Some(MIB));
    }
}
