//! Links, where the file system has none: an error that lists them, or copies of what they lead to.

use crate::mount::{Kept, Kind, Mount, kept};
use crate::run::Ran;
use crate::support::*;
use crate::tree;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A cache as hubs of models have it: files that have been stored once, and links to them.
fn with_links() -> Vault {
    let vault = Vault::new();
    vault.make(&["source/blobs", "source/snapshots/main", "source/shards/inner", "usb"]);
    let at = |name: &str| vault.path("source").join(name);
    fs::write(at("blobs/a1"), noise(1, 300_000)).unwrap();
    fs::write(at("blobs/b2"), noise(2, 200)).unwrap();
    fs::write(at("shards/inner/one"), "one").unwrap();
    fs::write(at("shards/two"), noise(3, 70_000)).unwrap();
    for (link, target) in [
        ("snapshots/main/model.bin", "../../blobs/a1"),
        ("snapshots/main/config.json", "../../blobs/b2"),
        ("current", "snapshots/main"),
        ("through", "current/model.bin"),
        ("again", "through"),
        ("shards-copy", "shards"),
    ] {
        symlink(target, at(link)).unwrap();
    }
    fs::hard_link(at("blobs/b2"), at("second-name")).unwrap();
    tree::set_mtime(&at("blobs/a1"), 1_600_000_000, 0);
    vault.export("source --to usb --parity 2+1 --links keep");
    vault
}

const SYMLINKS: [&str; 6] =
    ["snapshots/main/model.bin", "snapshots/main/config.json", "current", "through", "again", "shards-copy"];

/// It has neither symbolic nor hard links.
fn on_exfat(vault: &Vault) -> Option<Mount> {
    Mount::new(vault, "target", Kind::Exfat)
}

/// What a tree looks like when every link is what it leads to; times of directories do not count, nor those of links.
fn followed(dir: &Path) -> BTreeMap<PathBuf, Option<String>> {
    let mut all = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(below) = todo.pop() {
        for name in names_in(&dir.join(&below)) {
            let path = below.join(String::from_utf8(name).unwrap());
            let is_dir = dir.join(&path).is_dir();
            all.insert(path.clone(), (!is_dir).then(|| tree::hash(&dir.join(&path))));
            if is_dir {
                todo.push(path);
            }
        }
    }
    all
}

#[track_caller]
fn import_fails(vault: &Vault, target: &Mount, arguments: &str) -> Ran {
    let ran = vault.receiver(&format!("import usb {arguments}")).fails(1);
    let left = names_in(&target.dir);
    ran.check(left.is_empty(), &format!("left behind: {left:?}"));
    ran
}

#[test]
fn links_that_cannot_be_are_listed_before_anything_is_written() {
    let vault = with_links();
    let Some(target) = on_exfat(&vault) else { return };
    for to in ["--to target", "--to target/there"] {
        let ran = import_fails(&vault, &target, to);
        ran.check(!ran.stderr.contains("importing"), "it had begun");
        let ran = SYMLINKS.iter().fold(ran, |ran, link| ran.says(link)).says("second-name");
        ran.check(
            ran.stderr.lines().any(|l| l.starts_with("hint: ") && l.contains("--links copy")),
            "the hint does not name --links copy",
        );
    }
}

#[test]
fn links_become_copies_of_what_they_lead_to() {
    let vault = with_links();
    let Some(target) = on_exfat(&vault) else { return };
    for to in ["target", "target/there"] {
        vault.receiver(&format!("import usb --links copy --to {to}")).ok();
        target.again();
        let restored = vault.path(to);
        assert_eq!(followed(&vault.path("source")), followed(&restored), "{to}");
        let all = kept(&restored);
        assert!(!all.values().any(|k| matches!(k, Kept::Link(_))), "{to}");
        // A copy of a file has the time of the file.
        let copies = ["blobs/a1", "snapshots/main/model.bin", "current/model.bin", "through", "again"];
        copies.iter().for_each(|name| assert_eq!(all[Path::new(name)], all[Path::new("blobs/a1")], "{name}"));
        crate::watch::empty(&target.dir);
    }
}

#[test]
fn links_are_copied_where_there_could_be_links_too_if_that_is_asked() {
    let vault = with_links();
    vault.receiver("import usb --links copy --to there").ok();
    assert_eq!(followed(&vault.path("source")), followed(&vault.path("there")));
    assert!(!kept(&vault.path("there")).values().any(|k| matches!(k, Kept::Link(_))));
}

#[test]
fn a_link_alone_brings_what_it_leads_to() {
    let vault = with_links();
    let Some(target) = on_exfat(&vault) else { return };
    vault.receiver("import usb --links copy --to target --only snapshots/main/model.bin").ok();
    assert_eq!(fs::read(target.dir.join("snapshots/main/model.bin")).unwrap(), noise(1, 300_000));
}

#[test]
fn files_without_links_need_no_choice() {
    let vault = with_links();
    let Some(target) = on_exfat(&vault) else { return };
    vault.receiver("import usb --to target --only blobs --only shards").ok();
    assert_eq!(kept(&vault.path("source/blobs")), kept(&target.dir.join("blobs")));
}

/// Links to nothing, to themselves, and to the directory that they are in have no copy.
#[test]
fn links_that_lead_to_nothing_that_could_be_copied_are_an_error() {
    for (link, leads) in [("broken", "nowhere"), ("loop", "loop"), ("up", ".")] {
        let vault = Vault::new();
        vault.make(&["source", "usb"]);
        fs::write(vault.path("source/file"), "contents").unwrap();
        symlink(leads, vault.path("source").join(link)).unwrap();
        vault.export("source --to usb --parity 1+1 --links keep");
        let Some(target) = on_exfat(&vault) else { return };
        import_fails(&vault, &target, "--to target --links copy").says(link);
    }
}
