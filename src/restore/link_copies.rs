//! `--links copy`: what links lead to within the set is placed again under their names, for file systems without links.

use crate::error::{Error, Result};
use crate::format::inventory::{Entry, Kind, LONGEST_PATH, Name};
use crate::restore::selection::{Copies, Copy, Fate};
use crate::text::listing;
use std::collections::{HashMap, VecDeque};

/// Linux follows no more links on the way of one path.
const MOST_HOPS: usize = 40;
/// More components than the longest path has.
const MOST_STEPS: usize = 4096;
/// The most copies; a few links within each other can ask for any number.
const MOST_COPIES: usize = 1 << 22;

/// Makes copies of all wanted links. A link that cannot be one is an error that lists all such.
pub fn plan(entries: &[Entry], fate: &mut [Fate]) -> Result<Copies> {
    let mut planner = Planner::new(entries);
    for (i, entry) in entries.iter().enumerate() {
        match (&fate[i], &entry.kind) {
            (Fate::Make, Kind::Symlink { .. }) => {
                planner.link(&entry.path.0, &entry.path.0, &mut Vec::new());
                fate[i] = Fate::Copied;
            }
            (Fate::LinkTo(_), Kind::Hardlink { .. }) => {
                planner.expand(&entry.path.0, i, &mut Vec::new());
                fate[i] = Fate::Copied;
            }
            _ => {}
        }
    }
    let mut copies = planner.finish()?;
    // The first copy of a file that is not wanted itself is the file.
    copies.files.retain(|copy| match &fate[copy.of] {
        Fate::Skip => {
            fate[copy.of] = Fate::MakeAs(copy.path.clone());
            false
        }
        _ => true,
    });
    Ok(copies)
}

struct Planner<'a> {
    entries: &'a [Entry],
    index: HashMap<&'a [u8], usize>,
    children: HashMap<&'a [u8], Vec<usize>>,
    copies: Copies,
    refused: Vec<Vec<u8>>,
}

impl<'a> Planner<'a> {
    fn new(entries: &'a [Entry]) -> Planner<'a> {
        let mut children: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (i, entry) in entries.iter().enumerate().filter(|(_, e)| !e.path.0.is_empty()) {
            children.entry(parent_of(&entry.path.0)).or_default().push(i);
        }
        let index = entries.iter().enumerate().map(|(i, e)| (&e.path.0[..], i)).collect();
        Planner { entries, index, children, copies: Copies::default(), refused: Vec::new() }
    }

    /// Places under `path` what the link `link` leads to; `within` are the directories that are being copied.
    fn link(&mut self, path: &[u8], link: &[u8], within: &mut Vec<usize>) {
        match self.resolve(link) {
            Some(of) => self.expand(path, of, within),
            None => self.refused.push(path.to_vec()),
        }
    }

    fn expand(&mut self, path: &[u8], of: usize, within: &mut Vec<usize>) {
        let entry = &self.entries[of];
        let copy = || Copy { path: Name::new(path), of };
        if path.len() > LONGEST_PATH || self.copies.files.len() + self.copies.dirs.len() >= MOST_COPIES {
            return self.refused.push(path.to_vec());
        }
        match &entry.kind {
            Kind::File { .. } => self.copies.files.push(copy()),
            Kind::Symlink { .. } => self.link(path, &entry.path.0, within),
            Kind::Hardlink { target } => match self.index.get(&target.0[..]).copied() {
                Some(of) => self.copies.files.push(Copy { path: Name::new(path), of }),
                None => self.refused.push(path.to_vec()),
            },
            // A directory within its own copy has no end.
            Kind::Dir if within.contains(&of) || is_below(path, &entry.path.0) => self.refused.push(path.to_vec()),
            Kind::Dir => {
                self.copies.dirs.push(copy());
                within.push(of);
                for child in self.children.get(&entry.path.0[..]).cloned().unwrap_or_default() {
                    let name = name_of(&self.entries[child].path.0);
                    self.expand(&[path, b"/", name].concat(), child, within);
                }
                within.pop();
            }
        }
    }

    /// Follows a link through the set alone; `None` if it leads out of it or nowhere.
    fn resolve(&self, link: &[u8]) -> Option<usize> {
        let mut at: Vec<&[u8]> = link.split(|b| *b == b'/').collect();
        let mut ahead: VecDeque<&[u8]> = VecDeque::new();
        ahead.extend(at.pop());
        let (mut hops, mut steps) = (0, 0);
        while let Some(component) = ahead.pop_front() {
            steps += 1;
            match component {
                b"" | b"." => continue,
                b".." => {
                    at.pop()?;
                    continue;
                }
                name => at.push(name),
            }
            let entry = self.index.get(&at.join(&b'/')[..]).map(|i| &self.entries[*i].kind)?;
            let Kind::Symlink { target } = entry else { continue };
            hops += 1;
            if hops > MOST_HOPS || steps > MOST_STEPS || target.0.starts_with(b"/") {
                return None;
            }
            at.pop();
            target.0.split(|b| *b == b'/').rev().for_each(|c| ahead.push_front(c));
        }
        self.index.get(&at.join(&b'/')[..]).copied()
    }

    fn finish(self) -> Result<Copies> {
        match self.refused.is_empty() {
            true => Ok(self.copies),
            false => Err(Error::refused(
                format!(
                    "these links lead to nothing in the set, or into themselves, so they cannot become copies:{}",
                    listing(self.refused.iter().map(|p| &p[..]))
                ),
                "import to a file system that takes links, or only some files with --only",
            )),
        }
    }
}

fn parent_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').map_or(b"", |at| &path[..at])
}

fn name_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').map_or(path, |at| &path[at + 1..])
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::selection::choose;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: Name::new(path.as_bytes()), kind, mode: 0, mtime: (0, 0), xattrs: vec![], offset: 0 }
    }

    fn file(path: &str) -> Entry {
        entry(path, Kind::File { size: 1, extents: None, blake3: None })
    }

    fn link(path: &str, target: &str) -> Entry {
        entry(path, Kind::Symlink { target: Name::new(target.as_bytes()) })
    }

    fn planned(entries: &[Entry], only: &str) -> Result<(Vec<String>, Vec<Fate>)> {
        let mut fate = choose(entries, |p| p.0.starts_with(only.as_bytes()));
        let copies = plan(entries, &mut fate)?;
        let all = copies.dirs.iter().chain(&copies.files);
        Ok((all.map(|c| format!("{}={}", c.path.printable(), entries[c.of].path.printable())).collect(), fate))
    }

    #[test]
    fn links_to_files_and_directories_become_copies() {
        let entries = [
            entry("", Kind::Dir),
            entry("d", Kind::Dir),
            file("d/a"),
            link("d/b", "a"),
            link("l", "d"),
            link("m", "./l/../d/b"),
            entry("h", Kind::Hardlink { target: Name::new(b"d/a") }),
        ];
        let (copies, fate) = planned(&entries, "").unwrap();
        assert_eq!(copies, ["l=d", "d/b=d/a", "l/a=d/a", "l/b=d/a", "m=d/a", "h=d/a"]);
        assert!([3, 4, 5, 6].iter().all(|i| fate[*i] == Fate::Copied));
        let (copies, fate) = planned(&entries, "m").unwrap();
        assert!(copies.is_empty() && fate[2] == Fate::MakeAs(Name::new(b"m")));
    }

    #[test]
    fn links_that_cannot_be_copies_are_listed() {
        for (target, why) in [
            ("nowhere", "dangling"),
            ("/etc", "absolute"),
            ("../..", "out"),
            ("l", "loop"),
            (".", "itself"),
            ("..", "up"),
        ] {
            let entries = [entry("", Kind::Dir), entry("d", Kind::Dir), link("d/l", target)];
            let error = planned(&entries, "").map(drop).unwrap_err();
            assert!(error.to_string().contains("\n  d/l"), "{why}: {error}");
        }
        let each_other = [entry("a", Kind::Dir), link("a/x", "../b"), entry("b", Kind::Dir), link("b/y", "../a")];
        assert!(planned(&each_other, "").is_err());
    }
}
