//! An export that is interrupted inside a group goes on in it.

use crate::durability::ending;
use crate::harm;
use crate::support::*;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A group that holds everything, with a mark after each 12 MiB.
const EXPORT: &str =
    "export source --to usb1 --to usb2 --recipients keys.txt --volume-size 32M --parity 4+2 --no-read-back";

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

/// Kills a new export when so many marks are remembered; returns the directory of the set on the first drive.
fn killed_behind(vault: &Vault, count: usize) -> PathBuf {
    for _ in 0..100 {
        for name in ["usb1", "usb2", ".local"] {
            let _ = fs::remove_dir_all(vault.path(name));
        }
        vault.make(&["usb1", "usb2"]);
        let mut child = vault.call("sender", EXPORT).command().spawn().unwrap();
        while marks(vault) < count && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        if !child.wait().unwrap().success() && state(vault).is_some() && marks(vault) >= count {
            let dir = fs::read_dir(vault.path("usb1")).unwrap().next().unwrap().unwrap().path();
            assert!(ending(&dir, "-p001.ckv").is_empty(), "the group was complete");
            return dir;
        }
    }
    panic!("the export was always faster than this test");
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
fn an_export_that_is_killed_inside_a_group_goes_on_behind_its_last_mark() {
    let vault = prepared();
    for count in [1, 3] {
        let set = killed_behind(&vault, count);
        let before = sealed(&set.join("g00000-d000.ckv.partial"));
        let len = fs::read(state(&vault).unwrap()).unwrap().len();
        assert!(len < 100_000, "of {count} marks {len} bytes are remembered");
        goes_on(&vault, "usb1 usb2");
        assert!(sealed(&set.join("g00000-d000.ckv")) == before, "what was durable was sealed again");
    }
}

#[test]
fn it_is_killed_again_and_again_and_goes_on_wherever_its_drives_are() {
    let vault = prepared();
    let set = killed_behind(&vault, 2);
    let before = sealed(&set.join("g00000-d000.ckv.partial"));
    let mut there = marks(&vault);
    for (n, place) in ["a", "b", "c"].into_iter().enumerate() {
        for drive in ["usb1", "usb2"] {
            let last = if n == 0 { drive.to_owned() } else { format!("{drive}{}", ["a", "b", "c"][n - 1]) };
            fs::rename(vault.path(last), vault.path(format!("{drive}{place}"))).unwrap();
        }
        let resume = format!("export --resume --to usb1{place} --to usb2{place}");
        let mut child = vault.call("sender", &resume).command().spawn().unwrap();
        while marks(&vault) <= there && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if state(&vault).is_none() {
            break;
        }
        there = marks(&vault);
    }
    let place = |drive: &str| ["a", "b", "c"].map(|p| vault.path(format!("{drive}{p}"))).into_iter().find(|p| p.exists()).unwrap();
    let (one, two) = (place("usb1"), place("usb2"));
    if state(&vault).is_some() {
        vault.sender(&format!("export --resume --to {} --to {}", one.display(), two.display())).ok();
    }
    let set = fs::read_dir(&one).unwrap().next().unwrap().unwrap().path();
    assert!(sealed(&set.join("g00000-d000.ckv")) == before, "what was durable was sealed again");
    vault.restores(&format!("{} {}", one.display(), two.display()), "source");
}

#[test]
fn what_is_not_as_it_was_is_written_again() {
    let vault = prepared();
    let elsewhere = vault.path("elsewhere");
    let harm: [(&str, &dyn Fn(&Path)); 7] = [
        ("flipped", &|file| harm::flip(file, 100_000, 3)),
        ("flipped later", &|file| harm::flip(file, 7 << 20, 3)),
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
        for volume in ["d001", "p001"] {
            println!("{name} {volume}");
            let _ = fs::remove_file(&elsewhere);
            killed_behind(&vault, 3);
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
    let set = killed_behind(&vault, 3);
    fs::rename(set.join("g00000-d000.ckv.partial"), set.join("g00000-d000.ckv")).unwrap();
    let before = sealed(&set.join("g00000-d000.ckv"));
    goes_on(&vault, "usb1 usb2");
    assert!(sealed(&set.join("g00000-d000.ckv")) == before, "what was durable was sealed again");
}
