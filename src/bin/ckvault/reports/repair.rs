//! What `repair` has made anew.

use super::{counted, human_time, read_errors, signed, title, unplugging};
use crate::cli::again;
use crate::ui::say;
use ckvault::commands::repair::Report;
use std::time::Duration;

/// After `repair`.
pub fn repair(report: &Report, time: Duration) {
    let nothing = report.repaired.is_empty() && report.replaced.is_empty() && report.left.is_empty();
    say!("{}{}", report.verdict, if nothing { ": nothing to repair here" } else { "" });
    say!("{}", title(&report.about.set, report.about.label.as_deref()));
    signed(&report.about);
    for file in &report.repaired {
        match file.blocks {
            0 => say!("repaired {}", file.path),
            blocks => say!("repaired {}, {} computed", file.path, counted(blocks, "block", "blocks")),
        }
    }
    for drive in &report.replaced {
        let dir = &drive.directory;
        let (volumes, blocks) = (drive.volumes, counted(drive.blocks, "block", "blocks"));
        say!("replaced drive {}: {dir}, {}, {blocks} computed", drive.drive, counted(volumes, "volume", "volumes"));
    }
    for file in &report.left {
        say!("left     {}: {}", file.path, file.why);
    }
    for unused in &report.unused {
        say!("unused   {}: no drive needs it", unused);
    }
    if !report.absent.is_empty() {
        let list = report.absent.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        let drives = if report.absent.len() == 1 { "drive" } else { "drives" };
        say!("absent   {drives} {list}: bring what is absent, or give an empty drive for each with --to");
    }
    read_errors(&report.read_errors);
    match report.read_back {
        Some("device") => say!("what was written was read back from the drives and compared"),
        Some(_) => {
            say!(
                "what was written was read back and compared, perhaps from the cache: replug, and run `{}`",
                again::with_verb("verify", "")
            )
        }
        None => {}
    }
    unplugging(report.safe_to_unplug);
    say!("done in {}", human_time(time));
}
