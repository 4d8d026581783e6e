//! The options of a line, read as OpenSSH reads them.

use super::times;
use jiff::tz::TimeZone;

/// Under which conditions a key is trusted.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The patterns of namespaces, one of which must match.
    pub namespaces: Option<Vec<u8>>,
    /// The first second.
    pub after: Option<i64>,
    /// The last second.
    pub before: Option<i64>,
    /// The key signs certificates only.
    pub authority: bool,
}

/// Where the options at the beginning of a line end: at the first blank outside of quotes. `None` if a quote is left open.
pub fn end(text: &[u8]) -> Option<usize> {
    let (mut at, mut quoted) = (0, false);
    while let Some(byte) = text.get(at) {
        match byte {
            b' ' | b'\t' if !quoted => break,
            b'\\' if text.get(at + 1) == Some(&b'"') => at += 1,
            b'"' => quoted = !quoted,
            _ => {}
        }
        at += 1;
    }
    (!quoted).then_some(at)
}

/// Reads all options. Between two commas there may be none, after the last there must be one.
pub fn parse(mut text: &[u8], zone: &TimeZone) -> Result<Options, String> {
    let mut options = Options::default();
    while !text.is_empty() {
        text = options.take(text, zone)?;
        text = match text.split_first() {
            None => break,
            Some((b',', [])) => return Err("an option is missing after the last comma".into()),
            Some((b',', rest)) => rest,
            Some(_) => return Err("there is an unknown option, or something after the closing quote of one".into()),
        };
    }
    match (options.after, options.before) {
        (Some(after), Some(before)) if before <= after => Err("valid-before is not later than valid-after".into()),
        _ => Ok(options),
    }
}

impl Options {
    /// Takes the option at the beginning, if there is one; returns what follows it.
    fn take<'a>(&mut self, text: &'a [u8], zone: &TimeZone) -> Result<&'a [u8], String> {
        if let Some(rest) = after_word(text, "cert-authority") {
            self.authority = true;
            return Ok(rest);
        }
        if let Some(rest) = after_word(text, "namespaces=") {
            let (value, rest) = unquote(rest)?;
            return once(&mut self.namespaces, "namespaces", value).map(|()| rest);
        }
        for (name, time) in [("valid-after", &mut self.after), ("valid-before", &mut self.before)] {
            if let Some(rest) = after_word(text, name).and_then(|rest| after_word(rest, "=")) {
                let (value, rest) = unquote(rest)?;
                let wrong = || format!("{name} is not a time after 1970 began (YYYYMMDD[HHMM[SS]][Z])");
                return once(time, name, times::parse(&value, zone).ok_or_else(wrong)?).map(|()| rest);
            }
        }
        Ok(text)
    }
}

/// What follows a word, in any case, at the beginning.
fn after_word<'a>(text: &'a [u8], word: &str) -> Option<&'a [u8]> {
    let (begins, rest) = text.split_at_checked(word.len())?;
    begins.eq_ignore_ascii_case(word.as_bytes()).then_some(rest)
}

/// A value in double quotes, in which `\"` is a quote; and what follows it.
fn unquote(text: &[u8]) -> Result<(Vec<u8>, &[u8]), String> {
    let mut rest = text.strip_prefix(b"\"").ok_or("the value of an option is not in double quotes")?;
    let mut value = Vec::new();
    loop {
        rest = match rest {
            [b'"', rest @ ..] => return Ok((value, rest)),
            [b'\\', b'"', rest @ ..] => {
                value.push(b'"');
                rest
            }
            [byte, rest @ ..] => {
                value.push(*byte);
                rest
            }
            [] => return Err("a double quote is missing at the end of a value".into()),
        }
    }
}

fn once<T>(field: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{name} is given twice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_end_at_a_blank_outside_of_quotes() {
        for (text, options) in [
            ("", ""),
            ("a", "a"),
            ("a b", "a"),
            ("a\tb", "a"),
            ("a=\"b c\" d", "a=\"b c\""),
            ("a=\"b\tc\",d=\"e f\"\tg", "a=\"b\tc\",d=\"e f\""),
            (r#"a="b\" c" d"#, r#"a="b\" c""#),
            (r"a\ b", r"a\"),
            (r##"a="b\"" c"##, r##"a="b\"""##),
        ] {
            assert_eq!(end(text.as_bytes()), Some(options.len()), "{text}");
        }
        for open in ["\"", "a=\"b c", "a=\"b\"\"", r#"a="b\""#] {
            assert_eq!(end(open.as_bytes()), None, "{open}");
        }
    }

    #[test]
    fn who_is_valid_at_no_time_is_refused() {
        let read = |text: &str| parse(text.as_bytes(), &TimeZone::UTC);
        let between = |after: &str, before: &str| read(&format!("valid-after=\"{after}Z\",valid-before=\"{before}Z\""));
        assert!(between("20260101", "20260102").is_ok_and(|o| o.after < o.before && !o.authority));
        assert!(between("20260101", "20260101").is_err() && between("20260102", "20260101").is_err());
        assert!(read("cert-authority").is_ok_and(|o| o.authority) && read("cert-authority,").is_err());
    }

    #[test]
    fn a_quote_in_a_value_is_one_of_its_characters() {
        let (value, rest) = unquote(br#""a\"b\c",d"#).unwrap();
        assert_eq!((&value[..], rest), (&br#"a"b\c"#[..], &b",d"[..]));
        assert!(unquote(br#""a\""#).is_err() && unquote(b"a").is_err());
    }
}
