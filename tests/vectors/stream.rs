//! The tar stream, which must be the one that the inventory gives.

use crate::compose::{Recipe, Segment};
use crate::edits::{small, with};
use crate::ustar::{Item, Kind, dir, file, hardlink, item, symlink};
use crate::vector::{Vector, vector};

/// Where the header and the contents of the file of [`small`] begin.
const HEADER: usize = 512;
const CONTENTS: usize = 1024;

fn one(name: &str, fault: &str, recipe: Recipe) -> Vector {
    vector(format!("stream/{name}"), &[45], fault, recipe).unpacked("tar")
}

/// Sets a byte of the header, and its sum.
fn summed(at: usize, value: u8) -> Recipe {
    small().tar(move |tar| {
        let header = &mut tar[HEADER..CONTENTS];
        header[at] = value;
        sum(header);
    })
}

fn sum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
}

fn set(at: usize, value: u8) -> Recipe {
    small().tar(move |tar| tar[at] = value)
}

fn sparse(at: u64) -> Item {
    item("holes", Kind::Sparse(1 << 20, vec![(at, vec![7; 512])]))
}

pub fn all() -> Vec<Vector> {
    let shows = |items: Vec<Item>| small().shows([vec![dir("")], items].concat());
    let changed = |edit: fn(&mut Item)| {
        let mut item = file("a", "hello");
        edit(&mut item);
        small().shows(vec![dir(""), item])
    };
    vec![
        one("another-name", "the header has another name", shows(vec![file("b", "hello")])),
        one("path-up", "the header has a path that leads up", shows(vec![file("../a", "hello")])),
        one("another-size", "the header has another size", shows(vec![file("a", "hell")])),
        one(
            "another-kind",
            "the header is that of a link",
            with([file("a", "")]).shows(vec![dir(""), symlink("a", "/etc")]),
        ),
        one("hard-link-in-place-of-a-file", "the header is that of a hard link", {
            with([file("a", "")]).shows(vec![dir(""), hardlink("a", "/etc/passwd")])
        }),
        one("another-target", "the header of a link has another target", {
            with([symlink("l", "x")]).shows(vec![dir(""), symlink("l", "y")])
        }),
        one("another-mode", "the header has the set-user-id bit", changed(|i| i.mode = 0o4644)),
        one("another-time", "the header has another time", changed(|i| i.mtime.0 = 1)),
        one("device", "the type is a character device", summed(156, b'3')),
        one("old-type", "the type is a zero byte, as in old files", summed(156, 0)),
        one("owner", "the header has an owner", summed(114, b'1')),
        one("name-of-the-owner", "the header names an owner", summed(265, b'r')),
        one("prefix", "the field for the beginning of a name is used", summed(345, b'/')),
        one("end-of-header", "the last byte of the header is not 0", summed(511, 1)),
        one("sum", "the sum of the header is wrong", set(HEADER + 150, b'7')),
        one("magic", "the magic is that of POSIX", summed(263, b'0')),
        one("name-padding", "a byte behind the end of the name", summed(50, 1)),
        one("padding", "a byte behind the contents", set(CONTENTS + 5, b'!')),
        one("end", "a byte in the 1024 zero bytes at the end", set(CONTENTS + 512 + 1023, 1)),
        one("no-slash", "the path of a directory has no slash", {
            with([dir("d")]).tar(|tar| {
                tar[HEADER + 1] = 0;
                sum(&mut tar[HEADER..CONTENTS]);
            })
        }),
        one("holes-elsewhere", "the map of a sparse file has another extent", {
            with([sparse(4096)]).shows(vec![dir(""), sparse(8192)])
        }),
        one("long-name", "the record of a long name has another name", {
            let long = |end: &str| file("n".repeat(149) + end, "");
            with([long("n")]).shows(vec![dir(""), long("m")])
        }),
        one("exchanged", "two files are exchanged", {
            with([file("a", "1"), file("b", "2")]).shows(vec![dir(""), file("b", "2"), file("a", "1")])
        }),
        vector("stream/an-entry-more", &[33], "an entry more stands where the stream should end", {
            small().segments(|all| {
                let [Segment::Plain(tar)] = &mut all[..] else { panic!("one segment") };
                tar.extend(file("evil", "x").tar());
                tar.extend([0; 1024]);
            })
        })
        .unpacked("zstd"),
        vector("stream/contents", &[46], "the contents of a file do not have its hash", set(CONTENTS, b'H'))
            .unpacked("files"),
        vector(
            "stream/last-contents",
            &[46, 47],
            "of three files the last does not have its hash: nothing gets its name",
            with([file("a", "1"), file("b", "2"), file("c", "3")]).field(4, "blake3", "0".repeat(64)),
        )
        .unpacked("files"),
        vector(
            "stream/sparse-hash-with-holes",
            &[46],
            "the hash of a sparse file is that of the file with its holes",
            {
                let mut whole = vec![0; 1 << 20];
                whole[4096..4608].fill(7);
                with([sparse(4096)]).field(2, "blake3", blake3::hash(&whole).to_string())
            },
        )
        .unpacked("files"),
    ]
}
