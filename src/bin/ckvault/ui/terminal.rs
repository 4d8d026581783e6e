//! The terminal as it is: how wide, what it can show, and how it was before a passphrase was asked for.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::fs::File;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

/// Columns and rows of a terminal that does not say.
const USUAL: (u16, u16) = (80, 24);

/// Whether bars can be shown on it: it is there, and moves its cursor.
pub fn is_able() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|kind| kind != "dumb" && !kind.is_empty())
}

/// Its columns and rows.
pub fn size() -> (u16, u16) {
    match tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => USUAL,
    }
}

/// Whether it shows UTF-8, by the locale (POSIX, Base Definitions 8.2: the first of these that is set and not empty counts).
pub fn is_utf8() -> bool {
    let set = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set).unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// The terminal on which a passphrase is being asked for, and how it was before.
static ASKED: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// A question whose answer is not shown. While it lives, [`restore`] can end it.
pub struct Hidden;

impl Hidden {
    /// Takes note of how the terminal is.
    pub fn begin() -> Hidden {
        let tty = File::open("/dev/tty");
        let known = tty.ok().and_then(|tty| tcgetattr(&tty).ok().map(|how| (tty, how)));
        *ASKED.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Hidden
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        *ASKED.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Makes the terminal what it was before a passphrase was asked for; true if one is being asked for.
pub fn restore() -> bool {
    match ASKED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some((tty, how)) => tcsetattr(&tty, OptionalActions::Now, &how).is_ok(),
        None => false,
    }
}
