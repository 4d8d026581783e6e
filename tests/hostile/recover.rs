//! recover.py, which is all that some have, meets what import meets, and refuses it; and it is as careful with the place where
//! it puts things.

use crate::cases::{small, with};
use crate::compose::{Keys, Recipe};
use crate::honest;
use crate::site::{Ran, SCRIPT, Site};
use crate::ustar::*;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink as link};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const SIGNERS: &str = "--signers home/allowed_signers";
pub const TOOLS: [&str; 4] = ["age", "zstd", "ssh-keygen", "b3sum"];

/// What it does not look at, since it does not use it: parity, hashes of blocks, the label and the like.
const UNUSED: [&str; 19] = [
    "64 lower-case hex digits",
    "M is 0",
    "an array of 1 to 524288 elements",
    "an array of 2 to 256 elements",
    "bytes of a row",
    "creation time",
    "do not agree",
    "drive number",
    "drives",
    "expected u16",
    "hashes.b3",
    "label",
    "length of the program",
    "metadata file",
    "more than 256 elements",
    "pieces",
    "spans",
    "tool",
    "volume size",
];

/// Where a program is, on PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Whether recover.py can be run here. Says so if not; an error where everything must be there (`CI` is set).
pub fn can_recover() -> bool {
    let missing: Vec<&str> = TOOLS.into_iter().chain(["python3"]).filter(|t| find(t).is_none()).collect();
    assert!(missing.is_empty() || std::env::var_os("CI").is_none(), "CI is set, and there is no {missing:?}");
    if !missing.is_empty() {
        eprintln!("SKIPPED: needs {missing:?}");
    }
    missing.is_empty()
}

/// What import has refused, recover.py refuses, and changes nothing anywhere. Returns how long that took.
#[track_caller]
pub fn refuses_too(site: &Site, why: &str) -> Duration {
    if !can_recover() {
        return Duration::ZERO;
    }
    let before = site.everything();
    let ran = site.recover(SIGNERS);
    if ran.code == Some(0) {
        assert!(UNUSED.contains(&why), "recover.py takes what import refuses because of {why:?}\n{ran}");
        fs::remove_dir_all(site.target()).unwrap();
    }
    let after = site.everything();
    assert!(after == before, "something changed\n{before:#?}\n{after:#?}\n{ran}");
    ran.took
}

/// It fails so, and changes nothing.
#[track_caller]
fn refused(site: &Site, arguments: &str, code: i32, why: &str) -> Ran {
    let before = site.everything();
    let ran = site.recover(arguments).ends(code);
    assert!(ran.stderr.contains(why), "not refused because of {why:?}\n{ran}");
    assert!(site.everything() == before, "something changed\n{ran}");
    ran
}

fn composed(recipe: &Recipe) -> Option<Site> {
    let site = Site::new();
    site.compose(recipe, 1);
    can_recover().then_some(site)
}

#[test]
fn honest_sets_are_restored() {
    for (k, m, drives) in [(1, 1, 1), (3, 2, 2)] {
        let mut recipe = Recipe::new(honest::items());
        (recipe.k, recipe.m) = (k, m);
        let site = Site::new();
        site.compose(&recipe, drives);
        if can_recover() {
            site.recover(SIGNERS).ends(0);
            honest::compare(&site);
        }
    }
}

#[test]
fn nothing_is_restored_that_nobody_trusted_has_signed() {
    let Some(site) = composed(&small()) else { return };
    refused(&site, "", 2, "NOT VERIFIED");
    refused(&site, "--signers nowhere", 2, "nowhere");
    fs::write(site.path("stranger"), format!("stranger@site {}\n", stranger())).unwrap();
    for more in ["", " --unverified"] {
        refused(&site, &format!("--signers stranger{more}"), 5, "is not signed by one of your signers");
    }
    let dir = site.set_dirs().remove(0);
    let manifest = fs::read(dir.join("manifest.json")).unwrap();
    for namespace in ["file", "ckvault-keys", "ckvault-receipt"] {
        for copy in ["", "copy", "third"] {
            fs::write(dir.join(copy).join("manifest.json.sig"), site.keys.sign(namespace, &manifest)).unwrap();
        }
        refused(&site, SIGNERS, 5, "is not signed by one of your signers");
    }
    let ran = site.recover("--unverified").ends(0);
    assert!(ran.stderr.contains("signature NOT VERIFIED"), "{ran}");
}

/// Nobody has signed the reserved field of a signature, and ssh-keygen passes over what is in it.
#[test]
fn a_signature_with_something_in_its_reserved_field_is_none() {
    use base64::prelude::{BASE64_STANDARD, Engine};
    let Some(site) = composed(&small()) else { return };
    let dir = site.set_dirs().remove(0);
    let armour = fs::read_to_string(dir.join("manifest.json.sig")).unwrap();
    let lines: Vec<&str> = armour.lines().collect();
    let mut blob = BASE64_STANDARD.decode(lines[1..lines.len() - 1].concat()).unwrap();
    // After the magic and the version: the key, the namespace, the reserved field.
    let reserved = (0..2).fold(10, |at, _| at + 4 + u32::from_be_bytes(blob[at..at + 4].try_into().unwrap()) as usize);
    assert_eq!(blob[reserved..reserved + 4], [0; 4]);
    blob.splice(reserved..reserved + 4, [0, 0, 0, 1, b'x']);
    let text = BASE64_STANDARD.encode(blob);
    let body = text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap());
    let all: Vec<&str> = [lines[0]].into_iter().chain(body).chain([lines[lines.len() - 1], ""]).collect();
    for copy in ["", "copy", "third"] {
        fs::write(dir.join(copy).join("manifest.json.sig"), all.join("\n")).unwrap();
    }
    refused(&site, SIGNERS, 5, "is not signed by one of your signers");
    site.run("import").ends(5);
}

/// A name that excludes somebody is nobody's, and who is revoked or was not asked for has not signed.
#[test]
fn names_that_exclude_are_nobodys_and_signers_can_be_pinned_and_revoked() {
    let Some(site) = composed(&small()) else { return };
    let key = site.keys.public();
    for list in ["!alice@lab,*", "!*", "\u{feff}alice@lab"] {
        fs::write(site.path("odd"), format!("{list} {key}\n")).unwrap();
        refused(&site, "--signers odd", 5, "is not signed by one of your signers");
    }
    fs::write(site.path("gone"), format!("{key}\n")).unwrap();
    refused(&site, &format!("{SIGNERS} --revoked gone"), 5, "is not signed by one of your signers");
    refused(&site, &format!("{SIGNERS} --signer somebody@else"), 5, "is not signed by one of your signers");
    site.recover(&format!("{SIGNERS} --signer exporter@site")).ends(0);
}

/// Who is trusted too may not take over a set by one copy of the signature, and who is asked for says whose it is.
#[test]
fn a_set_that_two_have_signed_is_of_whom_the_user_names() {
    let Some(site) = composed(&small()) else { return };
    let (own, other) = (site.keys.public(), strange_keys());
    site.trusts(&format!("exporter@site {own}\nbob@site {}\n", other.public()));
    let dir = site.set_dirs().remove(0);
    let manifest = fs::read(dir.join("manifest.json")).unwrap();
    fs::write(dir.join("manifest.json.sig"), other.sign("ckvault", &manifest)).unwrap();
    let before = site.everything();
    for verb in ["verify", "list", "import", "repair"] {
        let ran = site.run(verb).ends(5);
        let all = ["signed with 2 keys", "bob@site (SHA256:", "exporter@site (SHA256:", "--signer NAME"];
        assert!(all.iter().all(|said| ran.stderr.contains(said)), "{ran}");
    }
    assert!(site.run("inspect").ends(0).stdout.contains("NOT VERIFIED"));
    refused(&site, SIGNERS, 5, "those of bob@site, exporter@site");
    assert!(site.everything() == before, "something changed");
    // Whom the user names, vouches; but the inventory names who has packed the set.
    let ran = site.run("import --signer bob@site").ends(5);
    assert!(ran.stderr.contains("another signer"), "{ran}");
    refused(&site, &format!("{SIGNERS} --signer bob@site"), 1, "the inventory names another signer");
    site.recover(&format!("{SIGNERS} --signer exporter@site")).ends(0);
    site.run("verify --signer exporter@site").ends(3);
    site.run("repair --signer exporter@site").ends(0);
    assert_eq!(fs::read(dir.join("manifest.json.sig")).unwrap(), site.keys.sign("ckvault", &manifest));
    site.run("verify").ends(0);
}

fn stranger() -> String {
    strange_keys().public()
}

fn strange_keys() -> Keys {
    let mut keys = Keys::new();
    keys.signing = ssh_key::PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&[7; 32]));
    keys
}

/// A directory with these programs, the shell that begins and the program that cleans up, and no others.
fn path_of(site: &Site, programs: &[&str]) -> PathBuf {
    let dir = site.path("bin");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).unwrap();
    for program in programs.iter().copied().chain(["sh", "rm"]) {
        link(find(program).unwrap(), dir.join(program)).unwrap();
    }
    dir
}

#[test]
fn what_cannot_be_verified_is_not_believed() {
    let Some(site) = composed(&small()) else { return };
    for missing in TOOLS {
        let others: Vec<&str> = TOOLS.into_iter().filter(|t| *t != missing).collect();
        let path = path_of(&site, &others);
        let with = |arguments: &str| {
            let mut command = site.python(&["-I", SCRIPT]);
            command.args(arguments.split_whitespace()).env("PATH", &path);
            site.recovers(command)
        };
        let ran = with(SIGNERS).ends(1);
        assert!(ran.stderr.contains(&format!("{missing} is not on PATH")) && !site.target().exists(), "{ran}");
        let ran = with(&format!("{SIGNERS} --unverified"));
        match missing {
            "age" | "zstd" => drop(ran.ends(1)),
            _ => {
                let ran = ran.ends(0);
                assert!(ran.stderr.contains("NOT VERIFIED"), "{ran}");
                fs::remove_dir_all(site.target()).unwrap();
            }
        }
    }
}

/// Without b3sum the metadata are still compared with the manifest, by the script itself.
#[test]
fn metadata_are_compared_without_b3sum() {
    for name in ["keys.age", "inventory.age"] {
        let Some(site) = composed(&small()) else { return };
        for copy in ["", "copy", "third"] {
            let path = site.set_dirs()[0].join(copy).join(name);
            if !path.exists() {
                continue;
            }
            let mut bytes = fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(path, bytes).unwrap();
        }
        let mut command = site.python(&["-I", SCRIPT]);
        command.arg("--unverified").env("PATH", path_of(&site, &["age", "zstd"]));
        let ran = site.recovers(command).ends(7);
        assert!(ran.stderr.contains(&format!("no copy of {name} is as it was signed")), "{ran}");
    }
}

/// What lies on a drive beside what is signed: links to secrets, devices, directories. One whole copy suffices.
#[test]
fn a_drive_may_hold_anything() {
    let names = ["manifest.json", "manifest.json.sig", "keys.age", "inventory.age", "g00000-d000.ckv", "copy", "third"];
    for name in names {
        let Some(site) = composed(&small()) else { return };
        let path = site.set_dirs()[0].join(name);
        let whole = site.path("whole");
        fs::rename(&path, &whole).unwrap();
        for make in ["mkfifo", "mkdir", "ln -s /dev/zero", "ln -s .", "ln -s ../../../whole"] {
            let made = Command::new("sh").args(["-c", &format!("{make} {}", path.display())]).status();
            assert!(made.unwrap().success(), "{make}");
            let ran = site.recover(SIGNERS);
            match name {
                "g00000-d000.ckv" => drop(ran.ends(7)),
                _ => assert_eq!(fs::read(site.target().join("a")).unwrap(), b"hello", "{ran}"),
            }
            let _ = fs::remove_dir_all(site.target());
            Command::new("rm").arg("-rf").arg(&path).status().unwrap();
        }
    }
}

#[test]
fn links_that_are_kept_are_not_followed() {
    let site = Site::new();
    let precious = site.path("precious");
    let bytes = precious.as_os_str().as_bytes();
    site.compose(&with([file("a", "x"), symlink("b", bytes), dir("d"), symlink("d/up", "../../../precious")]), 1);
    if !can_recover() {
        return;
    }
    let state = || fs::metadata(&precious).map(|m| (m.mode(), m.mtime(), m.ctime(), m.ctime_nsec())).unwrap();
    let before = state();
    refused(&site, SIGNERS, 1, "leaves the target");
    site.recover(&format!("{SIGNERS} --links keep")).ends(0);
    assert_eq!(fs::read_link(site.target().join("b")).unwrap(), precious);
    assert_eq!(state(), before);
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn modes_are_those_that_the_umask_leaves() {
    let moded = |mut item: Item, mode| {
        item.mode = mode;
        item
    };
    let items = [moded(file("f", "x"), 0o6777), moded(dir("d"), 0o3777), moded(dir("shut"), 0), file("shut/x", "x")];
    let recipe = Recipe::new([moded(dir(""), 0o7777)].into_iter().chain(items).collect());
    for (umask, all) in [("027", 0o750), ("077", 0o700), ("000", 0o777)] {
        let Some(site) = composed(&recipe) else { return };
        let run = || {
            let mut command = site.python(&["-I", SCRIPT]);
            command.args(SIGNERS.split(' ')).env("UMASK", umask);
            site.recovers(command).ends(0)
        };
        run();
        let target = site.target();
        assert_eq!((mode(&target), mode(&target.join("f")), mode(&target.join("d"))), (all, all, all), "{umask}");
        assert_eq!(mode(&target.join("shut")), 0);
        // A directory that was there is not made more open.
        fs::remove_dir_all(&target).unwrap();
        fs::create_dir(&target).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o710)).unwrap();
        run();
        assert_eq!(mode(&target), all & 0o710, "{umask}");
    }
}

#[test]
fn what_is_in_the_way_is_left_alone() {
    let Some(site) = composed(&small()) else { return };
    let shell = |command: &str| assert!(Command::new("sh").args(["-c", command]).status().unwrap().success());
    let target = site.target();
    for make in
        ["mkdir T && touch T/x", "touch T", "mkfifo T", "ln -s /dev/null T", "ln -s / T", "ln -s nowhere/at/all T"]
    {
        shell(&make.replace('T', &target.display().to_string()));
        let before = site.everything();
        let ran = site.recover(SIGNERS);
        match make.contains("nowhere") {
            // A link of the user's own is followed.
            true => assert_eq!(fs::read(site.path("place/nowhere/at/all/a")).unwrap(), b"hello"),
            false => assert!(ran.code == Some(2) && site.everything() == before, "{make}: {ran}"),
        }
        shell(&format!("rm -rf {}", target.display()));
    }
    let mut command = site.python(&["-I", SCRIPT]);
    command.args(SIGNERS.split(' ')).args(["--to", "/proc"]);
    site.recovers(command).ends(2);
}

/// What looks dangerous, to the shell or to another program that gets it as an argument, and is not.
#[test]
fn odd_names_that_are_harmless() {
    let names: [&[u8]; 13] = [
        b"-",
        b"--",
        b"--check",
        b"-rf",
        b" ",
        b"$(touch precious)",
        b"'",
        b"*",
        b"..\\x",
        b"a\nb",
        b"x\\x0a",
        b"\xff",
        b"~",
    ];
    let mut names = names;
    names.sort();
    let Some(site) = composed(&with(names.iter().map(|n| file(n, n)))) else { return };
    site.recover(SIGNERS).ends(0);
    for name in names {
        let path = site.target().join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(fs::read(&path).unwrap(), name, "{path:?}");
    }
    assert_eq!(fs::read_dir(site.path("place")).unwrap().count(), 1);
}
