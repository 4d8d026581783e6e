//! Interruptions: what a stopped or killed export leaves behind, and sources that change while they are read.

use crate::support::*;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

const SIZE: usize = 48 << 20;

/// A source that takes long enough, in several files.
fn prepared() -> Vault {
    let vault = Vault::new();
    vault.make(&["source", "usb"]);
    fs::write(vault.path("source/0"), noise(1, SIZE / 2)).unwrap();
    (1..6).for_each(|i| drop(fs::copy(vault.path("source/0"), vault.path(format!("source/{i}")))));
    vault
}

/// Every path below a directory whose name ends like this.
pub fn ending(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(ending(&path, end));
        }
        if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found
}

/// Starts a command and waits until `dir` has a path that ends like this; `None` if it was done before that was seen.
pub fn started(call: Call, dir: &Path, end: &str) -> Option<(Command, Child)> {
    let mut command = call.command();
    let mut child = command.spawn().unwrap();
    while ending(dir, end).is_empty() {
        if child.try_wait().unwrap().is_some() {
            Ran::new(&command, child.wait_with_output().unwrap()).ok();
            return None;
        }
        std::thread::yield_now();
    }
    Some((command, child))
}

/// Tries again when the command was faster than we are, which a busy machine may bring about.
#[track_caller]
pub fn in_time<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    (0..8).find_map(|_| attempt()).expect("the command was always faster than this test")
}

pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status().unwrap();
    assert!(sent.success());
}

/// How a command ended after something was done to it; `None` if it was already done.
pub fn ended(command: &Command, child: Child) -> Option<Ran> {
    let ran = Ran::new(command, child.wait_with_output().unwrap());
    (ran.code != Some(0)).then_some(ran)
}

/// Makes a directory anew.
pub fn anew(dir: &Path) {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir(dir).unwrap();
}

fn export(vault: &Vault) -> Call {
    anew(&vault.path("usb"));
    vault.call("sender", "export source --to usb --recipients keys.txt --volume-size 8M")
}

#[test]
fn an_interrupted_export_leaves_no_directory_and_ends_with_130() {
    let vault = prepared();
    for name in ["INT", "TERM"] {
        let ran = in_time(|| {
            let (command, child) = started(export(&vault), &vault.path("usb"), "d000.ckv.partial")?;
            signal(&child, name);
            ended(&command, child)
        });
        let ran = ran.ends(130);
        ran.check(ran.stdout.is_empty() && ran.stderr.contains("interrupted"), "not a word of it");
        assert!(names_in(&vault.path("usb")).is_empty(), "{:?}", names_in(&vault.path("usb")));
    }
}

/// Nothing has to be tidied up then, so that it does not matter what it waits for.
#[test]
fn what_only_reads_ends_at_the_first_signal() {
    let vault = Vault::new();
    vault.exported(50_000, "2+1");
    vault.make(&["bin", "waits"]);
    // A plugin that does not answer while anybody waits for it.
    let plugin =
        format!("#!/bin/sh\n: > {}\nexec timeout 50 cat 3>&1 >/dev/null\n", vault.path("waits/here").display());
    fs::write(vault.path("bin/age-plugin-toy"), plugin).unwrap();
    fs::set_permissions(vault.path("bin/age-plugin-toy"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(vault.path("toy.txt"), "AGE-PLUGIN-TOY-1W3HHJN6HVV8\n").unwrap();
    let path = format!("{}:{}", vault.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    for name in ["INT", "TERM", "HUP"] {
        anew(&vault.path("waits"));
        let list = vault.call("receiver", "list usb --identity toy.txt").env("PATH", &path);
        let (command, child) = started(list, &vault.path("waits"), "here").unwrap();
        signal(&child, name);
        let ran = ended(&command, child).unwrap().ends(130).says("interrupted");
        ran.check(ran.stdout.is_empty(), "there is something on stdout");
    }
}

#[test]
fn a_killed_export_leaves_nothing_that_looks_complete() {
    let vault = prepared();
    let status = in_time(|| {
        let (_, mut child) = started(export(&vault), &vault.path("usb"), "d000.ckv.partial")?;
        child.kill().unwrap();
        Some(child.wait().unwrap()).filter(|s| s.code() != Some(0))
    });
    assert_eq!(status.signal(), Some(9));
    assert_eq!(names_in(&vault.path("usb")).len(), 1);
    assert!(ending(&vault.path("usb"), "manifest.json").is_empty());
    assert!(!ending(&vault.path("usb"), "keys.age").is_empty(), "the key slot comes before the first frame");
    assert_eq!(vault.verdict("usb")["verdict"], "untrusted");
    vault.receiver("verify usb").ends(5).says("interrupted");
    vault.refuses("usb", 5);
    fs::write(vault.path("small"), "x").unwrap();
    vault.sender("export small --to usb --recipients keys.txt").fails(1).says("--resume").says("--discard");
    let set = vault.export("small --to usb --parity 1+1 --discard");
    assert_eq!(names_in(&vault.path("usb")).len(), 1);
    assert_eq!(vault.verdict(&format!("usb --set {}", set.id()))["verdict"], "intact");
}

/// Exports, and does something to the last file as soon as anything has been written.
fn disturbed(vault: &Vault, disturb: impl Fn(&Path)) -> Ran {
    let last = vault.path("source/zz-log");
    in_time(|| {
        fs::write(&last, noise(3, 1 << 20)).unwrap();
        let (command, child) = started(export(vault), &vault.path("usb"), ".partial")?;
        disturb(&last);
        ended(&command, child)
    })
}

#[test]
fn a_file_that_grows_while_it_is_read_stops_the_export_by_name() {
    let vault = prepared();
    let grow =
        |last: &Path| fs::OpenOptions::new().append(true).open(last).unwrap().write_all(b"one more line\n").unwrap();
    disturbed(&vault, grow).fails(1).says("zz-log").says("changed");
    assert!(names_in(&vault.path("usb")).is_empty());
}

#[test]
fn files_that_shrink_vanish_or_are_rewritten_while_they_are_read_stop_the_export_by_name() {
    let vault = prepared();
    let shrink = |last: &Path| fs::OpenOptions::new().write(true).open(last).unwrap().set_len(10).unwrap();
    disturbed(&vault, shrink).fails(1).says("zz-log").says("changed");
    disturbed(&vault, |last| fs::write(last, noise(4, 1 << 20)).unwrap()).fails(1).says("zz-log").says("changed");
    disturbed(&vault, |last| fs::remove_file(last).unwrap()).fails(1).says("zz-log");
    assert!(names_in(&vault.path("usb")).is_empty());
}

#[test]
fn a_drive_that_is_full_in_the_middle_keeps_what_is_finished() {
    let vault = prepared();
    vault.make(&["full"]);
    // A second group of volumes finds no inode any more, which no look at the free space foretells.
    if !is_root() || vault.tool("mount", "-t tmpfs -o size=900M,nr_inodes=34 none full").run().code != Some(0) {
        return skip("needs root and mount(8) for a tmpfs");
    }
    let ran = vault.sender("export source --to full --recipients keys.txt --volume-size 4M");
    let unfinished = vault.receiver("verify full").code;
    vault.tool("mount", "-o remount,nr_inodes=400 full").run().ok();
    let resumed = vault.sender("export --resume");
    let verdict = vault.receiver("verify full");
    let restored = vault.receiver("import full --to restored");
    vault.tool("umount", "full").run().ok();
    ran.fails(7).says("full").says("ckvault export --resume");
    assert_eq!(unfinished, Some(5));
    resumed.ok();
    verdict.ok().shows("intact");
    restored.ok();
    crate::tree::assert_same(&vault.path("source"), &vault.path("restored"));
}
