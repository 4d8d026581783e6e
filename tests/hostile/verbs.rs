//! All verbs say the same of a set, and none is kept by what surrounds it.

use crate::cases::{small, with};
use crate::compose::BLOCK;
use crate::site::Site;
use crate::ustar::*;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What list shows can be imported, but for links that may be allowed to leave: of these it tells.
#[test]
fn list_refuses_what_import_refuses_whatever_it_is_told() {
    let site = Site::new();
    for (items, named) in [
        (vec![file("../x", "x")], "../x"),
        (vec![file(".ckvault-686f7374.partial", "x")], ".ckvault-686f7374.partial"),
        (vec![file("d/x", "x")], "d/x"),
        (vec![hardlink("b", "/etc/passwd")], "b"),
    ] {
        site.compose(&with(items), 1);
        for verb in ["list", "list --json"] {
            let ran = site.run(verb).ends(1);
            assert!(ran.stderr.contains(&format!("the path {named}")) || ran.stderr.contains(named), "{ran}");
        }
    }
    site.compose(&with(vec![symlink("l", "/etc/passwd")]), 1);
    let ran = site.run("list").ends(0).shows("/etc/passwd");
    assert!(ran.stderr.contains("warning: links that lead out of the set") && ran.stderr.contains("1, l for"), "{ran}");
    site.run("import --links keep").ends(0);
}

/// Signed parity that is wrong is seen by who computes with it: the word and the code are those of import.
#[test]
fn repair_says_in_one_voice_that_signed_parity_is_wrong() {
    let site = Site::new();
    let dirs = site.compose(&small().volumes(|v| v[1][BLOCK] ^= 1), 1);
    fs::remove_file(dirs[0].join("g00000-d000.ckv")).unwrap();
    site.run("import").ends(4);
    let told: Value = serde_json::from_str(&site.run("repair --json").ends(4).stdout).unwrap();
    assert_eq!(told["verdict"], "lost", "{told}");
    assert!(!dirs[0].join("g00000-d000.ckv").exists());
}

/// What has no end is not read for a time zone.
#[test]
fn a_time_zone_that_has_no_end_keeps_nobody() {
    let site = Site::new();
    let dirs = site.compose(&small(), 1);
    let pipe = site.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for zone in [Path::new("/dev/zero"), Path::new(":/dev/zero"), &pipe, &dirs[0].join("no-such-file")] {
        for verb in ["verify", "list"] {
            let ran = site.run_in(verb, &[("TZ", zone)]).ends(0);
            assert_eq!(ran.stderr.contains("no file of a time zone"), !zone.ends_with("no-such-file"), "{ran}");
        }
    }
}
