//! What reports of different verbs say alike: paths, drives, groups, and who vouches for the set.

use crate::format::hex;
use crate::format::inventory::Name;
use crate::format::manifest::{Manifest, volume_name};
use crate::media::device::Device;
use crate::media::dir::Dir;
use crate::pack::Estimate;
use crate::set::{Set, Slot};
use base64::Engine as _;
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};

/// How every set is signed (rule 16).
pub(super) const SIGNATURE: &str = "Ed25519";

/// A path in a report: always readable, and exact where it is not UTF-8.
#[derive(Debug, Clone, Serialize)]
pub struct ReportedPath {
    /// UTF-8, with U+FFFD for what is not.
    pub path: String,
    /// The exact bytes in base64, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
}

impl ReportedPath {
    /// From the bytes of a path.
    pub fn new(name: &Name) -> ReportedPath {
        let exact = std::str::from_utf8(&name.0).is_err();
        ReportedPath {
            path: String::from_utf8_lossy(&name.0).into_owned(),
            path_bytes: exact.then(|| base64::engine::general_purpose::STANDARD.encode(&name.0)),
        }
    }
}

/// A path as text; what is not UTF-8 in it is replaced, and stands in a field beside it.
pub(super) fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

/// The same of a path that may be missing.
pub(super) fn lossy_option<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => lossy(path, to),
        None => to.serialize_none(),
    }
}

/// The same of several.
pub(super) fn lossy_all<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

/// The exact bytes of a path in base64, if they are not UTF-8.
pub(super) fn exact(path: &Path) -> Option<String> {
    path.to_str().is_none().then(|| base64_of(path))
}

/// The bytes of a path in base64.
pub(super) fn base64_of(path: &Path) -> String {
    base64::engine::general_purpose::STANDARD.encode(path.as_os_str().as_encoded_bytes())
}

/// How long all becomes, judged by some of it, and whether it fits.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Judged {
    /// Bytes that were packed to see how long they become.
    pub sampled: u64,
    /// Bytes that all of it is expected to have when it is compressed and encrypted, without parity.
    pub packed: u64,
    /// Whether all of it fits, as far as that is judged: by the most that there can be, or by what is expected.
    pub fits: bool,
}

impl Judged {
    pub(super) fn of(estimate: &Estimate, fits: bool) -> Judged {
        Judged { sampled: estimate.read, packed: estimate.frames, fits }
    }
}

/// Seconds after which the slowest of drives is done, each with so many bytes at so many a second: twice as many if all is read back.
pub(super) fn seconds(drives: impl IntoIterator<Item = (u64, u64)>, read_back: bool) -> Option<u64> {
    let passes = if read_back { 2 } else { 1 };
    drives.into_iter().map(|(bytes, rate)| bytes.saturating_mul(passes).div_ceil(rate.max(1))).max()
}

/// What a trusted set says of itself, and which of its drives are here.
#[derive(Debug, Serialize)]
pub struct About {
    /// The id.
    pub set: String,
    /// The label.
    pub label: Option<String>,
    /// Who signed: the name under which the key is trusted.
    pub signer: String,
    /// The fingerprint of that key.
    pub signer_fingerprint: String,
    /// When it was exported.
    pub created: String,
    /// The parts of the set that are here.
    pub parts: Vec<u32>,
    /// Whether the last part of the set is among them.
    pub last: bool,
    /// The drives of these parts.
    pub drives: Vec<ReportedDrive>,
}

impl About {
    /// Of a set.
    pub(super) fn of(set: &Set) -> About {
        let (manifest, signer) = (set.manifest(), set.signer());
        About {
            set: manifest.set.clone(),
            label: manifest.label.clone(),
            signer: signer.name.clone(),
            signer_fingerprint: signer.fingerprint.clone(),
            created: manifest.created.clone(),
            parts: set.parts.iter().map(|p| p.manifest.part).collect(),
            last: set.parts.iter().any(|p| p.manifest.last),
            drives: set.parts.iter().flat_map(|part| drives(&part.manifest, part.homes())).collect(),
        }
    }
}

/// Which key slot opened a set: the one that was signed with it, or one that was written anew.
pub(super) fn key_slot(slot: Slot) -> &'static str {
    match slot {
        Slot::Signed => "signed",
        Slot::WrittenAnew => "written-anew",
    }
}

/// A drive of a set.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ReportedDrive {
    /// Its number.
    pub drive: u32,
    /// The drive, or the directory that stands for it; null if it is not here.
    #[serde(serialize_with = "lossy_option")]
    pub path: Option<PathBuf>,
    /// The exact bytes of that in base64, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// The directory of the set on it.
    #[serde(serialize_with = "lossy_option")]
    pub directory: Option<PathBuf>,
    /// The exact bytes of that in base64, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory_bytes: Option<String>,
    /// The label of its file system, if the system knows it.
    pub label: Option<String>,
    /// The serial number of the device, if the system knows it.
    pub serial: Option<String>,
    /// How many volumes of the set belong there.
    pub volumes: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl ReportedDrive {
    /// The same drive, which is here.
    pub(super) fn at(self, path: &Path, directory: Option<&Path>, device: Device) -> ReportedDrive {
        ReportedDrive {
            path_bytes: exact(path),
            path: Some(path.to_owned()),
            directory_bytes: directory.and_then(exact),
            directory: directory.map(Path::to_owned),
            label: device.label,
            serial: device.serial,
            ..self
        }
    }
}

/// The drives of a part, with what belongs there. Of those that are here, `homes` has the directories.
pub(super) fn drives<'a>(manifest: &Manifest, homes: impl Iterator<Item = (&'a Dir, u16)>) -> Vec<ReportedDrive> {
    let empty = |drive| ReportedDrive { drive: manifest.drive_number(drive), ..ReportedDrive::default() };
    let mut drives: Vec<ReportedDrive> = (1..=manifest.drives).map(empty).collect();
    for (_, _, _, volume) in manifest.volumes() {
        let drive = &mut drives[usize::from(volume.drive) - 1];
        drive.volumes += 1;
        drive.bytes = drive.bytes.saturating_add(volume.bytes);
    }
    for (dir, number) in homes {
        let drive = &mut drives[usize::from(number) - 1];
        // There may be copies of a drive: one is told.
        if drive.path.is_none() {
            let above = dir.path().parent().filter(|above| !above.as_os_str().is_empty());
            let here = std::mem::take(drive);
            *drive = here.at(above.unwrap_or(Path::new(".")), Some(dir.path()), Device::of(dir));
        }
    }
    drives
}

/// A group.
#[derive(Debug, Clone, Serialize)]
pub struct ReportedGroup {
    /// The part that it is in.
    pub part: u32,
    /// Data volumes.
    pub k: u16,
    /// Parity volumes.
    pub m: u16,
    /// The volumes.
    pub volumes: Vec<ReportedVolume>,
}

/// A volume.
#[derive(Debug, Clone, Serialize)]
pub struct ReportedVolume {
    /// Its file name.
    pub name: String,
    /// The number of its drive.
    pub drive: u32,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub blake3: String,
}

/// The groups of a part.
pub(super) fn groups(manifest: &Manifest) -> Vec<ReportedGroup> {
    let group = |(g, group): (usize, &crate::format::manifest::Group)| {
        let volume = |(i, v): (usize, &crate::format::manifest::Volume)| ReportedVolume {
            name: volume_name(g, i, group.k),
            drive: manifest.drive_number(v.drive),
            bytes: v.bytes,
            blake3: hex(&v.blake3),
        };
        let volumes = group.volumes.iter().enumerate().map(volume).collect();
        ReportedGroup { part: manifest.part, k: group.k, m: group.m, volumes }
    };
    manifest.groups.iter().enumerate().map(group).collect()
}

/// A program that travels with a set.
#[derive(Debug, Serialize)]
pub struct ReportedProgram {
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub blake3: String,
}

impl ReportedProgram {
    /// The one that a manifest names.
    pub(super) fn of(manifest: &Manifest) -> Option<ReportedProgram> {
        manifest.program().map(|listed| ReportedProgram { bytes: listed.bytes, blake3: hex(&listed.blake3) })
    }
}
