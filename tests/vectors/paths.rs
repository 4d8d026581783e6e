//! Paths and links that are hostile though the signer is trusted.

use crate::compose::Recipe;
use crate::edits::with;
use crate::ustar::{Item, dir, file, hardlink, symlink};
use crate::vector::{Vector, vector};

fn one(name: &str, rule: u32, fault: &str, recipe: Recipe) -> Vector {
    vector(format!("paths/{name}"), &[rule], fault, recipe).inside("paths", "refused 1")
}

pub fn all() -> Vec<Vector> {
    [twice(), names(), parents(), links()].into_iter().flatten().collect()
}

/// Rule 38.
fn twice() -> Vec<Vector> {
    let one = |name: &str, fault: &str, recipe: Recipe| {
        vector(format!("paths/{name}"), &[38], fault, recipe).inside("inventory", "format 1")
    };
    vec![
        one("twice", "a path stands twice", with([file("a", "x"), file("a", "x")])),
        one("twice-link-and-file", "a link and a file have one path", with([symlink("a", "b"), file("a", "x")])),
        one("twice-escaped", "a path stands twice, once with an escape", {
            with([file("a", "x"), file("a", "x")]).text(3, "\"path\":\"a\"", "\"path\":\"\\u0061\"")
        }),
        one("twice-the-root", "the directory itself stands twice", with([dir("")])),
    ]
}

/// Rules 39 and 40.
fn names() -> Vec<Vector> {
    let path =
        |name: &str, fault: &str, path: &[u8]| one(name, 39, fault, with([file("a", "x"), dir("d"), file(path, "x")]));
    vec![
        path("absolute", "a path is absolute", b"/tmp/x"),
        path("absolute-short", "a path is absolute, and has one component", b"/x"),
        path("up", "a path leads up", b"../x"),
        path("up-inside", "a path leads up from below", b"d/../../x"),
        path("dot", "a component is a dot", b"d/./x"),
        path("dot-first", "a path begins with a dot", b"./x"),
        path("slash-at-the-end", "a path ends with a slash", b"x/"),
        path("slash-behind-a-directory", "the path of a file is that of a directory and a slash", b"d/"),
        path("two-slashes", "a component is empty", b"d//x"),
        path("nul", "a path has a NUL", b"x\0y"),
        path("component-256", "a component has 256 bytes", &[b'n'; 256]),
        one("empty-path-of-a-file", 39, "the empty path is that of a file", Recipe::new(vec![file("", "x")])),
        one("empty-path-second", 39, "the empty path is not the first entry", Recipe::new(vec![dir("d"), dir("")])),
        one("staging", 40, "a path could be the staging directory of ckvault(1), .ckvault-ID8.partial", {
            with([file(".ckvault-686f7374.partial", "x")])
        }),
        one("below-staging", 40, "a path lies in what could be the staging directory of ckvault(1)", {
            with([dir(".ckvault-686f7374.partial"), file(".ckvault-686f7374.partial/x", "x")])
        }),
    ]
}

/// Rules 41 and 42.
fn parents() -> Vec<Vector> {
    let parent = |name: &str, fault: &str, items: Vec<Item>| one(&format!("parent-{name}"), 41, fault, with(items));
    let hard = |name: &str, fault: &str, items: Vec<Item>| one(&format!("hard-link-{name}"), 42, fault, with(items));
    vec![
        parent("missing", "the parent of a file is no entry", vec![file("d/x", "x")]),
        parent("file", "the parent of a file is a file", vec![file("d", "x"), file("d/x", "x")]),
        parent(
            "link",
            "the parent of a file is a link to a directory",
            vec![dir("e"), symlink("d", "e"), file("d/x", "x")],
        ),
        parent("later", "the parent of a file comes after it", vec![file("d/x", "x"), dir("d")]),
        parent("of-a-link", "the parent of a link is a link", vec![symlink("d", "."), symlink("d/l", "x")]),
        hard("outside", "a hard link leads outside", vec![hardlink("b", "../precious")]),
        hard("absolute", "a hard link is absolute", vec![hardlink("b", "/etc/passwd")]),
        hard("later", "the file of a hard link comes after it", vec![hardlink("a", "b"), file("b", "x")]),
        hard("to-a-link", "a hard link to a symbolic link", vec![symlink("a", "x"), hardlink("b", "a")]),
        hard("to-a-directory", "a hard link to a directory", vec![dir("d"), hardlink("b", "d")]),
        hard(
            "to-a-hard-link",
            "a hard link to a hard link",
            vec![file("a", "x"), hardlink("b", "a"), hardlink("c", "b")],
        ),
        hard(
            "another-spelling",
            "a hard link names its file in another way",
            vec![file("a", "x"), hardlink("b", "./a")],
        ),
    ]
}

/// Rule 43.
fn links() -> Vec<Vector> {
    // A user may say that links may leave: who lists may only tell it.
    let leaves = |name: &str, fault: &str, items: Vec<Item>| {
        vector(format!("paths/link-{name}"), &[43], fault, with(items)).placed("paths")
    };
    let chain = |links: usize| -> Vec<Item> {
        let name = |i: usize| format!("l{i:02}");
        (0..links).map(|i| symlink(name(i), if i + 1 < links { name(i + 1) } else { "..".into() })).collect()
    };
    vec![
        leaves("absolute", "a link is absolute", vec![symlink("l", "/etc/passwd")]),
        leaves("up", "a link leads above the top", vec![symlink("l", "..")]),
        leaves(
            "up-and-back",
            "a link leads above the top, and back by the name of the target",
            vec![symlink("l", "../target/a")],
        ),
        leaves("up-from-below", "a link in a directory leads above the top", vec![dir("d"), symlink("d/l", "../../x")]),
        leaves(
            "through-another",
            "a link leaves by way of another",
            vec![dir("d"), dir("d/e"), symlink("d/e/s", "../.."), symlink("t", "d/e/s/../x")],
        ),
        leaves("through-nothing", "a link leaves by way of what does not exist", vec![symlink("l", "no/../../x")]),
        leaves("through-a-file", "a link leaves by way of a file", vec![file("a", "x"), symlink("l", "a/../../x")]),
        leaves("chain-of-40", "the 40th link of a chain leaves", chain(40)),
        leaves(
            "steps-4097",
            "a way of more than 4096 steps",
            vec![symlink("l", "m/".repeat(20) + "x"), symlink("m", "./".repeat(300))],
        ),
        one("link-nul", 43, "the text of a link has a NUL", with([symlink("l", "a\0b")])),
    ]
}
