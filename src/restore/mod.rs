//! The way back: from a trusted set, opened, to files.
//!
//! In come a set, what is in it and what is wanted of it; drives may come and go meanwhile. Out come files under their names, each
//! proven, or the exact list of what could not be had. Nothing gets its final name before everything has been compared.

mod job;
mod journal;
mod kept_blocks;
mod link_copies;
mod missing;
mod next_drive;
mod open_segments;
mod paths;
mod patterns;
mod place;
mod placed;
mod reread;
mod rounds;
mod salvage;
mod schedule;
mod selection;
mod target;

pub use journal::Leftovers;
pub use selection::{Links, choose};

/// For benchmarks and fuzzers.
#[doc(hidden)]
pub use paths::check as check_paths;

pub(crate) use job::{Request, Restored};
pub(crate) use next_drive::port;
pub(crate) use salvage::Broken;

use crate::error::{Error, Result};
use crate::format::inventory::Name;
use crate::media::staging::claim::Claim;
use crate::media::staging::is_reserved;
use crate::progress::{Ask, Progress};
use crate::set::{Contents, Set};
use job::Job;
use journal::Header;
use next_drive::Changer;
use patterns::{globs, matches};
use rounds::Patience;
use selection::{Copies, Fate, Wanted};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Restores what is wanted of a set.
pub(crate) fn restore(
    request: &Request,
    set: Set,
    contents: Contents,
    ask: &dyn Ask,
    progress: &dyn Progress,
) -> Result<Restored> {
    // What is wanted, and under which names; hostile paths and links are refused.
    let wanted = wanted(request, &set, &contents)?;
    let segments = wanted.segments(&contents);
    // Whether what is here suffices, if nobody can bring more.
    let patience = Patience { ask: ask.can_change_drives(), salvage: request.salvage };
    if !patience.ask && !patience.salvage {
        rounds::require_enough(&set, &contents, &segments)?;
    }
    // The target, and what an earlier import to it has left.
    let mut claim = Claim::on(&request.place.disk, request.to, &set.manifest().set[..8])?;
    let header = header(request, &set, &contents, claim.target());
    let said = journal::take_up(&mut claim, &header, request.leftovers)?;
    if !said.concluded {
        claim.require_empty_target()?;
    }
    // A staging directory; in it rounds over the drives, until everything is placed and proven; then its name.
    let mut changer = Changer::new(ask, request.place, &set);
    let staging = claim.begin(said.concluded, &header.line()?, request.modes)?;
    request.place.disk.confine(&staging.narrowed(request.needs.clone()));
    let mut resumable = !said.is_nothing();
    let job = Job { request, staging: &staging, header, said, segments, progress };
    let done = match job.said.concluded {
        true => job.conclude(set, &contents, &wanted),
        false => job.fill(set, contents, wanted, &mut changer, patience, &mut resumable),
    };
    done.map_err(|why| rounds::end_early(staging, resumable, why))
}

/// Which entries are placed, and how; refuses a set with paths or links that may not be.
fn wanted(request: &Request, set: &Set, contents: &Contents) -> Result<Wanted> {
    let only = globs(request.only)?;
    let only = only.as_ref();
    let mut fate = choose(&contents.entries, |path| only.is_none_or(|g| matches(g, path)));
    let judged = |i: usize| request.links == Links::Refuse && fate[i] != Fate::Skip;
    let id = &set.manifest().set[..8];
    paths::check(&contents.entries, |name| is_reserved(name, id), judged)?;
    if only.is_some() && fate.iter().all(|f| *f == Fate::Skip) {
        return Err(Error::usage(
            format!("nothing in the set matches {}", request.only.join(", ")),
            "`ckvault list` shows what is inside; * matches / too",
        ));
    }
    let copies = match request.links {
        Links::Copy => link_copies::plan(&contents.entries, &mut fate)?,
        _ => Copies::default(),
    };
    Ok(Wanted { fate, copies })
}

fn header(request: &Request, set: &Set, contents: &Contents, target: &Path) -> Header {
    let links = match request.links {
        Links::Refuse => "refuse",
        Links::Keep => "keep",
        Links::Copy => "copy",
    };
    let manifest = set.manifest();
    let target = Name::new(target.as_os_str().as_bytes());
    Header::new((&manifest.set, &manifest.format), &contents.entries, request.only, links, &target)
}
