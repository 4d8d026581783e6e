//! Drives that go while they are in use: the server of a FUSE drive is killed.

use crate::mount::{Kind, Mount};
use crate::run::Ran;
use crate::support::*;
use crate::watch::{ended, in_time};
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

const MIB: usize = 1 << 20;

/// A source that takes a while, and drives on exFAT of which the first is the one that will go.
fn prepared(drives: &[&str]) -> Option<(Vault, Vec<Mount>)> {
    let vault = Vault::new();
    vault.make(&["source"]);
    fs::write(vault.path("source/model.bin"), noise(1, 96 * MIB)).unwrap();
    let mount = |name: &&str| Mount::sized(&vault, name, Kind::Exfat, 400 * MIB as u64);
    let mounts: Vec<Mount> = drives.iter().map_while(mount).collect();
    (mounts.len() == drives.len()).then_some((vault, mounts))
}

fn kill_server(mount: &Mount) {
    let pid = mount.server().expect("nothing serves it");
    let sent = Command::new("sh").args(["-c", &format!("kill -KILL {pid}")]).stderr(Stdio::null()).status().unwrap();
    assert!(sent.success());
}

/// Runs a command and kills the server of `drive` after so many milliseconds; `None` if that was too late.
fn while_it_goes(vault: &Vault, who: &str, arguments: &str, drive: &Mount, after: u64) -> Option<Ran> {
    let mut command = vault.call(who, arguments).command();
    let mut child = command.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(after));
    kill_server(drive);
    let early = child.try_wait().unwrap().is_some();
    let ran = ended(&command, child);
    ran.check(!ran.stderr.contains("panicked") && ran.code.is_some_and(|c| c != 101), "it panicked");
    drive.again();
    (!early).then_some(ran)
}

/// At several moments, some of which are in time.
#[track_caller]
fn at_all_moments(mut attempt: impl FnMut(u64) -> Option<Ran>) -> Vec<Ran> {
    let ran: Vec<Ran> = [1, 15, 30, 60, 90, 130, 200, 300].into_iter().filter_map(&mut attempt).collect();
    assert!(!ran.is_empty(), "the command was always faster than this test");
    ran
}

#[test]
fn a_drive_that_goes_while_it_is_verified_is_not_lost() {
    let Some((vault, mounts)) = prepared(&["drive"]) else { return };
    vault.export("source --to drive --parity 4+2 --no-read-back");
    for ran in at_all_moments(|after| while_it_goes(&vault, "receiver", "verify drive", &mounts[0], after)) {
        ran.check(matches!(ran.code, Some(0 | 3 | 7)), "a drive that is not there is no damage");
    }
    assert_eq!(vault.verdict("drive")["verdict"], "intact");
}

#[test]
fn a_drive_that_goes_while_it_is_imported_from_leaves_no_target() {
    let Some((vault, mounts)) = prepared(&["drive"]) else { return };
    vault.export("source --to drive --parity 4+2 --no-read-back");
    vault.make(&["place"]);
    let import = |after| while_it_goes(&vault, "receiver", "import drive --to place/there", &mounts[0], after);
    for ran in at_all_moments(|after| {
        let ran = import(after)?;
        let left = names_in(&vault.path("place"));
        let resumable = ran.stderr.contains("` goes on");
        ran.check(left.len() == usize::from(ran.code == Some(0) || resumable), &format!("left behind: {left:?}"));
        if resumable {
            vault.receiver("import drive --to place/there --resume").ok();
            crate::tree::assert_same(&vault.path("source"), &vault.path("place/there"));
        }
        crate::watch::empty(&vault.path("place"));
        Some(ran)
    }) {
        ran.check(matches!(ran.code, Some(0 | 7)), "a drive that is not there is no damage");
    }
    vault.restores("drive", "source");
}

#[test]
fn one_drive_of_three_may_go_during_an_import() {
    let Some((vault, mounts)) = prepared(&["drive1", "drive2", "drive3"]) else { return };
    vault.export("source --to drive1 --to drive2 --to drive3 --survive-drives 1 --same-device-ok --no-read-back");
    let import = |after| {
        let _ = fs::remove_dir_all(vault.path("there"));
        while_it_goes(&vault, "receiver", "import drive1 drive2 drive3 --to there --json", &mounts[0], after)
    };
    in_time(|| {
        let ran = [40, 80, 20, 160].into_iter().find_map(import)?;
        // Whatever was read first, a set that survives the loss of a drive is restored.
        let ran = ran.ok();
        crate::tree::assert_same(&vault.path("source"), &vault.path("there"));
        (number(&ran.json()["repaired_blocks"]) > 0).then_some(())
    });
}

#[test]
fn an_export_to_a_drive_that_goes_says_so() {
    let Some((vault, mounts)) = prepared(&["drive"]) else { return };
    let export = "export source --to drive --recipients keys.txt --volume-size 8M --no-read-back";
    let ran = in_time(|| {
        crate::watch::empty(&mounts[0].dir);
        [60, 120].into_iter().find_map(|after| while_it_goes(&vault, "sender", export, &mounts[0], after))
    });
    ran.fails(7).says("drive");
    assert!(crate::watch::below(&mounts[0].dir).iter().all(|p| !p.ends_with("manifest.json")));
}

#[test]
fn a_target_that_goes_is_an_error_and_no_target() {
    let Some((vault, mounts)) = prepared(&["target"]) else { return };
    vault.make(&["usb"]);
    vault.export("source --to usb --parity 4+2 --no-read-back");
    let ran = in_time(|| {
        let _ = fs::remove_dir_all(mounts[0].dir.join("there"));
        let import = "import usb --to target/there --discard";
        [60, 120].into_iter().find_map(|after| while_it_goes(&vault, "receiver", import, &mounts[0], after))
    });
    ran.check(matches!(ran.code, Some(1 | 7)) && ran.stderr.contains("ckvault: cannot"), "it does not say so");
    assert!(!mounts[0].dir.join("there").exists());
}
