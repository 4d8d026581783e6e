//! What `import` has restored.

use super::{counted, rate, read_errors, signed, title};
use crate::ui::say;
use ckvault::commands::import::Report;
use ckvault::text::printable;
use std::time::Duration;

/// After `import`.
pub fn import(report: &Report, time: Duration) {
    say!(
        "{} {} to {}",
        if report.exit_code() == 0 { "imported" } else { "salvaged what could be had of" },
        title(&report.about.set, report.about.label.as_deref()),
        printable(report.to.as_os_str().as_encoded_bytes())
    );
    signed(&report.about);
    match report.files {
        0 => say!("no file was in it: only directories and links were made"),
        files => say!(
            "{}, every byte compared; {} repaired on the way",
            counted(files, "file", "files"),
            counted(report.repaired_blocks, "block", "blocks")
        ),
    }
    if report.taken_along > 0 {
        say!(
            "{} that --only does not name came along: links lead to them",
            counted(report.taken_along, "entry", "entries")
        );
    }
    for file in &report.incomplete {
        let missing: Vec<String> = file.missing.iter().map(|(from, to)| format!("{from}-{}", to - 1)).collect();
        let written_as = printable(file.written_as.as_bytes());
        say!("incomplete {}: bytes {} are missing", printable(file.path.path.as_bytes()), missing.join(", "));
        say!("           written as {written_as}, with zeros in their place");
    }
    for file in &report.lost {
        say!("lost       {}", printable(file.path.as_bytes()));
    }
    for (few, what) in [
        (&report.lost_attributes, "modes, times or extended attributes could not be set"),
        (&report.lost_times, "times were changed: the file system of the target cannot hold them"),
        (&report.rounded_times, "times were rounded by the file system of the target, by two seconds at most"),
    ] {
        if let Some(example) = &few.example {
            say!("of {} {what}, {example} for example", counted(few.count, "entry", "entries"));
        }
    }
    if let Some(left) = &report.left {
        say!("{} could not be removed: remove it", printable(left.as_os_str().as_encoded_bytes()));
    }
    read_errors(&report.read_errors);
    // Nothing was written to them.
    say!("no file on the drives is open: safe to unplug");
    say!("{}", rate(report.bytes, time));
}
