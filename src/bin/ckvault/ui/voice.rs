//! Progress in lines: for people who read a log, and for programs.

use ckvault::progress::{Board, Line, Phase, Trouble};
use indicatif::HumanBytes;
use serde_json::json;
use std::time::Duration;

/// How often there is a line for people.
const PLAIN: Duration = Duration::from_secs(10);
/// How often there are lines for programs. Whoever asks does so four times a second: no second passes without one.
const JSON: Duration = Duration::from_millis(700);

/// For whom the lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// One now and then.
    People,
    /// JSON, one object a line.
    Programs,
}

/// When there is something to say, and what.
pub struct Voice {
    whom: For,
    last: Duration,
}

impl Voice {
    /// Nothing was said yet.
    pub fn new(whom: For) -> Voice {
        Voice { whom, last: Duration::ZERO }
    }

    /// A phase has begun.
    pub fn begins(&mut self, board: &Board, now: Duration) -> Vec<String> {
        match (self.whom, board.all(now).total) {
            (For::People, None) => Vec::new(),
            (For::People, Some(bytes)) => {
                self.last = now;
                vec![format!("ckvault: {} {}", name(board.phase()), HumanBytes(bytes))]
            }
            (For::Programs, _) => self.all(board, now, false),
        }
    }

    /// A phase has ended.
    pub fn ends(&mut self, board: &Board, now: Duration) -> Vec<String> {
        match self.whom {
            For::People if board.counts() && board.is_done() => {
                self.last = now;
                let line = board.all(now);
                let (what, bytes, time) = (name(line.phase), HumanBytes(line.done), short_time(line.lasts));
                vec![format!("ckvault: {what}: all {bytes} in {time}")]
            }
            For::Programs if board.counts() => self.all(board, now, false),
            _ => Vec::new(),
        }
    }

    /// Some time has passed. While somebody is `awaited`, people are at the question, and it is theirs to say something.
    pub fn beats(&mut self, board: &Board, now: Duration, awaited: bool) -> Vec<String> {
        let every = if self.whom == For::People { PLAIN } else { JSON };
        if now.saturating_sub(self.last) < every || awaited && self.whom == For::People {
            return Vec::new();
        }
        self.all(board, now, awaited)
    }

    fn all(&mut self, board: &Board, now: Duration, awaited: bool) -> Vec<String> {
        self.last = now;
        let mut all = board.all(now);
        match self.whom {
            For::People => {
                let line = format!("ckvault: {} {}", name(all.phase), how_far(&all, true));
                std::iter::once(line).chain(board.drives(now).filter_map(|line| complaint(&line))).collect()
            }
            For::Programs => {
                if awaited {
                    all.phase = Phase::Wait;
                }
                std::iter::once(all).chain(board.drives(now)).map(|line| object(&line)).collect()
            }
        }
    }
}

/// A line for programs: see PROGRESS in ckvault(1).
fn object(line: &Line) -> String {
    let eta = line.left.map(|left| (left.as_secs_f64() * 10.0).round() / 10.0);
    json!({
        "phase": line.phase.word(),
        "done": line.done,
        "total": line.total,
        "rate": line.rate,
        "eta": eta,
        "drive": line.drive,
        "still": match line.trouble {
            Some(Trouble::Still(time)) => Some(time.as_secs()),
            _ => None,
        },
        "slow": matches!(line.trouble, Some(Trouble::Slow(_))),
    })
    .to_string()
}

/// What a phase is called.
pub fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Start => "getting ready",
        Phase::Walk => "looking at the sources",
        Phase::Remove => "removing what was left",
        Phase::Prepare => "preparing what is written to",
        Phase::Estimate => "packing samples",
        Phase::Probe => "trying how fast the drives are",
        Phase::Export => "exporting",
        Phase::Recheck => "checking what is there",
        Phase::Metadata => "writing metadata",
        Phase::Sync => "syncing",
        Phase::ReadBack => "reading back",
        Phase::Sign => "signing",
        Phase::Open => "opening the set",
        Phase::Unlock => "unlocking",
        Phase::Contents => "reading the inventory",
        Phase::Verify => "verifying",
        Phase::Judge => "judging metadata and damage",
        Phase::Import => "importing",
        Phase::Finish => "setting modes and times",
        Phase::Name => "giving files their names",
        Phase::Repair => "repairing",
        Phase::Wait => "waiting",
    }
}

/// How far something is; with how much there is to do, if there is room for that.
pub fn how_far(line: &Line, roomy: bool) -> String {
    let Some(total) = line.total.or(line.drive.map(|_| line.done)) else {
        return format!("for {}", short_time(line.lasts));
    };
    let done = match (line.drive, roomy) {
        (None, false) => format!("{} %", percent(line)),
        (_, true) if line.total.is_some() => format!("{} of {}", HumanBytes(line.done), HumanBytes(total)),
        _ => HumanBytes(line.done).to_string(),
    };
    let rate = line.rate.map(|rate| format!(", {}/s", HumanBytes(rate))).unwrap_or_default();
    let left = match (line.drive, line.phase, line.left) {
        _ if trouble(line).is_some() => format!(", {}", trouble(line).unwrap_or_default()),
        (Some(_), Phase::Sync, _) => format!(", {}", name(Phase::Sync)),
        (_, _, Some(left)) if line.done < total => format!(", {} left", short_time(left)),
        _ => String::new(),
    };
    format!("{done}{rate}{left}")
}

/// What is wrong with a drive.
fn trouble(line: &Line) -> Option<String> {
    Some(match line.trouble? {
        Trouble::Still(time) => format!("nothing has moved for {}", short_time(time)),
        Trouble::Slow(was) => format!("was {}/s", HumanBytes(was)),
    })
}

/// The same as a line of its own.
fn complaint(line: &Line) -> Option<String> {
    let (drive, trouble) = (line.drive?, trouble(line)?);
    let rate = line.rate.filter(|_| matches!(line.trouble, Some(Trouble::Slow(_))));
    let now = rate.map(|rate| format!("slow, {}/s now, ", HumanBytes(rate))).unwrap_or_default();
    Some(format!("ckvault: drive {drive}: {now}{trouble}"))
}

/// Never a hundred before all is done.
pub fn percent(line: &Line) -> u64 {
    let total = line.total.unwrap_or_default().max(1);
    (u128::from(line.done) * 100 / u128::from(total)).min(100) as u64
}

fn short_time(time: Duration) -> String {
    match time.as_secs_f64().round() as u64 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ckvault::progress::Lane;

    const TICK: Duration = Duration::from_millis(250);

    /// When lines come of a phase that lasts a minute and in which nothing is told.
    fn heard(whom: For, board: &Board, awaited: bool) -> Vec<Duration> {
        let (mut voice, mut heard) = (Voice::new(whom), vec![Duration::ZERO]);
        drop(voice.begins(board, Duration::ZERO));
        for tick in 0..240 {
            let now = TICK * tick;
            if !voice.beats(board, now, awaited).is_empty() {
                heard.push(now);
            }
        }
        heard.push(TICK * 240);
        heard
    }

    #[test]
    fn nothing_lasts_without_a_sign_of_life() {
        let lane = [Lane { number: 1, bytes: None }];
        for board in
            [Board::new(Duration::ZERO, Phase::Sync, 0, &[]), Board::new(Duration::ZERO, Phase::Export, 9, &lane)]
        {
            for (whom, most) in [(For::Programs, Duration::from_secs(1)), (For::People, PLAIN)] {
                let heard = heard(whom, &board, false);
                assert!(heard.windows(2).all(|pair| pair[1] - pair[0] <= most), "{whom:?} {heard:?}");
            }
            assert_eq!(heard(For::People, &board, true).len(), 2, "a question is not talked over");
        }
    }

    #[test]
    fn lines_say_how_far_everything_is() {
        let s = Duration::from_secs;
        let lanes = [1, 2].map(|number| Lane { number, bytes: None });
        let mut board = Board::new(s(0), Phase::Export, 100 << 20, &lanes);
        for drive in 0..2 {
            board.drive(s(2), drive, 60 << 20);
            board.share(s(2), drive, 50 << 20);
        }
        board.syncing(1, true);
        let mut voice = Voice::new(For::People);
        assert_eq!(voice.begins(&board, s(0)), ["ckvault: exporting 100.00 MiB"]);
        assert_eq!(
            voice.beats(&board, s(10), false),
            ["ckvault: exporting 50.00 MiB of 100.00 MiB, 5.00 MiB/s, 10 s left"]
        );
        let lines = Voice::new(For::Programs).beats(&board, s(2), false);
        let one = r#"{"done":52428800,"drive":null,"eta":2.0,"phase":"export","rate":26214400,"slow":false,"still":null,"total":104857600}"#;
        let two = r#"{"done":62914560,"drive":2,"eta":2.0,"phase":"sync","rate":31457280,"slow":false,"still":null,"total":125829120}"#;
        assert_eq!((&lines[0][..], &lines[2][..], lines.len()), (one, two, 3));
        let drives: Vec<String> = board.drives(s(2)).map(|line| how_far(&line, true)).collect();
        assert_eq!(drives[0], "60.00 MiB of 120.00 MiB, 30.00 MiB/s, 2 s left");
        assert_eq!(drives[1], "60.00 MiB of 120.00 MiB, 30.00 MiB/s, syncing");
        assert!(voice.ends(&board, s(11)).is_empty());
        (0..2).for_each(|drive| board.share(s(12), drive, 50 << 20));
        assert_eq!(voice.ends(&board, s(12)), ["ckvault: exporting: all 100.00 MiB in 12 s"]);
        let sync = Board::new(s(0), Phase::Sync, 0, &[]);
        assert_eq!(voice.beats(&sync, s(75), false), ["ckvault: syncing for 1 min 15 s"]);
        let waits = Voice::new(For::Programs).beats(&sync, s(9), true);
        assert_eq!(
            waits,
            [r#"{"done":0,"drive":null,"eta":null,"phase":"wait","rate":null,"slow":false,"still":null,"total":null}"#]
        );
    }

    #[test]
    fn a_drive_that_stands_still_or_has_become_slow_is_named() {
        let s = Duration::from_secs;
        let lanes = [1, 2].map(|number| Lane { number, bytes: Some(1 << 30) });
        let board = || Board::new(s(0), Phase::Verify, 2 << 30, &lanes);
        let said = |board: &Board, whom| Voice::new(whom).beats(board, s(70), false)[1..].to_vec();
        let mut still = board();
        still.drive(s(1), 0, 20 << 20);
        assert_eq!(said(&still, For::People), ["ckvault: drive 2: nothing has moved for 1 min 10 s"]);
        let bars: Vec<String> = still.drives(s(70)).map(|line| how_far(&line, true)).collect();
        assert_eq!(bars[0], "20.00 MiB of 1.00 GiB, 292.57 KiB/s, 58 min 34 s left");
        assert_eq!(bars[1], "0 B of 1.00 GiB, nothing has moved for 1 min 10 s");
        assert!(said(&still, For::Programs)[1].contains(r#""slow":false,"still":70"#));
        let mut slow = board();
        slow.drive(s(1), 1, 1 << 30);
        (1..20).for_each(|n| slow.drive(s(n), 0, 20 << 20));
        (20..70).for_each(|n| slow.drive(s(n), 0, 1 << 20));
        let lines = said(&slow, For::People);
        assert!(
            lines[0].starts_with("ckvault: drive 1: slow, 1.") && lines[0].ends_with("/s now, was 20.00 MiB/s"),
            "{lines:?}"
        );
        assert!(said(&slow, For::Programs)[0].contains(r#""slow":true,"still":null"#));
    }

    #[test]
    fn a_hundred_percent_is_all() {
        let mut board = Board::new(Duration::ZERO, Phase::Verify, 1_000_000, &[]);
        board.advance(TICK, 999_999);
        assert_eq!(percent(&board.all(TICK)), 99);
        board.advance(TICK, 1);
        assert_eq!(percent(&board.all(TICK)), 100);
    }
}
