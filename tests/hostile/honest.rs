//! What is composed here by hand is a set like any other, or the refusals elsewhere would prove nothing.

use crate::compose::Recipe;
use crate::recover::{SIGNERS, can_recover};
use crate::site::Site;
use crate::ustar::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// An entry of every kind, and of every kind of header.
pub fn items() -> Vec<Item> {
    let long = "d".repeat(60) + "/" + &"f".repeat(60);
    let extents = |n: u64| (0..n).map(|i| (i * 4096, noise(i, 512))).collect();
    vec![
        dir(""),
        file("a", "hello"),
        hardlink("b", "a"),
        dir("d".repeat(60)),
        file(&long, noise(9, 200_000)),
        file("empty", ""),
        item("holes", Kind::Sparse(1 << 20, extents(40))),
        file(b"not-utf8-\xff", "x"),
        symlink("short", "a"),
        symlink("way", &long),
    ]
}

#[test]
fn an_honest_set_is_intact_and_imports() {
    for (k, m, drives) in [(1, 1, 1), (3, 2, 2)] {
        let site = Site::new();
        let mut recipe = Recipe::new(items());
        (recipe.k, recipe.m) = (k, m);
        site.compose(&recipe, drives);
        site.run("verify").ends(0).shows("intact");
        site.run("import").ends(0);
        compare(&site);
    }
}

/// Everything that was put in.
pub fn compare(site: &Site) {
    let at = |path: &[u8]| site.target().join(std::ffi::OsStr::from_bytes(path));
    use std::os::unix::ffi::OsStrExt;
    let all = items();
    for item in &all {
        let path = at(&item.path);
        let meta = fs::symlink_metadata(&path).unwrap();
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_700_000_000, 5), "{path:?}");
        match &item.kind {
            Kind::Dir => assert!(meta.is_dir() && meta.permissions().mode() & 0o7777 == 0o755),
            Kind::File(bytes) => assert!(fs::read(&path).unwrap() == *bytes, "{path:?}"),
            Kind::Sparse(size, data) => {
                let mut bytes = vec![0; *size as usize];
                data.iter().for_each(|(at, data)| bytes[*at as usize..][..data.len()].copy_from_slice(data));
                assert!(fs::read(&path).unwrap() == bytes, "{path:?}");
            }
            Kind::Symlink(target) => assert_eq!(fs::read_link(&path).unwrap().as_os_str().as_bytes(), target),
            Kind::Hardlink(target) => assert_eq!(meta.ino(), fs::metadata(at(target)).unwrap().ino()),
        }
    }
    let names = fs::read_dir(site.target()).unwrap().count();
    assert_eq!(names, all.iter().filter(|i| !i.path.is_empty() && !i.path.contains(&b'/')).count());
}

#[test]
fn an_honest_set_is_repaired_with_its_parity() {
    for block_bytes in [1 << 16, 1 << 18, 1 << 20] {
        let site = Site::new();
        let mut recipe = Recipe::new(items());
        (recipe.k, recipe.m, recipe.block_bytes) = (3, 2, block_bytes);
        let dirs = site.compose(&recipe, 1);
        if can_recover() {
            site.recover(SIGNERS).ends(0);
            compare(&site);
            fs::remove_dir_all(site.target()).unwrap();
        }
        for lost in ["g00000-d000.ckv", "g00000-d002.ckv"] {
            fs::remove_file(dirs[0].join(lost)).unwrap();
        }
        site.run("verify").ends(3).shows("repairable");
        site.run("import").ends(0);
        compare(&site);
    }
}

/// Identities of types that are not known yet are passed over, by recover.py too.
#[test]
fn a_slot_may_hold_other_identities_beside_that_of_the_set() {
    let mut recipe = Recipe::new(items());
    recipe.edit_slot =
        Box::new(|slot| *slot = format!("AGE-SECRET-KEY-PQ-1QQQQ\n{slot}# public key: age1pq1qqqq\nAGE-LATER-1QQQQ\n"));
    let site = Site::new();
    site.compose(&recipe, 1);
    site.run("import").ends(0);
    compare(&site);
    if can_recover() {
        fs::remove_dir_all(site.target()).unwrap();
        site.recover(SIGNERS).ends(0);
        compare(&site);
    }
}
