//! Sets of the shortest and of the longest segments.

use crate::both::with_both_blocks;
use crate::interop::RECOVER;
use crate::run::Call;
use crate::support::*;
use crate::{harm, tree};
use std::fs;

/// Numbers like weights of two bytes, whose high bytes are alike.
fn weights(seed: u64, bytes: usize) -> Vec<u8> {
    let mut weights = noise(seed, bytes);
    weights.chunks_exact_mut(2).for_each(|word| word[1] = 0x3c | word[1] & 3);
    weights
}

/// Noise, weights and text, exported in segments of that length.
fn exported(vault: &Vault, block: u64, segment: &str) -> Set {
    let dir = vault.checkpoint("checkpoint", 12_000_000);
    fs::write(dir.join("weights.bin"), weights(7, 21_000_000)).unwrap();
    fs::write(dir.join("words.txt"), "words and more words\n".repeat(200_000)).unwrap();
    vault.make(&["usb"]);
    let ran = vault.sender(&format!(
        "export checkpoint --to usb --recipients keys.txt --parity 2+2 --volume-size 12M --block-size {block} --segment-size {segment} --json"
    ));
    let report = ran.ok().json();
    Set { dirs: vec![vault.path(text(&list(&report["drives"])[0]["directory"]))], report }
}

#[track_caller]
fn is_as_good_as_any_other(block: u64, segment: &str, bytes: u64) {
    let vault = Vault::new();
    let set = exported(&vault, block, segment);
    assert_eq!(number(&set.report["segment_bytes"]), bytes);
    assert_eq!(number(&vault.receiver("inspect usb --json").ok().json()["segment_bytes"]), bytes);
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
    // Weights lose their skew, and words nearly all: of 37 MB some 25 are left, and 33 would be without planes; then there is parity,
    // and each volume has a header page as long as a block.
    let headers = block * set.volumes().len() as u64;
    assert!(number(&set.report["bytes_out"]) < 61_500_000 + headers, "{}", set.report);
    assert_eq!(number(&vault.restores("usb", "checkpoint")["repaired_blocks"]), 0);
    let some = vault.receiver("import usb --only weights.bin --to some").ok();
    some.check(tree::hash(&vault.path("some/weights.bin")) == tree::hash(&vault.path("checkpoint/weights.bin")), "");
    // Which knows nothing of blocks but how long the header pages are.
    if block == harm::BLOCK && need(&RECOVER) {
        let script = Call::new("python3", "-I", &vault.path(".")).arg(set.dirs[0].join("recover.py")).arg(&set.dirs[0]);
        let home = vault.home("receiver");
        let script = script.arg("--identity").arg(home.join("identity.txt")).arg("--signers");
        script.arg(home.join("allowed_signers")).arg("--to").arg(vault.path("recovered")).run().ok();
        tree::assert_same(&vault.path("checkpoint"), &vault.path("recovered"));
    }
    let before: Vec<String> = set.files().iter().map(|path| tree::hash(path)).collect();
    // A volume is gone, and of another blocks here and there, with the beginnings and the ends of frames among them.
    harm::remove([set.volume("g00000-d000.ckv")]);
    let other = set.volume("g00000-d001.ckv");
    for at in (block + 3..harm::len(&other)).step_by(3_000_000) {
        harm::flip(&other, at, 5);
    }
    assert_eq!(vault.verdict("usb")["verdict"], "repairable");
    assert!(number(&vault.restores("usb", "checkpoint")["repaired_blocks"]) > 0);
    vault.receiver("repair usb").ok();
    let after: Vec<String> = set.files().iter().map(|path| tree::hash(path)).collect();
    assert!(before == after, "not all files are as they were");
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
}

fn of_the_longest_segments(block: u64) {
    is_as_good_as_any_other(block, "8M", 8 << 20);
}

fn of_the_shortest_segments(block: u64) {
    is_as_good_as_any_other(block, "64K", 64 << 10);
}

with_both_blocks!(
    of_the_longest_segments
    of_the_shortest_segments
);
