//! `ckvault verify`: is a set whole, and if not, can it be made whole? Needs no secret.

use crate::commands::reported::{About, ReportedDrive};
use crate::error::{Error, Result};
use crate::heal::{self, Audit, FileState, State, Verdict, VolumeState};
use crate::media::dir::LINK;
use crate::pack::{Places, survives_as_placed};
use crate::progress::Progress;
use crate::set::{self, Part, Set, Where, instead_of_file};
use crate::text::printable;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What was typed.
#[derive(Debug, Default)]
pub struct Options {
    /// Where the set is, and whom to trust.
    pub place: Where,
    /// Judge only what the drives given should hold.
    pub this_drive: bool,
}

/// What needs an identity to be judged: what the set contains; and whether who signed it has packed it as well, or put a signature
/// to what another had packed.
pub const NOT_JUDGED: [&str; 2] = ["contents", "packer"];

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The id, if a trusted manifest names it.
    pub set: Option<String>,
    /// The label.
    pub label: Option<String>,
    /// `intact`, `repairable`, `newer`, `incomplete`, `lost` or `untrusted`.
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
    /// The drives of these parts.
    pub drives: Vec<ReportedDrive>,
    /// Drives that are here.
    pub present: Vec<u32>,
    /// Only what should be on the drives that are here was judged.
    pub this_drive: bool,
    /// Drives that are named and not here.
    pub absent: Vec<u32>,
    /// Every volume.
    pub volumes: Vec<JudgedVolume>,
    /// Metadata files that are not as signed.
    pub files: Vec<ReportedFile>,
    /// What nobody can judge without an identity: see [`NOT_JUDGED`].
    pub not_judged: &'static [&'static str],
    /// What the set survives when it is whole.
    pub survives: Option<String>,
    /// Blocks that drives could not read, by the number of the drive.
    pub read_errors: BTreeMap<u32, u64>,
    /// Bytes that were read and compared.
    pub bytes: u64,
    /// Why nobody vouches for the set, if nobody does; and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untrusted: Option<(String, String)>,
    /// What only a later version can judge, if there is something; and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer: Option<(String, String)>,
}

/// A volume.
#[derive(Debug, Serialize)]
pub struct JudgedVolume {
    /// Its file name.
    pub name: String,
    /// The part of the set that it is of.
    pub part: u32,
    /// The number of its drive.
    pub drive: u32,
    /// The length that it should have.
    pub bytes: u64,
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
    /// `damaged`, `missing`, or `newer`: a key slot that was written anew.
    pub state: &'static str,
    /// What kind of damage it is, as far as that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<String>,
}

impl Report {
    /// The exit code of this verdict.
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            "intact" => 0,
            "newer" => 1,
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
    let set = match set::open(&options.place, progress) {
        Err(Error::Untrusted { message, hint }) => return Ok(untrusted(message, hint)),
        other => other?,
    };
    let found = heal::audit(&set, options.this_drive, progress)?;
    let verdict = heal::verdict(&set, &found, options.this_drive);
    // What is whole is whole; of anything else it cannot be said while somebody is at it.
    if verdict > Verdict::Intact
        && let Some(Error::Untrusted { message, hint }) = set.being_written().map(set::being_written)
    {
        return Ok(untrusted(message, hint));
    }
    if verdict >= Verdict::Incomplete
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
        drives: Vec::new(),
        present: Vec::new(),
        this_drive: false,
        absent: Vec::new(),
        volumes: Vec::new(),
        files: Vec::new(),
        not_judged: &NOT_JUDGED,
        survives: None,
        read_errors: BTreeMap::new(),
        bytes: 0,
        untrusted: Some((message, hint)),
        newer: None,
    }
}

fn report(set: &Set, found: &[Audit], this_drive: bool) -> Report {
    let About { set: id, label, signer, signer_fingerprint, created, parts, last, drives } = About::of(set);
    let verdict = heal::verdict(set, found, this_drive);
    let (newer, why) = (verdict == Verdict::Newer, heal::rewritten_slot());
    Report {
        set: Some(id),
        label,
        verdict: verdict.word(),
        signer: Some(signer),
        signer_fingerprint: Some(signer_fingerprint),
        created: Some(created),
        parts,
        last,
        drives,
        present: set.present(),
        this_drive,
        absent: set.absent(),
        volumes: set.parts.iter().zip(found).flat_map(|(part, found)| volumes(part, found)).collect(),
        files: set.links.iter().map(|link| linked(link)).chain(found.iter().flat_map(files)).collect(),
        not_judged: &NOT_JUDGED,
        survives: Some(survives_as_placed(
            &set.parts.iter().map(|part| &part.manifest).collect::<Vec<_>>(),
            Places::Unknown,
        )),
        read_errors: set.read_errors(),
        bytes: set.parts.iter().zip(found).map(|(part, found)| bytes_read(part, found)).sum(),
        untrusted: None,
        newer: newer.then(|| (why.to_string(), why.hint().to_owned())),
    }
}

fn volumes(part: &Part, found: &Audit) -> Vec<JudgedVolume> {
    let lengths = part.manifest.volumes().map(|(_, _, _, v)| v.bytes);
    let volume = |(v, bytes): (&VolumeState, u64)| JudgedVolume {
        name: v.name.clone(),
        part: part.manifest.part,
        drive: part.manifest.drive_number(v.drive),
        bytes,
        state: state(v.state),
        bad_blocks: v.bad.count(),
        diagnosis: v.diagnosis.clone(),
    };
    found.volumes.iter().flatten().zip(lengths).filter(|(v, _)| !found.is_left_out(v)).map(volume).collect()
}

fn files(found: &Audit) -> Vec<ReportedFile> {
    let file = |f: &FileState| ReportedFile {
        path: printable(f.dir.show(&f.name).as_os_str().as_encoded_bytes()),
        state: state(f.state),
        diagnosis: instead_of_file(&f.dir, &f.name),
    };
    found.files.iter().filter(|f| f.state != State::Ok).map(file).collect()
}

/// A link in the place of a directory of the set.
fn linked(path: &Path) -> ReportedFile {
    let path = printable(path.as_os_str().as_encoded_bytes());
    ReportedFile { path, state: state(State::Damaged), diagnosis: Some(LINK.to_owned()) }
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
        State::Newer => "newer",
    }
}
