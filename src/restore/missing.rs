//! What to do when not every drive is here: which drives hold the segments that are wanted, which rows need parity, and which
//! drives can still contribute to those.

use crate::error::Result;
use crate::format::deal::Place;
use crate::format::hashes::BlockSize;
use crate::format::manifest::{Group, Manifest};
use crate::media::buffer::Buffer;
use crate::media::dir::Dir;
use crate::media::staging::Staging;
use crate::restore::kept_blocks::Scratch;
use crate::set::{At, Bits, Blocks, Contents, Part, Set, name_drives};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

/// What is known of segments that could not be had so far.
pub struct Gather {
    scratch: Scratch,
    needs: BTreeMap<u64, Need>,
    /// Blocks of which it is known what their drive has to give.
    tried: HashMap<(u32, At), Bits>,
    /// Drives that will not come, by their numbers in the set.
    gone: BTreeSet<u32>,
    /// No drive of a part after the last that is known will come.
    later_gone: bool,
}

/// A segment that its own drive does not give: the blocks of its frame, each to be found elsewhere or computed.
#[derive(Debug, Clone)]
struct Need {
    part: u32,
    at: At,
    blocks: Range<u64>,
}

/// Which volumes of a part are here, and which drives.
pub struct Presence {
    volumes: Vec<Vec<bool>>,
    drives: BTreeSet<u16>,
}

/// Drives to ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Those that hold segments that nobody has read yet, and those of parts of which nothing is known.
    pub unread: BTreeSet<u32>,
    /// Those that can contribute to a repair.
    pub helping: BTreeSet<u32>,
    /// The first drive of the parts after the last that is known, if these hold wanted segments.
    pub later: Option<u32>,
}

/// Whether what is needed can still be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlook {
    /// From drives that may still come.
    Open,
    /// Only from drives that will not come.
    Gone,
    /// From nowhere.
    Lost,
}

impl Presence {
    /// Looks for them.
    pub fn of(part: &Part) -> Presence {
        let volumes = part.manifest.groups.iter().enumerate();
        let here = |(g, group): (usize, &Group)| {
            (0..group.volumes.len()).map(|i| !part.volume_files(g, i).is_empty()).collect()
        };
        Presence { volumes: volumes.map(here).collect(), drives: part.present() }
    }

    fn has(&self, at: At) -> bool {
        self.volumes[at.group][at.index]
    }

    /// Whether what a volume has to give is here: its file, or a drive that should have it.
    fn has_source(&self, manifest: &Manifest, at: At) -> bool {
        self.has(at) || self.drives.contains(&manifest.groups[at.group].volumes[at.index].drive)
    }

    /// Whether a frame might be had: its volume is here, or K others are.
    pub fn suffices(&self, manifest: &Manifest, place: Place) -> bool {
        self.has(at(place)) || self.might_give(manifest, at(place), span(manifest.block(), place).start)
    }

    /// Whether it might be had if the drives came that are not here.
    pub fn could_suffice(&self, manifest: &Manifest, place: Place) -> bool {
        let (at, block) = (at(place), span(manifest.block(), place).start);
        let group = &manifest.groups[at.group];
        let absent = |j: usize| !self.drives.contains(&group.volumes[j].drive);
        let could = |j: &usize| {
            self.has(At { index: *j, ..at }) || absent(*j) || block >= manifest.block().blocks(group.volumes[*j].bytes)
        };
        absent(at.index) || (0..group.volumes.len()).filter(could).count() >= usize::from(group.k)
    }

    /// Whether a block might be had without its own volume: K others are here.
    fn might_give(&self, manifest: &Manifest, at: At, block: u64) -> bool {
        let group = &manifest.groups[at.group];
        let known = |j: &usize| self.volumes[at.group][*j] || block >= manifest.block().blocks(group.volumes[*j].bytes);
        (0..group.volumes.len()).filter(known).count() >= usize::from(group.k)
    }
}

fn at(place: Place) -> At {
    At { group: place.group as usize, index: place.volume.into() }
}

/// The blocks in which a frame lies.
fn span(block: BlockSize, place: Place) -> Range<u64> {
    place.offset / block.bytes()..block.blocks(place.offset + u64::from(place.bytes))
}

impl Candidates {
    /// Whether there is nobody to ask for.
    pub fn is_empty(&self) -> bool {
        self.unread.is_empty() && self.helping.is_empty() && self.later.is_none()
    }

    /// Their numbers, but for those of parts of which nothing is known.
    pub fn numbers(&self) -> Vec<u32> {
        self.unread.union(&self.helping).copied().collect()
    }

    /// How all of them are named to people.
    pub fn describe(&self) -> String {
        self.named("")
    }

    /// How one of them is asked for.
    pub fn one(&self) -> String {
        self.named("one of ")
    }

    fn named(&self, one_of: &str) -> String {
        let numbers = self.numbers();
        let known = match numbers.len() {
            0 => None,
            1 => Some(name_drives(&numbers)),
            _ => Some(format!("{one_of}{}", name_drives(&numbers))),
        };
        let later = self.later.map(|first| format!("drive {first} or a later one"));
        known.into_iter().chain(later).collect::<Vec<_>>().join(", or ")
    }

    /// Whether a drive is one of them.
    pub fn includes(&self, drive: u32) -> bool {
        self.unread.contains(&drive) || self.helping.contains(&drive) || self.later.is_some_and(|l| drive >= l)
    }
}

impl Gather {
    /// Nothing is known yet.
    pub fn begin(staging: &Staging) -> Result<Gather> {
        Ok(Gather {
            scratch: Scratch::begin(staging)?,
            needs: BTreeMap::new(),
            tried: HashMap::new(),
            gone: BTreeSet::new(),
            later_gone: false,
        })
    }

    /// The directory that is one more of a part.
    pub fn scratch_dir(&self, part: u32) -> Option<Dir> {
        self.scratch.dir(part)
    }

    /// Whether it is worth trying to read a segment from what is here: its volume or its drive is, or K others of its group.
    pub fn is_worth_trying(&self, part: &Part, here: &Presence, segment: u64, place: Place) -> bool {
        let known = |at| here.has_source(&part.manifest, at);
        !self.needs.contains_key(&segment)
            && (known(at(place))
                || here.might_give(&part.manifest, at(place), span(part.manifest.block(), place).start))
    }

    /// Takes note of a segment that could not be had although its drive was asked, or will not come: what is good of it is
    /// kept.
    pub fn note(&mut self, part: &Part, here: &Presence, blocks: &Blocks, segment: u64, place: Place) -> Result<()> {
        let (at, span) = (at(place), span(part.manifest.block(), place));
        let drive = part.manifest.groups[at.group].volumes[at.index].drive;
        if !here.has_source(&part.manifest, at) && !self.gone.contains(&part.manifest.drive_number(drive)) {
            return Ok(());
        }
        let mut buffer = Buffer::default();
        let good = blocks.check_good(at, span.clone(), &mut buffer);
        self.scratch.keep(&part.manifest, at, span.start, &buffer, &good)?;
        self.needs.insert(segment, Need { part: part.manifest.part, at, blocks: span });
        Ok(())
    }

    /// Segments on drives that will not come need parity, wherever their part is.
    pub fn note_gone(&mut self, set: &Set, contents: &Contents, undone: &[u64]) {
        for (part, table) in set.parts.iter().filter_map(|p| Some((p, contents.tables.get(&p.manifest.part)?))) {
            for segment in within(undone, table.first, table.end()) {
                let Some(place) = table.place(*segment) else { continue };
                let (at, blocks) = (at(place), span(part.manifest.block(), place));
                let drive = part.manifest.groups[at.group].volumes[at.index].drive;
                if self.gone.contains(&part.manifest.drive_number(drive)) {
                    self.needs.entry(*segment).or_insert(Need { part: part.manifest.part, at, blocks });
                }
            }
        }
    }

    /// These segments have been placed.
    pub fn forget(&mut self, is_done: impl Fn(u64) -> bool) {
        self.needs.retain(|segment, _| !is_done(*segment));
    }

    /// Copies what is here of the rows that need it; returns how many blocks were new.
    pub fn harvest(&mut self, part: &Part, here: &Presence, blocks: &Blocks) -> Result<u64> {
        // What nobody can complete is not worth keeping.
        let hope = |n: &&Need| n.part == part.manifest.part && self.outlook_of(&part.manifest, n) == Outlook::Open;
        let needs: Vec<Need> = self.needs.values().filter(hope).cloned().collect();
        let mut gained = 0;
        for need in needs {
            for run in self.lacking_runs(&part.manifest, &need) {
                gained += self.harvest_run(part, here, blocks, need.at, run)?;
            }
        }
        Ok(gained)
    }

    /// Runs of blocks of a segment that are neither kept nor computable.
    fn lacking_runs(&self, manifest: &Manifest, need: &Need) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for block in need.blocks.clone().filter(|b| self.lacks(manifest, need.at, *b)) {
            match runs.last_mut() {
                Some(run) if run.end == block => run.end += 1,
                _ => runs.push(block..block + 1),
            }
        }
        runs
    }

    /// Whether a block is neither kept, nor are K others of its row.
    fn lacks(&self, manifest: &Manifest, at: At, block: u64) -> bool {
        !self.scratch.has(manifest.part, at, block)
            && self.known(manifest, at, block) < usize::from(manifest.groups[at.group].k)
    }

    /// How many other blocks of the row of a block are kept, or are zeros past the end of their volume.
    fn known(&self, manifest: &Manifest, at: At, block: u64) -> usize {
        let volumes = &manifest.groups[at.group].volumes;
        let known = |(j, v): &(usize, &crate::format::manifest::Volume)| {
            *j != at.index
                && (block >= manifest.block().blocks(v.bytes)
                    || self.scratch.has(manifest.part, At { index: *j, ..at }, block))
        };
        volumes.iter().enumerate().filter(known).count()
    }

    fn harvest_run(&mut self, part: &Part, here: &Presence, blocks: &Blocks, at: At, run: Range<u64>) -> Result<u64> {
        let manifest = &part.manifest;
        let (mut buffer, mut gained) = (Buffer::default(), 0);
        for (index, volume) in manifest.groups[at.group].volumes.iter().enumerate() {
            let other = At { index, ..at };
            let last = manifest.block().blocks(volume.bytes).clamp(run.start, run.end);
            let lacking = run.clone().any(|b| self.lacks(manifest, at, b));
            if lacking && here.has(other) && run.start < last {
                let good = blocks.check_good(other, run.start..last, &mut buffer);
                let new = |i: usize| good[i] && !self.scratch.has(manifest.part, other, run.start + i as u64);
                gained += (0..good.len()).filter(|i| new(*i)).count() as u64;
                self.scratch.keep(manifest, other, run.start, &buffer, &good)?;
            }
            if here.has_source(manifest, other) {
                let all = manifest.block().blocks(volume.bytes);
                let tried = self.tried.entry((manifest.part, other)).or_insert_with(|| Bits::new(all, false));
                (run.start..last).for_each(|b| tried.insert(b));
            }
        }
        Ok(gained)
    }

    /// Segments of a part of which now every block is kept or can be computed.
    pub fn ready(&self, manifest: &Manifest) -> Vec<u64> {
        let of_part = self.needs.iter().filter(|(_, n)| n.part == manifest.part);
        let ready = of_part.filter(|(_, n)| n.blocks.clone().all(|b| !self.lacks(manifest, n.at, b)));
        ready.map(|(segment, _)| *segment).collect()
    }

    /// These drives will not come.
    pub fn give_up(&mut self, candidates: &Candidates) {
        self.gone.extend(candidates.numbers());
        self.later_gone |= candidates.later.is_some();
    }

    /// A drive that was given up has come after all.
    pub fn has_come(&mut self, drives: &[u32]) {
        self.gone.retain(|drive| !drives.contains(drive));
    }

    /// The drives that are not here and should come for these segments.
    pub fn candidates(&self, set: &Set, contents: &Contents, undone: &[u64]) -> Candidates {
        let mut candidates = self.all_candidates(set, contents, undone, Outlook::Open);
        candidates.unread.retain(|drive| !self.gone.contains(drive));
        candidates.helping.retain(|drive| !self.gone.contains(drive));
        candidates.later = candidates.later.filter(|_| !self.later_gone);
        candidates
    }

    /// The drives that are not here and hold something of these segments, or of rows of them, whether they will come or not.
    pub fn all_candidates(&self, set: &Set, contents: &Contents, undone: &[u64], at_most: Outlook) -> Candidates {
        let mut candidates = Candidates::default();
        let here = set.present();
        let waiting: Vec<u64> = undone.iter().copied().filter(|s| !self.needs.contains_key(s)).collect();
        self.add_unread(&mut candidates, set, contents, &waiting);
        for need in self.needs.values() {
            if let Some(part) = set.parts.iter().find(|p| p.manifest.part == need.part)
                && self.outlook_of(&part.manifest, need) <= at_most
            {
                self.add_helping(&mut candidates.helping, &part.manifest, need);
            }
        }
        candidates.unread.retain(|drive| !here.contains(drive));
        candidates.helping.retain(|drive| !here.contains(drive));
        candidates
    }

    /// The drives of segments that nobody has read yet.
    fn add_unread(&self, candidates: &mut Candidates, set: &Set, contents: &Contents, waiting: &[u64]) {
        let drives = u32::from(set.manifest().drives);
        let (mut part_before, mut end) = (0, 0);
        for part in &set.parts {
            let Some(table) = contents.tables.get(&part.manifest.part) else { continue };
            let number = part.manifest.part;
            if !within(waiting, end, table.first).is_empty() {
                candidates.unread.extend(part_before * drives + 1..=(number - 1) * drives);
            }
            for place in within(waiting, table.first, table.end()).iter().filter_map(|s| table.place(*s)) {
                let drive = part.manifest.groups[place.group as usize].volumes[usize::from(place.volume)].drive;
                candidates.unread.insert(part.manifest.drive_number(drive));
            }
            (part_before, end) = (number, table.end());
        }
        if !within(waiting, end, u64::MAX).is_empty() {
            candidates.later = Some(part_before * drives + 1);
        }
    }

    /// The drives that have a block of a lacking row that nobody has tried.
    fn add_helping(&self, helping: &mut BTreeSet<u32>, manifest: &Manifest, need: &Need) {
        for block in need.blocks.clone().filter(|b| self.lacks(manifest, need.at, *b)) {
            helping.extend(self.untried(manifest, need.at, block));
        }
    }

    /// The drives of the blocks of a row that nobody has tried.
    fn untried(&self, manifest: &Manifest, at: At, block: u64) -> impl Iterator<Item = u32> {
        let volumes = manifest.groups[at.group].volumes.iter().enumerate();
        let untried = volumes.filter(move |(j, v)| {
            let tried = self.tried.get(&(manifest.part, At { index: *j, ..at }));
            block < manifest.block().blocks(v.bytes) && !tried.is_some_and(|t| t.contains(block))
        });
        untried.map(move |(_, v)| manifest.drive_number(v.drive))
    }

    fn outlook_of(&self, manifest: &Manifest, need: &Need) -> Outlook {
        let k = usize::from(manifest.groups[need.at.group].k);
        let row = |block: u64| {
            let untried: Vec<u32> = self.untried(manifest, need.at, block).collect();
            let coming = untried.iter().filter(|d| !self.gone.contains(*d)).count();
            let known = self.known(manifest, need.at, block);
            match (known + coming >= k, known + untried.len() >= k) {
                (true, _) => Outlook::Open,
                (_, true) => Outlook::Gone,
                _ => Outlook::Lost,
            }
        };
        let own = |block: u64| {
            let volume = &manifest.groups[need.at.group].volumes[need.at.index];
            let tried = self.tried.get(&(manifest.part, need.at)).is_some_and(|t| t.contains(block));
            match (tried, self.gone.contains(&manifest.drive_number(volume.drive))) {
                (true, _) => Outlook::Lost,
                (_, true) => Outlook::Gone,
                _ => Outlook::Open,
            }
        };
        let lacking = need.blocks.clone().filter(|b| self.lacks(manifest, need.at, *b));
        lacking.map(|block| row(block).min(own(block))).max().unwrap_or(Outlook::Open)
    }

    /// The segments that cannot be had, from drives that may still come or from any.
    pub fn hopeless(&self, set: &Set, at_least: Outlook) -> Vec<u64> {
        let manifest = |n: &Need| set.parts.iter().map(|p| &p.manifest).find(|m| m.part == n.part);
        let hopeless = |n: &Need| manifest(n).is_some_and(|m| self.outlook_of(m, n) >= at_least);
        self.needs.iter().filter(|(_, n)| hopeless(n)).map(|(segment, _)| *segment).collect()
    }
}

/// Those of sorted numbers that lie in a range.
fn within(numbers: &[u64], from: u64, to: u64) -> &[u64] {
    let (start, end) = (numbers.partition_point(|n| *n < from), numbers.partition_point(|n| *n < to));
    &numbers[start..end.max(start)]
}
