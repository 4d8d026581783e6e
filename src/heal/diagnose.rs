//! Damage named for what it is, where that can be told: swapped, cut short, of another set.

use crate::error::Error;
use crate::format::hashes::{self, BLOCK};
use crate::format::header::Header;
use crate::format::hex;
use crate::format::manifest::volume_name;
use crate::set::block_set::Bits;
use crate::set::blocks::Blocks;
use crate::set::part::At;
use crate::set::part::Part;
use crate::set::reading::Source;

/// Up to so many bad blocks of a volume are examined for having been swapped.
const MOST_EXAMINED: usize = 64;

/// What is wrong with a file that has the name of a volume, and these bad blocks.
pub fn diagnose(set: &Part, blocks: &Blocks, at: At, source: &Source, bad: &Bits) -> Option<String> {
    let expected = set.manifest.groups[at.group].volumes[at.index].bytes;
    if let Some(header) = header_of(set, source) {
        if let Some(other) = foreign(set, &header) {
            return Some(format!("belongs to {other}"));
        }
        if (header.group as usize, usize::from(header.index)) != (at.group, at.index) {
            let other = volume_name(header.group as usize, header.index.into(), header.k);
            return Some(format!("holds the volume {other}: swapped or copied"));
        }
    }
    match source.file.metadata().map(|m| m.len()).unwrap_or(expected) {
        actual if actual < expected => Some(format!("truncated: {actual} of {expected} bytes")),
        actual if actual > expected => Some(format!("lengthened: {actual} instead of {expected} bytes")),
        _ => swapped(set, blocks, at, source, bad),
    }
}

fn header_of(set: &Part, source: &Source) -> Option<Header> {
    let mut page = vec![0; BLOCK];
    let read = set.read_blocks(source, &mut page, 0, &|_| true) == [true];
    Header::parse(&page).ok().filter(|_| read)
}

/// Which other set or part a header page names, if it does.
fn foreign(set: &Part, header: &Header) -> Option<String> {
    if header.set != set.manifest.id() {
        return Some(format!("another set ({}…)", &hex(&header.set)[..8]));
    }
    (header.part != set.manifest.part).then(|| format!("part {} of the set", header.part))
}

/// Blocks that hold what belongs to another place, in this volume or at the same place of another one.
fn swapped(set: &Part, blocks: &Blocks, at: At, source: &Source, bad: &Bits) -> Option<String> {
    let numbers: Vec<u64> = bad.iter().take(MOST_EXAMINED + 1).collect();
    if numbers.len() > MOST_EXAMINED {
        return None;
    }
    let group = &set.manifest.groups[at.group];
    for number in &numbers {
        let (from, to) = blocks.bytes_of(at, &(*number..number + 1));
        let mut block = vec![0; (to - from) as usize];
        if set.read_blocks(source, &mut block, *number, &|_| true) != [true] {
            continue;
        }
        for other in &numbers {
            let value = hashes::subtree(other * BLOCK as u64, &block);
            if other != number && blocks.value(at, *other) == Some(value) {
                return Some(format!("block {number} holds block {other}: swapped"));
            }
        }
        let value = hashes::subtree(number * BLOCK as u64, &block);
        for index in (0..group.volumes.len()).filter(|i| *i != at.index) {
            if blocks.value(At { group: at.group, index }, *number) == Some(value) {
                let other = volume_name(at.group, index, group.k);
                return Some(format!("block {number} holds that of {other}: swapped"));
            }
        }
    }
    None
}

impl Part {
    /// What cannot be restored because volumes of another set lie under this manifest is not lost, and nothing that could be
    /// brought makes it whole: somebody has mixed two sets, or passes one off as the other.
    pub fn or_foreign(&self, error: Error) -> Error {
        match error {
            Error::Lost { .. } | Error::Drive { .. } => self.foreign_volumes().unwrap_or(error),
            other => other,
        }
    }

    /// The refusal of volumes that say that they are of another set, or of another part, if there are any here.
    pub fn foreign_volumes(&self) -> Option<Error> {
        let (name, other) = self.manifest.volumes().find_map(|(group, index, name, _)| {
            let mut sources = self.volume_files(group, index).into_iter().filter_map(|at| self.source(&at));
            let other = sources.find_map(|source| foreign(self, &header_of(self, &source)?))?;
            Some((name, other))
        })?;
        Some(Error::untrusted(
            format!("{name} belongs to {other}, not to the set that the signed manifest names ({})", self.manifest.set),
            "sets are mixed here, or one is passed off as another: bring the drives as they were exported, or ask the sender",
        ))
    }
}
