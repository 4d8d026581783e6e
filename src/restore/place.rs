//! Placing: segments of the tar stream become files. The stream is compared with what the inventory says it must be, and each
//! file with its hash, before the staging directory becomes the target.

use crate::error::{Error, Result};
use crate::format::inventory::{Entry, Kind, Name};
use crate::media::buffer::Buffer;
use crate::media::staging::{Attributes, Staging};
use crate::restore::salvage::{Broken, Ending, Placed};
use crate::restore::selection::Copy;
use crate::restore::selection::{Fate, Wanted, segments_of, within_one_segment};
use crate::set::{Bits, Contents};
use crate::stages::filehash::FileHashes;
use crate::stages::tar::{self, Piece};
use crate::threads::lock;
use std::sync::Mutex;

/// Places the entries of an inventory, or some of them.
pub struct Placer<'a> {
    pub(crate) staging: &'a Staging,
    wanted: Wanted,
    hashes: FileHashes,
    state: Mutex<State>,
}

/// Bits by the number of the entry.
struct State {
    /// Files that had their hash when they passed, or when they were read again.
    proven: Bits,
    /// Files that got their metadata when they were placed.
    finished: Bits,
}

impl<'a> Placer<'a> {
    /// Makes directories, empty files and those that lie in several segments.
    pub fn begin(contents: &Contents, wanted: Wanted, staging: &'a Staging) -> Result<Placer<'a>> {
        let placer = Placer::new(contents, wanted, staging);
        for path in placer.dirs(&contents.entries) {
            staging.make_dir(&path.0)?;
        }
        placer.make_files(contents)?;
        Ok(placer)
    }

    /// Goes on with what an import has left that had placed all segments but these.
    pub fn resume(contents: &Contents, wanted: Wanted, staging: &'a Staging, undone: &[u64]) -> Result<Placer<'a>> {
        let placer = Placer::new(contents, wanted, staging);
        for path in placer.dirs(&contents.entries) {
            staging.make_dir_again(&path.0)?;
        }
        placer.undo_the_end(contents, undone)?;
        placer.unplace(contents, undone)?;
        placer.make_files(contents)?;
        Ok(placer)
    }

    fn new(contents: &Contents, wanted: Wanted, staging: &'a Staging) -> Placer<'a> {
        let bits = || Bits::new(contents.entries.len() as u64, false);
        let state = Mutex::new(State { proven: bits(), finished: bits() });
        Placer { staging, wanted, hashes: FileHashes::default(), state }
    }

    /// What is placed.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// All directories, those above before those below.
    fn dirs<'n>(&'n self, entries: &'n [Entry]) -> impl Iterator<Item = &'n Name> {
        let made = self.wanted.entries(entries).filter(|(_, e)| e.kind == Kind::Dir && !e.path.0.is_empty());
        made.map(|(_, e)| &e.path).chain(self.wanted.copies.dirs.iter().map(|c| &c.path))
    }

    fn make_files(&self, contents: &Contents) -> Result<()> {
        for (index, entry) in self.wanted.entries(&contents.entries) {
            let Kind::File { size, extents, .. } = &entry.kind else { continue };
            let name = &self.wanted.name(&contents.entries, index).0;
            if entry.stored() == 0 {
                self.make_empty(name, entry, *size)?;
            } else if !within_one_segment(contents, entry) && !self.staging.has(name) {
                let file = self.staging.create_file(name)?;
                // Data fills all others; and not every file system can extend a file.
                if extents.is_some() {
                    self.staging.set_len(&file, name, *size)?;
                }
            }
        }
        Ok(())
    }

    fn make_empty(&self, name: &[u8], entry: &Entry, size: u64) -> Result<()> {
        compare_hash(entry, *blake3::hash(b"").as_bytes())?;
        let file = self.staging.create_file(name)?;
        if size > 0 {
            self.staging.set_len(&file, name, size)?;
        }
        self.staging.finish_file(&file, name, attributes(entry, &xattrs(entry)))
    }

    /// Links, copies and new names come last, and an import that was stopped there makes them again.
    fn undo_the_end(&self, contents: &Contents, undone: &[u64]) -> Result<()> {
        let entries = &contents.entries;
        let ending = Ending::new(contents, &self.wanted, undone);
        for (index, entry) in self.wanted.entries(entries) {
            let name = self.wanted.name(entries, index);
            match (&entry.kind, ending.of(name)) {
                (Kind::Dir, _) => {}
                (Kind::File { .. }, Some(Broken::Incomplete { written_as, .. })) => {
                    if self.staging.has(&written_as.0) && !self.staging.has(&name.0) {
                        self.staging.rename(&written_as.0, &name.0)?;
                    }
                }
                (Kind::File { .. }, _) if entry.stored() > 0 => {}
                (_, broken) => self.remove_end(name, broken)?,
            }
        }
        self.wanted.copies.files.iter().try_for_each(|copy| self.remove_end(&copy.path, ending.of(&copy.path)))
    }

    fn remove_end(&self, name: &Name, broken: Option<&Broken>) -> Result<()> {
        self.staging.remove(&name.0)?;
        match broken {
            Some(Broken::Incomplete { written_as, .. }) => self.staging.remove(&written_as.0),
            _ => Ok(()),
        }
    }

    /// Makes room for segments that are placed (again): a file that lies in one of them is made anew. Other files of which
    /// they hold bytes cannot be hashed in passing any more.
    pub fn unplace(&self, contents: &Contents, segments: &[u64]) -> Result<()> {
        let entries = &contents.entries;
        for index in self.files_in(contents, segments) {
            if within_one_segment(contents, &entries[index]) {
                self.staging.remove(&self.wanted.name(entries, index).0)?;
            } else {
                self.hashes.give_up(index);
            }
            let mut state = lock(&self.state);
            state.proven.remove(index as u64);
            state.finished.remove(index as u64);
        }
        Ok(())
    }

    fn files_in(&self, contents: &Contents, segments: &[u64]) -> Vec<usize> {
        let held = crate::restore::salvage::missing(contents, segments);
        held.into_keys().filter(|i| self.wanted.fate[*i] != Fate::Skip).collect()
    }

    /// The segments that hold data of these files.
    pub fn segments_of(&self, contents: &Contents, files: &[usize]) -> Vec<u64> {
        let mut segments: Vec<u64> = files.iter().flat_map(|i| segments_of(contents, &contents.entries[*i])).collect();
        segments.sort_unstable();
        segments.dedup();
        segments
    }

    /// Compares segment `n` with what it must be, and places what is wanted of it.
    pub fn place(&self, contents: &Contents, n: u64, plain: &[u8]) -> Result<()> {
        let start = n * u64::from(contents.segment_bytes);
        let end = (start + u64::from(contents.segment_bytes)).min(contents.tar_bytes);
        if plain.len() as u64 != end - start {
            return Err(differs(start, "its length is wrong"));
        }
        let mut at = 0;
        for piece in tar::pieces(&contents.entries, start, end) {
            match piece {
                Piece::Header { entry, range } => {
                    let len = range.len();
                    let headers = tar::headers(&contents.entries[entry]);
                    if headers[range] != plain[at..at + len] {
                        return Err(differs(start + at as u64, &contents.entries[entry].path.printable()));
                    }
                    at += len;
                }
                Piece::Zeros(len) => {
                    // All of them, without leaving early: that is what a processor does many at a time.
                    if plain[at..at + len].iter().fold(0, |all, b| all | b) != 0 {
                        return Err(differs(start + at as u64, "padding is not zero"));
                    }
                    at += len;
                }
                Piece::Data { entry, offset, len } => {
                    self.place_data(contents, entry, offset, &plain[at..at + len])?;
                    at += len;
                }
            }
        }
        Ok(())
    }

    fn place_data(&self, contents: &Contents, index: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        if self.wanted.fate[index] == Fate::Skip {
            return Ok(());
        }
        let entry = &contents.entries[index];
        let whole = bytes.len() as u64 == entry.stored();
        if let Some(hash) = self.hashes.add(index, entry.stored(), offset, bytes) {
            compare_hash(entry, hash)?;
            // Where a process serves the file system, what was written is believed only when it has been read again.
            if !self.staging.is_served() {
                lock(&self.state).proven.insert(index as u64);
            }
        }
        let name = self.wanted.name(&contents.entries, index);
        let file = if whole { self.staging.create_file(&name.0)? } else { self.staging.open_file(&name.0)? };
        let mut at = 0;
        for (to, len) in tar::file_ranges(entry, offset, bytes.len()) {
            self.staging.write_at(&file, &name.0, &bytes[at..at + len], to)?;
            at += len;
        }
        if !whole {
            return Ok(());
        }
        if let Kind::File { size, extents: Some(_), .. } = entry.kind {
            self.staging.set_len(&file, &name.0, size)?;
        }
        self.staging.finish_file(&file, &name.0, attributes(entry, &xattrs(entry)))?;
        lock(&self.state).finished.insert(index as u64);
        Ok(())
    }

    /// Files with data that should be whole, and of which nobody knows yet whether they have their hash.
    pub fn unproven(&self, contents: &Contents, ending: &Ending) -> Vec<usize> {
        let state = lock(&self.state);
        let whole = |i: usize| ending.of(self.wanted.name(&contents.entries, i)).is_none();
        let files = self.wanted.entries(&contents.entries).filter(|(_, e)| e.stored() > 0).map(|(i, _)| i);
        files.filter(|i| whole(*i) && !state.proven.contains(*i as u64)).collect()
    }

    /// These files have their hash. They were opened to find that out, which may have cost them their mode.
    pub fn prove(&self, files: impl Iterator<Item = usize>) {
        let mut state = lock(&self.state);
        for index in files {
            state.proven.insert(index as u64);
            state.finished.remove(index as u64);
        }
    }

    /// Copies, links, new names, and the metadata of everything that could not have it before; nothing may be missing but
    /// what the ending says.
    pub fn finish(&self, contents: &Contents, ending: &Ending, moved: &dyn Fn(u64)) -> Result<Placed> {
        if !self.unproven(contents, ending).is_empty() {
            return Err(Error::Internal("not every file was placed".into()));
        }
        let entries = &contents.entries;
        for copy in &self.wanted.copies.files {
            self.copy(entries, copy, ending, moved)?;
        }
        for (index, entry) in self.wanted.entries(entries) {
            let name = self.wanted.name(entries, index);
            match (&entry.kind, &self.wanted.fate[index]) {
                (Kind::File { .. }, _) => self.finish_file(index, entry, name, ending)?,
                (Kind::Symlink { target }, _) => self.staging.symlink(&name.0, &target.0, entry.mtime)?,
                (Kind::Hardlink { .. }, Fate::LinkTo(target)) => {
                    if let (Some(name), Some(target)) = (ending.name(name), ending.name(target)) {
                        self.staging.hardlink(&name.0, &target.0)?;
                    }
                }
                _ => {}
            }
        }
        self.finish_dirs(entries)?;
        Ok(self.wanted.whole(contents, ending))
    }

    /// Gives a file its metadata, and its name if bytes of it are missing.
    fn finish_file(&self, index: usize, entry: &Entry, name: &Name, ending: &Ending) -> Result<()> {
        let broken = ending.of(name);
        if entry.stored() == 0 || broken.is_none() && lock(&self.state).finished.contains(index as u64) {
            return Ok(());
        }
        if broken == Some(&Broken::Lost) {
            return self.staging.remove(&name.0);
        }
        let file = self.staging.reopen(&name.0)?;
        if let (Some(_), Kind::File { size, .. }) = (broken, &entry.kind) {
            self.staging.set_len(&file, &name.0, *size)?;
        }
        self.staging.finish_file(&file, &name.0, attributes(entry, &xattrs(entry)))?;
        match broken {
            Some(Broken::Incomplete { written_as, .. }) => self.staging.rename(&name.0, &written_as.0),
            _ => Ok(()),
        }
    }

    fn finish_dirs(&self, entries: &[Entry]) -> Result<()> {
        if !self.wanted.entries(entries).any(|(_, e)| e.path.0.is_empty()) {
            self.staging.open_to_all()?;
        }
        let made = self.wanted.entries(entries).map(|(_, e)| (&e.path, e)).filter(|(_, e)| e.kind == Kind::Dir);
        let copies = self.wanted.copies.dirs.iter().map(|c| (&c.path, &entries[c.of]));
        let dirs: Vec<(&Name, &Entry)> = made.chain(copies).collect();
        for (path, entry) in dirs.iter().rev() {
            self.staging.finish_dir(&path.0, attributes(entry, &xattrs(entry)))?;
        }
        Ok(())
    }

    /// Makes a copy of a file that has been placed.
    fn copy(&self, entries: &[Entry], copy: &Copy, ending: &Ending, moved: &dyn Fn(u64)) -> Result<()> {
        let entry = &entries[copy.of];
        let (from, Some(to)) = (self.wanted.name(entries, copy.of), ending.name(&copy.path)) else {
            return Ok(());
        };
        let Kind::File { size, extents, .. } = &entry.kind else {
            return Err(Error::Internal("a copy of what is no file".into()));
        };
        let source = self.staging.open_to_read(&from.0)?;
        lock(&self.state).finished.remove(copy.of as u64);
        let file = self.staging.create_file(&to.0)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = Buffer::new(1 << 20);
        for at in (0..entry.stored()).step_by(buffer.len()) {
            let len = (entry.stored() - at).min(buffer.len() as u64) as usize;
            let mut done = 0;
            for (offset, len) in tar::file_ranges(entry, at, len) {
                let bytes = &mut buffer[done..done + len];
                let read = self.staging.read_at(&source, &from.0, bytes, offset)?;
                // What is missing at the end of an incomplete file reads as zeros, like any hole of it.
                bytes[read..].fill(0);
                self.staging.write_at(&file, &to.0, bytes, offset)?;
                done += len;
            }
            hasher.update(&buffer[..len]);
            moved(len as u64);
        }
        if extents.is_some() || ending.of(&copy.path).is_some() {
            self.staging.set_len(&file, &to.0, *size)?;
        }
        self.staging.finish_file(&file, &to.0, attributes(entry, &xattrs(entry)))?;
        match ending.of(&copy.path) {
            Some(_) => Ok(()),
            None => compare_hash(entry, *hasher.finalize().as_bytes()),
        }
    }
}

fn compare_hash(entry: &Entry, hash: [u8; 32]) -> Result<()> {
    match &entry.kind {
        Kind::File { blake3, .. } if *blake3 == Some(hash) => Ok(()),
        _ => Err(Error::refused(
            format!("{} does not have the hash that the inventory says", entry.path.printable()),
            "the sender signed a broken set: ask for a new export",
        )),
    }
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
