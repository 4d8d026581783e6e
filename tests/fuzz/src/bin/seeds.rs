//! Makes the seeds below `corpus/`, from the golden set and from a set composed by hand: `seeds GOLDEN_SET CORPUS`.

#![forbid(unsafe_code)]

use ckvault::stages::compress::{Compression, Compressor};
use ckvault_fuzz::compose::{Keys, Recipe};
use ckvault_fuzz::ustar::{Item, Kind, dir, file, hardlink, item, symlink};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Bytes of a header page that mean something, its hash among them.
const USED: usize = 96;

fn main() {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(golden), Some(corpus)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: seeds GOLDEN_SET CORPUS");
        std::process::exit(2);
    };
    let write = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(corpus.join(target)).unwrap();
        fs::write(corpus.join(target).join(name), bytes).unwrap();
    };
    let read = |name: &str| fs::read(golden.join(name)).unwrap_or_default();
    let volume = read("g00000-d000.ckv");
    write("header", "golden", &volume[..volume.len().min(USED)]);
    write("frame", "golden", &frames(&volume, 2));
    write("manifest", "golden", &read("manifest.json"));
    composed(&write);
    keys(&write);
    let first: Vec<u8> = b"hello".repeat(3);
    write("segment", "small", &zstd::bulk::compress(&first, 1).unwrap());
    write("segment", "zeros", &zstd::bulk::compress(&[0; 65536], 1).unwrap());
    write(
        "segment",
        "two",
        &[zstd::bulk::compress(&first, 1).unwrap(), b"\x50\x2a\x4d\x18\x01\0\0\0x".to_vec()].concat(),
    );
    let plain: Vec<u8> = (0..3000u32).flat_map(|i| ((i % 7) as f32).to_le_bytes()).collect();
    let mut packed = Vec::new();
    Compressor::new(Compression::Auto).unwrap().compress(&plain, &mut packed).unwrap();
    write("segment", "planes", &packed);
    write("hashes", "cuts", &[&[255, 3, 1, 0, 16, 0, 0, 1, 1][..], &b"0123456789abcdef".repeat(20)].concat());
    write("hashes", "none", &[]);
    importer(&write);
}

/// The first frames of a volume, but little of what is in them.
fn frames(volume: &[u8], count: usize) -> Vec<u8> {
    let (mut at, mut out) = (65536, Vec::new());
    for n in 0..count {
        let Some(header) = volume.get(at..at + 16) else { break };
        let len = u32::from_le_bytes(header[4..8].try_into().unwrap()) as usize;
        let body = volume.get(at + 16..at + 16 + len.min(100)).unwrap_or_default();
        out.extend(b"ckvF");
        out.extend((body.len() as u32).to_le_bytes());
        out.extend((n as u64).to_le_bytes());
        out.extend(body);
        at += 16 + len;
    }
    out
}

/// An entry of each kind.
fn items() -> Vec<Item> {
    vec![
        dir(""),
        file("a", "hello"),
        hardlink("b", "a"),
        dir("d"),
        file(b"d/\xff", "x"),
        item("holes", Kind::Sparse(1 << 20, vec![(4096, vec![7; 512])])),
        symlink("l", "d/../a"),
        file("n".repeat(120), ""),
    ]
}

/// Inventory and manifest of a set composed by hand.
fn composed(write: &dyn Fn(&str, &str, &[u8])) {
    let temp = tempfile::tempdir().unwrap();
    let lines: Rc<RefCell<Vec<Vec<u8>>>> = Rc::default();
    let mut recipe = Recipe::new(items());
    let seen = lines.clone();
    recipe.edit_lines = Box::new(move |lines| *seen.borrow_mut() = lines.clone());
    let dirs = recipe.write(&Keys::new(), &[temp.path().to_path_buf()]).unwrap();
    write("manifest", "composed", &fs::read(dirs[0].join("manifest.json")).unwrap());
    write("header", "composed", &first_bytes(&dirs[0].join("g00000-p000.ckv")));
    let text = [&lines.borrow().join(&b'\n')[..], b"\n"].concat();
    write("inventory", "composed", &[&[0, 0][..], &text].concat());
}

fn first_bytes(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    bytes.truncate(USED);
    bytes
}

fn keys(write: &dyn Fn(&str, &str, &[u8])) {
    let keys = Keys::new();
    write("signature", "sha512", &keys.sign("ckvault", b"manifest"));
    write("signature", "sha256", &keys.sign_with(ssh_key::HashAlg::Sha256, "ckvault", b"manifest"));
    write("signature", "git", &keys.sign("git", b"manifest"));
    let key = keys.public();
    write("signers", "plain", format!("{key} comment\n").as_bytes());
    let options = "namespaces=\"ckvault,!git\",valid-after=\"20200101\",valid-before=\"20300101120000Z\"";
    write("signers", "options", format!("# c\n\"a b\",*@c {options} {key}\nx cert-authority {key}\n").as_bytes());
}

/// Decisions of `src/lies.rs`: flags, how many entries, K, then lies.
fn importer(write: &dyn Fn(&str, &str, &[u8])) {
    write("importer", "honest", &[0, 0, 1]);
    write("importer", "a-volume-lost", &[0x10, 0, 1]);
    write("importer", "links", &[4, 2, 1, 0, 4, 2, 0, 0, 0, 0, 1, 1, 1, 0, 2, 0]);
    write("importer", "only", &[2, 0, 0]);
    write("importer", "verify-too", &[9, 0, 0]);
    for lie in 0..11 {
        write("importer", &format!("lie-{lie:02}"), &[0, 0, 0, lie, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
