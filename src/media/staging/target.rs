//! Where the files of an import go, and what lies in the staging directory meanwhile.

use crate::error::{Error, Result};
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::durable::PARTIAL_SUFFIX;
use rustix::fs::Access;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The beginning of the name of every staging directory, and its end.
pub const PREFIX: &str = ".ckvault-";
/// The end of that name.
pub const SUFFIX: &str = PARTIAL_SUFFIX;
/// In it: what becomes the target, or whose contents do.
pub const FILES: &str = "files";
/// What has been placed.
pub const JOURNAL: &str = "journal";
/// Blocks of drives that had to leave.
pub const SCRATCH: &str = "scratch";

/// What the target itself gets.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// Permission bits.
    pub mode: u32,
    /// Seconds and nanoseconds, if the set has a time for it.
    pub mtime: Option<(i64, u32)>,
}

impl Default for Own {
    fn default() -> Own {
        Own { mode: 0o755, mtime: None }
    }
}

/// Where the files go.
pub struct Target {
    /// Its path, without links as far as it exists.
    pub path: PathBuf,
    /// The directory that it is in.
    pub parent: Dir,
    /// Its name there.
    pub name: OsString,
    /// The directory itself, if it is there already.
    pub there: Option<Dir>,
    /// It stays, and only receives contents: staging is done inside of it.
    pub inside: bool,
    /// It is a mount point, whose mode and time are not for a set to decide.
    pub keeps_attributes: bool,
}

impl Target {
    /// Looks at what is there. Makes nothing but the parents of a target that is not.
    pub fn find(disk: &Disk, given: &Path) -> Result<Target> {
        let path = std::path::absolute(given).map_err(Error::io("resolve", given))?;
        match Dir::given(disk, &path) {
            Ok(there) => Target::existing(disk, there),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Target::new(disk, path),
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => Err(no_directory(&path)),
            Err(e) => Err(Error::io("open", &path)(e)),
        }
    }

    fn new(disk: &Disk, path: PathBuf) -> Result<Target> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Err(no_directory(&path)) };
        let parent = Dir::given_or_made(disk, above).map_err(Error::io("create", above))?;
        if parent.has(name) {
            return Err(no_directory(&path));
        }
        let name = name.to_owned();
        Ok(Target { path, parent, name, there: None, inside: false, keeps_attributes: false })
    }

    fn existing(disk: &Disk, there: Dir) -> Result<Target> {
        let path = there.real_path();
        let parent = there.above().map_err(Error::io("open", &path))?;
        let name = path.file_name().unwrap_or_default().to_owned();
        let mount_point = there.is_mount_point();
        // Another directory under the same name would leave who stands in this one in a directory that is gone.
        let here = Dir::given(disk, Path::new(".")).and_then(|d| d.identity()).ok() == there.identity().ok();
        let closed = parent.access(Access::WRITE_OK | Access::EXEC_OK).is_err();
        // Its owner, its group, its access list and what it hands down would be gone with it.
        let shared = there.has_access_list() || there.metadata().is_ok_and(|stat| !is_as_we_make(&stat));
        let inside = mount_point || here || closed || shared || !parent.has_dir(&name);
        Ok(Target { path, parent, name, there: Some(there), inside, keeps_attributes: mount_point })
    }

    /// The directory that staging directories are made in.
    pub fn place(&self) -> &Dir {
        match &self.there {
            Some(there) if self.inside => there,
            _ => &self.parent,
        }
    }

    /// What the mode of the target may have at most: one that is there is not made more open than it is.
    pub fn most_open(&self) -> u32 {
        let there = self.there.as_ref().and_then(|dir| dir.metadata().ok());
        there.map_or(0o7777, |stat| stat.st_mode & 0o7777)
    }
}

fn no_directory(path: &Path) -> Error {
    Error::refused(format!("{} is not a directory", path.display()), "name a directory that is empty or does not exist")
}

/// Whether a directory has no other owner and group than what we make.
fn is_as_we_make(stat: &rustix::fs::Stat) -> bool {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    (stat.st_uid, stat.st_gid, stat.st_mode & 0o7000) == (user.as_raw(), group.as_raw(), 0)
}
