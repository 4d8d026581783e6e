//! What went in comes out.

use crate::support::*;
use crate::tree;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

#[test]
fn one_directory_comes_back_as_it_was() {
    let vault = Vault::new();
    let set = vault.exported(3_000_000, "2+1");
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
    let report = vault.restores("usb", "checkpoint");
    assert_eq!((text(&report["set"]), number(&report["repaired_blocks"])), (set.id(), 0));
}

#[test]
fn several_sources_and_a_lone_file_appear_under_their_names() {
    let vault = Vault::new();
    vault.make(&["usb", "away", "all"]);
    let (a, b) = (vault.checkpoint("all/a", 300_000), vault.checkpoint("away/b", 200_000));
    fs::write(vault.path("away/notes.txt"), "a lone file").unwrap();
    vault.export("all/a away/b away/notes.txt --to usb --parity 2+1");
    vault.receiver("import usb --to restored").ok();
    tree::assert_same(&a, &vault.path("restored/a"));
    tree::assert_same(&b, &vault.path("restored/b"));
    assert_eq!(fs::read_to_string(vault.path("restored/notes.txt")).unwrap(), "a lone file");
    assert_eq!(names_in(&vault.path("restored")).len(), 3);
}

#[test]
fn a_file_alone_appears_under_its_name() {
    let vault = Vault::new();
    vault.make(&["usb"]);
    fs::write(vault.path("model.gguf"), noise(5, 100_000)).unwrap();
    vault.export("model.gguf --to usb --parity 2+1");
    vault.receiver("import usb --to restored").ok();
    assert_eq!(names_in(&vault.path("restored")), [b"model.gguf"]);
    assert_eq!(tree::hash(&vault.path("restored/model.gguf")), tree::hash(&vault.path("model.gguf")));
}

#[test]
fn without_a_source_the_current_directory_is_exported() {
    let vault = Vault::new();
    vault.make(&["usb"]);
    let here = vault.checkpoint("here", 100_000);
    vault.call("sender", "export --to ../usb --recipients ../keys.txt").at("here").run().ok();
    vault.receiver("import usb --to restored").ok();
    tree::assert_same(&here, &vault.path("restored"));
}

#[test]
fn the_three_lines_work_with_the_current_directory_on_the_drive() {
    let vault = Vault::new();
    let checkpoint = vault.checkpoint("checkpoint", 100_000);
    vault.make(&["usb"]);
    vault.call("sender", "export --to ../usb --recipients ../keys.txt").at("checkpoint").run().ok();
    let set = String::from_utf8(names_in(&vault.path("usb"))[0].clone()).unwrap();
    for (n, place) in ["usb".to_owned(), format!("usb/{set}")].iter().enumerate() {
        let to = vault.path(format!("restored-{n}"));
        vault.call("receiver", "verify").at(place).run().ok().shows("intact");
        vault.call("receiver", "import --to").arg(&to).at(place).run().ok();
        tree::assert_same(&checkpoint, &to);
    }
}

#[test]
fn an_empty_directory_is_a_source_too() {
    let vault = Vault::new();
    vault.make(&["usb", "empty"]);
    tree::set_mode(&vault.path("empty"), 0o750);
    tree::set_mtime(&vault.path("empty"), 1_000_000_000, 7);
    vault.export("empty --to usb");
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
    vault.restores("usb", "empty");
}

#[test]
fn awkward_names_survive() {
    let vault = Vault::new();
    vault.make(&["usb", "odd/-dir", "odd/empty"]);
    let odd = vault.path("odd");
    let long = vec![b'x'; 255];
    for name in [
        b"new\nline".as_slice(),
        b"not-utf8-\xff\xfe",
        &long,
        b"-rf",
        b" ",
        b"*",
        b"\\",
        b"\x1b[31m",
        b"\"quoted\"",
        "\u{fc}n\u{ef}c\u{f6}de".as_bytes(),
        b"...",
        b"-dir/--to",
    ] {
        fs::write(odd.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let mut deep = odd.clone();
    (0..60).for_each(|i| deep.push(format!("level-{i:02}-{}", "d".repeat(12))));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "deep").unwrap();
    fs::write(odd.join("nothing"), "").unwrap();
    vault.export("odd --to usb --parity 2+1");
    vault.restores("usb", "odd");
    let listing = vault.receiver("list usb --json").ok().json();
    let exact = list(&listing["entries"]).iter().find(|e| text(&e["path"]).starts_with("not-utf8")).unwrap().clone();
    assert_eq!(exact["path_bytes"], STANDARD.encode(b"not-utf8-\xff\xfe").as_str());
    let human = vault.receiver("list usb").ok();
    human.check(
        !human.stdout.contains('\x1b') && !human.stdout.contains("new\n") && human.stdout.contains("not-utf8-"),
        "raw bytes of names reach the terminal",
    );
}

#[test]
fn hard_links_stay_hard_links() {
    let vault = Vault::new();
    vault.make(&["usb", "linked/b"]);
    let dir = vault.path("linked");
    fs::write(dir.join("a"), noise(3, 200_000)).unwrap();
    fs::hard_link(dir.join("a"), dir.join("b/again")).unwrap();
    fs::hard_link(dir.join("a"), dir.join("z")).unwrap();
    let set = vault.export("linked --to usb --parity 2+1");
    assert!(number(&set.report["bytes_in"]) < 300_000, "the contents travel once");
    vault.restores("usb", "linked");
}

#[test]
fn holes_stay_holes_and_cost_nothing() {
    let vault = Vault::new();
    vault.make(&["usb", "sparse"]);
    let path = vault.path("sparse/sparse.bin");
    let file = File::create(&path).unwrap();
    file.set_len(1 << 30).unwrap();
    for (i, at) in [0u64, 5 << 20, (5 << 20) + 300_000, (1 << 30) - 70_000].into_iter().enumerate() {
        file.write_all_at(&noise(i as u64, 10_000), at).unwrap();
    }
    file.sync_all().unwrap();
    File::create(vault.path("sparse/all-hole")).unwrap().set_len(64 << 20).unwrap();
    if tree::allocated(&path) > 4 << 20 {
        return skip("needs a file system with sparse files");
    }
    let set = vault.export("sparse --to usb --parity 2+1");
    assert!(number(&set.report["bytes_out"]) < 8 << 20, "{}", set.report);
    vault.restores("usb", "sparse");
    vault.receiver("import usb --to copy").ok();
    assert!(tree::allocated(&vault.path("copy/sparse.bin")) <= tree::allocated(&path) + (256 << 10));
}

#[test]
fn modes_and_times_survive_to_the_nanosecond() {
    let vault = Vault::new();
    vault.make(&["usb", "meta/closed", "meta/shared"]);
    let modes: &[u32] = if is_root() { &[0o400, 0o755, 0o644, 0o000, 0o1644] } else { &[0o400, 0o755, 0o644] };
    let times = [(0, 1), (1_700_000_000, 999_999_999), (-1, 0), (-86_400 * 365 * 5, 123_456_789), (4_500_000_000, 5)];
    for (i, time) in times.iter().enumerate() {
        let path = vault.path(format!("meta/file-{i}"));
        fs::write(&path, noise(i as u64, 1000 * i)).unwrap();
        tree::set_mtime(&path, time.0, time.1);
        tree::set_mode(&path, modes[i % modes.len()]);
    }
    for (dir, mode) in [("meta/closed", 0o500), ("meta/shared", 0o3775), ("meta", 0o711)] {
        tree::set_mode(&vault.path(dir), mode);
        tree::set_mtime(&vault.path(dir), 1_234_567_890, 987_654_321);
    }
    vault.export("meta --to usb --parity 1+1");
    vault.restores("usb", "meta");
}

#[test]
fn extended_attributes_survive() {
    let vault = Vault::new();
    let dir = vault.checkpoint("checkpoint", 100_000);
    vault.make(&["usb"]);
    let set = [
        ("config.json", "user.origin", &b"hub"[..]),
        ("step-100", "user.note", b"\xff\x00\n"),
        ("step-100/done", "user.empty", b""),
    ];
    if !set.iter().all(|(path, name, value)| tree::set_xattr(&dir.join(path), name, value)) {
        return skip("needs a file system with user.* extended attributes");
    }
    vault.export("checkpoint --to usb --parity 2+1");
    assert_eq!(number(&vault.restores("usb", "checkpoint")["lost_attributes"]["count"]), 0);
}

#[test]
fn many_groups() {
    let vault = Vault::new();
    let set = vault.exported(20_000_000, "2+1");
    assert!(list(&set.report["groups"]).len() >= 5, "{}", set.report["groups"]);
    let longest = set.volumes().iter().map(|p| fs::metadata(p).unwrap().len()).max();
    assert!(longest <= Some(2 << 20));
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
    vault.restores("usb", "checkpoint");
}

#[test]
fn tar_streams_of_boundary_lengths() {
    let vault = Vault::new();
    const SEGMENT: usize = 64 << 10;
    const AROUND: usize = 512 + 1024;
    for (n, len) in [
        SEGMENT - AROUND - 1,
        SEGMENT - AROUND,
        SEGMENT - AROUND + 1,
        2 * SEGMENT - AROUND,
        SEGMENT - 512,
        SEGMENT,
        3 * SEGMENT + 1,
    ]
    .into_iter()
    .enumerate()
    {
        let (drive, name) = (format!("usb-{n}"), format!("sized-{n}"));
        vault.make(&[&drive, &name]);
        fs::write(vault.path(&name).join("f"), noise(9, len)).unwrap();
        vault.export(&format!("{name}/f --to {drive} --parity 2+1 --no-read-back"));
        let to = format!("restored-{n}");
        vault.receiver(&format!("import {drive} --to {to}")).ok();
        assert_eq!(tree::hash(&vault.path(to).join("f")), tree::hash(&vault.path(name).join("f")), "{len}");
    }
}

#[test]
fn files_of_boundary_lengths() {
    let vault = Vault::new();
    vault.make(&["usb", "sizes"]);
    for base in [0usize, 512, 1024, 65_536 - 512, 65_536, 131_072] {
        for len in [base.saturating_sub(1), base, base + 1] {
            fs::write(vault.path(format!("sizes/{len:07}")), noise(len as u64, len)).unwrap();
        }
    }
    vault.export("sizes --to usb --parity 3+2");
    vault.restores("usb", "sizes");
}

#[test]
fn the_smallest_the_widest_and_the_default_parity() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 1_000_000);
    for parity in ["1+1", "254+1", "16+2", "1+254"] {
        let drive = format!("usb-{parity}");
        vault.make(&[&drive]);
        let set = vault.export(&format!("checkpoint --to {drive} --parity {parity} --no-read-back"));
        let (k, m) = parity.split_once('+').unwrap();
        assert_eq!(
            (set.report["groups"][0]["k"].to_string(), set.report["groups"][0]["m"].to_string()),
            (k.into(), m.into())
        );
        assert_eq!(vault.verdict(&drive)["verdict"], "intact");
        vault.restores(&drive, "checkpoint");
    }
}

#[test]
fn few_data_volumes_with_much_parity_do_not_stop_for_want_of_memory() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 8_800_000);
    vault.make(&["usb"]);
    // Segments of 512 KiB on stripes of 64 KiB: several frames that were waited for are dealt at once.
    vault
        .sender("export checkpoint --to usb --recipients keys.txt --parity 2+128 --volume-size 8M --no-read-back")
        .ok();
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
}

#[test]
fn only_what_matches_is_restored() {
    let vault = Vault::new();
    vault.make(&["usb"]);
    let dir = vault.checkpoint("checkpoint", 1_000_000);
    fs::hard_link(dir.join("model.safetensors"), dir.join("zz-link")).unwrap();
    vault.export("checkpoint --to usb --parity 2+1");
    let only = |n: u32, globs: &str| {
        let to = vault.path(format!("only-{n}"));
        vault.receiver(&format!("import usb {globs} --to only-{n}")).ok();
        names_in(&to).into_iter().map(|n| String::from_utf8(n).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(only(1, "--only config.json"), ["config.json"]);
    assert_eq!(only(2, "--only step-100"), ["step-100"]);
    tree::assert_same(&dir.join("step-100"), &vault.path("only-2/step-100"));
    assert_eq!(only(3, "--only zz-*"), ["zz-link"]);
    assert_eq!(tree::hash(&vault.path("only-3/zz-link")), tree::hash(&dir.join("model.safetensors")));
    assert_eq!(only(4, "--only *.json --only step-100/done"), ["config.json", "step-100"]);
    assert_eq!(names_in(&vault.path("only-4/step-100")), [b"done"]);
    vault.refuses("usb --only nothing-like-it", 2);
    vault.refuses("usb --only [", 2);
}
