//! What of a set is wanted, and what becomes of it: which entries are made, under which names, from which segments.

use crate::format::inventory::{Entry, Kind, Name};
use crate::media::staging::Own;
use crate::set::{Contents, Ways};
use crate::stages::tar;
use std::collections::BTreeMap;

/// What becomes of symbolic and hard links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// They are made; symbolic links that leave the target are refused.
    #[default]
    Refuse,
    /// They are made, also those that leave the target.
    Keep,
    /// What they lead to is placed once more instead.
    Copy,
}

/// What is to be placed, and how.
#[derive(Debug)]
pub struct Wanted {
    /// For each entry: what becomes of it.
    pub fate: Vec<Fate>,
    /// What is placed once more instead of links.
    pub copies: Copies,
    /// Entries that nobody asked for, but that links among those lead to.
    pub taken_along: u64,
}

/// A file or directory that is placed once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Under which name.
    pub path: Name,
    /// The entry that it is like.
    pub of: usize,
}

/// All of them; directories before what is in them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// Directories.
    pub dirs: Vec<Copy>,
    /// Files.
    pub files: Vec<Copy>,
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

/// The same, and with them what the symbolic links among them lead to inside of the set: without it they would dangle.
pub fn choose_with_targets(entries: &[Entry], wanted: impl Fn(&Name) -> bool) -> Vec<Fate> {
    let by_path: BTreeMap<&[u8], usize> = entries.iter().enumerate().map(|(i, e)| (&e.path.0[..], i)).collect();
    let mut taken: Vec<bool> = entries.iter().map(|e| wanted(&e.path)).collect();
    let mut ways = Ways::new(entries);
    let is_link = |i: usize| matches!(entries[i].kind, Kind::Symlink { .. });
    let mut links: Vec<usize> = (0..entries.len()).filter(|i| taken[*i] && is_link(*i)).collect();
    while let Some(link) = links.pop() {
        for path in ways.follow(&entries[link].path.0) {
            let inside = [&path[..], b"/"].concat();
            let beneath = by_path.range(&inside[..]..).take_while(|(p, _)| p.starts_with(&inside)).map(|(_, i)| *i);
            let own = by_path.get(&path[..]).copied().filter(|i| !entries[*i].path.0.is_empty());
            for i in own.into_iter().chain(beneath.filter(|_| own.is_some())) {
                if !std::mem::replace(&mut taken[i], true) && is_link(i) {
                    links.push(i);
                }
            }
        }
    }
    choose(entries, |path| by_path.get(&path.0[..]).is_some_and(|i| taken[*i]))
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
    fn chosen_links_bring_along_what_they_lead_to() {
        let file = || Kind::File { size: 1, extents: None, blake3: None };
        let link = |target: &str| Kind::Symlink { target: Name::new(target.as_bytes()) };
        let entries = [
            entry("", Kind::Dir),
            entry("blobs", Kind::Dir),
            entry("blobs/aa", file()),
            entry("blobs/bb", file()),
            entry("dir", Kind::Dir),
            entry("dir/in", link("../other")),
            entry("other", file()),
            entry("snap", Kind::Dir),
            entry("snap/a", link("../blobs/aa")),
            entry("snap/d", link("via")),
            entry("snap/out", link("/etc")),
            entry("snap/loop", link("loop")),
            entry("snap/via", link("../dir")),
        ];
        let chosen = |only: &str| {
            let fate = choose_with_targets(&entries, |p| p.0.starts_with(only.as_bytes()));
            let made = fate.iter().zip(&entries).filter(|(f, _)| **f != Fate::Skip);
            made.map(|(_, e)| String::from_utf8_lossy(&e.path.0).into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(chosen("snap/a"), " blobs blobs/aa snap snap/a");
        assert_eq!(chosen("snap/d"), " dir dir/in other snap snap/d snap/via");
        assert_eq!(chosen("snap/out"), " snap snap/out");
        assert_eq!(chosen("snap/loop"), " snap snap/loop");
        assert_eq!(chosen("blobs/b"), " blobs blobs/bb");
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
