//! `ckvault import`: from a set to files. Nothing is written before the signature holds, and nothing gets its final name
//! before every byte has been compared.

use crate::commands::ReportedPath;
use crate::error::{Error, Result};
use crate::format::inventory::{Entry, Kind, Name};
use crate::media::fence::Needs;
use crate::media::staging::claim::{self, Claim};
use crate::media::staging::{self, Staging};
use crate::pipeline::change::{Changer, port};
use crate::pipeline::contents::{self, Contents};
use crate::pipeline::copies::{self, Copies};
use crate::pipeline::gather::Gather;
use crate::pipeline::journal::{self, Header, Leftovers, Said};
use crate::pipeline::open::{Set, Where};
use crate::pipeline::paths;
use crate::pipeline::place::Placer;
use crate::pipeline::restore::{self, Patience, Restore};
use crate::pipeline::salvage::{Broken, Ending};
use crate::pipeline::tally::Tally;
use crate::pipeline::wanted::{Fate, Placed, Wanted, choose};
use crate::progress::{Ask, Progress};
use crate::text::listing;
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// What becomes of links.
    pub links: Links,
    /// What becomes of what an earlier import has left.
    pub leftovers: Leftovers,
    /// Restore what is whole, if not everything can be had.
    pub salvage: bool,
}

/// What becomes of symbolic and hard links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// They are made; symbolic links that leave the target are refused.
    #[default]
    Refuse,
    /// They are made, also those that leave the target.
    Keep,
    /// What they lead to is placed once more instead.
    Copy,
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
    /// Files of which nothing could be had.
    pub lost: Vec<ReportedPath>,
    /// Files of which some bytes could not be had.
    pub incomplete: Vec<Incomplete>,
}

/// A file of which some bytes could not be had.
#[derive(Debug, Serialize)]
pub struct Incomplete {
    /// Its path in the set.
    #[serde(flatten)]
    pub path: ReportedPath,
    /// Where the rest of it is, with holes for what is missing.
    pub written_as: String,
    /// The exact bytes of that in base64, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_as_bytes: Option<String>,
    /// Where bytes are missing: the first, and the one after the last.
    pub missing: Vec<(u64, u64)>,
}

impl Report {
    /// 4 if anything is missing.
    pub fn exit_code(&self) -> u8 {
        if self.lost.is_empty() && self.incomplete.is_empty() { 0 } else { 4 }
    }
}

/// Verifies, opens, repairs, places.
pub fn run(options: &Options, ask: impl Ask + 'static, progress: &dyn Progress) -> Result<Report> {
    let (only, ask) = (globs(&options.only)?, Arc::new(ask));
    let needs = needs(options, ask.can_change_drives());
    let (set, identity) = contents::unlock(&options.place, &options.identities, ask.clone(), &needs)?;
    let contents = contents::open(&set, &identity)?;
    let wanted = choose_entries(options, &set, &contents, only.as_ref())?;
    let segments = wanted.segments(&contents);
    let patience = Patience { ask: ask.can_change_drives(), salvage: options.salvage };
    if !patience.ask && !patience.salvage {
        restore::require_enough(&set, &contents, &segments)?;
    }
    let mut claim = Claim::on(&options.place.disk, &options.to, &set.manifest().set[..8])?;
    let header = header(options, &set, &contents, claim.target());
    let said = journal::take_up(&mut claim, &header, options.leftovers)?;
    if !said.concluded {
        claim.require_empty_target()?;
    }
    let mut changer = Changer::new(&*ask, &options.place, &set);
    let staging = claim.begin(said.concluded)?;
    options.place.disk.confine(&staging.narrowed(needs));
    let mut resumable = !said.is_nothing();
    let job = Job { options, staging: &staging, header, said, segments, progress };
    let done = match job.said.concluded {
        true => job.conclude(&set, &contents, &wanted),
        false => job.fill(set, contents, wanted, &mut changer, patience, &mut resumable),
    };
    done.map_err(|why| restore::end_early(staging, resumable, why))
}

/// What is needed until the staging directory is there. The last drive is the one that may be changed.
fn needs(options: &Options, change: bool) -> Needs {
    let mut needs = options.place.needs();
    needs.write = claim::reach(&options.to);
    if let Some(last) = options.place.drives.last().filter(|_| change) {
        let port = port(last);
        needs.read.push(Needs::around(&port));
        needs.changed.push(port);
    }
    needs
}

/// Which entries are placed, and how; refuses a set with paths or links that may not be.
fn choose_entries(options: &Options, set: &Set, contents: &Contents, only: Option<&GlobSet>) -> Result<Wanted> {
    let mut fate = choose(&contents.entries, |path| only.is_none_or(|g| matches(g, path)));
    let judged = |i: usize| options.links == Links::Refuse && fate[i] != Fate::Skip;
    paths::check(&contents.entries, &staging::name_inside(&set.manifest().set[..8]), judged)?;
    if only.is_some() && fate.iter().all(|f| *f == Fate::Skip) {
        return Err(Error::usage(
            format!("nothing in the set matches {}", options.only.join(", ")),
            "`ckvault list` shows what is inside; * matches / too",
        ));
    }
    let copies = match options.links {
        Links::Copy => copies::plan(&contents.entries, &mut fate)?,
        _ => Copies::default(),
    };
    Ok(Wanted { fate, copies })
}

fn header(options: &Options, set: &Set, contents: &Contents, target: &Path) -> Header {
    let links = match options.links {
        Links::Refuse => "refuse",
        Links::Keep => "keep",
        Links::Copy => "copy",
    };
    let manifest = set.manifest();
    let target = Name::new(target.as_os_str().as_bytes());
    Header::new((&manifest.set, &manifest.format), &contents.entries, &options.only, links, &target)
}

/// An import whose staging directory is ours.
struct Job<'a> {
    options: &'a Options,
    staging: &'a Staging,
    header: Header,
    said: Said,
    segments: Vec<u64>,
    progress: &'a dyn Progress,
}

impl Job<'_> {
    /// Places everything, gives it its final name, and looks whether it is there.
    fn fill(
        &self,
        set: Set,
        contents: Contents,
        wanted: Wanted,
        changer: &mut Changer,
        patience: Patience,
        resumable: &mut bool,
    ) -> Result<Report> {
        let done = journal::bits(&self.said, contents.segments());
        let undone: Vec<u64> = self.segments.iter().copied().filter(|s| !done.contains(*s)).collect();
        check_target(&contents, &wanted, &undone, self.staging, self.options.links)?;
        let placer = match self.said.is_nothing() {
            true => Placer::begin(&contents, wanted, self.staging)?,
            false => Placer::resume(&contents, wanted, self.staging, &undone)?,
        };
        let tally = Tally::begin(self.staging, &self.header, &self.said, &contents)?;
        let gather = Gather::begin(self.staging)?;
        let (wanted, progress) = (self.segments.clone(), self.progress);
        let (repaired, read_errors) = (0, BTreeMap::new());
        let mut restore = Restore { set, contents, placer, tally, progress, wanted, gather, repaired, read_errors };
        let ended = restore.run(changer, patience).and_then(|ending| {
            let placed = restore.finish(&ending)?;
            Ok((ending, placed))
        });
        // What was placed since the last record is worth keeping too; if that fails, those before it are.
        let _ = restore.tally.record();
        *resumable = restore.tally.is_resumable();
        let (ending, placed) = ended?;
        restore.note_read_errors();
        let Restore { set, contents, placer, tally, repaired, read_errors, .. } = restore;
        // FUSE keeps a file that is open when it is removed, and with it its directory.
        drop(tally);
        self.commit(&contents, placer.wanted(), &ending)?;
        Ok(Report { read_errors, ..self.report(&set, &ending, placed, repaired) })
    }

    /// The end of an import that was stopped when everything was placed and proven.
    fn conclude(&self, set: &Set, contents: &Contents, wanted: &Wanted) -> Result<Report> {
        let done = journal::bits(&self.said, contents.segments());
        let undone: Vec<u64> = self.segments.iter().copied().filter(|s| !done.contains(*s)).collect();
        let ending = Ending::new(contents, wanted, &undone);
        self.commit(contents, wanted, &ending)?;
        Ok(self.report(set, &ending, wanted.whole(contents, &ending), 0))
    }

    fn commit(&self, contents: &Contents, wanted: &Wanted, ending: &Ending) -> Result<()> {
        self.staging.commit(wanted.own(&contents.entries))?;
        self.staging.confirm(wanted.expected(&contents.entries, ending).into_iter())
    }

    fn report(&self, set: &Set, ending: &Ending, placed: Placed, repaired_blocks: u64) -> Report {
        let mut report = Report {
            set: set.manifest().set.clone(),
            label: set.manifest().label.clone(),
            signer: set.signer().name.clone(),
            created: set.manifest().created.clone(),
            to: self.options.to.clone(),
            files: placed.files,
            bytes: placed.bytes,
            repaired_blocks,
            read_errors: BTreeMap::new(),
            lost_attributes: self.staging.attributes_lost(),
            lost: Vec::new(),
            incomplete: Vec::new(),
        };
        for (name, broken) in ending.broken() {
            let path = ReportedPath::new(name);
            match broken {
                Broken::Lost => report.lost.push(path),
                Broken::Incomplete { written_as, missing } => {
                    let ReportedPath { path: written_as, path_bytes: written_as_bytes } = ReportedPath::new(written_as);
                    report.incomplete.push(Incomplete { path, written_as, written_as_bytes, missing: missing.clone() });
                }
            }
        }
        report
    }
}

/// What only the file system of the target can tell: whether it takes the names apart, takes links, and has the room.
fn check_target(contents: &Contents, wanted: &Wanted, undone: &[u64], staging: &Staging, links: Links) -> Result<()> {
    if staging.folds_case()? {
        let chosen: Vec<Entry> = contents
            .entries
            .iter()
            .zip(&wanted.fate)
            .filter(|(_, f)| **f != Fate::Skip)
            .map(|(e, _)| e.clone())
            .collect();
        paths::check_folded(&chosen)?;
        if links == Links::Refuse {
            paths::check_folded_links(&chosen)?;
        }
    }
    check_links(contents, wanted, staging)?;
    // Of an import that goes on, some are there already.
    let left = undone.len() as u64 * u64::from(contents.segment_bytes);
    let copies: u64 = wanted.copies.files.iter().map(|c| contents.entries[c.of].stored()).sum();
    staging.require_room(wanted.stored(contents).min(left) + copies)
}

/// Refuses links that the file system of the target does not take, before anything is placed.
fn check_links(contents: &Contents, wanted: &Wanted, staging: &Staging) -> Result<()> {
    let (mut symbolic, mut hard): (Vec<&Name>, Vec<&Name>) = (Vec::new(), Vec::new());
    for (_, entry) in wanted.entries(&contents.entries) {
        match entry.kind {
            Kind::Symlink { .. } => symbolic.push(&entry.path),
            Kind::Hardlink { .. } => hard.push(&entry.path),
            _ => {}
        }
    }
    let mut lacking: Vec<(&str, Vec<&Name>)> = Vec::new();
    if !symbolic.is_empty() && !staging.takes_symlinks() {
        lacking.push(("symbolic links", symbolic));
    }
    if !hard.is_empty() && !staging.takes_hard_links()? {
        lacking.push(("hard links", hard));
    }
    let list = |(what, names): &(&str, Vec<&Name>)| format!("{what}:{}", listing(names.iter().map(|n| &n.0[..])));
    match lacking.is_empty() {
        true => Ok(()),
        false => Err(Error::refused(
            format!(
                "the file system of the target takes no {}",
                lacking.iter().map(list).collect::<Vec<_>>().join("\nand no ")
            ),
            "place copies instead of links with --links copy, or import to another file system",
        )),
    }
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
