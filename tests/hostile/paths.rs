//! Paths and links that lead out of the target, into each other, or into what import makes for itself.

use crate::cases::{Case, refuse, small, with};
use crate::site::Site;
use crate::ustar::*;
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// The beginning of the id of every set that is composed here.
const ID8: &str = "686f7374";

#[test]
fn paths_out_of_the_target() {
    let outside = std::env::temp_dir().join("ckvault-hostile-outside");
    let bad: Vec<(&str, Vec<u8>, &str)> = vec![
        ("absolute", outside.as_os_str().as_bytes().to_vec(), "absolute"),
        ("root", b"/".to_vec(), "absolute"),
        ("two slashes", b"//x".to_vec(), "absolute"),
        ("parent", b"../precious".to_vec(), ". or .."),
        ("parent alone", b"..".to_vec(), ". or .."),
        ("parent inside", b"d/../../precious".to_vec(), ". or .."),
        ("parent at the end", b"d/..".to_vec(), ". or .."),
        ("here", b".".to_vec(), ". or .."),
        ("here first", b"./x".to_vec(), ". or .."),
        ("here at the end", b"d/.".to_vec(), ". or .."),
        ("slash at the end", b"d/".to_vec(), "empty component"),
        ("empty component", b"d//x".to_vec(), "empty component"),
        ("nul", b"x\0y".to_vec(), "NUL"),
        ("nul alone", b"\0".to_vec(), "NUL"),
        ("nul after a good name", b"d/x\0/../../precious".to_vec(), "NUL"),
        ("256 bytes", vec![b'n'; 256], "255 bytes"),
        ("256 bytes below", [b"d/", &[b'n'; 256][..]].concat(), "255 bytes"),
        ("empty", b"".to_vec(), "twice"),
    ];
    let kinds: [fn(&[u8]) -> Item; 4] = [|p| file(p, "x"), |p| dir(p), |p| symlink(p, "a"), |p| hardlink(p, "a")];
    for (name, path, why) in bad {
        let cases: Vec<Case> =
            kinds.iter().map(|kind| (name, with([file("a", "x"), dir("d"), kind(&path)]), 1, why)).collect();
        refuse(cases);
    }
    assert!(!outside.exists());
}

#[test]
fn paths_that_are_too_long_or_of_another_kind() {
    let reserved = format!(".ckvault-{ID8}.partial");
    refuse(vec![
        ("4096 bytes", with([file(vec![b'a'; 4096], "x")]), 1, "length of a path"),
        ("a file without a path", crate::compose::Recipe::new(vec![file("", "x")]), 1, "the path is empty"),
        ("a link without a path", crate::compose::Recipe::new(vec![symlink("", "x")]), 1, "the path is empty"),
        ("the root, second", crate::compose::Recipe::new(vec![dir("d"), dir("")]), 1, "the path is empty"),
        ("reserved", with([file(&reserved, "x")]), 1, "reserved"),
        ("reserved directory", with([dir(&reserved), file(reserved.clone() + "/x", "x")]), 1, "reserved"),
        ("path is a number", small().field(2, "path", 7), 1, "inventory.age"),
        ("path is null", small().field(2, "path", serde_json::Value::Null), 1, "inventory.age"),
        ("path is a list", small().field(2, "path", vec!["a"]), 1, "inventory.age"),
        (
            "base64 of nothing known",
            small().text(2, "\"path\":\"a\"", "\"path\":{\"base64\":\"?\"}"),
            1,
            "inventory.age",
        ),
        ("a lone surrogate", small().text(2, "\"path\":\"a\"", "\"path\":\"\\ud800\""), 1, "inventory.age"),
    ]);
}

#[test]
fn parents_that_are_no_directories_of_the_set() {
    let parent = "its parent is not a directory";
    refuse(vec![
        ("missing", with([file("d/x", "x")]), 1, parent),
        ("a file", with([file("d", "x"), file("d/x", "x")]), 1, parent),
        ("a link to the outside", with([symlink("d", "/tmp"), file("d/x", "x")]), 1, parent),
        ("a link up", with([symlink("d", ".."), file("d/precious", "x")]), 1, parent),
        ("a link inside", with([dir("e"), symlink("d", "e"), file("d/x", "x")]), 1, parent),
        ("a hard link", with([file("a", "x"), hardlink("d", "a"), file("d/x", "x")]), 1, parent),
        ("later", with([file("d/x", "x"), dir("d")]), 1, parent),
        ("a directory below a link", with([symlink("d", ".."), dir("d/e"), file("d/e/x", "x")]), 1, parent),
        ("a hard link below a link", with([file("a", "x"), symlink("d", ".."), hardlink("d/x", "a")]), 1, parent),
        ("another link through one", with([symlink("d", "."), symlink("d/e", "..")]), 1, parent),
    ]);
}

#[test]
fn entries_that_stand_twice() {
    let twice = "stands in the inventory twice";
    let base64 = |recipe: crate::compose::Recipe| recipe.text(3, "\"path\":\"a\"", "\"path\":{\"base64\":\"YQ==\"}");
    refuse(vec![
        ("a file", with([file("a", "x"), file("a", "x")]), 1, twice),
        ("a file and a link", with([file("a", "x"), symlink("a", "..")]), 1, twice),
        ("a link and a file", with([symlink("a", ".."), file("a", "x")]), 1, twice),
        ("a directory and a link", with([dir("d"), symlink("d", ".."), file("d/precious", "x")]), 1, twice),
        ("two spellings", base64(with([file("a", "x"), file("a", "x")])), 1, "a name that is UTF-8 is in base64"),
        (
            "an escape",
            with([file("a", "x"), file("a", "x")]).text(3, "\"path\":\"a\"", "\"path\":\"\\u0061\""),
            1,
            twice,
        ),
        ("the root", with([dir("")]), 1, twice),
    ]);
}

#[test]
fn hard_links_to_what_is_no_file_of_the_set() {
    let why = "it is a hard link to what is no file of the set before it";
    let site = Site::new();
    let precious = site.path("precious");
    refuse(vec![
        ("outside", with([hardlink("b", precious.as_os_str().as_bytes())]), 1, why),
        ("up", with([hardlink("b", "../precious")]), 1, why),
        ("later", with([hardlink("a", "b"), file("b", "x")]), 1, why),
        ("a link", with([symlink("a", "../precious"), hardlink("b", "a")]), 1, why),
        ("through a link", with([symlink("a", ".."), hardlink("b", "a/precious")]), 1, why),
        ("a directory", with([dir("d"), hardlink("b", "d")]), 1, why),
        ("itself", with([hardlink("b", "b")]), 1, why),
        ("another hard link", with([file("a", "x"), hardlink("b", "a"), hardlink("c", "b")]), 1, why),
        ("the root", with([hardlink("b", ".")]), 1, why),
        ("another spelling", with([file("a", "x"), hardlink("b", "./a")]), 1, why),
        ("with a nul", with([file("a", "x"), hardlink("b", "a\0")]), 1, why),
        ("nothing", with([hardlink("b", "")]), 1, "length of a link"),
        ("4096 bytes", with([hardlink("b", vec![b'a'; 4096])]), 1, "length of a link"),
    ]);
}

#[test]
fn symbolic_links_that_leave() {
    let leaves = "leaves the target";
    let chain = |last: &str| {
        let mut items: Vec<Item> = (0..30).map(|i| symlink(format!("l{i}"), format!("l{}", i + 1))).collect();
        items.push(symlink("l30", last));
        with(items)
    };
    refuse(vec![
        ("absolute", with([symlink("l", "/etc/passwd")]), 1, leaves),
        ("root", with([symlink("l", "/")]), 1, leaves),
        ("up", with([symlink("l", "..")]), 1, leaves),
        ("up and back", with([symlink("l", "../target/a")]), 1, leaves),
        ("up from below", with([dir("d"), symlink("d/l", "../../x")]), 1, leaves),
        ("a chain", chain("../x"), 1, leaves),
        ("a chain to the root", chain("/"), 1, leaves),
        (
            "through another link",
            with([dir("d"), dir("d/e"), symlink("d/e/s", "../.."), symlink("t", "d/e/s/../x")]),
            1,
            leaves,
        ),
        ("through what does not exist", with([symlink("l", "no/../../x")]), 1, leaves),
        ("many dots", with([symlink("l", "./".repeat(900) + "..")]), 1, leaves),
        ("with a nul", with([symlink("l", "a\0/../..")]), 1, "NUL"),
        ("nothing", with([symlink("l", "")]), 1, "length of a link"),
        ("4096 bytes", with([symlink("l", vec![b'a'; 4096])]), 1, "length of a link"),
    ]);
}

#[test]
fn links_that_are_kept_are_not_followed() {
    let site = Site::new();
    let outside = site.path("outside");
    fs::create_dir(&outside).unwrap();
    let to = |name: &str| symlink(name, outside.as_os_str().as_bytes());
    site.compose(&with([file("a", "x"), to("b"), to("d"), symlink("loop", "loop")]), 1);
    site.run("import --links keep").ends(0);
    assert_eq!(fs::read_link(site.target().join("d")).unwrap(), outside);
    fs::remove_dir_all(site.target()).unwrap();
    for below in [file("d/x", "x"), dir("d/x"), hardlink("d/x", "a"), symlink("d/x", "a")] {
        site.compose(&with([file("a", "x"), to("d"), below]), 1);
        site.run("import --links keep").ends(1);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        assert!(!site.target().exists());
    }
}

/// What looks dangerous, and is not.
#[test]
fn odd_names_that_are_harmless() {
    let site = Site::new();
    let long = vec![b'n'; 255];
    let names: Vec<&[u8]> = vec![
        b"..\\..\\precious",
        b"C:\\precious",
        b"...",
        b".. ",
        b" ",
        b"~",
        b"-rf",
        b"a\nb",
        b"\x1b[2J",
        b"*",
        b"%s%n",
        b".ckvault-probe",
        b".CKVAULT-PROBE",
        b"target",
        b"\xff\xfe",
        b"$(touch precious)",
        &long,
        b"lost+found",
        b".ckvault-686f7374.partialx",
    ];
    let mut names = names;
    names.sort();
    site.compose(&with(names.iter().map(|n| file(n, n))), 1);
    site.run("list").ends(0);
    site.run("list --json").ends(0);
    site.run("verify").ends(0);
    site.run("import").ends(0);
    for name in names {
        let path = site.target().join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(fs::read(&path).unwrap(), name, "{path:?}");
    }
    assert_eq!(fs::read_dir(site.path("place")).unwrap().count(), 1);
}

/// Directories as deep as the longest path, in components of one byte.
fn deep() -> Vec<Item> {
    let mut items: Vec<Item> = (1..2048).map(|n| dir("a/".repeat(n).trim_end_matches('/'))).collect();
    items.push(file("a/".repeat(2047) + "f", "deep"));
    items
}

#[test]
fn the_deepest_tree_is_placed_or_removed() {
    let site = Site::new();
    site.compose(&with(deep()), 1);
    site.run("import").ends(0);
    drop(site);
    // The hash of the last file is wrong, which is found when all directories have been made.
    let last = with(deep()).items.len();
    let wrong = with(deep()).field(last, "blake3", "0".repeat(64));
    Site::new().refuses(&wrong, 1, "does not have the hash");
}
