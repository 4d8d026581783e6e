//! What an export remembers, so that it can go on after whatever interrupts it: how it was begun, and what is safe on the
//! drives. It lies with the user, not on a drive, where a thief could edit it, and nobody else may read it: of the set's own
//! recipient it has what no drive may have (rule 75).

use crate::error::{Error, Result};
use crate::format::hashes::Value;
use crate::format::inventory::{Entry, Name};
use crate::format::manifest::Group;
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::statefile::{self, StateFile};
use crate::pack::mark::Mark;
use crate::pack::plan::Plan;
use crate::pack::stripe::GroupEnd;
use crate::pack::walk::Links;
use crate::pack::writers::{Known, Log, Logged};
use crate::set::fixed;
use crate::stages::filehash::Page;
use crate::stages::seal::SetRecipient;
use crate::stages::seal::recipients::Named;
use base64::Engine as _;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

const VERSION: &str = concat!("ckvault ", env!("CARGO_PKG_VERSION"), " state 7");

/// How an export was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Begun {
    /// The program, since another version might seal the same bytes to others.
    pub tool: String,
    /// The id of the set.
    pub set: String,
    /// Its label.
    pub label: Option<String>,
    /// When it was begun.
    pub created: String,
    /// The set's own recipient.
    pub recipient: SetRecipient,
    /// Who can open it.
    #[serde(default)]
    pub recipients: Vec<Named>,
    /// `--survive-drives N`, if it was given.
    #[serde(default)]
    pub survive: Option<u16>,
    /// The key slot, in base64.
    pub slot: String,
    /// The public key of who signs.
    pub signer: String,
    /// The file of that key.
    pub signing_key: PathBuf,
    /// What is exported.
    pub sources: Vec<PathBuf>,
    /// Where to.
    pub drives: Vec<PathBuf>,
    /// Which of these were mount points.
    #[serde(default)]
    pub mounted: Vec<bool>,
    /// How links were treated.
    pub links: Links,
    /// Whether special files were left out.
    pub skip_special: bool,
    /// Patterns of what was left out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Whether the contents of caches were left out.
    #[serde(default)]
    pub exclude_caches: bool,
    /// The time of the source, if it is a mount point, whose time may be another with every mount.
    #[serde(default)]
    pub root_mtime: Option<(i64, u32)>,
    /// Whether everything is read back.
    pub read_back: bool,
    /// The program that travels with it, if one does.
    #[serde(default)]
    pub program: Option<PathBuf>,
    /// How it is laid out.
    pub plan: Plan,
    /// What the sources were like, see [`snapshot`].
    pub sources_were: String,
}

/// A part that was finished, and that others follow.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wrote {
    /// The first segment after it.
    pub end: u64,
    /// The hash of its manifest.
    pub manifest: Value,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Begun(Box<Begun>),
    Part(u32),
    Moved(Vec<PathBuf>, Vec<bool>),
    Mark(u32, u32, Mark),
    Group(u32, Known),
    Wrote(Wrote),
}

/// The state of an export that is running.
#[derive(Debug)]
pub struct State {
    file: StateFile,
    /// Whether anything that was written is remembered.
    progress: AtomicBool,
}

/// An export that was interrupted.
#[derive(Debug)]
pub struct Unfinished {
    /// How it was begun.
    pub begun: Begun,
    /// The parts that were finished.
    pub wrote: Vec<Wrote>,
    /// Whether the part after these was begun.
    pub part_begun: bool,
    /// Its groups that were complete.
    pub known: Vec<Known>,
    /// Marks of the group after these.
    pub marks: Vec<Mark>,
    /// What is known of the hashes of files where that part begins.
    pub page: Page,
}

impl State {
    /// A new export begins.
    pub fn create(disk: &Disk, dir: &Path, begun: &Begun) -> Result<State> {
        let file = StateFile::create(disk, dir, &begun.set, &text(&Line::Begun(Box::new(begun.clone())))?)?;
        Ok(State { file, progress: AtomicBool::new(false) })
    }

    fn append(&self, line: &Line) -> Result<()> {
        self.file.append(&text(line)?)
    }

    /// The drives are elsewhere now, and suit.
    pub fn moved(&self, begun: &Begun) -> Result<()> {
        self.append(&Line::Moved(begun.drives.clone(), begun.mounted.clone()))
    }

    /// A part begins.
    pub fn part(&self, part: u32) -> Result<()> {
        self.append(&Line::Part(part))
    }

    /// Whether anything that was written has ever been remembered.
    pub fn has_progress(&self) -> bool {
        self.progress.load(Ordering::Relaxed)
    }

    /// A part is finished, and it is not the last.
    pub fn wrote(&self, wrote: Wrote) -> Result<()> {
        self.append(&Line::Wrote(wrote))
    }

    /// The export is finished, or given up.
    pub fn remove(self) -> Result<()> {
        self.file.remove()
    }

    /// Takes up an interrupted export; `None` if another process is writing it.
    pub fn take_up(dir: &Dir, name: &str) -> Result<Option<(State, Unfinished)>> {
        let Some(mut file) = StateFile::open(dir, name)? else { return Ok(None) };
        let broken = |why: String| {
            Error::refused(
                format!("{} cannot be read: {why}", dir.show(name).display()),
                "remove it, and export again; what lies on the drives of that export can be removed too",
            )
        };
        let lines = file.lines()?.into_iter().map(|l| serde_json::from_str(&l).map_err(|e| broken(e.to_string())));
        let unfinished =
            collect(lines)?.ok_or_else(|| broken("it has no beginning, or is of another version".into()))?;
        if unfinished.begun.tool != VERSION {
            return Err(Error::refused(
                format!("the export {} was begun by {:?}", unfinished.begun.set, unfinished.begun.tool),
                "resume it with that version, or begin anew with --discard",
            ));
        }
        let progress = AtomicBool::new(unfinished.has_progress());
        Ok(Some((State { file, progress }, unfinished)))
    }
}

fn text(line: &Line) -> Result<String> {
    serde_json::to_string(line).map_err(|e| Error::Internal(e.to_string()))
}

impl Log for State {
    fn group(&self, group: &Group, end: &GroupEnd, logged: &Logged) -> Result<()> {
        let frames = end.frames.get(logged.frames..).unwrap_or_default().to_vec();
        let finished = end.page.finished.get(logged.finished..).unwrap_or_default().to_vec();
        let page = Page { finished, open: end.page.open.clone() };
        self.append(&Line::Group(end.group, Known { group: group.clone(), frames, page, marks: logged.marks }))?;
        self.progress.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn mark(&self, (group, index): (u32, u32), mark: &Mark) -> Result<()> {
        self.append(&Line::Mark(group, index, mark.clone()))?;
        self.progress.store(true, Ordering::Relaxed);
        Ok(())
    }
}

fn collect(lines: impl Iterator<Item = Result<Line>>) -> Result<Option<Unfinished>> {
    let mut unfinished: Option<Unfinished> = None;
    for line in lines {
        match (line?, &mut unfinished) {
            (Line::Begun(begun), slot @ None) => {
                let (page, begun) = (Page::default(), *begun);
                let (wrote, known, marks) = (Vec::new(), Vec::new(), Vec::new());
                *slot = Some(Unfinished { begun, wrote, part_begun: false, known, marks, page });
            }
            (Line::Part(_), Some(all)) => {
                all.part_begun = true;
                all.marks.clear();
            }
            (Line::Moved(drives, mounted), Some(all)) => (all.begun.drives, all.begun.mounted) = (drives, mounted),
            // What is written again replaces itself and what came after it.
            (Line::Mark(group, index, mark), Some(all)) => {
                all.known.truncate(group as usize);
                all.marks.truncate(index as usize);
                all.marks.push(mark);
            }
            (Line::Group(number, known), Some(all)) => {
                all.known.truncate(number as usize);
                all.known.push(whole(known, std::mem::take(&mut all.marks)));
            }
            (Line::Wrote(wrote), Some(all)) => {
                for known in std::mem::take(&mut all.known) {
                    all.page.finished.extend(known.page.finished);
                    all.page.open = known.page.open;
                }
                all.wrote.push(wrote);
                all.part_begun = false;
                all.marks.clear();
            }
            _ => return Ok(None),
        }
    }
    Ok(unfinished)
}

/// A group with what was said of it by its marks.
fn whole(known: Known, marks: Vec<Mark>) -> Known {
    let (mut frames, mut finished) = (Vec::new(), Vec::new());
    for mark in marks.into_iter().take(known.marks as usize) {
        frames.extend(mark.frames);
        finished.extend(mark.page.finished);
    }
    frames.extend(known.frames);
    finished.extend(known.page.finished);
    Known { frames, page: Page { finished, open: known.page.open }, ..known }
}

impl Begun {
    /// The version that begins an export now.
    pub fn version() -> String {
        VERSION.to_owned()
    }

    /// The bytes of the key slot.
    pub fn slot(&self) -> Option<Vec<u8>> {
        base64::engine::general_purpose::STANDARD.decode(&self.slot).ok()
    }
}

impl Unfinished {
    /// The number of the part that is to be written next, or to its end.
    pub fn part(&self) -> u32 {
        self.wrote.len() as u32 + 1
    }

    /// Whether anything would be lost if it were begun anew.
    pub fn has_progress(&self) -> bool {
        !self.wrote.is_empty() || !self.known.is_empty() || !self.marks.is_empty()
    }
}

/// An export by its id. One that another process is writing is `None`; one whose state cannot be read, or is of another version, is an
/// error.
pub type KeptExport = (String, Result<Option<Unfinished>>);

/// Where the state of exports is kept, and those that are there; `None` if there is no such directory.
pub fn unfinished(disk: &Disk, dir: &Path) -> Result<Option<(Dir, Vec<KeptExport>)>> {
    let Some((dir, names)) = statefile::all(disk, dir)? else { return Ok(None) };
    let look = |name: String| {
        let taken_up = State::take_up(&dir, &name);
        (name, taken_up.map(|state| state.map(|(_, unfinished)| unfinished)))
    };
    let all = names.into_iter().map(look).collect();
    Ok(Some((dir, all)))
}

/// A short text from which [`changed`] tells what has changed: 16 bytes an entry, one half for its path, one for all of it.
pub fn snapshot(entries: &[Entry]) -> String {
    let mut bytes = Vec::with_capacity(entries.len() * 16);
    let mut buffer = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(&short(&entry.path.0));
        bytes.extend_from_slice(&shorter(entry, &mut buffer));
    }
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn short(bytes: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    short
}

/// The same of all that must not change of an entry.
fn shorter(entry: &Entry, buffer: &mut Vec<u8>) -> [u8; 8] {
    buffer.clear();
    fixed(entry, buffer);
    short(buffer)
}

/// What is not as it was: entries that are new or different, and how many are gone.
pub fn changed<'a>(entries: &'a [Entry], were: &str) -> (Vec<&'a Name>, usize) {
    let bytes = base64::engine::general_purpose::STANDARD.decode(were).unwrap_or_default();
    let mut before: HashMap<&[u8], &[u8]> = bytes.as_chunks::<16>().0.iter().map(|c| c.split_at(8)).collect();
    let mut buffer = Vec::new();
    let mut same = |e: &&Entry| before.remove(&short(&e.path.0)[..]).is_some_and(|was| was == shorter(e, &mut buffer));
    let different = entries.iter().filter(|e| !same(e)).map(|e| &e.path).collect();
    (different, before.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::inventory::Kind;

    fn file(path: &str, size: u64) -> Entry {
        let kind = Kind::File { size, extents: None, blake3: None };
        Entry { path: Name::new(path.as_bytes()), kind, mode: 0o644, mtime: (1, 2), xattrs: vec![], offset: 512 }
    }

    #[test]
    fn changes_are_named() {
        let were = snapshot(&[file("a", 1), file("b", 2), file("c", 3)]);
        let now = [Entry { offset: 0, ..file("a", 1) }, file("b", 7), file("d", 3)];
        let (different, gone) = changed(&now, &were);
        assert_eq!((different, gone), (vec![&now[1].path, &now[2].path], 1));
        let (different, gone) = changed(&now[..1], &snapshot(&now[..1]));
        assert_eq!((different.len(), gone), (0, 0));
    }
}
