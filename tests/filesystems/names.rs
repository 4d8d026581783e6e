//! Names that a file system takes for the same, or does not take at all.

use crate::mount::{Kind, Mount, kept};
use crate::run::Ran;
use crate::support::*;
use std::fs;

/// A set with these files, on a plain drive.
fn with_files(names: &[&str]) -> Vault {
    let vault = Vault::new();
    vault.make(&["source", "usb"]);
    for name in names {
        let path = vault.path("source").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    vault.export("source --to usb --parity 1+1");
    vault
}

/// Imports to a mount point and below it, which must fail alike and leave nothing.
#[track_caller]
fn refused(vault: &Vault, target: &Mount) -> Vec<Ran> {
    let import = |below| {
        let to = target.dir.join(below);
        let ran = vault.receiver(&format!("import usb --to {}", to.display())).fails(1);
        let left = names_in(&target.dir);
        ran.check(left.is_empty(), &format!("{target:?}: left behind: {left:?}"));
        ran
    };
    ["", "there"].map(import).into()
}

#[test]
fn names_that_differ_by_case_alone_are_listed() {
    let clashing = ["Model.bin", "model.bin", "Layer/one", "layer/two", "other"];
    for kind in [Kind::Exfat, Kind::Fat] {
        let vault = with_files(&clashing);
        let Some(target) = Mount::new(&vault, "target", kind) else { continue };
        for ran in refused(&vault, &target) {
            ran.check(!ran.stderr.contains("other"), "this one does not clash");
            let ran = clashing[..2].iter().fold(ran, |ran, name| ran.says(name));
            ran.says("Layer and layer");
        }
    }
}

#[test]
fn of_clashing_names_one_can_be_chosen() {
    let vault = with_files(&["Model.bin", "model.bin"]);
    let Some(target) = Mount::new(&vault, "target", Kind::Exfat) else { return };
    vault.receiver("import usb --to target --only model.bin").ok();
    assert_eq!(names_in(&target.dir), [b"model.bin"]);
    assert_eq!(fs::read(target.dir.join("model.bin")).unwrap(), b"model.bin");
}

#[test]
fn letters_of_any_alphabet_clash_where_the_file_system_says_so() {
    let vault = with_files(&["größe", "GRÖßE"]);
    let Some(target) = Mount::new(&vault, "target", Kind::Exfat) else { return };
    refused(&vault, &target).into_iter().for_each(|ran| drop(ran.says("größe").says("GRÖßE")));
}

#[test]
fn a_name_that_the_file_system_does_not_take_is_an_error_that_says_so() {
    for (name, shown) in
        [("step:100", "step:100"), ("what?", "what?"), ("a*b", "a*b"), ("a|b", "a|b"), ("tab\there", "here")]
    {
        let vault = with_files(&["fine", name]);
        let Some(target) = Mount::new(&vault, "target", Kind::Exfat) else { return };
        refused(&vault, &target).into_iter().for_each(|ran| drop(ran.says(shown).says("does not take").says("--only")));
    }
}

#[test]
fn a_directory_name_that_the_file_system_does_not_take_is_one_too() {
    let vault = with_files(&["fine", "step:100/model.bin"]);
    let Some(target) = Mount::new(&vault, "target", Kind::Exfat) else { return };
    refused(&vault, &target).into_iter().for_each(|ran| drop(ran.says("step:100").says("does not take")));
}

#[test]
fn unusual_names_that_exfat_takes_arrive() {
    let vault = with_files(&["dot.", "blank ", "...", " lead", "CON", "größe", "中文/名", "x\u{7f}"]);
    let long = "n".repeat(255);
    let Some(target) = Mount::new(&vault, "target", Kind::Exfat) else { return };
    vault.receiver("import usb --to target").ok();
    target.again();
    assert_eq!(kept(&vault.path("source")), kept(&target.dir));
    let vault = with_files(&[&long]);
    let Some(target) = Mount::new(&vault, "target", Kind::Exfat) else { return };
    vault.receiver("import usb --to target").ok();
    assert_eq!(names_in(&target.dir), [long.as_bytes()]);
}
