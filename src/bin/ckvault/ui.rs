//! The terminal. House rules: results go to stdout and everything else to stderr; lower case, no full stop; bars only on a
//! terminal, a line now and then elsewhere; text from a set is shown through `printable`.

use crate::outside::Outside;
use ckvault::error::Error;
use ckvault::progress::{Ask, DriveWanted, Phase, Progress};
use ckvault::text::{printable, without_secrets};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// A line of a result.
macro_rules! say {
    ($($text:tt)*) => {{
        $crate::ui::wrote(writeln!(std::io::stdout(), $($text)*));
    }};
}

/// A line for the person at the terminal.
macro_rules! tell {
    ($($text:tt)*) => {{
        $crate::ui::wrote(writeln!(std::io::stderr(), $($text)*));
    }};
}

pub(crate) use {say, tell};

/// The first line that could not be written.
static UNWRITTEN: Mutex<Option<io::Error>> = Mutex::new(None);

/// Takes note of output that could not be written.
pub fn wrote(result: io::Result<()>) {
    if let Err(error) = result {
        UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Whether something could not be written: an error, unless that is because nobody reads on and `may_be_cut` short.
pub fn unwritten(may_be_cut: bool) -> Option<Error> {
    wrote(std::io::stdout().flush());
    let error = UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    let is_cut = error.kind() == io::ErrorKind::BrokenPipe;
    (!is_cut || !may_be_cut).then(|| {
        Error::refused(
            format!("what was to be printed could not be written: {error}"),
            "what the command did was done all the same: make room, and ask again with verify, inspect or list",
        )
    })
}

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
pub struct Person {
    outside: Outside,
    /// Set when the person has interrupted.
    stop: Arc<AtomicBool>,
}

impl Person {
    /// Sets `stop` when the person interrupts a question, and asks nothing more when it is set.
    pub fn new(outside: Outside, stop: Arc<AtomicBool>) -> Person {
        Person { outside, stop }
    }

    /// Waits for a line on the terminal, or for the signal to stop.
    fn answer(&self) -> Option<String> {
        const A_MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let stdin = std::io::stdin();
        while !self.stop.load(Ordering::Relaxed) {
            let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
            match poll(&mut ready, Some(&A_MOMENT)) {
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(_) => return None,
            }
            let mut line = String::new();
            return stdin.read_line(&mut line).is_ok_and(|read| read > 0).then(|| line.trim().to_owned());
        }
        tell!();
        None
    }
}

impl Ask for Person {
    fn passphrase(&self, prompt: &str) -> Option<Zeroizing<String>> {
        match rpassword::prompt_password(format!("{prompt}: ")) {
            Ok(text) => Some(Zeroizing::new(text)),
            Err(error) => {
                // While it reads, Ctrl-C is a character.
                if error.kind() == io::ErrorKind::Interrupted {
                    self.stop.store(true, Ordering::Relaxed);
                }
                None
            }
        }
    }
    fn line(&self, prompt: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        wrote(write!(std::io::stderr(), "{prompt} "));
        self.answer()
    }
    fn tell(&self, message: &str) {
        tell!("ckvault: {}", printable(message.as_bytes()));
    }
    fn can_change_drives(&self) -> bool {
        self.outside.changes_drives() || std::io::stdin().is_terminal()
    }
    fn next_drive(&self, wanted: &DriveWanted) -> bool {
        tell!("ckvault: {}", printable(wanted.message.as_bytes()));
        let by_hand = || loop {
            match self.line("Press Enter when it is mounted, or type q if it will not come:").as_deref() {
                Some("") => return true,
                Some("q" | "Q") | None => return false,
                Some(other) => tell!("ckvault: {} is neither Enter nor q", printable(other.as_bytes())),
            }
        };
        self.outside.change_drive(wanted).unwrap_or_else(by_hand)
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
