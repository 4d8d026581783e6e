//! From bytes to a set that lies: entries, and changes to everything that an exporter signs.

use crate::bytes::Bytes;
use crate::compose::{Recipe, Segment};
use crate::ustar::{Item, Kind, dir, file, item};
use serde_json::{Value, json};

/// Where a lie is told.
#[derive(Debug, Clone)]
enum Lie {
    Field(usize, &'static str, Value),
    Line(usize, Splice),
    Lines(u8, usize, usize),
    Tar(Splice),
    Packed(usize, Splice),
    Sealed(usize, Splice),
    Slot(Splice),
    Volume(usize, usize, u8),
    Hashes(usize, u8),
    Manifest(String, Value),
    Signed(Splice),
}

/// Bytes put in place of others.
#[derive(Debug, Clone)]
struct Splice {
    at: usize,
    remove: usize,
    insert: Vec<u8>,
}

impl Splice {
    fn from(bytes: &mut Bytes) -> Splice {
        Splice { at: bytes.below(1 << 16), remove: bytes.byte().into(), insert: bytes.take(64).to_vec() }
    }

    fn apply(&self, to: &mut Vec<u8>) {
        let at = self.at % (to.len() + 1);
        let end = (at + self.remove).min(to.len());
        to.splice(at..end, self.insert.iter().copied());
    }
}

/// A set, and what may be said of it.
pub struct Told {
    pub recipe: Recipe,
    /// The inventory is what `recipe.items` say.
    pub honest_lines: bool,
}

/// Reads entries, then lies until nothing is left.
pub fn tell(bytes: &mut Bytes) -> Told {
    let mut recipe = Recipe::new(items(bytes));
    recipe.k = 1 + u16::from(bytes.byte() % 2);
    let mut lies = Vec::new();
    while !bytes.is_empty() && lies.len() < 8 {
        lies.push(lie(bytes));
    }
    let honest_lines = !lies.iter().any(|l| matches!(l, Lie::Field(..) | Lie::Line(..) | Lie::Lines(..)));
    install(&mut recipe, lies);
    Told { recipe, honest_lines }
}

fn items(bytes: &mut Bytes) -> Vec<Item> {
    let mut items = vec![dir("")];
    for _ in 0..bytes.byte() % 8 {
        items.push(entry(bytes));
    }
    if items.len() == 1 {
        items.extend([file("a", "hello"), dir("d"), file("d/x", vec![7; 70_000])]);
    }
    items
}

fn entry(bytes: &mut Bytes) -> Item {
    let path = path(bytes);
    let kind = match bytes.byte() % 6 {
        0 => Kind::File(vec![bytes.byte(); bytes.below(512)]),
        1 => Kind::Dir,
        2 => Kind::Symlink(self::path(bytes)),
        3 => Kind::Hardlink(self::path(bytes)),
        4 => Kind::Sparse(8192, vec![(512 * (bytes.below(8) as u64), vec![bytes.byte(); 512])]),
        _ => Kind::File(vec![bytes.byte(); bytes.below(1 << 16) * 4]),
    };
    let mut entry = item(path, kind);
    if bytes.byte() % 8 == 1 {
        entry.mode = (bytes.below(0o10000)) as u32;
        entry.mtime = (bytes.one_of(&[0, -1, i64::MAX, i64::MIN, 1 << 40]), 0);
        entry.xattrs =
            vec![(bytes.one_of(&[&b"user.x"[..], b"security.x", b"user.\0"]).to_vec(), bytes.take(20).to_vec())];
    }
    entry
}

/// Up to four components, most of which are good.
fn path(bytes: &mut Bytes) -> Vec<u8> {
    const PARTS: [&[u8]; 16] = [
        b"a",
        b"b",
        b"d",
        b"x",
        b"..",
        b".",
        b"",
        b"outside",
        b"\0",
        b".ckvault-686f7374.partial",
        b"\xff",
        b"\x1b[2J",
        b"A",
        b"precious",
        &[b'n'; 255],
        &[b'n'; 256],
    ];
    let count = 1 + bytes.byte() % 4;
    let parts: Vec<&[u8]> = (0..count).map(|_| bytes.one_of(&PARTS)).collect();
    parts.join(&b'/')
}

fn value(bytes: &mut Bytes) -> Value {
    let any = [
        json!(0),
        json!(1),
        json!(u64::MAX),
        json!(1u64 << 63),
        json!(i64::MIN),
        json!(-1),
        json!(1e300),
        json!(512),
        json!(65536),
        json!(1u64 << 56),
        json!(null),
        json!([]),
        json!({}),
        json!("../precious"),
        json!("/"),
        json!("dir"),
        json!("symlink"),
        json!({ "base64": "Li4=" }),
        json!([[0, 512]]),
        json!([[512, 0]]),
        json!([["user.x", ""]]),
        json!(["a", "b"]),
        json!("a\nhint: b"),
        json!(true),
    ];
    match bytes.byte() % 4 {
        0 => json!(bytes.below(1 << 16)),
        1 => json!(String::from_utf8_lossy(bytes.take(40))),
        _ => bytes.one_of(&any),
    }
}

fn lie(bytes: &mut Bytes) -> Lie {
    const FIELDS: [&str; 20] = [
        "path",
        "kind",
        "size",
        "extents",
        "blake3",
        "target",
        "mode",
        "mtime",
        "xattrs",
        "offset",
        "inventory",
        "set",
        "signer",
        "tar_bytes",
        "entries",
        "segments",
        "segment",
        "group",
        "volume",
        "bytes",
    ];
    const POINTERS: [&str; 23] = [
        "/format",
        "/critical",
        "/set",
        "/label",
        "/part",
        "/last",
        "/previous",
        "/created",
        "/tool",
        "/recipient_blake3",
        "/filter",
        "/segment_bytes",
        "/volume_bytes",
        "/block_bytes",
        "/drives",
        "/groups",
        "/groups/0/k",
        "/groups/0/m",
        "/groups/0/volumes/0/bytes",
        "/groups/0/volumes/1/drive",
        "/groups/0/volumes/0/blake3",
        "/files/inventory.age/bytes",
        "/files/hashes.b3/bytes",
    ];
    match bytes.byte() % 11 {
        0 => Lie::Field(bytes.byte().into(), bytes.one_of(&FIELDS), value(bytes)),
        1 => Lie::Line(bytes.byte().into(), Splice::from(bytes)),
        2 => Lie::Lines(bytes.byte(), bytes.byte().into(), bytes.byte().into()),
        3 => Lie::Tar(Splice::from(bytes)),
        4 => Lie::Packed(bytes.byte().into(), Splice::from(bytes)),
        5 => Lie::Sealed(bytes.byte().into(), Splice::from(bytes)),
        6 => Lie::Slot(Splice::from(bytes)),
        7 => Lie::Volume(bytes.byte().into(), bytes.below(1 << 16), bytes.byte()),
        8 => Lie::Hashes(bytes.below(1 << 16), bytes.byte()),
        9 => Lie::Manifest(bytes.one_of(&POINTERS).into(), value(bytes)),
        _ => Lie::Signed(Splice::from(bytes)),
    }
}

/// Each edit of the recipe tells those lies that are its own.
fn install(recipe: &mut Recipe, lies: Vec<Lie>) {
    let all = std::rc::Rc::new(lies);
    let own = || all.clone();
    let lies = own();
    recipe.edit_tar = Box::new(move |tar| {
        lies.iter().for_each(|l| {
            if let Lie::Tar(s) = l {
                s.apply(tar)
            }
        })
    });
    let lies = own();
    recipe.edit_segments = Box::new(move |segments| lies.iter().for_each(|l| in_segments(l, segments)));
    let lies = own();
    recipe.edit_lines = Box::new(move |lines| lies.iter().for_each(|l| in_lines(l, lines)));
    let lies = own();
    recipe.edit_slot = Box::new(move |slot| {
        let mut bytes = std::mem::take(slot).into_bytes();
        lies.iter().for_each(|l| {
            if let Lie::Slot(s) = l {
                s.apply(&mut bytes)
            }
        });
        *slot = String::from_utf8_lossy(&bytes).into_owned();
    });
    let lies = own();
    recipe.edit_volumes = Box::new(move |volumes| {
        for lie in lies.iter() {
            let Lie::Volume(n, at, with) = lie else { continue };
            let n = n % volumes.len();
            let at = at % volumes[n].len();
            volumes[n][at] ^= with;
        }
    });
    let lies = own();
    recipe.edit_hashes = Box::new(move |hashes| {
        for lie in lies.iter() {
            let Lie::Hashes(at, with) = lie else { continue };
            let at = at % hashes.len();
            hashes[at] ^= with;
        }
    });
    let lies = own();
    recipe.edit_manifest = Box::new(move |manifest| {
        for lie in lies.iter() {
            let Lie::Manifest(pointer, value) = lie else { continue };
            if let Some(place) = manifest.pointer_mut(pointer) {
                *place = value.clone();
            }
        }
    });
    recipe.edit_signed = Box::new(move |bytes| {
        all.iter().for_each(|l| {
            if let Lie::Signed(s) = l {
                s.apply(bytes)
            }
        })
    });
}

fn in_segments(lie: &Lie, segments: &mut [Segment]) {
    let (Lie::Packed(n, splice) | Lie::Sealed(n, splice)) = lie else { return };
    let n = n % segments.len();
    let Segment::Plain(plain) = &segments[n] else { return };
    let mut packed = zstd::bulk::compress(plain, 1).unwrap();
    splice.apply(&mut packed);
    segments[n] = if matches!(lie, Lie::Packed(..)) { Segment::Packed(packed) } else { Segment::Sealed(packed) };
}

fn in_lines(lie: &Lie, lines: &mut Vec<Vec<u8>>) {
    if lines.is_empty() {
        return;
    }
    match lie {
        Lie::Line(n, splice) => {
            let n = n % lines.len();
            splice.apply(&mut lines[n]);
        }
        Lie::Field(n, field, value) => {
            let n = n % lines.len();
            if let Ok(Value::Object(mut line)) = serde_json::from_slice(&lines[n]) {
                line.insert((*field).into(), value.clone());
                lines[n] = Value::Object(line).to_string().into_bytes();
            }
        }
        Lie::Lines(how, a, b) => {
            let (a, b) = (a % lines.len(), b % lines.len());
            match how % 3 {
                0 => lines.swap(a, b),
                1 => lines.insert(a, lines[b].clone()),
                _ => drop(lines.remove(a)),
            }
        }
        _ => {}
    }
}
