//! Complete stripes on their way to the drives: parity and block hashes are computed, then all of it is handed to the writers in order.

use crate::error::Result;
use crate::format::hashes::{self, BlockSize, BlockValues, SLICE, Value};
use crate::pack::begun_group::BegunGroup;
use crate::pack::mark::{Passed, Set, whole_slices};
use crate::pack::plan::Plan;
use crate::pack::stripe::{GroupEnd, Order, Sink, Stripe};
use crate::stages::filehash::Page;
use crate::stages::parity::Codec;
use crate::threads::lock;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

/// Encodes, hashes and passes on.
pub(super) struct RowsOut<'a> {
    codec: Codec,
    k: usize,
    n: usize,
    block: BlockSize,
    passing: Mutex<Passing>,
    sink: &'a dyn Sink,
}

/// Finished stripes on their way to the sink, brought back into order.
#[derive(Default)]
struct Passing {
    next: u64,
    waiting: BTreeMap<u64, Finished>,
    ends: VecDeque<Ending>,
    values: Vec<BlockValues>,
    group: Option<u32>,
    /// Values of slices of each volume since the last mark, and where the first of them begins.
    since: Vec<Vec<Value>>,
    since_from: u64,
}

struct Finished {
    stripe: Arc<Stripe>,
    /// Of its slices.
    values: Vec<Vec<Value>>,
}

impl Passing {
    fn begin(&mut self, group: u32, (n, block): (usize, BlockSize), rows: u64) {
        self.group = Some(group);
        self.values = vec![BlockValues::new(block); n];
        (self.since, self.since_from) = (vec![Vec::new(); n], rows);
    }

    /// All that lies before a mark has passed, in stripes of which the last has its end there.
    fn mark(&mut self, set: &Set, end: u64) -> Arc<Passed> {
        let mark = set.mark(self.since_from, &self.since);
        let complete = whole_slices(self.since_from, set.rows);
        self.since.iter_mut().for_each(|values| drop(values.drain(..complete.min(values.len()))));
        self.since_from = set.rows;
        Arc::new(Passed { at: (set.group, set.index), end, mark })
    }
}

/// A group whose last stripe is the one before `before`.
pub(super) struct Ending {
    /// The number of the first stripe after it.
    pub before: u64,
    /// Its number.
    pub group: u32,
    /// The lengths of its volumes.
    pub lengths: Vec<u64>,
    /// Bytes of its frames.
    pub frames: Vec<u32>,
    /// What is known of the hashes of files.
    pub page: Page,
}

impl<'a> RowsOut<'a> {
    /// For the volumes of a plan, to `sink`; the first group may have been begun.
    pub fn new(plan: &Plan, begun: Option<&BegunGroup>, sink: &'a dyn Sink) -> Result<RowsOut<'a>> {
        let codec = Codec::new(plan.k, plan.m)?;
        let n = plan.placement.len();
        let mut passing = Passing::default();
        if let Some(begun) = begun {
            passing.begin(begun.group, (n, plan.block), begun.rows);
            passing.values.clone_from(&begun.values);
        }
        Ok(RowsOut { codec, k: plan.k.into(), n, block: plan.block, passing: Mutex::new(passing), sink })
    }

    /// The last stripe of a group has been begun.
    pub fn end_group(&self, end: Ending) -> Result<()> {
        let mut passing = lock(&self.passing);
        passing.ends.push_back(end);
        self.pass_waiting(&mut passing)
    }

    /// Encodes and passes on a stripe that is closed and full; only one caller finds it so.
    pub fn finish_if_whole(&self, stripe: &Arc<Stripe>) -> Result<()> {
        let used = {
            let mut tally = lock(&stripe.tally);
            if tally.encoded || tally.copied < tally.assigned {
                return Ok(());
            }
            let Some(used) = tally.used.clone() else { return Ok(()) };
            tally.encoded = true;
            used
        };
        let values = self.encode(stripe, &used)?;
        let mut passing = lock(&self.passing);
        passing.waiting.insert(stripe.sequence, Finished { stripe: stripe.clone(), values });
        self.pass_waiting(&mut passing)
    }

    fn encode(&self, stripe: &Stripe, used: &[usize]) -> Result<Vec<Vec<Value>>> {
        let mut columns: Vec<MutexGuard<Vec<u8>>> = (0..self.n).map(|v| stripe.column(v)).collect();
        let longest = used.iter().copied().max().unwrap_or(0);
        for (column, used) in columns.iter_mut().zip(&used[..self.k]) {
            column[*used..longest].fill(0);
        }
        let (data, parity) = columns.split_at_mut(self.k);
        // Slice by slice of the rows, so that it is still in the cache when its last parity block is computed.
        for from in (0..longest).step_by(SLICE.size()) {
            let slice = from..(from + SLICE.size()).min(longest);
            let data: Vec<&[u8]> = data.iter().map(|c| &c[slice.clone()]).collect();
            let mut parity: Vec<&mut [u8]> = parity.iter_mut().map(|c| &mut c[slice.clone()]).collect();
            self.codec.encode(&data, &mut parity)?;
        }
        let edges = std::mem::take(&mut lock(&stripe.tally).edges);
        for (mark, volume, bytes) in &edges {
            let from = bytes / SLICE.size() * SLICE.size();
            mark.has_edge(*volume, stripe.offset + from as u64, &columns[*volume][from..*bytes]);
        }
        let values = |(column, used): (&MutexGuard<Vec<u8>>, &usize)| {
            let slices = column[..*used].chunks(SLICE.size()).enumerate();
            slices.map(|(i, b)| hashes::subtree(stripe.offset + (i * SLICE.size()) as u64, b)).collect()
        };
        Ok(columns.iter().zip(used).map(values).collect())
    }

    fn pass_waiting(&self, passing: &mut Passing) -> Result<()> {
        loop {
            let next = passing.next;
            if let Some(end) = passing.ends.pop_front_if(|end| end.before == next) {
                self.sink.order(Order::End(Arc::new(self.end(passing, end))))?;
                continue;
            }
            let Some(finished) = passing.waiting.remove(&next) else { return Ok(()) };
            passing.next += 1;
            if passing.group != Some(finished.stripe.group) {
                passing.begin(finished.stripe.group, (self.n, self.block), self.block.bytes());
                self.sink.order(Order::Begin(finished.stripe.group))?;
            }
            for (volume, new) in finished.values.iter().enumerate() {
                passing.values[volume].extend(new);
                passing.since[volume].extend(new);
            }
            let (marks, end) = (std::mem::take(&mut lock(&finished.stripe.tally).marks), finished.stripe.end());
            self.sink.order(Order::Rows(finished.stripe))?;
            marks.iter().try_for_each(|set| self.sink.order(Order::Mark(passing.mark(set, end))))?;
        }
    }

    fn end(&self, passing: &mut Passing, end: Ending) -> GroupEnd {
        let known = std::mem::take(&mut passing.values).into_iter().zip(&end.lengths).enumerate();
        let values = known.map(|(volume, (values, len))| {
            values.finish(self.block.value(0, &self.sink.header(end.group, volume), *len))
        });
        let values = values.collect();
        GroupEnd { group: end.group, lengths: end.lengths, values, frames: end.frames, page: end.page }
    }
}
