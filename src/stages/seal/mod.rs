//! age: sealing and opening of segments, of the inventory and of the key slot. Everything that is the age crate's is here.

mod header;
pub mod identities;
pub mod recipients;
mod stream;

use crate::error::{Error, Result};
use crate::format::hashes::Value;
use crate::format::sealed::{Header, SLOT};
use crate::format::{names, version};
use crate::media::memory;
use crate::stages::refusal::breaks;
use age::armor::{ArmoredWriter, Format};
use age::secrecy::{ExposeSecret, SecretString};
use age::x25519;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::io::{self, BufRead, Read, Write};
use std::iter;
use std::sync::Arc;
use zeroize::Zeroizing;

pub use age::stream::StreamWriter;

/// What stands before the recipient in the file of an identity, as `age-keygen` has it too.
pub const PUBLIC: &str = "# public key: ";
/// What the line of an identity begins with, whatever its type.
const ANY_IDENTITY: &str = "AGE-";
/// What the line of an identity begins with that sets have now.
const IDENTITY: &str = "AGE-SECRET-KEY-1";

/// The public half of a set's own identity: what export seals to. It is a secret all the same (rule 75): `Debug` does not show it.
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
        let (secret, public) = (self.0.to_string(), self.recipient().text());
        let lines = [PUBLIC, &public, "\n", secret.expose_secret(), "\n"];
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

    /// Opens a key slot; the recipient of the identity in it must have the hash that the signed manifest names (rule 31).
    pub fn from_slot(slot: &[u8], identities: &identities::Identities, recipient: &Value) -> Result<SetIdentity> {
        let text = identities.open(slot)?;
        let secret = text.lines().find(|l| l.starts_with(IDENTITY));
        if let (None, Some(newer)) = (secret, text.lines().find(|l| l.starts_with(ANY_IDENTITY))) {
            // What stands before the first 1 is the type; the secret follows.
            let kind = newer.split_once('1').map_or("", |(kind, _)| kind.trim_start_matches(ANY_IDENTITY));
            let kind = kind.trim_start_matches("SECRET-KEY-").trim_end_matches('-');
            return Err(breaks(names::KEYS)(version::newer("identity of type", kind.to_ascii_lowercase())));
        }
        let identity: Option<x25519::Identity> = secret.and_then(|s| s.parse().ok());
        let fits = |public: SetRecipient| {
            let said = text.lines().any(|line| line.strip_prefix(PUBLIC) == Some(&public.text()));
            said && public.blake3() == *recipient
        };
        match identity.map(SetIdentity::held) {
            Some(held) if fits(held.recipient()) => Ok(held),
            _ => Err(Error::untrusted(
                "the key slot opens, but holds the key of another set",
                "bring another drive of the set, or ask the sender for a new export",
            )),
        }
    }
}

impl SetRecipient {
    /// Its text (`age1…`), for who may know it.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string())
    }

    /// The hash of its text, which is all that a manifest says of it.
    pub fn blake3(&self) -> Value {
        *blake3::hash(self.text().as_bytes()).as_bytes()
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

impl std::fmt::Debug for SetRecipient {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("SetRecipient")
    }
}

/// For the state of an export, which nobody else may read.
impl Serialize for SetRecipient {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SetRecipient {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(d)?);
        text.parse().map(SetRecipient).map_err(|_| serde::de::Error::custom("no recipient of a set"))
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
        let texts: Vec<String> = all.iter().map(|one| one.recipient().text().to_string()).collect();
        let to = |texts| {
            recipients::Recipients::parse_all(texts, &[], crate::progress::Nobody, &crate::progress::Silent::default())
                .unwrap()
        };
        let (mine, most) = (SetIdentity::generate(), SLOT.stanzas - 1);
        assert_eq!(mine.slot(&to(&texts)).err().map(|e| e.exit_code()), Some(2));
        let slot = mine.slot(&to(&texts[..most])).unwrap();
        let last = identities::Identities::native((*all[most - 1].0).clone());
        assert!(SetIdentity::from_slot(&slot, &last, &mine.recipient().blake3()).is_ok());
    }

    #[test]
    fn a_slot_of_another_set_is_refused() {
        let (mine, other) = (SetIdentity::generate(), SetIdentity::generate());
        let me = SetIdentity::generate();
        let lone = [me.recipient().text().to_string()];
        let to = recipients::Recipients::parse_all(&lone, &[], Nobody, &Silent::default()).unwrap();
        let slot = mine.slot(&to).unwrap();
        let identities = identities::Identities::native((*me.0).clone());
        assert!(SetIdentity::from_slot(&slot, &identities, &mine.recipient().blake3()).is_ok());
        let swapped = SetIdentity::from_slot(&slot, &identities, &other.recipient().blake3());
        assert_eq!(swapped.err().map(|e| e.exit_code()), Some(5));
        let stranger = identities::Identities::native(x25519::Identity::generate());
        let closed = SetIdentity::from_slot(&slot, &stranger, &mine.recipient().blake3());
        assert_eq!(closed.err().map(|e| e.exit_code()), Some(6));
    }

    /// What `from_slot` says of a slot that holds this text.
    fn opened(text: &str, recipient: &Value) -> Result<SetIdentity> {
        let me = SetIdentity::generate();
        let mut slot = Vec::new();
        me.recipient().seal(text.as_bytes(), &mut slot).unwrap();
        SetIdentity::from_slot(&slot, &identities::Identities::native((*me.0).clone()), recipient)
    }

    #[test]
    fn a_slot_names_the_recipient_of_its_identity_and_may_hold_others() {
        let (mine, other) = (SetIdentity::generate(), SetIdentity::generate());
        let (file, hash) = (mine.file(), mine.recipient().blake3());
        assert!(opened(&file, &hash).is_ok());
        assert!(opened(&format!("AGE-SECRET-KEY-PQ-1QQQ\n{}AGE-PLUGIN-X-1QQQ\n", *file), &hash).is_ok());
        let lines: Vec<&str> = file.lines().collect();
        let named = |public: &str| format!("{PUBLIC}{public}\n{}\n", lines[1]);
        for text in
            [lines[1], &named(&other.recipient().text()), &named("age1"), &format!("{}{}", *other.file(), *file)]
        {
            assert_eq!(opened(text, &hash).err().map(|e| e.exit_code()), Some(5));
        }
    }

    #[test]
    fn an_identity_of_a_later_type_is_named_and_its_secret_is_not() {
        let hash = SetIdentity::generate().recipient().blake3();
        for (text, kind) in
            [("AGE-SECRET-KEY-PQ-1SECRET1X", "pq"), ("AGE-PLUGIN-X-1SECRET1X", "plugin-x"), ("AGE-SECRET", "")]
        {
            let refused = opened(&format!("# a comment\n{text}\n"), &hash).err().unwrap();
            assert!(
                refused.exit_code() == 1 && refused.to_string().contains(&format!("identity of type {kind:?}")),
                "{refused}"
            );
            assert!(!format!("{refused:?}").contains("SECRET1"), "{refused:?}");
        }
    }

    #[test]
    fn the_recipient_of_a_set_is_kept_and_not_shown() {
        let recipient = SetIdentity::generate().recipient();
        let kept = serde_json::to_string(&recipient).unwrap();
        assert_eq!(kept, format!("{:?}", *recipient.text()));
        assert!(serde_json::from_str::<SetRecipient>(&kept).unwrap().blake3() == recipient.blake3());
        let refused = serde_json::from_str::<SetRecipient>(&kept.replace("age1", "age1q")).err().unwrap();
        assert!(!format!("{recipient:?} {refused:?}").contains("age1"));
    }
}
