//! A program that travels with a set is a file like any other: nobody runs it, nobody needs it.

use crate::cases::{list_program, small, with_program};
use crate::site::Site;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const VERBS: [&str; 5] = ["verify", "inspect", "list", "repair", "import"];

/// Leaves a mark if it is run.
fn script(site: &Site) -> String {
    format!("#!/bin/sh\ntouch {}\n", site.path("it-was-run").display())
}

fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn it_is_never_run() {
    let site = Site::new();
    let text = script(&site);
    let listed = text.clone();
    // Listed as it is, listed as another, and not listed at all.
    let recipes = [
        small().manifest(move |m| {
            list_program(m, listed.len() as u64);
            m["files"]["ckvault"]["blake3"] = blake3::hash(listed.as_bytes()).to_hex().to_string().into();
        }),
        with_program(),
        small(),
    ];
    for recipe in recipes {
        let dirs = site.compose(&recipe, 1);
        for place in [&dirs[0], &dirs[0].join("copy")] {
            put(&place.join("ckvault"), &text);
        }
        for verb in VERBS {
            site.run(verb);
            assert!(!site.path("it-was-run").exists(), "{verb}");
        }
        assert_eq!(fs::read(site.target().join("a")).unwrap(), b"hello");
        fs::remove_dir_all(site.target()).unwrap();
    }
}

#[test]
fn without_it_everything_can_be_had() {
    let site = Site::new();
    site.compose(&with_program(), 1);
    site.run("verify").ends(3).shows("repairable");
    site.run("repair").ends(1);
    site.run("import").ends(0);
}

#[test]
fn no_name_is_listed_that_takes_its_place() {
    for name in ["CKVAULT", "../ckvault", "copy/ckvault"] {
        let recipe = small().manifest(move |m| {
            list_program(m, 1000);
            m["files"][name] = m["files"]["ckvault"].take();
            m["files"].as_object_mut().unwrap().remove("ckvault");
        });
        Site::new().refuses(&recipe, 1, "metadata file");
    }
}
