//! The terminal as it is: how wide, what it can show, and how it was before a passphrase was asked for.

use ckvault::media::memory;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// Columns and rows of a terminal that does not say.
const USUAL: (u16, u16) = (80, 24);
/// The longest line that a terminal takes (MAX_CANON of linux/limits.h, and more).
const LONGEST_LINE: usize = 4096;

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

/// A question whose answer is not shown. While it is open, [`restore`] can end it. Lines are edited by the terminal itself, and
/// Ctrl-C is a signal, as always: whoever handles that has nobody beside them who changes the terminal.
pub struct Hidden {
    tty: File,
}

impl Hidden {
    /// From now on nothing is shown of what is typed, but the end of a line; an error if there is no terminal.
    pub fn begin() -> io::Result<Hidden> {
        let tty = File::options().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&tty)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        // Who stops or quits here would leave the terminal as it is now.
        silent.special_codes[SpecialCodeIndex::VSUSP] = 0;
        silent.special_codes[SpecialCodeIndex::VQUIT] = 0;
        let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = tty.try_clone()?;
        tcsetattr(&tty, OptionalActions::Now, &silent)?;
        *asked = Some((kept, before));
        Ok(Hidden { tty })
    }

    /// Asks, and waits for a line; `None` if there is none, or it is no text, or `stop` says to wait no longer.
    pub fn ask(&mut self, prompt: &str, stop: &AtomicBool) -> Option<Zeroizing<String>> {
        self.tty.write_all(prompt.as_bytes()).ok()?;
        let mut typed = Zeroizing::new([0; LONGEST_LINE]);
        memory::lock(&*typed);
        if !readable(&self.tty, stop) {
            return None;
        }
        let read = self.tty.read(&mut *typed).ok().filter(|read| *read > 0)?;
        let line = std::str::from_utf8(typed[..read].strip_suffix(b"\n").unwrap_or(&typed[..read])).ok()?;
        let mut text = memory::text(LONGEST_LINE);
        text.push_str(line);
        Some(text)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        restore();
    }
}

/// Waits until there is something to read; false if `stop` says to wait no longer.
pub fn readable(file: &impl AsFd, stop: &AtomicBool) -> bool {
    const A_MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while !stop.load(Ordering::Relaxed) {
        match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&A_MOMENT)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
    false
}

/// Makes the terminal what it was before a passphrase was asked for; true if one is being asked for.
pub fn restore() -> bool {
    match ASKED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some((tty, before)) => tcsetattr(&tty, OptionalActions::Now, &before).is_ok(),
        None => false,
    }
}
