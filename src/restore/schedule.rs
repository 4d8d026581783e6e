//! Who reads what next, when a part is on several drives: each drive has a reader of its own, so that all are read at the
//! same time and each in order.

use crate::threads::lock;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

/// How many segments a drive may be before another. What is mended of a row is kept for the other drives of that row, and what
/// is hashed of a file waits for what is before it: neither for ever.
const AHEAD: u64 = 64;

/// The segments that are still to be read, by drive.
#[derive(Debug)]
pub struct Turns(Mutex<Vec<VecDeque<u64>>>);

impl Turns {
    /// Of segments, which ascend, and the drive of each.
    pub fn new(segments: impl IntoIterator<Item = (u64, usize)>) -> Turns {
        let mut queues: BTreeMap<usize, VecDeque<u64>> = BTreeMap::new();
        for (segment, drive) in segments {
            queues.entry(drive).or_default().push_back(segment);
        }
        Turns(Mutex::new(queues.into_values().collect()))
    }

    /// How many drives there is something to read of.
    pub fn drives(&self) -> usize {
        lock(&self.0).len()
    }

    /// The next segment for a reader: of its own drive, as long as there are some and none is far behind; else of the drive
    /// that is furthest behind.
    pub fn next(&self, reader: usize) -> Option<u64> {
        let mut queues = lock(&self.0);
        let front = |queue: &VecDeque<u64>| queue.front().copied();
        let (least, behind) = queues.iter().enumerate().filter_map(|(i, q)| Some((front(q)?, i))).min()?;
        let own = reader % queues.len();
        let near = front(&queues[own]).is_some_and(|segment| segment <= least + AHEAD);
        queues[if near { own } else { behind }].pop_front()
    }

    /// There is nothing more to read.
    pub fn stop(&self) {
        lock(&self.0).iter_mut().for_each(VecDeque::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_stays_with_its_drive_until_another_is_far_behind() {
        let turns = Turns::new((0..300).map(|segment| (segment, segment as usize % 3)));
        assert_eq!(turns.drives(), 3);
        let mine: Vec<u64> = (0..22).filter_map(|_| turns.next(1)).collect();
        assert_eq!(mine, (0..22).map(|i| 3 * i + 1).collect::<Vec<u64>>());
        assert_eq!([turns.next(1), turns.next(1), turns.next(0)], [Some(0), Some(2), Some(3)]);
        turns.stop();
        assert_eq!(turns.next(2), None);
    }

    proptest! {
        #[test]
        fn each_segment_is_read_once_and_no_drive_is_left_behind(
            drives in prop::collection::vec(0usize..5, 0..400),
            readers in prop::collection::vec(0usize..7, 2000),
        ) {
            let turns = Turns::new((10..).zip(drives.iter().copied()));
            let mut left: BTreeSet<u64> = (10..).take(drives.len()).collect();
            for reader in readers {
                let Some(segment) = turns.next(reader) else { break };
                prop_assert!(segment <= left.first().unwrap() + AHEAD);
                prop_assert!(left.remove(&segment), "{} was read twice", segment);
            }
            prop_assert!(left.is_empty());
        }
    }
}
