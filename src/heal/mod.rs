//! Audit, verdict, repair: is a set whole, and what makes it whole again?
//!
//! In comes a trusted set. Out comes what was found of each part of it and the verdict, or files that were made anew, read back
//! and compared. Nothing here needs a secret, and nothing is written but to the drives that were named.

mod audit;
mod diagnose;
mod findings;
mod metadata;
mod queue;
mod repair;
mod verdict;
mod volumes;

pub use findings::{Audit, FileState, State, VolumeState};
pub use repair::Remedy;
pub use verdict::Verdict;
pub use volumes::Why;

use crate::error::{Error, Result};
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::drive;
use crate::media::lock::{self, WriteLock, is_being_written};
use crate::progress::{Lane, Phase, Progress};
use crate::set::{Blocks, Part, Set, exhausted, name_drives};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Reads and judges everything of a set that is here, part by part.
pub fn audit(set: &Set, this_drive: bool, progress: &dyn Progress) -> Result<Vec<Audit>> {
    set.share_slot();
    let judge = |part: &Part| audit::audit(part, &Blocks::new(part)?, this_drive, progress);
    let found = set.parts.iter().map(judge).collect::<Result<Vec<Audit>>>()?;
    exhausted().map_or(Ok(found), Err)
}

/// The worst of the parts; parts that are not here could still be brought.
pub fn verdict(set: &Set, found: &[Audit], this_drive: bool) -> Verdict {
    let worst = found.iter().map(Audit::verdict).max().unwrap_or(Verdict::Incomplete);
    match set.has_all_parts() || this_drive {
        true => worst,
        false => worst.max(Verdict::Incomplete),
    }
}

/// What is said of a set of which a key slot was written anew (rule 81).
pub fn rewritten_slot() -> Error {
    Error::newer(
        "the set needs the feature \"keys.age.sig\", which is newer than this ckvault: a key slot here is not the one that was signed with the set, and by keys.age.sig beside it was written anew by a later version, which only that can judge",
        "have a newer ckvault judge it; whoever has an identity can import, and learns whether the key slot holds the key of the set",
    )
}

/// What a repair has done.
pub struct Repaired {
    /// What each part is now.
    pub found: Vec<Audit>,
    /// What was made of each part.
    pub remedies: Vec<Remedy>,
    /// The new drives that were, as they were opened.
    pub given: Vec<Dir>,
    /// New drives that were not needed.
    pub unused: Vec<PathBuf>,
}

/// Makes anew what is not as signed: in place, or on the new drives `to` if there are any.
pub fn repair(set: &Set, disk: &Disk, to: &[PathBuf], progress: &dyn Progress) -> Result<Repaired> {
    progress.stage(Phase::Prepare);
    // Nobody else writes there; where this will, what an interrupted repair left is gone.
    let locks = if to.is_empty() { lock_all(set)? } else { unlocked(set)? };
    // What is there, and whether it suffices.
    set.share_slot();
    let blocks = set.parts.iter().map(Blocks::new).collect::<Result<Vec<Blocks>>>()?;
    let judge = |blocks: &Blocks| audit::audit(blocks.set(), blocks, false, progress);
    let mut found = blocks.iter().map(judge).collect::<Result<Vec<Audit>>>()?;
    exhausted().map_or(Ok(()), Err)?;
    if verdict(set, &found, false) >= Verdict::Incomplete
        && let Some(refusal) = set.parts.iter().find_map(Part::refusal)
    {
        return Err(refusal);
    }
    // What is in need, and where it goes.
    progress.stage(Phase::Prepare);
    let (given, unused) = assign(set, &found, disk, to)?;
    let mut remedies = set.parts.iter().map(|_| Remedy::default()).collect::<Vec<Remedy>>();
    for ((remedy, blocks), found) in remedies.iter_mut().zip(&blocks).zip(&found) {
        match to.is_empty() {
            true => remedy.plan_in_place(blocks, found),
            false => remedy.plan_replacements(blocks, &given)?,
        }
    }
    // Computed, written, read back, and only then given its name.
    for ((remedy, blocks), found) in remedies.iter_mut().zip(&blocks).zip(&mut found) {
        let mut lanes: Vec<Lane> = set.drive_numbers().map(|number| Lane { number, bytes: Some(0) }).collect();
        for (drive, bytes) in remedy.bytes(blocks) {
            lanes[drive].bytes = lanes[drive].bytes.map(|all| all + bytes);
        }
        progress.begin(Phase::Repair, lanes.iter().filter_map(|lane| lane.bytes).sum(), &lanes);
        remedy.run(blocks, found, progress)?;
    }
    drop(locks);
    Ok(Repaired { found, remedies, given: given.into_values().collect(), unused })
}

/// Two repairs of one set would be in each other's way, and so would a repair and an export.
fn lock_all(set: &Set) -> Result<Vec<WriteLock>> {
    let lock = |dir: &Dir| {
        WriteLock::take(dir).map_err(Error::on_drive("lock", dir.show(lock::name())))?.ok_or_else(|| repair::busy(dir))
    };
    let locks = set.parts.iter().flat_map(|p| &p.dirs).map(lock).collect::<Result<_>>()?;
    set.parts.iter().for_each(repair::sweep);
    Ok(locks)
}

/// Drives that are only read from take no lock, which would be a file on them.
fn unlocked(set: &Set) -> Result<Vec<WriteLock>> {
    match set.parts.iter().flat_map(|p| &p.dirs).find(|dir| is_being_written(dir)) {
        Some(dir) => Err(repair::busy(dir)),
        None => Ok(Vec::new()),
    }
}

/// Which new drive is for which number; and those that are not needed.
fn assign(set: &Set, found: &[Audit], disk: &Disk, to: &[PathBuf]) -> Result<(BTreeMap<u32, Dir>, Vec<PathBuf>)> {
    let needs = repair::needs(set, found);
    if to.is_empty() || needs.len() <= to.len() {
        let open = |(number, path): (&u32, &PathBuf)| Ok((*number, drive::open(disk, path)?));
        let given = needs.iter().zip(to).map(open).collect::<Result<_>>()?;
        return Ok((given, to.get(needs.len()..).unwrap_or_default().to_vec()));
    }
    let absent: Vec<u32> =
        set.parts.iter().zip(found).flat_map(|(p, f)| f.absent.iter().map(|d| p.manifest.drive_number(*d))).collect();
    let here: Vec<u32> = needs.iter().copied().filter(|n| !absent.contains(n)).collect();
    let hint = match here.is_empty() {
        true => "give --to once for each of them".to_owned(),
        false => format!(
            "give --to once for each of them; {} can be repaired in place before, by the same command without --to",
            name_drives(&here)
        ),
    };
    Err(Error::usage(
        format!(
            "{} of the set need{} a replacement, and --to names {}",
            name_drives(&needs),
            if needs.len() == 1 { "s" } else { "" },
            to.len()
        ),
        hint,
    ))
}
