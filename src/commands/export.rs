//! `ckvault export`: from sources to a signed set on drives.

use crate::error::{Error, Result};
use crate::format::header::Header;
use crate::format::inventory::{self, Entry, Head, Inventory, Kind};
use crate::format::manifest::{Manifest, set_dir_name, volume_name};
use crate::format::signature::{SigningKey, public_line};
use crate::format::{FORMAT, hex, names, recovery};
use crate::media::drive::{self, Drive};
use crate::pipeline::drives::SetDirs;
use crate::pipeline::plan::{Plan, Request, plan, survives};
use crate::pipeline::readback::{self, Origin};
use crate::pipeline::seal::SetIdentity;
use crate::pipeline::seal::recipients::Recipients;
use crate::pipeline::source::Source;
use crate::pipeline::walk::{Links, Walked, walk};
use crate::pipeline::{self, metadata, sign, tar};
use crate::progress::{Ask, Phase, Progress};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What was typed.
#[derive(Debug, Default)]
pub struct Options {
    /// Files and directories to export.
    pub sources: Vec<PathBuf>,
    /// Destinations.
    pub drives: Vec<PathBuf>,
    /// Files of recipients.
    pub recipients: Vec<PathBuf>,
    /// Lone recipients.
    pub recipient: Vec<String>,
    /// The OpenSSH private key that signs.
    pub signing_key: PathBuf,
    /// The public label.
    pub label: Option<String>,
    /// Parity and sizes.
    pub request: Request,
    /// What to do with symbolic links.
    pub links: Links,
    /// Leave out fifos, sockets and devices.
    pub skip_special: bool,
    /// Read everything back after writing.
    pub read_back: bool,
    /// Plan only.
    pub dry_run: bool,
    /// The time, for `created`.
    pub now: jiff::Timestamp,
}

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
    /// What the set survives.
    pub survives: String,
    /// Whether what was written was read back: `device`, `cache-possible` or `off`.
    pub read_back: &'static str,
    /// Special files that were left out.
    pub skipped: Vec<String>,
}

/// A destination.
#[derive(Debug, Serialize)]
pub struct ReportedDrive {
    /// Its number.
    pub drive: u16,
    /// Where it is.
    pub path: PathBuf,
    /// The set's directory on it.
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
    pub drive: u16,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub blake3: String,
}

/// Packs, seals, writes, reads back, signs.
pub fn run(options: &Options, ask: impl Ask + Clone + 'static, progress: &dyn Progress) -> Result<Report> {
    check_label(options.label.as_deref())?;
    let recipients = Recipients::parse_all(&options.recipient, &options.recipients, ask.clone())?;
    let key = sign::load(&options.signing_key, &ask)?;
    let mut walked = walk(&options.sources, options.links, options.skip_special)?;
    let tar_bytes = tar::lay_out(&mut walked.entries)?;
    check_destinations(&options.sources, &options.drives)?;
    let drives = options.drives.iter().map(|d| drive::examine(d)).collect::<Result<Vec<Drive>>>()?;
    let plan = plan(&options.request, &drives, tar_bytes, metadata_estimate(&walked, tar_bytes))?;
    check_inventory(&walked, tar_bytes.div_ceil(plan.segment_bytes.into()))?;
    let totals = Totals::of(&walked);
    if options.dry_run {
        return Ok(dry_report(options, &plan, &drives, totals));
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| Error::Internal(e.to_string()))?;
    let dirs = SetDirs::create(&options.drives, &set_dir_name(options.label.as_deref(), &hex(&id)))?;
    let job = Job { options, id, plan: &plan, drives: &drives, dirs: &dirs, recipients, key, progress };
    match job.write(walked, tar_bytes) {
        Ok(written) => Ok(report(options, &written, &plan, &drives, &dirs, totals)),
        Err(error) => {
            dirs.remove();
            Err(error)
        }
    }
}

/// What is on the drives in the end.
struct Written {
    manifest: Manifest,
    /// Where it was read back from, if it was.
    origin: Option<Origin>,
    /// Bytes of the signature.
    signature: u64,
}

/// The signature that was written.
struct Signed {
    bytes: u64,
    origin: Option<Origin>,
}

/// Everything that is settled before the first byte is written.
struct Job<'a> {
    options: &'a Options,
    id: [u8; 16],
    plan: &'a Plan,
    drives: &'a [Drive],
    dirs: &'a SetDirs,
    recipients: Recipients,
    key: SigningKey,
    progress: &'a dyn Progress,
}

impl Job<'_> {
    fn write(&self, walked: Walked, tar_bytes: u64) -> Result<Written> {
        let identity = SetIdentity::generate();
        let to = identity.recipient();
        let mut files = BTreeMap::new();
        let slot = identity.slot(&self.recipients)?;
        drop(identity);
        files.insert(names::KEYS.into(), metadata::write_everywhere(self.dirs, names::KEYS, &slot)?);
        let paths: Vec<String> = self.drives.iter().map(|d| d.path.display().to_string()).collect();
        self.progress.begin(Phase::Export, tar_bytes, &paths);
        let source = Source::new(walked, tar_bytes, self.plan.segment_bytes);
        let packed = pipeline::pack(&source, self.plan, self.dirs, self.header(), &to, self.progress)?;
        self.progress.end();
        source.check_unchanged()?;
        files.insert(names::HASHES.into(), packed.hashes);
        let inventory = self.inventory(source, packed.frames, tar_bytes);
        files.insert(names::INVENTORY.into(), metadata::write_inventory(self.dirs, &inventory, self.plan, &to)?);
        for (name, text) in [(names::RECOVER_PY, recovery::SCRIPT), (names::RECOVER_TXT, recovery::TEXT)] {
            files.insert(name.into(), metadata::write_everywhere(self.dirs, name, text.as_bytes())?);
        }
        let manifest = self.manifest(packed.groups, files, to.to_string());
        metadata::write_b3sums(self.dirs, |drive| manifest.b3sums(drive))?;
        let read = self.read_back(&manifest)?;
        let signed = self.sign(&manifest)?;
        Ok(Written { manifest, origin: read.zip(signed.origin).map(|(a, b)| a.and(b)), signature: signed.bytes })
    }

    fn header(&self) -> Header {
        Header {
            set: self.id,
            group: 0,
            index: 0,
            k: self.plan.k,
            m: self.plan.m,
            part: 1,
            segment_bytes: self.plan.segment_bytes,
            volume_bytes: self.plan.volume_bytes,
        }
    }

    fn inventory(&self, source: Source, frames: Vec<u32>, tar_bytes: u64) -> Inventory {
        let entries = source.finish();
        let head = Head {
            inventory: FORMAT.into(),
            set: hex(&self.id),
            signer: public_line(&self.key.public()),
            tar_bytes,
            entries: entries.len() as u64,
            segments: frames.len() as u64,
        };
        Inventory { head, entries, frames }
    }

    fn manifest(
        &self,
        groups: Vec<crate::format::manifest::Group>,
        files: BTreeMap<String, crate::format::manifest::Listed>,
        recipient: String,
    ) -> Manifest {
        let seconds = jiff::Timestamp::from_second(self.options.now.as_second()).unwrap_or(self.options.now);
        Manifest {
            format: FORMAT.into(),
            critical: Vec::new(),
            set: hex(&self.id),
            label: self.options.label.clone(),
            part: 1,
            last: true,
            previous: None,
            created: seconds.to_string(),
            tool: concat!("ckvault ", env!("CARGO_PKG_VERSION")).into(),
            recipient,
            filter: "zstd".into(),
            segment_bytes: self.plan.segment_bytes,
            volume_bytes: self.plan.volume_bytes,
            drives: self.drives.len() as u16,
            groups,
            files,
        }
    }

    fn read_back(&self, manifest: &Manifest) -> Result<Option<Origin>> {
        if !self.options.read_back {
            return Ok(None);
        }
        let origin = readback::read_back(manifest, self.drives, self.dirs, self.progress)?;
        let sums = readback::compare_small(self.dirs, names::B3SUMS, |d| manifest.b3sums(d as u16 + 1))?;
        Ok(Some(origin.and(sums)))
    }

    /// The manifest last: without it, nothing looks complete.
    fn sign(&self, manifest: &Manifest) -> Result<Signed> {
        if self.progress.cancelled() {
            return Err(Error::Interrupted);
        }
        let bytes = manifest.encode();
        let signature = sign::sign(&self.key, &self.options.signing_key, &bytes)?;
        metadata::write_everywhere(self.dirs, names::SIGNATURE, &signature)?;
        metadata::write_everywhere(self.dirs, names::MANIFEST, &bytes)?;
        let origin = match self.options.read_back {
            false => None,
            true => {
                let first = readback::compare_small(self.dirs, names::SIGNATURE, |_| signature.clone())?;
                Some(first.and(readback::compare_small(self.dirs, names::MANIFEST, |_| bytes.clone())?))
            }
        };
        Ok(Signed { bytes: signature.len() as u64, origin })
    }
}

fn check_label(label: Option<&str>) -> Result<()> {
    match label {
        Some(label) if !crate::format::valid_label(label) => Err(Error::usage(
            format!("the label {label:?} is not valid"),
            "letters, digits, dots, underscores and hyphens, at most 64, the first a letter or digit; it is public",
        )),
        _ => Ok(()),
    }
}

/// A destination must not be given twice, nor lie in what is exported.
fn check_destinations(sources: &[PathBuf], drives: &[PathBuf]) -> Result<()> {
    let resolve = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let sources: Vec<PathBuf> = sources.iter().map(resolve).collect();
    let mut seen = Vec::new();
    for drive in drives {
        let resolved = resolve(drive);
        if sources.iter().any(|s| resolved.starts_with(s)) {
            return Err(Error::usage(
                format!("the destination {} lies in what is exported", drive.display()),
                "export to a directory outside of the source, or name the sources",
            ));
        }
        if seen.contains(&resolved) {
            return Err(Error::usage(
                format!("the destination {} is given twice", drive.display()),
                "give each drive once",
            ));
        }
        seen.push(resolved);
    }
    Ok(())
}

/// An upper bound for the inventory, which is compressed, and for what lies beside it.
fn metadata_estimate(walked: &Walked, tar_bytes: u64) -> u64 {
    let segments = tar_bytes.div_ceil(64 << 10) * SEGMENT_LINE;
    walked.entries.iter().map(line_estimate).sum::<u64>() + segments + (1 << 20)
}

/// About the length of a segment's line.
const SEGMENT_LINE: u64 = 90;

/// About the length of an entry's line.
fn line_estimate(entry: &Entry) -> u64 {
    let xattrs: usize = entry.xattrs.iter().map(|(n, v)| n.0.len() + v.0.len()).sum();
    let extents = match &entry.kind {
        Kind::File { extents: Some(extents), .. } => extents.len() * 40,
        _ => 0,
    };
    (entry.path.0.len() * 2 + xattrs * 2 + extents + 300) as u64
}

/// Nothing may be exported that import refuses to read.
fn check_inventory(walked: &Walked, segments: u64) -> Result<()> {
    let lines: u64 = walked.entries.iter().map(line_estimate).sum();
    match lines.saturating_add(segments.saturating_mul(SEGMENT_LINE)) <= inventory::MOST_BYTES {
        true => Ok(()),
        false => Err(Error::source("the inventory of so much would be too long to be read", "export less at once")),
    }
}

#[derive(Clone)]
struct Totals {
    entries: u64,
    bytes_in: u64,
    skipped: Vec<String>,
}

impl Totals {
    fn of(walked: &Walked) -> Totals {
        Totals {
            entries: walked.entries.len() as u64,
            bytes_in: walked.entries.iter().map(|e| e.stored()).sum(),
            skipped: walked.skipped.clone(),
        }
    }
}

fn dry_report(options: &Options, plan: &Plan, drives: &[Drive], totals: Totals) -> Report {
    let group = || ReportedGroup { k: plan.k, m: plan.m, volumes: Vec::new() };
    let counts: Vec<usize> = (0..drives.len()).map(|d| plan.volumes_on(d)).collect();
    let groups = vec![counts; plan.most_groups as usize];
    Report {
        set: None,
        label: options.label.clone(),
        dry_run: true,
        drives: reported_drives(plan, drives, None),
        groups: (0..plan.most_groups).map(|_| group()).collect(),
        k: plan.k,
        m: plan.m,
        volume_bytes: plan.volume_bytes,
        entries: totals.entries,
        bytes_in: totals.bytes_in,
        bytes_out: plan.needed.iter().sum(),
        survives: survives(plan.k, plan.m, &groups),
        read_back: "off",
        skipped: totals.skipped,
    }
}

fn reported_drives(plan: &Plan, drives: &[Drive], dirs: Option<&SetDirs>) -> Vec<ReportedDrive> {
    let drive = |(i, drive): (usize, &Drive)| ReportedDrive {
        drive: i as u16 + 1,
        path: drive.path.clone(),
        directory: dirs.map(|d| d.dirs[i].clone()),
        free: drive.free,
        needed: plan.needed[i],
        volumes_per_group: plan.volumes_on(i),
    };
    drives.iter().enumerate().map(drive).collect()
}

fn report(
    options: &Options,
    written: &Written,
    plan: &Plan,
    drives: &[Drive],
    dirs: &SetDirs,
    totals: Totals,
) -> Report {
    let manifest = &written.manifest;
    let group = |(g, group): (usize, &crate::format::manifest::Group)| {
        let volume = |(i, v): (usize, &crate::format::manifest::Volume)| ReportedVolume {
            name: volume_name(g, i, group.k),
            drive: v.drive,
            bytes: v.bytes,
            blake3: hex(&v.blake3),
        };
        ReportedGroup { k: group.k, m: group.m, volumes: group.volumes.iter().enumerate().map(volume).collect() }
    };
    let volumes: u64 = manifest.volumes().map(|(_, _, _, v)| v.bytes).sum();
    let listed: u64 = manifest.files.values().map(|f| f.bytes).sum();
    let on_each = listed + manifest.encode().len() as u64 + written.signature;
    let sums: u64 = (1..=manifest.drives).map(|d| manifest.b3sums(d).len() as u64).sum();
    let metadata = 2 * (on_each * drives.len() as u64 + sums);
    Report {
        set: Some(manifest.set.clone()),
        label: options.label.clone(),
        dry_run: false,
        drives: reported_drives(plan, drives, Some(dirs)),
        groups: manifest.groups.iter().enumerate().map(group).collect(),
        k: plan.k,
        m: plan.m,
        volume_bytes: plan.volume_bytes,
        entries: totals.entries,
        bytes_in: totals.bytes_in,
        bytes_out: volumes + metadata,
        survives: pipeline::plan::survives_as_placed(manifest),
        read_back: match written.origin {
            None => "off",
            Some(Origin::Drive) => "device",
            Some(Origin::CachePossible) => "cache-possible",
        },
        skipped: totals.skipped,
    }
}
