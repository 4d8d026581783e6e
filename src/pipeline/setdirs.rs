//! The directories of a part in the making, one a drive: made, locked, taken up again, removed. They are ours alone.

use crate::error::{Error, Result};
use crate::format::manifest::group_of_volume;
use crate::format::names;
use crate::media::disk::Disk;
use crate::media::durable::{self, PARTIAL_SUFFIX};
use crate::media::lock_dir;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The directories of a part, in the order of its drives.
pub struct SetDirs {
    /// What they are written and read through.
    pub disk: Disk,
    /// The directories.
    pub dirs: Vec<PathBuf>,
    /// Held while they are written to.
    locks: Vec<File>,
}

impl SetDirs {
    /// Makes them; none of this name may exist.
    pub fn create(disk: &Disk, drives: &[PathBuf], name: &str) -> Result<SetDirs> {
        let mut made = SetDirs { disk: disk.clone(), dirs: Vec::new(), locks: Vec::new() };
        let result = drives.iter().try_for_each(|drive| {
            let dir = durable::create_dir(disk, drive, name)?;
            made.dirs.push(dir.clone());
            made.locks.extend(lock(&dir)?);
            durable::create_dir(disk, &dir, names::COPY).map(drop)
        });
        match result {
            Ok(()) => Ok(made),
            Err(error) => {
                made.remove();
                Err(error)
            }
        }
    }

    /// Takes up those that an interrupted export left: what is not a finished volume or the key slot is removed, the manifest
    /// first, so that nothing looks complete.
    pub fn take_up(disk: &Disk, drives: &[PathBuf], name: &str) -> Result<SetDirs> {
        let dirs: Vec<PathBuf> = drives.iter().map(|d| d.join(name)).collect();
        for (dir, drive) in dirs.iter().zip(drives) {
            if !dir.is_dir() {
                return Err(Error::drive(
                    format!("{name} is not on {}", drive.display()),
                    "mount the drive that the export was writing to; with --to, give its new place",
                ));
            }
        }
        let locks = dirs.iter().map(|d| lock(d)).collect::<Result<Vec<_>>>()?;
        let taken = SetDirs { disk: disk.clone(), dirs, locks: locks.into_iter().flatten().collect() };
        for place in taken.places() {
            taken.tidy(&place)?;
        }
        Ok(taken)
    }

    fn tidy(&self, place: &Path) -> Result<()> {
        if !place.is_dir() {
            durable::create_dir(&self.disk, place.parent().unwrap_or(place), names::COPY)?;
        }
        self.remove_file(&place.join(names::MANIFEST))?;
        self.disk.sync_dir(place).map_err(Error::on_drive("sync", place))?;
        for name in names_in(place)? {
            let metadata = names::METADATA.contains(&&*name) && name != names::KEYS || name == names::PROGRAM;
            if metadata || name.ends_with(PARTIAL_SUFFIX) {
                self.remove_file(&place.join(name))?;
            }
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        match self.disk.remove(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::on_drive("remove", path)(e)),
            _ => Ok(()),
        }
    }

    /// Removes the volumes of groups after `group`, of all if there is none.
    pub fn remove_groups_after(&self, group: Option<u32>) -> Result<()> {
        for dir in &self.dirs {
            for name in names_in(dir)? {
                if group_of_volume(&name).is_some_and(|g| group.is_none_or(|last| g > last)) {
                    self.remove_file(&dir.join(name))?;
                }
            }
        }
        Ok(())
    }

    /// Where a metadata file goes: on every drive, the second copy first.
    pub fn places(&self) -> Vec<PathBuf> {
        let copies = self.dirs.iter().map(|d| d.join(names::COPY));
        copies.chain(self.dirs.iter().cloned()).collect()
    }

    /// Removes an export that did not end well, as far as the drives let it.
    pub fn remove(&self) {
        for dir in &self.dirs {
            let _ = self.disk.remove_tree(dir);
        }
    }
}

fn lock(dir: &Path) -> Result<Option<File>> {
    let busy =
        || Error::drive(format!("{} is being written by another ckvault", dir.display()), "wait until that has ended");
    lock_dir(dir).map_err(Error::on_drive("lock", dir))?.ok_or_else(busy).map(Some)
}

fn names_in(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::on_drive("read", dir))? {
        let entry = entry.map_err(Error::on_drive("read", dir))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}
