//! What damage in one place of a drive does to a set, as this version lays it out: how far apart copies lie, and blocks of one row.

use crate::format::manifest::{Group, Manifest};
use crate::stages::runs::run_bytes;

/// So many bytes of volumes lie between copies, if there are as many at all.
pub const LEAST_APART: u64 = 2 << 20;
/// Nothing is said of longer damage, nor of shorter.
pub const LONGEST: u64 = 1 << 20;
const SHORTEST: u64 = 8 << 10;

/// What is known of the places that a drive gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// Nothing: copies of metadata may lie side by side, and a piece of one volume beside another. So it is after an interruption too, and
    /// where drives were tried: of what was removed then, a file system gives the room in pieces and in another order.
    Unknown,
    /// Copies have the volumes between them, and all lies in the order in which it was written.
    InOrder,
}

/// The longest damage, in bytes, that a whole set survives in whichever place of one drive it is, but in the tables of the file system.
pub fn survived(manifest: &Manifest, places: Places) -> Option<u64> {
    let between = || manifest.volumes().map(|(_, _, _, v)| v.bytes).sum::<u64>();
    // On other drives there are other copies.
    let apart = manifest.drives > 1 || places != Places::Unknown && between() >= LEAST_APART;
    // One piece of a volume may have come to lie beside another volume.
    let strayed = u64::from(places == Places::Unknown);
    let on_drives = |damage: u64| {
        let groups = manifest.groups.iter();
        groups
            .flat_map(|group| (1..=manifest.drives).map(move |drive| (group, drive)))
            .all(|(group, drive)| hit(group, drive, damage, manifest, strayed) <= u64::from(group.m))
    };
    let mut lengths = std::iter::successors(Some(LONGEST), |length| Some(length / 2).filter(|half| *half >= SHORTEST));
    lengths.find(|length| apart && on_drives(*length))
}

/// How many blocks of one row such damage to a drive reaches at most, if so many volumes have strayed.
fn hit(group: &Group, drive: u16, damage: u64, manifest: &Manifest, strayed: u64) -> u64 {
    let (run, block) = (run_bytes(group.volumes.len(), manifest.segment_bytes), u64::from(manifest.block_bytes));
    let own = group.volumes.iter().filter(|volume| volume.drive == drive);
    // A run of each volume lies behind a run of the one before it; the last of a group are what is left.
    let last = own.clone().map(|volume| (volume.bytes.max(1) - 1) % run + 1).min().unwrap_or(run);
    ((damage + block - 1) / last + 1 + strayed).min(own.count() as u64)
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
        assert!(drives > 1 || survived(&manifest, Places::Unknown).is_none());
        let in_order = survived(&manifest, Places::InOrder);
        assert!(survived(&manifest, Places::Unknown) <= in_order);
        in_order
    }

    #[test]
    fn where_places_are_not_known_one_more_volume_of_a_drive_may_be_hit() {
        let of = |m: u16| {
            let mut manifest = Manifest { drives: 2, ..sample(4, m, 1) };
            let volumes = manifest.groups[0].volumes.iter_mut();
            volumes.zip(0..).for_each(|(volume, i)| (volume.bytes, volume.drive) = (4 << 20, 1 + i % 2));
            (survived(&manifest, Places::Unknown), survived(&manifest, Places::InOrder))
        };
        assert_eq!((of(1), of(2)), ((None, Some(1 << 20)), (Some(1 << 20), Some(1 << 20))));
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
