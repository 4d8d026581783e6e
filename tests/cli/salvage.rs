//! Sets beyond repair: what is whole comes back, and what does not is told to the byte.

use crate::both::with_both_blocks;
use crate::harm;
use crate::support::*;
use crate::tree;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

/// Segments as long as blocks in groups of 2+1 small volumes.
fn prepared(block: u64) -> (Vault, Set) {
    let vault = Vault::with_blocks(block);
    let noise = |seed, bytes: usize| noise(seed, bytes * (block / harm::BLOCK) as usize);
    vault.make(&["source/dir", "usb"]);
    fs::write(vault.path("source/a-first"), noise(1, 300_000)).unwrap();
    fs::write(vault.path("source/dir/whole"), noise(2, 50_000)).unwrap();
    fs::write(vault.path("source/dir/empty"), "").unwrap();
    fs::write(vault.path("source/m-middle"), noise(3, 900_000)).unwrap();
    fs::write(vault.path("source/m-middle.incomplete"), "taken").unwrap();
    fs::hard_link(vault.path("source/m-middle"), vault.path("source/n-hard")).unwrap();
    symlink("m-middle", vault.path("source/o-link")).unwrap();
    fs::write(vault.path("source/z-last"), noise(4, 200_000)).unwrap();
    let set = vault.export("source --to usb --parity 2+1");
    (vault, set)
}

/// Wipes a row of the only group of a set.
fn wipe(set: &Set, block: u64, row: u64, rows: u64) {
    set.volumes().iter().for_each(|v| {
        let at = (row + 1) * block;
        if at < harm::len(v) {
            harm::zero(v, at, rows * block);
        }
    });
}

fn a_whole_set_is_imported_as_ever(block: u64) {
    let (vault, set) = prepared(block);
    let report = vault.restores("usb --salvage", "source");
    assert_eq!((&report["lost"], &report["incomplete"]), (&json!([]), &json!([])));
    harm::remove([set.volume("g00000-d000.ckv")]);
    vault.restores("usb --salvage", "source");
}

fn what_is_missing_is_told_to_the_byte_and_the_rest_is_right(block: u64) {
    let (vault, set) = prepared(block);
    wipe(&set, block, 3, 2);
    vault.refuses("usb", 4).says("--salvage");
    let ran = vault.receiver("import usb --to there --salvage --json").ends(4);
    let report = ran.json();
    let incomplete = list(&report["incomplete"]);
    ran.check(!incomplete.is_empty(), "nothing is incomplete");
    for file in incomplete {
        let (path, written) = (text(&file["path"]), text(&file["written_as"]));
        assert!(!vault.path("there").join(path).exists(), "{path} is there under its own name");
        let original = fs::read(vault.path("source").join(path)).unwrap();
        let mut expected = original.clone();
        for stretch in list(&file["missing"]) {
            let (from, to) = (number(&stretch[0]) as usize, number(&stretch[1]) as usize);
            assert!(from < to && to <= original.len(), "{stretch}");
            expected[from..to].fill(0);
        }
        assert!(fs::read(vault.path("there").join(written)).unwrap() == expected, "{written}");
    }
    let broken: Vec<&str> = incomplete.iter().chain(list(&report["lost"])).map(|f| text(&f["path"])).collect();
    for name in ["a-first", "dir/whole", "dir/empty", "m-middle", "m-middle.incomplete", "n-hard", "z-last"] {
        let restored = vault.path("there").join(name);
        assert_eq!(restored.exists(), !broken.contains(&name), "{name}: {report}");
        if restored.exists() {
            assert_eq!(tree::hash(&restored), tree::hash(&vault.path("source").join(name)), "{name}");
        }
    }
    assert!(vault.path("there/o-link").is_symlink());
}

fn names_that_are_taken_are_not_overwritten_and_hard_links_share_their_fate(block: u64) {
    let (vault, set) = prepared(block);
    wipe(&set, block, 5, 1);
    let report = vault.receiver("import usb --to there --salvage --json").ends(4).json();
    let written = |path: &str| {
        let found = list(&report["incomplete"]).iter().find(|f| f["path"] == path);
        text(&found.unwrap_or_else(|| panic!("{path} is not incomplete: {report}"))["written_as"]).to_owned()
    };
    assert_eq!((&written("m-middle")[..], &written("n-hard")[..]), ("m-middle.incomplete.2", "n-hard.incomplete"));
    assert_eq!(fs::read_to_string(vault.path("there/m-middle.incomplete")).unwrap(), "taken");
    let same = |a: &str, b: &str| tree::hash(&vault.path("there").join(a)) == tree::hash(&vault.path("there").join(b));
    assert!(same("m-middle.incomplete.2", "n-hard.incomplete"));
    let shown = vault.receiver("import usb --to again --salvage").ends(4);
    shown.shows("incomplete m-middle: bytes").shows("m-middle.incomplete.2").shows("salvaged");
}

fn files_of_which_nothing_is_left_are_not_made(block: u64) {
    let (vault, set) = prepared(block);
    wipe(&set, block, 0, 1000);
    let report = vault.receiver("import usb --to there --salvage --json").ends(4).json();
    let lost: Vec<&str> = list(&report["lost"]).iter().map(|f| text(&f["path"])).collect();
    assert_eq!(lost, ["a-first", "dir/whole", "m-middle", "m-middle.incomplete", "n-hard", "z-last"]);
    assert_eq!(list(&report["incomplete"]).len(), 0);
    assert_eq!(names_in(&vault.path("there")), [&b"dir"[..], b"o-link"]);
    assert_eq!(names_in(&vault.path("there/dir")), [b"empty"]);
}

#[test]
fn drives_that_are_absent_are_done_without() {
    let vault = Vault::new();
    vault.checkpoint("source", 2_000_000);
    vault.make(&["usb1", "usb2"]);
    vault.export("source --to usb1 --to usb2 --parity 4+2");
    vault.refuses("usb1", 7);
    let report = vault.receiver("import usb1 --to there --salvage --json").ends(4).json();
    assert!(list(&report["incomplete"]).iter().any(|f| f["path"] == "model.safetensors"), "{report}");
    vault.restores("usb1 usb2 --salvage", "source");
}

with_both_blocks!(
    a_whole_set_is_imported_as_ever
    what_is_missing_is_told_to_the_byte_and_the_rest_is_right
    names_that_are_taken_are_not_overwritten_and_hard_links_share_their_fate
    files_of_which_nothing_is_left_are_not_made
);
