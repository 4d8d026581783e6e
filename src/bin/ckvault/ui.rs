//! The terminal. House rules: results go to stdout and everything else to stderr; lower case, no full stop; bars only on a
//! terminal, a line now and then elsewhere; text from a set is shown through `printable`.

use crate::outside::Outside;
use ckvault::error::Error;
use ckvault::progress::{Ask, DriveWanted, Phase, Progress};
use ckvault::text::{printable, without_secrets};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// A line of a result. Who closes the pipe (`ckvault list | head`) wants no more; that is no error.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// A line for the person at the terminal.
macro_rules! tell {
    ($($text:tt)*) => {{
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub(crate) use {say, tell};

/// Seconds between lines where there is no terminal.
const LINES_EVERY: Duration = Duration::from_secs(10);

/// Says what went wrong and what to do.
pub fn complain(error: &Error) {
    complain_of(&error.to_string(), error.hint());
}

/// The same, of what is no error of the verb itself.
pub fn complain_of(message: &str, hint: &str) {
    tell!("ckvault: {}", lines(message));
    if !hint.is_empty() {
        tell!("hint: {}", printable(hint.as_bytes()));
    }
}

/// Text that may come from a drive. Lists of ours are indented; another line break could begin a line that looks like ours.
fn lines(message: &str) -> String {
    message.split("\n  ").map(|line| printable(without_secrets(line).as_bytes())).collect::<Vec<String>>().join("\n  ")
}

/// A line for those who want to know more; names in it have been made safe to show.
pub fn note(text: &str) {
    tell!("ckvault: {text}");
}

/// Asks on the terminal, nowhere else; for another drive it may run a command instead.
#[derive(Clone)]
pub struct Person(pub Outside);

impl Ask for Person {
    fn passphrase(&self, prompt: &str) -> Option<Zeroizing<String>> {
        rpassword::prompt_password(format!("{prompt}: ")).ok().map(Zeroizing::new)
    }
    fn line(&self, prompt: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let _ = write!(std::io::stderr(), "{prompt} ");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).ok()?;
        Some(line.trim().to_owned())
    }
    fn tell(&self, message: &str) {
        tell!("ckvault: {}", printable(message.as_bytes()));
    }
    fn can_change_drives(&self) -> bool {
        self.0.changes_drives() || std::io::stdin().is_terminal()
    }
    fn next_drive(&self, wanted: &DriveWanted) -> bool {
        tell!("ckvault: {}", printable(wanted.message.as_bytes()));
        let by_hand = || {
            self.line("Press Enter when it is mounted, or type q if it will not come:").is_some_and(|a| a.is_empty())
        };
        self.0.change_drive(wanted).unwrap_or_else(by_hand)
    }
}

/// Bars on a terminal, lines elsewhere.
pub struct Bars {
    stop: Arc<AtomicBool>,
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
    begun: Instant,
    last: Instant,
}

impl Bars {
    /// Stops when `stop` is set.
    pub fn new(stop: Arc<AtomicBool>) -> Bars {
        Bars {
            stop,
            terminal: std::io::stderr().is_terminal(),
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

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress for Bars {
    fn begin(&self, phase: Phase, total: u64, drives: &[String]) {
        self.done.store(0, Ordering::Relaxed);
        let all = MultiProgress::new();
        let (mut bars, total_bar) = match self.terminal {
            false => (Vec::new(), ProgressBar::hidden()),
            true => {
                let drive = |path: &String| {
                    let bar = all.add(ProgressBar::new_spinner());
                    bar.set_style(style("  {spinner} {msg}  {bytes} at {binary_bytes_per_sec}"));
                    bar.with_message(printable(path.as_bytes()))
                };
                (drives.iter().map(drive).collect(), all.add(ProgressBar::new(total)))
            }
        };
        total_bar.set_style(style("{msg} {wide_bar} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left"));
        total_bar.set_message(name(phase));
        bars.iter_mut().for_each(|b| b.enable_steady_tick(Duration::from_millis(250)));
        if !self.terminal {
            tell!("ckvault: {} {}", name(phase), HumanBytes(total));
        }
        let now = Instant::now();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Shown { phase, total: total_bar, drives: bars, bytes: total, begun: now, last: now });
    }

    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.with(|shown| {
            shown.total.set_position(done);
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
        self.stop.load(Ordering::Relaxed)
    }

    fn warn(&self, message: &str) {
        if !self.warned.lock().unwrap_or_else(PoisonError::into_inner).insert(message.to_owned()) {
            return;
        }
        let say = || tell!("ckvault: warning: {}", lines(message));
        match &*self.shown.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(shown) => shown.total.suspend(say),
            None => say(),
        }
    }
}
