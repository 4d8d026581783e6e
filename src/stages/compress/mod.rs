//! zstd: a segment is compressed alone, so that it opens alone. What is made for weights: their bytes are rearranged as planes
//! first, planes of noise are stored, skewed ones coded by their frequencies, and only where something repeats is it searched.

mod judge;
mod level;
mod planes;
mod probe;
#[cfg(test)]
pub(crate) mod samples;
mod stream;

pub use level::longest;
pub use stream::{StreamCompressor, reader};

use crate::error::Result;
use crate::format::filter::{self, Range, Shape};
use crate::format::packed;
use judge::{Judge, Way};
use level::{DENSE, FRAME, NO_SEARCH, QUICK, internal};
use serde::{Deserialize, Serialize};
use std::io::{self, Cursor};
use zstd::zstd_safe::{CParameter, ParamSwitch};

/// How segments are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As their bytes suggest: planes, each stored, coded or searched.
    #[default]
    Auto,
    /// With zstd at this level.
    Zstd(i32),
    /// Not at all.
    None,
}

impl Compression {
    /// The levels that [`Compression::Zstd`] has.
    pub const LEVELS: std::ops::RangeInclusive<i32> = 1..=19;
    /// The level of zstd if none is named, which is that of its own tool.
    pub const LEVEL: i32 = 3;

    /// What the manifest says of it.
    pub fn filter(self) -> filter::Filter {
        match self {
            Compression::Auto => filter::Filter::Planes,
            Compression::Zstd(_) | Compression::None => filter::Filter::Zstd,
        }
    }
}

/// Compresses segments; one a worker, since it keeps its working memory.
pub struct Compressor {
    compression: Compression,
    judge: Judge,
    contexts: Contexts,
    ranges: Vec<Range>,
    planes: Vec<u8>,
    /// Where each piece ends, and what is done with it.
    pieces: Vec<(usize, Way)>,
}

impl Compressor {
    /// A new one.
    pub fn new(compression: Compression) -> Result<Compressor> {
        let dense = if let Compression::Zstd(level) = compression { level } else { DENSE };
        Ok(Compressor {
            compression,
            judge: Judge::new()?,
            contexts: Contexts::new(dense).map_err(internal)?,
            ranges: Vec::new(),
            planes: Vec::new(),
            pieces: Vec::new(),
        })
    }

    /// Compresses `plain` into `out`, which is replaced, by at most [`longest`] bytes.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        out.reserve(longest(plain.len()) + filter::LONGEST);
        match self.compression {
            Compression::None => self.contexts.append(Way::Stored, plain, out),
            Compression::Zstd(_) => self.contexts.append(Way::Dense, plain, out),
            Compression::Auto => self.compress_planes(plain, out),
        }
        .map_err(internal)
    }

    fn compress_planes(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.judge.ranges(plain, &mut self.ranges);
        if self.ranges.iter().all(|range| range.shape == Shape::PLAIN) {
            for bytes in frames(plain) {
                let way = self.judge.way(Shape::PLAIN, bytes);
                self.contexts.append(way, bytes, out)?;
            }
            return Ok(());
        }
        filter::write(&self.ranges, out);
        self.rearrange(plain);
        let mut at = 0;
        for (end, way) in &self.pieces {
            self.contexts.append(*way, &self.planes[at..*end], out)?;
            at = *end;
        }
        if out.len() <= longest(plain.len()) {
            return Ok(());
        }
        out.clear();
        self.contexts.append(Way::Stored, plain, out)
    }

    /// Takes the ranges apart into planes, and decides what is done with each; neighbours that are treated alike are one piece.
    fn rearrange(&mut self, plain: &[u8]) {
        self.planes.resize(plain.len(), 0);
        self.pieces.clear();
        let mut at = 0;
        for Range { len, shape } in &self.ranges {
            let end = at + *len as usize;
            planes::split(*shape, &plain[at..end], &mut self.planes[at..end]);
            let plane = *len as usize / shape.stride();
            for k in 1..=shape.stride() {
                // What is left of a word at the end goes with the last plane.
                let to = if k == shape.stride() { end } else { at + plane };
                let way = self.judge.way(*shape, &self.planes[at..to]);
                match self.pieces.last_mut() {
                    Some((reached, before)) if *before == way => *reached = to,
                    _ => self.pieces.push((to, way)),
                }
                at = to;
            }
        }
    }
}

type Context = zstd::bulk::Compressor<'static>;

/// One for each way.
struct Contexts {
    stored: Context,
    coded: Context,
    quick: Context,
    dense: Context,
}

impl Contexts {
    fn new(dense: i32) -> io::Result<Contexts> {
        let context = |level, literals| -> io::Result<Context> {
            let mut context = Context::new(level)?;
            context.set_parameter(CParameter::LiteralCompressionMode(literals))?;
            Ok(context)
        };
        Ok(Contexts {
            stored: context(NO_SEARCH, ParamSwitch::Disable)?,
            coded: context(NO_SEARCH, ParamSwitch::Enable)?,
            quick: context(QUICK, ParamSwitch::Auto)?,
            dense: context(dense, ParamSwitch::Auto)?,
        })
    }

    /// Compresses bytes into frames of their own at the end of `out`.
    fn append(&mut self, way: Way, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        frames(bytes).try_for_each(|bytes| self.append_frame(way, bytes, out))
    }

    fn append_frame(&mut self, way: Way, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let context = match way {
            Way::Stored => &mut self.stored,
            Way::Coded => &mut self.coded,
            Way::Quick => &mut self.quick,
            Way::Dense => &mut self.dense,
        };
        out.reserve(longest(bytes.len()));
        let mut end = Cursor::new(out);
        end.set_position(end.get_ref().len() as u64);
        context.compress_to_buffer(bytes, &mut end).map(drop)
    }
}

/// The bytes of one frame after the other; of nothing there is one, too.
fn frames(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (first, rest) = bytes.split_at(bytes.len().min(FRAME));
    std::iter::once(first).chain(rest.chunks(FRAME))
}

/// Decompresses segments; one a worker.
pub struct Decompressor {
    zstd: zstd::bulk::Decompressor<'static>,
    planes: Vec<u8>,
    ranges: Vec<Range>,
}

impl Decompressor {
    /// A new one.
    pub fn new() -> Result<Decompressor> {
        let zstd = zstd::bulk::Decompressor::new().map_err(internal)?;
        Ok(Decompressor { zstd, planes: Vec::new(), ranges: Vec::new() })
    }

    /// Decompresses into `out`, which is replaced; more than `limit` bytes are an error, whatever the frames declare.
    pub fn decompress(
        &mut self,
        filter: filter::Filter,
        packed: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        packed::check(packed, filter).map_err(invalid)?;
        self.ranges.clear();
        if filter == filter::Filter::Planes {
            filter::read(packed, &mut self.ranges).map_err(invalid)?;
        }
        if self.ranges.is_empty() {
            return inflate(&mut self.zstd, packed, limit, out);
        }
        inflate(&mut self.zstd, packed, limit, &mut self.planes)?;
        if !filter::covers(&self.ranges, self.planes.len()) {
            return Err(invalid("the ranges of the filter header do not cover the segment"));
        }
        out.resize(self.planes.len(), 0);
        let mut at = 0;
        for Range { len, shape } in &self.ranges {
            let end = at + *len as usize;
            planes::join(*shape, &self.planes[at..end], &mut out[at..end]);
            at = end;
        }
        Ok(())
    }
}

fn inflate(
    zstd: &mut zstd::bulk::Decompressor<'static>,
    packed: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    out.clear();
    out.reserve(limit);
    zstd.decompress_to_buffer(packed, out)?;
    match out.len() > limit {
        true => Err(invalid("more bytes than a segment has")),
        false => Ok(()),
    }
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::filter::Filter;
    use crate::stages::compress::samples::{Dice, bf16};
    use proptest::prelude::*;

    fn round_trip(compression: Compression, plain: &[u8]) -> usize {
        let (mut packed, mut back) = (Vec::new(), vec![1, 2, 3]);
        Compressor::new(compression).unwrap().compress(plain, &mut packed).unwrap();
        assert!(packed.len() <= longest(plain.len()), "{} of {}", packed.len(), plain.len());
        let mut decompressor = Decompressor::new().unwrap();
        decompressor.decompress(compression.filter(), &packed, plain.len(), &mut back).unwrap();
        assert_eq!(back, plain);
        let less = plain.len().saturating_sub(1);
        assert!(plain.is_empty() || decompressor.decompress(compression.filter(), &packed, less, &mut back).is_err());
        packed.len()
    }

    /// Bytes of many kinds in a row, each as long as it happens to be.
    fn mixture() -> impl Strategy<Value = Vec<u8>> {
        let run = (0u8..7, 0usize..300_000, any::<u64>()).prop_map(|(kind, len, seed)| {
            let (mut dice, mut bytes) = (Dice(seed), Vec::new());
            while bytes.len() < len {
                let weight = dice.weight();
                match kind {
                    0 => bytes.extend(bf16(weight)),
                    1 => bytes.extend(weight.to_le_bytes()),
                    2 => bytes.extend(f64::from(weight).sin().to_le_bytes()),
                    3 => bytes.push((weight * 1000.0) as i8 as u8),
                    4 => bytes.extend(dice.number().to_le_bytes()),
                    5 => bytes.extend(format!("\"layer.{}.weight\": ", dice.number() % 100).bytes()),
                    _ => bytes.extend([0; 100]),
                }
            }
            bytes.truncate(len);
            bytes
        });
        prop::collection::vec(run, 0..5).prop_map(|runs| {
            let mut bytes = runs.concat();
            bytes.truncate(1 << 20);
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_mixture_comes_back(plain in mixture(), level in 1i32..6) {
            for compression in [Compression::Auto, Compression::Zstd(level), Compression::None] {
                round_trip(compression, &plain);
            }
        }
    }

    #[test]
    fn short_segments_come_back() {
        for len in [0usize, 1, 2, 7, 8, 9, 511, 512, 513, 4095, 4096, 4097, 65535, 65536] {
            let plain: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            for compression in [Compression::Auto, Compression::Zstd(1), Compression::None] {
                round_trip(compression, &plain);
            }
        }
    }

    /// As many ranges as there can be on both sides of many ends of frames.
    #[test]
    fn the_largest_segments_come_back_as_small_as_in_shorter_ones() {
        const SEGMENT: usize = *crate::format::limits::SEGMENTS.end() as usize;
        let mut dice = Dice(3);
        let mut changing = Vec::new();
        while changing.len() < SEGMENT {
            match changing.len() >> 17 & 3 {
                0 => (0..1 << 16).for_each(|_| changing.extend(bf16(dice.weight()))),
                1 => (0..1 << 15).for_each(|_| changing.extend(dice.weight().to_le_bytes())),
                2 => (0..1 << 15).for_each(|_| changing.extend(dice.number().to_le_bytes())),
                _ => changing.extend(b"so is it with text".repeat(1 << 13).split_at(1 << 17).0),
            }
        }
        let bf16: Vec<u8> = (0..SEGMENT / 2).flat_map(|_| bf16(dice.weight())).collect();
        let noise: Vec<u8> = (0..SEGMENT / 4).flat_map(|_| dice.number().to_le_bytes()).collect();
        for plain in [changing, bf16, noise, vec![0; SEGMENT]] {
            for compression in [Compression::Auto, Compression::Zstd(1), Compression::None] {
                let whole = round_trip(compression, &plain);
                let parts: usize = plain.chunks(FRAME).map(|part| round_trip(compression, part)).sum();
                assert!(whole <= parts + parts / 1000 + 100, "{compression:?}: {whole} of {parts}");
            }
        }
    }

    #[test]
    fn weights_lose_their_skew_and_noise_costs_next_to_nothing() {
        let mut dice = Dice(1);
        let bf16: Vec<u8> = (0..1 << 19).flat_map(|_| bf16(dice.weight())).collect();
        assert!(round_trip(Compression::Auto, &bf16) < bf16.len() * 68 / 100);
        let noise: Vec<u8> = (0..1 << 18).flat_map(|_| dice.number().to_le_bytes()).collect();
        assert!(round_trip(Compression::Auto, &noise) < noise.len() + noise.len() / 1000);
        assert!(round_trip(Compression::None, &noise) < noise.len() + noise.len() / 1000);
        let text = b"so is it with text, in which words mean nothing; ".repeat(20_000);
        assert!(round_trip(Compression::Auto, &text) < text.len() / 100);
        assert!(round_trip(Compression::None, &text) > text.len());
    }

    #[test]
    fn a_filter_header_that_does_not_fit_its_segment_is_refused() {
        let (plain, mut packed, mut back) = ([7; 100], Vec::new(), Vec::new());
        let mut head = Vec::new();
        Compressor::new(Compression::None).unwrap().compress(&plain, &mut packed).unwrap();
        let mut decompressor = Decompressor::new().unwrap();
        for len in [99, 100, 101] {
            head.clear();
            filter::write(&[Range { len, shape: Shape::new(4, true).unwrap() }], &mut head);
            let with = [&head[..], &packed].concat();
            let opened = decompressor.decompress(Filter::Planes, &with, 200, &mut back);
            assert_eq!(opened.is_ok(), len == 100, "{len}");
            // Where the manifest says that there is no filter, it is what zstd says that it is: nothing.
            decompressor.decompress(Filter::Zstd, &with, 200, &mut back).unwrap();
            assert_eq!(back, plain);
        }
    }
}
