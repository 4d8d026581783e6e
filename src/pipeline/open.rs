//! Finding and trusting a set: signature before manifest, manifest before everything else. Every verb begins here.

use crate::error::{Error, Result};
use crate::format::hashes::BLOCK;
use crate::format::manifest::{self, Manifest, set_dir_name};
use crate::format::names;
use crate::format::signature::{self, Signature, TrustError, fingerprint, public_line};
use crate::format::signers::{self, Signers};
use crate::media::sets::{self, Found, Layout};
use crate::media::{open_regular, read_regular, read_text, read_up_to};
use crate::pipeline::refusal::breaks;
use crate::text::printable;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What the directory of a set looks like.
const LAYOUT: Layout =
    Layout { suffix: names::SET_SUFFIX, marks: [names::MANIFEST, names::SIGNATURE], copies: names::COPY };

/// Where to look, and whom to trust.
#[derive(Debug, Default)]
pub struct Where {
    /// Drives, or directories of sets.
    pub drives: Vec<PathBuf>,
    /// Label, or the first digits of the id.
    pub set: Option<String>,
    /// A file of trusted signers.
    pub signers: PathBuf,
    /// The time at which signers must be valid.
    pub now: jiff::Timestamp,
}

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The name under which the key is trusted.
    pub name: String,
    /// The public key in one line.
    pub key: String,
    /// Its fingerprint.
    pub fingerprint: String,
}

/// A set whose manifest is signed by somebody trusted.
#[derive(Debug)]
pub struct Set {
    /// The manifest.
    pub manifest: Manifest,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Who signed it.
    pub signer: Signer,
    /// The directories that are here.
    pub dirs: Vec<PathBuf>,
    /// The signers that were asked.
    pub signers: Signers,
    /// The time that was asked for.
    pub now: jiff::Timestamp,
    /// See [`Set::holdings`].
    holdings: OnceLock<Vec<BTreeSet<u16>>>,
}

/// Opens a set; [`Error::Untrusted`] if there is no trusted pair.
pub fn open(place: &Where) -> Result<Set> {
    let found = sets::find(&place.drives, place.set.as_deref(), &LAYOUT)?;
    let signers = load_signers(&place.signers)?;
    let (bytes, signer) = trusted_manifest(&found, &signers, place.now)?;
    let manifest = Manifest::parse(&bytes).map_err(breaks(names::MANIFEST))?;
    confirm(&manifest, place.set.as_deref())?;
    let holdings = OnceLock::new();
    Ok(Set { manifest, bytes, signer, dirs: found.dirs, signers, now: place.now, holdings })
}

/// Reads the trusted signers; that there are none is an error with the command that helps.
pub fn load_signers(path: &Path) -> Result<Signers> {
    let help = "run `ckvault keygen` once, then add the sender's line to allowed_signers; or give --signers with the sender's .pub";
    if path.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Err(Error::untrusted(format!("there is no list of trusted signers ({})", path.display()), help));
    }
    let signers = Signers::parse(&read_text(path, signers::LONGEST)?);
    let signers = signers.map_err(|e| {
        Error::usage(
            format!("{}, {e}", path.display()),
            "mend the line; its format is that of ssh-keygen(1), ALLOWED SIGNERS",
        )
    })?;
    match signers.is_empty() {
        true => Err(Error::untrusted(format!("{} names no signer", path.display()), help)),
        false => Ok(signers),
    }
}

/// All different copies of a metadata file; an error if there are some, but none can be read.
fn copies(dirs: &[PathBuf], name: &str, limit: u64) -> Result<Vec<Vec<u8>>> {
    let places = dirs.iter().flat_map(|d| [d.join(name), d.join(names::COPY).join(name)]);
    let (mut copies, mut failed): (Vec<Vec<u8>>, _) = (Vec::new(), None);
    for path in places {
        match read_regular(&path, limit) {
            Ok(bytes) if !copies.contains(&bytes) => copies.push(bytes),
            Err(e) if failed.is_none() && e.kind() != std::io::ErrorKind::NotFound => failed = Some((path, e)),
            _ => {}
        }
    }
    match failed {
        Some((path, error)) if copies.is_empty() => Err(Error::on_drive("read", path)(error)),
        _ => Ok(copies),
    }
}

fn trusted_manifest(found: &Found, signers: &Signers, now: jiff::Timestamp) -> Result<(Vec<u8>, Signer)> {
    let manifests = copies(&found.dirs, names::MANIFEST, manifest::LONGEST)?;
    let signatures = copies(&found.dirs, names::SIGNATURE, signature::LONGEST)?;
    if manifests.is_empty() || signatures.is_empty() {
        let what = if manifests.is_empty() { "manifest" } else { "signature" };
        return Err(Error::untrusted(
            format!(
                "{} has no {what}: the export was interrupted, or the drive is damaged",
                printable(found.name.as_bytes())
            ),
            "bring another drive of the set; or, if this is what an interrupted export left, remove it and export again",
        ));
    }
    let mut trusted: Vec<(Vec<u8>, Signer)> = Vec::new();
    let mut refusal: Option<TrustError> = None;
    for manifest in manifests {
        match signatures.iter().map(|s| judge(s, &manifest, signers, now)).fold(None, better) {
            Some(Ok(signer)) => trusted.push((manifest, signer)),
            Some(Err(why)) if refusal.as_ref().is_none_or(|old| rank(&why) > rank(old)) => refusal = Some(why),
            _ => {}
        }
    }
    // A manifest of another set may lie here by mistake or by malice; the directory is named after its own.
    if trusted.len() > 1 && trusted.iter().any(|(bytes, _)| names_directory(bytes, &found.name)) {
        trusted.retain(|(bytes, _)| names_directory(bytes, &found.name));
    }
    match (trusted.len(), trusted.pop()) {
        (1, Some(pair)) => Ok(pair),
        (0, _) => Err(refusal.unwrap_or(TrustError::Invalid).into()),
        _ => Err(Error::untrusted(
            format!("{} holds different manifests, each signed by a trusted signer", printable(found.name.as_bytes())),
            "these drives are of different sets: bring those of one, or ask the sender which is right",
        )),
    }
}

fn names_directory(manifest: &[u8], name: &str) -> bool {
    Manifest::parse(manifest).is_ok_and(|m| set_dir_name(m.label.as_deref(), &m.set) == name)
}

fn judge(armour: &[u8], manifest: &[u8], signers: &Signers, now: jiff::Timestamp) -> Result<Signer, TrustError> {
    let key = Signature::parse(armour)?.verify(manifest)?;
    let name = signers.judge(&key, now)?;
    Ok(Signer { name: printable(name.as_bytes()), key: public_line(&key), fingerprint: fingerprint(&key) })
}

type Judged = Result<Signer, TrustError>;

fn better(best: Option<Judged>, next: Judged) -> Option<Judged> {
    match (best, next) {
        (Some(Ok(signer)), _) | (_, Ok(signer)) => Some(Ok(signer)),
        (Some(Err(old)), Err(new)) => Some(Err(if rank(&new) > rank(&old) { new } else { old })),
        (None, Err(why)) => Some(Err(why)),
    }
}

/// Which refusal says most: a signature that holds, by somebody who is not trusted, before one that does not fit.
fn rank(why: &TrustError) -> u8 {
    match why {
        TrustError::Armour | TrustError::NotCanonical => 0,
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

/// What anyone can see, trusted or not.
pub struct Seen {
    /// The manifest.
    pub manifest: Manifest,
    /// Who signed it, if the signature holds and the signer is trusted; else why not.
    pub signer: Result<Signer, String>,
    /// The directories that are here.
    pub dirs: Vec<PathBuf>,
}

/// Looks at a set without asking that anybody be trusted.
pub fn peek(place: &Where) -> Result<Seen> {
    let found = sets::find(&place.drives, place.set.as_deref(), &LAYOUT)?;
    let refused = match load_signers(&place.signers).and_then(|s| trusted_manifest(&found, &s, place.now)) {
        Ok((bytes, signer)) => {
            let manifest = Manifest::parse(&bytes).map_err(breaks(names::MANIFEST))?;
            return Ok(Seen { manifest, signer: Ok(signer), dirs: found.dirs });
        }
        Err(refused) => refused,
    };
    let manifests = copies(&found.dirs, names::MANIFEST, manifest::LONGEST)?;
    let readable = manifests.iter().find_map(|bytes| Manifest::parse(bytes).ok());
    match readable {
        Some(manifest) => Ok(Seen { manifest, signer: Err(refused.to_string()), dirs: found.dirs }),
        None => Err(Error::untrusted(
            "no manifest here can be read: the export was interrupted, or the drive is damaged",
            "bring another drive of the set",
        )),
    }
}

impl Set {
    /// The files that have the name of a volume. There should be one; but a drive may hold anything, and must not hide what
    /// is good on another.
    pub fn volume_paths(&self, group: usize, index: usize) -> Vec<PathBuf> {
        let name =
            self.manifest.groups.get(group).map(|g| manifest::volume_name(group, index, g.k)).unwrap_or_default();
        self.dirs.iter().map(|d| d.join(&name)).filter(|p| p.symlink_metadata().is_ok()).collect()
    }

    /// The drives that a directory is the copy of: it has their `B3SUMS`, or the header pages of half of their volumes. One
    /// volume alone, copied to another drive, does not make its own drive present.
    fn drives_of(&self, dir: &Path) -> BTreeSet<u16> {
        let mut volumes = vec![(0u32, 0u32); usize::from(self.manifest.drives) + 1];
        for (group, index, name, volume) in self.manifest.volumes() {
            let (here, all) = &mut volumes[usize::from(volume.drive)];
            *all += 1;
            *here += u32::from(self.has_header(&dir.join(name), group, index));
        }
        let b3sums = [dir.join(names::B3SUMS), dir.join(names::COPY).join(names::B3SUMS)];
        let said: Vec<Vec<u8>> = b3sums.iter().filter_map(|p| read_regular(p, manifest::LONGEST).ok()).collect();
        let half = |d: &u16| matches!(volumes[usize::from(*d)], (here, all) if here > 0 && 2 * here >= all);
        (1..=self.manifest.drives).filter(|d| half(d) || said.contains(&self.manifest.b3sums(*d))).collect()
    }

    fn has_header(&self, path: &Path, group: usize, index: usize) -> bool {
        let Ok(file) = open_regular(path) else { return false };
        let mut page = vec![0; BLOCK];
        let read = read_up_to(&file, &mut page, 0);
        read.is_ok_and(|n| n == BLOCK) && page == self.manifest.header(group, index).encode()
    }

    /// The drives that are here.
    pub fn present(&self) -> BTreeSet<u16> {
        self.holdings().iter().flatten().copied().collect()
    }

    /// For each directory, the drives that it is the copy of. Found out once, since it reads the header pages.
    pub fn holdings(&self) -> &[BTreeSet<u16>] {
        self.holdings.get_or_init(|| self.dirs.iter().map(|d| self.drives_of(d)).collect())
    }

    /// An error if a drive has gone since the set was opened: what was on it is neither damaged nor lost.
    pub fn require_here(&self) -> Result<()> {
        sets::require_here(&self.dirs)
    }

    /// The drives that the manifest names and that are not here.
    pub fn absent(&self) -> BTreeSet<u16> {
        let present = self.present();
        (1..=self.manifest.drives).filter(|d| !present.contains(d)).collect()
    }

    /// A copy of a listed metadata file that has the hash that the manifest says.
    pub fn good_copy(&self, name: &str) -> Option<PathBuf> {
        let listed = self.manifest.files.get(name)?;
        let places = self.dirs.iter().flat_map(|d| [d.join(name), d.join(names::COPY).join(name)]);
        places.into_iter().find(|p| hash_of(p, listed.bytes).is_some_and(|h| h == listed.blake3))
    }
}

/// The hash of a file of a set, if it has `len` bytes and can be read.
pub fn hash_of(path: &Path, len: u64) -> Option<[u8; 32]> {
    let file = crate::media::open_regular(path).ok()?;
    if file.metadata().ok()?.len() != len {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).ok()?;
    Some(*hasher.finalize().as_bytes())
}

/// How drives are named to people: `drive 2`, `drives 1, 3`.
pub fn name_drives(drives: &BTreeSet<u16>) -> String {
    let list = drives.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    format!("drive{} {list}", if drives.len() == 1 { "" } else { "s" })
}
