//! Patterns for the paths of a set: those of `--only` and `--exclude`.

use crate::error::{Error, Result};
use crate::format::inventory::Name;
use globset::{Glob, GlobSet, GlobSetBuilder};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Patterns, and which of them have matched something. `*` matches `/` too, and who matches a directory matches what is in it.
#[derive(Debug)]
pub struct Patterns {
    globs: GlobSet,
    texts: Vec<String>,
    matched: Vec<AtomicBool>,
    left: AtomicUsize,
}

impl Patterns {
    /// Compiles them; `None` if there are none.
    pub fn new(patterns: &[String]) -> Result<Option<Patterns>> {
        if patterns.is_empty() {
            return Ok(None);
        }
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let glob = Glob::new(pattern.trim_end_matches('/'));
            set.add(glob.map_err(|e| {
                Error::usage(e.to_string(), "patterns look like 'model-*.safetensors' or 'step-100/**'")
            })?);
        }
        let globs = set.build().map_err(|e| Error::usage(e.to_string(), "use fewer or shorter patterns"))?;
        let matched = patterns.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Some(Patterns { globs, texts: patterns.to_vec(), matched, left: AtomicUsize::new(patterns.len()) }))
    }

    /// Whether a path, or a directory above it, matches one of them.
    pub fn matches(&self, path: &Name) -> bool {
        let path = Path::new(OsStr::from_bytes(&path.0));
        let mut ancestors = path.ancestors().filter(|p| !p.as_os_str().is_empty());
        // When all have matched something, it does not matter any more which does.
        if self.left.load(Ordering::Relaxed) == 0 {
            return ancestors.any(|p| self.globs.is_match(p));
        }
        let (mut any, mut which) = (false, Vec::new());
        for ancestor in ancestors {
            self.globs.matches_into(ancestor, &mut which);
            for i in &which {
                any = true;
                if !self.matched[*i].swap(true, Ordering::Relaxed) {
                    self.left.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
        any
    }

    /// Those that have matched nothing.
    pub fn unmatched(&self) -> Vec<String> {
        let pairs = self.texts.iter().zip(&self.matched);
        pairs.filter(|(_, matched)| !matched.load(Ordering::Relaxed)).map(|(text, _)| text.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pattern_is_remembered_until_it_has_matched() {
        let all = ["a*.bin", "dir/", "x"].map(str::to_owned);
        let patterns = Patterns::new(&all).unwrap().unwrap();
        let matches = |path: &str| patterns.matches(&Name::new(path.as_bytes()));
        assert!(matches("dir/deep/file") && matches("ab/c.bin") && !matches("y") && !matches(""));
        assert_eq!(patterns.unmatched(), ["x"]);
        assert!(matches("x/y") && matches("x") && !matches("y") && patterns.unmatched().is_empty());
        assert!(Patterns::new(&[]).unwrap().is_none() && Patterns::new(&["[".into()]).is_err());
    }
}
