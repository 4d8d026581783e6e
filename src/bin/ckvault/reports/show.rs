//! What `keygen` has made, and what `list` and `inspect` show.

use super::{chain, counted, quantum, title, whereabouts};
use crate::ui::{say, tell, wrote};
use ckvault::commands::{inspect, keygen, list};
use ckvault::text::printable;
use indicatif::HumanBytes;
use std::io::{BufWriter, Write};

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
        "\nto send: send this signing key to those who import from you (as a file, for --signers FILE.pub; or after a name, as a line of their allowed_signers)\n  {}\n  fingerprint {}",
        report.signing_key,
        report.fingerprint
    );
    say!("\nkeep identity.txt and signing_key to yourself; a copy in a safe place keeps your sets readable");
}

/// After `list`.
pub fn list(report: &list::Report) {
    tell!(
        "ckvault: {}, signed by {}, created {}",
        title(&report.about.set, report.about.label.as_deref()),
        report.about.signer,
        report.about.created
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
    say!("quantum   {}", quantum(report.confidentiality));
    let groups = counted(report.groups.len() as u64, "group", "groups");
    say!("volumes   {groups} of {}+{}, {} in all", report.k, report.m, HumanBytes(report.bytes));
    for drive in &report.drives {
        let volumes = counted(drive.volumes, "volume", "volumes");
        say!("drive {}   {volumes}, {}{}", drive.drive, HumanBytes(drive.bytes), whereabouts(", here: ", drive));
    }
    chain(&report.parts, report.last);
    if let Some(program) = &report.program {
        say!("program   ckvault, {}, BLAKE3 {}", HumanBytes(program.bytes), program.blake3);
    }
    say!("if whole, it {}", report.survives);
}
