//! Random trees, the same every time, come back as they were.

use crate::both::with_both_blocks;
use crate::dice::Dice;
use crate::harm;
use crate::support::*;
use crate::tree;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

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

fn random_trees_come_back_as_they_were(block: u64) {
    let vault = Vault::with_blocks(block);
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

with_both_blocks!(random_trees_come_back_as_they_were);
