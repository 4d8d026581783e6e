//! Damage that is repaired, damage that is not, and drives that are missing.

use crate::compose::{BLOCK, Recipe};
use crate::edits::{small, with};
use crate::signature::copies;
use crate::ustar::file;
use crate::vector::{Vector, noise, vector};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Overwrites bytes.
pub fn put(path: &Path, at: usize, with: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at..at + with.len()].copy_from_slice(with);
    fs::write(path, bytes).unwrap();
}

pub fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Three segments, so that up to three data volumes have frames.
fn shaped(k: u16, m: u16) -> Recipe {
    with([file("a", "hello ".repeat(30_000))]).shape(k, m)
}

/// A data volume of two rows, and one of parity, which has the same bytes.
fn rows() -> Recipe {
    with([file("a", noise(5, 80_000))])
}

/// Two data volumes of two rows each, and one of parity.
fn wide() -> Recipe {
    with([file("a", noise(5, 150_000))]).shape(2, 1)
}

/// No copy of a file is left.
pub fn all_gone(name: &'static str) -> impl Fn(&[PathBuf]) {
    move |dirs| copies(dirs, name).iter().for_each(|p| fs::remove_file(p).unwrap())
}

pub fn volume(dirs: &[PathBuf], name: &str) -> PathBuf {
    dirs.iter().map(|dir| dir.join(format!("g00000-{name}.ckv"))).find(|path| path.exists()).unwrap()
}

pub fn all() -> Vec<Vector> {
    [metadata(), volumes(), drives(), directories()].into_iter().flatten().collect()
}

/// Rules 9 and 22.
fn metadata() -> Vec<Vector> {
    let mut all = Vec::new();
    for name in [
        "manifest.json",
        "manifest.json.sig",
        "keys.age",
        "inventory.age",
        "hashes.b3",
        "RECOVER.txt",
        "recover.py",
        "B3SUMS",
    ] {
        let word = name.to_lowercase().replace('.', "-");
        all.push(
            vector(
                format!("damage/{word}-missing"),
                &[9, 22],
                format!("damage: one copy of {name} is missing"),
                small(),
            )
            .then(move |dirs| fs::remove_file(dirs[0].join(name)).unwrap())
            .damaged("files"),
        );
    }
    all.extend([
        vector("damage/second-copy", &[9, 22], "damage: the second copy of inventory.age has other bytes", small())
            .then(|dirs| flip(&dirs[0].join("copy/inventory.age"), 300))
            .damaged("files"),
        vector("damage/third-copy", &[9, 22], "damage: the copy of the key slot in third has other bytes", small())
            .then(|dirs| flip(&dirs[0].join("third/keys.age"), 100))
            .damaged("files"),
        vector("damage/third-missing", &[9, 22], "damage: the directory third is missing", small())
            .then(|dirs| fs::remove_dir_all(dirs[0].join("third")).unwrap())
            .damaged("files"),
        vector(
            "damage/all-but-one",
            &[9, 22],
            "damage: of four copies of the inventory one is whole, on the second drive",
            small(),
        )
        .on(2)
        .then(|dirs| {
            let all = copies(dirs, "inventory.age");
            all[..3].iter().for_each(|path| flip(path, 300));
        })
        .damaged("files"),
        vector(
            "damage/hashes-all",
            &[29],
            "damage: all copies of hashes.b3 are missing, and no block is damaged",
            small(),
        )
        .then(all_gone("hashes.b3"))
        .damaged("hashes"),
        vector("damage/inventory-all", &[22], "all copies of the inventory are missing", small())
            .then(all_gone("inventory.age"))
            .lost("files")
            .says("list", "lost 4"),
        vector("damage/slot-all", &[22], "all copies of the key slot are missing", small())
            .then(all_gone("keys.age"))
            .lost("files")
            .says("list", "lost 4"),
        vector(
            "damage/script-all",
            &[52],
            "damage: all copies of recover.py are missing; nobody needs them, and nobody can make them",
            small(),
        )
        .then(all_gone("recover.py"))
        .damaged("files")
        .says("repair", "repairable 1")
        .says("repaired", "repairable 3"),
    ]);
    all
}

/// Rules 28, 29 and 77.
fn volumes() -> Vec<Vector> {
    vec![
        vector("damage/a-block", &[28], "damage: one block of a data volume", rows())
            .then(|dirs| put(&volume(dirs, "d000"), BLOCK + 5, b"damage"))
            .damaged("hashes"),
        vector("damage/a-block-in-each-row", &[28], "damage: one block in each row, each in another volume", wide())
            .then(|dirs| {
                put(&volume(dirs, "d000"), BLOCK + 5, b"damage");
                put(&volume(dirs, "d001"), 2 * BLOCK + 5, b"damage");
            })
            .damaged("hashes"),
        vector("damage/two-blocks-in-a-row", &[28], "two blocks of a row, where there is parity for one", rows())
            .then(|dirs| ["d000", "p000"].iter().for_each(|name| put(&volume(dirs, name), 2 * BLOCK, &noise(6, 1000))))
            .lost("volumes"),
        vector("damage/cut-off", &[28], "damage: a volume is cut off within a block", rows())
            .then(|dirs| {
                let path = volume(dirs, "d000");
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, &bytes[..2 * BLOCK + 100]).unwrap();
            })
            .damaged("volumes"),
        vector("damage/longer", &[28], "damage: bytes behind the end of a volume", small())
            .then(|dirs| {
                let path = volume(dirs, "d000");
                fs::write(&path, [fs::read(&path).unwrap(), vec![7; 100]].concat()).unwrap();
            })
            .damaged("volumes"),
        vector("damage/exchanged-volumes", &[28], "damage: two data volumes have each other's names", {
            with([file("a", "hello ".repeat(30_000))]).shape(2, 2)
        })
        .then(|dirs| {
            let (a, b) = (volume(dirs, "d000"), volume(dirs, "d001"));
            let bytes = [&a, &b].map(|path| fs::read(path).unwrap());
            fs::write(a, &bytes[1]).unwrap();
            fs::write(b, &bytes[0]).unwrap();
        })
        .damaged("volumes"),
        vector("damage/header-page", &[23], "damage: a header page is zeros", small())
            .then(|dirs| put(&volume(dirs, "d000"), 0, &[0; BLOCK]))
            .damaged("volumes"),
        vector(
            "damage/pages-elsewhere",
            &[29],
            "damage: each copy of hashes.b3 is damaged in the page of another volume",
            rows(),
        )
        .then(|dirs| {
            flip(&dirs[0].join("hashes.b3"), 5);
            let end = fs::metadata(dirs[0].join("hashes.b3")).unwrap().len() as usize;
            flip(&dirs[0].join("copy/hashes.b3"), end - 5);
        })
        .damaged("hashes"),
        vector(
            "damage/hashes-and-a-block",
            &[29, 77],
            "damage: all copies of hashes.b3 are zeros, and one block of a volume",
            rows(),
        )
        .then(|dirs| {
            let wiped = |path: &PathBuf| fs::write(path, vec![0; fs::metadata(path).unwrap().len() as usize]).unwrap();
            copies(dirs, "hashes.b3").iter().for_each(wiped);
            put(&volume(dirs, "d000"), BLOCK + 5, b"damage");
        })
        .damaged("hashes"),
        vector(
            "damage/hashes-and-a-block-in-two-volumes",
            &[77],
            "damage: all copies of hashes.b3 are zeros, and one block in each of two volumes, in different rows",
            wide(),
        )
        .then(|dirs| {
            let wiped = |path: &PathBuf| fs::write(path, vec![0; fs::metadata(path).unwrap().len() as usize]).unwrap();
            copies(dirs, "hashes.b3").iter().for_each(wiped);
            put(&volume(dirs, "d000"), BLOCK + 5, b"damage");
            put(&volume(dirs, "d001"), 2 * BLOCK + 5, b"damage");
        })
        .damaged("hashes"),
    ]
}

/// Missing volumes, and missing drives.
fn drives() -> Vec<Vector> {
    let without = |names: &'static [&'static str]| {
        move |dirs: &[PathBuf]| names.iter().for_each(|n| fs::remove_file(volume(dirs, n)).unwrap())
    };
    let no_drives = |numbers: &'static [usize]| {
        move |dirs: &[PathBuf]| numbers.iter().for_each(|n| fs::remove_dir_all(dirs[n - 1].parent().unwrap()).unwrap())
    };
    vec![
        vector(
            "damage/m-volumes-missing",
            &[28, 27],
            "damage: as many data volumes are missing as there is parity",
            shaped(3, 2),
        )
        .then(without(&["d000", "d002"]))
        .damaged("volumes"),
        vector(
            "damage/data-and-parity-missing",
            &[28, 27],
            "damage: a data volume and a parity volume are missing",
            shaped(3, 2),
        )
        .then(without(&["d000", "p000"]))
        .damaged("volumes"),
        vector("damage/m-and-1-volumes-missing", &[28], "a volume more is missing than there is parity", shaped(3, 2))
            .then(without(&["d000", "d001", "p001"]))
            .lost("volumes"),
        vector(
            "damage/what-needs-no-parity",
            &[25, 28],
            "damage: three volumes of 3+2 are missing, of which two have no frame: what they are, the manifest says",
            small().shape(3, 2),
        )
        .then(without(&["d000", "d001", "p001"]))
        .damaged("volumes"),
        vector(
            "damage/a-drive-missing",
            &[9, 28],
            "damage: one of three drives is missing, for which there is parity",
            shaped(2, 1),
        )
        .on(3)
        .then(no_drives(&[1]))
        .damaged("files")
        .silent("repair")
        .silent("repaired"),
        vector(
            "damage/two-drives-missing",
            &[9],
            "two of three drives are missing, and there is parity for one",
            shaped(2, 1),
        )
        .on(3)
        .then(no_drives(&[1, 2]))
        .incomplete(),
    ]
}

/// Rules 10, 11, 20 and 72.
fn directories() -> Vec<Vector> {
    vec![
        vector(
            "damage/link-in-place-of-a-file",
            &[10],
            "damage: a symbolic link lies in place of a metadata file, and leads to a whole copy",
            small(),
        )
        .then(|dirs| {
            fs::remove_file(dirs[0].join("hashes.b3")).unwrap();
            symlink("copy/hashes.b3", dirs[0].join("hashes.b3")).unwrap();
        })
        .damaged("files"),
        vector(
            "damage/link-in-place-of-a-volume",
            &[10],
            "damage: a symbolic link lies in place of a volume, and leads to the whole volume",
            small(),
        )
        .then(|dirs| {
            fs::rename(dirs[0].join("g00000-d000.ckv"), dirs[0].join("elsewhere")).unwrap();
            symlink("elsewhere", dirs[0].join("g00000-d000.ckv")).unwrap();
        })
        .damaged("files"),
        vector(
            "damage/directory-in-place-of-a-file",
            &[10],
            "damage: a directory lies in place of a metadata file",
            small(),
        )
        .then(|dirs| {
            fs::remove_file(dirs[0].join("copy/hashes.b3")).unwrap();
            fs::create_dir(dirs[0].join("copy/hashes.b3")).unwrap();
        })
        .damaged("files"),
        vector(
            "damage/link-in-place-of-copies",
            &[10],
            "damage: a symbolic link lies in place of the directory copy, and leads to its files",
            small(),
        )
        .then(|dirs| {
            fs::rename(dirs[0].join("copy"), dirs[0].join("elsewhere")).unwrap();
            symlink("elsewhere", dirs[0].join("copy")).unwrap();
        })
        .damaged("files"),
        vector(
            "damage/link-in-place-of-the-set",
            &[10],
            "a symbolic link lies in place of the directory of the set, and leads to it",
            small(),
        )
        .then(|dirs| {
            fs::rename(&dirs[0], dirs[0].with_file_name("elsewhere")).unwrap();
            symlink("elsewhere", &dirs[0]).unwrap();
        })
        .refused("files", "drive 7"),
        vector(
            "damage/name-of-the-directory",
            &[11],
            "none: the directory has another name, and no set is asked for",
            small(),
        )
        .then(|dirs| fs::rename(&dirs[0], dirs[0].with_file_name("other-00000000.ckvault")).unwrap())
        .taken(),
        vector(
            "damage/name-that-was-asked-for",
            &[11],
            "the directory has the label that was asked for, and the manifest another",
            small(),
        )
        .then(|dirs| fs::rename(&dirs[0], dirs[0].with_file_name("wanted-686f7374.ckvault")).unwrap())
        .with("set", "wanted")
        .refused("files", "drive 7"),
        vector(
            "damage/id-that-was-asked-for",
            &[11],
            "the directory has the id that was asked for, and the manifest another",
            small(),
        )
        .then(|dirs| fs::rename(&dirs[0], dirs[0].with_file_name("hostile-00000000.ckvault")).unwrap())
        .with("set", "00000000")
        .refused("files", "drive 7"),
        vector(
            "damage/rubbish-beside",
            &[72],
            "none: files that the manifest does not name lie in the directory",
            small(),
        )
        .then(|dirs| {
            fs::write(dirs[0].join("notes.txt"), "x").unwrap();
            fs::write(dirs[0].join("g00007-d000.ckv"), "x").unwrap();
            fs::write(dirs[0].join("copy/keys.age.sig"), "x").unwrap();
        })
        .taken(),
    ]
}
