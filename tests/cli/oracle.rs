//! Random damage, the same every time, judged by rules that are written down here once more: what verify, repair and import
//! must say follows from K, M and what is on the drives.

use crate::dice::Dice;
use crate::harm::{self, BLOCK};
use crate::support::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A set on drives that are harmed and healed again and again.
struct Bench {
    vault: Vault,
    set: Set,
    /// Of the same shape, to mix in.
    other: Set,
    m: usize,
    /// Bytes of a block.
    block: u64,
    /// Every file as it was written.
    whole: BTreeMap<PathBuf, Vec<u8>>,
    volumes: Vec<PathBuf>,
}

/// What is known of a row.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy, Debug)]
enum Row {
    Fine,
    /// Few enough bytes of it are wrong, or so it may be.
    Perhaps,
    Incomplete,
    Lost,
}

impl Bench {
    fn new(block: u64, drives: u32, k: usize, m: usize) -> Bench {
        let vault = Vault::with_blocks(block);
        vault.checkpoint("checkpoint", 250_000 * k);
        let to = |name: &str| {
            let names: Vec<String> = (1..=drives).map(|d| format!("{name}{d}")).collect();
            vault.make(&names.iter().map(String::as_str).collect::<Vec<_>>());
            names.iter().map(|n| format!(" --to {n}")).collect::<String>()
        };
        let export = |name| vault.export(&format!("checkpoint{} --parity {k}+{m} --no-read-back", to(name)));
        let (set, other) = (export("usb"), export("other"));
        let whole = set.files().into_iter().map(|p| (p.clone(), fs::read(p).unwrap())).collect();
        Bench { volumes: set.volumes(), vault, set, other, m, block, whole }
    }

    /// Columns of a row: bytes of a block.
    fn columns(&self) -> usize {
        self.block as usize
    }

    fn heal(&self) {
        for dir in &self.set.dirs {
            ["copy", "third"].iter().for_each(|name| fs::create_dir_all(dir.join(name)).unwrap());
        }
        for path in self.set.files().iter().filter(|p| !self.whole.contains_key(*p)) {
            fs::remove_file(path).unwrap();
        }
        for (path, bytes) in &self.whole {
            if fs::read(path).ok().as_ref() != Some(bytes) {
                fs::write(path, bytes).unwrap();
            }
        }
    }

    /// Does one thing to the set.
    fn harm(&self, dice: &mut Dice) {
        let there: Vec<PathBuf> = self.volumes.iter().filter(|p| p.exists() && harm::len(p) > 0).cloned().collect();
        if there.is_empty() {
            return;
        }
        let path = dice.pick(&there).clone();
        let (len, longest) = (harm::len(&path), self.volumes.iter().map(|p| self.whole[p].len() as u64).max().unwrap());
        let row = 1 + dice.below(longest.div_ceil(self.block) - 1);
        match dice.below(16) {
            0 => harm::remove([&path]),
            1 => harm::resize(&path, dice.below(len)),
            2 => harm::resize(&path, len + 1 + dice.below(2 * self.block)),
            3 => harm::zero(&path, dice.below(len), 1 + dice.below(3 * self.block)),
            4 if there.len() > 1 => {
                let two = dice.some(&there, 2);
                harm::swap_files(&two[0], &two[1]);
            }
            5 => drop(fs::write(&path, &self.whole[dice.pick(&self.volumes)])),
            6 => drop(fs::write(&path, fs::read(self.other.volume(name(&path))).unwrap())),
            7 | 8 => {
                let count = self.m + dice.below(2) as usize;
                self.in_row(&dice.some(&there, count), row, |p, from, to| harm::zero(p, from, to - from));
            }
            9..=11 => {
                let count = self.m + dice.below(4) as usize;
                let columns: Vec<u64> = (0..count as u64).map(|_| dice.below(self.block)).collect();
                let mut columns = columns.into_iter();
                let flip = |p: &Path, from, to| harm::flip(p, from + columns.next().unwrap() % (to - from), 5);
                self.in_row(&dice.some(&there, count), row, flip);
            }
            12 | 13 => (0..1 + dice.below(40)).for_each(|_| {
                let path = dice.pick(&there);
                harm::flip(path, dice.below(harm::len(path)), dice.below(8) as u8);
            }),
            _ => self.harm_metadata(dice),
        }
    }

    /// Does something to the same row of several volumes, as far as they have it.
    fn in_row(&self, volumes: &[PathBuf], row: u64, mut harm: impl FnMut(&Path, u64, u64)) {
        for path in volumes.iter().filter(|p| harm::len(p) > row * self.block) {
            harm(path, row * self.block, ((row + 1) * self.block).min(harm::len(path)));
        }
    }

    /// One copy of a metadata file, all but one, or, rarely, all.
    fn harm_metadata(&self, dice: &mut Dice) {
        let names = ["manifest.json", "manifest.json.sig", "keys.age", "inventory.age", "hashes.b3", "RECOVER.txt"];
        let name = *dice.pick(&[&names[..], &["recover.py", "B3SUMS"]].concat());
        let copies = self.set.copies(name);
        let count = match dice.below(8) {
            0..=3 => 1,
            // Without any hashes, what can be proven depends on more than the rows.
            4 if name != "hashes.b3" => copies.len(),
            _ => copies.len() - 1,
        };
        let way = dice.below(4);
        for path in dice.some(&copies, count).iter().filter(|p| p.exists()) {
            match way {
                0 => harm::remove([path]),
                1 => harm::zero(path, 0, 400),
                2 => harm::resize(path, harm::len(path) / 2),
                _ => fs::write(path, noise(9, harm::len(path) as usize)).unwrap(),
            }
        }
    }

    fn dir_of(&self, path: &Path) -> usize {
        self.set.dirs.iter().position(|d| path.starts_with(d)).unwrap()
    }

    fn has_good(&self, dirs: &[usize], name: &str) -> bool {
        let mut places = dirs.iter().flat_map(|d| copies_in(&self.set.dirs[*d], name));
        places.any(|p| fs::read(&p).is_ok_and(|bytes| bytes == self.whole[&p]))
    }

    /// A drive is here if its `B3SUMS` is, or half of its volumes begin as they must.
    fn is_present(&self, dir: usize) -> bool {
        let own: Vec<&PathBuf> = self.volumes.iter().filter(|p| self.dir_of(p) == dir).collect();
        let begins = |p: &&&PathBuf| {
            fs::read(p).is_ok_and(|b| b.get(..self.columns()).is_some_and(|b| b[..96] == self.whole[**p][..96]))
        };
        let good = own.iter().filter(begins).count();
        self.has_good(&[dir], "B3SUMS") || (good > 0 && 2 * good >= own.len())
    }

    /// Under the name of one of ours lies a file whose header page names another set or part, and of which no block is ours.
    /// Where nobody knows what blocks must be, it may be taken for such a file all the same.
    fn is_foreign(&self, given: &[usize], known: bool) -> bool {
        let volumes = self.volumes.iter().filter(|p| given.contains(&self.dir_of(p)));
        let mut files = volumes.filter_map(|p| Some((&self.whole[p], fs::read(p).ok()?)));
        let columns = self.columns();
        files.any(|(whole, bytes)| {
            let spans = (columns..whole.len()).step_by(columns).map(|at| at..(at + columns).min(whole.len()));
            let blocks: Vec<bool> = spans.filter_map(|s| Some(bytes.get(s.clone())? == &whole[s])).collect();
            let ours = known && blocks.contains(&true);
            let page = bytes.get(..columns);
            page.is_some_and(|p| names_another(p, &whole[..columns])) && !ours
        })
    }

    /// The verdicts that are right for what is on the drives given.
    fn expected(&self, given: &[usize]) -> BTreeSet<&'static str> {
        if !self.has_good(given, "manifest.json") || !self.has_good(given, "manifest.json.sig") {
            return BTreeSet::from(["untrusted"]);
        }
        let present: Vec<usize> = given.iter().copied().filter(|d| self.is_present(*d)).collect();
        let all_here = present.len() == self.set.dirs.len();
        let mut worst = self.rows(given, &present);
        if ["keys.age", "inventory.age"].iter().any(|name| !self.has_good(given, name)) {
            worst.insert(if all_here { Row::Lost } else { Row::Incomplete });
        }
        let worst_sure = *worst.iter().filter(|r| **r != Row::Perhaps).max().unwrap_or(&Row::Fine);
        let harmed = !all_here
            || self.whole.iter().any(|(p, b)| given.contains(&self.dir_of(p)) && fs::read(p).ok().as_ref() != Some(b));
        let word = |row| match row {
            _ if row >= Row::Incomplete && self.is_foreign(given, true) => "untrusted",
            Row::Lost => "lost",
            Row::Incomplete => "incomplete",
            _ if harmed => "repairable",
            _ => "intact",
        };
        let mut verdicts = BTreeSet::from([word(worst_sure)]);
        // Without any hashes, what can be proven depends on more than the rows.
        if worst.contains(&Row::Perhaps) || !self.has_good(given, "hashes.b3") {
            verdicts.insert(word(worst_sure.max(if all_here { Row::Lost } else { Row::Incomplete })));
            verdicts.insert(word(Row::Lost));
        }
        if !self.has_good(given, "hashes.b3") && self.is_foreign(given, false) {
            verdicts.insert("untrusted");
        }
        verdicts
    }

    fn rows(&self, given: &[usize], present: &[usize]) -> BTreeSet<Row> {
        let width = self.columns();
        let is_away = |p: &PathBuf| !present.contains(&self.dir_of(p));
        let read: Vec<Option<Vec<u8>>> =
            self.volumes.iter().map(|p| given.contains(&self.dir_of(p)).then(|| fs::read(p).ok()).flatten()).collect();
        let longest = self.volumes.iter().map(|p| self.whole[p].len()).max().unwrap();
        let rows = 1..longest.div_ceil(width);
        rows.map(|row| {
            let (mut wrong, mut rubbish, mut unread, mut away) = (0, 0, 0, 0);
            let (mut away_unread, mut columns) = (0, vec![0u16; width]);
            for (path, bytes) in self.volumes.iter().zip(&read) {
                let whole = &self.whole[path];
                let span = (row * width).min(whole.len())..((row + 1) * width).min(whole.len());
                let block = bytes.as_ref().and_then(|b| b.get(span.clone()));
                let differ: Vec<usize> = match block {
                    Some(block) => (0..block.len()).filter(|i| block[*i] != whole[span.start + i]).collect(),
                    None => Vec::new(),
                };
                match block {
                    _ if span.is_empty() => {}
                    None if is_away(path) => (away, away_unread) = (away + 1, away_unread + 1),
                    None => unread += 1,
                    Some(_) if differ.is_empty() => {}
                    Some(_) => {
                        differ.iter().for_each(|i| columns[*i] += 1);
                        rubbish += usize::from(
                            // A block with so many wrong bytes was not flipped, but written over.
                            differ.len() > width / 2,
                        );
                        if is_away(path) { away += 1 } else { wrong += 1 }
                    }
                }
            }
            let worst = usize::from(*columns.iter().max().unwrap());
            self.judge_row(wrong, rubbish, unread, (away, away_unread), worst)
        })
        .collect()
    }

    /// To fill in what is not there costs one parity block, to find and correct what is wrong costs two.
    fn judge_row(&self, wrong: usize, rubbish: usize, unread: usize, away: (usize, usize), worst: usize) -> Row {
        let (away, away_unread) = away;
        let gone = unread + away_unread;
        let helps = away > 0 && (wrong + unread <= self.m || unread + 2 <= self.m);
        match () {
            _ if wrong + unread + away <= self.m || gone + 2 * worst <= self.m => Row::Fine,
            _ if gone + 2 > self.m || gone + rubbish > self.m => {
                if helps {
                    Row::Incomplete
                } else {
                    Row::Lost
                }
            }
            _ => Row::Perhaps,
        }
    }

    /// All three verbs must say what is right, and the same; returns the verdict.
    #[track_caller]
    fn judge(&self, given: &[usize], case: &str) -> &'static str {
        let words = ["intact", "repairable", "incomplete", "lost", "untrusted"];
        let drives: Vec<String> = given.iter().map(|d| format!("usb{}", d + 1)).collect();
        let drives = drives.join(" ");
        let expected = self.expected(given);
        let report = self.vault.verdict(&drives);
        let verdict = *words.iter().find(|w| report["verdict"] == **w).unwrap();
        assert!(expected.contains(verdict), "{case}: {verdict}, and not one of {expected:?}: {report}");
        let code = match verdict {
            "lost" => 4,
            "untrusted" => 5,
            "incomplete" => 7,
            _ => 0,
        };
        let all_here = given.len() == self.set.dirs.len() && given.iter().all(|d| self.is_present(*d));
        match code {
            0 => drop(self.vault.restores(&drives, "checkpoint")),
            // Import stops at the first segment that it cannot have, and for that a drive may be brought.
            4 if !all_here => self.stops_at_the_first(&drives, case),
            code => drop(self.vault.refuses(&drives, code)),
        }
        let untouched: BTreeMap<&PathBuf, Option<Vec<u8>>> = self.whole.keys().map(|p| (p, fs::read(p).ok())).collect();
        let unknown = code == 0 && !given.iter().all(|d| self.is_present(*d));
        let ran = self.vault.receiver(&format!("repair {drives} --json"));
        // A directory of which nobody can tell whose drive it is does not get that drive's B3SUMS: a replacement does.
        let fits = ran.code == Some(code) || (unknown && ran.code == Some(7));
        ran.check(fits, &format!("{case}: {verdict}, and repair does not end with {code}"));
        if code == 0 && all_here {
            for (path, bytes) in &self.whole {
                let now = fs::read(path).ok();
                assert!(now.as_ref() == Some(bytes), "{case}: {} is not repaired\n{ran}", path.display());
            }
        }
        for (path, before) in untouched {
            let now = fs::read(path).ok();
            let kept = now == before || now.as_ref() == Some(&self.whole[path]);
            assert!(kept, "{case}: {} is neither as it was nor whole\n{ran}", path.display());
        }
        assert_eq!(
            self.set.files().iter().filter(|p| !self.whole.contains_key(*p)).count(),
            0,
            "{case}: left behind\n{ran}"
        );
        verdict
    }

    #[track_caller]
    fn stops_at_the_first(&self, drives: &str, case: &str) {
        let ran = self.vault.receiver(&format!("import {drives} --to there"));
        let stopped = [Some(4), Some(7)].contains(&ran.code) && !self.vault.path("there").exists();
        ran.check(stopped, &format!("{case}: lost, and import does not say so"));
        for left in names_in(&self.vault.root).iter().filter(|n| n.starts_with(b".ckvault-")) {
            fs::remove_dir_all(self.vault.path(std::str::from_utf8(left).unwrap())).unwrap();
        }
    }

    /// One case: some harm, some drives given, one judgement.
    fn case(&self, seed: u64) -> &'static str {
        let mut dice = Dice(seed);
        for _ in 0..1 + dice.below(4) {
            self.harm(&mut dice);
        }
        let all: Vec<usize> = (0..self.set.dirs.len()).collect();
        let keep = if dice.below(2) == 0 { all.len() } else { 1 + dice.below(all.len() as u64) as usize };
        let mut given = dice.some(&all, keep);
        given.sort_unstable();
        let verdict = self.judge(&given, &format!("seed {seed}, drives {given:?}"));
        self.heal();
        verdict
    }
}

/// Whether a header page names another set or another part than ours, and all else in it is as it must be.
fn names_another(page: &[u8], ours: &[u8]) -> bool {
    let number =
        |bytes: &[u8], at: usize, len: usize| bytes[at..at + len].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
    let [index, k, m] = [36, 38, 40].map(|at| number(page, at, 2));
    let (part, segment, volume) = (number(page, 44, 4), number(page, 48, 4), number(page, 56, 8));
    // Which volume of its kind it is: its name says it.
    let place = |index: u64, k: u64| (index < k, if index < k { index } else { index - k });
    let same_name = page[32..36] == ours[32..36] && place(index, k) == place(number(ours, 36, 2), number(ours, 38, 2));
    let limits = k > 0 && m > 0 && k + m <= 255 && index < k + m && (1..=1 << 16).contains(&part);
    let sizes =
        (1 << 16..=8 << 20).contains(&segment) && segment.is_power_of_two() && (2 << 20..=1 << 46).contains(&volume);
    let zeros = [&page[42..44], &page[52..56], &page[96..]].concat().iter().all(|b| *b == 0);
    let fits = page[64..96] == *blake3::hash(&page[..64]).as_bytes();
    let another = page[16..32] != ours[16..32] || page[44..48] != ours[44..48];
    page[..16] == ours[..16] && same_name && limits && sizes && zeros && fits && another
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Runs cases of one shape, and says how they ended. Ids, keys and lengths of a set are not the same twice: the rules must hold
/// for all. `CKVAULT_TEST_SEED` shifts the seeds, for other cases than those of every day.
fn run(block: u64, drives: u32, k: usize, m: usize, seeds: std::ops::Range<u64>) -> BTreeMap<&'static str, u32> {
    let shift: u64 = std::env::var("CKVAULT_TEST_SEED").map_or(0, |seed| seed.parse().unwrap());
    let seeds = seeds.start + shift..seeds.end + shift;
    let bench = Bench::new(block, drives, k, m);
    let mut ends = BTreeMap::new();
    for seed in seeds.clone() {
        *ends.entry(bench.case(seed)).or_default() += 1;
    }
    eprintln!("{} cases of {k}+{m} on {drives} drive(s), seeds {seeds:?}: {ends:?}", seeds.end - seeds.start);
    ends
}

#[test]
fn random_damage_is_judged_by_its_worst_row() {
    let ends = run(BLOCK, 1, 4, 3, 0..24);
    assert!(ends.contains_key("lost") && ends.contains_key("repairable"), "{ends:?}");
}

#[test]
fn random_damage_of_a_small_group_is_judged_by_its_worst_row() {
    let ends = run(BLOCK, 1, 3, 1, 100..120);
    assert!(ends.contains_key("lost") && ends.contains_key("repairable"), "{ends:?}");
}

#[test]
fn random_damage_beside_absent_drives_is_lost_incomplete_or_repairable() {
    let ends = run(BLOCK, 3, 6, 3, 200..230);
    assert!(["lost", "incomplete", "repairable"].iter().all(|w| ends.contains_key(w)), "{ends:?}");
}

#[test]
fn random_damage_with_parity_to_spare_is_mended() {
    let ends = run(BLOCK, 2, 8, 4, 300..316);
    assert!(ends.contains_key("repairable"), "{ends:?}");
}

#[test]
fn random_damage_of_large_blocks_is_judged_by_its_worst_row() {
    let ends = run(16 * BLOCK, 2, 3, 2, 400..414);
    assert!(["lost", "repairable"].iter().all(|w| ends.contains_key(w)), "{ends:?}");
}

/// Many more of the same: `cargo test --release --test cli -- --ignored thorough --nocapture`.
#[test]
#[ignore = "takes many minutes"]
fn thorough_random_damage() {
    const SEEDS: std::ops::Range<u64> = 10_000..10_400;
    for (drives, k, m) in [(4, 2, 2), (1, 4, 3), (1, 3, 1), (3, 6, 3), (2, 8, 4), (3, 15, 9), (1, 16, 2)] {
        run(BLOCK, drives, k, m, SEEDS);
    }
}
