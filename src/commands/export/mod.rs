//! `ckvault export`: from sources to a signed set on drives.

mod part;
mod report;
mod resume;

pub use report::{Report, ReportedDrive, ReportedGroup, ReportedProgram, ReportedVolume};

use crate::error::{Error, Result};
use crate::format::hex;
use crate::format::inventory::{self, Entry, Kind};
use crate::format::signature::{SigningKey, public_line};
use crate::media::disk::Disk;
use crate::media::drive::{self, Drive};
use crate::media::fence::Needs;
use crate::media::program::Program;
use crate::pipeline::plan::{PER_FILE, Plan, Request, plan};
use crate::pipeline::program;
use crate::pipeline::seal::SetIdentity;
use crate::pipeline::seal::recipients::Recipients;
use crate::pipeline::source::Source;
use crate::pipeline::state::{Begun, State, snapshot};
use crate::pipeline::walk::{Links, Walked, walk};
use crate::pipeline::{sign, tar};
use crate::progress::{Ask, Progress};
use base64::Engine as _;
use part::Export;
use report::Totals;
use std::path::{Path, PathBuf};

/// What was typed.
#[derive(Debug, Default)]
pub struct Options {
    /// What is read and written through.
    pub disk: Disk,
    /// Files and directories to export.
    pub sources: Vec<PathBuf>,
    /// Destinations; on resuming, where those are now if not where they were.
    pub drives: Vec<PathBuf>,
    /// Files of recipients.
    pub recipients: Vec<PathBuf>,
    /// Lone recipients.
    pub recipient: Vec<String>,
    /// The OpenSSH private key that signs; on resuming, only if it is not where it was.
    pub signing_key: Option<PathBuf>,
    /// The one that signs if none is named.
    pub default_signing_key: PathBuf,
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
    /// The program that is to travel with the set; on resuming, only if it is not where it was.
    pub program: Option<PathBuf>,
    /// Plan only.
    pub dry_run: bool,
    /// Go on with an interrupted export: the only one, or that with this beginning of its id.
    pub resume: Option<Option<String>>,
    /// Remove what an interrupted export left on the drives, and begin anew.
    pub discard: bool,
    /// Where it is kept how far exports are.
    pub state_dir: PathBuf,
    /// The time, for `created`.
    pub now: jiff::Timestamp,
}

/// Packs, seals, writes, reads back, signs.
pub fn run(options: &Options, ask: impl Ask + Clone + 'static, progress: &dyn Progress) -> Result<Report> {
    match &options.resume {
        Some(which) => resume::run(options, which.as_deref(), &ask, progress),
        None => begin(options, ask, progress),
    }
}

fn begin(options: &Options, ask: impl Ask + Clone + 'static, progress: &dyn Progress) -> Result<Report> {
    check_label(options.label.as_deref())?;
    let recipients = Recipients::parse_all(&options.recipient, &options.recipients, ask.clone())?;
    let key_file = options.signing_key.as_ref().unwrap_or(&options.default_signing_key);
    let key = sign::load(&options.disk, key_file, &ask)?;
    let program = options.program.as_ref().map(|path| program::to_travel(&options.disk, path)).transpose()?;
    let (walked, tar_bytes) = survey(&options.disk, &options.sources, options.links, options.skip_special)?;
    check_destinations(&options.sources, &options.drives)?;
    if !options.dry_run {
        resume::clear_the_way(options)?;
    }
    let drives = options.drives.iter().map(|d| drive::examine(d)).collect::<Result<Vec<Drive>>>()?;
    let metadata = metadata_estimate(&walked, tar_bytes, program.as_ref());
    let request = Request { may_go_on: ask.can_change_drives(), ..options.request.clone() };
    let plan = plan(&request, &drives, tar_bytes, metadata)?;
    check_inventory(&walked, tar_bytes.div_ceil(plan.segment_bytes.into()))?;
    let totals = Totals::of(&walked);
    if options.dry_run {
        return Ok(report::planned(options, &plan, &drives, totals));
    }
    let begun = begun(options, &plan, &recipients, &key, key_file, &walked)?;
    let state = State::create(&options.state_dir, &begun)?;
    let source = Source::new(&options.disk, walked, tar_bytes, plan.segment_bytes);
    let export = Export::new(&options.disk, begun, source, key, state, (program, metadata))?;
    finish(options, export, totals, &ask, progress)
}

/// Writes what there is to write; says how to go on if that ends early.
fn finish(
    options: &Options,
    mut export: Export,
    totals: Totals,
    ask: &dyn Ask,
    progress: &dyn Progress,
) -> Result<Report> {
    let plan = export.begun.plan.clone();
    options.disk.confine(&needs(&export, &options.state_dir, ask.can_change_drives() && plan.in_parts));
    match export.write(ask, progress) {
        Ok(parts) => {
            export.state.remove()?;
            Ok(report::written(&parts, &plan, totals))
        }
        Err(error) => Err(export.give_up(error)),
    }
}

/// What writing needs. Links in a source may lead anywhere, so everything may be read; but only drives and the state are
/// written to.
fn needs(export: &Export, state_dir: &Path, in_parts: bool) -> Needs {
    let (drives, mut needs) = (&export.begun.drives, Needs::default());
    needs.read.push("/".into());
    needs.write.push(state_dir.to_owned());
    needs.errands = sign::errands(&export.key, &export.begun.signing_key);
    match in_parts {
        false => needs.write.extend(drives.iter().cloned()),
        true => {
            needs.write.extend(drives.iter().map(|drive| Needs::around(drive)));
            needs.changed.clone_from(drives);
        }
    }
    needs
}

/// The sources as they are, laid out as a stream; and its length.
fn survey(disk: &Disk, sources: &[PathBuf], links: Links, skip_special: bool) -> Result<(Walked, u64)> {
    let mut walked = walk(disk, sources, links, skip_special)?;
    let tar_bytes = tar::lay_out(&mut walked.entries)?;
    Ok((walked, tar_bytes))
}

/// Settles everything that stays the same for all of the set. Its own identity is forgotten again: only the slot has it.
fn begun(
    options: &Options,
    plan: &Plan,
    recipients: &Recipients,
    key: &SigningKey,
    key_file: &Path,
    walked: &Walked,
) -> Result<Begun> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| Error::Internal(e.to_string()))?;
    let identity = SetIdentity::generate();
    let slot = identity.slot(recipients)?;
    let absolute = |path: &PathBuf| std::path::absolute(path).map_err(Error::io("resolve", path));
    let seconds = jiff::Timestamp::from_second(options.now.as_second()).unwrap_or(options.now);
    Ok(Begun {
        tool: Begun::version(),
        set: hex(&id),
        label: options.label.clone(),
        created: seconds.to_string(),
        recipient: identity.recipient().to_string(),
        slot: base64::engine::general_purpose::STANDARD.encode(slot),
        signer: public_line(&key.public()),
        signing_key: absolute(&key_file.to_owned())?,
        sources: options.sources.iter().map(absolute).collect::<Result<_>>()?,
        drives: options.drives.iter().map(absolute).collect::<Result<_>>()?,
        links: options.links,
        skip_special: options.skip_special,
        read_back: options.read_back,
        program: options.program.as_ref().map(absolute).transpose()?,
        plan: plan.clone(),
        sources_were: snapshot(&walked.entries),
    })
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
fn metadata_estimate(walked: &Walked, tar_bytes: u64, program: Option<&Program>) -> u64 {
    let segments = tar_bytes.div_ceil(64 << 10) * SEGMENT_LINE;
    let program = program.map_or(0, |program| program.bytes() + PER_FILE);
    walked.entries.iter().map(line_estimate).sum::<u64>() + segments + (1 << 20) + program
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
