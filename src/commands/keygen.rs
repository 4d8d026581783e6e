//! `ckvault keygen`: what a machine needs to send and to receive, in one directory.

use crate::error::{Error, Result};
use crate::format::signature::{NAMESPACE, SigningKey, fingerprint};
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::durable::{write_public, write_secret};
use crate::media::fence::Needs;
use crate::media::guarded::check_dir;
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

/// What was typed.
#[derive(Debug)]
pub struct Options {
    /// The directory to write to.
    pub out: PathBuf,
    /// The name under which the key is trusted, `user@host` for example.
    pub principal: String,
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
    /// The recipient that others export to.
    pub recipient: String,
    /// The public signing key.
    pub signing_key: String,
    /// Its fingerprint.
    pub fingerprint: String,
}

/// Makes the keys. Existing files are never overwritten.
pub fn run(options: &Options, progress: &dyn Progress) -> Result<Report> {
    let dir = Dir::given_or_made_private(&Disk::default(), &options.out).map_err(Error::io("create", &options.out))?;
    let all = [files::IDENTITY, files::SIGNING_KEY, files::SIGNING_KEY_PUB, files::ALLOWED_SIGNERS, files::RECIPIENTS];
    if let Some(there) = all.iter().find(|f| dir.has(f)).map(|f| dir.show(f)) {
        return Err(Error::usage(
            format!("{} exists and is not overwritten", there.display()),
            "these keys are ready to use; for others, name another directory with --out",
        ));
    }
    check_dir(&dir, progress)?;
    let internal = |e: &dyn std::fmt::Display| Error::Internal(e.to_string());
    let identity = SetIdentity::generate();
    let key = SigningKey::generate(&options.principal).map_err(|e| internal(&e))?;
    let recipient = identity.recipient().to_string();
    let public = key.public_file();
    write_secret(&dir, files::IDENTITY, identity.file().as_bytes())?;
    write_secret(&dir, files::SIGNING_KEY, key.to_openssh().map_err(|e| internal(&e))?.as_bytes())?;
    write_public(&dir, files::SIGNING_KEY_PUB, public.as_bytes())?;
    let signer =
        format!("{} namespaces=\"{NAMESPACE},{NAMESPACE}-keys,{NAMESPACE}-receipt\" {public}", options.principal);
    write_public(&dir, files::ALLOWED_SIGNERS, signer.as_bytes())?;
    write_public(&dir, files::RECIPIENTS, format!("# {}\n{recipient}\n", options.principal).as_bytes())?;
    Ok(Report {
        directory: options.out.clone(),
        recipient,
        signing_key: public.trim_end().to_owned(),
        fingerprint: fingerprint(&key.public()),
    })
}
