//! One spelling: what another reader could take for something else is refused, one fault at a time.

use crate::cases::{Case, refuse, small, with};
use crate::compose::{Recipe, Segment};
use crate::honest::noise;
use crate::recover::{SIGNERS, can_recover};
use crate::site::Site;
use crate::ustar::*;
use serde_json::{Value, json};
use std::fs;

const INVENTORY: &str = "inventory.age";
const MANIFEST: &str = "manifest.json";

/// The values of an object, in this order, without their names.
fn values(object: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| object[name].clone()).collect()
}

/// Rule 62. A parser that knows the order of fields takes an array for them.
#[test]
fn arrays_in_place_of_objects() {
    let line = |number: usize, names: &'static [&str]| small().line(number, |line| *line = values(line, names));
    let manifest = |at: &'static str, names: &'static [&str]| {
        small().manifest(move |m| {
            let object = m.pointer_mut(at).unwrap();
            *object = values(object, names);
        })
    };
    const WHOLE: [&str; 17] = [
        "format",
        "critical",
        "set",
        "label",
        "part",
        "last",
        "previous",
        "created",
        "tool",
        "recipient_blake3",
        "filter",
        "segment_bytes",
        "volume_bytes",
        "block_bytes",
        "drives",
        "groups",
        "files",
    ];
    refuse(vec![
        ("the manifest", manifest("", &WHOLE), 1, MANIFEST),
        ("a group", manifest("/groups/0", &["k", "m", "volumes"]), 1, MANIFEST),
        ("a volume", manifest("/groups/0/volumes/0", &["drive", "bytes", "blake3"]), 1, "manifest.json: not well"),
        ("a file", manifest("/files/keys.age", &["bytes", "blake3"]), 1, "manifest.json: not well"),
        (
            "the head",
            line(0, &["inventory", "critical", "set", "part", "signer", "tar_bytes", "entries", "first", "segments"]),
            1,
            INVENTORY,
        ),
        (
            "an entry",
            line(2, &["path", "kind", "size", "x", "blake3", "x", "mode", "mtime", "x", "offset"]),
            1,
            INVENTORY,
        ),
        ("a segment", line(3, &["segment", "group", "volume", "offset", "bytes"]), 1, INVENTORY),
    ]);
}

/// Rules 3 and 60 to 63, in what is ignored too.
#[test]
fn json_that_two_programs_read_differently() {
    let head = |to: &str| small().text(0, "\"entries\":2", &format!("\"entries\":2,\"later\":{to}"));
    let entry = |to: &str| small().text(2, "\"size\":5", &format!("\"size\":5,\"later\":{to}"));
    let manifest = |to: &str| small().signed("\"drives\":1", &format!("\"drives\":1,\"later\":{to}"));
    for (name, later) in [
        ("a name twice", r#"{"a":1,"b":{},"a":1}"#),
        ("a name twice, escaped", r#"[{"a":1,"\u0061":2}]"#),
        ("a fraction", "1.0"),
        ("an exponent", "[1e2]"),
        ("minus zero", "-0"),
    ] {
        refuse(vec![
            (name, head(later), 1, INVENTORY),
            (name, entry(later), 1, INVENTORY),
            (name, manifest(later), 1, MANIFEST),
        ]);
    }
    let bytes = |number: usize| {
        small().lines(move |lines| {
            let end = lines[number].len() - 1;
            lines[number].splice(end..end, b",\"later\":\"\xff\"".to_vec());
        })
    };
    let unended = |recipe: Recipe| {
        recipe.inventory(|lines, out| {
            out.write_all(&lines[..3].join(&b'\n'))?;
            out.write_all(b"\n")?;
            out.write_all(&lines[3])
        })
    };
    refuse(vec![
        ("not UTF-8 in the head", bytes(0), 1, INVENTORY),
        ("not UTF-8 in an entry", bytes(2), 1, INVENTORY),
        ("not UTF-8 in a segment", bytes(3), 1, INVENTORY),
        (
            "not UTF-8 in the manifest",
            small().with_edit(|r| &mut r.edit_signed, |all| drop(all.splice(1..1, b"\"later\":\"\xff\",".to_vec()))),
            1,
            MANIFEST,
        ),
        ("no last line feed", unended(small()), 1, "a line has no line feed"),
        (
            "no line feed of the manifest",
            small().with_edit(|r| &mut r.edit_signed, |all| all.truncate(all.len() - 1)),
            1,
            "no line feed",
        ),
        ("a fraction", small().text(2, "\"size\":5", "\"size\":5.0"), 1, INVENTORY),
        ("no label", small().manifest(|m| drop(m.as_object_mut().unwrap().remove("label"))), 1, "label"),
        ("a label twice", small().signed("\"label\":", "\"lab\\u0065l\":\"x\",\"label\":"), 1, MANIFEST),
        ("null in place of a number", small().field(3, "group", Value::Null), 1, INVENTORY),
        (
            "no spans",
            small().manifest(|m| m["groups"][0]["volumes"][0]["spans"] = json!([])),
            1,
            "an array of 1 to 524288 elements",
        ),
    ]);
}

#[test]
fn names_in_another_spelling() {
    let name = |value: Value| with([file(b"\xff", "x")]).field(2, "path", value);
    let good = json!({ "base64": "/w==", "later": 1 });
    let site = Site::new();
    site.compose(&name(good), 1);
    site.run("import").ends(0);
    refuse(vec![
        ("UTF-8 in base64", small().field(2, "path", json!({ "base64": "YQ==" })), 1, "in base64"),
        ("nothing in base64", small().field(1, "path", json!({ "base64": "" })), 1, "in base64"),
        ("without padding", name(json!({ "base64": "/w" })), 1, INVENTORY),
        ("bits that say nothing", name(json!({ "base64": "/x==" })), 1, INVENTORY),
        ("another alphabet", name(json!({ "base64": "_w==" })), 1, INVENTORY),
        ("in an array", name(json!(["/w=="])), 1, INVENTORY),
        ("null", name(json!({ "base64": null })), 1, INVENTORY),
    ]);
}

/// Rules 65 to 68.
#[test]
fn entries_that_say_one_thing_in_two_ways() {
    let holes = || with([item("holes", Kind::Sparse(1 << 20, vec![(4096, vec![7; 1024])]))]);
    let dense = with([item("a", Kind::Sparse(512, vec![(0, vec![7; 512])]))]);
    let empty = with([item("a", Kind::Sparse(0, vec![]))]);
    let own = "an entry does not have the fields of its kind";
    let attributes = |names: &[&str]| {
        let mut item = file("a", "x");
        item.xattrs = names.iter().map(|n| (n.as_bytes().to_vec(), b"v".to_vec())).collect();
        with([item])
    };
    let site = Site::new();
    site.compose(&attributes(&["user.a", "user.b"]), 1);
    site.run("import").ends(0);
    let order = "extended attributes are not in order";
    refuse(vec![
        ("extents that touch", holes().field(2, "extents", json!([[4096, 512], [4608, 512]])), 1, "extents touch"),
        ("no hole", dense, 1, "a file without holes has extents"),
        ("no byte and no hole", empty, 1, "a file without holes has extents"),
        ("null for extents", small().field(2, "extents", Value::Null), 1, INVENTORY),
        ("attributes out of order", attributes(&["user.b", "user.a"]), 1, order),
        ("an attribute twice", attributes(&["user.a", "user.a"]), 1, order),
        ("an attribute without a name", attributes(&["user."]), 1, "extended attribute"),
        ("no attributes", small().field(2, "xattrs", json!([])), 1, INVENTORY),
        ("null for attributes", small().field(2, "xattrs", Value::Null), 1, INVENTORY),
        ("the size of a directory", small().field(1, "size", 0), 1, own),
        ("the target of a file", small().field(2, "target", "b"), 1, own),
        ("extents of a directory", small().field(1, "extents", json!([])), 1, own),
        ("the hash of a link", with([symlink("l", "a")]).field(2, "blake3", Value::Null), 1, own),
        ("a kind in an object", small().field(2, "kind", json!({ "file": null })), 1, INVENTORY),
    ]);
}

#[test]
fn links_that_say_what_their_file_does_not() {
    let hard = || with([file("a", "x"), hardlink("b", "a")]);
    let why = "another mode or time than its file";
    let attribute = json!([["user.x", "v"]]);
    let tar = |edit: fn(&mut Item)| {
        let mut items = [file("a", "x"), hardlink("b", "a")];
        edit(&mut items[1]);
        with(items)
    };
    refuse(vec![
        ("another mode", tar(|i| i.mode = 0o755), 1, why),
        ("another time", tar(|i| i.mtime.0 += 1), 1, why),
        ("another part of a second", hard().field(3, "mtime", json!([1_700_000_000, 6])), 1, why),
        (
            "attributes of a hard link",
            hard().field(3, "xattrs", attribute.clone()),
            1,
            "a link has extended attributes",
        ),
        ("attributes of a link", with([symlink("l", "a")]).field(2, "xattrs", attribute), 1, "a link has extended"),
        ("the mode of a link", with([symlink("l", "a")]).field(2, "mode", 0o755), 1, "another mode than 511"),
    ]);
}

/// Rule 43: forty links are followed, and then there is a loop for Linux too.
#[test]
fn chains_of_links() {
    let chain = |links: usize| {
        let name = |i: usize| format!("l{i:02}");
        (0..links).map(move |i| symlink(name(i), if i + 1 < links { name(i + 1) } else { "..".into() }))
    };
    refuse(vec![("forty", with(chain(40)), 1, "leaves the target")]);
    // The 41st is the only one of these that is not asked where the last one leads.
    let site = Site::new();
    site.compose(&with(chain(41).take(40).chain([symlink("l40", "x")])), 1);
    site.run("import").ends(0);
    if can_recover() {
        fs::remove_dir_all(site.target()).unwrap();
        site.recover(SIGNERS).ends(0);
    }
    let steps = |n: usize| with([symlink("l", "./".repeat(n - 2) + "x")]);
    let through = |n: usize| with([symlink("l", "m/".repeat(20) + "x"), symlink("m", "./".repeat(n))]);
    refuse(vec![("many steps", through(300), 1, "leaves the target")]);
    site.compose(&steps(2000), 1);
    let _ = fs::remove_dir_all(site.target());
    site.run("import").ends(0);
}

fn planes(segment: impl Fn(&[u8]) -> Vec<u8> + 'static) -> Recipe {
    let recipe = with([file("a", noise(7, 200_000))]).manifest(|m| m["filter"] = "planes".into());
    recipe.segments(move |all| {
        let Segment::Plain(plain) = &all[1] else { panic!("not plain") };
        all[1] = Segment::Packed(segment(plain));
    })
}

/// A filter header with so many ranges of equal length, which rearranges nothing.
fn header(ranges: u32) -> Vec<u8> {
    let range = [&(65536 / ranges).to_le_bytes()[..], &[1]].concat();
    [&b"\x5f\x2a\x4d\x18"[..], &(5 * ranges).to_le_bytes(), &range.repeat(ranges as usize)].concat()
}

fn packed(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(plain, 1).unwrap()
}

/// What is legal is taken, however little it helps: bytes that cannot be compressed, under the longest filter header, each range in
/// a frame of its own.
#[test]
fn the_longest_segment_there_may_be() {
    let site = Site::new();
    site.compose(&planes(|plain| [header(256), plain.chunks(256).flat_map(packed).collect()].concat()), 1);
    site.run("import").ends(0);
    if can_recover() {
        fs::remove_dir_all(site.target()).unwrap();
        site.recover(SIGNERS).ends(0);
    }
    assert!(fs::read(site.target().join("a")).unwrap() == noise(7, 200_000));
    let skippable = |len: u32| [&b"\x50\x2a\x4d\x18"[..], &len.to_le_bytes(), &vec![0; len as usize]].concat();
    refuse(vec![(
        "more",
        planes(move |plain| [packed(plain), skippable(33_000)].concat()),
        1,
        "more than a segment can hold",
    )]);
}

/// Rules 55 and 73.
#[test]
fn frames_that_another_decompressor_would_not_take() {
    let windowed = |plain: &[u8], log: u32| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        std::io::Write::write_all(&mut encoder, plain).unwrap();
        encoder.finish().unwrap()
    };
    let site = Site::new();
    site.compose(&planes(move |plain| windowed(plain, 23)), 1);
    site.run("import").ends(0);
    let with_dictionary = |plain: &[u8]| {
        let mut frame = packed(plain);
        frame[4] |= 1;
        frame.insert(5, 7);
        frame
    };
    let gzip = |_: &[u8]| b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0".to_vec();
    let cases: Vec<Case> = vec![
        ("a window of 16 MiB", planes(move |plain| windowed(plain, 24)), 1, "window of a zstd frame"),
        ("a dictionary", planes(with_dictionary), 1, "without a dictionary"),
        ("another format", planes(gzip), 1, "magic number of a zstd frame"),
        ("two headers", planes(|plain| [header(1), header(1), packed(plain)].concat()), 1, "no second filter header"),
        ("a header behind", planes(|plain| [packed(plain), header(1)].concat()), 1, "no second filter header"),
        (
            "a header later",
            planes(|plain| [header(1), packed(plain), header(1)].concat()),
            1,
            "no second filter header",
        ),
    ];
    refuse(cases);
}

/// 64 KiB are 64 KiB.
#[test]
fn the_longest_slot() {
    let slot = |bytes: usize| {
        small().with_edit(
            |r| &mut r.edit_slot,
            move |text| {
                let comment = "#".repeat(bytes - text.len() - 1);
                *text = format!("{comment}\n{text}");
            },
        )
    };
    let site = Site::new();
    site.compose(&slot(64 << 10), 1);
    site.run("import").ends(0);
    if can_recover() {
        fs::remove_dir_all(site.target()).unwrap();
        site.recover(SIGNERS).ends(0);
    }
    refuse(vec![("a byte more", slot((64 << 10) + 1), 1, "length of the opened key slot")]);
}
