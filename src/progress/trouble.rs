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
    best: u64,
    slow: Option<Duration>,
}

impl Watch {
    /// Nothing has moved yet.
    pub fn new(now: Duration) -> Watch {
        Watch { begun: now, moved: now, best: 0, slow: None }
    }

    /// Something has moved, and the drive now moves so many bytes a second.
    pub fn note(&mut self, now: Duration, rate: Option<u64>) {
        self.moved = now;
        let Some(rate) = rate.filter(|_| now.saturating_sub(self.begun) >= BEGINNING) else { return };
        self.best = self.best.max(rate);
        match rate.saturating_mul(MUCH_SLOWER) < self.best {
            true => drop(self.slow.get_or_insert(now)),
            false => self.slow = None,
        }
    }

    /// What is wrong with it, if it is not done.
    pub fn trouble(&self, now: Duration) -> Option<Trouble> {
        let (still, slow) = (now.saturating_sub(self.moved), self.slow.map(|since| now.saturating_sub(since)));
        match (still >= PATIENCE, slow.is_some_and(|slow| slow >= PATIENCE)) {
            (true, _) => Some(Trouble::Still(still)),
            (false, true) => Some(Trouble::Slow(self.best)),
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
        watch.note(7 * S, Some(100));
        assert_eq!(watch.trouble(36 * S), None);
        assert_eq!(watch.trouble(37 * S), Some(Trouble::Still(30 * S)));
        watch.note(50 * S, Some(100));
        assert_eq!(watch.trouble(51 * S), None);
    }

    #[test]
    fn who_is_much_slower_than_before_is_told_of_after_half_a_minute() {
        let mut watch = Watch::new(Duration::ZERO);
        watch.note(S, Some(9_000));
        (10..20).for_each(|s| watch.note(s * S, Some(400)));
        (20..60).for_each(|s| watch.note(s * S, Some(100)));
        assert_eq!(watch.trouble(60 * S), None, "a quarter is what sticks do");
        (60..90).for_each(|s| watch.note(s * S, Some(99)));
        assert_eq!(watch.trouble(89 * S), None);
        assert_eq!(watch.trouble(90 * S), Some(Trouble::Slow(400)));
        watch.note(90 * S, Some(101));
        assert_eq!(watch.trouble(91 * S), None);
    }
}
