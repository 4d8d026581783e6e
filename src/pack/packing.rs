//! What is packed into the volumes of a part.

use crate::error::Result;
use crate::format::header::Header;
use crate::pack::capacity::Room;
use crate::pack::directories::SetDirs;
use crate::pack::mark::Mark;
use crate::pack::plan::Plan;
use crate::pack::source::Source;
use crate::pack::writers::{Known, Log};
use crate::progress::{Lane, Phase, Progress};
use crate::stages::filehash::Page;
use crate::stages::seal::SetRecipient;

/// What is packed, and where to.
pub struct Packing<'a> {
    /// What is read.
    pub source: &'a Source,
    /// How.
    pub plan: &'a Plan,
    /// Where it goes.
    pub dirs: &'a SetDirs,
    /// The header page of its volumes.
    pub header: Header,
    /// To whom it is sealed.
    pub to: &'a SetRecipient,
    /// The first segment of this part.
    pub first: u64,
    /// What is known of the hashes of files before it.
    pub page: &'a Page,
    /// Groups of the part that are on the drives already.
    pub known: &'a [Known],
    /// Marks of the group behind these.
    pub marks: &'a [Mark],
    /// Measures how much fits, if not all does, when what an interruption left is gone, but for the volumes of a group that goes on.
    pub room: Option<&'a dyn Fn(Option<u32>) -> Result<Room>>,
    /// Who takes down what is safe.
    pub log: &'a dyn Log,
}

impl Packing<'_> {
    /// Tells what is read to see whether it is as it was: the known groups from one on, and the one that was begun.
    pub fn recheck(&self, from: usize, progress: &dyn Progress) {
        let known = self.known.get(from..).unwrap_or_default();
        let (frames, rows) = (self.marks.iter().flat_map(|mark| &mark.frames), self.marks.last().map_or(0, |m| m.rows));
        let data = frames.map(|bytes| u64::from(*bytes)).sum::<u64>() / u64::from(self.plan.k);
        let begun = |volume: usize| if volume < usize::from(self.plan.k) { data } else { rows };
        let on = |drive: usize| {
            let finished = known.iter().flat_map(|k| &k.group.volumes).filter(|v| usize::from(v.drive) == drive + 1);
            let own = self.plan.placement.iter().enumerate().filter(|(_, d)| **d == drive);
            finished.map(|v| v.bytes).sum::<u64>() + own.map(|(volume, _)| begun(volume)).sum::<u64>()
        };
        let all = (0..self.dirs.dirs.len()).map(on).sum();
        progress.begin(Phase::Recheck, all, &self.lanes(|drive| Some(on(drive))));
    }

    /// A lane for each of its drives, with the bytes that will move on the drive at a position.
    pub fn lanes(&self, bytes: impl Fn(usize) -> Option<u64>) -> Vec<Lane> {
        let drives = self.dirs.dirs.len() as u32;
        let before = (self.header.part - 1) * drives;
        (0..drives).map(|d| Lane { number: before + d + 1, bytes: bytes(d as usize) }).collect()
    }
}
