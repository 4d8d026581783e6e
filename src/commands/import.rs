//! `ckvault import`: from a set to files. Nothing is written before the signature holds, and nothing gets its final name
//! before every byte has been compared.

use crate::error::{Error, Result};
use crate::format::inventory::{Entry, Name};
use crate::media::staging::{self, Staging};
use crate::pipeline::blocks::Blocks;
use crate::pipeline::contents::{self, Contents};
use crate::pipeline::open::{self, Where};
use crate::pipeline::part::name_drives;
use crate::pipeline::place::{Fate, Placed, Placer, choose};
use crate::pipeline::seal::identities::Identities;
use crate::pipeline::{self, paths};
use crate::progress::{Ask, Phase, Progress};
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What was typed.
#[derive(Debug, Default)]
pub struct Options {
    /// Where the set is, and whom to trust.
    pub place: Where,
    /// Where the files go.
    pub to: PathBuf,
    /// Files of identities.
    pub identities: Vec<PathBuf>,
    /// Place only what matches one of these.
    pub only: Vec<String>,
    /// Place links that leave the target too.
    pub keep_links: bool,
}

/// What was restored.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The id.
    pub set: String,
    /// The label.
    pub label: Option<String>,
    /// Who signed.
    pub signer: String,
    /// When it was exported.
    pub created: String,
    /// Where it is now.
    pub to: PathBuf,
    /// Files placed.
    pub files: u64,
    /// Their bytes, without holes.
    pub bytes: u64,
    /// Blocks that were reconstructed on the way.
    pub repaired_blocks: u64,
    /// Blocks that drives could not read, by the number of the drive.
    pub read_errors: BTreeMap<u32, u64>,
    /// Modes and extended attributes that the file system of the target could not take.
    pub lost_attributes: u64,
}

/// Verifies, opens, repairs, places.
pub fn run(options: &Options, ask: impl Ask + 'static, progress: &dyn Progress) -> Result<Report> {
    let only = globs(&options.only)?;
    let set = open::open(&options.place)?;
    let identities = Identities::read(&options.identities, ask)?;
    let contents = contents::open(&set, &identities)?;
    let fate = choose(&contents.entries, |path| only.as_ref().is_none_or(|g| matches(g, path)));
    let id = &set.manifest().set[..8];
    let judged = |i: usize| !options.keep_links && fate[i] != Fate::Skip;
    paths::check(&contents.entries, &staging::name_inside(id), judged)?;
    if only.is_some() && fate.iter().all(|f| *f == Fate::Skip) {
        return Err(Error::usage(
            format!("nothing in the set matches {}", options.only.join(", ")),
            "`ckvault list` shows what is inside; * matches / too",
        ));
    }
    if !set.has_all_parts() {
        return Err(Error::drive(
            "not every part of the set is here",
            format!("bring {} of the set, and name all drives in one command", name_drives(&set.absent())),
        ));
    }
    let blocks = set.parts.iter().map(Blocks::new).collect::<Result<Vec<Blocks>>>()?;
    let staging = Staging::begin(&options.place.disk, &options.to, id)?;
    let filled = check_target(&contents, &fate, &staging, options.keep_links)
        .and_then(|()| fill(&contents, fate, &blocks, &staging, &set.drive_names(), progress));
    match filled {
        Ok(placed) => Ok(Report {
            set: set.manifest().set.clone(),
            label: set.manifest().label.clone(),
            signer: set.signer().name.clone(),
            created: set.manifest().created.clone(),
            to: options.to.clone(),
            files: placed.files,
            bytes: placed.bytes,
            repaired_blocks: blocks.iter().map(Blocks::repaired).sum(),
            read_errors: set.read_errors(),
            lost_attributes: staging.attributes_lost(),
        }),
        Err(error) => {
            staging.abandon();
            Err(error)
        }
    }
}

/// What only the file system of the target can tell: whether it takes the names apart, and has the room.
fn check_target(contents: &Contents, fate: &[Fate], staging: &Staging, keep_links: bool) -> Result<()> {
    let chosen = || contents.entries.iter().zip(fate).filter(|(_, f)| **f != Fate::Skip).map(|(e, _)| e);
    if staging.folds_case()? {
        let chosen: Vec<Entry> = chosen().cloned().collect();
        paths::check_folded(&chosen)?;
        if !keep_links {
            paths::check_folded_links(&chosen)?;
        }
    }
    staging.require_room(chosen().map(Entry::stored).sum())
}

fn fill(
    contents: &Contents,
    fate: Vec<Fate>,
    blocks: &[Blocks],
    staging: &Staging,
    drives: &[String],
    progress: &dyn Progress,
) -> Result<Placed> {
    let placer = Placer::begin(contents, fate, staging)?;
    let segments = placer.segments();
    let total = (segments.len() as u64 * u64::from(contents.segment_bytes)).min(contents.tar_bytes);
    progress.begin(Phase::Import, total, drives);
    for (blocks, table) in blocks.iter().zip(contents.tables.values()) {
        let here = segments.iter().copied().filter(|s| table.place(*s).is_some()).collect();
        pipeline::unpack(blocks, contents, here, &placer, progress)?;
    }
    progress.end();
    let placed = placer.finish()?;
    if progress.cancelled() {
        return Err(Error::Interrupted);
    }
    staging.commit()?;
    staging.confirm(placer.expected())?;
    Ok(placed)
}

fn globs(patterns: &[String]) -> Result<Option<GlobSet>> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = Glob::new(pattern.trim_end_matches('/'));
        set.add(
            glob.map_err(|e| Error::usage(e.to_string(), "patterns look like 'model-*.safetensors' or 'step-100/**'"))?,
        );
    }
    set.build().map(Some).map_err(|e| Error::usage(e.to_string(), "use fewer or shorter patterns"))
}

/// A pattern that matches a directory matches what is in it.
fn matches(globs: &GlobSet, path: &Name) -> bool {
    let path = Path::new(OsStr::from_bytes(&path.0));
    path.ancestors().any(|p| !p.as_os_str().is_empty() && globs.is_match(p))
}
