//! What the library tells and asks meanwhile, passed on to whoever looks.

use super::screen::{self, How};
use super::{lines, tell};
use crate::signals::Stop;
use ckvault::media::lock;
use ckvault::progress::{Lane, Phase, Progress};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Shows how far a verb is, and stops it.
pub struct Bars {
    stop: Arc<Stop>,
    asked: Arc<AtomicBool>,
    told_to_stop: AtomicBool,
    /// What has been warned of: once is enough.
    warned: Mutex<BTreeSet<String>>,
}

impl Bars {
    /// Stops when `stop` says so.
    pub fn new(stop: Arc<Stop>, how: How) -> Bars {
        screen::show(how);
        Bars { asked: stop.asked(), stop, told_to_stop: AtomicBool::new(false), warned: Mutex::default() }
    }

    /// What is known by now, and was not when the verb began.
    pub fn warn_of_what_came_up(&self) {
        if let Some(warning) = lock::warning() {
            self.warn(&warning);
        }
    }
}

impl Progress for Bars {
    fn begin(&self, phase: Phase, total: u64, drives: &[Lane]) {
        self.warn_of_what_came_up();
        screen::begin(phase, total, drives);
    }

    fn advance(&self, bytes: u64) {
        screen::tell(|board, now| board.advance(now, bytes));
    }

    fn drive(&self, drive: usize, bytes: u64) {
        screen::tell(|board, now| board.drive(now, drive, bytes));
    }

    fn share(&self, drive: usize, bytes: u64) {
        screen::tell(|board, now| board.share(now, drive, bytes));
    }

    fn syncing(&self, drive: usize, is: bool) {
        screen::tell(|board, _| board.syncing(drive, is));
    }

    fn end(&self) {
        screen::end();
    }

    fn cancelled(&self) -> bool {
        let stopped = self.asked.load(Ordering::Relaxed);
        if stopped && !self.told_to_stop.swap(true, Ordering::Relaxed) {
            tell!("ckvault: stopping; once more (Ctrl-C) ends at once, and leaves what is begun as it is");
        }
        stopped
    }

    fn if_stopped(&self, hint: &str) {
        self.stop.hint(hint);
    }

    fn tidies(&self) {
        self.stop.tidies();
    }

    fn warn(&self, message: &str) {
        if self.warned.lock().unwrap_or_else(PoisonError::into_inner).insert(message.to_owned()) {
            tell!("ckvault: warning: {}", lines(message));
        }
    }
}
