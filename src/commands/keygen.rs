//! `ckvault keygen`: what a machine needs to send and to receive, in one directory.

use crate::error::{Error, Result};
use crate::format::signature::{NAMESPACE, SigningKey, fingerprint, parse_public};
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::durable::{private_name, write_public, write_secret};
use crate::media::fence::Needs;
use crate::media::guarded::{self, check_dir};
use crate::media::removal::remove_held;
use crate::progress::{Ask, Progress};
use crate::stages::seal::{PUBLIC, SetIdentity};
use serde::Serialize;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where the defaults of every verb lie in the home of ckvault.
pub mod files {
    /// The age identity that opens sets.
    pub const IDENTITY: &str = "identity.txt";
    /// The OpenSSH key that signs sets.
    pub const SIGNING_KEY: &str = "signing_key";
    /// Its public half.
    pub const SIGNING_KEY_PUB: &str = "signing_key.pub";
    /// Who may sign sets.
    pub const ALLOWED_SIGNERS: &str = "allowed_signers";
    /// Whom to encrypt to.
    pub const RECIPIENTS: &str = "recipients.txt";
}

const ALL: [&str; 5] =
    [files::IDENTITY, files::SIGNING_KEY, files::SIGNING_KEY_PUB, files::ALLOWED_SIGNERS, files::RECIPIENTS];

/// The public half of the key that opens sets on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OwnKey {
    /// There is no such key.
    #[default]
    None,
    /// There is one, and what is public of it cannot be seen: a passphrase keeps it.
    Sealed,
    /// Its recipient.
    Known(String),
}

impl OwnKey {
    /// Of the identity in a file, which says it in a comment before the secret, as `age-keygen` has it too.
    pub fn of(identity: &Path) -> OwnKey {
        const BEFORE_THE_SECRET: usize = 256;
        let mut begins = Zeroizing::new([0; BEFORE_THE_SECRET]);
        let place = identity.parent().zip(identity.file_name());
        let file = place.and_then(|(dir, name)| Dir::given(&Disk::default(), dir).ok()?.open(name).ok());
        let read = file.and_then(|file| file.read_up_to(&mut begins[..], 0).ok());
        let Some(1..) = read else { return OwnKey::None };
        // A line that is cut off may go on.
        let lines = begins
            .split_inclusive(|b| *b == b'\n')
            .filter_map(|line| std::str::from_utf8(line.strip_suffix(b"\n")?).ok());
        match lines.filter_map(|line| line.strip_prefix(PUBLIC)).next() {
            Some(recipient) => OwnKey::Known(recipient.trim().to_owned()),
            None => OwnKey::Sealed,
        }
    }

    /// Whether a recipient is known to be this one.
    pub fn is(&self, recipient: &str) -> bool {
        matches!(self, OwnKey::Known(own) if own.eq_ignore_ascii_case(recipient))
    }

    /// Whether it may be this one.
    pub fn may_be(&self, recipient: &str) -> bool {
        self.is(recipient) || *self == OwnKey::Sealed
    }
}

/// What was typed.
#[derive(Debug, Default)]
pub struct Options {
    /// What is written through.
    pub disk: Disk,
    /// The directory to write to.
    pub out: PathBuf,
    /// The name under which the key is trusted, `user@host` for example.
    pub principal: String,
    /// Make nothing: tell what is public of the keys that are there.
    pub show: bool,
    /// Ask for a passphrase, and keep the secret halves behind it.
    pub passphrase: bool,
}

impl Options {
    /// What making the keys needs.
    fn needs(&self) -> Needs {
        Needs { write: vec![Needs::nearest(&self.out)], ..Needs::default() }
    }
}

/// What was made.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The directory.
    pub directory: PathBuf,
    /// Whether they are new.
    pub made: bool,
    /// The recipient that others export to.
    pub recipient: String,
    /// The public signing key.
    pub signing_key: String,
    /// Its fingerprint.
    pub fingerprint: String,
}

/// Makes the keys, all or none. Existing files are never overwritten: if all are there, what is public of them is told.
pub fn run(options: &Options, ask: &dyn Ask, progress: &dyn Progress) -> Result<Report> {
    if !options.passphrase {
        options.disk.confine(&options.needs());
    }
    if options.show {
        let dir = Dir::given(&Disk::default(), &options.out).map_err(Error::io("open", &options.out))?;
        return show(options, &dir, progress);
    }
    let dir = Dir::given_or_made_private(&options.disk, &options.out).map_err(Error::io("create", &options.out))?;
    let (there, missing): (Vec<&str>, Vec<&str>) = ALL.into_iter().partition(|name| dir.has(name));
    match (there.first(), missing.first()) {
        (Some(_), None) if options.passphrase => Err(Error::usage(
            format!("there are keys in {} already: nothing was made", dir.path().display()),
            "`ssh-keygen -p -f signing_key` puts a passphrase before the one, `age -p` before identity.txt; or name another directory with --out",
        )),
        (Some(_), None) => show(options, &dir, progress),
        (Some(there), Some(missing)) => Err(Error::usage(
            format!("{} exists, and {missing} does not: nothing was made", dir.show(there).display()),
            "these keys are not complete: move them away, or name another directory with --out",
        )),
        (None, _) => {
            check_dir(&dir, progress)?;
            let passphrase = options.passphrase.then(|| new_passphrase(ask)).transpose()?;
            // Behind the fence there is no terminal that could be asked for one.
            options.disk.confine(&options.needs());
            make(options, &dir, passphrase.as_ref().map(|text| text.as_str()))
        }
    }
}

/// Asks for a passphrase, and once more, so that it is what was meant.
fn new_passphrase(ask: &dyn Ask) -> Result<Zeroizing<String>> {
    const TRIES: usize = 3;
    let nobody = || {
        Error::usage(
            "there is no terminal to ask for a passphrase",
            "run ckvault in a terminal, or leave --passphrase out",
        )
    };
    for _ in 0..TRIES {
        let first = ask.passphrase("New passphrase for identity.txt and signing_key").ok_or_else(nobody)?;
        if first.is_empty() {
            ask.tell("an empty passphrase protects nothing");
            continue;
        }
        if ask.passphrase("The same again").ok_or_else(nobody)? == first {
            return Ok(first);
        }
        ask.tell("these were two different ones");
    }
    Err(Error::usage("no passphrase was given twice alike: nothing was made", "run the command again"))
}

fn make(options: &Options, dir: &Dir, passphrase: Option<&str>) -> Result<Report> {
    let internal = |e: &dyn std::fmt::Display| Error::Internal(e.to_string());
    let identity = SetIdentity::generate();
    let key = SigningKey::generate(&options.principal).map_err(|e| internal(&e))?;
    let recipient = identity.recipient().text().to_string();
    let public = key.public_file();
    let signer =
        format!("{} namespaces=\"{NAMESPACE},{NAMESPACE}-keys,{NAMESPACE}-receipt\" {public}", options.principal);
    let (plain, sealed);
    let (opens, signs): (&[u8], _) = match passphrase {
        None => {
            plain = identity.file();
            (plain.as_bytes(), key.to_openssh())
        }
        Some(text) => {
            sealed = identity.file_behind(text).map_err(|e| internal(&e))?;
            (&sealed, key.encrypt(text).and_then(|key| key.to_openssh()))
        }
    };
    let signs = signs.map_err(|e| internal(&e))?;
    // Beside their names first: what is not complete has none of them.
    let aside = private_name("keygen").map_err(Error::io("make a name in", dir.path()))?;
    let new = dir.make_dir(&aside, 0o700).map_err(Error::io("create", dir.show(&aside)))?;
    let made = write_secret(&new, files::IDENTITY, opens)
        .and_then(|()| write_secret(&new, files::SIGNING_KEY, signs.as_bytes()))
        .and_then(|()| write_public(&new, files::SIGNING_KEY_PUB, public.as_bytes()))
        .and_then(|()| write_public(&new, files::ALLOWED_SIGNERS, signer.as_bytes()))
        .and_then(|()| {
            write_public(&new, files::RECIPIENTS, format!("# {}\n{recipient}\n", options.principal).as_bytes())
        })
        .and_then(|()| name_all(&new, dir));
    let _ = remove_held(&new, dir, &aside);
    made?;
    Ok(Report {
        directory: options.out.clone(),
        made: true,
        recipient,
        signing_key: public.trim_end().to_owned(),
        fingerprint: fingerprint(&key.public()),
    })
}

/// Gives all files their names, or none.
fn name_all(new: &Dir, dir: &Dir) -> Result<()> {
    for (done, name) in ALL.iter().enumerate() {
        // Somebody else may have made keys meanwhile.
        if let Err(error) = new.rename_to_new(name, dir, name) {
            ALL[..done].iter().for_each(|name| drop(dir.remove(name)));
            return Err(Error::io("create", dir.show(name))(error));
        }
    }
    dir.sync().map_err(Error::io("sync", dir.path()))
}

/// What others need to know of keys that are there.
fn show(options: &Options, dir: &Dir, progress: &dyn Progress) -> Result<Report> {
    const LONGEST: u64 = 1 << 20;
    let read = |name| guarded::read_text(&dir.show(name), LONGEST, guarded::Kind::Trust, progress);
    let (public, recipients) = (read(files::SIGNING_KEY_PUB)?, read(files::RECIPIENTS)?);
    let unusable = |name: &str| {
        Error::usage(
            format!("{} does not hold what keygen has put there", dir.show(name).display()),
            "move these keys away, or name another directory with --out",
        )
    };
    let key = parse_public(&public).ok_or_else(|| unusable(files::SIGNING_KEY_PUB))?;
    let recipient =
        recipients.lines().find(|line| line.starts_with("age1")).ok_or_else(|| unusable(files::RECIPIENTS))?;
    Ok(Report {
        directory: options.out.clone(),
        made: false,
        recipient: recipient.trim().to_owned(),
        signing_key: public.trim_end().to_owned(),
        fingerprint: fingerprint(&key),
    })
}
