//! What this process asks of the system for its own protection: no core dumps, no debugger.

use crate::error::{Error, Result};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use std::path::Path;
use std::time::Duration;

/// Threads besides the workers: for signals, and one for each of some drives.
const SPARE: usize = 4;

/// No other process of this user may look into its memory, and none of that is written to a core file. A system that refuses
/// is no reason to stop.
pub fn harden() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// Lets this process have as many files open as it may at all.
pub fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// How many files this process may have open at a time.
pub fn open_files() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

/// Whether this process may have so many files open at a time, besides what it always has.
pub fn require_open_files(files: usize) -> Result<()> {
    /// Standard streams, lists, sources that are being read, and what the system opens for us.
    const ALWAYS: usize = 24;
    match files + ALWAYS <= open_files() {
        true => Ok(()),
        false => Err(Error::refused(
            format!("{} files have to be open at a time, and this process may have {}", files + ALWAYS, open_files()),
            format!(
                "raise the limit (ulimit -n {}), or choose a smaller K+M with --parity",
                (files + ALWAYS).next_power_of_two()
            ),
        )),
    }
}

/// The numbers of the signals that this process ignores, as far as the system tells (proc(5), `SigIgn`).
pub fn ignored_signals() -> Vec<i32> {
    let status = super::read_small(Path::new("/proc/self/status"), 64 << 10).unwrap_or_default();
    let text = String::from_utf8_lossy(&status);
    let mask = text.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    (1..=64).filter(|signal| mask.unwrap_or(0) >> (signal - 1) & 1 == 1).collect()
}

/// Whether as many threads can be started as a verb needs, where each may be the last.
pub fn require_threads() -> Result<()> {
    let start = |_| std::thread::Builder::new().spawn(|| std::thread::park_timeout(Duration::from_millis(5)));
    let started: std::io::Result<Vec<_>> = (0..crate::threads::workers() + SPARE).map(start).collect();
    match started {
        Ok(threads) => {
            threads.into_iter().for_each(|thread| {
                thread.thread().unpark();
                let _ = thread.join();
            });
            Ok(())
        }
        Err(error) => Err(Error::refused(
            format!("the threads that are needed cannot be started: {error}"),
            "raise the limit of processes (ulimit -u), or end others of this user",
        )),
    }
}
