//! Several drives: which may be lost, in what order they come, what is on them, and whether there is room.

use crate::both::with_both_blocks;
use crate::harm;
use crate::support::*;
use crate::tree;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Three drives, of which any one may be lost.
fn three(vault: &Vault) -> Set {
    vault.checkpoint("checkpoint", 2_000_000);
    vault.make(&["usb1", "usb2", "usb3"]);
    vault.export("checkpoint --to usb1 --to usb2 --to usb3 --survive-drives 1 --same-device-ok")
}

fn any_drive_may_be_lost_and_one_more_volume(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = three(&vault);
    assert!(text(&set.report["survives"]).contains("any 1 of 3 drives"), "{}", set.report);
    assert_eq!(vault.verdict("usb1 usb2 usb3")["verdict"], "intact");
    for lost in 1..=3 {
        let here: Vec<String> = (1..=3).filter(|d| *d != lost).map(|d| format!("usb{d}")).collect();
        let verdict = vault.verdict(&here.join(" "));
        assert_eq!(
            (&verdict["verdict"], &verdict["absent"]),
            (&"repairable".into(), &serde_json::json!([lost])),
            "{verdict}"
        );
        let dir = &set.dirs[here[0][3..].parse::<usize>().unwrap() - 1];
        let volume = set.volumes().into_iter().find(|p| p.starts_with(dir)).unwrap();
        fs::rename(&volume, vault.path("aside")).unwrap();
        assert_eq!(vault.verdict(&here.join(" "))["verdict"], "repairable");
        assert!(number(&vault.restores(&here.join(" "), "checkpoint")["repaired_blocks"]) > 0);
        fs::rename(vault.path("aside"), &volume).unwrap();
    }
}

fn what_no_drive_could_give_is_lost_also_where_something_else_has_the_name_of_a_volume(block: u64) {
    for link in [false, true] {
        let vault = Vault::with_blocks(block);
        vault.checkpoint("checkpoint", 900_000);
        vault.make(&["usb1", "usb2", "usb3"]);
        let set = vault.export("checkpoint --to usb1 --to usb2 --to usb3 --same-device-ok --parity 4+2");
        fs::remove_dir_all(&set.dirs[1]).unwrap();
        let left = set.volumes().into_iter().filter(|volume| volume.exists()).collect::<Vec<_>>();
        let (data, others): (Vec<_>, Vec<_>) = left.into_iter().partition(|v| v.to_string_lossy().contains("-d"));
        for volume in [&data[0], &data[1], others.first().unwrap_or(&data[2])] {
            fs::remove_file(volume).unwrap();
        }
        match link {
            true => std::os::unix::fs::symlink("/dev/null", &data[0]).unwrap(),
            false => fs::create_dir(&data[0]).unwrap(),
        }
        vault.receiver("verify usb1 usb3").ends(4);
        vault.refuses("usb1 usb3", 4);
    }
}

fn with_two_of_three_drives_absent_the_set_is_incomplete_and_says_which(block: u64) {
    let vault = Vault::with_blocks(block);
    three(&vault);
    for here in 1..=3u16 {
        let absent: Vec<u16> = (1..=3).filter(|d| *d != here).collect();
        let verdict = vault.verdict(&format!("usb{here}"));
        assert_eq!(
            (&verdict["verdict"], &verdict["absent"], &verdict["present"]),
            (&"incomplete".into(), &serde_json::json!(absent), &serde_json::json!([here]))
        );
        vault
            .receiver(&format!("verify usb{here}"))
            .ends(7)
            .shows("incomplete")
            .shows(&format!("absent   drive {}", absent[0]))
            .shows(&format!("absent   drive {}", absent[1]));
        vault.refuses(&format!("usb{here}"), 7).says(&format!("{}, {}", absent[0], absent[1]));
        let alone = vault.verdict(&format!("usb{here} --this-drive"));
        assert_eq!(alone["verdict"], "intact");
        assert!(list(&alone["volumes"]).iter().all(|v| v["drive"] == here), "{alone}");
    }
}

fn this_drive_still_sees_damage_and_loss_on_it(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = three(&vault);
    let own: Vec<PathBuf> = set.volumes().into_iter().filter(|p| p.starts_with(&set.dirs[1])).collect();
    harm::flip(&own[0], block + 4464, 2);
    assert_eq!(vault.verdict("usb2 --this-drive")["verdict"], "repairable");
    harm::remove([&own[1]]);
    let verdict = vault.verdict("usb2 --this-drive");
    assert_eq!(volume(&verdict, own[1].file_name().unwrap().to_str().unwrap())["state"], "missing");
}

#[test]
fn drives_may_be_given_in_any_order_and_twice() {
    let vault = Vault::new();
    let set = three(&vault);
    for order in ["usb3 usb1 usb2", "usb2 usb1 usb3", "usb1 usb1 usb2 usb3"] {
        assert_eq!(vault.verdict(order)["verdict"], "intact", "{order}");
        vault.restores(order, "checkpoint");
    }
    let dirs = set.dirs.iter().rev().map(|d| d.display().to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(vault.verdict(&dirs)["verdict"], "intact");
}

#[test]
fn all_drives_may_be_copied_into_one_directory() {
    let vault = Vault::new();
    let set = three(&vault);
    let name = set.dirs[0].file_name().unwrap();
    for dir in &set.dirs {
        harm::copy_tree(dir, &vault.path("all").join(name));
        harm::copy_tree(dir, &vault.path("renamed/whatever"));
    }
    for place in ["all", "renamed/whatever"] {
        assert_eq!(vault.verdict(place)["verdict"], "intact", "{place}");
        vault.restores(place, "checkpoint");
    }
}

#[test]
fn of_two_sets_on_a_drive_one_must_be_chosen() {
    let vault = Vault::new();
    vault.make(&["usb"]);
    vault.checkpoint("a", 10_000);
    vault.checkpoint("b", 20_000);
    let first = vault.export("a --to usb --parity 1+1 --label llama-3");
    let second = vault.export("b --to usb --parity 1+1");
    for verb in ["verify usb", "inspect usb", "list usb"] {
        let ran = vault.receiver(verb).fails(2).says("--set");
        ran.says(&format!("llama-3-{}.ckvault", &first.id()[..8])).says(&format!("{}.ckvault", &second.id()[..8]));
    }
    vault.restores("usb --set llama-3", "a");
    vault.restores(&format!("usb --set {}", first.id()), "a");
    vault.restores(&format!("usb --set {}", &second.id()[..6]), "b");
    vault.refuses("usb --set llama", 7);
    vault.refuses(&format!("usb --set {}", "0".repeat(32)), 7);
    assert_eq!(vault.verdict("usb --set llama-3")["label"], "llama-3");
}

#[test]
fn a_set_that_was_chosen_by_a_false_directory_name_is_refused() {
    let vault = Vault::new();
    let set = vault.exported(10_000, "1+1");
    fs::rename(&set.dirs[0], vault.path("usb/llama-00000000.ckvault")).unwrap();
    vault.refuses("usb --set llama", 7);
    vault.refuses("usb --set 00000000", 7);
    vault.restores("usb", "checkpoint");
}

fn hashes(set: &Set) -> BTreeMap<PathBuf, String> {
    set.files().into_iter().map(|p| (p.clone(), tree::hash(&p))).collect()
}

#[test]
fn a_second_export_leaves_the_first_set_untouched() {
    let vault = Vault::new();
    let first = vault.exported(200_000, "2+1");
    let before = hashes(&first);
    vault.export("checkpoint --to usb --parity 2+1");
    assert_eq!(hashes(&first), before);
    assert_eq!(names_in(&vault.path("usb")).len(), 2);
}

#[test]
fn what_no_parity_can_survive_is_a_mistake_of_usage() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 10_000);
    vault.make(&["usb1", "usb2", "usb3"]);
    for wish in [
        "--to usb1 --survive-drives 1 --same-device-ok",
        "--to usb1 --to usb2 --survive-drives 2 --same-device-ok",
        "--to usb1 --to usb2 --to usb3 --survive-drives 3 --same-device-ok",
        "--to usb1 --to usb2 --to usb3 --survive-drives 1 --same-device-ok --parity 16+2",
        "--to usb1 --parity 0+2",
        "--to usb1 --parity 200+56",
        "--to usb1 --parity 4+0",
        "--to usb1 --volume-size 1M",
    ] {
        vault.sender(&format!("export checkpoint --recipients keys.txt {wish}")).fails(2);
    }
    ["usb1", "usb2", "usb3"].iter().for_each(|usb| assert!(names_in(&vault.path(usb)).is_empty()));
}

fn parity_beside_survive_drives_is_honoured(block: u64) {
    let vault = Vault::with_blocks(block);
    vault.checkpoint("checkpoint", 500_000);
    vault.make(&["usb1", "usb2", "usb3"]);
    let set = vault.export("checkpoint --to usb1 --to usb2 --to usb3 --survive-drives 1 --same-device-ok --parity 5+4");
    let count = |d: usize| set.volumes().iter().filter(|p| p.starts_with(&set.dirs[d])).count();
    assert!((0..3).all(|d| count(d) <= 3), "{}", set.report);
    assert_eq!(vault.verdict("usb1 usb3")["verdict"], "repairable");
}

#[test]
fn a_drive_that_is_not_there_is_an_error_before_anything_is_written() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 10_000);
    vault.make(&["usb1"]);
    vault.sender("export checkpoint --recipients keys.txt --to usb1 --to usb2").fails(7).says("usb2");
    assert!(names_in(&vault.path("usb1")).is_empty());
    fs::write(vault.path("file"), "").unwrap();
    vault.sender("export checkpoint --recipients keys.txt --to usb1 --to file").fails(2).says("file");
    vault.receiver("verify nowhere").fails(7);
    vault.receiver("verify usb1").fails(7).says("no set");
}

#[test]
fn one_drive_given_twice_to_export_is_refused_and_left_as_it_was() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 10_000);
    vault.make(&["usb1"]);
    std::os::unix::fs::symlink("usb1", vault.path("again")).unwrap();
    for second in ["usb1", "usb1/.", "again"] {
        let ran = vault.sender(&format!("export checkpoint --recipients keys.txt --to usb1 --to {second}"));
        ran.check(matches!(ran.code, Some(2 | 7)) && ran.stdout.is_empty(), "one drive is not two");
        assert!(names_in(&vault.path("usb1")).is_empty());
    }
}

#[test]
fn drives_of_two_sets_are_told_apart() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 100_000);
    vault.make(&["a1", "a2", "b1", "b2"]);
    let first = vault.export("checkpoint --to a1 --to a2 --parity 2+2");
    vault.export("checkpoint --to b1 --to b2 --parity 2+2");
    vault.receiver("verify a1 b2").fails(2).says(&first.id()[..8]);
    vault.restores(&format!("a1 b1 b2 a2 --set {}", first.id()), "checkpoint");
}

fn a_damaged_drive_does_not_hide_its_whole_copy(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(500_000, "2+1");
    harm::copy_tree(&set.dirs[0], &vault.path("backup").join(set.dirs[0].file_name().unwrap()));
    harm::remove([set.volume("g00000-d001.ckv")]);
    harm::flip(&set.volume("g00000-d000.ckv"), block + 34_464, 0);
    assert_eq!(vault.verdict("usb")["verdict"], "lost");
    for both in ["usb backup", "backup usb"] {
        assert!(["repairable", "intact"].contains(&text(&vault.verdict(both)["verdict"])), "{both}");
        vault.restores(both, "checkpoint");
    }
}

/// A tmpfs that is unmounted in the end.
pub struct Mount(pub PathBuf);

impl Mount {
    /// `None`, visibly, where that is not possible.
    pub fn new(vault: &Vault, name: &str, options: &str) -> Option<Mount> {
        vault.make(&[name]);
        let mounted =
            is_root() && vault.tool("mount", &format!("-t tmpfs -o {options} none {name}")).run().code == Some(0);
        if !mounted {
            skip("needs root and mount(8) for a tmpfs");
        }
        mounted.then(|| Mount(vault.path(name)))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_drive_without_room_is_found_before_anything_is_written() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 6_000_000);
    vault.make(&["usb1"]);
    let Some(small) = Mount::new(&vault, "small", "size=4M") else { return };
    vault
        .sender("export checkpoint --recipients keys.txt --volume-size 2M --to usb1 --to small --survive-drives 1 --same-device-ok")
        .fails(7)
        .says("small");
    assert!(names_in(&small.0).is_empty() && names_in(&vault.path("usb1")).is_empty());
}

#[test]
fn a_read_only_drive_is_found_before_anything_is_written() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 10_000);
    vault.make(&["usb1", "closed"]);
    if !is_root() {
        tree::set_mode(&vault.path("closed"), 0o500);
        vault.sender("export checkpoint --recipients keys.txt --to usb1 --to closed").fails(7).says("closed");
    }
    let Some(_mount) = Mount::new(&vault, "readonly", "ro") else { return };
    vault.sender("export checkpoint --recipients keys.txt --to usb1 --to readonly").fails(7).says("read-only");
    assert!(names_in(&vault.path("usb1")).is_empty());
}

#[test]
fn drives_of_unequal_room_get_unequal_numbers_of_volumes() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 1_000_000);
    let Some(large) = Mount::new(&vault, "large", "size=200M") else { return };
    let Some(small) = Mount::new(&vault, "small", "size=100M") else { return };
    vault.export("checkpoint --to small --to large");
    let count = |mount: &Mount| volumes_under(&mount.0);
    assert_eq!((count(&small), count(&large)), (6, 12));
    assert_eq!(vault.verdict("large small")["verdict"], "intact");
}

fn volumes_under(drive: &Path) -> usize {
    let set = drive.join(String::from_utf8(names_in(drive)[0].clone()).unwrap());
    names_in(&set).iter().filter(|n| n.ends_with(b".ckv")).count()
}

#[test]
fn a_mount_point_is_a_target_and_stays_one() {
    let vault = Vault::new();
    vault.exported(300_000, "2+1");
    let Some(mount) = Mount::new(&vault, "target", "size=64M") else { return };
    fs::create_dir(mount.0.join("lost+found")).unwrap();
    vault.receiver("import usb --to target").ok();
    fs::remove_dir(mount.0.join("lost+found")).unwrap();
    tree::assert_same_inside(&vault.path("checkpoint"), &mount.0);
}

fn of_drives_without_volumes_as_many_are_here_as_are_given(block: u64) {
    let vault = Vault::with_blocks(block);
    vault.checkpoint("checkpoint", 30_000);
    let drives: Vec<String> = (1..=5).map(|d| format!("usb{d}")).collect();
    vault.make(&drives.iter().map(String::as_str).collect::<Vec<_>>());
    let to = drives.iter().map(|d| format!(" --to {d}")).collect::<String>();
    vault.export(&format!("checkpoint{to} --parity 1+1"));
    for (given, here) in [(&drives[..], 5), (&drives[..4], 4), (&drives[..3], 3), (&drives[..2], 2)] {
        let verdict = vault.verdict(&given.join(" "));
        assert_eq!(verdict["present"].as_array().unwrap().len(), here, "{verdict}");
        assert_eq!(verdict["verdict"], if here == 5 { "intact" } else { "repairable" });
    }
}

with_both_blocks!(
    any_drive_may_be_lost_and_one_more_volume
    what_no_drive_could_give_is_lost_also_where_something_else_has_the_name_of_a_volume
    with_two_of_three_drives_absent_the_set_is_incomplete_and_says_which
    this_drive_still_sees_damage_and_loss_on_it
    parity_beside_survive_drives_is_honoured
    a_damaged_drive_does_not_hide_its_whole_copy
    of_drives_without_volumes_as_many_are_here_as_are_given
);
