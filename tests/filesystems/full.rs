//! Drives and targets that are full, at every point where something is written.

use crate::mount::{Kind, Mount};
use crate::run::{Call, Ran};
use crate::support::*;
use crate::watch::{below, disturbed, empty, in_time};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

const MIB: usize = 1 << 20;

/// What holds after an export to `full` that found no room, whether it can be resumed or not; returns the name of the file
/// that there was no room for.
#[track_caller]
fn found_no_room(vault: &Vault, ran: Ran) -> String {
    let ran = ran.fails(7);
    let message = ran.stderr.lines().find(|l| l.starts_with("ckvault: cannot ")).unwrap_or_default().to_owned();
    ran.check(message.contains("No space") || message.contains("full:"), "it does not say that the drive is full");
    let path = message.split([' ', ':']).find(|word| word.contains("/full/")).unwrap_or_default();
    ran.check(path.contains(".ckvault"), "it does not name the file");
    let complete: Vec<_> = below(&vault.path("full")).into_iter().filter(|p| p.ends_with("manifest.json")).collect();
    let verify = vault.receiver("verify full");
    // Once the first manifest has its name, all else is durable: then only metadata is missing.
    match complete.is_empty() {
        true => verify.check(matches!(verify.code, Some(5 | 7)), "it does not say that this is no set"),
        false => verify.check(verify.code == Some(3), "it is neither complete nor interrupted"),
    }
    path.rsplit('/').next().unwrap_or_default().trim_end_matches(".partial").to_owned()
}

fn export(vault: &Vault) -> Call {
    let _ = fs::remove_dir_all(vault.path("state"));
    vault
        .call("sender", "export source --to full --recipients keys.txt --volume-size 2M --parity 1+1")
        .env("XDG_STATE_HOME", vault.path("state"))
}

/// Every file and directory of a set in turn is the one for which there is no inode.
#[test]
fn every_file_of_a_set_may_be_the_one_that_does_not_fit() {
    let vault = Vault::new();
    vault.make(&["source"]);
    fs::write(vault.path("source/model.bin"), noise(1, 5 * MIB)).unwrap();
    let Some(drive) = Mount::new(&vault, "full", Kind::Tmpfs("size=100M,nr_inodes=1")) else { return };
    let mut failed = BTreeSet::new();
    for inodes in 1..100 {
        vault.tool("mount", &format!("-o remount,nr_inodes={inodes} full")).run().ok();
        let ran = export(&vault).run();
        if ran.code == Some(0) {
            break;
        }
        failed.insert(found_no_room(&vault, ran));
        empty(&drive.dir);
    }
    assert_eq!(vault.verdict("full")["verdict"], "intact");
    for name in [
        "copy",
        "third",
        "keys.age",
        "hashes.b3",
        "g00000-d000.ckv",
        "g00000-p000.ckv",
        "g00001-d000.ckv",
        "g00002-p000.ckv",
        "inventory.age",
        "RECOVER.txt",
        "recover.py",
        "B3SUMS",
        "manifest.json.sig",
        "manifest.json",
    ] {
        assert!(failed.contains(name), "{name} is not among {failed:?}");
    }
}

/// Takes all that is free, at once.
fn fill(dir: &Path) {
    let ballast = File::create(dir.join("ballast")).unwrap();
    let (mut at, mut step) = (0, 64 * MIB as u64);
    while step >= 1024 {
        let free = statvfs(dir).unwrap();
        let take = step.min((free.f_bavail * free.f_frsize).max(1024));
        match fallocate(&ballast, FallocateFlags::empty(), at, take) {
            Ok(()) => at += take,
            Err(_) => step /= 2,
        }
    }
}

/// Fills `full` when a name appears there, until the export fails for one of the files `wanted`.
fn filled_at(vault: &Vault, drive: &Mount, name: &str, wanted: &[&str]) {
    in_time(|| {
        empty_but_found(&drive.dir);
        let ran = disturbed(export(vault), &drive.dir, name, || fill(&drive.dir));
        if ran.code == Some(0) {
            return None;
        }
        let failed = found_no_room(vault, ran);
        wanted.iter().any(|w| failed.contains(w)).then_some(())
    });
}

fn empty_but_found(dir: &Path) {
    let _ = fs::remove_dir(dir.join("lost+found"));
    empty(dir);
}

#[test]
fn a_drive_may_fill_up_in_any_phase() {
    let vault = Vault::new();
    vault.make(&["source"]);
    fs::write(vault.path("source/model.bin"), noise(1, 16 * MIB)).unwrap();
    (0..2000).for_each(|i| fs::write(vault.path(format!("source/{i:0>60}")), "").unwrap());
    let Some(drive) = Mount::sized(&vault, "full", Kind::Ext4, 100 * MIB as u64) else { return };
    for (name, wanted) in [
        (".ckvault", &["copy", "keys.age"][..]),
        ("keys.age.partial", &["keys.age", "hashes.b3", "g00000"]),
        // Room for the volumes themselves is reserved when the first of them appears.
        ("g00000-d000.ckv.partial", &["g00000", "g00001", "hashes.b3"]),
        ("g00001-d000.ckv.partial", &["g00001", "g00002", "g00003", "hashes.b3"]),
        ("g00006-d000.ckv.partial", &["g00006", "g00007", "g00008", "hashes.b3"]),
        ("third/manifest.json.partial", &["g0000", "hashes.b3"]),
        // From here on signature and manifest have their room, and all that is left besides is what helps to read the set.
        (".ckvault/inventory.age.partial", &["inventory.age", "recover.py", "RECOVER.txt", "B3SUMS"]),
    ] {
        filled_at(&vault, &drive, name, wanted);
    }
}

/// A file that is to lie by itself is asked a larger place for than it needs: without room for that it is made nevertheless, and
/// nothing of what the file system gave before it found no more is left in it.
#[test]
fn a_small_file_is_repaired_where_there_is_room_for_no_more_than_it() {
    let vault = Vault::new();
    vault.make(&["source"]);
    fs::write(vault.path("source/model.bin"), noise(1, 2 * MIB)).unwrap();
    let Some(drive) = Mount::sized(&vault, "full", Kind::Ext4, 32 * MIB as u64) else { return };
    let set = vault.export("source --to full --parity 2+1");
    for left in [16, 60, 100] {
        let manifest = set.dirs[0].join("manifest.json");
        let before = fs::read(&manifest).unwrap();
        crate::harm::zero(&manifest, 0, 100);
        fill(&drive.dir);
        let ballast = File::options().write(true).open(drive.dir.join("ballast")).unwrap();
        ballast.set_len(ballast.metadata().unwrap().len() - left * 1024).unwrap();
        ballast.sync_all().unwrap();
        vault.receiver("repair full").ok();
        assert_eq!(fs::read(&manifest).unwrap(), before, "with {left} KiB");
        fs::remove_file(drive.dir.join("ballast")).unwrap();
        assert_eq!(vault.verdict("full")["verdict"], "intact");
    }
}

/// Files that lie in several segments, and many small ones.
fn to_import() -> Vault {
    let vault = Vault::new();
    vault.make(&["source/small", "usb", "full"]);
    (0..6).for_each(|i| fs::write(vault.path(format!("source/{i}")), noise(i, 4 * MIB)).unwrap());
    (0..12).for_each(|i| fs::write(vault.path(format!("source/small/{i}")), noise(i, 100)).unwrap());
    vault.export("source --to usb --parity 2+1");
    vault
}

/// No target, and nothing else but what can be gone on with.
#[track_caller]
fn left_no_target(drive: &Mount, ran: Ran) {
    let ran = ran.fails(7);
    ran.check(ran.stderr.contains("No space"), "it does not say that the target is full");
    let mut left = names_in(&drive.dir);
    left.retain(|name| name != b"ballast" && name != b"lost+found");
    let resumable = ran.stderr.contains("` goes on");
    let only_staging = left.len() == 1 && left[0].starts_with(b".ckvault-");
    ran.check(if resumable { only_staging } else { left.is_empty() }, &format!("left behind: {left:?}"));
}

#[test]
fn an_import_that_finds_no_room_leaves_no_target() {
    let vault = to_import();
    let Some(drive) = Mount::sized(&vault, "full", Kind::Ext4, 100 * MIB as u64) else { return };
    for to in ["full/there", "full"] {
        let ran = in_time(|| {
            let _ = fs::remove_file(drive.dir.join("ballast"));
            let _ = fs::remove_dir_all(drive.dir.join("there"));
            empty_but_found(&drive.dir);
            let call = vault.call("receiver", &format!("import usb --to {to}"));
            let ran = disturbed(call, &drive.dir, "/5", || fill(&drive.dir));
            (ran.code != Some(0)).then_some(ran)
        });
        left_no_target(&drive, ran);
    }
}

#[test]
fn every_file_of_an_import_may_be_the_one_that_does_not_fit() {
    let vault = to_import();
    let Some(drive) = Mount::new(&vault, "full", Kind::Tmpfs("size=100M,nr_inodes=1")) else { return };
    let mut failures = 0;
    for inodes in 1..100 {
        vault.tool("mount", &format!("-o remount,nr_inodes={inodes} full")).run().ok();
        let ran = vault.receiver("import usb --to full/there --discard");
        if ran.code == Some(0) {
            break;
        }
        ran.check(ran.stderr.contains("no inode is free"), "it does not say of what there is too little");
        left_no_target(&drive, ran);
        failures += 1;
    }
    crate::tree::assert_same(&vault.path("source"), &vault.path("full/there"));
    assert!(failures >= 20, "only {failures}");
}
