//! Rule 81: a key slot that was written anew for other recipients, as later versions do. This version cannot judge the signature
//! beside it; but whether it holds the key of the set, who has an identity sees.

use crate::error::{Error, Result};
use crate::format::manifest::LONGEST_SLOT;
use crate::format::names;
use crate::format::sealed::{Header, SLOT};
use crate::media::dir::Location;
use crate::progress::Progress;
use crate::set::opened::Set;
use crate::set::part::Part;
use crate::stages::seal::SetIdentity;
use crate::stages::seal::identities::Identities;
use std::collections::HashSet;

/// Different slots that are tried: nobody signed them, and nobody bounds how many there are.
const MOST_TRIED: usize = 8;
/// What a person is told who could open the set all the same.
const WRITTEN_ANEW: &str = "the key slot that was opened is not the one that was signed with the set: it was written anew, by keys.age.sig for other recipients; it holds the key of the set";

/// Which key slot opened a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The one that was signed with it.
    Signed,
    /// One that was written anew.
    WrittenAnew,
}

impl Part {
    /// Whether a key slot here was written anew, be there one as it was signed or not.
    pub fn has_rewritten_slot(&self) -> bool {
        *self.rewritten.get_or_init(|| self.places(names::KEYS).iter().any(|at| self.holds_rewritten_slot(at)))
    }

    /// Whether a copy of the key slot is not the signed one, is an age file, and has a signature beside it. Nobody can say of whom
    /// that is.
    pub fn holds_rewritten_slot(&self, at: &Location) -> bool {
        let signature = at.name.replace(names::KEYS, names::KEYS_SIGNATURE);
        let begins = |begin: &[u8]| Header::scan(begin, SLOT).is_ok();
        at.dir.has_file(signature)
            && self.beginning_of_slot(at).is_some_and(|(len, begin)| len <= LONGEST_SLOT && begins(&begin))
            && self.manifest.files.get(names::KEYS).is_some_and(|l| self.hash_of(at, l.bytes) != Some(l.blake3))
    }
}

/// Opens one of the key slots that were written anew; `None` if there is none.
pub fn open_rewritten(set: &Set, identities: &Identities, progress: &dyn Progress) -> Result<Option<SetIdentity>> {
    let (mut seen, mut refused) = (HashSet::new(), None);
    for (part, at) in set.parts.iter().flat_map(|p| p.places(names::KEYS).into_iter().map(move |at| (p, at))) {
        if seen.len() == MOST_TRIED || !part.holds_rewritten_slot(&at) {
            continue;
        }
        let Some(slot) = part.read_whole(&at, LONGEST_SLOT) else { continue };
        if !seen.insert(blake3::hash(&slot)) {
            continue;
        }
        match SetIdentity::from_slot(&slot, identities, &set.manifest().recipient_blake3) {
            Ok(identity) => {
                progress.warn(WRITTEN_ANEW);
                return Ok(Some(identity));
            }
            // Who opens one that holds something else has been told more than who opens none.
            Err(Error::Untrusted { .. } | Error::Format { .. } | Error::Newer { .. }) => {
                refused = Some(holds_another())
            }
            Err(Error::Identity { message, .. }) => drop(refused.get_or_insert(opens_for_others(&message))),
            Err(other) => return Err(other),
        }
    }
    refused.map_or(Ok(None), Err)
}

fn opens_for_others(message: &str) -> Error {
    Error::identity(
        format!("{message}; the key slot here was written anew, and is not the one that was signed with the set"),
        "give --identity FILE of somebody for whom it was written anew, or bring a drive that has the signed one",
    )
}

fn holds_another() -> Error {
    Error::untrusted(
        "the key slot here is not the one that was signed with the set, and does not hold the key of the set",
        "bring another drive of the set, or ask the sender for a new export",
    )
}
