//! The drives of the next part: those that are there, or others that somebody brings.

use crate::error::{Error, Result};
use crate::format::manifest::set_dir_name;
use crate::media::dir::Dir;
use crate::media::drive::{self, Drive};
use crate::pack::directories;
use crate::pack::part::Export;
use crate::progress::{Ask, DriveWanted, Progress};
use crate::text::human_bytes;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// How often a drive that will not do is refused before that is the end.
const MOST_REFUSALS: usize = 5;

/// Why a drive will not do.
struct Refusal {
    why: String,
    /// Something is mounted, and has to go.
    is_there: bool,
}

impl Refusal {
    fn there(why: String) -> Refusal {
        Refusal { why, is_there: true }
    }
}

impl Export {
    /// The drives for this part; asks for others as long as those that are here will not do.
    pub(super) fn drives(&mut self, ask: &dyn Ask, progress: &dyn Progress) -> Result<Vec<(Dir, Drive)>> {
        let places = self.begun.drives.clone();
        let drive = |(position, place): (usize, &PathBuf)| {
            let found = self.drive(position, place, (ask, progress))?;
            self.held[position] = Some(found.0.clone());
            if self.replaced.contains(&position) && directories::is_on(&found.0, &self.dir_name()) {
                let place = found.0.path().display().to_string();
                progress
                    .warn(&format!("{place} holds what was written to that drive: it goes on, and is not replaced"));
            }
            Ok(found)
        };
        places.iter().enumerate().map(drive).collect()
    }

    fn drive(
        &mut self,
        position: usize,
        place: &Path,
        (ask, progress): (&dyn Ask, &dyn Progress),
    ) -> Result<(Dir, Drive)> {
        let number = (self.at.part - 1) * self.begun.drives.len() as u32 + position as u32 + 1;
        let hint = match self.at.has_progress() {
            true => format!(
                "put in the drive and resume; if it is lost, put in another one, and add --replace-drive {number}"
            ),
            false => "put in the drive and resume; or let --next-drive-command do it".into(),
        };
        let mut refusals = 0;
        loop {
            let Refusal { why, is_there } = match self.suits(place, position) {
                Ok(drive) => return Ok(drive),
                Err(refusal) => refusal,
            };
            // If it is to be changed, it must not be held.
            self.held[position] = None;
            // At the beginning nothing is written, and what is wrong with a drive is for the command line to mend.
            let nobody = self.at.part == 1 && !self.at.has_progress() || !ask.can_change_drives();
            if nobody || refusals >= MOST_REFUSALS {
                return Err(Error::drive(format!("drive {number} is needed: {why}"), hint));
            }
            let empty = if !self.at.has_progress() { "an empty drive as " } else { "" };
            let first = if is_there { "unmount it, and " } else { "" };
            let message = format!("{why}: {first}mount {empty}drive {number} at {}", place.display());
            if !ask.next_drive(&DriveWanted { place: place.to_owned(), number: Some(number), message }) {
                // Who interrupts the question has not said that there is none.
                return Err(match progress.cancelled() {
                    true => Error::Interrupted,
                    false => Error::drive(format!("there is no drive {number}: {why}"), hint),
                });
            }
            refusals += 1;
        }
    }

    /// The drive at a place, if this part can be written to it; else why not.
    fn suits(&self, place: &Path, position: usize) -> Result<(Dir, Drive), Refusal> {
        let dir = match &self.held[position] {
            Some(held) => held.clone(),
            None => self.opened(place)?,
        };
        // Without a drive, what is there is a directory of this machine.
        if self.begun.mounted.get(position) == Some(&true) && !dir.is_mount_point() {
            let why = format!("nothing is mounted at {}", place.display());
            return Err(Refusal { why, is_there: false });
        }
        let drive = drive::examine(&dir).map_err(|e| Refusal::there(e.to_string()))?;
        self.suits_as(&dir, &drive, position).map_err(Refusal::there)?;
        Ok((dir, drive))
    }

    fn opened(&self, place: &Path) -> Result<Dir, Refusal> {
        match Dir::given(&self.disk, place) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let why = format!("{} does not exist", place.display());
                Err(Refusal { why, is_there: false })
            }
            Ok(dir) => Ok(dir),
            Err(_) => drive::open(&self.disk, place).map_err(|e| Refusal::there(e.to_string())),
        }
    }

    fn suits_as(&self, dir: &Dir, drive: &Drive, position: usize) -> Result<(), String> {
        let place = dir.path().display();
        let is_here = directories::is_on(dir, &self.dir_name());
        if self.at.has_progress() && (is_here || !self.replaced.contains(&position)) {
            let wrong = || format!("{place} does not hold part {} of this set", self.at.part);
            return if is_here { Ok(()) } else { Err(wrong()) };
        }
        let label = self.begun.label.as_deref();
        let used = |part: &u32| directories::is_on(dir, &set_dir_name(label, &self.begun.set, *part));
        if let Some(part) = (1..self.at.part).find(used) {
            return Err(format!("{place} holds part {part} of this set, which is complete"));
        }
        if !drive.can_hold(self.begun.plan.volume_bytes, Some(dir)) {
            return Err(format!("the file system of {place} cannot hold the volumes"));
        }
        // Of a drive that is in the place of a lost one.
        let volumes = self.at.known.iter().flat_map(|known| &known.group.volumes);
        let lost: u64 = volumes.filter(|v| usize::from(v.drive) == position + 1).map(|v| v.bytes).sum();
        if drive.free < lost {
            let (free, lost) = (human_bytes(drive.free), human_bytes(lost));
            return Err(format!("{place} has only {free} free, and {lost} have to be made again on it"));
        }
        let plan = &self.begun.plan;
        let least = plan.least_on(position, self.begun.drives.len(), self.metadata);
        match plan.in_parts && drive.free < least {
            true => {
                let (free, least) = (human_bytes(drive.free), human_bytes(least));
                Err(format!("{place} has only {free} free, and a part needs at least {least} there"))
            }
            false => Ok(()),
        }
    }
}
