//! The parts of an export, one after the other: each from empty directories to a signed manifest.

use crate::error::{Error, Result};
use crate::format::hashes::Value;
use crate::format::header::Header;
use crate::format::inventory::{self, Head};
use crate::format::manifest::{Group, Listed, Manifest, set_dir_name};
use crate::format::signature::{SigningKey, public_line};
use crate::format::{FORMAT, names, parse_id, recovery};
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::drive::{self, Drive};
use crate::media::program::Program;
use crate::pack::Packed;
use crate::pack::Packing;
use crate::pack::capacity::Room;
use crate::pack::directories::{self, SetDirs};
use crate::pack::metadata;
use crate::pack::pack;
use crate::pack::read_back;
use crate::pack::sign;
use crate::pack::source::Source;
use crate::pack::state::{Begun, State, Unfinished, Wrote};
use crate::pack::writers::Known;
use crate::progress::{Ask, DriveWanted, Progress};
use crate::set::readback::Origin;
use crate::stages::filehash::Page;
use crate::stages::seal::SetRecipient;
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
            // Held until the part is finished: then the drives can be unmounted.
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
        for drive in self.begun.drives.iter().filter_map(|d| Dir::given(&self.disk, d).ok()) {
            if directories::is_on(&drive, &self.dir_name()) {
                let _ = directories::remove_from(&drive, &self.dir_name());
            }
        }
        let _ = self.state.remove();
        error
    }

    fn dir_name(&self) -> String {
        set_dir_name(self.begun.label.as_deref(), &self.begun.set, self.at.part)
    }

    /// The drives for this part; asks for others as long as those that are here will not do.
    fn drives(&self, ask: &dyn Ask) -> Result<Vec<(Dir, Drive)>> {
        let places = self.begun.drives.iter().enumerate();
        places.map(|(position, place)| self.drive(position, place, ask)).collect()
    }

    fn drive(&self, position: usize, place: &Path, ask: &dyn Ask) -> Result<(Dir, Drive)> {
        let number = (self.at.part - 1) * self.begun.drives.len() as u32 + position as u32 + 1;
        let hint = "put in the drive and resume; or let --next-drive-command do it";
        let mut refusals = 0;
        loop {
            let Refusal { why, is_there } = match self.suits(place, position) {
                Ok(drive) => return Ok(drive),
                Err(refusal) => refusal,
            };
            // At the beginning nothing is written, and what is wrong with a drive is for the command line to mend.
            let nobody = self.at.part == 1 && self.at.known.is_empty() || !ask.can_change_drives();
            if nobody || refusals >= MOST_REFUSALS {
                return Err(Error::drive(format!("drive {number} is needed: {why}"), hint));
            }
            let empty = if self.at.known.is_empty() { "an empty drive as " } else { "" };
            let first = if is_there { "unmount it, and " } else { "" };
            let message = format!("{why}: {first}mount {empty}drive {number} at {}", place.display());
            if !ask.next_drive(&DriveWanted { place: place.to_owned(), number: Some(number), message }) {
                return Err(Error::drive(format!("there is no drive {number}: {why}"), hint));
            }
            refusals += 1;
        }
    }

    /// The drive at a place, if this part can be written to it; else why not.
    fn suits(&self, place: &Path, position: usize) -> Result<(Dir, Drive), Refusal> {
        let dir = drive::open(&self.disk, place).map_err(|e| Refusal::there(e.to_string()))?;
        // Without a drive, what is there is a directory of this machine.
        if self.begun.mounted.get(position) == Some(&true) && !dir.is_mount_point() {
            let why = format!("nothing is mounted at {}", place.display());
            return Err(Refusal { why, is_there: false });
        }
        let drive = drive::examine(&dir).map_err(|e| Refusal::there(e.to_string()))?;
        self.suits_as(&dir, &drive, position).map_err(Refusal::there)?;
        Ok((dir, drive))
    }

    fn suits_as(&self, dir: &Dir, drive: &Drive, position: usize) -> Result<(), String> {
        let place = dir.path().display();
        if !self.at.known.is_empty() {
            let wrong = || format!("{place} does not hold part {} of this set", self.at.part);
            return if directories::is_on(dir, &self.dir_name()) { Ok(()) } else { Err(wrong()) };
        }
        let label = self.begun.label.as_deref();
        let used = |part: &u32| directories::is_on(dir, &set_dir_name(label, &self.begun.set, *part));
        if let Some(part) = (1..self.at.part).find(used) {
            return Err(format!("{place} holds part {part} of this set, which is complete"));
        }
        if !drive.can_hold(self.begun.plan.volume_bytes, Some(dir)) {
            return Err(format!("the file system of {place} cannot hold the volumes"));
        }
        let volumes = self.begun.plan.volumes_on(position) as u64;
        let least = volumes * (self.begun.plan.longest_frame() + (64 << 10)) + 2 * self.metadata;
        match self.begun.plan.in_parts && drive.free < least {
            true => Err(format!("{place} has only {} bytes free", drive.free)),
            false => Ok(()),
        }
    }

    fn write_part(&mut self, drives: Vec<(Dir, Drive)>, progress: &dyn Progress) -> Result<WrittenPart> {
        let (held, drives): (Vec<Dir>, Vec<Drive>) = drives.into_iter().unzip();
        let (dirs, mut files) = self.set_dirs(&held)?;
        let packed = self.pack(&held, &dirs, progress)?;
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
        let dirs = dirs.dirs.iter().map(|dir| dir.path().to_owned()).collect();
        Ok(WrittenPart { manifest, drives, dirs, origin, signature })
    }

    /// The directories of this part with the key slot in them: made, or taken up.
    fn set_dirs(&self, drives: &[Dir]) -> Result<(SetDirs, BTreeMap<String, Listed>)> {
        let name = self.dir_name();
        let dirs = match self.at.known.is_empty() {
            false => SetDirs::take_up(drives, &name)?,
            true => {
                // What an interruption left before any group was complete.
                let left = drives.iter().filter(|drive| directories::is_on(drive, &name));
                left.into_iter().try_for_each(|drive| directories::remove_from(drive, &name))?;
                self.state.part(self.at.part)?;
                SetDirs::create(drives, &name)?
            }
        };
        let slot = metadata::ensure_everywhere(&dirs, names::KEYS, &self.slot)?;
        Ok((dirs, BTreeMap::from([(names::KEYS.into(), slot)])))
    }

    fn pack(&self, held: &[Dir], dirs: &SetDirs, progress: &dyn Progress) -> Result<Packed> {
        // Measured now, when what an interruption left is gone.
        let drives = held.iter().map(drive::examine).collect::<Result<Vec<Drive>>>()?;
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
        let packed = pack(&packing, progress)?;
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
        let origin = read_back::read_back(manifest, drives, dirs, progress)?;
        let sums = read_back::compare_small(dirs, names::B3SUMS, |d| manifest.b3sums(d as u16 + 1))?;
        Ok(Some(origin.and(sums)))
    }

    /// The manifest last: without it, nothing looks complete.
    fn sign(&self, manifest: &Manifest, dirs: &SetDirs, progress: &dyn Progress) -> Result<(u64, Option<Origin>)> {
        if progress.cancelled() {
            return Err(Error::Interrupted);
        }
        let bytes = manifest.encode();
        let signature = sign::sign(&self.key, &self.begun.signing_key, &bytes)?;
        metadata::write_everywhere(dirs, names::SIGNATURE, &signature)?;
        metadata::write_everywhere(dirs, names::MANIFEST, &bytes)?;
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
