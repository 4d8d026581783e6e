//! One column of a row, the bytes at one position of all its blocks: which of them are wrong, and by how much.
//!
//! Columns are words of an evaluation code at the points 0…n−1 (`ckvault-format(5)`, rule 27): for l < M, the sum of
//! v_i·x_i^l·c_i over all volumes is 0, where v_i is the inverse of the product of all x_i − x_j. Of a word with errors these sums,
//! its *syndromes*, depend on the errors alone. The textbook finds errors by the inverses of their points. Here 0 is a point,
//! which has none, so it is the characteristic polynomial of the recurrence whose roots are looked for, not its reciprocal.

use reed_solomon_erasure::galois_8::{div, mul};

/// A wrong byte: its volume, and what to add to it.
pub type Fix = (usize, u8);

/// The code of a group, by its columns.
pub struct Code {
    m: usize,
    weights: Vec<u8>,
}

impl Code {
    /// For K data and M parity volumes, K+M ≤ 255.
    pub fn new(k: usize, m: usize) -> Code {
        let points = || 0..(k + m).min(255) as u8;
        let product = |x: u8| points().filter(|y| *y != x).fold(1, |product, y| mul(product, x ^ y));
        Code { m, weights: points().map(|x| div(1, product(x))).collect() }
    }

    /// The syndromes of a column that differs from a word of the code by `differences`.
    pub fn syndromes(&self, differences: impl Iterator<Item = Fix>) -> Vec<u8> {
        let mut syndromes = vec![0; self.m];
        for (i, difference) in differences.filter(|(_, difference)| *difference != 0) {
            let mut term = mul(self.weights[i], difference);
            for syndrome in &mut syndromes {
                *syndrome ^= term;
                term = mul(term, i as u8);
            }
        }
        syndromes
    }
}

/// Decodes columns in which the same bytes are erased and the same bytes may be wrong.
pub struct Decoder<'a> {
    code: &'a Code,
    erased: Vec<usize>,
    suspects: Vec<usize>,
    /// The polynomial with the erased points as its roots, its constant first.
    gamma: Vec<u8>,
}

impl<'a> Decoder<'a> {
    /// Of the bytes, those of `erased` (at most M) count for nothing, and errors are looked for among `suspects` alone.
    pub fn new(code: &'a Code, erased: Vec<usize>, suspects: Vec<usize>) -> Decoder<'a> {
        let gamma = erased.iter().fold(vec![1], |gamma, i| times_root(gamma, *i as u8));
        Decoder { code, erased, suspects, gamma }
    }

    /// What is erased.
    pub fn erased(&self) -> &[usize] {
        &self.erased
    }

    /// Where errors are looked for.
    pub fn suspects(&self) -> &[usize] {
        &self.suspects
    }

    /// How many syndromes are left once the erased bytes are accounted for: two pay for an error.
    pub fn spare(&self) -> usize {
        self.code.m.saturating_sub(self.erased.len())
    }

    /// What turns the column into a word of the code, with as few errors as can be; `None` if that takes more of them than
    /// half of [`Decoder::spare`], or one that is not among the suspects. With more errors than that in truth, the answer may
    /// be wrong: only a hash can tell.
    pub fn decode(&self, syndromes: &[u8]) -> Option<Vec<Fix>> {
        let mut locator = recurrence(&self.without_erasures(syndromes));
        locator.reverse();
        let errors = locator.len() - 1;
        if 2 * errors > self.spare() {
            return None;
        }
        let wrong: Vec<usize> = match errors {
            0 => Vec::new(),
            _ => self.suspects.iter().copied().filter(|i| evaluate(&locator, *i as u8) == 0).collect(),
        };
        if wrong.len() != errors {
            return None;
        }
        self.values(&wrong, syndromes)
    }

    /// Combines the syndromes so that erased bytes no longer count in them.
    fn without_erasures(&self, syndromes: &[u8]) -> Vec<u8> {
        syndromes.windows(self.gamma.len()).map(|window| dot(&self.gamma, window)).collect()
    }

    /// Solves for the bytes at the erased and the wrong places: for each, the polynomial that is 0 at all the others singles
    /// its share of the syndromes out.
    fn values(&self, wrong: &[usize], syndromes: &[u8]) -> Option<Vec<Fix>> {
        let places = || self.erased.iter().chain(wrong).copied();
        let all = wrong.iter().fold(self.gamma.clone(), |all, i| times_root(all, *i as u8));
        let mut left = syndromes.to_vec();
        let mut fixes = Vec::with_capacity(all.len() - 1);
        for i in places() {
            let others = without_root(&all, i as u8);
            let mut share = div(dot(&others, syndromes), evaluate(&others, i as u8));
            fixes.push((i, div(share, self.code.weights[i])));
            for syndrome in &mut left {
                *syndrome ^= share;
                share = mul(share, i as u8);
            }
        }
        left.iter().all(|syndrome| *syndrome == 0).then_some(fixes)
    }
}

fn dot(a: &[u8], b: &[u8]) -> u8 {
    a.iter().zip(b).fold(0, |sum, (a, b)| sum ^ mul(*a, *b))
}

/// Polynomials have their constant first.
fn evaluate(polynomial: &[u8], x: u8) -> u8 {
    polynomial.iter().rev().fold(0, |value, coefficient| mul(value, x) ^ coefficient)
}

/// `polynomial` · (z − x).
fn times_root(polynomial: Vec<u8>, x: u8) -> Vec<u8> {
    let mut product: Vec<u8> = polynomial.iter().map(|coefficient| mul(*coefficient, x)).collect();
    product.push(0);
    product[1..].iter_mut().zip(&polynomial).for_each(|(to, from)| *to ^= from);
    product
}

/// `polynomial` / (z − x), where x is a root.
fn without_root(polynomial: &[u8], x: u8) -> Vec<u8> {
    let mut quotient = polynomial[1..].to_vec();
    for at in (1..quotient.len()).rev() {
        quotient[at - 1] ^= mul(quotient[at], x);
    }
    quotient
}

/// Berlekamp–Massey: c_0 = 1, c_1, … c_L of the shortest recurrence Σ c_j·s_(i−j) = 0, L ≤ i, that `sequence` obeys.
fn recurrence(sequence: &[u8]) -> Vec<u8> {
    let (mut current, mut before) = (vec![1u8], vec![1u8]);
    let (mut length, mut shift, mut discrepancy_before) = (0, 1, 1u8);
    for i in 0..sequence.len() {
        let back = sequence[..=i].iter().rev();
        let discrepancy = current.iter().zip(back).fold(0, |sum, (c, s)| sum ^ mul(*c, *s));
        if discrepancy == 0 {
            shift += 1;
            continue;
        }
        let kept = current.clone();
        current.resize(current.len().max(before.len() + shift), 0);
        let factor = div(discrepancy, discrepancy_before);
        current[shift..].iter_mut().zip(&before).for_each(|(to, from)| *to ^= mul(factor, *from));
        if 2 * length <= i {
            (length, before, discrepancy_before, shift) = (i + 1 - length, kept, discrepancy, 1);
        } else {
            shift += 1;
        }
    }
    current.resize(length + 1, 0);
    current
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All subsets of 0…n−1 with `size` elements.
    fn subsets(n: usize, size: usize) -> Vec<Vec<usize>> {
        (0u32..1 << n)
            .filter(|bits| bits.count_ones() as usize == size)
            .map(|bits| (0..n).filter(|i| bits >> i & 1 == 1).collect())
            .collect()
    }

    fn without_zeros(mut fixes: Vec<Fix>) -> Vec<Fix> {
        fixes.retain(|(_, by)| *by != 0);
        fixes.sort_unstable();
        fixes
    }

    fn values(seed: u64) -> impl FnMut() -> u8 {
        let mut state = seed.wrapping_mul(2) | 1;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        }
    }

    #[test]
    fn words_of_the_code_have_no_syndromes() {
        for (k, m) in [(1, 1), (1, 4), (5, 3), (16, 2), (128, 127), (254, 1)] {
            let mut next = values(k as u64);
            let mut word: Vec<Vec<u8>> = (0..k).map(|_| vec![next()]).chain(vec![vec![0]; m]).collect();
            let (data, parity) = word.split_at_mut(k);
            let data: Vec<&[u8]> = data.iter().map(|d| &d[..]).collect();
            let mut parity: Vec<&mut [u8]> = parity.iter_mut().map(|p| &mut p[..]).collect();
            super::super::Codec::new(k as u16, m as u16).unwrap().encode(&data, &mut parity).unwrap();
            let syndromes = Code::new(k, m).syndromes(word.iter().map(|b| b[0]).enumerate());
            assert_eq!(syndromes, vec![0; m], "{k}+{m}");
        }
    }

    /// Every place of every bearable number of errors and erasures, the point 0 among them.
    #[test]
    fn every_pattern_within_the_bound_is_decoded() {
        for (k, m) in [(2, 2), (4, 2), (3, 3), (4, 4), (2, 5), (2, 6)] {
            let (n, code, mut next) = (k + m, Code::new(k, m), values(m as u64));
            let weights = (0..=m).flat_map(|e| (0..=(m - e) / 2).map(move |t| (e, t)));
            for (erased, wrong) in weights.flat_map(|(e, t)| {
                subsets(n, e)
                    .into_iter()
                    .flat_map(move |erased| subsets(n, t).into_iter().map(move |w| (erased.clone(), w)))
            }) {
                if wrong.iter().any(|i| erased.contains(i)) {
                    continue;
                }
                let suspects = (0..n).filter(|i| !erased.contains(i)).collect();
                let truth: Vec<Fix> = (erased.iter().map(|i| (*i, next())))
                    .chain(wrong.iter().map(|i| (*i, 1)).collect::<Vec<_>>())
                    .map(|(i, by)| (i, if wrong.contains(&i) { 1 << (i % 8) } else { by }))
                    .collect();
                let syndromes = code.syndromes(truth.iter().copied());
                let fixes = Decoder::new(&code, erased.clone(), suspects).decode(&syndromes);
                assert_eq!(fixes.map(without_zeros), Some(without_zeros(truth)), "{k}+{m} {erased:?} {wrong:?}");
            }
        }
    }

    /// The nearest word by trying all of them: all sets of places that could be wrong, and all values there.
    fn by_trying(code: &Code, n: usize, most: usize, suspects: &[usize], syndromes: &[u8]) -> Option<Vec<Fix>> {
        let sets = (0..=most).flat_map(|t| subsets(n, t)).filter(|set| set.iter().all(|i| suspects.contains(i)));
        sets.flat_map(|set| {
            let count = 255u32.pow(set.len() as u32);
            (0..count).map(move |number| {
                let value = |at: usize| (number / 255u32.pow(at as u32) % 255) as u8 + 1;
                set.iter().enumerate().map(|(at, i)| (*i, value(at))).collect::<Vec<Fix>>()
            })
        })
        .find(|fixes| code.syndromes(fixes.iter().copied()) == syndromes)
    }

    #[test]
    fn any_syndromes_at_all_are_decoded_as_trying_does() {
        for (k, m, suspects) in [(4, 2, vec![0, 1, 2, 3, 4, 5]), (4, 3, vec![0, 2, 3, 6]), (3, 4, vec![0, 1, 5])] {
            let (n, code, mut next) = (k + m, Code::new(k, m), values(77 + m as u64));
            for _ in 0..40 {
                // Of three bytes the first two are often so that a decoder is led to an innocent point.
                let truth = [(0, next()), (n / 2, next()), (n - 1, next() & 1)];
                let syndromes = code.syndromes(truth.into_iter());
                let fixes = Decoder::new(&code, Vec::new(), suspects.clone()).decode(&syndromes).map(without_zeros);
                assert_eq!(fixes, by_trying(&code, n, m / 2, &suspects, &syndromes), "{k}+{m} {truth:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn large_codes_are_decoded_up_to_the_bound(m in 1usize..128, k in 1usize..128, seed in any::<u64>()) {
            let (n, code, mut next) = (k + m, Code::new(k, m), values(seed));
            let e = next() as usize % (m + 1);
            let t = (m - e) / 2;
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by_key(|i| (seed ^ *i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let wrong = &order[..(e + t).min(n)];
            let truth: Vec<Fix> = wrong.iter().map(|i| (*i, next().max(1))).collect();
            let decoder = Decoder::new(&code, order[..e].to_vec(), order[e..].to_vec());
            let fixes = decoder.decode(&code.syndromes(truth.iter().copied()));
            prop_assert_eq!(fixes.map(without_zeros), Some(without_zeros(truth)));
        }
    }
}
