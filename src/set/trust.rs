//! Whether somebody trusted signed a manifest: the list of signers, who was asked for, and which keys are revoked.

use crate::error::{Error, Result};
use crate::format::signature::{Message, Signature, TrustError, fingerprint, public_line};
use crate::format::signers::Signers;
use crate::media::disk::Disk;
use crate::progress::Progress;
use crate::set::revoked::Revoked;
use crate::text::{listing, printable};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The name under which the key is trusted.
    pub name: String,
    /// The public key in one line.
    pub key: String,
    /// Its fingerprint.
    pub fingerprint: String,
}

/// What is asked of a signer, besides standing in the list.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    signer: Option<Vec<u8>>,
    revoked: Option<Arc<Revoked>>,
}

impl Conditions {
    /// Reads which keys are revoked, and refuses what nobody can be asked for.
    pub fn read(
        disk: &Disk,
        signer: Option<&OsStr>,
        revoked: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Conditions> {
        if signer.is_some_and(OsStr::is_empty) {
            return Err(Error::usage(
                "--signer names nobody",
                "give the name of who must have signed, as in allowed_signers",
            ));
        }
        let revoked = revoked.map(|path| Revoked::read(disk, path, progress)).transpose()?.map(Arc::new);
        Ok(Conditions { signer: signer.map(|name| name.as_bytes().to_owned()), revoked })
    }
}

/// Who is trusted, and under which conditions.
#[derive(Debug, Clone)]
pub struct Trust {
    path: PathBuf,
    signers: Arc<Signers>,
    conditions: Conditions,
    now: jiff::Timestamp,
}

impl Trust {
    /// The signers are those of the file `path`, and must be valid at `now`.
    pub fn new(path: &Path, signers: Signers, conditions: Conditions, now: jiff::Timestamp) -> Result<Trust> {
        if conditions.signer.is_some() && !signers.has_names() {
            return Err(Error::usage(
                format!("{} is a public key, which has no name that --signer could ask for", path.display()),
                "put the key into a file after a name (alice@lab ssh-ed25519 AAAA…), or leave --signer out",
            ));
        }
        Ok(Trust { path: path.to_owned(), signers: Arc::new(signers), conditions, now })
    }

    /// Who signed `message` with this signature, if that is somebody trusted; else why not.
    pub fn judge(&self, armour: &[u8], message: &[u8]) -> Result<Signer, TrustError> {
        self.judge_over(&Signature::parse(armour)?, &Message::new(message))
    }

    /// The same where one of them is judged with several of the other.
    pub fn judge_over(&self, signature: &Signature, message: &Message) -> Result<Signer, TrustError> {
        let key = signature.verify_over(message)?;
        let name = self.signers.judge(&key, self.conditions.signer.as_deref(), self.now)?;
        // Asked last: a stranger's key is refused without running another program.
        match self.conditions.revoked.as_ref().map_or(Ok(false), |revoked| revoked.contains(&key)) {
            Ok(false) => Ok(Signer { name, key: public_line(&key), fingerprint: fingerprint(&key) }),
            Ok(true) => Err(TrustError::Revoked(name)),
            Err(why) => Err(TrustError::Unasked { name, why }),
        }
    }

    /// The error of who is not trusted: perhaps one of the lines that cannot be read was meant to trust them.
    pub fn refuse(&self, why: TrustError) -> Error {
        let is_unknown = matches!(why, TrustError::Unknown(_));
        let by_the_clock = matches!(why, TrustError::NotYetValid(_) | TrustError::Expired(_));
        match Error::from(why) {
            Error::Untrusted { message, .. } if by_the_clock => Error::untrusted(
                format!("{message}: the clock of this machine says {:.0}", self.now),
                "if that is wrong, set the clock (date -u); else ask the sender, or whoever keeps your allowed_signers file",
            ),
            Error::Untrusted { message, hint } if is_unknown && !self.signers.bad_lines().is_empty() => {
                Error::untrusted(format!("{message}; {}", self.bad_lines()), hint)
            }
            error => error,
        }
    }

    /// What whoever keeps the list of signers should know.
    pub fn warnings(&self) -> Vec<String> {
        if self.signers.bad_lines().is_empty() { Vec::new() } else { vec![self.bad_lines()] }
    }

    fn bad_lines(&self) -> String {
        bad_lines(&self.path, &self.signers)
    }
}

/// The lines of a file of signers that cannot be read.
pub fn bad_lines(path: &Path, signers: &Signers) -> String {
    let lines: Vec<String> = signers.bad_lines().iter().map(ToString::to_string).collect();
    let path = printable(path.as_os_str().as_bytes());
    match &lines[..] {
        [line] => format!("{path}, {line}, so this line trusts nobody"),
        lines => format!(
            "{path} has lines that cannot be read and trust nobody:{}",
            listing(lines.iter().map(|l| l.as_bytes()))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::set::part::tests::{Exporter, file, list, trust as trust_in};
    use jiff::tz::TimeZone;

    fn trust(list: &str) -> Trust {
        let signers = Signers::parse(list.as_bytes(), &TimeZone::UTC);
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        Trust::new(Path::new("who.txt"), signers, Conditions::default(), now).unwrap()
    }

    fn told(list: &str, why: TrustError) -> String {
        match trust(list).refuse(why) {
            Error::Untrusted { message, hint } => format!("{message} {hint}"),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn who_is_not_known_may_be_meant_by_a_line_that_cannot_be_read() {
        let unknown = || TrustError::Unknown("SHA256:x".into());
        assert!(told("# nobody", unknown()).contains("SHA256:x") && !told("# nobody", unknown()).contains("who.txt"));
        assert!(told("me", unknown()).contains("who.txt, line 1: "));
        assert!(!told("me", TrustError::Invalid).contains("line 1"));
        assert!(!told("me", TrustError::Expired("me".into())).contains("line 1"));
    }

    #[test]
    fn who_is_refused_by_the_clock_is_told_what_it_says() {
        for why in [TrustError::Expired("me".into()), TrustError::NotYetValid("me".into())] {
            assert!(told("", why).contains("the clock of this machine says 2026-11-23T12:00:00Z"));
        }
        assert!(!told("", TrustError::Invalid).contains("the clock of this machine"));
    }

    #[test]
    fn lines_that_cannot_be_read_are_warned_of() {
        assert!(trust("# nobody").warnings().is_empty());
        assert!(matches!(&trust("# c\nme").warnings()[..], [one] if one.starts_with("who.txt, line 2: ")));
        assert!(
            matches!(&trust("me\nyou").warnings()[..], [all] if all.contains("line 1: ") && all.contains("line 2: "))
        );
    }

    #[test]
    fn nobody_can_be_asked_for_who_has_no_name() {
        let disk = Disk::default();
        let conditions = |name: &str| Conditions::read(&disk, Some(OsStr::new(name)), None, &Silent::default());
        assert!(matches!(conditions(""), Err(Error::Usage { .. })));
        let alice = Exporter::named("alice");
        let trusts = |list: &str, conditions: Conditions| {
            let signers = Signers::parse(list.as_bytes(), &TimeZone::UTC);
            Trust::new(Path::new("who.txt"), signers, conditions, jiff::Timestamp::UNIX_EPOCH)
        };
        let (lone, named) = (alice.signer().key, list(&[&alice]));
        assert!(matches!(trusts(&lone, conditions("alice").unwrap()), Err(Error::Usage { .. })));
        assert!(trusts(&lone, Conditions::default()).is_ok());
        assert!(trusts(&named, conditions("alice").unwrap()).is_ok());
        assert!(trusts(&named, Conditions::default()).is_ok());
    }

    #[test]
    fn a_signer_is_trusted_who_stands_in_the_list_was_asked_for_and_is_not_revoked() {
        let (alice, bob) = (Exporter::named("alice"), Exporter::named("bob"));
        let judged = |asked: Option<&str>, revoked: Option<&[u8]>| {
            let revoked = revoked.map(file);
            let path = revoked.as_ref().map(|file| file.path());
            let conditions =
                Conditions::read(&Disk::default(), asked.map(OsStr::new), path, &Silent::default()).unwrap();
            let trust = Trust { conditions, ..trust_in(&[&alice, &bob]) };
            trust.judge(&alice.sign(b"manifest"), b"manifest")
        };
        assert_eq!(judged(None, None), Ok(alice.signer()));
        assert_eq!(judged(Some("alice"), Some(bob.signer().key.as_bytes())), Ok(alice.signer()));
        assert!(matches!(judged(Some("bob"), None), Err(TrustError::OtherSigner { .. })));
        assert_eq!(judged(None, Some(alice.signer().key.as_bytes())), Err(TrustError::Revoked("alice".into())));
    }
}
