//! What is packed into the volumes of a part.

use crate::format::header::Header;
use crate::pack::capacity::Room;
use crate::pack::directories::SetDirs;
use crate::pack::mark::Mark;
use crate::pack::plan::Plan;
use crate::pack::source::Source;
use crate::pack::writers::{Known, Log};
use crate::progress::Lane;
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
    /// How much fits, if not all does.
    pub room: Option<&'a Room>,
    /// Who takes down each group that is safe.
    pub log: &'a dyn Log,
}

impl Packing<'_> {
    /// A lane for each of its drives, with the bytes that will move on the drive at a position.
    pub fn lanes(&self, bytes: impl Fn(usize) -> Option<u64>) -> Vec<Lane> {
        let drives = self.dirs.dirs.len() as u32;
        let before = (self.header.part - 1) * drives;
        (0..drives).map(|d| Lane { number: before + d + 1, bytes: bytes(d as usize) }).collect()
    }
}
