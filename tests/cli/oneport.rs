//! One port, many drives, on the way back: import takes them one after the other.

use crate::both::with_both_blocks;
use crate::drives::Mount;
use crate::harm;
use crate::support::*;
use crate::tree;
use std::fs;
use std::os::unix::fs::symlink;

/// Puts in the drive that is asked for, or if any will do the next of those in `list`; notes which in `came`.
const CHANGE: &str = "n=$CKVAULT_DRIVE_NUMBER; [ -n \"$n\" ] || { n=$(head -n1 list); sed -i 1d list; }; \
    echo $n >> came; [ -d drive$n ] && [ ! -e gone$n ] && ln -sfn drive$n $CKVAULT_DRIVE";

/// Three drives, any one of which may be lost.
fn three(vault: &Vault) -> Set {
    // Large blocks are as many times longer, and fewer are enough.
    vault.checkpoint("source", if vault.block == harm::BLOCK { 6_000_000 } else { 2_400_000 });
    vault.make(&["drive1", "drive2", "drive3"]);
    vault.export("source --to drive1 --to drive2 --to drive3 --survive-drives 1 --same-device-ok")
}

/// An import that begins with the first of these drives and gets the others where any will do.
fn import(vault: &Vault, order: &[usize], more: &str) -> Call {
    let _ = fs::remove_file(vault.path("usb"));
    let _ = fs::remove_file(vault.path("came"));
    symlink(format!("drive{}", order[0]), vault.path("usb")).unwrap();
    let list: String = order[1..].iter().map(|n| format!("{n}\n")).collect();
    fs::write(vault.path("list"), list).unwrap();
    let call = vault.call("receiver", "import usb --to there/restored --json --next-drive-command").arg(CHANGE);
    more.split_whitespace().fold(call, |call, word| call.arg(word))
}

/// The drives that were put in, or at least asked for, after the first.
fn came(vault: &Vault) -> Vec<usize> {
    let text = fs::read_to_string(vault.path("came")).unwrap_or_default();
    text.split_whitespace().map(|n| n.parse().unwrap()).collect()
}

/// Everything is there, and nothing else is.
#[track_caller]
fn is_restored(vault: &Vault) {
    tree::assert_same(&vault.path("source"), &vault.path("there/restored"));
    assert_eq!(names_in(&vault.path("there")), [b"restored"]);
    fs::remove_dir_all(vault.path("there")).unwrap();
}

const ORDERS: [[usize; 3]; 6] = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];

#[test]
fn drives_come_in_any_order_and_each_once() {
    let vault = Vault::new();
    three(&vault);
    for order in ORDERS {
        let report = import(&vault, &order, "").run().ok().json();
        assert_eq!(number(&report["repaired_blocks"]), 0, "{order:?}");
        is_restored(&vault);
        assert_eq!(came(&vault), order[1..], "{order:?}");
    }
}

#[test]
fn a_directory_of_the_set_may_be_given_and_only_what_is_wanted_is_asked_for() {
    let vault = Vault::new();
    let set = three(&vault);
    let name = set.dirs[0].file_name().unwrap().to_str().unwrap();
    let _ = import(&vault, &[1, 2, 3], "");
    let call =
        vault.call("receiver", &format!("import usb/{name} --to there/restored --next-drive-command")).arg(CHANGE);
    call.run().ok();
    is_restored(&vault);
    let ran = import(&vault, &[1, 2, 3], "--only config.json").run().ok();
    assert!(came(&vault).len() <= 1, "{:?} came for one small file: {ran}", came(&vault));
    assert_eq!(names_in(&vault.path("there/restored")), [b"config.json"]);
}

/// Wipes two blocks of a data volume of a drive.
fn damage(set: &Set, block: u64, drive: usize) {
    let on_drive = |p: &std::path::PathBuf| p.starts_with(&set.dirs[drive - 1]) && p.to_str().unwrap().contains("-d");
    let volume = set.volumes().into_iter().find(on_drive).unwrap();
    harm::zero(&volume, 2 * block + 100, 2 * block);
}

/// Imports from drives of which one is damaged, and checks which drives came.
#[track_caller]
fn repairs(block: u64, damaged: usize, order: &[usize], expected: &[usize]) {
    let vault = Vault::with_blocks(block);
    let set = three(&vault);
    damage(&set, block, damaged);
    let report = import(&vault, order, "").run().ok().json();
    assert!(number(&report["repaired_blocks"]) > 0);
    is_restored(&vault);
    assert_eq!(came(&vault), expected, "damage on {damaged}, {order:?}");
}

fn damage_is_repaired_with_drives_that_come_later(block: u64) {
    repairs(block, 1, &[1, 2, 3], &[2, 3]);
    repairs(block, 2, &[1, 2, 3, 1], &[2, 3]);
}

fn damage_on_the_last_drive_brings_one_back(block: u64) {
    repairs(block, 3, &[2, 1, 1], &[1, 3, 1]);
    repairs(block, 1, &[3, 2, 2], &[2, 1, 2]);
}

fn a_lost_drive_is_made_up_for_with_the_others(block: u64) {
    for (order, expected) in [([1, 3], &[3, 2, 1]), ([3, 1], &[1, 2, 3])] {
        let vault = Vault::with_blocks(block);
        three(&vault);
        fs::remove_dir_all(vault.path("drive2")).unwrap();
        let report = import(&vault, &order, "").run().ok().json();
        assert!(number(&report["repaired_blocks"]) > 0, "{order:?}");
        is_restored(&vault);
        assert_eq!(came(&vault), expected, "{order:?}");
    }
}

fn with_two_drives_lost_it_ends_with_what_to_bring_and_goes_on_when_they_are_there(block: u64) {
    let vault = Vault::with_blocks(block);
    three(&vault);
    fs::rename(vault.path("drive2"), vault.path("lost2")).unwrap();
    fs::rename(vault.path("drive3"), vault.path("lost3")).unwrap();
    let ran = import(&vault, &[1, 2, 3], "").run().fails(7).says("drives 2, 3").says("model.safetensors");
    ran.says("then `ckvault import --resume usb --to there/restored --next-drive-command '").says("` goes on");
    fs::rename(vault.path("lost2"), vault.path("drive2")).unwrap();
    fs::rename(vault.path("lost3"), vault.path("drive3")).unwrap();
    import(&vault, &[2, 3], "").run().fails(1).says("--resume").says("--discard");
    import(&vault, &[2, 3], "--resume").run().ok();
    is_restored(&vault);
    assert_eq!(came(&vault), [3], "drive 1 was read before");
}

fn what_no_drive_can_repair_is_told_by_name(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = three(&vault);
    for volume in set.volumes() {
        harm::zero(&volume, 2 * block, block);
    }
    let ran = import(&vault, &[1, 2, 3, 1, 2], "").run().fails(4);
    ran.says("beyond repair").says("model.safetensors").says("--salvage");
    assert!(names_in(&vault.path("there")).is_empty());
}

#[test]
fn wrong_drives_are_refused_with_the_reason_and_five_are_enough() {
    let vault = Vault::new();
    three(&vault);
    vault.make(&["drive8", "drive9"]);
    vault.checkpoint("other", 50_000);
    let other = vault.export("other --to drive9 --parity 1+1");
    let ran = import(&vault, &[1, 9, 1, 8, 2, 3], "").run().ok();
    is_restored(&vault);
    ran.says("another set").says(&other.id()[..8]).says("of drive 1 nothing more is needed").says("no set");
    assert_eq!(came(&vault), [9, 1, 8, 2, 3]);
}

#[test]
fn five_wrong_drives_in_a_row_end_it() {
    let vault = Vault::new();
    three(&vault);
    let ran = import(&vault, &[1, 1, 1, 1, 1, 1, 1, 2, 3], "").run().fails(7);
    ran.says("5 drives in a row").says("--resume");
    assert_eq!(came(&vault).len(), 5);
    import(&vault, &[2, 3], "--resume").run().ok();
    is_restored(&vault);
}

#[test]
fn without_anybody_to_ask_it_says_which_drives_and_leaves_nothing() {
    let vault = Vault::new();
    three(&vault);
    vault.refuses("drive2", 7).says("drives 1, 3").says("--next-drive-command");
}

#[test]
fn parts_come_in_any_order_and_each_once() {
    let vault = Vault::new();
    vault.checkpoint("source", 40_000_000);
    let mounts: Option<Vec<Mount>> = (1..=5).map(|i| Mount::new(&vault, &format!("drive{i}"), "size=20M")).collect();
    let Some(_mounts) = mounts else { return };
    symlink("drive1", vault.path("usb")).unwrap();
    let call = vault.call("sender", "export source --to usb --recipients keys.txt --volume-size 2M --parity 4+2");
    call.arg("--next-drive-command").arg("ln -sfn drive$CKVAULT_DRIVE_NUMBER $CKVAULT_DRIVE").run().ok();
    for order in [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [3, 1, 5, 2, 4]] {
        import(&vault, &order, "").run().ok();
        is_restored(&vault);
        assert_eq!(came(&vault), order[1..], "{order:?}");
    }
    // A part is lost: what lies in it is lost with it, and the rest can be had.
    fs::write(vault.path("gone3"), "").unwrap();
    let ran = import(&vault, &[1, 2, 4, 5], "--salvage").run().ends(4);
    let report = ran.json();
    assert_eq!(text(&list(&report["incomplete"])[0]["written_as"]), "model.safetensors.incomplete", "{report}");
}

with_both_blocks!(
    damage_is_repaired_with_drives_that_come_later
    damage_on_the_last_drive_brings_one_back
    a_lost_drive_is_made_up_for_with_the_others
    with_two_drives_lost_it_ends_with_what_to_bring_and_goes_on_when_they_are_there
    what_no_drive_can_repair_is_told_by_name
);
