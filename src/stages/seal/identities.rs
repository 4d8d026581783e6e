//! Who opens a set: age identity files (also passphrase-encrypted), SSH private keys, plugin identities.

use super::header;
use super::recipients::AskCallbacks;
use crate::error::{Error, Result};
use crate::format::sealed::{Header, SEALED, SLOT};
use crate::format::{names, within};
use crate::media::guarded;
use crate::media::memory;
use crate::progress::{Ask, Progress};
use crate::stages::refusal::breaks;
use crate::text::for_shell;
use age::armor::ArmoredReader;
use age::{DecryptError, Identity, IdentityFile, encrypted, ssh};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use zeroize::Zeroizing;

const LONGEST: u64 = 16 << 20;
/// The most that a key slot may hold.
const LONGEST_SECRET: u64 = 64 << 10;
/// Work factor of passphrases: 2^22 is about four seconds, and what rage accepts by default on a fast machine.
const MOST_WORK: u8 = 22;
/// How often a passphrase may be wrong.
const TRIES: usize = 3;
/// What the identity of a plugin begins with.
const PLUGIN: &[u8] = b"AGE-PLUGIN-";
/// What the post-quantum identity of age begins with, which the age crate does not know yet.
const POST_QUANTUM: &[u8] = b"AGE-SECRET-KEY-PQ-1";

/// Identities to try on a key slot.
pub struct Identities {
    all: Vec<Held>,
    names: Vec<PathBuf>,
    /// Opening with one of them may take a passphrase or a plugin.
    need_help: bool,
    /// Who is asked.
    callbacks: Option<AskCallbacks>,
}

impl Identities {
    /// Reads identity files.
    pub fn read(files: &[PathBuf], ask: impl Ask + 'static, progress: &dyn Progress) -> Result<Identities> {
        let callbacks = AskCallbacks::new(ask);
        let (mut all, mut need_help) = (Vec::new(), false);
        for file in files {
            let missing = |e: std::io::Error| {
                Error::identity(
                    format!("cannot read the identity {}: {e}", file.display()),
                    if e.kind() == std::io::ErrorKind::InvalidData {
                        "mend the file, or name another"
                    } else {
                        "check the path, or run `ckvault keygen` and have the sender export to its recipient"
                    },
                )
            };
            let bytes = guarded::read_secret(file, LONGEST, progress)?.map_err(missing)?;
            let parsed = parse(&bytes, file, &callbacks)?;
            need_help |= parsed.need_help;
            all.extend(parsed.identities);
        }
        all.iter().for_each(|held: &Held| memory::lock(&*held.identity));
        Ok(Identities { all, names: files.to_vec(), need_help, callbacks: Some(callbacks) })
    }

    /// Whether opening may take a person, for a passphrase, or a program, a plugin of age.
    pub fn need_help(&self) -> bool {
        self.need_help
    }

    #[cfg(test)]
    pub(super) fn native(identity: impl Identity + Send + Sync + 'static) -> Identities {
        Identities {
            all: vec![Held { identity: Box::new(identity), file: None }],
            names: vec![],
            need_help: false,
            callbacks: None,
        }
    }

    /// Opens a small age file with whichever identity fits.
    pub(super) fn open(&self, sealed: &[u8]) -> Result<Zeroizing<String>> {
        let header = Header::scan(sealed, SLOT).map_err(breaks(names::KEYS))?.len;
        let (header, rest) = sealed.split_at(header);
        let reader = self.decrypt(header, rest)?;
        // Large enough never to move, and so to leave no second copy behind.
        let mut text = memory::text(LONGEST_SECRET as usize + 1);
        let read = reader.take(LONGEST_SECRET + 1).read_to_string(&mut text);
        read.map_err(|e| {
            Error::untrusted(format!("keys.age cannot be opened: {e}"), "bring another drive of the set")
        })?;
        within("length of the opened key slot", text.len() as u64, 0, LONGEST_SECRET).map_err(breaks(names::KEYS))?;
        Ok(text)
    }

    /// Asks again for a passphrase that was wrong, some times.
    fn decrypt<'s>(&self, header: &[u8], rest: &'s [u8]) -> Result<impl Read + use<'s>> {
        let answers = || self.callbacks.as_ref().map_or(0, |asked| asked.answers.load(Ordering::Relaxed));
        for tries in 1.. {
            let before = answers();
            let decryptor = header::decryptor(header, rest).map_err(|e| self.refused(e))?;
            let anew = if tries == 1 { Vec::new() } else { self.read_anew()? };
            let at = |i: usize| anew.iter().find(|(of, _)| *of == i).map(|(_, identity)| identity);
            let identities = (0..self.all.len()).map(|i| at(i).unwrap_or(&self.all[i].identity));
            match decryptor.decrypt(identities.map(|i| i.as_ref() as &dyn Identity)) {
                Err(DecryptError::KeyDecryptionFailed | DecryptError::DecryptionFailed)
                    if tries < TRIES && answers() > before =>
                {
                    self.callbacks.iter().for_each(|asked| asked.ask.tell("that is not the passphrase"));
                }
                other => return other.map_err(|e| self.refused(e)),
            }
        }
        Err(Error::Internal("nobody tried".into()))
    }

    /// Those behind a passphrase that was wrong: age reads each of them once.
    fn read_anew(&self) -> Result<Vec<(usize, Box<dyn Identity>)>> {
        let callbacks = self.callbacks.iter().cycle();
        let files = self.all.iter().enumerate().filter_map(|(i, held)| Some((i, held.file.as_ref()?)));
        files
            .zip(callbacks)
            .map(|((i, (bytes, path)), asked)| Ok((i, behind_a_passphrase(bytes, path, asked)?)))
            .collect()
    }

    fn was_asked_in_vain(&self) -> bool {
        self.callbacks.as_ref().is_some_and(|asked| asked.in_vain.load(Ordering::Relaxed))
    }

    fn refused(&self, error: DecryptError) -> Error {
        let tried = self.names.iter().map(|n| n.display().to_string()).collect::<Vec<_>>().join(", ");
        match error {
            DecryptError::NoMatchingKeys => Error::identity(
                format!("none of the identities opens this set (tried: {tried})"),
                "give --identity FILE, the secret half of a recipient that the sender exported to",
            ),
            DecryptError::KeyDecryptionFailed | DecryptError::DecryptionFailed if self.was_asked_in_vain() => {
                Error::identity(
                    format!("the identity needs a passphrase, and there is no terminal to ask for it (tried: {tried})"),
                    "run ckvault in a terminal, or give an --identity FILE without one",
                )
            }
            DecryptError::KeyDecryptionFailed | DecryptError::DecryptionFailed => Error::identity(
                format!("the identity does not open this set: {error} (tried: {tried})"),
                "check the passphrase, or give another --identity FILE",
            ),
            other => Error::identity(
                format!("the key slot cannot be opened: {other}"),
                "check the identity, and the age plugin that it needs",
            ),
        }
    }
}

/// An identity, and the file that it comes from if that is behind a passphrase.
struct Held {
    identity: Box<dyn Identity>,
    file: Option<(Vec<u8>, PathBuf)>,
}

impl Held {
    fn open(identity: Box<dyn Identity>) -> Held {
        Held { identity, file: None }
    }
}

/// What a file holds.
struct Parsed {
    identities: Vec<Held>,
    need_help: bool,
}

fn parse(bytes: &[u8], file: &Path, callbacks: &AskCallbacks) -> Result<Parsed> {
    let name = Some(file.display().to_string());
    if is_age_file(bytes) {
        let identity = behind_a_passphrase(bytes, file, callbacks)?;
        let file = Some((bytes.to_vec(), file.to_owned()));
        return Ok(Parsed { identities: vec![Held { identity, file }], need_help: true });
    }
    if bytes.windows(11).any(|w| w == b"PRIVATE KEY") {
        let identity = ssh::Identity::from_buffer(bytes, name).map_err(|e| bad(file, &e.to_string()))?;
        if let ssh::Identity::Unsupported(_) = identity {
            return Err(bad(file, "is an SSH key of a kind that age cannot use"));
        }
        let need_help = matches!(identity, ssh::Identity::Encrypted(_));
        let identity = Held::open(Box::new(identity.with_callbacks(callbacks.clone())));
        return Ok(Parsed { identities: vec![identity], need_help });
    }
    let parsed = IdentityFile::from_buffer(bytes).map_err(|e| match has(bytes, POST_QUANTUM) {
        true => Error::identity(
            format!("{} holds a post-quantum identity, which takes the program age-plugin-pq", file.display()),
            format!("make one for that program of it: `age-plugin-pq -identity -o NEW {}`", for_shell(file)),
        ),
        false => bad(file, &e.to_string()),
    })?;
    let identities = parsed.with_callbacks(callbacks.clone()).into_identities();
    let identities = identities.map_err(|e| bad(file, &format!("needs a plugin: {e}")))?;
    let need_help = has(bytes, PLUGIN);
    Ok(Parsed { identities: identities.into_iter().map(|i| Held::open(i)).collect(), need_help })
}

/// An age file that a passphrase opens, and in which identities are.
fn behind_a_passphrase(bytes: &[u8], file: &Path, callbacks: &AskCallbacks) -> Result<Box<dyn Identity>> {
    let mut sealed = Vec::new();
    ArmoredReader::new(bytes).read_to_end(&mut sealed).map_err(|e| bad(file, &e.to_string()))?;
    // A passphrase is one stanza.
    Header::scan(&sealed, SEALED).map_err(|e| bad(file, &e.to_string()))?;
    let name = Some(file.display().to_string());
    match encrypted::Identity::from_buffer(Cursor::new(sealed), name, callbacks.clone(), Some(MOST_WORK)) {
        Ok(Some(identity)) => Ok(Box::new(identity)),
        _ => Err(bad(file, "is encrypted, but not with a passphrase")),
    }
}

fn has(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word))
}

fn is_age_file(bytes: &[u8]) -> bool {
    bytes.starts_with(b"age-encryption.org/") || bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----")
}

fn bad(file: &Path, why: &str) -> Error {
    Error::identity(
        format!("{} is no usable identity: {why}", file.display()),
        "give an age identity file, an SSH private key or a plugin identity",
    )
}
