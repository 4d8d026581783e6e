//! Rows on their way to a drive: gathered until there is a long run of each of its volumes, then written volume by volume.

use crate::error::Result;
use crate::format::hashes::BLOCK;
use crate::pack::stripe::Stripe;
use crate::stages::runs::run_end;
use std::collections::VecDeque;
use std::sync::Arc;

/// Stripes of one group that are not written yet, or not to their ends.
#[derive(Default)]
pub(super) struct Gathered {
    stripes: VecDeque<Arc<Stripe>>,
    /// Up to where the volumes are written.
    written: u64,
}

impl Gathered {
    /// Takes a stripe; returns how far all volumes can be written now, if a run of each is there.
    pub fn take(&mut self, stripe: Arc<Stripe>) -> Option<u64> {
        self.written = self.written.max(self.stripes.front().map_or(stripe.offset, |first| first.offset));
        let run = run_end(self.written, stripe.volumes());
        let there = stripe.end();
        self.stripes.push_back(stripe);
        (there >= run).then_some(run)
    }

    /// The group, if nothing of its volumes is written yet but there is something to write.
    pub fn begins(&self) -> Option<u32> {
        self.stripes.front().filter(|_| self.written == BLOCK as u64).map(|first| first.group)
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

    /// All volumes have been written up to `end`: what is not needed any more is let go.
    pub fn wrote(&mut self, end: u64) {
        self.written = end;
        while self.stripes.pop_front_if(|stripe| stripe.end() <= end).is_some() {}
    }
}
