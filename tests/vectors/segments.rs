//! Frames, what is sealed in them, and how it is compressed and rearranged.

use crate::compose::{Recipe, Segment, seal};
use crate::edits::{small, with};
use crate::slot::stanzas;
use crate::ustar::file;
use crate::vector::{Vector, noise, vector};
use std::collections::HashSet;

/// A recipient that nobody is, under a type of its own.
pub struct Stanza(pub &'static str);

impl age::Recipient for Stanza {
    fn wrap_file_key(
        &self,
        _: &age_core::format::FileKey,
    ) -> Result<(Vec<age_core::format::Stanza>, HashSet<String>), age::EncryptError> {
        let stanza = age_core::format::Stanza { tag: self.0.into(), args: vec!["x".into()], body: vec![7; 32] };
        Ok((vec![stanza], HashSet::new()))
    }
}

fn one(name: &str, rules: &[u32], fault: &str, layer: &'static str, recipe: Recipe) -> Vector {
    vector(format!("segments/{name}"), rules, fault, recipe).unpacked(layer)
}

fn instead(segment: impl Fn(Vec<u8>) -> Segment + 'static) -> Recipe {
    small().segments(move |all| {
        let Segment::Plain(plain) = all[0].clone() else { panic!("not plain") };
        all[0] = segment(plain);
    })
}

fn packed(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(plain, 1).unwrap()
}

fn skippable(magic: u8, bytes: &[u8]) -> Vec<u8> {
    [&[magic, 0x2a, 0x4d, 0x18][..], &(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

fn planes(segment: impl Fn(&[u8]) -> Vec<u8> + 'static) -> Recipe {
    instead(move |plain| Segment::Packed(segment(&plain))).manifest(|m| m["filter"] = "planes".into())
}

/// A filter header of these ranges.
fn header(ranges: &[(u32, u8)]) -> Vec<u8> {
    let all: Vec<u8> = ranges.iter().flat_map(|(len, shape)| [&len.to_le_bytes()[..], &[*shape]].concat()).collect();
    skippable(0x5f, &all)
}

pub fn all() -> Vec<Vector> {
    [frames(), ages(), decompressed(), formats(), filters()].into_iter().flatten().collect()
}

/// Rule 24.
fn frames() -> Vec<Vector> {
    /// A whole frame, of which this function changes the header or what follows it.
    fn framed(edit: impl Fn(&mut Vec<u8>) + 'static) -> Recipe {
        let recipe = small();
        let own = recipe.own.to_public();
        recipe.segments(move |all| {
            let [Segment::Plain(plain)] = &all[..] else { panic!("one segment") };
            let sealed = seal(&packed(plain), &own);
            let mut frame = [&b"ckvF"[..], &(sealed.len() as u32).to_le_bytes(), &[0; 8], &sealed].concat();
            edit(&mut frame);
            all[0] = Segment::Frame(frame);
        })
    }
    let frame = |name: &str, fault: &str, edit: fn(&mut Vec<u8>)| one(name, &[24, 7], fault, "frame", framed(edit));
    vec![
        frame("magic", "the magic of the frame is another one", |f| f[3] = b'G').says("import", "format 1"),
        frame("number", "the frame has the number of another segment", |f| f[8] = 1).says("import", "format 1"),
        frame("number-high", "the number of the segment differs in its last byte", |f| f[15] = 1)
            .says("import", "format 1"),
        frame("length", "the frame says that its age file is a byte shorter", |f| f[4] -= 1).says("import", "format 1"),
        frame("length-most", "the frame says that its age file has 2^32 - 1 bytes", |f| f[4..8].fill(255))
            .says("import", "format 1"),
        frame("behind", "a byte lies behind the age file, within the frame", |f| {
            f.push(0);
            let n = (f.len() - 16) as u32;
            f[4..8].copy_from_slice(&n.to_le_bytes());
        }),
        one("exchanged", &[24, 33, 45], "two segments are exchanged, each in the frame of the other", "tar", {
            let recipe = with([file("a", noise(4, 500)), file("b", "x".repeat(130_000))]);
            recipe.segments(|all| all.swap(0, 1))
        }),
    ]
}

/// Rules 32 and 56.
fn ages() -> Vec<Vector> {
    let to_others = |other: fn() -> Box<dyn age::Recipient>| {
        let mut recipe = small();
        recipe.others[1].push(other());
        recipe
    };
    vec![
        one("two-recipients", &[32], "the segment is encrypted to another recipient too", "age", {
            to_others(|| Box::new(age::x25519::Identity::generate().to_public()))
        }),
        one("ssh-recipient", &[32], "the segment is encrypted to an SSH key too", "age", {
            to_others(|| Box::new(crate::sshsig::HONEST.public().parse::<age::ssh::Recipient>().unwrap()))
        }),
        one("later-recipient", &[32], "a stanza of a type that is not known, and not grease", "age", {
            to_others(|| Box::new(Stanza("later")))
        }),
        vector("segments/grease", &[32], "none: a stanza of grease beside that of the recipient", {
            to_others(|| Box::new(Stanza("vector-grease")))
        })
        .taken(),
        one("another-recipient", &[32], "the segment is encrypted to another recipient alone", "age", {
            instead(|plain| Segment::Sealed(seal(&packed(&plain), &age::x25519::Identity::generate().to_public())))
        }),
        one("stanzas-17", &[56], "the header of the segment has 17 stanzas", "age", {
            instead(|_| Segment::Sealed(stanzas(17, 0)))
        }),
        one("long-header", &[56], "the header of the segment is longer than 4 KiB", "age", {
            instead(|_| Segment::Sealed(stanzas(1, 80)))
        }),
        one(
            "no-age-file",
            &[24, 32],
            "there is no age file in the frame",
            "age",
            instead(|_| Segment::Sealed(vec![b'-'; 300])),
        ),
    ]
}

/// Rule 33.
fn decompressed() -> Vec<Vector> {
    let instead =
        |name: &str, fault: &str, edit: fn(Vec<u8>) -> Segment| one(name, &[33], fault, "zstd", instead(edit));
    vec![
        instead("shorter", "the segment decompresses to a byte less", |p| Segment::Plain(p[..p.len() - 1].to_vec())),
        instead("longer", "the segment decompresses to a byte more", |p| Segment::Plain([p, vec![0]].concat())),
        instead("nothing", "the age file of the segment is empty", |_| Segment::Packed(vec![])),
        instead("bomb", "the segment decompresses to 256 MiB", |_| Segment::Plain(vec![0; 256 << 20])),
        instead("age-file-too-long", "the age file holds more than S and 32 KiB", |p| {
            Segment::Packed([packed(&p), skippable(0x50, &vec![0; (96 << 10) + 1])].concat())
        }),
    ]
}

fn windowed(plain: &[u8], log: u32) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(log).unwrap();
    std::io::Write::write_all(&mut encoder, plain).unwrap();
    encoder.finish().unwrap()
}

fn checked(plain: &[u8]) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
    compressor.include_checksum(true).unwrap();
    compressor.compress(plain).unwrap()
}

/// Rule 73.
fn formats() -> Vec<Vector> {
    let instead = |name: &str, fault: &str, edit: fn(&[u8]) -> Vec<u8>| {
        one(name, &[73], fault, "zstd", instead(move |plain| Segment::Packed(edit(&plain))))
    };
    let taken = |v: Vector| v.taken();
    vec![
        instead("gzip", "the segment is compressed by gzip", |_| {
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0".to_vec()
        }),
        instead("rubbish-behind", "bytes behind the last frame of zstd", |p| [packed(p), b"rubbish".to_vec()].concat()),
        instead("frame-cut-off", "the frame of zstd is cut off", |p| {
            let all = packed(p);
            all[..all.len() - 3].to_vec()
        }),
        instead("dictionary", "the frame of zstd has the number of a dictionary", |p| {
            let mut frame = packed(p);
            frame[4] |= 1;
            frame.insert(if frame[4] & 0x20 == 0 { 6 } else { 5 }, 7);
            frame
        }),
        taken(instead("dictionary-0", "none: the number of the dictionary of a frame is 0, which is none", |p| {
            let mut frame = packed(p);
            frame[4] |= 2;
            let at = if frame[4] & 0x20 == 0 { 6 } else { 5 };
            frame.splice(at..at, [0, 0]);
            frame
        })),
        taken(instead("checksum", "none: the frame has a checksum", checked)),
        instead("checksum-wrong", "the checksum of a frame is that of other bytes", |p| {
            let mut frame = checked(p);
            *frame.last_mut().unwrap() ^= 1;
            frame
        }),
        instead("content-size-wrong", "a frame has one byte less than it says", |p| {
            let mut frame = packed(p);
            // A single segment, whose size stands behind the descriptor in two bytes, less 256.
            assert_eq!(frame[4] >> 5, 3);
            let size = u16::from_le_bytes([frame[5], frame[6]]) + 1;
            frame[5..7].copy_from_slice(&size.to_le_bytes());
            frame
        }),
        instead("window-16-mib", "the window of a frame is 16 MiB", |p| windowed(p, 24)),
        taken(instead("window-8-mib", "none: the window of a frame is 8 MiB", |p| windowed(p, 23))),
        taken(instead("several-frames", "none: several frames, and skippable ones before, between and behind", |p| {
            let parts: Vec<Vec<u8>> = p.chunks(700).map(packed).collect();
            [skippable(0x50, b"abc"), parts.join(&skippable(0x5e, b"")[..]), skippable(0x51, b"x")].concat()
        })),
        taken(
            instead(
                "filter-header-means-nothing",
                "none: filter is zstd, and a frame like a filter header is nothing",
                |p| [skippable(0x5f, b"whatever"), packed(p), skippable(0x5f, b"")].concat(),
            )
            .by(&[55]),
        ),
    ]
}

/// Rules 54 and 55. The stream of the small set has 2560 bytes.
fn filters() -> Vec<Vector> {
    const ALL: u32 = 2560;
    let ranges = |name: &str, rules: &[u32], fault: &str, ranges: Vec<(u32, u8)>| {
        one(name, rules, fault, "filter", planes(move |p| [header(&ranges), packed(p)].concat()))
    };
    let raw = |name: &str, rules: &[u32], fault: &str, edit: fn(&[u8]) -> Vec<u8>| {
        one(name, rules, fault, "filter", planes(edit))
    };
    let mut all = vec![
        ranges("ranges-short", &[54], "the ranges add up to a byte less", vec![(ALL - 1, 1)]),
        ranges("ranges-long", &[54], "the ranges add up to a byte more", vec![(ALL, 1), (1, 1)]),
        ranges(
            "ranges-wrap",
            &[54],
            "the ranges add up to the right length only in 32 bits",
            vec![(u32::MAX, 1), (ALL + 1, 1)],
        ),
        ranges("range-0", &[4, 54], "a range is empty", vec![(0, 1), (ALL, 1)]),
        ranges("ranges-257", &[4, 54], "there are 257 ranges", [vec![(1, 1); 256], vec![(ALL - 256, 1)]].concat()),
        ranges("ranges-0", &[4, 54], "there are no ranges", vec![]),
        raw("ranges-and-a-half", &[54], "the length of the filter header is no multiple of 5", |p| {
            [skippable(0x5f, b"\0\x0a\0\0\x01x"), packed(p)].concat()
        }),
        raw("header-twice", &[55], "there are two filter headers", |p| {
            [header(&[(ALL, 1)]), header(&[(ALL, 1)]), packed(p)].concat()
        }),
        raw("header-behind", &[55], "a filter header stands behind the frames", |p| {
            [packed(p), header(&[(ALL, 1)])].concat()
        }),
        raw("header-second", &[55], "a filter header stands behind another skippable frame", |p| {
            [skippable(0x50, b""), header(&[(ALL, 1)]), packed(p)].concat()
        }),
        raw("longest", &[33], "none: 256 ranges, each in a frame of its own", |p| {
            [header(&[(10, 1); 256]), p.chunks(10).flat_map(packed).collect()].concat()
        })
        .taken(),
    ];
    for (name, shape) in [("0", 0), ("3", 3), ("16", 16), ("81", 0x81), ("82-and-40", 0xc2)] {
        all.push(ranges(&format!("shape-{name}"), &[54], "a range has a shape that is none", vec![(ALL, shape)]));
    }
    all
}
