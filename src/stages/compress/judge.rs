//! What is best done with the bytes of a segment, as far as samples tell: by their frequencies, and by compressing a little.

use super::level::{QUICK, internal, longest};
use super::probe::Probe;
use crate::error::Result;
use crate::format::filter::{Range, Shape};

/// Bytes that are compressed to see what is gained.
const TRIAL: usize = 16 << 10;
/// Fewer, which are compressed first: it takes a while.
const GLANCE: usize = 4 << 10;
/// Four times as many bytes seldom give a result that is better by more than this factor: they did for one plane among some
/// five hundred of weights, optimizer states and texts.
const HOPE: f32 = 1.15;
/// What is coded must shrink to this share.
const WORTH_CODING: f32 = 0.98;
/// Matches must make it smaller still, by this factor.
const WORTH_SEARCHING: f32 = 0.97;
/// What shrinks to this share of what its frequencies give repeats so much that a longer search pays.
const WORTH_DENSE: f32 = 0.75;

/// What is done with a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Kept as it is.
    Stored,
    /// Coded by the frequencies of its bytes.
    Coded,
    /// Searched for what repeats nearby.
    Quick,
    /// Searched longer.
    Dense,
}

/// Judges samples; one a worker.
pub struct Judge {
    probe: Probe,
    trial: zstd::bulk::Compressor<'static>,
    packed: Vec<u8>,
}

impl Judge {
    /// A new one.
    pub fn new() -> Result<Judge> {
        let trial = zstd::bulk::Compressor::new(QUICK).map_err(internal)?;
        Ok(Judge { probe: Probe::new(), trial, packed: Vec::with_capacity(longest(TRIAL)) })
    }

    /// The ranges of a segment, and how each is best rearranged.
    pub fn ranges(&mut self, plain: &[u8], ranges: &mut Vec<Range>) {
        let Judge { probe, trial, packed } = self;
        probe.ranges(plain, |bytes, than| searched(trial, packed, bytes, than), ranges);
    }

    /// What is best done with a plane of a range in this shape.
    pub fn way(&mut self, shape: Shape, plane: &[u8]) -> Way {
        let coded = self.probe.order0(plane);
        // A plane of noise does not repeat; bytes of no known kind may.
        if shape != Shape::PLAIN && coded >= WORTH_CODING {
            return Way::Stored;
        }
        let searched = searched(&mut self.trial, &mut self.packed, plane, coded);
        match () {
            () if searched < coded * WORTH_DENSE => Way::Dense,
            () if searched < coded * WORTH_SEARCHING => Way::Quick,
            () if coded < WORTH_CODING => Way::Coded,
            () => Way::Stored,
        }
    }
}

/// The share that is left of some bytes when they are searched, 1 if they cannot be; only roughly if it is not less `than` this.
fn searched(trial: &mut zstd::bulk::Compressor, packed: &mut Vec<u8>, bytes: &[u8], than: f32) -> f32 {
    let mut share = |count: usize| {
        let from = bytes.len().saturating_sub(count) / 2;
        let middle = &bytes[from..bytes.len().min(from + count)];
        match trial.compress_to_buffer(middle, packed) {
            Ok(len) if !middle.is_empty() => len as f32 / middle.len() as f32,
            _ => 1.0,
        }
    };
    let roughly = share(GLANCE);
    if bytes.len() <= GLANCE || roughly > than * HOPE { roughly } else { share(TRIAL) }
}
