//! SSHSIG (OpenSSH PROTOCOL.sshsig) over the bytes of a manifest, made and checked with keys that sites already have.

use crate::text::has_text_after_armour;
use ::signature::Verifier as _;
pub use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};
use std::cell::OnceCell;

/// The namespace of signatures over manifests.
pub const NAMESPACE: &str = "ckvault";
/// The most bytes that a signature file may have.
pub const LONGEST: u64 = 16 << 10;

const ED25519_SIGNATURE: usize = 64;
const USER_PRESENT: u8 = 1;

/// Why a manifest and a signature are no trusted pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Not an SSHSIG in its armour.
    #[error("the signature is not an SSH signature")]
    Armour,
    /// An armour, and something more.
    #[error("there is text after the end of the signature's armour")]
    AfterArmour,
    /// The armour decodes, but its canonical encoding has other bytes.
    #[error("the signature's armour is not in its canonical form")]
    NotCanonical,
    /// Says something that no version of SSHSIG defines, and that OpenSSH passes over.
    #[error("the signature has a reserved field that is not empty")]
    Reserved,
    /// Signed for another purpose.
    #[error("the signature was made for the namespace {0:?}, not for {NAMESPACE:?}")]
    Namespace(String),
    /// A kind of key that the format does not allow.
    #[error("the signature was made with a key of type {0}, which is not accepted")]
    Algorithm(String),
    /// A security key signed without being touched.
    #[error("the security key signed without a touch (its user-presence flag is not set)")]
    Untouched,
    /// The signature is not over these bytes.
    #[error("the signature does not fit the manifest")]
    Invalid,
    /// A good signature by somebody who is not trusted.
    #[error("signed by {0}, which is not a trusted signer")]
    Unknown(String),
    /// The signer is trusted for other namespaces.
    #[error("the signer {0} is not trusted for the namespace {NAMESPACE:?}")]
    OtherNamespace(String),
    /// Before the signer's `valid-after`.
    #[error("the signer {0} is not valid yet")]
    NotYetValid(String),
    /// After the signer's `valid-before`.
    #[error("the signer {0} is no longer valid")]
    Expired(String),
    /// The signer stands in `allowed_signers` as a certificate authority only.
    #[error("the signer {0} is listed as a certificate authority, and certificates are not accepted")]
    CertAuthority(String),
    /// A good signature, and not by whom was asked for.
    #[error("signed by {by}, and not by {asked}")]
    OtherSigner {
        /// The name under which the key is listed.
        by: String,
        /// Who must have signed.
        asked: String,
    },
    /// The key is listed, but with names that mean nobody as long as nobody is asked for.
    #[error("signed with a key that is listed under \"{0}\", which names nobody")]
    NamesNobody(String),
    /// The key has been revoked.
    #[error("the key of the signer {0} is revoked")]
    Revoked(String),
    /// Nobody knows whether the key has been revoked.
    #[error("whether the key of the signer {name} is revoked cannot be found out: {why}")]
    Unasked {
        /// The name under which the key is listed.
        name: String,
        /// What went wrong.
        why: String,
    },
}

/// A signature that has been read, and not yet verified.
pub struct Signature(SshSig);

impl Signature {
    /// Reads the armoured form; only its canonical spelling is accepted.
    pub fn parse(armour: &[u8]) -> Result<Signature, TrustError> {
        if armour.len() as u64 > LONGEST {
            return Err(TrustError::Armour);
        }
        if has_text_after_armour(armour) {
            return Err(TrustError::AfterArmour);
        }
        let signature = SshSig::from_pem(armour).map_err(|_| TrustError::Armour)?;
        // The version is not under the signature.
        if signature.version() != 1 {
            return Err(TrustError::Armour);
        }
        if !signature.reserved().is_empty() {
            return Err(TrustError::Reserved);
        }
        let canonical = signature.to_pem(LineEnding::LF).map_err(|_| TrustError::Armour)?;
        if canonical.trim_end().as_bytes() != armour.strip_suffix(b"\n").unwrap_or_default() {
            return Err(TrustError::NotCanonical);
        }
        Ok(Signature(signature))
    }

    /// Verifies the signature over `message` and returns the key that made it. Whether that key is trusted is for
    /// [`super::signers::Signers`] to say.
    pub fn verify(&self, message: &[u8]) -> Result<KeyData, TrustError> {
        self.verify_over(&Message::new(message))
    }

    /// The same over a message that may have other signatures.
    pub fn verify_over(&self, message: &Message) -> Result<KeyData, TrustError> {
        let key = self.0.public_key();
        match key.algorithm() {
            Algorithm::Ed25519 => {}
            Algorithm::SkEd25519 => require_touch(self.0.signature_bytes())?,
            other => return Err(TrustError::Algorithm(other.to_string())),
        }
        if self.0.namespace() != NAMESPACE {
            return Err(TrustError::Namespace(self.0.namespace().to_owned()));
        }
        let signed = message.signed(self.0.hash_alg()).ok_or(TrustError::Invalid)?;
        key.verify(signed, self.0.signature()).map_err(|_| TrustError::Invalid)?;
        Ok(key.clone())
    }
}

/// Bytes that signatures are over. They are hashed once, however many signatures there are.
pub struct Message<'m> {
    bytes: &'m [u8],
    sha256: OnceCell<Option<Vec<u8>>>,
    sha512: OnceCell<Option<Vec<u8>>>,
}

impl Message<'_> {
    /// For these bytes.
    pub fn new(bytes: &[u8]) -> Message<'_> {
        Message { bytes, sha256: OnceCell::new(), sha512: OnceCell::new() }
    }

    /// What a key signs for a message with this hash.
    fn signed(&self, hash: HashAlg) -> Option<&[u8]> {
        let known = match hash {
            HashAlg::Sha256 => &self.sha256,
            HashAlg::Sha512 => &self.sha512,
            _ => return None,
        };
        known.get_or_init(|| SshSig::signed_data(NAMESPACE, hash, self.bytes).ok()).as_deref()
    }
}

/// OpenSSH appends flags and counter to the signature of a security key, and signs them.
fn require_touch(signature: &[u8]) -> Result<(), TrustError> {
    match signature.get(ED25519_SIGNATURE) {
        Some(flags) if flags & USER_PRESENT != 0 => Ok(()),
        _ => Err(TrustError::Untouched),
    }
}

/// A private key that signs manifests. The ssh-key crate clears it from memory.
pub struct SigningKey(PrivateKey);

impl SigningKey {
    /// A new Ed25519 key.
    pub fn generate(comment: &str) -> Result<SigningKey, ssh_key::Error> {
        let mut key = PrivateKey::random(&mut ssh_key::rand_core::OsRng, Algorithm::Ed25519)?;
        key.set_comment(comment);
        Ok(SigningKey(key))
    }

    /// Reads OpenSSH's private key file.
    pub fn parse(pem: &[u8]) -> Result<SigningKey, ssh_key::Error> {
        PrivateKey::from_openssh(pem).map(SigningKey)
    }

    /// Whether a passphrase is needed.
    pub fn is_encrypted(&self) -> bool {
        self.0.is_encrypted()
    }

    /// Opens it with its passphrase.
    pub fn decrypt(&self, passphrase: &str) -> Result<SigningKey, ssh_key::Error> {
        self.0.decrypt(passphrase).map(SigningKey)
    }

    /// The same behind a passphrase, as `ssh-keygen -p` puts it.
    pub fn encrypt(&self, passphrase: &str) -> Result<SigningKey, ssh_key::Error> {
        self.0.encrypt(&mut ssh_key::rand_core::OsRng, passphrase).map(SigningKey)
    }

    /// Whether the secret is in a security key, which this program cannot speak to by itself.
    pub fn is_security_key(&self) -> bool {
        matches!(self.0.algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256)
    }

    /// The type of the key, as OpenSSH names it.
    pub fn algorithm(&self) -> String {
        self.0.algorithm().to_string()
    }

    /// Its public half.
    pub fn public(&self) -> KeyData {
        self.0.public_key().key_data().clone()
    }

    /// The private key file.
    pub fn to_openssh(&self) -> Result<zeroize::Zeroizing<String>, ssh_key::Error> {
        self.0.to_openssh(LineEnding::LF)
    }

    /// The `.pub` file.
    pub fn public_file(&self) -> String {
        self.0.public_key().to_openssh().unwrap_or_default().trim_end().to_owned() + "\n"
    }

    /// Signs `message`; the armour that stands in `manifest.json.sig`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ssh_key::Error> {
        let armour = self.0.sign(NAMESPACE, HashAlg::Sha512, message)?.to_pem(LineEnding::LF)?;
        Ok((armour.trim_end().to_owned() + "\n").into_bytes())
    }
}

/// The one-line public key without a comment.
pub fn public_line(key: &KeyData) -> String {
    PublicKey::new(key.clone(), "").to_openssh().unwrap_or_default().trim_end().to_owned()
}

/// The key in a file as OpenSSH writes it for the public half.
pub fn parse_public(text: &str) -> Option<KeyData> {
    ssh_key::PublicKey::from_openssh(text.trim()).ok().map(|key| key.key_data().clone())
}

/// The fingerprint, as `ssh-keygen -l` shows it.
pub fn fingerprint(key: &KeyData) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::limits::of_page;
    use ed25519_dalek::Signer as _;
    use sha2::{Digest as _, Sha256};

    #[test]
    fn the_longest_signature_is_that_of_the_page() {
        assert_eq!(of_page::of("signature file"), [1, LONGEST]);
    }

    fn key() -> SigningKey {
        SigningKey::generate("test").unwrap()
    }

    #[test]
    fn round_trip() {
        let key = key();
        let armour = key.sign(b"manifest").unwrap();
        let signature = Signature::parse(&armour).unwrap();
        assert_eq!(signature.verify(b"manifest").unwrap(), key.public());
        assert_eq!(signature.verify(b"manifes"), Err(TrustError::Invalid));
    }

    #[test]
    fn a_key_is_the_same_behind_a_passphrase_and_in_its_files() {
        let open = key();
        assert!(!open.is_encrypted() && !open.is_security_key());
        assert_eq!(open.algorithm(), "ssh-ed25519");
        assert_eq!(open.public_file(), format!("{} test\n", public_line(&open.public())));
        assert_eq!(parse_public(&open.public_file()), Some(open.public()));
        let closed = SigningKey::parse(open.encrypt("secret").unwrap().to_openssh().unwrap().as_bytes()).unwrap();
        assert!(closed.is_encrypted() && closed.decrypt("other").is_err());
        assert_eq!(closed.decrypt("secret").unwrap().public(), open.public());
    }

    #[test]
    fn every_flipped_bit_of_the_armour_is_noticed() {
        let armour = key().sign(b"manifest").unwrap();
        for at in 0..armour.len() {
            for bit in 0..8 {
                let mut bad = armour.clone();
                bad[at] ^= 1 << bit;
                let accepted = Signature::parse(&bad).and_then(|s| s.verify(b"manifest"));
                assert!(accepted.is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_reserved_field_must_be_empty() {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let armour = String::from_utf8(key().sign(b"m").unwrap()).unwrap();
        let lines: String = armour.lines().filter(|l| !l.starts_with('-')).collect();
        let blob = STANDARD.decode(lines).unwrap();
        let namespace = [&[0, 0, 0, 7], NAMESPACE.as_bytes()].concat();
        let at = blob.windows(namespace.len()).position(|w| w == namespace).unwrap() + namespace.len();
        let armoured = |reserved: &[u8]| {
            let blob = [&blob[..at], reserved, &blob[at + 4..]].concat();
            let text = STANDARD.encode(blob);
            let lines: Vec<&str> = text.as_bytes().chunks(70).map(|l| std::str::from_utf8(l).unwrap()).collect();
            format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
        };
        assert!(Signature::parse(armoured(&[0; 4]).as_bytes()).is_ok());
        let refused = Signature::parse(armoured(&[0, 0, 0, 2, b'h', b'i']).as_bytes());
        assert_eq!(refused.err(), Some(TrustError::Reserved));
    }

    #[test]
    fn another_namespace_is_refused() {
        let pem = key().0.sign("git", HashAlg::Sha512, b"m").unwrap().to_pem(LineEnding::LF).unwrap();
        let signature = pem.trim_end().to_owned() + "\n";
        let refused = Signature::parse(signature.as_bytes()).unwrap().verify(b"m");
        assert_eq!(refused, Err(TrustError::Namespace("git".into())));
    }

    /// Signs as a security key does: over the hash of the application, flags, counter and the hash of the message.
    fn security_key_signature(flags: u8) -> Vec<u8> {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
        let message = SshSig::signed_data(NAMESPACE, HashAlg::Sha512, b"m").unwrap();
        let trailer = [flags, 0, 0, 0, 9];
        let mut signed = Sha256::digest(b"ssh:").to_vec();
        signed.extend_from_slice(&trailer);
        signed.extend_from_slice(&Sha256::digest(&message));
        let mut data = secret.sign(&signed).to_bytes().to_vec();
        data.extend_from_slice(&trailer);
        let public = ssh_key::public::Ed25519PublicKey(secret.verifying_key().to_bytes());
        let key = KeyData::from(ssh_key::public::SkEd25519::new(public, "ssh:"));
        let signature = ssh_key::Signature::new(Algorithm::SkEd25519, data).unwrap();
        let pem = SshSig::new(key, NAMESPACE, HashAlg::Sha512, signature).unwrap().to_pem(LineEnding::LF).unwrap();
        (pem.trim_end().to_owned() + "\n").into_bytes()
    }

    #[test]
    fn a_security_key_must_have_been_touched() {
        let touched = Signature::parse(&security_key_signature(1)).unwrap();
        assert!(touched.verify(b"m").is_ok());
        assert_eq!(touched.verify(b"n"), Err(TrustError::Invalid));
        let untouched = Signature::parse(&security_key_signature(0)).unwrap();
        assert_eq!(untouched.verify(b"m"), Err(TrustError::Untouched));
    }

    #[test]
    fn what_is_signed_may_be_hashed_in_either_way() {
        for hash in [HashAlg::Sha256, HashAlg::Sha512] {
            let key = key();
            let armour = key.0.sign(NAMESPACE, hash, b"m").unwrap().to_pem(LineEnding::LF).unwrap();
            let signature = Signature::parse((armour.trim_end().to_owned() + "\n").as_bytes()).unwrap();
            assert_eq!(signature.verify(b"m"), Ok(key.public()));
            assert_eq!(signature.verify(b"n"), Err(TrustError::Invalid));
        }
    }

    #[test]
    fn an_armour_is_short_and_nothing_follows_it() {
        let of = |namespace: &str| {
            let armour = key().0.sign(namespace, HashAlg::Sha512, b"m").unwrap().to_pem(LineEnding::LF).unwrap();
            (armour.trim_end().to_owned() + "\n").into_bytes()
        };
        let parsed = |armour: &[u8]| Signature::parse(armour).err();
        assert_eq!(parsed(&of(&"x".repeat(11_000))), None);
        assert_eq!(parsed(&of(&"x".repeat(13_000))), Some(TrustError::Armour));
        assert_eq!(parsed(&[&of("x")[..], b"more\n"].concat()), Some(TrustError::AfterArmour));
    }

    #[test]
    fn the_file_of_a_security_key_is_known_to_be_one() {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
        let public = ed25519_dalek::SigningKey::from_bytes(&[5; 32]).verifying_key().to_bytes();
        let public = [string(b"sk-ssh-ed25519@openssh.com"), string(&public), string(b"ssh:")].concat();
        let handle = [&[USER_PRESENT][..], &string(b"handle"), &string(b"")].concat();
        let mut private = [&[0; 8][..], &public, &handle, &string(b"test")].concat();
        private.extend((1..=8).take(private.len().next_multiple_of(8) - private.len()));
        let none = [string(b"none"), string(b"none"), string(b"")].concat();
        let blob = [&b"openssh-key-v1\0"[..], &none, &[0, 0, 0, 1], &string(&public), &string(&private)].concat();
        let text = STANDARD.encode(blob);
        let lines: Vec<&str> = text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let name = "OPENSSH PRIVATE KEY";
        let file = format!("-----BEGIN {name}-----\n{}\n-----END {name}-----\n", lines.join("\n"));
        let key = SigningKey::parse(file.as_bytes()).unwrap();
        assert!(key.is_security_key() && !key.is_encrypted());
        assert_eq!(key.algorithm(), "sk-ssh-ed25519@openssh.com");
        assert_eq!(parse_public(&format!("\n {}\r\n\n", key.public_file())), Some(key.public()));
    }
}
