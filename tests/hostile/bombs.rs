//! Little that becomes much: what inflates, what nests, and what is there ten million times. Each within 1 GiB of address space
//! (see `site.rs`) and half a minute of a processor.

use crate::cases::{refuse, small, with};
use crate::compose::{Recipe, Segment};
use crate::site::{Ran, Site};
use crate::ustar::*;
use std::io::Write;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

/// Import alone meets the set, within the limits, and refuses it.
#[track_caller]
fn stops(name: &str, recipe: &Recipe, why: &str) -> Ran {
    let site = Site::new();
    site.compose(recipe, 1);
    let ran = site.run("import");
    eprintln!("{name}: {:?}, {} KiB", ran.took, ran.peak);
    assert!(ran.stderr.contains(why), "{name}: not refused because of {why:?}\n{ran}");
    assert!(ran.took < LIMIT, "{name}: {ran}");
    assert!(std::fs::read_dir(site.path("place")).unwrap().next().is_none(), "{name}: something is left\n{ran}");
    ran.ends(1)
}

/// Import does, and recover.py in the same memory, before it is taken to hang.
#[track_caller]
fn stops_both(name: &str, recipe: &Recipe, why: &str) -> Ran {
    let ran = stops(name, recipe, why);
    let site = Site::new();
    site.compose(recipe, 1);
    let took = crate::recover::refuses_too(&site, why);
    eprintln!("{name}: {took:?} of recover.py");
    ran
}

/// So much of one byte, as zstd has it.
fn packed(byte: u8, mib: usize, declared: bool) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    if declared {
        encoder.set_pledged_src_size(Some((mib as u64) << 20)).unwrap();
        encoder.include_contentsize(true).unwrap();
    }
    let chunk = vec![byte; 1 << 20];
    (0..mib).for_each(|_| encoder.write_all(&chunk).unwrap());
    encoder.finish().unwrap()
}

#[test]
fn segments_that_inflate() {
    for declared in [true, false] {
        let one = move |mib: usize| small().segments(move |all| all[0] = Segment::Packed(packed(0, mib, declared)));
        refuse(vec![("a MiB", one(1), 1, "does not open"), ("a GiB", one(1024), 1, "does not open")]);
    }
    // Many frames, each of a size that fits.
    let many = small().segments(|all| {
        let one = zstd::bulk::compress(&[0; 65536], 1).unwrap();
        all[0] = Segment::Packed(one.repeat(3000));
    });
    refuse(vec![("many frames", many, 1, "does not open")]);
}

#[test]
fn an_inventory_without_an_end() {
    let endless =
        |byte: u8, mib: usize| small().with_edit(|r| &mut r.edit_packed, move |p| *p = packed(byte, mib, false));
    stops_both("8 GiB without a line feed", &endless(b'a', 8192), "length of a line");
    stops("8 GiB of blanks", &endless(b' ', 8192), "length of a line");
    stops("1 GiB of line feeds", &endless(b'\n', 1024), "not well-formed");
    let long = small().lines(|lines| lines[2] = vec![b'{'; 70 << 20]);
    stops_both("a line of 70 MiB", &long, "length of a line");
}

#[test]
fn a_window_that_needs_gigabytes() {
    let windowed = |log: u32| {
        small().inventory(|_, _| Ok(())).with_edit(
            |r| &mut r.edit_packed,
            move |packed| {
                let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
                encoder.window_log(log).unwrap();
                encoder.write_all(&[b'x'; 1000]).unwrap();
                *packed = encoder.finish().unwrap();
            },
        )
    };
    stops("a window of 2 GiB", &windowed(31), "inventory.age");
    stops("a window of 256 MiB", &windowed(28), "inventory.age");
    stops("a window of 128 MiB", &windowed(27), "not well-formed");
}

/// A line that fits, and of which a parser makes a hundred times as much.
#[test]
fn lines_that_grow_when_they_are_parsed() {
    const MIB: usize = 1 << 20;
    let line = |open: &'static str, each: &'static str, close: &'static str, mib: usize| {
        small().lines(move |lines| {
            let head =
                format!("{{\"path\":\"a\",\"kind\":\"file\",\"mode\":0,\"mtime\":[0,0],\"offset\":512,\"x\":{open}");
            let mut text = head.into_bytes();
            while text.len() + each.len() < mib * MIB - 100 {
                text.extend(each.bytes());
            }
            text.extend(close.bytes());
            text.push(b'}');
            lines[2] = text;
        })
    };
    for mib in [1, 15, 63] {
        for (name, open, each, close) in [
            ("numbers", "[", "1,", "1]"),
            ("texts", "[", "\"\",", "\"\"]"),
            ("lists", "[", "[],", "[]]"),
            ("pairs", "[", "[0,1],", "[0,1]]"),
            ("objects", "[", "{},", "{}]"),
            ("nested lists", "[", "[[[[[[]]]]]],", "[]]"),
            ("fields", "{", "\"\":1,", "\"\":1}"),
            ("fields of the entry", "1", ",\"\":1", ""),
            ("extents", "1,\"size\":5,\"extents\":[", "[0,1],", "[0,1]]"),
            ("attributes", "1,\"xattrs\":[", "[\"\",\"\"],", "[\"\",\"\"]]"),
        ] {
            let name = format!("{mib} MiB of {name}");
            let meets = if mib == 15 && each.starts_with('[') { stops_both } else { stops };
            meets(&name, &line(open, each, close, mib), "inventory.age");
        }
    }
}

#[test]
fn json_that_nests() {
    let deep = |open: &str, close: &str| open.repeat(100_000) + "1" + &close.repeat(100_000);
    let (lists, objects) = (deep("[", "]"), deep("{\"a\":", "}"));
    let ignored = |nested: &str| {
        [
            small().signed("\"tool\":", &format!("\"x\":{nested},\"tool\":")),
            small().text(0, "\"entries\":", &format!("\"x\":{nested},\"entries\":")),
            small().text(2, "\"mode\":", &format!("\"x\":{nested},\"mode\":")),
            small().text(3, "\"bytes\":", &format!("\"x\":{nested},\"bytes\":")),
        ]
    };
    // What has no meaning is passed over; but a reader must not have to be careful with it.
    harmless(ignored(&("[".repeat(63) + &"]".repeat(63))));
    refuse(ignored(&lists).into_iter().map(|recipe| ("too deep", recipe, 1, "depth of JSON")).collect());
    for nested in [lists, objects] {
        refuse(vec![
            ("as the tool", small().signed("\"tool\":", &format!("\"tool\":{nested},\"x\":")), 1, "manifest.json"),
            ("as a path", small().text(2, "\"path\":\"a\"", &format!("\"path\":{nested}")), 1, "inventory.age"),
            (
                "as extents",
                small().text(2, "\"size\":5", &format!("\"size\":5,\"extents\":{nested}")),
                1,
                "inventory.age",
            ),
        ]);
    }
    let unclosed = "[".repeat(1 << 20);
    refuse(vec![("unclosed", small().text(2, "{", &unclosed), 1, "inventory.age")]);
}

#[test]
fn manifests_that_grow_when_they_are_parsed() {
    let much = |each: &'static str, mib: usize| each.repeat((mib << 20) / each.len());
    refuse(vec![
        (
            "features",
            small().signed("\"critical\":[", &format!("\"critical\":[{}", much("\"\",", 60) + "\"\"")),
            1,
            "manifest.json",
        ),
        (
            "ignored",
            small().signed("\"critical\":[", &format!("\"x\":[{}1],\"critical\":[1", much("1,", 60))),
            1,
            "manifest.json",
        ),
        (
            "groups",
            small().signed("\"groups\":[", &format!("\"groups\":[{}", much("{\"k\":1,\"m\":1,\"volumes\":[]},", 60))),
            1,
            "more than 65536 elements",
        ),
    ]);
    let large = small().signed("\"tool\":\"", &format!("\"tool\":\"{}", "x".repeat(64 << 20)));
    let site = Site::new();
    site.compose(&large, 1);
    site.refuses_what_is_there(5, "has no manifest");
}

/// As many entries as are really there.
fn entries(count: usize, path: usize) -> Recipe {
    small().inventory(move |lines, out| {
        let head = String::from_utf8(lines[0].clone()).unwrap();
        writeln!(out, "{}", head.replace("\"entries\":2", &format!("\"entries\":{count}")))?;
        let (before, after) = ("{\"path\":\"", "\",\"kind\":\"dir\",\"mode\":493,\"mtime\":[0,0],\"offset\":0}\n");
        let line = before.to_owned() + &"n".repeat(path) + after;
        (0..count).try_for_each(|_| out.write_all(line.as_bytes()))?;
        lines[3..].iter().try_for_each(|l| writeln!(out, "{}", String::from_utf8_lossy(l)))
    })
}

/// What has no meaning is passed over.
#[track_caller]
fn harmless(recipes: impl IntoIterator<Item = Recipe>) {
    for recipe in recipes {
        let site = Site::new();
        site.compose(&recipe, 1);
        site.run("verify").ends(0);
        site.run("import").ends(0);
    }
}

#[test]
fn ten_million_entries() {
    refuse(vec![("declared", small().field(0, "entries", 10_000_000), 1, "entries is 10000000")]);
    stops("ten million entries", &entries(10_000_000, 1), "entries is 10000000");
    // Promised as few, they are not even counted to the end.
    let more = |lines: &[Vec<u8>], out: &mut dyn Write| {
        lines.iter().take(3).try_for_each(|l| writeln!(out, "{}", String::from_utf8_lossy(l)))?;
        (0..10_000_000).try_for_each(|_| out.write_all(b"{\"path\":\"a\"}\n"))
    };
    stops("ten million more", &small().inventory(more), "inventory.age");
    // As many as there may be, and as much. This takes what the limits allow, which is more than the other cases may take.
    let site = Site::new().with_memory(3 << 20);
    for (count, path, why) in
        [(1 << 22, 20, "twice"), (1 << 19, 4000, "twice"), (1 << 20, 4000, "length of the inventory")]
    {
        site.compose(&entries(count, path), 1);
        let ran = site.run("import").ends(1);
        eprintln!("{count} entries with paths of {path} bytes: {:?}, {} KiB", ran.took, ran.peak);
        assert!(ran.stderr.contains(why) && ran.took < LIMIT, "{ran}");
    }
}

/// Segments that are promised, each in its place, and that no volume has room for.
#[test]
fn forty_million_segments() {
    let recipe = small().inventory(|lines, out| {
        let head = String::from_utf8(lines[0].clone()).unwrap();
        writeln!(
            out,
            "{}",
            head.replace("\"entries\":2", "\"entries\":0").replace("\"segments\":1", "\"segments\":40000000")
        )?;
        (0..40_000_000u64).try_for_each(|n| {
            writeln!(out, "{{\"segment\":{n},\"group\":0,\"volume\":0,\"offset\":{},\"bytes\":17}}", 65536 + 17 * n)
        })
    });
    let recipe = recipe.manifest(|m| m["volume_bytes"] = (1u64 << 46).into());
    stops("forty million segments", &recipe, "length of the inventory");
}

/// Links that take their time: each is followed through as many components as a path has.
#[test]
fn links_that_are_long_to_follow() {
    let target = "x/".repeat(2040);
    let many = (0..20_000).map(move |i| symlink(format!("{i:05}"), target.clone() + &format!("{i}")));
    let mut all: Vec<Item> = many.collect();
    all.push(symlink("z", ".."));
    stops_both("20000 long links", &with(all), "take too long to follow");
}

/// Deep paths: each parent is looked up by its whole name.
#[test]
fn deep_paths_by_the_thousand() {
    let mut all: Vec<Item> = (1..2040).map(|n| dir("a/".repeat(n).trim_end_matches('/'))).collect();
    let deep = "a/".repeat(2039);
    all.extend((0..10_000).map(|i| file(format!("{deep}{i:05}"), "")));
    all.push(symlink("z", ".."));
    // A third of what it took when each was climbed.
    let ran = stops("10000 deep paths", &with(all), "leaves the target");
    assert!(ran.took < LIMIT / 5, "{ran}");
}
