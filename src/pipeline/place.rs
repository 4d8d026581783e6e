//! Placing: segments of the tar stream become files. The stream is compared with what the inventory says it must be, and each
//! file with its hash, before the staging directory becomes the target.

use crate::error::{Error, Result};
use crate::format::inventory::{Entry, Inventory, Kind, Name};
use crate::media::staging::{Attributes, Staging};
use crate::pipeline::filehash::FileHashes;
use crate::pipeline::tar::{self, Piece};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Places the entries of an inventory, or some of them.
pub struct Placer<'a> {
    inventory: &'a Inventory,
    staging: &'a Staging,
    segment_bytes: u32,
    /// For each entry: what becomes of it.
    fate: Vec<Fate>,
    hashes: FileHashes,
    placed: AtomicU64,
}

/// What becomes of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is not wanted.
    Skip,
    /// It is made as it is.
    Make,
    /// A file that is not wanted, but a hard link to it is: it is made under that name.
    MakeAs(Name),
    /// A hard link to a file that is made under this name.
    LinkTo(Name),
}

impl<'a> Placer<'a> {
    /// Makes directories, empty files and those that lie in several segments.
    pub fn begin(
        inventory: &'a Inventory,
        fate: Vec<Fate>,
        staging: &'a Staging,
        segment_bytes: u32,
    ) -> Result<Placer<'a>> {
        let placer = Placer {
            inventory,
            staging,
            segment_bytes,
            fate,
            hashes: FileHashes::default(),
            placed: AtomicU64::new(0),
        };
        for (_, entry) in placer.wanted().filter(|(_, e)| e.kind == Kind::Dir && !e.path.0.is_empty()) {
            staging.make_dir(&entry.path.0)?;
        }
        for (index, entry) in placer.wanted() {
            match &entry.kind {
                Kind::File { size, .. } if entry.stored() == 0 => placer.make_empty(index, entry, *size)?,
                Kind::File { size, .. } if !placer.within_one_segment(entry) => {
                    let name = placer.name(index);
                    let file = staging.create_file(&name.0)?;
                    // Data fills all others; and not every file system can extend a file.
                    if matches!(entry.kind, Kind::File { extents: Some(_), .. }) {
                        file.set_len(*size).map_err(Error::io("extend", name.printable()))?;
                    }
                }
                _ => {}
            }
        }
        Ok(placer)
    }

    fn wanted(&self) -> impl Iterator<Item = (usize, &'a Entry)> {
        self.inventory.entries.iter().enumerate().filter(|(i, _)| self.fate[*i] != Fate::Skip)
    }

    /// The name under which a file is made.
    fn name(&self, index: usize) -> &Name {
        match &self.fate[index] {
            Fate::MakeAs(name) => name,
            _ => &self.inventory.entries[index].path,
        }
    }

    fn make_empty(&self, index: usize, entry: &Entry, size: u64) -> Result<()> {
        let name = self.name(index);
        self.compare_hash(entry, *blake3::hash(b"").as_bytes())?;
        let file = self.staging.create_file(&name.0)?;
        if size > 0 {
            file.set_len(size).map_err(Error::io("extend", name.printable()))?;
        }
        self.staging.finish_file(&file, &name.0, attributes(entry, &xattrs(entry)))
    }

    fn within_one_segment(&self, entry: &Entry) -> bool {
        let start = entry.offset + tar::header_len(entry);
        let size = u64::from(self.segment_bytes);
        start / size == (start + entry.stored() - 1) / size
    }

    /// The segments that hold data of wanted files.
    pub fn segments(&self) -> Vec<u64> {
        if self.fate.iter().all(|f| *f != Fate::Skip) {
            return (0..self.inventory.frames.len() as u64).collect();
        }
        let size = u64::from(self.segment_bytes);
        let mut segments = Vec::new();
        for (_, entry) in self.wanted().filter(|(_, e)| e.stored() > 0) {
            let start = entry.offset + tar::header_len(entry);
            segments.extend(start / size..=(start + entry.stored() - 1) / size);
        }
        segments.dedup();
        segments
    }

    /// Compares segment `n` with what it must be, and places what is wanted of it.
    pub fn place(&self, n: u64, plain: &[u8]) -> Result<()> {
        let start = n * u64::from(self.segment_bytes);
        let end = (start + u64::from(self.segment_bytes)).min(self.inventory.head.tar_bytes);
        if plain.len() as u64 != end - start {
            return Err(differs(start, "its length is wrong"));
        }
        let mut at = 0;
        for piece in tar::pieces(&self.inventory.entries, start, end) {
            match piece {
                Piece::Header { entry, range } => {
                    let len = range.len();
                    let headers = tar::headers(&self.inventory.entries[entry]);
                    if headers[range] != plain[at..at + len] {
                        return Err(differs(start + at as u64, &self.inventory.entries[entry].path.printable()));
                    }
                    at += len;
                }
                Piece::Zeros(len) => {
                    if plain[at..at + len].iter().any(|b| *b != 0) {
                        return Err(differs(start + at as u64, "padding is not zero"));
                    }
                    at += len;
                }
                Piece::Data { entry, offset, len } => {
                    self.place_data(entry, offset, &plain[at..at + len])?;
                    at += len;
                }
            }
        }
        Ok(())
    }

    fn place_data(&self, index: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        if self.fate[index] == Fate::Skip {
            return Ok(());
        }
        let entry = &self.inventory.entries[index];
        let whole = bytes.len() as u64 == entry.stored();
        if let Some(hash) = self.hashes.add(index, entry.stored(), offset, bytes) {
            self.compare_hash(entry, hash)?;
            self.placed.fetch_add(1, Ordering::Relaxed);
        }
        let name = self.name(index);
        let file = if whole { self.staging.create_file(&name.0)? } else { self.staging.open_file(&name.0)? };
        let mut at = 0;
        for (to, len) in tar::file_ranges(entry, offset, bytes.len()) {
            file.write_all_at(&bytes[at..at + len], to).map_err(Error::io("write", name.printable()))?;
            at += len;
        }
        if !whole {
            return Ok(());
        }
        if let Kind::File { size, extents: Some(_), .. } = entry.kind {
            file.set_len(size).map_err(Error::io("extend", name.printable()))?;
        }
        self.staging.finish_file(&file, &name.0, attributes(entry, &xattrs(entry)))
    }

    fn compare_hash(&self, entry: &Entry, hash: [u8; 32]) -> Result<()> {
        match &entry.kind {
            Kind::File { blake3, .. } if *blake3 == hash => Ok(()),
            _ => Err(Error::refused(
                format!("{} does not have the hash that the inventory says", entry.path.printable()),
                "the sender signed a broken set: ask for a new export",
            )),
        }
    }

    /// What must be in the target in the end: paths, and the lengths of files.
    pub fn expected(&self) -> impl Iterator<Item = (&[u8], Option<u64>)> {
        self.wanted().map(|(index, entry)| match &entry.kind {
            Kind::File { size, .. } => (&self.name(index).0[..], Some(*size)),
            _ => (&entry.path.0[..], None),
        })
    }

    /// Links, and the metadata of everything that could not have it before; nothing may be missing.
    pub fn finish(&self) -> Result<Placed> {
        let mut placed = Placed::default();
        let with_data = self.wanted().filter(|(_, e)| e.stored() > 0).count() as u64;
        if self.placed.load(Ordering::Relaxed) != with_data {
            return Err(Error::Internal("not every file was placed".into()));
        }
        for (index, entry) in self.wanted() {
            match (&entry.kind, &self.fate[index]) {
                (Kind::File { .. }, _) => {
                    placed.files += 1;
                    placed.bytes += entry.stored();
                    if entry.stored() > 0 && !self.within_one_segment(entry) {
                        let name = self.name(index);
                        self.staging.finish_file(
                            &self.staging.open_file(&name.0)?,
                            &name.0,
                            attributes(entry, &xattrs(entry)),
                        )?;
                    }
                }
                (Kind::Symlink { target }, _) => self.staging.symlink(&entry.path.0, &target.0, entry.mtime)?,
                (Kind::Hardlink { .. }, Fate::LinkTo(target)) => {
                    placed.files += 1;
                    self.staging.hardlink(&entry.path.0, &target.0)?;
                }
                _ => {}
            }
        }
        if !self.wanted().any(|(_, e)| e.path.0.is_empty()) {
            self.staging.open_to_all()?;
        }
        let dirs: Vec<&Entry> = self.wanted().map(|(_, e)| e).filter(|e| e.kind == Kind::Dir).collect();
        for entry in dirs.iter().rev() {
            self.staging.finish_dir(&entry.path.0, attributes(entry, &xattrs(entry)))?;
        }
        Ok(placed)
    }
}

/// What was placed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Placed {
    /// Regular files, each name of a hard-linked one counted.
    pub files: u64,
    /// Bytes of data.
    pub bytes: u64,
}

fn attributes<'a>(entry: &Entry, xattrs: &'a [(Vec<u8>, Vec<u8>)]) -> Attributes<'a> {
    Attributes { mode: entry.mode, mtime: entry.mtime, xattrs }
}

fn xattrs(entry: &Entry) -> Vec<(Vec<u8>, Vec<u8>)> {
    entry.xattrs.iter().map(|(name, value)| (name.0.to_vec(), value.0.to_vec())).collect()
}

fn differs(offset: u64, what: &str) -> Error {
    Error::refused(
        format!("the tar stream differs from the inventory at byte {offset}: {what}"),
        "the sender signed a broken or hostile set: ask for a new export",
    )
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
        let file = Kind::File { size: 1, extents: None, blake3: [0; 32] };
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
