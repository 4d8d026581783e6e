//! `--probe`: drives are tried before anything of a set is written to them.

use crate::support::*;
use serde_json::Value;

/// The speeds of two directories on one file system, which are one, and the seconds that are told.
fn speed_and_seconds(report: &Value) -> (u64, u64) {
    let speeds: Vec<u64> = list(&report["drives"]).iter().map(|drive| number(&drive["speed"])).collect();
    assert!(speeds.len() == 2 && speeds[0] > 0 && speeds[0] == speeds[1], "{report}");
    (speeds[0], number(&report["seconds"]))
}

#[test]
fn drives_are_tried_and_nothing_is_left_on_them() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 700_000);
    vault.make(&["usb1", "usb2"]);
    let export = "export checkpoint --to usb1 --to usb2 --same-device-ok --recipients keys.txt --json";
    let run = |more: &str| vault.sender(&format!("{export} {more}")).ok().json();
    for (more, passes) in [("", 2), ("--no-read-back", 1)] {
        let planned = run(&format!("--probe --dry-run {more}"));
        let (speed, seconds) = speed_and_seconds(&planned);
        let bytes: u64 = list(&planned["drives"]).iter().map(|drive| number(&drive["expected"])).sum();
        assert_eq!(seconds, (bytes * passes).div_ceil(speed), "{planned}");
    }
    let words = vault.sender(&export.replace("--json", "--probe --dry-run")).ok();
    words.shows("/s when it was tried").shows("as fast as the drives are, about ");
    assert!(["usb1", "usb2"].iter().all(|drive| names_in(&vault.path(drive)).is_empty()));
    let untold = run("--dry-run");
    assert!(untold["seconds"].is_null() && list(&untold["drives"]).iter().all(|drive| drive["speed"].is_null()));
    let written = run("--probe");
    speed_and_seconds(&written);
    assert!(["usb1", "usb2"].iter().all(|drive| names_in(&vault.path(drive)).len() == 1));
    vault.restores("usb1 usb2", "checkpoint");
}

/// Room that was given back is given again in any order.
#[test]
fn of_damage_in_one_place_nothing_is_promised_where_a_file_was_removed() {
    // Such a file system does not tell where files lie.
    let vault = Vault::in_memory();
    vault.checkpoint("checkpoint", 4_000_000);
    let promised = |more: &str| {
        vault.make(&["usb"]);
        let ran = vault.sender(&format!("export checkpoint --to usb --parity 4+2 --recipients keys.txt {more}")).ok();
        std::fs::remove_dir_all(vault.path("usb")).unwrap();
        ran.stdout.contains("damage of up to")
    };
    assert!(promised("") && !promised("--probe"));
}
