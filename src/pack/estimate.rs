//! What a stream becomes when it is compressed and sealed, judged by some of its segments.

use crate::error::{Error, Result};
use crate::format::frame;
use crate::media::buffer::Buffer;
use crate::pack::source::Source;
use crate::progress::{Phase, Progress};
use crate::stages::compress::{Compression, Compressor};
use crate::stages::seal::{SetIdentity, SetRecipient};
use crate::threads::{FirstError, lock, workers};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most segments that are looked at: of 1 MiB each that takes a second or two, and of one that has no more all are.
const SAMPLES: u64 = 256;

/// What was measured, and what follows for the whole stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes of the stream that were read, compressed and sealed.
    pub read: u64,
    /// Bytes of all frames, in proportion.
    pub frames: u64,
    /// Of each sample, in the order of the stream: its bytes in the stream, and those of its frame.
    samples: Vec<(u64, u64)>,
}

impl Estimate {
    /// About how long the frame of a segment of `bytes` bytes becomes: as that of the sample in its share of all `segments`.
    pub fn frame(&self, segment: u64, segments: u64, bytes: u64) -> u64 {
        let share = u128::from(segment) * self.samples.len() as u128 / u128::from(segments.max(1));
        let (plain, packed) = self.samples.get(share as usize).copied().unwrap_or((1, 1));
        (u128::from(bytes) * u128::from(packed)).div_ceil(u128::from(plain.max(1))) as u64
    }
}

/// Reads segments that are spread evenly over the stream, and packs them as an export does.
pub fn estimate(source: &Source, compression: Compression, progress: &dyn Progress) -> Result<Estimate> {
    let sampling = Sampling {
        source,
        compression,
        to: SetIdentity::generate().recipient(),
        samples: source.segments().min(SAMPLES),
        next: AtomicU64::new(0),
        packed: Mutex::default(),
        progress,
    };
    let bytes = (0..sampling.samples).map(|sample| sampling.length(sampling.segment(sample))).sum();
    progress.begin(Phase::Estimate, bytes, &[]);
    let failure = FirstError::default();
    std::thread::scope(|scope| {
        for _ in 0..workers() {
            scope.spawn(|| failure.keep(sampling.work(), || sampling.next.store(SAMPLES, Ordering::Relaxed)));
        }
    });
    failure.check()?;
    let samples: Vec<(u64, u64)> = lock(&sampling.packed).values().copied().collect();
    let (read, packed) = samples.iter().fold((0, 0), |(read, packed), of| (read + of.0, packed + of.1));
    let frames = u128::from(packed) * u128::from(source.tar_bytes()) / u128::from(read.max(1));
    Ok(Estimate { read, frames: u64::try_from(frames).unwrap_or(u64::MAX), samples })
}

/// What the workers share.
struct Sampling<'a> {
    source: &'a Source,
    compression: Compression,
    to: SetRecipient,
    samples: u64,
    next: AtomicU64,
    /// By sample, what it was and what it became.
    packed: Mutex<BTreeMap<u64, (u64, u64)>>,
    progress: &'a dyn Progress,
}

impl Sampling<'_> {
    /// Which segment a sample is: the one in the middle of its share of the stream.
    fn segment(&self, sample: u64) -> u64 {
        let all = u128::from(self.source.segments());
        ((2 * u128::from(sample) + 1) * all / (2 * u128::from(self.samples))) as u64
    }

    fn length(&self, segment: u64) -> u64 {
        self.source.start_of(segment + 1) - self.source.start_of(segment)
    }

    fn work(&self) -> Result<()> {
        let mut compressor = Compressor::new(self.compression)?;
        let (mut plain, mut packed, mut sealed) = (Buffer::default(), Vec::new(), Vec::new());
        loop {
            let sample = self.next.fetch_add(1, Ordering::Relaxed);
            if sample >= self.samples {
                return Ok(());
            }
            if self.progress.cancelled() {
                return Err(Error::Interrupted);
            }
            self.source.read(self.segment(sample), &mut plain)?;
            compressor.compress(&plain, &mut packed)?;
            sealed.clear();
            self.to.seal(&packed, &mut sealed).map_err(|e| Error::Internal(format!("age: {e}")))?;
            lock(&self.packed).insert(sample, (plain.len() as u64, (frame::HEADER + sealed.len()) as u64));
            self.progress.advance(plain.len() as u64);
        }
    }
}
