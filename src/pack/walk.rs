//! The walk: from the sources as they are to entries in sorted order. Nothing is read but names and metadata, and everything
//! that cannot travel is found before the first byte is written.

use crate::error::{Error, Result};
use crate::format::inventory::{ALIGNMENT, Entry, Extent, Kind, LONGEST_PATH, MOST_ENTRIES, MOST_EXTENTS, Name};
use crate::media::disk::Disk;
use crate::media::tree::{self, Stamp, Xattrs};
use crate::text::printable;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// What to do with symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Links {
    /// Keep those that stay inside of the source, follow those that leave it.
    #[default]
    Auto,
    /// Keep all as they are.
    Keep,
    /// Follow all.
    Follow,
}

/// What was found.
pub struct Walked {
    /// Entries in the order of the tar stream, not yet laid out or hashed.
    pub entries: Vec<Entry>,
    /// The stamp of each entry.
    pub stamps: Vec<Stamp>,
    /// Where entries come from.
    pub roots: Roots,
    /// Special files that were passed over.
    pub skipped: Vec<String>,
}

/// Where the entries' paths begin.
pub enum Roots {
    /// The contents of one directory.
    Contents(PathBuf),
    /// Sources under their names.
    Named(BTreeMap<Vec<u8>, PathBuf>),
}

impl Roots {
    /// The file that an entry was found at.
    pub fn locate(&self, path: &Name) -> PathBuf {
        let os = |bytes| Path::new(OsStr::from_bytes(bytes));
        match self {
            Roots::Contents(root) if path.0.is_empty() => root.clone(),
            Roots::Contents(root) => root.join(os(&path.0)),
            Roots::Named(sources) => {
                let end = path.0.iter().position(|b| *b == b'/').unwrap_or(path.0.len());
                let source = sources.get(&path.0[..end]).cloned().unwrap_or_default();
                match path.0.get(end + 1..) {
                    Some(rest) => source.join(os(rest)),
                    None => source,
                }
            }
        }
    }
}

/// Walks the sources.
pub fn walk(disk: &Disk, sources: &[PathBuf], links: Links, skip_special: bool) -> Result<Walked> {
    let roots = roots(sources)?;
    let mut walker = Walker { disk: disk.clone(), links, ..Walker::default() };
    match &roots {
        Roots::Contents(root) => walker.source(root, b"")?,
        Roots::Named(named) => {
            for (name, path) in named {
                walker.source(path, name)?;
            }
        }
    }
    walker.refuse(skip_special)?;
    let Walker { entries, stamps, special, .. } = walker;
    Ok(Walked { entries, stamps, roots, skipped: special })
}

fn roots(sources: &[PathBuf]) -> Result<Roots> {
    if let [only] = sources
        && std::fs::metadata(only).map_err(Error::io("read", only))?.is_dir()
    {
        return Ok(Roots::Contents(only.clone()));
    }
    let mut named = BTreeMap::new();
    for source in sources {
        let resolved = if source.file_name().is_some() {
            source.clone()
        } else {
            source.canonicalize().map_err(Error::io("read", source))?
        };
        let name = resolved.file_name().unwrap_or_default().as_bytes().to_vec();
        if name.is_empty() {
            return Err(Error::usage(
                format!("{} has no name to travel under", source.display()),
                "export it alone: its contents then need none",
            ));
        }
        if named.insert(name.clone(), source.clone()).is_some() {
            return Err(Error::usage(
                format!("two sources are named {}", printable(&name)),
                "export them in two sets, or from a common directory",
            ));
        }
    }
    Ok(Roots::Named(named))
}

#[derive(Default)]
struct Walker {
    disk: Disk,
    links: Links,
    entries: Vec<Entry>,
    stamps: Vec<Stamp>,
    hard: HashMap<(u64, u64), Name>,
    ancestors: Vec<(u64, u64)>,
    root: PathBuf,
    base: Vec<u8>,
    special: Vec<String>,
    broken: Vec<String>,
    closed: Vec<String>,
}

impl Walker {
    fn source(&mut self, path: &Path, name: &[u8]) -> Result<()> {
        self.root = path.canonicalize().map_err(Error::io("read", path))?;
        self.base = name.to_vec();
        let meta = std::fs::metadata(path).map_err(Error::io("read", path))?;
        self.found(path, name, &meta, false)
    }

    fn visit(&mut self, path: &Path, name: &[u8]) -> Result<()> {
        let meta = std::fs::symlink_metadata(path).map_err(Error::io("read", path))?;
        if !meta.is_symlink() {
            return self.found(path, name, &meta, false);
        }
        match self.keep(path, name) {
            Ok(Some(target)) => self.push(name, Kind::Symlink { target: Name::new(&target) }, &meta, Vec::new()),
            Ok(None) => {
                let meta = std::fs::metadata(path).map_err(Error::io("follow", path))?;
                self.found(path, name, &meta, true)
            }
            Err(why) => {
                self.broken.push(format!("{}: {why}", path.display()));
                Ok(())
            }
        }
    }

    fn found(&mut self, path: &Path, name: &[u8], meta: &Metadata, followed: bool) -> Result<()> {
        let kind = meta.file_type();
        if kind.is_dir() {
            return self.dir(path, name, meta);
        }
        if kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device() {
            let what = if kind.is_fifo() {
                "fifo"
            } else if kind.is_socket() {
                "socket"
            } else {
                "device"
            };
            self.special.push(format!("{} ({what})", printable(path.as_os_str().as_bytes())));
            return Ok(());
        }
        if meta.nlink() > 1 && !followed {
            let own = Name::new(name);
            if let Some(first) = self.hard.get(&Stamp::of(meta).identity()) {
                let target = first.clone();
                return self.push(name, Kind::Hardlink { target }, meta, Vec::new());
            }
            self.hard.insert(Stamp::of(meta).identity(), own);
        }
        // Opening costs no more than asking for permission, and is the only answer that counts.
        let Ok(file) = self.disk.open_source(path) else {
            self.closed.push(printable(path.as_os_str().as_bytes()));
            return Ok(());
        };
        let stretches = tree::extents(file.file(), meta, MOST_EXTENTS, ALIGNMENT).map_err(Error::io("read", path))?;
        let extents = stretches.map(|all| all.iter().map(|s| Extent(s.0, s.1)).collect());
        let xattrs = tree::file_xattrs(file.file()).map_err(Error::io("read the attributes of", path))?;
        self.push(name, Kind::File { size: meta.size(), extents, blake3: None }, meta, xattrs)
    }

    fn dir(&mut self, path: &Path, name: &[u8], meta: &Metadata) -> Result<()> {
        let identity = Stamp::of(meta).identity();
        if self.ancestors.contains(&identity) {
            self.broken.push(format!("{}: the link leads back to a directory that holds it", path.display()));
            return Ok(());
        }
        let names = match tree::sorted_names(path) {
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                self.closed.push(printable(path.as_os_str().as_bytes()));
                return Ok(());
            }
            other => other.map_err(Error::io("read", path))?,
        };
        let xattrs = tree::xattrs(path).map_err(Error::io("read the attributes of", path))?;
        self.push(name, Kind::Dir, meta, xattrs)?;
        self.ancestors.push(identity);
        for child in names {
            let inner = if name.is_empty() { child.clone() } else { [name, b"/", &child].concat() };
            self.visit(&path.join(OsStr::from_bytes(&child)), &inner)?;
        }
        self.ancestors.pop();
        Ok(())
    }

    fn push(&mut self, name: &[u8], kind: Kind, meta: &Metadata, xattrs: Xattrs) -> Result<()> {
        if name.len() > LONGEST_PATH || self.entries.len() as u64 >= MOST_ENTRIES {
            return Err(Error::source(
                format!("{}: the path is too long, or there are too many entries", printable(name)),
                "export a part of it",
            ));
        }
        self.entries.push(Entry {
            path: Name::new(name),
            kind,
            mode: meta.mode() & 0o7777,
            mtime: (meta.mtime(), meta.mtime_nsec() as u32),
            xattrs: xattrs.iter().map(|(n, v)| (Name::new(n), Name::new(v))).collect(),
            offset: 0,
        });
        self.stamps.push(Stamp::of(meta));
        Ok(())
    }

    /// The text of a link that is kept; `None` if it is followed.
    fn keep(&self, path: &Path, name: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let text = std::fs::read_link(path).map_err(|e| e.to_string())?;
        if self.links == Links::Keep {
            return Ok(Some(text.as_os_str().as_bytes().to_vec()));
        }
        let real = path.canonicalize().map_err(|e| match e.raw_os_error() {
            Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => "the link leads to itself".to_owned(),
            _ => format!("the link leads to {}, which does not exist", printable(text.as_os_str().as_bytes())),
        })?;
        if self.links == Links::Follow {
            return Ok(None);
        }
        let Ok(inside) = real.strip_prefix(&self.root) else { return Ok(None) };
        let inner = name.get(self.base.len()..).unwrap_or_default();
        let parent =
            Path::new(OsStr::from_bytes(inner.strip_prefix(b"/").unwrap_or(inner))).parent().unwrap_or(Path::new(""));
        if text.is_relative() && self.leads_to(parent, &text, &real) {
            return Ok(Some(text.as_os_str().as_bytes().to_vec()));
        }
        Ok(Some(relative(parent, inside).as_os_str().as_bytes().to_vec()))
    }

    /// Whether a relative link read within the set alone, without leaving it on the way, leads to the same file.
    fn leads_to(&self, parent: &Path, text: &Path, real: &Path) -> bool {
        let mut at = parent.to_owned();
        for component in text.components() {
            match component {
                Component::ParentDir if !at.pop() => return false,
                Component::Normal(name) => at.push(name),
                _ => {}
            }
        }
        self.root.join(at).canonicalize().is_ok_and(|r| r == real)
    }

    fn refuse(&self, skip_special: bool) -> Result<()> {
        let list = |what: &str, all: &[String]| {
            let more = all.len().saturating_sub(20);
            let shown = all.iter().take(20).map(|s| format!("\n  {s}")).collect::<String>();
            format!("{what}:{shown}{}", if more > 0 { format!("\n  and {more} more") } else { String::new() })
        };
        if !self.broken.is_empty() {
            return Err(Error::source(
                list("links that lead nowhere", &self.broken),
                "mend or remove them, or export all links as they are with --links keep",
            ));
        }
        if !self.closed.is_empty() {
            return Err(Error::source(
                list("files that cannot be read", &self.closed),
                "change their permissions, or run as a user who may read them",
            ));
        }
        if !self.special.is_empty() && !skip_special {
            return Err(Error::source(
                list("kinds of files that cannot travel", &self.special),
                "leave them out with --skip-special",
            ));
        }
        Ok(())
    }
}

/// The way from directory `from` to `to`, both relative to the same directory.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    let way: PathBuf = up.chain(to.components().skip(common)).collect();
    if way.as_os_str().is_empty() { PathBuf::from(".") } else { way }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_ways() {
        for (from, to, way) in [
            ("", "a/b", "a/b"),
            ("a", "a/b", "b"),
            ("a/c", "a/b", "../b"),
            ("a", "", ".."),
            ("", "", "."),
            ("x/y", "z", "../../z"),
        ] {
            assert_eq!(relative(Path::new(from), Path::new(to)), Path::new(way), "{from} → {to}");
        }
    }
}
