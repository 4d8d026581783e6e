//! Text from outside, made safe to show. Names, labels and paths come from people and drives; a terminal obeys what it is shown.

use std::io::{self, Write};

/// Text from outside, safe to show: control characters, direction marks and invalid bytes are escaped.
pub fn printable(bytes: &[u8]) -> String {
    // As nearly all names are, of which there may be a million.
    if bytes.iter().all(|b| (b' '..=b'~').contains(b)) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_unsafe(c) {
                shown.extend(c.escape_unicode());
            } else {
                shown.push(c);
            }
        }
        chunk.invalid().iter().for_each(|b| shown.push_str(&format!("\\x{b:02x}")));
    }
    shown
}

/// Whether text from outside has nothing in it that cannot be seen; bytes of another encoding are shown as such.
pub fn is_visible(bytes: &[u8]) -> bool {
    !bytes.utf8_chunks().any(|chunk| chunk.valid().contains(is_unsafe))
}

/// How many names are listed to people.
const MOST_LISTED: usize = 20;

/// The first names of a list, each on a line of its own, and how many more there are.
pub fn listing<'a>(names: impl ExactSizeIterator<Item = &'a [u8]>) -> String {
    let more = names.len().saturating_sub(MOST_LISTED);
    let mut text: String = names.take(MOST_LISTED).map(|n| format!("\n  {}", printable(n))).collect();
    if more > 0 {
        text.push_str(&format!("\n  and {more} more"));
    }
    text
}

/// Passes JSON on so that it means the same and is safe to show: its strings may hold what JSON itself does not escape, such
/// as the control characters of eight bits. Each write must be text by itself, as those of serde_json are.
pub struct PlainJson<W>(W);

impl<W: Write> PlainJson<W> {
    /// Passes on to `out`.
    pub fn new(out: W) -> PlainJson<W> {
        PlainJson(out)
    }

    /// What it is passed on to.
    pub fn into_inner(self) -> W {
        self.0
    }
}

impl<W: Write> Write for PlainJson<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.iter().all(|b| (b' '..=b'~').contains(b)) {
            return self.0.write(bytes);
        }
        let text = std::str::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        let mut shown = String::with_capacity(text.len());
        for c in text.chars() {
            match is_unsafe(c) {
                // All of these are in the first plane.
                true => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
                false => shown.push(c),
            }
        }
        self.0.write_all(shown.as_bytes()).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Control characters, and marks that hide or turn around what follows.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_end_with_how_many_more() {
        let names: Vec<String> = (0..23).map(|n| format!("n{n}")).collect();
        let text = listing(names.iter().map(|n| n.as_bytes()));
        assert!(text.starts_with("\n  n0\n") && text.ends_with("n19\n  and 3 more"), "{text}");
        assert_eq!(listing([&b"a"[..]].into_iter()), "\n  a");
    }

    #[test]
    fn what_could_act_on_a_terminal_is_escaped() {
        assert_eq!(printable(b"model-00001.safetensors"), "model-00001.safetensors");
        assert_eq!(printable("Gewicht-ü 模型 🤖".as_bytes()), "Gewicht-ü 模型 🤖");
        assert_eq!(printable(b"a\nb\x1b[2J"), "a\\u{a}b\\u{1b}[2J");
        assert_eq!(printable("rtl\u{202e}gnp".as_bytes()), "rtl\\u{202e}gnp");
        assert_eq!(printable(b"\xff\xfe.bin"), "\\xff\\xfe.bin");
    }
    #[test]
    fn json_means_the_same_and_is_plain() {
        let text = "a\u{1b}\u{9b}\u{7f}\u{202e}\u{feff}ü模🤖";
        let mut plain = PlainJson::new(Vec::new());
        serde_json::to_writer(&mut plain, text).unwrap();
        let plain = String::from_utf8(plain.into_inner()).unwrap();
        assert!(!plain.chars().any(is_unsafe), "{plain}");
        assert_eq!(serde_json::from_str::<String>(&plain).unwrap(), text);
    }
}
