//! The parts of an export, one after the other: each from empty directories to a signed manifest.

use crate::error::{Error, Result};
use crate::format::hashes::Value;
use crate::format::header::Header;
use crate::format::inventory::{self, Head};
use crate::format::manifest::{Group, Listed, Manifest, set_dir_name};
use crate::format::signature::{SigningKey, public_line};
use crate::format::{FORMAT, names, parse_id, recovery};
use crate::media::disk::Disk;
use crate::media::drive::{self, Drive};
use crate::media::program::Program;
use crate::pipeline::filehash::Page;
use crate::pipeline::known::Known;
use crate::pipeline::readback::{self, Origin};
use crate::pipeline::room::Room;
use crate::pipeline::seal::SetRecipient;
use crate::pipeline::setdirs::SetDirs;
use crate::pipeline::source::Source;
use crate::pipeline::state::{Begun, State, Unfinished, Wrote};
use crate::pipeline::{self, Packed, Packing, metadata, sign};
use crate::progress::{Ask, DriveWanted, Progress};
use base64::Engine as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How often a drive that will not do is refused before that is the end.
const MOST_REFUSALS: usize = 5;

/// An export that is being written: what stays the same, and where it stands.
pub(super) struct Export {
    pub(super) disk: Disk,
    pub(super) begun: Begun,
    pub(super) source: Source,
    pub(super) key: SigningKey,
    pub(super) state: State,
    to: SetRecipient,
    slot: Vec<u8>,
    /// What travels with it.
    program: Option<Program>,
    /// Bytes of metadata at most, that program among it, besides what grows with the volumes.
    metadata: u64,
    at: Position,
}

/// The part that is to be written, or to be written to its end.
#[derive(Default)]
struct Position {
    part: u32,
    /// Its first segment.
    first: u64,
    /// What is known of the hashes of files there.
    page: Page,
    /// The hash of the manifest before it.
    previous: Option<Value>,
    /// Groups of it that are on the drives.
    known: Vec<Known>,
}

/// A part that is on the drives.
pub(super) struct WrittenPart {
    pub(super) manifest: Manifest,
    pub(super) drives: Vec<Drive>,
    pub(super) dirs: Vec<PathBuf>,
    /// Where it was read back from, if it was.
    pub(super) origin: Option<Origin>,
    /// Bytes of the signature.
    pub(super) signature: u64,
}

impl Export {
    /// At its beginning.
    pub(super) fn new(
        disk: &Disk,
        begun: Begun,
        source: Source,
        key: SigningKey,
        state: State,
        (program, metadata): (Option<Program>, u64),
    ) -> Result<Export> {
        let internal = |what: &str| Error::Internal(format!("the state of the export has no {what}"));
        let to = SetRecipient::parse(&begun.recipient).ok_or_else(|| internal("recipient"))?;
        let slot = base64::engine::general_purpose::STANDARD.decode(&begun.slot).map_err(|_| internal("key slot"))?;
        let at = Position { part: 1, ..Position::default() };
        Ok(Export { disk: disk.clone(), begun, source, key, state, to, slot, program, metadata, at })
    }

    /// Where an interruption left it.
    pub(super) fn stand_at(&mut self, unfinished: Unfinished) {
        self.source.note(unfinished.page.finished.iter().copied());
        let last = unfinished.wrote.last();
        self.at = Position {
            part: unfinished.part(),
            first: last.map_or(0, |w| w.end),
            previous: last.map(|w| w.manifest),
            page: unfinished.page,
            known: unfinished.known,
        };
    }

    /// Writes part after part until everything is written.
    pub(super) fn write(&mut self, ask: &dyn Ask, progress: &dyn Progress) -> Result<Vec<WrittenPart>> {
        let mut parts = Vec::new();
        loop {
            let drives = self.drives(ask)?;
            let written = self.write_part(drives, progress)?;
            let last = written.manifest.last;
            parts.push(written);
            if last {
                return Ok(parts);
            }
        }
    }

    /// What to do about an error: what is finished stays, if that can be gone on with; else nothing does.
    pub(super) fn give_up(self, error: Error) -> Error {
        let begun_well = self.at.part > 1 || self.state.has_groups();
        if begun_well && !matches!(error, Error::Source { .. } | Error::Usage { .. }) {
            return error.resumable(&format!("ckvault export --resume {}", &self.begun.set[..8]));
        }
        for dir in self.begun.drives.iter().map(|d| d.join(self.dir_name())).filter(|d| d.is_dir()) {
            let _ = self.disk.remove_tree(&dir);
        }
        let _ = self.state.remove();
        error
    }

    fn dir_name(&self) -> String {
        set_dir_name(self.begun.label.as_deref(), &self.begun.set, self.at.part)
    }

    /// The drives for this part; asks for others as long as those that are here will not do.
    fn drives(&self, ask: &dyn Ask) -> Result<Vec<Drive>> {
        let places = self.begun.drives.iter().enumerate();
        places.map(|(position, place)| self.drive(position, place, ask)).collect()
    }

    fn drive(&self, position: usize, place: &Path, ask: &dyn Ask) -> Result<Drive> {
        let number = (self.at.part - 1) * self.begun.drives.len() as u32 + position as u32 + 1;
        let hint = "put in the drive and resume; or let --next-drive-command do it";
        let mut refusals = 0;
        loop {
            let refusal = match self.suits(place, position) {
                Ok(drive) => return Ok(drive),
                Err(refusal) => refusal,
            };
            // At the beginning nothing is written, and what is wrong with a drive is for the command line to mend.
            let nobody = self.at.part == 1 && self.at.known.is_empty() || !ask.can_change_drives();
            if nobody || refusals >= MOST_REFUSALS {
                return Err(Error::drive(format!("drive {number} is needed: {refusal}"), hint));
            }
            let empty = if self.at.known.is_empty() { "an empty drive as " } else { "" };
            let message = format!("{refusal}: unmount it, and mount {empty}drive {number} at {}", place.display());
            if !ask.next_drive(&DriveWanted { place: place.to_owned(), number: Some(number), message }) {
                return Err(Error::drive(format!("there is no drive {number}: {refusal}"), hint));
            }
            refusals += 1;
        }
    }

    /// The drive at a place, if this part can be written to it; else why not.
    fn suits(&self, place: &Path, position: usize) -> Result<Drive, String> {
        let drive = drive::examine(place).map_err(|e| e.to_string())?;
        let here = place.join(self.dir_name()).is_dir();
        if !self.at.known.is_empty() {
            let wrong = || format!("{} does not hold part {} of this set", place.display(), self.at.part);
            return if here { Ok(drive) } else { Err(wrong()) };
        }
        let label = self.begun.label.as_deref();
        let used = (1..self.at.part).find(|p| place.join(set_dir_name(label, &self.begun.set, *p)).is_dir());
        if let Some(part) = used {
            return Err(format!("{} holds part {part} of this set, which is complete", place.display()));
        }
        if !drive.can_hold(self.begun.plan.volume_bytes, true) {
            return Err(format!("the file system of {} cannot hold the volumes", place.display()));
        }
        let volumes = self.begun.plan.volumes_on(position) as u64;
        let least = volumes * (self.begun.plan.longest_frame() + (64 << 10)) + 2 * self.metadata;
        match self.begun.plan.in_parts && drive.free < least {
            true => Err(format!("{} has only {} bytes free", place.display(), drive.free)),
            false => Ok(drive),
        }
    }

    fn write_part(&mut self, drives: Vec<Drive>, progress: &dyn Progress) -> Result<WrittenPart> {
        let (dirs, mut files) = self.set_dirs()?;
        let packed = self.pack(&dirs, progress)?;
        self.source.note(packed.page.finished.iter().copied());
        self.source.check_unchanged()?;
        let last = packed.end == self.source.segments();
        files.insert(names::HASHES.into(), packed.hashes.clone());
        files.insert(names::INVENTORY.into(), self.write_inventory(&dirs, &packed.frames)?);
        self.write_aids(&dirs, &mut files)?;
        let manifest = self.manifest(packed.groups, files, last);
        metadata::write_b3sums(&dirs, |drive| manifest.b3sums(drive))?;
        let read = self.read_back(&manifest, &drives, &dirs, progress)?;
        let (signature, origin) = self.sign(&manifest, &dirs, progress)?;
        let hash = *blake3::hash(&manifest.encode()).as_bytes();
        // The state of the last part is removed instead: resuming would look for a part after it.
        if !last {
            self.state.wrote(Wrote { end: packed.end, manifest: hash })?;
        }
        let page = Page { finished: Vec::new(), ..packed.page };
        self.at = Position { part: self.at.part + 1, first: packed.end, previous: Some(hash), page, known: Vec::new() };
        let origin = read.zip(origin).map(|(a, b)| a.and(b));
        Ok(WrittenPart { manifest, drives, dirs: dirs.dirs.clone(), origin, signature })
    }

    /// The directories of this part with the key slot in them: made, or taken up.
    fn set_dirs(&self) -> Result<(SetDirs, BTreeMap<String, Listed>)> {
        let (places, name) = (&self.begun.drives, self.dir_name());
        let dirs = match self.at.known.is_empty() {
            false => SetDirs::take_up(&self.disk, places, &name)?,
            true => {
                // What an interruption left before any group was complete.
                for dir in places.iter().map(|d| d.join(&name)).filter(|d| d.is_dir()) {
                    self.disk.remove_tree(&dir).map_err(Error::on_drive("remove", &dir))?;
                }
                self.state.part(self.at.part)?;
                SetDirs::create(&self.disk, places, &name)?
            }
        };
        let slot = metadata::ensure_everywhere(&dirs, names::KEYS, &self.slot)?;
        Ok((dirs, BTreeMap::from([(names::KEYS.into(), slot)])))
    }

    fn pack(&self, dirs: &SetDirs, progress: &dyn Progress) -> Result<Packed> {
        // Measured now, when what an interruption left is gone.
        let drives = self.begun.drives.iter().map(|d| drive::examine(d)).collect::<Result<Vec<Drive>>>()?;
        let room = Room::new(&self.begun.plan, &drives, self.metadata);
        let packing = Packing {
            source: &self.source,
            plan: &self.begun.plan,
            dirs,
            header: self.header(),
            to: &self.to,
            first: self.at.first,
            page: &self.at.page,
            known: &self.at.known,
            room: self.begun.plan.in_parts.then_some(&room),
            log: &self.state,
        };
        let packed = pipeline::pack(&packing, progress)?;
        match packed.frames.is_empty() {
            false => Ok(packed),
            true => Err(Error::drive("not one frame fits the drives at hand", "use larger drives")),
        }
    }

    fn header(&self) -> Header {
        let plan = &self.begun.plan;
        Header {
            set: parse_id(&self.begun.set).unwrap_or_default(),
            group: 0,
            index: 0,
            k: plan.k,
            m: plan.m,
            part: self.at.part,
            segment_bytes: plan.segment_bytes,
            volume_bytes: plan.volume_bytes,
        }
    }

    fn write_inventory(&self, dirs: &SetDirs, frames: &[u32]) -> Result<Listed> {
        let entries = self.source.entries();
        let head = Head {
            inventory: FORMAT.into(),
            set: self.begun.set.clone(),
            part: self.at.part,
            signer: public_line(&self.key.public()),
            tar_bytes: self.source.tar_bytes(),
            entries: entries.len() as u64,
            first: self.at.first,
            segments: frames.len() as u64,
        };
        let plan = &self.begun.plan;
        let lines = inventory::lines(&head, entries, frames, plan.k, plan.volume_bytes);
        metadata::write_inventory(dirs, lines, &self.to)
    }

    /// What helps to read the set, and what nothing in it depends on.
    fn write_aids(&self, dirs: &SetDirs, files: &mut BTreeMap<String, Listed>) -> Result<()> {
        let text = recovery::text(self.program.is_some());
        for (name, text) in [(names::RECOVER_PY, recovery::SCRIPT), (names::RECOVER_TXT, &text)] {
            files.insert(name.into(), metadata::write_everywhere(dirs, name, text.as_bytes())?);
        }
        if let Some(program) = &self.program {
            files.insert(names::PROGRAM.into(), metadata::write_program(dirs, program)?);
        }
        Ok(())
    }

    fn manifest(&self, groups: Vec<Group>, files: BTreeMap<String, Listed>, last: bool) -> Manifest {
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
            recipient: self.begun.recipient.clone(),
            filter: self.begun.plan.compression.filter().name().into(),
            segment_bytes: self.begun.plan.segment_bytes,
            volume_bytes: self.begun.plan.volume_bytes,
            drives: self.begun.drives.len() as u16,
            groups,
            files,
        }
    }

    fn read_back(
        &self,
        manifest: &Manifest,
        drives: &[Drive],
        dirs: &SetDirs,
        progress: &dyn Progress,
    ) -> Result<Option<Origin>> {
        if !self.begun.read_back {
            return Ok(None);
        }
        let origin = readback::read_back(manifest, drives, dirs, progress)?;
        let sums = readback::compare_small(dirs, names::B3SUMS, |d| manifest.b3sums(d as u16 + 1))?;
        Ok(Some(origin.and(sums)))
    }

    /// The manifest last: without it, nothing looks complete.
    fn sign(&self, manifest: &Manifest, dirs: &SetDirs, progress: &dyn Progress) -> Result<(u64, Option<Origin>)> {
        if progress.cancelled() {
            return Err(Error::Interrupted);
        }
        let bytes = manifest.encode();
        let signature = sign::sign(&self.disk, &self.key, &self.begun.signing_key, &bytes)?;
        metadata::write_everywhere(dirs, names::SIGNATURE, &signature)?;
        metadata::write_everywhere(dirs, names::MANIFEST, &bytes)?;
        let origin = match self.begun.read_back {
            false => None,
            true => {
                let first = readback::compare_small(dirs, names::SIGNATURE, |_| signature.clone())?;
                Some(first.and(readback::compare_small(dirs, names::MANIFEST, |_| bytes.clone())?))
            }
        };
        Ok((signature.len() as u64, origin))
    }
}
