//! Whoever sits at the terminal, and what they are asked.

use super::{screen, tell, terminal, wrote};
use crate::outside::Outside;
use ckvault::progress::{Ask, DriveWanted};
use ckvault::text::printable;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Asks on the terminal, nowhere else; for another drive it may run a command instead.
#[derive(Clone)]
pub struct Person {
    outside: Outside,
    /// Set when the person has interrupted.
    stop: Arc<AtomicBool>,
    /// Milliseconds in which nothing was done but wait for an answer.
    waited: Arc<AtomicU64>,
}

impl Person {
    /// Sets `stop` when the person interrupts a question, and asks nothing more when it is set.
    pub fn new(outside: Outside, stop: Arc<AtomicBool>) -> Person {
        Person { outside, stop, waited: Arc::default() }
    }

    /// How long nothing was done but wait for answers.
    pub fn waited(&self) -> Duration {
        Duration::from_millis(self.waited.load(Ordering::Relaxed))
    }

    fn timed<T>(&self, ask: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let answer = screen::awaiting(ask);
        self.waited.fetch_add(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
        answer
    }

    /// Waits for a line on the terminal, or for the signal to stop.
    fn answer(&self) -> Option<String> {
        let stdin = std::io::stdin();
        if !terminal::readable(&stdin, &self.stop) {
            tell!();
            return None;
        }
        let mut line = String::new();
        stdin.read_line(&mut line).is_ok_and(|read| read > 0).then(|| line.trim().to_owned())
    }
}

impl Ask for Person {
    fn passphrase(&self, prompt: &str) -> Option<Zeroizing<String>> {
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        self.timed(|| terminal::Hidden::begin().ok()?.ask(&format!("{}: ", printable(prompt.as_bytes())), &self.stop))
    }
    fn line(&self, prompt: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        self.timed(|| {
            wrote(write!(std::io::stderr(), "{} ", printable(prompt.as_bytes())));
            self.answer()
        })
    }
    fn tell(&self, message: &str) {
        tell!("ckvault: {}", printable(message.as_bytes()));
    }
    fn can_change_drives(&self) -> bool {
        self.outside.changes_drives() || std::io::stdin().is_terminal()
    }
    fn next_drive(&self, wanted: &DriveWanted) -> bool {
        tell!("ckvault: {}", printable(wanted.message.as_bytes()));
        let mounted = self.timed(|| self.outside.change_drive(wanted));
        let by_hand = || self.agree("Press Enter when it is mounted, or type q if it will not come:");
        mounted.or_else(by_hand).unwrap_or_default()
    }
}
