//! `ckvault inspect`: what anyone can see of a set, trusted or not. Needs no secret, and reads no volume.

use super::reported::{self, ReportedDrive, ReportedGroup, ReportedProgram, base64_of, lossy_all};
use crate::error::{Error, Result};
use crate::format::hex;
use crate::format::manifest::Manifest;
use crate::format::sealed::Confidentiality;
use crate::media::dir::Dir;
use crate::pack::{Places, survives_as_placed};
use crate::progress::Progress;
use crate::set::{self, Where};
use serde::Serialize;
use std::path::PathBuf;

/// What can be seen.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether a trusted signer vouches for the rest.
    pub verified: bool,
    /// Who signed, if that is so: the name under which the key is trusted.
    pub signer: Option<String>,
    /// The fingerprint of that key.
    pub signer_fingerprint: Option<String>,
    /// Why nobody vouches, if nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_verified: Option<String>,
    /// The id.
    pub set: String,
    /// The label.
    pub label: Option<String>,
    /// The parts of the set that are here.
    pub parts: Vec<u32>,
    /// Whether the last part is among them.
    pub last: bool,
    /// When it was exported.
    pub created: String,
    /// The version of the format.
    pub format: String,
    /// The program that wrote it.
    pub tool: String,
    /// The hash of the set's own recipient.
    pub recipient_blake3: String,
    /// Whether a quantum computer can open one day what is recorded of it now.
    pub confidentiality: Confidentiality,
    /// How it is signed.
    pub signature: &'static str,
    /// K of each group.
    pub k: u16,
    /// M of each group.
    pub m: u16,
    /// The groups of these parts.
    pub groups: Vec<ReportedGroup>,
    /// Bytes of all volumes.
    pub bytes: u64,
    /// Bytes of the tar stream in a segment.
    pub segment_bytes: u32,
    /// No volume is longer.
    pub volume_bytes: u64,
    /// Bytes of a block.
    pub block_bytes: u32,
    /// The drives of these parts. Which of them are here is told by `B3SUMS` alone: no volume is read.
    pub drives: Vec<ReportedDrive>,
    /// What the set survives.
    pub survives: String,
    /// The program that travels with the set, if one does.
    pub program: Option<ReportedProgram>,
    /// The directories that are here.
    #[serde(serialize_with = "lossy_all")]
    pub directories: Vec<PathBuf>,
    /// The exact bytes of all of these in base64, if one is not UTF-8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub directories_bytes: Vec<String>,
}

/// Reads the manifests.
pub fn run(place: &Where, progress: &dyn Progress) -> Result<Report> {
    place.disk.confine(&place.needs());
    let mut seen = set::peek(place, Report::of_part, progress)?.into_iter();
    let first = seen.next().ok_or_else(|| Error::Internal("a set without parts".into()))?;
    let mut report = Report { directories: shown(&first.dirs), ..first.said };
    match first.signer {
        Ok(signer) => {
            report.verified = true;
            (report.signer, report.signer_fingerprint) = (Some(signer.name), Some(signer.fingerprint));
        }
        Err(why) => report.not_verified = Some(why),
    }
    for next in seen {
        report.add(next.said);
        report.directories.extend(shown(&next.dirs));
    }
    if report.directories.iter().any(|dir| dir.to_str().is_none()) {
        report.directories_bytes = report.directories.iter().map(|dir| base64_of(dir)).collect();
    }
    Ok(report)
}

fn shown(dirs: &[Dir]) -> Vec<PathBuf> {
    dirs.iter().map(|dir| dir.path().to_owned()).collect()
}

impl Report {
    /// What a manifest and the key slot beside it say, verified or not.
    fn of_part(manifest: &Manifest, dirs: &[Dir]) -> Report {
        let drives = reported::drives(manifest, set::said_homes(manifest, dirs).into_iter());
        Report {
            verified: false,
            signer: None,
            signer_fingerprint: None,
            not_verified: None,
            set: manifest.set.clone(),
            label: manifest.label.clone(),
            parts: vec![manifest.part],
            last: manifest.last,
            created: manifest.created.clone(),
            format: manifest.format.clone(),
            tool: manifest.tool.clone(),
            recipient_blake3: hex(&manifest.recipient_blake3),
            confidentiality: set::confidentiality(manifest, dirs),
            signature: reported::SIGNATURE,
            k: manifest.groups[0].k,
            m: manifest.groups[0].m,
            groups: reported::groups(manifest),
            bytes: drives.iter().fold(0, |sum, d| d.bytes.saturating_add(sum)),
            segment_bytes: manifest.segment_bytes,
            volume_bytes: manifest.volume_bytes,
            block_bytes: manifest.block_bytes,
            drives,
            survives: survives_as_placed(&[manifest], Places::Unknown),
            program: ReportedProgram::of(manifest),
            directories: Vec::new(),
            directories_bytes: Vec::new(),
        }
    }

    /// Takes in what a later part has more; the rest is the same in all.
    fn add(&mut self, part: Report) {
        self.parts.extend(part.parts);
        self.last = part.last;
        // One slot for all of them, which may be whole with one part only.
        if self.confidentiality == Confidentiality::Unknown {
            self.confidentiality = part.confidentiality;
        }
        self.groups.extend(part.groups);
        self.drives.extend(part.drives);
        self.bytes = self.bytes.saturating_add(part.bytes);
    }
}
