//! Stripes: some rows of all volumes of a group in memory, on their way from the workers that fill them to the writers of the
//! drives.

use crate::error::{Error, Result};
use crate::format::hashes::Value;
use crate::pack::mark::{Passed, Set};
use crate::stages::filehash::Page;
use crate::threads::lock;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Some rows of a group: a column for each volume. Its memory goes back to the pool when the last user drops it.
pub struct Stripe {
    /// Which group.
    pub group: u32,
    /// Where its columns begin in their volumes.
    pub offset: u64,
    /// Its place among all stripes of the set.
    pub sequence: u64,
    columns: Vec<Mutex<Vec<u8>>>,
    /// How far it is.
    pub tally: Mutex<Tally>,
    pool: Arc<Pool>,
}

/// How far a stripe is.
#[derive(Default)]
pub struct Tally {
    /// Bytes of frames that have been dealt to it.
    pub assigned: usize,
    /// Bytes of those that have arrived.
    pub copied: usize,
    /// Set when no frame will be dealt to it any more: how many bytes of each volume are used.
    pub used: Option<Vec<usize>>,
    /// Bytes of the stream whose frames end in it.
    pub plain: u64,
    /// Whether somebody has taken on its parity and hashes.
    pub encoded: bool,
    /// Marks that lie in one of its columns: that volume, and how many of its bytes come before.
    pub edges: Vec<(Arc<Set>, usize, usize)>,
    /// Marks before which nothing lies behind it.
    pub marks: Vec<Arc<Set>>,
}

impl Stripe {
    /// An empty stripe, from the memory of a pool.
    pub fn new(group: u32, offset: u64, sequence: u64, columns: Vec<Mutex<Vec<u8>>>, pool: Arc<Pool>) -> Stripe {
        Stripe { group, offset, sequence, columns, tally: Mutex::default(), pool }
    }

    /// Where its columns end in their volumes, at most.
    pub fn end(&self) -> u64 {
        self.offset + self.columns.first().map_or(0, |column| lock(column).len() as u64)
    }

    /// The memory of one volume.
    pub fn column(&self, volume: usize) -> MutexGuard<'_, Vec<u8>> {
        lock(&self.columns[volume])
    }

    /// Shows the bytes of one volume, once the stripe has been ordered.
    pub fn with_column<T>(&self, volume: usize, show: impl FnOnce(&[u8]) -> T) -> T {
        let used = lock(&self.tally).used.as_ref().map_or(0, |u| u[volume]);
        show(&self.column(volume)[..used])
    }
}

impl Drop for Stripe {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.columns));
    }
}

/// What the writers of drives are told, in order.
#[derive(Clone)]
pub enum Order {
    /// A group begins.
    Begin(u32),
    /// A group goes on whose volumes have been taken up.
    GoOn(u32),
    /// Rows to write.
    Rows(Arc<Stripe>),
    /// What is to be remembered once the rows before it are durable.
    Mark(Arc<Passed>),
    /// A group is complete.
    End(Arc<GroupEnd>),
    /// A group that was complete before: only its values are written again.
    Known(Arc<Vec<Vec<Value>>>),
}

/// A complete group.
pub struct GroupEnd {
    /// Which.
    pub group: u32,
    /// Length of each volume.
    pub lengths: Vec<u64>,
    /// Values of the blocks of each volume.
    pub values: Vec<Vec<Value>>,
    /// Bytes of the frame of each of its segments.
    pub frames: Vec<u32>,
    /// What is known of the hashes of files when it ends, beyond what was known when it began.
    pub page: Page,
}

/// Takes the orders for all drives. Called in order, by one thread at a time.
pub trait Sink: Sync {
    /// Passes an order on. Must not wait for stripes to come back.
    fn order(&self, order: Order) -> Result<()>;
    /// The header page of a volume.
    fn header(&self, group: u32, volume: usize) -> Vec<u8>;
}

/// Memory for stripes: bounded, reused, waited for.
pub struct Pool {
    state: Mutex<PoolState>,
    given: Condvar,
}

struct PoolState {
    free: Vec<Vec<Mutex<Vec<u8>>>>,
    may_make: usize,
    stopped: bool,
}

impl Pool {
    /// For at most so many stripes at a time.
    pub fn new(stripes: usize) -> Pool {
        Pool {
            state: Mutex::new(PoolState { free: Vec::new(), may_make: stripes, stopped: false }),
            given: Condvar::new(),
        }
    }

    /// Memory for a stripe, when there is some.
    pub fn take(&self, volumes: usize, bytes: usize) -> Result<Vec<Mutex<Vec<u8>>>> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return Err(Error::Interrupted);
            }
            if let Some(columns) = state.free.pop() {
                return Ok(columns);
            }
            if state.may_make > 0 {
                state.may_make -= 1;
                return Ok((0..volumes).map(|_| Mutex::new(vec![0; bytes])).collect());
            }
            state = self.given.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give(&self, columns: Vec<Mutex<Vec<u8>>>) {
        lock(&self.state).free.push(columns);
        self.given.notify_one();
    }

    /// Ends all waiting.
    pub fn stop(&self) {
        lock(&self.state).stopped = true;
        self.given.notify_all();
    }
}
