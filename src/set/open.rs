//! Finding and trusting a set: signature before manifest, manifest before everything else. Every verb begins here.

use crate::error::{Error, Result};
use crate::format::manifest::{self, Manifest, set_dir_name};
use crate::format::names;
use crate::format::signature::{self, Message, Signature, TrustError};
use crate::format::signers::{self, Signers};
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::drive::MOUNTS;
use crate::media::fence::Needs;
use crate::media::guarded::{self, Kind};
use crate::media::lock::is_being_written;
use crate::media::sets::{self, FoundPart, Layout};
use crate::progress::Progress;
use crate::set::failing_drives::Failing;
use crate::set::part::Part;
use crate::set::revoked;
use crate::set::trust::{self, Conditions, Signer, Trust};
use crate::stages::refusal::breaks;
use crate::text::printable;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What the directory of a set looks like.
const LAYOUT: Layout = Layout {
    suffix: names::SET_SUFFIX,
    infix: names::PART_INFIX,
    marks: [names::MANIFEST, names::SIGNATURE],
    copies: names::COPY,
};

/// Where to look, and whom to trust.
#[derive(Debug, Default, Clone)]
pub struct Where {
    /// What drives are read through.
    pub disk: Disk,
    /// Drives, or directories of sets.
    pub drives: Vec<PathBuf>,
    /// Label, or the first digits of the id.
    pub set: Option<String>,
    /// A file of trusted signers; `None` if it is not known where there could be one.
    pub signers: Option<PathBuf>,
    /// Who of them must have signed; anybody if nobody is named.
    pub signer: Option<OsString>,
    /// A file of keys that count for nobody.
    pub revoked: Option<PathBuf>,
    /// The time at which signers must be valid.
    pub now: jiff::Timestamp,
}

/// A set of which each part that is here has a manifest that is signed by somebody trusted.
#[derive(Debug)]
pub struct Set {
    /// Its parts that are here, in order; at least one.
    pub parts: Vec<Part>,
    /// Links on the drives that are named like directories of it.
    pub links: Vec<PathBuf>,
}

impl Where {
    /// What looking there needs.
    pub fn needs(&self) -> Needs {
        // Modes count for nothing where a file system has none: what is mounted tells.
        let places = self.drives.iter().chain(&self.signers).chain(&self.revoked).cloned();
        let read = places.chain([MOUNTS.into()]).collect();
        let errands = self.revoked.iter().flat_map(|path| revoked::errands(path)).collect();
        Needs { read, errands, ..Needs::default() }
    }

    fn conditions(&self, progress: &dyn Progress) -> Result<Conditions> {
        Conditions::read(&self.disk, self.signer.as_deref(), self.revoked.as_deref(), progress)
    }

    /// Who is trusted, and under which conditions.
    fn trust(&self, progress: &dyn Progress) -> Result<Trust> {
        let Some(path) = self.signers.as_deref() else {
            return Err(Error::untrusted(
                "it is not known whom to trust: neither CKVAULT_HOME nor HOME says where the list is",
                "set HOME, or CKVAULT_HOME, to an absolute path",
            ));
        };
        let trust = Trust::new(path, load_signers(path, progress)?, self.conditions(progress)?, self.now)?;
        trust.warnings().iter().for_each(|warning| progress.warn(warning));
        Ok(trust)
    }
}

/// Opens a set; [`Error::Untrusted`] if a part of it has no trusted pair, or the parts do not belong together.
pub fn open(place: &Where, progress: &dyn Progress) -> Result<Set> {
    let found = sets::find(&place.disk, &place.drives, place.set.as_deref(), &LAYOUT)?;
    let trust = place.trust(progress)?;
    let mut parts: Vec<Part> = Vec::new();
    for part in found.parts {
        let (bytes, armour, signer) = trusted_manifest(&part, &trust)?;
        // A directory that was renamed goes with the part that it is of.
        if let Some(known) = parts.iter_mut().find(|p| p.bytes == bytes) {
            known.dirs.extend(part.dirs);
            continue;
        }
        let manifest = Manifest::parse(&bytes).map_err(breaks(names::MANIFEST))?;
        confirm(&manifest, place.set.as_deref())?;
        parts.push(Part {
            disk: place.disk.clone(),
            manifest,
            bytes,
            armour,
            signer,
            dirs: part.dirs,
            let_go: Vec::new(),
            trust: trust.clone(),
            holdings: OnceLock::new(),
            sums: OnceLock::new(),
            failing: Failing::default(),
            slot: OnceLock::new(),
        });
    }
    parts.sort_by_key(|p| p.manifest.part);
    parts.windows(2).try_for_each(|pair| belong_together(&pair[0], &pair[1]))?;
    Ok(Set { parts, links: found.links })
}

/// Parts that follow each other name each other; of others one can only say that they are of one set.
fn belong_together(one: &Part, next: &Part) -> Result<()> {
    let own = blake3::hash(&one.bytes);
    let (a, b) = (&one.manifest, &next.manifest);
    let adjacent = a.part + 1 == b.part;
    let fits = match adjacent {
        true => a.is_followed_by(own.as_bytes(), b),
        false => a.part < b.part && !a.last && a.shares_set_with(b),
    };
    match fits && one.signer.key == next.signer.key {
        true => Ok(()),
        false => Err(Error::untrusted(
            format!("part {} and part {} of {} do not belong together", a.part, b.part, a.set),
            "these drives are of different exports: bring those of one, or ask the sender which is right",
        )),
    }
}

impl Set {
    /// What all parts say alike stands in the manifest of the first that is here.
    pub fn manifest(&self) -> &Manifest {
        &self.parts[0].manifest
    }

    /// Who signed all parts.
    pub fn signer(&self) -> &Signer {
        &self.parts[0].signer
    }

    /// Whether these are parts of the same set.
    pub fn fits(&self, here: &Set) -> Result<()> {
        let now = |known: &Part| here.parts.iter().any(|p| p.bytes == known.bytes);
        let mut all: Vec<&Part> = self.parts.iter().filter(|p| !now(p)).chain(&here.parts).collect();
        all.sort_by_key(|p| p.manifest.part);
        all.windows(2).try_for_each(|pair| belong_together(pair[0], pair[1]))
    }

    /// Takes in what is here now: parts that were known stay known, with the drives that are here now.
    pub fn arrive(&mut self, here: Set) -> Result<()> {
        self.fits(&here)?;
        let now = |known: &Part| here.parts.iter().any(|p| p.bytes == known.bytes);
        self.parts.retain(|known| !now(known));
        self.parts.iter_mut().for_each(Part::leave);
        self.links = here.links;
        self.parts.extend(here.parts);
        self.parts.sort_by_key(|p| p.manifest.part);
        Ok(())
    }

    /// Whether every part is here, if only with some of its drives.
    pub fn has_all_parts(&self) -> bool {
        let last = &self.parts[self.parts.len() - 1].manifest;
        last.last && last.part as usize == self.parts.len()
    }

    /// The numbers of the drives that are here.
    pub fn present(&self) -> Vec<u32> {
        let of = |p: &Part| p.present().into_iter().map(|d| p.manifest.drive_number(d)).collect::<Vec<_>>();
        self.parts.iter().flat_map(of).collect()
    }

    /// The numbers of the drives that are known to exist and are not here: those of parts that are here, and of parts before
    /// one of these. Of parts after the last one here, at least the first drive, if there are any.
    pub fn absent(&self) -> Vec<u32> {
        let drives = u32::from(self.manifest().drives);
        let last = &self.parts[self.parts.len() - 1].manifest;
        let after = u32::from(!last.last);
        let present = self.present();
        (1..=last.part * drives + after).filter(|d| !present.contains(d)).collect()
    }

    /// All parts have the same key slot: one that has no good copy of it any more takes that of another.
    pub fn share_slot(&self) {
        let is_whole = |p: &Part| p.proven(names::KEYS);
        let Some(slot) = self.parts.iter().find_map(is_whole).filter(|_| self.parts.len() > 1) else { return };
        self.parts.iter().for_each(|part| drop(part.slot.set(slot.clone())));
    }

    /// Holds no drive any more, so that all can be unmounted.
    pub fn let_go(&mut self) {
        self.parts.iter_mut().for_each(Part::let_go);
    }

    /// Holds again those drives that are still here.
    pub fn take_back(&mut self, disk: &Disk) {
        self.parts.iter_mut().for_each(|part| part.take_back(disk));
    }

    /// A directory of the set that another process writes to right now.
    pub fn being_written(&self) -> Option<&Dir> {
        self.parts.iter().flat_map(|p| &p.dirs).find(|dir| is_being_written(dir))
    }

    /// Blocks that drives could not read, by the number of the drive.
    pub fn read_errors(&self) -> BTreeMap<u32, u64> {
        self.parts.iter().flat_map(Part::read_errors).collect()
    }

    /// The names of all drives that are known of, for reports.
    pub fn drive_names(&self) -> Vec<String> {
        let manifest = &self.parts[self.parts.len() - 1].manifest;
        (1..=manifest.part * u32::from(manifest.drives)).map(|d| format!("drive {d}")).collect()
    }
}

/// Reads the trusted signers; that there are none is an error with the command that helps.
pub fn load_signers(path: &Path, progress: &dyn Progress) -> Result<Signers> {
    let help = format!("put the sender's line into {}, or give --signers sender.pub", path.display());
    let file = match guarded::read(path, signers::LONGEST, Kind::Trust, progress)? {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::untrusted(format!("there is no list of trusted signers ({})", path.display()), help));
        }
        other => other.map_err(Error::io("read", path))?,
    };
    let signers = Signers::parse(&file, &TimeZone::system());
    match (signers.is_empty(), signers.bad_lines()) {
        (false, _) => Ok(signers),
        (true, []) => Err(Error::untrusted(format!("{} names no signer", path.display()), help)),
        (true, _) => Err(Error::untrusted(
            trust::bad_lines(path, &signers),
            "mend it; the format of a line is that of ssh-keygen(1), ALLOWED SIGNERS",
        )),
    }
}

/// All different copies of a metadata file, one after the other: there may be many drives, and no copy is signed. Returns whether
/// there were any; an error if there are some, but none can be read.
fn each_copy(dirs: &[Dir], name: &str, limit: u64, take: &mut dyn FnMut(Vec<u8>)) -> Result<bool> {
    let places = dirs.iter().flat_map(|dir| names::both(name).map(|name| dir.at(name)));
    let (mut seen, mut failed) = (HashSet::new(), None);
    for at in places {
        match at.dir.read(&at.name, limit) {
            Ok(bytes) if seen.insert(blake3::hash(&bytes)) => take(bytes),
            Err(e) if failed.is_none() && e.kind() != std::io::ErrorKind::NotFound => failed = Some((at.path(), e)),
            _ => {}
        }
    }
    match failed {
        Some((path, error)) if seen.is_empty() => Err(Error::on_drive("read", path)(error)),
        _ => Ok(!seen.is_empty()),
    }
}

fn trusted_manifest(found: &FoundPart, trust: &Trust) -> Result<(Vec<u8>, Vec<u8>, Signer)> {
    let mut signatures = Vec::new();
    let mut read = |armour: Vec<u8>| signatures.push((Signature::parse(&armour), armour));
    each_copy(&found.dirs, names::SIGNATURE, signature::LONGEST, &mut read)?;
    let mut trusted: Vec<(Vec<u8>, Vec<u8>, Signer)> = Vec::new();
    let mut refusal: Option<TrustError> = None;
    let mut look = |manifest: Vec<u8>| {
        let message = Message::new(&manifest);
        match signatures.iter().map(|(s, armour)| judge(s, armour, &message, trust)).fold(None, better) {
            Some(Ok((armour, signer))) => trusted.push((manifest, armour, signer)),
            Some(Err(why)) if refusal.as_ref().is_none_or(|old| rank(&why) > rank(old)) => refusal = Some(why),
            _ => {}
        }
    };
    let any = each_copy(&found.dirs, names::MANIFEST, manifest::LONGEST, &mut look)?;
    if !any || signatures.is_empty() {
        if let Some(dir) = found.dirs.iter().find(|dir| is_being_written(dir)) {
            return Err(being_written(dir));
        }
        let what = if any { "signature" } else { "manifest" };
        return Err(Error::untrusted(
            format!(
                "{} has no {what}: the export was interrupted, or the drive is damaged",
                printable(found.name.as_bytes())
            ),
            "bring another drive of the set; or, if this is what an interrupted export left, remove it and export again",
        ));
    }
    // A manifest of another set may lie here by mistake or by malice; the directory is named after its own.
    if trusted.len() > 1 && trusted.iter().any(|(bytes, ..)| names_directory(bytes, &found.name)) {
        trusted.retain(|(bytes, ..)| names_directory(bytes, &found.name));
    }
    match (trusted.len(), trusted.pop()) {
        (1, Some(pair)) => Ok(pair),
        (0, _) => Err(trust.refuse(refusal.unwrap_or(TrustError::Invalid))),
        _ => Err(Error::untrusted(
            format!("{} holds different manifests, each signed by a trusted signer", printable(found.name.as_bytes())),
            "these drives are of different sets: bring those of one, or ask the sender which is right",
        )),
    }
}

/// A set that another process writes to is not what it will be.
pub fn being_written(dir: &Dir) -> Error {
    Error::untrusted(
        format!(
            "{} is being written now, by an export or a repair",
            printable(dir.path().as_os_str().as_encoded_bytes())
        ),
        "wait until the other command has ended, then run this one again",
    )
}

fn names_directory(manifest: &[u8], name: &str) -> bool {
    Manifest::parse(manifest).is_ok_and(|m| set_dir_name(m.label.as_deref(), &m.set, m.part) == name)
}

/// A signature that is trusted, and who made it; or why it is not.
type Judged = Result<(Vec<u8>, Signer), TrustError>;

fn judge(signature: &Result<Signature, TrustError>, armour: &[u8], manifest: &Message, trust: &Trust) -> Judged {
    let signature = signature.as_ref().map_err(TrustError::clone)?;
    Ok((armour.to_vec(), trust.judge_over(signature, manifest)?))
}

fn better(best: Option<Judged>, next: Judged) -> Option<Judged> {
    match (best, next) {
        (Some(Ok(pair)), _) | (_, Ok(pair)) => Some(Ok(pair)),
        (Some(Err(old)), Err(new)) => Some(Err(if rank(&new) > rank(&old) { new } else { old })),
        (None, Err(why)) => Some(Err(why)),
    }
}

/// Which refusal says most: a signature that holds, by somebody who is not trusted, before one that does not fit.
fn rank(why: &TrustError) -> u8 {
    match why {
        TrustError::Armour | TrustError::NotCanonical | TrustError::Reserved => 0,
        TrustError::Invalid => 1,
        TrustError::Namespace(_) | TrustError::Algorithm(_) | TrustError::Untouched => 2,
        TrustError::Unknown(_) => 3,
        _ => 4,
    }
}

/// A set was chosen by the names of directories, which nobody signed.
fn confirm(manifest: &Manifest, wanted: Option<&str>) -> Result<()> {
    match wanted {
        Some(wanted) if !manifest.set.starts_with(wanted) && manifest.label.as_deref() != Some(wanted) => {
            Err(Error::drive(
                format!("the directory is named like {wanted:?}, but holds the set {}", manifest.set),
                "the directory was renamed: choose with --set and the id",
            ))
        }
        _ => Ok(()),
    }
}

/// What anyone can see of a part, trusted or not.
pub struct Seen<T> {
    /// The number of the part.
    pub part: u32,
    /// What was made of the manifest.
    pub said: T,
    /// Who signed it, if the signature holds and the signer is trusted; else why not.
    pub signer: Result<Signer, String>,
    /// The directories that are here.
    pub dirs: Vec<Dir>,
}

/// Looks at a set without asking that anybody be trusted: its parts that are here, in order, at least one. Of each manifest only
/// what `see` makes of it is kept: nobody bounds how many there are.
pub fn peek<T>(place: &Where, see: impl Fn(&Manifest) -> T, progress: &dyn Progress) -> Result<Vec<Seen<T>>> {
    // What is asked and cannot be answered is no reason to show a set without an answer.
    place.conditions(progress)?;
    let of = |manifest: &Manifest, signer, dirs| Seen { part: manifest.part, said: see(manifest), signer, dirs };
    let refused = match open(place, progress) {
        Ok(set) => return Ok(set.parts.into_iter().map(|p| of(&p.manifest, Ok(p.signer), p.dirs)).collect()),
        Err(refused @ (Error::Untrusted { .. } | Error::Io { .. })) => refused,
        // A list that may not be believed; but who was asked for must be found out.
        Err(refused @ Error::Usage { .. }) if place.signer.is_none() => refused,
        Err(other) => return Err(other),
    };
    let found = sets::find(&place.disk, &place.drives, place.set.as_deref(), &LAYOUT)?;
    let mut all = Vec::new();
    for part in found.parts {
        let mut seen = None;
        let mut look = |bytes: Vec<u8>| {
            if seen.is_none() {
                let readable = Manifest::parse(&bytes).ok();
                seen = readable.map(|manifest| of(&manifest, Err(refused.to_string()), part.dirs.clone()));
            }
        };
        each_copy(&part.dirs, names::MANIFEST, manifest::LONGEST, &mut look)?;
        all.extend(seen);
    }
    all.sort_by_key(|seen| seen.part);
    match all.is_empty() {
        false => Ok(all),
        true => Err(Error::untrusted(
            "no manifest here can be read: the export was interrupted, or the drive is damaged",
            "bring another drive of the set",
        )),
    }
}
