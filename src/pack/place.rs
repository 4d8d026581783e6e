//! Which volume of a group goes to which drive: by the room that is free on each, or by how fast each takes what is written to it.

use crate::error::{Error, Result};
use crate::media::drive::{Drive, UNTOLD};
use std::iter::Sum;

/// What `--survive-drives` asks for cannot be.
pub fn cannot_survive(drives: usize, lost: usize) -> Error {
    Error::usage(
        format!("no parity survives the loss of {lost} of {drives} drives and one volume more"),
        "use more drives, or survive fewer losses",
    )
}

/// How many volumes the `lost` fullest drives hold together.
pub fn most(counts: &[usize], lost: usize) -> usize {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    sorted.iter().take(lost).sum()
}

/// What there is of all drives that are on the file system of this one.
pub fn on_device_of<T: Copy + Sum>(drive: usize, drives: &[Drive], of_each: &[T]) -> T {
    let together = drives.iter().zip(of_each).filter(|(other, _)| other.device == drives[drive].device);
    together.map(|(_, own)| *own).sum()
}

/// Deals the volumes of a group to drives so that the fullest N never hold more than M − 1 of them: in proportion to free
/// space if that can be, else with the same limit for each.
pub fn place((k, m): (u16, u16), survive: Option<u16>, drives: &[Drive]) -> Result<Vec<usize>> {
    let lost = usize::from(survive.unwrap_or(0));
    if lost > 0 && lost >= drives.len() {
        return Err(cannot_survive(drives.len(), lost));
    }
    // Directories on one file system have the same room: it was measured for one after the other, and may have changed.
    let free = |d: usize| drives.iter().find(|other| other.device == drives[d].device).map_or(0, |first| first.free);
    // A drive that does not tell its room gets as much as the emptiest that does.
    let emptiest = drives.iter().map(|d| d.free).filter(|f| *f != UNTOLD).max().unwrap_or(1);
    let fullness = |counts: &[usize], d: usize| share(counts[d], free(d).min(emptiest));
    surviving((k, m), lost, drives.len(), |_, _| true, fullness).ok_or_else(|| {
        Error::usage(
            format!(
                "{k}+{m} volumes on {} drives do not survive the loss of {lost} of them and one volume more",
                drives.len()
            ),
            "leave --parity out, or give more parity or more drives",
        )
    })
}

/// Deals them so that the drive which takes longest is done as early as can be, within the same limits and the room that there is.
/// `needed` says how many bytes each drive has to hold, placed like that; nothing is returned where no such placement has room.
/// Directories on one file system share its speed and its room.
pub fn by_speed(
    parity: (u16, u16),
    survive: Option<u16>,
    (drives, speeds): (&[Drive], &[u64]),
    needed: impl Fn(&[usize]) -> Vec<u64>,
) -> Option<Vec<usize>> {
    let lost = usize::from(survive.unwrap_or(0));
    let mut limits = vec![usize::MAX; drives.len()];
    loop {
        let within = |counts: &[usize], d: usize| on_device_of(d, drives, counts) <= limits[d];
        let time = |counts: &[usize], d: usize| (share(on_device_of(d, drives, counts), speeds[d]), counts[d]);
        let placement = surviving(parity, lost, drives.len(), within, time)?;
        let (counts, bytes) = (counted(&placement, drives.len()), needed(&placement));
        let mut has_room = true;
        for (d, drive) in drives.iter().enumerate() {
            let (held, bytes) = (on_device_of(d, drives, &counts), on_device_of(d, drives, &bytes));
            if bytes > drive.free {
                has_room = false;
                // Never fewer than have room: bytes are in proportion to volumes, but for what is there without any.
                let in_proportion = (held as u128 * u128::from(drive.free) / u128::from(bytes)) as usize;
                limits[d] = in_proportion.min(held.checked_sub(1)?);
            }
        }
        if has_room {
            return Some(placement);
        }
    }
}

/// How many volumes each drive holds.
fn counted(placement: &[usize], drives: usize) -> Vec<usize> {
    let mut counts = vec![0; drives];
    placement.iter().for_each(|d| counts[*d] += 1);
    counts
}

/// What a drive that has so many volumes would have with one more, in proportion to its size or speed.
fn share(count: usize, size: u64) -> u128 {
    (count as u128 + 1) * u128::from(u64::MAX) / u128::from(size.max(1))
}

/// Deals within the limits of each drive, so that any `lost` of them may be lost.
fn surviving<K: Ord>(
    (k, m): (u16, u16),
    lost: usize,
    drives: usize,
    within: impl Fn(&[usize], usize) -> bool,
    next: impl Fn(&[usize], usize) -> K,
) -> Option<Vec<usize>> {
    let (n, spare) = (usize::from(k + m), usize::from(m - 1));
    if lost == 0 {
        return deal(n, drives, within, next);
    }
    let together = deal(n, drives, |counts, d| most(counts, lost) <= spare && within(counts, d), &next);
    let alike = |counts: &[usize], d: usize| counts[d] <= spare / lost && within(counts, d);
    together.or_else(|| deal(n, drives, alike, &next))
}

/// Gives each of `n` volumes to the drive that is the next by what all have (highest averages), among those that may take it.
fn deal<K: Ord>(
    n: usize,
    drives: usize,
    may: impl Fn(&[usize], usize) -> bool,
    next: impl Fn(&[usize], usize) -> K,
) -> Option<Vec<usize>> {
    let mut counts = vec![0usize; drives];
    let mut placement = Vec::with_capacity(n);
    for _ in 0..n {
        let open = (0..drives).filter(|d| {
            let mut then = counts.clone();
            then[*d] += 1;
            may(&then, *d)
        });
        let drive = open.min_by_key(|d| next(&counts, *d))?;
        counts[drive] += 1;
        placement.push(drive);
    }
    Some(placement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::plan::tests::drives;
    use crate::pack::plan::{Plan, Request, has_room, plan};
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn with_parity(k: u16, m: u16) -> Request {
        Request { parity: Some((k, m)), ..Request::default() }
    }

    fn counts(plan: &Plan, drives: usize) -> Vec<usize> {
        counted(&plan.placement, drives)
    }

    /// Volumes on each drive where drives have these speeds.
    fn favouring(request: &Request, drives: &[Drive], speeds: &[u64], bytes: u64) -> Vec<usize> {
        let mut plan = plan(request, drives, bytes, 0).unwrap();
        plan.favour(request, (drives, speeds), (bytes, 0));
        counts(&plan, drives.len())
    }

    #[test]
    fn directories_on_one_file_system_are_dealt_to_equally_whatever_was_written_while_it_was_measured() {
        let mut drives = drives(&[40 << 20, 40 << 20, 39 << 20, 39 << 20, 20 << 20]);
        drives.iter_mut().take(4).for_each(|drive| drive.device = 7);
        assert_eq!(plan(&with_parity(7, 2), &drives, 1 << 20, 0).unwrap().placement, [0, 1, 2, 3, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn unequal_drives_get_unequal_numbers() {
        let plan = plan(&Request::default(), &drives(&[100 * GIB, 50 * GIB]), 10 * GIB, 0).unwrap();
        assert_eq!(counts(&plan, 2), [12, 6]);
    }

    #[test]
    fn a_drive_that_does_not_tell_its_room_gets_no_more_than_others() {
        let plan = plan(&Request::default(), &drives(&[100 * GIB, UNTOLD]), 10 * GIB, 0).unwrap();
        assert_eq!(counts(&plan, 2), [9, 9]);
    }

    #[test]
    fn a_drive_that_is_three_times_as_fast_gets_three_times_as_much() {
        let (request, two) = (with_parity(6, 2), drives(&[100 * GIB; 2]));
        assert_eq!(favouring(&request, &two, &[90 * MIB, 30 * MIB], GIB), [6, 2]);
        assert_eq!(favouring(&request, &two, &[30 * MIB, 90 * MIB], GIB), [2, 6]);
        // Whatever room there is, as long as it suffices.
        assert_eq!(favouring(&request, &drives(&[10 * GIB, 900 * GIB]), &[90 * MIB, 30 * MIB], GIB), [6, 2]);
        assert_eq!(favouring(&request, &drives(&[UNTOLD, 10 * GIB]), &[30 * MIB, 90 * MIB], GIB), [2, 6]);
        // One has nothing to choose from.
        assert_eq!(favouring(&request, &drives(&[100 * GIB]), &[1], GIB), [8]);
    }

    #[test]
    fn directories_on_one_file_system_share_its_speed() {
        let mut drives = drives(&[100 * GIB; 3]);
        drives[1].device = drives[0].device;
        assert_eq!(favouring(&with_parity(6, 2), &drives, &[30 * MIB, 30 * MIB, 30 * MIB], GIB), [2, 2, 4]);
        assert_eq!(favouring(&with_parity(6, 2), &drives, &[90 * MIB, 90 * MIB, 30 * MIB], GIB), [3, 3, 2]);
    }

    #[test]
    fn a_fast_drive_that_is_small_is_not_overfilled() {
        let request = with_parity(6, 2);
        let bytes = 6 * GIB;
        for free in [1, 2, 3, 4] {
            let two = drives(&[free * GIB + GIB / 2, 100 * GIB]);
            assert_eq!(favouring(&request, &two, &[900 * MIB, 30 * MIB], bytes)[0], free as usize, "{free} GiB");
        }
        // On one file system, the room is one too.
        let mut three = drives(&[3 * GIB + GIB / 2, 3 * GIB + GIB / 2, 100 * GIB]);
        three[1].device = three[0].device;
        assert_eq!(favouring(&request, &three, &[900 * MIB, 900 * MIB, 30 * MIB], bytes), [2, 1, 5]);
    }

    #[test]
    fn what_has_no_room_for_sure_is_dealt_by_free_space() {
        let request = Request { may_go_on: true, ..with_parity(6, 2) };
        let small = drives(&[4 * GIB, 2 * GIB]);
        let mut plan = plan(&request, &small, 20 * GIB, 0).unwrap();
        let before = plan.placement.clone();
        plan.favour(&request, (&small, &[1, 99]), (20 * GIB, 0));
        assert_eq!((&plan.placement, &before), (&before, &plan.placement));
        assert!(!has_room(&small, &plan.needed));
        // Nor is it where the next drives may be others.
        let large = drives(&[400 * GIB, 200 * GIB]);
        plan.in_parts = true;
        plan.favour(&request, (&large, &[1, 99]), (20 * GIB, 0));
        assert_eq!(plan.placement, before);
    }

    proptest! {
        #[test]
        fn the_fullest_drives_never_hold_too_much(free in prop::collection::vec(1u64..1000, 2..9), lost in 1u16..4) {
            let drives = drives(&free.iter().map(|f| f * GIB).collect::<Vec<_>>());
            let request = Request { survive: Some(lost), ..Request::default() };
            if let Ok(plan) = plan(&request, &drives, GIB, 0) {
                prop_assert!(most(&counts(&plan, drives.len()), lost.into()) < usize::from(plan.m));
            }
        }

        #[test]
        fn fast_drives_get_more_within_all_limits(
            all in prop::collection::vec((1u64..40, 1u64..500, 0u64..6), 1..8),
            parity in prop::option::of((1u16..20, 1u16..12)),
            survive in prop::option::of(1u16..4),
            bytes in 1u64..(16 * GIB),
        ) {
            let mut drives = drives(&all.iter().map(|(free, ..)| free * GIB).collect::<Vec<_>>());
            drives.iter_mut().zip(&all).for_each(|(drive, (.., device))| drive.device = *device);
            let first = |d: usize| drives.iter().position(|other| other.device == drives[d].device).unwrap();
            let room = |d: usize| drives[first(d)].free;
            let drives: Vec<Drive> = (0..all.len()).map(|d| Drive { free: room(d), ..drives[d].clone() }).collect();
            let speeds: Vec<u64> = (0..all.len()).map(|d| all[first(d)].1 * MIB).collect();
            let request = Request { parity, survive, ..Request::default() };
            let Ok(mut plan) = plan(&request, &drives, bytes, 0) else { return Ok(()) };
            let (had_room, before) = (has_room(&drives, &plan.needed), plan.clone());
            plan.favour(&request, (&drives, &speeds), (bytes, 0));
            let counts = counts(&plan, drives.len());
            prop_assert_eq!(counts.iter().sum::<usize>(), usize::from(plan.k + plan.m));
            prop_assert!(survive.is_none_or(|lost| most(&counts, lost.into()) < usize::from(plan.m)));
            // What has room by free space has room by speed, and else nothing has changed.
            prop_assert!(has_room(&drives, &plan.needed) || !had_room && plan.placement == before.placement);
            // The slowest is done no later than before.
            let slowest = |plan: &Plan| {
                let counts = self::counts(plan, drives.len());
                (0..drives.len()).map(|d| on_device_of(d, &drives, &counts) as u64 * GIB / speeds[d]).max().unwrap()
            };
            prop_assert!(survive.is_some() || !had_room || slowest(&plan) <= slowest(&before));
        }
    }
}
