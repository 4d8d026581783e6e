//! Blocks of volumes, each checked against its value before anybody sees it, and reconstructed from the other volumes of its
//! group where it is bad or missing.

use crate::error::{Error, Result};
use crate::format::hashes::{BlockSize, PAGE, Value};
use crate::format::manifest::{Volume, volume_name};
use crate::format::names;
use crate::media::buffer::Buffer;
use crate::media::cache;
use crate::media::dir::Location;
use crate::media::process::open_files;
use crate::set::block_set::Bits;
use crate::set::mended::Recent;
use crate::set::pages::Pages;
use crate::set::part::{At, Part, name_drives};
use crate::set::reading::Source;
use crate::stages::parity::Codec;
use crate::threads::lock;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

/// Bytes that a reconstruction holds at a time, over all volumes.
const REPAIR: usize = 16 << 20;
/// Open files that are kept, at most; never more than a third of those that the process may have.
const MOST_FILES: usize = 512;

/// The files of a volume.
pub(crate) type Sources = Vec<Arc<Source>>;

/// Reads verified blocks of a set.
pub struct Blocks<'a> {
    pub(crate) set: &'a Part,
    pub(crate) block: BlockSize,
    pub(crate) codec: Codec,
    files: Mutex<Kept>,
    most_files: usize,
    pub(crate) pages: Pages,
    pub(crate) recent: Recent,
    repaired: Mutex<HashMap<At, Bits>>,
    /// A volume here that is of another set or part, and which one, once somebody has looked.
    pub(super) foreign: OnceLock<Option<(String, String)>>,
}

/// Files that are kept open, and how many.
#[derive(Default)]
struct Kept {
    of: HashMap<At, Sources>,
    count: usize,
}

/// What was found of a block, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// It has its value.
    Good,
    /// It was read, and does not have its value.
    Wrong,
    /// It could not be read, or nobody knows what it must be.
    Unread,
}

impl<'a> Blocks<'a> {
    /// For a trusted set.
    pub fn new(set: &'a Part) -> Result<Blocks<'a>> {
        require_readable(set)?;
        let first = &set.manifest.groups[0];
        let hash_files = set.dirs.iter().flat_map(|dir| names::copies(names::HASHES).map(|name| dir.at(name)));
        Ok(Blocks {
            set,
            block: set.manifest.block(),
            codec: Codec::new(first.k, first.m)?,
            files: Mutex::default(),
            most_files: (open_files() / 3).clamp(1, MOST_FILES),
            pages: Pages::new(&set.manifest, hash_files.filter(|at| at.dir.has_file(&at.name)).collect()),
            recent: Recent::default(),
            repaired: Mutex::default(),
            foreign: OnceLock::new(),
        })
    }

    /// How many blocks have been reconstructed.
    pub fn repaired(&self) -> u64 {
        lock(&self.repaired).values().map(Bits::count).sum()
    }

    /// The part that they are of.
    pub fn set(&self) -> &'a Part {
        self.set
    }

    /// How long its blocks are.
    pub fn block_size(&self) -> BlockSize {
        self.block
    }

    /// The signed hash of a volume.
    pub fn root(&self, at: At) -> Value {
        self.volume(at).blake3
    }

    /// The number of the part that they are of.
    pub fn part(&self) -> u32 {
        self.set.manifest.part
    }

    /// How many blocks a volume has.
    pub(crate) fn count(&self, at: At) -> u64 {
        self.block.blocks(self.volume(at).bytes)
    }

    pub(crate) fn volume(&self, at: At) -> &Volume {
        &self.set.manifest.groups[at.group].volumes[at.index]
    }

    /// The position of a volume's drive among the drives of the set.
    pub fn drive(&self, at: At) -> usize {
        self.set.manifest.drive_number(self.volume(at).drive) as usize - 1
    }

    /// The files of a volume that are here and can be opened; there should be one.
    pub fn files(&self, at: At) -> Sources {
        let mut kept = lock(&self.files);
        if !kept.of.contains_key(&at) {
            let files = self.set.volume_files(at.group, at.index);
            if kept.count + files.len() > self.most_files {
                *kept = Kept::default();
            }
            let opened: Sources = files.iter().filter_map(|at| self.set.source(at, self.block)).map(Arc::new).collect();
            kept.count += opened.len();
            kept.of.insert(at, opened);
        }
        kept.of[&at].iter().filter(|source| !self.set.is_gone(&source.at.dir)).cloned().collect()
    }

    /// How many volumes a group has.
    pub fn volumes(&self, group: usize) -> usize {
        self.set.manifest.groups[group].volumes.len()
    }

    /// Has the drive of a volume read some bytes of it ahead, from the file that will be asked first; false if there is none.
    pub fn ask_ahead(&self, at: At, bytes: &Range<u64>) -> bool {
        let (from, to) = self.bytes_of(at, &(bytes.start / self.block.bytes()..self.block.blocks(bytes.end)));
        self.get_ready(at, from..to);
        let files = self.files(at);
        files.first().map(|source| cache::fetch(source.file.file(), from, to - from)).is_some()
    }

    /// Reads what these bytes are compared with, as long as nothing stands before it: on a slow drive it would come behind all that is
    /// read ahead, and nothing could be said of what has come by then.
    fn get_ready(&self, at: At, bytes: Range<u64>) {
        let span = self.block.span();
        (bytes.start / span..bytes.end.div_ceil(span)).for_each(|page| drop(self.page_at_hand(at, page as usize)));
    }

    /// Has a drive read some blocks of one file of a volume ahead.
    pub fn ask_ahead_in(&self, file: &Location, at: At, range: &Range<u64>) {
        let (from, to) = self.bytes_of(at, range);
        self.get_ready(at, from..to);
        let sources = self.files(at);
        let source = sources.iter().find(|source| source.at == *file);
        source.into_iter().for_each(|source| cache::fetch(source.file.file(), from, to - from));
    }

    /// Forgets which files there are: some have been replaced.
    pub fn forget_files(&self) {
        *lock(&self.files) = Kept::default();
    }

    /// Reads blocks `range` of a volume into `out`, each from whichever of `sources` has it, and says what it is.
    pub fn check_in(&self, sources: &[Arc<Source>], at: At, range: Range<u64>, out: &mut Buffer) -> Vec<Seen> {
        let (from, to) = self.bytes_of(at, &range);
        // What lies there from another time is not cleared: a block is good when it was read, or it is not used.
        out.resize((to - from) as usize);
        let mut seen = vec![Seen::Unread; (range.end - range.start) as usize];
        let mut other = Buffer::default();
        for (nth, source) in sources.iter().enumerate() {
            // What is wrong in one file is worth more than what is wrong in the next: it is not read over.
            let into = if nth == 0 { &mut *out } else { &mut other };
            into.resize((to - from) as usize);
            let read = self.set.read_blocks(source, into, range.start, &|i| seen[i] != Seen::Good);
            for i in (0..seen.len()).filter(|i| read[*i]) {
                let span = i * self.block.size()..((i + 1) * self.block.size()).min((to - from) as usize);
                let block = if nth == 0 { &out[span.clone()] } else { &other[span.clone()] };
                let judged = self.judge(at, range.start + i as u64, block);
                if judged < seen[i] {
                    seen[i] = judged;
                    if nth > 0 {
                        out[span.clone()].copy_from_slice(&other[span]);
                    }
                }
            }
            if seen.iter().all(|s| *s == Seen::Good) {
                break;
            }
        }
        seen
    }

    /// The same from all files of the volume; true for each block that is good.
    pub fn check_good(&self, at: At, range: Range<u64>, out: &mut Buffer) -> Vec<bool> {
        self.check(at, range, out).into_iter().map(|seen| seen == Seen::Good).collect()
    }

    /// The same from all files of the volume.
    pub fn check(&self, at: At, range: Range<u64>, out: &mut Buffer) -> Vec<Seen> {
        self.check_in(&self.files(at), at, range, out)
    }

    fn judge(&self, at: At, number: u64, block: &[u8]) -> Seen {
        match self.value(at, number) {
            None => Seen::Unread,
            Some(value) if value == self.block.value(number, block, self.volume(at).bytes) => Seen::Good,
            Some(_) => Seen::Wrong,
        }
    }

    pub(crate) fn bytes_of(&self, at: At, range: &Range<u64>) -> (u64, u64) {
        let len = self.volume(at).bytes;
        ((range.start * self.block.bytes()).min(len), (range.end * self.block.bytes()).min(len))
    }

    /// Reads bytes `from..to` of a data volume, reconstructing what is bad.
    pub fn read(&self, at: At, from: u64, to: u64, buffer: &mut Buffer) -> Result<Range<usize>> {
        let size = self.block.size();
        let range = from / self.block.bytes()..self.block.blocks(to);
        let mut seen = self.check(at, range.clone(), buffer);
        for (i, block) in buffer.chunks_mut(size).enumerate() {
            let number = range.start + i as u64;
            if seen[i] != Seen::Good && self.recent.copy(at, number, block) && self.agrees(at, number, block) {
                self.note_repaired(at, number);
                seen[i] = Seen::Good;
            }
        }
        for run in bad_runs(&seen) {
            let rows = range.start + run.start as u64..range.start + run.end as u64;
            let end = buffer.len().min(run.end * size);
            self.repair(at, rows, &mut buffer[run.start * size..end])?;
        }
        let skipped = (from - range.start * self.block.bytes()) as usize;
        Ok(skipped..skipped + (to - from) as usize)
    }

    /// Reconstructs blocks `run` of a volume into `out`, and proves them.
    fn repair(&self, at: At, run: Range<u64>, out: &mut [u8]) -> Result<()> {
        let batch = self.batch(at.group);
        let mut start = run.start;
        for part in out.chunks_mut(batch as usize * self.block.size()) {
            let rows = start..start + self.block.blocks(part.len() as u64);
            let solved = self.solve(at.group, rows.clone(), &[at.index])?;
            part.copy_from_slice(&solved.of(at.index)[..part.len()]);
            for (i, block) in part.chunks(self.block.size()).enumerate() {
                let number = rows.start + i as u64;
                if self.judge(at, number, block) != Seen::Good {
                    return Err(self.unproven(at, number));
                }
                self.note_repaired(at, number);
            }
            start = rows.end;
        }
        Ok(())
    }

    /// How many rows of a group are solved together.
    pub fn batch(&self, group: usize) -> u64 {
        let n = self.set.manifest.groups[group].volumes.len();
        self.block.within((REPAIR / n) as u64)
    }

    fn note_repaired(&self, at: At, number: u64) {
        let blocks = self.count(at);
        lock(&self.repaired).entry(at).or_insert_with(|| Bits::new(blocks, false)).insert(number);
    }

    /// Whether a block has its value.
    pub fn agrees(&self, at: At, number: u64, block: &[u8]) -> bool {
        self.judge(at, number, block) == Seen::Good
    }

    /// The value of a block, if its page can be proven.
    pub fn value(&self, at: At, block: u64) -> Option<Value> {
        let page = self.page(at, block as usize / PAGE)?;
        page.get(block as usize % PAGE).copied()
    }

    /// What there is to say of a block that was computed and is not proven: absent drives may have its value.
    pub fn unproven(&self, at: At, number: u64) -> Error {
        self.set.look_again();
        let could_help = self.value(at, number).is_none() && !self.set.absent().is_empty();
        self.beyond_repair(at, number, could_help)
    }

    /// Says what is lost, and whether drives that are not here, or not any more, `could_help`.
    pub(crate) fn beyond_repair(&self, at: At, block: u64, could_help: bool) -> Error {
        let group = &self.set.manifest.groups[at.group];
        let what = format!(
            "{} at byte {} is damaged or missing, and too many other volumes of its group are too",
            volume_name(at.group, at.index, group.k),
            block * self.block.bytes()
        );
        let error = match could_help {
            true => {
                let absent = name_drives(&self.set.absent_numbers());
                Error::drive(what, format!("bring {absent} of the set, and name all drives in one command"))
            }
            false => Error::lost(what, "ask the sender for a new export"),
        };
        self.or_foreign(error)
    }
}

/// The runs of blocks that are not good.
pub fn bad_runs(seen: &[Seen]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for i in (0..seen.len()).filter(|i| seen[*i] != Seen::Good) {
        match runs.last_mut() {
            Some(run) if run.end == i => run.end += 1,
            _ => runs.push(i..i + 1),
        }
    }
    runs
}

/// What this user may not read, and the set needs, is neither missing nor damaged: bringing more drives does not help, a permission does.
fn require_readable(set: &Part) -> Result<()> {
    let closed = |e: &std::io::Error| e.kind() == std::io::ErrorKind::PermissionDenied;
    for name in set.manifest.metadata() {
        let copies = set.dirs.iter().flat_map(|dir| names::copies(name).map(|name| dir.at(name)));
        let (mut opened, mut refused) = (false, None);
        for at in copies {
            match at.open() {
                Ok(_) => opened = true,
                Err(e) if closed(&e) => refused = Some((at, e)),
                Err(_) => {}
            }
        }
        if let (false, Some((at, e))) = (opened, refused) {
            return Err(Error::on_drive("read", at.path())(e));
        }
    }
    // As many volumes as parity replaces are missed like others.
    for (group, described) in set.manifest.groups.iter().enumerate() {
        let (mut lacking, mut refused) = (0, None);
        for index in 0..described.volumes.len() {
            let tried: Vec<_> = set.volume_files(group, index).into_iter().map(|at| (at.open(), at)).collect();
            if tried.iter().any(|(opened, _)| opened.is_ok()) {
                continue;
            }
            lacking += 1;
            refused =
                refused.or_else(|| tried.into_iter().find_map(|(opened, at)| Some((at, opened.err().filter(closed)?))));
        }
        if let Some((at, e)) = refused.filter(|_| lacking > usize::from(described.m)) {
            return Err(Error::on_drive("read", at.path())(e));
        }
    }
    Ok(())
}
