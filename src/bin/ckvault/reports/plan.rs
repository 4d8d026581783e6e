//! What `plan` has found out.

use super::export::noticed;
use super::{becoming, counted, human_time, share_of};
use crate::ui::say;
use ckvault::commands::plan::Report;
use indicatif::HumanBytes;
use std::time::Duration;

/// After `plan`.
pub fn plan(report: &Report) {
    say!(
        "{} in {} become {}",
        HumanBytes(report.bytes_in),
        counted(report.entries, "entry", "entries"),
        becoming(report.bytes_in, &report.judged)
    );
    say!(
        "with parity: about {} of {}+{} volumes of at most {}",
        counted(report.groups, "group", "groups"),
        report.k,
        report.m,
        HumanBytes(report.volume_bytes)
    );
    for drive in &report.drives {
        say!(
            "drive {}: {}",
            drive.drive,
            share_of(drive.volumes_per_group, (drive.expected, drive.needed), Some(drive.free))
        );
    }
    match (report.judged.fits, report.in_parts) {
        (true, false) => say!("all of it fits on {}", counted(report.drives.len() as u64, "drive", "drives")),
        (true, true) => say!("all of it fits, in several parts: one manifest cannot name so much"),
        (false, _) if report.drives.iter().all(|drive| drive.enough <= drive.free) => {
            say!("it is expected to fit, but need not: --trust-estimate relies on that")
        }
        (false, _) => {
            say!("it does not fit: use more or larger drives, or less parity, or change drives on the way (parts)")
        }
    }
    say!("the set {}", report.survives);
    for more in &report.with_more {
        say!("with {} drives, about {} on each: it {}", more.of_drives, HumanBytes(more.fullest), more.survives);
    }
    noticed(&report.noticed);
    if let Some(seconds) = report.seconds {
        say!("at that rate about {}", human_time(Duration::from_secs(seconds)));
    }
}
