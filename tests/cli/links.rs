//! Symbolic links and special files: what is kept, what is followed, what stops an export or an import.

use crate::support::*;
use crate::tree;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A vault with a checkpoint of two directories and a drive.
fn prepared() -> (Vault, PathBuf) {
    let vault = Vault::new();
    vault.make(&["usb", "outside/dir"]);
    let dir = vault.checkpoint("checkpoint", 50_000);
    fs::write(vault.path("outside/weights"), noise(8, 70_000)).unwrap();
    fs::write(vault.path("outside/dir/part"), "a part").unwrap();
    (vault, dir)
}

fn target(path: impl AsRef<Path>) -> PathBuf {
    fs::read_link(path.as_ref()).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

fn is_link(path: impl AsRef<Path>) -> bool {
    path.as_ref().is_symlink()
}

#[test]
fn links_within_the_source_stay_links() {
    let (vault, dir) = prepared();
    symlink("config.json", dir.join("alias")).unwrap();
    symlink("../config.json", dir.join("step-100/up")).unwrap();
    symlink("step-100", dir.join("latest")).unwrap();
    symlink(".", dir.join("self")).unwrap();
    vault.export("checkpoint --to usb --parity 2+1");
    vault.restores("usb", "checkpoint");
}

#[test]
fn absolute_links_within_the_source_become_relative() {
    let (vault, dir) = prepared();
    symlink(dir.join("config.json"), dir.join("step-100/absolute")).unwrap();
    symlink(dir.join("step-100"), dir.join("latest")).unwrap();
    vault.export("checkpoint --to usb --parity 2+1");
    vault.receiver("import usb --to restored").ok();
    assert_eq!(target(vault.path("restored/step-100/absolute")), Path::new("../config.json"));
    assert_eq!(target(vault.path("restored/latest")), Path::new("step-100"));
}

#[test]
fn links_out_of_the_source_are_followed() {
    let (vault, dir) = prepared();
    symlink("../outside/weights", dir.join("weights")).unwrap();
    symlink(vault.path("outside/dir"), dir.join("parts")).unwrap();
    vault.export("checkpoint --to usb --parity 2+1");
    vault.receiver("import usb --to restored").ok();
    let restored = vault.path("restored");
    assert!(!is_link(restored.join("weights")) && !is_link(restored.join("parts")));
    assert_eq!(tree::hash(&restored.join("weights")), tree::hash(&vault.path("outside/weights")));
    tree::assert_same(&vault.path("outside/dir"), &restored.join("parts"));
}

#[test]
fn a_link_given_as_the_source_is_followed() {
    let (vault, dir) = prepared();
    symlink("checkpoint", vault.path("latest")).unwrap();
    vault.export("latest --to usb --parity 2+1");
    vault.receiver("import usb --to restored").ok();
    tree::assert_same(&dir, &vault.path("restored"));
}

#[test]
fn a_hugging_face_cache_keeps_its_links_and_a_snapshot_alone_has_files() {
    let vault = Vault::new();
    let snapshot = "cache/models--a--b/snapshots/0123abcd";
    vault.make(&["usb1", "usb2", "cache/models--a--b/blobs", "cache/models--a--b/refs", &format!("{snapshot}/sub")]);
    fs::write(vault.path("cache/models--a--b/refs/main"), "0123abcd").unwrap();
    for (i, name) in ["config.json", "sub/model.safetensors"].iter().enumerate() {
        fs::write(vault.path(format!("cache/models--a--b/blobs/{i:040}")), noise(i as u64, 100_000)).unwrap();
        let up = "../".repeat(2 + name.matches('/').count());
        symlink(format!("{up}blobs/{i:040}"), vault.path(snapshot).join(name)).unwrap();
    }
    vault.export("cache --to usb1 --parity 2+1");
    vault.restores("usb1", "cache");
    vault.export(&format!("{snapshot} --to usb2 --parity 2+1"));
    vault.receiver("import usb2 --to restored").ok();
    for (i, name) in ["config.json", "sub/model.safetensors"].iter().enumerate() {
        let file = vault.path("restored").join(name);
        assert!(!is_link(&file) && fs::read(&file).unwrap() == noise(i as u64, 100_000), "{name}");
    }
}

#[test]
fn dangling_links_and_loops_stop_the_export_by_name() {
    let (vault, dir) = prepared();
    symlink("nowhere", dir.join("dangling")).unwrap();
    symlink("circle-b", dir.join("circle-a")).unwrap();
    symlink("circle-a", dir.join("circle-b")).unwrap();
    vault.make(&["outside/dir/back"]);
    symlink(vault.path("outside/dir"), vault.path("outside/dir/back/again")).unwrap();
    symlink(vault.path("outside/dir"), dir.join("outer")).unwrap();
    let ran = vault.sender("export checkpoint --to usb --recipients keys.txt").fails(1);
    ran.says("dangling").says("circle-a").says("circle-b").says("outer/back/again");
    assert!(names_in(&vault.path("usb")).is_empty());
}

#[test]
fn links_keep_takes_every_link_as_it_is() {
    let (vault, dir) = prepared();
    symlink("nowhere", dir.join("dangling")).unwrap();
    symlink("/etc/hostname", dir.join("absolute")).unwrap();
    symlink("../outside/weights", dir.join("weights")).unwrap();
    vault.export("checkpoint --to usb --parity 2+1 --links keep");
    vault.refuses("usb", 1).says("leaves the target").says("--links keep");
    vault.restores("usb --links keep", "checkpoint");
}

#[test]
fn links_follow_follows_every_link() {
    let (vault, dir) = prepared();
    symlink("config.json", dir.join("alias")).unwrap();
    symlink("step-100", dir.join("latest")).unwrap();
    vault.export("checkpoint --to usb --parity 2+1 --links follow");
    vault.receiver("import usb --to restored").ok();
    let restored = vault.path("restored");
    assert!(!is_link(restored.join("alias")) && !is_link(restored.join("latest")));
    assert_eq!(fs::read(restored.join("alias")).unwrap(), fs::read(dir.join("config.json")).unwrap());
    tree::assert_same(&dir.join("step-100"), &restored.join("latest"));
}

#[test]
fn the_source_is_never_touched() {
    let (vault, dir) = prepared();
    symlink("config.json", dir.join("alias")).unwrap();
    let before = tree::read(&dir);
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let file = dir.join("model.safetensors");
    fs::File::open(&file).unwrap().set_times(fs::FileTimes::new().set_accessed(long_ago)).unwrap();
    vault.export("checkpoint --to usb --parity 2+1");
    assert_eq!(fs::metadata(&file).unwrap().accessed().unwrap(), long_ago, "the access time");
    assert!(tree::read(&dir) == before);
}

#[test]
fn special_files_stop_the_export_unless_they_are_skipped() {
    let (vault, dir) = prepared();
    let listener = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    if !need(&["mkfifo"]) {
        return;
    }
    vault.tool("mkfifo", "checkpoint/pipe").run().ok();
    vault
        .sender("export checkpoint --to usb --recipients keys.txt")
        .fails(1)
        .says("pipe")
        .says("socket")
        .says("--skip-special");
    assert!(names_in(&vault.path("usb")).is_empty());
    let set = vault.export("checkpoint --to usb --parity 2+1 --skip-special");
    assert_eq!(list(&set.report["skipped"]).len(), 2);
    drop(listener);
    let mtime = fs::metadata(&dir).unwrap().modified().unwrap();
    fs::remove_file(dir.join("socket")).unwrap();
    fs::remove_file(dir.join("pipe")).unwrap();
    fs::File::open(&dir).unwrap().set_modified(mtime).unwrap();
    vault.restores("usb", "checkpoint");
}
