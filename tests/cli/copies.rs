//! `import --links copy`: sets with links, where there can be none.

use crate::both::with_both_blocks;
use crate::harm;
use crate::support::*;
use crate::tree;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A checkpoint with links of every kind that stay inside.
fn prepared(block: u64) -> Vault {
    let vault = Vault::with_blocks(block);
    let dir = vault.checkpoint("source", 400_000);
    symlink("config.json", dir.join("alias")).unwrap();
    symlink("step-100", dir.join("latest")).unwrap();
    symlink("../model.safetensors", dir.join("step-100/weights")).unwrap();
    fs::hard_link(dir.join("config.json"), dir.join("hard")).unwrap();
    vault.make(&["usb"]);
    vault.export("source --to usb --parity 2+1");
    vault
}

/// The same bytes under the same names, whatever is a link.
#[track_caller]
fn same_contents(left: &Path, right: &Path) {
    for name in names_in(left) {
        let name = std::str::from_utf8(&name).unwrap();
        let (a, b) = (left.join(name), right.join(name));
        assert!(!b.is_symlink(), "{} is a link", b.display());
        match a.is_dir() {
            true => same_contents(&a, &b),
            false => assert_eq!(tree::hash(&a), tree::hash(&b), "{}", b.display()),
        }
    }
    assert_eq!(names_in(left), names_in(right));
}

#[test]
fn links_become_copies_of_what_they_lead_to() {
    let vault = prepared(harm::BLOCK);
    let report = vault.receiver("import usb --to there --links copy --json").ok().json();
    same_contents(&vault.path("source"), &vault.path("there"));
    assert_eq!(number(&report["files"]), 10, "{report}");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(vault.path("there/hard").metadata().unwrap().nlink(), 1);
    let time = |path: &str| vault.path(path).metadata().unwrap().modified().unwrap();
    assert_eq!(time("there/latest"), time("source/step-100"));
}

#[test]
fn only_a_link_brings_what_it_leads_to() {
    let vault = prepared(harm::BLOCK);
    vault.receiver("import usb --to there --links copy --only latest").ok();
    assert_eq!(names_in(&vault.path("there")), [b"latest"]);
    same_contents(&vault.path("source/step-100"), &vault.path("there/latest"));
}

#[test]
fn links_that_lead_nowhere_are_listed() {
    let vault = Vault::new();
    let dir = vault.checkpoint("source", 50_000);
    symlink("nowhere", dir.join("dangling")).unwrap();
    symlink("/etc", dir.join("outside")).unwrap();
    symlink(".", dir.join("round")).unwrap();
    vault.make(&["usb"]);
    vault.export("source --to usb --parity 2+1 --links keep");
    let ran = vault.refuses("usb --links copy", 1);
    ran.says("\n  dangling").says("\n  outside").says("\n  round");
}

fn copies_of_what_is_incomplete_are_incomplete_too(block: u64) {
    let vault = prepared(block);
    let set = fs::read_dir(vault.path("usb")).unwrap().next().unwrap().unwrap().path();
    for name in names_in(&set).iter().filter(|n| n.ends_with(b".ckv")) {
        harm::zero(&set.join(std::str::from_utf8(name).unwrap()), 2 * block, block);
    }
    let report = vault.receiver("import usb --to there --links copy --salvage --json").ends(4).json();
    let names: Vec<&str> = list(&report["incomplete"]).iter().map(|f| text(&f["path"])).collect();
    for name in ["latest/weights", "model.safetensors", "step-100/weights"] {
        assert!(names.contains(&name) && !vault.path("there").join(name).exists(), "{name}: {report}");
    }
    let read = |name: &str| tree::hash(&vault.path("there").join(name));
    assert_eq!(read("latest/weights.incomplete"), read("model.safetensors.incomplete"));
}

with_both_blocks!(copies_of_what_is_incomplete_are_incomplete_too);
