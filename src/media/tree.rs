//! Reading a source: what its entries are, where their data lies, and whether they have changed. Nothing here writes.

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A stretch of a file that has data: where it begins, and its length, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch(pub u64, pub u64);

impl Stretch {
    fn end(&self) -> u64 {
        self.0 + self.1
    }
}

/// What tells a file from another one, and from a changed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    /// Kind and permissions.
    mode: u32,
    links: u64,
}

impl Stamp {
    /// The stamp of a file with this metadata.
    pub fn of(meta: &Metadata) -> Stamp {
        Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
            mode: meta.mode(),
            links: meta.nlink(),
        }
    }

    /// How many names it is said to have.
    pub fn links(&self) -> u64 {
        self.links
    }

    /// Whether what had this stamp has another one `now` without having been changed: the number of its inode counts only where
    /// the file system keeps it.
    pub fn is_still(&self, now: &Stamp, keeps_inodes: impl FnOnce() -> bool) -> bool {
        let what = |s: &Stamp| (s.size, s.mtime, s.ctime, s.mode);
        what(self) == what(now) && (self.identity() == now.identity() || !keeps_inodes())
    }

    /// Device and inode.
    pub fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

/// Whether the file system at a path gives a file the same number as long as it exists. Those that other systems or processes
/// serve, and those without inodes, may give it another one whenever they are asked.
pub fn keeps_inodes(path: &Path) -> bool {
    // ext, XFS, btrfs, tmpfs, F2FS, ZFS, bcachefs, NFS, Lustre, GPFS, Ceph: statfs(2), and the drivers themselves.
    const KEEPING: [u32; 11] = [
        0xEF53,
        0x5846_5342,
        0x9123_683E,
        0x0102_1994,
        0xF2F5_2010,
        0x2FC1_2FC1,
        0xCA45_1A4E,
        0x6969,
        0x0BD0_0BD0,
        0x4750_4653,
        0x00C3_6400,
    ];
    rustix::fs::statfs(path).is_ok_and(|fs| KEEPING.contains(&(fs.f_type as u32)))
}

/// Whether a file system is mounted at a directory.
pub fn is_mount_point(path: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    let told = statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS);
    told.is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// The beginning of the file that marks a directory whose contents can be had again (bford.info/cachedir).
const CACHE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// The name of that file.
pub const CACHE_TAG: &str = "CACHEDIR.TAG";

/// Whether a directory is marked so.
pub fn is_cache(dir: &Path) -> bool {
    let mut head = [0; CACHE.len()];
    let read = File::open(dir.join(CACHE_TAG)).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == *CACHE
}

/// Where the data of a sparse file lies, in at most `most` stretches that begin and end at multiples of `alignment`; `None` if
/// it has no hole worth keeping.
pub fn extents(file: &File, meta: &Metadata, most: usize, alignment: u64) -> io::Result<Option<Vec<Stretch>>> {
    const UNIT: u64 = 512;
    if meta.blocks() * UNIT >= meta.size() {
        return Ok(None);
    }
    let mut gap = 64 << 10;
    let mut extents = aligned(data_extents(file, meta.size())?, meta.size(), alignment);
    loop {
        extents = join_near(&extents, gap);
        if extents.len() <= most {
            break;
        }
        gap *= 2;
    }
    let whole = [Stretch(0, meta.size())];
    Ok(if extents == whole { None } else { Some(extents) })
}

fn data_extents(file: &File, size: u64) -> io::Result<Vec<Stretch>> {
    let mut extents: Vec<Stretch> = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let end = seek(file, SeekFrom::Hole(start))?.min(size);
        if end <= start {
            break;
        }
        // A file with countless tiny holes must not cost memory: holes below a page's size are not told apart.
        match extents.last_mut() {
            Some(last) if extents_near(last, start) => last.1 = end - last.0,
            _ => extents.push(Stretch(start, end - start)),
        }
        at = end;
    }
    Ok(extents)
}

/// Some file systems tell of data to the byte; tar needs whole records.
fn aligned(mut extents: Vec<Stretch>, size: u64, alignment: u64) -> Vec<Stretch> {
    for extent in &mut extents {
        let start = extent.0 / alignment * alignment;
        let end = extent.end().next_multiple_of(alignment).min(size);
        *extent = Stretch(start, end - start);
    }
    extents
}

fn extents_near(last: &Stretch, start: u64) -> bool {
    start - last.end() < 4096
}

fn join_near(extents: &[Stretch], gap: u64) -> Vec<Stretch> {
    let mut joined: Vec<Stretch> = Vec::new();
    for extent in extents {
        match joined.last_mut() {
            Some(last) if extent.0 - last.end() < gap => last.1 = extent.end() - last.0,
            _ => joined.push(*extent),
        }
    }
    joined
}

/// Names and values of attributes in the `user.` namespace, sorted by name.
pub type UserXattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Extended attributes.
#[derive(Debug, Default)]
pub struct Xattrs {
    /// Those that travel.
    pub user: UserXattrs,
    /// There are others that say something about the file, and not about this machine: access lists, capabilities and the like.
    pub others: bool,
}

/// The extended attributes of a directory.
pub fn xattrs(path: &Path) -> io::Result<Xattrs> {
    user_xattrs(|list| rustix::fs::listxattr(path, list), |name, value| rustix::fs::getxattr(path, name, value))
}

/// The same of an open file, for which its path need not be walked again.
pub fn file_xattrs(file: &File) -> io::Result<Xattrs> {
    user_xattrs(|list| rustix::fs::flistxattr(file, list), |name, value| rustix::fs::fgetxattr(file, name, value))
}

/// What Linux has room for, in a list of names and in a value.
const MOST_OF_XATTRS: usize = 64 << 10;

fn user_xattrs(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&CStr, &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Xattrs> {
    // Most files have none, and none with a long name.
    let (mut small, mut large) = ([0u8; 128], Vec::new());
    let names = match list(&mut small) {
        Ok(len) => &small[..len],
        Err(Errno::RANGE) => {
            large.resize(MOST_OF_XATTRS, 0);
            let len = list(&mut large)?;
            &large[..len]
        }
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Xattrs::default()),
        Err(e) => return Err(e.into()),
    };
    // Labels of SELinux and hashes of IMA are given by the machine on which a file lies.
    let own = |name: &[u8]| {
        name.starts_with(b"security.selinux") || name.starts_with(b"security.ima") || name.starts_with(b"security.evm")
    };
    let mut found = Vec::new();
    let (user, others): (Vec<&[u8]>, Vec<&[u8]>) =
        names.split(|b| *b == 0).filter(|n| !n.is_empty()).partition(|n| n.starts_with(b"user.") && n.len() > 5);
    for name in user {
        let mut value = vec![0u8; MOST_OF_XATTRS];
        let len = get(&CString::new(name)?, &mut value)?;
        value.truncate(len);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(Xattrs { user: found, others: others.iter().any(|name| !own(name)) })
}

/// The names in a directory, sorted by their bytes.
pub fn sorted_names(dir: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        names.push(entry?.file_name().as_bytes().to_vec());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_extents_are_joined() {
        let far = [Stretch(0, 10), Stretch(20, 5), Stretch(1000, 1)];
        assert_eq!(join_near(&far, 100), [Stretch(0, 25), Stretch(1000, 1)]);
        assert_eq!(join_near(&far, 1), far);
    }

    #[test]
    fn holes_are_found_where_the_file_system_has_them() {
        use std::os::unix::fs::FileExt;
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 << 20).unwrap();
        file.write_all_at(&[1; 100], 4 << 20).unwrap();
        let meta = file.metadata().unwrap();
        if let Some(extents) = extents(&file, &meta, 100, 512).unwrap() {
            assert!(extents.iter().any(|e| e.0 <= 4 << 20 && e.end() >= (4 << 20) + 100), "{extents:?}");
            assert!(extents.iter().map(|e| e.1).sum::<u64>() < 8 << 20);
        }
    }
}
