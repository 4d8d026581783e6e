//! What later versions may add, and readers of today must pass over.

use crate::compose::Recipe;
use crate::edits::{list_program, small};
use crate::vector::{Vector, vector};
use serde_json::json;
use std::fs;

fn with_file(name: &'static str, text: &'static str) -> Recipe {
    small().with_edit(|r| &mut r.edit_listed, move |files| files.push((name, text.as_bytes().to_vec())))
}

pub fn all() -> Vec<Vector> {
    let filter = || small().manifest(|m| m["filter"] = "no-such-filter".into());
    vec![
        vector("later/fields", &[8], "none: fields that are not known, in every object", {
            small()
                .manifest(|m| {
                    m["later"] = json!({ "a": [null, true, -1, "x"] });
                    m["groups"][0]["later"] = json!([]);
                    m["groups"][0]["volumes"][0]["later"] = 1.into();
                    m["files"]["keys.age"]["later"] = "x".into();
                })
                .lines(|lines| {
                    for line in lines {
                        let mut value: serde_json::Value = serde_json::from_slice(line).unwrap();
                        value["later"] = json!({ "a": [null, 1, "x"] });
                        *line = value.to_string().into_bytes();
                    }
                })
        })
        .taken(),
        vector("later/names-set-aside", &[8], "none: the fields family, public and parents of the manifest", {
            small().manifest(|m| {
                m["family"] = "ab".repeat(16).into();
                m["public"] = json!({ "model": "x" });
                m["parents"] = json!(["0".repeat(64)]);
            })
        })
        .taken(),
        vector("later/files", &[71], "none: a further file, which is whole", with_file("NOTES.txt", "whatever\n"))
            .taken(),
        vector(
            "later/files-damaged",
            &[71],
            "damage: one copy of a further file is another one",
            with_file("NOTES.txt", "whatever\n"),
        )
        .then(|dirs| fs::write(dirs[0].join("NOTES.txt"), "another\n").unwrap())
        .damaged("files"),
        vector(
            "later/files-missing",
            &[71],
            "damage: all copies of a further file are missing; nobody needs it, and nobody can make it",
            with_file("NOTES.txt", "whatever\n"),
        )
        .then(|dirs| {
            ["NOTES.txt", "copy/NOTES.txt"].iter().for_each(|name| fs::remove_file(dirs[0].join(name)).unwrap())
        })
        .damaged("files")
        .says("repair", "repairable 1")
        .says("repaired", "repairable 3"),
        vector("later/program", &[52], "none: a program travels with the set, which nobody runs", {
            with_file("ckvault", "#!/bin/sh\necho run > it-was-run\n")
        })
        .taken(),
        vector("later/program-missing", &[52], "damage: the program that is listed is missing; nobody needs it", {
            small().manifest(|m| list_program(m, 1000))
        })
        .damaged("files")
        .says("repair", "repairable 1")
        .says("repaired", "repairable 3"),
        vector("later/custody", &[72], "none: the directory custody, with a manifest of its own", small())
            .then(|dirs| {
                fs::create_dir(dirs[0].join("custody")).unwrap();
                fs::write(dirs[0].join("custody/manifest.json"), "{}").unwrap();
            })
            .taken(),
        vector("later/filter", &[70], "the filter is of a later version: who verifies need not know it", filter())
            .inside("manifest", "newer 1"),
        vector(
            "later/filter-repaired",
            &[70],
            "damage, and the filter is of a later version: who repairs need not know it",
            filter(),
        )
        .then(|dirs| fs::remove_file(dirs[0].join("g00000-d000.ckv")).unwrap())
        .damaged("manifest")
        .says("list", "newer 1")
        .says("import", "newer 1"),
        vector(
            "later/feature-repaired",
            &[69, 70],
            "damage, and a feature in the inventory: who repairs need not have it",
            small().field(0, "critical", json!(["no-such-feature"])),
        )
        .then(|dirs| fs::remove_file(dirs[0].join("g00000-p000.ckv")).unwrap())
        .damaged("inventory")
        .says("list", "newer 1")
        .says("import", "newer 1"),
    ]
}
