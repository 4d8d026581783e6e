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
    /// Whether a key slot here was written anew, be there one as it was signed or not; or in another part, if that was shared.
    pub fn has_rewritten_slot(&self) -> bool {
        *self.rewritten.get_or_init(|| self.finds_rewritten_slot())
    }

    /// The same of this part alone, as it is now.
    pub fn finds_rewritten_slot(&self) -> bool {
        self.places(names::KEYS).iter().any(|at| self.holds_rewritten_slot(at))
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
        "a key slot here that was written anew does not hold the key of the set, and none that was signed with it opens with this identity",
        "bring another drive of the set, or ask the sender for a new export",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::manifest::Listed;
    use crate::format::manifest::tests::sample;
    use crate::progress::{Nobody, Silent};
    use crate::set::part::tests::{Exporter, drive, file};
    use crate::stages::seal::recipients::Recipients;

    /// A key slot with the key of a set, for one who can open it.
    fn slot(key: &SetIdentity, me: &SetIdentity) -> Vec<u8> {
        let to = Recipients::parse_all(&[me.recipient().text().to_string()], &[], Nobody, &Silent::default()).unwrap();
        key.slot(&to).unwrap()
    }

    /// A set with that key, of whose signed slot no copy is here, but these files are.
    fn set(key: &SetIdentity, files: &[(&str, &[u8])]) -> (tempfile::TempDir, Set) {
        let (temp, dir) = drive();
        for (place, bytes) in files {
            let path = temp.path().join(place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let mut manifest = sample(1, 1, 1);
        manifest.recipient_blake3 = key.recipient().blake3();
        manifest.files.insert(names::KEYS.to_owned(), Listed::of(b"the signed one"));
        (temp, Set { parts: vec![Exporter::named("alice").part(&manifest, vec![dir])], links: Vec::new() })
    }

    /// What comes of it with my identity.
    fn opened(key: &SetIdentity, me: &SetIdentity, files: &[(&str, &[u8])]) -> Result<Option<SetIdentity>> {
        let (identity, (_temp, set)) = (file(me.file().as_bytes()), set(key, files));
        let identities = Identities::read(&[identity.path().to_owned()], Nobody, &Silent::default())?;
        open_rewritten(&set, &identities, &Silent::default())
    }

    const SIGNATURES: [(&str, &[u8]); 3] =
        [("keys.age.sig", b""), ("copy/keys.age.sig", b""), ("third/keys.age.sig", b"")];

    #[test]
    fn a_slot_that_was_written_anew_opens_for_whom_it_was_written() {
        let (key, other, me, you) =
            (SetIdentity::generate(), SetIdentity::generate(), SetIdentity::generate(), SetIdentity::generate());
        let (mine, yours, anothers) = (slot(&key, &me), slot(&key, &you), slot(&other, &me));
        let tries = |slots: &[&[u8]]| {
            let places = ["keys.age", "copy/keys.age", "third/keys.age"];
            let files: Vec<(&str, &[u8])> = places.into_iter().zip(slots.iter().copied()).chain(SIGNATURES).collect();
            opened(&key, &me, &files)
        };
        let opens = |slots: &[&[u8]]| {
            let held = tries(slots).unwrap().unwrap();
            assert_eq!(held.recipient().blake3(), key.recipient().blake3());
        };
        opens(&[&mine]);
        // Whoever put others beside it hides nothing.
        opens(&[&yours, &anothers, &mine]);
        opens(&[b"no slot", &mine]);
        assert!(tries(&[]).unwrap().is_none() && tries(&[b"no slot"]).unwrap().is_none());
        assert!(opened(&key, &me, &[("keys.age", &mine)]).unwrap().is_none(), "nothing says that it was written anew");
        assert!(matches!(tries(&[&yours]), Err(Error::Identity { .. })));
        // Who opens one with another key has been told more than who opens none, in whichever order.
        for both in [[&anothers[..], &yours], [&yours, &anothers]] {
            assert!(matches!(tries(&both), Err(Error::Untrusted { .. })));
        }
    }

    /// Nobody bounds how many there are: eight different ones are tried, each once.
    #[test]
    fn no_more_than_some_slots_are_tried_and_each_once() {
        let (key, me, you) = (SetIdentity::generate(), SetIdentity::generate(), SetIdentity::generate());
        let identity = file(me.file().as_bytes());
        let identities = Identities::read(&[identity.path().to_owned()], Nobody, &Silent::default()).unwrap();
        let mine = slot(&key, &me);
        let opens = |different: usize, times: usize| {
            let yours: Vec<Vec<u8>> = (0..different).map(|_| slot(&key, &you)).collect();
            let before = yours.iter().flat_map(|slot| std::iter::repeat_n(slot, times));
            let drives: Vec<_> = before
                .chain([&mine])
                .map(|slot| {
                    let (temp, dir) = drive();
                    std::fs::write(temp.path().join(names::KEYS), slot).unwrap();
                    std::fs::write(temp.path().join(names::KEYS_SIGNATURE), "").unwrap();
                    (temp, dir)
                })
                .collect();
            let (_temp, mut set) = set(&key, &[]);
            set.parts[0].dirs = drives.iter().map(|(_, dir)| dir.clone()).collect();
            open_rewritten(&set, &identities, &Silent::default()).is_ok_and(|opened| opened.is_some())
        };
        assert!(opens(7, 1) && !opens(8, 1));
        assert!(opens(7, 2), "the same slot on two drives counts once");
    }

    /// Rule 81: it is no longer than a slot may be, and there.
    #[test]
    fn what_was_written_anew_is_a_key_slot() {
        let (key, me) = (SetIdentity::generate(), SetIdentity::generate());
        let holds = |slot: Option<Vec<u8>>| {
            let (temp, set) = set(&key, &SIGNATURES[..1]);
            slot.into_iter().for_each(|slot| std::fs::write(temp.path().join(names::KEYS), slot).unwrap());
            set.parts[0].holds_rewritten_slot(&set.parts[0].places(names::KEYS)[0])
        };
        let long = |len: u64| {
            let mut slot = slot(&key, &me);
            slot.resize(len as usize, 0);
            holds(Some(slot))
        };
        assert!(long(1000) && long(LONGEST_SLOT) && !long(LONGEST_SLOT + 1));
        assert!(!holds(None) && !holds(Some(b"no age file".to_vec())));
    }
}
