//! How fast something goes, and how long the rest will take: what is done at which time goes in, a rate and a time come out. Whoever
//! asks brings the clock.

use std::collections::VecDeque;
use std::time::Duration;

/// What is judged at least, if there is as much.
const LEAST_WINDOW: Duration = Duration::from_secs(10);
/// What is judged, of all the time that has passed: one part of so many.
const WINDOW: u32 = 3;
/// How finely it is divided.
const GRAINS: u32 = 128;

/// How far something was at some times. It may come in steps: then what counts is the time from step to step.
#[derive(Debug, Clone)]
pub struct Meter {
    begun: Duration,
    /// The first is what the others are judged from.
    seen: VecDeque<(Duration, u64)>,
}

impl Meter {
    /// Nothing is done yet.
    pub fn new(now: Duration) -> Meter {
        Meter { begun: now, seen: VecDeque::from([(now, 0)]) }
    }

    /// So much is done now, all in all.
    pub fn note(&mut self, now: Duration, done: u64) {
        let (_, last) = self.last();
        if done <= last {
            return;
        }
        let window = LEAST_WINDOW.max(now.saturating_sub(self.begun) / WINDOW);
        // What comes close behind another takes its place.
        if self.seen.len() > 2 && self.last().0.saturating_sub(self.seen[self.seen.len() - 2].0) < window / GRAINS {
            self.seen.pop_back();
        }
        self.seen.push_back((now, done));
        while self.seen.len() > 2 && now.saturating_sub(self.seen[1].0) >= window {
            self.seen.pop_front();
        }
    }

    fn last(&self) -> (Duration, u64) {
        self.seen.back().copied().unwrap_or_default()
    }

    /// Bytes a second, and since when nothing has come that belongs to the next step; `None` before anything was done.
    fn pace(&self, now: Duration) -> Option<(f64, Duration)> {
        let ((from, before), (to, done)) = (*self.seen.front()?, self.last());
        let steps = self.seen.len() as u32 - 1;
        let (took, since) = (to.saturating_sub(from), now.saturating_sub(to));
        // A step that is longer under way than two others took is no step: it goes slower now.
        let late = steps == 0 || since > took / steps.max(1) * 2;
        let took = if late { took + since } else { took };
        let rate = (done - before) as f64 / took.as_secs_f64().max(1e-3);
        (done > before).then_some((rate, if late { Duration::ZERO } else { since }))
    }

    /// Bytes a second.
    pub fn rate(&self, now: Duration) -> Option<u64> {
        self.pace(now).map(|(rate, _)| rate as u64)
    }

    /// How long it will take until `total` are done.
    pub fn left(&self, now: Duration, total: u64) -> Option<Duration> {
        let (rate, since) = self.pace(now)?;
        let rest = total.saturating_sub(self.last().1) as f64 / rate.max(1e-9);
        Some(Duration::try_from_secs_f64(rest).ok()?.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// At a constant speed, told in steps of `step` bytes: whether all that is said after the first tenth is within a fifth.
    fn holds(rate: u64, total: u64, step: u64) {
        let mut meter = Meter::new(Duration::from_secs(7));
        let (mut told, whole) = (0, total as f64 / rate as f64);
        for ms in (0..).step_by(50) {
            let now = Duration::from_secs(7) + ms * MS;
            let gone = f64::from(ms) / 1000.0;
            let done = (gone * rate as f64) as u64;
            if done >= total {
                return;
            }
            while done >= told + step {
                told += step;
                // Each is told when it ends.
                meter.note(Duration::from_secs(7) + Duration::from_secs_f64(told as f64 / rate as f64), told);
            }
            if gone < whole / 10.0 || told == 0 {
                continue;
            }
            let left = meter.left(now, total).unwrap().as_secs_f64();
            let truly = whole - gone;
            // Of the last step nobody knows more than that it is under way.
            let slack = 0.2 * truly + step as f64 / rate as f64 * 0.1 + 0.06;
            assert!((left - truly).abs() <= slack, "{rate} {total} {step}: {left} at {gone}, truly {truly}");
            let said = meter.rate(now).unwrap() as f64 / rate as f64;
            assert!((0.8..1.2).contains(&said), "{rate} {total} {step}: {said} at {gone}");
        }
    }

    #[test]
    fn what_is_left_is_right_within_a_fifth_after_the_first_tenth() {
        for total in [100_000_000, 480 << 20, 60_000_000_000] {
            for step in [1, 512 << 10, 6_250_000, 25_000_000] {
                let step = if total > 1_000_000_000 { step.max(512 << 10) } else { step.max(10_000) };
                if step * 20 <= total {
                    holds(25_000_000, total, step);
                }
            }
        }
        holds(2_000_000, 480 << 20, 512 << 10);
        holds(2_000_000_000, 1 << 40, 512 << 20);
    }

    #[test]
    fn who_stands_still_is_slower_from_moment_to_moment() {
        let mut meter = Meter::new(Duration::ZERO);
        assert_eq!((meter.rate(MS), meter.left(MS, 9)), (None, None));
        (1..=20).for_each(|i| meter.note(i * 500 * MS, u64::from(i) * 1_000_000));
        assert_eq!(meter.rate(10_000 * MS), Some(2_000_000));
        assert_eq!(meter.left(10_000 * MS, 30_000_000), Some(Duration::from_secs(5)));
        let rates: Vec<u64> = (12..60).map(|s| meter.rate(s * 1000 * MS).unwrap()).collect();
        assert!(rates.windows(2).all(|pair| pair[1] < pair[0]), "{rates:?}");
        assert!(meter.left(60_000 * MS, 30_000_000).unwrap() > Duration::from_secs(20));
    }

    #[test]
    fn a_long_time_takes_little_memory() {
        let mut meter = Meter::new(Duration::ZERO);
        (1..200_000).for_each(|i| meter.note(i * 10 * MS, u64::from(i)));
        assert!(meter.seen.len() <= 2 * GRAINS as usize + 2, "{}", meter.seen.len());
        assert_eq!(meter.rate(2_000_000 * MS), Some(100));
    }
}
