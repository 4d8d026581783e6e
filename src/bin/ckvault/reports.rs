//! What each verb has done, in words for people, or as one JSON object.

use crate::ui::{say, tell, wrote};
use ckvault::commands::{export, import, inspect, keygen, list, repair, verify};
use ckvault::error::Error;
use ckvault::media::fence::Fence;
use ckvault::pack::Noted;
use ckvault::text::{PlainJson, printable, without_secrets};
use indicatif::{HumanBytes, HumanDuration};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::time::Duration;

/// Bytes over time.
fn rate(bytes: u64, time: Duration) -> String {
    format!(
        "{} in {}, {}/s",
        HumanBytes(bytes),
        human_time(time),
        HumanBytes((bytes as f64 / time.as_secs_f64().max(0.001)) as u64)
    )
}

fn human_time(time: Duration) -> String {
    if time.as_secs() < 60 { format!("{:.1} s", time.as_secs_f64()) } else { HumanDuration(time).to_string() }
}

fn title(set: &str, label: Option<&str>) -> String {
    label.map_or_else(|| set.to_owned(), |label| format!("{label} ({set})"))
}

/// Bytes from which on a share says something.
const MEANINGFUL: u64 = 1 << 20;

/// After `keygen`.
pub fn keygen(report: &keygen::Report) {
    match report.made {
        true => say!("new keys are in {}", report.directory.display()),
        false => say!("keys are in {}; nothing was made", report.directory.display()),
    }
    say!(
        "\nto receive: send this recipient to those who export to you (they put it into keys.txt)\n  {}",
        report.recipient
    );
    say!(
        "\nto send: send this signing key to those who import from you (a line for their allowed_signers, or --signers FILE.pub)\n  {}\n  fingerprint {}",
        report.signing_key,
        report.fingerprint
    );
    say!("\nkeep identity.txt and signing_key to yourself; a copy in a safe place keeps your sets readable");
}

/// After `export`.
pub fn export(report: &export::Report, time: Duration) {
    let drives = report.drives.len();
    let volumes: usize = report.groups.iter().map(|g| g.volumes.len()).sum();
    if report.dry_run {
        say!(
            "would export {} in {} as at most {} of {}+{} volumes of at most {}",
            HumanBytes(report.bytes_in),
            counted(report.entries, "entry", "entries"),
            counted(report.groups.len() as u64, "group", "groups"),
            report.k,
            report.m,
            HumanBytes(report.volume_bytes)
        );
        for drive in &report.drives {
            say!(
                "drive {}: {}: {} volumes of each group, at most {} of {} free",
                drive.drive,
                printable(drive.path.as_os_str().as_encoded_bytes()),
                drive.volumes_per_group,
                HumanBytes(drive.needed),
                HumanBytes(drive.free)
            );
        }
        say!("the set {}", report.survives);
        people(report);
        noticed(report);
        return;
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
    for drive in &report.drives {
        say!(
            "drive {}: {}",
            drive.drive,
            printable(drive.directory.as_deref().unwrap_or(&drive.path).as_os_str().as_encoded_bytes())
        );
    }
    if let Some(program) = &report.program {
        say!("with the program ckvault, {}, BLAKE3 {}", HumanBytes(program.bytes), program.blake3);
    }
    say!("the set {}", report.survives);
    match report.read_back {
        "device" => say!("read back from the drives and compared"),
        "off" => say!("not read back: run `ckvault verify` before the courier leaves"),
        _ => say!(
            "read back and compared, perhaps from the cache: unplug the drives, plug them in again and run `ckvault verify` to be sure"
        ),
    }
    people(report);
    noticed(report);
    say!("{}", rate(report.bytes_in, time));
}

/// Who can open the set, and whose signature it has.
fn people(report: &export::Report) {
    for named in &report.recipients {
        let text = &named.recipient;
        // The end of a key tells it apart; of SSH keys, the beginning is always the same.
        let end = text.len().saturating_sub(8);
        let short = match text.get(..10).zip(text.get(end..)) {
            Some((begin, rest)) if text.len() > 24 => format!("{begin}…{rest}"),
            _ => text.clone(),
        };
        let comment = named.comment.as_deref().map(|c| format!(" ({})", printable(c.as_bytes()))).unwrap_or_default();
        say!("sealed for {short}{comment}");
    }
    say!("signed by the key {}", report.signer_fingerprint);
}

/// What travels otherwise than it lay there, and what does not travel.
fn noticed(report: &export::Report) {
    let first = |noted: &Noted| {
        let more = if noted.count > noted.first.len() as u64 { ", …" } else { "" };
        format!("{}{more}", noted.first.join(", "))
    };
    let followed = &report.followed;
    if followed.count > 0 {
        say!(
            "{} out of the source and {} followed, {}: {}",
            if followed.count == 1 { "1 link leads".into() } else { format!("{} links lead", followed.count) },
            if followed.count == 1 { "was" } else { "were" },
            HumanBytes(followed.bytes),
            first(followed)
        );
    }
    if report.leaving.count > 0 {
        say!(
            "{} out of the set; importing them takes --links keep: {}",
            if report.leaving.count == 1 {
                "1 link leads".into()
            } else {
                format!("{} links lead", report.leaving.count)
            },
            first(&report.leaving)
        );
    }
    if report.attributes.count > 0 {
        say!(
            "access lists, capabilities or attributes outside of user. do not travel, of {}: {}",
            counted(report.attributes.count, "entry", "entries"),
            first(&report.attributes)
        );
    }
    if !report.skipped.is_empty() {
        say!(
            "left out {}: {}",
            counted(report.skipped.len() as u64, "special file", "special files"),
            report.skipped.join(", ")
        );
    }
    for out in &report.left_out {
        let why = match out.why {
            "pattern" => "--exclude",
            "cache" => "what is in it, a cache",
            "staging" => "of an unfinished import",
            "own" => "a drive or the state of this export",
            other => other,
        };
        say!("left out {} ({why})", out.path);
    }
    if !report.unmatched.is_empty() {
        say!("--exclude {} matches nothing", report.unmatched.join(", --exclude "));
    }
}

/// A number and what it counts.
fn counted(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// After `verify`.
pub fn verify(report: &verify::Report, time: Duration) {
    say!("{}", report.verdict);
    if report.untrusted.is_some() {
        return;
    }
    say!("{}", title(report.set.as_deref().unwrap_or_default(), report.label.as_deref()));
    if let (Some(signer), Some(fingerprint)) = (&report.signer, &report.signer_fingerprint) {
        say!("signed by {signer} ({fingerprint}), created {}", report.created.as_deref().unwrap_or_default());
    }
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
        let program = file.state == "damaged" && file.path.ends_with("/ckvault");
        let why = file.diagnosis.map(|d| format!(": {d}")).unwrap_or_default();
        say!("{:8} {}{why}{}", file.state, file.path, if program { ": do not run it" } else { "" });
    }
    for drive in &report.absent {
        match report.volumes.iter().filter(|v| v.drive == *drive).count() as u64 {
            0 => say!("absent   drive {drive}"),
            held => say!("absent   drive {drive}, with {}", counted(held, "volume", "volumes")),
        }
    }
    read_errors(&report.read_errors);
    match report.verdict {
        "intact" if report.this_drive && !report.absent.is_empty() => {
            say!("what should be here is whole; of the absent drives nothing is said")
        }
        "repairable" if report.this_drive && !report.absent.is_empty() => {
            say!("not all that should be here is whole: what is missing takes the other drives, all in one command")
        }
        "intact" => say!("whole, it {}", report.survives.as_deref().unwrap_or_default()),
        "repairable" => say!(
            "everything can be recovered from what is here: `ckvault import` does, and `ckvault repair` makes the drives whole"
        ),
        "incomplete" => say!("what is here does not suffice: bring the absent drives, and name all in one command"),
        _ => say!("beyond repair: ask the sender for a new export"),
    }
    say!(
        "not judged: what is inside, and whether the signer packed it; `ckvault import` judges that, with an identity"
    );
    say!("{}", rate(report.bytes, time));
}

/// One line for each drive that could not read everything.
fn read_errors(errors: &BTreeMap<u32, u64>) {
    for (drive, blocks) in errors {
        say!(
            "failing  drive {drive} could not read {}: replace it while the others are whole",
            counted(*blocks, "block", "blocks")
        );
    }
}

/// After `repair`.
pub fn repair(report: &repair::Report, time: Duration) {
    let nothing = report.repaired.is_empty() && report.replaced.is_empty() && report.left.is_empty();
    say!("{}{}", report.verdict, if nothing { ": nothing to repair here" } else { "" });
    say!("{}", title(&report.set, report.label.as_deref()));
    say!("signed by {}, created {}", report.signer, report.created);
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
        say!("absent   drives {list}: bring them, or give an empty drive for each with --to");
    }
    read_errors(&report.read_errors);
    match report.read_back {
        Some("device") => say!("what was written was read back from the drives and compared"),
        Some(_) => {
            say!("what was written was read back and compared, perhaps from the cache: replug and run `ckvault verify`")
        }
        None => {}
    }
    say!("done in {}", human_time(time));
}

/// After `import`.
pub fn import(report: &import::Report, time: Duration) {
    say!(
        "{} {} to {}",
        if report.exit_code() == 0 { "imported" } else { "salvaged what could be had of" },
        title(&report.set, report.label.as_deref()),
        printable(report.to.as_os_str().as_encoded_bytes())
    );
    say!("signed by {}, created {}", report.signer, report.created);
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
    say!("{}", rate(report.bytes, time));
}

/// After `list`.
pub fn list(report: &list::Report) {
    tell!(
        "ckvault: {}, signed by {}, created {}",
        title(&report.set, report.label.as_deref()),
        report.signer,
        report.created
    );
    let mut out = BufWriter::new(std::io::stdout().lock());
    for entry in report.entries.iter().map(list::ReportedEntry::of) {
        let target = entry.target.map(|t| format!(" -> {}", printable(t.path.as_bytes()))).unwrap_or_default();
        let (kind, mode, size, path) = (entry.kind, entry.mode, entry.size, printable(entry.path.path.as_bytes()));
        if let Err(error) = writeln!(out, "{kind:8} {mode} {size:>14} {path}{target}") {
            return wrote(Err(error));
        }
    }
    wrote(out.flush());
}

/// An error as JSON, in the place of a report.
#[derive(Serialize)]
struct Failed<'a> {
    error: String,
    hint: &'a str,
    code: &'static str,
    exit_code: u8,
}

/// An error as JSON, on one line.
pub fn json_error(error: &Error) {
    let message = without_secrets(&error.to_string()).into_owned();
    let failed = Failed { error: message, hint: error.hint(), code: error.code(), exit_code: error.exit_code() };
    let _ = one_line(&failed);
}

/// A report and the fence behind which it was made.
#[derive(Serialize)]
struct Fenced<'a, R> {
    #[serde(flatten)]
    report: &'a R,
    fence: Fence,
}

/// A report as JSON, on one line.
pub fn json(report: &impl Serialize, fence: Fence) -> Result<(), serde_json::Error> {
    let report = Fenced { report, fence };
    one_line(&report)
}

fn one_line(value: &impl Serialize) -> Result<(), serde_json::Error> {
    let mut out = PlainJson::new(BufWriter::new(std::io::stdout().lock()));
    match serde_json::to_writer(&mut out, value) {
        Err(error) if !error.is_io() => return Err(error),
        Err(error) => wrote(Err(error.into())),
        Ok(()) => {
            let mut out = out.into_inner();
            wrote(out.write_all(b"\n").and_then(|()| out.flush()));
        }
    }
    Ok(())
}

/// After `inspect`.
pub fn inspect(report: &inspect::Report) {
    match (&report.signer, &report.not_verified) {
        (Some(signer), _) => {
            say!("verified  signed by {signer} ({})", report.signer_fingerprint.as_deref().unwrap_or_default())
        }
        (None, why) => {
            let why = printable(why.as_deref().unwrap_or_default().as_bytes());
            say!("NOT VERIFIED  {why}; all of the following may be forged");
        }
    }
    say!("set       {}", title(&report.set, report.label.as_deref()));
    say!(
        "created   {} with {}, format {}",
        printable(report.created.as_bytes()),
        printable(report.tool.as_bytes()),
        report.format
    );
    say!("recipient {} (the set's own)", printable(report.recipient.as_bytes()));
    let groups = counted(report.groups as u64, "group", "groups");
    say!("volumes   {groups} of {}+{}, {} in all", report.k, report.m, HumanBytes(report.bytes));
    for (number, drive) in &report.drives {
        say!("drive {number}   {} volumes, {}", drive.volumes, HumanBytes(drive.bytes));
    }
    if let Some(program) = &report.program {
        say!("program   ckvault, {}, BLAKE3 {}", HumanBytes(program.bytes), program.blake3);
    }
    say!("if whole, it {}", report.survives);
}
