//! What is said of an export, written or only planned.

use super::options::Options;
use crate::commands::{exact, lossy, lossy_option};
use crate::format::hex;
use crate::format::manifest::{Manifest, volume_name};
use crate::format::signature::{KeyData, fingerprint};
use crate::media::drive::Drive;
use crate::pack::{LeftOut, Noted, Noticed, Plan, Walked, WrittenPart, survives, survives_as_placed};
use crate::set::Origin;
use crate::stages::seal::recipients::Named;
use serde::Serialize;
use std::path::PathBuf;

/// What was written, or would be.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The id; absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// The label.
    pub label: Option<String>,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// How many parts it has; in a dry run 0 if it may need more drives than these.
    pub parts: u32,
    /// The drives, in order.
    pub drives: Vec<ReportedDrive>,
    /// The groups; in a dry run the most that there will be, without their volumes.
    pub groups: Vec<ReportedGroup>,
    /// K of each group.
    pub k: u16,
    /// M of each group.
    pub m: u16,
    /// No volume is longer.
    pub volume_bytes: u64,
    /// Entries in the set.
    pub entries: u64,
    /// Bytes of files that went in, without holes.
    pub bytes_in: u64,
    /// Bytes of volumes and metadata on all drives; in a dry run the most that there will be.
    pub bytes_out: u64,
    /// Who can open the set.
    pub recipients: Vec<Named>,
    /// The fingerprint of the key that signs it.
    pub signer_fingerprint: String,
    /// What the set survives.
    pub survives: String,
    /// Whether what was written was read back: `device`, `cache-possible` or `off`.
    pub read_back: &'static str,
    /// Links that lead out of the sources and were followed.
    pub followed: Noted,
    /// Links that are kept and lead out of the set: whoever imports it has to allow them.
    pub leaving: Noted,
    /// Entries with access lists, capabilities or attributes that do not travel.
    pub attributes: Noted,
    /// Special files that were left out.
    pub skipped: Vec<String>,
    /// What else was left out, and why.
    pub left_out: Vec<LeftOut>,
    /// Patterns of `--exclude` that match nothing.
    pub unmatched: Vec<String>,
    /// The program that travels with the set; null without one, and in a dry run.
    pub program: Option<ReportedProgram>,
}

/// A program that travels with a set.
#[derive(Debug, Serialize)]
pub struct ReportedProgram {
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub blake3: String,
}

impl ReportedProgram {
    /// The one that a manifest names.
    pub fn of(manifest: &Manifest) -> Option<ReportedProgram> {
        manifest.program().map(|listed| ReportedProgram { bytes: listed.bytes, blake3: hex(&listed.blake3) })
    }
}

/// A destination.
#[derive(Debug, Serialize)]
pub struct ReportedDrive {
    /// Its number.
    pub drive: u32,
    /// Where it is, or was.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// The exact bytes of that in base64, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// The set's directory on it.
    #[serde(serialize_with = "lossy_option")]
    pub directory: Option<PathBuf>,
    /// Bytes that were free before.
    pub free: u64,
    /// The most bytes that the set needed there.
    pub needed: u64,
    /// How many volumes of each group it holds.
    pub volumes_per_group: usize,
}

/// A group.
#[derive(Debug, Serialize)]
pub struct ReportedGroup {
    /// The part that it is in.
    pub part: u32,
    /// Data volumes.
    pub k: u16,
    /// Parity volumes.
    pub m: u16,
    /// The volumes.
    pub volumes: Vec<ReportedVolume>,
}

/// A volume.
#[derive(Debug, Serialize)]
pub struct ReportedVolume {
    /// Its file name.
    pub name: String,
    /// The number of its drive.
    pub drive: u32,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub blake3: String,
}

/// What goes in.
#[derive(Debug, Clone)]
pub(super) struct Totals {
    entries: u64,
    bytes_in: u64,
    noticed: Noticed,
    recipients: Vec<Named>,
    signer: String,
}

impl Totals {
    pub(super) fn of(walked: &Walked, recipients: &[Named], signer: &KeyData) -> Totals {
        Totals {
            entries: walked.entries.len() as u64,
            bytes_in: walked.entries.iter().map(|e| e.stored()).sum(),
            noticed: walked.noticed.clone(),
            recipients: recipients.to_vec(),
            signer: fingerprint(signer),
        }
    }
}

/// Of a plan.
pub(super) fn planned(options: &Options, plan: &Plan, drives: &[Drive], totals: Totals) -> Report {
    let group = || ReportedGroup { part: 1, k: plan.k, m: plan.m, volumes: Vec::new() };
    let counts: Vec<usize> = (0..drives.len()).map(|d| plan.volumes_on(d)).collect();
    let groups = vec![counts; plan.most_groups as usize];
    let drive = |(i, drive): (usize, &Drive)| ReportedDrive {
        drive: i as u32 + 1,
        path: drive.path.clone(),
        path_bytes: exact(&drive.path),
        directory: None,
        free: drive.free,
        needed: plan.needed[i],
        volumes_per_group: plan.volumes_on(i),
    };
    Report {
        set: None,
        label: options.label.clone(),
        dry_run: true,
        parts: u32::from(!plan.in_parts),
        drives: drives.iter().enumerate().map(drive).collect(),
        groups: (0..plan.most_groups).map(|_| group()).collect(),
        k: plan.k,
        m: plan.m,
        volume_bytes: plan.volume_bytes,
        entries: totals.entries,
        bytes_in: totals.bytes_in,
        recipients: totals.recipients,
        signer_fingerprint: totals.signer,
        bytes_out: plan.needed.iter().sum(),
        survives: survives(plan.k, plan.m, &groups),
        read_back: "off",
        followed: totals.noticed.followed,
        leaving: totals.noticed.leaving,
        attributes: totals.noticed.attributes,
        skipped: totals.noticed.skipped,
        left_out: totals.noticed.left_out,
        unmatched: totals.noticed.unmatched,
        program: None,
    }
}

/// Of what was written by this run; parts that were written before an interruption are counted, but not listed.
pub(super) fn written(parts: &[WrittenPart], plan: &Plan, totals: Totals) -> Report {
    let (first, last) = (&parts[0].manifest, &parts[parts.len() - 1].manifest);
    let origin = parts.iter().map(|p| p.origin).reduce(|a, b| a.zip(b).map(|(a, b)| a.and(b))).flatten();
    Report {
        set: Some(first.set.clone()),
        label: first.label.clone(),
        dry_run: false,
        parts: last.part,
        drives: parts.iter().flat_map(|p| drives(p, plan)).collect(),
        groups: parts.iter().flat_map(|p| groups(&p.manifest)).collect(),
        k: plan.k,
        m: plan.m,
        volume_bytes: plan.volume_bytes,
        entries: totals.entries,
        bytes_in: totals.bytes_in,
        recipients: totals.recipients,
        signer_fingerprint: totals.signer,
        bytes_out: parts.iter().map(bytes_out).sum(),
        survives: survives_as_placed(last),
        read_back: match origin {
            None => "off",
            Some(Origin::Drive) => "device",
            Some(Origin::CachePossible) => "cache-possible",
        },
        followed: totals.noticed.followed,
        leaving: totals.noticed.leaving,
        attributes: totals.noticed.attributes,
        skipped: totals.noticed.skipped,
        left_out: totals.noticed.left_out,
        unmatched: totals.noticed.unmatched,
        program: ReportedProgram::of(last),
    }
}

fn drives(part: &WrittenPart, plan: &Plan) -> Vec<ReportedDrive> {
    let drive = |(i, drive): (usize, &Drive)| ReportedDrive {
        drive: part.manifest.drive_number(i as u16 + 1),
        path: drive.path.clone(),
        path_bytes: exact(&drive.path),
        directory: Some(part.dirs[i].clone()),
        free: drive.free,
        needed: plan.needed[i].min(drive.free),
        volumes_per_group: plan.volumes_on(i),
    };
    part.drives.iter().enumerate().map(drive).collect()
}

fn groups(manifest: &Manifest) -> Vec<ReportedGroup> {
    let group = |(g, group): (usize, &crate::format::manifest::Group)| {
        let volume = |(i, v): (usize, &crate::format::manifest::Volume)| ReportedVolume {
            name: volume_name(g, i, group.k),
            drive: manifest.drive_number(v.drive),
            bytes: v.bytes,
            blake3: hex(&v.blake3),
        };
        let volumes = group.volumes.iter().enumerate().map(volume).collect();
        ReportedGroup { part: manifest.part, k: group.k, m: group.m, volumes }
    };
    manifest.groups.iter().enumerate().map(group).collect()
}

fn bytes_out(part: &WrittenPart) -> u64 {
    let manifest = &part.manifest;
    let volumes: u64 = manifest.volumes().map(|(_, _, _, v)| v.bytes).sum();
    let listed: u64 = manifest.files.values().map(|f| f.bytes).sum();
    let on_each = listed + manifest.encode().len() as u64 + part.signature;
    let sums: u64 = (1..=manifest.drives).map(|d| manifest.b3sums(d).len() as u64).sum();
    volumes + 2 * (on_each * u64::from(manifest.drives) + sums)
}
