//! `ckvault keygen`: what a machine needs to send and to receive, in one directory.

use crate::error::{Error, Result};
use crate::format::signature::{NAMESPACE, SigningKey, fingerprint, parse_public};
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::durable::{private_name, write_public, write_secret};
use crate::media::fence::Needs;
use crate::media::guarded::{self, check_dir};
use crate::media::removal::remove_held;
use crate::progress::Progress;
use crate::stages::seal::SetIdentity;
use serde::Serialize;
use std::path::PathBuf;

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

/// What was typed.
#[derive(Debug, Default)]
pub struct Options {
    /// The directory to write to.
    pub out: PathBuf,
    /// The name under which the key is trusted, `user@host` for example.
    pub principal: String,
    /// Make nothing: tell what is public of the keys that are there.
    pub show: bool,
}

impl Options {
    /// What making the keys needs.
    pub fn needs(&self) -> Needs {
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
pub fn run(options: &Options, progress: &dyn Progress) -> Result<Report> {
    if options.show {
        let dir = Dir::given(&Disk::default(), &options.out).map_err(Error::io("open", &options.out))?;
        return show(options, &dir, progress);
    }
    let dir = Dir::given_or_made_private(&Disk::default(), &options.out).map_err(Error::io("create", &options.out))?;
    let (there, missing): (Vec<&str>, Vec<&str>) = ALL.into_iter().partition(|name| dir.has(name));
    match (there.first(), missing.first()) {
        (Some(_), None) => show(options, &dir, progress),
        (Some(there), Some(missing)) => Err(Error::usage(
            format!("{} exists, and {missing} does not: nothing was made", dir.show(there).display()),
            "these keys are not complete: move them away, or name another directory with --out",
        )),
        (None, _) => {
            check_dir(&dir, progress)?;
            make(options, &dir)
        }
    }
}

fn make(options: &Options, dir: &Dir) -> Result<Report> {
    let internal = |e: &dyn std::fmt::Display| Error::Internal(e.to_string());
    let identity = SetIdentity::generate();
    let key = SigningKey::generate(&options.principal).map_err(|e| internal(&e))?;
    let recipient = identity.recipient().to_string();
    let public = key.public_file();
    let signer =
        format!("{} namespaces=\"{NAMESPACE},{NAMESPACE}-keys,{NAMESPACE}-receipt\" {public}", options.principal);
    // Beside their names first: what is not complete has none of them.
    let aside = private_name("keygen").map_err(Error::io("make a name in", dir.path()))?;
    let new = dir.make_dir(&aside, 0o700).map_err(Error::io("create", dir.show(&aside)))?;
    let secret = key.to_openssh().map_err(|e| internal(&e))?;
    let made = write_secret(&new, files::IDENTITY, identity.file().as_bytes())
        .and_then(|()| write_secret(&new, files::SIGNING_KEY, secret.as_bytes()))
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
