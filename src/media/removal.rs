//! Removes a directory that ckvault has made, with everything that a set has put into it.

use super::dir::Dir;
use rustix::fs::FileType;
use std::ffi::{OsStr, OsString};
use std::io;

/// The beginning of names that are given to what is moved up.
const MOVED: &str = ".ckvault-";

/// Removes a tree, whatever modes its directories have been given. What lies deep is moved up first: a set may nest as deep
/// as the longest path, below which a descriptor for each level is not to be had.
pub fn remove_tree(place: &Dir, name: impl AsRef<OsStr>) -> io::Result<()> {
    let name = name.as_ref();
    empty(&opened(place, name)?)?;
    place.remove_dir(name)
}

/// The same of a directory that is held. Whatever has taken its `name` in `place` meanwhile keeps what is in it.
pub fn remove_held(dir: &Dir, place: &Dir, name: impl AsRef<OsStr>) -> io::Result<()> {
    let _ = dir.set_own_mode(0o700);
    empty(dir)?;
    place.remove_dir(name)
}

fn empty(top: &Dir) -> io::Result<()> {
    let mut moved = 0u64;
    loop {
        let dirs = remove_files(top)?;
        if dirs.is_empty() {
            return Ok(());
        }
        for name in dirs {
            let dir = opened(top, &name)?;
            for inner in remove_files(&dir)? {
                // A directory that may not be written to cannot change its parent.
                dir.permit(&inner);
                move_up(&dir, &inner, top, &mut moved)?;
            }
            top.remove_dir(&name)?;
        }
    }
}

fn opened(place: &Dir, name: &OsStr) -> io::Result<Dir> {
    place.permit(name);
    place.dir(name)
}

/// Removes all that is no directory; returns the directories.
fn remove_files(dir: &Dir) -> io::Result<Vec<OsString>> {
    let mut dirs = Vec::new();
    for (name, kind) in dir.entries()? {
        match kind {
            FileType::Directory => dirs.push(name),
            _ => dir.remove(name)?,
        }
    }
    Ok(dirs)
}

/// Moves a directory into `to` under a name that nothing has; an empty directory that has it is gone anyway.
fn move_up(dir: &Dir, name: &OsStr, to: &Dir, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        match dir.rename_to(name, to, format!("{MOVED}{moved}")) {
            Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {}
            other => return other,
        }
    }
}
