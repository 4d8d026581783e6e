//! `ckvault verify`: is a set whole, and if not, can it be made whole? Needs no secret.

use crate::error::{Error, Result};
use crate::pipeline::audit::{Audit, State, Verdict, audit};
use crate::pipeline::open::{self, Set, Where};
use crate::pipeline::plan::survives_as_placed;
use crate::progress::Progress;
use crate::text::printable;
use serde::Serialize;

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
    /// Drives that are here.
    pub present: Vec<u16>,
    /// Drives that are named and not here.
    pub absent: Vec<u16>,
    /// Every volume.
    pub volumes: Vec<ReportedVolume>,
    /// Metadata files that are not as signed.
    pub files: Vec<ReportedFile>,
    /// What the set survives when it is whole.
    pub survives: Option<String>,
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
    /// Its drive.
    pub drive: u16,
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
    let set = match open::open(&options.place) {
        Err(Error::Untrusted { message, hint }) => return Ok(untrusted(message, hint)),
        other => other?,
    };
    let found = audit(&set, options.this_drive, progress)?;
    Ok(report(&set, &found))
}

fn untrusted(message: String, hint: String) -> Report {
    Report {
        set: None,
        label: None,
        verdict: "untrusted",
        signer: None,
        signer_fingerprint: None,
        created: None,
        present: Vec::new(),
        absent: Vec::new(),
        volumes: Vec::new(),
        files: Vec::new(),
        survives: None,
        bytes: 0,
        untrusted: Some((message, hint)),
    }
}

fn report(set: &Set, found: &Audit) -> Report {
    let volumes = found.volumes.iter().flatten().filter(|v| !found.is_left_out(v));
    let volume = |v: &crate::pipeline::audit::VolumeState| ReportedVolume {
        name: v.name.clone(),
        drive: v.drive,
        state: state(v.state),
        bad_blocks: v.bad.count(),
        diagnosis: v.diagnosis.clone(),
    };
    let files = found.files.iter().filter(|f| f.state != State::Ok);
    let file = |f: &crate::pipeline::audit::FileState| ReportedFile {
        path: printable(f.dir.join(&f.name).as_os_str().as_encoded_bytes()),
        state: state(f.state),
    };
    let lengths = set.manifest.volumes().map(|(_, _, _, v)| v.bytes);
    let read = found.volumes.iter().flatten().zip(lengths).filter(|(v, _)| v.state != State::Missing);
    Report {
        set: Some(set.manifest.set.clone()),
        label: set.manifest.label.clone(),
        verdict: match found.verdict() {
            Verdict::Intact => "intact",
            Verdict::Repairable => "repairable",
            Verdict::Incomplete => "incomplete",
            Verdict::Lost => "lost",
        },
        signer: Some(set.signer.name.clone()),
        signer_fingerprint: Some(set.signer.fingerprint.clone()),
        created: Some(set.manifest.created.clone()),
        present: found.present.iter().copied().collect(),
        absent: set.absent().into_iter().collect(),
        volumes: volumes.map(volume).collect(),
        files: files.map(file).collect(),
        survives: Some(survives_as_placed(&set.manifest)),
        bytes: read.map(|(_, bytes)| bytes).sum(),
        untrusted: None,
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Damaged => "damaged",
        State::Missing => "missing",
    }
}
