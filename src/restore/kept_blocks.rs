//! Blocks that are copied before their drive leaves: rows that need parity will need them, and fewer than K good blocks of such a row
//! are known so far.
//!
//! They lie in sparse files that are named like volumes, and are read as if another drive were here. What is read from them is
//! compared with the signed hashes like everything else.

use crate::error::{Error, Result};
use crate::format::manifest::{Manifest, volume_name};
use crate::media::dir::{Dir, Location};
use crate::media::removal::remove_tree;
use crate::media::staging::Staging;
use crate::set::{At, Bits};
use std::collections::HashMap;

/// What has been kept in this run.
pub struct Scratch {
    at: Location,
    kept: HashMap<(u32, At), Bits>,
}

impl Scratch {
    /// An empty one; what an earlier run kept is of no use, since nobody knows what it is.
    pub fn begin(staging: &Staging) -> Result<Scratch> {
        let at = staging.scratch();
        if at.exists() {
            remove_tree(&at.dir, &at.name).map_err(Error::io("remove", at.path()))?;
        }
        Ok(Scratch { at, kept: HashMap::new() })
    }

    /// The directory of the blocks of a part, if there are any.
    pub fn dir(&self, part: u32) -> Option<Dir> {
        self.at.dir.dir(format!("{}/{part}", self.at.name)).ok()
    }

    fn made_dir(&self, part: u32) -> Result<Dir> {
        let (mut dir, mut name) = (self.at.dir.clone(), self.at.name.clone());
        for _ in 0..2 {
            let made = match dir.has(&name) {
                true => dir.dir(&name),
                false => dir.make_dir(&name, 0o700),
            };
            (dir, name) = (made.map_err(Error::io("create", dir.show(&name)))?, part.to_string());
        }
        Ok(dir)
    }

    /// Whether a block is here.
    pub fn has(&self, part: u32, at: At, block: u64) -> bool {
        self.kept.get(&(part, at)).is_some_and(|bits| bits.contains(block))
    }

    /// Keeps blocks of a volume from `first` on, those that are good.
    pub fn keep(&mut self, manifest: &Manifest, at: At, first: u64, bytes: &[u8], good: &[bool]) -> Result<()> {
        if !good.contains(&true) {
            return Ok(());
        }
        let (group, block_size) = (&manifest.groups[at.group], manifest.block());
        let dir = self.made_dir(manifest.part)?;
        let name = volume_name(at.group, at.index, group.k);
        let (disk, path) = (dir.disk(), dir.show(&name));
        let file = dir.open_or_create(&name, 0o600).map_err(Error::io("create", &path))?;
        let len = group.volumes[at.index].bytes;
        disk.resize(&file, &path, len).map_err(Error::io("extend", &path))?;
        let kept = self.kept.entry((manifest.part, at)).or_insert_with(|| Bits::new(block_size.blocks(len), false));
        for (i, (block, good)) in bytes.chunks(block_size.size()).zip(good).enumerate() {
            let number = first + i as u64;
            if *good && !kept.contains(number) {
                let written = disk.write_all_at(&file, block, number * block_size.bytes());
                written.map_err(Error::io("write", &path))?;
                kept.insert(number);
            }
        }
        Ok(())
    }
}
