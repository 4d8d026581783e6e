//! The hashes of files, put together while segments pass in any order.

use crate::format::hashes::{FileHasher, HasherState, Part, Value};
use crate::threads::lock;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Mutex;

/// Some stored bytes of a file, read and hashed by a worker.
pub struct Stretch {
    entry: usize,
    total: u64,
    hashed: Hashed,
}

enum Hashed {
    Whole(Value),
    Some(Part),
}

impl Stretch {
    /// Hashes bytes that begin at `offset` of the `total` stored bytes of an entry.
    pub fn new(entry: usize, total: u64, offset: u64, bytes: &[u8]) -> Stretch {
        let whole = offset == 0 && bytes.len() as u64 == total;
        let hashed = match whole {
            true => Hashed::Whole(*blake3::hash(bytes).as_bytes()),
            false => Hashed::Some(Part::new(offset, bytes)),
        };
        Stretch { entry, total, hashed }
    }
}

/// The hashes of files on the way out, where segments are taken in in order: so at any point at most one file is not
/// complete, and what is known up to there can be kept.
#[derive(Default)]
pub struct Ledger {
    finished: Vec<(usize, Value)>,
    open: Option<(usize, FileHasher)>,
}

/// What a [`Ledger`] knows at some point, beyond what it knew at the point before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Entries, and the hashes of their files.
    #[serde(with = "compact")]
    pub finished: Vec<(usize, Value)>,
    /// The entry of which not all has been seen.
    pub open: Option<(usize, HasherState)>,
}

/// Hashes of files as one text of base64, eight bytes of the entry before each: lists of numbers would be four times as long,
/// and there may be a million of them.
mod compact {
    use crate::format::hashes::Value;
    use base64::Engine as _;
    use base64::display::Base64Display;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;
    use std::fmt;

    const LENGTH: usize = 8 + size_of::<Value>();
    /// Records at a time: as many as give whole groups of base64, so that what is encoded in pieces is one text.
    const PIECE: usize = 30;

    pub fn serialize<S: Serializer>(finished: &[(usize, Value)], s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&Text(finished))
    }

    struct Text<'a>(&'a [(usize, Value)]);

    impl fmt::Display for Text<'_> {
        fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
            let mut bytes = Vec::with_capacity(PIECE * LENGTH);
            self.0.chunks(PIECE).try_for_each(|piece| {
                bytes.clear();
                for (entry, hash) in piece {
                    bytes.extend_from_slice(&(*entry as u64).to_le_bytes());
                    bytes.extend_from_slice(hash);
                }
                write!(f, "{}", Base64Display::new(&bytes, &STANDARD))
            })
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<(usize, Value)>, D::Error> {
        let bytes = STANDARD.decode(String::deserialize(d)?).map_err(D::Error::custom)?;
        let (records, rest) = bytes.as_chunks::<LENGTH>();
        let read = |record: &[u8; LENGTH]| {
            let (entry, hash) = record.split_first_chunk::<8>()?;
            Some((u64::from_le_bytes(*entry) as usize, *hash.first_chunk()?))
        };
        let all = records.iter().map(read).collect::<Option<_>>().filter(|_| rest.is_empty());
        all.ok_or_else(|| D::Error::custom("hashes of files that are not whole"))
    }
}

impl Ledger {
    /// Goes on from a point: what was finished before it is not known to this one.
    pub fn from_page(page: Page) -> Ledger {
        Ledger { finished: Vec::new(), open: page.open.map(|(entry, state)| (entry, FileHasher::from_state(state))) }
    }

    /// Takes in the stretches of the next segment.
    pub fn absorb(&mut self, stretches: Vec<Stretch>) {
        for stretch in stretches {
            match stretch.hashed {
                Hashed::Whole(hash) => self.finished.push((stretch.entry, hash)),
                Hashed::Some(part) => self.add(stretch.entry, stretch.total, part),
            }
        }
    }

    fn add(&mut self, entry: usize, total: u64, part: Part) {
        let (_, mut hasher) =
            self.open.take().filter(|(open, _)| *open == entry).unwrap_or((entry, FileHasher::default()));
        hasher.add(part);
        match hasher.reached() == total {
            true => self.finished.extend(hasher.finish(total).map(|hash| (entry, hash))),
            false => self.open = Some((entry, hasher)),
        }
    }

    /// What is known now, beyond what was known when this was last asked.
    pub fn turn(&mut self) -> Page {
        let open = self.open.as_ref().map(|(entry, hasher)| (*entry, hasher.state()));
        Page { finished: std::mem::take(&mut self.finished), open }
    }
}

/// Stretches of all files that may wait for those before them. Each costs some KiB, and segments that come drive by drive
/// leave no end of them.
const MOST_WAITING: usize = 1 << 13;

/// Files of which some segments have passed, on the way back.
#[derive(Default)]
pub struct FileHashes(Mutex<State>);

#[derive(Default)]
struct State {
    /// By the number of their entry; `None` if they have to be hashed in another way.
    open: HashMap<usize, Option<(FileHasher, u64)>>,
    waiting: usize,
}

impl FileHashes {
    /// Takes a stretch of the stored bytes of an entry of `total` stored bytes; returns its hash with the last stretch,
    /// unless it was given up.
    pub fn add(&self, entry: usize, total: u64, offset: u64, bytes: &[u8]) -> Option<Value> {
        let len = bytes.len() as u64;
        if offset == 0 && len == total {
            return Some(*blake3::hash(bytes).as_bytes());
        }
        let part = Part::new(offset, bytes);
        let state = &mut *lock(&self.0);
        let (hasher, seen) = state.open.entry(entry).or_insert_with(|| Some(Default::default())).as_mut()?;
        let before = hasher.waiting();
        hasher.add(part);
        *seen += len;
        state.waiting = state.waiting + hasher.waiting() - before;
        let whole = *seen >= total;
        if whole {
            return state.open.remove(&entry).flatten().and_then(|(hasher, _)| hasher.finish(total));
        }
        if state.waiting > MOST_WAITING {
            state.waiting -= hasher.waiting();
            state.open.insert(entry, None);
        }
        None
    }

    /// Of this file not all will pass, or some twice.
    pub fn give_up(&self, entry: usize) {
        let state = &mut *lock(&self.0);
        if let Some((hasher, _)) = state.open.insert(entry, None).flatten() {
            state.waiting -= hasher.waiting();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_goes_on_from_any_page() {
        let (a, b) = (vec![1u8; 5000], vec![2u8; 300]);
        let mut ledger = Ledger::default();
        ledger.absorb(vec![Stretch::new(0, 5000, 0, &a[..2000])]);
        let page = ledger.turn();
        assert!(page.finished.is_empty() && page.open.is_some());
        let page: Page = serde_json::from_str(&serde_json::to_string(&page).unwrap()).unwrap();
        let mut ledger = Ledger::from_page(page);
        ledger.absorb(vec![Stretch::new(0, 5000, 2000, &a[2000..]), Stretch::new(1, 300, 0, &b)]);
        let page = ledger.turn();
        let hash = |bytes: &[u8]| *blake3::hash(bytes).as_bytes();
        assert_eq!(page, Page { finished: vec![(0, hash(&a)), (1, hash(&b))], open: None });
        let json = serde_json::to_string(&page).unwrap();
        assert_eq!(serde_json::from_str::<Page>(&json).unwrap(), page);
        assert!(serde_json::from_str::<Page>(&json.replacen("\":\"", "\":\"AAAA", 1)).is_err());
        assert_eq!(ledger.turn(), Page::default());
    }

    #[test]
    fn any_number_of_hashes_is_one_text() {
        for count in [0, 1, 29, 30, 31, 61] {
            let page = Page { finished: (0..count).map(|i| (i, [i as u8; 32])).collect(), open: None };
            assert_eq!(serde_json::from_str::<Page>(&serde_json::to_string(&page).unwrap()).unwrap(), page, "{count}");
        }
    }

    #[test]
    fn interleaved_files_do_not_mix() {
        let (a, b) = (vec![1u8; 5000], vec![2u8; 3000]);
        let hashes = FileHashes::default();
        assert_eq!(hashes.add(0, 5000, 2048, &a[2048..]), None);
        assert_eq!(hashes.add(1, 3000, 0, &b), Some(*blake3::hash(&b).as_bytes()));
        assert_eq!(hashes.add(0, 5000, 0, &a[..2048]), Some(*blake3::hash(&a).as_bytes()));
        assert_eq!(lock(&hashes.0).waiting, 0);
    }

    #[test]
    fn a_file_that_was_given_up_has_no_hash_and_costs_nothing() {
        let hashes = FileHashes::default();
        assert_eq!(hashes.add(0, 3000, 2048, &[1; 952]), None);
        hashes.give_up(0);
        assert_eq!((hashes.add(0, 3000, 0, &[1; 2048]), lock(&hashes.0).waiting), (None, 0));
        let size = (MOST_WAITING as u64 + 9) * 2048;
        (1..MOST_WAITING as u64 + 3).for_each(|n| assert_eq!(hashes.add(1, size, n * 2048, &[0; 1024]), None));
        assert_eq!(lock(&hashes.0).waiting, 0);
        assert_eq!(hashes.add(2, 100, 0, &[3; 100]), Some(*blake3::hash(&[3; 100]).as_bytes()));
    }
}
