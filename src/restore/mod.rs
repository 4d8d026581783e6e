//! The way back: from a trusted set, opened, to files.
//!
//! In come a set, what is in it and what is wanted of it; drives may come and go meanwhile. Out come files under their names, each
//! proven, or the exact list of what could not be had. Nothing gets its final name before everything has been compared.

mod ahead;
mod job;
mod journal;
mod kept_blocks;
mod link_copies;
mod missing;
mod next_drive;
mod open_segments;
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

pub(crate) use job::{Request, Restored};
pub(crate) use next_drive::port;
pub(crate) use salvage::Broken;

use crate::error::{Error, Result, goes_on};
use crate::format::inventory::{Entry, Kind, Name};
use crate::media::staging::claim::Claim;
use crate::media::staging::is_reserved;
use crate::progress::{Ask, Phase, Progress};
use crate::set::{Contents, Patterns, Set, check_paths};
use job::Job;
use journal::Header;
use next_drive::Changer;
use rounds::Patience;
use selection::{Copies, Fate, Wanted, choose_with_targets};
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
    progress.stage(match request.leftovers {
        Leftovers::Discard => Phase::Remove,
        Leftovers::Refuse | Leftovers::Resume => Phase::Prepare,
    });
    let mut claim = Claim::on(&request.place.disk, request.to, &set.manifest().set[..8])?;
    let header = header(request, &set, &contents, claim.target());
    let said = journal::take_up(&mut claim, &header, request.leftovers)?;
    if !said.concluded {
        claim.require_empty_target()?;
        refuse_lost_and_found(&claim, &contents, &wanted)?;
    }
    // A staging directory; in it rounds over the drives, until everything is placed and proven; then its name.
    let mut changer = Changer::new(ask, request.place, &set);
    let staging = claim.begin(said.concluded, &header.line()?, request.modes)?;
    request.place.disk.confine(&staging.narrowed(request.needs.clone()));
    let mut resumable = !said.is_nothing();
    progress.if_stopped(&goes_on(request.to_go_on));
    let job = Job { request, staging: &staging, header, said, segments, progress };
    let done = match job.said.concluded {
        true => job.conclude(set, &contents, &wanted),
        false => job.fill(set, contents, wanted, &mut changer, patience, &mut resumable),
    };
    done.map_err(|why| {
        progress.tidies();
        rounds::end_early(staging, resumable.then_some(request.to_go_on), why)
    })
}

/// Which entries are placed, and how; refuses a set with paths or links that may not be.
fn wanted(request: &Request, set: &Set, contents: &Contents) -> Result<Wanted> {
    let only = Patterns::new(request.only)?;
    let (mut fate, taken_along) = match &only {
        None => (choose(&contents.entries, |_| true), 0),
        Some(only) => chosen(&contents.entries, only, request.links)?,
    };
    let judged = |i: usize| request.links == Links::Refuse && fate[i] != Fate::Skip;
    let id = &set.manifest().set[..8];
    check_paths(&contents.entries, |name| is_reserved(name, id), judged)?;
    let copies = match request.links {
        Links::Copy => link_copies::plan(&contents.entries, &mut fate)?,
        _ => Copies::default(),
    };
    Ok(Wanted { fate, copies, taken_along })
}

/// At the top of a file system there is one already, which is not the set's.
fn refuse_lost_and_found(claim: &Claim, contents: &Contents, wanted: &Wanted) -> Result<()> {
    const NAME: &str = "lost+found";
    let taken = wanted.entries(&contents.entries).any(|(_, entry)| entry.path.0[..] == *NAME.as_bytes());
    match taken && claim.has_at_the_top(NAME) {
        false => Ok(()),
        true => Err(Error::refused(
            format!("{} has {NAME}, and so has the set", claim.target().display()),
            "import into a directory in it",
        )),
    }
}

/// What `--only` names, and what links among that lead to. Every pattern must match something, and there must be a file.
fn chosen(entries: &[Entry], only: &Patterns, links: Links) -> Result<(Vec<Fate>, u64)> {
    let fate = match links {
        // What links lead to is placed in their stead.
        Links::Copy => choose(entries, |path| only.matches(path)),
        Links::Refuse | Links::Keep => choose_with_targets(entries, |path| only.matches(path)),
    };
    let unmatched = only.unmatched();
    if !unmatched.is_empty() {
        return Err(Error::usage(
            format!("nothing in the set matches {}", unmatched.join(", ")),
            "`ckvault list` shows what is inside; * matches / too",
        ));
    }
    let is_file = |e: &Entry| matches!(e.kind, Kind::File { .. } | Kind::Hardlink { .. } | Kind::Symlink { .. });
    if !fate.iter().zip(entries).any(|(fate, entry)| *fate != Fate::Skip && is_file(entry)) {
        return Err(Error::usage(
            "what --only names are directories without any file",
            "`ckvault list` shows what is inside; a pattern that matches a directory matches what is in it",
        ));
    }
    // A file that is made under a name that was asked for is none.
    let own = |fate: &Fate, entry: &Entry| match fate {
        Fate::MakeAs(name) => only.matches(name),
        _ => only.matches(&entry.path),
    };
    let beyond = |(fate, entry): &(&Fate, &Entry)| **fate != Fate::Skip && entry.kind != Kind::Dir && !own(fate, entry);
    let taken_along = fate.iter().zip(entries).filter(beyond).count() as u64;
    Ok((fate, taken_along))
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
