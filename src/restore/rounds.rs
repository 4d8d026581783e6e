//! The loop of an import: place what the drives that are here hold, ask for the next drive, until nothing is missing any more.

use crate::error::{Error, Result};
use crate::media::pace::Reach;
use crate::media::staging::Staging;
use crate::media::underway::Underway;
use crate::progress::{Lane, Phase, Progress};
use crate::restore::missing::{Candidates, Gather, Outlook, Presence};
use crate::restore::next_drive::Changer;
use crate::restore::open_segments::unpack;
use crate::restore::place::Placer;
use crate::restore::placed::Tally;
use crate::restore::reread::rehash;
use crate::restore::salvage::Placed;
use crate::restore::salvage::{Ending, affected};
use crate::set::{Blocks, Contents, Part, Set, name_drives};
use crate::text::{human_bytes, listing};
use std::collections::BTreeMap;

/// An import that is running.
pub struct Restore<'a> {
    /// Every part that has been seen, with the drives of it that are here.
    pub set: Set,
    /// What is in it.
    pub contents: Contents,
    /// What makes the files.
    pub placer: Placer<'a>,
    /// What has been placed.
    pub tally: Tally<'a>,
    /// Who is told.
    pub progress: &'a dyn Progress,
    /// The segments that are wanted.
    pub wanted: Vec<u64>,
    /// What could not be had so far.
    pub gather: Gather,
    /// What is placed, and not durable yet.
    pub underway: Underway<u64>,
    /// Blocks that were reconstructed.
    pub repaired: u64,
    /// Blocks that could not be read, by the number of the drive.
    pub read_errors: BTreeMap<u32, u64>,
}

/// What to do about segments that what is here does not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Somebody can bring other drives.
    pub ask: bool,
    /// In the end, what can be had is enough.
    pub salvage: bool,
}

/// What a look at everything that is here has brought.
#[derive(Default)]
struct Gained {
    segments: usize,
    blocks: u64,
}

/// What to try on a part that is here.
struct Work {
    index: usize,
    here: Presence,
    todo: Vec<u64>,
}

impl Restore<'_> {
    /// Places everything that is wanted, or what of it can be had if that is enough; every whole file is proven.
    pub fn run(&mut self, changer: &mut Changer, patience: Patience) -> Result<Ending> {
        let mut again = false;
        loop {
            self.gather_all(changer, patience)?;
            let undone = self.undone();
            if !undone.is_empty() && !patience.salvage {
                return Err(self.not_enough(&undone));
            }
            let ending = Ending::new(&self.contents, self.placer.wanted(), &undone);
            let bad = self.prove(&ending)?;
            if bad.is_empty() {
                return Ok(ending);
            }
            if again {
                return Err(self.does_not_keep(&bad));
            }
            // What was recorded as placed does not have its hash: it is placed once more.
            again = true;
            let segments = self.placer.segments_of(&self.contents, &bad);
            self.tally.take_off(&segments)?;
            self.placer.unplace(&self.contents, &segments)?;
        }
    }

    fn undone(&self) -> Vec<u64> {
        self.tally.undone(&self.wanted)
    }

    /// Rounds over drives, until nothing is wanted any more or nobody can help.
    fn gather_all(&mut self, changer: &mut Changer, patience: Patience) -> Result<()> {
        loop {
            let gained = self.round(patience)?;
            self.progress_cancelled()?;
            let undone = self.undone();
            if undone.is_empty() || !patience.ask {
                return Ok(());
            }
            let at_least = if patience.salvage { Outlook::Lost } else { Outlook::Gone };
            if !patience.salvage && !self.gather.hopeless(&self.set, at_least).is_empty() {
                return Ok(());
            }
            let candidates = self.gather.candidates(&self.set, &self.contents, &undone);
            if candidates.is_empty() {
                return Ok(());
            }
            self.tally.record()?;
            changer.note(gained.segments > 0 || gained.blocks > 0);
            match self.change(changer, &candidates)? {
                Some(here) => self.arrive(here)?,
                None => self.gather.give_up(&candidates),
            }
        }
    }

    /// Asks for another drive. While somebody changes drives, none is held.
    fn change(&mut self, changer: &mut Changer, candidates: &Candidates) -> Result<Option<Set>> {
        let errors = self.set.read_errors();
        self.set.let_go();
        let came = changer.change(&self.set, candidates, self.progress)?;
        match came {
            Some(_) => self.note_errors(errors),
            None => changer.take_back(&mut self.set),
        }
        Ok(came)
    }

    fn progress_cancelled(&self) -> Result<()> {
        if self.progress.cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Takes in what is here now.
    fn arrive(&mut self, here: Set) -> Result<()> {
        self.gather.has_come(&here.present());
        self.set.arrive(here)?;
        for part in self.set.parts.iter().filter(|p| !p.dirs.is_empty()) {
            self.contents.learn(part, self.progress)?;
        }
        Ok(())
    }

    /// Takes note of what the drives that are here could not read.
    pub fn note_read_errors(&mut self) {
        self.note_errors(self.set.read_errors());
    }

    fn note_errors(&mut self, errors: BTreeMap<u32, u64>) {
        for (drive, blocks) in errors {
            *self.read_errors.entry(drive).or_default() += blocks;
        }
    }

    /// Places what can be had from what is here, and keeps what others will need of it.
    fn round(&mut self, patience: Patience) -> Result<Gained> {
        let plan = self.plan(patience);
        let total = plan.iter().flat_map(|work| &work.todo).map(|segment| self.contents.bytes_of(*segment)).sum();
        if total > 0 {
            self.progress.begin(Phase::Import, total, &self.lanes(&plan));
        }
        let gained = self.follow(plan, patience);
        if total > 0 && gained.is_ok() {
            self.tally.record()?;
            self.underway.all(|bytes| self.progress.advance(bytes));
        }
        gained
    }

    /// What is to be read from each drive of the set.
    fn lanes(&self, plan: &[Work]) -> Vec<Lane> {
        let mut lanes: Vec<Lane> = self.set.drive_numbers().map(|number| Lane { number, bytes: Some(0) }).collect();
        for work in plan {
            let manifest = &self.set.parts[work.index].manifest;
            let Some(table) = self.contents.tables.get(&manifest.part) else { continue };
            for place in work.todo.iter().filter_map(|segment| table.place(*segment)) {
                let drive = manifest.groups[place.group as usize].volumes[usize::from(place.volume)].drive;
                if let Some(lane) = lanes.get_mut(manifest.drive_number(drive) as usize - 1) {
                    lane.bytes = lane.bytes.map(|all| all + u64::from(place.bytes));
                }
            }
        }
        lanes
    }

    /// What to try on each part that is here.
    fn plan(&self, patience: Patience) -> Vec<Work> {
        let undone = self.undone();
        let of_part = |(index, part): (usize, &Part)| {
            let (here, table) = (Presence::of(part), self.contents.tables.get(&part.manifest.part));
            let worth = |segment: &u64| {
                let place = table.and_then(|t| t.place(*segment));
                place.is_some_and(|p| !patience.ask || self.gather.is_worth_trying(part, &here, *segment, p))
            };
            Work { index, todo: undone.iter().copied().filter(worth).collect(), here }
        };
        self.set.parts.iter().enumerate().filter(|(_, p)| !p.dirs.is_empty()).map(of_part).collect()
    }

    fn follow(&mut self, plan: Vec<Work>, patience: Patience) -> Result<Gained> {
        let mut gained = Gained::default();
        let go_on = patience.ask || patience.salvage;
        for work in plan {
            let tried = work.todo.len();
            let lacking = self.unpack(work.index, work.todo.clone(), go_on)?;
            gained.segments += tried - lacking.len();
            match lacking.into_iter().next() {
                Some((segment, why)) if !go_on => return Err(self.says_which(why, &[segment])),
                _ if patience.ask => self.keep_for_others(work, &mut gained)?,
                _ => {}
            }
        }
        if patience.ask {
            self.gather.note_gone(&self.set, &self.contents, &self.undone());
        }
        Ok(gained)
    }

    /// Keeps what is here of the rows that need parity, and opens the segments for which that suffices.
    fn keep_for_others(&mut self, work: Work, gained: &mut Gained) -> Result<()> {
        // A drive that went away in the middle is not damaged: it may come back.
        let vanished = self.set.parts[work.index].forget_vanished();
        let part = &self.set.parts[work.index];
        let here = if vanished { Presence::of(part) } else { work.here };
        let blocks = Blocks::new(part)?;
        let table = self.contents.tables.get(&part.manifest.part);
        for segment in self.tally.undone(&work.todo) {
            if let Some(place) = table.and_then(|t| t.place(segment)) {
                self.gather.note(part, &here, &blocks, segment, place)?;
            }
        }
        self.gather.note_gone(&self.set, &self.contents, &self.undone());
        gained.blocks += self.gather.harvest(part, &here, &blocks)?;
        let ready = self.gather.ready(&part.manifest);
        let tried = ready.len();
        gained.segments += tried - self.unpack(work.index, ready, true)?.len();
        let tally = &self.tally;
        self.gather.forget(|segment| tally.is_done(segment));
        Ok(())
    }

    /// Opens and places segments of a part; returns those that what is here does not give.
    fn unpack(&mut self, index: usize, segments: Vec<u64>, go_on: bool) -> Result<Vec<(u64, Error)>> {
        if segments.is_empty() {
            return Ok(Vec::new());
        }
        let scratch = self.gather.scratch_dir(self.set.parts[index].manifest.part);
        let kept = scratch.is_some();
        self.set.parts[index].dirs.extend(scratch);
        let lacking = self.unpack_from(&self.set.parts[index], segments, go_on);
        if kept {
            // It is no drive, and the next look around must not take it for one.
            self.set.parts[index].dirs.pop();
        }
        let (lacking, repaired) = lacking?;
        self.repaired += repaired;
        Ok(lacking)
    }

    fn unpack_from(&self, part: &Part, segments: Vec<u64>, go_on: bool) -> Result<(Vec<(u64, Error)>, u64)> {
        let blocks = Blocks::new(part)?;
        let place = |segment: u64, plain: &[u8]| {
            self.placer.place(&self.contents, segment, plain)?;
            let reach = self.placer.staging.reach();
            self.tally.placed(segment)?;
            Ok(Reach { durable: self.placer.staging.reach().durable, ..reach })
        };
        let telling = (&self.underway, self.progress);
        let lacking = unpack(&blocks, &self.contents, segments, &place, go_on, telling)?;
        Ok((lacking, blocks.repaired()))
    }

    /// Reads files again of which nobody has seen the hash; returns those that do not have it.
    fn prove(&self, ending: &Ending) -> Result<Vec<usize>> {
        let unproven = self.placer.unproven(&self.contents, ending);
        match unproven.is_empty() {
            true => Ok(unproven),
            false => rehash(&self.placer, &self.contents, &unproven, self.progress),
        }
    }

    /// Copies, links and metadata; everything is durable then, and can get its final name.
    pub fn finish(&self, ending: &Ending) -> Result<Placed> {
        self.progress.stage(Phase::Finish);
        let copied: u64 = self.placer.wanted().copies.files.iter().map(|c| self.contents.entries[c.of].stored()).sum();
        if copied > 0 {
            self.progress.begin(Phase::Import, copied, &[]);
        }
        let moved = |bytes| {
            let reach = self.placer.staging.reach();
            self.underway.wrote(bytes, reach, |bytes| self.progress.advance(bytes));
        };
        let placed = self.placer.finish(&self.contents, ending, &moved)?;
        self.progress_cancelled()?;
        if copied == 0 {
            self.progress.stage(Phase::Sync);
        }
        self.tally.conclude()?;
        self.underway.all(|bytes| self.progress.advance(bytes));
        Ok(placed)
    }

    /// The end of an import for which drives or bytes are missing.
    fn not_enough(&self, undone: &[u64]) -> Error {
        let lost = self.gather.hopeless(&self.set, Outlook::Lost);
        if !lost.is_empty() {
            let why = Error::lost("beyond repair, whichever drive is brought", "");
            return self.says_which(why, &lost);
        }
        let wanted = self.gather.all_candidates(&self.set, &self.contents, undone, Outlook::Gone);
        let hint = match wanted.is_empty() {
            false => format!("bring {} of the set", wanted.describe()),
            true => "check the cables and the drives (dmesg), and bring them once more".into(),
        };
        self.says_which(Error::drive("not everything could be had from the drives that came", hint), undone)
    }

    /// Adds to an error which files it is about, and how much of them.
    fn says_which(&self, why: Error, segments: &[u64]) -> Error {
        let files = affected(&self.contents, &self.placer.wanted().fate, segments);
        let names = listing(files.iter().map(|n| &n.0[..]));
        let most = segments.len() as u64 * u64::from(self.contents.segment_bytes);
        let of = if files.is_empty() {
            String::new()
        } else {
            format!(": up to {} of these files:{names}", human_bytes(most))
        };
        let what = |message: String| format!("{message}{of}");
        match why {
            Error::Lost { message, .. } => Error::lost(
                // Where the first of it was found, an import ends.
                what(message).replacen(": up to ", ", in what was read so far up to ", 1),
                "ask the sender for a new export; --salvage restores what is whole and lists the rest",
            ),
            Error::Drive { message, hint } => Error::drive(what(message), hint),
            other => other,
        }
    }

    fn does_not_keep(&self, files: &[usize]) -> Error {
        let names = files.iter().map(|i| &self.placer.wanted().name(&self.contents.entries, *i).0[..]);
        Error::refused(
            format!(
                "these files were placed twice and do not have the hash that the inventory says:{}",
                listing(names.collect::<Vec<_>>().into_iter())
            ),
            "check the disk of the target; if it is well, the sender signed a broken set",
        )
    }
}

/// Whether what is wanted can be had from what is here, as far as that is seen without reading: what lacks is an error that
/// names the drives to bring. What no drive could give is left to be found by who reads.
pub fn require_enough(set: &Set, contents: &Contents, wanted: &[u64]) -> Result<()> {
    let mut lacking = false;
    for part in &set.parts {
        let (here, table) = (Presence::of(part), contents.tables.get(&part.manifest.part));
        let places = wanted.iter().filter_map(|s| table?.place(*s));
        let lacks: Vec<_> = places.filter(|place| !here.suffices(&part.manifest, *place)).collect();
        if lacks.iter().any(|place| !here.could_suffice(&part.manifest, *place)) {
            return Ok(());
        }
        lacking |= !lacks.is_empty();
    }
    let known = |s: u64| contents.tables.values().any(|t| t.place(s).is_some());
    match lacking || wanted.iter().any(|s| !known(*s)) {
        false => Ok(()),
        true => Err(set.parts.iter().find_map(Part::foreign_volumes).unwrap_or_else(|| lacks_drives(set))),
    }
}

fn lacks_drives(set: &Set) -> Error {
    Error::drive(
        "what is here does not suffice",
        format!(
            "bring {} of the set, and name all drives in one command; with one port, --next-drive-command changes drives",
            name_drives(&set.absent())
        ),
    )
}

/// What an import that ends early leaves behind: everything that can be gone on with, or nothing.
pub fn end_early(staging: Staging, to_go_on: Option<&str>, why: Error) -> Error {
    let keeps = matches!(why, Error::Interrupted | Error::Drive { .. } | Error::Io { .. });
    match to_go_on.filter(|_| keeps) {
        Some(command) => {
            staging.drop_scratch();
            why.resumable(command)
        }
        None => match staging.abandon() {
            None => why,
            Some(left) => why.leaving(&left),
        },
    }
}
