//! Volumes of an interrupted export that are not what was written, or went with a drive that is lost: made again from the others.

use crate::error::{Error, Result};
use crate::format::hashes::SLICE;
use crate::progress::{Phase, Progress};
use crate::stages::parity::Codec;
use crate::threads::{FirstError, workers, workers_within};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes of all volumes that a worker takes at a time, and that all workers hold.
const BATCH: u64 = 64 << 20;
const HELD: u64 = 256 << 20;
/// Of a volume it takes no more than this.
const LONGEST: u64 = 8 << 20;

type Read<'a> = dyn Fn(usize, &mut [u8], u64) -> io::Result<bool> + Sync + 'a;
type Write<'a> = dyn Fn(usize, &[u8], u64) -> Result<()> + Sync + 'a;

/// What is made again, and how.
pub struct Rebuilding<'a> {
    /// Computes it.
    pub codec: &'a Codec,
    /// Volumes of the group.
    pub volumes: usize,
    /// As many of them as suffice.
    pub sources: &'a [usize],
    /// Those that are made, and how long they are.
    pub targets: &'a [(usize, u64)],
    /// Reads from a volume; behind its end there are zeros. False if what should be there is not.
    pub read: &'a Read<'a>,
    /// Writes to a volume.
    pub write: &'a Write<'a>,
}

impl Rebuilding<'_> {
    /// Makes the rows that begin and end at these offsets of their volumes; false if some cannot be read.
    pub fn run(&self, rows: Range<u64>, progress: &dyn Progress) -> Result<bool> {
        progress.begin(Phase::Repair, rows.end.saturating_sub(rows.start) * self.targets.len() as u64, &[]);
        let batch = SLICE.within((BATCH / self.volumes as u64).min(LONGEST)) * SLICE.bytes();
        let (next, whole, failure) = (AtomicU64::new(rows.start), AtomicBool::new(true), FirstError::default());
        let work = || -> Result<()> {
            let mut columns = vec![vec![0; batch as usize]; self.volumes];
            loop {
                let at = next.fetch_add(batch, Ordering::Relaxed);
                if at >= rows.end || !whole.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if progress.cancelled() {
                    return Err(Error::Interrupted);
                }
                let len = batch.min(rows.end - at) as usize;
                if !self.batch(&mut columns, at, len)? {
                    whole.store(false, Ordering::Relaxed);
                }
                progress.advance((len * self.targets.len()) as u64);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..workers_within(workers(), batch * self.volumes as u64, HELD) {
                scope.spawn(|| failure.keep(work(), || whole.store(false, Ordering::Relaxed)));
            }
        });
        failure.check()?;
        Ok(whole.into_inner())
    }

    fn batch(&self, columns: &mut [Vec<u8>], at: u64, len: usize) -> Result<bool> {
        for volume in self.sources {
            match (self.read)(*volume, &mut columns[*volume][..len], at) {
                Ok(true) => {}
                _ => return Ok(false),
            }
        }
        let is_source = |volume: &usize| self.sources.contains(volume);
        let mut slices: Vec<(&mut [u8], bool)> =
            columns.iter_mut().enumerate().map(|(v, column)| (&mut column[..len], is_source(&v))).collect();
        self.codec.reconstruct(&mut slices)?;
        for (volume, end) in self.targets.iter().filter(|(_, end)| *end > at) {
            (self.write)(*volume, &columns[*volume][..len.min((end - at) as usize)], at)?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::threads::lock;
    use std::sync::Mutex;

    #[test]
    fn any_volumes_are_made_from_any_others_that_suffice() {
        let (codec, block) = (Codec::new(3, 2).unwrap(), SLICE.size());
        let lens = [40 * block + 7, 12 * block, 25 * block + 1, 40 * block + 7, 40 * block + 7];
        let mut volumes: Vec<Vec<u8>> = (0..5)
            .map(|v| (0..41 * block).map(|i| if i < lens[v] { (i * 7 + i / 251 + v) as u8 } else { 0 }).collect())
            .collect();
        let (data, parity) = volumes.split_at_mut(3);
        let data: Vec<&[u8]> = data.iter().map(|d| &d[..]).collect();
        codec.encode(&data, &mut parity.iter_mut().map(|p| &mut p[..]).collect::<Vec<_>>()).unwrap();
        for (lost, sources) in [([0, 1], [2, 3, 4]), ([1, 4], [0, 2, 3]), ([3, 4], [0, 1, 2])] {
            let made = Mutex::new(vec![vec![0; 41 * block]; 5]);
            let targets = lost.map(|v| (v, lens[v] as u64));
            let run = |sources: &[usize], ends: u64| {
                let read = |v: usize, bytes: &mut [u8], at: u64| {
                    assert!(sources.contains(&v));
                    bytes.copy_from_slice(&volumes[v][at as usize..][..bytes.len()]);
                    Ok(at + bytes.len() as u64 <= ends)
                };
                let write = |v: usize, bytes: &[u8], at: u64| {
                    lock(&made)[v][at as usize..][..bytes.len()].copy_from_slice(bytes);
                    Ok(())
                };
                let all =
                    Rebuilding { codec: &codec, volumes: 5, sources, targets: &targets, read: &read, write: &write };
                all.run(block as u64..lens[0] as u64, &Silent::default()).unwrap()
            };
            assert!(!run(&sources, 30 * block as u64), "not all of the others is there");
            assert!(run(&sources, u64::MAX));
            for v in lost {
                assert!(lock(&made)[v][block..lens[v]] == volumes[v][block..lens[v]], "{v}");
                assert!(lock(&made)[v][lens[v]..].iter().all(|b| *b == 0), "{v} is longer than it was");
            }
        }
    }
}
