//! Exports that are interrupted, and go on.

use crate::both::with_both_blocks;
use crate::durability::{anew, in_time, signal, started};
use crate::harm;
use crate::support::*;
use crate::tree;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A source of several groups of 4+2 volumes of 2 MiB.
fn prepared() -> Vault {
    let vault = Vault::new();
    vault.checkpoint("source", 30_000_000);
    vault.make(&["usb"]);
    vault
}

const EXPORT: &str = "export source --to usb --recipients keys.txt --volume-size 2M --parity 4+2";

fn killed_at(vault: &Vault, name: &str) -> PathBuf {
    killed(vault, EXPORT, name)
}

/// Kills an export to `usb` as soon as a file with this name is there; returns the directory of the set.
pub fn killed(vault: &Vault, export: &str, name: &str) -> PathBuf {
    for _ in 0..100 {
        let _ = fs::remove_dir_all(vault.path("usb"));
        let _ = fs::remove_dir_all(vault.path(".local"));
        vault.make(&["usb"]);
        let mut child = vault.call("sender", export).command().spawn().unwrap();
        let there =
            || fs::read_dir(vault.path("usb")).ok()?.flatten().map(|e| e.path()).find(|d| d.join(name).exists());
        let dir = loop {
            match there() {
                None if child.try_wait().unwrap().is_none() => {}
                dir => break dir,
            }
        };
        child.kill().unwrap();
        // Without its state it was complete, and only had to end.
        if !child.wait().unwrap().success() && !state(vault).is_empty() {
            return dir.unwrap_or_else(|| panic!("it failed before {name} was there"));
        }
    }
    panic!("the export was always faster than this test");
}

const STATE: &str = ".local/state/ckvault";

fn state(vault: &Vault) -> Vec<PathBuf> {
    states(&vault.path(STATE))
}

fn states(dir: &Path) -> Vec<PathBuf> {
    if !dir.is_dir() {
        return Vec::new();
    }
    let named = names_in(dir).into_iter().filter(|n| !n.starts_with(b"."));
    named.map(|n| dir.join(std::str::from_utf8(&n).unwrap())).collect()
}

#[track_caller]
fn is_whole(vault: &Vault) {
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
    vault.restores("usb", "source");
    assert!(state(vault).is_empty(), "{:?}", state(vault));
}

fn inode(path: &Path) -> u64 {
    path.metadata().unwrap().ino()
}

#[test]
fn a_killed_export_goes_on_after_the_last_complete_group() {
    let vault = prepared();
    let set = killed_at(&vault, "g00002-p001.ckv");
    let kept = inode(&set.join("g00000-d000.ckv"));
    vault.sender(EXPORT).fails(1).says("interrupted export").says("--resume").says("--discard");
    vault.refuses("usb", 5);
    let report = vault.sender("export --resume --json").ok().json();
    assert_eq!(set.file_name().unwrap().to_str().unwrap()[..8], text(&report["set"])[..8]);
    assert_eq!(inode(&set.join("g00000-d000.ckv")), kept, "a finished volume was written again");
    is_whole(&vault);
}

/// Resumes the export to `usb`. That damage in one place does no harm is not said then: what goes on finds room where files were removed,
/// and with that copies may have come to lie near each other.
#[track_caller]
fn goes_on(vault: &Vault) {
    let report = vault.sender("export --resume --json").ok().json();
    is_whole(vault);
    assert!(!text(&report["survives"]).contains("in one place"), "{report}");
}

const LATE: [&str; 4] = ["manifest.json", "manifest.json.sig", "inventory.age", "hashes.b3"];

#[test]
fn second_copies_keep_the_places_that_they_had_before_the_volumes() {
    let vault = prepared();
    for name in ["g00002-p001.ckv", "B3SUMS"] {
        let copy = killed_at(&vault, name).join("copy");
        let place = |name: &&str| [format!("{name}.partial"), name.to_string()].map(|n| copy.join(n)).into_iter();
        let before: Vec<u64> = LATE.iter().map(|n| inode(&place(n).find(|p| p.exists()).unwrap())).collect();
        goes_on(&vault);
        assert_eq!(LATE.map(|n| inode(&copy.join(n))).to_vec(), before, "killed at {name}");
    }
}

#[test]
fn what_lies_in_the_place_of_a_copy_that_was_begun_is_not_written_to() {
    let vault = prepared();
    let elsewhere = vault.path("elsewhere");
    fs::write(&elsewhere, vec![1; 1 << 20]).unwrap();
    let replace: [&dyn Fn(&Path); 4] = [
        &|place| fs::remove_file(place).unwrap(),
        &|place| fs::OpenOptions::new().write(true).open(place).unwrap().set_len(0).unwrap(),
        &|place| {
            fs::remove_file(place).unwrap();
            std::os::unix::fs::symlink(&elsewhere, place).unwrap();
        },
        &|place| {
            fs::remove_file(place).unwrap();
            fs::hard_link(&elsewhere, place).unwrap();
        },
    ];
    for replace in replace {
        replace(&killed_at(&vault, "g00001-p001.ckv").join("copy/manifest.json.partial"));
        goes_on(&vault);
        assert_eq!(fs::read(&elsewhere).unwrap(), vec![1; 1 << 20]);
    }
}

#[test]
fn it_can_be_killed_while_it_finishes_and_goes_on_again_and_again() {
    let vault = prepared();
    for name in ["keys.age", "hashes.b3", "inventory.age", "B3SUMS", "manifest.json.sig", "copy/manifest.json"] {
        killed_at(&vault, name);
        let file = &state(&vault)[0];
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        let id = file.file_name().unwrap().to_str().unwrap()[..8].to_owned();
        vault.sender(&format!("export --resume {id}")).ok();
        is_whole(&vault);
    }
}

/// Runs a command that keeps its state in `dir` and succeeds; then that file is there again, as it was at last.
fn ends_without_removing_its_state(mut command: Command, dir: &Path, kept: &Path) {
    let mut child = command.spawn().unwrap();
    let file = loop {
        if let Some(file) = states(dir).into_iter().find(|f| fs::hard_link(f, kept).is_ok()) {
            break file;
        }
        assert!(child.try_wait().unwrap().is_none(), "it had no state in {}", dir.display());
    };
    assert!(child.wait().unwrap().success());
    assert!(!file.exists());
    fs::rename(kept, file).unwrap();
}

#[test]
fn it_can_be_killed_when_only_its_state_is_left() {
    let vault = prepared();
    let command = vault.call("sender", EXPORT).command();
    ends_without_removing_its_state(command, &vault.path(STATE), &vault.path("kept"));
    vault.sender(EXPORT).fails(1).says("--resume");
    vault.sender("export --resume").ok();
    is_whole(&vault);
}

fn finished_groups_count_only_if_they_are_still_what_was_written(block: u64) {
    // Volumes of so many blocks that several groups are made of as many bytes.
    let volume_bytes = (2 << 20).max(4 * block);
    let vault = Vault::new();
    vault.checkpoint("source", 15 * volume_bytes as usize);
    let export = EXPORT.replace("--volume-size 2M", &format!("--volume-size {volume_bytes} --block-size {block}"));
    let set = killed(&vault, &export, "g00002-p001.ckv");
    harm::flip(&set.join("g00001-d001.ckv"), block + 4464, 3);
    vault.sender("export --resume").ok();
    is_whole(&vault);
    let set = killed(&vault, &export, "g00002-p001.ckv");
    harm::remove([set.join("g00000-p000.ckv")]);
    vault.sender("export --resume").ok();
    is_whole(&vault);
}

#[test]
fn a_source_that_has_changed_is_refused_by_name() {
    let vault = prepared();
    killed_at(&vault, "g00001-p001.ckv");
    fs::write(vault.path("source/config.json"), "{}").unwrap();
    fs::write(vault.path("source/new"), "x").unwrap();
    fs::remove_file(vault.path("source/step-100/done")).unwrap();
    let ran = vault.sender("export --resume").fails(1).says("config.json").says("new").says("1 that were there");
    ran.check(!ran.stderr.contains("model.safetensors"), "what has not changed is named");
    vault.sender(&format!("{EXPORT} --discard")).ok();
    is_whole(&vault);
}

#[test]
fn drives_may_have_moved_and_a_wrong_one_is_refused() {
    let vault = prepared();
    killed_at(&vault, "g00001-p001.ckv");
    fs::rename(vault.path("usb"), vault.path("elsewhere")).unwrap();
    vault.make(&["usb"]);
    vault.sender("export --resume").fails(7).says("does not hold part 1").says("--resume");
    vault.sender("export --resume --to usb --to elsewhere").fails(2).says("1 drive(s)");
    fs::remove_dir(vault.path("usb")).unwrap();
    vault.sender("export --resume --to elsewhere").ok();
    fs::rename(vault.path("elsewhere"), vault.path("usb")).unwrap();
    is_whole(&vault);
}

#[test]
fn there_must_be_one_to_resume() {
    let vault = prepared();
    vault.sender("export --resume").fails(2).says("no interrupted export");
    killed_at(&vault, "g00001-p001.ckv");
    vault.sender("export --resume ffff00000").fails(2).says("ffff00000");
    vault.sender("export --resume --label x").fails(2);
    vault.sender("export --resume --segment-size 8M").fails(2).says("--segment-size");
    vault.call("stranger", "keygen").run().ok();
    let other = vault.home("stranger").join("signing_key");
    let call = vault.call("sender", "export --resume --signing-key").arg(other);
    call.run().fails(2).says("not the key");
}

#[test]
fn one_that_is_running_is_left_alone() {
    let vault = prepared();
    in_time(|| {
        anew(&vault.path("usb"));
        let (_, mut child) = started(vault.call("sender", EXPORT), &vault.path("usb"), "g00001-d000.ckv.partial")?;
        signal(&child, "STOP");
        let running = !state(&vault).is_empty();
        let resumed = vault.sender("export --resume");
        signal(&child, "CONT");
        assert!(child.wait().unwrap().success());
        running.then(|| resumed.fails(1).says("another ckvault"))
    });
    is_whole(&vault);
}

#[test]
fn two_exports_to_one_drive_do_not_meet() {
    let vault = prepared();
    vault.make(&["state1", "state2"]);
    let call = |state: &str| vault.call("sender", EXPORT).env("XDG_STATE_HOME", vault.path(state)).command();
    let children = [call("state1").spawn().unwrap(), call("state2").spawn().unwrap()];
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let sets = names_in(&vault.path("usb"));
    assert_eq!(sets.len(), 2);
    for set in sets {
        let id = String::from_utf8(set).unwrap()[..8].to_owned();
        assert_eq!(vault.verdict(&format!("usb --set {id}"))["verdict"], "intact");
        tree_comes_back(&vault, &id);
    }
}

fn tree_comes_back(vault: &Vault, id: &str) {
    vault.receiver(&format!("import usb --set {id} --to restored-{id}")).ok();
    tree::assert_same(&vault.path("source"), &vault.path(format!("restored-{id}")));
}

with_both_blocks!(finished_groups_count_only_if_they_are_still_what_was_written);

#[test]
fn what_nobody_can_go_on_with_is_in_nobodys_way() {
    let vault = prepared();
    killed_at(&vault, "g00001-p001.ckv");
    let old = state(&vault)[0].clone();
    let text = fs::read_to_string(&old).unwrap();
    // As another version has it: without the checks of its lines.
    fs::write(&old, text.lines().map(|line| format!("{}\n", &line[..line.len() - 17])).collect::<String>()).unwrap();
    vault.sender("export --resume").fails(1).says("cannot be read").says(old.to_str().unwrap());
    vault.make(&["other"]);
    vault.sender("export source --to other --recipients keys.txt").ok();
    assert_eq!(vault.verdict("other")["verdict"], "intact");
    assert!(old.exists());
}
