//! A verb runs once, and all that it does to its file systems is written down. Of each moment worlds are built that a cut may leave, and
//! judged; then the same with one place in the source left out that makes something durable.

use crate::people::Place;
use crate::power::judge::{ALL, Outcome};
use crate::power::recorder::{History, Recorder, Step};
use crate::power::sites::{SITES, shown};
use crate::power::worlds::{Dice, Drive, Moment, Tree};
use ckvault::error::Result;
use ckvault::media::act::Site;
use ckvault::media::disk::Disk;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

/// Of the last steps, worlds are not sampled but all built, as far as that goes.
const LAST: usize = 20;
/// Worlds that are sampled of each other moment.
const SAMPLED: usize = 2;
/// So many that may not be are told at a time.
const MOST_TOLD: usize = 5;

/// What is to be known of a verb.
pub struct Scene<'a> {
    pub name: &'static str,
    pub place: &'a Place,
    /// The directories that it writes to, each the top of a file system.
    pub roots: &'a [&'a str],
    /// What these are at their worst.
    pub drives: &'static [Drive],
    /// Whether it says in the end that all is durable, whatever they are but [`Drive::Least`].
    pub releases: bool,
    /// How much is promised by some bytes once they are durable.
    pub promise: fn(&[u8]) -> u64,
    /// Judges the world that is there.
    pub judge: &'a dyn Fn() -> Outcome,
}

/// A verb that has run.
pub struct Recorded<'a> {
    scene: Scene<'a>,
    history: History,
    promised: Vec<u64>,
    judged: RefCell<HashMap<blake3::Hash, Outcome>>,
    seed: u64,
    sampled: usize,
}

/// A world that may not be.
struct Bad {
    at: usize,
    why: String,
    world: Vec<Tree>,
}

impl<'a> Scene<'a> {
    /// Runs it once.
    pub fn record<T: Debug>(self, run: impl FnOnce(&dyn Fn() -> Disk) -> Result<T>) -> Recorded<'a> {
        let recorder = Recorder::new(self.roots.iter().map(|root| self.place.path(root)).collect());
        run(&|| Disk::new(recorder.clone())).unwrap();
        let history = recorder.history();
        let promised = promised(&history, self.promise);
        let seed = number("CKVAULT_POWER_SEED").unwrap_or(1);
        let sampled = SAMPLED * number("CKVAULT_POWER_MORE").unwrap_or(1) as usize;
        Recorded { scene: self, history, promised, judged: RefCell::default(), seed, sampled }
    }
}

/// What who wants to look longer has set.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// What has been promised before each step, and in the end.
fn promised(history: &History, promise: fn(&[u8]) -> u64) -> Vec<u64> {
    let mut promised = history.files.values().map(|bytes| promise(bytes)).sum();
    let (mut waiting, mut all) = (HashMap::new(), Vec::new());
    for step in &history.steps {
        all.push(promised);
        match step {
            Step::Write(node, _, bytes) => *waiting.entry(*node).or_insert(0) += promise(bytes),
            Step::Sync { node, .. } => promised += waiting.remove(node).unwrap_or(0),
            _ => {}
        }
    }
    all.push(ALL);
    all
}

impl Recorded<'_> {
    /// Everything is as it must be, in every world; and would not be if anything was not made durable that this verb is named for in
    /// [`SITES`].
    pub fn holds(&self) {
        let (name, seed) = (self.scene.name, self.seed);
        let bad = self.bad(None, MOST_TOLD);
        let told: Vec<String> = bad.iter().map(|bad| self.told(bad)).collect();
        assert!(bad.is_empty(), "{name}, seed {seed}, {}", told.join("\n"));
        let worlds = self.judged.borrow().len();
        for (site, named) in self.sites() {
            let known = SITES.iter().find(|(text, ..)| *text == named);
            let Some((_, verbs, _)) = known else { panic!("{name}: nobody knows what is made durable at {named}") };
            match self.bad(Some(site), 1).first() {
                Some(bad) => println!("{name}: without {named}, at step {}: {}", bad.at, bad.why),
                None => assert!(!verbs.contains(&name), "{name}, seed {seed}: nothing is amiss without {named}"),
            }
        }
        let (steps, all) = (self.history.steps.len(), self.judged.borrow().len());
        println!("{name}, seed {seed}: {steps} steps, {worlds} worlds, and {} more without a site", all - worlds);
    }

    /// Where something was made durable.
    fn sites(&self) -> impl Iterator<Item = (Site, String)> {
        let site = |step: &Step| match step {
            Step::Sync { site, .. } | Step::SyncAll { site, .. } => Some(((site.file(), site.line()), *site)),
            _ => None,
        };
        let sites: BTreeMap<_, Site> = self.history.steps.iter().filter_map(site).collect();
        sites.into_values().map(|site| (site, shown(site)))
    }

    /// Worlds that may not be, each for another reason.
    fn bad(&self, without: Option<Site>, most: usize) -> Vec<Bad> {
        let mut found = Vec::new();
        for drive in self.scene.drives {
            let mut moments = self.moments(*drive, without);
            // What is not durable when all else is shows itself at once.
            if without.is_some() {
                moments.reverse();
            }
            let mut dice = Dice(self.seed);
            for moment in moments {
                self.look(&moment, &mut dice, &mut found);
                if found.len() >= most {
                    return found;
                }
            }
        }
        if self.scene.releases {
            let last = |drive| self.moments(drive, without).pop();
            found
                .extend([Drive::Native, Drive::Coarse].into_iter().filter_map(last).find_map(|end| self.is_open(&end)));
        }
        found
    }

    /// The moments before, between and after the steps; without a site, those from which on it matters.
    fn moments(&self, drive: Drive, without: Option<Site>) -> Vec<Moment<'_>> {
        let mut moments = vec![Moment::first(&self.history, drive, without)];
        while let Some(next) = moments.last().and_then(Moment::next) {
            moments.push(next);
        }
        let lacks = |step: &Step| match step {
            Step::Sync { site, .. } | Step::SyncAll { site, .. } => Some(*site) == without,
            _ => false,
        };
        let first = self.history.steps.iter().position(lacks).map_or(0, |at| at + 1);
        moments.split_off(first)
    }

    /// Judges worlds of a moment.
    fn look(&self, moment: &Moment, dice: &mut Dice, found: &mut Vec<Bad>) {
        let at = moment.at();
        for world in moment.worlds(dice, self.sampled, at + LAST >= self.history.steps.len()) {
            let why = self.outcome(&world).broken(self.promised[at]);
            if let Some(why) = why.filter(|why| found.iter().all(|bad| bad.why != *why)) {
                found.push(Bad { at, why, world });
            }
        }
    }

    /// After the end there is only one world, if that was said.
    fn is_open(&self, end: &Moment) -> Option<Bad> {
        let mut worlds = end.worlds(&mut Dice(self.seed), self.sampled, true);
        let (first, at) = (worlds.pop()?, end.at());
        let why = "what was released is not durable".to_owned();
        worlds.into_iter().find(|world| *world != first).map(|world| Bad { at, why, world })
    }

    fn outcome(&self, world: &[Tree]) -> Outcome {
        let mut hasher = blake3::Hasher::new();
        world.iter().for_each(|tree| _ = hasher.update(tree.digest().as_bytes()));
        let digest = hasher.finalize();
        if let Some(known) = self.judged.borrow().get(&digest) {
            return known.clone();
        }
        self.history.roots.iter().zip(world).for_each(|((path, _), tree)| tree.lay(path));
        let outcome = (self.scene.judge)();
        self.judged.borrow_mut().insert(digest, outcome.clone());
        outcome
    }

    /// What is to be known of a world that may not be.
    fn told(&self, bad: &Bad) -> String {
        let steps = &self.history.steps;
        let mut lines = vec![format!("at step {} of {}: {}", bad.at, steps.len(), bad.why)];
        for step in &steps[bad.at.saturating_sub(12)..(bad.at + 3).min(steps.len())] {
            lines.push(match step {
                Step::Write(node, at, bytes) => format!("Write({node}, {at}, {} bytes)", bytes.len()),
                other => format!("{other:?}"),
            });
        }
        for ((path, _), tree) in self.history.roots.iter().zip(&bad.world) {
            tree.listing(&path.file_name().unwrap().display().to_string(), &mut lines);
        }
        lines.join("\n  ")
    }
}
