//! Patterns of `--only`.

use crate::error::{Error, Result};
use crate::format::inventory::Name;
use globset::{Glob, GlobSet, GlobSetBuilder};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Compiles them; `None` if there are none, and everything is wanted.
pub fn globs(patterns: &[String]) -> Result<Option<GlobSet>> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = Glob::new(pattern.trim_end_matches('/'));
        set.add(
            glob.map_err(|e| Error::usage(e.to_string(), "patterns look like 'model-*.safetensors' or 'step-100/**'"))?,
        );
    }
    set.build().map(Some).map_err(|e| Error::usage(e.to_string(), "use fewer or shorter patterns"))
}

/// A pattern that matches a directory matches what is in it.
pub fn matches(globs: &GlobSet, path: &Name) -> bool {
    let path = Path::new(OsStr::from_bytes(&path.0));
    path.ancestors().any(|p| !p.as_os_str().is_empty() && globs.is_match(p))
}
