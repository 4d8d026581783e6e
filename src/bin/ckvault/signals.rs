//! SIGINT, SIGTERM and SIGHUP. The first asks a verb that writes to stop and tidy up, and the second ends the process at once. A verb
//! that only reads ends at the first, whatever it is busy with: a drive decides what that is, and nothing has to be tidied up. So does
//! one that waits for a passphrase.

use crate::ui::{self, taskbar, terminal};
use ckvault::error::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const INTERRUPTED: i32 = 130;
/// How long is waited for words to be printed.
const PATIENCE: Duration = Duration::from_millis(300);

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
        let was_asking = terminal::restore();
        if only_reads || was_asking {
            report(was_asking, json);
            taskbar::clear();
            low_level::exit(INTERRUPTED);
        }
        asked.store(true, Ordering::Relaxed);
        coming.next();
        terminal::restore();
        taskbar::clear();
        low_level::exit(INTERRUPTED);
    });
    Ok(stop)
}

/// Says that it was interrupted, as long as that takes no time: what is printed to may be full, and whoever prints may wait for that.
fn report(was_asking: bool, json: bool) {
    let (done, wait) = std::sync::mpsc::channel();
    let say = move || {
        ui::screen::end();
        if was_asking {
            ui::tell!();
        }
        crate::failed(&Error::Interrupted, json);
        let _ = done.send(());
    };
    if std::thread::Builder::new().spawn(say).is_ok() {
        let _ = wait.recv_timeout(PATIENCE);
    }
}
