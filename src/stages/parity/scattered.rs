//! Rows with more than M bad blocks, of which nearly every byte is right.
//!
//! A block is judged as a whole, so one flipped byte in each of M + 1 blocks is more than erasures can repair. But the flips are
//! hardly ever in the same column, and M parity bytes find and correct M/2 errors in each. What comes of it is a guess
//! until the hash of the block agrees. Each block that does is one place less where errors can be, so rounds follow each
//! other until M bad blocks or fewer are left, which the good ones give back.

use super::codec::{Codec, internal};
use super::column::{Code, Decoder, Fix};
use crate::error::{Error, Result};

/// Columns that are looked at together. Enough for the vector code, few enough for the cache, and to see soon that a row is
/// not worth the time.
const CHUNK: usize = 2048;
/// Columns after which a block that is wrong in most of them counts as rubbish: more than a bad sector.
const ENOUGH: usize = 4 * CHUNK;
/// Hashes of a row that may be spent on guesses; some 10 µs each.
const MOST_TRIES: usize = 1024;
/// Columns at this distance are likely to have been damaged together.
const NEAR: usize = 16;
/// Fixes of a block of which each is left out in turn.
const MOST_LEFT_OUT: usize = 64;
/// Columns beyond the bound that are decoded for one error more.
const MOST_FAILED: usize = 16;
/// Steps in the field that finding such fixes for a block may take.
const MOST_STEPS: usize = 1 << 18;

/// What [`Mending::attempt`] makes of fixes alone.
const NO_CHANGE: (usize, u8) = (0, 0);

/// One block of a row, as it was found. All that are there have one length, padded with zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It has its hash.
    Good(Vec<u8>),
    /// It can be read and does not have its hash.
    Doubtful(Vec<u8>),
    /// It cannot be read.
    Gone,
}

impl Found {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Found::Good(bytes) | Found::Doubtful(bytes) => bytes,
            Found::Gone => &[],
        }
    }

    pub(super) fn is_good(&self) -> bool {
        matches!(self, Found::Good(_))
    }
}

/// Whether the block with this index has its hash when it consists of these bytes.
pub type Agrees<'a> = &'a dyn Fn(usize, &[u8]) -> bool;

impl Codec {
    /// Makes as many blocks of a row good as it can, none of them without the consent of `agrees`; true if that is all of them.
    /// Blocks that do not become good stay as they were. Takes long only where there is hope.
    pub fn mend(&self, row: &mut [Found], agrees: Agrees) -> Result<bool> {
        let Some(len) = self.length(row)? else { return Ok(false) };
        let m = self.0.parity_shard_count();
        if bad(row) > m {
            self.narrow_down(row, len, agrees)?;
        }
        match bad(row) {
            0 => Ok(true),
            bad if bad <= m => self.fill_in(row, len, agrees),
            _ => Ok(false),
        }
    }

    /// Goes through rounds until no more than M blocks are bad, or a round does not help.
    fn narrow_down(&self, row: &mut [Found], len: usize, agrees: Agrees) -> Result<()> {
        let (k, m) = (self.0.data_shard_count(), self.0.parity_shard_count());
        // An error costs two syndromes: one to find it, one to correct it.
        if row.iter().filter(|block| **block == Found::Gone).count() + 2 > m {
            return Ok(());
        }
        let code = Code::new(k, m);
        let mut mending = Mending::new(self, &code, len, agrees);
        while bad(row) > m && mending.round(row)? {}
        Ok(())
    }

    /// The length of the blocks; `None` if there are none, or nothing in them.
    fn length(&self, row: &[Found]) -> Result<Option<usize>> {
        let mut lengths = row.iter().filter(|block| **block != Found::Gone).map(|block| block.bytes().len());
        let first = lengths.next();
        if row.len() != self.0.total_shard_count() || lengths.any(|len| Some(len) != first) {
            return Err(Error::Internal(format!("a row of {} blocks is ragged", row.len())));
        }
        Ok(first.filter(|len| *len > 0))
    }

    /// Reconstructs what is not good from what is.
    fn fill_in(&self, row: &mut [Found], len: usize, agrees: Agrees) -> Result<bool> {
        let mut made: Vec<Vec<u8>> = row.iter().map(|b| if b.is_good() { Vec::new() } else { vec![0; len] }).collect();
        let mut slices: Vec<(&mut [u8], bool)> = Vec::with_capacity(row.len());
        for (block, made) in row.iter_mut().zip(&mut made) {
            slices.push(match block {
                Found::Good(bytes) => (bytes, true),
                _ => (made, false),
            });
        }
        self.reconstruct(&mut slices)?;
        for (i, (block, made)) in row.iter_mut().zip(made).enumerate() {
            if !block.is_good() && agrees(i, &made) {
                *block = Found::Good(made);
            }
        }
        Ok(row.iter().all(Found::is_good))
    }
}

fn bad(row: &[Found]) -> usize {
    row.iter().filter(|block| !block.is_good()).count()
}

/// What is known of a row while it is mended.
struct Mending<'a> {
    codec: &'a Codec,
    code: &'a Code,
    agrees: Agrees<'a>,
    len: usize,
    /// Doubtful blocks that count as erased, because most of their bytes are wrong: that costs half as much.
    rubbish: Vec<bool>,
    /// The erased blocks, as far as the others give them back.
    made: Vec<Vec<u8>>,
    /// Columns that were not words of the code as they were found. No others need to be looked at again.
    columns: Vec<usize>,
    tries: usize,
}

/// What one look at the columns has found.
#[derive(Default)]
struct Findings {
    /// By block, columns and what to add there.
    fixes: Vec<Vec<(usize, u8)>>,
    /// Columns beyond the bound, with their syndromes.
    failed: Vec<(usize, Vec<u8>)>,
    /// All columns in which something is wrong.
    columns: Vec<usize>,
    /// Blocks that are next to nothing but wrong.
    rubbish: Vec<usize>,
}

impl<'a> Mending<'a> {
    fn new(codec: &'a Codec, code: &'a Code, len: usize, agrees: Agrees<'a>) -> Mending<'a> {
        let n = codec.0.total_shard_count();
        Mending {
            codec,
            code,
            agrees,
            len,
            rubbish: vec![false; n],
            made: vec![Vec::new(); n],
            columns: (0..len).collect(),
            tries: MOST_TRIES,
        }
    }

    /// Looks at the columns once, and makes good what it can; false if the row is no further than before.
    fn round(&mut self, row: &mut [Found]) -> Result<bool> {
        let is_erased = |i: &usize| self.rubbish[*i] || row[*i] == Found::Gone;
        let (erased, there): (Vec<usize>, Vec<usize>) =
            (0..row.len()).filter(|i| !row[*i].is_good()).partition(is_erased);
        erased.iter().for_each(|i| self.made[*i].resize(self.len, 0));
        let decoder = Decoder::new(self.code, erased, there);
        Ok(match self.look(row, &decoder)? {
            None => false,
            Some(findings) if !findings.rubbish.is_empty() => self.discard(row, &findings.rubbish),
            Some(mut findings) => {
                self.columns = std::mem::take(&mut findings.columns);
                self.accept(row, &decoder, &findings)
                    || self.leave_out(row, &decoder, &findings)
                    || self.stretch(row, &decoder, &findings)
            }
        })
    }

    /// Decodes all columns that may be wrong; `None` if that is in vain.
    fn look(&mut self, row: &[Found], decoder: &Decoder) -> Result<Option<Findings>> {
        let base = self.base(row, decoder);
        let mut findings = Findings { fixes: vec![Vec::new(); row.len()], ..Findings::default() };
        let mut word = vec![vec![0; CHUNK.min(self.columns.len())]; row.len()];
        let columns = std::mem::take(&mut self.columns);
        let mut seen = 0;
        for chunk in columns.chunks(CHUNK) {
            self.nearest(row, &base, chunk, &mut word)?;
            let goes_on = self.compare(row, decoder, &base, chunk, &word, &mut findings);
            if !goes_on || (seen == 0 && 2 * findings.failed.len() > CHUNK) {
                return Ok(None);
            }
            seen += chunk.len();
            // Of columns that are known to be wrong, most being wrong in one block does not say much of the others.
            if columns.len() == self.len && seen >= ENOUGH.min(self.len) {
                findings.rubbish = rubbish(decoder, &findings, seen);
            }
            if !findings.rubbish.is_empty() {
                break;
            }
        }
        self.columns = columns;
        Ok(Some(findings))
    }

    /// K blocks that are there, the good ones first: what they say the others should be is where the search begins.
    fn base(&self, row: &[Found], decoder: &Decoder) -> Vec<bool> {
        let good = (0..row.len()).filter(|i| row[*i].is_good());
        let chosen = good.chain(decoder.suspects().iter().copied()).take(self.codec.0.data_shard_count());
        let mut base = vec![false; row.len()];
        chosen.for_each(|i| base[i] = true);
        base
    }

    /// The words of the code that have, in these columns, the bytes of the blocks in `base`.
    fn nearest(&self, row: &[Found], base: &[bool], columns: &[usize], word: &mut [Vec<u8>]) -> Result<()> {
        let mut slices = Vec::with_capacity(row.len());
        for ((word, block), base) in word.iter_mut().zip(row).zip(base) {
            let word = &mut word[..columns.len()];
            if *base {
                gather(block.bytes(), columns, word);
            }
            slices.push((word, *base));
        }
        self.codec.0.reconstruct(&mut slices).map_err(internal)
    }

    /// Decodes those of the columns that are not equal to their word; false if too many of them fail.
    fn compare(
        &mut self,
        row: &[Found],
        decoder: &Decoder,
        base: &[bool],
        columns: &[usize],
        word: &[Vec<u8>],
        findings: &mut Findings,
    ) -> bool {
        let checks: Vec<usize> = (0..row.len()).filter(|i| !base[*i] && !decoder.erased().contains(i)).collect();
        for (at, column) in columns.iter().enumerate() {
            decoder.erased().iter().for_each(|i| self.made[*i][*column] = word[*i][at]);
            let differences = checks.iter().map(|i| (*i, row[*i].bytes()[*column] ^ word[*i][at]));
            if differences.clone().all(|(_, difference)| difference == 0) {
                continue;
            }
            findings.columns.push(*column);
            let syndromes = self.code.syndromes(differences);
            match decoder.decode(&syndromes) {
                None => findings.failed.push((*column, syndromes)),
                Some(fixes) => self.note(fixes, decoder, *column, findings),
            }
            if findings.failed.len() > patience(self.codec.0.parity_shard_count()) {
                return false;
            }
        }
        true
    }

    fn note(&mut self, fixes: Vec<Fix>, decoder: &Decoder, column: usize, findings: &mut Findings) {
        let (of_erased, of_suspects) = fixes.split_at(decoder.erased().len());
        of_erased.iter().for_each(|(i, by)| self.made[*i][column] ^= by);
        of_suspects.iter().for_each(|(i, by)| findings.fixes[*i].push((column, *by)));
    }

    /// Takes blocks for erased from now on. Where columns are right, so are their bytes.
    fn discard(&mut self, row: &[Found], rubbish: &[usize]) -> bool {
        for i in rubbish {
            self.rubbish[*i] = true;
            self.made[*i] = row[*i].bytes().to_vec();
        }
        true
    }

    /// Makes those blocks good that agree with all their fixes, or with those in places that are not damaged beyond hope.
    fn accept(&mut self, row: &mut [Found], decoder: &Decoder, findings: &Findings) -> bool {
        let mut progress = false;
        for i in decoder.suspects() {
            let fixes = &findings.fixes[*i];
            let apart = apart(fixes, &findings.failed);
            progress |= (!fixes.is_empty() && self.attempt(row, *i, fixes, &[NO_CHANGE]))
                || (apart.len() < fixes.len() && !apart.is_empty() && self.attempt(row, *i, &apart, &[NO_CHANGE]));
        }
        // An erased block has a wrong byte in every column that failed.
        for i in decoder.erased().iter().filter(|_| findings.failed.is_empty()) {
            if (self.agrees)(*i, &self.made[*i]) {
                row[*i] = Found::Good(std::mem::take(&mut self.made[*i]));
                progress = true;
            }
        }
        progress
    }

    /// Leaves fixes out one at a time: one error too many in a column can look like one in a block that has none there.
    fn leave_out(&mut self, row: &mut [Found], decoder: &Decoder, findings: &Findings) -> bool {
        let mut progress = false;
        for i in decoder.suspects() {
            let fixes = &findings.fixes[*i];
            if (2..=MOST_LEFT_OUT).contains(&fixes.len()) {
                progress |= self.guess(row, *i, fixes, fixes);
            }
        }
        progress
    }

    /// Tries, of each column that has failed, the fixes that a block can have there if the column has one error more than can be
    /// found. One block that agrees makes the others easier.
    fn stretch(&mut self, row: &mut [Found], decoder: &Decoder, findings: &Findings) -> bool {
        let failed = &findings.failed;
        let m = self.codec.0.parity_shard_count();
        let steps = failed.len() * decoder.suspects().len() * m * m;
        if failed.is_empty() || failed.len() > MOST_FAILED || steps > MOST_STEPS {
            return false;
        }
        decoder.suspects().iter().any(|i| {
            let changes = changes(self.code, decoder, *i, failed);
            self.guess(row, *i, &findings.fixes[*i], &changes)
        })
    }

    /// Like [`Mending::attempt`], as far as the tries go.
    fn guess(&mut self, row: &mut [Found], i: usize, fixes: &[(usize, u8)], changes: &[(usize, u8)]) -> bool {
        let changes = &changes[..changes.len().min(self.tries)];
        self.tries -= changes.len();
        self.attempt(row, i, fixes, changes)
    }

    /// Makes a block good if it agrees with its fixes and one of `changes`.
    fn attempt(&self, row: &mut [Found], i: usize, fixes: &[(usize, u8)], changes: &[(usize, u8)]) -> bool {
        let Found::Doubtful(bytes) = &mut row[i] else { return false };
        fixes.iter().for_each(|(column, by)| bytes[*column] ^= by);
        for (column, by) in changes {
            bytes[*column] ^= by;
            if (self.agrees)(i, bytes) {
                row[i] = Found::Good(std::mem::take(bytes));
                return true;
            }
            bytes[*column] ^= by;
        }
        fixes.iter().for_each(|(column, by)| bytes[*column] ^= by);
        false
    }
}

/// Blocks that are wrong in more than half of the columns seen, if what is left of the parity can still find an error.
fn rubbish(decoder: &Decoder, findings: &Findings, seen: usize) -> Vec<usize> {
    let wrong = decoder.suspects().iter().copied().filter(|i| 2 * findings.fixes[*i].len() > seen);
    wrong.take(decoder.spare().saturating_sub(2)).collect()
}

/// What a block can have to be changed by, if it is wrong in columns that have one error more than can be found: with the
/// block taken for erased, and another one beside it if an odd syndrome is not left over, the bound is just met.
fn changes(code: &Code, decoder: &Decoder, block: usize, failed: &[(usize, Vec<u8>)]) -> Vec<(usize, u8)> {
    let others = || decoder.suspects().iter().copied().filter(|i| *i != block);
    let partners: Vec<Option<usize>> = match decoder.spare() % 2 {
        0 => others().map(Some).collect(),
        _ => vec![None],
    };
    let mut changes = Vec::new();
    for partner in partners {
        let erased: Vec<usize> = decoder.erased().iter().copied().chain([block]).chain(partner).collect();
        let narrower = Decoder::new(code, erased, others().filter(|i| Some(*i) != partner).collect());
        for (column, syndromes) in failed {
            let fixes = narrower.decode(syndromes).unwrap_or_default();
            changes.extend(fixes.iter().filter(|(i, by)| *i == block && *by != 0).map(|(_, by)| (*column, *by)));
        }
    }
    changes.sort_unstable();
    changes.dedup();
    changes
}

/// How many columns of a row may fail before the rest is not looked at: a bad sector that all share, and a few milliseconds.
fn patience(m: usize) -> usize {
    ((1 << 17) / (m * m)).clamp(64, ENOUGH)
}

/// The fixes that are not near a column that has failed. Where most columns fail, the others are likely to be decoded wrongly.
fn apart(fixes: &[(usize, u8)], failed: &[(usize, Vec<u8>)]) -> Vec<(usize, u8)> {
    let near = |column: usize| {
        let next = failed.partition_point(|(other, _)| other + NEAR < column);
        failed.get(next).is_some_and(|(other, _)| *other <= column + NEAR)
    };
    fixes.iter().copied().filter(|(column, _)| !near(*column)).collect()
}

/// Picks the bytes in these columns, which are in order.
fn gather(bytes: &[u8], columns: &[usize], to: &mut [u8]) {
    match (columns.first(), columns.last()) {
        (Some(first), Some(last)) if last - first + 1 == columns.len() => to.copy_from_slice(&bytes[*first..=*last]),
        _ => to.iter_mut().zip(columns).for_each(|(to, column)| *to = bytes[*column]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    /// Numbers that depend on a seed alone.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) % limit as u64) as usize
        }

        fn byte(&mut self) -> u8 {
            self.below(256) as u8
        }
    }

    /// A row as it was written, and as it is found.
    struct Case {
        codec: Codec,
        whole: Vec<Vec<u8>>,
        hashes: Vec<blake3::Hash>,
        row: Vec<Found>,
        seed: u64,
        numbers: Numbers,
    }

    impl Case {
        fn new(k: usize, m: usize, len: usize, seed: u64) -> Case {
            let mut numbers = Numbers(seed);
            let codec = Codec::new(k as u16, m as u16).unwrap();
            let mut whole: Vec<Vec<u8>> = (0..k).map(|_| (0..len).map(|_| numbers.byte()).collect()).collect();
            whole.extend(vec![vec![0; len]; m]);
            let (data, parity) = whole.split_at_mut(k);
            let data: Vec<&[u8]> = data.iter().map(|d| &d[..]).collect();
            let mut parity: Vec<&mut [u8]> = parity.iter_mut().map(|p| &mut p[..]).collect();
            codec.encode(&data, &mut parity).unwrap();
            let hashes = whole.iter().map(|b| blake3::hash(b)).collect();
            let row = whole.iter().cloned().map(Found::Good).collect();
            Case { codec, whole, hashes, row, seed, numbers }
        }

        /// Makes the row whole again, for damage by another seed.
        fn start_again(&mut self, seed: u64) {
            (self.seed, self.numbers) = (seed, Numbers(seed));
            self.row = self.whole.iter().cloned().map(Found::Good).collect();
        }

        /// Makes a byte of a block wrong.
        fn spoil(&mut self, i: usize, column: usize, by: u8) {
            if self.row[i] != Found::Gone {
                let mut bytes = self.row[i].bytes().to_vec();
                bytes[column] ^= by;
                self.row[i] = if bytes == self.whole[i] { Found::Good(bytes) } else { Found::Doubtful(bytes) };
            }
        }

        /// Flips a bit in each of these blocks, no two of them in the same column.
        fn spoil_apart(&mut self, blocks: impl Iterator<Item = usize>) {
            let (len, start) = (self.whole[0].len(), self.numbers.below(self.whole[0].len()));
            for (at, i) in blocks.enumerate() {
                let bit = self.numbers.below(8);
                self.spoil(i, (start + at * 7) % len, 1 << bit);
            }
        }

        /// Flips bits anywhere.
        fn spoil_anywhere(&mut self, flips: usize) {
            for _ in 0..flips {
                let (i, bit) = (self.numbers.below(self.row.len()), self.numbers.below(8));
                let column = self.numbers.below(self.whole[0].len());
                self.spoil(i, column, 1 << bit);
            }
        }

        /// Fills a stretch of a block with anything.
        fn ruin(&mut self, i: usize, columns: std::ops::Range<usize>) {
            for column in columns {
                let by = self.numbers.byte();
                self.spoil(i, column, by);
            }
        }

        fn mend(&mut self) -> bool {
            let agrees = |i: usize, bytes: &[u8]| blake3::hash(bytes) == self.hashes[i];
            let mended = self.codec.mend(&mut self.row, &agrees).unwrap();
            assert_eq!(mended, self.row.iter().all(Found::is_good));
            for (found, whole) in self.row.iter().zip(&self.whole) {
                assert!(!found.is_good() || found.bytes() == whole, "seed {:#x}", self.seed);
            }
            mended
        }

        fn timed(&mut self) -> (bool, Duration) {
            let start = Instant::now();
            (self.mend(), start.elapsed())
        }
    }

    const BLOCK: usize = 64 << 10;
    const SHAPES: [(usize, usize); 12] =
        [(1, 1), (2, 1), (4, 2), (8, 4), (16, 2), (11, 13), (15, 9), (1, 20), (20, 3), (100, 20), (128, 127), (253, 2)];

    #[test]
    fn one_flip_in_every_block_is_mended_in_every_shape() {
        for (k, m) in SHAPES.into_iter().filter(|(_, m)| *m > 1) {
            let mut case = Case::new(k, m, 3000, 5);
            case.spoil_apart(0..k + m);
            assert!(case.mend(), "{k}+{m}");
        }
    }

    #[test]
    fn flips_beside_as_many_lost_blocks_as_leave_two_to_spare() {
        for (k, m) in SHAPES.into_iter().filter(|(_, m)| *m > 1) {
            let mut case = Case::new(k, m, 3000, 6);
            (0..m - 2).for_each(|i| case.row[(i * 5) % (k + m)] = Found::Gone);
            case.spoil_apart(0..k + m);
            assert!(case.mend(), "{k}+{m}");
        }
    }

    #[test]
    fn up_to_m_bad_blocks_need_no_decoding() {
        for (k, m) in SHAPES {
            let mut case = Case::new(k, m, 100, 7);
            (0..m / 2).for_each(|i| case.row[i] = Found::Gone);
            (m / 2..m).for_each(|i| case.ruin(i, 0..100));
            assert!(case.mend(), "{k}+{m}");
        }
    }

    #[test]
    fn what_cannot_be_mended_stays_as_it_was() {
        for (k, m, gone) in [(1, 1, 0), (2, 1, 1), (4, 2, 1), (16, 2, 3), (8, 4, 3)] {
            let mut case = Case::new(k, m, 500, 8);
            (0..gone).for_each(|i| case.row[i] = Found::Gone);
            (gone..k + m).for_each(|i| case.spoil(i, i, 4));
            let found = case.row.clone();
            assert!(!case.mend(), "{k}+{m}");
            assert!(case.row == found, "{k}+{m}");
        }
    }

    #[test]
    fn nothing_is_good_without_consent() {
        let mut case = Case::new(8, 4, 200, 9);
        case.spoil_apart(0..12);
        let found = case.row.clone();
        assert!(!case.codec.mend(&mut case.row, &|_, _| false).unwrap());
        assert!(case.row == found);
        // Where only some consent, only they are good.
        let agrees = |i: usize, bytes: &[u8]| i.is_multiple_of(3) && bytes == case.whole[i];
        assert!(!case.codec.mend(&mut case.row, &agrees).unwrap());
        let good: Vec<usize> = (0..12).filter(|i| case.row[*i].is_good()).collect();
        assert_eq!(good, [0, 3, 6, 9]);
    }

    #[test]
    fn ragged_rows_are_refused_and_empty_ones_not_mended() {
        let codec = Codec::new(2, 1).unwrap();
        let good = |len| Found::Good(vec![0; len]);
        assert!(codec.mend(&mut [good(3), good(4), Found::Gone], &|_, _| true).is_err());
        assert!(codec.mend(&mut [good(3), good(3)], &|_, _| true).is_err());
        assert!(!codec.mend(&mut [Found::Gone, Found::Gone, Found::Gone], &|_, _| true).unwrap());
    }

    /// With M = 2, the errors e at a and f at b look like one at c if the columns say so; it is made to be so here.
    #[test]
    fn an_innocent_block_that_two_errors_point_at_is_cleared() {
        let (k, m, len) = (16, 2, 2000);
        let (code, mut led_astray) = (Code::new(k, m), 0);
        let decoder = Decoder::new(&code, Vec::new(), (0..k + m).collect());
        for by in 1..=255 {
            let syndromes = code.syndromes([(3, 1), (9, by)].into_iter());
            let Some(&[(innocent, _)]) = decoder.decode(&syndromes).as_deref() else { continue };
            assert!(innocent != 3 && innocent != 9);
            let mut case = Case::new(k, m, len, 10);
            (0..k + m).for_each(|i| case.spoil(i, 10 * i, 1));
            case.spoil(3, 1000, 1);
            case.spoil(9, 1000, by);
            assert!(case.mend(), "{by} {innocent}");
            led_astray += 1;
        }
        assert!(led_astray > 8, "{led_astray}");
    }

    /// Three columns with two errors each, in six blocks: beyond M/2, and beyond M blocks.
    #[test]
    fn columns_with_one_error_more_than_can_be_found() {
        for (k, m) in [(16, 2), (16, 3), (16, 4), (16, 5)] {
            let mut case = Case::new(k, m, 4000, 11);
            (0..k + m).for_each(|i| case.spoil(i, 10 * i, 1));
            for column in 0..3 {
                (0..m / 2 + 1).for_each(|at| case.spoil((column * 5 + at * 7) % (k + m), 1000 + column, 1 << at));
            }
            assert!(case.mend(), "{k}+{m}");
        }
    }

    #[test]
    fn bad_sectors_of_all_blocks_that_do_not_overlap() {
        let mut case = Case::new(16, 2, BLOCK, 12);
        (0..18).for_each(|i| case.ruin(i, i * 3500..i * 3500 + 3000));
        assert!(case.mend());
    }

    /// Three blocks are lost for good, in the same sector; the flips of the others are none of their business.
    #[test]
    fn blocks_beside_a_hole_are_saved() {
        let mut case = Case::new(16, 2, BLOCK, 15);
        (0..18).for_each(|i| case.spoil(i, 20_000 + i, 8));
        (4..7).for_each(|i| case.ruin(i, 4096..8192));
        assert!(!case.mend());
        assert_eq!(bad(&case.row), 3);
    }

    #[test]
    fn rubbish_among_flips_is_told_apart() {
        for (m, ruined) in [(3, 1), (4, 2), (9, 4)] {
            let mut case = Case::new(14, m, BLOCK / 2, 13);
            (0..ruined).for_each(|i| case.ruin(i * 3, 0..BLOCK / 2));
            case.spoil_apart(0..14 + m);
            assert!(case.mend(), "{m}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        /// Whatever the damage: what is good afterwards is right ([`Case::mend`] looks at that), and the rest as it was.
        #[test]
        fn no_damage_makes_a_wrong_block_good(shape in 0..SHAPES.len(), seed in any::<u64>(), len in 1usize..600,
                flips in 0usize..200, gone in 0usize..4, ruined in 0usize..4) {
            let (k, m) = SHAPES[shape];
            let mut case = Case::new(k, m, len, seed);
            for _ in 0..gone {
                let i = case.numbers.below(k + m);
                case.row[i] = Found::Gone;
            }
            case.spoil_anywhere(flips);
            for _ in 0..ruined {
                let i = case.numbers.below(k + m);
                case.ruin(i, 0..len);
            }
            let found = case.row.clone();
            let repairable = bad(&found) <= m;
            let mended = case.mend();
            prop_assert!(mended || !repairable);
            for (now, before) in case.row.iter().zip(&found) {
                prop_assert!(now.is_good() || now == before);
            }
        }
    }

    /// What is known of the odds: flips in a set of 16+2 on worn drives. The figures are printed with `--nocapture`.
    #[test]
    fn rows_with_flips_in_all_blocks_are_mended_nearly_always() {
        let mut case = Case::new(16, 2, BLOCK, 1);
        for (flips, rows, at_least) in [(21, 200, 199), (200, 20, 19), (600, 20, 12)] {
            let (mut mended, mut longest, mut total) = (0, Duration::ZERO, Duration::ZERO);
            for seed in 0..rows {
                case.start_again(0x5EED + seed);
                (0..18).for_each(|i| {
                    let column = case.numbers.below(BLOCK);
                    case.spoil(i, column, 1);
                });
                case.spoil_anywhere(flips - 18);
                let (whole, took) = case.timed();
                if !whole {
                    println!("not mended: seed {:#x}, {flips} flips", case.seed);
                }
                mended += u64::from(whole);
                (longest, total) = (longest.max(took), total + took);
            }
            println!("16+2, {flips} flips: {mended} of {rows}, {:?} each, at most {longest:?}", total / rows as u32);
            assert!(mended >= at_least, "{flips} flips: {mended} of {rows}");
        }
    }

    /// Figures alone: what rows cost that nothing can mend.
    #[test]
    fn hopeless_rows_are_given_up() {
        for (k, m, ruined) in [(16, 2, 3), (16, 2, 18), (11, 13, 14), (15, 9, 10), (128, 127, 128)] {
            let mut case = Case::new(k, m, BLOCK, 14);
            (0..ruined).for_each(|i| case.ruin(i, 0..BLOCK));
            let (mended, took) = case.timed();
            println!("{k}+{m}, {ruined} blocks ruined: {took:?}");
            assert!(!mended);
        }
    }
}
