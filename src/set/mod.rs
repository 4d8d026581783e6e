//! A set as it lies on its drives: found, trusted, opened, read block by block, mended in reading.
//!
//! In come the places where it may be, and the list of those whom the user trusts. Out come the parts that one of them has signed, what is in
//! them, and blocks of their volumes, each proven. Nothing unsigned is believed, and nothing is written to a drive.

mod block_set;
mod blocks;
mod contents;
mod entry_key;
mod failing_drives;
mod foreign;
mod homes;
mod mended;
mod metadata_copies;
mod opened;
mod pages;
mod pages_from_rows;
mod part;
mod paths;
mod patterns;
mod place;
mod program;
mod proven_pages;
mod readback;
mod reading;
mod revoked;
mod rewritten_slot;
mod rows;
mod trust;
mod trusted_manifest;

pub use place::Where;

/// For benchmarks and fuzzers.
#[doc(hidden)]
pub use paths::check as check_paths;

pub(crate) use block_set::Bits;
pub(crate) use blocks::{Blocks, Seen, bad_runs};
pub(crate) use contents::{Contents, agree, read_contents};
pub(crate) use entry_key::fixed;
pub(crate) use foreign::{foreign, header_of, is_of_set};
pub(crate) use homes::said_homes;
pub(crate) use metadata_copies::{Combined, confidentiality};
pub(crate) use opened::Set;
pub(crate) use part::{At, Part, name_drives};
pub(crate) use paths::{Ways, check_folded, check_folded_links, leaving};
pub(crate) use patterns::Patterns;
pub(crate) use program::{own_program, pass_on_program, program_to_travel};
pub(crate) use readback::{Expected, Origin, compare, compare_in_turn};
pub(crate) use reading::{Source, exhausted};
pub(crate) use rows::could_help;
pub(crate) use trust::Signer;
pub(crate) use trusted_manifest::being_written;

use crate::error::{Error, Result};
use crate::format::manifest::{self, Manifest};
use crate::format::{FormatError, names};
use crate::media::dir::Dir;
use crate::media::fence::Needs;
use crate::media::sets::Found;
use crate::progress::{Ask, Phase, Progress};
use crate::stages::refusal::{breaks, draft};
use crate::stages::seal::SetIdentity;
use crate::stages::seal::identities::Identities;
use crate::text::for_shell;
use contents::open_slot;
use opened::belong_together;
use std::path::PathBuf;
use trusted_manifest::{each_copy, same_signer, trusted_manifest};

/// Opens a set; [`Error::Untrusted`] if a part of it has no trusted pair, or the parts do not belong together.
pub(crate) fn open(place: &Where, progress: &dyn Progress) -> Result<Set> {
    progress.stage(Phase::Open);
    // The directories of one set, part by part.
    open_found(place, place.find()?, progress)
}

fn open_found(place: &Where, found: Found, progress: &dyn Progress) -> Result<Set> {
    // Whom the user trusts.
    let trust = place.trust(progress)?;
    let mut parts: Vec<Part> = Vec::new();
    for part in found.parts {
        // Signature before manifest, manifest before everything else.
        let signed = trusted_manifest(&part, &trust)?;
        // A directory that was renamed goes with the part that it is of.
        if let Some(known) = parts.iter_mut().find(|p| p.bytes == signed.bytes) {
            same_signer(&part.name, &known.signer, &signed.signer)?;
            known.dirs.extend(part.dirs);
            continue;
        }
        let manifest = Manifest::parse(&signed.bytes).map_err(unreadable(names::MANIFEST, &part.dirs))?;
        confirm(&manifest, place.set.as_deref())?;
        parts.push(Part::new(&place.disk, manifest, signed, part.dirs, &trust));
    }
    // Together they must be one set.
    parts.sort_by_key(|p| p.manifest.part);
    parts.windows(2).try_for_each(|pair| belong_together(&pair[0], &pair[1]))?;
    Ok(Set { parts, links: found.links })
}

/// What is wrong with the manifest of these directories. Of a draft it is said where the script lies that reads it.
fn unreadable(manifest: impl std::fmt::Display, dirs: &[Dir]) -> impl FnOnce(FormatError) -> Error {
    move |why| {
        let mut scripts = dirs.iter().flat_map(|dir| names::copies(names::RECOVER_PY).map(|name| dir.at(name)));
        match (&why, scripts.find(|at| at.dir.has_file(&at.name))) {
            (FormatError::Draft(_), Some(at)) => draft(format!("{manifest}: {why}"), for_shell(&at.path())),
            _ => breaks(manifest)(why),
        }
    }
}

/// A set was chosen by the names of directories, which nobody signed.
fn confirm(manifest: &Manifest, wanted: Option<&str>) -> Result<()> {
    match wanted {
        Some(wanted) if !manifest.set.starts_with(wanted) && manifest.label.as_deref() != Some(wanted) => {
            Err(Error::drive(
                format!("the directory is named like {wanted:?}, but holds the set {}", manifest.set),
                "the directory was renamed: choose with --set and the id",
            ))
        }
        _ => Ok(()),
    }
}

/// Finds and trusts a set and opens its key slot with the identities in `files`. From then on nothing is needed but `needs`;
/// and before that too, unless the slot may take a person or a program.
pub(crate) fn unlock(
    place: &Where,
    files: &[PathBuf],
    ask: impl Ask + 'static,
    needs: &Needs,
    progress: &dyn Progress,
) -> Result<(Set, SetIdentity)> {
    let identities = Identities::read(files, ask, progress);
    let later = identities.as_ref().is_ok_and(Identities::need_help);
    if !later {
        place.disk.confine(needs);
    }
    let set = open(place, progress)?;
    // Before anybody is asked for a passphrase: what nobody here can undo is not opened either.
    set.parts.iter().try_for_each(|part| part.manifest.filter().map(drop)).map_err(breaks(names::MANIFEST))?;
    progress.stage(Phase::Unlock);
    let identity = open_slot(&set, &identities?, progress)?;
    if later {
        place.disk.confine(needs);
    }
    Ok((set, identity))
}

/// What anyone can see of a part, trusted or not.
pub(crate) struct SeenPart<T> {
    /// The number of the part.
    pub part: u32,
    /// What was made of the manifest.
    pub said: T,
    /// Who signed it, if the signature holds and the signer is trusted; else why not.
    pub signer: Result<Signer, String>,
    /// The directories that are here.
    pub dirs: Vec<Dir>,
}

/// Bytes of manifests of which something is kept although nobody vouches for them: nobody bounds how many there are.
const MOST_UNVERIFIED: u64 = 64 << 20;

/// Looks at a set without asking that anybody be trusted: its parts that are here, in order, at least one. Of each manifest only
/// what `see` makes of it, with the directories that hold it, is kept.
pub(crate) fn peek<T>(
    place: &Where,
    see: impl Fn(&Manifest, &[Dir]) -> T,
    progress: &dyn Progress,
) -> Result<Vec<SeenPart<T>>> {
    // What is asked and cannot be answered is no reason to show a set without an answer.
    progress.stage(Phase::Open);
    place.conditions(progress)?;
    let of = |manifest: &Manifest, signer, dirs: Vec<Dir>| SeenPart {
        part: manifest.part,
        said: see(manifest, &dirs),
        signer,
        dirs,
    };
    let found = place.find()?;
    let refused = match open_found(place, found.clone(), progress) {
        Ok(set) => return Ok(set.parts.into_iter().map(|p| of(&p.manifest, Ok(p.signer), p.dirs)).collect()),
        Err(refused @ (Error::Untrusted { .. } | Error::Io { .. })) => refused,
        // A list that may not be believed; but who was asked for must be found out.
        Err(refused @ Error::Usage { .. }) if place.signer.is_none() => refused,
        Err(other) => return Err(other),
    };
    let (mut all, mut kept, mut other) = (Vec::new(), 0, None);
    for part in found.parts {
        let mut seen = None;
        let mut look = |bytes: Vec<u8>| {
            if seen.is_none() {
                match Manifest::parse(&bytes) {
                    Ok(manifest) => seen = Some(of(&manifest, Err(refused.to_string()), part.dirs.clone())),
                    Err(why @ (FormatError::Newer { .. } | FormatError::Version(_) | FormatError::Draft(_))) => {
                        other = Some(unreadable(format!("{} (NOT VERIFIED)", names::MANIFEST), &part.dirs)(why));
                    }
                    Err(_) => {}
                }
                kept += bytes.len() as u64;
            }
        };
        each_copy(&part.dirs, names::MANIFEST, manifest::LONGEST, &mut look)?;
        all.extend(seen);
        if kept > MOST_UNVERIFIED {
            return Err(Error::refused(
                "what is here says more of itself than can be shown, and nobody vouches for any of it",
                "give the directory of one part alone, or --signers FILE with the key of the sender",
            ));
        }
    }
    all.sort_by_key(|seen| seen.part);
    match (all.is_empty(), other) {
        (false, _) => Ok(all),
        (true, Some(why)) => Err(why),
        (true, None) => Err(Error::untrusted(
            "no manifest here can be read: the export was interrupted, or the drive is damaged",
            "bring another drive of the set",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::manifest::tests::sample;

    /// The directories are named by whoever copied them.
    #[test]
    fn a_set_that_was_chosen_must_be_the_one_that_was_signed() {
        let (manifest, nameless) = (sample(1, 1, 1), Manifest { label: None, ..sample(1, 1, 1) });
        for wanted in [None, Some("llama"), Some("0011"), Some(&manifest.set[..])] {
            assert!(confirm(&manifest, wanted).is_ok(), "{wanted:?}");
        }
        for wanted in ["llam", "llama2", "1122", "eeff", "ffff"] {
            let refused = confirm(&manifest, Some(wanted)).unwrap_err();
            assert!(matches!(refused, Error::Drive { .. }), "{refused}");
        }
        assert!(confirm(&nameless, Some("0011")).is_ok());
        assert!(confirm(&nameless, Some("llama")).is_err());
    }
}
