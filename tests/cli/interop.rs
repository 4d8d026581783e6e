//! Stock tools read what ckvault writes: age, zstd, tar, b3sum, ssh-keygen, and recover.py with nothing but those.

use crate::both::with_both_blocks;
use crate::dice::Dice;
use crate::harm;
use crate::support::*;
use crate::tree;
use std::fs;
use std::path::{Path, PathBuf};

/// A checkpoint with something of everything that tar and recover.py must bring back.
fn varied(vault: &Vault) -> PathBuf {
    let dir = vault.checkpoint("checkpoint", 900_000);
    fs::hard_link(dir.join("config.json"), dir.join("step-100/config-again.json")).unwrap();
    std::os::unix::fs::symlink("step-100", dir.join("latest")).unwrap();
    fs::write(dir.join("new\nline"), "n").unwrap();
    fs::write(dir.join(format!("long-{}", "x".repeat(200))), "l").unwrap();
    tree::set_mtime(&dir.join("config.json"), -1000, 123_456_789);
    tree::set_mode(&dir.join("config.json"), 0o640);
    tree::set_xattr(&dir.join("model.safetensors"), "user.origin", b"hub\xff");
    fs::write(dir.join("weights.bin"), weights()).unwrap();
    let sparse = fs::File::create(dir.join("sparse.bin")).unwrap();
    sparse.set_len(20 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(4, 5000), 9 << 20).unwrap();
    tree::set_mtime(&dir, 1_600_000_000, 42);
    dir
}

/// Numbers of 16, 32 and 64 bits that are like weights, each kind long enough to be known.
fn weights() -> Vec<u8> {
    let mut dice = Dice(11);
    let numbers: Vec<f32> =
        (0..60_000).map(|_| (0..8).map(|_| dice.below(1000) as f32).sum::<f32>() / 8e4 - 0.05).collect();
    let bf16 = numbers.iter().flat_map(|w| ((w.to_bits() >> 16) as u16).to_le_bytes()).collect::<Vec<u8>>();
    let fp32 = numbers.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let fp64 = numbers.iter().flat_map(|w| f64::from(*w).sin().to_le_bytes()).collect::<Vec<u8>>();
    [bf16.clone(), fp32, vec![7], bf16, fp64].concat()
}

pub const RECOVER: [&str; 5] = ["python3", "age", "zstd", "ssh-keygen", "b3sum"];

/// recover.py from the first of the directories, as the receiver.
fn recover(vault: &Vault, dirs: &[&Path], identity: &str) -> Ran {
    let mut call = vault.tool("python3", "-I").arg(dirs[0].join("recover.py"));
    for dir in dirs {
        call = call.arg(dir);
    }
    let rest = format!("--identity {identity} --to recovered --signers home/receiver/allowed_signers");
    rest.split_whitespace().fold(call, |call, word| call.arg(word)).run()
}

const IDENTITY: &str = "home/receiver/identity.txt";

#[test]
fn recover_py_restores_a_set_on_one_drive() {
    if !need(&RECOVER) {
        return;
    }
    let vault = Vault::new();
    let dir = varied(&vault);
    vault.make(&["usb"]);
    let set = vault.export("checkpoint --to usb --parity 3+1");
    let ran = recover(&vault, &[&set.dirs[0]], IDENTITY).ok().says("signature verified").says("contents verified");
    ran.check(!ran.stderr.contains("NOT VERIFIED"), "verified, and yet NOT VERIFIED");
    tree::assert_same(&dir, &vault.path("recovered"));
}

#[test]
fn recover_py_restores_a_set_of_many_groups_on_three_drives() {
    if !need(&RECOVER) {
        return;
    }
    let vault = Vault::new();
    let dir = varied(&vault);
    fs::write(dir.join("large.bin"), noise(6, 7_000_000)).unwrap();
    vault.make(&["usb1", "usb2", "usb3"]);
    let set = vault.export("checkpoint --to usb1 --to usb2 --to usb3 --parity 2+1");
    assert!(list(&set.report["groups"]).len() > 1);
    let dirs: Vec<&Path> = set.dirs.iter().map(PathBuf::as_path).collect();
    recover(&vault, &dirs, IDENTITY).ok();
    tree::assert_same(&dir, &vault.path("recovered"));
    fs::remove_dir_all(vault.path("recovered")).unwrap();
    let alone = recover(&vault, &dirs[..1], IDENTITY);
    alone.check(alone.code != Some(0), "a set with two drives absent was recovered");
}

fn recover_py_refuses_what_is_damaged_or_not_for_us(block: u64) {
    if !need(&RECOVER) {
        return;
    }
    let vault = Vault::with_blocks(block);
    let set = vault.exported(900_000, "2+1");
    let refused = |identity: &str, what: &str| {
        let ran = recover(&vault, &[&set.dirs[0]], identity);
        ran.check(ran.code != Some(0) && ran.stderr.contains("recover.py: "), what);
        ran.check(!ran.stderr.contains("restored"), what);
        let _ = fs::remove_dir_all(vault.path("recovered"));
    };
    vault.call("stranger", "keygen").run().ok();
    refused("home/stranger/identity.txt", "a wrong identity");
    let path = set.volume("g00000-d001.ckv");
    let whole = fs::read(&path).unwrap();
    let header = block as usize;
    let second = header + 16 + u32::from_le_bytes(whole[header + 4..header + 8].try_into().unwrap()) as usize;
    let mut missing = whole[..header].to_vec();
    missing.extend_from_slice(&whole[second..]);
    fs::write(&path, missing).unwrap();
    harm::remove(set.copies("B3SUMS"));
    refused(IDENTITY, "a missing frame");
    fs::write(&path, &whole).unwrap();
    harm::flip(&path, block + 700, 0);
    refused(IDENTITY, "a damaged frame");
    fs::write(&path, &whole).unwrap();
    recover(&vault, &[&set.dirs[0]], IDENTITY).ok();
}

/// Of all that is signed, a volume's header page is what neither age nor zstd nor the tar stream would miss.
fn recover_py_refuses_volumes_that_are_not_as_signed(block: u64) {
    if !need(&RECOVER) {
        return;
    }
    let vault = Vault::with_blocks(block);
    let set = vault.exported(100_000, "2+1");
    harm::flip(&set.volume("g00000-d001.ckv"), 30_000, 0);
    let ran = recover(&vault, &[&set.dirs[0]], IDENTITY).ends(7).says("g00000-d001.ckv is not as it was signed");
    ran.check(!vault.path("recovered").exists(), "a damaged volume was passed over");
    let left = names_in(&vault.root).into_iter().any(|name| name.starts_with(b".recover"));
    ran.check(!left, "something is left");
}

#[test]
fn b3sum_agrees_with_every_drive() {
    if !need(&["b3sum"]) {
        return;
    }
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 900_000);
    vault.make(&["usb1", "usb2"]);
    let set = vault.export("checkpoint --to usb1 --to usb2 --parity 4+2");
    let lines: usize = set
        .dirs
        .iter()
        .map(|d| {
            vault.tool("b3sum", "-c B3SUMS").at(d).run().ok().stdout.lines().filter(|l| l.ends_with(": OK")).count()
        })
        .sum();
    assert_eq!(lines, 6);
    harm::flip(&set.volumes()[0], 70_000, 0);
    assert!(set.dirs.iter().any(|d| vault.tool("b3sum", "-c B3SUMS").at(d).run().code != Some(0)));
}

/// The age files of a volume with the numbers of their segments: a parser of its own, from the byte layout.
fn frames(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"ckvault\n", "{}", path.display());
    let (mut rest, mut frames) = (&bytes[64 << 10..], Vec::new());
    while !rest.is_empty() {
        assert_eq!(&rest[..4], b"ckvF", "{}", path.display());
        let len = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        let segment = u64::from_le_bytes(rest[8..16].try_into().unwrap());
        frames.push((segment, rest[16..16 + len].to_vec()));
        rest = &rest[16 + len..];
    }
    frames
}

#[test]
fn every_frame_opens_with_age_and_zstd_and_tar_lists_them_all() {
    if !need(&["age", "zstd", "tar"]) {
        return;
    }
    let vault = Vault::new();
    varied(&vault);
    vault.make(&["usb1", "usb2"]);
    let set = vault.export("checkpoint --to usb1 --to usb2 --parity 3+2 --compress zstd");
    let secret = vault.tool("age", &format!("-d -i {IDENTITY}")).arg(set.dirs[0].join("keys.age")).run().ok();
    fs::write(vault.path("set.key"), &secret.out).unwrap();
    let inventory = vault.tool("age", "-d -i set.key").arg(set.dirs[0].join("inventory.age")).run().ok();
    let lines = vault.tool("zstd", "-dc").input(&inventory.out).run().ok();
    assert!(lines.stdout.lines().all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()));
    let data = set.volumes().into_iter().filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().contains("-d")));
    let mut all: Vec<(u64, Vec<u8>)> = data.flat_map(|p| frames(&p)).collect();
    all.sort();
    let mut stream = Vec::new();
    for (n, (segment, sealed)) in all.iter().enumerate() {
        assert_eq!(*segment, n as u64);
        let packed = vault.tool("age", "-d -i set.key").input(sealed).run().ok();
        stream.extend(vault.tool("zstd", "-dc").input(&packed.out).run().ok().out);
    }
    let listed =
        vault.tool("tar", "-t --quoting-style=literal --show-transformed-names --null -f -").input(&stream).run().ok();
    let tree = tree::read(&vault.path("checkpoint"));
    for name in tree.keys().filter(|n| !n.is_empty() && !n.contains(&b'\n')) {
        let name = std::str::from_utf8(name).unwrap();
        listed.check(listed.stdout.lines().any(|l| l.trim_start_matches("./").trim_end_matches('/') == name), name);
    }
    vault.make(&["untarred"]);
    vault.tool("tar", "-x -p -C untarred -f -").input(&stream).run().ok();
    assert_eq!(tree::read(&vault.path("untarred")).len(), tree.len());
    assert_eq!(tree::hash(&vault.path("untarred/sparse.bin")), tree::hash(&vault.path("checkpoint/sparse.bin")));
}

#[test]
fn segments_have_the_filter_that_was_asked_for() {
    let vault = Vault::new();
    varied(&vault);
    let mut bytes = Vec::new();
    for (usb, how, filter) in
        [("a", "", "planes"), ("b", "--compress zstd:1", "zstd"), ("c", "--compress none", "zstd")]
    {
        vault.make(&[usb]);
        let set = vault.export(&format!("checkpoint --to {usb} --parity 3+2 {how}"));
        let manifest = fs::read(set.dirs[0].join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(manifest["filter"], filter);
        vault.restores(usb, "checkpoint");
        bytes.push(set.volumes().iter().map(|v| v.metadata().unwrap().len()).sum::<u64>());
    }
    assert!(bytes[0] < bytes[1] && bytes[1] < bytes[2], "{bytes:?}");
}

with_both_blocks!(
    recover_py_refuses_what_is_damaged_or_not_for_us
    recover_py_refuses_volumes_that_are_not_as_signed
);
