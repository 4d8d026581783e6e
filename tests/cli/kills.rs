//! SIGKILL at any time: seeded, and hundreds of times.

use crate::support::*;
use std::fs;
use std::time::{Duration, Instant};

/// How often in an ordinary run; the thorough one does ten times as much.
const KILLS: u64 = 100;

/// Several groups; and one, with marks in it.
const GROUPS: &str =
    "export source --to usb1 --to usb2 --recipients keys.txt --volume-size 2M --parity 4+2 --no-read-back";
const ONE_GROUP: &str =
    "export source --to usb1 --to usb2 --recipients keys.txt --volume-size 16M --parity 4+2 --no-read-back";

/// A time below `limit` that follows from a seed.
fn delay(seed: u64, limit: Duration) -> Duration {
    let mixed = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    limit.mul_f64(mixed as f64 / (1u64 << 24) as f64)
}

/// Starts a command and kills it after a while; false if it was done before.
fn killed(call: Call, after: Duration) -> bool {
    let mut child = call.command().spawn().unwrap();
    std::thread::sleep(after);
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

fn anew(vault: &Vault) {
    for name in ["usb1", "usb2", ".local"] {
        let _ = fs::remove_dir_all(vault.path(name));
    }
    vault.make(&["usb1", "usb2"]);
}

/// Exports are killed, once or several times, and go on until they are whole.
fn kill_exports(export: &str, seeds: std::ops::Range<u64>) {
    let vault = Vault::in_memory();
    vault.checkpoint("source", 20_000_000);
    anew(&vault);
    let begun = Instant::now();
    vault.sender(export).ok();
    let (whole, mut kills) = (begun.elapsed(), 0);
    for seed in seeds {
        println!("seed {seed}");
        anew(&vault);
        kills += u64::from(killed(vault.call("sender", export), delay(seed, whole)));
        for again in 0..seed % 3 {
            let ran = vault.call("sender", "export --resume");
            kills += u64::from(killed(ran, delay(seed * 100 + again, whole)));
        }
        let looks = vault.receiver("verify usb1 usb2");
        // The set is whole once the first manifest has its name: all else is durable before.
        looks.check([0, 3, 5, 7].contains(&looks.code.unwrap()), "an interrupted export looks like something else");
        if looks.code == Some(3) {
            vault.restores("usb1 usb2", "source");
        }
        let resumed = vault.sender("export --resume");
        match resumed.code {
            Some(0) => {}
            // Nothing was begun, or all was done.
            Some(2) if looks.code == Some(0) => {}
            Some(2) => drop(vault.sender(export).ok()),
            _ => resumed.check(false, "it does not go on"),
        }
        assert_eq!(vault.verdict("usb1 usb2")["verdict"], "intact");
        if seed % 4 == 0 {
            vault.restores("usb1 usb2", "source");
        }
    }
    println!("{kills} kills of exports");
    assert!(kills > 10, "{kills}");
}

#[test]
fn killed_exports_go_on() {
    kill_exports(GROUPS, 0..KILLS);
}

#[test]
fn exports_that_are_killed_in_their_only_group_go_on() {
    kill_exports(ONE_GROUP, 0..KILLS / 2);
}

#[test]
#[ignore = "takes minutes: the thorough run"]
fn thorough_killed_exports_go_on() {
    kill_exports(GROUPS, KILLS..11 * KILLS);
    kill_exports(ONE_GROUP, KILLS..11 * KILLS);
}
