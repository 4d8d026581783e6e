//! An import whose staging directory is there: from placing to the final names.

use crate::error::{Error, Result};
use crate::media::fence::Needs;
use crate::media::modes::Modes;
use crate::media::staging::{Shortfall, Staging};
use crate::media::underway::Underway;
use crate::progress::{Phase, Progress};
use crate::restore::journal::{self, Header, Leftovers, Said};
use crate::restore::missing::Gather;
use crate::restore::next_drive::Changer;
use crate::restore::place::Placer;
use crate::restore::placed::Tally;
use crate::restore::rounds::{Patience, Restore};
use crate::restore::salvage::{Ending, Placed};
use crate::restore::selection::{Links, Wanted};
use crate::restore::target::check_target;
use crate::set::{Contents, Set, Where};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is to be restored, where to and how.
pub struct Request<'a> {
    /// Where the set is, and whom to trust, also of what others bring.
    pub place: &'a Where,
    /// Where the files go.
    pub to: &'a Path,
    /// Only what matches one of these patterns, if there are any.
    pub only: &'a [String],
    /// What becomes of links.
    pub links: Links,
    /// What becomes of what an earlier import has left.
    pub leftovers: Leftovers,
    /// Restore what is whole, if not everything can be had.
    pub salvage: bool,
    /// How modes are restored.
    pub modes: Modes,
    /// What all that needs, until there is a staging directory.
    pub needs: Needs,
    /// The command that goes on if this is stopped.
    pub to_go_on: &'a str,
}

/// What has been restored.
pub struct Restored {
    /// The set, with what was seen of it.
    pub set: Set,
    /// What is not whole.
    pub ending: Ending,
    /// How much is.
    pub placed: Placed,
    /// Entries that `--only` did not name, but that links which it named lead to.
    pub taken_along: u64,
    /// Blocks that were reconstructed on the way.
    pub repaired: u64,
    /// Blocks that drives could not read, by the number of the drive.
    pub read_errors: BTreeMap<u32, u64>,
    /// What the file system could not take.
    pub shortfall: Shortfall,
    /// A staging directory that could not be removed when everything was in its place.
    pub left: Option<PathBuf>,
}

/// An import whose staging directory is ours.
pub struct Job<'a> {
    /// What was asked for.
    pub request: &'a Request<'a>,
    /// The directory.
    pub staging: &'a Staging,
    /// The first line of its journal.
    pub header: Header,
    /// What that journal said.
    pub said: Said,
    /// The segments that are wanted.
    pub segments: Vec<u64>,
    /// Who is told.
    pub progress: &'a dyn Progress,
}

impl Job<'_> {
    /// Places everything, gives it its final name, and looks whether it is there.
    pub fn fill(
        &self,
        set: Set,
        contents: Contents,
        wanted: Wanted,
        changer: &mut Changer,
        patience: Patience,
        resumable: &mut bool,
    ) -> Result<Restored> {
        let done = journal::bits(&self.said, contents.segments());
        let undone: Vec<u64> = self.segments.iter().copied().filter(|s| !done.contains(*s)).collect();
        check_target(&contents, &wanted, &undone, self.staging, self.request.links)?;
        self.progress.stage(Phase::Prepare);
        let placer = match self.said.is_nothing() {
            true => Placer::begin(&contents, wanted, self.staging)?,
            false => Placer::resume(&contents, wanted, self.staging, &undone)?,
        };
        let tally = Tally::begin(self.staging, &self.header, &self.said, &contents)?;
        let gather = Gather::begin(self.staging)?;
        let (wanted, progress) = (self.segments.clone(), self.progress);
        let (underway, repaired, read_errors) = (Underway::default(), 0, BTreeMap::new());
        let mut restore =
            Restore { set, contents, placer, tally, progress, wanted, gather, underway, repaired, read_errors };
        let ended = restore.run(changer, patience).and_then(|ending| {
            let placed = restore.finish(&ending)?;
            Ok((ending, placed))
        });
        // What was placed since the last record is worth keeping too; if that fails, those before it are.
        let _ = match ended {
            Err(Error::Interrupted) => restore.tally.record_durable(),
            _ => restore.tally.record(),
        };
        *resumable = restore.tally.is_resumable();
        let (ending, placed) = ended?;
        restore.note_read_errors();
        let Restore { set, contents, placer, tally, repaired, read_errors, .. } = restore;
        // FUSE keeps a file that is open when it is removed, and with it its directory.
        drop(tally);
        let taken_along = placer.wanted().taken_along;
        let left = self.commit(&contents, placer.wanted(), &ending)?;
        let shortfall = self.staging.shortfalls();
        Ok(Restored { set, ending, placed, taken_along, repaired, read_errors, shortfall, left })
    }

    /// The end of an import that was stopped when everything was placed and proven.
    pub fn conclude(&self, set: Set, contents: &Contents, wanted: &Wanted) -> Result<Restored> {
        let done = journal::bits(&self.said, contents.segments());
        let undone: Vec<u64> = self.segments.iter().copied().filter(|s| !done.contains(*s)).collect();
        let ending = Ending::new(contents, wanted, &undone);
        let left = self.commit(contents, wanted, &ending)?;
        let placed = wanted.whole(contents, &ending);
        let (repaired, read_errors, shortfall) = (0, BTreeMap::new(), self.staging.shortfalls());
        let taken_along = wanted.taken_along;
        Ok(Restored { set, ending, placed, taken_along, repaired, read_errors, shortfall, left })
    }

    fn commit(&self, contents: &Contents, wanted: &Wanted, ending: &Ending) -> Result<Option<PathBuf>> {
        self.progress.stage(Phase::Name);
        self.staging.commit()?;
        // Everything has its name: there is nothing to go on with.
        self.progress.if_stopped("");
        self.staging.confirm(wanted.expected(&contents.entries, ending).into_iter())?;
        self.progress.stage(Phase::Remove);
        self.staging.close(wanted.own(&contents.entries))
    }
}
