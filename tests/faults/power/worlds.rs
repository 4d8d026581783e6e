//! What a power cut may leave of a file system, by what was done to it before.
//!
//! The rules are what POSIX promises and no more, for a set must be safe on any drive, be it ext4, exFAT or behind a driver that is a
//! process:
//!
//! - Making a file durable makes its contents and its length so, and not its name: journals of file systems do more, exFAT does not.
//! - Making a directory durable makes what was done to its names so, one rename included of which only one name is in it: a rename is
//!   there or not, with both its names.
//! - Making a whole file system durable makes all of it so; but drivers that are processes (FUSE) do not hear of it.
//! - All else may be there or not, whatever was done before and after it: caches are written in any order, and disks have caches too.
//!   Of what was done twice to one name or byte, what came last counts if it is there.
//! - A write may be there in some of its sectors of 512 bytes, which is what the oldest disks write at once.
//! - The length of a file is kept elsewhere than its contents. Where it is longer than what was written, there are zeros, or whatever
//!   was in that place before.
//! - What no name leads to is gone.
//!
//! Modes, times and attributes are left out: no verb depends on them.

use crate::power::recorder::{History, Kind, Node, Slot, Step};
use ckvault::media::act::Site;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

/// What a disk writes at once, or not at all.
const SECTOR: usize = 512;
/// No more worlds than this are all built; of more, as many are sampled.
const MOST: usize = 64;

/// How file systems take what is asked of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// As the kernel's own do.
    Native,
    /// Behind a driver that is a process, which does not hear what is asked of all of it, and makes all durable when it hears anything.
    Coarse,
    /// Behind one that does not, and makes durable what it is asked for.
    Least,
}

/// Numbers that a seed settles.
pub struct Dice(pub u64);

impl Dice {
    pub fn throw(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn coin(&mut self) -> bool {
        self.throw(2) == 0
    }
}

/// What is there after a power cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    Dir(u32, BTreeMap<OsString, Tree>),
    File(u32, Arc<Vec<u8>>),
    Link(OsString),
}

impl Tree {
    /// By which a world is known again.
    pub fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        match self {
            Tree::Dir(_, names) => names.iter().for_each(|(name, tree)| {
                hasher.update(blake3::hash(name.as_encoded_bytes()).as_bytes());
                hasher.update(tree.digest().as_bytes());
            }),
            Tree::File(_, bytes) => _ = hasher.update(b"file").update(bytes),
            Tree::Link(to) => _ = hasher.update(b"link").update(to.as_encoded_bytes()),
        }
        hasher.finalize()
    }

    /// Puts it there, in the place of what is there; the top itself stays, with its mode.
    pub fn lay(&self, at: &Path) {
        if let Tree::Dir(mode, names) = self {
            fs::set_permissions(at, Permissions::from_mode(*mode)).unwrap();
            for entry in fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()) {
                match entry.symlink_metadata().unwrap().is_dir() {
                    true => fs::remove_dir_all(&entry).unwrap(),
                    false => fs::remove_file(&entry).unwrap(),
                }
            }
            names.iter().for_each(|(name, tree)| tree.make(&at.join(name)));
        }
    }

    fn make(&self, at: &Path) {
        match self {
            Tree::Dir(mode, names) => {
                fs::create_dir(at).unwrap();
                names.iter().for_each(|(name, tree)| tree.make(&at.join(name)));
                fs::set_permissions(at, Permissions::from_mode(*mode)).unwrap();
            }
            Tree::File(mode, bytes) => {
                // Zeros at its end need no room.
                let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                fs::write(at, &bytes[..end]).unwrap();
                fs::OpenOptions::new().write(true).open(at).unwrap().set_len(bytes.len() as u64).unwrap();
                fs::set_permissions(at, Permissions::from_mode(*mode)).unwrap();
            }
            Tree::Link(to) => symlink(to, at).unwrap(),
        }
    }

    /// What is in it, a line each: for who has to understand a world.
    pub fn listing(&self, at: &str, lines: &mut Vec<String>) {
        match self {
            Tree::Dir(_, names) => {
                lines.push(format!("{at}/"));
                names.iter().for_each(|(name, tree)| tree.listing(&format!("{at}/{}", name.display()), lines));
            }
            Tree::File(_, bytes) => lines.push(format!(
                "{at} {} bytes, {} of them zeros",
                bytes.len(),
                bytes.iter().filter(|byte| **byte == 0).count()
            )),
            Tree::Link(to) => lines.push(format!("{at} -> {}", to.display())),
        }
    }
}

/// What became of the bytes of a file that were not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Landed {
    Not,
    Whole,
    /// Only the length.
    Length,
    /// In pieces, as these dice fall.
    Torn(u64),
}

/// How things stand at one moment: what is durable, and what is not yet.
#[derive(Clone)]
pub struct Moment<'h> {
    history: &'h History,
    drive: Drive,
    without: Option<Site>,
    /// Which step has settled who has a name.
    names: HashMap<Slot, (usize, Option<Node>)>,
    files: HashMap<Node, Arc<Vec<u8>>>,
    pending: Vec<usize>,
    at: usize,
}

impl<'h> Moment<'h> {
    /// Before the first step; what is made durable at the site `without` is not.
    pub fn first(history: &'h History, drive: Drive, without: Option<Site>) -> Moment<'h> {
        let names = history.names.iter().map(|(slot, node)| (slot.clone(), (0, Some(*node)))).collect();
        Moment { history, drive, without, names, files: history.files.clone(), pending: Vec::new(), at: 0 }
    }

    /// How many steps have been done.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The same after the next step, if there is one.
    pub fn next(&self) -> Option<Moment<'h>> {
        let step = self.history.steps.get(self.at)?;
        let mut next = Moment { at: self.at + 1, ..self.clone() };
        match *step {
            Step::Sync { site, .. } | Step::SyncAll { site, .. } if Some(site) == self.without => {}
            Step::Sync { node, since, .. } if self.drive == Drive::Coarse => {
                next.settle(since, |step| self.is_beside(step, node))
            }
            Step::Sync { node, since, .. } => next.settle(since, |step| match step {
                Step::Name(slot, _) | Step::Remove(slot) => slot.0 == node,
                Step::Rename(from, to, _) => from.0 == node || to.0 == node,
                Step::Write(file, ..) | Step::Resize(file, _) => *file == node,
                Step::Sync { .. } | Step::SyncAll { .. } => false,
            }),
            Step::SyncAll { node, since, .. } if self.drive == Drive::Native => {
                next.settle(since, |step| self.is_beside(step, node))
            }
            Step::SyncAll { .. } => {}
            _ => next.pending.push(self.at),
        }
        Some(next)
    }

    /// Whether a step changes the file system that a node is on.
    fn is_beside(&self, step: &Step, node: Node) -> bool {
        let touched = match step {
            Step::Name(slot, _) | Step::Remove(slot) | Step::Rename(slot, ..) => slot.0,
            Step::Write(file, ..) | Step::Resize(file, _) => *file,
            Step::Sync { node, .. } | Step::SyncAll { node, .. } => *node,
        };
        self.history.on[touched] == self.history.on[node]
    }

    /// What was done before `since` becomes durable, if it is `meant`.
    fn settle(&mut self, since: usize, meant: impl Fn(&Step) -> bool) {
        let history = self.history;
        let (now, later): (Vec<usize>, Vec<usize>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|step| *step < since && meant(&history.steps[*step]));
        self.pending = later;
        for step in now {
            enter(&mut self.names, step, &history.steps[step]);
            if let Step::Write(node, ..) | Step::Resize(node, _) = &history.steps[step] {
                write(Arc::make_mut(self.files.entry(*node).or_default()), &history.steps[step]);
            }
        }
    }

    /// Names that may be there or not, and files whose bytes may, if they have or may have a name.
    fn open(&self) -> (Vec<usize>, BTreeSet<Node>) {
        let steps = &self.history.steps;
        let names = self.pending.iter().copied();
        let names = names.filter(|i| matches!(steps[*i], Step::Name(..) | Step::Rename(..) | Step::Remove(..)));
        let files = self.pending.iter().filter_map(|i| match &steps[*i] {
            Step::Write(node, ..) | Step::Resize(node, _) => Some(*node),
            _ => None,
        });
        let names: Vec<usize> = names.collect();
        let mut named: BTreeSet<Node> = self.names.values().filter_map(|(_, node)| *node).collect();
        named.extend(names.iter().filter_map(|i| match &steps[*i] {
            Step::Name(_, node) | Step::Rename(_, _, node) => Some(*node),
            _ => None,
        }));
        (names, files.filter(|node| named.contains(node)).collect())
    }

    /// Worlds that a cut now may leave: what is plain, and as many as `sampled` by dice; or all of them, if they are not too many.
    pub fn worlds(&self, dice: &mut Dice, sampled: usize, all: bool) -> Vec<Vec<Tree>> {
        let (names, files) = self.open();
        let ways = [Landed::Not, Landed::Whole, Landed::Length, Landed::Torn(dice.0)];
        let count =
            (names.len() < 16).then(|| (1usize << names.len()).checked_mul(4usize.checked_pow(files.len() as u32)?));
        match count.flatten() {
            Some(count) if count <= if all { MOST } else { 5 + sampled } => (0..count)
                .map(|n| {
                    let landed = |i: usize| ways[n >> names.len() >> (2 * i) & 3];
                    self.world(&|i| n >> i & 1 == 1, &landed)
                })
                .collect(),
            _ => {
                let mut worlds = vec![
                    self.world(&|_| false, &|_| Landed::Not),
                    self.world(&|_| true, &|_| Landed::Whole),
                    self.world(&|_| true, &|_| Landed::Not),
                    self.world(&|_| true, &|_| Landed::Length),
                    self.world(&|_| false, &|_| Landed::Whole),
                ];
                let sampled = if all { MOST } else { sampled };
                worlds.extend((0..sampled).map(|_| {
                    let named: Vec<bool> = names.iter().map(|_| dice.coin()).collect();
                    let landed: Vec<Landed> = files
                        .iter()
                        .map(|_| match dice.throw(6) {
                            0 => Landed::Not,
                            1 | 2 => Landed::Whole,
                            3 => Landed::Length,
                            _ => Landed::Torn(dice.throw(usize::MAX) as u64),
                        })
                        .collect();
                    self.world(&|i| named[i], &|i| landed[i])
                }));
                worlds
            }
        }
    }

    /// One of them, by which of the names are there and what became of the files.
    fn world(&self, named: &dyn Fn(usize) -> bool, landed: &dyn Fn(usize) -> Landed) -> Vec<Tree> {
        let (open, touched) = self.open();
        let mut names = self.names.clone();
        for (_, step) in open.iter().enumerate().filter(|(i, _)| named(*i)) {
            enter(&mut names, *step, &self.history.steps[*step]);
        }
        let mut files = self.files.clone();
        for (i, node) in touched.into_iter().enumerate() {
            let bytes = self.landed(node, landed(i));
            files.insert(node, Arc::new(bytes));
        }
        let mut inside: HashMap<Node, BTreeMap<OsString, Node>> = HashMap::new();
        for ((dir, name), (_, node)) in names {
            if let Some(node) = node {
                inside.entry(dir).or_default().insert(name, node);
            }
        }
        self.history.roots.iter().map(|(_, root)| self.tree(*root, &inside, &files)).collect()
    }

    fn tree(
        &self,
        node: Node,
        inside: &HashMap<Node, BTreeMap<OsString, Node>>,
        files: &HashMap<Node, Arc<Vec<u8>>>,
    ) -> Tree {
        match &self.history.kinds[node] {
            Kind::Dir(mode) => {
                let names = inside.get(&node).into_iter().flatten();
                Tree::Dir(*mode, names.map(|(name, node)| (name.clone(), self.tree(*node, inside, files))).collect())
            }
            Kind::File(mode) => Tree::File(*mode, files.get(&node).cloned().unwrap_or_default()),
            Kind::Link(to) => Tree::Link(to.clone()),
        }
    }

    /// What was done to the bytes of a file that is not durable.
    fn pending_on(&self, node: Node) -> impl Iterator<Item = &'h Step> {
        let steps = self.pending.iter().map(|i| &self.history.steps[*i]);
        steps.filter(move |step| matches!(step, Step::Write(file, ..) | Step::Resize(file, _) if *file == node))
    }

    /// The bytes of a file of which some are not durable.
    fn landed(&self, node: Node, how: Landed) -> Vec<u8> {
        let old = self.files.get(&node).map(|bytes| bytes.to_vec()).unwrap_or_default();
        let mut new = old.clone();
        self.pending_on(node).for_each(|step| write(&mut new, step));
        match how {
            Landed::Not => old,
            Landed::Whole => new,
            Landed::Length => {
                let mut bytes = old;
                bytes.resize(new.len(), 0);
                bytes
            }
            Landed::Torn(seed) => {
                let mut dice = Dice(seed ^ node as u64);
                let fill = if dice.coin() { 0 } else { 0xA5 };
                let mut bytes = old.clone();
                bytes.resize(bytes.len().max(new.len()), fill);
                let spread = dice.throw(3);
                for step in self.pending_on(node) {
                    tear(&mut bytes, step, spread, &mut dice);
                }
                // It had each of these lengths once, or is growing from one to the next.
                let mut lengths = vec![old.len()];
                let mut grown = old;
                for step in self.pending_on(node) {
                    write(&mut grown, step);
                    lengths.push(grown.len());
                }
                let at = dice.throw(lengths.len());
                let next = lengths[(at + 1).min(lengths.len() - 1)].max(lengths[at]);
                bytes.resize(lengths[at] + if dice.coin() { dice.throw(next - lengths[at] + 1) } else { 0 }, fill);
                bytes
            }
        }
    }
}

/// Who has a name after a step, if no later one has settled that.
fn enter(names: &mut HashMap<Slot, (usize, Option<Node>)>, number: usize, step: &Step) {
    let mut set = |slot: &Slot, node| {
        let entry = names.entry(slot.clone()).or_insert((0, None));
        if entry.0 <= number {
            *entry = (number, node);
        }
    };
    match step {
        Step::Name(slot, node) => set(slot, Some(*node)),
        Step::Rename(from, to, node) => {
            set(from, None);
            set(to, Some(*node));
        }
        Step::Remove(slot) => set(slot, None),
        _ => {}
    }
}

fn write(bytes: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Write(_, offset, written) => {
            let end = *offset as usize + written.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*offset as usize..end].copy_from_slice(written);
        }
        Step::Resize(_, len) => bytes.resize(*len as usize, 0),
        _ => {}
    }
}

/// Some sectors of what a step wrote: of most of its sectors, of few, or up to one of them.
fn tear(bytes: &mut [u8], step: &Step, spread: usize, dice: &mut Dice) {
    let Step::Write(_, offset, written) = step else { return };
    let (start, end) = (*offset as usize, *offset as usize + written.len());
    let cut = start + dice.throw(written.len() + 1);
    for sector in (start / SECTOR * SECTOR..end).step_by(SECTOR) {
        let lands = match spread {
            0 => dice.throw(8) != 0,
            1 => dice.throw(8) == 0,
            _ => sector < cut,
        };
        let (from, to) = (sector.max(start), (sector + SECTOR).min(end).min(bytes.len()));
        if lands && from < to {
            bytes[from..to].copy_from_slice(&written[from - start..to - start]);
        }
    }
}
