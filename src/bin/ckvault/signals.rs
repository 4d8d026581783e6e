//! SIGINT, SIGTERM and SIGHUP. The first asks a verb that writes to stop and tidy up, and the second ends the process at once. A verb
//! that only reads ends at the first, whatever it is busy with: a drive decides what that is, and nothing has to be tidied up. So does
//! one that waits for a passphrase.

use crate::ui::{self, terminal};
use ckvault::error::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const INTERRUPTED: i32 = 130;
/// When a person would ask whether the signal has come.
const PATIENCE: Duration = Duration::from_millis(800);

/// Listens from now on. What is returned is set by the first signal.
pub fn listen(only_reads: bool, json: bool) -> Result<Arc<AtomicBool>> {
    // What was ignored when we were started stays so: nohup, and jobs in the background of a shell.
    let ignored = ckvault::media::process::ignored_signals();
    let all: Vec<i32> = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !ignored.contains(signal)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new(all).map_err(|e| Error::Internal(format!("signals: {e}")))?;
    let asked = stop.clone();
    std::thread::spawn(move || {
        let mut coming = signals.forever();
        coming.next();
        asked.store(true, Ordering::Relaxed);
        let was_asking = terminal::restore();
        if was_asking {
            ui::tell!();
        }
        if only_reads || was_asking {
            crate::failed(&Error::Interrupted, json);
            low_level::exit(INTERRUPTED);
        }
        std::thread::spawn(|| {
            std::thread::sleep(PATIENCE);
            ui::note("stopping; once more (Ctrl-C) ends at once, and leaves what is begun as it is");
        });
        coming.next();
        terminal::restore();
        low_level::exit(INTERRUPTED);
    });
    Ok(stop)
}
