//! What a drive can hold.

use crate::error::{Error, Result};
use crate::media::cache;
use crate::media::device::Device;
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::durable::private_name;
use crate::media::lock;
use crate::media::mounts::{mount_holding, mount_of};
use rustix::fs::{Access, StatVfs, StatVfsMountFlags, fstatvfs};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const FAT_LONGEST: u64 = u32::MAX as u64;
/// What stands for the free bytes of a file system that does not tell its size.
pub const UNTOLD: u64 = u64::MAX >> 1;
/// What a file system itself needs for a file at most: a cluster of a large FAT, and some for its directory.
pub const PER_FILE: u64 = 128 << 10;

/// A destination directory and the file system that it is on.
#[derive(Debug, Clone)]
pub struct Drive {
    /// The directory, as given.
    pub path: PathBuf,
    /// Bytes free for this user, or [`UNTOLD`].
    pub free: u64,
    /// The device, so that two directories on one file system are recognised.
    pub device: u64,
    /// The longest file that its file system can hold, in bytes.
    pub longest_file: u64,
    /// The type of its file system, as the kernel names it.
    pub fs_type: String,
    /// Where the file system comes from, `/dev/sdb1` for example.
    pub source: PathBuf,
    /// What the device says of itself.
    pub known: Device,
}

/// Opens a destination, which must be there.
pub fn open(disk: &Disk, path: &Path) -> Result<Dir> {
    Dir::given(disk, path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotADirectory => Error::usage(
            format!("{} is not a directory", path.display()),
            "give the mount point of a drive, or a directory",
        ),
        _ => Error::on_drive("use", path)(e),
    })
}

/// Looks at a destination without writing to it.
pub fn examine(dir: &Dir) -> Result<Drive> {
    let path = dir.path();
    let device = dir.metadata().map_err(Error::on_drive("use", path))?.st_dev;
    let vfs = fstatvfs(dir).map_err(|e| Error::on_drive("measure", path)(e.into()))?;
    if vfs.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(Error::drive(format!("{} is mounted read-only", path.display()), "mount the drive for writing"));
    }
    dir.access(Access::WRITE_OK | Access::EXEC_OK).map_err(Error::on_drive("write to", path))?;
    let mount = mount_holding(dir);
    Ok(Drive {
        path: path.to_owned(),
        free: free(&vfs),
        device,
        longest_file: longest_file(&mount.fs_type),
        fs_type: mount.fs_type,
        source: mount.source,
        known: Device::of(dir),
    })
}

/// The device below a directory, if a process serves its file system: then the cache of that device counts too.
pub fn served_device(path: &Path) -> Option<PathBuf> {
    let mount = mount_of(std::fs::metadata(path).ok()?.dev());
    (mount.fs_type.starts_with("fuse") && mount.source.is_absolute()).then_some(mount.source)
}

/// Bytes free for this user. A file system without any blocks (ramfs, some FUSE ones) does not tell: that is no reason to
/// call it full.
pub fn free(vfs: &StatVfs) -> u64 {
    match vfs.f_blocks {
        0 => UNTOLD,
        _ => vfs.f_bavail.saturating_mul(vfs.f_frsize),
    }
}

/// The first file system type with a limit is FAT; exFAT has none that matters.
fn longest_file(fs_type: &str) -> u64 {
    let fat = ["msdos", "vfat", "fat"].iter().any(|n| fs_type.contains(n)) && !fs_type.contains("exfat");
    if fat { FAT_LONGEST } else { u64::MAX >> 1 }
}

impl Drive {
    /// Whether a file of `bytes` bytes can exist there. Asked of the file system itself when it is a FUSE one, whose type
    /// says little, if that may be tried in a directory, and only for lengths at which FAT ends and for which there is room. Not of exFAT,
    /// which has no such end and would fill the file with zeros.
    pub fn can_hold(&self, bytes: u64, may_try: Option<&Dir>) -> bool {
        let telling = !self.fs_type.starts_with("fuse") || bytes <= FAT_LONGEST || bytes > self.free;
        let tried = |dir| is_exfat(&self.source) || probe(dir, bytes);
        bytes <= self.longest_file && (telling || may_try.is_none_or(tried))
    }

    /// Whether its file system is served by a process (exFAT, FAT and NTFS often are), which has a cache of its own.
    pub fn is_fuse(&self) -> bool {
        self.fs_type.starts_with("fuse")
    }
}

fn probe(dir: &Dir, bytes: u64) -> bool {
    let Ok(name) = private_name("probe") else { return false };
    let Ok(file) = dir.create(&name, 0o600) else { return false };
    let fits = file.set_len(bytes).is_ok() && file.metadata().is_ok_and(|m| m.len() == bytes);
    let _ = dir.remove(&name);
    fits
}

/// Whether a directory still answers: it can be listed, and of the files in it (those of `likely` names first) one can be read
/// from the drive itself. A drive that was unplugged goes on answering from the cache for a while.
pub fn answers(dir: &Dir, likely: &[&str]) -> bool {
    /// A drive that is failing may take seconds for each answer.
    const MOST_ASKED: usize = 24;
    let listed = match dir.names() {
        Ok(listed) => listed,
        // Files can be found by their names in a directory that may not be listed.
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Vec::new(),
        Err(_) => return false,
    };
    let known = likely.iter().map(|name| OsString::from(*name)).filter(|name| dir.has_file(name));
    let known: Vec<OsString> = known.collect();
    // Closing a file ends every lock that this process has on it (fcntl(2)).
    let locked = lock::name();
    let others = listed.into_iter().filter(|name| *name != *locked && !known.contains(name) && dir.has_file(name));
    let asked: Vec<OsString> = known.iter().cloned().chain(others).take(MOST_ASKED).collect();
    let read = |name: &OsString| {
        let file = dir.open(name)?;
        cache::evict(file.file());
        file.read_up_to(&mut [0], 0)
    };
    asked.is_empty() || asked.iter().any(|name| read(name).is_ok())
}

/// Whether a device or image begins as an exFAT volume does (exFAT specification, 3.1.2), as far as this user may read it.
fn is_exfat(source: &Path) -> bool {
    let mut boot = [0; 11];
    let read = std::fs::File::open(source).and_then(|mut f| std::io::Read::read_exact(&mut f, &mut boot));
    source.is_absolute() && read.is_ok() && &boot[3..] == b"EXFAT   "
}

/// The type of the file system on a device, as the kernel names it; empty if that is not known.
pub fn fs_type(device: u64) -> String {
    mount_of(device).fs_type
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fat_ends_below_four_gib_and_exfat_does_not() {
        for fat in ["vfat", "msdos", "fuse.fusefat"] {
            assert_eq!(longest_file(fat), (4 << 30) - 1, "{fat}");
        }
        for large in ["exfat", "fuse.exfat", "ext4", "fuseblk", "tmpfs"] {
            assert!(longest_file(large) > 1 << 40, "{large}");
        }
    }

    #[test]
    fn a_missing_drive_is_an_error_of_a_drive() {
        let error = open(&Disk::default(), Path::new("/no/such/drive")).unwrap_err();
        assert_eq!(error.exit_code(), 7);
    }
}
