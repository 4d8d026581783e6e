//! Says what kind of damage a volume has, where that can be told: swapped with another, cut short, or of another set.

use crate::format::hashes;
use crate::format::manifest::volume_name;
use crate::set::{At, Bits, Blocks, Part, Source, foreign, header_of, is_of_set};

/// Up to so many bad blocks of a volume are examined for having been swapped.
const MOST_EXAMINED: usize = 64;
/// What is wrong with a file that has the name of a volume, and these bad blocks.
pub fn diagnose(set: &Part, blocks: &Blocks, at: At, source: &Source, bad: &Bits) -> Option<String> {
    let expected = set.manifest.groups[at.group].volumes[at.index].bytes;
    if let Some(other) = foreign(blocks, at, source) {
        return Some(format!("belongs to {other}"));
    }
    if let Some(header) = header_of(set, source).filter(|h| is_of_set(set, h)) {
        let (group, index) = (header.group as usize, usize::from(header.index));
        if (group, index) != (at.group, at.index) && !blocks.compare(at, source).any(|fits| fits) {
            return Some(format!("holds the volume {}: swapped or copied", volume_name(group, index, header.k)));
        }
    }
    match source.file.metadata().map(|m| m.len()).unwrap_or(expected) {
        actual if actual < expected => Some(format!("truncated: {actual} of {expected} bytes")),
        actual if actual > expected => Some(format!("lengthened: {actual} instead of {expected} bytes")),
        _ => swapped(set, blocks, at, source, bad),
    }
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
            let value = hashes::subtree(other * blocks.block_size().bytes(), &block);
            if other != number && blocks.value(at, *other) == Some(value) {
                return Some(format!("block {number} holds block {other}: swapped"));
            }
        }
        let value = hashes::subtree(number * blocks.block_size().bytes(), &block);
        for index in (0..group.volumes.len()).filter(|i| *i != at.index) {
            if blocks.value(At { group: at.group, index }, *number) == Some(value) {
                let other = volume_name(at.group, index, group.k);
                return Some(format!("block {number} holds that of {other}: swapped"));
            }
        }
    }
    None
}
