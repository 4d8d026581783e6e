//! How the library speaks to whoever runs it: it reports, asks, and lets itself be stopped. It never prints.

mod board;
mod meter;
mod phase;
mod trouble;

pub use board::{Board, Line};
pub use meter::Meter;
pub use phase::{Lane, Phase};
pub use trouble::Trouble;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use zeroize::Zeroizing;

/// Where reports go. Called from many threads. Bytes that are written count when they are durable, not when they are in the memory of
/// the machine.
pub trait Progress: Sync {
    /// A phase begins, and the one before it ends: `total` bytes to do, on these drives.
    fn begin(&self, phase: Phase, total: u64, drives: &[Lane]);
    /// A phase begins in which nothing is counted.
    fn stage(&self, phase: Phase) {
        self.begin(phase, 0, &[]);
    }
    /// So many more of the total are done.
    fn advance(&self, _bytes: u64) {}
    /// So many bytes were read from a drive, or are durable on it (its position in `begin`'s list).
    fn drive(&self, _drive: usize, _bytes: u64) {}
    /// So many more of the total are done on a drive.
    fn share(&self, _drive: usize, _bytes: u64) {}
    /// Whether a drive makes durable now what was written to it, and takes nothing new meanwhile.
    fn syncing(&self, _drive: usize, _now: bool) {}
    /// The phase ended, and no other follows.
    fn end(&self) {}
    /// Whether to stop as soon as possible.
    fn cancelled(&self) -> bool {
        false
    }
    /// What to tell, from now on, who has stopped the verb, should it not come to tell that itself: a drive may keep it waiting.
    fn if_stopped(&self, _hint: &str) {}
    /// The verb has seen that it is to stop, and tidies up.
    fn tidies(&self) {}
    /// Something that does not stop the verb, and that a person should know. The same may come several times.
    fn warn(&self, _message: &str) {}
}

/// Reports nothing; can be told to stop.
#[derive(Default)]
pub struct Silent {
    stop: AtomicBool,
}

impl Silent {
    /// Makes the verb that reports here stop.
    pub fn cancel(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Progress for Silent {
    fn begin(&self, _: Phase, _: u64, _: &[Lane]) {}
    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A drive that is needed where another one is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveWanted {
    /// Where it is to be mounted.
    pub place: PathBuf,
    /// Its number in the set; `None` if any of those in `message` will do.
    pub number: Option<u32>,
    /// What to do, in one sentence; and why, if the last drive was not the right one.
    pub message: String,
}

/// Who is asked for what only a person knows or can do. Shared with plugins of age, hence the bounds.
pub trait Ask: Send + Sync {
    /// A passphrase; `None` if nobody can be asked.
    fn passphrase(&self, prompt: &str) -> Option<Zeroizing<String>>;
    /// A visible line; `None` if nobody can be asked.
    fn line(&self, prompt: &str) -> Option<String>;
    /// Whether to go on: Enter says yes, and q no; `None` if nobody can be asked.
    fn agree(&self, question: &str) -> Option<bool> {
        loop {
            match self.line(question)?.as_str() {
                "" => return Some(true),
                "q" | "Q" => return Some(false),
                other => self.tell(&format!("{other} is neither Enter nor q")),
            }
        }
    }
    /// Something to do by hand, such as touching a token.
    fn tell(&self, message: &str);
    /// Whether [`Ask::next_drive`] has somebody to ask.
    fn can_change_drives(&self) -> bool {
        false
    }
    /// Asks for another drive; true when it is mounted, false if there will be none.
    fn next_drive(&self, _wanted: &DriveWanted) -> bool {
        false
    }
}

/// Several may ask one person.
impl<A: Ask + ?Sized> Ask for std::sync::Arc<A> {
    fn passphrase(&self, prompt: &str) -> Option<Zeroizing<String>> {
        (**self).passphrase(prompt)
    }
    fn line(&self, prompt: &str) -> Option<String> {
        (**self).line(prompt)
    }
    fn tell(&self, message: &str) {
        (**self).tell(message);
    }
    fn can_change_drives(&self) -> bool {
        (**self).can_change_drives()
    }
    fn next_drive(&self, wanted: &DriveWanted) -> bool {
        (**self).next_drive(wanted)
    }
}

/// Answers nothing.
#[derive(Clone, Copy)]
pub struct Nobody;

impl Ask for Nobody {
    fn passphrase(&self, _: &str) -> Option<Zeroizing<String>> {
        None
    }
    fn line(&self, _: &str) -> Option<String> {
        None
    }
    fn tell(&self, _: &str) {}
}
