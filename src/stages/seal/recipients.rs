//! Who can open a set: age's `-R` files with native, SSH and plugin recipients.

use crate::error::{Error, Result};
use crate::media::guarded::{Kind, read_text};
use crate::progress::{Ask, Progress};
use crate::text::is_secret;
use age::{Callbacks, EncryptError, Recipient, plugin, ssh, tag, tagpq, x25519};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const LONGEST: u64 = 16 << 20;

/// Recipients of a key slot.
pub struct Recipients {
    all: Vec<Box<dyn Recipient + Send>>,
    named: Vec<Named>,
}

/// A recipient as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its text, without a comment.
    pub recipient: String,
    /// The comment in its line, or in the line above it in a file.
    pub comment: Option<String>,
}

impl Named {
    /// Of a line, and the comment above it.
    fn of(text: &str, above: Option<&str>) -> Named {
        let words = if text.starts_with("ssh-") { 2 } else { 1 };
        let mut all = text.splitn(words + 1, [' ', '\t']);
        let recipient = all.by_ref().take(words).collect::<Vec<_>>().join(" ");
        let own = all.next().map(str::trim).filter(|comment| !comment.is_empty());
        Named { recipient, comment: own.or(above).map(str::to_owned) }
    }
}

/// By these age isolates names; a terminal may show them all the same (FSI and PDI of Unicode).
const ISOLATES: [char; 2] = ['\u{2068}', '\u{2069}'];

/// Lets age and its plugins ask through [`Ask`].
#[derive(Clone)]
pub(super) struct AskCallbacks {
    /// Who is asked.
    pub ask: Arc<dyn Ask>,
    /// How many passphrases there were.
    pub answers: Arc<AtomicUsize>,
    /// Whether one was asked for in vain.
    pub in_vain: Arc<AtomicBool>,
}

impl AskCallbacks {
    /// Asks `ask`.
    pub fn new(ask: impl Ask + 'static) -> AskCallbacks {
        AskCallbacks { ask: Arc::new(ask), answers: Arc::default(), in_vain: Arc::default() }
    }
}

impl Callbacks for AskCallbacks {
    fn display_message(&self, message: &str) {
        self.ask.tell(&message.replace(ISOLATES, ""));
    }
    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let no = no.unwrap_or("no");
        self.ask.line(&format!("{message} [{yes}/{no}]")).map(|answer| answer == yes)
    }
    fn request_public_string(&self, description: &str) -> Option<String> {
        self.ask.line(description)
    }
    fn request_passphrase(&self, description: &str) -> Option<age::secrecy::SecretString> {
        let Some(answer) = self.ask.passphrase(&description.replace(ISOLATES, "")) else {
            self.in_vain.store(true, Ordering::Relaxed);
            return None;
        };
        self.answers.fetch_add(1, Ordering::Relaxed);
        Some(age::secrecy::SecretString::from(answer.to_string()))
    }
}

impl Recipients {
    /// From `-r` recipients and `--recipients` files.
    pub fn parse_all(
        lone: &[String],
        files: &[PathBuf],
        ask: impl Ask + 'static,
        progress: &dyn Progress,
    ) -> Result<Recipients> {
        let mut parser = Parser::default();
        for text in lone.iter().map(|text| text.trim()) {
            // What does not begin as public keys do may be a secret.
            let is_public = !is_secret(text) && ["age1", "ssh-"].iter().any(|kind| text.starts_with(kind));
            let shown = if is_public { format!(" {text:?}") } else { String::new() };
            parser.named.push(Named::of(text, None));
            parser.add(text).map_err(|why| {
                Error::usage(
                    format!("the recipient{shown} {why}"),
                    "recipients look like age1…, ssh-ed25519 …, ssh-rsa …",
                )
            })?;
        }
        for file in files {
            let mut above = None;
            for (i, line) in read_text(file, LONGEST, Kind::Trust, progress)?.lines().map(str::trim).enumerate() {
                if let Some(comment) = line.strip_prefix('#') {
                    above = Some(comment.trim().to_owned());
                } else if !line.is_empty() {
                    parser.named.push(Named::of(line, above.take().as_deref()));
                    let place = format!("{}, line {}", file.display(), i + 1);
                    parser.add(line).map_err(|why| {
                        Error::usage(
                            format!("{place}: the recipient {why}"),
                            "one recipient a line: age1…, ssh-ed25519 …, ssh-rsa …; # begins a comment",
                        )
                    })?;
                }
            }
        }
        parser.finish(AskCallbacks::new(ask))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn Recipient> {
        self.all.iter().map(|r| r.as_ref() as &dyn Recipient)
    }

    /// As they were given, in that order.
    pub fn named(&self) -> &[Named] {
        &self.named
    }
}

#[derive(Default)]
struct Parser {
    direct: Vec<Box<dyn Recipient + Send>>,
    plugins: Vec<plugin::Recipient>,
    named: Vec<Named>,
}

impl Parser {
    fn add(&mut self, text: &str) -> std::result::Result<(), String> {
        if is_secret(text) {
            return Err("is a secret identity; give its public half, and keep this to yourself".into());
        }
        if let Ok(native) = text.parse::<x25519::Recipient>() {
            self.direct.push(Box::new(native));
        } else if let Ok(tagged) = text.parse::<tag::Recipient>() {
            self.direct.push(Box::new(tagged));
        } else if let Ok(tagged) = text.parse::<tagpq::Recipient>() {
            self.direct.push(Box::new(tagged));
        } else if let Ok(plugin) = text.parse::<plugin::Recipient>() {
            self.plugins.push(plugin);
        } else {
            let parsed = text.parse::<ssh::Recipient>();
            self.direct.push(Box::new(parsed.map_err(|e| explain_ssh(&e).to_owned())?));
        }
        Ok(())
    }

    fn finish(mut self, callbacks: AskCallbacks) -> Result<Recipients> {
        let mut names: Vec<&str> = self.plugins.iter().map(|p| p.plugin()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let found = plugin::RecipientPluginV1::new(name, &self.plugins, &[], callbacks.clone());
            let missing = |_| {
                Error::usage(
                    format!("the program age-plugin-{name} is not on PATH"),
                    format!("install age-plugin-{name}, or leave its recipients out"),
                )
            };
            self.direct.push(Box::new(found.map_err(missing)?));
        }
        if self.direct.is_empty() {
            return Err(Error::usage(
                "there is no recipient: nobody could open the set",
                "give --recipients FILE or -r RECIPIENT; `ckvault keygen` on the receiving machine makes one",
            ));
        }
        Ok(Recipients { all: self.direct, named: self.named })
    }
}

fn explain_ssh(error: &ssh::ParseRecipientKeyError) -> &'static str {
    use ssh::ParseRecipientKeyError as E;
    match error {
        E::Ignore | E::Unsupported(_) => {
            "is an SSH key of a type that age cannot encrypt to (only ssh-ed25519 and ssh-rsa)"
        }
        E::RsaModulusTooLarge => "is an RSA key with more than 4096 bits",
        E::RsaModulusTooSmall => "is an RSA key with less than 2048 bits",
        _ => "cannot be read",
    }
}

/// What to say when the age crate refuses recipients.
pub(super) fn cannot_encrypt(error: EncryptError) -> Error {
    Error::usage(
        format!("cannot encrypt to these recipients: {}", error.to_string().replace(ISOLATES, "")),
        "check the recipients file and the age plugins on PATH",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::{Nobody, Silent};

    fn add(text: &str) -> std::result::Result<(), String> {
        Parser::default().add(text)
    }

    #[test]
    fn all_kinds_are_read() {
        let native = x25519::Identity::generate().to_public().to_string();
        assert!(add(&native).is_ok());
        assert!(add("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti me").is_ok());
        assert!(add("age1invalid").is_err());
        assert!(add("ssh-dss AAAA").is_err());
    }

    #[test]
    fn a_secret_is_refused_without_being_repeated() {
        for secret in ["AGE-SECRET-KEY-1QQQ", "age-plugin-toy-1qqq", "-----BEGIN OPENSSH PRIVATE KEY-----QQQ"] {
            let why = add(secret).unwrap_err();
            assert!(why.contains("secret") && !why.to_uppercase().contains("QQQ"), "{why}");
            for typed in [secret.to_owned(), format!(" {secret}"), format!("age1 {secret}"), secret.replace("-", "")] {
                let refused = Recipients::parse_all(&[typed], &[], Nobody, &Silent::default()).err().unwrap();
                assert!(!format!("{refused:?}").to_uppercase().contains("QQQ"), "{refused:?}");
            }
        }
    }

    #[test]
    fn a_public_recipient_that_is_wrong_is_named() {
        let refused = Recipients::parse_all(&["age1qqq".into()], &[], Nobody, &Silent::default()).err().unwrap();
        assert!(refused.to_string().contains("\"age1qqq\" cannot be read"), "{refused}");
    }

    #[test]
    fn no_recipient_is_a_mistake_of_usage() {
        assert_eq!(Recipients::parse_all(&[], &[], Nobody, &Silent::default()).err().map(|e| e.exit_code()), Some(2));
    }
}
