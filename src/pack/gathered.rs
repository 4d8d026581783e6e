//! Rows on their way to a drive: gathered until there is a long run of each of its volumes, then written volume by volume.

use crate::error::Result;
use crate::format::hashes::BlockSize;
use crate::pack::stripe::Stripe;
use crate::stages::runs::run_end;
use crate::threads::lock;
use std::collections::VecDeque;
use std::sync::Arc;

/// Stripes of one group that are not written yet, or not to their ends.
pub(super) struct Gathered {
    /// Bytes of a header page, behind which stripes begin, and of a run.
    header: u64,
    run: u64,
    stripes: VecDeque<Arc<Stripe>>,
    /// Up to where the volumes are written.
    written: u64,
}

impl Gathered {
    /// Nothing yet; volume by volume `run` bytes are written.
    pub fn new(block: BlockSize, run: u64) -> Gathered {
        Gathered { header: block.bytes(), run, stripes: VecDeque::new(), written: 0 }
    }

    /// Takes a stripe; returns how far the `here` volumes of this drive can be written now, if a run of each is there. One alone is
    /// written in order, however much there is of it.
    pub fn take(&mut self, stripe: Arc<Stripe>, here: usize) -> Option<u64> {
        self.written = self.written.max(self.stripes.front().map_or(stripe.offset, |first| first.offset));
        let run = run_end(self.written, self.run);
        let there = stripe.end();
        self.stripes.push_back(stripe);
        match here {
            1 => Some(there),
            _ => (there >= run).then_some(run),
        }
    }

    /// The group, if nothing of its volumes is written yet but there is something to write.
    pub fn begins(&self) -> Option<u32> {
        self.stripes.front().filter(|_| self.written == self.header).map(|first| first.group)
    }

    /// Up to where the volumes are written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Passes to `write` what there is of a volume before `end`, and where in the volume that is; returns how many bytes there were.
    pub fn show(&self, volume: usize, end: u64, mut write: impl FnMut(&[u8], u64) -> Result<()>) -> Result<u64> {
        let mut shown = 0;
        for stripe in &self.stripes {
            let (from, to) = (self.written.max(stripe.offset), end.min(stripe.end()));
            let part = |bytes: &[u8]| {
                let within = |offset: u64| ((offset - stripe.offset) as usize).min(bytes.len());
                let bytes = &bytes[within(from)..within(to.max(from))];
                shown += bytes.len() as u64;
                if bytes.is_empty() { Ok(()) } else { write(bytes, from) }
            };
            stripe.with_column(volume, part)?;
        }
        Ok(shown)
    }

    /// All volumes have been written up to `end`: what is not needed any more is let go. Returns how many bytes of the stream end in
    /// that.
    pub fn wrote(&mut self, end: u64) -> u64 {
        self.written = end;
        let mut plain = 0;
        while let Some(stripe) = self.stripes.pop_front_if(|stripe| stripe.end() <= end) {
            plain += lock(&stripe.tally).plain;
        }
        plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::stripe::Pool;
    use crate::stages::runs::run_bytes;
    use proptest::prelude::*;
    use std::sync::Mutex;

    const BLOCK: usize = BlockSize::SMALLEST.size();

    /// What a byte of a volume is.
    fn byte(volume: usize, offset: u64) -> u8 {
        (offset / 251 + offset + volume as u64) as u8
    }

    fn stripe(volumes: usize, offset: u64, bytes: usize, used: &[usize]) -> Arc<Stripe> {
        let column = |v| Mutex::new((0..bytes as u64).map(|i| byte(v, offset + i)).collect());
        let stripe = Stripe::new(0, offset, 0, (0..volumes).map(column).collect(), Arc::new(Pool::new(0)));
        lock(&stripe.tally).used = Some(used.to_vec());
        Arc::new(stripe)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn volumes_are_written_whole_and_in_order_a_run_of_each_in_turn(
            alone in any::<bool>(), stripes in 1usize..5, last in prop::collection::vec(0usize..=3 * BLOCK, 200..201),
        ) {
            // Many, so that runs are short.
            let (volumes, bytes) = (200, 3 * BLOCK);
            let here: Vec<usize> = if alone { vec![7] } else { vec![0, 3, 199] };
            let run = run_bytes(volumes, 1 << 20);
            let mut gathered = Gathered::new(BlockSize::SMALLEST, run);
            let mut lengths = vec![BLOCK as u64; volumes];
            let mut write = |gathered: &mut Gathered, end: u64| {
                prop_assert_eq!(gathered.begins().is_some(), lengths[here[0]] == BLOCK as u64);
                for volume in &here {
                    let shown = gathered.show(*volume, end, |written, offset| {
                        assert_eq!(offset, lengths[*volume]);
                        assert!(written.iter().zip(offset..).all(|(b, at)| *b == byte(*volume, at)));
                        lengths[*volume] += written.len() as u64;
                        Ok(())
                    });
                    prop_assert!(end == u64::MAX || alone || lengths[*volume] % run == 0);
                    prop_assert!(shown.unwrap() > 0 || end == u64::MAX);
                }
                gathered.wrote(end);
                Ok(())
            };
            for i in 0..stripes {
                let used = if i + 1 == stripes { last.clone() } else { vec![bytes; volumes] };
                let offset = (BLOCK + i * bytes) as u64;
                if i + 1 < stripes && let Some(end) = gathered.take(stripe(volumes, offset, bytes, &used), here.len()) {
                    write(&mut gathered, end)?;
                } else if i + 1 == stripes {
                    // The last one ends the group, whatever there is of it.
                    gathered.take(stripe(volumes, offset, bytes, &used), 0);
                    write(&mut gathered, u64::MAX)?;
                }
            }
            for volume in &here {
                prop_assert_eq!(lengths[*volume], (BLOCK + (stripes - 1) * bytes + last[*volume]) as u64);
            }
        }
    }
}
