//! Drives that stand still or have become slow: told while they do, so that somebody can look at a cable.

use std::time::Duration;

/// How long something lasts before it is told.
const PATIENCE: Duration = Duration::from_secs(30);
/// A drive is slow that moves less than one part of so many of what it has moved.
const MUCH_SLOWER: u64 = 4;
/// The first bytes go into a memory of the drive's own, and say nothing of its speed.
const BEGINNING: Duration = Duration::from_secs(10);

/// What is wrong with a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It has moved nothing for so long.
    Still(Duration),
    /// It is much slower than it was, in bytes a second.
    Slow(u64),
}

/// Watches a drive.
#[derive(Debug)]
pub struct Watch {
    begun: Duration,
    moved: Duration,
    /// Of what moves, and of the stream that is in it: where that packs well, fewer bytes move.
    best: [u64; 2],
    slow: Option<Duration>,
}

impl Watch {
    /// Nothing has moved yet.
    pub fn new(now: Duration) -> Watch {
        Watch { begun: now, moved: now, best: [0; 2], slow: None }
    }

    /// Something has moved, and the drive now moves so many bytes a second, and so many of the stream, if these are told.
    pub fn note(&mut self, now: Duration, rates: [Option<u64>; 2]) {
        self.moved = now;
        if now.saturating_sub(self.begun) < BEGINNING {
            return;
        }
        let mut is_slow = |(rate, best): (Option<u64>, &mut u64)| {
            let rate = rate?;
            *best = rate.max(*best);
            Some(rate.saturating_mul(MUCH_SLOWER) < *best)
        };
        let slow: Vec<bool> = rates.into_iter().zip(&mut self.best).filter_map(&mut is_slow).collect();
        match !slow.is_empty() && slow.iter().all(|slow| *slow) {
            true => drop(self.slow.get_or_insert(now)),
            false => self.slow = None,
        }
    }

    /// What is wrong with it, if it is not done.
    pub fn trouble(&self, now: Duration) -> Option<Trouble> {
        let (still, slow) = (now.saturating_sub(self.moved), self.slow.map(|since| now.saturating_sub(since)));
        match (still >= PATIENCE, slow.is_some_and(|slow| slow >= PATIENCE)) {
            (true, _) => Some(Trouble::Still(still)),
            (false, true) => Some(Trouble::Slow(self.best[0])),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn who_stands_still_for_half_a_minute_is_told_of_until_it_moves() {
        let mut watch = Watch::new(5 * S);
        watch.note(7 * S, [Some(100), None]);
        assert_eq!(watch.trouble(36 * S), None);
        assert_eq!(watch.trouble(37 * S), Some(Trouble::Still(30 * S)));
        watch.note(50 * S, [Some(100), None]);
        assert_eq!(watch.trouble(51 * S), None);
    }

    #[test]
    fn who_is_much_slower_than_before_is_told_of_after_half_a_minute() {
        let mut watch = Watch::new(Duration::ZERO);
        watch.note(S, [Some(9_000), None]);
        (10..20).for_each(|s| watch.note(s * S, [Some(400), None]));
        (20..60).for_each(|s| watch.note(s * S, [Some(100), None]));
        assert_eq!(watch.trouble(60 * S), None, "a quarter is what sticks do");
        (60..90).for_each(|s| watch.note(s * S, [Some(99), None]));
        assert_eq!(watch.trouble(89 * S), None);
        assert_eq!(watch.trouble(90 * S), Some(Trouble::Slow(400)));
        watch.note(90 * S, [Some(101), None]);
        assert_eq!(watch.trouble(91 * S), None);
    }

    #[test]
    fn what_packs_well_is_no_slowness() {
        let mut watch = Watch::new(Duration::ZERO);
        (10..20).for_each(|s| watch.note(s * S, [Some(100), Some(130)]));
        (20..80).for_each(|s| watch.note(s * S, [Some(1), Some(2_000)]));
        assert_eq!(watch.trouble(80 * S), None);
        (80..140).for_each(|s| watch.note(s * S, [Some(100), Some(130)]));
        assert_eq!(watch.trouble(140 * S), None);
        (140..180).for_each(|s| watch.note(s * S, [Some(9), Some(12)]));
        assert_eq!(watch.trouble(180 * S), Some(Trouble::Slow(100)));
    }
}
