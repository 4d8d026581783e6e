//! `ckvault import`: from a set to files. Nothing is written before the signature holds, and nothing gets its final name
//! before every byte has been compared.

use crate::commands::reported::{About, ReportedPath, exact, key_slot, lossy, lossy_option};
use crate::error::Result;
use crate::media::fence::Needs;
use crate::media::modes::Modes;
use crate::media::staging::Few;
use crate::media::staging::claim::reach;
use crate::progress::{Ask, Progress};
use crate::restore::{self, Broken, Leftovers, Request, Restored, port};
use crate::set::{self, Where};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use crate::restore::Links;

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
    /// Give files and directories the modes that were recorded, whatever the umask.
    pub exact_modes: bool,
    /// The command that goes on if this is stopped, for a person to type.
    pub to_go_on: Option<String>,
}

/// What was restored.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What the set says of itself.
    #[serde(flatten)]
    pub about: About,
    /// `signed`, or `written-anew`: which key slot opened it.
    pub key_slot: &'static str,
    /// Where it is now.
    #[serde(serialize_with = "lossy")]
    pub to: PathBuf,
    /// The exact bytes of that in base64, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_bytes: Option<String>,
    /// Files placed.
    pub files: u64,
    /// Their bytes, without holes.
    pub bytes: u64,
    /// Entries that `--only` did not name, but that links which it named lead to.
    pub taken_along: u64,
    /// Blocks that were reconstructed on the way.
    pub repaired_blocks: u64,
    /// Blocks that drives could not read, by the number of the drive.
    pub read_errors: BTreeMap<u32, u64>,
    /// Modes, times and extended attributes that the file system of the target refused.
    pub lost_attributes: Few,
    /// Times that it changed to others, since it cannot hold them.
    pub lost_times: Few,
    /// Times that it rounded, by two seconds at most.
    pub rounded_times: Few,
    /// What was only needed meanwhile, and could not be removed.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy_option")]
    pub left: Option<PathBuf>,
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
    let ask = Arc::new(ask);
    // What tells the umask is out of reach later.
    let modes = if options.exact_modes { Modes::Exact } else { Modes::masked() };
    let needs = needs(options, ask.can_change_drives());
    let (set, identity, slot) = set::unlock(&options.place, &options.identities, ask.clone(), &needs, progress)?;
    let contents = set::read_contents(&set, &identity, progress)?;
    let request = Request {
        place: &options.place,
        to: &options.to,
        only: &options.only,
        links: options.links,
        leftovers: options.leftovers,
        salvage: options.salvage,
        modes,
        needs,
        to_go_on: options.to_go_on.as_deref().unwrap_or("ckvault import ... --resume"),
    };
    let restored = restore::restore(&request, set, contents, &*ask, progress);
    let restored = restored.map_err(|error| set::exhausted().unwrap_or(error))?;
    Ok(report(options, key_slot(slot), restored))
}

/// What is needed until the staging directory is there. The last drive is the one that may be changed.
fn needs(options: &Options, change: bool) -> Needs {
    let mut needs = options.place.needs();
    needs.write = reach(&options.to);
    if let Some(last) = options.place.drives.last().filter(|_| change) {
        let port = port(last);
        needs.read.push(Needs::around(&port));
        needs.changed.push(port);
    }
    needs
}

fn report(options: &Options, key_slot: &'static str, restored: Restored) -> Report {
    let Restored { set, ending, placed, taken_along, repaired, read_errors, shortfall, left } = restored;
    let mut report = Report {
        about: About::of(&set),
        key_slot,
        to: options.to.clone(),
        to_bytes: exact(&options.to),
        files: placed.files,
        bytes: placed.bytes,
        taken_along,
        repaired_blocks: repaired,
        read_errors,
        lost_attributes: shortfall.refused,
        lost_times: shortfall.times,
        rounded_times: shortfall.rounded,
        left,
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
