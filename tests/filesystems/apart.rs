//! No single place of a drive ends a set. Where the files of a set lie is found out from the image of a real file system; then the
//! same bytes are zeroed in a plain copy of the set, window by window.
//!
//! What is zeroed is contents of files and nothing else: windows that lie on the tables of the file system itself (superblocks, bitmaps,
//! inodes, directories, the FAT) take names or whole files away, which is not what copies lie apart for.

use crate::dice::Dice;
use crate::harm;
use crate::mount::{Kind, Mount};
use crate::support::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
/// File systems give places in pieces of this, or of more, that begin at multiples of the half of it.
const PIECE: usize = 1024;

/// What lies in a place of the image: a piece of a file, from an offset on.
struct Map(BTreeMap<u64, (PathBuf, u64, u64)>);

impl Map {
    /// Of an image that has these files.
    fn new(image: &Path, files: &[PathBuf]) -> Map {
        let bytes: Vec<(PathBuf, Vec<u8>)> = files.iter().map(|p| (p.clone(), fs::read(p).unwrap())).collect();
        let mut wanted: HashMap<[u8; 32], Vec<u64>> = HashMap::new();
        bytes
            .iter()
            .flat_map(|(_, bytes)| bytes.chunks_exact(PIECE))
            .for_each(|piece| drop(wanted.insert(hash(piece), Vec::new())));
        // The last pieces of files are shorter: what begins like them.
        let mut ends: HashMap<Vec<u8>, Vec<u64>> = HashMap::new();
        let end = |bytes: &[u8]| bytes.chunks_exact(PIECE).remainder()[..].to_vec();
        bytes.iter().for_each(|(_, bytes)| drop(ends.insert(start(&end(bytes)), Vec::new())));
        each_piece(image, |at, piece| {
            if let Some(places) = wanted.get_mut(&hash(piece)) {
                places.push(at);
            }
            (1..=START).for_each(|len| ends.get_mut(&piece[..len]).into_iter().for_each(|places| places.push(at)));
        });
        let mut map = Map(BTreeMap::new());
        for (path, bytes) in &bytes {
            map.add(path, bytes, &wanted, &ends, image);
        }
        map
    }

    /// Finds the pieces of a file, each behind the one before it if it is there.
    fn add(
        &mut self,
        path: &Path,
        bytes: &[u8],
        wanted: &HashMap<[u8; 32], Vec<u64>>,
        ends: &HashMap<Vec<u8>, Vec<u64>>,
        image: &Path,
    ) {
        let mut next = None;
        for (n, piece) in bytes.chunks(PIECE).enumerate() {
            let candidates: Vec<u64> = match piece.len() == PIECE {
                true => wanted[&hash(piece)].clone(),
                false => {
                    ends[&start(piece)].iter().copied().filter(|at| read_at(image, *at, piece.len()) == piece).collect()
                }
            };
            let free = |at: &&u64| !self.0.contains_key(*at);
            let behind = candidates.iter().filter(free).find(|at| Some(**at) == next);
            let at = *behind
                .or_else(|| candidates.iter().find(free))
                .unwrap_or_else(|| panic!("{} is nowhere", path.display()));
            self.0.insert(at, (path.to_owned(), (n * PIECE) as u64, piece.len() as u64));
            next = Some(at + PIECE as u64);
        }
    }

    /// Where the pieces of a file lie.
    fn places(&self, path: &Path) -> impl Iterator<Item = u64> {
        self.0.iter().filter(move |(_, piece)| piece.0 == path).map(|(at, _)| *at)
    }

    /// Zeroes what lies in a window of the image; returns the files that lost something, as they were.
    fn zero(&self, from: u64, to: u64, plain: impl Fn(&Path) -> PathBuf) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut before = BTreeMap::new();
        for (at, (path, offset, len)) in self.0.range(from.saturating_sub(PIECE as u64)..to) {
            let (begin, end) = (from.max(*at), to.min(at + len));
            if begin < end {
                let path = plain(path);
                before.entry(path.clone()).or_insert_with(|| fs::read(&path).unwrap());
                harm::zero(&path, offset + begin - at, end - begin);
            }
        }
        before
    }
}

/// So much of the last piece of a file is looked for.
const START: usize = 16;

fn start(end: &[u8]) -> Vec<u8> {
    end[..end.len().min(START)].to_vec()
}

fn hash(piece: &[u8]) -> [u8; 32] {
    *blake3::hash(piece).as_bytes()
}

fn each_piece(image: &Path, mut take: impl FnMut(u64, &[u8])) {
    let (mut file, mut buffer, mut at) = (File::open(image).unwrap(), vec![0; MIB as usize + PIECE], 0u64);
    let mut have = 0;
    loop {
        let read = file.read(&mut buffer[have..]).unwrap();
        have += read;
        if read > 0 && have < buffer.len() {
            continue;
        }
        let here = have.saturating_sub(PIECE - 1);
        if buffer[..have].iter().any(|byte| *byte != 0) {
            (0..here).step_by(PIECE / 2).for_each(|from| take(at + from as u64, &buffer[from..from + PIECE]));
        }
        if read == 0 {
            return;
        }
        buffer.copy_within(MIB as usize.., 0);
        (at, have) = (at + MIB, have - MIB as usize);
    }
}

fn read_at(image: &Path, at: u64, len: usize) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; len];
    File::open(image).unwrap().read_exact_at(&mut bytes, at).unwrap();
    bytes
}

/// A set on one drive, a plain copy of it, and where its files lie on the drive.
struct Trial {
    vault: Vault,
    map: Map,
    metadata: Vec<PathBuf>,
    set: Set,
    kind: Kind,
}

/// How a set comes to a drive.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Made {
    ByExport,
    ByRepair,
}

impl Trial {
    /// On a new file system of this many bytes, in blocks of so many.
    fn new(kind: Kind, bytes: u64, made: Made, block: u64) -> Option<Trial> {
        let mut vault = Vault::in_memory();
        vault.block = block;
        vault.make(&["source", "plain", "usb"]);
        fs::write(vault.path("source/model.bin"), noise(1, 12 * MIB as usize)).unwrap();
        // So many names that the inventory has several pieces.
        for i in 0..2400u64 {
            let name: String = noise(i, 30).iter().map(|byte| format!("{byte:02x}")).collect();
            fs::write(vault.path("source").join(name), "").unwrap();
        }
        let drive = Mount::sized(&vault, "stick", kind, bytes)?;
        let mut set = match made {
            Made::ByExport => vault.export("source --to stick"),
            Made::ByRepair => vault.export("source --to usb"),
        };
        let says = text(&set.report["survives"]);
        assert!(says.contains("damage of up to 1 MiB in one place"), "{says}");
        if made == Made::ByRepair {
            harm::remove([set.volume("g00000-d003.ckv")]);
            vault.receiver("repair usb --to stick").ok();
            set.dirs = vec![vault.path("stick").join(set.dirs[0].file_name().unwrap())];
        }
        drive.read_only();
        let files = set.files();
        let map = Map::new(&drive.image, &files);
        harm::copy_tree(&set.dirs[0], &vault.path("plain/set.ckvault"));
        let metadata: Vec<PathBuf> = files.into_iter().filter(|p| p.extension() != Some("ckv".as_ref())).collect();
        assert!(harm::len(&set.dirs[0].join("inventory.age")) > 65_536);
        Some(Trial { vault, map, metadata, set, kind })
    }

    /// What a window takes away is not missed.
    fn window(&self, from: u64, len: u64, import: bool) {
        let plain =
            |path: &Path| self.vault.path("plain/set.ckvault").join(path.strip_prefix(&self.set.dirs[0]).unwrap());
        let before = self.map.zero(from, from + len, plain);
        let verdict = self.vault.verdict("plain");
        let good = ["intact", "repairable"].map(|word| verdict["verdict"] == word).contains(&true);
        assert!(good, "{:?}, {len} bytes from {from} on: {:?}: {verdict}", self.kind, before.keys());
        if import {
            self.vault.restores("plain", "source");
        }
        before.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }

    /// The places of the metadata files: each 8 KiB of them, and a MiB that begins, ends or has its middle with one of them.
    fn metadata(&self) -> usize {
        let mut windows = BTreeSet::new();
        for path in &self.metadata {
            let (first, last) = (self.map.places(path).min().unwrap_or(0), self.map.places(path).max().unwrap_or(0));
            windows.extend(self.map.places(path).map(|at| (at / 8192 * 8192, 8192)));
            windows.extend(
                [first, (last + PIECE as u64).saturating_sub(MIB), first.saturating_sub(MIB / 2)].map(|at| (at, MIB)),
            );
        }
        windows.iter().for_each(|(from, len)| self.window(*from, *len, false));
        windows.len()
    }

    /// A MiB at random places between the first and the last of what the set has.
    fn anywhere(&self, windows: u64, seed: u64) {
        let (first, last) = (*self.map.0.keys().next().unwrap(), *self.map.0.keys().next_back().unwrap());
        let mut dice = Dice(seed);
        for n in 0..windows {
            let from = (first + dice.below(last - first)).saturating_sub(MIB / 2);
            self.window(from, MIB, n % 16 == 0);
        }
    }
}

fn number_of(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// `CKVAULT_WINDOWS` and `CKVAULT_SEED` have more of it tried.
#[test]
fn no_single_place_ends_a_set() {
    let (windows, seed) = (number_of("CKVAULT_WINDOWS", 24), number_of("CKVAULT_SEED", 11));
    // The blocks of the first file system have 1 KiB, those of the second 4 KiB.
    let file_systems = [(Kind::Ext4, 100 * MIB), (Kind::Ext4, 600 * MIB), (Kind::Exfat, 100 * MIB)];
    let ways = [Made::ByExport, Made::ByRepair];
    let short = file_systems.into_iter().flat_map(|fs| ways.map(|made| (fs, made, 64 << 10)));
    let long = file_systems[1..].iter().map(|fs| (*fs, Made::ByExport, MIB));
    for ((kind, bytes), made, block) in short.chain(long) {
        let Some(trial) = Trial::new(kind, bytes, made, block) else { continue };
        let tried = trial.metadata();
        trial.anywhere(windows, seed);
        println!(
            "{kind:?} of {bytes} bytes, blocks of {block}, made {made:?}: {tried} windows on metadata, {windows} anywhere with seed {seed}"
        );
    }
}

/// Where the pieces of a file lie in the image, by `filefrag`.
fn pieces(vault: &Vault, path: &Path) -> Vec<(u64, u64)> {
    let told = vault.tool("filefrag", "-v -b1").arg(path).run().ok().stdout;
    let numbers = |line: &str| {
        let columns: Vec<String> =
            line.split(':').map(|c| c.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect()).collect();
        let (begin, end) = columns.get(2)?.split_once("..")?;
        Some((begin.parse().ok()?, end.parse().ok()?))
    };
    told.lines().filter_map(numbers).collect()
}

/// What is asked for last, ext4 may put into a gap beside what was asked for first, as it does on some sizes of a new file system: then it is
/// not said that damage in one place does no harm.
#[test]
fn copies_that_came_to_lie_near_each_other_are_not_promised_to_lie_apart() {
    let vault = Vault::new();
    vault.make(&["source"]);
    fs::write(vault.path("source/model.bin"), noise(1, 20 * MIB as usize)).unwrap();
    for mib in [300, 1500, 2000, 4000] {
        let Some(_drive) = Mount::sized(&vault, "stick", Kind::Ext4, mib * MIB) else { return };
        let set = vault.export("source --to stick");
        let claims = text(&set.report["survives"]).contains("damage of up to 1 MiB in one place");
        for name in ["keys.age", "manifest.json", "manifest.json.sig"] {
            let copies: Vec<Vec<(u64, u64)>> =
                ["", "copy", "third"].map(|place| pieces(&vault, &set.dirs[0].join(place).join(name))).into();
            assert!(copies.iter().all(|copy| !copy.is_empty()), "filefrag tells no place of {name}");
            let (last, first) =
                (copies.iter().flatten().map(|p| p.0).max(), copies.iter().flatten().map(|p| p.1).min());
            let near = last < first.map(|first| first + MIB);
            println!("ext4 of {mib} MiB, {name}: {copies:?}, {}", if claims { "promised" } else { "not promised" });
            assert!(!(claims && near), "{mib} MiB: {name} lies at {copies:?}");
        }
    }
}

/// Of the room that the plan asks for, places are taken too; nothing is promised of a drive that does not tell how much it has.
#[test]
fn only_what_was_given_its_place_is_promised_to_lie_apart() {
    let vault = Vault::new();
    vault.make(&["source"]);
    fs::write(vault.path("source/model.bin"), noise(1, 3 * MIB as usize / 2)).unwrap();
    for (kind, promised) in [(Kind::Tmpfs("size=9200k"), true), (Kind::Ramfs, false)] {
        let Some(_drive) = Mount::new(&vault, "stick", kind) else { return };
        let set = vault.export("source --to stick --parity 2+1");
        let says = text(&set.report["survives"]);
        assert_eq!(says.contains("KiB in one place"), promised, "{kind:?}: {says}");
    }
}
