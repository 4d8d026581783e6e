//! What of a set is wanted, and what becomes of it: which entries are made, under which names, from which segments.

use crate::format::inventory::{Entry, Kind, Name};
use crate::media::staging::Own;
use crate::restore::link_copies::Copies;
use crate::restore::salvage::Ending;
use crate::set::contents::Contents;
use crate::stages::tar;

/// What is to be placed, and how.
#[derive(Debug)]
pub struct Wanted {
    /// For each entry: what becomes of it.
    pub fate: Vec<Fate>,
    /// What is placed once more instead of links.
    pub copies: Copies,
}

/// What becomes of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is not wanted.
    Skip,
    /// It is made as it is.
    Make,
    /// A file that is not wanted, but another name of it is: it is made under that name.
    MakeAs(Name),
    /// A hard link to a file that is made under this name.
    LinkTo(Name),
    /// A link in whose place copies are made.
    Copied,
}

impl Wanted {
    /// The name under which a file is made.
    pub fn name<'n>(&'n self, entries: &'n [Entry], index: usize) -> &'n Name {
        match &self.fate[index] {
            Fate::MakeAs(name) => name,
            _ => &entries[index].path,
        }
    }

    /// The entries that are made, but for copies.
    pub fn entries<'e>(&'e self, entries: &'e [Entry]) -> impl Iterator<Item = (usize, &'e Entry)> {
        let made = |(i, _): &(usize, &Entry)| !matches!(self.fate[*i], Fate::Skip | Fate::Copied);
        entries.iter().enumerate().filter(made)
    }

    /// The segments that hold data of wanted files; all, if everything is wanted, since then the whole stream is compared.
    pub fn segments(&self, contents: &Contents) -> Vec<u64> {
        if self.fate.iter().all(|f| *f != Fate::Skip) {
            return (0..contents.segments()).collect();
        }
        let mut segments = Vec::new();
        for (_, entry) in self.entries(&contents.entries).filter(|(_, e)| e.stored() > 0) {
            segments.extend(segments_of(contents, entry));
        }
        segments.dedup();
        segments
    }

    /// What the target itself gets.
    pub fn own(&self, entries: &[Entry]) -> Own {
        let root = self.entries(entries).map(|(_, e)| e).find(|e| e.path.0.is_empty());
        root.map_or_else(Own::default, |e| Own { mode: e.mode & 0o3777, mtime: Some(e.mtime) })
    }

    /// Bytes of data of the files, but for copies.
    pub fn stored(&self, contents: &Contents) -> u64 {
        self.entries(&contents.entries).map(|(_, e)| e.stored()).sum()
    }

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

/// The segments in which the data of an entry lies.
pub(crate) fn segments_of(contents: &Contents, entry: &Entry) -> std::ops::RangeInclusive<u64> {
    let start = entry.offset + tar::header_len(entry);
    let size = u64::from(contents.segment_bytes);
    start / size..=(start + entry.stored() - 1) / size
}

pub(crate) fn within_one_segment(contents: &Contents, entry: &Entry) -> bool {
    segments_of(contents, entry).count() == 1
}

/// What was placed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Placed {
    /// Regular files that are whole, each name of a hard-linked one and each copy counted.
    pub files: u64,
    /// Bytes of data.
    pub bytes: u64,
}

/// Decides what becomes of each entry when only those that `wanted` names are placed.
pub fn choose(entries: &[Entry], wanted: impl Fn(&Name) -> bool) -> Vec<Fate> {
    let mut fate: Vec<Fate> = entries.iter().map(|e| if wanted(&e.path) { Fate::Make } else { Fate::Skip }).collect();
    let index: std::collections::HashMap<&Name, usize> =
        entries.iter().enumerate().map(|(i, e)| (&e.path, i)).collect();
    for (i, entry) in entries.iter().enumerate() {
        if fate[i] == Fate::Skip {
            continue;
        }
        if let Kind::Hardlink { target } = &entry.kind
            && let Some(first) = index.get(target).copied()
        {
            fate[i] = match fate[first].clone() {
                Fate::Skip => {
                    fate[first] = Fate::MakeAs(entry.path.clone());
                    Fate::Skip
                }
                Fate::MakeAs(name) => Fate::LinkTo(name),
                _ => Fate::LinkTo(target.clone()),
            };
        }
        mark_parents(&mut fate, &index, &entry.path);
    }
    fate
}

fn mark_parents(fate: &mut [Fate], index: &std::collections::HashMap<&Name, usize>, path: &Name) {
    let mut end = path.0.len();
    while let Some(slash) = path.0[..end].iter().rposition(|b| *b == b'/') {
        end = slash;
        if let Some(parent) = index.get(&Name::new(&path.0[..end])).copied() {
            // Who marked it, or will when it comes to it, marks those above it too: deep trees are not climbed for each file.
            if fate[parent] == Fate::Make {
                return;
            }
            fate[parent] = Fate::Make;
        }
    }
    if let Some(root) = index.get(&Name::new(b"")).copied() {
        fate[root] = Fate::Make;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: Name::new(path.as_bytes()), kind, mode: 0, mtime: (0, 0), xattrs: vec![], offset: 0 }
    }

    #[test]
    fn a_chosen_hard_link_brings_its_data_along() {
        let file = Kind::File { size: 1, extents: None, blake3: None };
        let link = || Kind::Hardlink { target: Name::new(b"d/a") };
        let entries = [
            entry("", Kind::Dir),
            entry("d", Kind::Dir),
            entry("d/a", file),
            entry("e", Kind::Dir),
            entry("e/b", link()),
            entry("e/c", link()),
        ];
        let fate = choose(&entries, |p| p.0.starts_with(b"e/"));
        let b = Name::new(b"e/b");
        assert_eq!(fate, [Fate::Make, Fate::Skip, Fate::MakeAs(b.clone()), Fate::Make, Fate::Skip, Fate::LinkTo(b)]);
        let all = choose(&entries, |_| true);
        assert_eq!(all[4], Fate::LinkTo(Name::new(b"d/a")));
    }
}
