//! The keys that all vectors share, in `testdata/vectors/keys`. They sign and open nothing else.

use crate::compose::Keys;
use crate::container::place;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The receiver, drawn by lot once.
const IDENTITY: &str = "identity.txt";
/// The name under which the exporter is trusted.
pub const NAME: &str = "exporter@site";

/// A file beside the vectors.
pub fn file(name: &str) -> PathBuf {
    place().join("keys").join(name)
}

/// The exporter and the receiver.
pub fn shared() -> Keys {
    let text = fs::read_to_string(file(IDENTITY)).unwrap();
    let secret = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    Keys { receiver: secret.parse().unwrap(), ..Keys::new() }
}

/// Makes the files that are not there.
pub fn make() {
    use age::secrecy::ExposeSecret as _;
    fs::create_dir_all(place().join("keys")).unwrap();
    let missing = |name: &str| !file(name).exists();
    if missing(IDENTITY) {
        let new = age::x25519::Identity::generate();
        let text = format!("# public key: {}\n{}\n", new.to_public(), new.to_string().expose_secret());
        fs::write(file(IDENTITY), text).unwrap();
    }
    if missing("ecdsa") {
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", "ecdsa", "-N", "", "-C", "exporter", "-f"])
            .arg(file("ecdsa")));
    }
    let public = shared().public();
    fs::write(file("signer.pub"), format!("{public} exporter\n")).unwrap();
    fs::write(file("allowed_signers"), format!("{NAME} {public}\n")).unwrap();
    // The exporter's key, and one that signs nothing here.
    for (list, of) in [("revoked.krl", "signer.pub"), ("another.krl", "ecdsa.pub")] {
        if missing(list) {
            run(Command::new("ssh-keygen").args(["-q", "-k", "-f"]).args([file(list), file(of)]));
        }
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}
