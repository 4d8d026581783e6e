//! Something else where a file of a set belongs, and files where a directory is asked for: told as what it is, and blamed on no cable.

use crate::support::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Puts something else in the place of a file.
fn put(kind: &str, at: &Path) {
    let _ = fs::remove_file(at);
    match kind {
        "a directory" => {
            fs::create_dir(at).unwrap();
            fs::write(at.join("somebody's"), "work").unwrap();
        }
        "a socket" => drop(UnixListener::bind(at).unwrap()),
        "a fifo" => rustix::fs::mknodat(rustix::fs::CWD, at, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap(),
        _ => symlink("/etc/passwd", at).unwrap(),
    }
}

#[track_caller]
fn blames_no_drive(ran: &Ran) {
    let said = format!("{}{}", ran.stdout, ran.stderr);
    ran.check(!["cable", "failing", "os error"].iter().any(|word| said.contains(word)), "a drive is blamed");
}

#[test]
fn what_lies_in_the_place_of_a_file_is_told() {
    let vault = Vault::new();
    let set = vault.exported(300_000, "2+1");
    for kind in ["a directory", "a socket", "a fifo", "a symbolic link"] {
        let places =
            ["g00000-d001.ckv", "manifest.json", "hashes.b3", "copy/keys.age"].map(|name| set.dirs[0].join(name));
        places.iter().for_each(|at| put(kind, at));
        let verify = vault.receiver("verify usb").ends(3);
        blames_no_drive(&verify);
        let import = vault.receiver(&format!("import usb --to {}", kind.replace(' ', "-"))).ok();
        blames_no_drive(&import);
        for at in &places {
            let name = at.file_name().unwrap().to_str().unwrap();
            let is_told = |said: &str| said.lines().any(|line| line.contains(name) && line.contains(kind));
            verify.check(is_told(&verify.stdout), &format!("{name} is not told"));
            import.check(is_told(&import.stderr), &format!("{name} is not told"));
        }
        let repair = vault.receiver("repair usb");
        blames_no_drive(&repair);
        if kind == "a directory" {
            // Whose it is nobody knows.
            repair.ends(7).says("with something in it").says("move it away");
            for at in &places {
                assert_eq!(fs::read(at.join("somebody's")).unwrap(), b"work");
                fs::remove_dir_all(at).unwrap();
            }
            vault.receiver("repair usb").ok();
        } else {
            repair.ok();
        }
        assert_eq!(vault.verdict("usb")["verdict"], "intact", "{kind}");
    }
}

#[test]
fn a_manifest_of_which_all_copies_are_something_else_is_told() {
    let vault = Vault::new();
    let set = vault.exported(100_000, "2+1");
    set.copies("manifest.json").iter().for_each(|at| put("a socket", at));
    let verify = vault.receiver("verify usb").ends(5).says("a socket, where a file belongs");
    blames_no_drive(&verify);
}

#[test]
fn what_is_in_the_way_of_an_unfinished_file_is_told() {
    let vault = Vault::new();
    let set = vault.exported(300_000, "2+1");
    for name in ["g00000-d001.ckv", "hashes.b3"] {
        fs::remove_file(set.dirs[0].join(name)).unwrap();
        let partial = set.dirs[0].join(format!("{name}.partial"));
        put("a directory", &partial);
        let repair = vault.receiver("repair usb").ends(7).says(".partial").says("move it away");
        repair.check(!repair.stderr.contains("cable"), "a cable is blamed");
        fs::remove_dir_all(partial).unwrap();
        vault.receiver("repair usb").ok();
    }
    put("a directory", &set.dirs[0].join("writing.partial"));
    let repair = vault.receiver("repair usb").fails(7).says("writing.partial").says("move it away");
    blames_no_drive(&repair);
}

#[test]
fn a_file_is_no_drive() {
    let vault = Vault::new();
    let set = vault.exported(100_000, "2+1");
    put("a fifo", &vault.path("fifo"));
    let file = set.dirs[0].join("manifest.json").display().to_string();
    for verb in ["verify", "inspect", "repair", "list", "import --to restored"] {
        for given in [&file[..], "fifo"] {
            let ran = vault.receiver(&format!("{verb} {given}")).fails(2).says("is not a directory").says("*.ckvault");
            blames_no_drive(&ran);
        }
    }
}
