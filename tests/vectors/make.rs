//! Makes the vectors: all, or those whose names contain what `VECTORS` says. What age encrypts is never the same twice, so each
//! that is made anew is another file; `README.md` has its table of rules from all that are there then.

use crate::container::{all_vectors, place};
use crate::vector::Vector;
use std::collections::BTreeSet;

fn vectors() -> Vec<Vector> {
    [
        crate::whole::all(),
        crate::signature::all(),
        crate::manifest::all(),
        crate::slot::all(),
        crate::inventory::all(),
        crate::paths::all(),
        crate::segments::all(),
        crate::stream::all(),
        crate::volumes::all(),
        crate::damage::all(),
        crate::blocks::all(),
        crate::pieces::all(),
        crate::parts::all(),
        crate::later::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
#[ignore = "writes those of testdata/vectors that are not there"]
fn make() {
    crate::keys::make();
    let keys = crate::keys::shared();
    let mut names = BTreeSet::new();
    for vector in vectors() {
        assert!(names.insert(vector.name.clone()), "{} stands twice", vector.name);
        let path = place().join(format!("{}.vec", vector.name));
        if !path.exists() {
            let temp = tempfile::tempdir().unwrap();
            vector.compose(&keys, temp.path()).write(&path);
        }
    }
    crate::rules::write_table();
}

/// Whoever adds one, makes it: there is a file for each.
#[test]
fn every_vector_has_its_file() {
    let made: BTreeSet<String> = vectors().into_iter().map(|v| format!("{}.vec", v.name)).collect();
    let all = all_vectors(&place());
    let there = all.iter().map(|path| path.strip_prefix(place()).unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(made, there, "run cargo test --test vectors -- --ignored make");
}
