//! `repair`: what is damaged or missing is made anew, in its place or on a new drive.

use crate::both::with_both_blocks;
use crate::dice::Dice;
use crate::harm::{self, BLOCK};
use crate::support::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const SIZE: usize = 1_500_000;

/// Every file of a set with its bytes.
fn contents(set: &Set) -> BTreeMap<PathBuf, Vec<u8>> {
    set.files().into_iter().map(|p| (p.clone(), fs::read(p).unwrap())).collect()
}

/// Asserts that all files of a set are as they were, and that there are no others.
#[track_caller]
fn assert_as_before(set: &Set, before: &BTreeMap<PathBuf, Vec<u8>>) {
    let now = contents(set);
    let names = |all: &BTreeMap<PathBuf, Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&now), names(before));
    before.iter().for_each(|(path, bytes)| assert!(now[path] == *bytes, "{} is another", path.display()));
}

/// Repairs as the receiver, who needs no identity for it; must succeed.
#[track_caller]
fn repaired(vault: &Vault, arguments: &str) -> Value {
    let call = vault.call("gate", &format!("repair {arguments} --signers sender.pub --json"));
    call.run().ok().json()
}

/// The files that a report says were repaired, or left.
fn paths(vault: &Vault, report: &Value, what: &str) -> Vec<PathBuf> {
    list(&report[what]).iter().map(|r| vault.path(text(&r["path"]))).collect()
}

#[test]
fn a_whole_set_needs_no_repair() {
    let vault = Vault::new();
    let set = vault.exported(SIZE, "2+1");
    let before = contents(&set);
    let report = repaired(&vault, "usb");
    assert_eq!((report["verdict"].as_str(), list(&report["repaired"]).len()), (Some("intact"), 0));
    assert!(report["read_back"].is_null());
    vault.receiver("repair usb").ok().shows("nothing to repair");
    vault.make(&["new"]);
    let report = repaired(&vault, "usb --to new");
    assert!(list(&report["replaced"]).is_empty() && list(&report["unused"]).len() == 1, "{report}");
    assert!(names_in(&vault.path("new")).is_empty());
    assert_as_before(&set, &before);
}

fn every_file_comes_back_byte_for_byte(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(SIZE, "3+2");
    let before = contents(&set);
    let volumes = set.volumes();
    let ways: [&dyn Fn(&Path); 6] = [
        &|p| harm::remove([p]),
        &|p| harm::flip(p, harm::len(p) / 2, 3),
        &|p| harm::resize(p, harm::len(p) / 3),
        &|p| harm::resize(p, harm::len(p) + block + 4464),
        &|p| harm::zero(p, 0, u64::MAX),
        &|p| {
            harm::remove([p]);
            fs::create_dir(p).unwrap();
        },
    ];
    for (path, bytes) in &before {
        for (i, way) in ways.iter().enumerate() {
            // Of some volumes all ways, and of each metadata file, which has no blocks, where these are small; of the others one.
            let all = match volumes.contains(path) {
                true => path.ends_with("g00000-d001.ckv") || path.ends_with("g00000-p000.ckv"),
                false => block == BLOCK,
            };
            if i > 0 && !all {
                continue;
            }
            way(path);
            let report = repaired(&vault, "usb");
            assert_eq!(paths(&vault, &report, "repaired"), [path.as_path()], "way {i}: {report}");
            assert_eq!(report["verdict"], "intact");
            assert!(fs::read(path).unwrap() == *bytes, "{} is another, way {i}", path.display());
        }
    }
    assert_as_before(&set, &before);
}

fn m_volumes_at_once_and_half_of_the_metadata_come_back(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(4_000_000, "4+3");
    let before = contents(&set);
    harm::remove([set.volume("g00000-d001.ckv"), set.volume("g00000-p002.ckv")]);
    harm::zero(&set.volume("g00000-d003.ckv"), 5 * block, 3 * block);
    fs::remove_dir_all(set.dirs[0].join("copy")).unwrap();
    let report = repaired(&vault, "usb");
    assert_eq!(report["verdict"], "intact");
    assert_eq!(list(&report["repaired"]).len(), 3 + 8, "{report}");
    let d003 = list(&report["repaired"]).iter().find(|r| text(&r["path"]).ends_with("d003.ckv")).unwrap();
    assert_eq!((number(&d003["blocks"]), number(&d003["drive"])), (3, 1));
    assert!(["device", "cache-possible"].contains(&text(&report["read_back"])));
    assert_as_before(&set, &before);
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
}

fn damage_in_all_volumes_is_repaired_on_all_drives(block: u64) {
    let vault = Vault::with_blocks(block);
    vault.checkpoint("checkpoint", SIZE);
    vault.make(&["usb1", "usb2", "usb3"]);
    let set = vault.export("checkpoint --to usb1 --to usb2 --to usb3 --parity 4+2");
    let before = contents(&set);
    for (i, path) in set.volumes().iter().enumerate() {
        harm::flip(path, (1 + i as u64) * block + 7, 1);
        harm::flip(path, 30, 1);
    }
    for (i, path) in set.copies("hashes.b3").iter().enumerate() {
        harm::flip(path, 40 * i as u64, 0);
    }
    let report = repaired(&vault, "usb1 usb2 usb3");
    assert_eq!(report["verdict"], "intact", "{report}");
    assert_as_before(&set, &before);
}

fn hashes_without_a_good_copy_are_put_together(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(SIZE, "2+1");
    let before = contents(&set);
    harm::remove(set.copies("hashes.b3"));
    harm::flip(&set.volume("g00000-d000.ckv"), 3 * block + 9, 1);
    let report = repaired(&vault, "usb");
    assert_eq!(report["verdict"], "intact", "{report}");
    assert_as_before(&set, &before);
}

fn what_is_lost_is_left_alone_and_everything_else_is_repaired(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(6 << 20, "2+1");
    let before = contents(&set);
    let lost = ["g00000-d000.ckv", "g00000-p000.ckv"].map(|name| set.volume(name));
    for path in &lost {
        harm::zero(path, 2 * block, block);
    }
    let others = [set.volume("g00001-d001.ckv"), set.copies("inventory.age")[0].clone()];
    harm::remove(&others);
    let damaged: Vec<Vec<u8>> = lost.iter().map(|p| fs::read(p).unwrap()).collect();
    let ran = vault.receiver("repair usb --json").ends(4).says("too many other volumes").says("hint: ");
    let report = ran.json();
    assert_eq!(report["verdict"], "lost");
    assert_eq!(paths(&vault, &report, "left"), lost);
    lost.iter().zip(damaged).for_each(|(path, bytes)| assert!(fs::read(path).unwrap() == bytes));
    others.iter().for_each(|path| assert!(fs::read(path).unwrap() == before[path]));
    assert_eq!(contents(&set).len(), before.len(), "something was left behind");
    assert_eq!(vault.verdict("usb")["verdict"], "lost");
}

/// A vault with a set on three drives, of which any one may be lost.
fn three(block: u64) -> (Vault, Set) {
    let vault = Vault::with_blocks(block);
    vault.checkpoint("checkpoint", SIZE);
    vault.make(&["usb1", "usb2", "usb3", "new", "new2"]);
    let set = vault.export("checkpoint --to usb1 --to usb2 --to usb3 --survive-drives 1 --same-device-ok");
    (vault, set)
}

/// A drive has exactly the files that another had.
#[track_caller]
fn assert_drive_like(new: &Path, old: &Path, before: &BTreeMap<PathBuf, Vec<u8>>) {
    let made = harm::files_under(new);
    let wanted: BTreeMap<PathBuf, &Vec<u8>> =
        before.iter().filter_map(|(path, bytes)| Some((path.strip_prefix(old).ok()?.to_owned(), bytes))).collect();
    assert_eq!(made.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    wanted.iter().for_each(|(path, bytes)| assert!(made[path] == **bytes, "{} is another", path.display()));
}

fn an_absent_drive_is_replaced_and_the_others_are_not_touched(block: u64) {
    let (vault, set) = three(block);
    let before = contents(&set);
    fs::rename(vault.path("usb2"), vault.path("gone")).unwrap();
    vault.receiver("repair usb1 usb3").ok().shows("absent").shows("--to");
    let report = repaired(&vault, "usb1 usb3 --to new");
    let replaced = &list(&report["replaced"])[0];
    assert_eq!((report["verdict"].as_str(), number(&replaced["drive"])), (Some("intact"), 2), "{report}");
    assert!(number(&replaced["volumes"]) == 8 && number(&replaced["blocks"]) >= 8);
    assert_drive_like(&vault.path("new"), &vault.path("usb2"), &before);
    for (path, bytes) in before.iter().filter(|(p, _)| !p.starts_with(vault.path("usb2"))) {
        assert!(fs::read(path).unwrap() == *bytes);
    }
    assert_eq!(vault.verdict("usb1 new usb3")["verdict"], "intact");
    vault.restores("new usb3", "checkpoint");
    vault.receiver("repair usb1 usb3 new --to new2").ok().shows("nothing to repair");
    vault.receiver("repair usb1 usb3 --to new").fails(2).says("already");
}

fn a_damaged_drive_is_replaced_from_its_own_good_blocks_too(block: u64) {
    let (vault, set) = three(block);
    let before = contents(&set);
    // More is damaged than the other drives alone could make good.
    harm::remove([set.dirs[0].join("g00000-d000.ckv"), set.dirs[1].join("manifest.json")]);
    for path in set.volumes().iter().filter(|p| p.starts_with(&set.dirs[1])) {
        harm::flip(path, block + 9, 3);
    }
    vault.receiver("repair usb1 usb2 usb3 --to new").fails(2).says("drives 1, 2").says("in place");
    let damaged = contents(&set);
    let report = repaired(&vault, "usb1 usb2 usb3 --to new --to new2");
    let drives: Vec<u64> = list(&report["replaced"]).iter().map(|r| number(&r["drive"])).collect();
    assert_eq!((drives, report["verdict"].as_str()), (vec![1, 2], Some("intact")), "{report}");
    assert_drive_like(&vault.path("new"), &vault.path("usb1"), &before);
    assert_drive_like(&vault.path("new2"), &vault.path("usb2"), &before);
    assert_as_before(&set, &damaged);
    assert_eq!(vault.verdict("new new2 usb3")["verdict"], "intact");
}

fn a_lone_drive_is_replaced_as_a_whole(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(SIZE, "4+2");
    let before = contents(&set);
    harm::remove([set.volume("g00000-d000.ckv"), set.copies("keys.age")[0].clone()]);
    vault.make(&["new"]);
    repaired(&vault, "usb --to new");
    assert_drive_like(&vault.path("new"), &vault.path("usb"), &before);
}

fn what_absent_drives_could_still_bring_is_incomplete(block: u64) {
    let (vault, set) = three(block);
    let ran = vault.receiver("repair usb2 --json").ends(7).says("drives 1, 3");
    assert_eq!(ran.json()["verdict"], "incomplete");
    harm::remove([set.dirs[1].join("copy/keys.age"), set.dirs[1].join("g00000-d001.ckv")]);
    let ran = vault.receiver("repair usb2 --json").ends(7);
    let report = ran.json();
    assert_eq!((list(&report["left"]).len(), list(&report["repaired"]).len()), (1, 1), "{report}");
    assert!(set.dirs[1].join("copy/keys.age").exists());
    let ran = vault.receiver("repair usb2 --to new --to new2 --json").ends(2);
    ran.check(ran.stderr.contains("drives 1, 2, 3"), "the drives are not named");
    assert!(names_in(&vault.path("new")).is_empty());
}

#[test]
fn leftovers_of_an_interrupted_repair_are_removed() {
    let (vault, set) = three(BLOCK);
    let before = contents(&set);
    let volume = set.volume("g00000-d003.ckv");
    harm::remove([&volume]);
    fs::write(volume.with_extension("ckv.partial"), "half").unwrap();
    fs::write(set.dirs[0].join("copy/inventory.age.partial"), "half").unwrap();
    repaired(&vault, "usb1 usb2 usb3");
    assert_as_before(&set, &before);
}

#[test]
fn a_set_that_nobody_vouches_for_is_not_repaired() {
    let (vault, set) = three(BLOCK);
    harm::remove([set.volume("g00000-d003.ckv")]);
    vault.call("stranger", "keygen").run().ok();
    vault.call("stranger", "repair usb1 usb2 usb3").run().fails(5).says("not a trusted signer");
    harm::remove(set.copies("manifest.json"));
    vault.receiver("repair usb1 usb2 usb3").fails(5);
}

/// Kills repairs at moments that are spread over the whole run, until one gets to its end, which so many rounds see to.
#[track_caller]
fn killed_until_done(vault: &Vault, rounds: u32, arguments: &str, begin: impl Fn()) {
    begin();
    let begun = std::time::Instant::now();
    vault.receiver(&format!("repair {arguments}")).ok();
    let whole = begun.elapsed();
    begin();
    let (mut dice, mut kills) = (Dice(7), 0);
    for round in 0.. {
        let mut child = vault.call("receiver", &format!("repair {arguments}")).command().spawn().unwrap();
        // Later each time, so that this ends.
        let share = (dice.below(1000) as f64 / 1000.0).max(f64::from(round) / f64::from(rounds));
        std::thread::sleep(whole.mul_f64(share * 1.2));
        let _ = child.kill();
        match child.wait().unwrap().code() {
            // Killed after the last file of a new drive was in its place: then that drive is one of the set, and treated as such.
            Some(2) if arguments.ends_with("--to new") => {
                vault.receiver(&format!("repair {arguments}")).fails(2).says("in place of the old drive");
                vault.receiver("repair usb1 usb3 new").ok();
                break;
            }
            Some(code) => {
                assert_eq!(code, 0, "round {round}");
                break;
            }
            None => kills += 1,
        }
        // Whatever it was killed at, nothing that was whole has suffered.
        let verdict = vault.verdict("usb1 usb2 usb3");
        assert!(["repairable", "intact"].contains(&text(&verdict["verdict"])), "round {round}: {verdict}");
    }
    eprintln!("killed {kills} times: repair {arguments}");
    assert!(kills > 0, "never killed: repair {arguments}");
}

fn a_repair_may_be_killed_at_any_time_and_run_again(block: u64) {
    let vault = Vault::with_blocks(block);
    // Repairs of large blocks take longer.
    let (bytes, rounds) = if block == BLOCK { (12_000_000, 40) } else { (5_000_000, 8) };
    vault.checkpoint("checkpoint", bytes);
    vault.make(&["usb1", "usb2", "usb3", "new"]);
    let set =
        vault.export("checkpoint --to usb1 --to usb2 --to usb3 --survive-drives 1 --same-device-ok --no-read-back");
    let before = contents(&set);
    let own: Vec<PathBuf> = set.volumes().into_iter().filter(|p| p.starts_with(&set.dirs[1])).collect();
    let harm = || {
        own.iter().step_by(2).filter(|p| p.exists()).for_each(|p| harm::zero(p, 3 * block, 20 * block));
        harm::remove([&own[1], &set.dirs[1].join("copy/hashes.b3")].into_iter().filter(|p| p.exists()));
    };
    killed_until_done(&vault, rounds, "usb1 usb2 usb3", harm);
    assert_as_before(&set, &before);
    harm();
    killed_until_done(&vault, rounds, "usb1 usb2 usb3 --to new", || {
        let _ = fs::remove_dir_all(vault.path("new"));
        vault.make(&["new"]);
    });
    assert_drive_like(&vault.path("new"), &vault.path("usb2"), &before);
}

#[test]
fn a_new_drive_that_lacks_only_its_last_file_is_one_of_the_set() {
    let (vault, set) = three(BLOCK);
    let before = contents(&set);
    vault.make(&["new"]);
    fs::remove_dir_all(&set.dirs[1]).unwrap();
    repaired(&vault, "usb1 usb3 --to new");
    let made = vault.path("new").join(set.dirs[1].file_name().unwrap());
    fs::remove_file(made.join("manifest.json")).unwrap();
    vault.receiver("repair usb1 usb3 --to new").fails(2).says("in place of the old drive");
    repaired(&vault, "usb1 usb3 new");
    assert_drive_like(&vault.path("new"), &vault.path("usb2"), &before);
}

#[test]
fn an_interrupted_repair_leaves_no_partial_file() {
    let vault = Vault::new();
    let set = vault.exported(60_000_000, "4+2");
    let path = set.volume("g00001-d000.ckv");
    let interrupted = (0..8).any(|_| {
        let volumes = set.volumes();
        harm::remove(volumes.iter().filter(|p| p.to_string_lossy().ends_with("d000.ckv") && p.exists()));
        let mut child = vault.call("receiver", "repair usb").command().spawn().unwrap();
        while !path.with_extension("ckv.partial").exists() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let sent =
            std::process::Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
        child.wait().unwrap().code() == Some(130) && sent.success()
    });
    assert!(interrupted, "the command was always faster than this test");
    let left = |dir: &Path| names_in(dir).iter().any(|n| n.ends_with(b".partial"));
    assert!(!left(&set.dirs[0]) && !left(&set.dirs[0].join("copy")));
    vault.receiver("repair usb").ok();
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
}

fn room_for_one_volume_at_a_time_is_enough_and_less_is_told(block: u64) {
    let vault = Vault::with_blocks(block);
    // Of large blocks there are fewer: all of this lies in memory.
    let (bytes, room) = if block == BLOCK { (14_000_000, "48M") } else { (3_500_000, "160M") };
    vault.checkpoint("checkpoint", bytes);
    vault.make(&["usb", "new"]);
    if !is_root() || vault.tool("mount", &format!("-t tmpfs -o size={room} none usb")).run().code != Some(0) {
        return skip("needs root and mount(8) for a tmpfs");
    }
    let set = vault.export("checkpoint --to usb --parity 7+3 --no-read-back");
    let before = contents(&set);
    // Three volumes are damaged, and there is room for one.
    let damage = || set.volumes()[..3].iter().for_each(|p| harm::zero(p, block, block));
    let ballast = vault.path("usb/ballast");
    let fill = |leave: u64| {
        let _ = fs::remove_file(&ballast);
        let free = rustix::fs::statvfs(vault.path("usb")).unwrap();
        fs::write(&ballast, vec![1; (free.f_bavail * free.f_frsize - leave) as usize]).unwrap();
    };
    damage();
    fill(set.volumes()[..3].iter().map(|p| harm::len(p)).max().unwrap() + (1 << 19));
    let repaired = vault.receiver("repair usb --json");
    let whole = contents(&set) == before;
    damage();
    fill(1 << 20);
    let refused = vault.receiver("repair usb --json");
    let replaced = vault.receiver("repair usb --to new --json");
    vault.tool("umount", "usb").run().ok();
    assert!(repaired.ok().json()["verdict"] == "intact" && whole);
    let refused = refused.ends(7).says("no room").says("--to");
    assert_eq!((list(&refused.json()["left"]).len(), refused.json()["verdict"].as_str()), (3, Some("repairable")));
    assert_eq!(replaced.ok().json()["verdict"], "intact");
    vault.restores("new", "checkpoint");
}

#[test]
fn recover_py_and_its_text_come_back_without_any_copy() {
    let vault = Vault::new();
    let set = vault.exported(SIZE, "2+1");
    let before = contents(&set);
    harm::remove([set.copies("recover.py"), set.copies("RECOVER.txt")].concat());
    repaired(&vault, "usb");
    assert_as_before(&set, &before);
}

#[test]
fn parts_are_repaired_and_share_their_key_slot() {
    let vault = Vault::new();
    let Some(_drives) = crate::parts::drives(&vault, 6) else { return };
    crate::parts::export(&vault, "").run().ok();
    let dir = |n: usize| {
        let drive = vault.path(format!("drive{n}"));
        drive.join(std::str::from_utf8(&names_in(&drive)[0]).unwrap())
    };
    let before: Vec<_> = (1..=5).map(|n| harm::files_under(&vault.path(format!("drive{n}")))).collect();
    harm::remove([dir(2).join("keys.age"), dir(2).join("copy/keys.age"), dir(2).join("g00000-d001.ckv")]);
    harm::flip(&dir(4).join("g00000-p001.ckv"), 3 * BLOCK, 1);
    let all = "drive1 drive2 drive3 drive4 drive5";
    assert_eq!(vault.verdict(all)["verdict"], "repairable");
    vault.receiver(&format!("repair {all} --to drive6")).fails(2).says("drives 2, 4");
    let report = repaired(&vault, all);
    let drives: Vec<u64> = list(&report["repaired"]).iter().map(|r| number(&r["drive"])).collect();
    assert_eq!((drives, report["verdict"].as_str()), (vec![2, 2, 2, 4], Some("intact")), "{report}");
    for (n, files) in (1..=5).zip(&before) {
        assert!(harm::files_under(&vault.path(format!("drive{n}"))) == *files, "drive {n} is another");
    }
    // Without another part of it, a drive alone in its part is replaced as long as its own good blocks suffice.
    harm::remove([dir(5).join("g00000-d000.ckv")]);
    let replaced = repaired(&vault, &format!("{all} --to drive6"));
    assert_eq!(number(&list(&replaced["replaced"])[0]["drive"]), 5, "{replaced}");
    vault.restores("drive1 drive2 drive3 drive4 drive6", "source");
}

with_both_blocks!(
    m_volumes_at_once_and_half_of_the_metadata_come_back
    damage_in_all_volumes_is_repaired_on_all_drives
    hashes_without_a_good_copy_are_put_together
    every_file_comes_back_byte_for_byte
    what_is_lost_is_left_alone_and_everything_else_is_repaired
    an_absent_drive_is_replaced_and_the_others_are_not_touched
    a_damaged_drive_is_replaced_from_its_own_good_blocks_too
    a_lone_drive_is_replaced_as_a_whole
    what_absent_drives_could_still_bring_is_incomplete
    a_repair_may_be_killed_at_any_time_and_run_again
    room_for_one_volume_at_a_time_is_enough_and_less_is_told
);

#[test]
fn what_is_no_directory_in_the_place_of_one_is_replaced() {
    let vault = Vault::new();
    let set = vault.exported(400_000, "2+1");
    for name in ["copy", "third"] {
        let place = set.dirs[0].join(name);
        for make in ["echo x > ", "mkfifo "] {
            fs::remove_dir_all(&place).unwrap();
            vault.tool("sh", "-c").arg(format!("{make}'{}'", place.display())).run().ok();
            vault.receiver("repair usb").ok();
            assert_eq!(vault.verdict("usb")["verdict"], "intact", "{name}");
        }
    }
}
