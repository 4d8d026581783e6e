//! `ckvault inspect`: what anyone can see of a set, trusted or not. Needs no secret, and reads no volume.

use super::export::ReportedProgram;
use crate::error::Result;
use crate::pipeline::open::{self, Where};
use crate::pipeline::plan::survives_as_placed;
use serde::Serialize;
use std::collections::BTreeMap;

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
    /// The set's own recipient.
    pub recipient: String,
    /// K of each group.
    pub k: u16,
    /// M of each group.
    pub m: u16,
    /// Groups.
    pub groups: usize,
    /// Bytes of all volumes.
    pub bytes: u64,
    /// Bytes of the tar stream in a segment.
    pub segment_bytes: u32,
    /// No volume is longer.
    pub volume_bytes: u64,
    /// Volumes on each drive, by its number.
    pub drives: BTreeMap<u32, ReportedDrive>,
    /// What the set survives.
    pub survives: String,
    /// The program that travels with the set, if one does.
    pub program: Option<ReportedProgram>,
    /// The directories that are here.
    pub directories: Vec<std::path::PathBuf>,
}

/// What a drive holds.
#[derive(Debug, Default, Serialize)]
pub struct ReportedDrive {
    /// How many volumes.
    pub volumes: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Reads the manifests.
pub fn run(place: &Where) -> Result<Report> {
    place.disk.confine(&place.needs());
    let seen = open::peek(place)?;
    let (first, last) = (&seen[0], &seen[seen.len() - 1]);
    let manifest = &first.manifest;
    let mut drives: BTreeMap<u32, ReportedDrive> = BTreeMap::new();
    for part in seen.iter().map(|s| &s.manifest) {
        drives.extend((1..=part.drives).map(|d| (part.drive_number(d), ReportedDrive::default())));
        for (_, _, _, volume) in part.volumes() {
            let drive = drives.entry(part.drive_number(volume.drive)).or_default();
            drive.volumes += 1;
            drive.bytes += volume.bytes;
        }
    }
    let signer = first.signer.as_ref().ok();
    Ok(Report {
        verified: signer.is_some(),
        signer: signer.map(|s| s.name.clone()),
        signer_fingerprint: signer.map(|s| s.fingerprint.clone()),
        not_verified: first.signer.as_ref().err().cloned(),
        set: manifest.set.clone(),
        label: manifest.label.clone(),
        parts: seen.iter().map(|s| s.manifest.part).collect(),
        last: last.manifest.last,
        created: manifest.created.clone(),
        format: manifest.format.clone(),
        tool: manifest.tool.clone(),
        recipient: manifest.recipient.clone(),
        k: manifest.groups[0].k,
        m: manifest.groups[0].m,
        groups: seen.iter().map(|s| s.manifest.groups.len()).sum(),
        bytes: drives.values().map(|d| d.bytes).sum(),
        segment_bytes: manifest.segment_bytes,
        volume_bytes: manifest.volume_bytes,
        drives,
        survives: survives_as_placed(manifest),
        program: ReportedProgram::of(manifest),
        directories: seen.iter().flat_map(|s| s.dirs.clone()).collect(),
    })
}
