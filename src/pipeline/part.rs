//! One part of a set that is here: its directories, its files, and which drives they are the copies of.

use crate::format::hashes::Value;
use crate::format::manifest::{self, Manifest};
use crate::format::signature::Signature;
use crate::format::signers::Signers;
use crate::format::{header, names};
use crate::media::disk::Disk;
use crate::pipeline::failing::Failing;
use crate::pipeline::open::Signer;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A part of a set, whose manifest is signed by somebody trusted.
#[derive(Debug)]
pub struct Part {
    /// What its files are read through.
    pub disk: Disk,
    /// The manifest.
    pub manifest: Manifest,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The signature over them that is trusted.
    pub armour: Vec<u8>,
    /// Who signed it.
    pub signer: Signer,
    /// The directories that are here.
    pub dirs: Vec<PathBuf>,
    /// The signers that were asked.
    pub signers: Signers,
    /// The time that was asked for.
    pub now: jiff::Timestamp,
    /// See [`Part::holdings`].
    pub(super) holdings: OnceLock<Vec<BTreeSet<u16>>>,
    /// The hash of the `B3SUMS` of each drive, once they were needed.
    pub(super) sums: OnceLock<Vec<Value>>,
    /// What its drives could not read.
    pub(super) failing: Failing,
    /// The key slot as another part of the set has it, if that was needed.
    pub(super) slot: OnceLock<Vec<u8>>,
}

impl Part {
    /// None of its drives is here any more.
    pub fn leave(&mut self) {
        self.dirs.clear();
        self.holdings = OnceLock::new();
    }

    /// Directories that are not there any more belong to drives that went away; returns whether there are any.
    pub fn forget_vanished(&mut self) -> bool {
        let before = self.dirs.len();
        self.look_again();
        let gone: Vec<PathBuf> = self.dirs.iter().filter(|dir| self.is_gone(dir)).cloned().collect();
        self.dirs.retain(|dir| !gone.contains(dir));
        if self.dirs.len() < before {
            self.holdings = OnceLock::new();
        }
        self.dirs.len() < before
    }

    /// Whether a signature is one over this manifest by somebody trusted.
    pub fn is_vouched_for_by(&self, armour: &[u8]) -> bool {
        let key = Signature::parse(armour).and_then(|s| s.verify(&self.bytes));
        key.is_ok_and(|key| self.signers.judge(&key, self.now).is_ok())
    }

    /// The files that have the name of a volume. There should be one; but a drive may hold anything, and must not hide what
    /// is good on another.
    pub fn volume_paths(&self, group: usize, index: usize) -> Vec<PathBuf> {
        let name =
            self.manifest.groups.get(group).map(|g| manifest::volume_name(group, index, g.k)).unwrap_or_default();
        let there = |p: &PathBuf| !self.is_gone(p) && p.symlink_metadata().is_ok();
        self.dirs.iter().map(|d| d.join(&name)).filter(there).collect()
    }

    /// The drives of which a file is the `B3SUMS`. It is neither kept nor compared with that of each drive: there may be as many
    /// files and drives as somebody likes.
    pub(super) fn drives_said(&self, path: &Path) -> BTreeSet<u16> {
        let mut hasher = blake3::Hasher::new();
        let read = self.read_through(path, manifest::LONGEST, &mut |piece| {
            hasher.update(piece);
        });
        let (said, known) = (hasher.finalize(), self.sums.get_or_init(|| self.manifest.b3sums_hashes()));
        (1..).zip(known).filter(|(_, sums)| read.is_some() && said == **sums).map(|(drive, _)| drive).collect()
    }

    /// The drives that a directory is the copy of: it has their `B3SUMS`, or the headers of half of their volumes. One
    /// volume alone, copied to another drive, does not make its own drive present.
    fn drives_of(&self, dir: &Path) -> BTreeSet<u16> {
        let b3sums = [dir.join(names::B3SUMS), dir.join(names::COPY).join(names::B3SUMS)];
        let said: BTreeSet<u16> = b3sums.iter().flat_map(|path| self.drives_said(path)).collect();
        let mut volumes = vec![(0u32, 0u32); usize::from(self.manifest.drives) + 1];
        // A large set has thousands of volumes: none of a drive that is known to be here is opened.
        for (group, index, name, volume) in self.manifest.volumes().filter(|v| !said.contains(&v.3.drive)) {
            let (here, all) = &mut volumes[usize::from(volume.drive)];
            *all += 1;
            *here += u32::from(self.has_header(&dir.join(name), group, index));
        }
        let half = |d: &u16| matches!(volumes[usize::from(*d)], (here, all) if here > 0 && 2 * here >= all);
        (1..=self.manifest.drives).filter(|d| half(d) || said.contains(d)).collect()
    }

    /// Whether a file begins as the volume does; what the header page is filled up with may be damaged.
    fn has_header(&self, path: &Path, group: usize, index: usize) -> bool {
        let Some(source) = self.source(path) else { return false };
        let mut begins = [0; header::USED];
        let read = self.read_blocks(&source, &mut begins, 0, &|_| true);
        read == [true] && begins == self.manifest.header(group, index).encode()[..header::USED]
    }

    /// The drives that are here.
    pub fn present(&self) -> BTreeSet<u16> {
        self.homes().map(|(_, drive)| drive).collect()
    }

    /// The directories that are the copy of a drive, each with that drive. Several drives may have been copied into one.
    pub fn homes(&self) -> impl Iterator<Item = (&PathBuf, u16)> {
        let there = self.dirs.iter().zip(self.holdings()).filter(|(dir, _)| !self.is_gone(dir));
        there.flat_map(|(dir, held)| held.iter().map(move |drive| (dir, *drive)))
    }

    /// For each directory, the drives that it is the copy of. Found out once, since it may read headers.
    pub fn holdings(&self) -> &[BTreeSet<u16>] {
        self.holdings.get_or_init(|| self.dirs.iter().map(|d| self.drives_of(d)).collect())
    }

    /// The drives that the manifest names and that are not here.
    pub fn absent(&self) -> BTreeSet<u16> {
        let present = self.present();
        (1..=self.manifest.drives).filter(|d| !present.contains(d)).collect()
    }

    /// The numbers among all drives of the set of those that are not here.
    pub fn absent_numbers(&self) -> Vec<u32> {
        self.absent().into_iter().map(|d| self.manifest.drive_number(d)).collect()
    }
}

/// How drives are named to people: `drive 2`, `drives 1, 3`.
pub fn name_drives(drives: &[u32]) -> String {
    let list = drives.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    format!("drive{} {list}", if drives.len() == 1 { "" } else { "s" })
}
