//! `ckvault verify`: is a set whole, and if not, can it be made whole? Needs no secret.

use crate::error::{Error, Result};
use crate::pipeline::audit::{Audit, FileState, State, VolumeState, audit};
use crate::pipeline::blocks::Blocks;
use crate::pipeline::open::{self, Set, Where};
use crate::pipeline::part::Part;
use crate::pipeline::plan::survives_as_placed;
use crate::pipeline::verdict::Verdict;
use crate::progress::Progress;
use crate::text::printable;
use serde::Serialize;
use std::collections::BTreeMap;

/// What was typed.
#[derive(Debug, Default)]
pub struct Options {
    /// Where the set is, and whom to trust.
    pub place: Where,
    /// Judge only what the drives given should hold.
    pub this_drive: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The id, if a trusted manifest names it.
    pub set: Option<String>,
    /// The label.
    pub label: Option<String>,
    /// `intact`, `repairable`, `incomplete`, `lost` or `untrusted`.
    pub verdict: &'static str,
    /// Who signed: the name under which the key is trusted.
    pub signer: Option<String>,
    /// The fingerprint of that key.
    pub signer_fingerprint: Option<String>,
    /// When it was exported.
    pub created: Option<String>,
    /// The parts of the set that are here.
    pub parts: Vec<u32>,
    /// Whether the last part of the set is among them.
    pub last: bool,
    /// Drives that are here.
    pub present: Vec<u32>,
    /// Drives that are named and not here.
    pub absent: Vec<u32>,
    /// Every volume.
    pub volumes: Vec<ReportedVolume>,
    /// Metadata files that are not as signed.
    pub files: Vec<ReportedFile>,
    /// What the set survives when it is whole.
    pub survives: Option<String>,
    /// Blocks that drives could not read, by the number of the drive.
    pub read_errors: BTreeMap<u32, u64>,
    /// Bytes that were read and compared.
    pub bytes: u64,
    /// Why nobody vouches for the set, if nobody does; and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untrusted: Option<(String, String)>,
}

/// A volume.
#[derive(Debug, Serialize)]
pub struct ReportedVolume {
    /// Its file name.
    pub name: String,
    /// The part of the set that it is of.
    pub part: u32,
    /// The number of its drive.
    pub drive: u32,
    /// `ok`, `damaged` or `missing`.
    pub state: &'static str,
    /// How many of its blocks are not as signed.
    pub bad_blocks: u64,
    /// What kind of damage it is, as far as that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<String>,
}

/// A metadata file.
#[derive(Debug, Serialize)]
pub struct ReportedFile {
    /// Where it is, or should be.
    pub path: String,
    /// `damaged` or `missing`.
    pub state: &'static str,
}

impl Report {
    /// The exit code of this verdict.
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            "intact" => 0,
            "repairable" => 3,
            "lost" => 4,
            "untrusted" => 5,
            _ => 7,
        }
    }
}

/// Reads and judges everything.
pub fn run(options: &Options, progress: &dyn Progress) -> Result<Report> {
    options.place.disk.confine(&options.place.needs());
    let set = match open::open(&options.place) {
        Err(Error::Untrusted { message, hint }) => return Ok(untrusted(message, hint)),
        other => other?,
    };
    if let Some(Error::Untrusted { message, hint }) = set.being_written().map(|dir| open::being_written(dir)) {
        return Ok(untrusted(message, hint));
    }
    set.share_slot();
    let judge = |part: &Part| audit(part, &Blocks::new(part)?, options.this_drive, progress);
    let found = set.parts.iter().map(judge).collect::<Result<Vec<Audit>>>()?;
    if verdict(&set, &found, options.this_drive) >= Verdict::Incomplete
        && let Some(Error::Untrusted { message, hint }) = set.parts.iter().find_map(Part::refusal)
    {
        return Ok(untrusted(message, hint));
    }
    Ok(report(&set, &found, options.this_drive))
}

fn untrusted(message: String, hint: String) -> Report {
    Report {
        set: None,
        label: None,
        verdict: "untrusted",
        signer: None,
        signer_fingerprint: None,
        created: None,
        parts: Vec::new(),
        last: false,
        present: Vec::new(),
        absent: Vec::new(),
        volumes: Vec::new(),
        files: Vec::new(),
        survives: None,
        read_errors: BTreeMap::new(),
        bytes: 0,
        untrusted: Some((message, hint)),
    }
}

fn report(set: &Set, found: &[Audit], this_drive: bool) -> Report {
    let manifest = set.manifest();
    Report {
        set: Some(manifest.set.clone()),
        label: manifest.label.clone(),
        verdict: word(verdict(set, found, this_drive)),
        signer: Some(set.signer().name.clone()),
        signer_fingerprint: Some(set.signer().fingerprint.clone()),
        created: Some(manifest.created.clone()),
        parts: set.parts.iter().map(|p| p.manifest.part).collect(),
        last: set.parts.iter().any(|p| p.manifest.last),
        present: set.present(),
        absent: set.absent(),
        volumes: set.parts.iter().zip(found).flat_map(|(part, found)| volumes(part, found)).collect(),
        files: found.iter().flat_map(files).collect(),
        survives: Some(survives_as_placed(manifest)),
        read_errors: set.read_errors(),
        bytes: set.parts.iter().zip(found).map(|(part, found)| bytes_read(part, found)).sum(),
        untrusted: None,
    }
}

/// The worst of the parts; parts that are not here could still be brought.
pub(super) fn verdict(set: &Set, found: &[Audit], this_drive: bool) -> Verdict {
    let worst = found.iter().map(Audit::verdict).max().unwrap_or(Verdict::Incomplete);
    match set.has_all_parts() || this_drive {
        true => worst,
        false => worst.max(Verdict::Incomplete),
    }
}

/// How a verdict is called in reports.
pub(super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Intact => "intact",
        Verdict::Repairable => "repairable",
        Verdict::Incomplete => "incomplete",
        Verdict::Lost => "lost",
    }
}

fn volumes(part: &Part, found: &Audit) -> Vec<ReportedVolume> {
    let volume = |v: &VolumeState| ReportedVolume {
        name: v.name.clone(),
        part: part.manifest.part,
        drive: part.manifest.drive_number(v.drive),
        state: state(v.state),
        bad_blocks: v.bad.count(),
        diagnosis: v.diagnosis.clone(),
    };
    found.volumes.iter().flatten().filter(|v| !found.is_left_out(v)).map(volume).collect()
}

fn files(found: &Audit) -> Vec<ReportedFile> {
    let file = |f: &FileState| ReportedFile {
        path: printable(f.dir.join(&f.name).as_os_str().as_encoded_bytes()),
        state: state(f.state),
    };
    found.files.iter().filter(|f| f.state != State::Ok).map(file).collect()
}

fn bytes_read(part: &Part, found: &Audit) -> u64 {
    let lengths = part.manifest.volumes().map(|(_, _, _, v)| v.bytes);
    let read = found.volumes.iter().flatten().zip(lengths).filter(|(v, _)| v.state != State::Missing);
    read.map(|(_, bytes)| bytes).sum()
}

fn state(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Damaged => "damaged",
        State::Missing => "missing",
    }
}
