//! The oracle of verify and import: whatever is done to a set, the verdict names it, and import agrees with the verdict.

use crate::both::with_both_blocks;
use crate::harm;
use crate::support::*;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const SIZE: usize = 1_500_000;

/// Asserts that `verify` names `path` as damaged, and nothing else.
#[track_caller]
fn names_only(verdict: &Value, path: &Path, what: &str) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let bad: Vec<&Value> = list(&verdict["volumes"]).iter().filter(|v| v["state"] != "ok").collect();
    let files = list(&verdict["files"]);
    let named = match name.ends_with(".ckv") {
        true => {
            files.is_empty()
                && bad.len() == 1
                && bad[0]["name"] == name
                && bad[0]["state"] == "damaged"
                && number(&bad[0]["bad_blocks"]) == 1
        }
        false => {
            bad.is_empty()
                && files.len() == 1
                && text(&files[0]["path"])
                    .ends_with(path.strip_prefix(path.ancestors().nth(2).unwrap()).unwrap().to_str().unwrap())
                && files[0]["state"] == "damaged"
        }
    };
    assert!(verdict["verdict"] == "repairable" && named, "{what} in {}: {verdict}", path.display());
}

/// Offsets of a file worth a flipped bit: its ends, edges of blocks, and some between.
fn offsets(path: &Path, block: u64) -> Vec<u64> {
    let len = harm::len(path);
    let mut all = vec![0, len / 3, len / 2, len - 1, 63, block - 1, block, block + 20, 2 * block - 1];
    all.retain(|at| *at < len);
    all.sort_unstable();
    all.dedup();
    all
}

fn one_flipped_bit_anywhere_is_named_and_repaired(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(SIZE / 4, "2+1");
    let files = set.files();
    assert_eq!(files.len(), 3 + 2 * 8 + 3, "{files:?}");
    for path in files {
        let all = offsets(&path, block);
        for (i, at) in all.iter().enumerate() {
            harm::flip(&path, *at, (i % 8) as u8);
            names_only(&vault.verdict("usb"), &path, &format!("bit {} of byte {at}", i % 8));
            if i == 0 || i + 1 == all.len() || i == 6 {
                vault.restores("usb", "checkpoint");
            }
            harm::flip(&path, *at, (i % 8) as u8);
        }
    }
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
}

#[test]
fn every_bit_of_the_small_metadata_files_counts() {
    let vault = Vault::new();
    let set = vault.exported(1000, "1+1");
    for name in ["manifest.json.sig", "B3SUMS", "keys.age"] {
        let path = set.dirs[0].join(name);
        for at in (0..harm::len(&path)).step_by(5).chain([harm::len(&path) - 1]) {
            harm::flip(&path, at, (at % 8) as u8);
            names_only(&vault.verdict("usb"), &path, &format!("byte {at}"));
            harm::flip(&path, at, (at % 8) as u8);
        }
    }
}

#[test]
fn a_lost_metadata_file_is_named_and_does_not_matter() {
    let vault = Vault::new();
    let set = vault.exported(1000, "1+1");
    let volumes = set.volumes();
    for path in set.files().into_iter().filter(|p| !volumes.contains(p)) {
        let aside = vault.path("aside");
        fs::rename(&path, &aside).unwrap();
        let verdict = vault.verdict("usb");
        assert_eq!(
            (&verdict["verdict"], &verdict["files"][0]["state"]),
            (&"repairable".into(), &"missing".into()),
            "{}",
            path.display()
        );
        vault.restores("usb", "checkpoint");
        fs::rename(&aside, &path).unwrap();
    }
}

#[test]
fn the_whole_second_copy_may_be_lost_and_so_may_the_first() {
    let vault = Vault::new();
    let set = vault.exported(1000, "1+1");
    for copy in ["copy", "third"].map(|name| set.dirs[0].join(name)) {
        fs::rename(&copy, vault.path("aside")).unwrap();
        assert_eq!(vault.verdict("usb")["verdict"], "repairable");
        vault.restores("usb", "checkpoint");
        fs::rename(vault.path("aside"), &copy).unwrap();
    }
    harm::remove(set.files().iter().filter(|p| {
        p.parent() == Some(&set.dirs[0]) && !p.ends_with("g00000-d000.ckv") && !p.ends_with("g00000-p000.ckv")
    }));
    assert_eq!(vault.verdict("usb")["verdict"], "repairable");
    vault.restores("usb", "checkpoint");
}

fn any_m_volumes_may_be_lost_and_no_more(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(SIZE, "3+2");
    let volumes = set.volumes();
    assert_eq!(volumes.len(), 5);
    let aside = |lost: &[usize]| {
        lost.iter().for_each(|i| fs::rename(&volumes[*i], volumes[*i].with_extension("aside")).unwrap())
    };
    let back = |lost: &[usize]| {
        lost.iter().for_each(|i| fs::rename(volumes[*i].with_extension("aside"), &volumes[*i]).unwrap())
    };
    for a in 0..5 {
        for b in a + 1..5 {
            aside(&[a, b]);
            let verdict = vault.verdict("usb");
            assert_eq!(verdict["verdict"], "repairable", "{a} {b}");
            let missing = list(&verdict["volumes"]).iter().filter(|v| v["state"] == "missing").count();
            assert_eq!(missing, 2);
            let repaired = number(&vault.restores("usb", "checkpoint")["repaired_blocks"]);
            assert_eq!(repaired > 0, a < 3, "{a} {b}: {repaired}");
            let c = (b + 1) % 5;
            if c != a {
                aside(&[c]);
                let verdict = vault.verdict("usb");
                let data_lost = [a, b, c].iter().any(|i| *i < 3);
                assert!(data_lost && verdict["verdict"] == "lost", "{a} {b} {c}: {verdict}");
                vault.refuses("usb", 4);
                back(&[c]);
            }
            back(&[a, b]);
        }
    }
}

fn damage_in_all_volumes_is_repaired_while_no_row_has_too_much(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(SIZE, "3+2");
    for (i, path) in set.volumes().iter().enumerate() {
        harm::zero(path, (1 + 2 * (i as u64 / 2)) * block + 5, 100);
        harm::zero(path, 0, block);
    }
    let verdict = vault.verdict("usb");
    assert_eq!(verdict["verdict"], "repairable", "{verdict}");
    assert!(list(&verdict["volumes"]).iter().all(|v| v["bad_blocks"] == 2), "{verdict}");
    assert!(number(&vault.restores("usb", "checkpoint")["repaired_blocks"]) >= 3);
    for path in &set.volumes()[2..] {
        harm::zero(path, block + 5, 100);
    }
    assert_eq!(vault.verdict("usb")["verdict"], "lost");
    vault.refuses("usb", 4);
}

fn sixteen_zeroed_blocks_are_counted_and_repaired(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(4_000_000, "2+1");
    harm::zero(&set.volume("g00000-d001.ckv"), 3 * block, 16 * block);
    let verdict = vault.verdict("usb");
    assert_eq!(verdict["verdict"], "repairable");
    assert_eq!(number(&volume(&verdict, "g00000-d001.ckv")["bad_blocks"]), 16);
    assert_eq!(number(&vault.restores("usb", "checkpoint")["repaired_blocks"]), 16);
}

fn truncated_and_lengthened_volumes_are_called_so(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(SIZE, "2+1");
    let (path, name) = (set.volume("g00000-d000.ckv"), "g00000-d000.ckv");
    let len = harm::len(&path);
    let whole = fs::read(&path).unwrap();
    for (bytes, what) in [
        (len - 1, "truncated"),
        (len / 2, "truncated"),
        (0, "truncated"),
        (len + 1, "lengthened"),
        (len + 3 * block, "lengthened"),
    ] {
        harm::resize(&path, bytes);
        let verdict = vault.verdict("usb");
        let judged = volume(&verdict, name);
        assert!(
            verdict["verdict"] == "repairable"
                && judged["state"] == "damaged"
                && text(&judged["diagnosis"]).contains(what),
            "{bytes} of {len}: {verdict}"
        );
        vault.restores("usb", "checkpoint");
        fs::write(&path, &whole).unwrap();
    }
}

fn swapped_volumes_are_called_so(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(SIZE, "3+2");
    harm::swap_files(&set.volume("g00000-d000.ckv"), &set.volume("g00000-d002.ckv"));
    let verdict = vault.verdict("usb");
    assert_eq!(verdict["verdict"], "repairable");
    for (name, holds) in [("g00000-d000.ckv", "g00000-d002.ckv"), ("g00000-d002.ckv", "g00000-d000.ckv")] {
        let diagnosis = text(&volume(&verdict, name)["diagnosis"]);
        assert!(diagnosis.contains("swapped") && diagnosis.contains(holds), "{verdict}");
    }
    vault.restores("usb", "checkpoint");
}

fn a_volume_of_another_set_is_called_so(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(SIZE, "2+1");
    vault.make(&["usb2"]);
    let other = vault.export("checkpoint --to usb2 --parity 2+1");
    fs::copy(other.volume("g00000-d001.ckv"), set.volume("g00000-d001.ckv")).unwrap();
    let verdict = vault.verdict("usb");
    let diagnosis = text(&volume(&verdict, "g00000-d001.ckv")["diagnosis"]);
    assert!(
        verdict["verdict"] == "repairable" && diagnosis.contains("another set") && diagnosis.contains(&other.id()[..8]),
        "{verdict}"
    );
    vault.restores("usb", "checkpoint");
}

#[test]
fn a_volume_of_a_set_with_other_blocks_is_called_so() {
    for (ours, theirs) in [("64K", "512K"), ("512K", "64K")] {
        let vault = Vault::new();
        vault.checkpoint("checkpoint", 4 * SIZE);
        vault.make(&["usb", "usb2"]);
        let export = |drive: &str, block: &str| {
            let ran = vault.sender(&format!(
                "export checkpoint --to {drive} --recipients keys.txt --parity 2+1 --volume-size 8M --block-size {block} --json"
            ));
            let report = ran.ok().json();
            Set { dirs: vec![vault.path(text(&list(&report["drives"])[0]["directory"]))], report }
        };
        let (set, other) = (export("usb", ours), export("usb2", theirs));
        fs::copy(other.volume("g00000-d001.ckv"), set.volume("g00000-d001.ckv")).unwrap();
        let verdict = vault.verdict("usb");
        let diagnosis = text(&volume(&verdict, "g00000-d001.ckv")["diagnosis"]);
        assert!(
            diagnosis.contains("another set") && diagnosis.contains(&other.id()[..8]),
            "{ours} {theirs}: {verdict}"
        );
        vault.restores("usb", "checkpoint");
    }
}

fn swapped_blocks_are_called_so(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(SIZE, "2+2");
    let (a, b) = (set.volume("g00000-d000.ckv"), set.volume("g00000-d001.ckv"));
    harm::swap_blocks(block, (&a, 2), (&a, 5));
    let verdict = vault.verdict("usb");
    let diagnosis = text(&volume(&verdict, "g00000-d000.ckv")["diagnosis"]);
    assert!(diagnosis.contains("swapped") && diagnosis.contains('2') && diagnosis.contains('5'), "{verdict}");
    assert_eq!(volume(&verdict, "g00000-d000.ckv")["bad_blocks"], 2);
    vault.restores("usb", "checkpoint");
    harm::swap_blocks(block, (&a, 2), (&a, 5));
    harm::swap_blocks(block, (&a, 3), (&b, 3));
    let verdict = vault.verdict("usb");
    for (name, other) in [("g00000-d000.ckv", "g00000-d001.ckv"), ("g00000-d001.ckv", "g00000-d000.ckv")] {
        let judged = volume(&verdict, name);
        assert!(
            judged["bad_blocks"] == 1
                && text(&judged["diagnosis"]).contains("swapped")
                && text(&judged["diagnosis"]).contains(other),
            "{verdict}"
        );
    }
    vault.restores("usb", "checkpoint");
}

/// All copies of `hashes.b3`, harmed in one of several ways.
fn harm_hashes(set: &Set, how: usize) {
    for (i, path) in set.copies("hashes.b3").iter().enumerate() {
        match how {
            0 => harm::remove([path]),
            1 => harm::resize(path, 0),
            2 => harm::flip(path, 33 + i as u64, 3),
            _ => harm::zero(path, 0, u64::MAX),
        }
    }
}

fn all_copies_of_the_hashes_may_be_lost_with_a_volume_besides(block: u64) {
    let vault = Vault::with_blocks(block);
    vault.checkpoint("checkpoint", SIZE);
    for how in 0..4 {
        let drive = format!("usb-{how}");
        vault.make(&[&drive]);
        let set = vault.export(&format!("checkpoint --to {drive} --parity 2+1 --no-read-back"));
        harm_hashes(&set, how);
        assert_eq!(vault.verdict(&drive)["verdict"], "repairable", "hashes harmed, way {how}");
        vault.restores(&drive, "checkpoint");
        harm::flip(&set.volume("g00000-d000.ckv"), 3 * block + 9, 1);
        let verdict = vault.verdict(&drive);
        assert!(
            verdict["verdict"] == "repairable" && volume(&verdict, "g00000-d000.ckv")["state"] == "damaged",
            "way {how}: {verdict}"
        );
        assert!(number(&vault.restores(&drive, "checkpoint")["repaired_blocks"]) > 0);
        harm::remove([set.volume("g00000-d001.ckv")]);
        assert_eq!(vault.verdict(&drive)["verdict"], "lost");
        vault.refuses(&drive, 4);
    }
}

#[test]
fn without_any_key_slot_or_inventory_the_set_is_lost() {
    let vault = Vault::new();
    let set = vault.exported(SIZE, "2+1");
    for name in ["keys.age", "inventory.age"] {
        let kept: Vec<(PathBuf, Vec<u8>)> =
            set.copies(name).into_iter().map(|p| (p.clone(), fs::read(p).unwrap())).collect();
        kept.iter().for_each(|(path, _)| harm::zero(path, 0, 100));
        assert_eq!(vault.verdict("usb")["verdict"], "lost", "{name} damaged");
        vault.refuses("usb", 4);
        harm::remove(set.copies(name));
        assert_eq!(vault.verdict("usb")["verdict"], "lost", "{name} deleted");
        vault.refuses("usb", 4);
        kept.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }
    vault.restores("usb", "checkpoint");
}

fn only_what_is_asked_for_needs_to_be_readable(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(SIZE, "2+1");
    harm::remove([set.volume("g00000-d001.ckv"), set.volume("g00000-p000.ckv")]);
    assert_eq!(vault.verdict("usb")["verdict"], "lost");
    vault.refuses("usb", 4);
    vault.receiver("import usb --only config.json --to salvaged").ok();
    assert_eq!(
        fs::read(vault.path("salvaged/config.json")).unwrap(),
        fs::read(vault.path("checkpoint/config.json")).unwrap()
    );
}

fn links_devices_and_directories_in_place_of_files_are_damage(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(SIZE, "2+1");
    let path = set.volume("g00000-d000.ckv");
    fs::rename(&path, vault.path("elsewhere.ckv")).unwrap();
    std::os::unix::fs::symlink(vault.path("elsewhere.ckv"), &path).unwrap();
    let verdict = vault.verdict("usb");
    assert!(verdict["verdict"] == "repairable" && volume(&verdict, "g00000-d000.ckv")["state"] != "ok", "{verdict}");
    vault.restores("usb", "checkpoint");
    harm::remove([&path]);
    fs::create_dir(&path).unwrap();
    let keys = set.dirs[0].join("keys.age");
    harm::remove([&keys]);
    std::os::unix::fs::symlink("/dev/zero", &keys).unwrap();
    assert_eq!(vault.verdict("usb")["verdict"], "repairable");
    vault.restores("usb", "checkpoint");
}

with_both_blocks!(
    one_flipped_bit_anywhere_is_named_and_repaired
    any_m_volumes_may_be_lost_and_no_more
    damage_in_all_volumes_is_repaired_while_no_row_has_too_much
    sixteen_zeroed_blocks_are_counted_and_repaired
    truncated_and_lengthened_volumes_are_called_so
    swapped_volumes_are_called_so
    a_volume_of_another_set_is_called_so
    swapped_blocks_are_called_so
    all_copies_of_the_hashes_may_be_lost_with_a_volume_besides
    only_what_is_asked_for_needs_to_be_readable
    links_devices_and_directories_in_place_of_files_are_damage
);
