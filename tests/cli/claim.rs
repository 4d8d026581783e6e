//! Something lies under the name of an unfinished import, and no import has put it there.

use crate::support::*;
use crate::tree;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Digits that an import might have chosen by chance.
const RANDOM: &str = "0123456789abcdef";

struct Site {
    vault: Vault,
    /// Where it is imported to.
    target: &'static str,
    /// The name that is taken.
    name: PathBuf,
}

impl Site {
    /// With a target that does not exist, or that stays where it is and is imported into.
    fn new(inside: bool) -> Site {
        let vault = Vault::new();
        let set = vault.exported(50_000, "2+1");
        vault.make(&["place", "victim/deep"]);
        fs::write(vault.path("victim/deep/thesis"), "years of work").unwrap();
        fs::write(vault.path("victim/journal"), "dear diary").unwrap();
        let id = &set.id()[..8];
        let tag = &blake3::hash(b"there").to_hex()[..8];
        let (target, name) = match inside {
            true => ("place", format!("place/.ckvault-{id}-{RANDOM}.partial")),
            false => ("place/there", format!("place/.ckvault-{id}-{tag}-{RANDOM}.partial")),
        };
        // An import into the directory where it stands leaves that where it is.
        let name = vault.path(name);
        Site { vault, target, name }
    }

    fn import(&self, more: &str) -> crate::run::Ran {
        let call = match self.target {
            "place" => self.vault.call("receiver", &format!("import ../usb --to . {more}")).at("place"),
            target => self.vault.call("receiver", &format!("import usb --to {target} {more}")),
        };
        call.run()
    }

    /// A directory as an import makes it.
    fn staging(&self) {
        fs::create_dir(&self.name).unwrap();
        tree::set_mode(&self.name, 0o700);
    }

    fn filled(&self) {
        self.staging();
        fs::create_dir(self.name.join("files")).unwrap();
        fs::write(self.name.join("files/mine"), "mine").unwrap();
    }
}

/// Ways to be in the way, and what is said of each.
type Plant = (&'static str, fn(&Site));

const PLANTS: [Plant; 10] = [
    ("a symbolic link", |s| symlink(s.vault.path("victim"), &s.name).unwrap()),
    ("a symbolic link", |s| symlink(s.vault.path("victim/deep/thesis"), &s.name).unwrap()),
    ("a symbolic link", |s| symlink(s.vault.path("victim/new"), &s.name).unwrap()),
    ("a fifo", |s| {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, &s.name, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    }),
    ("a file", |s| fs::write(&s.name, "mine").unwrap()),
    ("others may look into it", |s| {
        s.filled();
        tree::set_mode(&s.name, 0o750);
    }),
    ("it has no journal", |s| s.filled()),
    ("its journal is damaged", |s| {
        s.filled();
        fs::write(s.name.join("journal"), "dear diary\n").unwrap();
    }),
    ("it has no journal", |s| {
        // Torn, as by a power cut; but an import that has just begun has nothing else.
        s.filled();
        fs::write(s.name.join("journal"), "{\"journal\":\"ckvault-import-2\"").unwrap();
    }),
    ("its journal is that of another import", |s| {
        s.filled();
        fs::write(s.name.join("journal"), journal_of_another_target(s)).unwrap();
    }),
];

/// A journal that is whole, of an import of the same set to elsewhere.
fn journal_of_another_target(site: &Site) -> String {
    let target = site.vault.path("elsewhere");
    let set = fs::read_dir(site.vault.path("usb")).unwrap().next().unwrap().unwrap().path();
    let manifest = fs::read_to_string(set.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let text = serde_json::json!({
        "journal": "ckvault-import-2", "set": manifest["set"], "format": manifest["format"], "entries": "00",
        "only": [], "links": "refuse", "target": target.to_str().unwrap(),
    });
    let check = &blake3::hash(text.to_string().as_bytes()).to_hex()[..16];
    format!("{text} {check}\n")
}

fn is_left_alone(inside: bool) {
    for (number, (why, plant)) in PLANTS.iter().enumerate() {
        let site = Site::new(inside);
        plant(&site);
        let (victim, place) = (tree::read(&site.vault.path("victim")), seen(&site.vault.path("place")));
        for more in ["", "--resume", "--discard"] {
            let ran = site.import(more).fails(1).says(why).says(RANDOM).says("nothing in it was touched");
            ran.check(tree::read(&site.vault.path("victim")) == victim, &format!("plant {number}: the victim changed"));
            let now = seen(&site.vault.path("place"));
            ran.check(now == place, &format!("plant {number} {more}: it was touched: {now:?}"));
        }
    }
}

/// What is there by name, without opening anything.
fn seen(dir: &Path) -> Vec<(PathBuf, u32, u64)> {
    use std::os::unix::fs::MetadataExt;
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            if meta.is_dir() {
                pending.push(path.clone());
            }
            found.push((path, meta.mode(), meta.ino()));
        }
    }
    found.sort();
    found
}

#[test]
fn what_only_looks_like_an_unfinished_import_is_left_alone() {
    is_left_alone(false);
}

#[test]
fn what_only_looks_like_an_unfinished_import_is_left_alone_in_a_target_that_stays() {
    is_left_alone(true);
}

#[test]
fn a_directory_of_another_user_is_not_taken_up() {
    if !is_root() {
        return skip("needs root to give a directory away");
    }
    let site = Site::new(false);
    site.filled();
    std::os::unix::fs::chown(&site.name, Some(54_321), None).unwrap();
    for more in ["", "--resume", "--discard"] {
        site.import(more).fails(1).says("belongs to somebody else").says(RANDOM);
    }
    assert_eq!(fs::read_to_string(site.name.join("files/mine")).unwrap(), "mine");
}

#[test]
fn an_import_that_had_only_just_begun_is_tidied_away() {
    for journal in [None, Some(""), Some("{\"journal\":\"ckvault-import-2\",\"set\":\"")] {
        let site = Site::new(false);
        site.staging();
        if let Some(text) = journal {
            fs::write(site.name.join("journal"), text).unwrap();
        }
        site.import("").ok();
        tree::assert_same(&site.vault.path("checkpoint"), &site.vault.path("place/there"));
        assert_eq!(names_in(&site.vault.path("place")), [b"there"]);
    }
}

#[test]
fn nobody_can_know_the_name_of_a_staging_directory() {
    if !need(&["strace"]) {
        return;
    }
    let site = Site::new(false);
    let name = || {
        let traced =
            format!("-f -e trace=mkdirat -o trace {} import usb --to place/there", env!("CARGO_BIN_EXE_ckvault"));
        site.vault.tool("strace", &traced).env("CKVAULT_HOME", site.vault.home("receiver")).run().ok();
        fs::remove_dir_all(site.vault.path("place/there")).unwrap();
        let trace = fs::read_to_string(site.vault.path("trace")).unwrap();
        let made = trace.split('"').find(|word| word.starts_with(".ckvault-") && word.ends_with(".partial"));
        made.expect("no staging directory was made").to_owned()
    };
    assert_ne!(name(), name());
}
