//! Read-back: what was written is read from the drives again and compared, after the last write, so that a drive which wraps
//! around at a faked capacity is found too.

use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::media::cache;
use crate::media::dir::Location;
use crate::media::drive::Drive;
use crate::pack::directories::SetDirs;
use crate::progress::{Phase, Progress, Silent};
use std::io::Read;

/// Where the bytes came from when they were read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The page cache did not hold them.
    Drive,
    /// The page cache may have held some of them.
    CachePossible,
}

impl Origin {
    /// Of two readings.
    pub fn and(self, other: Origin) -> Origin {
        if self == Origin::Drive { other } else { self }
    }
}

/// Reads back everything that the manifest names: volumes and metadata.
pub fn read_back(manifest: &Manifest, drives: &[Drive], dirs: &SetDirs, progress: &dyn Progress) -> Result<Origin> {
    let names: Vec<String> = drives.iter().map(|d| d.path.display().to_string()).collect();
    let listed: u64 = manifest.files.values().map(|f| f.bytes).sum();
    let volumes: u64 = manifest.volumes().map(|(_, _, _, v)| v.bytes).sum();
    progress.begin(Phase::ReadBack, volumes + listed * 2 * drives.len() as u64, &names);
    let origins = std::thread::scope(|scope| {
        let reader = |d| move || one_drive(manifest, d, &drives[d], dirs, progress);
        let threads: Vec<_> = (0..drives.len()).map(|d| scope.spawn(reader(d))).collect();
        let join = |t: std::thread::ScopedJoinHandle<Result<Origin>>| {
            t.join().unwrap_or_else(|_| Err(Error::Internal("a reader ended early".into())))
        };
        threads.into_iter().map(join).collect::<Result<Vec<Origin>>>()
    })?;
    progress.end();
    Ok(if origins.iter().all(|o| *o == Origin::Drive) { Origin::Drive } else { Origin::CachePossible })
}

fn one_drive(
    manifest: &Manifest,
    index: usize,
    drive: &Drive,
    dirs: &SetDirs,
    progress: &dyn Progress,
) -> Result<Origin> {
    let [copy, dir] = dirs.places_on(index);
    let mut from_drive = true;
    let advance = |bytes| {
        progress.drive(index, bytes);
        progress.advance(bytes);
    };
    let device_evicted = !drive.is_fuse() || cache::evict_device(&drive.source);
    let own = |d: u16| usize::from(d) == index + 1;
    for (_, _, name, volume) in manifest.volumes().filter(|(_, _, _, v)| own(v.drive)) {
        from_drive &= compare(&dir.at(name), volume.bytes, &volume.blake3, progress, advance)?;
    }
    for (name, listed) in &manifest.files {
        for place in [dir, copy] {
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
        for place in dirs.places_on(i) {
            from_drive &= compare(&place.at(name), bytes.len() as u64, &hash, &Silent::default(), |_| {})?;
        }
    }
    Ok(if from_drive { Origin::Drive } else { Origin::CachePossible })
}

/// Compares a file with its hash, not from the cache; says whether the cache can be ruled out.
pub(crate) fn compare(
    file: &Location,
    len: u64,
    hash: &[u8; 32],
    progress: &dyn Progress,
    advance: impl Fn(u64),
) -> Result<bool> {
    let path = &file.path();
    let mut file = file.open().map_err(Error::on_drive("read back", path))?;
    cache::evict(file.file());
    let cached = cache::is_cached(file.file(), len);
    let (mut hasher, mut buffer, mut read) = (blake3::Hasher::new(), vec![0; 1 << 20], 0u64);
    loop {
        if progress.cancelled() {
            return Err(Error::Interrupted);
        }
        let n = file.read(&mut buffer).map_err(Error::on_drive("read back", path))?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        advance(n as u64);
        read += n as u64;
    }
    if read != len || hasher.finalize().as_bytes() != hash {
        return Err(Error::drive(
            format!("{} does not hold what was written to it", path.display()),
            "do not use this drive: it is failing, or its capacity is faked; use another",
        ));
    }
    Ok(!cached)
}
