//! The terminal. House rules: results go to stdout and everything else to stderr; lower case, no full stop; bars only on a
//! terminal, a line now and then elsewhere; text from a set is shown through `printable`.

mod bars;
mod canvas;
mod person;
pub mod screen;
pub mod taskbar;
pub mod terminal;
mod voice;

pub use bars::Bars;
pub use person::Person;
pub use voice::For;

use ckvault::error::Error;
use ckvault::text::{printable, without_secrets};
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// A line of a result.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        $crate::ui::wrote(writeln!(std::io::stdout(), $($text)*));
    }};
}

/// A line for the person at the terminal.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        $crate::ui::screen::above(|| $crate::ui::wrote(writeln!(std::io::stderr(), $($text)*)));
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
            match error.kind() {
                io::ErrorKind::BrokenPipe => {
                    "what the command did was done all the same, but its reader had ended: ask again with verify, inspect or list"
                }
                _ => "what the command did was done all the same: make room, and ask again with verify, inspect or list",
            },
        )
    })
}

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
