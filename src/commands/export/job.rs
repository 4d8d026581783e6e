//! What a new export and one that goes on have in common: the sources are surveyed, and what is to be written is written.

use super::options::Options;
use super::report::{self, Report, Totals};
use crate::error::{Error, Result, goes_on};
use crate::format::inventory::{self, Entry};
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::drive::PER_FILE;
use crate::media::fence::Needs;
use crate::media::program::Program;
use crate::pack::{self, Export, Plan, Walk, Walked, lines_of, most_segments, signing_errands, walk};
use crate::progress::{Ask, Phase, Progress};
use crate::set::check_paths;
use crate::stages::tar;
use std::path::{Path, PathBuf};

/// Writes what there is to write; says how to go on if that ends early.
pub fn finish(
    options: &Options,
    mut export: Export,
    totals: Totals,
    ask: &dyn Ask,
    progress: &dyn Progress,
) -> Result<Report> {
    let plan = export.begun.plan.clone();
    options.disk.confine(&needs(&export, &options.state_dir, ask.can_change_drives() && plan.in_parts));
    progress.if_stopped(&goes_on(&export.to_go_on()));
    match pack::write(&mut export, ask, progress) {
        Ok(parts) => {
            export.state.remove()?;
            Ok(report::written(&parts, &plan, totals))
        }
        Err(error) => {
            progress.tidies();
            Err(export.give_up(error))
        }
    }
}

/// A destination must not be given twice, nor lie in what is exported.
pub fn check_destinations(disk: &Disk, sources: &[PathBuf], drives: &[Dir]) -> Result<()> {
    let resolve = |path: &PathBuf| Dir::given(disk, path).map_or_else(|_| path.clone(), |dir| dir.real_path());
    let sources: Vec<PathBuf> = sources.iter().map(resolve).collect();
    let mut seen = Vec::new();
    for dir in drives {
        let (path, resolved, identity) = (dir.path(), dir.real_path(), dir.identity().ok());
        // What lies in a source is left out of it.
        if sources.contains(&resolved) {
            return Err(Error::usage(
                format!("the destination {} is what is exported", path.display()),
                "export to a directory outside of the source, or name the sources",
            ));
        }
        // One directory may have two paths, by bind mounts.
        if identity.is_some() && seen.contains(&identity) {
            return Err(Error::usage(
                format!("the destination {} is given twice", path.display()),
                "give each drive once",
            ));
        }
        seen.push(identity);
    }
    Ok(())
}

/// What writing needs. Links in a source may lead anywhere, so everything may be read; but only drives and the state are
/// written to.
fn needs(export: &Export, state_dir: &Path, in_parts: bool) -> Needs {
    let (drives, mut needs) = (&export.begun.drives, Needs::default());
    needs.read.push("/".into());
    needs.write.push(state_dir.to_owned());
    needs.errands = signing_errands(&export.key, &export.begun.signing_key);
    match in_parts {
        false => needs.write.extend(drives.iter().cloned()),
        true => {
            needs.write.extend(drives.iter().map(|drive| Needs::around(drive)));
            needs.changed.clone_from(drives);
        }
    }
    needs
}

/// What only planning needs: links in a source may lead anywhere, and nothing is written.
pub(in crate::commands) fn only_read() -> Needs {
    Needs { read: vec!["/".into()], ..Needs::default() }
}

/// The sources as they are, laid out as a stream; and its length.
pub(in crate::commands) fn survey(
    disk: &Disk,
    sources: &[PathBuf],
    how: &Walk,
    progress: &dyn Progress,
) -> Result<(Walked, u64)> {
    progress.stage(Phase::Walk);
    let mut walked = walk(disk, sources, how)?;
    let tar_bytes = tar::lay_out(&mut walked.entries)?;
    // Nothing is written that no importer would read.
    let cannot = |why: String| Error::source(why, "leave it out with --exclude, or rename it");
    inventory::check(&walked.entries)
        .map_err(|e| cannot(format!("the sources cannot be exported as they are: {e}")))?;
    check_paths(&walked.entries, |_| false, |_| false).map_err(|e| cannot(e.to_string()))?;
    Ok((walked, tar_bytes))
}

/// The directories that belong to the export itself: its drives, and its state.
pub fn own(drives: &[Dir], state: Option<&Dir>) -> Vec<(u64, u64)> {
    let identity = |dir: &Dir| dir.metadata().ok().map(|stat| (stat.st_dev, stat.st_ino));
    drives.iter().chain(state).filter_map(identity).collect()
}

/// An upper bound for what the inventory, which is compressed, says of entries, and for what lies beside it.
pub(in crate::commands) fn metadata_estimate(walked: &Walked, program: Option<&Program>) -> u64 {
    let program = program.map_or(0, |program| program.bytes() + PER_FILE);
    lines_of(&walked.entries) + (1 << 20) + program
}

/// Nothing may be exported that import refuses to read: where the inventory of one part would be too long, the set goes on in a next
/// part, if somebody can change the drives.
pub(in crate::commands) fn check_inventory(
    entries: &[Entry],
    segments: u64,
    plan: &mut Plan,
    may_go_on: bool,
) -> Result<()> {
    let most = most_segments(entries, plan);
    match segments <= most {
        true => Ok(()),
        false if may_go_on && most > 0 => {
            plan.in_parts = true;
            Ok(())
        }
        false => Err(Error::usage(
            format!(
                "the inventory of so much would be too long to be read: {segments} segments, of which it has room for {most}"
            ),
            "leave --segment-size out, or write the set in parts: give no more drives than one part is to have, and --next-drive-command puts in the next; or export less at once",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::drive;

    #[test]
    fn an_inventory_that_is_too_long_is_a_matter_of_usage() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), "x").unwrap();
        let walked = walk(&Disk::default(), &[temp.path().to_owned()], &Walk::default()).unwrap();
        let drive = drive::examine(&drive::open(&Disk::default(), temp.path()).unwrap()).unwrap();
        let mut plan = pack::plan(&pack::Request::default(), &[drive], 1, 0).unwrap();
        let most = most_segments(&walked.entries, &plan);
        check_inventory(&walked.entries, most, &mut plan, false).unwrap();
        assert_eq!(check_inventory(&walked.entries, most + 1, &mut plan, false).unwrap_err().exit_code(), 2);
        assert!(!plan.in_parts);
        check_inventory(&walked.entries, most + 1, &mut plan, true).unwrap();
        assert!(plan.in_parts);
    }

    #[test]
    fn what_is_too_much_for_one_part_is_exported_in_several() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), "x").unwrap();
        let walked = walk(&Disk::default(), &[temp.path().to_owned()], &Walk::default()).unwrap();
        let here = drive::examine(&drive::open(&Disk::default(), temp.path()).unwrap()).unwrap();
        let large = drive::Drive { free: 1 << 60, longest_file: 1 << 60, ..here };
        let check = |terabytes: u64| {
            let bytes = terabytes * 1_000_000_000_000;
            let mut plan = pack::plan(&pack::Request::default(), std::slice::from_ref(&large), bytes, 0).unwrap();
            check_inventory(&walked.entries, bytes.div_ceil(plan.segment_bytes.into()), &mut plan, false)
        };
        check(200).unwrap();
        let refused = check(250).unwrap_err();
        assert!(refused.exit_code() == 2 && refused.hint().contains("in parts"), "{refused}: {}", refused.hint());
    }
}
