//! Commands to which something happens while they run.

use crate::run::{Call, Ran};
use crate::support::names_in;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// Every path below a directory.
pub fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in names_in_changing(dir) {
        if name.is_dir() && !name.is_symlink() {
            found.extend(below(&name));
        }
        found.push(name);
    }
    found
}

fn names_in_changing(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect()
}

/// Runs a command, and does something as soon as `dir` has a path that ends like this.
#[track_caller]
pub fn disturbed(call: Call, dir: &Path, end: &str, disturb: impl FnOnce()) -> Ran {
    let mut command = call.command();
    let mut child = command.spawn().unwrap();
    let seen = || below(dir).iter().any(|p| p.to_string_lossy().ends_with(end));
    while child.try_wait().unwrap().is_none() {
        if seen() {
            disturb();
            break;
        }
    }
    ended(&command, child)
}

/// Waits, but not for ever.
#[track_caller]
pub fn ended(command: &Command, mut child: Child) -> Ran {
    let begun = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed().as_secs() > 60 {
            let _ = child.kill();
            panic!("{command:?} hangs");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Ran::new(command, child.wait_with_output().unwrap())
}

/// Tries again when the command was faster than we are, which a busy machine may bring about.
#[track_caller]
pub fn in_time<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    (0..12).find_map(|_| attempt()).expect("the command was always faster than this test")
}

/// Removes what is in a directory, which stays.
pub fn empty(dir: &Path) {
    for name in names_in(dir) {
        let path = dir.join(OsStr::from_bytes(&name));
        match path.is_dir() && !path.is_symlink() {
            true => std::fs::remove_dir_all(path).unwrap(),
            false => std::fs::remove_file(path).unwrap(),
        }
    }
}
