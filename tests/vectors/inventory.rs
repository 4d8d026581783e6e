//! What the inventory may not say: only who has an identity sees it.

use crate::compose::{Recipe, Segment};
use crate::edits::{small, with};
use crate::manifest::values;
use crate::slot::stanzas;
use crate::ustar::{Item, Kind, file, hardlink, item, symlink};
use crate::vector::{Vector, vector};
use crate::whole::with_attributes;
use serde_json::{Value, json};

fn one(name: &str, rules: &[u32], fault: &str, recipe: Recipe) -> Vector {
    vector(format!("inventory/{name}"), rules, fault, recipe).inside("inventory", "format 1")
}

/// Puts a field into the line of the file, as text.
fn later(text: impl AsRef<str>) -> Recipe {
    small().text(2, "\"size\":5", &format!("\"size\":5,\"later\":{}", text.as_ref()))
}

fn packed(edit: impl Fn(&mut Vec<u8>) + 'static) -> Recipe {
    small().with_edit(|r| &mut r.edit_packed, edit)
}

pub fn all() -> Vec<Vector> {
    [heads(), lines(), kinds_of_lines(), json_rules(), layout(), extents(), spelling(), limits(), sealed()]
        .into_iter()
        .flatten()
        .collect()
}

fn heads() -> Vec<Vector> {
    let newer = |name: &str, rules: &[u32], fault: &str, recipe: Recipe| {
        vector(format!("inventory/{name}"), rules, fault, recipe).inside("inventory", "newer 1")
    };
    let foreign = |name: &str, rules: &[u32], fault: &str, recipe: Recipe| {
        vector(format!("inventory/{name}"), rules, fault, recipe).inside("inventory", "untrusted 5")
    };
    let key = crate::sshsig::Sshsig { seed: 43, ..crate::sshsig::HONEST }.public();
    vec![
        newer("version-newer", &[1, 70], "the inventory is of a later version", small().field(0, "inventory", "2")),
        foreign("version-older", &[1, 70], "the inventory is of a draft", small().field(0, "inventory", "draft-1")),
        newer("feature", &[69, 70], "critical names a feature that no reader has", {
            small().field(0, "critical", json!(["no-such-feature"]))
        }),
        one(
            "feature-name",
            &[69, 5],
            "the name of a feature has a blank",
            small().field(0, "critical", json!(["a b"])),
        ),
        one("no-critical", &[69, 3], "there is no field critical", small().text(0, "\"critical\":[],", "")),
        foreign("another-set", &[34], "the head names another set", small().field(0, "set", "0".repeat(32))),
        foreign("another-part", &[34], "the head names another part", small().field(0, "part", 2)),
        foreign("another-signer", &[34], "the head names another signer", small().field(0, "signer", key)),
        foreign("signer-with-a-comment", &[34], "the key of the signer has a comment", {
            small().line(0, |l| l["signer"] = (l["signer"].as_str().unwrap().to_owned() + " exporter").into())
        }),
    ]
}

/// Rule 35.
fn lines() -> Vec<Vector> {
    vec![
        one("empty", &[35], "there is no line", small().lines(Vec::clear)),
        one("a-segment-less", &[35], "the line of the segment is missing", small().lines(|l| drop(l.pop()))),
        one("an-entry-less", &[35], "the head promises an entry less than there are", small().field(0, "entries", 1)),
        one("an-entry-more", &[35], "the head promises an entry more than there are", small().field(0, "entries", 3)),
        one("a-line-more", &[35], "a line after all others", small().lines(|l| l.push(b"{}".to_vec()))),
        one("an-empty-line-more", &[35], "an empty line after all others", small().lines(|l| l.push(vec![]))),
        one("two-objects-in-a-line", &[35, 3], "two objects in a line", small().text(2, "}", "}{}")),
    ]
}

/// Rule 67: the fields by which a line is known stand in no other.
fn kinds_of_lines() -> Vec<Vector> {
    let other = |name: &str, fault: &str, line: usize, field: &'static str, value: Value| {
        one(&format!("another-line-{name}"), &[67], fault, small().field(line, field, value))
    };
    vec![
        other("head-kind", "the head has a field kind", 0, "kind", "file".into()),
        other("head-path", "the head has a field path", 0, "path", "a".into()),
        other("head-segment", "the head has a field segment", 0, "segment", 0.into()),
        other("entry-inventory", "an entry has a field inventory", 2, "inventory", "1".into()),
        other("entry-segment", "an entry has a field segment, which is null", 2, "segment", Value::Null),
        other("segment-inventory", "a segment has a field inventory", 3, "inventory", "1".into()),
        other("segment-kind", "a segment has a field kind", 3, "kind", "file".into()),
        other("segment-path", "a segment has a field path, which is null", 3, "path", Value::Null),
    ]
}

/// Rules 3, 58 and 60 to 63.
fn json_rules() -> Vec<Vector> {
    let bytes = |more: &'static [u8]| {
        small().lines(move |lines| {
            let end = lines[2].len() - 1;
            lines[2].splice(end..end, [b",\"later\":\"", more, b"\""].concat());
        })
    };
    let fields = (0..1025).map(|i| format!("\"{i}\":0")).collect::<Vec<_>>().join(",");
    vec![
        one("not-utf8", &[3], "a byte that is not UTF-8, in a field that is ignored", bytes(b"\xff")),
        one("missing-field", &[3], "the entry has no offset", small().text(2, "\"offset\"", "\"offsets\"")),
        one("unknown-kind", &[3, 67], "the kind of the entry is not known", small().field(2, "kind", "device")),
        one("text-for-a-number", &[3], "the size is a text", small().field(2, "size", "5")),
        one(
            "text-too-long",
            &[58],
            "a text that is ignored has 524289 bytes",
            later(format!("\"{}\"", "x".repeat(524_289))),
        ),
        one("depth-65", &[58], "arrays stand within each other 65 deep", later("[".repeat(64) + &"]".repeat(64))),
        one(
            "field-twice",
            &[60],
            "a field stands twice, with one value",
            small().text(2, "\"size\":5", "\"size\":5,\"size\":5"),
        ),
        one("field-twice-escaped", &[60], "a field stands twice, once with an escape", {
            small().text(2, "\"size\":5", "\"size\":5,\"s\\u0069ze\":5")
        }),
        one(
            "field-twice-ignored",
            &[60, 8],
            "a field stands twice in an object that is ignored",
            later("{\"a\":1,\"a\":1}"),
        ),
        one("fields-1025", &[60], "an object that is ignored has 1025 fields", later(format!("{{{fields}}}"))),
        one("fraction", &[61], "the size has a fraction", small().text(2, "\"size\":5", "\"size\":5.0")),
        one("exponent", &[61], "a number that is ignored has an exponent", later("1e2")),
        one("minus-zero", &[61], "a number that is ignored is -0", later("-0")),
        one("digits-21", &[61], "a number that is ignored has 21 digits", later("-100000000000000000000")),
        vector(
            "inventory/digits-20",
            &[61],
            "none: numbers that are ignored have 20 digits, one of them a sign before",
            later("[99999999999999999999,-99999999999999999999]"),
        )
        .taken(),
        vector("inventory/null-ignored", &[62, 8], "none: a field that is ignored is null", later("null")).taken(),
        vector("inventory/array-ignored", &[62, 58], "none: an array that is ignored has 100000 elements", {
            later(format!("[{}0]", "null,".repeat(99_999)))
        })
        .taken(),
        one(
            "array-for-the-head",
            &[62],
            "the head is an array of its values",
            small().line(0, |l| *l = values(l, "inventory critical set part signer tar_bytes entries first segments")),
        ),
        one(
            "array-for-an-entry",
            &[62],
            "an entry is an array of its values",
            small().line(2, |l| *l = values(l, "path kind size x blake3 x mode mtime x offset")),
        ),
        one("array-for-a-segment", &[62], "a segment is an array of its values", {
            small().line(3, |l| *l = values(l, "segment group volume offset bytes"))
        }),
        one("null", &[62], "the group of a segment is null", small().field(3, "group", Value::Null)),
        one("kind-in-an-object", &[62], "the kind is an object", small().field(2, "kind", json!({ "file": null }))),
        one("no-last-line-feed", &[63], "the last line has no line feed", {
            small().inventory(|lines, out| out.write_all(&lines.join(&b'\n')))
        }),
        one("surrogate", &[63], "an escape of a lone surrogate, in what is ignored", later("\"\\ud800\"")),
        one(
            "surrogate-as-bytes",
            &[63, 3],
            "the bytes of a lone surrogate, in what is ignored",
            bytes(b"\xed\xa0\x80"),
        ),
    ]
}

/// Rules 25, 36 and 51.
fn layout() -> Vec<Vector> {
    let three = || with([file("a", "1"), file("b", "2"), file("c", "3")]);
    vec![
        one("a-gap", &[36], "there is a gap between two entries", three().field(3, "offset", 2048)),
        one("overlap", &[36], "two entries lie at one offset", three().field(3, "offset", 512)),
        one("order", &[36], "the lines are not in the order of the stream", three().lines(|lines| lines.swap(2, 3))),
        one("first-entry", &[36], "the first entry does not lie at 0", small().field(1, "offset", 512)),
        one("stream-longer", &[36], "tar_bytes is 512 more than the entries give", small().field(0, "tar_bytes", 3072)),
        one(
            "stream-shorter",
            &[36],
            "tar_bytes is 512 less than the entries give",
            small().field(0, "tar_bytes", 2048),
        ),
        one("size", &[36], "the size of a file is larger than its place in the stream", small().field(2, "size", 513)),
        one("first-segment", &[36], "first is 1 in part 1, which has the second of two segments", {
            let recipe = Recipe { first: 1, ..with([file("a", "hello ".repeat(12_000))]) };
            recipe.segments(|all| drop(all.remove(0))).line(0, |head| head["segments"] = 1.into())
        }),
        one("segments", &[36], "the last part has the first of two segments alone", {
            let recipe = with([file("a", "hello ".repeat(12_000))]);
            recipe.segments(|all| all.truncate(1)).line(0, |head| head["segments"] = 1.into())
        }),
        one(
            "null-hash",
            &[51],
            "the blake3 of a file is null, and there is no later part",
            small().field(2, "blake3", Value::Null),
        ),
        one("null-hash-of-nothing", &[51], "the blake3 of an empty file is null", {
            with([file("a", "")]).field(2, "blake3", Value::Null)
        }),
        one("hash-of-nothing", &[51], "the blake3 of an empty file is not that of nothing", {
            with([file("a", "")]).field(2, "blake3", "0".repeat(64))
        }),
        one("segment-in-another-volume", &[25], "the segment lies in a volume that dealing does not give", {
            small().shape(2, 1).field(3, "volume", 1)
        }),
        one(
            "segment-in-another-group",
            &[25],
            "the segment lies in a group that dealing does not give",
            small().field(3, "group", 1),
        ),
        one(
            "segment-elsewhere",
            &[25],
            "the segment begins where dealing does not put it",
            small().field(3, "offset", 65537),
        ),
        one("segment-longer", &[25], "the segment is longer than its volume", {
            small().line(3, |l| l["bytes"] = (l["bytes"].as_u64().unwrap() + 1).into())
        }),
        one("volume-longer", &[25], "the volumes have a byte behind the last frame", {
            small().volumes(|volumes| volumes.iter_mut().for_each(|v| v.push(0)))
        }),
        one("group-more", &[25], "there is a group more than dealing gives", small().volumes(|v| v.extend(v.clone()))),
    ]
}

fn holes() -> Recipe {
    with([item("a", Kind::Sparse(1 << 20, vec![(4096, vec![7; 1024])]))])
}

/// Rules 37 and 65.
fn extents() -> Vec<Vector> {
    let extents = |name: &str, rule: u32, fault: &str, value: Value| {
        one(&format!("extents-{name}"), &[rule], fault, holes().field(2, "extents", value))
    };
    vec![
        extents("unaligned", 37, "an extent does not begin at a multiple of 512", json!([[4097, 1024]])),
        extents(
            "unaligned-length",
            37,
            "the length of an extent before the end is no multiple of 512",
            json!([[4096, 1023]]),
        ),
        extents("order", 37, "extents are out of order", json!([[8192, 512], [4096, 512]])),
        extents("overlap", 37, "extents overlap", json!([[4096, 1024], [4608, 512]])),
        extents("empty", 37, "an extent is empty", json!([[4096, 1024], [8192, 0]])),
        extents("past-the-end", 37, "an extent ends after the file", json!([[1048576, 1024]])),
        extents(
            "wrapping",
            37,
            "the end of an extent is more than 64 bits have room for",
            json!([[u64::MAX - 511, 1024]]),
        ),
        extents("touch", 65, "two extents touch", json!([[4096, 512], [4608, 512]])),
        one("extents-no-hole", &[65], "a file without holes has extents", {
            with([item("a", Kind::Sparse(512, vec![(0, vec![7; 512])]))])
        }),
        one("extents-of-nothing", &[65], "an empty file has extents", with([item("a", Kind::Sparse(0, vec![]))])),
        extents("null", 62, "extents is null", Value::Null),
        extents("triple", 3, "an extent has three numbers", json!([[4096, 512, 512]])),
    ]
}

fn linked(edit: impl Fn(&mut Item)) -> Recipe {
    let mut link = hardlink("b", "a");
    edit(&mut link);
    with([file("a", "x"), link])
}

/// Rules 48, 64 and 66 to 68.
fn spelling() -> Vec<Vector> {
    let name = |name: &str, fault: &str, value: Value| {
        one(&format!("name-{name}"), &[64], fault, with([file(b"\xff", "x")]).field(2, "path", value))
    };
    let link = || with([symlink("l", "a")]);
    let attribute = json!([["user.x", "v"]]);
    vec![
        one("name-utf8-in-base64", &[64], "a name that is UTF-8 is in base64", {
            small().field(2, "path", json!({ "base64": "YQ==" }))
        }),
        one(
            "name-empty-in-base64",
            &[64],
            "the empty name is in base64",
            small().field(1, "path", json!({ "base64": "" })),
        ),
        name("without-padding", "base64 without its padding", json!({ "base64": "/w" })),
        name("left-over-bits", "the bits of base64 that are left over are not 0", json!({ "base64": "/x==" })),
        name("another-alphabet", "base64 in the alphabet for names of files", json!({ "base64": "_w==" })),
        name("array", "base64 in an array in place of an object", json!(["/w=="])),
        one("target-utf8-in-base64", &[64], "the target of a link is UTF-8, and in base64", {
            link().field(2, "target", json!({ "base64": "YQ==" }))
        }),
        one(
            "attributes-order",
            &[66],
            "attributes are not in order",
            with_attributes(&[(b"user.b", b""), (b"user.a", b"")]),
        ),
        one(
            "attribute-twice",
            &[66],
            "an attribute stands twice",
            with_attributes(&[(b"user.a", b""), (b"user.a", b"")]),
        ),
        one(
            "attributes-empty",
            &[66, 3],
            "there is an empty array of attributes",
            small().field(2, "xattrs", json!([])),
        ),
        one(
            "attribute-of-security",
            &[48],
            "an attribute grants rights",
            with_attributes(&[(b"security.capability", b"v")]),
        ),
        one("attribute-of-trusted", &[48], "an attribute is of trusted.", with_attributes(&[(b"trusted.x", b"v")])),
        one("attribute-without-a-name", &[48], "an attribute is user. alone", with_attributes(&[(b"user.", b"v")])),
        one("attribute-nul", &[48], "the name of an attribute has a NUL", with_attributes(&[(b"user.a\0", b"v")])),
        one("attribute-256", &[48], "the name of an attribute has 256 bytes", {
            with_attributes(&[(&[&b"user."[..], &[b'x'; 251]].concat(), b"v")])
        }),
        one("size-of-a-directory", &[67], "a directory has a size", small().field(1, "size", 0)),
        one("target-of-a-file", &[67], "a file has a target", small().field(2, "target", "b")),
        one("hash-of-a-link", &[67], "a link has a hash", link().field(2, "blake3", Value::Null)),
        one("no-size", &[67, 3], "a file has no size", small().text(2, ",\"size\":5", "")),
        one("no-target", &[67, 3], "a link has no target", link().text(2, "\"target\":\"a\"", "\"x\":\"a\"")),
        one("link-attributes", &[68], "a symbolic link has attributes", link().field(2, "xattrs", attribute.clone())),
        one("hard-link-attributes", &[68], "a hard link has attributes", linked(|_| ()).field(3, "xattrs", attribute)),
        one("hard-link-mode", &[68], "a hard link has another mode than its file", linked(|i| i.mode = 0o755))
            .inside("paths", "refused 1"),
        one("hard-link-time", &[68], "a hard link has another time than its file", linked(|i| i.mtime.0 += 1))
            .inside("paths", "refused 1"),
        one(
            "hard-link-nanoseconds",
            &[68],
            "a hard link has other nanoseconds than its file",
            linked(|i| i.mtime.1 += 1),
        )
        .inside("paths", "refused 1"),
        one("link-mode", &[68], "the mode of a symbolic link is not 511", link().field(2, "mode", 0o755)),
    ]
}

/// Rule 4.
fn limits() -> Vec<Vector> {
    let limit = |name: &str, fault: &str, recipe: Recipe| one(&format!("limit-{name}"), &[4], fault, recipe);
    let many = |n: usize| {
        let mut item = file("a", "x");
        item.xattrs = (0..n).map(|i| (format!("user.{i:05}").into_bytes(), vec![])).collect();
        with([item])
    };
    vec![
        limit("entries", "entries is 2^22 and 1", small().field(0, "entries", (1 << 22) + 1)),
        limit("segments", "segments is 2^40 and 1", small().field(0, "segments", (1u64 << 40) + 1)),
        limit("segments-0", "segments is 0", small().field(0, "segments", 0)),
        limit("stream", "tar_bytes is 2^56 and 512", small().field(0, "tar_bytes", (1u64 << 56) + 512)),
        limit("size", "the size of a file is 2^56 and 1", small().field(2, "size", (1u64 << 56) + 1)),
        limit("mode", "mode is 4096", small().field(2, "mode", 4096)),
        limit("nanoseconds", "a second has 1000000000 nanoseconds", small().field(2, "mtime", vec![0, 1_000_000_000])),
        limit("path", "a path has 4096 bytes", with([file(vec![b'a'; 4096], "x")])),
        limit("target", "the target of a link has 4096 bytes", with([symlink("l", vec![b'a'; 4096])])),
        limit("target-0", "the target of a link is empty", with([symlink("l", "")])),
        limit("extents", "a file has 65537 extents", holes().field(2, "extents", vec![json!([0, 512]); 65_537])),
        limit("attributes", "an entry has 16385 attributes", many(16_385)),
        limit(
            "attribute-value",
            "the value of an attribute has 65537 bytes",
            with_attributes(&[(b"user.x", &[b'v'; 65_537])]),
        ),
        one("limit-frame", &[88], "a frame is 131073 bytes long, and S is 64 KiB", {
            small().segments(|all| {
                let sealed = vec![7; (128 << 10) + 1 - 16];
                let header = [&b"ckvF"[..], &(sealed.len() as u32).to_le_bytes(), &[0; 8]].concat();
                all[0] = Segment::Frame([header, sealed].concat());
            })
        }),
        limit("frame-16", "a frame is its header alone", small().field(3, "bytes", 16)),
    ]
}

/// Rules 32, 56 and 73, of the inventory.
fn sealed() -> Vec<Vector> {
    let listed =
        |stanza: fn() -> Vec<u8>| small().with_edit(|r| &mut r.edit_listed, move |files| files[1].1 = stanza());
    let windowed = |log: u32| {
        move |bytes: &mut Vec<u8>| {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            std::io::Write::write_all(&mut encoder, &zstd::decode_all(&bytes[..]).unwrap()).unwrap();
            *bytes = encoder.finish().unwrap();
        }
    };
    let to_others = |other: Box<dyn age::Recipient>| {
        let mut recipe = small();
        recipe.others[0].push(other);
        recipe
    };
    vec![
        one("two-recipients", &[32], "the inventory is encrypted to another recipient too", {
            to_others(Box::new(age::x25519::Identity::generate().to_public()))
        }),
        one("ssh-recipient", &[32], "the inventory is encrypted to an SSH key too", {
            to_others(Box::new(crate::sshsig::HONEST.public().parse::<age::ssh::Recipient>().unwrap()))
        }),
        vector("inventory/grease", &[32], "none: a stanza of grease beside that of the recipient", {
            to_others(Box::new(crate::segments::Stanza("vector-grease")))
        })
        .taken(),
        one("stanzas-17", &[56], "the header of the inventory has 17 stanzas", listed(|| stanzas(17, 0))),
        one("long-header", &[56], "the header of the inventory is longer than 4 KiB", listed(|| stanzas(1, 80))),
        one("gzip", &[73], "the inventory is compressed by gzip", {
            packed(|bytes| *bytes = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0".to_vec())
        }),
        one("rubbish-behind", &[73], "bytes behind the last frame of zstd", packed(|bytes| bytes.extend(b"rubbish"))),
        one(
            "frame-cut-off",
            &[73],
            "the last frame of zstd is cut off",
            packed(|bytes| bytes.truncate(bytes.len() - 3)),
        ),
        one("dictionary", &[73], "a frame of zstd has the number of a dictionary", {
            packed(|bytes| {
                bytes[4] |= 1;
                let at = if bytes[4] & 0x20 == 0 { 6 } else { 5 };
                bytes.insert(at, 7);
            })
        }),
        one("window", &[73], "the window of a frame is 256 MiB", packed(windowed(28))),
        vector("inventory/skippable", &[73], "none: skippable frames before, between and behind", {
            packed(|bytes| {
                let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc";
                let plain = zstd::decode_all(&bytes[..]).unwrap();
                let parts: Vec<Vec<u8>> =
                    plain.chunks(100).map(|part| zstd::bulk::compress(part, 1).unwrap()).collect();
                *bytes = [skippable.to_vec(), parts.join(&skippable[..]), skippable.to_vec()].concat();
            })
        })
        .taken(),
    ]
}
