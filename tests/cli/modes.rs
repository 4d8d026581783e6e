//! Who imports decides about permissions: the umask, an existing target, and what a file system cannot take.

use crate::drives::Mount;
use crate::support::*;
use crate::tree;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

/// Files and directories of every mode there is, nine bits and three, as far as a sender can read them.
const MODES: [u32; 7] = [0o7777, 0o777, 0o666, 0o4755, 0o2750, 0o1644, 0o400];

fn exported() -> Vault {
    let vault = Vault::new();
    vault.make(&["usb", "source"]);
    for mode in MODES {
        let (file, dir) = (format!("source/file-{mode:o}"), format!("source/dir-{mode:o}"));
        vault.make(&[&dir]);
        for inner in [&file, &format!("{dir}/inner")] {
            fs::write(vault.path(inner), noise(mode.into(), 70_000)).unwrap();
            tree::set_mode(&vault.path(inner), mode);
        }
        tree::set_mode(&vault.path(&dir), mode);
    }
    symlink("file-777", vault.path("source/link")).unwrap();
    tree::set_mode(&vault.path("source"), 0o7777);
    vault.export("source --to usb --parity 1+1");
    vault
}

/// Permission bits by path; links have none of their own.
fn modes(dir: &std::path::Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::from([(String::new(), dir.metadata().unwrap().mode() & 0o7777)]);
    let mut pending = vec![dir.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            if meta.is_dir() {
                pending.push(path.clone());
            }
            if !meta.is_symlink() {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                found.insert(name, meta.mode() & 0o7777);
            }
        }
    }
    found
}

/// Imports under a umask, and returns the modes.
fn import(vault: &Vault, umask: &str, to: &str, more: &str) -> BTreeMap<String, u32> {
    let command = format!("umask {umask} && exec {} import usb --to {to} {more}", env!("CARGO_BIN_EXE_ckvault"));
    let call = vault.tool("sh", "-c").arg(command).env("CKVAULT_HOME", vault.home("receiver"));
    call.run().ok();
    modes(&vault.path(to))
}

#[test]
fn the_umask_applies_to_all_that_is_restored() {
    let vault = exported();
    let source = modes(&vault.path("source"));
    for umask in ["000", "022", "077", "027", "0277"] {
        let mask = u32::from_str_radix(umask, 8).unwrap();
        let to = format!("restored-{umask}");
        for (path, mode) in import(&vault, umask, &to, "") {
            assert_eq!(mode, source[&path] & 0o777 & !mask, "{path:?} under umask {umask}");
        }
    }
}

#[test]
fn modes_are_exact_if_that_is_asked_for_but_no_program_gets_the_rights_of_another_user() {
    let vault = exported();
    let source = modes(&vault.path("source"));
    for (path, mode) in import(&vault, "077", "restored", "--modes exact") {
        let dir = vault.path("restored").join(&path).is_dir();
        let kept = if dir { 0o3777 } else { 0o1777 };
        assert_eq!(mode, source[&path] & kept, "{path:?}");
    }
}

#[test]
fn a_target_that_is_there_is_never_made_more_open() {
    let vault = exported();
    for (i, mode) in [0o700, 0o750, 0o2770, 0o1700, 0o500].into_iter().enumerate() {
        for (j, more) in ["", "--modes exact"].into_iter().enumerate() {
            let to = format!("there-{i}-{j}");
            vault.make(&[&to]);
            tree::set_mode(&vault.path(&to), mode);
            let before = vault.path(&to).metadata().unwrap();
            let now = import(&vault, "022", &to, more)[""];
            assert_eq!(now & !mode, 0, "{mode:o} became {now:o} {more}");
            if mode & 0o7000 != 0 {
                assert_eq!(vault.path(&to).metadata().unwrap().ino(), before.ino(), "its own directory is gone");
            }
        }
    }
    vault.make(&["here"]);
    tree::set_mode(&vault.path("here"), 0o700);
    let call = vault.call("receiver", "import ../usb --to .").at("here");
    call.run().ok();
    assert_eq!(modes(&vault.path("here"))[""], 0o700);
}

#[test]
fn directories_that_hand_down_their_group_go_on_doing_so() {
    if !is_root() {
        return skip("needs root to give a directory to another group");
    }
    let vault = exported();
    vault.make(&["shared"]);
    std::os::unix::fs::chown(vault.path("shared"), None, Some(54_321)).unwrap();
    tree::set_mode(&vault.path("shared"), 0o2775);
    let restored = import(&vault, "022", "shared/there", "");
    for path in ["", "dir-777", "dir-7777"] {
        let meta = vault.path("shared/there").join(path).metadata().unwrap();
        assert_eq!((meta.gid(), restored[path] & 0o2000), (54_321, 0o2000), "{path:?}");
    }
    assert_eq!(vault.path("shared/there/file-666").metadata().unwrap().gid(), 54_321);
}

#[test]
fn what_the_file_system_cannot_take_is_counted_and_no_failure() {
    let vault = Vault::new();
    let Some(_target) = Mount::new(&vault, "target", "size=20M,nr_inodes=1000") else { return };
    vault.make(&["usb", "source"]);
    fs::write(vault.path("source/file"), noise(1, 10_000)).unwrap();
    if !tree::set_xattr(&vault.path("source/file"), "user.note", b"hello") {
        return skip("no attributes here");
    }
    vault.export("source --to usb --parity 1+1");
    let report = vault.receiver("import usb --to target/there --json").ok().json();
    assert_eq!(fs::read(vault.path("target/there/file")).unwrap(), noise(1, 10_000));
    let mut value = [0u8; 16];
    let taken = rustix::fs::getxattr(vault.path("target/there/file"), "user.note", &mut value).is_ok();
    assert_eq!(number(&report["lost_attributes"]["count"]), u64::from(!taken), "{report}");
}
