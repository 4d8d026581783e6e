//! What becomes of files of which some segments could not be had.

use crate::format::inventory::{Entry, Kind, Name};
use crate::restore::selection::{Copies, Fate, Wanted};
use crate::set::Contents;
use crate::stages::tar::{self, Piece};
use std::collections::{BTreeMap, HashSet};

/// What the name of a file ends with of which bytes are missing.
pub const SUFFIX: &str = ".incomplete";
const LONGEST_COMPONENT: usize = 255;

/// A stretch of a file, from its first byte to the one after its last.
pub type Stretch = (u64, u64);

/// What is missing of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// Every byte.
    Lost,
    /// Some bytes.
    Incomplete {
        /// The name that it gets.
        written_as: Name,
        /// Where, in the file.
        missing: Vec<Stretch>,
    },
}

/// Wanted files, hard links and copies that are not whole, by the names that they would have.
#[derive(Debug, Default)]
pub struct Ending(BTreeMap<Name, Broken>);

/// The files of which these (sorted) segments hold bytes: what is missing of each, and how many stored bytes that are.
pub fn missing(contents: &Contents, segments: &[u64]) -> BTreeMap<usize, (Vec<Stretch>, u64)> {
    let size = u64::from(contents.segment_bytes);
    let mut files: BTreeMap<usize, (Vec<Stretch>, u64)> = BTreeMap::new();
    for segment in segments {
        let (start, end) = (segment * size, ((segment + 1) * size).min(contents.tar_bytes));
        for piece in tar::pieces(&contents.entries, start, end) {
            let Piece::Data { entry, offset, len } = piece else { continue };
            let (stretches, bytes) = files.entry(entry).or_default();
            *bytes += len as u64;
            let ranges = tar::file_ranges(&contents.entries[entry], offset, len);
            ranges.into_iter().for_each(|(at, len)| extend(stretches, (at, at + len as u64)));
        }
    }
    files
}

/// Adds a stretch that lies after all others.
fn extend(stretches: &mut Vec<Stretch>, next: Stretch) {
    match stretches.last_mut() {
        Some(last) if last.1 == next.0 => last.1 = next.1,
        _ => stretches.push(next),
    }
}

impl Ending {
    /// What the end is if these segments are never placed.
    pub fn new(contents: &Contents, wanted: &Wanted, undone: &[u64]) -> Ending {
        let Wanted { fate, copies, .. } = wanted;
        let missing = missing(contents, undone);
        let mut ending = Ending::default();
        if missing.is_empty() {
            return ending;
        }
        let mut names = Names::of(&contents.entries, copies);
        for (index, (stretches, bytes)) in &missing {
            let entry = &contents.entries[*index];
            let made_as = match &fate[*index] {
                Fate::Skip => continue,
                Fate::MakeAs(name) => name,
                _ => &entry.path,
            };
            let broken = match *bytes >= entry.stored() {
                true => Broken::Lost,
                false => Broken::Incomplete { written_as: names.incomplete(made_as), missing: stretches.clone() },
            };
            ending.0.insert(made_as.clone(), broken);
        }
        for (entry, fate) in contents.entries.iter().zip(fate) {
            if let (Kind::Hardlink { .. }, Fate::LinkTo(target)) = (&entry.kind, fate) {
                ending.follow(&entry.path, target, &mut names);
            }
        }
        for copy in &copies.files {
            let original = match &fate[copy.of] {
                Fate::MakeAs(name) => name,
                _ => &contents.entries[copy.of].path,
            };
            ending.follow(&copy.path, original, &mut names);
        }
        ending
    }

    /// A second name of a file, or a copy of it, is as broken as the file.
    fn follow(&mut self, path: &Name, original: &Name, names: &mut Names) {
        let broken = match self.0.get(original) {
            None => return,
            Some(Broken::Lost) => Broken::Lost,
            Some(Broken::Incomplete { missing, .. }) => {
                Broken::Incomplete { written_as: names.incomplete(path), missing: missing.clone() }
            }
        };
        self.0.insert(path.clone(), broken);
    }

    /// What is missing of what would have this name; `None` if nothing.
    pub fn of(&self, name: &Name) -> Option<&Broken> {
        self.0.get(name)
    }

    /// The name that something really gets; `None` if it is lost.
    pub fn name<'n>(&'n self, name: &'n Name) -> Option<&'n Name> {
        match self.of(name) {
            None => Some(name),
            Some(Broken::Incomplete { written_as, .. }) => Some(written_as),
            Some(Broken::Lost) => None,
        }
    }

    /// Everything that is not whole.
    pub fn broken(&self) -> impl Iterator<Item = (&Name, &Broken)> {
        self.0.iter()
    }
}

/// What was placed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Placed {
    /// Regular files that are whole, each name of a hard-linked one and each copy counted.
    pub files: u64,
    /// Bytes of data.
    pub bytes: u64,
}

impl Wanted {
    /// What has been placed when everything is.
    pub fn whole(&self, contents: &Contents, ending: &Ending) -> Placed {
        let mut placed = Placed::default();
        for (index, entry) in self.entries(&contents.entries) {
            let is_file = matches!(entry.kind, Kind::File { .. } | Kind::Hardlink { .. });
            if is_file && ending.of(self.name(&contents.entries, index)).is_none() {
                placed.files += 1;
                placed.bytes += entry.stored();
            }
        }
        placed.files += self.copies.files.iter().filter(|c| ending.of(&c.path).is_none()).count() as u64;
        placed
    }

    /// What must be in the target in the end: paths, and the lengths of files.
    pub fn expected<'e>(&'e self, entries: &'e [Entry], ending: &'e Ending) -> Vec<(&'e [u8], Option<u64>)> {
        let len = |entry: &Entry| match &entry.kind {
            Kind::File { size, .. } => Some(*size),
            _ => None,
        };
        let made = self.entries(entries).map(|(i, e)| (self.name(entries, i), len(e)));
        let copies = self.copies.files.iter().chain(&self.copies.dirs).map(|c| (&c.path, len(&entries[c.of])));
        made.chain(copies).filter_map(|(name, len)| Some((&ending.name(name)?.0[..], len))).collect()
    }
}

/// Names that are taken, as a file system sees them that does not tell upper from lower case.
struct Names(HashSet<String>);

impl Names {
    fn of(entries: &[Entry], copies: &Copies) -> Names {
        let paths = entries.iter().map(|e| &e.path).chain(copies.files.iter().chain(&copies.dirs).map(|c| &c.path));
        Names(paths.map(|p| folded(&p.0)).collect())
    }

    /// A free name that says that bytes are missing.
    fn incomplete(&mut self, name: &Name) -> Name {
        let at = name.0.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        for n in 1u64.. {
            let suffix = if n == 1 { SUFFIX.to_owned() } else { format!("{SUFFIX}.{n}") };
            let room = LONGEST_COMPONENT - suffix.len();
            let kept = name.0.len().min(at + room);
            let candidate = [&name.0[..kept], suffix.as_bytes()].concat();
            if self.0.insert(folded(&candidate)) {
                return Name::new(&candidate);
            }
        }
        name.clone()
    }
}

fn folded(path: &[u8]) -> String {
    String::from_utf8_lossy(path).to_lowercase()
}

/// The wanted files of which these (sorted) segments hold bytes.
pub fn affected<'c>(contents: &'c Contents, fate: &[Fate], segments: &[u64]) -> Vec<&'c Name> {
    let indices = missing(contents, segments).into_keys().filter(|i| fate[*i] != Fate::Skip);
    indices.map(|i| &contents.entries[i].path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::selection::Copy;
    use crate::stages::seal::SetIdentity;

    const SEGMENT: u32 = 1 << 16;

    fn contents(sizes: &[(&str, u64)]) -> Contents {
        let entry = |path: &str, size| Entry {
            path: Name::new(path.as_bytes()),
            kind: Kind::File { size, extents: None, blake3: None },
            mode: 0,
            mtime: (0, 0),
            xattrs: vec![],
            offset: 0,
        };
        let mut entries: Vec<Entry> = sizes.iter().map(|(path, size)| entry(path, *size)).collect();
        let tar_bytes = tar::lay_out(&mut entries).unwrap();
        let identity = SetIdentity::generate();
        Contents { entries, tar_bytes, segment_bytes: SEGMENT, identity, tables: BTreeMap::new() }
    }

    #[test]
    fn each_file_is_told_by_the_bytes_that_are_missing() {
        let s = u64::from(SEGMENT);
        let contents = contents(&[("a", 3 * s), ("a.INCOMPLETE", 10), ("b", 10), ("c", s)]);
        let copies = Copies { dirs: vec![], files: vec![Copy { path: Name::new(b"l"), of: 0 }] };
        let wanted = Wanted { fate: vec![Fate::Make; 4], copies, taken_along: 0 };
        let whole = Ending::new(&contents, &wanted, &[]);
        assert_eq!(whole.broken().count(), 0);
        let ending = Ending::new(&contents, &wanted, &[1, 2]);
        let incomplete = |name: &str| Broken::Incomplete {
            written_as: Name::new(name.as_bytes()),
            missing: vec![(s - 512, 3 * s - 512)],
        };
        assert_eq!(ending.of(&Name::new(b"a")), Some(&incomplete("a.incomplete.2")));
        assert_eq!(ending.of(&Name::new(b"l")), Some(&incomplete("l.incomplete")));
        assert_eq!(ending.broken().count(), 2);
        let all = Ending::new(&contents, &wanted, &[0, 1, 2, 3, 4]);
        assert!(all.broken().all(|(_, b)| *b == Broken::Lost) && all.broken().count() == 5);
    }

    #[test]
    fn long_names_are_cut_to_make_room() {
        let contents = contents(&[(&"n".repeat(255), 1 << 20)]);
        let ending =
            Ending::new(&contents, &Wanted { fate: vec![Fate::Make], copies: Copies::default(), taken_along: 0 }, &[3]);
        let (_, Broken::Incomplete { written_as, .. }) = ending.broken().next().unwrap() else { panic!() };
        assert!(written_as.0.len() == 255 && written_as.0.ends_with(b".incomplete"));
    }
}
