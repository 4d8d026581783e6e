//! What an audit finds: the state of each volume, each file and each drive.

use crate::format::names;
use crate::media::dir::{Dir, Location};
use crate::set::Bits;
use std::collections::BTreeSet;

/// Files that nothing can replace.
pub(crate) const NEEDED: [&str; 2] = [names::KEYS, names::INVENTORY];

/// What was found out about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All of it is as it was signed.
    Ok,
    /// Some of it is not.
    Damaged,
    /// It is not here.
    Missing,
    /// A key slot that was written anew, which only a later version can judge (rule 81).
    Newer,
}

/// A volume.
#[derive(Debug)]
pub struct VolumeState {
    /// Its file name.
    pub name: String,
    /// Its drive.
    pub drive: u16,
    /// The judgement.
    pub state: State,
    /// The blocks that no file of it has as signed, by number; all of a missing volume.
    pub bad: Bits,
    /// Those of them that no file of it has at all.
    pub unread: Bits,
    /// Its files; there should be one.
    pub files: Vec<VolumeFile>,
    /// Where a file of it should be: once for each copy of its drive.
    pub homes: Vec<Location>,
    /// What kind of damage it is, as far as that can be told.
    pub diagnosis: Option<String>,
}

/// A file with the name of a volume.
#[derive(Debug)]
pub struct VolumeFile {
    /// Where it is.
    pub at: Location,
    /// Its blocks that are not as signed.
    pub bad: Bits,
    /// Those of them that could not be read.
    pub unread: Bits,
    /// How many blocks it has at all, of those of the volume.
    pub read: u64,
    /// Whether it has the right length.
    pub fits: bool,
}

/// A metadata file.
#[derive(Debug)]
pub struct FileState {
    /// The directory of the set that it belongs in.
    pub dir: Dir,
    /// Its path in there.
    pub name: String,
    /// The judgement.
    pub state: State,
}

impl FileState {
    /// The name of the metadata file that it is, or is a copy of.
    pub fn of(&self) -> &str {
        names::of_copies(&self.name)
    }
}

/// What the audit found.
pub struct Audit {
    /// Parity volumes in each group.
    pub m: u16,
    /// Volumes by group.
    pub volumes: Vec<Vec<VolumeState>>,
    /// By group, rows with more than M bad blocks that can be mended all the same.
    pub mended: Vec<BTreeSet<u64>>,
    /// Metadata files of the drives that are here.
    pub files: Vec<FileState>,
    /// Files that nothing can replace of which no copy is good, but all together give them.
    pub combined: BTreeSet<&'static str>,
    /// A key slot was written anew, be there one as it was signed or not.
    pub rewritten: bool,
    /// Drives that are here.
    pub present: BTreeSet<u16>,
    /// Drives that are not.
    pub absent: BTreeSet<u16>,
    /// Those of them that were here when the audit began.
    pub gone: BTreeSet<u16>,
    /// Only what the drives that are here should hold was judged.
    pub this_drive: bool,
}
