//! File systems in images, mounted for one test and unmounted at its end, also when it panics.

use crate::support::*;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On a loop device.
    Ext4,
    /// The same with inodes of 128 bytes, whose times end in 2038 and have no fractions.
    Ext4Small,
    /// Through FUSE, on a loop device.
    Exfat,
    /// FAT32 through FUSE, in an image. A simple driver: it tells no size, cannot extend a file, loses bytes that are
    /// written out of order, and forgets what is in a directory that is renamed.
    Fat,
    /// With these options.
    Tmpfs(&'static str),
    /// It tells no size.
    Ramfs,
    /// On a loop device; its files are on a device that has no block device's number.
    Btrfs,
    /// On a loop device.
    Xfs,
    /// Through FUSE (ntfs-3g), on a loop device.
    Ntfs,
    /// A layer above another directory; inodes may change when a file is written to.
    Overlay,
    /// A directory of the same file system, once more.
    Bind,
}

/// All that can be written to.
pub const ALL: [Kind; 9] = [
    Kind::Ext4,
    Kind::Exfat,
    Kind::Fat,
    Kind::Tmpfs("size=200M"),
    Kind::Ramfs,
    Kind::Btrfs,
    Kind::Xfs,
    Kind::Ntfs,
    Kind::Overlay,
];

impl Kind {
    fn tools(self) -> &'static [&'static str] {
        match self {
            Kind::Ext4 | Kind::Ext4Small => &["mount", "umount", "mkfs.ext4"],
            Kind::Exfat => &["mount", "umount", "losetup", "mkfs.exfat", "mount.exfat-fuse"],
            Kind::Fat => &["umount", "mkfs.fat", "fusefat"],
            Kind::Tmpfs(_) | Kind::Ramfs | Kind::Overlay | Kind::Bind => &["mount", "umount"],
            Kind::Btrfs => &["mount", "umount", "mkfs.btrfs"],
            Kind::Xfs => &["mount", "umount", "mkfs.xfs"],
            Kind::Ntfs => &["mount", "umount", "losetup", "mkfs.ntfs", "ntfs-3g"],
        }
    }

    fn make(self, image: &Path, bytes: u64) -> bool {
        let mkfs: &[&str] = match self {
            Kind::Ext4 => &["mkfs.ext4", "-q", "-F", "-m", "0"],
            Kind::Ext4Small => &["mkfs.ext4", "-q", "-F", "-I", "128"],
            Kind::Exfat => &["mkfs.exfat"],
            Kind::Fat => &["mkfs.fat", "-F", "32"],
            Kind::Btrfs => &["mkfs.btrfs", "-q", "-f"],
            Kind::Xfs => &["mkfs.xfs", "-q", "-f"],
            Kind::Ntfs => &["mkfs.ntfs", "-q", "-F", "-Q", "-L", "CKV N"],
            Kind::Tmpfs(_) | Kind::Ramfs => return true,
            Kind::Overlay | Kind::Bind => {
                return ["lower", "upper", "work"].iter().all(|name| fs::create_dir_all(image.join(name)).is_ok());
            }
        };
        // XFS is no smaller.
        let bytes = if self == Kind::Xfs { bytes.max(320 * MIB) } else { bytes };
        File::create(image).unwrap().set_len(bytes).unwrap();
        quiet(Command::new(mkfs[0]).args(&mkfs[1..]).arg(image))
    }

    fn mount(self, image: &Path, dir: &Path, writable: bool) -> bool {
        let access = if writable { "rw" } else { "ro" };
        match self {
            Kind::Ext4 | Kind::Ext4Small => {
                quiet(Command::new("mount").args(["-t", "ext4", "-o", "loop", "-o", access]).arg(image).arg(dir))
            }
            Kind::Btrfs => {
                quiet(Command::new("mount").args(["-t", "btrfs", "-o", "loop", "-o", access]).arg(image).arg(dir))
            }
            Kind::Xfs => {
                quiet(Command::new("mount").args(["-t", "xfs", "-o", "loop", "-o", access]).arg(image).arg(dir))
            }
            Kind::Overlay => {
                let part = |name: &str| image.join(name).display().to_string();
                let layers = format!("lowerdir={},upperdir={},workdir={}", part("lower"), part("upper"), part("work"));
                quiet(Command::new("mount").args(["-t", "overlay", "-o", access, "-o", &layers, "overlay"]).arg(dir))
            }
            Kind::Bind => quiet(Command::new("mount").arg("--bind").arg(image.join("upper")).arg(dir)),
            Kind::Exfat => on_loop_device("mount.exfat-fuse", image, dir, access),
            Kind::Ntfs => on_loop_device("ntfs-3g", image, dir, access),
            Kind::Fat => {
                let access = if writable { "rw+" } else { "ro" };
                quiet(Command::new("fusefat").args(["-o", access]).arg(image).arg(dir))
            }
            Kind::Tmpfs(options) => quiet(Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(dir)),
            Kind::Ramfs => quiet(Command::new("mount").args(["-t", "ramfs", "none"]).arg(dir)),
        }
    }
}

/// The driver opens block devices only. Detached at once, the device goes when the driver does, even if that is killed.
fn on_loop_device(driver: &str, image: &Path, dir: &Path, access: &str) -> bool {
    let made = Command::new("losetup").args(["--find", "--show"]).arg(image).output().unwrap();
    let device = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    if !made.status.success() {
        return false;
    }
    let mounted = quiet(Command::new(driver).args(["-o", access, &device]).arg(dir));
    quiet(Command::new("losetup").args(["--detach", &device]));
    mounted
}

/// Drivers are talkative, and keep what they are given as stdout.
fn quiet(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A mounted file system.
#[derive(Debug)]
pub struct Mount {
    kind: Kind,
    /// The image that it is in.
    pub image: PathBuf,
    /// Where it is mounted.
    pub dir: PathBuf,
}

impl Mount {
    /// Of 200 MiB.
    pub fn new(vault: &Vault, name: &str, kind: Kind) -> Option<Mount> {
        Mount::sized(vault, name, kind, 200 * MIB)
    }

    /// Makes a file system and mounts it at `name` in the vault; `None`, visibly, where that is not possible.
    pub fn sized(vault: &Vault, name: &str, kind: Kind, bytes: u64) -> Option<Mount> {
        if !is_root() {
            skip(&format!("needs root to mount {kind:?}"));
            return None;
        }
        if !need(kind.tools()) {
            return None;
        }
        vault.make(&[name]);
        let mount = Mount { kind, image: vault.path(format!("{name}.img")), dir: vault.path(name) };
        assert!(!mount.is_mounted(), "{name} is mounted already");
        assert!(kind.make(&mount.image, bytes), "cannot make {kind:?}");
        mount.enter(true).then_some(mount)
    }

    fn enter(&self, writable: bool) -> bool {
        let mounted = self.kind.mount(&self.image, &self.dir, writable) && self.is_mounted();
        if !mounted {
            skip(&format!("cannot mount {:?} here", self.kind));
        }
        mounted
    }

    fn is_mounted(&self) -> bool {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        table.lines().any(|line| line.split(' ').nth(4) == self.dir.to_str())
    }

    /// Unmounts and mounts again, so that what is read comes from the image.
    #[track_caller]
    pub fn again(&self) {
        self.remount(true);
    }

    /// Mounts for reading only.
    #[track_caller]
    pub fn read_only(&self) {
        self.remount(false);
    }

    #[track_caller]
    fn remount(&self, writable: bool) {
        match self.kind {
            Kind::Tmpfs(_) | Kind::Ramfs => {
                let access = if writable { "remount,rw" } else { "remount,ro" };
                assert!(quiet(Command::new("mount").args(["-o", access]).arg(&self.dir)));
            }
            _ => {
                assert!(self.leave(), "{} is busy", self.dir.display());
                assert!(self.enter(writable), "mounted once, and not again");
            }
        }
    }

    fn leave(&self) -> bool {
        (0..20).any(|attempt| {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(50));
            }
            quiet(Command::new("umount").arg(&self.dir)) && self.is_gone()
        })
    }

    /// A FUSE driver may still be writing to its image when the mount is gone already.
    fn is_gone(&self) -> bool {
        let ended = (0..1000).any(|_| {
            let ended = self.server().is_none();
            if !ended {
                std::thread::sleep(Duration::from_millis(5));
            }
            ended
        });
        ended && !self.is_mounted()
    }

    /// The process that serves it, if one does.
    pub fn server(&self) -> Option<u32> {
        let is_server = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|b| *b == 0).collect();
            let driver = ["mount.exfat-fuse", "fusefat", "ntfs-3g"].iter().any(|d| words[0] == d.as_bytes());
            driver && words.contains(&self.dir.as_os_str().as_bytes())
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes.filter_map(|p| p.file_name().to_str()?.parse().ok()).find(is_server)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.is_mounted() && !self.leave() {
            quiet(Command::new("umount").arg("--lazy").arg(&self.dir));
        }
    }
}

/// What every file system keeps: names, kinds, contents, and times to two seconds.
#[derive(Debug, PartialEq, Eq)]
pub enum Kept {
    Directory,
    Link(PathBuf),
    File { blake3: String, half_mtime: i64 },
}

/// Reads what is below `dir`, but for the set that may lie there too.
pub fn kept(dir: &Path) -> BTreeMap<PathBuf, Kept> {
    let mut all = BTreeMap::new();
    visit(dir, Path::new(""), &mut all);
    all
}

fn visit(dir: &Path, below: &Path, all: &mut BTreeMap<PathBuf, Kept>) {
    use std::os::unix::fs::MetadataExt;
    for name in names_in(&dir.join(below)) {
        let path = below.join(std::ffi::OsStr::from_bytes(&name));
        let full = dir.join(&path);
        let meta = fs::symlink_metadata(&full).unwrap();
        let kept = match meta.file_type() {
            t if t.is_dir() => Kept::Directory,
            t if t.is_symlink() => Kept::Link(fs::read_link(&full).unwrap()),
            _ => Kept::File { blake3: crate::tree::hash(&full), half_mtime: meta.mtime().div_euclid(2) },
        };
        if meta.is_dir() {
            visit(dir, &path, all);
        }
        all.insert(path, kept);
    }
}
