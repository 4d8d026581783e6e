//! Accounts of this machine, as passwd(5) and group(5) list them: where a user is at home, what an owner is called, and whose a
//! group is. The files are read, and no name service is asked: where one is configured, asking it from a statically linked
//! program ends in a segmentation fault.

use super::read_small;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const LONGEST: u64 = 64 << 20;

/// What the two files say.
#[derive(Debug, Default)]
pub struct Accounts {
    passwd: Vec<u8>,
    group: Vec<u8>,
}

struct User<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

impl Accounts {
    /// Reads them; a file that is not there lists nobody.
    pub fn read() -> Accounts {
        let read = |path: &str| read_small(Path::new(path), LONGEST).unwrap_or_default();
        Accounts { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }

    fn users(&self) -> impl Iterator<Item = User<'_>> {
        self.passwd.split(|b| *b == b'\n').filter_map(|line| {
            let mut fields = line.split(|b| *b == b':');
            let (name, uid, gid) = (fields.next()?, number(fields.nth(1)?)?, number(fields.next()?)?);
            Some(User { name, uid, gid, home: fields.nth(1)? })
        })
    }

    fn user(&self, uid: u32) -> Option<User<'_>> {
        self.users().find(|user| user.uid == uid)
    }

    /// The home directory of a user, if it is an absolute path.
    pub fn home(&self, uid: u32) -> Option<PathBuf> {
        self.user(uid).map(|user| PathBuf::from(OsStr::from_bytes(user.home))).filter(|home| home.is_absolute())
    }

    /// What a user is called, in messages and on a command line.
    pub fn name(&self, uid: u32) -> String {
        let name = self.user(uid).and_then(|user| std::str::from_utf8(user.name).ok());
        let plain = |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        name.filter(plain).map_or_else(|| uid.to_string(), str::to_owned)
    }

    /// Whether a group is a user's own, with nobody else in it, as many systems make one for each user.
    pub fn is_private(&self, gid: u32, uid: u32) -> bool {
        let Some(owner) = self.user(uid).filter(|user| user.gid == gid) else { return false };
        let alone = self.users().all(|user| user.gid != gid || user.uid == uid);
        let groups: Vec<&[u8]> = self.group.split(|b| *b == b'\n').filter_map(|line| members(line, gid)).collect();
        let nobody_else = |list: &&[u8]| list.split(|b| *b == b',').all(|name| name.is_empty() || name == owner.name);
        alone && !groups.is_empty() && groups.iter().all(nobody_else)
    }
}

/// The list of members in a line of group(5), if it is of this group.
fn members(line: &[u8], gid: u32) -> Option<&[u8]> {
    let mut fields = line.split(|b| *b == b':');
    (number(fields.nth(2)?)? == gid).then(|| fields.next()).flatten()
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nal:x:1000:1000:Al,,,:/home/al:/bin/sh\n\
            bo:x:1001:1001::/home/bo:\ncy:x:1002:100::relative:\ndi:x:1003:100::/home/di:\nbad:x:what\n\nev:x:1004:1004::/e:\n\
            fo;rm:x:1005:1005::/f:\n";
        let group = "root:x:0:\nal:x:1000:\nbo:x:1001:bo,di\nusers:x:100:\nfo:x:1005:fo;rm\nal2:x:1004\n";
        Accounts { passwd: passwd.into(), group: group.into() }
    }

    #[test]
    fn a_user_is_found_with_home_and_name() {
        let all = accounts();
        assert_eq!(all.home(1000), Some("/home/al".into()));
        assert_eq!((all.home(1002), all.home(4)), (None, None));
        assert_eq!((all.name(1000), all.name(4), all.name(1005)), ("al".into(), "4".into(), "1005".into()));
    }

    #[test]
    fn a_group_is_private_only_if_it_is_known_to_have_nobody_else() {
        let all = accounts();
        for (gid, uid, private) in [
            (0, 0, true),
            (1000, 1000, true),
            (1005, 1005, true),
            (1000, 1001, false),
            (1001, 1001, false),
            (100, 1002, false),
            (1004, 1004, false),
            (7, 7, false),
        ] {
            assert_eq!(all.is_private(gid, uid), private, "group {gid}, user {uid}");
        }
        assert!(!Accounts::default().is_private(0, 0));
    }
}
