//! Metadata files, of which every drive has several copies: any good copy will do; where no copy is good, one is put together from the
//! good pieces of several.

use crate::error::Error;
use crate::format::manifest::{Listed, Manifest};
use crate::format::sealed::{Confidentiality, Header, SLOT};
use crate::format::{FormatError, names};
use crate::media::dir::{Dir, Location};
use crate::set::part::{Answers, Part, name_drives};
use crate::set::reading::METADATA;
use crate::set::trusted_manifest::each_copy;
use crate::threads::lock;
use std::collections::HashSet;
use std::io::{self, Read};

/// Pieces, and files without pieces, that are longer than this are not combined.
const LONGEST_COMBINED: u64 = 64 << 20;
/// What is combined has so many bytes together, however many drives there are.
const MOST_HELD: u64 = 256 << 20;
/// Combinations of doubtful bytes that are tried for a piece, and the bytes that may be hashed for that, of all pieces of a file.
const MOST_COMBINATIONS: usize = 1 << 12;
const MOST_HASHED: u64 = 8 << 30;

/// A metadata file that is put together from the good pieces of its copies. Each is proven in memory before it is passed on.
pub struct Combined<'a> {
    part: &'a Part,
    name: String,
    listed: &'a Listed,
    /// The number of the piece after the one that is held, and what of that has been passed on.
    next: u64,
    held: Vec<u8>,
    at: usize,
    /// Bytes that may still be hashed for guesses.
    budget: u64,
}

impl Combined<'_> {
    /// The next piece; `None` after the last. An error if it is to be had from no copies any more.
    pub fn piece(&mut self) -> Option<io::Result<Vec<u8>>> {
        if self.next == self.listed.count() {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let lost = || io::Error::other(format!("no copy of {} has its piece {number} as signed", self.name));
        Some(self.part.piece(&self.name, self.listed, number, &mut self.budget).ok_or_else(lost))
    }

    /// All of it.
    fn all(mut self) -> Option<Vec<u8>> {
        let pieces: io::Result<Vec<Vec<u8>>> = std::iter::from_fn(|| self.piece()).collect();
        Some(pieces.ok()?.concat())
    }
}

impl Read for Combined<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.held.len() {
            (self.held, self.at) = (self.piece().transpose()?.unwrap_or_default(), 0);
        }
        let n = buffer.len().min(self.held.len() - self.at);
        buffer[..n].copy_from_slice(&self.held[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// Bytes that fit, where copies differ by what one of them says; and what they are where copies differ. What is hashed for that is
/// taken off the budget, and nothing is tried that may take more.
fn from_combinations(copies: &[Vec<u8>], budget: &mut u64, fits: impl Fn(&[u8]) -> bool) -> Option<(Vec<u8>, Answers)> {
    let mut bytes = copies.first()?.clone();
    let (mut doubtful, mut combinations) = (Vec::new(), 1usize);
    for at in (0..bytes.len()).filter(|at| copies.iter().any(|copy| copy[*at] != bytes[*at])) {
        let mut said: Vec<u8> = copies.iter().map(|copy| copy[at]).collect();
        said.sort_unstable();
        said.dedup();
        combinations = combinations.saturating_mul(said.len());
        if combinations > MOST_COMBINATIONS || combinations as u64 * bytes.len() as u64 > *budget {
            return None;
        }
        doubtful.push((at, said));
    }
    let found = (0..combinations).any(|mut number| {
        for (at, said) in &doubtful {
            bytes[*at] = said[number % said.len()];
            number /= said.len();
        }
        *budget = budget.saturating_sub(bytes.len() as u64);
        fits(&bytes)
    });
    found.then(|| {
        let answers = doubtful.iter().map(|(at, _)| (*at, bytes[*at])).collect();
        (bytes, answers)
    })
}

/// A copy that fits with what was found out of its doubtful bytes before.
fn with_answers(copies: &[Vec<u8>], known: &[(usize, u8)], fits: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    copies.iter().filter(|_| !known.is_empty()).find_map(|copy| {
        let mut mended = copy.clone();
        for (at, byte) in known {
            *mended.get_mut(*at)? = *byte;
        }
        fits(&mended).then_some(mended)
    })
}

/// What the key slot that a manifest lists shows of those who can open it, whether or not anybody vouches for the manifest.
pub fn confidentiality(manifest: &Manifest, dirs: &[Dir]) -> Confidentiality {
    let mut shown = Confidentiality::Unknown;
    let listed = &manifest.files[names::KEYS];
    // A drive that cannot be read shows nothing.
    let _ = each_copy(dirs, names::KEYS, listed.bytes, &mut |copy| {
        if blake3::hash(&copy) == listed.blake3 {
            shown = Confidentiality::of_slot(&copy);
        }
    });
    shown
}

impl Part {
    /// Where the copies of a metadata file belong, in the directories that are here.
    pub fn places(&self, name: &str) -> Vec<Location> {
        self.dirs.iter().flat_map(|dir| names::copies(name).map(|name| dir.at(name))).collect()
    }

    /// The copies of a listed metadata file that have the hash that the manifest says, one after the other.
    pub fn good_copies(&self, name: &str) -> impl Iterator<Item = Location> {
        let listed = self.manifest.files.get(name).cloned();
        let places = if listed.is_some() { self.places(name) } else { Vec::new() };
        places.into_iter().filter(move |p| listed.as_ref().is_some_and(|l| self.hash_of(p, l.bytes) == Some(l.blake3)))
    }

    /// A listed metadata file in memory: what is used is what was compared with the signed hash.
    pub fn proven(&self, name: &str) -> Option<Vec<u8>> {
        let listed = self.manifest.files.get(name)?;
        let mut copies = self.places(name).into_iter().filter_map(|at| self.read_whole(&at, listed.bytes));
        let whole = copies.find(|bytes| blake3::hash(bytes) == listed.blake3);
        whole.or_else(|| self.combined(name)?.all())
    }

    /// A listed metadata file of which no copy is whole, piece by piece, if each is to be had.
    pub fn combined(&self, name: &str) -> Option<Combined<'_>> {
        let listed = self.manifest.files.get(name)?;
        let mut budget = MOST_HASHED;
        let all = (0..listed.count()).all(|number| self.piece(name, listed, number, &mut budget).is_some());
        all.then(|| Combined { part: self, name: name.to_owned(), listed, next: 0, held: Vec::new(), at: 0, budget })
    }

    /// A piece of a listed file; all of a file that has none. Any copy that has it as signed will do. Where each is damaged by a few
    /// flips, all combinations of what they say are tried where they differ.
    fn piece(&self, name: &str, listed: &Listed, number: u64, budget: &mut u64) -> Option<Vec<u8>> {
        let range = listed.range(number);
        let len = range.end - range.start;
        if len > LONGEST_COMBINED {
            return None;
        }
        let slot = self.slot.get().filter(|slot| name == names::KEYS && blake3::hash(slot) == listed.blake3);
        if let Some(slot) = slot {
            return Some(slot.clone());
        }
        let (mut seen, mut copies) = (HashSet::new(), Vec::new());
        let read = |at: &Location| match listed.pieces.is_empty() {
            true => self.read_whole(at, len),
            false => self.read_range(at, range.start, len as usize),
        };
        for bytes in self.places(name).iter().filter_map(read).filter(|bytes| bytes.len() as u64 == len) {
            if listed.proves(number, &bytes) {
                return Some(bytes);
            }
            if seen.insert(blake3::hash(&bytes)) && (copies.len() as u64) < MOST_HELD / len.max(1) {
                copies.push(bytes);
            }
        }
        let proves = |bytes: &[u8]| listed.proves(number, bytes);
        let place = (name.to_owned(), number);
        let known = lock(&self.guessed).get(&place).cloned().unwrap_or_default();
        if let Some(found) = with_answers(&copies, &known, proves) {
            return Some(found);
        }
        let (bytes, answers) = from_combinations(&copies, budget, proves)?;
        lock(&self.guessed).insert(place, answers);
        Some(bytes)
    }

    /// What there is to say when a metadata file that nothing can replace cannot be had from any copy.
    pub fn without(&self, name: &str) -> Error {
        self.look_again();
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        let what = format!("every copy of {name} that is here is damaged or missing");
        let absent = self.absent_numbers();
        match absent.is_empty() {
            true => Error::lost(what, "ask the sender for a new export"),
            false => Error::drive(what, format!("bring {} of the set", name_drives(&absent))),
        }
    }

    /// Why what cannot be restored is not lost, but not to be trusted: volumes or a key slot of another set are here.
    pub fn refusal(&self) -> Option<Error> {
        self.foreign_volumes().or_else(|| self.foreign_slot())
    }

    fn foreign_slot(&self) -> Option<Error> {
        if self.proven(names::KEYS).is_some() || self.has_rewritten_slot() {
            return None;
        }
        self.places(names::KEYS).iter().any(|at| self.begins_as_slot(at)).then(|| {
            Error::untrusted(
                "no keys.age here is the one that the signed manifest names, but one is another key slot: that of another set, or one that somebody changed",
                "bring another drive of the set, or ask the sender for a new export",
            )
        })
    }

    /// Whether a file has the header of an age file, whole or longer than any that is read. Nobody signed it: it is looked at,
    /// not parsed.
    fn begins_as_slot(&self, at: &Location) -> bool {
        let begin = self.beginning_of_slot(at).map(|(_, begin)| begin).unwrap_or_default();
        matches!(Header::scan(&begin, SLOT), Ok(_) | Err(FormatError::Limit { .. }))
    }

    /// The length of a copy of the key slot, and what stands at its beginning, as far as a header may be long.
    pub(super) fn beginning_of_slot(&self, at: &Location) -> Option<(u64, Vec<u8>)> {
        let len = self.source(at, METADATA)?.file.metadata().ok()?.len();
        let begin = self.read_range(at, 0, len.min(SLOT.bytes as u64 + 1) as usize)?;
        Some((len, begin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::manifest::Span;
    use crate::format::manifest::tests::sample;
    use crate::format::pieces;
    use crate::set::part::tests::{Exporter, drive};
    use std::cell::Cell;

    const TRUE: [u8; 16] = [7; 16];

    /// A copy with flips in some places.
    fn flipped(places: &[usize]) -> Vec<u8> {
        let mut copy = TRUE.to_vec();
        places.iter().for_each(|at| copy[*at] ^= 1);
        copy
    }

    #[test]
    fn guesses_for_all_pieces_of_a_file_have_one_budget() {
        let copies = [flipped(&[3]), flipped(&[5, 9])];
        // Three places with two bytes each, of 16 bytes: a piece may take 128.
        let (mut budget, hashed) = (300, Cell::new(0));
        let fits = |wanted: bool| {
            let hashed = &hashed;
            move |bytes: &[u8]| {
                hashed.set(hashed.get() + bytes.len() as u64);
                wanted && bytes == TRUE
            }
        };
        let (bytes, answers) = from_combinations(&copies, &mut budget, fits(true)).unwrap();
        assert_eq!((&bytes[..], &answers[..]), (&TRUE[..], &[(3, 7), (5, 7), (9, 7)][..]));
        assert_eq!(budget + hashed.get(), 300, "what is hashed is taken off");
        assert!(from_combinations(&copies, &mut budget, fits(false)).is_none());
        assert_eq!(budget + hashed.get(), 300);
        let before = hashed.get();
        budget = 127;
        assert!(from_combinations(&copies, &mut budget, fits(true)).is_none());
        assert_eq!((budget, hashed.get()), (127, before), "nothing is tried that may take more than is left");
        budget = 128;
        assert!(from_combinations(&copies, &mut budget, fits(true)).is_some());
    }

    #[test]
    fn what_was_found_out_once_is_not_guessed_again() {
        let copies = [flipped(&[3]), flipped(&[5, 9])];
        let (bytes, answers) = from_combinations(&copies, &mut 1000, |bytes| bytes == TRUE).unwrap();
        let tries = Cell::new(0);
        let fits = |bytes: &[u8]| {
            tries.set(tries.get() + 1);
            bytes == TRUE
        };
        assert_eq!(with_answers(&copies, &answers, fits), Some(bytes));
        assert_eq!(tries.get(), 1);
        assert_eq!(with_answers(&copies, &[], fits), None);
        // A drive that says something else now is not believed.
        assert_eq!(with_answers(&[flipped(&[12])], &answers, fits), None);
        assert_eq!(with_answers(&[vec![7; 2]], &answers, fits), None);
        assert_eq!(tries.get(), 2);
    }

    /// A part that lists these bytes under this name, with these files on its drive.
    fn part(name: &str, listed: Listed, files: &[(&str, &[u8])]) -> (tempfile::TempDir, Part) {
        let (temp, dir) = drive();
        for (place, bytes) in files {
            let path = temp.path().join(place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let mut manifest = sample(1, 1, 1);
        manifest.files.insert(name.to_owned(), listed);
        (temp, Exporter::named("alice").part(&manifest, vec![dir]))
    }

    #[test]
    fn any_good_copy_will_do_and_no_other() {
        let (good, bad) = (b"as signed".as_slice(), b"as singed".as_slice());
        let places = ["keys.age", "copy/keys.age", "third/keys.age"];
        for at in 0..3 {
            let files: Vec<(&str, &[u8])> = (0..3).map(|i| (places[i], if i == at { good } else { bad })).collect();
            let (temp, part) = part(names::KEYS, Listed::of(good), &files);
            assert_eq!(part.proven(names::KEYS).as_deref(), Some(good));
            let copies: Vec<_> = part.good_copies(names::KEYS).map(|at| at.path()).collect();
            assert_eq!(copies, [temp.path().join(places[at])]);
        }
        let (_temp, none) =
            part(names::KEYS, Listed::of(good), &[(places[0], b"as"), (places[1], b"as signed, and more")]);
        assert_eq!((none.proven(names::KEYS), none.good_copies(names::KEYS).count()), (None, 0));
        assert_eq!((none.proven("no such file"), none.good_copies("no such file").count()), (None, 0));
    }

    /// Rule 79: each piece is proven alone, so it may come from another copy than the one before it.
    #[test]
    fn pieces_of_several_copies_make_a_whole_and_are_read_as_one() {
        let whole: Vec<u8> = (0..pieces::LEAST * 2 + 100).map(|i| (i % 251) as u8).collect();
        let mut hasher = pieces::Hasher::default();
        hasher.update(&whole);
        let (bytes, blake3, values) = hasher.finish();
        let listed = Listed { bytes, blake3, pieces: values.into_iter().map(Span).collect() };
        assert_eq!(listed.count(), 3);
        let damaged = |which: &[u64]| {
            let mut copy = whole.clone();
            // More places than are ever guessed.
            which.iter().for_each(|piece| copy[(piece * pieces::LEAST) as usize..][..100].fill(0xff));
            copy
        };
        let (one, two) = (damaged(&[0, 2]), damaged(&[1]));
        let (_temp, good) =
            part(names::INVENTORY, listed.clone(), &[("inventory.age", &one), ("copy/inventory.age", &two)]);
        assert_eq!(good.proven(names::INVENTORY).as_ref(), Some(&whole));
        // Buffers end where no piece does.
        let (mut read, mut buffer, mut combined) = (Vec::new(), [0; 1000], good.combined(names::INVENTORY).unwrap());
        loop {
            match combined.read(&mut buffer).unwrap() {
                0 => break,
                n => read.extend_from_slice(&buffer[..n]),
            }
        }
        assert!(read == whole);
        let (_temp, lost) =
            part(names::INVENTORY, listed, &[("inventory.age", &one), ("copy/inventory.age", &damaged(&[1, 2]))]);
        assert!(lost.combined(names::INVENTORY).is_none() && lost.proven(names::INVENTORY).is_none());
    }

    /// Another part of the set has it: it is proven again, and only in the place of a key slot.
    #[test]
    fn a_slot_of_another_part_is_taken_if_it_is_the_signed_one() {
        let slot = b"slot".as_slice();
        let (_temp, part) = part(names::KEYS, Listed::of(slot), &[]);
        part.slot.set(slot.to_vec()).unwrap();
        assert_eq!(part.proven(names::KEYS).as_deref(), Some(slot));
        assert_eq!(part.proven(names::INVENTORY), None);
        let (_temp, other) = self::part(names::KEYS, Listed::of(b"tols"), &[]);
        other.slot.set(slot.to_vec()).unwrap();
        assert_eq!(other.proven(names::KEYS), None);
    }

    /// The header of an age file to recipients of these kinds.
    fn slot(kinds: &[&str]) -> Vec<u8> {
        let body = "A".repeat(43);
        let stanzas: String = kinds.iter().map(|kind| format!("-> {kind} {body}\n{body}\n")).collect();
        format!("age-encryption.org/v1\n{stanzas}--- {body}\nsealed").into_bytes()
    }

    #[test]
    fn only_the_listed_slot_shows_who_can_open_it() {
        let classical = slot(&["X25519"]);
        let shown = |listed: &[u8], here: &[u8]| {
            let (_temp, part) = part(names::KEYS, Listed::of(listed), &[("keys.age", here)]);
            confidentiality(&part.manifest, &part.dirs)
        };
        assert_eq!(shown(&classical, &classical), Confidentiality::Classical);
        let another = [&classical[..classical.len() - 1], b"D"].concat();
        assert_eq!(shown(&another, &classical), Confidentiality::Unknown);
        assert_eq!(shown(&classical, &classical[1..]), Confidentiality::Unknown);
    }

    /// Whether what cannot be had was exchanged, written anew, or is gone: that asks for different things of a person.
    #[test]
    fn a_slot_that_is_missing_and_one_that_was_exchanged_are_told_apart() {
        let other = slot(&["X25519"]);
        let said = |files: &[(&str, &[u8])]| {
            let (_temp, part) = part(names::KEYS, Listed::of(b"signed"), files);
            (part.refusal().is_some(), part.without(names::KEYS).to_string())
        };
        for place in ["keys.age", "copy/keys.age", "third/keys.age"] {
            let (refused, why) = said(&[(place, &other)]);
            assert!(refused && why.starts_with("no keys.age here is the one that the signed manifest names"), "{why}");
        }
        assert!(said(&[("keys.age", b"x"), ("third/keys.age", &other)]).0);
        let missing = (false, "every copy of keys.age that is here is damaged or missing".to_owned());
        assert_eq!(said(&[]), missing);
        assert_eq!(said(&[("keys.age", b"no age file")]), missing);
        assert_eq!(said(&[("keys.age", &other[..50])]), missing, "cut off in its header");
        assert!(!said(&[("keys.age", &other), ("copy/keys.age", b"signed")]).0);
        assert!(!said(&[("keys.age", &other), ("keys.age.sig", b"")]).0);
        // Longer than any that is read.
        assert!(said(&[("keys.age", &slot(&vec!["X25519"; 2 * SLOT.stanzas])[..])]).0);
    }

    #[test]
    fn drives_that_are_not_here_may_have_what_is_missing() {
        let (temp, here) = part(names::KEYS, Listed::of(b"signed"), &[]);
        std::fs::write(temp.path().join(names::B3SUMS), here.manifest.b3sums(1)).unwrap();
        assert!(matches!(here.without(names::KEYS), Error::Drive { hint, .. } if hint == "bring drive 2 of the set"));
        let (other, dir) = drive();
        std::fs::write(other.path().join(names::B3SUMS), here.manifest.b3sums(2)).unwrap();
        let all = Exporter::named("alice").part(&here.manifest, [here.dirs, vec![dir]].concat());
        assert!(matches!(all.without(names::KEYS), Error::Lost { .. }));
    }

    /// Twelve places with two readings each are guessed, however many copies say the same, and one more is not.
    #[test]
    fn few_combinations_are_tried_and_each_reading_counts_once() {
        let truth: Vec<u8> = (0..16).map(|i| 6 + i % 2).collect();
        let flipped = |places: std::ops::Range<usize>| {
            let mut copy = truth.clone();
            copy[places].iter_mut().for_each(|byte| *byte ^= 1);
            copy
        };
        let guessed = |places: usize| {
            let copies = [flipped(0..5), flipped(5..places), flipped(5..places)];
            from_combinations(&copies, &mut u64::MAX.clone(), |bytes| bytes == truth).map(|(bytes, _)| bytes)
        };
        assert_eq!((guessed(12).as_ref(), guessed(13)), (Some(&truth), None));
    }

    #[test]
    fn copies_that_are_all_damaged_are_put_together_from_those_that_have_their_length() {
        let good = b"as signed".as_slice();
        let files: [(&str, &[u8]); 3] =
            [("keys.age", b"as"), ("copy/keys.age", b"us signed"), ("third/keys.age", b"as signet")];
        let (_temp, whole) = part(names::KEYS, Listed::of(good), &files);
        assert_eq!(whole.proven(names::KEYS).as_deref(), Some(good));
        let (_temp, lost) = part(names::KEYS, Listed::of(good), &files[..2]);
        assert_eq!(lost.proven(names::KEYS), None);
    }
}
