//! The command line that was typed, to be typed again: with another verb, or with one more option.

use ckvault::text::word_for_shell;
use std::ffi::OsString;

/// Options without a value that a command to go on with does not take over.
const LEFT_OUT: [&str; 7] = ["--this-drive", "--json", "-v", "--verbose", "--discard", "--resume", "--dry-run"];

/// The same with another verb, as words that a shell takes. What `repair` writes to, `verify` looks at.
pub fn with_verb(verb: &str, more: &str) -> String {
    command(std::env::args_os(), verb, more)
}

fn command(typed: impl Iterator<Item = OsString>, verb: &str, more: &str) -> String {
    let kept: Vec<OsString> = typed.skip(1).filter(|word| !LEFT_OUT.iter().any(|out| *word == **out)).collect();
    // What is left of the words before the verb are options of all verbs, which are left out.
    let words = kept.iter().skip(1).filter_map(|word| match (verb, word_for_shell(word)) {
        ("verify", word) if word == "--to" => None,
        ("verify", word) => Some(word.strip_prefix("--to=").map(str::to_owned).unwrap_or(word)),
        (_, word) => Some(word),
    });
    let all: Vec<String> = ["ckvault".into(), verb.into()].into_iter().chain(words).collect();
    format!("{}{more}", all.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_can_be_typed_again() {
        let typed = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>().into_iter();
        let words = ["/usr/bin/ckvault", "-v", "verify", "/media/my usb", "--this-drive", "--signers", "it's.pub"];
        assert_eq!(command(typed(&words), "repair", ""), "ckvault repair '/media/my usb' --signers 'it'\\''s.pub'");
        let words = ["ckvault", "repair", "usb1", "--to", "new", "--to=other"];
        assert_eq!(command(typed(&words), "verify", ""), "ckvault verify usb1 new other");
        let words = ["ckvault", "import", "usb", "--to", "out", "--discard"];
        assert_eq!(command(typed(&words), "import", " --resume"), "ckvault import usb --to out --resume");
    }
}
