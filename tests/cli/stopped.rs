//! Signals to those who wait for others, the helper that runs other programs and the demo; and those that tell of a limit.

use crate::durability::{ending, signal};
use crate::support::*;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn the_helper_runs_on_until_nobody_needs_it() {
    let vault = Vault::empty();
    let mut command = vault.call("sender", "run-errands").command();
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // It hears of Ctrl-C too, and has to outlive whoever is asked to stop: much longer than that waits.
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "INT");
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "it has ended by itself");
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_demo_that_is_stopped_leaves_nothing() {
    let vault = Vault::empty();
    vault.make(&["temporary"]);
    let temporary = vault.path("temporary");
    let mut child = vault.call("sender", "demo").env("TMPDIR", &temporary).command().spawn().unwrap();
    while ending(&temporary, ".safetensors").is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it has ended already");
        std::thread::sleep(Duration::from_millis(1));
    }
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn a_limit_of_the_length_of_files_is_told() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 3_000_000);
    vault.make(&["usb"]);
    let export = "export checkpoint --to usb --recipients keys.txt --parity 1+1";
    vault.call("sender", export).with_files_up_to(1000).run().fails(7).says("ulimit -f");
    assert_eq!(fs::read_dir(vault.path("usb")).unwrap().count(), 0);
}
