//! Scattered flips: a bad cable or memory flips single bytes in many blocks, and nearly every byte is right.

use crate::both::with_both_blocks;
use crate::dice::Dice;
use crate::harm;
use crate::support::*;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

/// Flips single bits in random bytes of all files of a set together; says how many.
fn scatter(set: &Set, flips: u64, seed: u64) {
    let mut dice = Dice(seed);
    let files: Vec<(PathBuf, u64)> = set.files().into_iter().map(|p| (p.clone(), harm::len(&p))).collect();
    let total: u64 = files.iter().map(|(_, len)| len).sum();
    for _ in 0..flips {
        let mut at = dice.below(total >> 16) << 16 | dice.below(1 << 16);
        let (path, _) = files
            .iter()
            .find(|(_, len)| match at < *len {
                true => true,
                false => {
                    at -= len;
                    false
                }
            })
            .unwrap();
        harm::flip(path, at, dice.below(8) as u8);
    }
}

/// Exports `bytes` bytes, flips, imports, repairs, and compares with what was there.
#[track_caller]
fn survives(block: u64, bytes: usize, parity: &str, flips: u64, seed: u64) {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", bytes);
    vault.make(&["usb"]);
    let ran = vault
        .sender(&format!(
            "export checkpoint --to usb --recipients keys.txt --parity {parity} --block-size {block} --json"
        ))
        .ok();
    let report = ran.json();
    let set = Set { dirs: vec![vault.path(text(&list(&report["drives"])[0]["directory"]))], report };
    let before: Vec<String> = set.files().iter().map(|p| crate::tree::hash(p)).collect();
    scatter(&set, flips, seed);
    let begun = Instant::now();
    let verdict = vault.verdict("usb");
    let verified = begun.elapsed();
    assert_eq!(verdict["verdict"], "repairable", "seed {seed}");
    let bad: u64 = list(&verdict["volumes"]).iter().map(|v| number(&v["bad_blocks"])).sum();
    let imported = vault.restores("usb", "checkpoint");
    let taken = begun.elapsed() - verified;
    let ran = vault.receiver("repair usb --json").ok();
    let repaired: Value = ran.json();
    assert_eq!(repaired["verdict"], "intact", "seed {seed}: {repaired}");
    let after: Vec<String> = set.files().iter().map(|p| crate::tree::hash(p)).collect();
    assert!(before == after, "seed {seed}: not all files are as they were");
    eprintln!(
        "{flips} flips over {bytes} bytes at {parity}, seed {seed}: {bad} bad blocks, {} repaired by import; verify {verified:.1?}, import {taken:.1?}, repair {:.1?}",
        imported["repaired_blocks"],
        begun.elapsed() - taken - verified
    );
}

fn scattered_flips_over_a_small_set_are_mended(block: u64) {
    for seed in 0..3 {
        survives(block, 20_000_000 * 2 / 3, "4+2", 200, seed);
    }
}

#[test]
fn a_thousand_flips_over_130_megabytes_are_mended() {
    survives(harm::BLOCK, 130_000_000 * 2 / 3, "8+4", 1000, 10);
}

/// `cargo test --release --test cli -- --ignored ten_thousand --nocapture`.
#[test]
#[ignore = "takes minutes, and gigabytes"]
fn ten_thousand_flips_over_500_megabytes() {
    for seed in 20..23 {
        survives(harm::BLOCK, 500_000_000 * 8 / 9, "16+2", 10_000, seed);
    }
}

/// Every copy of a small file is damaged, each in another place.
#[test]
fn small_files_whose_copies_are_all_flipped_are_put_together() {
    let vault = Vault::new();
    let set = vault.exported(300_000, "2+1");
    let before: Vec<Vec<u8>> = set.files().iter().map(|p| fs::read(p).unwrap()).collect();
    for name in ["keys.age", "inventory.age", "hashes.b3", "RECOVER.txt", "recover.py"] {
        for (i, path) in set.copies(name).iter().enumerate() {
            (0..4).for_each(|n| harm::flip(path, 30 + 7 * n + 3 * i as u64, 2));
        }
    }
    assert_eq!(vault.verdict("usb")["verdict"], "repairable");
    vault.restores("usb", "checkpoint");
    vault.receiver("repair usb").ok();
    let after: Vec<Vec<u8>> = set.files().iter().map(|p| fs::read(p).unwrap()).collect();
    assert!(before == after);
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
}

/// A page of hashes is put together from damaged copies even if its volume is damaged too.
fn a_page_of_hashes_is_put_together_from_damaged_copies_and_a_damaged_volume(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(6_000_000, "2+2");
    let before: Vec<Vec<u8>> = set.files().iter().map(|p| fs::read(p).unwrap()).collect();
    for (i, path) in set.copies("hashes.b3").iter().enumerate() {
        (0..30).for_each(|n| harm::flip(path, (2 * n + i as u64) * 32 + n, 1));
        // One value that both copies have wrong, of a block that is damaged as well.
        harm::flip(path, 5 * 32 + 3 + i as u64, 6);
    }
    for (i, name) in ["g00000-d000.ckv", "g00000-d001.ckv", "g00000-p000.ckv"].iter().enumerate() {
        harm::flip(&set.volume(name), 7 * block + 100 * i as u64, 3);
    }
    assert_eq!(vault.verdict("usb")["verdict"], "repairable");
    vault.restores("usb", "checkpoint");
    vault.receiver("repair usb").ok();
    let after: Vec<Vec<u8>> = set.files().iter().map(|p| fs::read(p).unwrap()).collect();
    assert!(before == after);
}

with_both_blocks!(
    scattered_flips_over_a_small_set_are_mended
    a_page_of_hashes_is_put_together_from_damaged_copies_and_a_damaged_volume
);
