//! Sets in several parts. The same set each time: three segments, of which the first lies in part 1, on drive 1, and the others in
//! part 2, on drive 2. The file `a` ends in part 1, and `b` in part 2.

use crate::compose::{Keys, Recipe, Segment};
use crate::edits::with;
use crate::sshsig::{HONEST, Sshsig};
use crate::ustar::{Item, Kind, dir, file, item};
use crate::vector::{Vector, vector};
use crate::whole::in_planes;
use serde_json::Value;
use std::cell::RefCell;
use std::fs;
use std::rc::Rc;

/// The number of the line of `b`.
const B: usize = 3;

/// What part 2 has of part 1.
#[derive(Clone, Default)]
struct Shared {
    slot: Rc<RefCell<Vec<u8>>>,
    manifest: Rc<RefCell<Vec<u8>>>,
}

fn items() -> [Item; 5] {
    [
        file("a", "first ".repeat(10_000)),
        file("b", "second ".repeat(15_000)),
        dir("d"),
        file("d/empty", ""),
        item("hole", Kind::Sparse(1 << 20, vec![])),
    ]
}

fn line(lines: &mut [Vec<u8>], number: usize, edit: impl Fn(&mut Value)) {
    let mut value = serde_json::from_slice(&lines[number]).unwrap();
    edit(&mut value);
    lines[number] = value.to_string().into_bytes();
}

fn part(number: u32, own: &age::x25519::Identity, shared: &Shared) -> Recipe {
    let first = number == 1;
    let (seen_slot, seen_manifest) = (shared.slot.clone(), shared.manifest.clone());
    let before = shared.manifest.clone();
    let secret = {
        use age::secrecy::ExposeSecret as _;
        own.to_string().expose_secret().to_owned()
    };
    let recipe =
        Recipe { own: secret.parse().unwrap(), part: number, first: if first { 0 } else { 1 }, ..with(items()) };
    recipe
        .segments(move |all: &mut Vec<Segment>| if first { all.truncate(1) } else { drop(all.remove(0)) })
        .lines(move |lines| {
            line(lines, 0, |head| head["segments"] = if first { 1 } else { 2 }.into());
            if first {
                line(lines, B, |b| b["blake3"] = Value::Null);
            }
        })
        .with_edit(
            |r| &mut r.edit_listed,
            move |files| match first {
                true => *seen_slot.borrow_mut() = files[0].1.clone(),
                false => files[0].1 = seen_slot.borrow().clone(),
            },
        )
        .manifest(move |m| match first {
            true => m["last"] = false.into(),
            false => m["previous"] = blake3::hash(&before.borrow()).to_string().into(),
        })
        .with_edit(
            |r| &mut r.edit_signed,
            move |bytes| {
                if first {
                    *seen_manifest.borrow_mut() = bytes.clone();
                }
            },
        )
}

/// A set in two parts, each changed by its function.
fn two(
    name: &str,
    rules: &[u32],
    fault: &str,
    edit: impl Fn(Recipe) -> Recipe,
    edit2: impl Fn(Recipe) -> Recipe + 'static,
) -> Vector {
    let (own, shared) = (age::x25519::Identity::generate(), Shared::default());
    let first = edit(part(1, &own, &shared));
    vector(format!("parts/{name}"), rules, fault, first).acts(move |keys: &Keys, place, _| {
        edit2(part(2, &own, &shared)).write(keys, &[place.join("2")]).unwrap();
    })
}

/// Another edit of the lines, after those there are.
fn also_lines(mut recipe: Recipe, edit: impl Fn(&mut Vec<Vec<u8>>) + 'static) -> Recipe {
    let before = std::mem::replace(&mut recipe.edit_lines, Box::new(|_| ()));
    recipe.lines(move |lines| {
        before(lines);
        edit(lines);
    })
}

/// The segments of the part packed in another way.
fn also_segments(mut recipe: Recipe, pack: impl Fn(&[u8]) -> Vec<u8> + 'static) -> Recipe {
    let before = std::mem::replace(&mut recipe.edit_segments, Box::new(|_| ()));
    recipe.segments(move |all| {
        before(all);
        for segment in all {
            let Segment::Plain(plain) = segment else { panic!("packed already") };
            *segment = Segment::Packed(pack(plain));
        }
    })
}

pub fn all() -> Vec<Vector> {
    let same = |recipe: Recipe| recipe;
    let honest = |name: &str, fault: &str| two(name, &[36, 50, 51], fault, same, same);
    let no_longer = |name: &str, fault: &str, edit: fn(&mut Value)| {
        two(name, &[50], fault, same, move |r| r.also_manifest(edit)).untrusted("manifest")
    };
    let second = |name: &str, rules: &[u32], fault: &str, edit: fn(&mut Vec<Vec<u8>>)| {
        two(name, rules, fault, same, move |r| also_lines(r, edit)).inside("inventory", "format 1")
    };
    let missing = |v: Vector, drive: &'static str| {
        v.acts_also(move |place| fs::remove_dir_all(place.join(drive)).unwrap()).incomplete()
    };
    vec![
        honest("two", "none: two parts, of which the second ends the file b").taken(),
        missing(honest("second-missing", "the second part is missing"), "2"),
        missing(honest("first-missing", "the first part is missing"), "1"),
        honest(
            "manifest-of-the-other-in-third",
            "damage: in the directory third of the first part lie the manifest and the signature of the second",
        )
        .by(&[20])
        .acts_also(|place| {
            let set = |drive: &str| fs::read_dir(place.join(drive)).unwrap().next().unwrap().unwrap().path();
            for name in ["manifest.json", "manifest.json.sig"] {
                fs::copy(set("2").join(name), set("1").join("third").join(name)).unwrap();
            }
        })
        .damaged("manifest"),
        no_longer("label", "the second part has another label", |m| m["label"] = "other".into()),
        no_longer("created", "the second part was created at another time", |m| {
            m["created"] = "2026-11-23T06:00:01Z".into()
        }),
        no_longer("volume-bytes", "the second part has another volume_bytes", |m| m["volume_bytes"] = (4 << 20).into()),
        two("block-bytes", &[50, 86], "the second part has blocks of another length", same, |r| Recipe {
            block_bytes: 128 << 10,
            ..r
        })
        .untrusted("manifest"),
        no_longer("drives", "the second part has another number of drives", |m| m["drives"] = 2.into()),
        no_longer("recipient", "the second part has another recipient_blake3", |m| {
            m["recipient_blake3"] = "0".repeat(64).into();
        }),
        no_longer("previous", "the second part names another manifest before it", |m| {
            m["previous"] = "0".repeat(64).into()
        }),
        two(
            "filter",
            &[50, 54, 55],
            "none: the filter of part 1 is zstd, with a frame like a filter header, and that of part 2 is planes",
            |r| {
                also_segments(r, |plain| {
                    let nothing = b"\x5f\x2a\x4d\x18\x08\0\0\0whatever";
                    [&nothing[..], &zstd::bulk::compress(plain, 1).unwrap()].concat()
                })
            },
            |r| also_segments(r, in_planes).also_manifest(|m| m["filter"] = "planes".into()),
        )
        .taken(),
        two("shape", &[50], "the second part has another M", same, |r| r.shape(1, 2)).untrusted("manifest"),
        two("slot", &[50], "the second part has another key slot", same, |r| {
            r.with_edit(|r| &mut r.edit_listed, |_| ())
        })
        .untrusted("manifest"),
        two("signer", &[50], "the second part is signed by another, who is trusted too", same, |r| {
            let key = Sshsig { seed: 43, ..HONEST };
            let public = key.public();
            also_lines(r, move |lines| line(lines, 0, |head| head["signer"] = public.clone().into()))
                .signed_by(move |message| key.sign(message))
        })
        .allow(format!("{} {}", crate::keys::NAME, HONEST.public()))
        .allow(format!("other@site {}", Sshsig { seed: 43, ..HONEST }.public()))
        .untrusted("manifest"),
        two(
            "first-is-last",
            &[50],
            "the first part says that it is the last",
            |r| r.also_manifest(|m| m["last"] = true.into()),
            same,
        )
        .untrusted("manifest"),
        two("gap", &[36], "a segment is missing between the parts", same, |r| {
            let r = also_lines(r, |lines| line(lines, 0, |head| head["segments"] = 1.into()));
            Recipe { first: 2, ..r }.segments(|all| drop(all.drain(..2)))
        })
        .inside("inventory", "format 1"),
        second("entries-mode", &[51], "an entry has another mode in the second part", |lines| {
            line(lines, 2, |a| a["mode"] = 0o600.into())
        }),
        second("entries-xattr", &[51], "an entry has an attribute in the second part only", |lines| {
            line(lines, 2, |a| a["xattrs"] = serde_json::json!([["user.x", "1"]]));
        }),
        second("entries-hash", &[51], "a file that ended in part 1 has another hash in part 2", |lines| {
            line(lines, 2, |a| a["blake3"] = "0".repeat(64).into());
        }),
        second("null-hash", &[51], "the hash of b is null in the part that ends it", |lines| {
            line(lines, B, |b| b["blake3"] = Value::Null)
        }),
        two(
            "hash-too-soon",
            &[51],
            "the hash of b stands in part 1 already, before it ends",
            |r| {
                let hash = blake3::hash("second ".repeat(15_000).as_bytes()).to_string();
                also_lines(r, move |lines| line(lines, B, |b| b["blake3"] = hash.clone().into()))
            },
            same,
        )
        .inside("inventory", "format 1"),
        two(
            "null-hash-of-nothing",
            &[51],
            "the hash of an empty file is null in part 1",
            |r| also_lines(r, |lines| line(lines, 5, |e| e["blake3"] = Value::Null)),
            same,
        )
        .inside("inventory", "format 1"),
        two(
            "null-hash-of-a-hole",
            &[51],
            "the hash of a file that is all hole is null in part 1",
            |r| also_lines(r, |lines| line(lines, 6, |e| e["blake3"] = Value::Null)),
            same,
        )
        .inside("inventory", "format 1"),
    ]
}
