//! Which segments of an import have been placed, and which of these are durable.

use crate::error::Result;
use crate::media::staging::Staging;
use crate::restore::journal::{Header, Journal, Said, bits};
use crate::set::{Bits, Contents};
use crate::threads::lock;
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

/// Segments after which they are recorded for the first time; then after twice as many, and so on.
const FIRST: usize = 4;
/// Bytes of segments after which they are recorded in any case.
const MOST: usize = 512 << 20;
/// How long a segment that has been placed waits for being recorded, if others follow.
const LONGEST: Duration = Duration::from_secs(5);

/// Segments placed, and the journal that knows of them. Recording syncs the file system, so it is done now and then.
pub struct Tally<'a> {
    staging: &'a Staging,
    journal: Mutex<Journal>,
    state: Mutex<State>,
    most: usize,
}

struct State {
    done: Bits,
    /// Placed, but not recorded.
    pending: Vec<Pending>,
    due: usize,
    last: Instant,
    recorded: bool,
}

/// A segment that has been placed.
#[derive(Debug, Clone, Copy)]
struct Pending {
    segment: u64,
    /// It is durable if as many bytes are of those that were written to the file system.
    written: u64,
}

impl<'a> Tally<'a> {
    /// Of the segments of a set, what a journal says has been placed.
    pub fn begin(staging: &'a Staging, header: &Header, said: &Said, contents: &Contents) -> Result<Tally<'a>> {
        let done = bits(said, contents.segments());
        let recorded = !done.is_empty();
        Ok(Tally {
            staging,
            journal: Mutex::new(Journal::begin(staging, header, said)?),
            state: Mutex::new(State { done, pending: Vec::new(), due: FIRST, last: Instant::now(), recorded }),
            most: (MOST / contents.segment_bytes as usize).max(FIRST),
        })
    }

    /// Whether a segment has been placed.
    pub fn is_done(&self, segment: u64) -> bool {
        lock(&self.state).done.contains(segment)
    }

    /// Those of `segments` that have not been placed.
    pub fn undone(&self, segments: &[u64]) -> Vec<u64> {
        let state = lock(&self.state);
        segments.iter().copied().filter(|s| !state.done.contains(*s)).collect()
    }

    /// Takes note of a segment that has been placed. Now and then whoever calls this is the one who records all.
    pub fn placed(&self, segment: u64) -> Result<()> {
        let written = self.staging.reach().written;
        let due = {
            let mut state = lock(&self.state);
            state.done.insert(segment);
            state.pending.push(Pending { segment, written });
            state.pending.len() >= state.due || state.last.elapsed() >= LONGEST
        };
        if !due {
            return Ok(());
        }
        match self.journal.try_lock() {
            Ok(mut journal) => self.record_in(&mut journal),
            // Somebody is at it; what was placed in the meantime goes into the next record.
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Poisoned(journal)) => self.record_in(&mut journal.into_inner()),
        }
    }

    /// Makes everything that has been placed durable, and says so.
    pub fn record(&self) -> Result<()> {
        self.record_in(&mut lock(&self.journal))
    }

    fn record_in(&self, journal: &mut Journal) -> Result<()> {
        // Only what was placed before the file system is synced is durable after it.
        let pending = std::mem::take(&mut lock(&self.state).pending);
        if pending.is_empty() {
            return Ok(());
        }
        let recorded = self.staging.sync().and_then(|()| journal.placed(&sorted(&pending)));
        let mut state = lock(&self.state);
        state.last = Instant::now();
        match recorded {
            Ok(()) => {
                state.due = (state.due * 2).min(self.most);
                state.recorded = true;
            }
            Err(_) => state.pending.extend(pending),
        }
        recorded
    }

    /// Says of what has been placed since the last record what is durable by now, without waiting for the drive.
    pub fn record_durable(&self) -> Result<()> {
        let mut journal = lock(&self.journal);
        let durable = self.staging.reach().durable;
        let mut state = lock(&self.state);
        let known: Vec<Pending> = state.pending.extract_if(.., |placed| placed.written <= durable).collect();
        if !known.is_empty() {
            journal.placed(&sorted(&known))?;
            state.recorded = true;
        }
        Ok(())
    }

    /// Whether an import that ends now can be resumed.
    pub fn is_resumable(&self) -> bool {
        lock(&self.state).recorded
    }

    /// These segments have to be placed again.
    pub fn take_off(&self, segments: &[u64]) -> Result<()> {
        self.record()?;
        lock(&self.journal).again(segments)?;
        let mut state = lock(&self.state);
        segments.iter().for_each(|s| state.done.remove(*s));
        Ok(())
    }

    /// Everything is placed and proven: makes it durable, and says so.
    pub fn conclude(&self) -> Result<()> {
        self.record()?;
        self.staging.sync()?;
        lock(&self.journal).concluded()?;
        lock(&self.state).recorded = true;
        Ok(())
    }
}

/// The numbers of these segments, in order.
fn sorted(pending: &[Pending]) -> Vec<u64> {
    let mut segments: Vec<u64> = pending.iter().map(|placed| placed.segment).collect();
    segments.sort_unstable();
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::format::inventory::Name;
    use crate::media::disk::Disk;
    use crate::media::modes::Modes;
    use crate::media::staging::claim::Claim;
    use crate::stages::seal::SetIdentity;
    use std::collections::BTreeMap;

    #[test]
    fn who_is_stopped_says_what_is_durable_and_waits_for_no_more() {
        let (temp, disk) = (tempfile::tempdir().unwrap(), Disk::default());
        let header = Header::new(("00", "1"), &[], &[], "refuse", &Name::new(b"there"));
        let claim = Claim::on(&disk, &temp.path().join("there"), "00000000").unwrap();
        let staging = claim.begin(false, &header.line().unwrap(), Modes::masked()).unwrap();
        let (tables, identity) = (BTreeMap::new(), SetIdentity::generate());
        let contents = Contents { entries: vec![], tar_bytes: 9 << 20, segment_bytes: 1 << 20, identity, tables };
        let tally = Tally::begin(&staging, &header, &Said::default(), &contents).unwrap();
        let at = staging.journal();
        let journal = || String::from_utf8(at.dir.read(&at.name, 1 << 16).unwrap()).unwrap();

        // So much that it is made durable on the way.
        let file = tempfile::tempfile_in(temp.path()).unwrap();
        disk.write_all_at(&file, &vec![1; 4 << 20], 0).unwrap();
        disk.settle(&file).unwrap();
        let durable = staging.reach().durable;
        assert!(durable > 0);
        let wait = |segment, written| lock(&tally.state).pending.push(Pending { segment, written });
        wait(7, durable);
        wait(3, durable);
        disk.write_all_at(&file, &[1; 1000], 0).unwrap();
        wait(5, staging.reach().written);

        disk.stop();
        assert!(matches!(tally.record(), Err(Error::Interrupted)));
        assert!(!tally.is_resumable() && !journal().contains("placed"));
        // What is written from now on counts as written, and nothing makes it durable.
        disk.write_all_at(&file, &vec![1; 4 << 20], 0).unwrap();
        wait(6, staging.reach().written);
        tally.record_durable().unwrap();
        assert!(tally.is_resumable() && journal().contains("placed 3,7 "), "{}", journal());
        tally.record_durable().unwrap();
        assert_eq!(journal().matches("placed").count(), 1);
    }
}
