//! What is said of drives that are not there yet, and what then comes of it.

use crate::support::*;
use std::fs;

/// Weights that can be compressed, and noise that cannot.
fn sources(vault: &Vault) {
    vault.make(&["model", "usb1", "usb2", "usb3"]);
    let weights: Vec<u8> = noise(3, 12 << 20).chunks(2).flat_map(|pair| [pair[0], 0x3f ^ (pair[1] & 1)]).collect();
    fs::write(vault.path("model/weights.bin"), weights).unwrap();
    fs::write(vault.path("model/noise.bin"), noise(4, 5 << 20)).unwrap();
    fs::write(vault.path("model/config.json"), "{}").unwrap();
}

#[test]
fn what_is_expected_comes() {
    let vault = Vault::new();
    sources(&vault);
    let plan = vault.sender("plan model --drives 1x1G --parity 4+2 --json").ok().json();
    vault.make(&["usb"]);
    let report = vault.sender("export model --to usb --parity 4+2 --recipients keys.txt --json").ok().json();
    let (expected, written) = (number(&list(&plan["drives"])[0]["expected"]), number(&report["bytes_out"]));
    // Room for the file system is in what is expected; of so small a set that is a good part.
    let room = 8 << 20;
    assert!(expected >= written && expected - written < room, "{expected} expected, {written} written");
    let data = number(&plan["packed"]) * 6 / 4;
    let volumes: u64 =
        list(&report["groups"]).iter().flat_map(|g| list(&g["volumes"])).map(|v| number(&v["bytes"])).sum();
    assert!(data.abs_diff(volumes) * 100 < volumes * 3, "{data} expected in volumes, {volumes} written");
    for same in ["k", "m", "volume_bytes", "block_bytes", "segment_bytes", "entries", "bytes_in"] {
        assert_eq!(plan[same], report[same], "{same}");
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
    let between = (number(&drive["needed"]) + number(&drive["expected"])) / 2;
    let typed = format!("plan model --drives 1x{between}");
    vault.call("sender", &typed).run().ends(7).shows("--trust-estimate");
    vault.call("sender", &format!("{typed} --trust-estimate")).run().ends(0).shows("all of it fits");
}

#[test]
fn what_does_not_travel_is_told() {
    let vault = Vault::new();
    sources(&vault);
    std::os::unix::fs::symlink("/etc/hostname", vault.path("model/out")).unwrap();
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
