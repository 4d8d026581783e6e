//! Who is trusted: OpenSSH's `allowed_signers` (ssh-keygen(1), ALLOWED SIGNERS), or a lone `.pub`.

use super::signature::{NAMESPACE, TrustError, fingerprint};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

/// The most bytes that a file of signers may have.
pub const LONGEST: u64 = 16 << 20;

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct SignersError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// One trusted key with the conditions under which it is.
#[derive(Debug, Clone)]
struct Signer {
    principals: String,
    key: KeyData,
    namespaces: Option<String>,
    after: Option<Timestamp>,
    before: Option<Timestamp>,
    authority: bool,
}

/// The keys that are trusted to sign sets.
#[derive(Debug, Clone, Default)]
pub struct Signers(Vec<Signer>);

impl Signers {
    /// Reads a file. Keys of types that this version does not know are passed over, as they can match no signature.
    pub fn parse(text: &str) -> Result<Signers, SignersError> {
        let mut signers = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parsed = parse_line(line).map_err(|what| SignersError { line: i + 1, what })?;
            signers.extend(parsed);
        }
        Ok(Signers(signers))
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name under which `key` is trusted at the time `now`.
    pub fn judge(&self, key: &KeyData, now: Timestamp) -> Result<String, TrustError> {
        let mut refusal = TrustError::Unknown(fingerprint(key));
        for signer in self.0.iter().filter(|s| s.key == *key) {
            match signer.allows(now) {
                Ok(()) => return Ok(signer.principals.clone()),
                Err(why) => refusal = why,
            }
        }
        Err(refusal)
    }
}

impl Signer {
    fn allows(&self, now: Timestamp) -> Result<(), TrustError> {
        let name = || self.principals.clone();
        if self.authority {
            return Err(TrustError::CertAuthority(name()));
        }
        if self.namespaces.as_deref().is_some_and(|n| !matches_list(n, NAMESPACE)) {
            return Err(TrustError::OtherNamespace(name()));
        }
        if self.after.is_some_and(|t| now < t) {
            return Err(TrustError::NotYetValid(name()));
        }
        if self.before.is_some_and(|t| now > t) {
            return Err(TrustError::Expired(name()));
        }
        Ok(())
    }
}

fn parse_line(line: &str) -> Result<Option<Signer>, String> {
    if is_key_type(first_word(line).0) {
        let comment = line.split_whitespace().nth(2).unwrap_or("(no name)").to_owned();
        return Ok(parse_key(line)?.map(|key| Signer::plain(comment, key)));
    }
    let (principals, mut rest) = first_word(line);
    let mut signer_options = Options::default();
    if !is_key_type(first_word(rest).0) {
        let (options, after) = first_word(rest);
        signer_options = parse_options(options)?;
        rest = after;
    }
    let Some(key) = parse_key(rest)? else { return Ok(None) };
    Ok(Some(Signer {
        principals: principals.trim_matches('"').to_owned(),
        key,
        namespaces: signer_options.namespaces,
        after: signer_options.after,
        before: signer_options.before,
        authority: signer_options.authority,
    }))
}

impl Signer {
    fn plain(principals: String, key: KeyData) -> Signer {
        Signer { principals, key, namespaces: None, after: None, before: None, authority: false }
    }
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "sk-ssh-", "ecdsa-sha2-", "sk-ecdsa-sha2-"].iter().any(|p| word.starts_with(p))
}

fn parse_key(text: &str) -> Result<Option<KeyData>, String> {
    let kind = first_word(text).0;
    if !["ssh-ed25519", "sk-ssh-ed25519@openssh.com"].contains(&kind) {
        return if is_key_type(kind) { Ok(None) } else { Err("a public key is missing".into()) };
    }
    let key = PublicKey::from_openssh(text).map_err(|e| format!("the public key cannot be read: {e}"))?;
    // The ssh-key crate passes over lengths in it that are wrong.
    let spelt = super::signature::public_line(key.key_data());
    if !text.split_whitespace().take(2).eq(spelt.split_whitespace()) {
        return Err("the public key cannot be read: it is not in its canonical form".into());
    }
    Ok(Some(key.key_data().clone()))
}

/// The first word and what follows it; blanks within double quotes do not end a word.
fn first_word(text: &str) -> (&str, &str) {
    let mut quoted = false;
    let text = text.trim_start();
    for (i, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => return (&text[..i], text[i..].trim_start()),
            _ => {}
        }
    }
    (text, "")
}

#[derive(Default)]
struct Options {
    namespaces: Option<String>,
    after: Option<Timestamp>,
    before: Option<Timestamp>,
    authority: bool,
}

fn parse_options(text: &str) -> Result<Options, String> {
    let mut options = Options::default();
    for option in split_outside_quotes(text) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = value.trim_matches('"');
        match name.to_ascii_lowercase().as_str() {
            "cert-authority" => options.authority = true,
            "namespaces" => options.namespaces = Some(value.to_owned()),
            "valid-after" => options.after = Some(parse_time(value)?),
            "valid-before" => options.before = Some(parse_time(value)?),
            _ => return Err(format!("unknown option {name:?}")),
        }
    }
    Ok(options)
}

fn split_outside_quotes(text: &str) -> Vec<&str> {
    let (mut quoted, mut from, mut parts) = (false, 0, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&text[from..i]);
                from = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

/// `YYYYMMDD[HHMM[SS]][Z]`, in the local time zone without the `Z`.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("{text:?} is not a time (YYYYMMDD[HHMM[SS]][Z])");
    let (digits, zone) = match text.strip_suffix('Z') {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    let full = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        14 => digits.to_owned(),
        _ => return Err(wrong()),
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", full).map_err(|_| wrong())?;
    Ok(time.to_zoned(zone).map_err(|_| wrong())?.timestamp())
}

/// OpenSSH's pattern lists: some pattern matches, and no pattern after a `!` does.
fn matches_list(list: &str, text: &str) -> bool {
    let mut found = false;
    for pattern in list.split(',').map(str::trim) {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches_pattern(pattern.as_bytes(), text.as_bytes()) => return false,
            None if matches_pattern(pattern.as_bytes(), text.as_bytes()) => found = true,
            _ => {}
        }
    }
    found
}

fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        // Several stars are one, or each would try all that those after it have tried.
        Some((b'*', [b'*', ..])) => matches_pattern(&pattern[stars(pattern) - 1..], text),
        Some((b'*', rest)) => (0..=text.len()).any(|i| matches_pattern(rest, &text[i..])),
        Some((b'?', rest)) => text.split_first().is_some_and(|(_, t)| matches_pattern(rest, t)),
        Some((c, rest)) => text.split_first().is_some_and(|(d, t)| c == d && matches_pattern(rest, t)),
    }
}

fn stars(pattern: &[u8]) -> usize {
    pattern.iter().take_while(|b| **b == b'*').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn judge(file: &str, now: &str) -> Result<String, TrustError> {
        let key = PublicKey::from_openssh(KEY).unwrap().key_data().clone();
        Signers::parse(file).unwrap().judge(&key, now.parse().unwrap())
    }

    const NOW: &str = "2026-11-23T12:00:00Z";

    #[test]
    fn plain_lines_and_pub_files() {
        assert_eq!(judge(&format!("# c\n\nme@lab {KEY} x"), NOW).unwrap(), "me@lab");
        assert_eq!(judge(&format!("{KEY} me@lab"), NOW).unwrap(), "me@lab");
        assert_eq!(judge(&format!("\"a b\" namespaces=\"git,ckvault\" {KEY}"), NOW).unwrap(), "a b");
        assert!(matches!(judge("", NOW), Err(TrustError::Unknown(_))));
    }

    #[test]
    fn conditions_are_honoured() {
        use TrustError as E;
        let with = |options: &str| judge(&format!("me {options} {KEY}"), NOW);
        assert!(with("namespaces=\"ck*\"").is_ok());
        assert!(matches!(with("namespaces=\"git\""), Err(E::OtherNamespace(_))));
        assert!(matches!(with("namespaces=\"*,!ckvault\""), Err(E::OtherNamespace(_))));
        assert!(with("valid-after=\"20261123Z\",valid-before=\"202611231200Z\"").is_ok());
        assert!(matches!(with("valid-after=\"20261124Z\""), Err(E::NotYetValid(_))));
        assert!(matches!(with("valid-before=\"20261123115959Z\""), Err(E::Expired(_))));
        assert!(matches!(with("cert-authority"), Err(E::CertAuthority(_))));
    }

    #[test]
    fn patterns_of_many_stars_end() {
        let stars = "*".repeat(100_000);
        assert!(matches_list(&format!("git,{stars}t"), NAMESPACE) && matches_list(&stars, NAMESPACE));
        assert!(
            !matches_list(&format!("{stars}x"), NAMESPACE) && !matches_list(&format!("{stars}?{stars}x"), NAMESPACE)
        );
    }

    #[test]
    fn another_line_for_the_same_key_may_allow_it() {
        let file = format!("me valid-before=\"20200101\" {KEY}\nme namespaces=\"ckvault\" {KEY}");
        assert_eq!(judge(&file, NOW).unwrap(), "me");
    }

    #[test]
    fn what_cannot_be_read_is_an_error_with_its_line() {
        let wrong_length = format!("me {}", KEY.replace("E5AAAAILM", "E5AAACILM"));
        for bad in [
            "me",
            "me no-such-option ssh-ed25519 AAAA",
            "me valid-after=\"2026\" ssh-ed25519 A",
            "me ssh-ed25519 AAAA",
            &wrong_length,
        ] {
            let file = format!("# fine\n{bad}\n");
            assert_eq!(Signers::parse(&file).unwrap_err().line, 2, "{bad}");
        }
    }

    #[test]
    fn keys_of_other_types_are_passed_over() {
        assert!(Signers::parse("me ssh-rsa AAAAB3NzaC1yc2E=\n").unwrap().is_empty());
    }
}
