//! `ckvault list`: what is inside a set. Needs an identity.

use crate::commands::reported::{About, ReportedPath, key_slot};
use crate::error::Result;
use crate::format::hash_hex;
use crate::format::hashes::Value;
use crate::format::inventory::{Entry, Kind, Name};
use crate::media::staging::is_reserved;
use crate::progress::{Ask, Progress};
use crate::set::{self, Set, Where};
use serde::{Serialize, Serializer};
use std::path::PathBuf;

/// What was typed.
#[derive(Debug, Default)]
pub struct Options {
    /// Where the set is, and whom to trust.
    pub place: Where,
    /// Files of identities.
    pub identities: Vec<PathBuf>,
}

/// What is inside.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What the set says of itself.
    #[serde(flatten)]
    pub about: About,
    /// `signed`, or `written-anew`: which key slot opened it.
    pub key_slot: &'static str,
    /// Every entry.
    #[serde(serialize_with = "reported")]
    pub entries: Vec<Entry>,
}

/// One after the other: there may be millions of them.
fn reported<S: Serializer>(entries: &[Entry], s: S) -> std::result::Result<S::Ok, S::Error> {
    s.collect_seq(entries.iter().map(ReportedEntry::of))
}

/// An entry.
#[derive(Debug, Serialize)]
pub struct ReportedEntry {
    /// Its path.
    #[serde(flatten)]
    pub path: ReportedPath,
    /// `dir`, `file`, `symlink` or `hardlink`.
    pub kind: &'static str,
    /// Its length with holes, in bytes.
    pub size: u64,
    /// BLAKE3 of a file: of all of it, or of its extents if it is sparse.
    #[serde(skip_serializing_if = "Option::is_none", with = "hash_hex::optional")]
    pub blake3: Option<Value>,
    /// Whether it has holes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sparse: bool,
    /// What a link leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<ReportedPath>,
    /// Permission bits, in octal.
    pub mode: String,
    /// Modification time: seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
}

/// Opens the inventory.
pub fn run(options: &Options, ask: impl Ask + 'static, progress: &dyn Progress) -> Result<Report> {
    let needs = options.place.needs();
    let (set, identity, slot) = set::unlock(&options.place, &options.identities, ask, &needs, progress)?;
    let contents = set::read_contents(&set, &identity, progress)?;
    check(&set, &contents.entries, progress)?;
    Ok(Report { about: About::of(&set), key_slot: key_slot(slot), entries: contents.entries })
}

/// What import refuses whatever it is told, nobody should plan with; what it may be told to take is only told.
fn check(set: &Set, entries: &[Entry], progress: &dyn Progress) -> Result<()> {
    let id = &set.manifest().set[..8];
    set::check_paths(entries, |name| is_reserved(name, id), |_| false)?;
    let leaving = set::leaving(entries);
    if let Some(example) = leaving.first() {
        progress.warn(&format!(
            "links that lead out of the set, which `ckvault import` refuses without --links: {}, {} for example",
            leaving.len(),
            example.printable()
        ));
    }
    Ok(())
}

impl ReportedEntry {
    /// An entry as it is reported.
    pub fn of(entry: &Entry) -> ReportedEntry {
        let (kind, size, blake3, sparse, target) = match &entry.kind {
            Kind::Dir => ("dir", 0, None, false, None),
            Kind::File { size, extents, blake3 } => ("file", *size, *blake3, extents.is_some(), None),
            Kind::Symlink { target } => ("symlink", 0, None, false, Some(ReportedPath::new(target))),
            Kind::Hardlink { target } => ("hardlink", 0, None, false, Some(ReportedPath::new(target))),
        };
        let path = match entry.path.0.is_empty() {
            true => ReportedPath::new(&Name::new(b".")),
            false => ReportedPath::new(&entry.path),
        };
        let mode = format!("{:04o}", entry.mode);
        ReportedEntry { path, kind, size, blake3, sparse, target, mode, mtime: entry.mtime }
    }
}
