//! Text from outside, made safe to show. Names, labels and paths come from people and drives; a terminal obeys what it is shown.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

/// Text from outside, safe to show: control characters, what is invisible or turns text around, and invalid bytes are escaped.
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

/// A path as a word of a command line that a person may copy.
pub fn for_shell(path: &Path) -> String {
    let text = printable(path.as_os_str().as_encoded_bytes());
    quoted(if text.starts_with('-') { format!("./{text}") } else { text })
}

/// A word of a command line as it was typed, to be typed again. One with characters that cannot be shown is only told.
pub fn word_for_shell(word: &OsStr) -> String {
    quoted(printable(word.as_encoded_bytes()))
}

fn quoted(text: String) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%=:,".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// A number of bytes for people, in powers of 1024: `1.50 GiB`.
pub fn human_bytes(bytes: u64) -> String {
    let unit = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    match (bytes.checked_ilog2().unwrap_or(0) / 10) as usize {
        0 => format!("{bytes} B"),
        power => format!("{:.2} {}", bytes as f64 / (1u64 << (10 * power)) as f64, unit[power - 1]),
    }
}

/// Whether something follows the end of an armour, as PEM and its like have it (RFC 7468, 2): whoever reads the armour alone would
/// not see it.
pub fn has_text_after_armour(file: &[u8]) -> bool {
    let mut lines = file.split(|b| *b == b'\n');
    lines.any(|line| line.starts_with(b"-----END ")) && lines.any(|line| !line.trim_ascii().is_empty())
}

/// What a file begins with that some editors put before the text, and that is no part of it.
pub fn mark_of_encoding(file: &[u8]) -> Option<&'static str> {
    const MARKS: [(&[u8], &str); 3] = [(b"\xef\xbb\xbf", "UTF-8"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")];
    MARKS.iter().find_map(|(mark, name)| file.starts_with(mark).then_some(*name))
}

/// Whether text is, or holds, the secret half of a key: an identity of age, in any case of letters, or an SSH private key.
pub fn is_secret(text: &str) -> bool {
    // The last is what the lines of an OpenSSH private key begin with.
    const MARKS: [&str; 4] = ["age-secret-key-", "private key-----", "-----begin openssh", "b3blbnnzac1rzxktdje"];
    let text = text.to_ascii_lowercase();
    MARKS.iter().any(|mark| text.contains(mark)) || text.split("age-plugin-").skip(1).any(is_identity_of_plugin)
}

/// A line of a message without the secrets that stand in it by mistake: in a file of another kind, for example.
pub fn without_secrets(line: &str) -> Cow<'_, str> {
    if !is_secret(line) {
        return line.into();
    }
    let hidden = line.split(' ').map(|word| if is_secret(word) { "(a secret)" } else { word });
    hidden.collect::<Vec<&str>>().join(" ").into()
}

/// `name-1data`: a name alone, which files may have, is no secret.
fn is_identity_of_plugin(rest: &str) -> bool {
    rest.match_indices("-1").any(|(at, one)| rest[at + one.len()..].starts_with(|c: char| c.is_ascii_alphanumeric()))
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
                true => c.encode_utf16(&mut [0; 2]).iter().for_each(|half| shown.push_str(&format!("\\u{half:04x}"))),
                false => shown.push(c),
            }
        }
        self.0.write_all(shown.as_bytes()).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Control characters, marks that turn around what follows, ends of lines, and what is not to be seen: the property
/// Default_Ignorable_Code_Point of Unicode 17.
fn is_unsafe(c: char) -> bool {
    let invisible = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}');
    c.is_control() || invisible || matches!(c, '\u{2028}'..='\u{2029}' | '\u{fff9}'..='\u{fffb}')
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
        assert_eq!(printable("a\u{61c}b\u{ad}\u{e0041}".as_bytes()), "a\\u{61c}b\\u{ad}\\u{e0041}");
    }

    #[test]
    fn paths_are_words_of_a_shell() {
        for (path, word) in
            [("/a/b-1_2", "/a/b-1_2"), ("-x", "./-x"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("ü", "ü")]
        {
            assert_eq!(for_shell(Path::new(path)), word);
        }
    }

    #[test]
    fn secrets_are_told_from_names_of_files() {
        for secret in [
            "AGE-SECRET-KEY-1QQQ",
            "age-secret-key-pq-1qqq",
            "x AGE-Plugin-yubikey-1QQQ",
            "-----BEGIN RSA PRIVATE KEY-----\nMII",
            "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
        assert_eq!(without_secrets("no AGE-SECRET-KEY-1QQQ here"), "no (a secret) here");
        for name in [
            "age1qqq",
            "ssh-ed25519 AAAAC3Nz",
            "age-plugin-yubikey.txt",
            "age-plugin-tpm-identity-2.txt",
            "private key",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn json_means_the_same_and_is_plain() {
        let text = "a\u{1b}\u{9b}\u{7f}\u{202e}\u{feff}\u{ad}\u{e0041}ü模🤖";
        let mut plain = PlainJson::new(Vec::new());
        serde_json::to_writer(&mut plain, text).unwrap();
        let plain = String::from_utf8(plain.into_inner()).unwrap();
        assert!(!plain.chars().any(is_unsafe), "{plain}");
        assert_eq!(serde_json::from_str::<String>(&plain).unwrap(), text);
    }
}
