//! Where entries come from: the names that sources travel under, and the way back from a name to its file.

use crate::error::{Error, Result};
use crate::format::inventory::Name;
use crate::text::printable;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

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

/// One directory alone travels as its contents; several sources travel under their names.
pub fn roots(sources: &[PathBuf]) -> Result<Roots> {
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
