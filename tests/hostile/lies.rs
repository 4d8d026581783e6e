//! Statements that contradict each other, or what is really there; each is signed.

use crate::cases::{Case, refuse, small, with};
use crate::compose::{Recipe, Segment};
use crate::site::Site;
use crate::ustar::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Where the header of the file of [`small`] begins in the tar stream.
const HEADER: usize = 512;
const CONTENTS: usize = 1024;

#[test]
fn entries_that_do_not_lie_where_the_stream_has_them() {
    let layout = "does not lie where the tar stream has it";
    let three = || with([file("a", "1"), file("b", "2"), file("c", "3")]);
    refuse(vec![
        ("two at one offset", three().field(3, "offset", 512), 1, layout),
        ("overlapping", three().field(3, "offset", 1024), 1, layout),
        ("a gap", three().field(3, "offset", 2048), 1, layout),
        ("unaligned", three().field(3, "offset", 1537), 1, layout),
        ("the first is not first", three().field(1, "offset", 512), 1, layout),
        ("past the end", three().field(4, "offset", 1u64 << 40), 1, layout),
        ("out of order", three().lines(|lines| lines.swap(2, 3)), 1, layout),
        ("longer stream", small().field(0, "tar_bytes", 3072), 1, "does not have the length"),
        ("shorter stream", small().field(0, "tar_bytes", 2048), 1, "does not have the length"),
        ("unaligned stream", small().field(0, "tar_bytes", 2561), 1, "does not have the length"),
        ("larger file", small().field(2, "size", 513), 1, "does not have the length"),
        ("empty file", small().field(2, "size", 0), 1, "does not have the length"),
    ]);
}

#[test]
fn lines_that_are_missing_or_too_many() {
    let ends = "ends before all of its lines have come";
    let dealing = "does not lie where dealing puts it";
    refuse(vec![
        ("no line", small().lines(Vec::clear), 1, "the inventory is empty"),
        ("no segment", small().lines(|l| drop(l.pop())), 1, ends),
        ("no entry", small().field(0, "entries", 3), 1, "inventory.age"),
        ("one entry less", small().field(0, "entries", 1), 1, "inventory.age"),
        ("no entries, and none promised", small().lines(|l| l.truncate(1)), 1, ends),
        ("two segments promised", small().field(0, "segments", 2), 1, ends),
        ("a segment twice", small().lines(|l| l.push(l[3].clone())), 1, dealing),
        ("another head", small().lines(|l| l.insert(1, l[0].clone())), 1, "inventory.age"),
        ("a line after all", small().lines(|l| l.push(b"{}".to_vec())), 1, "inventory.age"),
        ("an empty line after all", small().lines(|l| l.push(vec![])), 1, "inventory.age"),
        ("two objects in a line", small().text(2, "}", "}{}"), 1, "inventory.age"),
        ("no line feed", small().inventory(|lines, out| out.write_all(&lines.concat())), 1, "inventory.age"),
        ("the segment in another volume", small().field(3, "volume", 1), 1, dealing),
        ("the segment in another group", small().field(3, "group", 1), 1, dealing),
        ("the segment elsewhere", small().field(3, "offset", 65537), 1, dealing),
        (
            "a longer segment",
            small().line(3, |l| l["bytes"] = (l["bytes"].as_u64().unwrap() + 1).into()),
            1,
            "do not fill",
        ),
        ("another number", small().field(3, "segment", 1), 1, dealing),
    ]);
}

#[test]
fn fields_that_stand_twice_or_not_at_all() {
    let twice = |from, to: &str| small().text(2, from, to);
    let syntax = "inventory.age";
    refuse(vec![
        ("path twice", twice("\"path\":\"a\"", "\"path\":\"a\",\"path\":\"b\""), 1, syntax),
        ("kind twice", twice("\"kind\":\"file\"", "\"kind\":\"file\",\"kind\":\"dir\""), 1, syntax),
        ("kind twice, the same", twice("\"kind\":\"file\"", "\"kind\":\"file\",\"kind\":\"file\""), 1, syntax),
        ("size twice", twice("\"size\":5", "\"size\":5,\"size\":6"), 1, syntax),
        ("size twice, escaped", twice("\"size\":5", "\"size\":5,\"s\\u0069ze\":6"), 1, syntax),
        ("offset twice", twice("\"offset\":512", "\"offset\":512,\"offset\":0"), 1, syntax),
        ("base64 twice", twice("\"path\":\"a\"", "\"path\":{\"base64\":\"YQ==\",\"base64\":\"Yg==\"}"), 1, syntax),
        ("no kind", twice("\"kind\":\"file\"", "\"x\":1"), 1, syntax),
        ("unknown kind", twice("\"kind\":\"file\"", "\"kind\":\"device\""), 1, syntax),
        ("no size", twice("\"size\":5", "\"x\":5"), 1, syntax),
        ("no hash", twice("\"blake3\"", "\"blake4\""), 1, syntax),
        ("no offset", twice("\"offset\"", "\"offsets\""), 1, syntax),
        (
            "upper-case hash",
            small().line(2, |l| l["blake3"] = l["blake3"].as_str().unwrap().to_uppercase().into()),
            1,
            syntax,
        ),
        ("head twice", small().text(0, "\"entries\":2", "\"entries\":2,\"entries\":1"), 1, syntax),
        ("manifest twice", small().signed("\"drives\":1", "\"drives\":1,\"drives\":2"), 1, "manifest.json"),
    ]);
}

/// A tar stream that shows `tar x` something else than what is imported.
#[test]
fn a_stream_that_shows_another_tree() {
    let differs = "the tar stream differs from the inventory";
    let set = |at: usize, value: u8| small().tar(move |tar| tar[at] = value);
    let summed = |at: usize, value: u8| {
        small().tar(move |tar| {
            tar[HEADER + at] = value;
            tar[HEADER + 148..HEADER + 156].fill(b' ');
            let sum: u32 = tar[HEADER..CONTENTS].iter().map(|b| u32::from(*b)).sum();
            tar[HEADER + 148..HEADER + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        })
    };
    let shows = |items: [Item; 2]| small().shows(items.to_vec());
    let root = || dir("");
    let more = |edit: fn(&mut Item)| {
        let mut item = file("a", "hello");
        edit(&mut item);
        small().shows(vec![dir(""), item])
    };
    refuse(vec![
        ("another name", shows([root(), file("b", "hello")]), 1, differs),
        ("a path up", shows([root(), file("../precious", "hello")]), 1, differs),
        ("larger", shows([root(), file("a", "hello!")]), 1, differs),
        ("smaller", shows([root(), file("a", "hell")]), 1, differs),
        ("a link", with([file("a", "")]).shows(vec![root(), symlink("a", "/etc")]), 1, differs),
        ("a hard link", with([file("a", "")]).shows(vec![root(), hardlink("a", "/etc/passwd")]), 1, differs),
        ("another target", with([symlink("l", "x")]).shows(vec![root(), symlink("l", "../x")]), 1, differs),
        ("setuid", more(|i| i.mode = 0o4755), 1, differs),
        ("another time", more(|i| i.mtime.0 = 1), 1, differs),
        ("a character device", summed(156, b'3'), 1, differs),
        ("an old file", summed(156, 0), 1, differs),
        ("an owner", summed(114, b'1'), 1, differs),
        ("a name of an owner", summed(265, b'r'), 1, differs),
        ("a prefix", summed(345, b'/'), 1, differs),
        ("another sum", summed(0, b'a'), 1, differs),
        ("not ustar", summed(257, b'v'), 1, differs),
        ("padding after the contents", set(CONTENTS + 5, b'!'), 1, differs),
        ("padding of the name", set(HEADER + 50, 1), 1, differs),
        ("something after the end", set(CONTENTS + 512 + 1023, 1), 1, differs),
        ("an entry instead of the end", small().tar(|tar| tar.truncate(1536)).segments(|all| longer(all)), 1, "length"),
        ("contents", set(CONTENTS, b'H'), 1, "does not have the hash"),
        (
            "two names exchanged",
            with([file("a", "1"), file("b", "2")]).shows(vec![root(), file("b", "2"), file("a", "1")]),
            1,
            differs,
        ),
        (
            "longer names",
            with([file("n".repeat(150), "")]).shows(vec![root(), file("n".repeat(149) + "m", "")]),
            1,
            differs,
        ),
        ("holes elsewhere", holes().shows(vec![root(), sparse(&[(8192, 512)])]), 1, differs),
    ]);
}

/// Another entry where the stream should end.
fn longer(segments: &mut [Segment]) {
    let [Segment::Plain(tar)] = segments else { panic!("one segment") };
    tar.extend(file("evil", "x").tar());
    tar.extend([0; 1024]);
}

fn sparse(extents: &[(u64, usize)]) -> Item {
    item("holes", Kind::Sparse(1 << 20, extents.iter().map(|(at, len)| (*at, vec![7; *len])).collect()))
}

fn holes() -> Recipe {
    with([sparse(&[(4096, 512)])])
}

#[test]
fn extents_that_overlap_or_leave_the_file() {
    let extents = |value: serde_json::Value| holes().field(2, "extents", value);
    let order = "out of order, empty or past the end";
    refuse(vec![
        ("overlapping", extents(serde_json::json!([[0, 1024], [512, 512]])), 1, order),
        ("out of order", extents(serde_json::json!([[4096, 512], [0, 512]])), 1, order),
        ("empty", extents(serde_json::json!([[4096, 0]])), 1, order),
        ("past the end", extents(serde_json::json!([[1 << 20, 512]])), 1, order),
        ("unaligned", extents(serde_json::json!([[4097, 511]])), 1, "not aligned"),
        ("wrapping", extents(serde_json::json!([[u64::MAX - 511, 512]])), 1, order),
        ("many", extents(vec![serde_json::json!([0, 512]); 70_000].into()), 1, "extents of a file"),
        ("not pairs", extents(serde_json::json!([[1, 2, 3]])), 1, "inventory.age"),
        ("less than is there", extents(serde_json::json!([])), 1, "length"),
        ("elsewhere", extents(serde_json::json!([[8192, 512]])), 1, "the tar stream differs"),
        ("a smaller file", holes().field(2, "size", 8192), 1, "the tar stream differs"),
    ]);
}

#[test]
fn segments_that_do_not_open() {
    let one = |segment: Segment| small().segments(move |all| all[0] = segment.clone());
    let plain = || stream(&small().items).0;
    let packed = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
    let opens = "does not open";
    let cut = |n: usize| packed(&plain())[..n].to_vec();
    let with_garbage = [packed(&plain()), b"garbage".to_vec()].concat();
    let two = || Recipe::new(vec![dir(""), file("a", vec![1; 100_000])]);
    refuse(vec![
        ("nothing", one(Segment::Packed(vec![])), 1, "length is wrong"),
        ("garbage", one(Segment::Packed(vec![0; 100])), 1, opens),
        ("cut short", one(Segment::Packed(cut(40))), 1, opens),
        ("garbage after it", one(Segment::Packed(with_garbage)), 1, opens),
        ("empty frame", one(Segment::Plain(vec![])), 1, "length is wrong"),
        ("a byte less", one(Segment::Plain(plain()[1..].to_vec())), 1, "length is wrong"),
        ("a byte more", one(Segment::Plain([plain(), vec![0]].concat())), 1, "length is wrong"),
        ("no age file", one(Segment::Sealed(b"age-encryption.org/v1\n".to_vec())), 1, opens),
        ("garbage for age", one(Segment::Sealed(vec![b'-'; 300])), 1, opens),
        ("no magic", one(Segment::Frame(vec![0; 400])), 1, "frame header"),
        ("15 bytes", one(Segment::Frame(vec![b'c'; 15])), 1, "length of a frame"),
        ("17 bytes", one(Segment::Frame(b"ckvF\x01\0\0\0\0\0\0\0\0\0\0\0-".to_vec())), 1, opens),
        ("16 bytes", one(Segment::Frame(b"ckvF\0\0\0\0\0\0\0\0\0\0\0\0".to_vec())), 1, "length of a frame"),
        ("another length", one(Segment::Frame([&b"ckvF\xff\xff\xff\xff"[..], &[0; 400]].concat())), 1, "frame header"),
        ("another number", one(Segment::Frame([&b"ckvF\x80\x01\0\0\x01"[..], &[0; 391]].concat())), 1, "frame header"),
        ("exchanged", two().segments(|all| all.swap(0, 1)), 1, "length is wrong"),
        ("to somebody else", one(Segment::Sealed(for_somebody(&packed(&plain())))), 1, opens),
        ("cut in age", one(Segment::Sealed(for_somebody(&packed(&plain()))[..150].to_vec())), 1, opens),
    ]);
}

fn for_somebody(packed: &[u8]) -> Vec<u8> {
    crate::compose::seal(packed, &age::x25519::Identity::generate().to_public())
}

/// More than one zstd frame is still plain zstd.
#[test]
fn segments_of_several_frames_are_plain_zstd() {
    let recipe = small().segments(|all| {
        let [Segment::Plain(tar)] = &all[..] else { panic!("one segment") };
        let parts = tar.chunks(700).map(|part| zstd::bulk::compress(part, 1).unwrap());
        let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec();
        all[0] = Segment::Packed(std::iter::once(skippable).chain(parts).collect::<Vec<_>>().concat());
    });
    let site = Site::new();
    site.compose(&recipe, 1);
    site.run("import").ends(0);
    assert_eq!(fs::read(site.target().join("a")).unwrap(), b"hello");
}

#[test]
fn volumes_that_are_not_what_is_dealt() {
    let fill = "do not fill the volumes";
    let longer =
        |extra: usize| small().volumes(move |volumes| volumes.iter_mut().for_each(|v| v.resize(v.len() + extra, 0)));
    refuse(vec![
        ("a byte more", longer(1), 1, fill),
        ("a block more", longer(65536), 1, fill),
        ("a group more", small().volumes(|v| v.extend(v.clone())), 1, fill),
        ("another set", small().field(0, "set", "0".repeat(32)), 5, "another set"),
        ("another signer", small().field(0, "signer", "ssh-ed25519 AAAA"), 5, "another set"),
        ("no signer", small().field(0, "signer", ""), 5, "another set"),
        ("another draft inside", small().field(0, "inventory", "draft-0"), 5, "format"),
        ("another draft", small().manifest(|m| m["format"] = "draft-0".into()), 5, "format"),
        ("a feature", small().manifest(|m| m["critical"] = serde_json::json!(["x"])), 1, "feature"),
        (
            "a volume less",
            small().manifest(|m| drop(m["groups"][0]["volumes"].as_array_mut().unwrap().pop())),
            1,
            "do not agree",
        ),
        ("a file more", small().manifest(|m| m["files"]["../x"] = m["files"]["keys.age"].clone()), 1, "metadata file"),
        (
            "a file less",
            small().manifest(|m| drop(m["files"].as_object_mut().unwrap().remove("keys.age"))),
            1,
            "not listed",
        ),
        (
            "a span",
            small().manifest(|m| m["groups"][0]["volumes"][0]["spans"] = serde_json::json!(["0".repeat(64)])),
            1,
            "spans",
        ),
    ]);
}

#[test]
fn slots_and_signatures_of_another() {
    let slot = |text: &'static str| small().with_edit(|r| &mut r.edit_slot, move |s| *s = text.to_owned());
    let own = |edit: fn(&mut String)| small().with_edit(|r| &mut r.edit_slot, edit);
    let other = |r: Recipe, to: fn() -> String| r.with_edit(|r| &mut r.edit_slot, move |s| *s = to());
    let generated = || {
        use age::secrecy::ExposeSecret as _;
        age::x25519::Identity::generate().to_string().expose_secret().to_owned()
    };
    let armour = |edit: fn(&mut Vec<u8>)| small().with_edit(|r| &mut r.edit_signature, edit);
    let hash = |name: &'static str| small().manifest(move |m| m["files"][name]["blake3"] = "0".repeat(64).into());
    refuse(vec![
        ("an empty slot", slot(""), 5, "key of another set"),
        ("no key", slot("AGE-SECRET-KEY-1\n"), 5, "key of another set"),
        ("a key of a plugin", slot("AGE-PLUGIN-EVIL-1QQQQ\n"), 1, "\"plugin-evil\""),
        ("a key of a later type", slot("# later\nAGE-SECRET-KEY-PQ-1QQQQ\n"), 1, "\"pq\""),
        ("no recipient beside it", own(|s| *s = s.split_once('\n').unwrap().1.to_owned()), 5, "key of another set"),
        ("another beside it", own(|s| *s = s.replacen("age1", "age1q", 1)), 5, "key of another set"),
        ("another key", other(small(), generated), 5, "key of another set"),
        ("a large slot", other(small(), || "#".repeat(1 << 20)), 1, "length of the opened key slot"),
        ("not UTF-8 in effect", other(small(), || "\u{0}".repeat(60_000)), 5, "another set"),
        ("no recipient", small().manifest(|m| m["recipient_blake3"] = "".into()), 1, "manifest.json"),
        (
            "another recipient",
            small().manifest(|m| m["recipient_blake3"] = "0".repeat(64).into()),
            5,
            "key of another set",
        ),
        ("another hash of the slot", hash("keys.age"), 5, "keys.age"),
        ("another hash of the inventory", hash("inventory.age"), 4, "inventory.age"),
        ("no signature", armour(Vec::clear), 5, "signature"),
        ("crlf", armour(|a| *a = String::from_utf8(a.clone()).unwrap().replace('\n', "\r\n").into()), 5, "signature"),
        ("a long signature", armour(|a| a.resize(1 << 20, b'\n')), 5, "has no signature"),
        ("a blank after it", armour(|a| a.push(b' ')), 5, "signature"),
    ]);
}

#[test]
fn attributes_that_grant_rights() {
    let named = |name: &[u8]| {
        let mut item = file("a", "x");
        item.xattrs = vec![(name.to_vec(), b"v".to_vec())];
        with([item])
    };
    let why = "extended attribute";
    let sized = |n: usize| {
        let mut item = file("a", "x");
        item.xattrs = vec![(b"user.x".to_vec(), vec![b'v'; n])];
        with([item])
    };
    let many = |n: usize| {
        let mut item = file("a", "x");
        item.xattrs = (0..n).map(|i| (format!("user.{i}").into_bytes(), vec![])).collect();
        with([item])
    };
    let cases: Vec<Case> = vec![
        ("capabilities", named(b"security.capability"), 1, why),
        ("selinux", named(b"security.selinux"), 1, why),
        ("trusted", named(b"trusted.overlay.opaque"), 1, why),
        ("acl", named(b"system.posix_acl_access"), 1, why),
        ("nul", named(b"user.\0"), 1, why),
        ("empty", named(b""), 1, why),
        ("256 bytes", named(&[b"user.", &[b'x'; 251][..]].concat()), 1, why),
        ("upper case", named(b"User.x"), 1, why),
        ("a large value", sized(65537), 1, why),
        ("many", many(16385), 1, "inventory.age"),
    ];
    refuse(cases);
}

#[test]
fn rights_that_do_not_travel() {
    let site = Site::new();
    let mut all: Vec<Item> = [0o4755, 0o2755, 0o6777, 0o1777].iter().map(|m| file(format!("{m:o}"), "x")).collect();
    all.iter_mut().zip([0o4755, 0o2755, 0o6777, 0o1777]).for_each(|(item, mode)| item.mode = mode);
    site.compose(&with(all), 1);
    site.run("import").ends(0);
    for entry in fs::read_dir(site.target()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o6000, 0, "{mode:o}");
    }
}

/// What `--only` does not ask for is not placed, but no lie in the segments that it opens goes unseen.
#[test]
fn a_choice_of_files_meets_the_same_lies() {
    let site = Site::new();
    let items = || [file("a", "1"), file("b", "2")];
    site.compose(&with(items()).shows(vec![dir(""), file("a", "1"), file("../precious", "2")]), 1);
    site.run("import --only a").ends(1);
    site.compose(&with([file("a", "1"), file("../precious", "2")]), 1);
    site.run("import --only a").ends(1);
    assert!(!site.target().exists());
    site.compose(&with(items()), 1);
    site.run("import --only a").ends(0);
    assert!(site.target().join("a").exists() && !site.target().join("b").exists());
}

/// Lies that are signed, and that nobody needs to believe.
#[test]
fn lies_that_change_nothing() {
    let wrong_parity = || small().volumes(|v| v[1][65536] ^= 1);
    let wrong_header = || small().volumes(|v| v[0][32] = 7);
    let no_hashes = || small().with_edit(|r| &mut r.edit_hashes, |h| h.fill(0));
    let unknown = || small().manifest(|m| m["later"] = "x".into()).field(2, "later", 1);
    for recipe in [wrong_parity(), wrong_header(), no_hashes(), unknown()] {
        let site = Site::new();
        site.compose(&recipe, 1);
        site.run("verify");
        site.run("import").ends(0);
        assert_eq!(fs::read(site.target().join("a")).unwrap(), b"hello");
    }
}

/// The parity that a lost volume needs is not believed without proof.
#[test]
fn wrong_parity_is_not_believed() {
    let site = Site::new();
    let dirs = site.compose(&small().volumes(|v| v[1][65536] ^= 1), 1);
    fs::remove_file(dirs[0].join("g00000-d000.ckv")).unwrap();
    site.run("verify");
    site.refuses_what_is_there(4, "g00000-d000.ckv");
}

/// What lies on a drive beside what is signed: links to secrets, devices, directories.
#[test]
fn a_drive_may_hold_anything() {
    for name in
        ["manifest.json", "manifest.json.sig", "keys.age", "inventory.age", "hashes.b3", "B3SUMS", "g00000-d000.ckv"]
    {
        let site = Site::new();
        let dirs = site.compose(&small(), 1);
        let path = dirs[0].join(name);
        fs::remove_file(&path).unwrap();
        for make in ["mkfifo", "mkdir", "ln -s /dev/zero", "ln -s /dev/random", "ln -s ."] {
            let made = std::process::Command::new("sh").args(["-c", &format!("{make} {}", path.display())]).status();
            assert!(made.unwrap().success(), "{make}");
            site.run("verify").ends(3);
            site.run("import").ends(0);
            fs::remove_dir_all(site.target()).unwrap();
            std::process::Command::new("rm").arg("-rf").arg(&path).status().unwrap();
        }
    }
}
