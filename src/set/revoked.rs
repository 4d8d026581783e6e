//! Keys that count for nobody any more: a list of public keys, or OpenSSH's KRL, which only `ssh-keygen` reads.

use crate::error::{Error, Result};
use crate::format::signature::{KeyData, public_line};
use crate::format::signers::revoked::{LONGEST, RevokedKeys, is_krl};
use crate::media::guarded::{self, Kind};
use crate::progress::Progress;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

/// What `ssh-keygen -Q` ends with if a key is revoked; if something failed it ends with 255.
const REVOKED: i32 = 1;

/// The keys that are revoked.
#[derive(Debug)]
pub enum Revoked {
    /// Those in a list.
    Keys(RevokedKeys),
    /// Those of a KRL.
    Krl(Krl),
}

/// A KRL, and what it said already.
#[derive(Debug)]
pub struct Krl {
    bytes: Vec<u8>,
    said: Mutex<Vec<(KeyData, bool)>>,
}

impl Revoked {
    /// Reads a file. Of a KRL it is tried whether `ssh-keygen` can read it: what nobody can ask is refused at once.
    pub fn read(path: &Path, progress: &dyn Progress) -> Result<Revoked> {
        let bytes = guarded::read(path, LONGEST, Kind::Trust, progress)?.map_err(Error::io("read", path))?;
        if is_krl(&bytes) {
            let krl = Krl { bytes, said: Mutex::default() };
            krl.try_out(path)?;
            return Ok(Revoked::Krl(krl));
        }
        RevokedKeys::parse(&bytes).map(Revoked::Keys).map_err(|e| {
            Error::usage(
                format!("{}, {e}", path.display()),
                "give one public key a line, or a KRL as `ssh-keygen -k -f FILE` makes it",
            )
        })
    }

    /// Whether a key is revoked; else why that cannot be found out.
    pub fn contains(&self, key: &KeyData) -> Result<bool, String> {
        match self {
            Revoked::Keys(keys) => Ok(keys.contains(key)),
            Revoked::Krl(krl) => krl.contains(key),
        }
    }
}

impl Krl {
    fn try_out(&self, path: &Path) -> Result<()> {
        let unusable = |why: String| format!("{} cannot be used: {why}", path.display());
        match self.query(None) {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(Error::usage(
                unusable(said(&output)),
                "make the KRL anew (`ssh-keygen -k -f FILE KEY.pub...`), or give one public key a line",
            )),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::usage(
                unusable("it is a KRL, and there is no ssh-keygen here to read it".into()),
                "install openssh-client, or give the revoked public keys as a text file, one a line",
            )),
            Err(e) => {
                Err(Error::usage(unusable(format!("ssh-keygen: {e}")), "see that ssh-keygen runs, then try again"))
            }
        }
    }

    fn contains(&self, key: &KeyData) -> Result<bool, String> {
        let mut known = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, revoked)) = known.iter().find(|(k, _)| k == key) {
            return Ok(*revoked);
        }
        let output = self.query(Some(key)).map_err(|e| format!("ssh-keygen: {e}"))?;
        // Only a plain answer is one.
        let answers = |with: &[u8]| output.stdout.trim_ascii_end().ends_with(with);
        let revoked = match output.status.code() {
            Some(0) if answers(b": ok") => false,
            Some(REVOKED) if answers(b": REVOKED") => true,
            _ => return Err(said(&output)),
        };
        known.push((key.clone(), revoked));
        Ok(revoked)
    }

    /// Asks `ssh-keygen` for a key, or, without one, only to read the KRL. It gets the bytes that were read here, in a
    /// directory that only this user can enter, under names that are ours.
    fn query(&self, key: Option<&KeyData>) -> io::Result<Output> {
        let failed = |e: io::Error| io::Error::other(format!("no place for temporary files: {e}"));
        let dir = tempfile::Builder::new().prefix("ckvault-").tempdir().map_err(failed)?;
        let write = |name: &str, bytes: &[u8]| -> io::Result<PathBuf> {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).map(|()| path).map_err(failed)
        };
        let krl = write("krl", &self.bytes)?;
        let key = key.map(|key| write("key.pub", format!("{}\n", public_line(key)).as_bytes())).transpose()?;
        let mut command = Command::new("ssh-keygen");
        command.arg("-Q").arg("-f").arg(krl).arg("--").args(key);
        command.stdin(Stdio::null()).output()
    }
}

/// What a program that failed had to say.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing");
    format!("ssh-keygen: {} ({})", last.trim(), output.status)
}
