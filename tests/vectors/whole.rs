//! Sets with no fault: what a reader must take, in all its forms.

use crate::compose::{Recipe, Segment};
use crate::edits::{small, with};
use crate::ustar::{Item, Kind, dir, file, hardlink, item, symlink};
use crate::vector::{Vector, noise, vector};

fn sparse(name: &str, size: u64, data: Vec<(u64, Vec<u8>)>) -> Item {
    item(name, Kind::Sparse(size, data))
}

pub fn with_attributes(all: &[(&[u8], &[u8])]) -> Recipe {
    let mut item = file("a", "hello");
    item.xattrs = all.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    with([item])
}

fn timed(seconds: i64, nanoseconds: u32) -> Recipe {
    let mut item = file("a", "hello");
    item.mtime = (seconds, nanoseconds);
    with([item])
}

fn moded(mode: u32) -> Recipe {
    let mut item = file("a", "hello");
    item.mode = mode;
    with([item])
}

/// Two groups of one data volume, as small as they can be: half of each volume is its header page.
fn two_groups() -> Recipe {
    let recipe = with([file("a", noise(1, 1_050_000))]);
    Recipe { segment_bytes: 256 << 10, block_bytes: 1 << 20, ..recipe }
}

pub fn all() -> Vec<Vector> {
    let mut all = shapes();
    all.extend(entries());
    all.into_iter().map(Vector::taken).collect()
}

fn shapes() -> Vec<Vector> {
    let text = || with([file("a", "hello ".repeat(30_000))]);
    vec![
        vector("whole/minimal", &[1, 3, 14, 20, 22, 31, 34], "none: a directory and a file of five bytes", small()),
        vector("whole/without-a-label", &[5], "none: no label, and so a directory that is named by the id alone", {
            Recipe { label: None, ..small() }
        }),
        vector("whole/no-entries", &[36], "none: an inventory without entries, and a stream that is its end", {
            Recipe::new(vec![])
        }),
        vector("whole/one-file-alone", &[39, 41], "none: one file, without the directory that was exported", {
            Recipe::new(vec![file("a", "hello")])
        }),
        vector("whole/a-directory-alone", &[36], "none: an empty directory", with([])),
        vector("whole/three-data-two-parity", &[25, 26], "none: three data volumes and two of parity", {
            text().shape(3, 2)
        }),
        vector(
            "whole/volumes-without-frames",
            &[25, 30],
            "none: two of three data volumes are their header page alone",
            small().shape(3, 1),
        ),
        vector("whole/on-two-drives", &[9], "none: the volumes lie on two drives", text().shape(3, 2)).on(2),
        vector("whole/a-drive-without-volumes", &[9], "none: the third drive has no volume", small()).on(3),
        vector("whole/two-groups", &[25, 30, 86], "none: two groups, and blocks of 1 MiB", two_groups()),
        vector(
            "whole/largest-segments-one-block",
            &[88, 36],
            "none: segment_bytes is 8 MiB, and there is one segment",
            Recipe { segment_bytes: 8 << 20, ..small() },
        ),
        vector("whole/largest-segments", &[88, 36], "none: segment_bytes is 8 MiB, and there are two segments", {
            Recipe { segment_bytes: 8 << 20, ..with([file("zeros", vec![0; 9 << 20])]) }
        }),
        vector("whole/created-in-year-0", &[5], "none: created at the beginning of the year 0", {
            small().manifest(|m| m["created"] = "0000-01-01T00:00:00Z".into())
        }),
        vector("whole/created-on-a-leap-day", &[5], "none: created on a 29th of February", {
            small().manifest(|m| m["created"] = "2000-02-29T23:59:59Z".into())
        }),
        vector("whole/blanks-in-the-manifest", &[3, 84], "none: blanks between the words of the manifest", {
            small().signed("\"critical\":[]", " \"critical\"\t:\r\n[ ]")
        }),
        vector("whole/escapes-in-the-manifest", &[60, 64], "none: a name of a field and a value with escapes", {
            small().signed("\"label\":\"hostile\"", "\"l\\u0061bel\":\"h\\u006fstile\"")
        }),
    ]
}

fn entries() -> Vec<Vector> {
    let long = || "d".repeat(60) + "/" + &"f".repeat(60);
    vec![
        vector("whole/every-kind-of-entry", &[36, 45, 46], "none: an entry of each kind", {
            with([
                file("a", "hello"),
                hardlink("b", "a"),
                dir("d"),
                file("d/c", "below"),
                file("empty", ""),
                sparse("holes", 1 << 20, vec![(4096, vec![7; 512])]),
                symlink("l", "d/c"),
            ])
        }),
        vector("whole/hard-links", &[42, 68], "none: three names of one file", {
            with([file("a", "x"), hardlink("b", "a"), dir("d"), hardlink("d/c", "a")])
        }),
        vector(
            "whole/sparse-all-hole",
            &[37, 51],
            "none: a file that is all hole",
            with([sparse("a", 1 << 20, vec![])]),
        ),
        vector(
            "whole/sparse-ends-with-data",
            &[37],
            "none: the last extent ends with the file, at no multiple of 512",
            with([sparse("a", 70_000, vec![(0, vec![1; 512]), (69_632, vec![2; 368])])]),
        ),
        vector("whole/sparse-four-stretches", &[45], "none: a map that fits into the header", {
            with([sparse("a", 1 << 16, (0..3).map(|i| (i * 8192, vec![3; 1024])).collect())])
        }),
        vector("whole/sparse-many-stretches", &[45], "none: a map of 41 stretches, in two extension headers", {
            with([sparse("a", 1 << 20, (0..40).map(|i| (i * 8192, vec![i as u8; 512])).collect())])
        }),
        vector("whole/names-not-utf8", &[64], "none: a path and a target that are not UTF-8", {
            with([file(b"a-\xff", "x"), dir(b"d\xfe"), symlink(b"l\xc0\xaf", b"a-\xff")])
        }),
        vector("whole/odd-names", &[39, 64], "none: names that look dangerous, and are not", {
            let names = ["\n", "\u{1b}[2J", "$(x)", "%s", "-rf", "...", "C:\\x", "\u{202e}gpj.exe", "~"];
            with(names.iter().map(|name| file(name, name)))
        }),
        vector("whole/long-names", &[45], "none: a path and a target of more than 100 bytes", {
            with([dir("d".repeat(60)), file(long(), "x"), symlink("l", long()), hardlink("m", long())])
        }),
        vector("whole/names-of-100-bytes", &[45], "none: a path and a target of exactly 100 bytes", {
            with([file("n".repeat(100), "x"), symlink("l", "n".repeat(100))])
        }),
        vector(
            "whole/component-of-255-bytes",
            &[39],
            "none: a component of 255 bytes",
            with([file("n".repeat(255), "x")]),
        ),
        vector("whole/attributes", &[48, 66], "none: two extended attributes in order, one value is not UTF-8", {
            with_attributes(&[(b"user.a", b"1"), (b"user.b", b"\xff\0")])
        }),
        vector("whole/time-before-1970", &[45], "none: a file that is older than 1970", timed(-1, 999_999_999)),
        vector("whole/time-after-2242", &[45], "none: a time that octal digits have no room for", timed(1 << 33, 0)),
        vector(
            "whole/set-user-id",
            &[49],
            "none: a file with the set-user-id and set-group-id bits, which are not restored",
            moded(0o6755),
        ),
        vector(
            "whole/set-group-id-of-a-directory",
            &[49],
            "none: of a directory the set-group-id bit is restored, and the set-user-id bit is not",
            {
                let mut special = dir("d");
                special.mode = 0o6755;
                with([special, file("d/a", "hello")])
            },
        ),
        vector(
            "whole/link-to-nowhere",
            &[43],
            "none: a link to what the set does not have",
            with([symlink("l", "no/such")]),
        ),
        vector("whole/link-in-a-circle", &[43], "none: a link to itself", with([symlink("l", "l")])),
        vector("whole/link-up-and-down-again", &[43], "none: a link that goes up no further than the top", {
            with([file("a", "x"), dir("d"), symlink("d/l", "../a")])
        }),
        vector(
            "whole/links-41",
            &[43],
            "none: a chain of 41 links, of which the last would leave: the way ends before",
            {
                let name = |i: usize| format!("l{i:02}");
                with((0..40).map(|i| symlink(name(i), name(i + 1))).chain([symlink("l40", "x")]))
            },
        ),
        vector("whole/planes", &[54, 55], "none: filter planes, with ranges of each shape, rotated and not", planes()),
        vector("whole/planes-without-a-header", &[54], "none: filter planes, and a segment that was not rearranged", {
            small().manifest(|m| m["filter"] = "planes".into())
        }),
    ]
}

/// A range in planes, as the page describes it.
fn rearranged(bytes: &[u8], width: usize, rotated: bool) -> Vec<u8> {
    let words = bytes.len() / width;
    let mut out = Vec::new();
    let word = |i: usize| {
        let mut all = [0; 8];
        all[..width].copy_from_slice(&bytes[i * width..][..width]);
        let (value, bits) = (u64::from_le_bytes(all), 8 * width as u32);
        let turned =
            if bits == 64 { value.rotate_left(1) } else { (value << 1 | value >> (bits - 1)) & ((1 << bits) - 1) };
        if rotated { turned } else { value }.to_le_bytes()
    };
    (0..width).for_each(|plane| out.extend((0..words).map(|i| word(i)[plane])));
    out.extend(&bytes[words * width..]);
    out
}

/// A segment as filter planes leaves it, compressed, with ranges of each shape.
pub fn in_planes(plain: &[u8]) -> Vec<u8> {
    let shapes: [(usize, bool); 7] = [(1, false), (2, false), (4, false), (8, false), (2, true), (4, true), (8, true)];
    let (mut ranges, mut bytes, mut rest) = (Vec::new(), Vec::new(), plain);
    for (i, (width, rotated)) in shapes.into_iter().enumerate() {
        let length = if i + 1 < shapes.len() { 601 } else { rest.len() };
        ranges.extend((length as u32).to_le_bytes());
        ranges.push(width as u8 | if rotated { 0x80 } else { 0 });
        bytes.extend(rearranged(&rest[..length], width, rotated));
        rest = &rest[length..];
    }
    let header = [&b"\x5f\x2a\x4d\x18"[..], &(ranges.len() as u32).to_le_bytes(), &ranges].concat();
    [header, zstd::bulk::compress(&bytes, 1).unwrap()].concat()
}

fn planes() -> Recipe {
    let recipe = with([file("a", noise(3, 4000))]).manifest(|m| m["filter"] = "planes".into());
    recipe.segments(|all| {
        let [Segment::Plain(plain)] = &all[..] else { panic!("one segment") };
        all[0] = Segment::Packed(in_planes(plain));
    })
}
