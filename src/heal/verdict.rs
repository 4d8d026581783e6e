//! What follows from what the audit found: the verdict on a volume and on the set, and what changes with each repair.

use crate::format::names;
use crate::heal::diagnose::diagnose;
use crate::heal::findings::{Audit, FileState, NEEDED, State, VolumeFile, VolumeState};
use crate::media::dir::{Dir, Location};
use crate::set::{At, Bits, Blocks, Part, could_help, instead_of_file};
use crate::text::printable;
use std::ops::Range;

/// The verdict on a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything is here and as signed.
    Intact,
    /// Something is not, but every byte can be recovered from what is here.
    Repairable,
    /// A key slot was written anew, which only a later version can judge; all else is intact or repairable.
    Newer,
    /// What is here does not suffice; drives that are absent may.
    Incomplete,
    /// Beyond repair, whatever is brought.
    Lost,
}

impl Verdict {
    /// How it is called in reports.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Intact => "intact",
            Verdict::Repairable => "repairable",
            Verdict::Newer => "newer",
            Verdict::Incomplete => "incomplete",
            Verdict::Lost => "lost",
        }
    }
}

impl VolumeState {
    /// Judges it by its files.
    pub(crate) fn settle(&mut self) {
        let all = |of: fn(&VolumeFile) -> &Bits| {
            let mut bits = Bits::new(self.bad.len(), true);
            self.files.iter().for_each(|file| bits.keep_common(of(file)));
            bits
        };
        (self.bad, self.unread) = (all(|f| &f.bad), all(|f| &f.unread));
        let somewhere = self.bad.is_empty() && self.files.iter().any(|f| f.fits);
        self.state = match self.files.is_empty() {
            true => State::Missing,
            false if somewhere && self.homes.iter().all(|home| self.is_whole_at(home)) => State::Ok,
            false => State::Damaged,
        };
    }

    /// Whether a file of it is whole.
    pub fn is_whole_at(&self, at: &Location) -> bool {
        self.files.iter().any(|f| f.at == *at && f.is_whole())
    }

    pub(crate) fn diagnosis(&self, set: &Part, blocks: &Blocks, at: At) -> Option<String> {
        let other = |home: &Location| instead_of_file(&home.dir, &home.name);
        if self.state != State::Ok
            && let Some(other) = self.homes.iter().find_map(other)
        {
            return Some(other);
        }
        if self.state != State::Damaged {
            return None;
        }
        match self.files.iter().find(|f| !f.is_whole()) {
            Some(file) => {
                set.source(&file.at, blocks.block_size()).and_then(|s| diagnose(set, blocks, at, &s, &file.bad))
            }
            None => self.strayed(),
        }
    }

    /// What is said of a volume that is whole, but not everywhere where it should be.
    fn strayed(&self) -> Option<String> {
        let told = |at: &Location| printable(at.dir.path().as_os_str().as_encoded_bytes());
        let there = told(&self.files.first()?.at);
        match self.homes.iter().find(|home| !self.is_whole_at(home)) {
            Some(lacking) if self.homes.iter().any(|home| self.is_whole_at(home)) => {
                Some(format!("whole in {there}, but not in {}", told(lacking)))
            }
            _ => Some(format!("whole, but not on its drive: it is in {there}, and would be lost with that")),
        }
    }
}

impl Audit {
    /// The verdict, from the worst row.
    pub fn verdict(&self) -> Verdict {
        let (mut lost, mut incomplete) = (false, self.this_drive && !self.gone.is_empty());
        for group in 0..self.volumes.len() {
            for mut run in self.runs(group) {
                let (bad, helps) = self.judge_row(group, run.start);
                if bad > usize::from(self.m) && !run.all(|row| self.mended[group].contains(&row)) {
                    lost |= !helps;
                    incomplete |= helps;
                }
            }
        }
        for needed in NEEDED {
            let newer = needed == names::KEYS && self.rewritten;
            if !newer && !self.has_good(needed) && !self.combined.contains(needed) {
                lost |= self.absent.is_empty();
                incomplete |= !self.absent.is_empty();
            }
        }
        match (lost, incomplete, self.is_all_well()) {
            (true, _, _) => Verdict::Lost,
            (_, true, _) => Verdict::Incomplete,
            _ if self.rewritten => Verdict::Newer,
            (_, _, false) => Verdict::Repairable,
            _ => Verdict::Intact,
        }
    }

    /// Takes note that a file of a volume has been made anew; its place counts as a home from now on.
    pub fn renew_volume(&mut self, at: At, file: &Location) {
        let volume = &mut self.volumes[at.group][at.index];
        let none = Bits::new(volume.bad.len(), false);
        volume.files.retain(|f| f.at != *file);
        volume.files.push(VolumeFile {
            at: file.clone(),
            bad: none.clone(),
            unread: none,
            read: volume.bad.len(),
            fits: true,
        });
        if !volume.homes.contains(file) {
            volume.homes.push(file.clone());
        }
        volume.settle();
    }

    /// Takes note that a metadata file has been made anew.
    pub fn renew_file(&mut self, dir: &Dir, name: &str) {
        self.files.retain(|f| f.dir != *dir || f.name != name);
        self.files.push(FileState { dir: dir.clone(), name: name.to_owned(), state: State::Ok });
    }

    /// Takes note that a metadata file of a drive could not be made.
    pub fn miss_file(&mut self, at: &Location) {
        let files = self.files.iter_mut().filter(|f| f.dir == at.dir && f.name == at.name);
        files.for_each(|file| file.state = State::Missing);
    }

    /// Takes note that a drive has been replaced by another: what is of it in its old directories does not count any more,
    /// nor do those of them that are of no other drive.
    pub fn replace_drive(&mut self, drive: u16, old: &[Dir], emptied: &[Dir]) {
        for volume in self.volumes.iter_mut().flatten().filter(|v| v.drive == drive) {
            volume.files.retain(|f| !old.contains(&f.at.dir));
            volume.homes.retain(|home| !old.contains(&home.dir));
            volume.settle();
        }
        self.files.retain(|f| !emptied.contains(&f.dir));
        self.absent.remove(&drive);
        self.present.insert(drive);
    }

    fn is_all_well(&self) -> bool {
        self.files.iter().all(|f| f.state == State::Ok)
            && (self.absent.is_empty() || self.this_drive)
            && self.volumes.iter().flatten().all(|v| v.state == State::Ok || self.is_left_out(v))
    }

    /// Whether a copy of a metadata file is as it was signed.
    pub(crate) fn has_good(&self, name: &str) -> bool {
        self.files.iter().any(|f| f.state == State::Ok && f.of() == name)
    }

    /// Whether a metadata file is to be made anew; a key slot that was written anew is left as it is, in all its copies.
    pub(crate) fn is_in_need(&self, file: &FileState) -> bool {
        file.state != State::Ok && !(self.rewritten && file.of() == names::KEYS)
    }

    /// How many blocks of a row are bad, and whether absent drives could help if those are too many. Whatever has its name
    /// here: while its own drive is absent, a volume may still be whole there.
    fn judge_row(&self, group: usize, row: u64) -> (usize, bool) {
        let bad = self.volumes[group].iter().filter(|v| v.bad.contains(row));
        let (away, here) = bad.partition::<Vec<_>, _>(|v| self.absent.contains(&v.drive));
        let unread = here.iter().filter(|v| v.unread.contains(row)).count();
        (here.len() + away.len(), could_help(self.m.into(), here.len() - unread, unread, away.len()))
    }

    /// The rows of a group, in runs of those that are alike.
    pub(crate) fn runs(&self, group: usize) -> impl Iterator<Item = Range<u64>> + '_ {
        let (mut row, longest) = (1, self.longest(group));
        std::iter::from_fn(move || {
            let change = |v: &VolumeState| v.bad.next_change(row).min(v.unread.next_change(row));
            let end = self.volumes[group].iter().map(change).min().unwrap_or(longest).min(longest);
            let run = (row < longest).then_some(row..end)?;
            row = end;
            Some(run)
        })
    }

    /// One more than the number of the last row of a group.
    pub(crate) fn longest(&self, group: usize) -> u64 {
        self.volumes[group].iter().map(|v| v.bad.len()).max().unwrap_or(0)
    }

    /// The volumes of a group whose block in a row is bad.
    pub fn bad_in(&self, group: usize, row: u64) -> Vec<usize> {
        let volumes = self.volumes[group].iter().enumerate();
        volumes.filter(|(_, v)| v.bad.contains(row)).map(|(index, _)| index).collect()
    }

    /// A volume that was not asked about: it is missing, and nothing of it counts as bad.
    pub fn is_left_out(&self, volume: &VolumeState) -> bool {
        volume.state == State::Missing && volume.bad.is_empty()
    }
}
