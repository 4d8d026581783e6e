//! Drives that fail as drives do: sectors that cannot be read, and drives that vanish while they are read.

use crate::both::with_both_blocks;
use crate::harm::BLOCK;
use crate::support::*;
use ckvault::commands::{import, repair, verify};
use ckvault::error::Error;
use ckvault::media::disk::{Disk, Media, Operation};
use ckvault::progress::{Nobody, Silent};
use ckvault::set::Where;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const EIO: i32 = 5;

/// What fails, and what was asked.
#[derive(Default)]
struct Faults {
    /// Bytes of a block of the set that is read.
    block: u64,
    /// Byte ranges of files, by the end of their paths, that cannot be read.
    bad: Vec<(String, std::ops::Range<u64>)>,
    /// Below this directory nothing can be read from the n-th read on.
    vanishing: Option<(PathBuf, u64)>,
    reads: AtomicU64,
    /// How often something was wanted of a directory that has vanished.
    missed: AtomicU64,
    /// How often each block of each file was asked for and failed.
    asked: Mutex<BTreeMap<(PathBuf, u64), u32>>,
}

#[derive(Clone)]
struct Faulty(Arc<Faults>);

impl Faulty {
    fn disk(faults: Faults) -> (Disk, Arc<Faults>) {
        let faults = Arc::new(faults);
        (Disk::new(Faulty(faults.clone())), faults)
    }

    fn has_vanished(&self, path: &Path) -> bool {
        let gone =
            |(dir, from): &(PathBuf, u64)| path.starts_with(dir) && self.0.reads.load(Ordering::Relaxed) >= *from;
        let gone = self.0.vanishing.as_ref().is_some_and(gone);
        self.0.missed.fetch_add(gone.into(), Ordering::Relaxed);
        gone
    }
}

impl Media for Faulty {
    fn allow(&self, _: Operation, path: &Path) -> io::Result<()> {
        if self.has_vanished(path) { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }

    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        use std::os::fd::AsRawFd;
        self.0.reads.fetch_add(1, Ordering::Relaxed);
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        let end = offset + buffer.len() as u64;
        let hit = |(name, range): &&(String, std::ops::Range<u64>)| {
            path.to_string_lossy().ends_with(name.as_str()) && range.start < end && offset < range.end
        };
        if self.0.bad.iter().any(|b| hit(&b)) || self.has_vanished(&path) {
            let mut asked = self.0.asked.lock().unwrap();
            let blocks = offset / self.0.block..end.div_ceil(self.0.block);
            blocks.for_each(|b| *asked.entry((path.clone(), b)).or_default() += 1);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        file.read_at(buffer, offset)
    }
}

fn place(vault: &Vault, drives: &[&str], disk: Disk) -> Where {
    Where {
        disk,
        drives: drives.iter().map(|d| vault.path(d)).collect(),
        set: None,
        signers: Some(vault.path("sender.pub")),
        now: jiff::Timestamp::now(),
        ..Where::default()
    }
}

fn verified(vault: &Vault, drives: &[&str], disk: Disk) -> verify::Report {
    let options = verify::Options { place: place(vault, drives, disk), this_drive: false };
    verify::run(&options, &Silent::default()).unwrap()
}

fn imported(vault: &Vault, drives: &[&str], disk: Disk, to: &str) -> Result<import::Report, Error> {
    let options = import::Options {
        place: place(vault, drives, disk),
        to: vault.path(to),
        identities: vec![vault.home("receiver").join("identity.txt")],
        ..import::Options::default()
    };
    import::run(&options, Nobody, &Silent::default())
}

fn three(block: u64) -> (Vault, Set) {
    three_of(block, if block == BLOCK { 6_000_000 } else { 3_000_000 })
}

fn three_of(block: u64, bytes: usize) -> (Vault, Set) {
    let vault = Vault::with_blocks(block);
    vault.checkpoint("checkpoint", bytes);
    vault.make(&["usb1", "usb2", "usb3"]);
    let set = vault.export("checkpoint --to usb1 --to usb2 --to usb3 --parity 4+2");
    (vault, set)
}

const ALL: [&str; 3] = ["usb1", "usb2", "usb3"];

/// One bad sector in each of some files.
fn sectors(block: u64) -> Faults {
    let sector = |name: &str, row: u64| (name.to_owned(), row * block + 512..row * block + 1024);
    Faults {
        block,
        bad: vec![
            sector("g00000-d000.ckv", 3),
            sector("g00000-d001.ckv", 3),
            sector("g00000-d003.ckv", 9),
            ("usb1/keys.age".to_owned(), 0..1),
        ],
        ..Faults::default()
    }
}

/// The ending of a path on a drive, whatever the set is called.
fn on_drive(faults: &mut Faults, set: &Set) {
    for (name, _) in &mut faults.bad {
        if let Some(rest) = name.strip_prefix("usb1/") {
            *name = set.dirs[0].join(rest).to_string_lossy().into_owned();
        }
    }
}

fn a_sector_that_cannot_be_read_costs_its_block_and_is_counted(block: u64) {
    let (vault, set) = three(block);
    let mut faults = sectors(block);
    on_drive(&mut faults, &set);
    let (disk, faults) = Faulty::disk(faults);
    let report = verified(&vault, &ALL, disk);
    assert_eq!(report.verdict, "repairable");
    let bad: Vec<(&str, u64)> =
        report.volumes.iter().filter(|v| v.state != "ok").map(|v| (v.name.as_str(), v.bad_blocks)).collect();
    assert_eq!(bad, [("g00000-d000.ckv", 1), ("g00000-d001.ckv", 1), ("g00000-d003.ckv", 1)]);
    let drive = |name: &str| report.volumes.iter().find(|v| v.name == name).unwrap().drive;
    let mut expected = BTreeMap::from([(1, 1)]);
    ["g00000-d000.ckv", "g00000-d001.ckv", "g00000-d003.ckv"]
        .iter()
        .for_each(|n| *expected.entry(drive(n)).or_default() += 1);
    assert_eq!(report.read_errors, expected);
    // Once in a run, if there is more than one block in it, once alone, never again.
    let times = if block > 256 << 10 { 1 } else { 2 };
    let asked = faults.asked.lock().unwrap();
    let most =
        asked.iter().filter(|((path, b), _)| path.ends_with("g00000-d000.ckv") && *b == 3).map(|(_, n)| *n).max();
    assert_eq!(most, Some(times), "{asked:?}");
}

fn import_reads_around_bad_sectors_and_says_which_drives_have_them(block: u64) {
    let (vault, set) = three(block);
    let mut faults = sectors(block);
    on_drive(&mut faults, &set);
    let (disk, faults) = Faulty::disk(faults);
    let report = imported(&vault, &ALL, disk, "restored").unwrap();
    crate::tree::assert_same(&vault.path("checkpoint"), &vault.path("restored"));
    assert_eq!((report.repaired_blocks, report.read_errors.values().sum::<u64>()), (3, 4), "{:?}", report.read_errors);
    assert!(faults.asked.lock().unwrap().values().all(|n| *n <= 2 * 4), "asked again and again");
}

fn repair_makes_files_anew_that_cannot_be_read_whole(block: u64) {
    let (vault, set) = three(block);
    let mut faults = sectors(block);
    on_drive(&mut faults, &set);
    let before: Vec<Vec<u8>> = set.files().iter().map(|p| std::fs::read(p).unwrap()).collect();
    // A new file is read back under its .partial name, where the faults are not.
    let (disk, _) = Faulty::disk(faults);
    let options = repair::Options { place: place(&vault, &ALL, disk), to: Vec::new() };
    let report = repair::run(&options, &Silent::default()).unwrap();
    assert_eq!(report.repaired.len(), 4, "{report:?}");
    assert_eq!(report.read_errors.values().sum::<u64>(), 4);
    let after: Vec<Vec<u8>> = set.files().iter().map(|p| std::fs::read(p).unwrap()).collect();
    assert!(before == after);
}

fn more_than_parity_that_cannot_be_read_is_lost(block: u64) {
    let (vault, _) = three(block);
    let bad = (0..3).map(|i| (format!("g00000-d00{i}.ckv"), 3 * block..3 * block + 1)).collect();
    let (disk, _) = Faulty::disk(Faults { block, bad, ..Faults::default() });
    assert_eq!(verified(&vault, &ALL, disk.clone()).verdict, "lost");
    let error = imported(&vault, &ALL, disk, "restored").unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
}

/// Drive 1 stops to answer at every possible moment; at the first the set is not even found there.
fn a_drive_that_vanishes_counts_as_absent_whenever_it_does(block: u64) {
    // A reading of large blocks takes longer.
    let (bytes, step) = if block == BLOCK { (6_000_000, 7) } else { (1_500_000, 31) };
    let (vault, set) = three_of(block, bytes);
    let mut seen = BTreeMap::<&str, u32>::new();
    for from in (0..400).step_by(step) {
        let vanishing = Some((set.dirs[0].clone(), from));
        let (disk, faults) = Faulty::disk(Faults { block, vanishing: vanishing.clone(), ..Faults::default() });
        let report = verified(&vault, &ALL, disk);
        // It may vanish after the last look at it, while the others are still read.
        let still_there = faults.missed.load(Ordering::Relaxed) == 0;
        let expected = if still_there { "intact" } else { "repairable" };
        assert_eq!(
            (report.verdict, report.absent.contains(&1)),
            (expected, !still_there),
            "from read {from}: {report:?}"
        );
        *seen.entry(report.verdict).or_default() += 1;
        let (disk, _) = Faulty::disk(Faults { block, vanishing, ..Faults::default() });
        let to = format!("restored-{from}");
        imported(&vault, &ALL, disk, &to).unwrap();
        crate::tree::assert_same(&vault.path("checkpoint"), &vault.path(&to));
        std::fs::remove_dir_all(vault.path(&to)).unwrap();
    }
    assert!(seen["repairable"] > 5, "{seen:?}");
}

fn without_a_drive_that_vanished_a_set_is_incomplete_and_not_lost(block: u64) {
    let vault = Vault::with_blocks(block);
    vault.checkpoint("checkpoint", if block == BLOCK { 6_000_000 } else { 2_000_000 });
    vault.make(&["usb1", "usb2"]);
    let set = vault.export("checkpoint --to usb1 --to usb2 --parity 4+2");
    for from in (0..200).step_by(9) {
        let vanishing = Some((set.dirs[1].clone(), from));
        let (disk, faults) = Faulty::disk(Faults { block, vanishing: vanishing.clone(), ..Faults::default() });
        let report = verified(&vault, &["usb1", "usb2"], disk);
        if faults.missed.load(Ordering::Relaxed) > 0 {
            assert_eq!((report.verdict, report.absent.as_slice()), ("incomplete", &[2][..]), "from read {from}");
        }
        let (disk, faults) = Faulty::disk(Faults { block, vanishing: vanishing.clone(), ..Faults::default() });
        let to = format!("restored-{from}");
        let done = imported(&vault, &["usb1", "usb2"], disk, &to);
        match done {
            Ok(_) => assert!(faults.reads.load(Ordering::Relaxed) <= from + 40, "from read {from}"),
            Err(error) => {
                assert!(error.exit_code() == 7 && error.hint().contains("drive 2"), "{from}: {error:?}");
                assert!(!vault.path(&to).exists());
            }
        }
        let (disk, _) = Faulty::disk(Faults { block, vanishing, ..Faults::default() });
        let options = repair::Options { place: place(&vault, &["usb1", "usb2"], disk), to: Vec::new() };
        let report = repair::run(&options, &Silent::default()).unwrap();
        assert!(report.repaired.is_empty() && [0, 7].contains(&report.exit_code()), "{report:?}");
    }
}

with_both_blocks!(
    a_sector_that_cannot_be_read_costs_its_block_and_is_counted
    import_reads_around_bad_sectors_and_says_which_drives_have_them
    repair_makes_files_anew_that_cannot_be_read_whole
    more_than_parity_that_cannot_be_read_is_lost
    a_drive_that_vanishes_counts_as_absent_whenever_it_does
    without_a_drive_that_vanished_a_set_is_incomplete_and_not_lost
);
