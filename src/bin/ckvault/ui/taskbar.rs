//! Progress in the tab or task bar of a terminal: OSC 9;4 of ConEmu (<https://conemu.github.io/en/AnsiEscapeCodes.html>), which others
//! have taken over. Elsewhere OSC 9 is a notification, so it is written only where the terminal is known to have it.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether something is shown now.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// Whether the terminal says by its environment that it has this.
pub fn is_there() -> bool {
    std::io::stderr().is_terminal() && has_it(|name| std::env::var(name).ok())
}

/// Windows Terminal, ConEmu, WezTerm, Ghostty, and iTerm2 since 3.6.6.
fn has_it(variable: impl Fn(&str) -> Option<String>) -> bool {
    let is = |name: &str, value: &str| variable(name).is_some_and(|v| v == value);
    let version = || {
        let text = variable("TERM_PROGRAM_VERSION").unwrap_or_default();
        text.split('.').map(|number| number.parse().unwrap_or(0)).collect::<Vec<u32>>()
    };
    // A multiplexer between hands on the variables, and not this.
    let between = variable("TMUX").is_some() || variable("STY").is_some();
    let known = variable("WT_SESSION").is_some()
        || is("ConEmuANSI", "ON")
        || ["WezTerm", "ghostty"].iter().any(|program| is("TERM_PROGRAM", program))
        || is("TERM_PROGRAM", "iTerm.app") && version() >= vec![3, 6, 6];
    known && !between
}

/// Shows so many percent, or that it is not known how many.
pub fn show(percent: Option<u64>) {
    SHOWN.store(true, Ordering::Relaxed);
    put(percent.map_or((3, 0), |percent| (1, percent)));
}

/// Shows nothing any more. A terminal that stands still keeps whoever asks for that waiting.
pub fn clear() {
    if SHOWN.swap(false, Ordering::Relaxed) {
        put((0, 0));
    }
}

fn put((state, percent): (u8, u64)) {
    // A terminal that takes nothing is told of elsewhere.
    let _ = write!(std::io::stderr(), "\x1b]9;4;{state};{percent}\x1b\\");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_terminals_that_are_known_to_have_it_are_told() {
        let has = |set: &[(&str, &str)]| {
            has_it(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        assert!(has(&[("WT_SESSION", "0")]) && has(&[("ConEmuANSI", "ON")]));
        assert!(has(&[("TERM_PROGRAM", "ghostty")]) && has(&[("TERM_PROGRAM", "WezTerm")]));
        let iterm = |version| has(&[("TERM_PROGRAM", "iTerm.app"), ("TERM_PROGRAM_VERSION", version)]);
        assert!(iterm("3.6.6") && iterm("3.10") && !iterm("3.5.14") && !iterm("3.6") && !iterm(""));
        assert!(!has(&[]) && !has(&[("ConEmuANSI", "OFF")]) && !has(&[("TERM_PROGRAM", "Apple_Terminal")]));
        assert!(!has(&[("WT_SESSION", "0"), ("TMUX", "/tmp/tmux-0/default,1,0")]));
    }
}
