//! Work in several threads: how many, and what becomes of their errors.

use crate::error::{Error, Result};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// How many workers to use; asked of the system once, since that takes files that are out of reach later.
pub fn workers() -> usize {
    static WORKERS: OnceLock<usize> = OnceLock::new();
    *WORKERS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// How many workers to use, at most so many, if each holds so many bytes while it works, and all together no more than `most`.
pub fn workers_within(workers: usize, each: u64, most: u64) -> usize {
    workers.min((most / each.max(1)) as usize).max(1)
}

/// Locks; a thread that panicked while it held the lock has ended the whole verb anyway.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the first error of many threads: those after it are its echo.
#[derive(Default)]
pub struct FirstError(Mutex<Option<Error>>);

impl FirstError {
    /// Takes the result of a thread; `stop` is called if it is an error.
    pub fn keep(&self, result: Result<()>, stop: impl FnOnce()) {
        if let Err(error) = result {
            let mut first = lock(&self.0);
            match &*first {
                // Threads that were stopped say so; a real cause says more.
                Some(kept) if !matches!(kept, Error::Interrupted) || matches!(error, Error::Interrupted) => {}
                _ => *first = Some(error),
            }
            drop(first);
            stop();
        }
    }

    /// Whether all went well so far.
    pub fn is_none(&self) -> bool {
        lock(&self.0).is_none()
    }

    /// The first error, if there is one.
    pub fn take(self) -> Option<Error> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same as a result.
    pub fn check(self) -> Result<()> {
        self.take().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_workers_hold_no_more_than_few() {
        assert_eq!([1, 2, 64, 1000].map(|cores| workers_within(cores, 32 << 20, 512 << 20)), [1, 2, 16, 16]);
        assert_eq!(workers_within(64, 4 << 20, 512 << 20), 64);
        assert_eq!([0, 8].map(|cores| workers_within(cores, 1 << 40, 512 << 20)), [1, 1]);
    }
}
