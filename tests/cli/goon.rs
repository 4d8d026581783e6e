//! Imports that are stopped, and go on.

use crate::drives::Mount;
use crate::durability::{anew, ended, ending, in_time, signal, started};
use crate::harm;
use crate::support::*;
use crate::tree;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A set whose import takes a while: several files, of one segment and of many, and links.
fn prepared() -> Vault {
    sized(8 << 20)
}

fn sized(large: usize) -> Vault {
    filled(Vault::new(), large)
}

fn filled(vault: Vault, large: usize) -> Vault {
    vault.make(&["source/dir", "usb", "place"]);
    (0..4).for_each(|i| fs::write(vault.path(format!("source/large-{i}")), noise(i, large)).unwrap());
    (0..60).for_each(|i| fs::write(vault.path(format!("source/dir/small-{i}")), noise(i, 30_000)).unwrap());
    fs::write(vault.path("source/empty"), "").unwrap();
    fs::write(vault.path("source/read-only"), noise(7, 90_000)).unwrap();
    fs::hard_link(vault.path("source/large-1"), vault.path("source/hard")).unwrap();
    std::os::unix::fs::symlink("dir/small-1", vault.path("source/link")).unwrap();
    tree::set_mode(&vault.path("source/read-only"), 0o400);
    tree::set_mode(&vault.path("source/dir"), 0o555);
    vault.sender("export source --to usb --recipients keys.txt --parity 4+2 --volume-size 4M --no-read-back").ok();
    vault
}

const IMPORT: &str = "import usb --to place/there";

fn import(vault: &Vault) -> Call {
    anew(&vault.path("place"));
    vault.call("receiver", IMPORT)
}

#[track_caller]
fn is_restored(vault: &Vault) {
    tree::assert_same(&vault.path("source"), &vault.path("place/there"));
    assert_eq!(names_in(&vault.path("place")), [b"there"]);
}

/// The staging directory, if there is one.
fn staging(vault: &Vault) -> Option<PathBuf> {
    staging_in(&vault.path("place"))
}

fn staging_in(place: &Path) -> Option<PathBuf> {
    names_in(place).iter().map(|n| place.join(std::str::from_utf8(n).unwrap())).find(|p| p.join("journal").exists())
}

/// How many bytes of records a journal has after its first line.
fn records(vault: &Vault) -> usize {
    records_in(&vault.path("place"))
}

fn records_in(place: &Path) -> usize {
    let journal = staging_in(place).map(|s| fs::read(s.join("journal")).unwrap_or_default()).unwrap_or_default();
    journal.iter().position(|b| *b == b'\n').map_or(0, |end| journal.len() - end - 1)
}

/// Kills an import after its first record.
fn killed(vault: &Vault) {
    in_time(|| {
        let (_, mut child) = started(import(vault), &vault.path("place"), "/journal")?;
        while records(vault) == 0 && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        Some(child.wait().unwrap()).filter(|s| s.code() != Some(0))
    });
    assert!(records(vault) > 0);
}

#[test]
fn a_killed_import_is_refused_resumed_or_discarded() {
    let vault = prepared();
    killed(&vault);
    assert!(!vault.path("place/there").exists());
    vault.receiver(IMPORT).fails(1).says("unfinished").says("--resume").says("--discard");
    vault.receiver(&format!("{IMPORT} --resume")).ok();
    is_restored(&vault);
    killed(&vault);
    vault.receiver(&format!("{IMPORT} --discard")).ok();
    is_restored(&vault);
    vault.receiver(&format!("{IMPORT} --discard --resume")).fails(2);
}

/// `0-3,7`.
fn numbers(ranges: &str) -> Vec<u64> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse().unwrap_or(1)..=last.parse().unwrap_or(0)
    };
    ranges.split(',').flat_map(range).collect()
}

#[test]
fn what_is_recorded_is_not_read_from_the_drives_again() {
    let vault = prepared();
    // The first four segments begin the first four volumes of the first group, which is damaged there then.
    in_time(|| {
        killed(&vault);
        let journal = fs::read_to_string(staging(&vault).unwrap().join("journal")).unwrap();
        let all: Vec<u64> = journal.lines().skip(1).filter_map(|l| l.split(' ').nth(1)).flat_map(numbers).collect();
        (0..4).all(|segment| all.contains(&segment)).then_some(())
    });
    let set = PathBuf::from(std::str::from_utf8(&names_in(&vault.path("usb"))[0]).unwrap());
    let first = vault.path("usb").join(set);
    for name in names_in(&first).iter().filter(|n| n.starts_with(b"g00000-")) {
        let volume = first.join(std::str::from_utf8(name).unwrap());
        harm::zero(&volume, harm::BLOCK, harm::BLOCK);
    }
    vault.receiver("import usb --to elsewhere").fails(4);
    vault.receiver(&format!("{IMPORT} --resume")).ok();
    is_restored(&vault);
}

#[test]
fn an_interrupted_import_keeps_what_it_has_and_says_how_to_go_on() {
    let vault = sized(16 << 20);
    let ran = in_time(|| {
        let (command, child) = started(import(&vault), &vault.path("place"), "large-2")?;
        signal(&child, "INT");
        ended(&command, child)
    });
    let ran = ran.ends(130);
    ran.check(ran.stdout.is_empty(), "stdout is not empty");
    if staging(&vault).is_some() {
        ran.says("`ckvault import --resume usb --to place/there` goes on");
        vault.receiver(&format!("{IMPORT} --resume")).ok();
    } else {
        vault.receiver(IMPORT).ok();
    }
    is_restored(&vault);
}

/// How many imports are killed in an ordinary run; the thorough one does ten times as many.
const KILLS: u64 = 40;

/// Kills imports at moments that follow from their seeds, again and again until each gets to its end.
fn kill_imports(seeds: std::ops::Range<u64>) {
    let vault = filled(Vault::in_memory(), 8 << 20);
    let begun = std::time::Instant::now();
    vault.receiver(IMPORT).ok();
    let whole = begun.elapsed();
    let (mut kills, mut resumed) = (0, 0);
    for seed in seeds {
        println!("seed {seed}");
        anew(&vault.path("place"));
        for attempt in 0.. {
            let resume = if staging(&vault).is_some() { " --resume" } else { "" };
            resumed += u32::from(records(&vault) > 0);
            let mixed = (seed * 1000 + attempt + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
            // Each attempt gets more time than the one before, so that this ends.
            let time = whole.mul_f64(mixed as f64 / (1u64 << 24) as f64 * (1.0 + attempt as f64 / 2.0));
            let mut child = vault.call("receiver", &format!("{IMPORT}{resume}")).command().spawn().unwrap();
            std::thread::sleep(time);
            let _ = child.kill();
            let ran = child.wait_with_output().unwrap();
            if ran.status.success() {
                break;
            }
            let said = String::from_utf8_lossy(&ran.stderr);
            assert_eq!(ran.status.code(), None, "seed {seed}, attempt {attempt}: it failed by itself: {said}");
            kills += 1;
            // The last that it does is to remove its journal.
            if vault.path("place/there").exists() && staging(&vault).is_none() {
                let left = |p: &PathBuf| p.to_string_lossy().contains(".ckvault-");
                ending(&vault.path("place"), ".partial")
                    .iter()
                    .filter(|p| left(p))
                    .for_each(|p| fs::remove_dir_all(p).unwrap());
                break;
            }
        }
        is_restored(&vault);
    }
    println!("{kills} kills of imports, resumed {resumed} times");
    assert!(kills > 10 && resumed > 5, "{kills} kills, {resumed} resumed");
}

#[test]
fn killed_imports_go_on() {
    kill_imports(0..KILLS);
}

#[test]
#[ignore = "takes minutes: the thorough run"]
fn thorough_killed_imports_go_on() {
    kill_imports(KILLS..11 * KILLS);
}

#[test]
fn a_torn_record_and_files_that_changed_in_the_meantime_are_placed_again() {
    let vault = prepared();
    killed(&vault);
    let staging = staging(&vault).unwrap();
    let mut journal = fs::OpenOptions::new().append(true).open(staging.join("journal")).unwrap();
    journal.write_all(b"placed 100-2000 0123").unwrap();
    // The first segments hold the small files.
    let dir = staging.join("files/dir");
    let small: Vec<PathBuf> = names_in(&dir).iter().map(|n| dir.join(std::str::from_utf8(n).unwrap())).collect();
    let files: Vec<&PathBuf> = small.iter().filter(|p| p.metadata().unwrap().len() == 30_000).take(2).collect();
    assert_eq!(files.len(), 2);
    files.iter().for_each(|f| harm::flip(f, 1000, 4));
    vault.receiver(&format!("{IMPORT} --resume")).ok();
    is_restored(&vault);
}

#[test]
fn a_journal_that_is_damaged_at_its_head_is_told() {
    let vault = prepared();
    killed(&vault);
    let staging = staging(&vault).unwrap();
    harm::flip(&staging.join("journal"), 20, 1);
    let before = tree::read(&staging);
    // Nobody knows what is in there, so nothing of it is removed either.
    for more in ["--resume", "", "--discard"] {
        vault
            .receiver(&format!("{IMPORT} {more}"))
            .fails(1)
            .says("its journal is damaged")
            .says("nothing in it was touched");
        assert!(tree::read(&staging) == before, "{more}");
    }
    fs::remove_dir_all(staging).unwrap();
    vault.receiver(IMPORT).ok();
    is_restored(&vault);
}

#[test]
fn only_what_was_begun_can_be_resumed() {
    let vault = prepared();
    vault.receiver(&format!("{IMPORT} --resume")).fails(2).says("no unfinished import");
    killed(&vault);
    vault.receiver(&format!("{IMPORT} --resume --only dir")).fails(1).says("--only");
    vault.receiver(&format!("{IMPORT} --resume --links keep")).fails(1).says("--links");
    vault.make(&["usb2"]);
    fs::write(vault.path("small"), "x").unwrap();
    vault.export("small --to usb2 --parity 1+1");
    vault.receiver("import usb2 --to place/there --resume").fails(1).says("another set");
    vault.receiver("import usb --to place/other --resume").fails(2);
    vault.receiver(&format!("{IMPORT} --resume")).ok();
    is_restored(&vault);
}

#[test]
fn two_imports_to_one_target_do_not_meet() {
    let vault = prepared();
    let second = in_time(|| {
        let (command, child) = started(import(&vault), &vault.path("place"), "/journal")?;
        let second = vault.receiver(IMPORT);
        Ran::new(&command, child.wait_with_output().unwrap()).ok();
        Some(second).filter(|ran| !ran.stderr.contains("not empty"))
    });
    second.fails(1).says("another import");
    is_restored(&vault);
}

/// Takes all the room that there is.
fn fill(dir: &Path) {
    use rustix::fs::{FallocateFlags, fallocate, statvfs};
    let ballast = fs::File::create(dir.join("ballast")).unwrap();
    let (mut at, mut step) = (0, 64 << 20);
    while step >= 4096 {
        let free = statvfs(dir).unwrap();
        let take = step.min((free.f_bavail * free.f_frsize).max(4096));
        match fallocate(&ballast, FallocateFlags::empty(), at, take) {
            Ok(()) => at += take,
            Err(_) => step /= 2,
        }
    }
}

#[test]
fn a_target_that_fills_up_is_left_resumable() {
    let vault = sized(16 << 20);
    let Some(full) = Mount::new(&vault, "full", "size=200M") else { return };
    in_time(|| {
        for name in names_in(&full.0) {
            let path = full.0.join(std::str::from_utf8(&name).unwrap());
            fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).unwrap();
        }
        let mut command = vault.call("receiver", "import usb --to full").command();
        let mut child = command.spawn().unwrap();
        while records_in(&full.0) == 0 && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        fill(&full.0);
        ended(&command, child).filter(|ran| ran.code == Some(7) && ran.stderr.contains("--resume"))
    });
    fs::remove_file(full.0.join("ballast")).unwrap();
    vault.receiver("import usb --to full --resume").ok();
    tree::assert_same_inside(&vault.path("source"), &full.0);
}
