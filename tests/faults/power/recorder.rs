//! Keeps account of all that a verb does to some file systems, in order: what is written, named, renamed, removed and made durable.

use ckvault::media::act::{Act, Place, Site};
use ckvault::media::disk::{Media, Operation};
use rustix::fs::{AtFlags, FileType, Stat, fstat, statat};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

/// A file, directory or link, by its number in a [`History`]: inode numbers are given again.
pub type Node = usize;

/// A name in a directory.
pub type Slot = (Node, OsString);

/// What a node is; a file and a directory with the mode that it was made with.
#[derive(Debug, Clone)]
pub enum Kind {
    File(u32),
    Dir(u32),
    Link(OsString),
}

/// One thing that was done.
#[derive(Debug)]
pub enum Step {
    Name(Slot, Node),
    Rename(Slot, Slot, Node),
    Remove(Slot),
    Write(Node, u64, Arc<[u8]>),
    Resize(Node, u64),
    /// Of what was done before the step `since`; what came later may have come too late for it.
    Sync {
        node: Node,
        since: usize,
        site: Site,
    },
    /// The same of all of its file system.
    SyncAll {
        node: Node,
        since: usize,
        site: Site,
    },
}

/// All that was done, and what there was before.
#[derive(Debug, Default)]
pub struct History {
    pub kinds: Vec<Kind>,
    /// Which of the file systems a node is on.
    pub on: Vec<usize>,
    /// The top of each file system.
    pub roots: Vec<(PathBuf, Node)>,
    /// What had which name before, and what it held.
    pub names: HashMap<Slot, Node>,
    pub files: HashMap<Node, Arc<Vec<u8>>>,
    pub steps: Vec<Step>,
    now: Now,
}

/// How things stand while a verb is running.
#[derive(Debug, Default)]
struct Now {
    names: HashMap<Slot, Node>,
    known: HashMap<(u64, u64), Node>,
    /// The step before which a thread asked for what it is making durable.
    asked: HashMap<ThreadId, usize>,
}

impl History {
    /// Of file systems with these directories at their tops; what is there is durable.
    pub fn of(roots: Vec<PathBuf>) -> History {
        let mut history = History::default();
        for (number, path) in roots.into_iter().enumerate() {
            let stat = rustix::fs::stat(&path).unwrap();
            let node = history.learn(&stat, number, || unreachable!("a directory"));
            history.take_in(&path, node);
            history.roots.push((path, node));
        }
        history.names = history.now.names.clone();
        history
    }

    fn take_in(&mut self, dir: &Path, node: Node) {
        for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
            let path = entry.path();
            let stat = rustix::fs::lstat(&path).unwrap();
            let number = self.on[node];
            let inner =
                self.known(&stat).unwrap_or_else(|| self.learn(&stat, number, || fs::read_link(&path).unwrap()));
            self.now.names.insert((node, entry.file_name()), inner);
            match &self.kinds[inner] {
                Kind::Dir(_) => self.take_in(&path, inner),
                Kind::File(_) => drop(self.files.insert(inner, Arc::new(fs::read(&path).unwrap()))),
                Kind::Link(_) => {}
            }
        }
    }

    fn known(&self, stat: &Stat) -> Option<Node> {
        self.now.known.get(&(stat.st_dev, stat.st_ino)).copied()
    }

    fn learn(&mut self, stat: &Stat, on: usize, link: impl FnOnce() -> PathBuf) -> Node {
        let mode = stat.st_mode & 0o7777;
        self.kinds.push(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Dir(mode),
            FileType::Symlink => Kind::Link(link().into_os_string()),
            _ => Kind::File(mode),
        });
        self.on.push(on);
        let node = self.kinds.len() - 1;
        self.now.known.insert((stat.st_dev, stat.st_ino), node);
        node
    }

    fn node(&self, fd: BorrowedFd) -> Option<Node> {
        self.known(&fstat(fd).unwrap())
    }

    fn slot(&self, (dir, name): Place) -> Option<Slot> {
        Some((self.node(dir)?, name.to_owned()))
    }

    /// Something that may be new, or may have had this name already.
    fn name(&mut self, place: Place) -> Option<Step> {
        let slot = self.slot(place)?;
        let stat = statat(place.0, place.1, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        let read_link = || {
            let text = rustix::fs::readlinkat(place.0, place.1, Vec::new()).unwrap();
            PathBuf::from(OsStr::new(text.to_str().unwrap()))
        };
        let known = self.known(&stat);
        if known.is_some() && self.now.names.get(&slot) == known.as_ref() {
            return None;
        }
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let node = match known {
            // Of what has one name, this is the name: its number is that of something that is gone.
            Some(node) if !is_dir && stat.st_nlink > 1 => node,
            _ => self.learn(&stat, self.on[slot.0], read_link),
        };
        self.now.names.insert(slot.clone(), node);
        Some(Step::Name(slot, node))
    }

    fn step(&mut self, act: &Act) -> Option<Step> {
        let since = self.now.asked.remove(&std::thread::current().id()).unwrap_or(self.steps.len());
        match *act {
            Act::Named(place) => self.name(place),
            Act::Renamed(from, to) => {
                let (from, to) = (self.slot(from)?, self.slot(to)?);
                let node = self.now.names.remove(&from).expect("what is renamed is known");
                self.now.names.insert(to.clone(), node);
                Some(Step::Rename(from, to, node))
            }
            Act::Removed(place) => {
                let slot = self.slot(place)?;
                self.now.names.remove(&slot);
                Some(Step::Remove(slot))
            }
            Act::Resized(file, len) => Some(Step::Resize(self.node(file)?, len)),
            Act::Synced(file, site) => Some(Step::Sync { node: self.node(file)?, since, site }),
            Act::SyncedAll(file, site) => Some(Step::SyncAll { node: self.node(file)?, since, site }),
        }
    }
}

/// A file system that keeps account; clones share it.
#[derive(Clone)]
pub struct Recorder(Arc<Mutex<History>>);

impl Recorder {
    pub fn new(roots: Vec<PathBuf>) -> Recorder {
        Recorder(Arc::new(Mutex::new(History::of(roots))))
    }

    /// All that was done, when nobody does anything any more.
    pub fn history(self) -> History {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Media for Recorder {
    fn allow(&self, operation: Operation, _: &Path) -> io::Result<()> {
        if operation == Operation::Sync {
            let mut history = self.0.lock().unwrap();
            let now = history.steps.len();
            history.now.asked.insert(std::thread::current().id(), now);
        }
        Ok(())
    }

    fn did(&self, act: &Act) {
        let mut history = self.0.lock().unwrap();
        let step = history.step(act);
        history.steps.extend(step);
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        // Nobody else does anything meanwhile: what overlaps lands in this order.
        let mut history = self.0.lock().unwrap();
        let written = file.write_at(bytes, offset)?;
        if let Some(node) = history.node(file.as_fd()) {
            history.steps.push(Step::Write(node, offset, bytes[..written].into()));
        }
        Ok(written)
    }
}
