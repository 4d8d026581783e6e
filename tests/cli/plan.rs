//! What is said of drives that are not there yet, or before anything is written to them, and what then comes of it.

use crate::drives::Mount;
use crate::parts;
use crate::support::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Weights that can be compressed, and noise that cannot.
fn sources(vault: &Vault) {
    vault.make(&["model", "usb1", "usb2", "usb3"]);
    let weights: Vec<u8> = noise(3, 12 << 20).chunks(2).flat_map(|pair| [pair[0], 0x3f ^ (pair[1] & 1)]).collect();
    fs::write(vault.path("model/weights.bin"), weights).unwrap();
    fs::write(vault.path("model/noise.bin"), noise(4, 5 << 20)).unwrap();
    fs::write(vault.path("model/config.json"), "{}").unwrap();
}

/// The lengths of all files below a directory.
fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { bytes_below(&path) } else { path.metadata().unwrap().len() }).sum()
}

#[test]
fn what_is_expected_comes() {
    let vault = Vault::new();
    sources(&vault);
    for (parity, drives) in [("--parity 4+2", 1), ("", 1), ("--survive-drives 1 --same-device-ok", 3)] {
        let to: Vec<String> = (1..=drives).map(|drive| format!("--to usb{drive}")).collect();
        let export = format!("export model {} {parity} --recipients keys.txt --json", to.join(" "));
        let plan = vault.sender(&format!("{export} --dry-run")).ok().json();
        let report = vault.sender(&export).ok().json();
        let near = |expected: u64, written: u64| expected.abs_diff(written) * 100 < written * 3;
        for (planned, drive) in list(&plan["drives"]).iter().zip(list(&report["drives"])) {
            let written = bytes_below(&vault.path(text(&drive["directory"])));
            assert!(near(number(&planned["expected"]), written), "{written} written: {planned}");
            assert!(number(&planned["expected"]) < number(&planned["enough"]), "{planned}");
            assert!(number(&planned["enough"]) <= number(&planned["needed"]), "{planned}");
        }
        let data = number(&plan["packed"]) * (number(&plan["k"]) + number(&plan["m"])) / number(&plan["k"]);
        let volumes: u64 =
            list(&report["groups"]).iter().flat_map(|g| list(&g["volumes"])).map(|v| number(&v["bytes"])).sum();
        // Of short volumes, header pages are a good part.
        assert!(near(
            data + number(&report["block_bytes"]) * list(&report["groups"][0]["volumes"]).len() as u64,
            volumes
        ));
        for same in ["k", "m", "volume_bytes", "block_bytes", "segment_bytes", "entries", "bytes_in"] {
            assert_eq!(plan[same], report[same], "{same}");
        }
    }
}

#[test]
fn as_few_drives_as_are_enough() {
    let vault = Vault::new();
    sources(&vault);
    let count =
        |arguments: &str| list(&vault.sender(&format!("plan model {arguments} --json")).ok().json()["drives"]).len();
    assert_eq!(count("--drives 100M"), 1);
    let surviving = count("--drives 30M --survive-drives 1");
    assert!(surviving >= 2, "{surviving}");
    let one_less = format!("plan model --drives {}x30M --survive-drives 1 --json", surviving - 1);
    let ran = vault.call("sender", &one_less).run();
    ran.check([Some(2), Some(7)].contains(&ran.code), "it fits on fewer drives");
    vault.sender("plan model --drives 3M").fails(7).says("no number of drives");
}

#[test]
fn what_does_not_fit_for_sure_may_be_expected_to() {
    let vault = Vault::new();
    sources(&vault);
    let plan = vault.sender("plan model --drives 1x1G --json").ok().json();
    let drive = &list(&plan["drives"])[0];
    let (expected, enough) = (number(&drive["expected"]), number(&drive["enough"]));
    // What is packed to judge by has not the same length each time.
    let typed = format!("plan model --drives 1x{}", enough + enough / 100);
    vault.call("sender", &typed).run().ends(7).shows("--trust-estimate");
    vault.call("sender", &format!("{typed} --trust-estimate")).run().ends(0).shows("all of it fits");
    // What is expected, and not a byte more, is not relied on.
    let typed = format!("plan model --drives 1x{}", expected + 1024);
    let ran = vault.call("sender", &format!("{typed} --trust-estimate")).run().ends(7);
    ran.check(!ran.stdout.contains("--trust-estimate"), "it is told to do what it did");
}

#[test]
fn what_does_not_travel_is_told() {
    let vault = Vault::new();
    sources(&vault);
    symlink("/etc/hostname", vault.path("model/out")).unwrap();
    let ran = vault.sender("plan model --drives 1x1G --exclude noise.bin --exclude nothing").ok();
    ran.shows("1 link leads out of the source")
        .shows("noise.bin (--exclude)")
        .shows("--exclude nothing matches nothing");
}

#[test]
fn drives_that_contradict_each_other_are_refused() {
    let vault = Vault::new();
    sources(&vault);
    vault.sender("plan model --drives 1T --drives 1x2T").fails(2).says("all alike");
    vault.sender("plan model --drives 0x1T").fails(2).says("3x2T");
    vault.sender("plan model").fails(2).says("--drives");
}

#[test]
fn a_dry_run_says_the_same_of_drives_that_are_there() {
    let vault = Vault::new();
    sources(&vault);
    let export = "export model --to usb1 --to usb2 --same-device-ok --parity 2+2 --recipients keys.txt --dry-run";
    let run = vault.sender(&format!("{export} --json")).ok().json();
    let drives: String =
        list(&run["drives"]).iter().map(|drive| format!(" --drives 1x{}", number(&drive["free"]))).collect();
    let plan = vault.sender(&format!("plan model --parity 2+2 --json{drives}")).ok().json();
    for same in ["k", "m", "volume_bytes", "block_bytes", "segment_bytes", "entries", "bytes_in", "sampled", "fits"] {
        assert_eq!(plan[same], run[same], "{same}");
    }
    assert_eq!((&plan["groups"], &plan["survives"]), (&run["expected_groups"], &run["survives"]));
    // The header of whatever is encrypted has a piece of random length.
    let alike = |a: &serde_json::Value, b: &serde_json::Value, parts| number(a).abs_diff(number(b)) * parts < number(a);
    assert!(alike(&plan["packed"], &run["packed"], 1000), "{plan} {run}");
    assert_eq!(list(&plan["drives"]).len(), 2);
    for (planned, there) in list(&plan["drives"]).iter().zip(list(&run["drives"])) {
        for same in ["drive", "needed", "volumes_per_group"] {
            assert_eq!(planned[same], there[same], "{same}");
        }
        // How long the longest volume is depends on it more.
        assert!(alike(&planned["expected"], &there["expected"], 100), "{planned} {there}");
        assert!(number(&there["expected"]) < number(&there["needed"]), "{there}");
    }
    vault
        .sender(export)
        .ok()
        .shows(" become about ")
        .shows(" before parity, judged by ")
        .shows(" of each group, about ");
    // What was written is not expected.
    let written = vault.sender(&format!("{} --json", export.replace(" --dry-run", ""))).ok().json();
    for absent in ["sampled", "packed", "fits", "expected_groups"] {
        assert!(written[absent].is_null() && !run[absent].is_null(), "{absent}: {written}");
    }
    assert!(list(&written["drives"]).iter().all(|drive| drive["expected"].is_null()));
}

const EXPORT: &str = "--to small --parity 4+2 --volume-size 2M --recipients keys.txt";

#[test]
fn what_is_expected_to_fit_is_exported_where_that_is_relied_on() {
    let vault = Vault::new();
    sources(&vault);
    let plan = vault.sender("plan model --drives 1x1G --parity 4+2 --volume-size 2M --json").ok().json();
    let drive = &list(&plan["drives"])[0];
    // What is said to be enough is enough.
    let enough = number(&drive["enough"]) * 101 / 100;
    let Some(small) = Mount::new(&vault, "small", &format!("size={enough}")) else { return };
    let refused = vault.sender(&format!("export model {EXPORT}")).fails(7);
    refused.says("may need").says("with --trust-estimate");
    let planned = vault.sender(&format!("export model {EXPORT} --dry-run")).fails(7);
    planned.says("may need").says("is expected to need").says("with --trust-estimate");
    let planned = vault.sender(&format!("export model {EXPORT} --dry-run --trust-estimate")).ok();
    planned.shows("it is expected to fit, but need not");
    assert!(names_in(&small.0).is_empty());
    let report = vault.sender(&format!("export model {EXPORT} --trust-estimate --json")).ok().json();
    assert_eq!((report["parts"].to_string(), report["last"].to_string()), ("[1]".into(), "true".into()));
    assert_eq!(vault.verdict("small")["verdict"], "intact");
    vault.restores("small", "model");
}

#[test]
fn what_is_expected_not_to_fit_is_refused_with_both_figures() {
    let vault = Vault::new();
    sources(&vault);
    let Some(small) = Mount::new(&vault, "small", "size=12M") else { return };
    let refused = vault.sender(&format!("export model {EXPORT} --trust-estimate")).fails(7);
    let refused = refused.says("may need").says("is expected to need").says("--next-drive-command");
    refused.check(!refused.stderr.contains("--trust-estimate"), "it is told to do what it did");
    assert!(names_in(&small.0).is_empty());
}

/// Zeros wherever samples are taken, and noise between.
fn what_samples_do_not_show(segment: usize) -> Vec<u8> {
    let (mut bytes, noise) = (vec![0; 512 * segment - segment / 4], noise(5, 256 * segment));
    // Of 512 segments every other one is looked at. Headers before the file move it a little.
    let spans = bytes.chunks_mut(2 * segment).zip(noise.chunks(segment));
    spans.for_each(|(pair, noise)| pair[segment / 8..segment * 7 / 8].copy_from_slice(&noise[..segment * 3 / 4]));
    bytes
}

#[test]
fn an_export_that_relied_on_too_little_goes_on_on_the_next_drive() {
    let vault = Vault::new();
    let Some(_drives) = parts::drives(&vault, 2) else { return };
    vault.make(&["model"]);
    fs::write(vault.path("model/weights.bin"), what_samples_do_not_show(64 << 10)).unwrap();
    let export = "export model --to usb --parity 4+2 --volume-size 2M --segment-size 64K --recipients keys.txt";
    vault.sender(export).fails(7).says("may need");
    let ran = vault.sender(&format!("{export} --trust-estimate")).fails(7);
    ran.says("drive 2 is needed").says("holds part 1 of this set, which is complete").says("--resume");
    assert_eq!(vault.verdict("drive1")["verdict"], "incomplete");
    fs::remove_file(vault.path("usb")).unwrap();
    symlink("drive2", vault.path("usb")).unwrap();
    let report = vault.sender("export --resume --json").ok().json();
    assert_eq!((report["parts"].to_string(), report["last"].to_string()), ("[1,2]".into(), "true".into()));
    assert_eq!(vault.verdict("drive1 drive2")["verdict"], "intact");
    vault.restores("drive1 drive2", "model");
}
