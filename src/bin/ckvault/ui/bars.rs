//! How far a verb is: bars on a terminal, lines elsewhere.

use super::{lines, tell, terminal};
use crate::signals::Stop;
use ckvault::media::lock;
use ckvault::progress::{Phase, Progress};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Seconds between lines where there is no terminal.
const LINES_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether the terminal has another width.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Columns from which on a line has room for a bar, and those below which it has only what is most needed.
const FOR_A_BAR: u16 = 80;
const FOR_DRIVES: u16 = 50;
/// Rows that are left to what was there before.
const SPARED_ROWS: usize = 4;

/// Bars on a terminal, lines elsewhere.
pub struct Bars {
    stop: Arc<Stop>,
    asked: Arc<AtomicBool>,
    told_to_stop: AtomicBool,
    terminal: bool,
    shown: Mutex<Option<Shown>>,
    done: AtomicU64,
    /// What has been warned of: once is enough.
    warned: Mutex<BTreeSet<String>>,
}

struct Shown {
    phase: Phase,
    total: ProgressBar,
    drives: Vec<ProgressBar>,
    bytes: u64,
    columns: u16,
    begun: Instant,
    last: Instant,
}

impl Bars {
    /// Stops when `stop` says so.
    pub fn new(stop: Arc<Stop>) -> Bars {
        Bars {
            asked: stop.asked(),
            stop,
            told_to_stop: AtomicBool::new(false),
            terminal: terminal::is_able(),
            shown: Mutex::default(),
            done: AtomicU64::new(0),
            warned: Mutex::default(),
        }
    }

    fn with(&self, act: impl FnOnce(&mut Shown)) {
        if let Some(shown) = &mut *self.shown.lock().unwrap_or_else(PoisonError::into_inner) {
            act(shown);
        }
    }

    /// A line above the bars.
    fn say(&self, text: &str) {
        let say = || tell!("ckvault: {text}");
        match &*self.shown.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(shown) => shown.total.suspend(say),
            None => say(),
        }
    }

    /// What is known by now, and was not when the verb began.
    pub fn warn_of_what_came_up(&self) {
        if let Some(warning) = lock::warning() {
            self.warn(&warning);
        }
    }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Export => "exporting",
        Phase::Recheck => "checking what is there",
        Phase::ReadBack => "reading back",
        Phase::Verify => "verifying",
        Phase::Import => "importing",
        Phase::Repair => "repairing",
    }
}

/// Characters that every terminal has, where it does not say that it has more.
fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    if terminal::is_utf8() { style } else { style.progress_chars("#>-").tick_chars("|/-\\ ") }
}

/// A line that fits: one that is wrapped leaves its beginning behind whenever it is drawn anew.
fn total_style(columns: u16) -> ProgressStyle {
    style(match columns {
        FOR_A_BAR.. => "{msg} {wide_bar} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left",
        _ => "{msg} {percent} %, {binary_bytes_per_sec}, {eta} left",
    })
}

impl Progress for Bars {
    fn begin(&self, phase: Phase, total: u64, drives: &[u32]) {
        self.warn_of_what_came_up();
        self.done.store(0, Ordering::Relaxed);
        let all = MultiProgress::new();
        let (columns, rows) = terminal::size();
        let (mut bars, total_bar) = match self.terminal {
            false => (Vec::new(), ProgressBar::hidden()),
            true => {
                let drive = |number: &u32| {
                    let bar = all.add(ProgressBar::new_spinner());
                    bar.set_style(style("  {spinner} {msg}  {bytes} at {binary_bytes_per_sec}"));
                    bar.with_message(format!("drive {number}"))
                };
                let fit = columns >= FOR_DRIVES && drives.len() + SPARED_ROWS <= usize::from(rows);
                let drives = if fit { drives } else { &[] };
                (drives.iter().map(drive).collect(), all.add(ProgressBar::new(total)))
            }
        };
        total_bar.set_style(total_style(columns));
        total_bar.set_message(name(phase));
        bars.iter_mut().for_each(|b| b.enable_steady_tick(Duration::from_millis(250)));
        if !self.terminal {
            tell!("ckvault: {} {}", name(phase), HumanBytes(total));
        }
        let now = Instant::now();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Shown { phase, total: total_bar, drives: bars, bytes: total, columns, begun: now, last: now });
    }

    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.with(|shown| {
            shown.total.set_position(done);
            if self.terminal && shown.last.elapsed() >= LOOK_EVERY {
                shown.last = Instant::now();
                let (columns, _) = terminal::size();
                if std::mem::replace(&mut shown.columns, columns) != columns {
                    shown.total.set_style(total_style(columns));
                }
            }
            if !self.terminal && shown.last.elapsed() >= LINES_EVERY {
                shown.last = Instant::now();
                let rate = done as f64 / shown.begun.elapsed().as_secs_f64();
                tell!(
                    "ckvault: {} {} of {}, {}/s",
                    name(shown.phase),
                    HumanBytes(done),
                    HumanBytes(shown.bytes),
                    HumanBytes(rate as u64)
                );
            }
        });
    }

    fn drive(&self, drive: usize, bytes: u64) {
        self.with(|shown| {
            if let Some(bar) = shown.drives.get(drive) {
                bar.inc(bytes);
            }
        });
    }

    fn end(&self) {
        self.with(|shown| {
            shown.drives.iter().for_each(ProgressBar::finish_and_clear);
            shown.total.finish_and_clear();
        });
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn cancelled(&self) -> bool {
        let stopped = self.asked.load(Ordering::Relaxed);
        if stopped && !self.told_to_stop.swap(true, Ordering::Relaxed) {
            self.say("stopping; once more (Ctrl-C) ends at once, and leaves what is begun as it is");
        }
        stopped
    }

    fn if_stopped(&self, hint: &str) {
        self.stop.hint(hint);
    }

    fn warn(&self, message: &str) {
        if !self.warned.lock().unwrap_or_else(PoisonError::into_inner).insert(message.to_owned()) {
            return;
        }
        self.say(&format!("warning: {}", lines(message)));
    }
}
