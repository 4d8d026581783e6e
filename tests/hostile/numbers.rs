//! Numbers that overflow, that are too large to allocate or to seek, and that are no numbers.

use crate::cases::{list_program, refuse, small, with, with_program};
use crate::compose::{Recipe, Segment};
use crate::site::Site;
use crate::ustar::*;
use serde_json::Value;

/// As JSON text, so that no parser of ours comes before that of the binary.
const BAD: [&str; 13] = [
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e999",
    "1e30",
    "-1",
    "-9223372036854775808",
    "5.5",
    "\"5\"",
    "null",
    "[]",
    "4294967296",
];

/// Stands for a number until the JSON has been written.
const MARK: &str = "@NUMBER@";

/// The pointers to all numbers in a value.
fn numbers(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(at.to_owned()),
        Value::Array(all) => all.iter().enumerate().for_each(|(i, v)| numbers(v, &format!("{at}/{i}"), found)),
        Value::Object(all) => all.iter().for_each(|(k, v)| numbers(v, &format!("{at}/{k}"), found)),
        _ => {}
    }
}

fn put(bytes: &mut Vec<u8>, pointer: &str, text: &str) {
    let mut value: Value = serde_json::from_slice(bytes).unwrap();
    *value.pointer_mut(pointer).unwrap() = MARK.into();
    *bytes = value.to_string().replace(&format!("\"{MARK}\""), text).into_bytes();
}

/// One set of each recipe is met by verify and import; both fail, and nothing is left.
#[track_caller]
fn fails(name: &str, recipe: &Recipe) {
    let site = Site::new();
    site.compose(recipe, 1);
    site.run("verify");
    let ran = site.run("import");
    assert!(!site.target().exists(), "{name}: {ran}");
    assert!(std::fs::read_dir(site.path("place")).unwrap().next().is_none(), "{name}: {ran}");
}

fn manifest_of(recipe: &Recipe) -> Value {
    let site = Site::new();
    let dirs = site.compose(recipe, 1);
    serde_json::from_slice(&std::fs::read(dirs[0].join("manifest.json")).unwrap()).unwrap()
}

#[test]
fn every_number_of_the_manifest() {
    let mut pointers = Vec::new();
    numbers(&manifest_of(&small()), "", &mut pointers);
    assert_eq!(pointers.len(), 16, "{pointers:?}");
    // What nobody needs is not looked at, and then what is said of its length harms nobody.
    let needed = |p: &String| !p.contains("RECOVER") && !p.contains("recover");
    for pointer in pointers.into_iter().filter(needed) {
        // Volumes may be that long; the header pages then say something else, which is looked at when they are lost.
        for text in BAD.iter().filter(|t| (&pointer[..], **t) != ("/volume_bytes", "4294967296")) {
            let at = pointer.clone();
            let recipe = small().with_edit(|r| &mut r.edit_signed, move |bytes| put(bytes, &at, text));
            fails(&format!("{pointer} = {text}"), &recipe);
        }
    }
}

#[test]
fn the_length_of_a_program_that_travels() {
    for text in BAD {
        let recipe = with_program().with_edit(|r| &mut r.edit_signed, |bytes| put(bytes, "/files/ckvault/bytes", text));
        fails(&format!("{text} bytes of program"), &recipe);
    }
}

/// The numbers in each line of an inventory that has all of them.
fn all_numbers() -> Vec<(usize, String)> {
    let recipe = with_everything();
    let lines = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = lines.clone();
    Site::new().compose(&recipe.lines(move |lines| *seen.borrow_mut() = lines.clone()), 1);
    let mut found = Vec::new();
    for (i, line) in lines.borrow().iter().enumerate() {
        let mut pointers = Vec::new();
        numbers(&serde_json::from_slice(line).unwrap(), "", &mut pointers);
        found.extend(pointers.into_iter().map(|p| (i, p)));
    }
    found
}

fn with_everything() -> Recipe {
    with([item("holes", Kind::Sparse(1 << 20, vec![(4096, vec![7; 512])]))])
}

#[test]
fn every_number_of_the_inventory() {
    let all = all_numbers();
    assert_eq!(all.len(), 21, "{all:?}");
    for (line, pointer) in all {
        // Any time is one that a file can have, and the tar stream then differs.
        for text in BAD {
            let at = pointer.clone();
            let recipe = with_everything().lines(move |lines| put(&mut lines[line], &at, text));
            fails(&format!("{pointer} of line {line} = {text}"), &recipe);
        }
    }
}

/// Rule 87: blocks that are as long as some may be, and volumes that are as many.
fn wide() -> Recipe {
    let mut recipe = small();
    (recipe.k, recipe.m, recipe.block_bytes) = (30, 3, 1 << 20);
    recipe
}

#[test]
fn limits_are_named() {
    let big = 1u64 << 63;
    refuse(vec![
        ("entries", small().field(0, "entries", big), 1, "entries is 9223372036854775808"),
        ("segments", small().field(0, "segments", big), 1, "segments is 9223372036854775808"),
        ("stream", small().field(0, "tar_bytes", big), 1, "length of the tar stream"),
        ("size", small().field(2, "size", big), 1, "size of a file"),
        ("mode", small().field(2, "mode", 0o10000), 1, "mode is"),
        ("nanoseconds", small().field(2, "mtime", vec![0, 1_000_000_000]), 1, "nanoseconds"),
        ("volumes", small().manifest(|m| m["volume_bytes"] = (1u64 << 63).into()), 1, "volume size"),
        ("small volumes", small().manifest(|m| m["volume_bytes"] = 65536.into()), 1, "volume size"),
        ("segment size", small().manifest(|m| m["segment_bytes"] = (16 << 20).into()), 1, "segment size"),
        ("small blocks", small().manifest(|m| m["block_bytes"] = (1 << 15).into()), 1, "block size"),
        ("large blocks", small().manifest(|m| m["block_bytes"] = (1 << 21).into()), 1, "block size"),
        ("odd blocks", small().manifest(|m| m["block_bytes"] = 99_999.into()), 1, "block size"),
        ("other blocks", small().manifest(|m| m["block_bytes"] = (1 << 17).into()), 1, "length of a volume"),
        ("long rows", wide(), 1, "bytes of a row"),
        ("no drives", small().manifest(|m| m["drives"] = 0.into()), 1, "drives"),
        ("drive 0", small().manifest(|m| m["groups"][0]["volumes"][0]["drive"] = 0.into()), 1, "drive number"),
        ("no groups", small().manifest(|m| m["groups"] = Value::Array(vec![])), 1, "groups"),
        ("no parity", small().manifest(|m| m["groups"][0]["m"] = 0.into()), 1, "M is 0"),
        ("promised, not there", small().field(0, "entries", 1 << 22), 1, "inventory.age"),
        ("slot", small().manifest(|m| m["files"]["keys.age"]["bytes"] = (1u64 << 40).into()), 1, "metadata file"),
        ("program", small().manifest(|m| list_program(m, 1 << 29)), 1, "length of the program"),
        ("hashes", small().manifest(|m| m["files"]["hashes.b3"]["bytes"] = (1u64 << 40).into()), 1, "hashes.b3"),
    ]);
}

/// Times at the ends of what a number can be: files have them or not, but nothing ends badly.
#[test]
fn times_at_the_ends_of_the_world() {
    for seconds in [i64::MAX, i64::MIN, -1, 1 << 33, 1 << 62, -(1 << 40)] {
        let site = Site::new();
        let mut item = file("a", "x");
        item.mtime.0 = seconds;
        site.compose(&with([item, dir("d")]), 1);
        site.run("list").ends(0);
        site.run("list --json").ends(0);
        let ran = site.run("import");
        assert_eq!(site.target().exists(), ran.stderr.lines().all(|l| !l.starts_with("hint")), "{ran}");
    }
}

/// A file that is all hole costs nothing to send; where it cannot be made, nothing is.
#[test]
fn holes_of_petabytes() {
    for size in [1u64 << 40, 1 << 44, 1 << 55, 1 << 56] {
        let site = Site::new();
        site.compose(&with([item("hole", Kind::Sparse(size, vec![]))]), 1);
        let ran = site.run("import");
        let there = std::fs::metadata(site.target().join("hole")).map(|m| m.len()).unwrap_or(0);
        assert!(there == size || (there == 0 && !site.target().exists()), "{there}: {ran}");
    }
}

/// A set of two volumes of 2^44 bytes, as its manifest says.
fn volumes_of_16_tib() -> Recipe {
    const LEN: u64 = 1 << 44;
    let spans = vec!["0".repeat(64); (LEN >> 27) as usize];
    let root = blake3::Hash::from_bytes(fold(&vec![[0; 32]; spans.len()])).to_hex().to_string();
    small().manifest(move |m| {
        m["volume_bytes"] = (1u64 << 46).into();
        for volume in m["groups"][0]["volumes"].as_array_mut().unwrap() {
            volume["bytes"] = LEN.into();
            volume["blake3"] = root.clone().into();
            volume["spans"] = spans.clone().into();
        }
        m["files"]["hashes.b3"]["bytes"] = (2 * (LEN >> 16) * 32).into();
    })
}

/// Volumes of 2^44 bytes, which the manifest has room to say, and of which nothing is there.
#[test]
fn volumes_as_large_as_the_manifest_can_say() {
    let site = Site::new();
    let dirs = site.compose(&volumes_of_16_tib(), 1);
    site.refuses_what_is_there(1, "do not fill the volumes");
    for name in ["g00000-d000.ckv", "g00000-p000.ckv"] {
        std::fs::remove_file(dirs[0].join(name)).unwrap();
    }
    let ran = site.run("verify").ends(7);
    eprintln!("two missing volumes of 16 TiB: {:?}, {} KiB", ran.took, ran.peak);
}

/// Rule 82: of hashes of 16 GiB there is one copy on each of several drives, and two on one.
#[test]
fn a_second_copy_of_long_hashes_is_missed_on_one_drive_only() {
    let told = |drives: usize, remove: bool| {
        let site = Site::new();
        let dirs = site.compose(&volumes_of_16_tib(), drives);
        for dir in dirs {
            let gone = ["g00000-d000.ckv", "g00000-p000.ckv", if remove { "copy/hashes.b3" } else { "" }];
            gone.iter()
                .map(|name| dir.join(name))
                .filter(|path| path.is_file())
                .for_each(|path| std::fs::remove_file(path).unwrap());
        }
        let report: Value = serde_json::from_str(&site.run("verify --json").stdout).unwrap();
        let files = report["files"].as_array().unwrap().clone();
        let of_copy = files.iter().filter(|file| file["path"].as_str().unwrap().ends_with("copy/hashes.b3"));
        let states: Vec<String> = of_copy.map(|file| file["state"].as_str().unwrap().to_owned()).collect();
        (states, files.iter().filter(|file| file["path"].as_str().unwrap().ends_with(".ckvault/hashes.b3")).count())
    };
    // What is there is too short.
    assert_eq!(told(1, true), (vec!["missing".to_owned()], 1));
    assert_eq!(told(2, true), (vec![], 2));
    assert_eq!(told(2, false), (vec!["damaged".to_owned(); 2], 2));
}

/// The root over complete spans, of which there are a power of two.
fn fold(values: &[[u8; 32]]) -> [u8; 32] {
    use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};
    let mut level = values.to_vec();
    while level.len() > 2 {
        level = level.chunks(2).map(|p| merge_subtrees_non_root(&p[0], &p[1], Mode::Hash)).collect();
    }
    *merge_subtrees_root(&level[0], &level[1], Mode::Hash).as_bytes()
}

/// Numbers in the bytes of a frame.
#[test]
fn frames_that_lie_about_their_length() {
    for len in [0u32, 1, 1 << 20, (8 << 20) + (1 << 16) + 1, u32::MAX] {
        for number in [0u64, 1, 1 << 63, u64::MAX] {
            let mut frame = b"ckvF".to_vec();
            frame.extend(len.to_le_bytes());
            frame.extend(number.to_le_bytes());
            frame.extend([7; 333]);
            fails("frame", &small().segments(move |all| all[0] = Segment::Frame(frame.clone())));
        }
    }
}
