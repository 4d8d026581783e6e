//! The verdict of `verify`.

use super::{chain, counted, here, rate, read_errors, title};
use crate::cli::again;
use crate::ui::say;
use ckvault::commands::ReportedDrive;
use ckvault::commands::verify::{JudgedVolume, Report, ReportedFile};
use ckvault::format::names;
use indicatif::HumanBytes;
use std::time::Duration;

/// After `verify`.
pub fn verify(report: &Report, time: Duration, is_verbose: bool) {
    say!("{}", report.verdict);
    if report.untrusted.is_some() {
        return;
    }
    say!("{}", title(report.set.as_deref().unwrap_or_default(), report.label.as_deref()));
    if let (Some(signer), Some(fingerprint)) = (&report.signer, &report.signer_fingerprint) {
        say!("signed by {signer} ({fingerprint}), created {}", report.created.as_deref().unwrap_or_default());
    }
    here(&report.drives);
    // Damage first; what lies on an absent drive is told with that drive, in one line.
    let is_absent = |drive: u32| report.absent.contains(&drive);
    let why = |diagnosis: &Option<String>| diagnosis.as_deref().map(|d| format!(": {d}")).unwrap_or_default();
    for volume in report.volumes.iter().filter(|v| !["ok", "missing"].contains(&v.state)) {
        let bad = counted(volume.bad_blocks, "bad block", "bad blocks");
        say!("damaged  {} (drive {}), {bad}{}", volume.name, volume.drive, why(&volume.diagnosis));
    }
    for volume in report.volumes.iter().filter(|v| v.state == "missing" && !is_absent(v.drive)) {
        say!("missing  {} (drive {}){}", volume.name, volume.drive, why(&volume.diagnosis));
    }
    for file in &report.files {
        if file.state == "newer" {
            say!("newer    {}: written anew, and not what was signed with the set", file.path);
            continue;
        }
        let program = file.state == "damaged" && file.path.ends_with("/ckvault");
        say!("{:8} {}{}{}", file.state, file.path, why(&file.diagnosis), if program { ": do not run it" } else { "" });
    }
    report.absent.iter().for_each(|drive| absent(report, *drive));
    if is_verbose {
        let told = |v: &&JudgedVolume| v.state == "ok" || (v.state == "missing" && is_absent(v.drive));
        for volume in report.volumes.iter().filter(told) {
            say!("{:8} {} (drive {}), {}", volume.state, volume.name, volume.drive, HumanBytes(volume.bytes));
        }
    }
    chain(&report.parts, report.last);
    read_errors(&report.read_errors);
    // What is damaged on drives that are here is mended in place first; then each that is absent takes a new drive.
    // A key slot is left as it is where one was written anew, and that is the verdict then.
    let undecided = |f: &ReportedFile| report.verdict == "newer" && f.path.rsplit('/').next() == Some(names::KEYS);
    let in_place = report.files.iter().any(|f| !undecided(f))
        || report.volumes.iter().any(|v| v.state != "ok" && !is_absent(v.drive));
    let new = if in_place { 0 } else { report.absent.len() };
    match report.verdict {
        "intact" if report.this_drive && !report.absent.is_empty() => {
            say!("what should be here is whole; of the absent drives nothing is said")
        }
        "repairable" if report.this_drive && !report.absent.is_empty() => {
            say!("not all that should be here is whole: what is missing takes the other drives, all in one command")
        }
        "intact" => {
            say!("whole, it {}", report.survives.as_deref().unwrap_or_default());
            together(&report.drives);
        }
        "repairable" => say!(
            "everything can be recovered from what is here: `{}` does, and `{}` makes the drives whole",
            again::with_verb("import", " --to DIR"),
            again::with_verb("repair", &" --to NEW".repeat(new))
        ),
        "newer" if new > 0 || in_place => say!(
            "a key slot here was written anew, which only a later version can judge; what else is in need, `{}` makes whole",
            again::with_verb("repair", &" --to NEW".repeat(new))
        ),
        "newer" => say!("a key slot here was written anew, which only a later version can judge; all else is whole"),
        "incomplete" => say!("what is here does not suffice: bring the absent drives, and name all in one command"),
        _ => say!("beyond repair: ask the sender for a new export"),
    }
    say!(
        "not judged: what is inside, and whether the signer packed it; `ckvault import` judges that, with an identity"
    );
    say!("{}", rate(report.bytes, time));
}

/// A drive that is not here, and what of it is here all the same.
fn absent(report: &Report, drive: u32) {
    let held = || report.volumes.iter().filter(|v| v.drive == drive);
    let strayed = match held().filter(|v| v.state == "ok").count() {
        0 => String::new(),
        whole => format!(": {whole} of them whole on another drive, and with that they would be lost"),
    };
    match held().count() as u64 {
        0 => say!("absent   drive {drive}"),
        held => say!("absent   drive {drive}, with {}{strayed}", counted(held, "volume", "volumes")),
    }
}

/// Several drives may have been copied into one directory.
fn together(drives: &[ReportedDrive]) {
    for (at, first) in drives.iter().enumerate().filter(|(_, drive)| drive.directory.is_some()) {
        let same = |other: &&ReportedDrive| other.directory == first.directory;
        let numbers: Vec<String> = drives.iter().filter(same).map(|drive| drive.drive.to_string()).collect();
        if numbers.len() == 1 || drives[..at].iter().any(|other| same(&other)) {
            continue;
        }
        say!("but drives {} are in one directory, and would be lost together", numbers.join(", "));
    }
}
