//! The journal of an import: which segments have been placed, durably. It lies in the staging directory, so that an import
//! that was stopped can go on.
//!
//! Its first line says what is imported where. Each other line is a record with a check at its end: a line that was torn by
//! a power cut, and all after it, never happened.

use crate::error::{Error, Result};
use crate::format::hex;
use crate::format::inventory::{Entry, Name};
use crate::media::dir::Location;
use crate::media::record;
use crate::media::staging::Staging;
use crate::media::staging::claim::{Claim, Earlier, in_the_way};
use crate::set::{Bits, fixed};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::ops::Range;

const VERSION: &str = "ckvault-import-2";

/// What is imported, how and where: what must be the same to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    journal: String,
    set: String,
    format: String,
    entries: String,
    only: Vec<String>,
    links: String,
    target: Name,
}

/// What to do with what an earlier import has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leftovers {
    /// Refuse to begin, unless there is nothing worth keeping.
    #[default]
    Refuse,
    /// Go on with it.
    Resume,
    /// Remove it.
    Discard,
}

impl Header {
    /// For a set, its entries, the patterns of what is wanted, how links are placed, and the target.
    pub fn new(set: (&str, &str), entries: &[Entry], only: &[String], links: &str, target: &Name) -> Header {
        let (set, format) = set;
        Header {
            journal: VERSION.into(),
            set: set.into(),
            format: format.into(),
            entries: hex(blake3_of(entries).as_bytes()),
            only: only.to_vec(),
            links: links.into(),
            target: target.clone(),
        }
    }

    /// The first line of the journal.
    pub fn line(&self) -> Result<Vec<u8>> {
        let text = serde_json::to_string(self).map_err(|e| Error::Internal(e.to_string()))?;
        Ok(record::line(&text).into_bytes())
    }

    /// Whether another import is of the same set to the same target.
    fn is_of(&self, other: &Header) -> bool {
        (&self.set, &self.target) == (&other.set, &other.target)
    }

    /// In which way another import is not the same.
    fn differs(&self, other: &Header) -> Option<&'static str> {
        if (&self.journal, &self.format) != (&other.journal, &other.format) {
            return Some("by another version of ckvault");
        }
        if (&self.set, &self.entries) != (&other.set, &other.entries) {
            return Some("with another set");
        }
        if self.only != other.only {
            return Some("with other patterns (--only)");
        }
        if self.links != other.links {
            return Some("with another choice of --links");
        }
        (self.target != other.target).then_some("to a target of another name")
    }
}

/// What all parts of a set say alike of its entries: the hashes of files may become known later.
fn blake3_of(entries: &[Entry]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = Vec::new();
    for entry in entries {
        buffer.clear();
        fixed(entry, &mut buffer);
        hasher.update(&buffer);
    }
    hasher.finalize()
}

/// What a journal says.
#[derive(Debug, Default)]
pub struct Said {
    /// Segments that have been placed.
    pub placed: Vec<Range<u64>>,
    /// Everything was placed and proven, and was about to get its final name.
    pub concluded: bool,
    /// Where the next record goes.
    end: u64,
}

impl Said {
    /// Whether there is anything to go on with.
    pub fn is_nothing(&self) -> bool {
        self.placed.is_empty() && !self.concluded
    }
}

/// Looks at what earlier imports have left at a target, and does what was asked for with it. What is not certain to be of an
/// import of this set to this target is not touched.
pub fn take_up(claim: &mut Claim, header: &Header, leftovers: Leftovers) -> Result<Said> {
    let mut left: Vec<(Header, Said)> = Vec::new();
    let first_line = header.line()?;
    let mut empty = Vec::new();
    for earlier in claim.earlier() {
        match judge(earlier, header, &first_line)? {
            Some((begun, said)) if !said.is_nothing() && leftovers != Leftovers::Discard => left.push((begun, said)),
            _ => empty.push(earlier.path().to_owned()),
        }
    }
    if leftovers == Leftovers::Resume && left.is_empty() {
        nothing_to_resume(claim)?;
    }
    // One in which nothing was recorded is as good as none.
    claim.clear(|earlier| empty.iter().any(|path| path == earlier.path()))?;
    let place = claim.earlier().first().map(|e| e.path().display().to_string()).unwrap_or_default();
    match (left.pop(), leftovers) {
        (None, _) => Ok(Said::default()),
        (Some(_), _) if !left.is_empty() => Err(Error::refused(
            format!("several unfinished imports are there ({place} is one)"),
            "remove them all and begin anew with --discard",
        )),
        (Some((begun, said)), Leftovers::Resume) if begun == *header => Ok(said),
        (Some((begun, _)), Leftovers::Resume) => {
            let how = header.differs(&begun).unwrap_or("differently");
            Err(Error::refused(
                format!("the unfinished import that is there ({place}) was begun {how}"),
                "repeat the command with which it was begun and add --resume, or begin anew with --discard",
            ))
        }
        _ => Err(Error::refused(
            format!("an unfinished import is there ({place})"),
            "go on with --resume, or remove it and begin anew with --discard",
        )),
    }
}

/// What the journal of an earlier import says; `None` if it had only just begun. An error if it is not one of this set to this
/// target, or cannot be read: then nobody knows what is in there.
fn judge(earlier: &Earlier, header: &Header, first_line: &[u8]) -> Result<Option<(Header, Said)>> {
    let bytes = earlier.journal()?;
    match read(&bytes) {
        Some((Some(begun), said)) if begun.is_of(header) => Ok(Some((begun, said))),
        // The first line was being written.
        Some((None, _)) if earlier.is_bare() && first_line.starts_with(&bytes) => Ok(None),
        Some((Some(_), _)) => Err(in_the_way(earlier.path(), "its journal is that of another import")),
        Some((None, _)) => Err(in_the_way(earlier.path(), "it has no journal")),
        None => Err(in_the_way(earlier.path(), "its journal is damaged")),
    }
}

/// What to say where there is nothing to go on with; fine if an import was begun that recorded nothing.
fn nothing_to_resume(claim: &Claim) -> Result<()> {
    if let Some(other) = claim.others().first() {
        return Err(Error::refused(
            format!("the unfinished import to {} is one of another set ({other}…)", claim.target().display()),
            "bring the drives of that set, or import without --resume",
        ));
    }
    match claim.earlier().is_empty() {
        false => Ok(()),
        true => Err(Error::usage(
            format!("there is no unfinished import of this set to {}", claim.target().display()),
            "check --to, or import without --resume",
        )),
    }
}

/// Reads a journal; `None` if it has a first line that is not whole.
fn read(bytes: &[u8]) -> Option<(Option<Header>, Said)> {
    let mut lines = bytes.split_inclusive(|b| *b == b'\n');
    let Some(first) = lines.next().filter(|l| l.ends_with(b"\n")) else { return Some((None, Said::default())) };
    let header: Header = record::text(first).and_then(|text| serde_json::from_str(text).ok())?;
    let mut said = Said { end: first.len() as u64, ..Said::default() };
    for line in lines {
        let Some((what, which)) = record::text(line).and_then(|text| text.split_once(' ')) else { break };
        let Some(ranges) = parse(which) else { break };
        match what {
            "placed" => said.placed.extend(ranges),
            "again" => ranges.iter().for_each(|r| take_out(&mut said.placed, r)),
            "concluded" => said.concluded = true,
            _ => break,
        }
        said.end += line.len() as u64;
    }
    Some((Some(header), said))
}

/// `0-3,7`; `-` for none.
fn parse(text: &str) -> Option<Vec<Range<u64>>> {
    if text == "-" {
        return Some(Vec::new());
    }
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last && last < u64::MAX).then(|| first..last + 1)
    };
    text.split(',').map(range).collect()
}

fn take_out(placed: &mut Vec<Range<u64>>, out: &Range<u64>) {
    let rest = placed.drain(..).flat_map(|r| {
        let (before, after) = (r.start..r.end.min(out.start), r.start.max(out.end)..r.end);
        [before, after].into_iter().filter(|part| part.start < part.end)
    });
    *placed = rest.collect();
}

/// Sorted numbers as people write them: `0-3,7`.
pub fn ranges(numbers: &[u64]) -> String {
    let mut text = String::new();
    let mut rest = numbers;
    while let Some(first) = rest.first() {
        let len = rest.iter().enumerate().take_while(|(i, n)| **n == first + *i as u64).count();
        let comma = if text.is_empty() { "" } else { "," };
        match len {
            1 => text.push_str(&format!("{comma}{first}")),
            _ => text.push_str(&format!("{comma}{first}-{}", rest[len - 1])),
        }
        rest = &rest[len..];
    }
    if text.is_empty() { "-".into() } else { text }
}

/// The journal of an import that is running.
pub struct Journal {
    at: Location,
    file: File,
    end: u64,
}

impl Journal {
    /// Goes on with the one that said something, or that has its first line only.
    pub fn begin(staging: &Staging, header: &Header, said: &Said) -> Result<Journal> {
        let at = staging.journal();
        let file = at.dir.open_to_write(&at.name).map_err(Error::io("open", at.path()))?;
        let end = if said.end == 0 { header.line()?.len() as u64 } else { said.end };
        let journal = Journal { at, file, end };
        journal.cut()?;
        Ok(journal)
    }

    /// What was torn must not stand before what comes now.
    fn cut(&self) -> Result<()> {
        let (disk, path) = (self.at.dir.disk(), self.at.path());
        disk.resize(&self.file, &path, self.end).map_err(Error::io("shorten", &path))
    }

    fn append(&mut self, text: &str) -> Result<()> {
        let (line, disk, path) = (record::line(text), self.at.dir.disk(), self.at.path());
        disk.write_all_at(&self.file, line.as_bytes(), self.end).map_err(Error::io("write", path))?;
        self.end += line.len() as u64;
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let path = self.at.path();
        self.at.dir.disk().sync(&self.file, &path).map_err(Error::io("sync", &path))
    }

    /// These segments are durable. If the record is lost, they are placed again: who has been told to stop does not wait for it.
    pub fn placed(&mut self, segments: &[u64]) -> Result<()> {
        self.append(&format!("placed {}", ranges(segments)))?;
        if self.at.dir.disk().is_stopped() { Ok(()) } else { self.sync() }
    }

    /// These segments have to be placed again.
    pub fn again(&mut self, segments: &[u64]) -> Result<()> {
        self.append(&format!("again {}", ranges(segments)))?;
        self.sync()
    }

    /// Everything is durable and proven.
    pub fn concluded(&mut self) -> Result<()> {
        self.append("concluded -")?;
        self.sync()
    }
}

/// The segments that a journal says have been placed, of `segments` in all.
pub fn bits(said: &Said, segments: u64) -> Bits {
    let mut bits = Bits::new(segments, false);
    said.placed.iter().flat_map(|r| r.start..r.end.min(segments)).for_each(|s| bits.insert(s));
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header::new(("00", "draft"), &[], &["*.json".into()], "refuse", &Name::new(b"/there \xff"))
    }

    fn sample() -> Vec<u8> {
        let lines = [
            serde_json::to_string(&header()).unwrap(),
            "placed 0-3,7".into(),
            "placed 5".into(),
            "again 2-3,7".into(),
            "placed 9-10".into(),
        ];
        lines.iter().flat_map(|l| record::line(l).into_bytes()).collect()
    }

    fn placed(said: &Said) -> Vec<u64> {
        bits(said, 100).iter().collect()
    }

    #[test]
    fn a_journal_says_what_was_written_to_it() {
        let (read, said) = read(&sample()).unwrap();
        assert_eq!((read, placed(&said), said.concluded), (Some(header()), vec![0, 1, 5, 9, 10], false));
        let mut whole = sample();
        whole.extend(record::line("concluded -").bytes());
        assert!(super::read(&whole).unwrap().1.concluded);
    }

    #[test]
    fn a_torn_record_never_happened() {
        let whole = sample();
        let before = whole.len() - record::line("placed 9-10").len();
        for end in before..whole.len() {
            let said = read(&whole[..end]).unwrap().1;
            assert_eq!((placed(&said), said.end), (vec![0, 1, 5], before as u64), "{end}");
        }
        let mut flipped = whole.clone();
        flipped[before + 8] ^= 1;
        assert_eq!(placed(&read(&flipped).unwrap().1), [0, 1, 5]);
    }

    #[test]
    fn a_torn_first_line_is_nothing_and_a_damaged_one_is_told() {
        let whole = sample();
        assert!(read(&whole[..20]).is_some_and(|(header, said)| header.is_none() && said.is_nothing()));
        let mut flipped = whole.clone();
        flipped[10] ^= 1;
        assert!(read(&flipped).is_none());
    }

    proptest! {
        #[test]
        fn ranges_round_trip(numbers in prop::collection::btree_set(0u64..200, 0..60)) {
            let numbers: Vec<u64> = numbers.into_iter().collect();
            let parsed = parse(&ranges(&numbers)).unwrap();
            prop_assert_eq!(parsed.into_iter().flatten().collect::<Vec<_>>(), numbers);
        }
    }
}
