//! The way out: from sources to a signed set on drives.
//!
//! In come sources that have been walked, a plan, and the key that signs. Out come parts of a set, signed and durable, each on
//! drives of its own. Nothing here writes to a source, and nothing looks complete before it is.

mod apart;
mod begun_group;
mod capacity;
mod deal;
mod directories;
mod estimate;
mod expected;
mod finished_groups;
mod gathered;
mod margins;
mod mark;
mod metadata;
mod next_drives;
mod noticed;
mod one_place;
mod packing;
mod part;
mod place;
mod plan;
mod read_back;
mod rebuild;
mod reserved;
mod roots;
mod rows_out;
mod seal_segments;
mod sign;
mod sizes;
mod source;
mod state;
mod stripe;
mod volumes;
mod walk;
mod writers;

pub use noticed::{LeftOut, Noted, Noticed};
pub use one_place::Places;
pub use plan::{Request, survives_as_placed};
pub use source::Source;
pub use walk::{Links, Walk, walk};

pub(crate) use capacity::{lines_of, most_segments};
pub(crate) use directories::{is_on, remove_from};
pub(crate) use estimate::{Estimate, estimate};
pub(crate) use expected::{Aside, Expected, expected};
pub(crate) use part::{Export, WrittenPart};
pub(crate) use place::on_device_of;
pub(crate) use plan::{Plan, has_room, plan, survives};
pub(crate) use sign::{errands as signing_errands, load as load_signing_key};
pub(crate) use sizes::cannot_hold;
pub(crate) use state::{Begun, State, Unfinished, changed, snapshot, unfinished};
pub(crate) use walk::Walked;

use crate::error::Result;
use crate::format::names;
use crate::media::dir::Dir;
use crate::media::drive::Drive;
use crate::progress::{Ask, Phase, Progress};
use crate::stages::filehash::Page;
use part::Position;
use state::Wrote;

/// Writes part after part, each to drives that are there or that somebody brings, until everything is written.
pub(crate) fn write(export: &mut Export, ask: &dyn Ask, progress: &dyn Progress) -> Result<Vec<WrittenPart>> {
    let mut parts = Vec::new();
    loop {
        let drives = export.drives(ask, progress)?;
        if std::mem::take(&mut export.moved) {
            export.state.moved(&export.begun)?;
        }
        let mut written = write_part(export, drives, progress)?;
        // Locks have been removed: that is to be durable too. Now the drives can be unmounted.
        progress.stage(Phase::Sync);
        let held = export.held.iter_mut().filter_map(Option::take);
        written.is_released = held.map(Dir::release).filter(|released| !released).count() == 0;
        let last = written.manifest.last;
        parts.push(written);
        if last {
            return Ok(parts);
        }
    }
}

/// One part, from empty directories to a signed manifest.
fn write_part(export: &mut Export, drives: Vec<(Dir, Drive)>, progress: &dyn Progress) -> Result<WrittenPart> {
    let (held, drives): (Vec<Dir>, Vec<Drive>) = drives.into_iter().unzip();
    // The key slot first: it is durable on all drives before the first frame is.
    progress.stage(Phase::Prepare);
    let (dirs, mut files) = export.set_dirs(&held)?;
    // Segments: read, compressed, sealed, dealt to volumes; parity; the hashes of all blocks.
    let packed = export.pack(&held, &dirs, progress)?;
    export.source.note(packed.page.finished.iter().copied());
    // What was packed must be one state of the sources.
    progress.stage(Phase::Walk);
    export.source.check_unchanged()?;
    // Metadata, on every drive twice, with the volumes between, and the small files once more.
    progress.stage(Phase::Metadata);
    export.begin_last_copies(&dirs)?;
    let last = packed.end == export.source.segments();
    files.insert(names::HASHES.into(), packed.hashes.clone());
    let mut drafts = metadata::Drafts::new(packed.copies);
    files.insert(names::INVENTORY.into(), export.write_inventory(&dirs, &packed.frames, &mut drafts)?);
    export.write_aids(&dirs, &mut files, &mut drafts)?;
    let manifest = export.manifest(packed.groups, files, last);
    export.check(&manifest, &packed.frames)?;
    drafts.b3sums(&dirs, |drive| manifest.b3sums(drive))?;
    progress.stage(Phase::Sync);
    drafts.finish()?;
    // After the last write everything is read back, and only then signed; the manifest gets its name last.
    let read = export.read_back(&manifest, &drives, &dirs, progress)?;
    let (signature, origin) = export.sign(&manifest, &dirs, progress)?;
    export.near |= dirs.lack_places() || dirs.copies_lie_near();
    let hash = *blake3::hash(&manifest.encode()).as_bytes();
    // The state of the last part is removed instead: resuming would look for a part after it.
    if !last {
        export.state.wrote(Wrote { end: packed.end, manifest: hash })?;
    }
    let page = Page { finished: Vec::new(), ..packed.page };
    let part = export.at.part + 1;
    export.at = Position { part, first: packed.end, previous: Some(hash), page, ..Position::default() };
    let origin = read.zip(origin).map(|(a, b)| a.and(b));
    let dirs = dirs.dirs.iter().map(|dir| dir.path().to_owned()).collect();
    Ok(WrittenPart { manifest, drives, dirs, origin, signature, places: export.places(), is_released: false })
}
