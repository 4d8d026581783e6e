//! Blocks of volumes, each checked against its value before anybody sees it, and reconstructed from the other volumes of its
//! group where it is bad or missing.
//!
//! A page of block values is taken from any copy of `hashes.b3` that folds to the signed span value; if there is none, from
//! the volume itself, if that folds; else from a reconstruction of the whole span, if that does.

use crate::error::{Error, Result};
use crate::format::hashes::{self, BLOCK, PAGE, Value, blocks, fold_page};
use crate::format::manifest::Volume;
use crate::format::names;
use crate::media::disk::Opened;
use crate::pipeline::bits::Bits;
use crate::pipeline::lock;
use crate::pipeline::parity::Codec;
use crate::pipeline::part::{Part, name_drives};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

/// Bytes that a reconstruction holds at a time, over all volumes.
const REPAIR: usize = 16 << 20;
/// Open files and pages of values that are kept.
const MOST_FILES: usize = 512;
const MOST_PAGES: usize = 512;

type Page = Arc<Vec<Value>>;
/// Open files.
type Files = Vec<Arc<Opened>>;
/// A page of a volume.
type Key = (At, usize);

/// Reads verified blocks of a set.
pub struct Blocks<'a> {
    set: &'a Part,
    codec: Codec,
    offsets: Vec<Vec<u64>>,
    hash_files: Vec<PathBuf>,
    files: Mutex<HashMap<At, Files>>,
    pages: Mutex<HashMap<Key, Option<Page>>>,
    repaired: Mutex<HashMap<At, Bits>>,
    proving: Mutex<()>,
    prover: Mutex<Option<Prover>>,
}

/// The thread that proves a page, and the pages that it already knows it cannot have.
struct Prover {
    thread: ThreadId,
    failed: HashSet<Key>,
}

/// One volume of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct At {
    /// The group.
    pub group: usize,
    /// The index in the group.
    pub index: usize,
}

impl<'a> Blocks<'a> {
    /// For a trusted set.
    pub fn new(set: &'a Part) -> Result<Blocks<'a>> {
        require_readable(set)?;
        let first = &set.manifest.groups[0];
        let (offsets, _) = set.manifest.value_offsets();
        let hash_files = set.dirs.iter().flat_map(|d| [d.join(names::HASHES), d.join(names::COPY).join(names::HASHES)]);
        Ok(Blocks {
            set,
            codec: Codec::new(first.k, first.m)?,
            offsets,
            hash_files: hash_files.filter(|p| p.is_file()).collect(),
            files: Mutex::default(),
            pages: Mutex::default(),
            repaired: Mutex::default(),
            proving: Mutex::default(),
            prover: Mutex::default(),
        })
    }

    /// How many blocks have been reconstructed.
    pub fn repaired(&self) -> u64 {
        lock(&self.repaired).values().map(Bits::count).sum()
    }

    /// The number of the part that they are of.
    pub fn part(&self) -> u32 {
        self.set.manifest.part
    }

    fn volume(&self, at: At) -> &Volume {
        &self.set.manifest.groups[at.group].volumes[at.index]
    }

    /// The position of a volume's drive among the drives of the set.
    pub fn drive(&self, at: At) -> usize {
        self.set.manifest.drive_number(self.volume(at).drive) as usize - 1
    }

    /// The files of a volume that are here and can be opened; there should be one.
    pub fn files(&self, at: At) -> Files {
        let mut files = lock(&self.files);
        if let Some(known) = files.get(&at) {
            return known.clone();
        }
        if files.len() >= MOST_FILES {
            files.clear();
        }
        let paths = self.set.volume_paths(at.group, at.index);
        let opened: Files = paths.iter().filter_map(|p| self.set.disk.open(p).ok()).map(Arc::new).collect();
        files.insert(at, opened.clone());
        opened
    }

    /// Reads blocks `range` of a volume into `out`, as far as they can be read; true for each that has its value.
    pub fn check(&self, at: At, range: Range<u64>, out: &mut Vec<u8>) -> Vec<bool> {
        let (from, to) = self.bytes_of(at, &range);
        out.clear();
        out.resize((to - from) as usize, 0);
        let mut good = vec![false; (range.end - range.start) as usize];
        for file in self.files(at) {
            self.check_file(&file, at, range.start, from, out, &mut good);
            if good.iter().all(|g| *g) {
                break;
            }
        }
        good
    }

    /// Reads those blocks that are not good yet from one file.
    fn check_file(&self, file: &Opened, at: At, first: u64, from: u64, out: &mut [u8], good: &mut [bool]) {
        let readable = match good.iter().any(|g| *g) {
            false => read_blocks(file, out, from),
            true => read_missing(file, out, from, good),
        };
        for (i, (block, readable)) in out.chunks(BLOCK).zip(readable).enumerate() {
            let number = first + i as u64;
            let fits = || self.value(at, number) == Some(hashes::block(number, block, self.volume(at).bytes));
            good[i] = good[i] || (readable && fits());
        }
    }

    fn bytes_of(&self, at: At, range: &Range<u64>) -> (u64, u64) {
        let len = self.volume(at).bytes;
        ((range.start * BLOCK as u64).min(len), (range.end * BLOCK as u64).min(len))
    }

    /// Reads bytes `from..to` of a data volume, reconstructing what is bad.
    pub fn read(&self, at: At, from: u64, to: u64, buffer: &mut Vec<u8>) -> Result<Range<usize>> {
        let range = from / BLOCK as u64..blocks(to);
        let good = self.check(at, range.clone(), buffer);
        let mut start = 0;
        while start < good.len() {
            let end = start + good[start..].iter().take_while(|g| **g == good[start]).count();
            if !good[start] {
                let run = range.start + start as u64..range.start + end as u64;
                let bytes = &mut buffer[start * BLOCK..];
                let len = bytes.len().min((end - start) * BLOCK);
                self.repair(at, run, &mut bytes[..len])?;
            }
            start = end;
        }
        let skipped = (from - range.start * BLOCK as u64) as usize;
        Ok(skipped..skipped + (to - from) as usize)
    }

    /// Reconstructs blocks `run` of a volume into `out`.
    fn repair(&self, at: At, run: Range<u64>, out: &mut [u8]) -> Result<()> {
        let n = self.set.manifest.groups[at.group].volumes.len();
        let batch = (REPAIR / (n * BLOCK)).max(1) as u64;
        let mut start = run.start;
        for part in out.chunks_mut(batch as usize * BLOCK) {
            let rows = start..start + blocks(part.len() as u64);
            self.reconstruct(at, rows.clone(), part)?;
            for (i, block) in part.chunks(BLOCK).enumerate() {
                let number = rows.start + i as u64;
                let value = hashes::block(number, block, self.volume(at).bytes);
                if self.value(at, number) != Some(value) {
                    return Err(self.beyond_repair(at, number, 0));
                }
                self.note_repaired(at, number);
            }
            start = rows.end;
        }
        Ok(())
    }

    fn note_repaired(&self, at: At, number: u64) {
        let blocks = blocks(self.volume(at).bytes);
        lock(&self.repaired).entry(at).or_insert_with(|| Bits::new(blocks, false)).insert(number);
    }

    /// Computes rows `rows` of a volume from K others, without proving the result.
    fn reconstruct(&self, at: At, rows: Range<u64>, out: &mut [u8]) -> Result<()> {
        let group = &self.set.manifest.groups[at.group];
        let (k, count) = (usize::from(group.k), (rows.end - rows.start) as usize);
        if rows.start == 0 {
            return self.reconstruct_header(at, rows, out);
        }
        // With fewer than K volumes here there is nothing to read for.
        let here = |i: &usize| {
            *i != at.index
                && (rows.start >= blocks(group.volumes[*i].bytes)
                    || !self.files(At { group: at.group, index: *i }).is_empty())
        };
        let possible = (0..group.volumes.len()).filter(here).count();
        if possible < k {
            return Err(self.beyond_repair(at, rows.start, k - possible));
        }
        let mut slices = vec![vec![0u8; count * BLOCK]; group.volumes.len()];
        let mut good = vec![vec![false; count]; group.volumes.len()];
        let mut scratch = Vec::new();
        for index in (0..group.volumes.len()).filter(|i| *i != at.index) {
            let enough = |row: usize| good.iter().filter(|g| g[row]).count() >= k;
            if (0..count).all(enough) {
                break;
            }
            good[index] = self.padded(At { group: at.group, index }, rows.clone(), &mut scratch);
            slices[index][..scratch.len()].copy_from_slice(&scratch);
        }
        for row in 0..count {
            let known = good.iter().filter(|g| g[row]).count();
            if known < k {
                return Err(self.beyond_repair(at, rows.start + row as u64, k - known));
            }
            let span = row * BLOCK..(row + 1) * BLOCK;
            let mut shards: Vec<(&mut [u8], bool)> =
                slices.iter_mut().zip(&good).map(|(s, g)| (&mut s[span.clone()], g[row])).collect();
            match at.index < k {
                true => self.codec.reconstruct_data(&mut shards)?,
                false => self.codec.reconstruct(&mut shards)?,
            }
        }
        out.copy_from_slice(&slices[at.index][..out.len()]);
        Ok(())
    }

    /// The header page belongs to no row: it is made from the manifest.
    fn reconstruct_header(&self, at: At, rows: Range<u64>, out: &mut [u8]) -> Result<()> {
        let (header, rest) = out.split_at_mut(BLOCK);
        header.copy_from_slice(&self.set.manifest.header(at.group, at.index).encode());
        match rest.is_empty() {
            true => Ok(()),
            false => self.reconstruct(at, 1..rows.end, rest),
        }
    }

    /// Like [`Blocks::check`], but past its end a volume reads as zeros, which are good.
    fn padded(&self, at: At, rows: Range<u64>, out: &mut Vec<u8>) -> Vec<bool> {
        let last = blocks(self.volume(at).bytes).clamp(rows.start, rows.end);
        let mut good = self.check(at, rows.start..last, out);
        good.resize((rows.end - rows.start) as usize, true);
        good
    }

    /// The value of a block, if its page can be proven.
    pub fn value(&self, at: At, block: u64) -> Option<Value> {
        let page = self.page(at, block as usize / PAGE)?;
        page.get(block as usize % PAGE).copied()
    }

    fn page(&self, at: At, page: usize) -> Option<Page> {
        let key = (at, page);
        if let Some(known) = lock(&self.pages).get(&key) {
            return known.clone();
        }
        if let Some(found) = self.page_from_copies(at, page) {
            return self.keep_page(key, Some(found));
        }
        match self.is_proving() {
            true => self.page_while_proving(at, page),
            false => self.prove_page(at, page),
        }
    }

    fn is_proving(&self) -> bool {
        let me = std::thread::current().id();
        lock(&self.prover).as_ref().is_some_and(|p| p.thread == me)
    }

    /// The slow way to a page that no copy proves. One thread at a time goes it: others that need such a page wait.
    fn prove_page(&self, at: At, page: usize) -> Option<Page> {
        let key = (at, page);
        let _alone = lock(&self.proving);
        if let Some(known) = lock(&self.pages).get(&key) {
            return known.clone();
        }
        let thread = std::thread::current().id();
        *lock(&self.prover) = Some(Prover { thread, failed: HashSet::from([key]) });
        let found = self.page_from_volume(at, page).or_else(|| self.page_from_reconstruction(at, page));
        *lock(&self.prover) = None;
        self.keep_page(key, found)
    }

    /// A page that the reconstruction of another asks for: from its volume or not at all, so that this ends.
    fn page_while_proving(&self, at: At, page: usize) -> Option<Page> {
        let key = (at, page);
        if lock(&self.prover).as_ref().is_some_and(|p| p.failed.contains(&key)) {
            return None;
        }
        match self.page_from_volume(at, page) {
            Some(found) => self.keep_page(key, Some(found)),
            None => {
                lock(&self.prover).as_mut().map(|p| p.failed.insert(key));
                None
            }
        }
    }

    fn keep_page(&self, key: Key, page: Option<Page>) -> Option<Page> {
        let mut pages = lock(&self.pages);
        if pages.len() >= MOST_PAGES {
            // What could not be proven was costly to find out.
            pages.retain(|_, page| page.is_none());
        }
        pages.insert(key, page.clone());
        page
    }

    fn values_in(&self, at: At, page: usize) -> usize {
        (blocks(self.volume(at).bytes) as usize - page * PAGE).min(PAGE)
    }

    fn prove(&self, at: At, page: usize, values: Vec<Value>) -> Option<Page> {
        let whole = blocks(self.volume(at).bytes) <= PAGE as u64;
        let proven = fold_page(&values, whole) == self.volume(at).span(page);
        proven.then(|| Arc::new(values))
    }

    fn page_from_copies(&self, at: At, page: usize) -> Option<Page> {
        self.hash_files.iter().find_map(|path| self.page_in(path, at, page))
    }

    /// A page as one copy of `hashes.b3` has it, if that is proven.
    fn page_in(&self, path: &std::path::Path, at: At, page: usize) -> Option<Page> {
        let mut bytes = vec![0; self.values_in(at, page) * 32];
        let offset = (self.offsets[at.group][at.index] + (page * PAGE) as u64) * 32;
        let file = self.set.disk.open(path).ok()?;
        if file.read_up_to(&mut bytes, offset).ok()? < bytes.len() {
            return None;
        }
        let values = bytes.as_chunks::<32>().0.to_vec();
        self.prove(at, page, values)
    }

    fn page_from_volume(&self, at: At, page: usize) -> Option<Page> {
        self.files(at).iter().find_map(|file| {
            let fill = |range: Range<u64>, out: &mut [u8]| {
                let from = range.start * BLOCK as u64;
                file.read_up_to(out, from).ok().filter(|n| *n == out.len()).map(drop)
            };
            self.page_by(at, page, fill)
        })
    }

    fn page_from_reconstruction(&self, at: At, page: usize) -> Option<Page> {
        self.page_by(at, page, |range, out| self.reconstruct(at, range, out).ok())
    }

    /// Computes the values of a page from blocks that `fill` provides.
    fn page_by(&self, at: At, page: usize, fill: impl Fn(Range<u64>, &mut [u8]) -> Option<()>) -> Option<Page> {
        const RUN: u64 = 8;
        let first = (page * PAGE) as u64;
        let last = first + self.values_in(at, page) as u64;
        let (mut values, mut buffer) = (Vec::new(), Vec::new());
        for start in (first..last).step_by(RUN as usize) {
            let range = start..(start + RUN).min(last);
            let (from, to) = self.bytes_of(at, &range);
            buffer.resize((to - from) as usize, 0);
            fill(range, &mut buffer)?;
            let blocks = buffer.chunks(BLOCK).enumerate();
            values.extend(blocks.map(|(i, b)| hashes::block(start + i as u64, b, self.volume(at).bytes)));
        }
        self.prove(at, page, values)
    }

    /// Says what is lost, and whether drives that are not here could still help.
    fn beyond_repair(&self, at: At, block: u64, lacking: usize) -> Error {
        if let Err(gone) = self.set.require_here() {
            return gone;
        }
        let group = &self.set.manifest.groups[at.group];
        let name = crate::format::manifest::volume_name(at.group, at.index, group.k);
        let what = format!(
            "{name} at byte {} is damaged or missing, and too many other volumes of its group are too",
            block * BLOCK as u64
        );
        let absent = self.set.absent();
        let helping = group.volumes.iter().filter(|v| absent.contains(&v.drive)).count();
        if helping > 0 && helping >= lacking {
            return Error::drive(
                what,
                format!(
                    "bring {} of the set, and name all drives in one command",
                    name_drives(&self.set.absent_numbers())
                ),
            );
        }
        Error::lost(what, "ask the sender for a new export")
    }
}

/// Reads blocks; where the drive fails, block by block, so that a bad sector costs no more than its own.
fn read_blocks(file: &Opened, out: &mut [u8], from: u64) -> Vec<bool> {
    let count = out.len().div_ceil(BLOCK);
    match file.read_up_to(out, from) {
        Ok(n) if n == out.len() => vec![true; count],
        Ok(n) => (0..count).map(|i| (i + 1) * BLOCK <= n).collect(),
        Err(_) => {
            let each = out.chunks_mut(BLOCK).enumerate();
            each.map(|(i, block)| file.read_up_to(block, from + (i * BLOCK) as u64).is_ok_and(|n| n == block.len()))
                .collect()
        }
    }
}

/// Reads the blocks that are not good yet, over what was read of them before.
fn read_missing(file: &Opened, out: &mut [u8], from: u64, good: &[bool]) -> Vec<bool> {
    let read = |(i, block): (usize, &mut [u8])| {
        !good[i] && file.read_up_to(block, from + (i * BLOCK) as u64).is_ok_and(|n| n == block.len())
    };
    out.chunks_mut(BLOCK).enumerate().map(read).collect()
}

/// A file that this user may not read is no missing volume: bringing more drives does not help, a permission does.
fn require_readable(set: &Part) -> Result<()> {
    for (group, index, _, _) in set.manifest.volumes() {
        for path in set.volume_paths(group, index) {
            if let Err(e) = set.disk.open(&path)
                && e.kind() == std::io::ErrorKind::PermissionDenied
            {
                return Err(Error::on_drive("read", path)(e));
            }
        }
    }
    Ok(())
}
