//! What lies on a drive and nobody signed: whatever it is, it costs time and memory in proportion to its length, and the memory of
//! one copy at a time. The old ways took minutes for a megabyte, or gigabytes for a manifest.

use crate::cases::small;
use crate::compose::{FORMAT, Recipe};
use crate::site::Site;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const MIB: usize = 1 << 20;
/// The longest manifest that is read, twice, in KiB.
const TWICE: u64 = 2 * (64 << 10);
/// What the program takes for itself, and for what is signed, in KiB.
const ITSELF: u64 = 28 << 10;

/// Every place that has a copy of a metadata file.
fn places(dirs: &[PathBuf], file: &str) -> Vec<PathBuf> {
    let third = ["keys.age", "manifest.json", "manifest.json.sig"].contains(&file);
    let places: &[&str] = if third { &["", "copy", "third"] } else { &["", "copy"] };
    dirs.iter().flat_map(|dir| places.iter().map(|place| dir.join(place).join(file))).collect()
}

/// Runs a verb, which must need no more memory than `most` (in KiB) and nearly no time.
#[track_caller]
fn cheap(site: &Site, verb: &str, name: &str, most: u64) {
    let ran = site.run(verb);
    eprintln!("{verb}, {name}: {:?}, {} KiB", ran.took, ran.peak);
    assert!(ran.took < LIMIT && ran.peak <= most, "{name}: more than {most} KiB, or too slow\n{ran}");
}

/// All verbs meet a file that has these bytes in every copy.
#[track_caller]
fn all_verbs_are_cheap(file: &str, name: &str, bytes: &[u8]) {
    let site = Site::new();
    for place in places(&site.compose(&small(), 1), file) {
        fs::write(place, bytes).unwrap();
    }
    let most = ITSELF + 2 * bytes.len() as u64 / 1024;
    for verb in ["verify", "verify --json", "inspect", "list", "import", "repair"] {
        cheap(&site, verb, &format!("{} MiB of {name} as {file}", bytes.len() / MIB), most);
    }
}

/// `begin`, then so much of `each` as there is room for in `len` bytes, then `end`.
fn filled(begin: &str, each: &str, end: &str, len: usize) -> Vec<u8> {
    let room = len - begin.len() - end.len();
    [begin, &each.repeat(room / each.len()), end].concat().into_bytes()
}

#[test]
fn key_slots_without_an_end() {
    let stanza = format!("-> X25519 {0}\n{0}\n", "A".repeat(43));
    let end = format!("--- {}\n{}", "A".repeat(43), "payload".repeat(20));
    for (name, each, end) in [
        ("recipients", &*stanza, &*end),
        ("the shortest stanzas", "-> a\n\n", &*end),
        ("one stanza", &*("D".repeat(64) + "\n"), &*end),
        ("stanzas that nothing follows", &*stanza, ""),
        ("arguments", "-> a ", &*end),
        ("one line", "x", ""),
        ("line feeds", "\n", ""),
    ] {
        let begin = if each.starts_with("->") { "age-encryption.org/v1\n" } else { "age-encryption.org/v1\n-> a\n" };
        all_verbs_are_cheap("keys.age", name, &filled(begin, each, end, 16 * MIB));
    }
}

#[test]
fn an_endless_key_slot_is_somebody_elses_and_a_cut_one_is_damage() {
    let stanzas = filled("age-encryption.org/v1\n", "-> a\n\n", "", 16 * MIB);
    for (slot, code) in [(&stanzas[..], 5), (&stanzas[..1000], 4), (b"age-encryption.org/v1\n", 4), (b"", 4)] {
        let site = Site::new();
        places(&site.compose(&small(), 1), "keys.age").iter().for_each(|place| fs::write(place, slot).unwrap());
        for verb in ["verify", "list", "import", "repair"] {
            site.run(verb).ends(code);
        }
    }
}

/// Rules 57 and 70.
#[test]
fn a_header_page_that_does_not_fit_its_hash_is_damage_and_one_that_does_is_somebody_elses() {
    const PAGE: usize = 64 << 10;
    let site = Site::new();
    let other = Recipe { set: *b"another exporter", ..small() };
    let theirs = fs::read(site.compose(&other, 1)[0].join("g00000-p000.ckv")).unwrap();
    let dir = &site.compose(&small(), 1)[0];
    let path = dir.join("g00000-p000.ckv");
    let ours = fs::read(&path).unwrap();
    let flipped = |volume: &[u8], bit: usize| {
        let mut bytes = volume.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    for bit in (0..8 * 96).filter(|bit| bit % 11 == 0) {
        fs::write(&path, flipped(&ours, bit)).unwrap();
        site.run("verify").ends(3);
    }
    // Nothing of it can be had any more: now it matters whose it is.
    let gone = |volume: &[u8]| [&volume[..PAGE], &vec![0; volume.len() - PAGE]].concat();
    let data = dir.join("g00000-d000.ckv");
    fs::write(&data, gone(&fs::read(&data).unwrap())).unwrap();
    let id = 16 * 8;
    for (volume, code) in [
        (gone(&ours), 4),
        (flipped(&gone(&ours), id), 4),
        (flipped(&gone(&ours), id + 127), 4),
        (flipped(&theirs, id), 4),
        (flipped(&theirs, 64 * 8), 4),
        (theirs, 5),
    ] {
        fs::write(&path, volume).unwrap();
        for verb in ["verify", "import", "repair"] {
            site.run(verb).ends(code);
        }
    }
}

#[test]
fn other_files_that_are_long() {
    for (file, each) in [
        ("B3SUMS", format!("{}  g00000-d000.ckv\n", "0".repeat(64))),
        ("B3SUMS", "x".into()),
        ("hashes.b3", "y".into()),
        ("inventory.age", "-> a\n\n".into()),
        ("manifest.json.sig", "A".into()),
        ("RECOVER.txt", "z".into()),
        ("g00000-d000.ckv", "v".into()),
    ] {
        all_verbs_are_cheap(file, "rubbish", &filled("", &each, "", 16 * MIB));
    }
}

/// A manifest that was signed, and then changed so that it has `len` bytes.
fn changed(signed: &str, at: &str, instead: (&str, &str, &str), len: usize) -> Vec<u8> {
    let (before, after) = signed.split_once(at).unwrap_or_else(|| panic!("no {at} in {signed}"));
    let (begin, each, end) = instead;
    filled(&format!("{before}{begin}"), each, &format!("{end}{after}"), len)
}

#[test]
fn manifests_cost_no_more_than_twice_their_length() {
    let hash = "0".repeat(64);
    let volume = format!("{{\"drive\":1,\"bytes\":65536,\"blake3\":\"{hash}\"}},");
    let group = format!("{{\"k\":1,\"m\":1,\"volumes\":[{}]}},", volume.repeat(255).trim_end_matches(','));
    let listed = format!("\"x\":{{\"bytes\":1,\"blake3\":\"{hash}\"}},");
    let span = format!("\"{hash}\",");
    let before_spans = format!(
        "\"groups\":[{{\"k\":1,\"m\":1,\"volumes\":[{{\"drive\":1,\"bytes\":1,\"blake3\":\"{hash}\",\"spans\":["
    );
    let signed = "\"tool\":\"a hostile exporter\"";
    for (name, at, instead) in [
        ("one text", signed, ("\"tool\":\"", "x", "\"")),
        ("escapes", signed, ("\"tool\":\"", "\\u0041", "\"")),
        ("escapes that are ignored", signed, ("\"x\":\"", "\\n", "\",\"tool\":\"\"")),
        ("a name", signed, ("\"tool\":\"\",\"", "\\n", "\":1")),
        ("texts", signed, ("\"tool\":\"\",\"x\":[", "\"\",", "\"\"]")),
        ("depth", signed, ("\"tool\":\"\",\"x\":", "[", "")),
        ("a text for a number", "\"part\":1", ("\"part\":\"", "\u{7f}", "\"")),
        ("another format", &*format!("\"format\":\"{FORMAT}\""), ("\"format\":\"", "\u{7f}", "\"")),
        ("features", "\"critical\":[", ("\"critical\":[", "\"\",", "\"\"")),
        ("empty groups", "\"groups\":[", ("\"groups\":[", "{\"k\":1,\"m\":1,\"volumes\":[]},", "")),
        ("volumes", "\"groups\":[", ("\"groups\":[", &*group, "")),
        ("volumes of one group", "\"volumes\":[", ("\"volumes\":[", &*volume, "")),
        ("spans", "\"groups\":[", (&*before_spans, &*span, "\"\"]}]},")),
        ("files", "\"files\":{", ("\"files\":{", &*listed, "")),
        ("blanks", "\"critical\":[", ("\"critical\":[", " ", "")),
    ] {
        let site = Site::new();
        let manifests = places(&site.compose(&small(), 1), "manifest.json");
        let long = changed(&fs::read_to_string(&manifests[0]).unwrap(), at, instead, 64 * MIB);
        manifests.iter().for_each(|place| fs::write(place, &long).unwrap());
        cheap(&site, "inspect", &format!("64 MiB of {name}"), TWICE);
        cheap(&site, "verify", &format!("64 MiB of {name}"), TWICE);
    }
}

/// Each copy is another one, on each of many drives.
#[test]
fn many_copies_cost_no_more_than_one() {
    for file in ["manifest.json", "manifest.json.sig", "keys.age", "inventory.age", "hashes.b3", "B3SUMS"] {
        let site = Site::new();
        let recipe = small().with_edit(
            |r| &mut r.edit_listed,
            |files| {
                let long = |(name, _): &&mut (&str, Vec<u8>)| ["keys.age", "inventory.age"].contains(name);
                files.iter_mut().filter(long).for_each(|(_, bytes)| bytes.resize(8 * MIB, 0));
            },
        );
        let dirs = site.compose(&recipe, 8);
        for (n, place) in places(&dirs, file).iter().enumerate() {
            let mut bytes = fs::read(place).unwrap();
            bytes.resize(if file.ends_with(".sig") { 16 << 10 } else { 8 * MIB }, b' ');
            let end = bytes.len() - 1;
            bytes[end] = n as u8;
            fs::write(place, bytes).unwrap();
        }
        for verb in ["verify", "inspect", "list"] {
            cheap(&site, verb, &format!("16 copies of {file}"), ITSELF + 3 * (8 << 10));
        }
    }
}
