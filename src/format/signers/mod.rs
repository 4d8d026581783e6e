//! Who is trusted: OpenSSH's `allowed_signers` (ssh-keygen(1), ALLOWED SIGNERS), read as OpenSSH reads it, or a lone `.pub`.

mod key;
mod options;
mod patterns;
pub mod revoked;
mod times;

use super::signature::{NAMESPACE, TrustError, fingerprint};
use crate::text::printable;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use key::{Key, skip_blanks};
use options::Options;
use ssh_key::public::KeyData;

/// The most bytes that a file of signers may have.
pub const LONGEST: u64 = 16 << 20;

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BadLine {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// One trusted key with the conditions under which it is.
#[derive(Debug, Clone)]
struct Signer {
    principals: Vec<u8>,
    key: KeyData,
    options: Options,
}

/// The keys that are trusted to sign sets.
#[derive(Debug, Clone, Default)]
pub struct Signers {
    signers: Vec<Signer>,
    bad: Vec<BadLine>,
    /// There are no names in a lone public key: its comment is shown, and asked for by nobody.
    lone: bool,
}

impl Signers {
    /// Reads a file; times in it without a zone are of `zone`. Keys of types that sign no sets are passed over, as they can
    /// match no signature; and so are lines that cannot be read, which trust nobody.
    pub fn parse(file: &[u8], zone: &TimeZone) -> Signers {
        if let Some(signer) = lone_key(file) {
            return Signers { signers: vec![signer], bad: Vec::new(), lone: true };
        }
        let mut signers = Signers::default();
        for (line, text) in lines(file) {
            match parse_line(text, zone) {
                Ok(signer) => signers.signers.extend(signer),
                Err(what) => signers.bad.push(BadLine { line, what }),
            }
        }
        signers
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.signers.is_empty()
    }

    /// Whether the keys have names that can be asked for.
    pub fn has_names(&self) -> bool {
        !self.lone
    }

    /// The lines that cannot be read.
    pub fn bad_lines(&self) -> &[BadLine] {
        &self.bad
    }

    /// The name under which `key` is trusted at the time `now`: `asked`, or any if nobody is asked for.
    pub fn judge(&self, key: &KeyData, asked: Option<&[u8]>, now: Timestamp) -> Result<String, TrustError> {
        let is_meant = |s: &&Signer| match asked {
            Some(name) => patterns::matches(&s.principals, name),
            None => self.lone || patterns::names_somebody(&s.principals),
        };
        let (meant, others): (Vec<&Signer>, Vec<&Signer>) =
            self.signers.iter().filter(|s| s.key == *key).partition(is_meant);
        let mut refusal = match (others.first(), asked) {
            (None, _) => TrustError::Unknown(fingerprint(key)),
            (Some(other), None) => TrustError::NamesNobody(other.name()),
            (Some(other), Some(name)) => TrustError::OtherSigner { by: other.name(), asked: printable(name) },
        };
        for signer in meant {
            let name = asked.map_or_else(|| signer.name(), printable);
            match signer.options.allow(&name, now) {
                Ok(()) => return Ok(name),
                Err(why) => refusal = why,
            }
        }
        Err(refusal)
    }
}

impl Signer {
    fn name(&self) -> String {
        printable(&self.principals)
    }
}

impl Options {
    fn allow(&self, name: &str, now: Timestamp) -> Result<(), TrustError> {
        let (name, now) = (name.to_owned(), now.as_second());
        if self.authority {
            return Err(TrustError::CertAuthority(name));
        }
        if self.namespaces.as_deref().is_some_and(|n| !patterns::matches(n, NAMESPACE.as_bytes())) {
            return Err(TrustError::OtherNamespace(name));
        }
        if self.after.is_some_and(|t| now < t) {
            return Err(TrustError::NotYetValid(name));
        }
        if self.before.is_some_and(|t| now > t) {
            return Err(TrustError::Expired(name));
        }
        Ok(())
    }
}

/// The lines that say something, by their numbers. As in C, a byte of zero ends a line.
fn lines(file: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let text = file.split(|b| *b == b'\n').map(|line| line.split(|b| *b == 0).next().unwrap_or_default());
    (1..)
        .zip(text.map(skip_blanks))
        .filter(|(_, line)| !line.starts_with(b"#") && line.iter().any(|b| !b" \t\r".contains(b)))
}

/// The key of a file of which the only line is a public key.
fn lone_key(file: &[u8]) -> Option<Signer> {
    let (_, line) = lines(file).next().filter(|_| lines(file).nth(1).is_none())?;
    let Ok(Key::Ours(key)) = key::read(line) else { return None };
    let comment = key::word(key::word(line).1).1;
    let principals = if comment.is_empty() { b"(no name)" } else { comment.trim_ascii_end() };
    Some(Signer { principals: principals.to_owned(), key, options: Options::default() })
}

/// `principals [options] key`; none if the key is of a type that signs no sets.
fn parse_line(line: &[u8], zone: &TimeZone) -> Result<Option<Signer>, String> {
    let (principals, rest) = principals(line).ok_or("it has nothing but names, or a double quote is missing")?;
    let is_key = std::str::from_utf8(key::word(rest).0).is_ok_and(key::is_type);
    let (options, rest) = match is_key {
        true => (Options::default(), rest),
        false => {
            let end = options::end(rest).ok_or("a double quote is missing in the options")?;
            // A key that is missing says more than the options that stand in its place.
            (options::parse(&rest[..end], zone)?, skip_blanks(&rest[end..]))
        }
    };
    match key::read(rest)? {
        Key::Ours(key) => Ok(Some(Signer { principals, key, options })),
        Key::Certified(_) | Key::Other => Ok(None),
    }
}

/// The first word, and what follows it. A double quote in it is left out, and ends it when it comes again.
fn principals(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let is_space = |b: &u8| b" \t\r\n".contains(b);
    let end = line.iter().position(|b| is_space(b) || *b == b'"')?;
    let (mut word, mut rest) = (line[..end].to_vec(), &line[end + 1..]);
    if line[end] == b'"' {
        let end = rest.iter().position(|b| *b == b'"')?;
        word.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
    }
    Some((word, &rest[rest.iter().take_while(|b| is_space(b)).count()..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::limits::of_page;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use ssh_key::PublicKey;

    #[test]
    fn the_longest_list_is_that_of_the_page() {
        assert_eq!(of_page::of("signers file"), [0, LONGEST]);
    }

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const NOW: &str = "2026-11-23T12:00:00Z";

    fn read(file: &str) -> Signers {
        Signers::parse(file.as_bytes(), &TimeZone::UTC)
    }

    fn asked(file: &str, name: Option<&str>) -> Result<String, TrustError> {
        let key = PublicKey::from_openssh(KEY).unwrap().key_data().clone();
        read(file).judge(&key, name.map(str::as_bytes), NOW.parse().unwrap())
    }

    fn judge(file: &str) -> Result<String, TrustError> {
        asked(file, None)
    }

    #[test]
    fn plain_lines_and_pub_files() {
        assert_eq!(judge(&format!("# c\n\nme@lab {KEY} x")).unwrap(), "me@lab");
        assert_eq!(judge(&format!("# c\n{KEY} me@lab x\r\n")).unwrap(), "me@lab x");
        assert_eq!(judge(&format!("\"a b\" namespaces=\"git,ckvault\" {KEY}")).unwrap(), "a b");
        assert_eq!(judge(&format!("ssh-ed25519 {KEY}")).unwrap(), "ssh-ed25519");
        let fingerprint = PublicKey::from_openssh(KEY).unwrap().fingerprint(Default::default()).to_string();
        assert!(fingerprint.starts_with("SHA256:") && fingerprint.len() == 50);
        assert_eq!(judge(""), Err(TrustError::Unknown(fingerprint)));
    }

    #[test]
    fn a_public_key_among_others_is_no_line_of_a_list() {
        let file = format!("{KEY} me@lab\n{KEY} me@lab\n");
        assert_eq!(read(&file).bad_lines().len(), 2);
        assert!(judge(&file).is_err() && !read(&format!("{KEY} me")).has_names());
        assert!(read(&format!("me {KEY}")).has_names() && !read(&format!("me {KEY}")).is_empty());
    }

    #[test]
    fn conditions_are_honoured() {
        use TrustError as E;
        let with = |options: &str| judge(&format!("me {options} {KEY}"));
        assert!(with("namespaces=\"ck*\"").is_ok());
        assert!(matches!(with("namespaces=\"git\""), Err(E::OtherNamespace(_))));
        assert!(matches!(with("namespaces=\"*,!ckvault\""), Err(E::OtherNamespace(_))));
        assert!(with("valid-after=\"20261123Z\",valid-before=\"202611231200Z\"").is_ok());
        assert!(with("valid-after=\"202611231200Z\"").is_ok());
        assert!(matches!(with("valid-after=\"20261123120001Z\""), Err(E::NotYetValid(_))));
        assert!(matches!(with("valid-after=\"20261124Z\""), Err(E::NotYetValid(_))));
        assert!(matches!(with("valid-before=\"20261123115959Z\""), Err(E::Expired(_))));
        assert!(matches!(with("cert-authority"), Err(E::CertAuthority(_))));
    }

    #[test]
    fn another_line_for_the_same_key_may_allow_it() {
        let file = format!("me valid-before=\"20200101\" {KEY}\nme namespaces=\"ckvault\" {KEY}");
        assert_eq!(judge(&file).unwrap(), "me");
    }

    #[test]
    fn who_is_asked_for_must_be_meant() {
        let file = format!("bob@lab {KEY}\n*@site,!eve@site valid-before=\"20200101\" {KEY}\n");
        assert_eq!(asked(&file, Some("bob@lab")).unwrap(), "bob@lab");
        let other = TrustError::OtherSigner { by: "bob@lab".into(), asked: "eve@site".into() };
        assert_eq!(asked(&file, Some("eve@site")), Err(other));
        assert_eq!(asked(&file, Some("ann@site")), Err(TrustError::Expired("ann@site".into())));
        assert_eq!(judge(&format!("!eve,* {KEY}")), Err(TrustError::NamesNobody("!eve,*".into())));
        assert_eq!(asked(&format!("!eve,* {KEY}"), Some("bob")).unwrap(), "bob");
    }

    #[test]
    fn what_cannot_be_read_is_named_and_passed_over() {
        let wrong_length = format!("me {}", KEY.replace("E5AAAAILM", "E5AAACILM"));
        for bad in [
            "me",
            "\"me ssh-ed25519 AAAA",
            "me no-such-option ssh-ed25519 AAAA",
            "me valid-after=\"2026\" ssh-ed25519 A",
            "me valid-after=\"19600101\" ssh-ed25519 A",
            "me namespaces=\"a\",namespaces=\"a\" ssh-ed25519 A",
            "me namespaces=ckvault ssh-ed25519 A",
            "me cert-authority, ssh-ed25519 A",
            "me valid-before=\"20260101Z\",valid-after=\"20260101Z\" ssh-ed25519 A",
            "me ssh-ed25519 AAAA",
            "me ssh-rsa AAAA",
            "me cert-authority",
            &wrong_length,
        ] {
            let file = format!("# fine\n{bad}\nme {KEY}\n");
            let lines: Vec<usize> = read(&file).bad_lines().iter().map(|bad| bad.line).collect();
            assert_eq!((lines, judge(&file)), (vec![2], Ok("me".into())), "{bad}");
        }
    }

    #[test]
    fn keys_of_other_types_are_passed_over() {
        let signers = read("me ssh-rsa AAAAB3NzaC1yc2E=\nme rsa-sha2-512 AAAAB3NzaC1yc2E=\n");
        assert!(signers.is_empty() && signers.bad_lines().is_empty());
        for kind in ["ecdsa-sha2-nistp256", "sk-ecdsa-sha2-nistp256@openssh.com", "sk-ssh-later", "ssh-later"] {
            let blob = [&(kind.len() as u32).to_be_bytes(), kind.as_bytes()].concat();
            let signers = read(&format!("me {kind} {}\n", STANDARD.encode(blob)));
            assert!(signers.is_empty() && signers.bad_lines().is_empty(), "{kind}");
        }
    }

    #[test]
    fn whatever_is_space_to_openssh_is_space() {
        let tabs = KEY.replace(' ', "\t");
        for line in [
            &format!("me\t{KEY}"),
            &format!("me\r{KEY}"),
            &format!("me {tabs}\tx"),
            &format!("me namespaces=\"ckvault\"\t{KEY}"),
            // Nothing need stand behind the quote that ends the names.
            &format!("\"me\"{KEY}"),
            // What OpenSSH passes over within a key.
            &format!("me {}", KEY.replace("ILM+", "IL\u{b}M\u{c}+")),
            // A byte of zero ends a line, and the key has been told before.
            &format!("me {KEY}\0\u{1}"),
        ] {
            for file in [format!("{line}\r\n"), format!("\r\n \t\r \t\n{line}\r\n\t\n# c\r\n")] {
                assert_eq!((judge(&file), read(&file).bad_lines()), (Ok("me".into()), &[][..]), "{line:?}");
            }
        }
        assert_eq!(read(&format!("me\0 {KEY}")).bad_lines().len(), 1);
    }

    #[test]
    fn options_are_known_in_any_case_of_letters() {
        let with = |options: &str| judge(&format!("me {options} {KEY}"));
        assert!(with("NameSpaces=\"ckvault\",VALID-AFTER=\"20200101Z\"").is_ok());
        assert!(matches!(with("Cert-Authority"), Err(TrustError::CertAuthority(_))));
        // A quote within a value is one of its characters.
        assert!(matches!(with(r#"namespaces="ckvault\"""#), Err(TrustError::OtherNamespace(_))));
        assert!(with(r#"namespaces="a\",ckvault""#).is_ok());
    }

    #[test]
    fn a_lone_key_has_the_name_in_its_comment_whatever_that_is() {
        for (comment, name) in [("", "(no name)"), (" ", "(no name)"), (" !eve,*", "!eve,*"), (" me ", "me")] {
            assert_eq!(judge(&format!("{KEY}{comment}\n")).as_deref(), Ok(name), "{comment:?}");
        }
    }
}
