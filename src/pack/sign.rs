//! The key that signs, from its file to a signature.

use crate::error::{Error, Result};
use crate::format::signature::{NAMESPACE, Signature, SigningKey};
use crate::media::disk::Disk;
use crate::media::errand::Errand;
use crate::media::guarded;
use crate::progress::{Ask, Progress};
use std::path::Path;

const LONGEST: u64 = 64 << 10;
/// The namespace of the signature that only shows that a security key works.
const PROBE: &str = "ckvault-probe";
/// How often a security key is asked.
const TOUCHES: usize = 5;
/// How often a passphrase may be wrong.
const TRIES: usize = 3;

/// Loads the signing key; asks for its passphrase if it has one.
pub fn load(disk: &Disk, path: &Path, ask: &impl Ask, progress: &dyn Progress) -> Result<SigningKey> {
    let missing = |e: std::io::Error| {
        Error::untrusted(
            format!("cannot read the signing key {}: {e}", path.display()),
            if e.kind() == std::io::ErrorKind::InvalidData {
                "mend the file, or name another"
            } else {
                "run `ckvault keygen` once on this machine, or give --signing-key FILE"
            },
        )
    };
    let pem = guarded::read_secret(path, LONGEST, progress)?.map_err(missing)?;
    let unusable = |why: &str| {
        Error::usage(
            format!("{} cannot sign: {why}", path.display()),
            "give an OpenSSH private key of type ssh-ed25519, or a security key",
        )
    };
    let key = SigningKey::parse(&pem).map_err(|e| unusable(&e.to_string()))?;
    if key.algorithm() != "ssh-ed25519" && key.algorithm() != "sk-ssh-ed25519@openssh.com" {
        return Err(unusable(&format!("it is of type {}", key.algorithm())));
    }
    if key.is_security_key() {
        // Better that it fails now than when hours of writing have passed.
        with_ssh_keygen(disk, path, PROBE, b"ckvault export")?;
        return Ok(key);
    }
    if !key.is_encrypted() {
        return Ok(key);
    }
    let prompt = format!("Passphrase for {}", path.display());
    let nobody = || {
        Error::usage(
            format!("{} needs a passphrase, and there is no terminal to ask for it", path.display()),
            "run ckvault in a terminal, or use a key without one",
        )
    };
    for tries in 1..=TRIES {
        if let Ok(opened) = key.decrypt(&ask.passphrase(&prompt).ok_or_else(nobody)?) {
            return Ok(opened);
        }
        if tries < TRIES {
            ask.tell(&format!("that is not the passphrase of {}", path.display()));
        }
    }
    Err(Error::usage(format!("that is not the passphrase of {}", path.display()), "run the command again"))
}

/// Signs a manifest. A security key signs through `ssh-keygen`, which speaks to it and asks for the touch.
pub fn sign(disk: &Disk, key: &SigningKey, path: &Path, manifest: &[u8]) -> Result<Vec<u8>> {
    let armour = match key.is_security_key() {
        // Hours of writing must not be lost to a touch that came too late.
        true => (1..TOUCHES)
            .find_map(|_| with_ssh_keygen(disk, path, NAMESPACE, manifest).ok())
            .map_or_else(|| with_ssh_keygen(disk, path, NAMESPACE, manifest), Ok)?,
        false => key.sign(manifest).map_err(|e| Error::Internal(format!("signing: {e}")))?,
    };
    let signed_by = Signature::parse(&armour).and_then(|s| s.verify(manifest))?;
    match signed_by == key.public() {
        true => Ok(armour),
        false => Err(Error::Internal("the signature is by another key".into())),
    }
}

/// The programs that [`sign`] will run.
pub fn errands(key: &SigningKey, path: &Path) -> Vec<Errand> {
    if key.is_security_key() { vec![ssh_keygen(path, NAMESPACE, &[])] } else { Vec::new() }
}

fn ssh_keygen(path: &Path, namespace: &str, message: &[u8]) -> Errand {
    let mut arguments: Vec<_> = ["-q", "-Y", "sign", "-n", namespace, "-f"].map(Into::into).into();
    arguments.push(path.into());
    let input = message.to_vec();
    Errand { program: "ssh-keygen".into(), arguments, variables: Vec::new(), answers: true, input }
}

fn with_ssh_keygen(disk: &Disk, path: &Path, namespace: &str, message: &[u8]) -> Result<Vec<u8>> {
    let failed = |why: String| {
        Error::usage(
            format!("ssh-keygen cannot sign with {}: {why}", path.display()),
            "install openssh-client, plug the security key in, and touch it when it blinks",
        )
    };
    let done = disk.run(&ssh_keygen(path, namespace, message)).map_err(|e| failed(e.to_string()))?;
    match done.success {
        true => Ok(done.output),
        false => Err(failed(done.status)),
    }
}
