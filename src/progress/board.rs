//! What there is to show of a phase: how much of it is durable or read, how fast it goes on each drive, how long it will take.

use crate::progress::meter::Meter;
use crate::progress::phase::{Lane, Phase};
use crate::progress::trouble::{Trouble, Watch};
use std::time::Duration;

/// A phase as far as it is.
#[derive(Debug)]
pub struct Board {
    phase: Phase,
    total: u64,
    begun: Duration,
    /// What was told of no drive.
    done: u64,
    meter: Meter,
    drives: Vec<OnDrive>,
}

#[derive(Debug)]
struct OnDrive {
    lane: Lane,
    moved: u64,
    share: u64,
    syncing: bool,
    /// Of what moves, and of the share.
    meters: [Meter; 2],
    watch: Watch,
}

impl OnDrive {
    /// Which part of what is to be done here is done.
    fn part(&self, total: u64) -> f64 {
        let (done, all) = match self.lane.bytes {
            Some(bytes) => (self.moved, bytes),
            None => (self.share, total),
        };
        done as f64 / all.max(1) as f64
    }

    /// Whether something is to move, or has moved although nothing was to.
    fn moves(&self) -> bool {
        self.lane.bytes != Some(0) || self.moved > 0
    }
}

/// What there is to show of all of it, or of a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Of which drive.
    pub drive: Option<u32>,
    /// What is done.
    pub phase: Phase,
    /// Bytes that are done.
    pub done: u64,
    /// Bytes that there are to do; of a drive of which that is not known before, as it seems now.
    pub total: Option<u64>,
    /// Bytes a second.
    pub rate: Option<u64>,
    /// How long the rest will take.
    pub left: Option<Duration>,
    /// Since when it is under way.
    pub lasts: Duration,
    /// What is wrong with the drive, if others wait for it.
    pub trouble: Option<Trouble>,
}

impl Board {
    /// A phase begins.
    pub fn new(now: Duration, phase: Phase, total: u64, drives: &[Lane]) -> Board {
        let on = |lane: &Lane| OnDrive {
            lane: *lane,
            moved: 0,
            share: 0,
            syncing: false,
            meters: [Meter::new(now), Meter::new(now)],
            watch: Watch::new(now),
        };
        let drives = drives.iter().map(on).collect();
        Board { phase, total, begun: now, done: 0, meter: Meter::new(now), drives }
    }

    /// What is done.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether bytes are counted.
    pub fn counts(&self) -> bool {
        self.total > 0
    }

    /// Whether all is done.
    pub fn is_done(&self) -> bool {
        self.done() >= self.total
    }

    /// See `Progress::advance`.
    pub fn advance(&mut self, now: Duration, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        self.meter.note(now, self.done());
    }

    /// See `Progress::drive`.
    pub fn drive(&mut self, now: Duration, drive: usize, bytes: u64) {
        if let Some(on) = self.drives.get_mut(drive) {
            on.moved = on.moved.saturating_add(bytes);
            on.meters[0].note(now, on.moved);
            on.watch.note(now, [&on.meters[0], &on.meters[1]].map(|meter| meter.rate(now)));
        }
    }

    /// See `Progress::share`.
    pub fn share(&mut self, now: Duration, drive: usize, bytes: u64) {
        if let Some(on) = self.drives.get_mut(drive) {
            on.share = on.share.saturating_add(bytes);
            on.meters[1].note(now, on.share);
        }
        let done = self.done();
        self.meter.note(now, done);
    }

    /// See `Progress::syncing`.
    pub fn syncing(&mut self, drive: usize, is: bool) {
        if let Some(on) = self.drives.get_mut(drive) {
            on.syncing = is;
        }
    }

    /// As far as the slowest drive is, where they say how far they are.
    fn done(&self) -> u64 {
        let shares = self.drives.iter().filter(|on| on.lane.bytes.is_none()).map(|on| on.share);
        shares.min().unwrap_or(self.done).min(self.total)
    }

    /// The part that is done of those drives for which others wait: drives wait for each other, and who is ahead has nothing to do. If
    /// all are equally far, none of them is to blame.
    fn behind(&self) -> Option<f64> {
        let parts = || self.drives.iter().filter(|on| on.moves()).map(|on| on.part(self.total));
        let (least, most) = (parts().reduce(f64::min)?, parts().reduce(f64::max)?);
        (least < 1.0 && (least < most || parts().count() == 1)).then_some(least)
    }

    /// All of it.
    pub fn all(&self, now: Duration) -> Line {
        let lasts = now.saturating_sub(self.begun);
        let line =
            Line { drive: None, phase: self.phase, done: 0, total: None, rate: None, left: None, lasts, trouble: None };
        match self.counts() {
            false => line,
            true => Line {
                done: self.done(),
                total: Some(self.total),
                rate: self.meter.rate(now),
                left: self.meter.left(now, self.total),
                ..line
            },
        }
    }

    /// Drive by drive, without those of a set that nothing moves from or to: most are not here.
    pub fn drives(&self, now: Duration) -> impl Iterator<Item = Line> + '_ {
        let behind = self.behind();
        self.drives.iter().filter(|on| on.moves()).map(move |on| {
            let is_behind = behind.is_some_and(|behind| on.part(self.total) <= behind);
            let rest = self.total.saturating_sub(on.share);
            // What is to come is like what has come.
            let whole =
                || Some((on.moved as f64 / on.share as f64 * self.total as f64) as u64).filter(|_| on.share > 0);
            let (total, left) = match on.lane.bytes {
                Some(bytes) => (Some(bytes), on.meters[0].left(now, bytes)),
                None if rest == 0 => (Some(on.moved), Some(Duration::ZERO)),
                None => (whole().map(|bytes| bytes.max(on.moved)), on.meters[1].left(now, self.total)),
            };
            Line {
                drive: Some(on.lane.number),
                phase: if on.syncing { Phase::Sync } else { self.phase },
                done: on.moved,
                total,
                rate: on.meters[0].rate(now),
                left,
                lasts: now.saturating_sub(self.begun),
                trouble: on.watch.trouble(now).filter(|_| is_behind),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_total_is_done_as_far_as_the_slowest_drive_is() {
        let lanes = [3, 4].map(|number| Lane { number, bytes: None });
        let mut board = Board::new(S, Phase::Export, 1000, &lanes);
        board.drive(2 * S, 0, 600);
        board.share(2 * S, 0, 500);
        assert_eq!(board.all(2 * S).done, 0);
        board.drive(3 * S, 1, 120);
        board.share(3 * S, 1, 100);
        board.syncing(1, true);
        let all = board.all(3 * S);
        assert_eq!((all.done, all.total, all.rate, all.left), (100, Some(1000), Some(50), Some(18 * S)));
        let drives: Vec<Line> = board.drives(3 * S).collect();
        assert_eq!((drives[0].drive, drives[0].done, drives[0].total), (Some(3), 600, Some(1200)));
        assert_eq!((drives[1].phase, drives[1].total, drives[1].left), (Phase::Sync, Some(1200), Some(18 * S)));
        board.share(4 * S, 0, 500);
        assert!(!board.is_done());
        board.share(4 * S, 1, 900);
        assert!(board.is_done());
        assert_eq!(board.drives(4 * S).next().unwrap().total, Some(600));
    }

    #[test]
    fn of_drives_that_stand_still_that_one_is_named_for_which_the_others_wait() {
        let lanes = [1, 2].map(|number| Lane { number, bytes: None });
        let mut board = Board::new(S, Phase::Export, 1000, &lanes);
        for drive in 0..2 {
            board.drive(2 * S, drive, 600);
            board.share(2 * S, drive, 100 + 50 * drive as u64);
        }
        let troubles = |board: &Board, now| board.drives(now).map(|line| line.trouble).collect::<Vec<_>>();
        assert_eq!(troubles(&board, 31 * S), [None, None]);
        assert_eq!(troubles(&board, 32 * S), [Some(Trouble::Still(30 * S)), None]);
        board.share(33 * S, 0, 900);
        board.share(33 * S, 1, 850);
        assert_eq!(troubles(&board, 90 * S), [None, None]);
        let mut board = Board::new(S, Phase::Verify, 1000, &[4, 5].map(|number| Lane { number, bytes: Some(500) }));
        assert_eq!(troubles(&board, 62 * S), [None, None], "nothing has moved anywhere: who knows why");
        board.drive(2 * S, 0, 500);
        assert_eq!(troubles(&board, 62 * S), [None, Some(Trouble::Still(61 * S))]);
        // The quick one has done what it could before both go on.
        let lanes = [4, 5].map(|number| Lane { number, bytes: Some(500) });
        let mut board = Board::new(S, Phase::Recheck, 1000, &lanes);
        board.drive(2 * S, 0, 300);
        board.drive(60 * S, 1, 200);
        assert_eq!(troubles(&board, 62 * S), [None, None]);
    }

    #[test]
    fn a_drive_that_nothing_moves_from_keeps_its_position_and_has_no_line() {
        let lanes: Vec<Lane> =
            (1..=30).map(|number| Lane { number, bytes: Some(u64::from(number == 7) * 300) }).collect();
        let mut board = Board::new(S, Phase::Import, 300, &lanes);
        let shown = |board: &Board| board.drives(2 * S).map(|line| line.drive.unwrap()).collect::<Vec<u32>>();
        assert_eq!(shown(&board), [7]);
        board.drive(2 * S, 6, 100);
        // What is rebuilt is read from drives of which that was not expected.
        board.drive(2 * S, 8, 50);
        assert_eq!(shown(&board), [7, 9]);
        let done: Vec<u64> = board.drives(2 * S).map(|line| line.done).collect();
        assert_eq!(done, [100, 50]);
        let unknown = Board::new(S, Phase::Export, 300, &[Lane { number: 4, bytes: None }]);
        assert_eq!(shown(&unknown), [4]);
    }

    #[test]
    fn what_is_read_counts_as_it_comes() {
        let mut board = Board::new(S, Phase::Verify, 300, &[Lane { number: 1, bytes: Some(300) }]);
        assert_eq!((board.all(S).rate, board.all(S).left), (None, None));
        board.advance(2 * S, 100);
        board.drive(2 * S, 0, 100);
        assert_eq!((board.all(2 * S).done, board.all(2 * S).left), (100, Some(2 * S)));
        assert_eq!(board.drives(2 * S).next().unwrap().left, Some(2 * S));
        // A drive of which nothing was said is nobody's business.
        board.drive(2 * S, 7, 100);
        board.share(2 * S, 7, 100);
        let waiting = Board::new(S, Phase::Sync, 0, &[]);
        let line = waiting.all(5 * S);
        assert_eq!((line.total, line.left, line.lasts, waiting.counts()), (None, None, 4 * S, false));
    }
}
