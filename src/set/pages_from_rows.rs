//! Pages of block values that nothing proves but the blocks themselves: no copy of `hashes.b3` has them, and their volume is not whole
//! (rule 77).
//!
//! Then all volumes of the group are read as they are, row by row, and the parity says which blocks do not fit the others, or, where
//! it cannot, which might not. So each block has one value, or a few; the signed value of the span proves those that are right, and
//! nothing else is used. The work is bounded: the rows of a span are gone through again only if that proved a page, so at most once
//! for each volume of the group; each row is computed once, and of all of them together [`MOST_WORDS`] once more; and of a page no
//! more combinations are tried than of one that is put together from copies.

use crate::format::hashes::{PAGE, Value};
use crate::set::blocks::Blocks;
use crate::set::pages::Page;
use crate::set::part::At;
use crate::set::proven_pages::MOST_COMBINATIONS;
use crate::stages::parity::Found;
use crate::threads::{lock, workers};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Words of the code that are computed for the rows of a span besides the first of each: one for what is found to be wrong in a row,
/// and, where that cannot be told, one for each guess.
const MOST_WORDS: usize = 4096;

/// What the blocks of a page may be: for each, the values that are possible.
type Said = Vec<Vec<Value>>;

/// The pages of all volumes of a group that cover the same rows.
struct Span<'a> {
    blocks: &'a Blocks<'a>,
    group: usize,
    page: usize,
    /// Those that are proven, by index.
    known: &'a [Option<Page>],
    /// The volumes of which they are not.
    wanted: Vec<usize>,
    words: AtomicUsize,
}

impl Blocks<'_> {
    /// A page as the rows of the group have it. What is found out of other volumes on the way is kept.
    pub(super) fn page_from_rows(&self, at: At, page: usize) -> Option<Page> {
        let has_page = |index: &usize| self.values_in(At { index: *index, ..at }, page) > 0;
        let all: Vec<usize> = (0..self.volumes(at.group)).filter(has_page).collect();
        let lacks = |index: &&usize| self.files(At { index: **index, ..at }).is_empty();
        let m = usize::from(self.set.manifest.groups[at.group].m);
        // With fewer than K volumes here there is nothing to compute from.
        if all.iter().filter(lacks).count() > m || self.pages.are_stuck(at.group, page) {
            return None;
        }
        let mut known = vec![None; self.volumes(at.group)];
        all.iter().for_each(|index| known[*index] = self.page(At { index: *index, ..at }, page));
        loop {
            let wanted: Vec<usize> = all.iter().copied().filter(|index| known[*index].is_none()).collect();
            let span = Span { blocks: self, group: at.group, page, known: &known, wanted, words: MOST_WORDS.into() };
            let proven = span.prove();
            if proven.is_empty() {
                self.pages.note_stuck(at.group, page, span.wanted);
                return None;
            }
            proven.into_iter().for_each(|(index, page)| known[index] = Some(page));
            if let Some(found) = &known[at.index] {
                return Some(found.clone());
            }
        }
    }

    /// One value for each block, or more of which one is right. If a damaged copy of `hashes.b3` has one of these, that is it.
    fn page_from_said(&self, at: At, page: usize, said: Said) -> Option<Page> {
        let copies = self.copies(at, page);
        let (mut values, mut doubtful, mut combinations) = (Vec::new(), Vec::new(), 1usize);
        for (i, said) in said.into_iter().enumerate() {
            let confirmed = said.iter().find(|value| copies.iter().any(|copy| copy[i] == **value));
            values.push(*confirmed.or(said.first())?);
            if confirmed.is_none() && said.len() > 1 {
                combinations = combinations.saturating_mul(said.len());
                doubtful.push((i, said));
            }
            if combinations > MOST_COMBINATIONS {
                return None;
            }
        }
        self.page_from_combinations(at, page, values, &doubtful, combinations)
    }
}

impl Span<'_> {
    fn at(&self, index: usize) -> At {
        At { group: self.group, index }
    }

    /// Proves what it can, and keeps it.
    fn prove(&self) -> Vec<(usize, Page)> {
        let keep = |(index, said): (&usize, Said)| {
            let found = self.blocks.page_from_said(self.at(*index), self.page, said);
            Some((*index, self.blocks.pages.keep((self.at(*index), self.page), Some(found?))?))
        };
        self.wanted.iter().zip(self.said()).filter_map(keep).collect()
    }

    /// Goes through all rows, in as many threads as there are cores.
    fn said(&self) -> Vec<Said> {
        let counts = self.wanted.iter().map(|index| self.blocks.values_in(self.at(*index), self.page));
        let said: Vec<Said> = counts.map(|count| vec![Vec::new(); count]).collect();
        let first = (self.page * PAGE) as u64;
        let end = first + said.iter().map(Vec::len).max().unwrap_or(0) as u64;
        let (said, next, batch) = (Mutex::new(said), AtomicU64::new(first), self.blocks.batch(self.group));
        std::thread::scope(|scope| {
            for _ in 0..workers() {
                scope.spawn(|| {
                    loop {
                        let start = next.fetch_add(batch, Ordering::Relaxed);
                        if start >= end {
                            break;
                        }
                        self.read_rows(start..(start + batch).min(end), &said);
                    }
                });
            }
        });
        said.into_inner().unwrap_or_default()
    }

    fn read_rows(&self, rows: Range<u64>, said: &Mutex<Vec<Said>>) {
        let mut columns: Vec<Vec<Found>> = (0..self.known.len()).map(|index| self.found(index, &rows)).collect();
        for number in rows.rev() {
            let row: Vec<Found> = columns.iter_mut().map(|column| column.pop().unwrap_or(Found::Gone)).collect();
            let values = self.values(&row, number);
            for (said, values) in lock(said).iter_mut().zip(values) {
                if let Some(said) = said.get_mut(number as usize % PAGE) {
                    *said = values;
                }
            }
        }
    }

    /// Blocks of a volume as they were read, padded with zeros. What has a value that is known must have that.
    fn found(&self, index: usize, rows: &Range<u64>) -> Vec<Found> {
        let (at, known) = (self.at(index), self.known[index].as_deref());
        let (from, to) = self.blocks.bytes_of(at, rows);
        let size = self.blocks.block.size();
        let mut bytes = vec![0; (to - from) as usize];
        let mut found: Vec<Found> = bytes.chunks(size).map(|_| Found::Gone).collect();
        for source in self.blocks.files(at) {
            let wanted = |i: usize| found[i] == Found::Gone;
            let read = self.blocks.set.read_blocks(&source, &mut bytes, rows.start, &wanted);
            for (i, block) in bytes.chunks(size).enumerate().filter(|(i, _)| read[*i]) {
                let padded = || [block, &vec![0; size - block.len()]].concat();
                let number = rows.start + i as u64;
                match known.and_then(|page| page.get(number as usize % PAGE)) {
                    _ if found[i] != Found::Gone => {}
                    None => found[i] = Found::Doubtful(padded()),
                    Some(value) if *value == self.value(index, number, block) => found[i] = Found::Good(padded()),
                    Some(_) => {}
                }
            }
        }
        found.resize((rows.end - rows.start) as usize, Found::Good(vec![0; size]));
        found
    }

    fn value(&self, index: usize, number: u64, block: &[u8]) -> Value {
        self.blocks.block.value(number, block, self.blocks.volume(self.at(index)).bytes)
    }

    /// The values that the blocks of a row may have, for each volume that is wanted.
    fn values(&self, row: &[Found], number: u64) -> Said {
        let mut said: Said = vec![Vec::new(); self.wanted.len()];
        if number == 0 {
            // The header page is in no row: it is as it must be, or as whoever signed it had it.
            let header = |index: usize| self.blocks.set.manifest.header(self.group, index).encode();
            self.note(&mut said, number, |index| Some(header(index)));
        }
        let take = &mut |word: &[Vec<u8>]| self.note(&mut said, number, |index| Some(&word[index]));
        if number == 0 || !self.pass_on_words(row, take) {
            self.note(&mut said, number, |index| match &row[index] {
                Found::Doubtful(block) => Some(block),
                _ => None,
            });
        }
        said
    }

    /// Passes on the words that a row may be, as far as there are words left; false if there are none.
    fn pass_on_words(&self, row: &[Found], take: &mut dyn FnMut(&[Vec<u8>])) -> bool {
        let before = self.words.load(Ordering::Relaxed);
        let mut left = before;
        let any = self.blocks.codec.words(row, &mut left, take).unwrap_or(false);
        // Other threads may take from the same words meanwhile: then it is a little more in all.
        let less = |words: usize| Some(words.saturating_sub(before - left));
        let _ = self.words.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        any
    }

    /// Adds what `block` says the blocks of the volumes that are wanted may be.
    fn note<B: AsRef<[u8]>>(&self, said: &mut Said, number: u64, block: impl Fn(usize) -> Option<B>) {
        for (said, index) in said.iter_mut().zip(&self.wanted) {
            let (from, to) = self.blocks.bytes_of(self.at(*index), &(number..number + 1));
            // Past its end a volume has no blocks.
            if let Some(block) = block(*index).filter(|_| from < to) {
                let value = self.value(*index, number, &block.as_ref()[..(to - from) as usize]);
                if !said.contains(&value) {
                    said.push(value);
                }
            }
        }
    }
}
