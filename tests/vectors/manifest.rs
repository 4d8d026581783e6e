//! What a signed manifest may not say.

use crate::compose::{BLOCK, Recipe};
use crate::edits::small;
use crate::vector::{Vector, vector};
use serde_json::{Value, json};

/// Sets one value of the manifest, by its pointer.
fn set(pointer: &'static str, value: impl Into<Value>) -> Recipe {
    let value = value.into();
    small().manifest(move |m| *m.pointer_mut(pointer).unwrap() = value.clone())
}

/// Puts a field beside those that are known, as text.
pub fn later(text: impl AsRef<str>) -> Recipe {
    small().signed("\"drives\":1", &format!("\"drives\":1,\"later\":{}", text.as_ref()))
}

fn without(name: &'static str) -> Recipe {
    small().manifest(move |m| drop(m.as_object_mut().unwrap().remove(name)))
}

fn bytes(edit: impl Fn(&mut Vec<u8>) + 'static) -> Recipe {
    small().with_edit(|r| &mut r.edit_signed, edit)
}

/// The values of an object, in this order, without their names; null where there is none.
pub fn values(object: &Value, names: &str) -> Value {
    names.split(' ').map(|name| object[name].clone()).collect()
}

/// The fields of a manifest in their order.
const WHOLE: &str = "format critical set label part last previous created tool recipient_blake3 filter segment_bytes volume_bytes \
                     block_bytes drives groups files";

fn one(name: &str, rules: &[u32], fault: &str, recipe: Recipe) -> Vector {
    vector(format!("manifest/{name}"), rules, fault, recipe).manifest()
}

pub fn all() -> Vec<Vector> {
    [versions(), json_rules(), numbers(), texts(), agreement(), volumes(), files()].into_iter().flatten().collect()
}

fn versions() -> Vec<Vector> {
    let newer = |name: &str, rules: &[u32], fault: &str, recipe| {
        vector(format!("manifest/{name}"), rules, fault, recipe).refused("manifest", "newer 1")
    };
    let older = |name: &str, fault: &str, recipe| {
        vector(format!("manifest/{name}"), &[1, 70], fault, recipe).refused("manifest", "untrusted 5")
    };
    vec![
        newer("format-newer", &[1, 70], "the format is a later version", set("/format", "2")),
        newer("format-nine-digits", &[70], "the format is the last version there can be", set("/format", "999999999")),
        older("format-older", "the format is a draft", set("/format", "draft-1")),
        older(
            "format-later-draft",
            "the format is a draft, with the greatest number there can be",
            set("/format", "draft-999999999"),
        ),
        older("format-zero", "the format is 0, and is no version", set("/format", "0")),
        older("format-ten-digits", "the format has ten digits, and is no version", set("/format", "1000000000")),
        older("format-no-version", "the format is no version", set("/format", "ckvault")),
        older("format-leading-zero", "the format has a zero in front, and is no version", set("/format", "01")),
        newer("format-first", &[1], "the format is a later version, and all else is unknown", {
            bytes(|all| *all = b"{\"format\":\"7\",\"all\":\"is different\"}\n".to_vec())
        }),
        newer(
            "feature",
            &[2, 70],
            "critical names a feature that no reader has",
            set("/critical", json!(["no-such-feature"])),
        ),
        one(
            "feature-name",
            &[2, 5],
            "the name of a feature has an upper-case letter",
            set("/critical", json!(["Feature"])),
        ),
        one("feature-empty", &[2, 5], "the name of a feature is empty", set("/critical", json!([""]))),
        one(
            "feature-long",
            &[2, 5],
            "the name of a feature has 65 characters",
            set("/critical", json!(["f".repeat(65)])),
        ),
        one("features-65", &[58], "critical has 65 elements", set("/critical", json!(vec!["f"; 65]))),
    ]
}

/// Rules 3, 58 and 60 to 63.
fn json_rules() -> Vec<Vector> {
    let fields = |n: usize| (0..n).map(|i| format!("\"{i}\":0")).collect::<Vec<_>>().join(",");
    let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
    vec![
        one("cut-off", &[3], "the JSON is not well-formed", bytes(|all| all.truncate(all.len() - 2))),
        one("not-utf8", &[3], "a byte that is not UTF-8, in a field that is ignored", {
            bytes(|all| drop(all.splice(1..1, b"\"later\":\"\xff\",".to_vec())))
        }),
        one("missing-field", &[3], "there is no field tool", without("tool")),
        one("missing-label", &[3], "there is no field label, which may be null", without("label")),
        one("text-for-a-number", &[3], "drives is a text", set("/drives", "1")),
        one("number-for-a-text", &[3], "tool is a number", set("/tool", 1)),
        one("too-large-for-its-type", &[3], "drives is 65537, which 16 bits have no room for", set("/drives", 65537)),
        one("negative", &[3], "part is -1", set("/part", -1)),
        one("two-objects", &[3], "a second object behind the first", bytes(|all| all.extend(b"{}\n"))),
        one("comma-at-the-end", &[3], "a comma after the last field", {
            bytes(|all| drop(all.splice(all.len() - 2..all.len() - 2, *b",")))
        }),
        one("control-character", &[3], "a line feed within a text", later("\"a\nb\"")),
        one("text-4097", &[58], "a text that is ignored has 4097 bytes", later(format!("\"{}\"", "x".repeat(4097)))),
        one("text-4097-as-spelt", &[58], "a text is 4098 bytes long as it is spelt, with escapes", {
            later(format!("\"{}\"", "\\u0041".repeat(683)))
        }),
        one(
            "name-4097",
            &[58],
            "a name of a field that is ignored has 4097 bytes",
            later(format!("{{\"{}\":0}}", "x".repeat(4097))),
        ),
        one("depth-65", &[58], "arrays stand within each other 65 deep", later(nested(64))),
        vector(
            "manifest/depth-64",
            &[58],
            "none: arrays stand within each other 64 deep, in what is ignored",
            later(nested(63)),
        )
        .taken(),
        vector("manifest/text-4096", &[58], "none: a text that is ignored has 4096 bytes", {
            later(format!("\"{}\"", "x".repeat(4096)))
        })
        .taken(),
        one("field-twice", &[60], "a field that is known stands twice, with one value", {
            small().signed("\"last\":true", "\"last\":true,\"last\":true")
        }),
        one("field-twice-escaped", &[60], "a field stands twice, once with an escape", {
            small().signed("\"last\":true", "\"last\":true,\"l\\u0061st\":true")
        }),
        one(
            "field-twice-ignored",
            &[60, 8],
            "a field stands twice in an object that is ignored",
            later("{\"a\":1,\"a\":1}"),
        ),
        one("fields-1025", &[60], "an object that is ignored has 1025 fields", later(format!("{{{}}}", fields(1025)))),
        vector("manifest/fields-1024", &[60], "none: an object that is ignored has 1024 fields", {
            later(format!("{{{}}}", fields(1024)))
        })
        .taken(),
        one("fraction", &[61], "a number has a fraction, which is 0", small().signed("\"drives\":1", "\"drives\":1.0")),
        one("exponent", &[61], "a number has an exponent", small().signed("\"drives\":1", "\"drives\":1e0")),
        one("minus-zero", &[61], "a number that is ignored is -0", later("-0")),
        one("fraction-ignored", &[61, 8], "a number that is ignored has a fraction", later("[0.5]")),
        one("digits-21", &[61], "a number that is ignored has 21 digits", later("100000000000000000000")),
        vector(
            "manifest/digits-20",
            &[61],
            "none: numbers that are ignored have 20 digits, one of them a sign before",
            later("[99999999999999999999,-99999999999999999999]"),
        )
        .taken(),
        vector("manifest/null-ignored", &[62, 8], "none: a field that is ignored is null", later("null")).taken(),
        vector("manifest/array-ignored", &[62, 58], "none: an array that is ignored has 100000 elements", {
            later(format!("[{}0]", "null,".repeat(99_999)))
        })
        .taken(),
        one("leading-zero", &[3, 61], "a number has a zero in front", small().signed("\"drives\":1", "\"drives\":01")),
        one(
            "array-for-the-whole",
            &[62],
            "the manifest is an array of its values",
            small().manifest(|m| *m = values(m, WHOLE)),
        ),
        one("array-for-a-file", &[62], "an array of the values of a listed file", {
            small().manifest(|m| m["files"]["keys.age"] = values(&m["files"]["keys.age"], "bytes blake3"))
        }),
        one("array-for-a-volume", &[62], "an array of the values of a volume", {
            small().manifest(|m| {
                let volume = &mut m["groups"][0]["volumes"][0];
                *volume = values(volume, "drive bytes blake3");
            })
        }),
        one("null", &[62], "previous may be null, and drives may not", set("/drives", Value::Null)),
        one("null-for-spans", &[62], "spans is null, and should be absent", {
            small().manifest(|m| m["groups"][0]["volumes"][0]["spans"] = Value::Null)
        }),
        one(
            "no-line-feed",
            &[63],
            "the manifest does not end with a line feed",
            bytes(|all| all.truncate(all.len() - 1)),
        ),
        one("surrogate", &[63], "an escape of a lone surrogate, in what is ignored", later("\"\\ud800\"")),
        one("surrogate-as-bytes", &[63, 3], "the bytes of a lone surrogate, in what is ignored", {
            bytes(|all| drop(all.splice(1..1, b"\"later\":\"\xed\xa0\x80\",".to_vec())))
        }),
    ]
}

/// Rule 4.
fn numbers() -> Vec<Vector> {
    let limit = |name: &str, fault: &str, pointer: &'static str, value: u64| {
        one(&format!("limit-{name}"), &[4], fault, set(pointer, value))
    };
    let shape = |name: &str, fault: &str, k: u64, m: u64| {
        let recipe = small().manifest(move |manifest| {
            let group = &mut manifest["groups"][0];
            let volume = group["volumes"][0].clone();
            (group["k"], group["m"]) = (k.into(), m.into());
            group["volumes"] = vec![volume; (k + m) as usize].into();
        });
        one(&format!("limit-{name}"), &[4], fault, recipe)
    };
    // Both volumes, and as many values as they then have blocks.
    let volumes = |name: &str, fault: &str, bytes: u64| {
        let recipe = small().manifest(move |m| {
            m["groups"][0]["volumes"].as_array_mut().unwrap().iter_mut().for_each(|v| v["bytes"] = bytes.into());
            m["files"]["hashes.b3"]["bytes"] = (2 * bytes.div_ceil(1 << 16) * 32).into();
        });
        one(&format!("limit-{name}"), &[4], fault, recipe)
    };
    vec![
        volumes("volume-65535", "the volumes are shorter than a header page", 65535),
        volumes("volume-longest", "the volumes are longer than volume_bytes", (2 << 20) + 1),
        limit("part-0", "part is 0", "/part", 0),
        limit("part-65537", "part is 65537", "/part", 65537),
        limit("drives-0", "drives is 0", "/drives", 0),
        limit("drives-256", "drives is 256", "/drives", 256),
        limit("drive-0", "the number of a drive is 0", "/groups/0/volumes/0/drive", 0),
        limit("drive-2", "the number of a drive is 2, and there is one", "/groups/0/volumes/0/drive", 2),
        limit("volume-bytes-least", "volume_bytes is 2 MiB less 1", "/volume_bytes", (2 << 20) - 1),
        limit("volume-bytes-most", "volume_bytes is 2^46 and 1", "/volume_bytes", (1 << 46) + 1),
        limit("segment-bytes-least", "segment_bytes is 32 KiB", "/segment_bytes", 32 << 10).by(&[88]),
        limit("segment-bytes-most", "segment_bytes is 16 MiB", "/segment_bytes", 16 << 20).by(&[88]),
        limit("file-0", "the length of a listed file is 0", "/files/recover.py/bytes", 0),
        limit("file-most", "the length of a listed file is 2^50 and 1", "/files/RECOVER.txt/bytes", (1 << 50) + 1),
        limit("inventory", "the length of inventory.age is 4 GiB and 1", "/files/inventory.age/bytes", (4 << 30) + 1),
        limit("slot", "the length of the key slot is 16 MiB and 1", "/files/keys.age/bytes", (16 << 20) + 1),
        shape("k-0", "K is 0", 0, 1),
        shape("m-0", "M is 0", 1, 0),
        shape("k-and-m-256", "K and M together are 256", 200, 56),
        one("limit-groups-0", &[4], "there are no groups", set("/groups", json!([]))),
        one("limit-program", &[4], "the length of ckvault is 256 MiB and 1", {
            small().manifest(|m| crate::edits::list_program(m, (256 << 20) + 1))
        }),
    ]
}

/// Rule 5.
fn texts() -> Vec<Vector> {
    let text =
        |name: &str, fault: &str, pointer: &'static str, value: &str| one(name, &[5], fault, set(pointer, value));
    vec![
        text("label-slash", "the label has a slash", "/label", "a/b"),
        text("label-dot", "the label begins with a dot", "/label", ".a"),
        text("label-empty", "the label is empty", "/label", ""),
        text("label-65", "the label has 65 characters", "/label", &"l".repeat(65)),
        text("label-escape", "the label has an escape for terminals", "/label", "\u{1b}[2J"),
        text("label-letter", "the label has a letter that is not of ASCII", "/label", "h\u{f6}stile"),
        text("set-upper-case", "the id is in upper case", "/set", "686F7374696C65206578706F72746572"),
        text("set-short", "the id has 31 digits", "/set", "686f7374696c65206578706f7274657"),
        text("hash-upper-case", "a hash is in upper case", "/files/hashes.b3/blake3", &"AB".repeat(32)),
        text(
            "hash-not-hexadecimal",
            "a hash begins with two letters that are no digits",
            "/files/hashes.b3/blake3",
            &format!("gg{}", "a".repeat(62)),
        ),
        text("hash-short", "a hash has 63 digits", "/groups/0/volumes/0/blake3", &"a".repeat(63)),
        text("tool-empty", "tool is empty", "/tool", ""),
        text("tool-129", "tool has 129 bytes", "/tool", &"t".repeat(129)),
        text("tool-del", "tool has the byte 7f", "/tool", "a\u{7f}"),
        text("tool-letter", "tool has a letter that is not of ASCII", "/tool", "caf\u{e9}"),
        text("created-offset", "created has an offset in place of Z", "/created", "2026-11-23T06:00:00+00:00"),
        text("created-fraction", "created has a fraction of a second", "/created", "2026-11-23T06:00:00.5Z"),
        text("created-blank", "created has a blank in place of T", "/created", "2026-11-23 06:00:00Z"),
        text("created-lower-case", "created has letters in lower case", "/created", "2026-11-23t06:00:00z"),
        text(
            "created-february",
            "created is a 29th of February in a year that has none",
            "/created",
            "2026-02-29T06:00:00Z",
        ),
        text("created-leap-second", "created is the 60th second", "/created", "2016-12-31T23:59:60Z"),
        text("created-24", "created is at 24 o'clock", "/created", "2026-11-23T24:00:00Z"),
        text("filter-empty", "filter is empty", "/filter", ""),
        text("filter-upper-case", "filter has an upper-case letter", "/filter", "Planes"),
        text("recipient-short", "recipient_blake3 has no digits", "/recipient_blake3", ""),
    ]
}

/// Rules 6 and 21.
fn agreement() -> Vec<Vector> {
    let previous = "0".repeat(64);
    vec![
        one(
            "segment-bytes-no-power",
            &[88, 6],
            "segment_bytes is 96 KiB, no power of two",
            set("/segment_bytes", 96 << 10),
        ),
        one("hashes-length", &[6], "hashes.b3 has a value more than there are blocks", {
            small().manifest(|m| {
                m["files"]["hashes.b3"]["bytes"] = (m["files"]["hashes.b3"]["bytes"].as_u64().unwrap() + 32).into()
            })
        }),
        one("previous-in-part-1", &[21], "part 1 has a part before it", set("/previous", previous)),
        one("no-previous-in-part-2", &[21], "part 2 has no part before it", set("/part", 2)),
        one("no-key-slot", &[21], "files does not name keys.age", {
            small().manifest(|m| drop(m["files"].as_object_mut().unwrap().remove("keys.age")))
        }),
        one("no-script", &[21], "files does not name recover.py", {
            small().manifest(|m| drop(m["files"].as_object_mut().unwrap().remove("recover.py")))
        }),
        one("groups-of-two-shapes", &[21], "the second group has other numbers of volumes", {
            small().manifest(|m| {
                let mut group = m["groups"][0].clone();
                let volume = group["volumes"][0].clone();
                group["volumes"].as_array_mut().unwrap().push(volume);
                group["m"] = 2.into();
                m["groups"].as_array_mut().unwrap().push(group);
            })
        }),
        one("group-without-frames", &[25], "no volume of the group has a frame", {
            small().volumes(|v| v.iter_mut().for_each(|volume| volume.truncate(BLOCK)))
        }),
        one("a-volume-less", &[21], "volumes has fewer elements than K and M", {
            small().manifest(|m| drop(m["groups"][0]["volumes"].as_array_mut().unwrap().pop()))
        }),
        one("a-volume-more", &[21], "volumes has more elements than K and M", {
            small().manifest(|m| {
                let volumes = m["groups"][0]["volumes"].as_array_mut().unwrap();
                volumes.push(volumes[0].clone());
            })
        }),
    ]
}

/// Rules 26 and 30, as far as the manifest tells.
fn volumes() -> Vec<Vector> {
    let span = "0".repeat(64);
    vec![
        one("parity-longer", &[26], "the parity volume is longer than the longest data volume", {
            small().manifest(|m| {
                let volume = &mut m["groups"][0]["volumes"][1];
                volume["bytes"] = (volume["bytes"].as_u64().unwrap() + 1).into();
            })
        }),
        one("parity-shorter", &[26], "the parity volume is shorter than the longest data volume", {
            small().manifest(|m| {
                let volume = &mut m["groups"][0]["volumes"][1];
                volume["bytes"] = (volume["bytes"].as_u64().unwrap() - 1).into();
            })
        }),
        one("spans-of-one", &[30], "a volume with one span has spans", {
            let span = span.clone();
            small().manifest(move |m| m["groups"][0]["volumes"][0]["spans"] = json!([span]))
        }),
        one("spans-empty", &[30, 62], "a volume has an empty array of spans", {
            small().manifest(|m| m["groups"][0]["volumes"][0]["spans"] = json!([]))
        }),
        one("spans-missing", &[30], "a volume of two spans has none", large(None)),
        one("spans-that-do-not-fold", &[30], "the spans of a volume do not fold to its hash", large(Some(span))),
    ]
}

/// As if both volumes had two spans, of which nothing is there.
fn large(span: Option<String>) -> Recipe {
    const LEN: u64 = (128 << 20) + (64 << 10);
    small().manifest(move |m| {
        m["volume_bytes"] = (1u64 << 28).into();
        for volume in m["groups"][0]["volumes"].as_array_mut().unwrap() {
            volume["bytes"] = LEN.into();
            if let Some(span) = &span {
                volume["spans"] = json!([span, span]);
            }
        }
        m["files"]["hashes.b3"]["bytes"] = (2 * LEN.div_ceil(1 << 16) * 32).into();
    })
}

/// Rule 71.
fn files() -> Vec<Vector> {
    let listed = |(word, name, fault): (&str, &'static str, &str)| {
        let recipe = small().manifest(move |m| m["files"][name] = m["files"]["recover.py"].clone());
        vector(format!("files/listed-{word}"), &[71], fault, recipe).manifest()
    };
    let mut all: Vec<Vector> = [
        ("manifest", "manifest.json", "the manifest lists itself"),
        ("sums", "B3SUMS", "B3SUMS is listed, which follows from the manifest"),
        ("upper-case", "Keys.age", "a name differs from keys.age in upper and lower case only"),
        ("custody", "custody", "custody is listed, which is a directory"),
        ("copy", "Copy", "a name differs from copy in upper and lower case only"),
        ("third", "third", "third is listed, which is a directory"),
        ("set-aside", "keys.age.sig", "keys.age.sig is listed, which is set aside"),
        ("set-aside-later", "Keys.age.sig2", "a name begins with keys.age. in upper and lower case"),
        ("second-signature", "manifest.json.sig2", "a name begins with manifest.json."),
        ("volume", "g00000-d000.ckv", "a volume is listed among the files"),
        ("volume-upper-case", "G00000-D000.CKV", "a name is that of a volume in upper case"),
        ("partial", "x.partial", "a name ends with .partial"),
        ("partial-upper-case", "x.Partial", "a name ends with .partial in upper and lower case"),
        ("dot", "a.", "a name ends with a dot"),
        ("blank", "a b", "a name has a blank"),
        ("up", "..", "a name is that of the directory above"),
        ("slash", "a/b", "a name has a slash"),
    ]
    .into_iter()
    .map(listed)
    .collect();
    let many = |n: usize| {
        small().manifest(move |m| {
            let listed = m["files"]["recover.py"].clone();
            (5..n).for_each(|i| m["files"][format!("file{i}")] = listed.clone());
        })
    };
    all.push(vector("files/listed-65", &[71], "files names 65 files", many(65)).manifest());
    all.push(
        vector("files/listed-upper-and-lower-case", &[71], "two further names differ in upper and lower case only", {
            small().manifest(|m| {
                m["files"]["Notes"] = m["files"]["recover.py"].clone();
                m["files"]["notes"] = m["files"]["recover.py"].clone();
            })
        })
        .manifest(),
    );
    all.push(
        vector("files/listed-long", &[71], "a further name has 65 bytes", {
            small().manifest(|m| m["files"]["n".repeat(65)] = m["files"]["recover.py"].clone())
        })
        .manifest(),
    );
    all
}
