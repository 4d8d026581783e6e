//! Golden sets: what earlier versions wrote, this one verifies, lists and restores.

use crate::run::Call;
use crate::support::need;
use crate::tree;
use serde_json::Value;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden").join(version)
}

/// Runs ckvault with the keys of a golden set.
fn call(version: &str, arguments: &str) -> Call {
    let place = golden(version);
    Call::new(env!("CARGO_BIN_EXE_ckvault"), arguments, &place).env("CKVAULT_HOME", place.join("keys"))
}

#[test]
fn the_golden_set_of_draft_4_verifies_lists_and_imports() {
    let version = "draft-5";
    let (place, restored) = comes_back(version, "drive1 drive2", "expected.json");
    assert_eq!(std::fs::read(restored.join(std::ffi::OsStr::from_bytes(b"not-utf8-\xff"))).unwrap(), b"x");
    let sparse = std::fs::metadata(restored.join("sparse")).unwrap();
    assert_eq!(sparse.len(), 32 << 20);
    place.close().unwrap();
}

#[test]
fn the_golden_set_of_draft_4_in_parts_verifies_lists_and_imports() {
    let (place, restored) = comes_back("draft-5", "part2 part1", "expected-parts.json");
    assert_eq!(std::fs::read_link(restored.join("link")).unwrap(), Path::new("weights.bin"));
    place.close().unwrap();
    let alone = call("draft-5", "verify part1 --json").run().ends(7).json();
    assert_eq!(alone["verdict"], "incomplete");
}

/// Verifies and imports a golden set and compares it with what it was when it was made.
fn comes_back(version: &str, drives: &str, expected: &str) -> (tempfile::TempDir, PathBuf) {
    let verdict = call(version, &format!("verify {drives} --json")).run().ok().json();
    assert_eq!(verdict["verdict"], "intact");
    let expected: Value = serde_json::from_slice(&std::fs::read(golden(version).join(expected)).unwrap()).unwrap();
    let listed = call(version, &format!("list {drives} --json")).run().ok().json();
    assert_eq!(listed["set"], expected["set"]);
    let place = tempfile::tempdir().unwrap();
    let restored = place.path().join("restored");
    call(version, &format!("import {drives} --to")).arg(&restored).run().ok();
    let entries = expected["entries"].as_array().unwrap();
    for entry in entries.iter().filter(|e| e["kind"] == "file" && e["path_bytes"].is_null() && e["sparse"].is_null()) {
        let path = restored.join(entry["path"].as_str().unwrap());
        assert_eq!(tree::hash(&path), entry["blake3"].as_str().unwrap(), "{}", path.display());
    }
    let paths = |v: &Value| v["entries"].as_array().unwrap().iter().map(|e| e["path"].clone()).collect::<Vec<_>>();
    assert_eq!(paths(&listed), paths(&expected));
    (place, restored)
}

/// By the recover.py of today, and by the one that lies beside them.
#[test]
fn the_golden_sets_of_draft_4_are_restored_by_recover_py() {
    if !need(&crate::interop::RECOVER) || !need(&["tar"]) {
        return;
    }
    let today = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/format/recover.py");
    for drives in ["drive1 drive2", "part1 part2"] {
        let place = tempfile::tempdir().unwrap();
        call("draft-5", &format!("import {drives} --to")).arg(place.path().join("imported")).run().ok();
        let within =
            |drive: &str| std::fs::read_dir(golden("draft-5").join(drive)).unwrap().next().unwrap().unwrap().path();
        let dirs: Vec<PathBuf> = drives.split(' ').map(within).collect();
        for script in [today.clone(), dirs[0].join("recover.py")] {
            let to = place.path().join("recovered");
            let python = Call::new("python3", "-I", &golden("draft-5")).arg(script);
            let python = dirs.iter().fold(python, |call, dir| call.arg(dir)).arg("--to").arg(&to);
            let keys = ["--identity", "keys/identity.txt", "--signers", "keys/allowed_signers"];
            keys.into_iter().fold(python, |call, word| call.arg(word)).run().ok();
            tree::assert_same(&place.path().join("imported"), &to);
            std::fs::remove_dir_all(to).unwrap();
        }
    }
}

#[test]
fn the_golden_set_of_draft_4_is_repaired_without_any_two_of_its_volumes() {
    let place = tempfile::tempdir().unwrap();
    for drive in ["drive1", "drive2"] {
        crate::harm::copy_tree(&golden("draft-5").join(drive), &place.path().join(drive));
    }
    let set = std::fs::read_dir(place.path().join("drive1")).unwrap().next().unwrap().unwrap().path();
    crate::harm::remove([set.join("g00000-d000.ckv"), set.join("g00000-d002.ckv")]);
    let home = golden("draft-5").join("keys");
    let imported = Call::new(env!("CARGO_BIN_EXE_ckvault"), "import drive1 drive2 --to restored --json", place.path());
    let report = imported.env("CKVAULT_HOME", home).run().ok().json();
    assert!(report["repaired_blocks"].as_u64().unwrap() > 0, "{report}");
}
