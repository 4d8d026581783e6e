//! Golden sets: what the first version of the format wrote, every later one verifies, lists, restores and repairs.

use crate::harm;
use crate::support::*;
use crate::tree;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The format of these sets, and the BLAKE3 hash of `B3SUMS`, the list of the hashes of all their files. Both were put here once,
/// by whoever froze the format. Who finds that a test wants another value has found that this reader no longer reads what was
/// promised to be read for ever: that reader is changed, and never these values, nor the sets.
const VERSION: &str = "1";
const FROZEN: &str = "38bb190c4c30c156db585d66916c9ae18f897bbd1157a4621ab97e482906c725";

/// A set in `testdata/golden/v1`, and what must be said of it.
struct Golden {
    name: &'static str,
    label: Option<&'static str>,
    /// Its drives, in the order in which they are given.
    drives: &'static str,
    /// Files in `keys`, each of which opens it.
    keys: &'static [&'static str],
    /// What must come back.
    tree: &'static str,
    /// What verify says, and with which exit code.
    verdict: (&'static str, i32),
    /// Data and parity volumes of each group.
    parity: (u64, u64),
    /// Groups of each of its parts.
    groups: &'static [usize],
    /// Pieces of its inventory that are listed.
    pieces: usize,
    block_bytes: u64,
    filter: &'static str,
    confidentiality: &'static str,
}

const ONE: Golden = Golden {
    name: "one",
    label: Some("one"),
    drives: "drive1",
    keys: &["identity.txt"],
    tree: "expected.json",
    verdict: ("intact", 0),
    parity: (2, 1),
    groups: &[1],
    pieces: 0,
    block_bytes: 64 << 10,
    filter: "planes",
    confidentiality: "classical",
};

const SETS: [Golden; 7] = [
    ONE,
    Golden { name: "three", label: Some("three"), drives: "drive1 drive2 drive3", parity: (15, 9), ..ONE },
    Golden { name: "parts", label: Some("parts"), drives: "drive2 drive1", parity: (1, 1), groups: &[1, 1], ..ONE },
    Golden { name: "ssh", label: None, keys: &["ssh_ed25519", "ssh_rsa"], parity: (1, 1), filter: "zstd", ..ONE },
    Golden {
        name: "quantum",
        label: Some("quantum"),
        keys: &["quantum.txt"],
        parity: (1, 1),
        confidentiality: "post-quantum",
        ..ONE
    },
    Golden {
        name: "large-blocks",
        label: Some("large-blocks"),
        tree: "expected-more.json",
        parity: (1, 1),
        groups: &[2],
        block_bytes: 1 << 20,
        ..ONE
    },
    Golden {
        name: "damaged",
        label: Some("damaged"),
        drives: "drive1 drive2",
        tree: "expected-marked.json",
        verdict: ("repairable", 3),
        parity: (3, 2),
        pieces: 2,
        ..ONE
    },
];

fn v1() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden/v1")
}

/// Somebody with all keys of the golden sets, which git lets others read and perhaps write.
fn with_keys() -> Vault {
    let vault = Vault::empty();
    let home = vault.home("keeper");
    harm::copy_tree(&v1().join("keys"), &home);
    for name in fs::read_dir(&home).unwrap() {
        fs::set_permissions(name.unwrap().path(), Permissions::from_mode(0o600)).unwrap();
    }
    vault
}

/// A program where the plugin of age for tests is found.
fn with_plugin(call: Call) -> Call {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let path = std::env::var("PATH").unwrap_or_default();
    call.env("PATH", format!("{}:{path}", plugins.display()))
}

/// ckvault, where the drives of a set are.
fn call(vault: &Vault, at: &Path, arguments: &str) -> Call {
    with_plugin(vault.call("keeper", arguments)).at(at)
}

impl Golden {
    /// Where it lies.
    fn place(&self) -> PathBuf {
        v1().join(self.name)
    }

    /// The keys of it that can be used here.
    fn usable_keys(&self) -> Vec<&'static str> {
        let usable = |key: &str| key != "quantum.txt" || need(&["python3"]);
        self.keys.iter().copied().filter(|key| usable(key)).collect()
    }

    /// Its directories, at this place.
    fn dirs(&self, place: &Path) -> Vec<PathBuf> {
        let within = |drive: &str| fs::read_dir(place.join(drive)).unwrap().next().unwrap().unwrap().path();
        self.drives.split(' ').map(within).collect()
    }

    /// The manifests of its parts.
    fn manifests(&self) -> BTreeMap<u64, Value> {
        let of_dir = |dir: PathBuf| {
            let copies = copies_in(&dir, "manifest.json");
            let whole = copies.iter().find(|copy| copy.exists()).unwrap();
            let manifest: Value = serde_json::from_slice(&fs::read(whole).unwrap()).unwrap();
            (number(&manifest["part"]), manifest)
        };
        self.dirs(&self.place()).into_iter().map(of_dir).collect()
    }

    /// Imports it from there with each of its keys, and compares what comes with what must come; and says how many blocks were bad.
    fn comes_back(&self, vault: &Vault, place: &Path, drives: &str) -> u64 {
        let mut repaired = 0;
        for key in self.usable_keys() {
            let to = vault.path("restored");
            let import = call(vault, place, &format!("import {drives} --json --modes exact --identity"));
            let report = import.arg(vault.home("keeper").join(key)).arg("--to").arg(&to).run().ok().json();
            tree::assert_is(tree::described(&v1().join(self.tree)), &to, 0o7777);
            fs::remove_dir_all(to).unwrap();
            repaired = number(&report["repaired_blocks"]);
        }
        repaired
    }

    /// A copy of it.
    fn copy(&self, vault: &Vault) -> PathBuf {
        let copy = vault.path(self.name);
        harm::copy_tree(&self.place(), &copy);
        copy
    }

    /// Takes from a copy as many volumes of each group as there may be lost, and a copy of each metadata file.
    fn lose_all_that_may_be_lost(&self, copy: &Path) {
        let dirs = self.dirs(copy);
        for (part, groups) in self.groups.iter().enumerate() {
            let of_part = |dir: &&PathBuf| self.groups.len() == 1 || is_of_part(dir, part + 1);
            let dirs: Vec<&PathBuf> = dirs.iter().filter(of_part).collect();
            for group in 0..*groups {
                let (k, m) = self.parity;
                let names = (0..m).map(|v| match v < k {
                    true => format!("g{group:05}-d{v:03}.ckv"),
                    false => format!("g{group:05}-p{:03}.ckv", v - k),
                });
                harm::remove(names.map(|name| dirs.iter().map(|dir| dir.join(&name)).find(|p| p.exists()).unwrap()));
            }
        }
        for name in ["manifest.json", "manifest.json.sig", "keys.age", "inventory.age", "hashes.b3", "recover.py"] {
            harm::remove([dirs[0].join(name)]);
        }
    }
}

/// Whether a directory is of this part, by its name.
fn is_of_part(dir: &Path, part: usize) -> bool {
    let name = dir.file_name().unwrap().to_str().unwrap();
    match part {
        1 => !name.contains(".p"),
        _ => name.ends_with(&format!(".p{part}.ckvault")),
    }
}

/// Not a byte of them may change, and no file may come or go.
#[test]
fn golden_sets_are_as_they_were_when_they_were_made() {
    let list = v1().join("B3SUMS");
    assert_eq!(tree::hash(&list), FROZEN, "the list of hashes was changed: golden sets are never made again");
    let list = fs::read_to_string(list).unwrap();
    let listed: BTreeMap<PathBuf, String> = list
        .lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(hash, name)| (name.into(), hash.into()))
        .collect();
    let there = harm::files_under(&v1());
    let hash = |bytes: &Vec<u8>| blake3::hash(bytes).to_hex().to_string();
    let there: BTreeMap<PathBuf, String> = there.iter().map(|(name, bytes)| (name.clone(), hash(bytes))).collect();
    let differ = |(name, hash): &(&PathBuf, &String)| listed.get(*name) != Some(*hash) && *name != Path::new("B3SUMS");
    let changed: Vec<&Path> = there.iter().filter(differ).map(|(name, _)| name.as_path()).collect();
    assert_eq!(changed, [] as [&Path; 0], "changed, or not listed: golden sets are never made again");
    let gone: Vec<&PathBuf> = listed.keys().filter(|name| !there.contains_key(*name)).collect();
    assert_eq!(gone, [] as [&PathBuf; 0], "listed, and not there");
}

/// No set lies there that no test looks at.
#[test]
fn each_golden_set_is_known_here() {
    let names: BTreeSet<String> =
        names_in(&v1()).into_iter().map(|n| String::from_utf8(n).unwrap()).filter(|n| v1().join(n).is_dir()).collect();
    let known: BTreeSet<String> = SETS.iter().map(|set| set.name.to_owned()).chain(["keys".to_owned()]).collect();
    assert_eq!(names, known);
}

#[test]
fn golden_sets_are_judged_as_when_they_were_made() {
    let vault = with_keys();
    for set in &SETS {
        let (verdict, code) = set.verdict;
        let report = call(&vault, &set.place(), &format!("verify {} --json", set.drives)).run().ends(code).json();
        assert_eq!(report["verdict"], verdict, "{}", set.name);
        assert_eq!((report["label"].as_str(), text(&report["signer"])), (set.label, "golden"));
        let damaged = list(&report["volumes"]).iter().filter(|volume| volume["state"] != "ok").count();
        assert_eq!(damaged, if verdict == "intact" { 0 } else { 4 }, "{}: {report}", set.name);
        assert_eq!(list(&report["files"]).is_empty(), verdict == "intact", "{}: {report}", set.name);
    }
}

#[test]
fn golden_sets_are_inspected_as_when_they_were_made() {
    let vault = with_keys();
    for set in &SETS {
        let report = call(&vault, &set.place(), &format!("inspect {} --json", set.drives)).run().ok().json();
        let manifests = set.manifests();
        assert_eq!(manifests.len(), set.groups.len(), "{}", set.name);
        for (manifest, groups) in manifests.values().zip(set.groups) {
            assert_eq!((text(&manifest["format"]), text(&manifest["filter"])), (VERSION, set.filter), "{}", set.name);
            assert_eq!(list(&manifest["groups"]).len(), *groups, "{}", set.name);
            let pieces = manifest["files"]["inventory.age"]["pieces"].as_array().map_or(0, Vec::len);
            assert_eq!(pieces, set.pieces, "{}", set.name);
        }
        assert_eq!(text(&report["format"]), VERSION, "{}", set.name);
        assert_eq!((number(&report["k"]), number(&report["m"])), set.parity, "{}", set.name);
        assert_eq!(list(&report["groups"]).len(), set.groups.iter().sum::<usize>(), "{}", set.name);
        assert_eq!(list(&report["drives"]).len(), set.drives.split(' ').count(), "{}", set.name);
        assert_eq!(number(&report["block_bytes"]), set.block_bytes, "{}", set.name);
        assert_eq!(text(&report["confidentiality"]), set.confidentiality, "{}", set.name);
        assert_eq!(report["verified"], true, "{}", set.name);
    }
}

/// An entry as `list` and as the description of the tree have it, if its name is UTF-8: path, mode, time, size.
type Line = (String, String, (i64, i64), u64);

fn time_of(entry: &Value) -> (i64, i64) {
    (entry["mtime"][0].as_i64().unwrap(), entry["mtime"][1].as_i64().unwrap())
}

/// Symbolic links have a mode in a list; hard links have no size there.
fn listed(entry: &Value) -> Line {
    let path = text(&entry["path"]);
    let path = if path == "." { "" } else { path };
    let size = if entry["kind"] == "file" { number(&entry["size"]) } else { 0 };
    (path.to_owned(), text(&entry["mode"]).to_owned(), time_of(entry), size)
}

fn described(entry: &Value) -> Line {
    let path = text(&entry["path"]).to_owned();
    let first = entry["first"].as_str().is_none_or(|first| first == path);
    let size = if first { entry["size"].as_u64().unwrap_or(0) } else { 0 };
    (path, entry["mode"].as_str().unwrap_or("0777").to_owned(), time_of(entry), size)
}

#[test]
fn golden_sets_are_listed_as_what_went_in() {
    let vault = with_keys();
    for set in &SETS {
        let expected: Value = serde_json::from_slice(&fs::read(v1().join(set.tree)).unwrap()).unwrap();
        // Names of which percent-encoding changes nothing stand in the list as they are.
        let plain = |line: &Line| line.0.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-~/".contains(&b));
        for key in set.usable_keys() {
            let call = call(&vault, &set.place(), &format!("list {} --json --identity", set.drives));
            let report = call.arg(vault.home("keeper").join(key)).run().ok().json();
            assert_eq!(list(&report["entries"]).len(), list(&expected).len(), "{}", set.name);
            let shown: BTreeSet<Line> = list(&report["entries"]).iter().map(listed).filter(plain).collect();
            let wanted: BTreeSet<Line> = list(&expected).iter().map(described).filter(plain).collect();
            assert_eq!(shown, wanted, "{}", set.name);
        }
    }
}

#[test]
fn golden_sets_come_back_as_what_went_in() {
    let vault = with_keys();
    for set in &SETS {
        let repaired = set.comes_back(&vault, &set.place(), set.drives);
        assert_eq!(repaired > 0, set.verdict.0 == "repairable", "{}: {repaired}", set.name);
    }
}

#[test]
fn a_golden_set_opens_with_no_key_but_its_own() {
    let vault = with_keys();
    let all: BTreeSet<&str> = SETS.iter().flat_map(|set| set.usable_keys()).collect();
    for set in &SETS {
        for key in all.iter().filter(|key| !set.keys.contains(key)) {
            let list = call(&vault, &set.place(), &format!("list {} --identity", set.drives));
            list.arg(vault.home("keeper").join(key)).run().fails(6);
        }
    }
}

#[test]
fn golden_sets_come_back_and_are_repaired_when_all_is_lost_that_may_be() {
    let vault = with_keys();
    for set in &SETS {
        let copy = set.copy(&vault);
        let was = harm::files_under(&copy);
        let intact = set.verdict.0 == "intact";
        if intact {
            set.lose_all_that_may_be_lost(&copy);
            let verify = call(&vault, &copy, &format!("verify {} --json", set.drives));
            assert_eq!(verify.run().ends(3).json()["verdict"], "repairable", "{}", set.name);
            assert!(set.comes_back(&vault, &copy, set.drives) > 0 || set.usable_keys().is_empty(), "{}", set.name);
        }
        call(&vault, &copy, &format!("repair {}", set.drives)).run().ok();
        let verify = call(&vault, &copy, &format!("verify {} --json", set.drives));
        assert_eq!(verify.run().ok().json()["verdict"], "intact", "{}", set.name);
        assert_eq!(set.comes_back(&vault, &copy, set.drives), 0, "{}", set.name);
        let differ = |(name, bytes): &(PathBuf, Vec<u8>)| was.get(name) != Some(bytes);
        let now = harm::files_under(&copy);
        let others: Vec<PathBuf> = now.into_iter().filter(differ).map(|(name, _)| name).collect();
        assert_eq!(others.is_empty(), intact, "{}: repair made other bytes than the export: {others:?}", set.name);
    }
}

#[test]
fn of_the_golden_set_on_three_drives_any_may_be_absent() {
    let vault = with_keys();
    let set = SETS.iter().find(|set| set.name == "three").unwrap();
    for drives in ["drive2 drive3", "drive3 drive1", "drive1 drive2"] {
        assert!(set.comes_back(&vault, &set.place(), drives) > 0, "{drives}");
    }
}

#[test]
fn of_the_golden_set_in_parts_none_may_be_absent() {
    let vault = with_keys();
    let set = SETS.iter().find(|set| set.name == "parts").unwrap();
    for drive in ["drive1", "drive2"] {
        let verify = call(&vault, &set.place(), &format!("verify {drive} --json"));
        assert_eq!(verify.run().ends(7).json()["verdict"], "incomplete", "{drive}");
        vault.call("keeper", "import").at(set.place()).arg(drive).args("--to").arg(vault.path("there")).run().fails(7);
    }
}

/// By the recover.py of today, and by the one that lies beside them; a damaged set after it has been repaired.
#[test]
fn golden_sets_are_restored_by_recover_py() {
    if !need(&crate::interop::RECOVER) {
        return;
    }
    let vault = with_keys();
    let today = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/format/recover.py");
    for set in &SETS {
        let mut place = set.place();
        if set.verdict.0 != "intact" {
            place = set.copy(&vault);
            call(&vault, &place, &format!("repair {}", set.drives)).run().ok();
        }
        let dirs = set.dirs(&place);
        for script in [today.clone(), dirs[0].join("recover.py")] {
            for key in set.keys {
                let (home, to) = (vault.home("keeper"), vault.path("recovered"));
                let python = with_plugin(vault.tool("python3", "-I")).arg(&script);
                let python = dirs.iter().fold(python, |call, dir| call.arg(dir)).arg("--to").arg(&to);
                let python = python.arg("--signers").arg(home.join("allowed_signers"));
                python.arg("--identity").arg(home.join(key)).run().ok().says("contents verified");
                // It restores modes less the umask.
                tree::assert_is(tree::described(&v1().join(set.tree)), &to, 0o755);
                fs::remove_dir_all(to).unwrap();
            }
        }
    }
}

/// The plugin by which a golden set with a post-quantum slot is opened here does what another implementation does.
#[test]
fn the_plugin_for_tests_opens_what_another_implementation_sealed() {
    if !need(&["age", "python3"]) {
        return;
    }
    let vault = Vault::empty();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let open = with_plugin(vault.tool("age", "-d -i")).arg(here.join("mlkem768x25519.txt"));
    open.arg(here.join("mlkem768x25519.age")).run().ok().shows("sealed by another implementation");
    // And nobody else's: the one of the golden set is another.
    let other = with_plugin(vault.tool("age", "-d -i")).arg(v1().join("keys/quantum.txt"));
    other.arg(here.join("mlkem768x25519.age")).run().ends(1).says("no identity matched");
}
