//! Where an import goes.

use crate::support::*;
use crate::tree;
use std::fs;

fn prepared() -> Vault {
    let vault = Vault::new();
    vault.exported(50_000, "2+1");
    vault
}

#[test]
fn a_target_that_is_not_empty_is_refused_and_left_as_it_was() {
    let vault = prepared();
    vault.make(&["full"]);
    fs::write(vault.path("full/precious"), "mine").unwrap();
    let before = tree::read(&vault.path("full"));
    let around = names_in(&vault.root);
    vault.receiver("import usb --to full").fails(1).says("not empty");
    assert!(tree::read(&vault.path("full")) == before);
    assert_eq!(names_in(&vault.root), around);
}

#[test]
fn an_empty_directory_is_a_target() {
    let vault = prepared();
    vault.make(&["empty"]);
    let around = names_in(&vault.root);
    vault.receiver("import usb --to empty").ok();
    tree::assert_same(&vault.path("checkpoint"), &vault.path("empty"));
    assert_eq!(names_in(&vault.root), around);
}

#[test]
fn an_empty_directory_is_a_target_from_within() {
    let vault = prepared();
    vault.make(&["here"]);
    vault.call("receiver", "import ../usb --to .").at("here").run().ok();
    tree::assert_same(&vault.path("checkpoint"), &vault.path("here"));
}

#[test]
fn a_link_to_an_empty_directory_is_a_target_and_stays_a_link() {
    let vault = prepared();
    vault.make(&["real"]);
    std::os::unix::fs::symlink("real", vault.path("link")).unwrap();
    vault.receiver("import usb --to link").ok();
    assert!(vault.path("link").is_symlink());
    tree::assert_same_inside(&vault.path("checkpoint"), &vault.path("real"));
}

#[test]
fn a_file_is_no_target() {
    let vault = prepared();
    fs::write(vault.path("file"), "mine").unwrap();
    vault.receiver("import usb --to file").fails(1).says("not a directory");
    assert_eq!(fs::read_to_string(vault.path("file")).unwrap(), "mine");
}

#[test]
fn parents_of_the_target_are_made() {
    let vault = prepared();
    vault.receiver("import usb --to a/b/c").ok();
    tree::assert_same(&vault.path("checkpoint"), &vault.path("a/b/c"));
}

#[test]
fn one_set_may_be_imported_twice() {
    let vault = prepared();
    vault.receiver("import usb --to first").ok();
    vault.receiver("import usb --to second").ok();
    tree::assert_same(&vault.path("first"), &vault.path("second"));
    vault.receiver("import usb --to first").fails(1);
    tree::assert_same(&vault.path("checkpoint"), &vault.path("first"));
}

#[test]
fn the_set_is_only_read() {
    let vault = prepared();
    let before = tree::read(&vault.path("usb"));
    vault.receiver("verify usb").ok();
    vault.receiver("list usb").ok();
    vault.receiver("import usb --to there").ok();
    assert!(tree::read(&vault.path("usb")) == before);
}

#[test]
fn an_import_from_a_read_only_place_into_it_is_refused_tidily() {
    let vault = prepared();
    vault.receiver("import usb --to usb").fails(1).says("not empty");
    assert_eq!(names_in(&vault.path("usb")).len(), 1);
}

/// What root exports need not be accessible to who imports it; that is no reason to call it lost.
#[test]
fn a_directory_closed_to_who_imports_is_restored_all_the_same() {
    if !is_root() || !need(&["setpriv"]) {
        return skip("needs root, to export what another user may not see");
    }
    let vault = Vault::new();
    fs::create_dir_all(vault.path("checkpoint/closed")).unwrap();
    fs::write(vault.path("checkpoint/closed/file"), "contents").unwrap();
    tree::set_mode(&vault.path("checkpoint/closed"), 0);
    vault.make(&["usb", "open"]);
    vault.export("checkpoint --to usb --parity 1+1");
    fs::copy(env!("CARGO_BIN_EXE_ckvault"), vault.path("ckvault")).unwrap();
    for (path, mode) in
        [("", 0o755), ("home", 0o755), ("home/receiver", 0o755), ("home/receiver/identity.txt", 0o644), ("open", 0o777)]
    {
        tree::set_mode(&vault.path(path), mode);
    }
    let nobody = "--reuid=65534 --regid=65534 --clear-groups ./ckvault import usb --to open/restored";
    vault.tool("setpriv", nobody).env("CKVAULT_HOME", vault.home("receiver")).run().ok();
    tree::assert_same(&vault.path("checkpoint/closed"), &vault.path("open/restored/closed"));
}
