//! Bars on a terminal: a line for each drive, and one for all of it. They are drawn at once, so that no line is ever half of one
//! moment and half of another.

use super::terminal;
use super::voice::{how_far, name, percent};
use ckvault::progress::{Board, Line};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// Columns below which there are no lines for drives.
const FOR_DRIVES: usize = 50;
/// Columns of the shortest bar that says something, and of the longest.
const BAR: std::ops::RangeInclusive<usize> = 8..=60;
/// Rows that are left to what was there before.
const SPARED_ROWS: usize = 4;

/// What is drawn of a phase.
pub struct Canvas {
    lines: ProgressBar,
    /// Changes whenever something is drawn.
    turn: usize,
    drawn: With,
}

/// Characters that every terminal has, where it does not say that it has more.
struct With {
    spinner: &'static [char],
    done: char,
    rest: char,
}

impl Canvas {
    /// Nothing is drawn yet.
    pub fn new() -> Canvas {
        let lines = ProgressBar::new_spinner();
        lines.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let drawn = match terminal::is_utf8() {
            true => {
                With { spinner: &['⠁', '⠂', '⠄', '⡀', '⢀', '⠠', '⠐', '⠈'], done: '█', rest: '░' }
            }
            false => With { spinner: &['|', '/', '-', '\\'], done: '#', rest: '-' },
        };
        Canvas { lines, turn: 0, drawn }
    }

    /// Draws everything as it is.
    pub fn draw(&mut self, board: &Board, now: Duration) {
        let (columns, rows) = terminal::size();
        self.turn += 1;
        let lines = lines(board, now, (columns.into(), rows.into()), &self.drawn, self.turn);
        self.lines.set_message(lines.join("\n"));
    }

    /// Says something above.
    pub fn above(&self, say: impl FnOnce()) {
        self.lines.suspend(say);
    }

    /// Leaves nothing of it.
    pub fn clear(&self) {
        self.lines.finish_and_clear();
    }
}

/// The lines for a terminal of so many columns and rows. All fit: one that is wrapped leaves its beginning behind whenever it is drawn
/// anew.
fn lines(board: &Board, now: Duration, (columns, rows): (usize, usize), with: &With, turn: usize) -> Vec<String> {
    let spinner = with.spinner[turn % with.spinner.len()];
    let mut lines: Vec<String> = Vec::new();
    for line in board.drives(now) {
        let drive = line.drive.unwrap_or_default();
        lines.push(fitting(&format!("  {spinner} drive {drive}  "), &line, columns));
    }
    if columns < FOR_DRIVES || lines.len() + SPARED_ROWS > rows {
        lines.clear();
    }
    let all = board.all(now);
    let (name, far) = (name(all.phase), how_far(&all, true));
    let free = columns.saturating_sub(name.len() + far.len() + 2);
    lines.push(match all.total {
        None => fitting(&format!("{spinner} {name} "), &all, columns),
        Some(_) if free < *BAR.start() => fitting(&format!("{name} "), &all, columns),
        Some(_) => {
            let bar = free.min(*BAR.end());
            let done = bar * percent(&all) as usize / 100;
            let mark = |at: usize| if at < done { with.done } else { with.rest };
            format!("{name} {} {far}", (0..bar).map(mark).collect::<String>())
        }
    });
    lines
}

/// As much as there is room for.
fn fitting(begin: &str, line: &Line, columns: usize) -> String {
    let all = [true, false].map(|roomy| format!("{begin}{}", how_far(line, roomy)));
    let fits = all.iter().find(|text| text.chars().count() <= columns).unwrap_or(&all[1]);
    fits.chars().take(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ckvault::progress::{Lane, Phase};

    const WITH: With = With { spinner: &['|'], done: '#', rest: '-' };

    #[test]
    fn lines_fit_and_say_what_there_is_room_for() {
        let lanes: Vec<Lane> = (1..=3).map(|number| Lane { number, bytes: None }).collect();
        let mut board = Board::new(Duration::ZERO, Phase::Export, 480 << 20, &lanes);
        let now = Duration::from_secs(10);
        for drive in 0..3 {
            board.drive(now, drive, 300 << 20);
            board.share(now, drive, 240 << 20);
        }
        let drawn = |size| lines(&board, now, size, &WITH, 1);
        assert_eq!(
            drawn((100, 24)),
            [
                "  | drive 1  300.00 MiB of 600.00 MiB, 30.00 MiB/s, 10 s left",
                "  | drive 2  300.00 MiB of 600.00 MiB, 30.00 MiB/s, 10 s left",
                "  | drive 3  300.00 MiB of 600.00 MiB, 30.00 MiB/s, 10 s left",
                "exporting ####################--------------------- 240.00 MiB of 480.00 MiB, 24.00 MiB/s, 10 s left"
            ]
        );
        assert_eq!(
            drawn((80, 6)),
            ["exporting ##########----------- 240.00 MiB of 480.00 MiB, 24.00 MiB/s, 10 s left"]
        );
        assert_eq!(drawn((50, 24))[0], "  | drive 1  300.00 MiB, 30.00 MiB/s, 10 s left");
        assert_eq!(drawn((50, 24))[3], "exporting 50 %, 24.00 MiB/s, 10 s left");
        for columns in 1..120 {
            assert!(drawn((columns, 24)).iter().all(|line| line.chars().count() <= columns), "{columns}");
        }
        let sync = Board::new(Duration::ZERO, Phase::Sync, 0, &[]);
        assert_eq!(lines(&sync, now, (80, 24), &WITH, 1), ["| syncing for 10 s"]);
    }
}
