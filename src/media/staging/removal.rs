//! Removing a staging directory, whatever a set has put into it.

use super::{JOURNAL, PREFIX};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Removes a tree of ours, whatever modes its directories have been given. What lies deep is moved up first: a set may nest
/// as deep as the longest path, below which neither that path nor a descriptor for each level is to be had. The journal goes
/// first: nobody can go on with what is left by a removal that was stopped.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let _ = std::fs::remove_file(path.join(JOURNAL));
    let mut moved = 0u64;
    loop {
        let dirs = remove_files(path)?;
        if dirs.is_empty() {
            return std::fs::remove_dir(path);
        }
        for dir in dirs {
            for inner in remove_files(&dir)? {
                // A directory that may not be written to cannot change its parent.
                let _ = std::fs::set_permissions(&inner, Permissions::from_mode(0o700));
                move_up(&inner, path, &mut moved)?;
            }
            std::fs::remove_dir(&dir)?;
        }
    }
}

/// Removes all that is no directory from one of ours; returns the directories in it.
fn remove_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    // File systems without modes refuse, and need none.
    let _ = std::fs::set_permissions(path, Permissions::from_mode(0o700));
    let mut dirs = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => dirs.push(entry.path()),
            false => std::fs::remove_file(entry.path())?,
        }
    }
    Ok(dirs)
}

/// Moves a directory into `to` under a name that nothing has; an empty directory that has it is gone anyway.
fn move_up(dir: &Path, to: &Path, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        match std::fs::rename(dir, to.join(format!("{PREFIX}{moved}"))) {
            Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {}
            other => return other,
        }
    }
}
