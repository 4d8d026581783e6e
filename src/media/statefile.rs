//! A file of the user's that remembers: lines are added and made durable one by one, nobody else may read it, and one process
//! at a time has it.

use crate::error::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An open state file.
#[derive(Debug)]
pub struct StateFile {
    file: File,
    path: PathBuf,
}

impl StateFile {
    /// Makes a new one, mode 0600, with its first line, and its directory, mode 0700, if there is none. It has its name only
    /// when it is locked and has that line.
    pub fn create(dir: &Path, name: &str, line: &str) -> Result<StateFile> {
        let (path, hidden) = (dir.join(name), dir.join(format!(".{name}")));
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::io("create", dir))?;
        let opened = OpenOptions::new().append(true).read(true).create_new(true).mode(0o600).open(&hidden);
        let state = StateFile { file: opened.map_err(Error::io("create", &hidden))?, path };
        if !state.lock()? {
            return Err(Error::Internal("a new state file is locked".into()));
        }
        state.append(line)?;
        std::fs::rename(&hidden, &state.path).map_err(Error::io("rename", &hidden))?;
        File::open(dir).and_then(|d| d.sync_all()).map_err(Error::io("sync", dir))?;
        Ok(state)
    }

    /// Opens one; `None` if another process has it, or has just removed it.
    pub fn open(path: &Path) -> Result<Option<StateFile>> {
        let file = match OpenOptions::new().append(true).read(true).open(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("open", path))?,
        };
        let state = StateFile { file, path: path.to_owned() };
        Ok(state.lock()?.then_some(state))
    }

    fn lock(&self) -> Result<bool> {
        match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            other => other.map(|()| true).map_err(|e| Error::io("lock", &self.path)(e.into())),
        }
    }

    /// Its whole lines; a last one that was not written to its end is cut off.
    pub fn lines(&mut self) -> Result<Vec<String>> {
        let mut text = String::new();
        self.file.read_to_string(&mut text).map_err(Error::io("read", &self.path))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            self.file.set_len(whole as u64).map_err(Error::io("write", &self.path))?;
        }
        Ok(text[..whole].lines().map(str::to_owned).collect())
    }

    /// Adds a line, durably.
    pub fn append(&self, line: &str) -> Result<()> {
        let mut file = &self.file;
        let written = file.write_all(line.as_bytes()).and_then(|()| file.write_all(b"\n"));
        let written = written.and_then(|()| file.sync_data());
        written.map_err(Error::io("write", &self.path))
    }

    /// Removes it, durably.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(Error::io("remove", &self.path))?;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        File::open(dir).and_then(|d| d.sync_all()).map_err(Error::io("sync", dir))
    }
}

/// The state files in a directory, by name.
pub fn all(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io("read", dir))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("read", dir))?.path();
        let hidden = path.file_name().is_none_or(|n| n.as_encoded_bytes().starts_with(b"."));
        if path.is_file() && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn lines_are_kept_and_a_torn_one_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFile::create(dir.path(), "a", "one").unwrap();
        assert!(StateFile::open(&dir.path().join("a")).unwrap().is_none(), "it is locked");
        (&state.file).write_all(b"two, but not to its e").unwrap();
        drop(state);
        let mut state = StateFile::open(&dir.path().join("a")).unwrap().unwrap();
        assert_eq!(state.lines().unwrap(), ["one"]);
        state.append("three").unwrap();
        drop(state);
        let path = dir.path().join("a");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\nthree\n");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(all(dir.path()).unwrap(), std::slice::from_ref(&path));
        StateFile::open(&path).unwrap().unwrap().remove().unwrap();
        assert!(all(dir.path()).unwrap().is_empty());
    }
}
