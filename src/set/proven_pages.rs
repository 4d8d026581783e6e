//! Pages of block values, each proven by the signed value of its span before it is used.
//!
//! A page is taken from any copy of `hashes.b3` that folds to that value; if there is none, from what copies and volume say
//! together; from the volume itself, if that folds; from a reconstruction of the whole span, if that does; else from what the rows of
//! the group, which are not proven either, let its blocks be.

use crate::format::hashes::{PAGE, Value, fold_page};
use crate::media::buffer::Buffer;
use crate::set::blocks::Blocks;
use crate::set::pages::{Page, Prover};
use crate::set::part::At;
use crate::threads::lock;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// Combinations of doubtful values that are tried.
pub(super) const MOST_COMBINATIONS: usize = 4096;

/// Bytes of a volume that are read at a time for their values.
const RUN: u64 = 512 << 10;

impl Blocks<'_> {
    /// A page of the values of a volume, if it can be proven.
    pub(crate) fn page(&self, at: At, page: usize) -> Option<Page> {
        let key = (at, page);
        if let Some(known) = self.pages.known(&key) {
            return known;
        }
        self.page_of_copies(at, page).or_else(|| match self.pages.is_proving() {
            true => self.page_while_proving(at, page),
            false => self.prove_page(at, page),
        })
    }

    /// The same without reading any volume: for who is about to say why that failed.
    pub(super) fn page_at_hand(&self, at: At, page: usize) -> Option<Page> {
        self.pages.known(&(at, page)).unwrap_or_else(|| self.page_of_copies(at, page))
    }

    fn page_of_copies(&self, at: At, page: usize) -> Option<Page> {
        let found = self.copies(at, page).into_iter().find_map(|values| self.prove(at, page, values))?;
        self.pages.keep((at, page), Some(found))
    }

    /// The slow way to a page that no copy proves. One thread at a time goes it: others that need such a page wait.
    fn prove_page(&self, at: At, page: usize) -> Option<Page> {
        let key = (at, page);
        let _alone = lock(&self.pages.proving);
        if let Some(known) = self.pages.known(&key) {
            return known;
        }
        let thread = std::thread::current().id();
        *lock(&self.pages.prover) = Some(Prover { thread, failed: HashSet::from([key]) });
        let found = self.page_without_others(at, page).or_else(|| self.page_from_reconstruction(at, page));
        let found = found.or_else(|| self.page_from_rows(at, page));
        *lock(&self.pages.prover) = None;
        self.pages.keep(key, found)
    }

    /// A page that the reconstruction of another asks for: without one of its own, so that this ends.
    fn page_while_proving(&self, at: At, page: usize) -> Option<Page> {
        let key = (at, page);
        if lock(&self.pages.prover).as_ref().is_some_and(|p| p.failed.contains(&key)) {
            return None;
        }
        match self.page_without_others(at, page) {
            Some(found) => self.pages.keep(key, Some(found)),
            None => {
                lock(&self.pages.prover).as_mut().map(|p| p.failed.insert(key));
                None
            }
        }
    }

    fn page_without_others(&self, at: At, page: usize) -> Option<Page> {
        self.page_from_votes(at, page).or_else(|| self.page_from_volume(at, page))
    }

    /// How many blocks of a volume a page covers; a short volume may not have it.
    pub(super) fn values_in(&self, at: At, page: usize) -> usize {
        (self.count(at) as usize).saturating_sub(page * PAGE).min(PAGE)
    }

    fn prove(&self, at: At, page: usize, values: Vec<Value>) -> Option<Page> {
        let whole = self.count(at) <= PAGE as u64;
        let proven = fold_page(&values, whole) == self.volume(at).span(page);
        proven.then(|| Arc::new(values))
    }

    /// A page as the copies of `hashes.b3` have it, each different reading once.
    pub(super) fn copies(&self, at: At, page: usize) -> Vec<Vec<Value>> {
        let len = self.values_in(at, page) * 32;
        let offset = (self.pages.offsets[at.group][at.index] + (page * PAGE) as u64) * 32;
        let mut copies: Vec<Vec<Value>> = Vec::new();
        for file in &self.pages.hash_files {
            let Some(bytes) = self.set.read_range(file, offset, len) else { continue };
            let values = bytes.as_chunks::<32>().0.to_vec();
            if !copies.contains(&values) {
                // The first that is right is enough.
                if copies.is_empty() && self.prove(at, page, values.clone()).is_some() {
                    return vec![values];
                }
                copies.push(values);
            }
        }
        copies
    }

    /// A page of which every copy is damaged, but not in the same places: a value that two say, be it the volume itself, is
    /// taken to be right, and of the rest all combinations are tried.
    fn page_from_votes(&self, at: At, page: usize) -> Option<Page> {
        let copies = self.copies(at, page);
        let mut values = copies.first()?.clone();
        let mut doubtful: Vec<(usize, Vec<Value>)> = Vec::new();
        let mut combinations = 1usize;
        for i in 0..values.len() {
            let mut said: Vec<Value> = copies.iter().map(|copy| copy[i]).collect();
            if agreed(&said).is_none() {
                said.extend(self.values_read(at, (page * PAGE + i) as u64));
            }
            match agreed(&said) {
                Some(value) => values[i] = value,
                None => {
                    combinations = combinations.saturating_mul(said.len());
                    doubtful.push((i, said));
                }
            }
            if combinations > MOST_COMBINATIONS {
                return None;
            }
        }
        self.page_from_combinations(at, page, values, &doubtful, combinations)
    }

    pub(super) fn page_from_combinations(
        &self,
        at: At,
        page: usize,
        mut values: Vec<Value>,
        doubtful: &[(usize, Vec<Value>)],
        combinations: usize,
    ) -> Option<Page> {
        (0..combinations).find_map(|mut number| {
            for (i, said) in doubtful {
                values[*i] = said[number % said.len()];
                number /= said.len();
            }
            self.prove(at, page, values.clone())
        })
    }

    /// The values of a block as its files have it.
    fn values_read(&self, at: At, number: u64) -> Vec<Value> {
        let (from, to) = self.bytes_of(at, &(number..number + 1));
        let mut block = vec![0; (to - from) as usize];
        let mut values = Vec::new();
        for source in self.files(at) {
            if self.set.read_blocks(&source, &mut block, number, &|_| true) == [true] {
                values.push(self.block.value(number, &block, self.volume(at).bytes));
            }
        }
        values
    }

    fn page_from_volume(&self, at: At, page: usize) -> Option<Page> {
        self.files(at).iter().find_map(|source| {
            let fill = |range: Range<u64>, out: &mut [u8]| {
                self.set.read_blocks(source, out, range.start, &|_| true).iter().all(|read| *read).then_some(())
            };
            self.page_by(at, page, fill)
        })
    }

    fn page_from_reconstruction(&self, at: At, page: usize) -> Option<Page> {
        self.page_by(at, page, |range, out| {
            let solved = self.solve(at.group, range, &[at.index]).ok()?;
            out.copy_from_slice(&solved.of(at.index)[..out.len()]);
            Some(())
        })
    }

    /// Computes the values of a page from blocks that `fill` provides.
    fn page_by(&self, at: At, page: usize, fill: impl Fn(Range<u64>, &mut [u8]) -> Option<()>) -> Option<Page> {
        let first = (page * PAGE) as u64;
        let last = first + self.values_in(at, page) as u64;
        let (mut values, mut buffer, run) = (Vec::new(), Buffer::default(), self.block.within(RUN));
        for start in (first..last).step_by(run as usize) {
            let range = start..(start + run).min(last);
            let (from, to) = self.bytes_of(at, &range);
            buffer.resize((to - from) as usize);
            fill(range, &mut buffer)?;
            let blocks = buffer.chunks(self.block.size()).enumerate();
            values.extend(blocks.map(|(i, b)| self.block.value(start + i as u64, b, self.volume(at).bytes)));
        }
        self.prove(at, page, values)
    }

    /// All values of a volume, page by page; `None` for a page that cannot be proven.
    pub fn values(&self, at: At) -> impl Iterator<Item = Option<Page>> {
        let pages = (self.count(at) as usize).div_ceil(PAGE);
        (0..pages).map(move |page| self.page(at, page))
    }
}

/// The value that at least two agree on.
fn agreed(said: &[Value]) -> Option<Value> {
    said.iter().enumerate().find(|(i, value)| said[i + 1..].contains(value)).map(|(_, value)| *value)
}
