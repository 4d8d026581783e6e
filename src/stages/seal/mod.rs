//! age: sealing and opening of segments, of the inventory and of the key slot. Everything that is the age crate's is here.

mod header;
pub mod identities;
pub mod recipients;
mod stream;

use crate::error::{Error, Result};
use crate::format::sealed::{Header, SLOT};
use crate::media::memory;
use age::armor::{ArmoredWriter, Format};
use age::secrecy::{ExposeSecret, SecretString};
use age::x25519;
use std::io::{self, BufRead, Read, Write};
use std::iter;
use std::sync::Arc;
use zeroize::Zeroizing;

pub use age::stream::StreamWriter;

/// The public half of a set's own identity: what export seals to.
#[derive(Clone)]
pub struct SetRecipient(x25519::Recipient);

/// A set's own identity: what import opens with. It is in one place, which is kept out of swap, and the age crate clears it
/// from memory.
#[derive(Clone)]
pub struct SetIdentity(Arc<x25519::Identity>);

impl SetIdentity {
    /// A new one.
    pub fn generate() -> SetIdentity {
        SetIdentity::held(x25519::Identity::generate())
    }

    fn held(identity: x25519::Identity) -> SetIdentity {
        let held = Arc::new(identity);
        memory::lock(&*held);
        SetIdentity(held)
    }

    /// Its public half.
    pub fn recipient(&self) -> SetRecipient {
        SetRecipient(self.0.to_public())
    }

    /// Opens an age file where it lies in memory; more than `limit` bytes are an error. After an error, what lies there is of
    /// no use.
    pub fn open<'a>(&self, sealed: &'a mut [u8], limit: usize) -> io::Result<&'a [u8]> {
        stream::open(&*self.0, sealed, limit)
    }

    /// Opens an age file as a stream; it must be encrypted to this identity alone.
    pub fn reader<R: BufRead>(&self, mut sealed: R) -> io::Result<impl Read + use<R>> {
        let header = header::take(&mut sealed)?;
        let decryptor = header::decryptor(&header, sealed).map_err(io::Error::other)?;
        decryptor.decrypt(iter::once(&*self.0 as &dyn age::Identity)).map_err(io::Error::other)
    }

    /// The text of an identity file, as `age -i` takes it.
    pub fn file(&self) -> Zeroizing<String> {
        let (secret, public) = (self.0.to_string(), self.0.to_public().to_string());
        let lines = ["# public key: ", &public, "\n", secret.expose_secret(), "\n"];
        let mut text = memory::text(lines.iter().map(|l| l.len()).sum());
        text.extend(lines);
        text
    }

    /// The same, sealed with a passphrase: an age file in its armour, as `age -p -a` makes it.
    pub fn file_behind(&self, passphrase: &str) -> io::Result<Vec<u8>> {
        let encryptor = age::Encryptor::with_user_passphrase(SecretString::from(passphrase.to_owned()));
        let armour = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
        let mut writer = encryptor.wrap_output(armour)?;
        writer.write_all(self.file().as_bytes())?;
        writer.finish()?.finish()
    }

    /// The key slot: this identity, encrypted to the recipients, as `age -d` and `age -i` take it.
    pub fn slot(&self, recipients: &recipients::Recipients) -> Result<Vec<u8>> {
        let text = self.file();
        let encryptor = age::Encryptor::with_recipients(recipients.iter()).map_err(recipients::cannot_encrypt)?;
        let mut sealed = Vec::new();
        let write = |sealed: &mut Vec<u8>| -> io::Result<()> {
            let mut writer = encryptor.wrap_output(sealed)?;
            writer.write_all(text.as_bytes())?;
            writer.finish().map(drop)
        };
        write(&mut sealed).map_err(|e| Error::Internal(e.to_string()))?;
        match Header::scan(&sealed, SLOT) {
            Ok(_) => Ok(sealed),
            Err(_) => Err(Error::usage(
                format!("there are too many recipients for a key slot, which has room for {}", SLOT.stanzas - 1),
                "export to fewer recipients",
            )),
        }
    }

    /// Opens a key slot; the identity must be that of `recipient`, which the signed manifest names.
    pub fn from_slot(slot: &[u8], identities: &identities::Identities, recipient: &str) -> Result<SetIdentity> {
        let text = identities.open(slot)?;
        let secret = text.lines().find(|l| l.starts_with("AGE-SECRET-KEY-1"));
        let identity: Option<x25519::Identity> = secret.and_then(|s| s.parse().ok());
        match identity {
            Some(identity) if identity.to_public().to_string() == recipient => Ok(SetIdentity::held(identity)),
            _ => Err(Error::untrusted(
                "the key slot opens, but holds the key of another set",
                "bring another drive of the set, or ask the sender for a new export",
            )),
        }
    }
}

impl SetRecipient {
    /// From its text (`age1…`).
    pub fn parse(text: &str) -> Option<SetRecipient> {
        text.parse().ok().map(SetRecipient)
    }

    /// Seals `plain` as an age file at the end of `out`.
    pub fn seal(&self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        stream::seal(&self.0, plain, out)
    }

    /// Seals a stream; the writer must be finished.
    pub fn writer<W: Write>(&self, out: W) -> io::Result<StreamWriter<W>> {
        let recipients = iter::once(&self.0 as &dyn age::Recipient);
        age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?.wrap_output(out)
    }
}

impl std::fmt::Display for SetRecipient {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::{Nobody, Silent};

    #[test]
    fn segments_round_trip_at_boundary_lengths() {
        let identity = SetIdentity::generate();
        for len in [0usize, 1, 65535, 65536, 65537, 200_000] {
            let plain: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let mut sealed = Vec::new();
            identity.recipient().seal(&plain, &mut sealed).unwrap();
            assert!(len == 0 || identity.open(&mut sealed.clone(), len - 1).is_err());
            let cut = sealed.len() - 1;
            assert!(identity.open(&mut sealed.clone()[..cut], len).is_err());
            assert_eq!(identity.open(&mut sealed, len).unwrap(), plain);
        }
    }

    #[test]
    fn a_slot_has_room_for_many_recipients_and_opens_for_the_last() {
        let all: Vec<SetIdentity> = (0..SLOT.stanzas).map(|_| SetIdentity::generate()).collect();
        let texts: Vec<String> = all.iter().map(|one| one.recipient().to_string()).collect();
        let to = |texts| {
            recipients::Recipients::parse_all(texts, &[], crate::progress::Nobody, &crate::progress::Silent::default())
                .unwrap()
        };
        let (mine, most) = (SetIdentity::generate(), SLOT.stanzas - 1);
        assert_eq!(mine.slot(&to(&texts)).err().map(|e| e.exit_code()), Some(2));
        let slot = mine.slot(&to(&texts[..most])).unwrap();
        let last = identities::Identities::native((*all[most - 1].0).clone());
        assert!(SetIdentity::from_slot(&slot, &last, &mine.recipient().to_string()).is_ok());
    }

    #[test]
    fn a_slot_of_another_set_is_refused() {
        let (mine, other) = (SetIdentity::generate(), SetIdentity::generate());
        let me = SetIdentity::generate();
        let lone = [me.recipient().to_string()];
        let to = recipients::Recipients::parse_all(&lone, &[], Nobody, &Silent::default()).unwrap();
        let slot = mine.slot(&to).unwrap();
        let identities = identities::Identities::native((*me.0).clone());
        assert!(SetIdentity::from_slot(&slot, &identities, &mine.recipient().to_string()).is_ok());
        let swapped = SetIdentity::from_slot(&slot, &identities, &other.recipient().to_string());
        assert_eq!(swapped.err().map(|e| e.exit_code()), Some(5));
        let stranger = identities::Identities::native(x25519::Identity::generate());
        let closed = SetIdentity::from_slot(&slot, &stranger, &mine.recipient().to_string());
        assert_eq!(closed.err().map(|e| e.exit_code()), Some(6));
    }
}
