//! SIGINT, SIGTERM and SIGHUP. The first asks a verb that writes to stop and tidy up, and the second ends the process at once. A verb
//! that only reads ends at the first, whatever it is busy with: a drive decides what that is, and nothing has to be tidied up. So does
//! one that waits for a passphrase. And a drive may keep a verb that writes from seeing that it is to stop: it is not waited for long.

use crate::cli::Verb;
use crate::ui::{self, taskbar, terminal};
use ckvault::error::{Error, Result};
use ckvault::media::disk::Disk;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const INTERRUPTED: i32 = 130;
/// How long a verb that writes may take to see that it is to stop; and to tidy up then.
const GRACE: Duration = Duration::from_millis(500);
const TO_TIDY_UP: Duration = Duration::from_secs(3);
/// How often it is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long is waited for words to be printed, and for a drive to remove what is unfinished.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the verb and whoever stops it know of each other.
#[derive(Default)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    hint: Mutex<String>,
    tidies: AtomicBool,
    /// Set by who ends the process, the verb or whoever stops it.
    ended: AtomicBool,
}

impl Stop {
    /// Set by the first signal.
    pub fn asked(&self) -> Arc<AtomicBool> {
        self.asked.clone()
    }

    /// What to tell, from now on, if the verb does not come to tell that itself.
    pub fn hint(&self, hint: &str) {
        hint.clone_into(&mut self.hint.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// It has seen that it is to stop.
    pub fn tidies(&self) {
        self.tidies.store(true, Ordering::Relaxed);
    }

    /// The verb has ended, and the process will. It does so already if the verb was not waited for.
    pub fn end(&self) {
        while self.ended.swap(true, Ordering::Relaxed) {
            std::thread::park();
        }
    }

    fn error(&self) -> Error {
        match self.hint.lock().unwrap_or_else(PoisonError::into_inner).as_str() {
            "" => Error::Interrupted,
            hint => Error::Left { cause: Box::new(Error::Interrupted), hint: hint.to_owned() },
        }
    }
}

/// A file that may not become so long is an error to be told, and no reason to end without a word.
pub fn survive_limits() {
    // Where this cannot be, it ends as it would have.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// Listens from now on, for a verb that uses `disk`.
pub fn listen(verb: &Verb, json: bool, disk: &Disk) -> Result<Arc<Stop>> {
    // What was ignored when we were started stays so: nohup, and jobs in the background of a shell.
    let ignored = ckvault::media::process::ignored_signals();
    let all: Vec<i32> = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !ignored.contains(signal)).collect();
    let stop = Arc::new(Stop::default());
    let mut signals = Signals::new(all).map_err(|e| Error::Internal(format!("signals: {e}")))?;
    let (stopped, disk) = (stop.clone(), disk.clone());
    let (only_reads, waits) = (verb.only_reads(), verb.waits_for_others());
    std::thread::spawn(move || {
        let mut coming = signals.forever();
        coming.next();
        let was_asking = terminal::restore();
        if only_reads || was_asking {
            report(Error::Interrupted, was_asking, json);
            for_a_while(taskbar::clear);
            low_level::exit(INTERRUPTED);
        }
        stopped.asked.store(true, Ordering::Relaxed);
        disk.stop();
        if !waits {
            // Without a thread for that, a drive is waited for.
            let _ = std::thread::Builder::new().spawn(move || end_soon(&stopped, &disk, json));
        }
        coming.next();
        terminal::restore();
        for_a_while(ui::screen::end);
        low_level::exit(INTERRUPTED);
    });
    Ok(stop)
}

/// Ends the process if the verb does not.
fn end_soon(stop: &Stop, disk: &Disk, json: bool) {
    let begun = Instant::now();
    let is_on_its_way = || begun.elapsed() < TO_TIDY_UP && stop.tidies.load(Ordering::Relaxed);
    while begun.elapsed() < GRACE || is_on_its_way() {
        if stop.ended.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    if stop.ended.swap(true, Ordering::Relaxed) {
        return;
    }
    let disk = disk.clone();
    for_a_while(move || disk.remove_unfinished());
    report(stop.error(), false, json);
    for_a_while(taskbar::clear);
    low_level::exit(INTERRUPTED);
}

/// Says that it was interrupted, as long as that takes no time: what is printed to may be full, and whoever prints may wait for that.
fn report(error: Error, was_asking: bool, json: bool) {
    for_a_while(move || {
        ui::screen::end();
        if was_asking {
            ui::tell!();
        }
        crate::failed(&error, json);
    });
}

/// Does something, but does not wait for its end for long.
fn for_a_while(action: impl FnOnce() + Send + 'static) {
    let (done, wait) = std::sync::mpsc::channel();
    let act = move || {
        action();
        let _ = done.send(());
    };
    if std::thread::Builder::new().spawn(act).is_ok() {
        let _ = wait.recv_timeout(PATIENCE);
    }
}
