//! The pieces of the inventory: what is said of them, and what is put together from them.

use crate::cases::{Case, refuse, small};
use crate::compose::Recipe;
use crate::honest::noise;
use crate::recover::{SIGNERS, can_recover};
use crate::site::Site;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

const PIECE: u64 = 64 << 10;

/// An honest set of which the inventory has so many bytes and a few more, by a frame that is passed over.
fn long(bytes: usize) -> Recipe {
    small().with_edit(
        |r| &mut r.edit_packed,
        move |packed| {
            packed
                .extend([&0x184d_2a50u32.to_le_bytes()[..], &(bytes as u32).to_le_bytes(), &noise(7, bytes)].concat());
        },
    )
}

/// Of three pieces.
fn three(edit: impl Fn(&mut Value) + 'static) -> Recipe {
    long(2 * PIECE as usize).manifest(move |m| edit(&mut m["files"]["inventory.age"]["pieces"]))
}

fn zero(path: &Path, at: u64) {
    File::options().write(true).open(path).unwrap().write_all_at(&[0; 1000], at).unwrap();
}

#[test]
fn pieces_that_are_not_those_of_the_inventory() {
    let (folds, array) = ("pieces", "an array of 2 to 256 elements");
    let all = |p: &Value| p.as_array().unwrap().clone();
    let cases: Vec<Case> = vec![
        ("none", three(|p| *p = Value::Null), 1, array),
        (
            "absent",
            long(2 * PIECE as usize)
                .manifest(|m| drop(m["files"]["inventory.age"].as_object_mut().unwrap().remove("pieces"))),
            1,
            folds,
        ),
        ("an empty array", three(|p| *p = json!([])), 1, array),
        ("one", three(move |p| *p = all(p)[..1].to_vec().into()), 1, array),
        ("two", three(move |p| *p = all(p)[..2].to_vec().into()), 1, folds),
        ("four", three(|p| p.as_array_mut().unwrap().push("0".repeat(64).into())), 1, folds),
        ("257", three(|p| *p = vec!["0".repeat(64); 257].into()), 1, "more than 256 elements"),
        ("another value", three(|p| p[1] = "0".repeat(64).into()), 1, folds),
        ("out of order", three(move |p| p.as_array_mut().unwrap().swap(0, 1)), 1, folds),
        ("upper case", three(|p| p[0] = "A".repeat(64).into()), 1, "64 lower-case hex digits"),
        ("an object", three(|p| *p = json!({})), 1, array),
        (
            "of an inventory that has one",
            small().manifest(|m| m["files"]["inventory.age"]["pieces"] = vec!["0".repeat(64); 2].into()),
            1,
            folds,
        ),
        (
            "of another file",
            small().manifest(|m| m["files"]["keys.age"]["pieces"] = vec!["0".repeat(64); 2].into()),
            1,
            folds,
        ),
    ];
    refuse(cases);
}

#[test]
fn copies_that_are_all_damaged_give_the_inventory_if_each_piece_is_whole_in_one() {
    // The last with pieces of 128 KiB.
    for (bytes, piece) in [(3 * PIECE, PIECE), (256 * PIECE + 5, 2 * PIECE)] {
        let site = Site::new();
        let dir = site.compose(&long(bytes as usize), 1).remove(0);
        site.run("verify").ends(0);
        let copies = [dir.join("inventory.age"), dir.join("copy/inventory.age")];
        let whole = fs::read(&copies[0]).unwrap();
        zero(&copies[0], 100);
        zero(&copies[0], piece + 7);
        zero(&copies[1], 2 * piece);
        let short = File::options().write(true).open(&copies[1]).unwrap();
        short.set_len(whole.len() as u64 - 1).unwrap();
        site.run("verify").ends(3).shows("repairable");
        site.run("list").ends(0);
        site.run("import").ends(0);
        assert_eq!(fs::read(site.target().join("a")).unwrap(), b"hello");
        site.run("repair").ends(0);
        assert!(copies.iter().all(|copy| fs::read(copy).unwrap() == whole));
        site.run("verify").ends(0);
        // A piece that no copy has is lost.
        copies.iter().for_each(|copy| zero(copy, piece + 7));
        site.run("verify").ends(4).shows("lost");
        fs::remove_dir_all(site.target()).unwrap();
        site.run("import").ends(4);
    }
}

/// So does who has nothing but recover.py; and of the small files the copies in `third` are enough.
#[test]
fn recover_py_puts_the_inventory_together_from_several_copies() {
    if !can_recover() {
        return;
    }
    let site = Site::new();
    let dir = &site.compose(&long(2 * PIECE as usize), 1)[0];
    for name in ["keys.age", "manifest.json", "manifest.json.sig"] {
        fs::remove_file(dir.join(name)).unwrap();
        File::options().write(true).open(dir.join("copy").join(name)).unwrap().write_all_at(&[0; 9], 20).unwrap();
    }
    zero(&dir.join("inventory.age"), 100);
    zero(&dir.join("inventory.age"), PIECE + 100);
    // One that is cut off, and one that goes on behind its end.
    let copy = File::options().write(true).open(dir.join("copy/inventory.age")).unwrap();
    copy.set_len(2 * PIECE + 5).unwrap();
    let long = File::options().append(true).open(dir.join("inventory.age")).unwrap();
    (&long).write_all(b"more").unwrap();
    site.recover(SIGNERS).ends(0);
    assert_eq!(fs::read(site.target().join("a")).unwrap(), b"hello");
    fs::remove_dir_all(site.target()).unwrap();
    zero(&dir.join("copy/inventory.age"), 200);
    let ran = site.recover(SIGNERS).ends(7);
    assert!(ran.stderr.contains("no copy of inventory.age is as it was signed"), "{ran}");
    assert!(!site.target().exists());
}
