//! The command line that was typed, to be typed again: with another verb, or with one more option.

use ckvault::text::word_for_shell;
use std::ffi::OsString;

/// Options without a value that a command to go on with does not take over.
const LEFT_OUT: [&str; 7] = ["--this-drive", "--json", "-v", "--verbose", "--discard", "--resume", "--dry-run"];

/// Options of verbs that judge which are followed by a value.
const WITH_VALUE: [&str; 5] = ["--set", "--signers", "--signer", "--revoked", "--to"];

/// The same with another verb, as words that a shell takes. What `repair` writes to, `verify` looks at.
pub fn with_verb(verb: &str, more: &str) -> String {
    command(std::env::args_os(), verb, more)
}

fn command(typed: impl Iterator<Item = OsString>, verb: &str, more: &str) -> String {
    let mut kept = typed.skip(1).filter(|word| !LEFT_OUT.iter().any(|out| *word == **out));
    // What is left of the words before the verb are options of all verbs, which are left out.
    kept.next();
    let mut words: Vec<String> = kept.map(|word| word_for_shell(&word)).collect();
    if verb == "verify" {
        // What a repair has written to is looked at, and what it has read.
        let value = |i: usize| i > 0 && WITH_VALUE.contains(&words[i - 1].as_str());
        if !(0..words.len()).any(|i| !words[i].starts_with('-') && !value(i)) {
            words.insert(0, ".".into());
        }
        words.retain(|word| word != "--to");
        words.iter_mut().for_each(|word| *word = word.strip_prefix("--to=").unwrap_or(word).to_owned());
    }
    let words = words.iter().map(|word| format!(" {word}")).collect::<String>();
    format!("ckvault {verb}{more}{words}")
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
        let words = ["ckvault", "repair", "--signers", "list", "--to", "new"];
        assert_eq!(command(typed(&words), "verify", ""), "ckvault verify . --signers list new");
        let words = ["ckvault", "import", "usb", "--to", "out", "--discard"];
        assert_eq!(command(typed(&words), "import", " --resume"), "ckvault import --resume usb --to out");
    }
}
