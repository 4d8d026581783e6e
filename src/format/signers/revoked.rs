//! A list of public keys that count for nobody any more, one a line; and how to tell it from OpenSSH's binary list, the KRL.

use super::key::{self, Key};
use super::{BadLine, lines};
use ssh_key::public::KeyData;

/// The most bytes that a file of revoked keys may have.
pub const LONGEST: u64 = 64 << 20;

/// What a KRL begins with.
const KRL: &[u8] = b"SSHKRL\n\0";

/// Whether a file is a KRL, which only OpenSSH reads.
pub fn is_krl(file: &[u8]) -> bool {
    file.starts_with(KRL)
}

/// The keys that are revoked.
#[derive(Debug)]
pub struct RevokedKeys(Vec<KeyData>);

impl RevokedKeys {
    /// Reads a file. A line that cannot be read may be the one that counts.
    pub fn parse(file: &[u8]) -> Result<RevokedKeys, BadLine> {
        if let Some(at) = file.iter().position(|b| *b == 0) {
            let line = 1 + file[..at].iter().filter(|b| **b == b'\n').count();
            return Err(BadLine { line, what: "it has a byte of zero: the file is no text".into() });
        }
        let mut keys = Vec::new();
        for (line, text) in lines(file) {
            match key::read(text).map_err(|what| BadLine { line, what })? {
                // As in OpenSSH, who revokes a certificate in such a list revokes the key in it.
                Key::Ours(key) | Key::Certified(key) => keys.push(key),
                Key::Other => {}
            }
        }
        Ok(RevokedKeys(keys))
    }

    /// Whether a key is revoked.
    pub fn contains(&self, key: &KeyData) -> bool {
        self.0.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::limits::of_page;
    use ssh_key::PublicKey;

    #[test]
    fn the_longest_list_is_that_of_the_page() {
        assert_eq!(of_page::of("file of revoked keys"), [0, LONGEST]);
    }

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const OTHER: &str = "ssh-rsa AAAAB3NzaC1yc2E=";

    #[test]
    fn a_list_of_keys() {
        let key = PublicKey::from_openssh(KEY).unwrap().key_data().clone();
        let revokes = |file: &str| RevokedKeys::parse(file.as_bytes()).map(|keys| keys.contains(&key));
        assert_eq!(revokes(&format!("# c\n\n{OTHER} x\r\n \t{KEY} x")), Ok(true));
        assert_eq!(revokes(OTHER), Ok(false));
        assert_eq!(revokes(""), Ok(false));
        for bad in [
            "me",
            "hash: SHA256:x",
            &format!("me {KEY}"),
            "ssh-ed25519 AAAA",
            "ssh-rsa",
            "foo AAAAA2Zvbw==",
            "\0",
            "#\0",
        ] {
            assert_eq!(revokes(&format!("{KEY}\n{bad}\n")).unwrap_err().line, 2, "{bad}");
        }
    }

    /// Which are revoked by revoking a certificate with that key in it.
    #[test]
    fn a_certificate_stands_for_the_key_in_it() {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
        let certificate = |kind: &str, key: &[&[u8]]| {
            let parts = [kind.as_bytes(), b"nonce"].into_iter().chain(key.iter().copied());
            let blob = parts.flat_map(string).chain(*b"what follows").collect::<Vec<u8>>();
            RevokedKeys::parse(format!("{kind} {}", STANDARD.encode(blob)).as_bytes()).unwrap()
        };
        let key = PublicKey::from_openssh(KEY).unwrap().key_data().clone();
        let public = ssh_key::public::Ed25519PublicKey(key.ed25519().unwrap().0);
        let touched = KeyData::from(ssh_key::public::SkEd25519::new(public, "ssh:"));
        let plain = certificate("ssh-ed25519-cert-v01@openssh.com", &[&public.0]);
        assert!(plain.contains(&key) && !plain.contains(&touched));
        let security = certificate("sk-ssh-ed25519-cert-v01@openssh.com", &[&public.0, b"ssh:"]);
        assert!(security.contains(&touched) && !security.contains(&key));
        let other = certificate("ssh-rsa-cert-v01@openssh.com", &[&public.0]);
        assert!(!other.contains(&key) && !other.contains(&touched));
    }
}
