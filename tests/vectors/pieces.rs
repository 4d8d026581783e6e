//! The pieces of the inventory: what the manifest says of them, and what is put together from them.

use crate::compose::{BLOCK, Recipe};
use crate::damage::flip;
use crate::edits::small;
use crate::signature::copies;
use crate::vector::{Vector, noise, vector};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const PIECE: usize = 64 << 10;
const NAME: &str = "inventory.age";

/// An honest set of which the inventory has two pieces, by a frame of zstd that is passed over.
fn two() -> Recipe {
    small().with_edit(
        |r| &mut r.edit_packed,
        |packed| {
            let len = PIECE + 100;
            packed.extend([&0x184d_2a50u32.to_le_bytes()[..], &(len as u32).to_le_bytes(), &noise(7, len)].concat());
        },
    )
}

/// With other pieces in the manifest.
fn said(recipe: Recipe, edit: impl Fn(&mut Value) + 'static) -> Recipe {
    recipe.manifest(move |m| edit(&mut m["files"][NAME]["pieces"]))
}

fn values(n: usize) -> Value {
    vec!["0".repeat(64); n].into()
}

pub fn all() -> Vec<Vector> {
    [manifest(), copied()].into_iter().flatten().collect()
}

/// Rule 78.
fn manifest() -> Vec<Vector> {
    let one =
        |name: &str, fault: &str, recipe: Recipe| vector(format!("pieces/{name}"), &[78], fault, recipe).manifest();
    vec![
        one("absent", "the inventory has two pieces, and there is no field pieces", {
            two().manifest(|m| drop(m["files"][NAME].as_object_mut().unwrap().remove("pieces")))
        }),
        one("order", "the values of the two pieces are exchanged", {
            said(two(), |pieces| pieces.as_array_mut().unwrap().swap(0, 1))
        }),
        one("three", "there is a value more than pieces", {
            said(two(), |pieces| pieces.as_array_mut().unwrap().push("0".repeat(64).into()))
        }),
        one("one-of-one", "the inventory has one piece, and its hash stands in pieces", {
            small().manifest(|m| m["files"][NAME]["pieces"] = json!([m["files"][NAME]["blake3"]]))
        }),
        one("two-of-one", "the inventory has one piece, and pieces two values", said(small(), |p| *p = values(2))),
        one("empty", "pieces is an empty array", said(small(), |p| *p = json!([]))),
        one("257", "pieces has 257 values", {
            small().manifest(|m| {
                m["files"][NAME]["bytes"] = (257 * PIECE).into();
                m["files"][NAME]["pieces"] = values(257);
            })
        }),
        one("of-another-file", "hashes.b3 has two pieces", {
            small().manifest(|m| m["files"]["hashes.b3"]["pieces"] = values(2))
        }),
        one("null", "pieces is null, and should be absent", said(small(), |p| *p = Value::Null)).by(&[78, 62]),
        one("upper-case", "a value of pieces is in upper case", {
            said(two(), |p| p[1] = p[1].as_str().unwrap().to_uppercase().into())
        })
        .by(&[78, 5]),
    ]
}

/// Rule 79.
fn copied() -> Vec<Vector> {
    let one = |name: &str, fault: &str| vector(format!("pieces/{name}"), &[79, 22], fault, two());
    vec![
        one("two", "none: an inventory of two pieces").by(&[78]).taken(),
        one("each-in-another-copy", "damage: of two copies each is damaged, in another piece")
            .then(|dirs| {
                let all = copies(dirs, NAME);
                flip(&all[0], 300);
                flip(&all[1], PIECE + 7);
            })
            .damaged("files"),
        one("cut-off", "damage: one copy is cut off within its second piece, and the other begins with zeros")
            .then(|dirs| {
                let all = copies(dirs, NAME);
                crate::damage::put(&all[0], 0, &[0; 4096]);
                let bytes = fs::read(&all[1]).unwrap();
                fs::write(&all[1], &bytes[..bytes.len() - 1]).unwrap();
            })
            .damaged("files"),
        one("on-another-drive", "damage: all four copies are damaged; one drive has the first piece, and the other the second")
            .on(2)
            .then(|dirs| {
                let all = copies(dirs, NAME);
                [0, 2, 3].iter().for_each(|i| flip(&all[*i], 300));
                [0, 1, 2].iter().for_each(|i| flip(&all[*i], PIECE + 7));
            })
            .damaged("files"),
        one("no-copy", "the second piece is damaged in all copies")
            .then(|dirs: &[PathBuf]| copies(dirs, NAME).iter().for_each(|path| flip(path, PIECE + 7)))
            .lost("files")
            .says("list", "lost 4"),
        vector(
            "pieces/of-128-kib",
            &[78, 79],
            "the inventory is 16 MiB and 1 of zeros, which no age file is; its pieces have 128 KiB, and each copy is damaged in another",
            small().with_edit(
                |r| &mut r.edit_listed,
                |files| {
                    let (_, bytes) = files.iter_mut().find(|(name, _)| *name == NAME).unwrap();
                    *bytes = vec![0; 256 * BLOCK + 1];
                },
            ),
        )
        .then(|dirs| {
            let all = copies(dirs, NAME);
            flip(&all[0], 2 * PIECE + 5);
            flip(&all[1], 5);
            flip(&all[1], PIECE + 5);
        })
        .damaged("inventory")
        .says("list", "format 1")
        .says("import", "format 1"),
    ]
}
