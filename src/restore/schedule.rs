//! Who reads what next, when a part is on several drives: each drive has a reader of its own, so that all are read at the
//! same time and each in order.

use crate::threads::lock;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// How many segments a drive may be before another. What is mended of a row is kept for the other drives of that row, and what
/// is hashed of a file waits for what is before it: neither for ever.
const AHEAD: u64 = 64;

/// The segments that are to be read, by drive.
#[derive(Debug)]
pub struct Turns {
    queues: Vec<Vec<u64>>,
    /// How many of each have been read.
    read: Mutex<Vec<usize>>,
}

impl Turns {
    /// Of segments, which ascend, and the drive of each.
    pub fn new(segments: impl IntoIterator<Item = (u64, usize)>) -> Turns {
        let mut queues: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for (segment, drive) in segments {
            queues.entry(drive).or_default().push(segment);
        }
        Turns { read: Mutex::new(vec![0; queues.len()]), queues: queues.into_values().collect() }
    }

    /// The segments of each drive that there is something to read of, in order.
    pub fn queues(&self) -> &[Vec<u64>] {
        &self.queues
    }

    /// The next segment for a reader, and which queue it is from: its own drive's, as long as there are some and none is far behind;
    /// else that of the drive that is furthest behind.
    pub fn next(&self, reader: usize) -> Option<(usize, u64)> {
        let mut read = lock(&self.read);
        let front = |queue: usize| self.queues[queue].get(read[queue]).copied();
        let (least, behind) = (0..self.queues.len()).filter_map(|queue| Some((front(queue)?, queue))).min()?;
        let own = reader % self.queues.len();
        let near = front(own).is_some_and(|segment| segment <= least + AHEAD);
        let queue = if near { own } else { behind };
        let segment = front(queue)?;
        read[queue] += 1;
        Some((queue, segment))
    }

    /// There is nothing more to read.
    pub fn stop(&self) {
        lock(&self.read).iter_mut().zip(&self.queues).for_each(|(read, queue)| *read = queue.len());
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
        assert_eq!(turns.queues().len(), 3);
        let mine: Vec<(usize, u64)> = (0..22).filter_map(|_| turns.next(1)).collect();
        assert_eq!(mine, (0..22).map(|i| (1, 3 * i + 1)).collect::<Vec<_>>());
        assert_eq!([turns.next(1), turns.next(1), turns.next(0)], [Some((0, 0)), Some((2, 2)), Some((0, 3))]);
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
                let Some((_, segment)) = turns.next(reader) else { break };
                prop_assert!(segment <= left.first().unwrap() + AHEAD);
                prop_assert!(left.remove(&segment), "{} was read twice", segment);
            }
            prop_assert!(left.is_empty());
        }
    }
}
