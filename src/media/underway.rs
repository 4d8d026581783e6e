//! Bytes that have been written and are not durable yet, in the order in which they were written: they count when they are.

use crate::media::pace::Reach;
use crate::threads::lock;
use std::collections::VecDeque;
use std::sync::Mutex;

/// What is on its way to one file system. It may be told from several threads.
#[derive(Debug, Default)]
pub struct Underway<T>(Mutex<VecDeque<(u64, T)>>);

impl<T> Underway<T> {
    /// Takes note of something all of which has been written, of which `reach` tells how far the file system is now; passes on to
    /// `durable` what has become durable meanwhile.
    pub fn wrote(&self, what: T, reach: Reach, durable: impl FnMut(T)) {
        lock(&self.0).push_back((reach.written, what));
        self.look(reach, durable);
    }

    /// Passes on what has become durable.
    pub fn look(&self, reach: Reach, durable: impl FnMut(T)) {
        // Others may have looked after this one, and written more before.
        let mut waiting = lock(&self.0);
        let (here, left) =
            std::mem::take(&mut *waiting).into_iter().partition(|(written, _)| *written <= reach.durable);
        *waiting = left;
        drop(waiting);
        let here: VecDeque<(u64, T)> = here;
        here.into_iter().map(|(_, what)| what).for_each(durable);
    }

    /// All of it is durable.
    pub fn all(&self, durable: impl FnMut(T)) {
        self.look(Reach { written: u64::MAX, durable: u64::MAX }, durable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_counts_when_it_is_durable() {
        let (underway, mut seen) = (Underway::default(), Vec::new());
        let reach = |written, durable| Reach { written, durable };
        underway.wrote("a", reach(10, 0), |what| seen.push(what));
        underway.wrote("c", reach(30, 9), |what| seen.push(what));
        underway.wrote("b", reach(20, 9), |what| seen.push(what));
        assert!(seen.is_empty());
        underway.look(reach(40, 20), |what| seen.push(what));
        assert_eq!(seen, ["a", "b"]);
        underway.all(|what| seen.push(what));
        underway.all(|_| panic!("it was passed on already"));
        assert_eq!(seen, ["a", "b", "c"]);
    }
}
