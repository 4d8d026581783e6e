//! `ckvault export`: from sources to a signed set on drives.

mod report;
mod resume;

pub use report::{Report, ReportedDrive, ReportedGroup, ReportedProgram, ReportedVolume};

use crate::error::{Error, Result};
use crate::format::hex;
use crate::format::inventory::{self, Entry, Kind};
use crate::format::signature::{SigningKey, public_line};
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::drive::{self, Drive};
use crate::media::fence::Needs;
use crate::media::guarded;
use crate::media::program::Program;
use crate::pack::{
    self, Begun, Export, Links, PER_FILE, Plan, Request, Source, State, Walked, cannot_hold, load_signing_key, plan,
    signing_errands, snapshot, walk,
};
use crate::progress::{Ask, Progress};
use crate::set::program_to_travel;
use crate::stages::seal::SetIdentity;
use crate::stages::seal::recipients::Recipients;
use crate::stages::tar;
use base64::Engine as _;
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
    // What is resumed is encrypted to whom the state says.
    if let Ok(dir) = Dir::given(&Disk::default(), &options.state_dir) {
        guarded::check_dir(&dir, progress)?;
    }
    match &options.resume {
        Some(which) => resume::run(options, which.as_deref(), &ask, progress),
        None => begin(options, ask, progress),
    }
}

fn begin(options: &Options, ask: impl Ask + Clone + 'static, progress: &dyn Progress) -> Result<Report> {
    check_label(options.label.as_deref())?;
    let recipients = Recipients::parse_all(&options.recipient, &options.recipients, ask.clone(), progress)?;
    let no_key = || Error::usage("there is no signing key: nobody could trust the set", "give --signing-key FILE");
    let key_file = options.signing_key.as_ref().ok_or_else(no_key)?;
    let key = load_signing_key(&options.disk, key_file, &ask, progress)?;
    let program = options.program.as_ref().map(|path| program_to_travel(&options.disk, path)).transpose()?;
    // Opened once: what is checked and measured is what is written to.
    let held = options.drives.iter().map(|d| drive::open(&options.disk, d)).collect::<Result<Vec<Dir>>>()?;
    check_destinations(&options.disk, &options.sources, &held)?;
    let (walked, tar_bytes) = survey(&options.disk, &options.sources, options.links, options.skip_special)?;
    if !options.dry_run {
        resume::clear_the_way(options, &held)?;
    }
    let drives = held.iter().map(drive::examine).collect::<Result<Vec<Drive>>>()?;
    let metadata = metadata_estimate(&walked, tar_bytes, program.as_ref());
    let request = Request { may_go_on: ask.can_change_drives(), ..options.request.clone() };
    let plan = plan(&request, &drives, tar_bytes, metadata)?;
    check_inventory(&walked, tar_bytes.div_ceil(plan.segment_bytes.into()))?;
    let totals = Totals::of(&walked);
    if options.dry_run {
        return Ok(report::planned(options, &plan, &drives, totals));
    }
    if let Some((_, drive)) = held.iter().zip(&drives).find(|(dir, d)| !d.can_hold(plan.volume_bytes, Some(dir))) {
        return Err(cannot_hold(drive, plan.volume_bytes));
    }
    let mounted = held.iter().map(Dir::is_mount_point).collect();
    let begun = Begun { mounted, ..begun(options, &plan, &recipients, &key, key_file, &walked)? };
    let state = State::create(&options.state_dir, &begun)?;
    let source = Source::new(&options.disk, walked, tar_bytes, plan.segment_bytes);
    let held = held.into_iter().map(Some).collect();
    let export = Export::new((&options.disk, held), begun, source, key, state, (program, metadata))?;
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
    match pack::write(&mut export, ask, progress) {
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
    needs.errands = signing_errands(&export.key, &export.begun.signing_key);
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
        mounted: Vec::new(),
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
fn check_destinations(disk: &Disk, sources: &[PathBuf], drives: &[Dir]) -> Result<()> {
    let resolve = |path: &PathBuf| Dir::given(disk, path).map_or_else(|_| path.clone(), |dir| dir.real_path());
    let sources: Vec<PathBuf> = sources.iter().map(resolve).collect();
    let mut seen = Vec::new();
    for dir in drives {
        let (path, resolved, identity) = (dir.path(), dir.real_path(), dir.identity().ok());
        if sources.iter().any(|s| resolved.starts_with(s)) {
            return Err(Error::usage(
                format!("the destination {} lies in what is exported", path.display()),
                "export to a directory outside of the source, or name the sources",
            ));
        }
        // One directory may have two paths, by bind mounts.
        if identity.is_some() && seen.contains(&identity) {
            return Err(Error::usage(
                format!("the destination {} is given twice", path.display()),
                "give each drive once",
            ));
        }
        seen.push(identity);
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
