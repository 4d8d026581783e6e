//! Lines that remember, each with a check at its end: one that was torn by a power cut, and all after it, never happened.

/// Hexadecimal digits of a check.
const CHECK: usize = 16;

/// A line that says `text`, which has no end of a line in it.
pub fn line(text: &str) -> String {
    format!("{text} {}\n", check_of(text))
}

/// What a line says, if it has its check.
pub fn text(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (text, check) = line.rsplit_once(' ')?;
    (check == check_of(text)).then_some(text)
}

fn check_of(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..CHECK].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_it_was_given_and_nothing_if_anything_of_it_is_not_there() {
        let whole = line("placed 0-3,7 and more");
        assert_eq!(text(whole.as_bytes()), Some("placed 0-3,7 and more"));
        for at in 0..whole.len() {
            assert_eq!(text(&whole.as_bytes()[..at]), None);
            let mut torn = whole.clone().into_bytes();
            torn[at] = 0;
            assert_eq!(text(&torn), None);
            torn[at] = 0xA5;
            assert_eq!(text(&torn), None);
        }
    }
}
