//! Looking at samples of a segment, to find how its bytes are best rearranged and which of the planes are worth compressing.
//! Only the bytes themselves decide, so every container of weights is served alike.

use super::level::FRAME;
use crate::format::filter::{MOST_RANGES, Range, Shape};

/// Bytes that are judged together.
const CHUNK: usize = 128 << 10;
/// Bytes of a stretch of a sample, a multiple of every word.
const STRETCH: usize = 512;
/// Stretches of a sample.
const STRETCHES: usize = 8;
/// Longer words must be better by this factor: their statistics are of fewer samples each.
const WORTH_LONGER: f32 = 0.99;
/// Words of two bytes are taken for floating-point numbers if that costs no more than this factor.
const AS_FLOATS: f32 = 1.002;
/// Longer ones must be better off: where signs are all alike, as in the second moments of Adam, a plane of noise suffers.
const AS_LONG_FLOATS: f32 = 0.99;
/// What is as good as before, within this factor, stays: one long range compresses better than many short ones.
const WORTH_CHANGING: f32 = 0.997;

/// Chunks that cost the same within this share are of one kind, and what was best for the first of them is not looked for again.
const ALIKE: f32 = 0.01;

type Counts = [u16; 256];

/// Estimates of the information in samples.
pub struct Probe {
    /// n · log2 n.
    logs: Vec<f32>,
    /// What n bytes of noise seem to need, as a factor to what they do need.
    bias: Vec<f32>,
}

impl Probe {
    /// With its tables.
    pub fn new() -> Probe {
        let log = |n: usize| if n == 0 { 0.0 } else { n as f32 * (n as f32).log2() };
        let mut probe = Probe { logs: (0..=STRETCH * STRETCHES).map(log).collect(), bias: Vec::new() };
        probe.bias = (0..=STRETCH * STRETCHES).map(|n| probe.bias(n)).collect();
        probe
    }

    /// How often each of 256 values occurs among n is nearly a Poisson distribution.
    fn bias(&self, n: usize) -> f32 {
        let mean = n as f32 / 256.0;
        let (mut chance, mut spread) = ((-mean).exp(), 0.0);
        let seen = 256.0 * (1.0 - chance);
        for count in 1..(2 * n / 256 + 24).min(self.logs.len()) {
            chance *= mean / count as f32;
            spread += 256.0 * chance * self.logs[count];
        }
        (corrected(self.logs[n] - spread, seen) / (8 * n.max(1)) as f32).clamp(0.5, 1.0)
    }

    /// Splits `plain` into the ranges that are best for it; never more than [`MOST_RANGES`]. `searched` tells which share of
    /// some bytes is left if they are compressed as they are, exactly only where it is less than a given one.
    pub fn ranges(&self, plain: &[u8], mut searched: impl FnMut(&[u8], f32) -> f32, ranges: &mut Vec<Range>) {
        ranges.clear();
        let (mut shape, mut begun, mut usual) = (Shape::PLAIN, 0, f32::NAN);
        for (i, chunk) in plain.chunks(CHUNK).enumerate() {
            let sample = Sample::of(chunk);
            // Where the words of the chunk before go on.
            let phase = (shape.stride() - (i * CHUNK - begun) % shape.stride()) % shape.stride();
            let kept = self.cost(&sample.planes(shape, phase));
            if (kept - usual).abs() < usual * ALIKE {
                continue;
            }
            let mut best = self.best(&sample);
            let share = best.cost / 8.0;
            let repeats = best.shape != Shape::PLAIN && searched(chunk, share) < share;
            if repeats {
                best = self.words(&sample, Shape::PLAIN, 0);
            }
            let same = best.shape == shape && best.phase == phase;
            if same || !repeats && kept * WORTH_CHANGING <= best.cost {
                usual = kept;
                continue;
            }
            let at = i * CHUNK + best.phase;
            push(ranges, at - begun, shape);
            (shape, begun, usual) = (best.shape, at, best.cost);
        }
        push(ranges, plain.len() - begun, shape);
        debug_assert!(ranges.len() <= MOST_RANGES);
    }

    /// The words of which a sample is most likely to consist.
    fn best(&self, sample: &Sample) -> Words {
        let words = |shape, phase| self.words(sample, shape, phase);
        let mut best = words(Shape::PLAIN, 0);
        for stride in [2, 4, 8] {
            let shape = |rotated| Shape::new(stride, rotated).unwrap_or(Shape::PLAIN);
            let planes = sample.planes(shape(false), 0);
            // The byte with sign and exponent says most of all, and is the last of its word, unless words begin elsewhere.
            let skewed = (0..stride).min_by(|a, b| self.bits(&planes[*a]).total_cmp(&self.bits(&planes[*b])));
            let elsewhere = skewed.map_or(0, |k| (k + 1) % stride);
            let as_floats = if stride == 2 { AS_FLOATS } else { AS_LONG_FLOATS };
            let mut found = Words { cost: self.cost(&planes), shape: shape(false), phase: 0 };
            for (rotated, factor) in [(words(shape(true), 0), as_floats), (words(shape(true), elsewhere), WORTH_LONGER)]
            {
                found = if rotated.cost < found.cost * factor { rotated } else { found };
            }
            best = if found.cost < best.cost * WORTH_LONGER { found } else { best };
        }
        best
    }

    fn words(&self, sample: &Sample, shape: Shape, phase: usize) -> Words {
        Words { cost: self.cost(&sample.planes(shape, phase)), shape, phase }
    }

    /// Bits a byte over all planes; they have the same number of bytes.
    fn cost(&self, planes: &[Counts]) -> f32 {
        planes.iter().map(|counts| self.bits(counts)).sum::<f32>() / planes.len() as f32
    }

    /// Bits a byte that an order-0 coder needs for what was counted.
    fn bits(&self, counts: &Counts) -> f32 {
        let total: usize = counts.iter().map(|c| usize::from(*c)).sum();
        let seen = counts.iter().filter(|c| **c > 0).count();
        let spread: f32 = counts.iter().map(|c| self.logs[usize::from(*c)]).sum();
        (corrected(self.logs[total] - spread, seen as f32) / (self.bias[total] * total.max(1) as f32)).min(8.0)
    }

    /// The share of `bytes` that an order-0 coder needs, 1 if nothing can be gained.
    pub fn order0(&self, bytes: &[u8]) -> f32 {
        self.cost(&Sample::of(bytes).planes(Shape::PLAIN, 0)) / 8.0
    }
}

/// The correction of Miller and Madow for the smallness of a sample in which `seen` values occur.
fn corrected(bits: f32, seen: f32) -> f32 {
    bits + (seen - 1.0).max(0.0) * 0.5 * std::f32::consts::LOG2_E
}

/// What is long is several ranges: what is best done with a plane is not the same all along.
fn push(ranges: &mut Vec<Range>, mut len: usize, shape: Shape) {
    while len > 0 {
        let part = len.min(FRAME);
        ranges.push(Range { len: part as u32, shape });
        len -= part;
    }
}

/// What a chunk may consist of.
#[derive(Clone, Copy)]
struct Words {
    /// Bits a byte.
    cost: f32,
    shape: Shape,
    /// Where in the chunk the first word begins.
    phase: usize,
}

/// Some stretches of a range, each beginning at a multiple of eight bytes.
struct Sample<'a>(Vec<&'a [u8]>);

impl<'a> Sample<'a> {
    fn of(bytes: &'a [u8]) -> Sample<'a> {
        if bytes.len() <= STRETCH * STRETCHES {
            return Sample(vec![bytes]);
        }
        let step = ((bytes.len() - STRETCH) / (STRETCHES - 1)) & !7;
        Sample((0..STRETCHES).map(|i| &bytes[i * step..i * step + STRETCH]).collect())
    }

    /// How often each byte occurs in each plane, if words begin `phase` bytes into the sample.
    fn planes(&self, shape: Shape, phase: usize) -> Vec<Counts> {
        let mut planes = vec![[0; 256]; shape.stride()];
        for stretch in &self.0 {
            let words = stretch.get(phase..).unwrap_or_default();
            match shape.stride() {
                1 => count::<1>(words, shape.is_rotated(), &mut planes),
                2 => count::<2>(words, shape.is_rotated(), &mut planes),
                4 => count::<4>(words, shape.is_rotated(), &mut planes),
                _ => count::<8>(words, shape.is_rotated(), &mut planes),
            }
        }
        planes
    }
}

/// Counts the bytes of words of N bytes by plane.
fn count<const N: usize>(words: &[u8], rotated: bool, planes: &mut [Counts]) {
    for word in words.as_chunks::<N>().0 {
        for (k, counts) in planes.iter_mut().enumerate() {
            let below = word[if k == 0 { N - 1 } else { k - 1 }];
            let byte = if rotated { word[k] << 1 | below >> 7 } else { word[k] };
            counts[usize::from(byte)] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::compress::samples::{Dice, bf16};

    fn weights(count: usize) -> impl Iterator<Item = f32> {
        let mut dice = Dice(7);
        (0..count).map(move |_| dice.weight())
    }

    fn bf16_bytes(count: usize) -> Vec<u8> {
        weights(count).flat_map(bf16).collect()
    }

    fn found(plain: &[u8]) -> Vec<(u32, usize, bool)> {
        let mut ranges = Vec::new();
        Probe::new().ranges(plain, |chunk, _| if chunk.starts_with(b"words") { 0.01 } else { 1.0 }, &mut ranges);
        ranges.iter().map(|r| (r.len, r.shape.stride(), r.shape.is_rotated())).collect()
    }

    #[test]
    fn each_kind_of_numbers_gets_its_words() {
        let fp32: Vec<u8> = weights(1 << 17).flat_map(f32::to_le_bytes).collect();
        let fp64: Vec<u8> = weights(1 << 16).flat_map(|w| f64::from(w * 1.234_567).sin().to_le_bytes()).collect();
        assert_eq!(found(&bf16_bytes(1 << 18)), [(1 << 19, 2, true)]);
        assert_eq!(found(&fp32), [(1 << 19, 4, false)]);
        assert_eq!(found(&fp64), [(1 << 19, 8, false)]);
        let int8: Vec<u8> = weights(1 << 19).map(|w| (w * 1000.0) as i8 as u8).collect();
        assert_eq!(found(&int8), [(1 << 19, 1, false)]);
        assert_eq!(found(&b"words ".repeat(5000))[0].1, 1);
        assert_eq!(found(&[]), []);
        assert_eq!(found(&[9]), [(1, 1, false)]);
    }

    #[test]
    fn words_that_begin_at_odd_places_are_found() {
        let odd: Vec<u8> = std::iter::once(1).chain(bf16_bytes(1 << 17)).collect();
        assert_eq!(found(&odd), [(1, 1, false), (1 << 18, 2, true)]);
    }

    #[test]
    fn a_change_in_the_middle_is_found() {
        let text = b"words and words ".repeat(CHUNK / 16);
        let both = [&text[..CHUNK], &bf16_bytes(CHUNK), &text[..CHUNK]].concat();
        assert_eq!(found(&both), [(CHUNK as u32, 1, false), (2 * CHUNK as u32, 2, true), (CHUNK as u32, 1, false)]);
    }
}
