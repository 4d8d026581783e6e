//! What only the file system of the target can tell: whether it takes the names apart, takes links, and has the room.

use crate::error::{Error, Result};
use crate::format::inventory::{Entry, Kind, Name};
use crate::media::staging::Staging;
use crate::restore::selection::{Fate, Links, Wanted};
use crate::set::{Contents, check_folded, check_folded_links};
use crate::text::listing;

/// Refuses what the file system of the target does not take, before anything is placed.
pub fn check_target(
    contents: &Contents,
    wanted: &Wanted,
    undone: &[u64],
    staging: &Staging,
    links: Links,
) -> Result<()> {
    if staging.folds_case()? {
        let chosen: Vec<Entry> = contents
            .entries
            .iter()
            .zip(&wanted.fate)
            .filter(|(_, f)| **f != Fate::Skip)
            .map(|(e, _)| e.clone())
            .collect();
        check_folded(&chosen)?;
        if links == Links::Refuse {
            check_folded_links(&chosen)?;
        }
    }
    check_links(contents, wanted, staging)?;
    // Of an import that goes on, some are there already.
    let left = undone.len() as u64 * u64::from(contents.segment_bytes);
    let copies: u64 = wanted.copies.files.iter().map(|c| contents.entries[c.of].stored()).sum();
    staging.require_room(wanted.stored(contents).min(left) + copies)
}

/// Refuses links that the file system of the target does not take, before anything is placed.
fn check_links(contents: &Contents, wanted: &Wanted, staging: &Staging) -> Result<()> {
    let (mut symbolic, mut hard): (Vec<&Name>, Vec<&Name>) = (Vec::new(), Vec::new());
    for (_, entry) in wanted.entries(&contents.entries) {
        match entry.kind {
            Kind::Symlink { .. } => symbolic.push(&entry.path),
            Kind::Hardlink { .. } => hard.push(&entry.path),
            _ => {}
        }
    }
    let mut lacking: Vec<(&str, Vec<&Name>)> = Vec::new();
    if !symbolic.is_empty() && !staging.takes_symlinks() {
        lacking.push(("symbolic links", symbolic));
    }
    if !hard.is_empty() && !staging.takes_hard_links()? {
        lacking.push(("hard links", hard));
    }
    let what = lacking.iter().map(|(what, _)| *what).collect::<Vec<_>>().join(" and no ");
    let names: Vec<&[u8]> = lacking.iter().flat_map(|(_, names)| names).map(|name| &name.0[..]).collect();
    match lacking.is_empty() {
        true => Ok(()),
        false => Err(Error::refused(
            format!("the file system of the target takes no {what}:{}", listing(names.into_iter())),
            "place copies instead of links with --links copy, or import to another file system",
        )),
    }
}
