//! Volumes that lie on another drive than their own: copied there, moved there, or copied together.

use crate::harm;
use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};

/// Three drives, of which any one may be lost, and the volumes of the second.
fn three() -> (Vault, Set, Vec<PathBuf>) {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 900_000);
    vault.make(&["usb1", "usb2", "usb3"]);
    let set = vault.export("checkpoint --to usb1 --to usb2 --to usb3 --survive-drives 1 --same-device-ok");
    let second = set.volumes().into_iter().filter(|path| path.starts_with(&set.dirs[1])).collect();
    (vault, set, second)
}

fn copy_to(dir: &Path, volumes: &[PathBuf]) {
    for path in volumes {
        fs::copy(path, dir.join(path.file_name().unwrap())).unwrap();
    }
}

const ALL: &str = "usb1 usb2 usb3";

#[test]
fn copies_on_another_drive_change_nothing_while_their_own_drive_is_here() {
    let (vault, set, second) = three();
    // Some, most, all of them.
    for count in [1, second.len() - 1, second.len()] {
        copy_to(&set.dirs[0], &second[..count]);
        let before = names_in(&set.dirs[0]);
        let verdict = vault.verdict("usb3 usb1 usb2");
        assert_eq!((&verdict["verdict"], &verdict["absent"]), (&"intact".into(), &serde_json::json!([])), "{count}");
        let here = list(&verdict["drives"]).iter().map(|drive| vault.path(text(&drive["directory"])));
        assert_eq!(here.collect::<Vec<_>>(), set.dirs);
        vault.receiver(&format!("repair {ALL}")).ok().shows("nothing to repair");
        assert_eq!(names_in(&set.dirs[0]), before, "something was written to another drive");
    }
    // What is lacking goes where it belongs, and what is damaged is mended there, from the copy.
    fs::remove_file(&second[0]).unwrap();
    harm::flip(&second[1], 70_000, 0);
    harm::flip(&set.dirs[0].join(second[2].file_name().unwrap()), 70_000, 0);
    let verdict = vault.verdict(ALL);
    let lacking = volume(&verdict, second[0].file_name().unwrap().to_str().unwrap());
    assert!(text(&lacking["diagnosis"]).contains("usb1"), "{verdict}");
    let report = vault.receiver(&format!("repair {ALL} --json")).ok().json();
    let repaired: Vec<PathBuf> = list(&report["repaired"]).iter().map(|file| vault.path(text(&file["path"]))).collect();
    assert_eq!(repaired, second[..2]);
    assert_eq!(vault.verdict("usb2 usb3")["absent"], serde_json::json!([1]));
}

#[test]
fn a_drive_of_which_all_lies_on_another_one_is_absent_and_can_be_replaced() {
    let (vault, set, second) = three();
    copy_to(&set.dirs[0], &second);
    fs::remove_dir_all(&set.dirs[1]).unwrap();
    let before = names_in(&set.dirs[0]);
    let told = vault.receiver(&format!("verify {ALL}")).ends(3);
    told.shows("repairable").shows("absent   drive 2").shows("whole on another drive").shows("--to NEW");
    vault.restores("usb1 usb3", "checkpoint");
    vault.make(&["new"]);
    vault.receiver("repair usb1 usb3 --to new").ok();
    assert_eq!(names_in(&set.dirs[0]), before);
    assert_eq!(vault.verdict("usb1 new usb3")["verdict"], "intact");
    let replaced = vault.path("new").join(set.dirs[1].file_name().unwrap());
    assert!(second.iter().all(|path| replaced.join(path.file_name().unwrap()).exists()));
}

#[test]
fn volumes_that_were_moved_to_another_drive_come_back_to_their_own() {
    let (vault, set, second) = three();
    copy_to(&set.dirs[0], &second);
    second.iter().for_each(|path| fs::remove_file(path).unwrap());
    vault.receiver(&format!("verify {ALL}")).ends(3).shows("not on its drive").shows("usb1").shows("0 bad blocks");
    // Half of them, and the rest is nowhere.
    second[..second.len() / 2]
        .iter()
        .for_each(|path| fs::remove_file(set.dirs[0].join(path.file_name().unwrap())).unwrap());
    let before = names_in(&set.dirs[0]);
    vault.receiver(&format!("repair {ALL}")).ok();
    assert_eq!(names_in(&set.dirs[0]), before);
    assert!(second.iter().all(|path| path.exists()));
    assert_eq!(vault.verdict(ALL)["verdict"], "intact");
}

#[test]
fn drives_in_one_directory_are_told_to_be_lost_together() {
    let (vault, set, second) = three();
    let all = vault.path("all").join(set.dirs[0].file_name().unwrap());
    set.dirs.iter().for_each(|dir| harm::copy_tree(dir, &all));
    vault.receiver("verify all").ok().shows("intact").shows("drives 1, 2, 3 are in one directory");
    let usual = vault.receiver(&format!("verify {ALL}")).ok();
    usual.check(!usual.stdout.contains("in one directory"), "they are apart");
    // What is damaged is mended where it lies; what is missing is not put beside other drives.
    harm::flip(&all.join(second[0].file_name().unwrap()), 70_000, 0);
    vault.receiver("repair all").ok();
    assert_eq!(vault.verdict("all")["verdict"], "intact");
    fs::remove_file(all.join(second[0].file_name().unwrap())).unwrap();
    assert_eq!(vault.verdict("all")["absent"], serde_json::json!([2]));
    let before = names_in(&all);
    vault.receiver("repair all").ok();
    assert_eq!(names_in(&all), before);
}
