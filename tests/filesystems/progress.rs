//! What is shown as done is durable.

use crate::edges::Liar;
use crate::support::*;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};

/// The lines of a command about all of an export, and about drive 2, as they come.
fn lines(stderr: impl std::io::Read) -> impl Iterator<Item = Value> {
    let lines = BufReader::new(stderr).lines().map(Result::unwrap).filter(|line| line.starts_with('{'));
    let lines = lines.map(|line| serde_json::from_str(&line).unwrap());
    lines.filter(|line: &Value| line["drive"] == 2 || line["phase"] == "export" && line["drive"].is_null())
}

#[test]
fn nothing_is_done_before_the_slowest_drive_has_it_durable() {
    let vault = Vault::new();
    let Some(_gate) = Liar::new(&vault, "gate") else { return };
    vault.checkpoint("checkpoint", 12_000_000);
    vault.make(&["usb"]);
    let export = "export checkpoint --to usb --to liar --recipients keys.txt --parity 2+2 --progress json";
    let mut child = vault.call("sender", export).command().spawn().unwrap();
    let mut lines = lines(child.stderr.take().unwrap());
    // Much has been written by the time that some lines have come, and nothing of it is durable on drive 2.
    let (mut of_all, mut of_two) = (0, 0);
    while of_all < 6 || of_two < 6 {
        let line = lines.next().expect("it has ended");
        assert_eq!(line["done"], 0, "{line}");
        match line["drive"].is_null() {
            true => of_all += 1,
            false => of_two += usize::from(line["drive"] == 2),
        }
    }
    fs::write(vault.path("liar.behind.open"), "").unwrap();
    let rest: Vec<Value> = lines.filter(|line| line["phase"] != "read-back").collect();
    let done = rest.iter().rfind(|line| line["phase"] == "export" && line["drive"].is_null()).unwrap();
    assert!(done["done"].as_u64().unwrap() >= 12_000_000 && done["done"] == done["total"], "{done}");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("safe to unplug"));
    vault.call("receiver", "verify usb liar").run().ok();
}
