//! Rows of which nobody has the hashes: the words of the code that such a row may be.
//!
//! Blocks that were read fit each other, or some of them do not. A column that is no word of the code tells which, as long as no more
//! than half of the parity that is left is wrong in it; these blocks are left out from then on. Where no column can tell, any blocks may
//! be the wrong ones. All of it is a guess, which is worth nothing until a hash agrees.

use super::codec::Codec;
use super::column::{Code, Decoder};
use super::scattered::Found;
use crate::error::Result;

impl Codec {
    /// Passes on each word that a row may be once what is wrong in it is left out; false if there are none, because too little of
    /// the row is there, or because they would be too many. Words cost time: besides the first, no more are computed than are
    /// `left`, and what was is taken off.
    pub fn words(&self, row: &[Found], left: &mut usize, take: &mut dyn FnMut(&[Vec<u8>])) -> Result<bool> {
        let k = self.0.data_shard_count();
        let good = row.iter().filter(|block| block.is_good()).count();
        let doubtful: Vec<usize> = (0..row.len()).filter(|i| matches!(row[*i], Found::Doubtful(_))).collect();
        let clear = match (good + doubtful.len()).checked_sub(k) {
            None => return Ok(false),
            Some(_) if good >= k => Some(self.without(row, &doubtful)?),
            Some(0) => Some(self.without(row, &[])?),
            Some(spare) => self.told_by_columns(row, &doubtful, spare, left)?,
        };
        if let Some(word) = clear {
            take(&word);
            return Ok(true);
        }
        let sets = subsets(&doubtful, good + doubtful.len() - k, *left);
        *left -= sets.len();
        sets.iter().try_for_each(|set| self.without(row, set).map(|word| take(&word)))?;
        Ok(!sets.is_empty())
    }

    /// Leaves out what columns say is wrong, until the rest fits; `None` if that takes all of the parity, which then proves nothing.
    fn told_by_columns(
        &self,
        row: &[Found],
        doubtful: &[usize],
        spare: usize,
        left: &mut usize,
    ) -> Result<Option<Vec<Vec<u8>>>> {
        let code = Code::new(self.0.data_shard_count(), self.0.parity_shard_count());
        let mut left_out = Vec::new();
        loop {
            let word = self.without(row, &left_out)?;
            let gone = |i: &usize| row[*i] == Found::Gone || left_out.contains(i);
            let (erased, there): (Vec<usize>, Vec<usize>) = (0..row.len()).partition(gone);
            let odd = |i: &usize| row[*i].bytes().iter().zip(&word[*i]).position(|(read, word)| read != word);
            let Some(column) = there.iter().filter_map(odd).min() else { return Ok(Some(word)) };
            let differences = there.iter().map(|i| (*i, row[*i].bytes()[column] ^ word[*i][column]));
            let syndromes = code.syndromes(differences);
            let suspects: Vec<usize> = doubtful.iter().copied().filter(|i| !left_out.contains(i)).collect();
            let fixes = Decoder::new(&code, erased, suspects.clone()).decode(&syndromes).unwrap_or_default();
            let before = left_out.len();
            left_out.extend(fixes.iter().map(|(i, _)| *i).filter(|i| suspects.contains(i)));
            if left_out.len() == before || left_out.len() >= spare || *left == 0 {
                return Ok(None);
            }
            *left -= 1;
        }
    }

    /// The word that K blocks of a row give, the good ones before the doubtful, and none of those that are left out.
    fn without(&self, row: &[Found], left_out: &[usize]) -> Result<Vec<Vec<u8>>> {
        let there = |i: &usize| row[*i] != Found::Gone && !left_out.contains(i);
        let mut order: Vec<usize> = (0..row.len()).filter(there).collect();
        order.sort_by_key(|i| !row[*i].is_good());
        order.truncate(self.0.data_shard_count());
        let len = row.iter().map(|block| block.bytes().len()).max().unwrap_or(0);
        let mut word = vec![vec![0; len]; row.len()];
        order.iter().for_each(|i| word[*i].copy_from_slice(row[*i].bytes()));
        let slices = word.iter_mut().enumerate().map(|(i, block)| (&mut block[..], order.contains(&i)));
        self.reconstruct(&mut slices.collect::<Vec<_>>())?;
        Ok(word)
    }
}

/// All subsets of `size` elements; none at all if there are more than `most`.
fn subsets(all: &[usize], size: usize, most: usize) -> Vec<Vec<usize>> {
    let choose = |count: usize, i: usize| Some(count.checked_mul(all.len() - i)? / (i + 1));
    // As many as there are of what is not in them.
    if (0..size.min(all.len() - size)).try_fold(1, choose).is_none_or(|count| count > most) {
        return Vec::new();
    }
    let mut sets = vec![Vec::new()];
    for left in (0..size).rev() {
        // Only what can still grow to its size: so there are never more than in the end.
        let larger = |set: &Vec<usize>| {
            let after = set.last().map_or(0, |last| last + 1);
            (after..all.len() - left).map(|at| [&set[..], &[at]].concat()).collect::<Vec<_>>()
        };
        sets = sets.iter().flat_map(larger).collect();
    }
    sets.into_iter().map(|set| set.into_iter().map(|at| all[at]).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEN: usize = 40;

    /// A row whose blocks were all read, and nobody knows which are right; and what it was.
    fn read(k: usize, m: usize, seed: u64) -> (Codec, Vec<Vec<u8>>, Vec<Found>) {
        let codec = Codec::new(k as u16, m as u16).unwrap();
        let mut bytes = vec![0; k * LEN];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        let mut row: Vec<Found> = bytes.chunks(LEN).map(|block| Found::Good(block.to_vec())).collect();
        row.resize(k + m, Found::Gone);
        let whole = codec.without(&row, &[]).unwrap();
        let row = whole.iter().cloned().map(Found::Doubtful).collect();
        (codec, whole, row)
    }

    fn words(codec: &Codec, row: &[Found], most: usize) -> Vec<Vec<Vec<u8>>> {
        let mut words = Vec::new();
        let (mut left, mut take) = (most, |word: &[Vec<u8>]| words.push(word.to_vec()));
        let any = codec.words(row, &mut left, &mut take).unwrap();
        assert_eq!(any, !words.is_empty());
        assert!(words.len() <= most - left + 1);
        words
    }

    fn spoil(row: &mut [Found], i: usize, columns: std::ops::Range<usize>) {
        if let Found::Doubtful(bytes) = &mut row[i] {
            bytes[columns]
                .iter_mut()
                .enumerate()
                .for_each(|(n, byte)| *byte ^= (1 + (n + 1) * (2 * i + 3) % 255) as u8);
        }
    }

    proptest! {
        /// Up to half of the parity, the same columns or others.
        #[test]
        fn wrong_blocks_that_columns_tell_are_found((k, m) in (1usize..20, 2usize..8), seed in any::<u64>(), apart: bool) {
            let (codec, whole, mut row) = read(k, m, seed);
            for n in 0..m / 2 {
                let from = if apart { 3 * n } else { 0 };
                spoil(&mut row, (seed as usize % 100 + n) % (k + m), from..from + 3);
            }
            prop_assert_eq!(words(&codec, &row, m / 2), [whole]);
        }

        #[test]
        fn where_no_column_tells_the_truth_is_among_the_words((k, m) in (1usize..9, 1usize..3), seed in any::<u64>()) {
            let (codec, whole, mut row) = read(k, m, seed);
            (0..m).for_each(|n| spoil(&mut row, (seed as usize % 9 + n) % (k + m), 0..LEN));
            prop_assert!(words(&codec, &row, 4096).contains(&whole));
        }
    }

    #[test]
    fn subsets_are_all_or_none() {
        assert_eq!(subsets(&[3, 5, 8], 2, 3), [[3, 5], [3, 8], [5, 8]]);
        assert_eq!(subsets(&[3, 5, 8], 0, 1), [[0; 0]]);
        assert_eq!(subsets(&(0..255).collect::<Vec<_>>(), 254, 255).len(), 255);
        assert!(subsets(&[3, 5, 8], 2, 2).is_empty());
        assert!(subsets(&(0..255).collect::<Vec<_>>(), 127, usize::MAX).is_empty());
    }

    #[test]
    fn what_is_gone_costs_parity_and_what_is_good_is_believed() {
        let (codec, whole, mut row) = read(4, 2, 1);
        row[5] = Found::Gone;
        assert_eq!(words(&codec, &row, 0), std::slice::from_ref(&whole));
        spoil(&mut row, 2, 7..8);
        let guesses = words(&codec, &row, 5);
        assert!(guesses.len() == 5 && guesses.contains(&whole));
        assert!(words(&codec, &row, 4).is_empty(), "more than are wanted");
        for i in [0, 1, 3, 4] {
            row[i] = Found::Good(whole[i].clone());
        }
        assert_eq!(words(&codec, &row, 0), [whole]);
    }

    #[test]
    fn with_too_little_there_are_no_words_and_with_just_enough_one() {
        let (codec, whole, mut row) = read(3, 2, 2);
        (row[0], row[4]) = (Found::Gone, Found::Gone);
        assert_eq!(words(&codec, &row, 0), [whole]);
        row[1] = Found::Gone;
        assert!(words(&codec, &row, 9).is_empty());
    }
}
