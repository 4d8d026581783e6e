//! What a drive needs besides the bytes of its volumes, by upper bounds: decided here for all who judge whether there is room, the plan,
//! the export on its way, and who brings the next drive.

use crate::format::hashes::BlockSize;
use crate::format::names;
use crate::media::drive::PER_FILE;
use crate::media::durable::LEAST_ROOM;
use crate::pack::sizes::second_hashes;

/// What the file system needs for the metadata files of a drive, their copies, and for room that is given to some of them before they have
/// contents.
const FOR_FILES: u64 = (3 * names::METADATA.len() + names::SMALL.len()) as u64 * PER_FILE;
/// What the manifest and `B3SUMS` say of a volume, without its spans.
pub(crate) const PER_VOLUME: u64 = 200;
/// Of so many bytes that are expected, one more is kept free for an estimate that is wrong.
const ESTIMATED: u64 = 32;

/// What is known of the files of a drive that are no volumes of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside {
    /// Metadata besides the hashes and what the manifest says of volumes, once.
    pub metadata: u64,
    /// Bytes of the values of all blocks of the part.
    pub values: u64,
    /// Volumes of the part.
    pub volumes: u64,
    /// How many drives it goes to.
    pub drives: u64,
    /// What `hashes.b3` and the manifest are given before they have contents, which is given back only when all has been written.
    pub given: (u64, u64),
}

impl Beside {
    /// The most bytes that they take.
    pub fn bytes(&self) -> u64 {
        let (hashes, manifest) = self.given;
        let listed = listed(self.volumes, self.values);
        2 * self.metadata
            + self.values
            + second_hashes(self.values, self.drives).max(hashes)
            + 3 * listed.max(manifest)
            + FOR_FILES
    }
}

/// What the manifest and `B3SUMS` say of volumes: beside them, spans, one for 2048 values.
fn listed(volumes: u64, values: u64) -> u64 {
    volumes.saturating_mul(PER_VOLUME) + values / 512
}

/// What a copy of `hashes.b3` and one of the manifest are given before they have contents, where a part has at most so many bytes and
/// volumes on so many drives.
pub fn given(bytes: u64, volumes: u64, drives: u64, block: BlockSize) -> (u64, u64) {
    let hashes = bytes / (block.bytes() / 32);
    (second_hashes(LEAST_ROOM + hashes, drives), LEAST_ROOM + listed(volumes, hashes))
}

/// What so many files with so many bytes take together.
pub fn of_volumes(bytes: u64, files: u64) -> u64 {
    bytes.saturating_add(files.saturating_mul(PER_FILE))
}

/// What is to be free for volumes of which so many bytes are only expected.
pub fn for_estimated(bytes: u64) -> u64 {
    bytes.saturating_add(bytes.div_ceil(ESTIMATED))
}
