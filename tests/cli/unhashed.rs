//! Sets of which no copy of `hashes.b3` says what the blocks must be: the blocks themselves are tried, and the signed values of
//! spans prove what fits. Verify, import and repair agree.

use crate::both::with_both_blocks;
use crate::harm::{self, BLOCK};
use crate::support::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const SIZE: usize = 6_000_000;
/// A pair of volumes with 29 blocks or more each, and no other.
const PAIR: usize = 1_900_000;

/// A set on one drive, and its files as they were.
fn exported(size: usize, parity: &str, block: u64) -> (Vault, Set, BTreeMap<PathBuf, Vec<u8>>) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(size, parity);
    let whole = set.files().into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    (vault, set, whole)
}

/// It is repairable, import has the files, and repair makes all of it what it was.
#[track_caller]
fn is_had_back(vault: &Vault, whole: &BTreeMap<PathBuf, Vec<u8>>, damaged: &[(&str, u64)]) {
    let verdict = vault.verdict("usb");
    assert_eq!(verdict["verdict"], "repairable", "{verdict}");
    for (name, blocks) in damaged {
        let judged = volume(&verdict, name);
        assert!(judged["state"] == "damaged" && judged["bad_blocks"] == *blocks, "{name}: {verdict}");
    }
    vault.restores("usb", "checkpoint");
    vault.receiver("repair usb").ok();
    whole.iter().for_each(|(path, bytes)| assert!(fs::read(path).unwrap() == *bytes, "{}", path.display()));
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
}

#[track_caller]
fn is_lost(vault: &Vault) {
    assert_eq!(vault.verdict("usb")["verdict"], "lost");
    vault.refuses("usb", 4);
    vault.receiver("repair usb").ends(4);
}

fn no_hashes(set: &Set) {
    harm::remove(set.copies("hashes.b3"));
}

/// Of a copy every value is wrong.
fn wrong_hashes(set: &Set) {
    set.copies("hashes.b3").iter().for_each(|path| harm::zero(path, 0, u64::MAX));
}

fn without_hashes_a_bad_block_in_each_of_three_volumes_is_repaired(block: u64) {
    for harm_hashes in [no_hashes, wrong_hashes] {
        let (vault, set, whole) = exported(SIZE, "16+2", block);
        harm_hashes(&set);
        harm::flip(&set.volume("g00000-d003.ckv"), block + 100, 1);
        harm::zero(&set.volume("g00000-d010.ckv"), 2 * block, block);
        harm::zero(&set.volume("g00000-p001.ckv"), 4 * block, 4096);
        is_had_back(&vault, &whole, &[("g00000-d003.ckv", 1), ("g00000-d010.ckv", 1), ("g00000-p001.ckv", 1)]);
    }
}

fn without_hashes_every_volume_may_have_a_bad_block_and_its_header_page(block: u64) {
    let (vault, set, whole) = exported(SIZE, "4+2", block);
    no_hashes(&set);
    for (row, path) in (1..).zip(set.volumes()) {
        harm::zero(&path, row * block + 512, 8192);
        harm::flip(&path, 20, 3);
    }
    is_had_back(&vault, &whole, &[("g00000-d000.ckv", 2), ("g00000-p001.ckv", 2)]);
}

fn without_hashes_a_single_parity_volume_repairs_some_rows(block: u64) {
    for parity in ["1+1", "3+1"] {
        let (vault, set, whole) = exported(SIZE, parity, block);
        no_hashes(&set);
        harm::zero(&set.volume("g00000-d000.ckv"), 2 * block, block);
        harm::zero(&set.volume("g00000-d000.ckv"), 5 * block, block);
        harm::flip(&set.volume("g00000-p000.ckv"), 3 * block + 7, 0);
        is_had_back(&vault, &whole, &[("g00000-d000.ckv", 2), ("g00000-p000.ckv", 1)]);
    }
}

/// Zeroes `count` values from the same block on of both volumes of a pair, in every copy: they lie on one bad stretch of the drive.
fn no_values(set: &Set, from: u64, count: u64) {
    for path in set.copies("hashes.b3") {
        (0..2).for_each(|volume| harm::zero(&path, volume * harm::len(&path) / 2 + 32 * from, 32 * count));
    }
}

fn a_page_of_hashes_that_is_bad_in_every_copy_is_found_out_from_a_pair(block: u64) {
    let (vault, set, whole) = exported(PAIR, "1+1", block);
    no_values(&set, 2, 10);
    harm::flip(&set.volume("g00000-d000.ckv"), 3 * block + 7, 0);
    harm::zero(&set.volume("g00000-p000.ckv"), 6 * block, block);
    is_had_back(&vault, &whole, &[("g00000-d000.ckv", 1), ("g00000-p000.ckv", 1)]);
}

/// More rows than could be guessed; but a damaged copy has the values of nearly all.
fn what_a_damaged_copy_says_need_not_be_guessed(block: u64) {
    let (vault, set, whole) = exported(PAIR, "1+1", block);
    no_values(&set, 20, 1);
    for row in (1..28).step_by(2) {
        harm::zero(&set.volume("g00000-d000.ckv"), row * block, block);
        harm::zero(&set.volume("g00000-p000.ckv"), (row + 1) * block, block);
    }
    is_had_back(&vault, &whole, &[("g00000-d000.ckv", 14), ("g00000-p000.ckv", 14)]);
    no_hashes(&set);
    for row in (1..28).step_by(2) {
        harm::zero(&set.volume("g00000-d000.ckv"), row * block, block);
        harm::zero(&set.volume("g00000-p000.ckv"), (row + 1) * block, block);
    }
    is_lost(&vault);
}

/// Pages stand alone: what is wrong in one says nothing of the others.
#[test]
fn without_hashes_each_span_is_proven_by_its_own_rows() {
    const SPAN: u64 = 2048 * BLOCK;
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 140 << 20);
    vault.make(&["usb"]);
    let ran = vault.sender("export checkpoint --to usb --parity 1+2 --recipients keys.txt --no-read-back --json").ok();
    let set = Set { dirs: vec![vault.path(text(&list(&ran.json()["drives"])[0]["directory"]))], report: ran.json() };
    let whole = set.files().into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    no_hashes(&set);
    harm::zero(&set.volume("g00000-d000.ckv"), 9 * BLOCK, BLOCK);
    harm::zero(&set.volume("g00000-d000.ckv"), SPAN + 5 * BLOCK, BLOCK);
    harm::flip(&set.volume("g00000-p000.ckv"), SPAN - 1, 2);
    harm::zero(&set.volume("g00000-p001.ckv"), 20 * BLOCK, 16 * BLOCK);
    harm::resize(&set.volume("g00000-p001.ckv"), SPAN + 20 * BLOCK);
    is_had_back(&vault, &whole, &[("g00000-d000.ckv", 2), ("g00000-p000.ckv", 1)]);
}

fn without_hashes_and_a_volume_the_rest_may_have_bad_blocks(block: u64) {
    let (vault, set, whole) = exported(SIZE, "5+2", block);
    no_hashes(&set);
    harm::remove([set.volume("g00000-d001.ckv")]);
    harm::flip(&set.volume("g00000-d000.ckv"), 2 * block, 0);
    harm::zero(&set.volume("g00000-d004.ckv"), 3 * block, block);
    harm::zero(&set.volume("g00000-p000.ckv"), 7 * block, block);
    is_had_back(&vault, &whole, &[("g00000-d000.ckv", 1), ("g00000-d004.ckv", 1), ("g00000-p000.ckv", 1)]);
}

fn without_hashes_any_m_bad_blocks_of_a_row_are_repaired(block: u64) {
    let (vault, set, whole) = exported(SIZE, "6+2", block);
    no_hashes(&set);
    for name in ["g00000-d002.ckv", "g00000-d005.ckv"] {
        harm::zero(&set.volume(name), 3 * block, block);
    }
    is_had_back(&vault, &whole, &[("g00000-d002.ckv", 1), ("g00000-d005.ckv", 1)]);
}

fn without_hashes_more_bad_blocks_in_a_row_than_parity_are_lost(block: u64) {
    let (vault, set, _) = exported(SIZE, "4+2", block);
    no_hashes(&set);
    for name in ["g00000-d000.ckv", "g00000-d002.ckv", "g00000-p000.ckv"] {
        harm::zero(&set.volume(name), 3 * block, block);
    }
    is_lost(&vault);
}

with_both_blocks!(
    without_hashes_a_bad_block_in_each_of_three_volumes_is_repaired
    without_hashes_every_volume_may_have_a_bad_block_and_its_header_page
    without_hashes_a_single_parity_volume_repairs_some_rows
    a_page_of_hashes_that_is_bad_in_every_copy_is_found_out_from_a_pair
    what_a_damaged_copy_says_need_not_be_guessed
    without_hashes_and_a_volume_the_rest_may_have_bad_blocks
    without_hashes_any_m_bad_blocks_of_a_row_are_repaired
    without_hashes_more_bad_blocks_in_a_row_than_parity_are_lost
);
