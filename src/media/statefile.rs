//! A file of the user's that remembers: lines are added and made durable one by one, each with its check, nobody else may read it,
//! and one process at a time has it.

use crate::error::{Error, Result};
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::lock;
use crate::media::record;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The longest that is read: more than the most entries of a source take.
const LONGEST: u64 = 512 << 20;

/// An open state file.
#[derive(Debug)]
pub struct StateFile {
    dir: Dir,
    name: String,
    file: File,
}

impl StateFile {
    /// Makes a new one, mode 0600, with its first line, and its directory, mode 0700, if there is none. It has its name only
    /// when it is locked and has that line.
    pub fn create(disk: &Disk, dir: &Path, name: &str, line: &str) -> Result<StateFile> {
        let dir = Dir::given_or_made_private(disk, dir).map_err(Error::io("create", dir))?;
        let hidden = format!(".{name}");
        let file = dir.create(&hidden, 0o600).map_err(Error::io("create", dir.show(&hidden)))?;
        let state = StateFile { dir, name: name.to_owned(), file };
        if !state.lock()? {
            return Err(Error::Internal("a new state file is locked".into()));
        }
        state.append(line)?;
        state.dir.rename(&hidden, name).map_err(Error::io("rename", state.dir.show(&hidden)))?;
        state.dir.sync().map_err(Error::io("sync", state.dir.path()))?;
        Ok(state)
    }

    /// Opens one; `None` if another process has it, or has just removed it.
    pub fn open(dir: &Dir, name: &str) -> Result<Option<StateFile>> {
        let file = match dir.open_to_append(name) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("open", dir.show(name)))?,
        };
        let state = StateFile { dir: dir.clone(), name: name.to_owned(), file };
        Ok(state.lock()?.then_some(state))
    }

    /// Where it is, to be shown.
    pub fn path(&self) -> PathBuf {
        self.dir.show(&self.name)
    }

    fn lock(&self) -> Result<bool> {
        lock::whole(&self.file).map_err(Error::io("lock", self.path()))
    }

    /// Its whole lines; one that was not written whole is cut off, with all after it. None if it is not one of ours.
    pub fn lines(&mut self) -> Result<Vec<String>> {
        let (mut bytes, path) = (Vec::new(), self.path());
        let read = (&mut self.file).take(LONGEST + 1).read_to_end(&mut bytes).map_err(Error::io("read", &path))?;
        if read as u64 > LONGEST {
            return Err(Error::usage(
                format!("{} is too long to be what it is named like", path.display()),
                "look at what it is, and move it away",
            ));
        }
        let (mut lines, mut whole) = (Vec::new(), 0);
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let Some(text) = record::text(line) else { break };
            lines.push(text.to_owned());
            whole += line.len();
        }
        // What does not begin with one is none of ours, and stays as it is.
        if 0 < whole && whole < bytes.len() {
            self.dir.disk().resize(&self.file, &path, whole as u64).map_err(Error::io("write", &path))?;
        }
        Ok(lines)
    }

    /// Adds a line, durably.
    pub fn append(&self, line: &str) -> Result<()> {
        let (disk, path) = (self.dir.disk(), self.path());
        let end = self.file.metadata().map_err(Error::io("look at", &path))?.len();
        let written = disk.write_all_at(&self.file, record::line(line).as_bytes(), end);
        written.and_then(|()| disk.sync(&self.file, &path)).map_err(Error::io("write", &path))
    }

    /// Removes it, durably.
    pub fn remove(self) -> Result<()> {
        self.dir.remove(&self.name).map_err(Error::io("remove", self.path()))?;
        self.dir.sync().map_err(Error::io("sync", self.dir.path()))
    }
}

/// The directory of state files, and their names, sorted; `None` if there is no such directory.
pub fn all(disk: &Disk, dir: &Path) -> Result<Option<(Dir, Vec<String>)>> {
    let dir = match Dir::given(disk, dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::io("read", dir))?,
    };
    let listed = dir.names().map_err(Error::io("read", dir.path()))?;
    let visible = |name: &String| !name.starts_with('.') && dir.has_file(name);
    let mut names: Vec<String> = listed.into_iter().filter_map(|n| n.into_string().ok()).filter(visible).collect();
    names.sort();
    Ok(Some((dir, names)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn lines_are_kept_and_a_torn_one_is_cut_off() {
        let temp = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let state = StateFile::create(&disk, temp.path(), "a", "one").unwrap();
        let dir = Dir::given(&disk, temp.path()).unwrap();
        assert!(StateFile::open(&dir, "a").unwrap().is_none(), "it is locked");
        drop(state);
        // The power was cut: of two lines, the second is there whole.
        let mut file = std::fs::OpenOptions::new().append(true).open(temp.path().join("a")).unwrap();
        file.write_all(format!("two, and \0\0 {}", record::line("three")).as_bytes()).unwrap();
        let mut state = StateFile::open(&dir, "a").unwrap().unwrap();
        assert_eq!(state.lines().unwrap(), ["one"]);
        state.append("two").unwrap();
        drop(state);
        let path = temp.path().join("a");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}{}", record::line("one"), record::line("two")));
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let names = || all(&disk, temp.path()).unwrap().unwrap().1;
        assert_eq!(names(), ["a"]);
        StateFile::open(&dir, "a").unwrap().unwrap().remove().unwrap();
        assert!(names().is_empty());
        assert!(all(&disk, &temp.path().join("nothing")).unwrap().is_none());
        std::fs::write(&path, "dear diary\n").unwrap();
        assert!(StateFile::open(&dir, "a").unwrap().unwrap().lines().unwrap().is_empty());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear diary\n");
    }
}
