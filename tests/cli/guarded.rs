//! Files that say whom to trust, and secrets: refused when others could have written them.

use crate::support::*;
use crate::tree::{set_mode, set_xattr};
use crate::users::{NOBODY, admit, among, ckvault};
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

/// Another user of no account.
const STRANGER: u32 = 54322;

/// A file, where it lies in its own directory, and a command that reads it.
struct Kind {
    name: &'static str,
    command: &'static str,
    secret: bool,
}

/// Every kind of file, as a default and as an argument.
const KINDS: [Kind; 7] = [
    Kind { name: "default/allowed_signers", command: "verify usb", secret: false },
    Kind { name: "own/list", command: "verify usb --signers own/list", secret: false },
    Kind { name: "default/identity.txt", command: "list usb --signers sender.pub", secret: true },
    Kind { name: "own/id", command: "list usb --signers sender.pub --identity own/id", secret: true },
    Kind { name: "own/ssh", command: "list usb --signers sender.pub --identity own/ssh", secret: true },
    Kind {
        name: "default/signing_key",
        command: "export checkpoint --to out --recipients keys.txt --dry-run",
        secret: true,
    },
    Kind {
        name: "default/recipients.txt",
        command: "export checkpoint --to out --signing-key key --dry-run",
        secret: false,
    },
];

/// A set that the identities open, and the files at their places; everything may be read by everybody.
fn prepared() -> Option<Vault> {
    let vault = Vault::new();
    if !admit(&vault) || !need(&["ssh-keygen"]) {
        return None;
    }
    vault.checkpoint("checkpoint", 1000);
    vault.make(&["usb", "out", "own", "default"]);
    vault.tool("ssh-keygen", "-q -t ed25519 -C x -f ssh -N").arg("").run().ok();
    let lines = |name: &str| fs::read_to_string(vault.path(name)).unwrap();
    fs::write(vault.path("all.txt"), lines("keys.txt") + &lines("ssh.pub")).unwrap();
    vault.sender("export checkpoint --to usb --recipients all.txt --parity 1+1 --volume-size 2M").ok();
    for (from, to) in [
        ("home/receiver/allowed_signers", "default/allowed_signers"),
        ("home/receiver/identity.txt", "default/identity.txt"),
        ("home/sender/signing_key", "default/signing_key"),
        ("home/sender/signing_key", "key"),
        ("keys.txt", "default/recipients.txt"),
        ("sender.pub", "own/list"),
        ("home/receiver/identity.txt", "own/id"),
        ("ssh", "own/ssh"),
    ] {
        fs::copy(vault.path(from), vault.path(to)).unwrap();
    }
    Some(vault)
}

/// Who owns a file and its directory, and with which modes.
#[derive(Debug, Clone, Copy)]
struct Case {
    file: (u32, u32),
    dir: (u32, u32),
}

impl Case {
    fn set(self, path: &Path) {
        let dir = path.parent().unwrap();
        for (path, (mode, owner)) in [(path, self.file), (dir, self.dir)] {
            chown(path, Some(owner), Some(STRANGER)).unwrap();
            set_mode(path, mode);
        }
    }

    /// Whether somebody else than `us` and root may write the file, or put another in its place.
    fn is_open(self, us: u32) -> bool {
        let foreign = |owner| owner != 0 && owner != us;
        let (file, dir) = (self.file, self.dir);
        foreign(file.1) || foreign(dir.1) || file.0 & 0o22 != 0 || dir.0 & 0o22 != 0 && dir.0 & 0o1000 == 0
    }

    fn readable(self, us: u32) -> bool {
        let may = |(mode, owner): (u32, u32), right: u32| mode & if owner == us { right << 6 } else { right } != 0;
        us == 0 || may(self.file, 0o4) && may(self.dir, 0o1)
    }
}

fn cases(owners: &'static [u32]) -> impl Iterator<Item = Case> {
    const FILES: [u32; 6] = [0o600, 0o644, 0o664, 0o646, 0o666, 0o777];
    const DIRS: [u32; 6] = [0o700, 0o755, 0o775, 0o757, 0o777, 0o1777];
    let with_modes = move |mode| owners.iter().map(move |owner| (mode, *owner));
    let dirs = move || DIRS.into_iter().flat_map(with_modes);
    FILES.into_iter().flat_map(with_modes).flat_map(move |file| dirs().map(move |dir| Case { file, dir }))
}

/// Runs the command: it is refused if others may write, with commands that mend it; a secret that others may read is warned of.
#[track_caller]
fn judge(vault: &Vault, kind: &Kind, case: Case, us: u32) {
    let path = vault.path(kind.name);
    case.set(&path);
    let home =
        format!("CKVAULT_HOME={} XDG_STATE_HOME={}", vault.path("default").display(), vault.path("state").display());
    let run = || ckvault(vault, us, &home, kind.command).run();
    let ran = run();
    let warned = ran.stderr.contains("others may read the secret") && ran.stderr.contains("chmod 600 ");
    if !case.readable(us) {
        return ran.check(ran.code != Some(0), "what cannot be read is used");
    }
    if !case.is_open(us) {
        ran.check(ran.code == Some(0), &format!("{case:?} is refused to {us}"));
        ran.check(warned == (kind.secret && case.file.0 & 0o44 != 0), &format!("{case:?}: warned is {warned}"));
        return;
    }
    ran.check(ran.code == Some(2), &format!("{case:?} is not refused to {us}"));
    let (mode, name) = (format!("(mode {:04o}, owner ", case.file.0), path.file_name().unwrap().to_str().unwrap());
    ran.check(ran.stderr.contains("others may write "), "it does not say why");
    let file_is_open = Case { dir: (0o755, 0), ..case }.is_open(us);
    ran.check(!file_is_open || ran.stderr.contains(&format!("{name} {mode}")), "the file is not named with its mode");
    let hint = ran.stderr.lines().find_map(|line| line.strip_prefix("hint: ")).unwrap();
    match hint.split_once("; or copy it") {
        Some((cure, _)) => {
            vault.tool("sh", "-c").arg(cure.replace("sudo ", "")).run().ok();
            run().ok();
        }
        None => ran.check(hint.starts_with("copy it to a directory"), "no command and no other advice"),
    }
}

#[test]
fn what_others_may_write_is_refused_to_root() {
    let Some(vault) = prepared() else { return };
    for kind in &KINDS {
        // The files beside it are judged when they are used.
        for case in cases(&[0, STRANGER]) {
            judge(&vault, kind, case, 0);
        }
        Case { file: (0o600, 0), dir: (0o755, 0) }.set(&vault.path(kind.name));
    }
}

#[test]
fn what_others_may_write_is_refused_to_a_user() {
    let Some(vault) = prepared() else { return };
    let list = &KINDS[1];
    cases(&[0, NOBODY, STRANGER]).for_each(|case| judge(&vault, list, case, NOBODY));
}

/// `verify` with a list of signers at a path.
fn verify(vault: &Vault, us: u32, list: &Path) -> Ran {
    ckvault(vault, us, "", "verify usb --signers").arg(list).run()
}

#[test]
fn the_way_to_a_file_is_judged_too() {
    let Some(vault) = prepared() else { return };
    vault.make(&["open", "sticky", "mine"]);
    set_mode(&vault.path("open"), 0o777);
    set_mode(&vault.path("sticky"), 0o1777);
    let link = |name: &str, to: &str, owner: u32| {
        let path = vault.path(name);
        symlink(to, &path).unwrap();
        std::os::unix::fs::lchown(&path, Some(owner), Some(owner)).unwrap();
        path
    };
    // Links that lead to what is guarded, and their directories.
    let absolute = vault.path("own/list");
    for (path, why) in [
        (link("mine/relative", "../own/list", NOBODY), None),
        (link("mine/absolute", absolute.to_str().unwrap(), 0), None),
        (link("mine/twice", "relative", NOBODY), None),
        (link("sticky/mine", "../own/list", NOBODY), None),
        (link("sticky/theirs", "../own/list", STRANGER), Some((2, "sticky/theirs"))),
        (link("open/mine", "../own/list", NOBODY), Some((2, "/open (mode 0777"))),
        (link("mine/through", "../open/mine", NOBODY), Some((2, "/open (mode 0777"))),
        (link("linked", "mine", NOBODY).join("relative"), None),
        (link("open/dir", "../own", NOBODY).join("list"), Some((2, "/open (mode 0777"))),
        (link("sticky/dir", "../own", STRANGER).join("list"), Some((2, "sticky/dir"))),
        (link("mine/above", "../open", NOBODY).join("dir/list"), Some((2, "/open (mode 0777"))),
        (link("mine/loop", "loop", NOBODY), Some((1, "symbolic links"))),
    ] {
        let ran = verify(&vault, NOBODY, &path);
        match why {
            None => drop(ran.ok()),
            Some((code, why)) => drop(ran.ends(code).says(why)),
        }
    }
    // Nobody may be held up by a pipe of somebody else.
    let fifo = vault.path("sticky/fifo");
    vault.tool("mkfifo", "sticky/fifo").run().ok();
    chown(&fifo, Some(STRANGER), None).unwrap();
    verify(&vault, NOBODY, &fifo).ends(2).says("others may write");
}

#[test]
fn what_is_handed_over_is_read() {
    let Some(vault) = prepared() else { return };
    let through = |shell: &str| vault.tool("bash", "-c").arg(shell).run();
    let verify = format!("{} verify usb --signers", vault.path("ckvault").display());
    through(&format!("cat own/list | {verify} /dev/stdin")).ok();
    through(&format!("{verify} <(cat own/list)")).ok();
    through(&format!("{verify} /dev/stdin < own/list")).ok();
    through(&format!("mkfifo own/fifo; cat own/list > own/fifo & {verify} own/fifo")).ok();
    set_mode(&vault.path("own/list"), 0o666);
    through(&format!("{verify} /dev/stdin < own/list")).ends(2).says("others may write");
}

#[test]
fn a_group_of_ones_own_is_nobody_else() {
    let Some(vault) = prepared() else { return };
    let path = vault.path("own/list");
    let passwd = format!("root:x:0:0::/root:\nme:x:{NOBODY}:{NOBODY}::/home/me:\nyou:x:{STRANGER}:{STRANGER}::/:\n");
    let verify = |passwd: &str, members: &str| {
        let group = format!("root:x:0:\nme:x:{NOBODY}:{members}\n");
        among(&vault, (passwd, &group), NOBODY, "", "verify usb --signers own/list").map(|call| call.run())
    };
    for path in [path.as_path(), path.parent().unwrap()] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        set_mode(path, 0o775);
    }
    let Some(ran) = verify(&passwd, "") else { return };
    ran.ok();
    verify(&passwd, "me").unwrap().ok();
    verify(&passwd, "me,you").unwrap().ends(2).says("owner me").says("chmod go-w");
    verify(&passwd.replace(&format!(":{STRANGER}::/"), &format!(":{NOBODY}::/")), "").unwrap().ends(2);
    verify("root:x:0:0::/root:\n", "").unwrap().ends(2);
    // What a list grants to others looks like the rights of the group.
    if set_xattr(&path, "system.posix_acl_access", &acl()) {
        verify(&passwd, "").unwrap().ends(2).says("own/list (mode 0664");
    }
}

/// A list by which the stranger may write a file: acl(5), in the form of the kernel.
fn acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 6, STRANGER), (4, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 4, u32::MAX)];
    let entry =
        |(tag, right, id): (u16, u16, u32)| [&tag.to_le_bytes()[..], &right.to_le_bytes(), &id.to_le_bytes()].concat();
    2u32.to_le_bytes().into_iter().chain(entries.into_iter().flat_map(entry)).collect()
}

#[test]
fn keys_are_not_made_where_others_may_write() {
    let vault = Vault::empty();
    vault.make(&["open", "mine"]);
    set_mode(&vault.path("open"), 0o777);
    vault.sender("keygen --out open").fails(2).says("others may write").says("chmod go-w");
    assert!(names_in(&vault.path("open")).is_empty());
    vault.sender("keygen --out mine").ok();
    vault.sender("keygen --out new/er").ok();
}

/// It says to whom an export that is resumed is encrypted.
#[test]
fn a_state_that_others_may_write_is_not_believed() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 1000);
    vault.make(&["usb", "state/ckvault"]);
    set_mode(&vault.path("state/ckvault"), 0o777);
    for arguments in ["export checkpoint --to usb --recipients keys.txt", "export --resume"] {
        let ran = vault.call("sender", arguments).env("XDG_STATE_HOME", vault.path("state")).run().fails(2);
        ran.says("others may write").says("chmod go-w");
    }
    assert!(names_in(&vault.path("usb")).is_empty() && names_in(&vault.path("state/ckvault")).is_empty());
}

#[test]
fn inspect_goes_on_without_a_list_that_it_may_not_believe() {
    let vault = Vault::new();
    vault.exported(1000, "1+1");
    let list: PathBuf = vault.home("receiver").join("allowed_signers");
    vault.receiver("inspect usb").ok().shows("verified  signed by");
    set_mode(&list, 0o666);
    vault.receiver("inspect usb").ok().shows("NOT VERIFIED").shows("others may write");
    assert_eq!(vault.receiver("inspect usb --json").ok().json()["verified"], false);
}
