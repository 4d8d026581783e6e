//! The commands that an operator is told to paste: they do what is said of them, and stop where something is not as signed.

use crate::harm;
use crate::interop::RECOVER;
use crate::program::{is_x86_64, write_program};
use crate::support::*;
use crate::tree;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Lines that are indented by four blanks or more, without these; each block without a line between.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        match line.strip_prefix("    ") {
            Some(line) => *blocks.last_mut().unwrap() += &format!("{line}\n"),
            None if blocks.last().is_some_and(|b| !b.is_empty()) => blocks.push(String::new()),
            None => {}
        }
    }
    blocks.retain(|b| !b.is_empty());
    blocks
}

/// What `RECOVER.txt` of a set with a program says, by what it is for.
struct Commands {
    who: String,
    script: String,
    by_hand: String,
    program: String,
}

fn commands() -> Commands {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/format");
    let text = |name| fs::read_to_string(dir.join(name)).unwrap();
    let all = blocks(&(text("RECOVER.txt") + &text("RECOVER-program.txt")));
    let [who, script, by_hand, program] = all.try_into().unwrap();
    Commands { who, script, by_hand, program }
}

#[test]
fn the_same_commands_stand_everywhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let told = commands();
    let page = fs::read_to_string(root.join("man/ckvault-format.5")).unwrap();
    let (_, page) = page.split_once(".Sh READING A SET BY HAND").unwrap();
    let (page, _) = page.split_once("\n.Sh ").unwrap();
    let literal = |part: &str| part.split_once(".Ed").unwrap().0.to_owned();
    let plain = |text: String| text.replace("\\(aq", "'").replace("\\-", "-").replace("\\&", "").replace("\\e", "\\");
    let shown: Vec<String> = page.split(".Bd -literal -offset 2n\n").skip(1).map(|part| plain(literal(part))).collect();
    assert_eq!(shown, [&told.who[..], &told.script, &told.by_hand, &told.program]);
    let export = fs::read_to_string(root.join("man/ckvault-export.1")).unwrap();
    assert!(plain(export.clone()).contains(&(told.who.clone() + &told.program)), "not in the page of export");
    assert!(!export.contains("/tmp/"));
    let readme = blocks(&fs::read_to_string(root.join("README.md")).unwrap());
    for block in [&told.who, &told.script] {
        assert!(readme.contains(block), "not in the README:\n{block}");
    }
    assert!(readme.iter().any(|b| b.ends_with(&told.program)), "not in the README:\n{}", told.program);
    // Names that anybody can foresee are anybody's.
    assert!(readme.iter().chain(&shown).all(|block| !block.contains("/tmp")));
}

/// A set on two drives with a program that ends with 42, and other names than those that the texts give as examples.
struct Place {
    vault: Vault,
    set: Set,
}

impl Place {
    fn new() -> Place {
        let vault = Vault::new();
        odd_files(&vault.checkpoint("checkpoint", 700_000));
        write_program(&vault.path("ckvault-static"), 5000);
        vault.make(&["usb1", "usb2", "tmp"]);
        let to = "--to usb1 --to usb2 --parity 2+2 --compress zstd";
        let set = vault.export(&format!("checkpoint {to} --with-tool=ckvault-static"));
        Place { vault, set }
    }

    /// Pastes commands into a shell, in the directory of the set on the first drive.
    fn paste(&self, shell: &str, commands: &[&str]) -> Ran {
        let (home, other) = (self.vault.home("receiver"), self.set.dirs[1].display().to_string());
        let list = fs::read_to_string(self.vault.home("sender").join("allowed_signers")).unwrap();
        let name = list.split(' ').next().unwrap();
        let (signers, identity) = (home.join("allowed_signers"), home.join("identity.txt"));
        let mine = format!(
            "signers={}\nname={name}\nidentity={}\ntarget={}\n",
            signers.display(),
            identity.display(),
            self.vault.path("recovered").display()
        );
        let all = commands.concat().replace("for dir in .;", &format!("for dir in . {other};"));
        let all = mine + &all.replace("/recover.py\" .", &format!("/recover.py\" . {other}"));
        self.vault
            .tool(shell, "")
            .env("TMPDIR", self.vault.path("tmp"))
            .input(all.as_bytes())
            .at(&self.set.dirs[0])
            .run()
    }

    /// What was restored by hand, if it came to that.
    fn by_hand(&self) -> Option<PathBuf> {
        let copies = names_in(&self.vault.path("tmp"));
        let dirs = copies.iter().map(|n| self.vault.path("tmp").join(std::str::from_utf8(n).unwrap()).join("restored"));
        dirs.into_iter().find(|dir| dir.exists())
    }
}

/// Files whose names or contents ask for care.
fn odd_files(dir: &Path) {
    let names: [&[u8]; 5] = [b"a b  c", b"new\nline\n", b"back\\slash", b"-n", b"not-utf8-\xff"];
    names.iter().for_each(|name| fs::write(dir.join(OsStr::from_bytes(name)), name).unwrap());
    fs::write(dir.join("empty"), "").unwrap();
    for (name, data) in [("sparse", &[3 << 16, 9 << 16][..]), ("hole", &[])] {
        let file = fs::File::create(dir.join(name)).unwrap();
        file.set_len(1 << 20).unwrap();
        data.iter().for_each(|at| file.write_all_at(&noise(*at, 5000), *at).unwrap());
    }
}

fn can_paste() -> bool {
    is_x86_64() && need(&RECOVER) && need(&["jq", "tar", "bash"])
}

#[test]
fn what_is_pasted_restores_the_set() {
    if !can_paste() {
        return;
    }
    let told = commands();
    for shell in ["sh", "bash"] {
        let place = Place::new();
        let checkpoint = place.vault.path("checkpoint");
        let script = place.paste(shell, &[&told.script]).ok();
        script.check(script.stdout.contains("recover.py: OK"), "it was not compared");
        tree::assert_same(&checkpoint, &place.vault.path("recovered"));
        let by_hand = place.paste(shell, &[&told.by_hand]).ok();
        by_hand.check(by_hand.stdout.ends_with("all files are as the inventory says\n"), "they were not compared");
        let restored = place.by_hand().unwrap();
        let (there, here) = (tree::read(&checkpoint), tree::read(&restored));
        assert!(there.keys().eq(here.keys()), "{:?}", here.keys());
        for name in there.keys().map(|name| OsStr::from_bytes(name)).filter(|name| checkpoint.join(name).is_file()) {
            assert_eq!(tree::hash(&checkpoint.join(name)), tree::hash(&restored.join(name)), "{name:?}");
        }
        place.paste(shell, &[&told.program]).ends(42);
    }
}

/// Whatever came between: what is not what the inventory says is not called restored.
#[test]
fn what_was_restored_by_hand_is_compared_with_the_inventory() {
    if !can_paste() {
        return;
    }
    let told = commands();
    let place = Place::new();
    for change in [
        "printf x >> restored/config.json",
        "printf x > restored/empty",
        "printf x | dd of=restored/model.safetensors bs=1 seek=9 conv=notrunc",
        "printf x | dd of=restored/sparse bs=1 seek=196613 conv=notrunc",
        "truncate -s -1 restored/hole",
        "rm restored/step-100/optimizer.bin",
        "rm -- restored/-n",
    ] {
        let changed = told.by_hand.replace("-permissions &&\n", &format!("-permissions && {change} &&\n"));
        assert_ne!(changed, told.by_hand);
        let ran = place.paste("sh", &[&changed]);
        ran.check(ran.code != Some(0) && !ran.stdout.contains("all files are as"), change);
    }
}

/// Whoever had the drive: changes what is to be run, what it is compared with, and what it reads.
#[test]
fn what_is_pasted_stops_where_something_is_not_as_signed() {
    if !can_paste() {
        return;
    }
    let told = commands();
    let (script, program, by_hand) = (&[&told.script[..]][..], &[&told.program[..]][..], &[&told.by_hand[..]][..]);
    let evil = |place: &Place, name: &str| {
        let mark = place.vault.path("it-was-run").display().to_string();
        let text = match name {
            "ckvault" => format!("#!/bin/sh\ntouch {mark}\n"),
            _ => format!("open({mark:?}, 'w')\n"),
        };
        for path in place.set.copies(name) {
            fs::write(&path, &text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        text
    };
    // With a manifest that lists it, signed by nobody, and by somebody else.
    let listed = |place: &Place, name: &str, signed: bool| {
        let hash = blake3::hash(evil(place, name).as_bytes()).to_hex().to_string();
        let path = place.vault.path("manifest.json");
        let manifest = fs::read_to_string(&place.set.copies("manifest.json")[0]).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        value["files"][name]["blake3"] = hash.into();
        fs::write(&path, value.to_string()).unwrap();
        let put = |name: &str| {
            for to in place.set.copies(name) {
                fs::copy(place.vault.path(name), to).unwrap();
            }
        };
        put("manifest.json");
        if signed {
            place.vault.call("stranger", "keygen").run().ok();
            place
                .vault
                .tool("ssh-keygen", "-q -Y sign -n ckvault -f home/stranger/signing_key manifest.json")
                .run()
                .ok();
            put("manifest.json.sig");
        }
    };
    type Act<'a> = Box<dyn Fn(&Place) + 'a>;
    let cases: Vec<(&str, &[&str], Act)> = vec![
        ("another script", script, Box::new(|p| drop(evil(p, "recover.py")))),
        ("another script, listed", script, Box::new(|p| listed(p, "recover.py", false))),
        ("another script, signed", script, Box::new(|p| listed(p, "recover.py", true))),
        ("no script", script, Box::new(|p| harm::remove(p.set.copies("recover.py")))),
        ("another program", program, Box::new(|p| drop(evil(p, "ckvault")))),
        ("another program, listed", program, Box::new(|p| listed(p, "ckvault", false))),
        ("another program, signed", program, Box::new(|p| listed(p, "ckvault", true))),
        (
            "a manifest that lists nothing",
            program,
            Box::new(|p| p.set.copies("manifest.json").iter().for_each(|m| fs::write(m, "{}").unwrap())),
        ),
        ("no signature", by_hand, Box::new(|p| harm::remove(p.set.copies("manifest.json.sig")))),
        ("another slot", by_hand, Box::new(|p| p.set.copies("keys.age").iter().for_each(|k| harm::flip(k, 200, 0)))),
        ("another volume", by_hand, Box::new(|p| harm::flip(&p.set.volume("g00000-d000.ckv"), 70_000, 0))),
        ("no volume", by_hand, Box::new(|p| fs::remove_file(p.set.volume("g00000-d001.ckv")).unwrap())),
        (
            "two volumes of one name",
            by_hand,
            Box::new(|p| {
                for name in ["g00000-d000.ckv", "g00000-d001.ckv"] {
                    p.set
                        .dirs
                        .iter()
                        .filter(|d| !d.join(name).exists())
                        .for_each(|d| fs::write(d.join(name), "").unwrap());
                }
            }),
        ),
    ];
    for (what, commands, act) in cases {
        let place = Place::new();
        act(&place);
        let ran = place.paste("sh", commands);
        ran.check(ran.code != Some(0) && ran.code != Some(42), what);
        ran.check(!place.vault.path("it-was-run").exists(), what);
        ran.check(!place.vault.path("recovered").exists() && place.by_hand().is_none(), what);
    }
}
