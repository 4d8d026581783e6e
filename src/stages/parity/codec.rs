//! Encoding rows, and reconstructing what is known to be missing.

use crate::error::{Error, Result};
use reed_solomon_erasure::galois_8::ReedSolomon;

/// Encodes and reconstructs the rows of a group.
pub struct Codec(pub(super) ReedSolomon);

impl Codec {
    /// For K data and M parity volumes, 1 ≤ M and K+M ≤ 255.
    pub fn new(k: u16, m: u16) -> Result<Codec> {
        let made = ReedSolomon::new(k.into(), m.into());
        made.map(Codec).map_err(|e| Error::Internal(format!("{k}+{m} volumes: {e}")))
    }

    /// Computes the parity of slices of equal length.
    pub fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) -> Result<()> {
        self.0.encode_sep(data, parity).map_err(internal)
    }

    /// Fills in the data slices that are marked `false`, from at least K others that are marked `true`.
    pub fn reconstruct_data(&self, slices: &mut [(&mut [u8], bool)]) -> Result<()> {
        self.0.reconstruct_data(slices).map_err(internal)
    }

    /// Fills in every slice that is marked `false`.
    pub fn reconstruct(&self, slices: &mut [(&mut [u8], bool)]) -> Result<()> {
        self.0.reconstruct(slices).map_err(internal)
    }
}

/// What the library calls an error is one of ours: lengths and numbers are checked before.
pub fn internal(e: reed_solomon_erasure::Error) -> Error {
    Error::Internal(format!("reed-solomon: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(k: usize, m: usize, len: usize, seed: u64) -> Vec<Vec<u8>> {
        let mut state = seed | 1;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        let mut row: Vec<Vec<u8>> = (0..k).map(|_| (0..len).map(|_| next()).collect()).collect();
        row.extend(vec![vec![0; len]; m]);
        let (data, parity) = row.split_at_mut(k);
        let data: Vec<&[u8]> = data.iter().map(|d| &d[..]).collect();
        let mut parity: Vec<&mut [u8]> = parity.iter_mut().map(|p| &mut p[..]).collect();
        Codec::new(k as u16, m as u16).unwrap().encode(&data, &mut parity).unwrap();
        row
    }

    fn shapes() -> impl Strategy<Value = (usize, usize)> {
        prop_oneof![
            Just((1, 1)),
            Just((2, 1)),
            Just((4, 2)),
            Just((16, 2)),
            Just((8, 4)),
            Just((11, 13)),
            Just((15, 9)),
            Just((100, 20)),
            Just((254, 1)),
            Just((1, 254)),
            Just((128, 127)),
            (1usize..40, 1usize..20),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_m_losses_are_repaired((k, m) in shapes(), seed in any::<u64>(), len in 1usize..200) {
            let whole = row(k, m, len, seed);
            let mut order: Vec<usize> = (0..k + m).collect();
            order.sort_by_key(|i| (seed ^ *i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let lost = &order[..m];
            let mut damaged = whole.clone();
            for i in lost { damaged[*i].fill(0xAA); }
            let mut slices: Vec<(&mut [u8], bool)> =
                damaged.iter_mut().enumerate().map(|(i, s)| (&mut s[..], !lost.contains(&i))).collect();
            Codec::new(k as u16, m as u16).unwrap().reconstruct(&mut slices).unwrap();
            prop_assert_eq!(damaged, whole);
        }

        #[test]
        fn one_loss_more_is_refused((k, m) in shapes(), seed in any::<u64>()) {
            let mut damaged = row(k, m, 8, seed);
            let mut slices: Vec<(&mut [u8], bool)> =
                damaged.iter_mut().enumerate().map(|(i, s)| (&mut s[..], i > m)).collect();
            prop_assert!(Codec::new(k as u16, m as u16).unwrap().reconstruct(&mut slices).is_err());
        }
    }

    /// The matrix is part of the format: parity byte j of a row is its interpolation polynomial (the polynomial of degree
    /// below K through the data at the points 0…K−1) at the point K+j. Checked here without the crate.
    #[test]
    fn the_code_evaluates_the_interpolation_polynomial() {
        fn mul(mut a: u8, mut b: u8) -> u8 {
            let mut product = 0;
            while b != 0 {
                if b & 1 != 0 {
                    product ^= a;
                }
                let carry = a & 0x80 != 0;
                a <<= 1;
                if carry {
                    a ^= 0x1d;
                }
                b >>= 1;
            }
            product
        }
        fn inverse(a: u8) -> u8 {
            (1..=255u8).find(|b| mul(a, *b) == 1).unwrap()
        }
        let (k, m) = (5usize, 3usize);
        let row = row(k, m, 4, 99);
        let byte = |volume: usize, at: usize| row[volume][at];
        for (j, at) in (0..m).flat_map(|j| (0..4).map(move |at| (j, at))) {
            let x = (k + j) as u8;
            let lagrange = |i: usize| {
                let others = (0..k).filter(|l| *l != i).map(|l| l as u8);
                others.fold(1, |p, l| mul(p, mul(x ^ l, inverse(i as u8 ^ l))))
            };
            let expected = (0..k).fold(0, |sum, i| sum ^ mul(byte(i, at), lagrange(i)));
            assert_eq!(byte(k + j, at), expected);
        }
    }
}
