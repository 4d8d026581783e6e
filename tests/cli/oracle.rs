//! Random trees and random damage, the same every time, judged by rules that are written down here once more.

use crate::harm::{self, BLOCK};
use crate::support::*;
use crate::tree;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

/// Numbers that look random and follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A volume, and the blocks of it that we have harmed.
struct Harmed {
    path: PathBuf,
    whole: Vec<u8>,
    bad: BTreeSet<u64>,
    missing: bool,
}

impl Harmed {
    fn new(path: PathBuf) -> Harmed {
        Harmed { whole: fs::read(&path).unwrap(), path, bad: BTreeSet::new(), missing: false }
    }

    fn blocks(&self) -> u64 {
        (self.whole.len() as u64).div_ceil(BLOCK)
    }

    fn name(&self) -> &str {
        self.path.file_name().unwrap().to_str().unwrap()
    }

    /// Whether block `row` is bad; past the end of a volume nothing is.
    fn is_bad(&self, row: u64) -> bool {
        row < self.blocks() && (self.missing || self.bad.contains(&row))
    }

    /// Does one thing to it. Each block is harmed at most once, so that nothing is undone.
    fn harm(&mut self, dice: &mut Dice) {
        let block = dice.below(self.blocks());
        match dice.below(12) {
            _ if self.missing || self.bad.contains(&block) => {}
            0 => {
                harm::remove([&self.path]);
                self.missing = true;
            }
            1 if self.bad.is_empty() => {
                let cut = block * BLOCK + dice.below(100);
                harm::resize(&self.path, cut.min(self.whole.len() as u64 - 1));
                self.bad.extend(block..self.blocks());
            }
            2..=4 => {
                let last = (block + dice.below(4)).min(self.blocks() - 1);
                (block..=last).filter(|b| !self.bad.contains(b)).for_each(|b| harm::flip(&self.path, b * BLOCK, 7));
                self.bad.extend(block..=last);
            }
            _ => {
                harm::flip(&self.path, (block * BLOCK + dice.below(BLOCK)).min(self.whole.len() as u64 - 1), 3);
                self.bad.insert(block);
            }
        }
    }

    fn heal(&mut self) {
        fs::write(&self.path, &self.whole).unwrap();
        (self.bad, self.missing) = (BTreeSet::new(), false);
    }
}

/// The verdict that the rows of a group lead to, when volumes on absent drives count as `absent`.
fn expected(volumes: &[Harmed], m: usize, absent: &dyn Fn(&Harmed) -> bool) -> &'static str {
    let rows = volumes.iter().map(Harmed::blocks).max().unwrap();
    let (mut lost, mut incomplete) = (false, false);
    for row in 1..rows {
        let here = volumes.iter().filter(|v| !absent(v) && v.is_bad(row)).count();
        let away = volumes.iter().filter(|v| absent(v) && row < v.blocks()).count();
        lost |= here > m;
        incomplete |= here + away > m;
    }
    let harmed = volumes.iter().any(|v| absent(v) || v.missing || !v.bad.is_empty());
    match (lost, incomplete, harmed) {
        (true, _, _) => "lost",
        (_, true, _) => "incomplete",
        (_, _, true) => "repairable",
        _ => "intact",
    }
}

#[track_caller]
fn judge(vault: &Vault, drives: &str, volumes: &[Harmed], verdict: &str, absent: &dyn Fn(&Harmed) -> bool) {
    let report = vault.verdict(drives);
    assert_eq!(report["verdict"], verdict, "{report}");
    for harmed in volumes.iter().filter(|v| !absent(v)) {
        let said = volume(&report, harmed.name());
        let state = if harmed.missing {
            "missing"
        } else if harmed.bad.is_empty() {
            "ok"
        } else {
            "damaged"
        };
        let bad = if harmed.missing { harmed.blocks() } else { harmed.bad.len() as u64 };
        assert!(
            said["state"] == state && number(&said["bad_blocks"]) == bad,
            "{} is {state} with {bad} bad blocks: {said}",
            harmed.name()
        );
    }
    match verdict {
        "lost" => drop(vault.refuses(drives, 4)),
        "incomplete" => drop(vault.refuses(drives, 7)),
        _ => drop(vault.restores(drives, "checkpoint")),
    }
}

#[test]
fn random_damage_is_judged_by_its_worst_row() {
    let vault = Vault::new();
    let set = vault.exported(1_500_000, "4+3");
    let mut volumes: Vec<Harmed> = set.volumes().into_iter().map(Harmed::new).collect();
    let mut seen = BTreeSet::new();
    for seed in 0..24 {
        let mut dice = Dice(seed);
        for _ in 0..1 + dice.below(16) {
            let at = dice.below(volumes.len() as u64) as usize;
            volumes[at].harm(&mut dice);
        }
        let verdict = expected(&volumes, 3, &|_| false);
        seen.insert(verdict);
        judge(&vault, "usb", &volumes, verdict, &|_| false);
        volumes.iter_mut().for_each(Harmed::heal);
    }
    assert!(seen.contains("lost") && seen.contains("repairable"), "{seen:?}");
}

#[test]
fn random_damage_beside_absent_drives_is_lost_incomplete_or_repairable() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 1_000_000);
    vault.make(&["usb1", "usb2", "usb3"]);
    let set = vault.export("checkpoint --to usb1 --to usb2 --to usb3 --parity 6+3");
    let mut volumes: Vec<Harmed> = set.volumes().into_iter().map(Harmed::new).collect();
    let mut seen = BTreeSet::new();
    for seed in 100..124 {
        let mut dice = Dice(seed);
        for _ in 0..dice.below(10) {
            let at = dice.below(volumes.len() as u64) as usize;
            volumes[at].harm(&mut dice);
        }
        let away: BTreeSet<usize> = (0..3).filter(|d| dice.below(3) == 0 && *d != seed as usize % 3).collect();
        let drives: Vec<String> = (0..3).filter(|d| !away.contains(d)).map(|d| format!("usb{}", d + 1)).collect();
        let absent = |v: &Harmed| away.iter().any(|d| v.path.starts_with(&set.dirs[*d]));
        let verdict = expected(&volumes, 3, &absent);
        seen.insert(verdict);
        judge(&vault, &drives.join(" "), &volumes, verdict, &absent);
        volumes.iter_mut().for_each(Harmed::heal);
    }
    assert!(seen.is_superset(&BTreeSet::from(["lost", "incomplete", "repairable"])), "{seen:?}");
}

/// Fills a directory with entries of all kinds.
fn grow(dir: &Path, dice: &mut Dice, depth: u32, files: &mut Vec<PathBuf>) {
    for i in 0..2 + dice.below(7) {
        let path = dir.join(format!("{i}-{}", "n".repeat(dice.below(120) as usize)));
        match dice.below(10) {
            0 | 1 if depth < 4 => {
                fs::create_dir(&path).unwrap();
                grow(&path, dice, depth + 1, files);
            }
            2 if !files.is_empty() => fs::hard_link(&files[dice.below(files.len() as u64) as usize], &path).unwrap(),
            3 => symlink(".", &path).unwrap(),
            4 => {
                let file = fs::File::create(&path).unwrap();
                file.set_len(dice.below(3 << 20)).unwrap();
                (0..dice.below(5)).for_each(|n| file.write_all_at(&noise(n, 3000), dice.below(3 << 20)).unwrap());
                file.sync_all().unwrap();
            }
            _ => {
                fs::write(&path, noise(i, dice.below(90_000) as usize)).unwrap();
                tree::set_mtime(&path, dice.below(1 << 33) as i64 - (1 << 32), dice.below(1_000_000_000) as u32);
                files.push(path);
            }
        }
    }
}

#[test]
fn random_trees_come_back_as_they_were() {
    let vault = Vault::new();
    for seed in 0..12 {
        let (mut dice, name, drive) = (Dice(seed), format!("tree-{seed}"), format!("usb-{seed}"));
        vault.make(&[&name, &drive]);
        grow(&vault.path(&name), &mut dice, 0, &mut Vec::new());
        let (k, m) = (1 + dice.below(12), 1 + dice.below(4));
        let set = vault.export(&format!("{name} --to {drive} --parity {k}+{m} --no-read-back"));
        assert_eq!(vault.verdict(&drive)["verdict"], "intact");
        vault.restores(&drive, &name);
        let lost = (0..m).map(|_| dice.below(k + m) as usize).collect::<BTreeSet<_>>();
        let volumes = set.volumes();
        harm::remove(lost.iter().map(|i| &volumes[*i]));
        vault.restores(&drive, &name);
    }
}
