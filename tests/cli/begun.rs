//! An export that is interrupted inside a group goes on in it.

use crate::drives::Mount;
use crate::durability::ending;
use crate::harm;
use crate::resume::killed;
use crate::support::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
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
    // Where they are now is remembered.
    vault.sender("export --resume").ok();
    let volume = vault.path("usb1-3").join(name).join("g00000-d000.ckv");
    assert!(sealed(&volume) == before, "what was durable was sealed again");
    vault.restores("usb1-3 usb2-3", "source");
}

#[test]
fn what_is_not_as_it_was_is_written_again() {
    let vault = prepared();
    let elsewhere = vault.path("elsewhere");
    type Harm<'a> = (&'a str, &'a dyn Fn(&Path));
    let harm: [Harm; 7] = [
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
            let set = interrupted(&vault);
            let first = sealed(&set.join("g00000-d000.ckv.partial"));
            let volume = format!("g00000-{volume}.ckv.partial");
            let file = ending(vault.path("").as_path(), &volume).remove(0);
            harm(&file);
            let kept = fs::read(&elsewhere).ok();
            goes_on(&vault, "usb1 usb2");
            // One that is lost is made again from the others.
            let again = sealed(&set.join("g00000-d000.ckv")) != first;
            assert!(!again || !["gone", "cut", "flipped later"].contains(&name), "{name}: all was sealed again");
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

#[test]
fn what_a_lost_drive_had_is_made_again_from_the_others() {
    let vault = prepared();
    let export = EXPORT.replace("2+1", "2+2");
    vault.make(&["usb1", "usb2", "usb3"]);
    limited(&vault, &export, 33).fails(7).says("--resume");
    assert!(marks(&vault) >= 2);
    let set = fs::read_dir(vault.path("usb1")).unwrap().next().unwrap().unwrap().path();
    let before = sealed(&set.join("g00000-d000.ckv.partial"));
    fs::rename(vault.path("usb2"), vault.path("lost")).unwrap();
    vault.sender("export --resume").fails(7).says("drive 2 is needed").says("--replace-drive 2");
    vault.sender("export --resume --to usb1 --to usb3").fails(7).says("does not hold").says("--replace-drive 2");
    vault.sender("export --resume --to usb1 --to usb3 --replace-drive 3").fails(2).says("1 to 2");
    vault.sender("export --replace-drive 2 --to usb1 --recipients keys.txt").fails(2);
    vault.sender("export --resume --to usb1 --to usb3 --replace-drive 2").ok();
    assert!(sealed(&set.join("g00000-d000.ckv")) == before, "what was durable was sealed again");
    assert_eq!(vault.verdict("usb1 usb3")["verdict"], "intact");
    vault.restores("usb3", "source");
    assert_eq!(state(&vault), None);
}

fn has_group(vault: &Vault) -> bool {
    fs::read_to_string(state(vault).unwrap()).unwrap().contains("\n{\"group\"")
}

#[test]
fn what_it_had_of_finished_groups_too() {
    let vault = Vault::new();
    vault.checkpoint("source", 30_000_000);
    let export = "export source --to usb --to usb2 --to usb3 --recipients keys.txt --volume-size 2M --parity 4+2";
    for (lost, kept) in [(&["usb2"][..], true), (&["usb2", "usb3"], false)] {
        for name in ["usb2", "usb3", "usb2-lost", "usb3-lost", "usb2-new", "usb3-new"] {
            let _ = fs::remove_dir_all(vault.path(name));
        }
        vault.make(&["usb2", "usb3"]);
        let set = (0..50).map(|_| killed(&vault, export, "g00002-d003.ckv")).find(|_| has_group(&vault));
        let set = set.expect("the first group was never on all drives");
        let (before, name) = (sealed(&set.join("g00000-d000.ckv")), set.file_name().unwrap());
        let (mut resume, mut drives) = ("export --resume --to usb".to_owned(), vec!["usb".to_owned()]);
        for drive in ["usb2", "usb3"] {
            let is_lost = lost.contains(&drive);
            if is_lost {
                fs::rename(vault.path(drive), vault.path(format!("{drive}-lost"))).unwrap();
                vault.make(&[&format!("{drive}-new")]);
            }
            drives.push(if is_lost { format!("{drive}-new") } else { drive.into() });
            resume += &format!(" --to {}", drives.last().unwrap());
        }
        lost.iter().for_each(|drive| resume += &format!(" --replace-drive {}", &drive[3..]));
        vault.sender(&resume).ok();
        let drives = drives.join(" ");
        assert_eq!(vault.verdict(&drives)["verdict"], "intact");
        vault.restores(&drives, "source");
        assert_eq!(sealed(&set.join("g00000-d000.ckv")) == before, kept, "{lost:?}");
        if kept {
            let volume = |drive: &str| fs::read(vault.path(drive).join(name).join("g00000-d001.ckv")).unwrap();
            assert!(volume("usb2-lost") == volume("usb2-new"));
        }
    }
}

#[test]
fn what_is_there_takes_no_room_of_the_drive_that_goes_on() {
    let vault = Vault::new();
    symlink("drive1", vault.path("usb")).unwrap();
    let drives: Option<Vec<Mount>> = (1..=2).map(|i| Mount::new(&vault, &format!("drive{i}"), "size=64M")).collect();
    let Some(_drives) = drives else { return };
    vault.make(&["source"]);
    fs::write(vault.path("source/model.safetensors"), noise(7, 60 << 20)).unwrap();
    let export = "export source --to usb --recipients keys.txt --volume-size 64M --parity 2+1 --no-read-back";
    let change = "ln -sfn drive$CKVAULT_DRIVE_NUMBER $CKVAULT_DRIVE";
    let call = vault.call("sender", export).arg("--next-drive-command").arg(change);
    call.with_files_up_to(17 << 10).run().fails(7).says("--resume");
    assert!(marks(&vault) > 0);
    let resume = vault.call("sender", "export --resume --json").arg("--next-drive-command").arg(change);
    let report = resume.run().ok().json();
    // Without the interruption it would be on these two as well.
    assert_eq!(list(&report["parts"]).len(), 2, "{report}");
    assert_eq!(vault.verdict("drive1 drive2")["verdict"], "intact");
    vault.restores("drive1 drive2", "source");
}

#[test]
fn what_cannot_be_a_drive_of_it_is_refused_and_costs_nothing() {
    let vault = prepared();
    interrupted(&vault);
    let before = harm::files_under(&vault.path("usb1"));
    for (to, says) in [
        ("--to usb1 --to source", "is what is exported"),
        ("--to usb1 --to source --replace-drive 2", "is what is exported"),
        ("--to usb1 --to usb1", "given twice"),
        ("--to usb1 --to ./usb2/../usb1 --replace-drive 2", "given twice"),
    ] {
        vault.sender(&format!("export --resume {to}")).fails(2).says(says);
    }
    assert!(harm::files_under(&vault.path("usb1")) == before);
    goes_on(&vault, "usb1 usb2");
}
