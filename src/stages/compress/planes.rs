//! Byte planes: the bytes of the same significance of all words of a range, one after the other. A permutation of bits, in
//! both directions. Rotating words left by one bit first puts the eight exponent bits of a bf16 or fp32 into one byte, and the
//! sign beside the mantissa.
//!
//! The loops go plane by plane over blocks that stay in the cache: that is the form which the compiler turns into vector
//! instructions for any x86-64 (16 GB/s, where taking all planes of a word at once gave 3.6).

use crate::format::filter::Shape;

/// Words that are taken apart at a time.
const BLOCK: usize = 2048;

/// Words that are put together at a time.
const LANE: usize = 64;

/// A word of N bytes, the lowest first.
trait Word<const N: usize>: Copy + Default {
    fn load(bytes: [u8; N]) -> Self;
    fn store(self) -> [u8; N];
    fn rotated(self) -> Self;
    fn unrotated(self) -> Self;
    fn byte(self, plane: usize) -> u8;
    fn with(self, plane: usize, byte: u8) -> Self;
}

macro_rules! word {
    ($word:ty, $bytes:literal) => {
        impl Word<$bytes> for $word {
            fn load(bytes: [u8; $bytes]) -> Self {
                <$word>::from_le_bytes(bytes)
            }
            fn store(self) -> [u8; $bytes] {
                self.to_le_bytes()
            }
            fn rotated(self) -> Self {
                self.rotate_left(1)
            }
            fn unrotated(self) -> Self {
                self.rotate_right(1)
            }
            fn byte(self, plane: usize) -> u8 {
                (self >> (8 * plane)) as u8
            }
            fn with(self, plane: usize, byte: u8) -> Self {
                self | (<$word>::from(byte) << (8 * plane))
            }
        }
    };
}
word!(u16, 2);
word!(u32, 4);
word!(u64, 8);

/// Takes `plain` apart into planes, the lowest bytes first. The rest of a word at its end stands behind them as it is.
pub fn split(shape: Shape, plain: &[u8], out: &mut [u8]) {
    match (shape.stride(), shape.is_rotated()) {
        (2, false) => split_words::<u16, 2, false>(plain, out),
        (2, true) => split_words::<u16, 2, true>(plain, out),
        (4, false) => split_words::<u32, 4, false>(plain, out),
        (4, true) => split_words::<u32, 4, true>(plain, out),
        (8, false) => split_words::<u64, 8, false>(plain, out),
        (8, true) => split_words::<u64, 8, true>(plain, out),
        _ => out.copy_from_slice(plain),
    }
}

/// Puts together what [`split`] has taken apart.
pub fn join(shape: Shape, planes: &[u8], plain: &mut [u8]) {
    match (shape.stride(), shape.is_rotated()) {
        (2, false) => join_words::<u16, 2, false>(planes, plain),
        (2, true) => join_words::<u16, 2, true>(planes, plain),
        (4, false) => join_words::<u32, 4, false>(planes, plain),
        (4, true) => join_words::<u32, 4, true>(planes, plain),
        (8, false) => join_words::<u64, 8, false>(planes, plain),
        (8, true) => join_words::<u64, 8, true>(planes, plain),
        _ => plain.copy_from_slice(planes),
    }
}

fn split_words<W: Word<N>, const N: usize, const ROTATED: bool>(plain: &[u8], out: &mut [u8]) {
    let (words, rest) = plain.as_chunks::<N>();
    let (planes, tail) = out.split_at_mut(words.len() * N);
    tail.copy_from_slice(rest);
    let mut planes: Vec<&mut [u8]> = planes.chunks_mut(words.len().max(1)).collect();
    for (i, words) in words.chunks(BLOCK).enumerate() {
        for (k, plane) in planes.iter_mut().enumerate() {
            let at = i * BLOCK;
            take_plane::<W, N, ROTATED>(words, k, &mut plane[at..at + words.len()]);
        }
    }
}

#[inline(never)]
fn take_plane<W: Word<N>, const N: usize, const ROTATED: bool>(words: &[[u8; N]], k: usize, plane: &mut [u8]) {
    for (byte, word) in plane.iter_mut().zip(words) {
        let word = W::load(*word);
        *byte = if ROTATED { word.rotated() } else { word }.byte(k);
    }
}

fn join_words<W: Word<N>, const N: usize, const ROTATED: bool>(planes: &[u8], plain: &mut [u8]) {
    let (words, rest) = plain.as_chunks_mut::<N>();
    let (planes, tail) = planes.split_at(words.len() * N);
    rest.copy_from_slice(tail);
    let Ok(mut planes) = <[&[u8]; N]>::try_from(planes.chunks(words.len().max(1)).collect::<Vec<_>>()) else { return };
    let (lanes, words) = words.as_chunks_mut::<LANE>();
    for lane in lanes {
        // Of a known length, so that it becomes vector instructions.
        let parts = planes.map(|plane| plane.first_chunk::<LANE>().unwrap_or(&[0; LANE]));
        planes = planes.map(|plane| plane.get(LANE..).unwrap_or_default());
        let joined: [W; LANE] = std::array::from_fn(|i| join_word::<W, N, ROTATED>(|k| parts[k][i]));
        for (word, joined) in lane.iter_mut().zip(joined) {
            *word = joined.store();
        }
    }
    for (i, word) in words.iter_mut().enumerate() {
        *word = join_word::<W, N, ROTATED>(|k| planes[k][i]).store();
    }
}

#[inline(always)]
fn join_word<W: Word<N>, const N: usize, const ROTATED: bool>(byte: impl Fn(usize) -> u8) -> W {
    let word = (0..N).fold(W::default(), |word, k| word.with(k, byte(k)));
    if ROTATED { word.unrotated() } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: bit by bit.
    fn split_slowly(shape: Shape, plain: &[u8]) -> Vec<u8> {
        let n = shape.stride();
        let words = plain.len() / n;
        let mut out = plain.to_vec();
        for (i, word) in plain.chunks_exact(n).enumerate().filter(|_| n > 1) {
            for bit in 0..8 * n {
                let to = if shape.is_rotated() { (bit + 1) % (8 * n) } else { bit };
                let value = word[bit / 8] >> (bit % 8) & 1;
                let byte = &mut out[to / 8 * words + i];
                *byte = *byte & !(1 << (to % 8)) | value << (to % 8);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(shape in 0usize..7, plain in prop::collection::vec(any::<u8>(), 0..40_000)) {
            let shape = Shape::ALL[shape];
            let (mut planes, mut back) = (vec![0; plain.len()], vec![0; plain.len()]);
            split(shape, &plain, &mut planes);
            prop_assert_eq!(&planes, &split_slowly(shape, &plain));
            join(shape, &planes, &mut back);
            prop_assert_eq!(back, plain);
        }
    }

    #[test]
    fn short_ranges_come_back() {
        for shape in Shape::ALL {
            for len in 0..40 {
                let plain: Vec<u8> = (0..len).map(|i| 255 - 3 * i).collect();
                let (mut planes, mut back) = (vec![0; plain.len()], vec![0; plain.len()]);
                split(shape, &plain, &mut planes);
                assert_eq!(planes, split_slowly(shape, &plain));
                join(shape, &planes, &mut back);
                assert_eq!(back, plain);
            }
        }
    }

    #[test]
    fn the_exponent_of_a_bf16_is_one_byte() {
        // Sign 1, exponent 0x7e, mantissa 0x55: 1 01111110 1010101.
        let plain = (1 << 15 | 0x7e << 7 | 0x55_u16).to_le_bytes();
        let mut planes = [0; 2];
        split(Shape::new(2, true).unwrap(), &plain, &mut planes);
        assert_eq!(planes, [0x55 << 1 | 1, 0x7e]);
    }
}
