//! Volumes that are signed and not as they should be, and volumes of another set.

use crate::compose::{BLOCK as PAGE, Keys, Recipe};
use crate::edits::small;
use crate::vector::{Vector, vector};
use std::fs;
use std::path::PathBuf;

const DATA: &str = "g00000-d000.ckv";
const PARITY: &str = "g00000-p000.ckv";

fn another() -> Recipe {
    Recipe { set: *b"another exporter", ..small() }
}

/// A file of the other set.
fn theirs(recipe: &Recipe, keys: &Keys, name: &str) -> Vec<u8> {
    let temp = tempfile::tempdir().unwrap();
    fs::read(recipe.write(keys, &[temp.path().join("1")]).unwrap()[0].join(name)).unwrap()
}

/// The header page is whole, and nothing else.
fn gone(volume: &[u8]) -> Vec<u8> {
    [&volume[..PAGE], &vec![0; volume.len() - PAGE]].concat()
}

/// No block of the data volume can be had, and this lies in place of the parity volume.
fn beside(
    parity: impl Fn(&Keys, Vec<u8>) -> Vec<u8> + 'static,
) -> impl Fn(&Keys, &std::path::Path, &[PathBuf]) + 'static {
    move |keys, _, dirs| {
        let (data, path) = (dirs[0].join(DATA), dirs[0].join(PARITY));
        fs::write(&data, gone(&fs::read(&data).unwrap())).unwrap();
        let ours = fs::read(&path).unwrap();
        fs::write(&path, parity(keys, ours)).unwrap();
    }
}

fn flipped(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 1;
    bytes
}

pub fn all() -> Vec<Vector> {
    let lost = |name: &str, rules: &[u32], fault: &str, parity: fn(&Keys, Vec<u8>) -> Vec<u8>| {
        vector(format!("volumes/{name}"), rules, fault, small()).acts(beside(parity)).lost("volumes")
    };
    vec![
        vector(
            "volumes/of-another-set",
            &[57],
            "the volumes are those of another set, whole to the last byte",
            small(),
        )
        .acts(|keys, _, dirs| {
            for name in [DATA, PARITY] {
                let mut bytes = theirs(&another(), keys, name);
                bytes.resize(fs::metadata(dirs[0].join(name)).unwrap().len() as usize, 0);
                fs::write(dirs[0].join(name), bytes).unwrap();
            }
        })
        .untrusted("volumes")
        .says("inspect", "verified 0")
        .says("list", "ok 0"),
        vector(
            "volumes/parity-of-another-set",
            &[57],
            "one volume cannot be had, and the other is of another set",
            small(),
        )
        .acts(beside(|keys, _| gone(&theirs(&another(), keys, PARITY))))
        .untrusted("volumes")
        .says("inspect", "verified 0")
        .says("list", "ok 0"),
        lost(
            "page-of-another-set-flipped",
            &[57, 76],
            "the page of another set does not have its own hash",
            |keys, _| flipped(gone(&theirs(&another(), keys, PARITY)), 16),
        ),
        lost("page-of-another-set-not-zero", &[57], "the page of another set has a byte behind its hash", |keys, _| {
            flipped(gone(&theirs(&another(), keys, PARITY)), 5000)
        }),
        lost("page-of-another-name", &[57], "the page of another set names another volume", |keys, _| {
            gone(&theirs(&another(), keys, DATA))
        }),
        lost("own-page", &[57], "the page is ours, and nothing else of the volume can be had", |_, ours| gone(&ours)),
        lost("own-page-flipped", &[57, 76], "one bit of the id in our page is flipped", |_, ours| {
            flipped(gone(&ours), 16)
        }),
        vector(
            "volumes/page-of-another-set-over-ours",
            &[57],
            "damage: the page of another set lies over a volume of ours",
            small(),
        )
        .acts(|keys, _, dirs| {
            let path = dirs[0].join(PARITY);
            let page = theirs(&another(), keys, PARITY)[..PAGE].to_vec();
            fs::write(&path, [&page, &fs::read(&path).unwrap()[PAGE..]].concat()).unwrap();
        })
        .damaged("volumes"),
        vector("volumes/page-flipped", &[23, 76], "damage: one bit of a header page is flipped", small())
            .then(|dirs| {
                let path = dirs[0].join(DATA);
                fs::write(&path, flipped(fs::read(&path).unwrap(), 20)).unwrap();
            })
            .damaged("volumes"),
        vector(
            "volumes/signed-parity-wrong",
            &[27, 28],
            "parity that is signed and wrong is not believed: the data volume is missing",
            small().volumes(|v| v[1][PAGE] ^= 1),
        )
        .then(|dirs| fs::remove_file(dirs[0].join(DATA)).unwrap())
        .lost("volumes")
        .says("verify", "repairable 3"),
        vector(
            "volumes/signed-hashes-wrong",
            &[74, 29],
            "none that matters: hashes.b3 is signed and has zeros for values",
            small().with_edit(|r| &mut r.edit_hashes, |h| h.fill(0)),
        )
        .taken(),
        vector(
            "volumes/signed-hashes-missing",
            &[74, 29],
            "damage: all copies of hashes.b3 are missing, and the one that is signed has zeros for values",
            small().with_edit(|r| &mut r.edit_hashes, |h| h.fill(0)),
        )
        .then(crate::damage::all_gone("hashes.b3"))
        .damaged("files")
        .says("repair", "repairable 1")
        .says("repaired", "repairable 3"),
        vector(
            "volumes/signed-page-wrong",
            &[23],
            "none that matters: a header page is signed and names another group",
            small().volumes(|v| v[0][32] = 7),
        )
        .taken(),
    ]
}
