//! What `export` has written, or would write.

use super::{MEANINGFUL, becoming, counted, human_time, named, quantum, rate, share_of, title, unplugging};
use crate::ui::say;
use ckvault::commands::export::{Destination, Report};
use ckvault::pack::{Noted, Noticed};
use ckvault::text::{for_shell, printable};
use indicatif::HumanBytes;
use std::time::Duration;

/// After `export`.
pub fn export(report: &Report, time: Duration) {
    let drives = report.drives.len();
    let volumes: usize = report.groups.iter().map(|g| g.volumes.len()).sum();
    if report.dry_run {
        return would(report);
    }
    say!("exported {}", title(report.set.as_deref().unwrap_or_default(), report.label.as_deref()));
    // Of next to nothing, what lies beside the volumes is many times as much: that says nothing.
    let percent = match report.bytes_in {
        0..MEANINGFUL => String::new(),
        bytes => format!(", {:.0} % of that with parity", report.bytes_out as f64 / bytes as f64 * 100.0),
    };
    say!(
        "in {} ({}), out {}{percent}: {} on {}",
        HumanBytes(report.bytes_in),
        counted(report.entries, "entry", "entries"),
        HumanBytes(report.bytes_out),
        counted(volumes as u64, "volume", "volumes"),
        counted(drives as u64, "drive", "drives")
    );
    for written in &report.drives {
        let volumes = counted(written.drive.volumes, "volume", "volumes");
        say!("{}, {volumes}, {}{}", named(&written.drive), HumanBytes(written.drive.bytes), speed(written));
    }
    if let Some(program) = &report.program {
        say!("with the program ckvault, {}, BLAKE3 {}", HumanBytes(program.bytes), program.blake3);
    }
    say!("the set {}", report.survives);
    match report.read_back {
        "device" => say!("read back from the drives and compared"),
        "off" => say!("not read back: run `{}` before the courier leaves", verifying(report)),
        _ => say!(
            "read back and compared, perhaps from the cache: unplug the drives, plug them in again and run `{}` to be sure",
            verifying(report)
        ),
    }
    people(report);
    noticed(&report.noticed);
    unplugging(report.safe_to_unplug);
    let foretold = report
        .seconds
        .map(|seconds| format!("; about {} was to be expected", human_time(Duration::from_secs(seconds))));
    say!("{}{}", rate(report.bytes_in, time), foretold.unwrap_or_default());
}

/// What was only planned.
fn would(report: &Report) {
    let becoming = report.judged.as_ref().map(|judged| format!(", which become {}", becoming(report.bytes_in, judged)));
    say!(
        "would export {} in {}{}",
        HumanBytes(report.bytes_in),
        counted(report.entries, "entry", "entries"),
        becoming.unwrap_or_default()
    );
    say!(
        "with parity: about {} and at most {} of {}+{} volumes of at most {}",
        report.expected_groups.unwrap_or_default(),
        counted(report.groups.len() as u64, "group", "groups"),
        report.k,
        report.m,
        HumanBytes(report.volume_bytes)
    );
    for planned in &report.drives {
        let bytes = (planned.expected.unwrap_or(planned.needed), planned.needed);
        let share = share_of(planned.volumes_per_group, bytes, planned.free);
        say!("{}: {share}{}", named(&planned.drive), speed(planned));
    }
    match (report.last, report.judged.is_some_and(|judged| judged.fits)) {
        (true, _) => {}
        (false, true) => say!("it is expected to fit, but need not: then it goes on on the next drives"),
        (false, false) => say!("it may not fit: then it goes on on the next drives"),
    }
    if let Some(seconds) = report.seconds {
        say!("as fast as the drives are, about {}", human_time(Duration::from_secs(seconds)));
    }
    say!("the set {}", report.survives);
    people(report);
    noticed(&report.noticed);
}

/// How fast a drive was found to be, if it was tried.
fn speed(drive: &Destination) -> String {
    drive.speed.map(|bytes| format!(", {}/s when it was tried", HumanBytes(bytes))).unwrap_or_default()
}

/// The command that judges what was written. With one port, the drives take turns at one place.
fn verifying(report: &Report) -> String {
    let mut places: Vec<String> = Vec::new();
    for place in report.drives.iter().filter_map(|d| d.drive.path.as_deref()).map(for_shell) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let set = report.set.as_deref().unwrap_or_default();
    format!("ckvault verify {} --set {}", places.join(" "), set.get(..8).unwrap_or(set))
}

/// Who can open the set, and whose signature it has.
fn people(report: &Report) {
    for named in &report.recipients {
        let text = &named.recipient;
        // The end of a key tells it apart; of SSH keys, the beginning is always the same.
        let end = text.len().saturating_sub(8);
        let short = match text.get(..10).zip(text.get(end..)) {
            Some((begin, rest)) if text.len() > 24 => format!("{begin}...{rest}"),
            _ => text.clone(),
        };
        let comment = named.comment.as_deref().map(|c| format!(" ({})", printable(c.as_bytes()))).unwrap_or_default();
        say!("sealed for {short}{comment}");
    }
    if report.only_own {
        say!("only you can open this: that is the key of this machine");
    }
    say!("signed by the key {}", report.signer_fingerprint);
    say!("{}", quantum(report.confidentiality));
}

/// What travels otherwise than it lay there, and what does not travel.
pub(super) fn noticed(seen: &Noticed) {
    let first = |noted: &Noted| {
        let more = if noted.count > noted.first.len() as u64 { ", ..." } else { "" };
        format!("{}{more}", noted.first.join(", "))
    };
    let followed = &seen.followed;
    if followed.count > 0 {
        say!(
            "{} out of the source and {} followed, {}: {}",
            if followed.count == 1 { "1 link leads".into() } else { format!("{} links lead", followed.count) },
            if followed.count == 1 { "was" } else { "were" },
            HumanBytes(followed.bytes),
            first(followed)
        );
    }
    if seen.leaving.count > 0 {
        say!(
            "{} out of the set; importing them takes --links keep: {}",
            if seen.leaving.count == 1 { "1 link leads".into() } else { format!("{} links lead", seen.leaving.count) },
            first(&seen.leaving)
        );
    }
    if seen.attributes.count > 0 {
        say!(
            "access lists, capabilities or attributes outside of user. do not travel, of {}: {}",
            counted(seen.attributes.count, "entry", "entries"),
            first(&seen.attributes)
        );
    }
    if !seen.skipped.is_empty() {
        say!(
            "left out {}: {}",
            counted(seen.skipped.len() as u64, "special file", "special files"),
            seen.skipped.join(", ")
        );
    }
    for out in &seen.left_out {
        let why = match out.why {
            "pattern" => "--exclude",
            "cache" => "what is in it, a cache",
            "staging" => "of an unfinished import",
            "own" => "a drive or the state of this export",
            other => other,
        };
        say!("left out {} ({why})", out.path);
    }
    if !seen.unmatched.is_empty() {
        say!("--exclude {} matches nothing", seen.unmatched.join(", --exclude "));
    }
}
