//! Read-back: what was written is read from the drives again and compared, after the last write, so that a drive which wraps
//! around at a faked capacity is found too.

use crate::error::{Error, Result};
use crate::format::manifest::{Listed, Manifest, volume_name};
use crate::media::cache;
use crate::media::drive::Drive;
use crate::pack::directories::SetDirs;
use crate::progress::{Lane, Phase, Progress, Silent};
use crate::set::{Expected, Origin, compare, compare_in_turn};
use crate::stages::runs::run_bytes;

/// Reads back everything that the manifest names: volumes and metadata.
pub fn read_back(manifest: &Manifest, drives: &[Drive], dirs: &SetDirs, progress: &dyn Progress) -> Result<Origin> {
    let copies = |(name, file): (&String, &Listed)| manifest.places(name).count() as u64 * file.bytes;
    let listed: u64 = manifest.files.iter().map(copies).sum();
    let volumes: u64 = manifest.volumes().map(|(_, _, _, v)| v.bytes).sum();
    let on = |drive: u16| {
        manifest.volumes().filter(|(_, _, _, v)| v.drive == drive).map(|(_, _, _, v)| v.bytes).sum::<u64>()
    };
    let lane = |d| Lane { number: manifest.drive_number(d), bytes: Some(on(d) + listed) };
    let lanes: Vec<Lane> = (1..=manifest.drives).map(lane).collect();
    progress.begin(Phase::ReadBack, volumes + listed * drives.len() as u64, &lanes);
    let origins = std::thread::scope(|scope| {
        let reader = |d| move || one_drive(manifest, d, &drives[d], dirs, progress);
        let threads: Vec<_> = (0..drives.len()).map(|d| scope.spawn(reader(d))).collect();
        let join = |t: std::thread::ScopedJoinHandle<Result<Origin>>| {
            t.join().unwrap_or_else(|_| Err(Error::Internal("a reader ended early".into())))
        };
        threads.into_iter().map(join).collect::<Result<Vec<Origin>>>()
    })?;
    Ok(if origins.iter().all(|o| *o == Origin::Drive) { Origin::Drive } else { Origin::CachePossible })
}

fn one_drive(
    manifest: &Manifest,
    index: usize,
    drive: &Drive,
    dirs: &SetDirs,
    progress: &dyn Progress,
) -> Result<Origin> {
    let dir = &dirs.dirs[index];
    let mut from_drive = true;
    let advance = |bytes| {
        progress.drive(index, bytes);
        progress.advance(bytes);
    };
    let device_evicted = !drive.is_fuse() || cache::evict_device(&drive.source);
    let own = |d: u16| usize::from(d) == index + 1;
    for (number, group) in manifest.groups.iter().enumerate() {
        let own = group.volumes.iter().enumerate().filter(|(_, volume)| own(volume.drive));
        let volumes: Vec<Expected> =
            own.map(|(i, v)| (dir.at(volume_name(number, i, group.k)), v.bytes, &v.blake3)).collect();
        from_drive &=
            compare_in_turn(&volumes, run_bytes(group.volumes.len(), manifest.segment_bytes), progress, advance)?;
    }
    for (name, listed) in &manifest.files {
        // In the set's directory in any case.
        let needed = manifest.places(name).count();
        for place in dirs.places_on(index, name).into_iter().rev().take(needed) {
            from_drive &= compare(&place.at(name), listed.bytes, &listed.blake3, progress, advance)?;
        }
    }
    let origin = if from_drive && device_evicted { Origin::Drive } else { Origin::CachePossible };
    Ok(origin)
}

/// Reads back the files that the manifest does not name, itself among them.
pub fn compare_small(dirs: &SetDirs, name: &str, of: impl Fn(usize) -> Vec<u8>) -> Result<Origin> {
    let mut from_drive = true;
    for i in 0..dirs.dirs.len() {
        let bytes = of(i);
        let hash = *blake3::hash(&bytes).as_bytes();
        for place in dirs.places_on(i, name) {
            from_drive &= compare(&place.at(name), bytes.len() as u64, &hash, &Silent::default(), |_| {})?;
        }
    }
    Ok(if from_drive { Origin::Drive } else { Origin::CachePossible })
}
