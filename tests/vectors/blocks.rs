//! Blocks of another length than 64 KiB, and lengths that no blocks have.

use crate::compose::{BLOCK, Keys, Recipe};
use crate::damage::{put, volume};
use crate::edits::{small, with};
use crate::ustar::file;
use crate::vector::{Vector, noise, vector};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn of(block_bytes: usize, recipe: Recipe) -> Recipe {
    Recipe { block_bytes, ..recipe }
}

pub fn all() -> Vec<Vector> {
    [whole(), manifest(), damage(), pages()].into_iter().flatten().collect()
}

fn whole() -> Vec<Vector> {
    let text = || with([file("a", "hello ".repeat(30_000))]).shape(3, 2);
    let one = |name: &str, rules: &[u32], fault: &str, recipe: Recipe| {
        vector(format!("blocks/{name}"), rules, fault, recipe).taken()
    };
    vec![
        one("of-128-kib", &[86, 26], "none: blocks of 128 KiB, in three data volumes and two of parity", {
            of(128 * KIB, text())
        }),
        one("of-256-kib", &[86], "none: blocks of 256 KiB", of(256 * KIB, small())),
        one("of-512-kib", &[86], "none: blocks of 512 KiB", of(512 * KIB, small())),
        one("of-1-mib", &[86, 26], "none: blocks of 1 MiB, in three data volumes and two of parity", of(MIB, text())),
        one("row-of-32-mib", &[87], "none: a row of 32 volumes, with blocks of 1 MiB", of(MIB, small().shape(30, 2))),
    ]
}

/// As if there were so many volumes, each its header page alone, and that as long as a block.
fn listed(block_bytes: usize, k: usize, m: usize) -> Recipe {
    small().manifest(move |manifest| {
        let group = &mut manifest["groups"][0];
        (group["k"], group["m"]) = (k.into(), m.into());
        let mut volume = group["volumes"][0].clone();
        volume["bytes"] = block_bytes.max(BLOCK).into();
        group["volumes"] = vec![volume; k + m].into();
        manifest["block_bytes"] = block_bytes.into();
        let blocks = block_bytes.max(BLOCK).div_ceil(block_bytes.max(1));
        manifest["files"]["hashes.b3"]["bytes"] = ((k + m) * blocks * 32).into();
    })
}

fn set(value: impl Into<Value>) -> Recipe {
    let value = value.into();
    small().manifest(move |m| m["block_bytes"] = value.clone())
}

fn manifest() -> Vec<Vector> {
    let one = |name: &str, rules: &[u32], fault: &str, recipe: Recipe| {
        vector(format!("blocks/{name}"), rules, fault, recipe).manifest()
    };
    let long = 128 * MIB + BLOCK;
    vec![
        one("limit-least", &[86], "block_bytes is 32 KiB", listed(32 * KIB, 1, 1)),
        one("limit-most", &[86], "block_bytes is 2 MiB", listed(2 * MIB, 1, 1)),
        one("limit-0", &[86], "block_bytes is 0", set(0)),
        one("no-power", &[86], "block_bytes is 96 KiB, no power of two", listed(96 * KIB, 1, 1)),
        one("missing", &[86, 3], "there is no field block_bytes", {
            small().manifest(|m| drop(m.as_object_mut().unwrap().remove("block_bytes")))
        }),
        one("null", &[86, 62], "block_bytes is null, which does not stand for 64 KiB", set(Value::Null)),
        one("row-of-33-mib", &[87], "a row of 33 volumes, with blocks of 1 MiB", listed(MIB, 31, 2)),
        one("row-of-65-volumes", &[87], "a row of 65 volumes, with blocks of 512 KiB", listed(512 * KIB, 60, 5)),
        one("volume-less-than-a-block", &[4, 86], "the volumes are shorter than a block of 128 KiB", {
            small().manifest(|m| {
                m["block_bytes"] = (128 * KIB).into();
                m["files"]["hashes.b3"]["bytes"] = 64.into();
            })
        }),
        one("hashes-of-64-kib", &[6, 86], "hashes.b3 is as long as blocks of 64 KiB need, and they have 128 KiB", {
            of(128 * KIB, small()).with_edit(|r| &mut r.edit_hashes, |h| h.resize(2 * 3 * 32, 0))
        }),
        one("spans-of-128-mib", &[30, 86], "volumes of a span of 256 MiB have the spans that blocks of 64 KiB give", {
            small().manifest(move |m| {
                (m["volume_bytes"], m["block_bytes"]) = ((1u64 << 28).into(), (128 * KIB).into());
                for volume in m["groups"][0]["volumes"].as_array_mut().unwrap() {
                    volume["bytes"] = long.into();
                    volume["spans"] = json!(["0".repeat(64), "0".repeat(64)]);
                }
                m["files"]["hashes.b3"]["bytes"] = (2 * long.div_ceil(128 * KIB) * 32).into();
            })
        }),
    ]
}

fn damage() -> Vec<Vector> {
    let wiped = |path: PathBuf| fs::write(&path, vec![0; fs::metadata(&path).unwrap().len() as usize]).unwrap();
    vec![
        vector(
            "blocks/damaged-128-kib",
            &[86, 28],
            "damage: a block of 128 KiB, in each of its halves",
            of(128 * KIB, with([file("a", noise(5, 80_000))])),
        )
        .then(|dirs| [5, 70_000].iter().for_each(|at| put(&volume(dirs, "d000"), 128 * KIB + at, b"damage")))
        .damaged("hashes"),
        vector(
            "blocks/two-in-a-row",
            &[86, 28],
            "two blocks of a row are damaged, which would be in two rows if they had 64 KiB, and there is parity for one",
            of(128 * KIB, with([file("a", noise(5, 80_000))])),
        )
        .then(|dirs| {
            put(&volume(dirs, "d000"), 128 * KIB + 5, b"damage");
            put(&volume(dirs, "p000"), 128 * KIB + 70_000, b"damage");
        })
        .lost("volumes"),
        vector(
            "blocks/damaged-1-mib",
            &[86, 28, 77],
            "damage: a block of 1 MiB, and all copies of hashes.b3",
            of(MIB, with([file("a", "hello ".repeat(30_000))]).shape(3, 2)),
        )
        .then(move |dirs| {
            crate::signature::copies(dirs, "hashes.b3").into_iter().for_each(wiped);
            put(&volume(dirs, "d001"), MIB + 5, b"damage");
        })
        .damaged("hashes"),
        vector(
            "blocks/volume-missing",
            &[86, 27],
            "damage: a data volume with blocks of 1 MiB is missing",
            of(MIB, with([file("a", "hello ".repeat(30_000))]).shape(3, 2)),
        )
        .then(|dirs| fs::remove_file(volume(dirs, "d000")).unwrap())
        .damaged("volumes"),
    ]
}

/// A header page that says another length, with the right hash of that.
fn says(page: &mut [u8], block_bytes: usize) {
    page[12..16].copy_from_slice(&(block_bytes as u32).to_le_bytes());
    let hash = blake3::hash(&page[..64]);
    page[64..96].copy_from_slice(hash.as_bytes());
}

/// The header page of the parity volume of another set, and zeros: no block of the data volume can be had beside it.
fn foreign(block_bytes: usize, said: usize) -> impl Fn(&Keys, &std::path::Path, &[PathBuf]) + 'static {
    move |keys, _, dirs| {
        let (data, parity) = (volume(dirs, "d000"), volume(dirs, "p000"));
        let len = fs::metadata(&data).unwrap().len() as usize;
        put(&data, BLOCK, &vec![0; len - BLOCK]);
        let temp = tempfile::tempdir().unwrap();
        let other = Recipe { set: *b"another exporter", ..of(block_bytes, small()) };
        let theirs = other.write(keys, &[temp.path().join("1")]).unwrap();
        let mut bytes = fs::read(volume(&theirs, "p000")).unwrap();
        says(&mut bytes, said);
        bytes[block_bytes..].fill(0);
        fs::write(parity, bytes).unwrap();
    }
}

fn pages() -> Vec<Vector> {
    vec![
        vector(
            "blocks/signed-page-another",
            &[86, 23],
            "none that matters: a header page is signed, and says blocks of 128 KiB where they have 64 KiB",
            small().volumes(|v| says(&mut v[0], 128 * KIB)),
        )
        .taken(),
        vector(
            "blocks/page-of-another-set",
            &[57, 86],
            "one volume cannot be had, and the other is of another set, with blocks of 128 KiB",
            small(),
        )
        .acts(foreign(128 * KIB, 128 * KIB))
        .untrusted("volumes")
        .says("inspect", "verified 0")
        .says("list", "ok 0"),
        vector(
            "blocks/page-of-no-length",
            &[57, 86],
            "the page of another set says blocks of 96 KiB, which there are not: it is damage, and no volume can be had",
            small(),
        )
        .acts(foreign(BLOCK, 96 * KIB))
        .lost("volumes"),
    ]
}
