//! `--json`: one object, with at least the fields that other people's scripts rely on. And `--dry-run`.

use crate::harm;
use crate::support::*;
use serde_json::Value;
use std::fs;

#[track_caller]
fn has(value: &Value, fields: &[&str]) {
    for field in fields {
        assert!(value.get(field).is_some(), "there is no {field:?} in {value}");
    }
}

#[test]
fn export_reports_the_set_its_drives_and_its_volumes() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 700_000);
    vault.make(&["usb1", "usb2"]);
    let set = vault.export("checkpoint --to usb1 --to usb2 --label model-7b");
    has(&set.report, &["set", "label", "drives", "groups", "bytes_in", "bytes_out", "survives"]);
    assert!(set.id().len() == 32 && set.report["label"] == "model-7b");
    assert!(number(&set.report["bytes_in"]) >= 700_000);
    let group = &set.report["groups"][0];
    assert_eq!((number(&group["k"]), number(&group["m"])), (16, 2), "the default parity");
    assert_eq!(list(&group["volumes"]).len(), 18);
    for volume in list(&group["volumes"]) {
        let path = set.volume(text(&volume["name"]));
        assert!(path.starts_with(&set.dirs[number(&volume["drive"]) as usize - 1]), "{volume}");
        assert_eq!(number(&volume["bytes"]), harm::len(&path));
        assert_eq!(text(&volume["blake3"]), crate::tree::hash(&path));
    }
    let on_drives: u64 = set.files().iter().map(|p| harm::len(p)).sum();
    assert!(
        number(&set.report["bytes_out"]).abs_diff(on_drives) < 20_000,
        "{} is not about {on_drives}",
        set.report["bytes_out"]
    );
    assert!(["device", "cache-possible"].contains(&text(&set.report["read_back"])));
}

#[test]
fn a_set_directory_holds_the_files_that_are_promised() {
    let vault = Vault::new();
    let set = vault.exported(10_000, "1+1");
    let names =
        |dir: &std::path::Path| names_in(dir).into_iter().map(|n| String::from_utf8(n).unwrap()).collect::<Vec<_>>();
    let metadata = [
        "B3SUMS",
        "RECOVER.txt",
        "hashes.b3",
        "inventory.age",
        "keys.age",
        "manifest.json",
        "manifest.json.sig",
        "recover.py",
    ];
    assert_eq!(names(&set.dirs[0].join("copy")), metadata);
    assert_eq!(names(&set.dirs[0].join("third")), SMALL);
    let mut all = names(&set.dirs[0]);
    all.retain(|n| !metadata.contains(&n.as_str()));
    assert_eq!(all, ["copy", "g00000-d000.ckv", "g00000-p000.ckv", "third"]);
    assert_eq!(set.dirs[0].file_name().unwrap().to_str().unwrap(), format!("{}.ckvault", &set.id()[..8]));
}

#[test]
fn nothing_private_is_readable_on_a_drive() {
    let vault = Vault::new();
    vault.make(&["usb", "secret-project"]);
    fs::write(vault.path("secret-project/unreleased-model.bin"), "a telling content ".repeat(5000)).unwrap();
    let set = vault.export("secret-project --to usb --parity 1+1");
    for path in set.files() {
        let bytes = fs::read(&path).unwrap();
        for secret in ["secret-project", "unreleased-model", "a telling content", "AGE-SECRET-KEY"] {
            // The script names what it looks for, and so do the commands by hand.
            if secret == "AGE-SECRET-KEY" && (path.ends_with("recover.py") || path.ends_with("RECOVER.txt")) {
                continue;
            }
            assert!(
                !bytes.windows(secret.len()).any(|w| w == secret.as_bytes()),
                "{} holds {secret:?}",
                path.display()
            );
        }
    }
}

#[test]
fn verify_reports_the_verdict_the_signer_and_every_volume() {
    let vault = Vault::new();
    let set = vault.exported(300_000, "2+1");
    let report = vault.verdict("usb");
    has(&report, &["set", "verdict", "signer", "volumes", "survives"]);
    assert_eq!((text(&report["set"]), text(&report["verdict"])), (set.id(), "intact"));
    assert_eq!(list(&report["volumes"]).len(), 3);
    for volume in list(&report["volumes"]) {
        has(volume, &["name", "state", "bad_blocks"]);
        assert_eq!((&volume["state"], &volume["bad_blocks"]), (&"ok".into(), &0.into()));
    }
    harm::remove([set.volume("g00000-d000.ckv")]);
    let report = vault.verdict("usb");
    assert_eq!(volume(&report, "g00000-d000.ckv")["state"], "missing");
    assert_eq!(vault.call("stranger", "verify usb --json").run().ends(5).json()["verdict"], "untrusted");
}

#[test]
fn import_list_and_inspect_report_what_they_must() {
    let vault = Vault::new();
    let set = vault.exported(300_000, "2+1");
    let report = vault.restores("usb", "checkpoint");
    has(&report, &["set", "files", "bytes", "repaired_blocks"]);
    assert_eq!(number(&report["files"]), 4);
    let inside: u64 = ["config.json", "model.safetensors", "step-100/optimizer.bin"]
        .iter()
        .map(|n| harm::len(&vault.path("checkpoint").join(n)))
        .sum();
    assert_eq!(number(&report["bytes"]), inside);
    let listing = vault.receiver("list usb --json").ok().json();
    let entry = |path: &str| {
        list(&listing["entries"])
            .iter()
            .find(|e| e["path"] == path)
            .cloned()
            .unwrap_or_else(|| panic!("{path} is not in {listing}"))
    };
    for path in ["config.json", "step-100/optimizer.bin"] {
        let original = vault.path("checkpoint").join(path);
        assert_eq!((text(&entry(path)["kind"]), number(&entry(path)["size"])), ("file", harm::len(&original)));
        assert_eq!(text(&entry(path)["blake3"]), crate::tree::hash(&original));
    }
    assert_eq!(entry("step-100/empty")["kind"], "dir");
    let seen = vault.receiver("inspect usb --json").ok().json();
    assert_eq!((text(&seen["set"]), &seen["verified"], number(&seen["k"])), (set.id(), &true.into(), 2));
    assert_eq!(seen["survives"], set.report["survives"]);
    // Where its drive is, which a file on it says.
    let drive = &seen["drives"][0];
    assert!(text(&drive["path"]).ends_with("usb") && text(&drive["directory"]).ends_with(".ckvault"), "{drive}");
    vault.receiver("inspect usb").ok().shows(", here: usb/");
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 700_000);
    vault.make(&["usb1", "usb2"]);
    let run = "export checkpoint --to usb1 --to usb2 --recipients keys.txt --dry-run";
    vault.sender(run).ok().shows("usb1").shows("16+2").shows("survives");
    let report = vault.sender(&format!("{run} --json")).ok().json();
    has(&report, &["drives", "groups", "bytes_in", "bytes_out", "survives"]);
    assert!(names_in(&vault.path("usb1")).is_empty() && names_in(&vault.path("usb2")).is_empty());
}

#[test]
fn the_sentence_of_what_it_survives_stands_in_export_inspect_and_verify() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 10_000);
    vault.make(&["usb"]);
    vault
        .sender("export checkpoint --to usb --recipients keys.txt --parity 4+2")
        .ok()
        .shows("survives any 2 of the 6 volumes");
    vault.receiver("inspect usb").ok().shows("survives any 2 of the 6 volumes");
    vault.receiver("verify usb").ok().shows("survives any 2 of the 6 volumes");
}

#[test]
fn labels_are_checked() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 10_000);
    vault.make(&["usb"]);
    for bad in ["../x", ".hidden", "a/b", &"x".repeat(65)] {
        vault.sender(&format!("export checkpoint --to usb --recipients keys.txt --label {bad}")).fails(2);
    }
    assert!(names_in(&vault.path("usb")).is_empty());
}

#[test]
fn mistakes_of_usage_end_with_2_and_print_nothing() {
    let vault = Vault::new();
    vault.make(&["usb"]);
    vault.sender("").ends(2).says("Usage: ckvault");
    for wrong in [
        "no-such-verb",
        "export --no-such-flag",
        "export",
        "import usb",
        "export . --to usb --parity 16",
        "export . --to usb --volume-size huge",
        "import usb --to x --links follow",
    ] {
        vault.sender(wrong).fails(2);
    }
    vault.sender("--help").ok().shows("Exit codes");
    vault.sender("--version").ok().shows("ckvault ");
    vault.sender("export no-such-source --to usb --recipients keys.txt").fails(1).says("no-such-source");
    vault.sender("export keys.txt home/../keys.txt --to usb --recipients keys.txt").fails(2).says("keys.txt");
    assert!(names_in(&vault.path("usb")).is_empty());
}

#[test]
fn a_closed_pipe_is_no_crash() {
    let vault = Vault::new();
    vault.exported(50_000, "2+1");
    for verb in
        ["verify usb", "verify usb --json", "list usb", "list usb --json", "inspect usb", "import usb --to restored"]
    {
        let call = vault.call("receiver", verb);
        let mut command = call.command();
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let ran = Ran::new(&command, child.wait_with_output().unwrap());
        ran.check(ran.code.is_some_and(|c| c != 101) && !ran.stderr.contains("panicked"), "a crash");
    }
    crate::tree::assert_same(&vault.path("checkpoint"), &vault.path("restored"));
}
