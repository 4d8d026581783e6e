//! Sets of block numbers: a bit for each, so that damage costs no more memory than the volume has blocks.

/// A set of block numbers.
#[derive(Debug, Clone, Default)]
pub struct Bits {
    words: Vec<u64>,
    len: u64,
}

impl Bits {
    /// For numbers below `len`; all of them are in the set if it is `full`.
    pub fn new(len: u64, full: bool) -> Bits {
        let mut bits = Bits { words: vec![if full { u64::MAX } else { 0 }; len.div_ceil(64) as usize], len };
        if let (Some(last), used @ 1..) = (bits.words.last_mut().filter(|_| full), len % 64) {
            *last = (1 << used) - 1;
        }
        bits
    }

    /// One more than the largest number that could be in the set.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|w| *w == 0)
    }

    /// Adds a number.
    pub fn insert(&mut self, bit: u64) {
        self.words[(bit / 64) as usize] |= 1 << (bit % 64);
    }

    /// Adds `bit` and all numbers after it.
    pub fn insert_from(&mut self, bit: u64) {
        let boundary = bit.next_multiple_of(64).min(self.len);
        (bit..boundary).for_each(|b| self.insert(b));
        let full = Bits::new(self.len, true);
        let words = (boundary.div_ceil(64) as usize).min(self.words.len());
        if boundary < self.len {
            self.words[words..].copy_from_slice(&full.words[words..]);
        }
    }

    /// Keeps only what is in another set of the same length too.
    pub fn keep_common(&mut self, other: &Bits) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    /// Takes a number out.
    pub fn remove(&mut self, bit: u64) {
        self.words[(bit / 64) as usize] &= !(1 << (bit % 64));
    }

    /// Whether `bit` is in the set.
    pub fn contains(&self, bit: u64) -> bool {
        bit < self.len && self.words[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    /// The first number after `bit` that is in the set while `bit` is not, or the other way round. Past its end nothing is.
    pub fn next_change(&self, bit: u64) -> u64 {
        if bit >= self.len {
            return u64::MAX;
        }
        let inside = self.contains(bit);
        let differs = |word: u64| if inside { !word } else { word };
        let first = (bit / 64) as usize;
        let rest = differs(self.words[first]) & (u64::MAX << (bit % 64));
        let found = match rest {
            0 => (first + 1..self.words.len()).find(|w| differs(self.words[*w]) != 0),
            _ => Some(first),
        };
        let Some(word) = found else { return if inside { self.len } else { u64::MAX } };
        let differing = if word == first { rest } else { differs(self.words[word]) };
        let at = word as u64 * 64 + u64::from(differing.trailing_zeros());
        if at < self.len || inside { at.min(self.len) } else { u64::MAX }
    }

    /// Those in the set.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let words = self.words.iter().enumerate().filter(|(_, w)| **w != 0);
        words.flat_map(|(i, w)| (0..64).filter(move |b| w >> b & 1 == 1).map(move |b| i as u64 * 64 + b))
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|w| u64::from(w.count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_boundary_lengths() {
        for len in [0, 1, 63, 64, 65, 200] {
            let (mut some, full) = (Bits::new(len, false), Bits::new(len, true));
            assert_eq!((some.count(), full.count()), (0, len));
            assert!(some.is_empty() && full.iter().eq(0..len));
            for from in [0, 1, 63, 64, 65, len] {
                let mut tail = Bits::new(len, false);
                tail.insert_from(from);
                assert!(tail.iter().eq(from..len.max(from)), "{from} of {len}");
            }
            (0..len).step_by(3).for_each(|b| some.insert(b));
            assert!(some.iter().eq((0..len).step_by(3)));
            assert!(!full.contains(len));
            let slowly = |bits: &Bits, from: u64| {
                (from + 1..=len).find(|b| bits.contains(*b) != bits.contains(from)).unwrap_or(u64::MAX)
            };
            for from in 0..len {
                assert_eq!(some.next_change(from), slowly(&some, from), "{from} of {len}");
                assert_eq!(full.next_change(from), len);
                assert_eq!(Bits::new(len, false).next_change(from), u64::MAX);
            }
            let mut common = full.clone();
            common.keep_common(&some);
            assert!(common.iter().eq(some.iter()));
        }
    }
}
