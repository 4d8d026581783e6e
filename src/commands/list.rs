//! `ckvault list`: what is inside a set. Needs an identity.

use crate::commands::ReportedPath;
use crate::error::Result;
use crate::format::hex;
use crate::format::inventory::{Entry, Kind};
use crate::pipeline::contents;
use crate::pipeline::open::{self, Where};
use crate::pipeline::seal::identities::Identities;
use crate::progress::Ask;
use serde::Serialize;
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
    /// The id.
    pub set: String,
    /// The label.
    pub label: Option<String>,
    /// Who signed.
    pub signer: String,
    /// When it was exported.
    pub created: String,
    /// Every entry.
    pub entries: Vec<ReportedEntry>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
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
pub fn run(options: &Options, ask: impl Ask + 'static) -> Result<Report> {
    let set = open::open(&options.place)?;
    let identities = Identities::read(&options.identities, ask)?;
    let contents = contents::open(&set, &identities)?;
    Ok(Report {
        set: set.manifest().set.clone(),
        label: set.manifest().label.clone(),
        signer: set.signer().name.clone(),
        created: set.manifest().created.clone(),
        entries: contents.entries.iter().map(entry).collect(),
    })
}

fn entry(entry: &Entry) -> ReportedEntry {
    let (kind, size, blake3, sparse, target) = match &entry.kind {
        Kind::Dir => ("dir", 0, None, false, None),
        Kind::File { size, extents, blake3 } => {
            ("file", *size, blake3.as_ref().map(|h| hex(h)), extents.is_some(), None)
        }
        Kind::Symlink { target } => ("symlink", 0, None, false, Some(ReportedPath::new(target))),
        Kind::Hardlink { target } => ("hardlink", 0, None, false, Some(ReportedPath::new(target))),
    };
    let path = if entry.path.0.is_empty() { crate::format::inventory::Name::new(b".") } else { entry.path.clone() };
    ReportedEntry {
        path: ReportedPath::new(&path),
        kind,
        size,
        blake3,
        sparse,
        target,
        mode: format!("{:04o}", entry.mode),
        mtime: entry.mtime,
    }
}
