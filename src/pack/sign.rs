//! The key that signs, from its file to a signature.

use crate::error::{Error, Result};
use crate::format::signature::{NAMESPACE, Signature, SigningKey};
use crate::media::guarded::{self, Kind};
use crate::progress::{Ask, Progress};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

const LONGEST: u64 = 64 << 10;
/// The namespace of the signature that only shows that a security key works.
const PROBE: &str = "ckvault-probe";
/// How often a security key is asked.
const TOUCHES: usize = 5;

/// Loads the signing key; asks for its passphrase if it has one.
pub fn load(path: &Path, ask: &impl Ask, progress: &dyn Progress) -> Result<SigningKey> {
    let missing = |e: std::io::Error| {
        Error::untrusted(
            format!("cannot read the signing key {}: {e}", path.display()),
            "run `ckvault keygen` once on this machine, or give --signing-key FILE",
        )
    };
    let pem = Zeroizing::new(guarded::read(path, LONGEST, Kind::Secret, progress)?.map_err(missing)?);
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
        with_ssh_keygen(path, PROBE, b"ckvault export")?;
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
    let passphrase = ask.passphrase(&prompt).ok_or_else(nobody)?;
    key.decrypt(&passphrase)
        .map_err(|_| Error::usage(format!("that is not the passphrase of {}", path.display()), "try again"))
}

/// Signs a manifest. A security key signs through `ssh-keygen`, which speaks to it and asks for the touch.
pub fn sign(key: &SigningKey, path: &Path, manifest: &[u8]) -> Result<Vec<u8>> {
    let armour = match key.is_security_key() {
        // Hours of writing must not be lost to a touch that came too late.
        true => (1..TOUCHES)
            .find_map(|_| with_ssh_keygen(path, NAMESPACE, manifest).ok())
            .map_or_else(|| with_ssh_keygen(path, NAMESPACE, manifest), Ok)?,
        false => key.sign(manifest).map_err(|e| Error::Internal(format!("signing: {e}")))?,
    };
    let signed_by = Signature::parse(&armour).and_then(|s| s.verify(manifest))?;
    match signed_by == key.public() {
        true => Ok(armour),
        false => Err(Error::Internal("the signature is by another key".into())),
    }
}

fn with_ssh_keygen(path: &Path, namespace: &str, message: &[u8]) -> Result<Vec<u8>> {
    let failed = |why: String| {
        Error::usage(
            format!("ssh-keygen cannot sign with {}: {why}", path.display()),
            "install openssh-client, plug the security key in, and touch it when it blinks",
        )
    };
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-Y", "sign", "-n", namespace, "-f"]).arg(path);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|e| failed(e.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(message).map_err(|e| failed(e.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|e| failed(e.to_string()))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(failed(output.status.to_string())),
    }
}
