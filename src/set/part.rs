//! One part of a set that is here: its directories, its files, and which drives they are the copies of.

use crate::format::hashes::Value;
use crate::format::manifest::{self, Manifest};
use crate::media::dir::{Dir, Identity, Location};
use crate::media::disk::Disk;
use crate::set::failing_drives::Failing;
use crate::set::trust::{Signer, Trust};
use crate::set::trusted_manifest::Signed;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

/// What doubtful bytes turned out to be, and where they are.
pub type Answers = Vec<(usize, u8)>;

/// One volume of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct At {
    /// The group.
    pub group: usize,
    /// The index in the group.
    pub index: usize,
}

/// A part of a set, whose manifest is signed by somebody trusted.
#[derive(Debug)]
pub struct Part {
    /// What its drives are read through.
    pub disk: Disk,
    /// The manifest.
    pub manifest: Manifest,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The signature over them that is trusted.
    pub armour: Vec<u8>,
    /// Who signed it.
    pub signer: Signer,
    /// The directories that are here.
    pub dirs: Vec<Dir>,
    /// Those that were let go, to be found again.
    let_go: Vec<(PathBuf, Identity)>,
    /// Who was asked.
    pub trust: Trust,
    /// See [`Part::holdings`].
    pub(crate) holdings: OnceLock<Vec<BTreeSet<u16>>>,
    /// The hash of the `B3SUMS` of each drive, once they were needed.
    pub(crate) sums: OnceLock<Vec<Value>>,
    /// What its drives could not read.
    pub(crate) failing: Failing,
    /// The key slot as another part of the set has it, if that was needed.
    pub(crate) slot: OnceLock<Vec<u8>>,
    /// See [`Part::has_rewritten_slot`].
    pub(crate) rewritten: OnceLock<bool>,
    /// What doubtful bytes of its metadata turned out to be, by file and piece: guesses are made once, and a piece is proven again.
    pub(crate) guessed: Mutex<BTreeMap<(String, u64), Answers>>,
}

impl Part {
    /// With a manifest that is trusted, and the directories that hold it.
    pub fn new(disk: &Disk, manifest: Manifest, signed: Signed, dirs: Vec<Dir>, trust: &Trust) -> Part {
        let Signed { bytes, armour, signer } = signed;
        Part {
            disk: disk.clone(),
            manifest,
            bytes,
            armour,
            signer,
            dirs,
            let_go: Vec::new(),
            trust: trust.clone(),
            holdings: OnceLock::new(),
            sums: OnceLock::new(),
            failing: Failing::default(),
            slot: OnceLock::new(),
            rewritten: OnceLock::new(),
            guessed: Mutex::default(),
        }
    }

    /// None of its drives is here any more.
    pub fn leave(&mut self) {
        self.dirs.clear();
        self.let_go.clear();
        self.holdings = OnceLock::new();
    }

    /// Holds no directory any more, so that its drives can be unmounted.
    pub fn let_go(&mut self) {
        let known = |dir: Dir| Some((dir.path().to_owned(), dir.identity().ok()?));
        self.let_go = std::mem::take(&mut self.dirs).into_iter().filter_map(known).collect();
        self.holdings = OnceLock::new();
    }

    /// Holds again those directories that are still the same.
    pub fn take_back(&mut self, disk: &Disk) {
        let same = |(path, known): (PathBuf, Identity)| {
            let dir = Dir::given(disk, &path).ok()?;
            (dir.identity().ok()? == known).then_some(dir)
        };
        self.dirs = std::mem::take(&mut self.let_go).into_iter().filter_map(same).collect();
    }

    /// Whether a signature is one over this manifest by whom it is from. That of another is none of this set (rule 20).
    pub fn is_vouched_for_by(&self, armour: &[u8]) -> bool {
        self.trust.judge(armour, &self.bytes).is_ok_and(|signer| signer.key == self.signer.key)
    }

    /// The files that have the name of a volume. There should be one; but a drive may hold anything, and must not hide what
    /// is good on another.
    pub fn volume_files(&self, group: usize, index: usize) -> Vec<Location> {
        let name =
            self.manifest.groups.get(group).map(|g| manifest::volume_name(group, index, g.k)).unwrap_or_default();
        // A directory or a link in its place is no volume.
        let there = |at: &Location| !self.is_gone(&at.dir) && at.dir.has_file(&at.name);
        self.dirs.iter().map(|d| d.at(&name)).filter(there).collect()
    }
}

/// How drives are named to people: `drive 2`, `drives 1, 3`.
pub fn name_drives(drives: &[u32]) -> String {
    let list = drives.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    format!("drive{} {list}", if drives.len() == 1 { "" } else { "s" })
}
