//! What is known of the pages of block values of a part: those that are proven, and those that cannot be.

use crate::format::hashes::Value;
use crate::format::manifest::Manifest;
use crate::media::dir::Location;
use crate::set::part::At;
use crate::threads::lock;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

/// Pages that are kept.
const MOST_PAGES: usize = 512;

/// The values of a page.
pub(crate) type Page = Arc<Vec<Value>>;
/// A page of a volume.
pub(super) type Key = (At, usize);

/// What is known of the pages of a part.
pub(crate) struct Pages {
    pub(super) offsets: Vec<Vec<u64>>,
    pub(super) hash_files: Vec<Location>,
    pub(super) known: Mutex<HashMap<Key, Option<Page>>>,
    pub(super) proving: Mutex<()>,
    pub(super) prover: Mutex<Option<Prover>>,
    /// Pages of groups that the rows did not prove, and the volumes that lacked them then.
    stuck: Mutex<HashMap<(usize, usize), Vec<usize>>>,
}

/// The thread that proves a page, and the pages that it already knows it cannot have.
pub(super) struct Prover {
    pub(super) thread: ThreadId,
    pub(super) failed: HashSet<Key>,
}

impl Pages {
    /// Of a manifest, from these copies of `hashes.b3`.
    pub fn new(manifest: &Manifest, hash_files: Vec<Location>) -> Pages {
        let (offsets, _) = manifest.value_offsets();
        Pages {
            offsets,
            hash_files,
            known: Mutex::default(),
            proving: Mutex::default(),
            prover: Mutex::default(),
            stuck: Mutex::default(),
        }
    }

    pub(super) fn known(&self, key: &Key) -> Option<Option<Page>> {
        lock(&self.known).get(key).cloned()
    }

    pub(super) fn keep(&self, key: Key, page: Option<Page>) -> Option<Page> {
        let mut pages = lock(&self.known);
        if pages.len() >= MOST_PAGES {
            // What could not be proven was costly to find out.
            pages.retain(|_, page| page.is_none());
        }
        pages.insert(key, page.clone());
        page
    }

    /// Whether the rows would prove no more than the last time: none of what was lacking is known by now.
    pub(super) fn are_stuck(&self, group: usize, page: usize) -> bool {
        let is_known = |index: &usize| matches!(self.known(&(At { group, index: *index }, page)), Some(Some(_)));
        lock(&self.stuck).get(&(group, page)).is_some_and(|lacking| !lacking.iter().any(is_known))
    }

    pub(super) fn note_stuck(&self, group: usize, page: usize, lacking: Vec<usize>) {
        lock(&self.stuck).insert((group, page), lacking);
    }

    pub(super) fn is_proving(&self) -> bool {
        let me = std::thread::current().id();
        lock(&self.prover).as_ref().is_some_and(|p| p.thread == me)
    }
}
