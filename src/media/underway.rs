//! Bytes that have been written and are not durable yet, in the order in which they were written: they count when they are.

use crate::media::pace::Reach;
use crate::threads::lock;
use std::collections::VecDeque;
use std::sync::Mutex;

/// What is on its way to one file system. It may be told from several threads.
#[derive(Debug)]
pub struct Underway<T>(Mutex<VecDeque<(u64, T)>>);

impl<T> Default for Underway<T> {
    fn default() -> Underway<T> {
        Underway(Mutex::default())
    }
}

impl<T> Underway<T> {
    /// Takes note of something all of which has been written, of which `reach` tells how far the file system is now; passes on to
    /// `durable` what has become durable meanwhile.
    pub fn wrote(&self, what: T, reach: Reach, durable: impl FnMut(T)) {
        let mut waiting = lock(&self.0);
        // Others may have looked after this one, and written more before.
        let place = waiting.partition_point(|(written, _)| *written <= reach.written);
        waiting.insert(place, (reach.written, what));
        drop(waiting);
        self.look(reach, durable);
    }

    /// Passes on what has become durable. Most times nothing has, and that is seen at the first that waits.
    pub fn look(&self, reach: Reach, durable: impl FnMut(T)) {
        let mut waiting = lock(&self.0);
        if waiting.front().is_none_or(|(written, _)| *written > reach.durable) {
            return;
        }
        let count = waiting.partition_point(|(written, _)| *written <= reach.durable);
        let here: Vec<T> = waiting.drain(..count).map(|(_, what)| what).collect();
        drop(waiting);
        here.into_iter().for_each(durable);
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
