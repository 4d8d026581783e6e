//! Keys that count for nobody any more: a list of public keys, or OpenSSH's KRL, which only `ssh-keygen` reads.

use crate::error::{Error, Result};
use crate::format::signature::{KeyData, public_line};
use crate::format::signers::revoked::{LONGEST, RevokedKeys, is_krl};
use crate::media::disk::Disk;
use crate::media::errand::{Done, Errand};
use crate::media::guarded::{self, Kind};
use crate::progress::Progress;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
    disk: Disk,
    path: PathBuf,
    said: Mutex<Vec<(KeyData, bool)>>,
}

impl Revoked {
    /// Reads a file. Of a KRL it is tried whether `ssh-keygen` can read it: what nobody can ask is refused at once.
    pub fn read(disk: &Disk, path: &Path, progress: &dyn Progress) -> Result<Revoked> {
        let bytes = guarded::read(path, LONGEST, Kind::Trust, progress)?.map_err(Error::io("read", path))?;
        if is_krl(&bytes) {
            let krl = Krl { disk: disk.clone(), path: path.to_owned(), said: Mutex::default() };
            krl.try_out()?;
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
    fn try_out(&self) -> Result<()> {
        let path = self.path.display();
        let unusable = |why: &str| format!("{path} cannot be used: {why}");
        match self.disk.run(&errand(&self.path, false)) {
            Ok(done) if done.success => Ok(()),
            Ok(done) => Err(Error::usage(
                unusable(&said(&done)),
                "make the KRL anew (`ssh-keygen -k -f FILE KEY.pub...`), or give one public key a line",
            )),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::usage(
                unusable("it is a KRL, and there is no ssh-keygen here to read it"),
                "install openssh-client, or give the revoked public keys as a text file, one a line",
            )),
            Err(e) => {
                Err(Error::usage(unusable(&format!("ssh-keygen: {e}")), "see that ssh-keygen runs, then try again"))
            }
        }
    }

    fn contains(&self, key: &KeyData) -> Result<bool, String> {
        let mut known = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, revoked)) = known.iter().find(|(k, _)| k == key) {
            return Ok(*revoked);
        }
        let mut errand = errand(&self.path, true);
        errand.input = format!("{}\n", public_line(key)).into_bytes();
        let done = self.disk.run(&errand).map_err(|e| format!("ssh-keygen: {e}"))?;
        // Only a plain answer is one.
        let answers = |with: &[u8]| done.output.trim_ascii_end().ends_with(with);
        let revoked = match done.success {
            true if answers(b": ok") => false,
            false if answers(b": REVOKED") => true,
            _ => return Err(said(&done)),
        };
        known.push((key.clone(), revoked));
        Ok(revoked)
    }
}

/// What will be asked of `ssh-keygen` if that file is a KRL.
pub fn errands(path: &Path) -> [Errand; 2] {
    [errand(path, false), errand(path, true)]
}

/// Has the KRL read, and, `of_a_key`, a key looked for that comes on the standard input.
fn errand(path: &Path, of_a_key: bool) -> Errand {
    let mut arguments: Vec<OsString> = vec!["-Q".into(), "-f".into(), path.into(), "--".into()];
    arguments.extend(of_a_key.then(|| "/dev/stdin".into()));
    Errand { program: "ssh-keygen".into(), arguments, variables: Vec::new(), answers: true, input: Vec::new() }
}

/// How a program failed that has told people the rest.
fn said(done: &Done) -> String {
    format!("ssh-keygen could not read it ({})", done.status)
}
