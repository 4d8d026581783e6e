//! SSHSIG by hand, from PROTOCOL.sshsig and PROTOCOL.u2f of OpenSSH, so that each field can be another.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256, Sha512};

/// What a signature says of itself.
pub struct Sshsig {
    pub version: u32,
    pub namespace: &'static str,
    pub reserved: &'static [u8],
    pub hash: &'static str,
    /// Of the key.
    pub seed: u8,
    /// The flags that a security key shows, if one signs.
    pub touched: Option<u8>,
}

/// As the exporter signs.
pub const HONEST: Sshsig =
    Sshsig { version: 1, namespace: "ckvault", reserved: b"", hash: "sha512", seed: 42, touched: None };

/// The application of the security key.
const APPLICATION: &[u8] = b"ssh:";

fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

impl Sshsig {
    fn secret(&self) -> SigningKey {
        SigningKey::from_bytes(&[self.seed; 32])
    }

    fn kind(&self) -> &'static [u8] {
        if self.touched.is_some() { b"sk-ssh-ed25519@openssh.com" } else { b"ssh-ed25519" }
    }

    fn key(&self) -> Vec<u8> {
        let application = if self.touched.is_some() { text(APPLICATION) } else { Vec::new() };
        [text(self.kind()), text(&self.secret().verifying_key().to_bytes()), application].concat()
    }

    /// Type and base64.
    pub fn public(&self) -> String {
        format!("{} {}", String::from_utf8_lossy(self.kind()), STANDARD.encode(self.key()))
    }

    /// The signature before its armour.
    pub fn blob(&self, message: &[u8]) -> Vec<u8> {
        let hashed =
            if self.hash == "sha256" { Sha256::digest(message).to_vec() } else { Sha512::digest(message).to_vec() };
        let said = [text(self.namespace.as_bytes()), text(self.reserved), text(self.hash.as_bytes())].concat();
        let signed = [&b"SSHSIG"[..], &said, &text(&hashed)].concat();
        let signature = match self.touched {
            None => [text(self.kind()), text(&self.secret().sign(&signed).to_bytes())].concat(),
            Some(flags) => {
                let trailer = [flags, 0, 0, 0, 9];
                let by_key = [&Sha256::digest(APPLICATION)[..], &trailer, &Sha256::digest(&signed)].concat();
                [text(self.kind()), text(&self.secret().sign(&by_key).to_bytes()), trailer.to_vec()].concat()
            }
        };
        [&b"SSHSIG"[..], &self.version.to_be_bytes(), &text(&self.key()), &said, &text(&signature)].concat()
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        armour(&self.blob(message), 70)
    }
}

/// The order of the group of Ed25519, little endian (RFC 8032, 5.1.7): 2^252 and 27742317777372353535851937790883648493.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Adds the order of the group to a number, which says the same to who does not look.
pub fn not_reduced(half: &mut [u8]) {
    let mut carry = 0;
    for (byte, more) in half.iter_mut().zip(ORDER) {
        carry += u16::from(*byte) + u16::from(more);
        *byte = carry as u8;
        carry >>= 8;
    }
    assert!(half.len() == 32 && carry == 0);
}

/// The armour, in lines of so many characters.
pub fn armour(blob: &[u8], width: usize) -> Vec<u8> {
    let base64 = STANDARD.encode(blob);
    let lines: Vec<&str> = base64.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n")).into_bytes()
}
