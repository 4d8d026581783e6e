//! What is said of an export, written or only planned.

use super::options::Options;
use crate::commands::keygen::OwnKey;
use crate::commands::reported::{self, Judged, ReportedDrive, ReportedGroup, ReportedProgram};
use crate::format::sealed::Confidentiality;
use crate::format::signature::{KeyData, fingerprint};
use crate::media::drive::{Drive, UNTOLD};
use crate::pack::{
    Aside, Estimate, Expected, Noticed, Plan, Walked, WrittenPart, has_room, survives, survives_as_placed,
};
use crate::set::Origin;
use crate::stages::seal::recipients::Named;
use serde::Serialize;

/// What was written, or would be.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The id; absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// The label.
    pub label: Option<String>,
    /// When it was begun; null in a dry run.
    pub created: Option<String>,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Its parts, by number.
    pub parts: Vec<u32>,
    /// Whether these are all; not in a dry run of what may need more drives than these.
    pub last: bool,
    /// The drives, in order.
    pub drives: Vec<Destination>,
    /// The groups; in a dry run the most that there will be, without their volumes.
    pub groups: Vec<ReportedGroup>,
    /// In a dry run only, the groups that are expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_groups: Option<u64>,
    /// In a dry run only, how long it becomes, and whether it fits.
    #[serde(flatten)]
    pub judged: Option<Judged>,
    /// With `--probe` only, about how many seconds it takes, as fast as the drives were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// K of each group.
    pub k: u16,
    /// M of each group.
    pub m: u16,
    /// No volume is longer.
    pub volume_bytes: u64,
    /// Bytes of a block.
    pub block_bytes: u64,
    /// Bytes of the tar stream in a segment.
    pub segment_bytes: u32,
    /// Entries in the set.
    pub entries: u64,
    /// Bytes of files that went in, without holes.
    pub bytes_in: u64,
    /// Bytes of volumes and metadata on all drives; in a dry run the most that there will be.
    pub bytes_out: u64,
    /// Who can open the set.
    pub recipients: Vec<Named>,
    /// Whether the only one who can is whoever has the keys of this machine.
    pub only_own: bool,
    /// Whether a quantum computer can open one day what is recorded of it now.
    pub confidentiality: Confidentiality,
    /// How it is signed.
    pub signature: &'static str,
    /// The fingerprint of the key that signs it.
    pub signer_fingerprint: String,
    /// What the set survives.
    pub survives: String,
    /// Whether what was written was read back: `device`, `cache-possible` or `off`.
    pub read_back: &'static str,
    /// Whether all that was written is synced, and no file on the drives is open.
    pub safe_to_unplug: bool,
    /// What travels otherwise than it lay there, and what does not travel.
    #[serde(flatten)]
    pub noticed: Noticed,
    /// The program that travels with the set; null without one, and in a dry run.
    pub program: Option<ReportedProgram>,
}

/// A drive that is written to.
#[derive(Debug, Serialize)]
pub struct Destination {
    /// Which one, and what belongs there; in a dry run it is not known yet how many volumes there will be.
    #[serde(flatten)]
    pub drive: ReportedDrive,
    /// Bytes that were free before; null if its file system does not tell.
    pub free: Option<u64>,
    /// The most bytes that the set needed there.
    pub needed: u64,
    /// In a dry run only, the bytes that are expected there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// In a dry run only, the bytes that must be free there for who relies on what is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enough: Option<u64>,
    /// With `--probe` only, bytes that it took in a second; of the drives of later parts that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<u64>,
    /// How many volumes of each group it holds.
    pub volumes_per_group: usize,
}

/// What comes of it, judged by some of it.
pub(super) struct Forecast {
    pub(super) estimate: Estimate,
    /// What is known of metadata.
    pub(super) aside: Aside,
    /// What is to be expected.
    pub(super) expected: Expected,
}

/// How fast drives were, and what follows from that.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured {
    /// Bytes a second that each takes; none if they were not tried.
    pub(super) speeds: Vec<u64>,
    /// How long it takes until all is written, and read back.
    pub(super) seconds: Option<u64>,
}

/// What goes in.
#[derive(Debug, Clone)]
pub(super) struct Totals {
    entries: u64,
    bytes_in: u64,
    noticed: Noticed,
    recipients: Vec<Named>,
    only_own: bool,
    confidentiality: Confidentiality,
    signer: String,
    measured: Measured,
}

impl Totals {
    pub(super) fn of(walked: &Walked, recipients: &[Named], own: &OwnKey, signer: &KeyData, slot: &[u8]) -> Totals {
        Totals {
            entries: walked.entries.len() as u64,
            bytes_in: walked.entries.iter().map(|e| e.stored()).sum(),
            noticed: walked.noticed.clone(),
            recipients: recipients.to_vec(),
            only_own: !recipients.is_empty() && recipients.iter().all(|named| own.is(&named.recipient)),
            confidentiality: Confidentiality::of_slot(slot),
            signer: fingerprint(signer),
            measured: Measured::default(),
        }
    }

    /// With what the drives were found to be.
    pub(super) fn with(self, measured: Measured) -> Totals {
        Totals { measured, ..self }
    }
}

/// Of a plan.
pub(super) fn planned(options: &Options, plan: &Plan, drives: &[Drive], forecast: &Forecast, totals: Totals) -> Report {
    let group = || ReportedGroup { part: 1, k: plan.k, m: plan.m, volumes: Vec::new() };
    let counts: Vec<usize> = (0..drives.len()).map(|d| plan.volumes_on(d)).collect();
    let groups = vec![counts; plan.most_groups as usize];
    let drive = |(i, drive): (usize, &Drive)| {
        let number = ReportedDrive { drive: i as u32 + 1, ..ReportedDrive::default() };
        let known = number.at(&drive.path, None, drive.known.clone());
        Destination {
            needed: plan.needed[i],
            expected: Some(forecast.expected.on_drives[i]),
            enough: Some(forecast.expected.enough[i]),
            speed: totals.measured.speeds.get(i).copied(),
            ..destination(known, i, drive, plan)
        }
    };
    let wanted = if options.request.trust_estimate { &forecast.expected.enough } else { &plan.needed };
    Report {
        set: None,
        label: options.label.clone(),
        created: None,
        dry_run: true,
        parts: vec![1],
        last: !plan.in_parts,
        drives: drives.iter().enumerate().map(drive).collect(),
        groups: (0..plan.most_groups).map(|_| group()).collect(),
        expected_groups: Some(forecast.expected.groups),
        judged: Some(Judged::of(&forecast.estimate, has_room(drives, wanted))),
        seconds: totals.measured.seconds,
        k: plan.k,
        m: plan.m,
        volume_bytes: plan.volume_bytes,
        block_bytes: plan.block.bytes(),
        segment_bytes: plan.segment_bytes,
        entries: totals.entries,
        bytes_in: totals.bytes_in,
        recipients: totals.recipients,
        only_own: totals.only_own,
        confidentiality: totals.confidentiality,
        signature: reported::SIGNATURE,
        signer_fingerprint: totals.signer,
        bytes_out: plan.needed.iter().sum(),
        survives: survives(plan.k, plan.m, &groups, None),
        read_back: "off",
        safe_to_unplug: true,
        noticed: totals.noticed,
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
        created: Some(first.created.clone()),
        dry_run: false,
        parts: (1..=last.part).collect(),
        last: true,
        drives: parts.iter().flat_map(|p| drives(p, plan, &totals.measured)).collect(),
        groups: parts.iter().flat_map(|p| reported::groups(&p.manifest)).collect(),
        expected_groups: None,
        judged: None,
        seconds: totals.measured.seconds,
        k: plan.k,
        m: plan.m,
        volume_bytes: plan.volume_bytes,
        block_bytes: plan.block.bytes(),
        segment_bytes: plan.segment_bytes,
        entries: totals.entries,
        bytes_in: totals.bytes_in,
        recipients: totals.recipients,
        only_own: totals.only_own,
        confidentiality: totals.confidentiality,
        signature: reported::SIGNATURE,
        signer_fingerprint: totals.signer,
        bytes_out: parts.iter().map(bytes_out).sum(),
        survives: survives_as_placed(
            &parts.iter().map(|part| &part.manifest).collect::<Vec<_>>(),
            parts[parts.len() - 1].places,
        ),
        read_back: match origin {
            None => "off",
            Some(Origin::Drive) => "device",
            Some(Origin::CachePossible) => "cache-possible",
        },
        safe_to_unplug: parts.iter().all(|part| part.is_released),
        noticed: totals.noticed,
        program: ReportedProgram::of(last),
    }
}

fn drives(part: &WrittenPart, plan: &Plan, measured: &Measured) -> Vec<Destination> {
    let written = reported::drives(&part.manifest, std::iter::empty());
    let drive = |(i, (drive, known)): (usize, (&Drive, ReportedDrive))| {
        let known = known.at(&drive.path, Some(&part.dirs[i]), drive.known.clone());
        let speed = measured.speeds.get(i).copied().filter(|_| part.manifest.part == 1);
        Destination { speed, ..destination(known, i, drive, plan) }
    };
    part.drives.iter().zip(written).enumerate().map(drive).collect()
}

fn destination(known: ReportedDrive, i: usize, drive: &Drive, plan: &Plan) -> Destination {
    Destination {
        drive: known,
        free: (drive.free < UNTOLD).then_some(drive.free),
        needed: plan.needed[i].min(drive.free),
        expected: None,
        enough: None,
        speed: None,
        volumes_per_group: plan.volumes_on(i),
    }
}

fn bytes_out(part: &WrittenPart) -> u64 {
    let manifest = &part.manifest;
    let volumes: u64 = manifest.volumes().map(|(_, _, _, v)| v.bytes).sum();
    let listed: u64 = manifest.files.values().map(|f| f.bytes).sum();
    let on_each = listed + manifest.encode().len() as u64 + part.signature;
    let sums: u64 = (1..=manifest.drives).map(|d| manifest.b3sums(d).len() as u64).sum();
    volumes + 2 * (on_each * u64::from(manifest.drives) + sums)
}
