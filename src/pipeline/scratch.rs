//! Blocks that are kept when their drive has to leave: what rows that need parity lack of K good blocks.
//!
//! They lie in sparse files that are named like volumes, so that they are read as if a further drive were here. What is read
//! from them is compared with the signed hashes like everything else.

use crate::error::{Error, Result};
use crate::format::hashes::{BLOCK, blocks};
use crate::format::manifest::{Manifest, volume_name};
use crate::media::disk::{Disk, Operation};
use crate::media::staging::Staging;
use crate::pipeline::bits::Bits;
use crate::pipeline::blocks::At;
use std::collections::HashMap;
use std::path::PathBuf;

/// What has been kept in this run.
pub struct Scratch {
    disk: Disk,
    dir: PathBuf,
    kept: HashMap<(u32, At), Bits>,
}

impl Scratch {
    /// An empty one; what an earlier run kept is of no use, since nobody knows what it is.
    pub fn begin(staging: &Staging) -> Result<Scratch> {
        let (disk, dir) = (staging.disk().clone(), staging.scratch());
        if dir.symlink_metadata().is_ok() {
            disk.remove_tree(&dir).map_err(Error::io("remove", &dir))?;
        }
        Ok(Scratch { disk, dir, kept: HashMap::new() })
    }

    /// Where the blocks of a part are.
    pub fn dir(&self, part: u32) -> PathBuf {
        self.dir.join(part.to_string())
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
        let group = &manifest.groups[at.group];
        let dir = self.dir(manifest.part);
        for dir in [&self.dir, &dir] {
            if dir.symlink_metadata().is_err() {
                self.disk.create_dir(dir).map_err(Error::io("create", dir))?;
            }
        }
        let path = dir.join(volume_name(at.group, at.index, group.k));
        let file = self.disk.open_or_create(&path, 0o600).map_err(Error::io("create", &path))?;
        let len = group.volumes[at.index].bytes;
        let lengthen = self.disk.allow(Operation::Resize, &path).and_then(|()| file.set_len(len));
        lengthen.map_err(Error::io("extend", &path))?;
        let kept = self.kept.entry((manifest.part, at)).or_insert_with(|| Bits::new(blocks(len), false));
        for (i, (block, good)) in bytes.chunks(BLOCK).zip(good).enumerate() {
            let number = first + i as u64;
            if *good && !kept.contains(number) {
                let written = self.disk.write_all_at(&file, block, number * BLOCK as u64);
                written.map_err(Error::io("write", &path))?;
                kept.insert(number);
            }
        }
        Ok(())
    }
}
