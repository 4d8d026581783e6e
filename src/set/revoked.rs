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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::signature::SigningKey;
    use crate::media::disk::Media;
    use crate::progress::Silent;
    use crate::set::part::tests::file;
    use std::sync::Arc;

    /// An `ssh-keygen` that reads any KRL and answers so, or is not there; and what it was asked.
    #[derive(Clone)]
    struct Keygen {
        reads: Result<bool, io::ErrorKind>,
        answer: Result<(bool, &'static str), io::ErrorKind>,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Media for Keygen {
        fn run(&self, errand: &Errand) -> io::Result<Done> {
            let mut words: Vec<&str> = errand.arguments.iter().map(|word| word.to_str().unwrap()).collect();
            assert_eq!((errand.program.to_str(), errand.answers), (Some("ssh-keygen"), true));
            assert_eq!((words.remove(0), words.remove(0), words.remove(1)), ("-Q", "-f", "--"));
            let input = String::from_utf8(errand.input.clone()).unwrap();
            let (success, output) = match words[..] {
                [_] => (self.reads?, ""),
                [_, "/dev/stdin"] => self.answer?,
                _ => panic!("{words:?}"),
            };
            self.asked.lock().unwrap().push(input);
            Ok(Done { success, status: "exit status: 7".into(), output: output.into() })
        }
    }

    fn keygen(answer: Result<(bool, &'static str), io::ErrorKind>) -> Keygen {
        Keygen { reads: Ok(true), answer, asked: Arc::default() }
    }

    /// What comes of a file with these bytes.
    fn read(bytes: &[u8], keygen: &Keygen) -> Result<Revoked> {
        let file = file(bytes);
        Revoked::read(&Disk::new(keygen.clone()), file.path(), &Silent::default())
    }

    const KRL: &[u8] = b"SSHKRL\n\0rest";

    fn key() -> KeyData {
        SigningKey::generate("").unwrap().public()
    }

    #[test]
    fn keys_of_a_list_are_revoked_and_no_others_and_nobody_is_asked() {
        let (bad, good, keygen) = (key(), key(), keygen(Err(io::ErrorKind::NotFound)));
        let list = read(format!("{}\n", public_line(&bad)).as_bytes(), &keygen).unwrap();
        assert_eq!((list.contains(&bad), list.contains(&good)), (Ok(true), Ok(false)));
        assert!(keygen.asked.lock().unwrap().is_empty());
        assert!(matches!(read(b"no key\n", &keygen), Err(Error::Usage { .. })));
    }

    /// What fails in any way is no answer: it must not make a revoked key good.
    #[test]
    fn only_a_plain_answer_about_a_krl_is_one() {
        let key = key();
        let says = |answer| read(KRL, &keygen(answer)).unwrap().contains(&key);
        assert_eq!(says(Ok((true, "/dev/stdin (me): ok\n"))), Ok(false));
        assert_eq!(says(Ok((false, "/dev/stdin (me): REVOKED\n"))), Ok(true));
        for unclear in [(true, ": REVOKED\n"), (false, ": ok\n"), (true, ""), (false, ""), (true, ": ok, or not\n")] {
            assert!(says(Ok(unclear)).is_err_and(|why| why.contains("exit status: 7")), "{unclear:?}");
        }
        assert!(says(Err(io::ErrorKind::PermissionDenied)).is_err_and(|why| why.starts_with("ssh-keygen: ")));
    }

    #[test]
    fn a_krl_is_asked_once_for_each_key_and_for_no_other() {
        let (one, other, keygen) = (key(), key(), keygen(Ok((false, ": REVOKED"))));
        let krl = read(KRL, &keygen).unwrap();
        for key in [&one, &one, &other] {
            assert_eq!(krl.contains(key), Ok(true));
        }
        let asked = [String::new(), format!("{}\n", public_line(&one)), format!("{}\n", public_line(&other))];
        assert_eq!(*keygen.asked.lock().unwrap(), asked);
    }

    /// Before anything is looked at: who gives a KRL must not learn at the end that nobody could read it.
    #[test]
    fn a_krl_that_cannot_be_read_is_refused_with_the_help_that_fits() {
        let hint = |reads| match read(KRL, &Keygen { reads, ..keygen(Ok((true, ": ok"))) }) {
            Err(Error::Usage { hint, .. }) => hint,
            other => panic!("{other:?}"),
        };
        assert!(hint(Ok(false)).contains("make the KRL anew"));
        assert!(hint(Err(io::ErrorKind::NotFound)).contains("install openssh-client"));
        assert!(hint(Err(io::ErrorKind::PermissionDenied)).contains("see that ssh-keygen runs"));
    }

    /// The helper outside of the fence runs nothing else.
    #[test]
    fn what_is_asked_is_what_was_said_before() {
        let [whole, of_a_key] = errands(Path::new("krl"));
        assert_eq!(whole.arguments, ["-Q", "-f", "krl", "--"]);
        assert_eq!(of_a_key.arguments, ["-Q", "-f", "krl", "--", "/dev/stdin"]);
    }
}
