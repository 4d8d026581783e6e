//! The walk: from the sources as they are to entries in sorted order. Nothing is read but names and metadata, and everything
//! that cannot travel is found before the first byte is written.

use crate::error::{Error, Result};
use crate::format::inventory::{
    ALIGNMENT, Entry, Extent, Kind, LINK_MODE, LONGEST_PATH, MOST_ENTRIES, MOST_EXTENTS, Name,
};
use crate::media::disk::Disk;
use crate::media::staging::is_staging;
use crate::media::tree::{self, Stamp, UserXattrs, Xattrs};
use crate::pack::noticed::{LeftOut, Noticed};
use crate::pack::roots::{Roots, roots};
use crate::set::{Patterns, leaving};
use crate::text::printable;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
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

impl Walked {
    /// Whether the first entry is the mount point of a file system: some give it another time with every mount.
    pub fn changing_root(&self) -> bool {
        let Roots::Contents(root) = &self.roots else { return false };
        self.entries.first().is_some_and(|e| e.path.0.is_empty()) && tree::is_mount_point(root)
    }
}

/// How sources are walked.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    /// What becomes of symbolic links.
    pub links: Links,
    /// Special files are passed over, and no reason to stop.
    pub skip_special: bool,
    /// What matches one of these patterns is left out.
    pub exclude: Vec<String>,
    /// The contents of directories that are marked as caches are left out.
    pub exclude_caches: bool,
    /// Devices and inodes of directories that belong to the export itself: its drives, and its state.
    pub own: Vec<(u64, u64)>,
}

/// What was found.
pub struct Walked {
    /// Entries in the order of the tar stream, not yet laid out or hashed.
    pub entries: Vec<Entry>,
    /// The stamp of each entry.
    pub stamps: Vec<Stamp>,
    /// Where entries come from.
    pub roots: Roots,
    /// What has to be told.
    pub noticed: Noticed,
}

/// Walks the sources.
pub fn walk(disk: &Disk, sources: &[PathBuf], how: &Walk) -> Result<Walked> {
    let (roots, exclude) = (roots(sources)?, Patterns::new(&how.exclude)?);
    let mut walker = Walker { disk: disk.clone(), how: how.clone(), exclude, ..Walker::default() };
    match &roots {
        Roots::Contents(root) => walker.source(root, b"")?,
        Roots::Named(named) => {
            for (name, path) in named {
                walker.source(path, name)?;
            }
        }
    }
    walker.refuse()?;
    let Walker { entries, stamps, mut noticed, exclude, special, .. } = walker;
    noticed.skipped = special;
    noticed.unmatched = exclude.map(|patterns| patterns.unmatched()).unwrap_or_default();
    if how.links == Links::Keep {
        leaving(&entries).iter().for_each(|name| noticed.leaving.add(name.printable(), 0));
    }
    Ok(Walked { entries, stamps, roots, noticed })
}

#[derive(Default)]
struct Walker {
    disk: Disk,
    how: Walk,
    exclude: Option<Patterns>,
    entries: Vec<Entry>,
    stamps: Vec<Stamp>,
    /// The first name of each file that has several, and how many have been seen.
    hard: HashMap<Stamp, (Name, u64)>,
    noticed: Noticed,
    /// Bytes of files so far.
    bytes: u64,
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
        let meta = std::fs::symlink_metadata(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => changed(path),
            _ => Error::io("read", path)(e),
        })?;
        if let Some(why) = self.is_left_out(path, name, &meta) {
            let path = printable(path.as_os_str().as_bytes());
            self.noticed.left_out.push(LeftOut { path, why });
            return Ok(());
        }
        if !meta.is_symlink() {
            return self.found(path, name, &meta, false);
        }
        match self.keep(path, name) {
            Ok(Some(target)) => self.push(name, Kind::Symlink { target: Name::new(&target) }, &meta, Vec::new()),
            Ok(None) => {
                let meta = std::fs::metadata(path).map_err(Error::io("follow", path))?;
                let before = self.bytes;
                self.found(path, name, &meta, true)?;
                if !path.canonicalize().is_ok_and(|real| real.starts_with(&self.root)) {
                    self.noticed.followed.add(printable(path.as_os_str().as_bytes()), self.bytes - before);
                }
                Ok(())
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
        let stamp = Stamp::of(meta);
        if stamp.links() > 1 && !followed {
            // The number of an inode alone says little where the file system does not keep it: everything else must be the same, and
            // there must not be more names than the file is said to have.
            match self.hard.get_mut(&stamp) {
                Some((first, names)) if *names < stamp.links() => {
                    *names += 1;
                    let target = first.clone();
                    return self.push(name, Kind::Hardlink { target }, meta, Vec::new());
                }
                _ => drop(self.hard.insert(stamp, (Name::new(name), 1))),
            }
        }
        // Opening costs no more than asking for permission, and is the only answer that counts.
        let Ok(file) = self.disk.open_source(path) else {
            self.closed.push(printable(path.as_os_str().as_bytes()));
            return Ok(());
        };
        let opened = Stamp::of(&file.metadata().map_err(Error::io("read", path))?);
        if !stamp.is_still(&opened, || tree::keeps_inodes(path)) {
            return Err(changed(path));
        }
        if meta.size() == 0 && file.read_up_to(&mut [0], 0).map_err(Error::io("read", path))? > 0 {
            return Err(untold(path, 0));
        }
        let stretches = tree::extents(file.file(), meta, MOST_EXTENTS, ALIGNMENT).map_err(Error::io("read", path))?;
        let extents = stretches.map(|all| all.iter().map(|s| Extent(s.0, s.1)).collect());
        let xattrs = tree::file_xattrs(file.file()).map_err(Error::io("read the attributes of", path))?;
        self.bytes += meta.size();
        let kind = Kind::File { size: meta.size(), extents, blake3: None };
        let user = self.travelling(path, xattrs);
        self.push(name, kind, meta, user)
    }

    /// Those attributes that travel; that there are others is noticed.
    fn travelling(&mut self, path: &Path, xattrs: Xattrs) -> UserXattrs {
        if xattrs.others {
            self.noticed.attributes.add(printable(path.as_os_str().as_bytes()), 0);
        }
        xattrs.user
    }

    /// Why something does not travel.
    fn is_left_out(&self, path: &Path, name: &[u8], meta: &Metadata) -> Option<&'static str> {
        let is_own = |meta: &Metadata| self.how.own.contains(&Stamp::of(meta).identity());
        if self.exclude.as_ref().is_some_and(|patterns| patterns.matches(&Name::new(name))) {
            return Some("pattern");
        }
        // Behind a link is not what lies here.
        if !meta.is_dir() {
            return std::fs::metadata(path).is_ok_and(|meta| meta.is_dir() && is_own(&meta)).then_some("own");
        }
        let last = path.file_name().unwrap_or_default().as_bytes();
        let at_the_top = || path.parent().is_some_and(tree::is_mount_point);
        match last {
            _ if is_own(meta) => Some("own"),
            _ if is_staging(last) => Some("staging"),
            b"lost+found" if at_the_top() => Some("lost+found"),
            _ => None,
        }
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
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::source(
                format!("{} lists {} twice", path.display(), printable(&pair[0])),
                "the file system is damaged, or its driver is wrong: check it (fsck), or copy the files elsewhere and export the copy",
            ));
        }
        let xattrs = tree::xattrs(path).map_err(Error::io("read the attributes of", path))?;
        let user = self.travelling(path, xattrs);
        self.push(name, Kind::Dir, meta, user)?;
        let is_cache = self.how.exclude_caches && tree::is_cache(path);
        if is_cache {
            self.noticed.left_out.push(LeftOut { path: printable(path.as_os_str().as_bytes()), why: "cache" });
        }
        self.ancestors.push(identity);
        for child in names {
            if is_cache && child != tree::CACHE_TAG.as_bytes() {
                continue;
            }
            let inner = if name.is_empty() { child.clone() } else { [name, b"/", &child].concat() };
            self.visit(&path.join(OsStr::from_bytes(&child)), &inner)?;
        }
        self.ancestors.pop();
        Ok(())
    }

    fn push(&mut self, name: &[u8], kind: Kind, meta: &Metadata, xattrs: UserXattrs) -> Result<()> {
        if name.len() > LONGEST_PATH || self.entries.len() as u64 >= MOST_ENTRIES {
            return Err(Error::source(
                format!("{}: the path is too long, or there are too many entries", printable(name)),
                "export a part of it",
            ));
        }
        let mode = if matches!(kind, Kind::Symlink { .. }) { LINK_MODE } else { meta.mode() & 0o7777 };
        self.entries.push(Entry {
            path: Name::new(name),
            kind,
            mode,
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
        if self.how.links == Links::Keep {
            return Ok(Some(text.as_os_str().as_bytes().to_vec()));
        }
        let real = path.canonicalize().map_err(|e| match e.raw_os_error() {
            Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => "the link leads to itself".to_owned(),
            _ => format!("the link leads to {}, which does not exist", printable(text.as_os_str().as_bytes())),
        })?;
        if self.how.links == Links::Follow {
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

    fn refuse(&self) -> Result<()> {
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
        if !self.special.is_empty() && !self.how.skip_special {
            return Err(Error::source(
                list("kinds of files that cannot travel", &self.special),
                "leave them out with --skip-special",
            ));
        }
        Ok(())
    }
}

/// Something is not what it was a moment ago.
pub fn changed(path: &Path) -> Error {
    Error::source(
        format!("{} changed while it was read", printable(path.as_os_str().as_bytes())),
        "export again when nothing writes to it",
    )
}

/// A file is longer or shorter than the system says.
pub fn untold(path: &Path, told: u64) -> Error {
    Error::source(
        format!(
            "{} has another length than the {told} bytes that the system tells",
            printable(path.as_os_str().as_bytes())
        ),
        "copy it to another file system, and export the copy; or leave it out with --exclude",
    )
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
