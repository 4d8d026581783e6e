//! A set that was opened: its parts that are here, and what they say together.

use crate::error::{Error, Result};
use crate::format::manifest::{Manifest, set_dir_name};
use crate::format::names;
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::lock::is_being_written;
use crate::set::part::Part;
use crate::set::trust::Signer;
use crate::set::trusted_manifest::same_signer;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A set of which each part that is here has a manifest that is signed by somebody trusted.
#[derive(Debug)]
pub struct Set {
    /// Its parts that are here, in order; at least one.
    pub parts: Vec<Part>,
    /// Links on the drives that are named like directories of it.
    pub links: Vec<PathBuf>,
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
        for known in &self.parts {
            for part in here.parts.iter().filter(|part| part.bytes == known.bytes) {
                let m = &part.manifest;
                same_signer(&set_dir_name(m.label.as_deref(), &m.set, m.part), &known.signer, &part.signer)?;
            }
        }
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

    /// All parts have the same key slot: one that has no good copy of it any more takes that of another; and one that was written
    /// anew is that of all.
    pub fn share_slot(&self) {
        if self.parts.len() == 1 {
            return;
        }
        let rewritten = self.has_rewritten_slot();
        self.parts.iter().for_each(|part| _ = part.rewritten.set(rewritten));
        if let Some(slot) = self.parts.iter().find_map(|part| part.proven(names::KEYS)) {
            self.parts.iter().for_each(|part| drop(part.slot.set(slot.clone())));
        }
    }

    /// Whether a key slot here was written anew.
    pub fn has_rewritten_slot(&self) -> bool {
        self.parts.iter().any(Part::has_rewritten_slot)
    }

    /// Holds no drive any more, so that all can be unmounted.
    pub fn let_go(&mut self) {
        self.parts.iter_mut().for_each(Part::let_go);
    }

    /// Makes durable what was written to its drives, and holds none of them any more. Whether that went well.
    pub fn release(self) -> bool {
        let dirs = self.parts.into_iter().flat_map(|part| part.dirs);
        dirs.map(Dir::release).filter(|released| !released).count() == 0
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

    /// The numbers of all drives that are known of.
    pub fn drive_numbers(&self) -> impl Iterator<Item = u32> + use<> {
        let manifest = &self.parts[self.parts.len() - 1].manifest;
        1..=manifest.part * u32::from(manifest.drives)
    }
}

/// Parts that follow each other name each other; of others one can only say that they are of one set.
pub fn belong_together(one: &Part, next: &Part) -> Result<()> {
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
