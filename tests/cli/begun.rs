//! An export that is interrupted inside a group goes on in it.

use crate::durability::ending;
use crate::harm;
use crate::support::*;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A group that holds everything, with a mark after each 12 MiB; volumes become 35 MiB long.
const EXPORT: &str =
    "export source --to usb1 --to usb2 --recipients keys.txt --volume-size 64M --parity 2+1 --no-read-back";

fn prepared() -> Vault {
    let vault = Vault::in_memory();
    vault.make(&["source"]);
    fs::write(vault.path("source/model.safetensors"), noise(7, 70 << 20)).unwrap();
    (0..300).for_each(|i| fs::write(vault.path(format!("source/{i}.json")), format!("{i}").repeat(i)).unwrap());
    vault
}

fn state(vault: &Vault) -> Option<PathBuf> {
    let all = ending(&vault.path(".local/state/ckvault"), "");
    all.into_iter().find(|path| path.is_file() && !path.file_name().unwrap().to_string_lossy().starts_with('.'))
}

fn marks(vault: &Vault) -> usize {
    let text = state(vault).and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    text.lines().filter(|line| line.starts_with("{\"mark\"")).count()
}

/// Runs a command that may make no file longer than so many MiB, and so fails inside of the group.
fn limited(vault: &Vault, line: &str, mib: u64) -> Ran {
    vault.call("sender", line).with_files_up_to(mib << 10).run()
}

/// A new export, which fails behind its second mark at least; returns the directory of the set on the first drive.
fn interrupted(vault: &Vault) -> PathBuf {
    for name in ["usb1", "usb2", ".local"] {
        let _ = fs::remove_dir_all(vault.path(name));
    }
    vault.make(&["usb1", "usb2"]);
    limited(vault, EXPORT, 33).fails(7).says("ulimit -f").says("--resume");
    assert!(marks(vault) >= 2);
    fs::read_dir(vault.path("usb1")).unwrap().next().unwrap().unwrap().path()
}

#[track_caller]
fn goes_on(vault: &Vault, to: &str) {
    vault.sender("export --resume --json").ok();
    assert_eq!(vault.verdict(to)["verdict"], "intact");
    vault.restores(to, "source");
    assert_eq!(state(vault), None);
}

/// What cannot be the same twice: the age file at the beginning of a volume.
fn sealed(volume: &Path) -> (u64, Vec<u8>) {
    (volume.metadata().unwrap().ino(), fs::read(volume).unwrap()[64 << 10..128 << 10].to_vec())
}

#[test]
fn an_export_that_ends_inside_a_group_goes_on_behind_its_last_mark() {
    let vault = prepared();
    let set = interrupted(&vault);
    let before = sealed(&set.join("g00000-d000.ckv.partial"));
    let len = fs::read(state(&vault).unwrap()).unwrap().len();
    assert!(len < 60_000, "{len} bytes are remembered");
    goes_on(&vault, "usb1 usb2");
    assert!(sealed(&set.join("g00000-d000.ckv")) == before, "what was durable was sealed again");
}

#[test]
fn it_is_interrupted_again_and_again_and_goes_on_wherever_its_drives_are() {
    let vault = prepared();
    let set = interrupted(&vault);
    let (before, name) = (sealed(&set.join("g00000-d000.ckv.partial")), set.file_name().unwrap().to_owned());
    for n in 1..4 {
        for drive in ["usb1", "usb2"] {
            let last = if n == 1 { drive.to_owned() } else { format!("{drive}-{}", n - 1) };
            fs::rename(vault.path(last), vault.path(format!("{drive}-{n}"))).unwrap();
        }
        limited(&vault, &format!("export --resume --to usb1-{n} --to usb2-{n}"), 33).fails(7).says("--resume");
        assert!(marks(&vault) >= 2);
    }
    vault.sender("export --resume --to usb1-3 --to usb2-3").ok();
    let volume = vault.path("usb1-3").join(name).join("g00000-d000.ckv");
    assert!(sealed(&volume) == before, "what was durable was sealed again");
    vault.restores("usb1-3 usb2-3", "source");
}

#[test]
fn what_is_not_as_it_was_is_written_again() {
    let vault = prepared();
    let elsewhere = vault.path("elsewhere");
    let harm: [(&str, &dyn Fn(&Path)); 7] = [
        ("flipped", &|file| harm::flip(file, 100_000, 3)),
        ("flipped later", &|file| harm::flip(file, 10 << 20, 3)),
        ("header page", &|file| harm::flip(file, 100, 3)),
        ("cut", &|file| fs::OpenOptions::new().write(true).open(file).unwrap().set_len(5 << 20).unwrap()),
        ("gone", &|file| fs::remove_file(file).unwrap()),
        ("link", &|file| {
            fs::rename(file, &elsewhere).unwrap();
            std::os::unix::fs::symlink(&elsewhere, file).unwrap();
        }),
        ("hard link", &|file| fs::hard_link(file, &elsewhere).unwrap()),
    ];
    for (name, harm) in harm {
        for volume in ["d001", "p000"] {
            println!("{name} {volume}");
            let _ = fs::remove_file(&elsewhere);
            interrupted(&vault);
            let volume = format!("g00000-{volume}.ckv.partial");
            let file = ending(vault.path("").as_path(), &volume).remove(0);
            harm(&file);
            let kept = fs::read(&elsewhere).ok();
            goes_on(&vault, "usb1 usb2");
            assert!(fs::read(&elsewhere).ok() == kept, "what a link leads to was written to");
        }
    }
}

#[test]
fn volumes_that_had_their_names_already_go_on_too() {
    let vault = prepared();
    let set = interrupted(&vault);
    fs::rename(set.join("g00000-d000.ckv.partial"), set.join("g00000-d000.ckv")).unwrap();
    let before = sealed(&set.join("g00000-d000.ckv"));
    goes_on(&vault, "usb1 usb2");
    assert!(sealed(&set.join("g00000-d000.ckv")) == before, "what was durable was sealed again");
}
