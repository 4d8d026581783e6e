//! How fast drives take what is written to them: a short test of each, of all at the same time, as an export writes to them. What
//! counts is durable.

use crate::error::{Error, Result};
use crate::media::dir::Dir;
use crate::media::drive::Drive;
use crate::media::durable::{PARTIAL_SUFFIX, Partial, private_name};
use crate::media::pace::PIECE;
use crate::progress::{Phase, Progress};
use crate::threads::FirstError;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a test takes, but for the end of its last step.
const TIME: Duration = Duration::from_secs(2);
/// No test writes more, nor more than this part of what is free.
const MOST: u64 = 256 << 20;
const PART_OF_FREE: u64 = 16;
/// File systems and drives may keep pages that are the same once only.
const PAGE: usize = 4096;

/// How far a test is: when, and what is durable by then.
type Mark = (Duration, u64);

/// Bytes a second that each of these drives takes; of those that are to hold less than a test writes, no more than that is written.
/// Directories on one file system share its speed: it is told of each of them.
pub fn speeds(held: &[Dir], drives: &[Drive], needed: &[u64], progress: &dyn Progress) -> Result<Vec<u64>> {
    progress.stage(Phase::Probe);
    let first = |d: usize| drives.iter().position(|other| other.device == drives[d].device).unwrap_or(d);
    let most = |d: usize| {
        let needed: u64 = (d..drives.len()).filter(|other| first(*other) == d).map(|other| needed[other]).sum();
        needed.min(drives[d].free / PART_OF_FREE).clamp(1, MOST)
    };
    let (failure, found) = (FirstError::default(), Vec::from_iter(drives.iter().map(|_| AtomicU64::new(0))));
    let is_over = || {
        let is_stopped = progress.cancelled();
        if is_stopped {
            progress.tidies();
        }
        is_stopped || !failure.is_none()
    };
    std::thread::scope(|scope| {
        for d in (0..drives.len()).filter(|d| first(*d) == *d) {
            let (dir, most, found, failure) = (&held[d], most(d), &found[d], &failure);
            scope.spawn(move || {
                let measured = test(dir, most, is_over).map(|speed| found.store(speed, Ordering::Relaxed));
                failure.keep(measured, || ());
            });
        }
    });
    failure.check()?;
    Ok((0..drives.len()).map(|d| found[first(d)].load(Ordering::Relaxed)).collect())
}

/// Writes a file of ours that is in nobody's way, and removes it.
fn test(dir: &Dir, most: u64, is_over: impl Fn() -> bool) -> Result<u64> {
    let name = private_name("probe").map_err(Error::on_drive("create", dir.path()))?;
    let file = Partial::create(dir, name.trim_end_matches(PARTIAL_SUFFIX))?.fleeting();
    let measured = measure(&file, most, is_over);
    let path = file.path();
    let removed = match dir.remove(file.partial_name()) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    };
    match (measured, removed) {
        (Ok(speed), removed) => removed.map(|()| speed).map_err(Error::on_drive("remove", path)),
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(_)) => Err(error.leaving(&path)),
    }
}

fn measure(file: &Partial, most: u64, is_over: impl Fn() -> bool) -> Result<u64> {
    // What can be compressed or is known already may be taken faster.
    let mut noise = vec![0; PIECE];
    getrandom::fill(&mut noise).map_err(|e| Error::Internal(e.to_string()))?;
    let (begun, before) = (Instant::now(), file.reach().written);
    let (mut written, mut marks) = (0, Vec::<Mark>::new());
    while written < most && begun.elapsed() < TIME {
        if is_over() {
            return Err(Error::Interrupted);
        }
        for (page, number) in noise.chunks_mut(PAGE).zip(written..) {
            page[..8].copy_from_slice(&number.to_le_bytes());
        }
        let piece = &noise[..(most - written).min(PIECE as u64) as usize];
        file.write_at(piece, written)?;
        written += piece.len() as u64;
        let durable = file.reach().durable.saturating_sub(before);
        if marks.last().map_or(0, |(_, last)| *last) < durable {
            marks.push((begun.elapsed(), durable));
        }
    }
    file.sync()?;
    Ok(rate(&marks, (begun.elapsed(), written)))
}

/// Bytes a second towards the end, of half of them at least: steps are short at the beginning, which costs a drive more than their
/// bytes; and it takes these into a memory of its own.
fn rate(marks: &[Mark], (took, written): Mark) -> u64 {
    let begun = marks.iter().rev().find(|(_, durable)| durable * 2 <= written).copied().unwrap_or_default();
    let seconds = took.saturating_sub(begun.0).as_secs_f64().max(1e-6);
    ((written - begun.1) as f64 / seconds).max(1.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::disk::{Disk, Media};
    use crate::media::drive;
    use crate::progress::Silent;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::sync::{Arc, Mutex};

    const MB: u64 = 1_000_000;

    #[test]
    fn speed_is_that_of_what_is_durable_in_the_end() {
        let at = |seconds: f64, megabytes: u64| (Duration::from_secs_f64(seconds), megabytes * MB);
        // Steps of 1, 4 and 16 MB, and one of which the end was waited for.
        let marks = [at(0.5, 1), at(1.0, 5), at(1.5, 21)];
        assert_eq!(rate(&marks, at(3.0, 51)), 20 * MB);
        // No step was over before all was written, or only one that had most of it.
        assert_eq!(rate(&[], at(2.0, 10)), 5 * MB);
        assert_eq!(rate(&[at(1.9, 9)], at(2.0, 10)), 5 * MB);
        assert_eq!(rate(&[], at(0.0, 0)), 1);
    }

    /// What is written to a file, in order.
    struct Seen(Mutex<Vec<u8>>);

    impl Media for Arc<Seen> {
        fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> std::io::Result<usize> {
            let written = file.write_at(bytes, offset)?;
            self.0.lock().unwrap().extend(&bytes[..written]);
            Ok(written)
        }
    }

    #[test]
    fn what_is_written_is_noise_no_more_than_is_needed_and_gone_in_the_end() {
        let temp = tempfile::tempdir().unwrap();
        let seen = Arc::new(Seen(Mutex::default()));
        let dir = Dir::given(&Disk::new(seen.clone()), temp.path()).unwrap();
        let drive = drive::Drive { free: 1 << 40, ..drive::examine(&dir).unwrap() };
        let (held, drives) = ([dir.clone(), dir], [drive.clone(), drive]);
        let needed = 700_000;
        let speeds = speeds(&held, &drives, &[needed; 2], &Silent::default()).unwrap();
        // Both are on one file system.
        assert!(speeds[0] > 1 && speeds[0] == speeds[1], "{speeds:?}");
        let bytes = seen.0.lock().unwrap();
        assert_eq!(bytes.len() as u64, 2 * needed);
        let mut pages: Vec<&[u8]> = bytes.chunks(PAGE).collect();
        pages.sort();
        assert!(pages.windows(2).all(|pair| pair[0] != pair[1]), "a page comes twice");
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
        assert!(
            super::speeds(&held, &drives, &[needed; 2], &{
                let stopped = Silent::default();
                stopped.cancel();
                stopped
            })
            .is_err_and(|e| e.exit_code() == 130)
        );
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
