//! A part of an export in the making: what stays the same for all parts, where it stands, and each step of making it.

use crate::error::{Error, Result};
use crate::format::hashes::Value;
use crate::format::header::Header;
use crate::format::inventory::{self, Head};
use crate::format::manifest::{Group, Listed, Manifest, set_dir_name};
use crate::format::signature::{SigningKey, public_line};
use crate::format::{FORMAT, FormatError, names, parse_id, recovery};
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::drive::{self, Drive, UNTOLD};
use crate::media::program::Program;
use crate::pack::capacity::{self, Room};
use crate::pack::directories::{self, SetDirs};
use crate::pack::mark::Mark;
use crate::pack::metadata::{self, Drafts};
use crate::pack::one_place::Places;
use crate::pack::packing::Packing;
use crate::pack::read_back;
use crate::pack::reserved::Sizes;
use crate::pack::sign;
use crate::pack::source::Source;
use crate::pack::state::{Begun, State, Unfinished};
use crate::pack::volumes::pack;
use crate::pack::writers::{Known, Packed};
use crate::progress::{Phase, Progress};
use crate::set::{Origin, agree};
use crate::stages::filehash::Page;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// An export that is being written: what stays the same, and where it stands.
pub struct Export {
    /// What it is read and written through.
    pub disk: Disk,
    /// How it was begun.
    pub begun: Begun,
    /// What is exported.
    pub source: Source,
    /// Who signs.
    pub key: SigningKey,
    /// What it remembers.
    pub state: State,
    /// The key slot.
    pub(super) slot: Vec<u8>,
    /// What travels with it.
    pub(super) program: Option<Program>,
    /// Bytes of metadata at most, that program among it, besides what grows with volumes and segments.
    pub(super) metadata: u64,
    /// The part that is next.
    pub(super) at: Position,
    /// Whether copies of metadata of a part that is done may lie near each other.
    pub(super) near: bool,
    /// Whether it goes on after an interruption.
    pub(super) goes_on: bool,
    /// Whether its drives were tried: the room of what was removed then is given like that of an interruption.
    pub tried: bool,
    /// Whether its drives are elsewhere than it is remembered.
    pub moved: bool,
    /// Positions of drives that are lost, with what they had of this part.
    pub(super) replaced: Vec<usize>,
    /// Its drives by position, those that have been opened.
    pub(super) held: Vec<Option<Dir>>,
}

/// The part that is to be written, or to be written to its end.
#[derive(Default)]
pub(super) struct Position {
    /// Its number.
    pub(super) part: u32,
    /// Its first segment.
    pub(super) first: u64,
    /// What is known of the hashes of files there.
    pub(super) page: Page,
    /// The hash of the manifest before it.
    pub(super) previous: Option<Value>,
    /// Groups of it that are on the drives.
    pub(super) known: Vec<Known>,
    /// Marks of the group behind these.
    pub(super) marks: Vec<Mark>,
}

impl Position {
    /// Whether something of it is on the drives already.
    pub(super) fn has_progress(&self) -> bool {
        !self.known.is_empty() || !self.marks.is_empty()
    }
}

/// A part that is on the drives.
pub struct WrittenPart {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its drives, as they were before.
    pub drives: Vec<Drive>,
    /// The directories of the set on them.
    pub dirs: Vec<PathBuf>,
    /// Where it was read back from, if it was.
    pub origin: Option<Origin>,
    /// Bytes of the signature.
    pub signature: u64,
    /// What places it was given, and the parts before it.
    pub places: Places,
    /// Everything on its drives is durable, and none is held any more.
    pub is_released: bool,
}

fn examined(drives: &[Dir]) -> Result<Vec<Drive>> {
    drives.iter().map(drive::examine).collect()
}

/// A set that nobody could import must not be signed.
fn breaks_itself(why: &FormatError) -> Error {
    Error::Internal(format!("the set would break its own format, and was not signed: {why}"))
}

impl Export {
    /// At its beginning. Of drives that are opened already, no other is taken.
    pub fn new(
        (disk, mut held): (&Disk, Vec<Option<Dir>>),
        begun: Begun,
        source: Source,
        key: SigningKey,
        state: State,
        (program, metadata): (Option<Program>, u64),
    ) -> Result<Export> {
        let slot = begun.slot().ok_or_else(|| Error::Internal("the state of the export has no key slot".into()))?;
        let at = Position { part: 1, ..Position::default() };
        held.resize(begun.drives.len(), None);
        Ok(Export {
            disk: disk.clone(),
            begun,
            source,
            key,
            state,
            slot,
            program,
            metadata,
            at,
            near: false,
            goes_on: false,
            tried: false,
            moved: false,
            replaced: Vec::new(),
            held,
        })
    }

    /// Where an interruption left it.
    pub fn stand_at(&mut self, unfinished: Unfinished) {
        self.source.note(unfinished.page.finished.iter().copied());
        let last = unfinished.wrote.last();
        self.goes_on = true;
        self.at = Position {
            part: unfinished.part(),
            first: last.map_or(0, |w| w.end),
            previous: last.map(|w| w.manifest),
            page: unfinished.page,
            known: unfinished.known,
            marks: unfinished.marks,
        };
    }

    /// Drives with these numbers are lost, and others are in their places.
    pub fn replace(&mut self, numbers: &[u32]) -> Result<()> {
        let drives = self.begun.drives.len() as u32;
        let before = (self.at.part - 1) * drives;
        for number in numbers {
            let position = number.checked_sub(before + 1).filter(|position| *position < drives);
            let what = || format!("drive {number} is none of those that this export is writing to");
            let hint =
                || format!("they are {} to {}: give the number of the one that is lost", before + 1, before + drives);
            self.replaced.push(position.ok_or_else(|| Error::usage(what(), hint()))? as usize);
        }
        Ok(())
    }

    /// The command that goes on with it.
    pub fn to_go_on(&self) -> String {
        format!("ckvault export --resume {}", &self.begun.set[..8])
    }

    /// What to do about an error: what is finished stays, if that can be gone on with; else nothing does.
    pub fn give_up(self, error: Error) -> Error {
        // What is left on a drive that is not here can only be removed, or gone on with, when it is.
        let begun_well = self.at.part > 1 || self.state.has_progress() || self.held.iter().any(Option::is_none);
        if begun_well && !matches!(error, Error::Source { .. } | Error::Usage { .. }) {
            return error.resumable(&self.to_go_on());
        }
        for drive in self.held.iter().flatten() {
            // A driver that is a process keeps what is open when it is removed.
            let _ = self.disk.settle(drive);
            if directories::is_on(drive, &self.dir_name()) {
                let _ = directories::remove_from(drive, &self.dir_name());
            }
        }
        let _ = self.state.remove();
        error
    }

    pub(super) fn dir_name(&self) -> String {
        set_dir_name(self.begun.label.as_deref(), &self.begun.set, self.at.part)
    }

    /// The directories of this part with the key slot in them: made, or taken up.
    pub(super) fn set_dirs(&self, drives: &[Dir]) -> Result<(SetDirs, BTreeMap<String, Listed>)> {
        let name = self.dir_name();
        let sizes = self.sizes(drives)?;
        let dirs = match self.at.has_progress() {
            true => SetDirs::take_up(drives, &name, sizes, &self.replaced)?,
            false => {
                // What an interruption left before anything was remembered.
                let left = drives.iter().filter(|drive| directories::is_on(drive, &name));
                left.into_iter().try_for_each(|drive| directories::remove_from(drive, &name))?;
                self.state.part(self.at.part)?;
                SetDirs::create(drives, &name, sizes)?
            }
        };
        let slot = metadata::ensure(&dirs, &dirs.first_places(), names::KEYS, &self.slot)?;
        Ok((dirs, BTreeMap::from([(names::KEYS.into(), slot)])))
    }

    pub(super) fn pack(&self, held: &[Dir], dirs: &SetDirs, progress: &dyn Progress) -> Result<Packed> {
        let free = || Ok::<_, Error>(examined(held)?.iter().map(|drive| drive.free).collect::<Vec<u64>>());
        let before = free()?;
        dirs.reserve_first()?;
        let given: Vec<u64> = before.iter().zip(free()?).map(|(before, after)| before.saturating_sub(after)).collect();
        let measure = |goes_on: Option<u32>| self.room(held, dirs, (goes_on, &given));
        let packing = Packing {
            source: &self.source,
            plan: &self.begun.plan,
            dirs,
            header: self.header(),
            to: &self.begun.recipient,
            first: self.at.first,
            page: &self.at.page,
            known: &self.at.known,
            marks: &self.at.marks,
            room: self.begun.plan.in_parts.then_some(&measure),
            log: &self.state,
        };
        let packed = pack(&packing, progress)?;
        match packed.frames.is_empty() {
            false => Ok(packed),
            true => Err(Error::drive("not one frame fits the drives at hand", "use larger drives")),
        }
    }

    /// What the drives have room for. What files without contents have been given, and the volumes of a group that goes on, count as if
    /// they were still to be written.
    fn room(&self, held: &[Dir], dirs: &SetDirs, (goes_on, given): (Option<u32>, &[u64])) -> Result<Room> {
        let mut drives = examined(held)?;
        let there = goes_on.map(|group| dirs.bytes_of_group(group)).transpose()?.unwrap_or_default();
        let there: Vec<(u64, u64)> = drives.iter().map(|d| d.device).zip(there).collect();
        for (drive, given) in drives.iter_mut().zip(given).filter(|(drive, _)| drive.free != UNTOLD) {
            let own = there.iter().filter(|(device, _)| *device == drive.device).map(|(_, bytes)| bytes);
            drive.free =
                own.fold(drive.free, |free, bytes| free.saturating_add(*bytes)).saturating_add(*given).min(UNTOLD);
        }
        let most_segments = capacity::most_segments(self.source.entries(), &self.begun.plan);
        let given = dirs.sizes().hashes_and_manifest();
        Ok(Room::new(&self.begun.plan, &drives, self.metadata, most_segments, given))
    }

    /// What metadata may need of drives at the beginning of a part.
    fn sizes(&self, drives: &[Dir]) -> Result<Sizes> {
        let drives = examined(drives)?;
        let program = self.program.as_ref().map_or(0, Program::bytes);
        Ok(Sizes::of(&self.begun.plan, &drives, self.metadata.saturating_sub(program)))
    }

    /// The copies that come behind the volumes get their places, all of them before any file gives back what it does not need; and the
    /// third copy of the key slot is written.
    pub(super) fn begin_last_copies(&self, dirs: &SetDirs) -> Result<()> {
        dirs.reserve_last()?;
        metadata::ensure(dirs, &dirs.places(names::KEYS), names::KEYS, &self.slot).map(drop)
    }

    /// What is known of the places that drives gave so far.
    pub(super) fn places(&self) -> Places {
        if self.near || self.goes_on || self.tried { Places::Unknown } else { Places::InOrder }
    }

    pub(super) fn header(&self) -> Header {
        let plan = &self.begun.plan;
        Header {
            set: parse_id(&self.begun.set).unwrap_or_default(),
            group: 0,
            index: 0,
            k: plan.k,
            m: plan.m,
            part: self.at.part,
            segment_bytes: plan.segment_bytes,
            block: plan.block,
            volume_bytes: plan.volume_bytes,
        }
    }

    pub(super) fn write_inventory(&self, dirs: &SetDirs, frames: &[u32], drafts: &mut Drafts) -> Result<Listed> {
        let (entries, head) = (self.source.entries(), self.head(frames));
        let plan = &self.begun.plan;
        let mut reader = inventory::Reader::checking(plan.shape());
        let mut refused = None;
        let lines = inventory::lines(&head, entries, frames, plan.shape()).inspect(|line| {
            if refused.is_none() {
                refused = reader.line(line).err();
            }
        });
        let listed = drafts.inventory(dirs, lines, &self.begun.recipient)?;
        match refused.or_else(|| reader.finish().err()) {
            None => Ok(listed),
            Some(why) => Err(breaks_itself(&why)),
        }
    }

    /// Whether manifest and inventory agree as a reader wants them to, before the one is signed.
    pub(super) fn check(&self, manifest: &Manifest, frames: &[u32]) -> Result<()> {
        let plan = &self.begun.plan;
        let places: Vec<_> = inventory::places(frames, plan.shape()).collect();
        let read = Manifest::parse(&manifest.encode()).map(drop);
        read.and_then(|()| agree(manifest, &self.head(frames), self.source.entries(), &places))
            .map_err(|why| breaks_itself(&why))
    }

    fn head(&self, frames: &[u32]) -> Head {
        Head {
            inventory: FORMAT.into(),
            critical: Vec::new(),
            set: self.begun.set.clone(),
            part: self.at.part,
            signer: public_line(&self.key.public()),
            tar_bytes: self.source.tar_bytes(),
            entries: self.source.entries().len() as u64,
            first: self.at.first,
            segments: frames.len() as u64,
        }
    }

    /// What helps to read the set, and what nothing in it depends on.
    pub(super) fn write_aids(
        &self,
        dirs: &SetDirs,
        files: &mut BTreeMap<String, Listed>,
        drafts: &mut Drafts,
    ) -> Result<()> {
        let text = recovery::text(self.program.is_some());
        for (name, text) in [(names::RECOVER_PY, recovery::SCRIPT), (names::RECOVER_TXT, &text)] {
            files.insert(name.into(), drafts.everywhere(dirs, name, text.as_bytes())?);
        }
        if let Some(program) = &self.program {
            files.insert(names::PROGRAM.into(), drafts.program(dirs, program)?);
        }
        Ok(())
    }

    pub(super) fn manifest(&self, groups: Vec<Group>, files: BTreeMap<String, Listed>, last: bool) -> Manifest {
        Manifest {
            format: FORMAT.into(),
            critical: Vec::new(),
            set: self.begun.set.clone(),
            label: self.begun.label.clone(),
            part: self.at.part,
            last,
            previous: self.at.previous,
            created: self.begun.created.clone(),
            tool: concat!("ckvault ", env!("CARGO_PKG_VERSION")).into(),
            recipient_blake3: self.begun.recipient.blake3(),
            filter: self.begun.plan.compression.filter().name().into(),
            segment_bytes: self.begun.plan.segment_bytes,
            volume_bytes: self.begun.plan.volume_bytes,
            block_bytes: self.begun.plan.block.into(),
            drives: self.begun.drives.len() as u16,
            groups,
            files,
        }
    }

    pub(super) fn read_back(
        &self,
        manifest: &Manifest,
        drives: &[Drive],
        dirs: &SetDirs,
        progress: &dyn Progress,
    ) -> Result<Option<Origin>> {
        if !self.begun.read_back {
            return Ok(None);
        }
        let origin = read_back::read_back(manifest, drives, dirs, progress)?;
        let sums = read_back::compare_small(dirs, names::B3SUMS, |d| manifest.b3sums(d as u16 + 1))?;
        Ok(Some(origin.and(sums)))
    }

    /// The manifest last: without it, nothing looks complete.
    pub(super) fn sign(
        &self,
        manifest: &Manifest,
        dirs: &SetDirs,
        progress: &dyn Progress,
    ) -> Result<(u64, Option<Origin>)> {
        if progress.cancelled() {
            return Err(Error::Interrupted);
        }
        progress.stage(Phase::Sign);
        let bytes = manifest.encode();
        let signature = sign::sign(&self.disk, &self.key, &self.begun.signing_key, &bytes)?;
        let mut drafts = Drafts::default();
        drafts.everywhere(dirs, names::SIGNATURE, &signature)?;
        drafts.everywhere(dirs, names::MANIFEST, &bytes)?;
        progress.stage(Phase::Sync);
        drafts.finish()?;
        if manifest.last {
            // The set is whole: there is nothing to go on with.
            progress.if_stopped("");
        }
        let origin = match self.begun.read_back {
            false => None,
            true => {
                let first = read_back::compare_small(dirs, names::SIGNATURE, |_| signature.clone())?;
                Some(first.and(read_back::compare_small(dirs, names::MANIFEST, |_| bytes.clone())?))
            }
        };
        Ok((signature.len() as u64, origin))
    }
}
