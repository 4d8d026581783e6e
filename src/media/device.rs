//! The device that a drive is, by which people tell it from others: the label of its file system and its serial number.
//!
//! The kernel tells serial numbers in sysfs (sysfs(5)); labels are known to udev, which keeps them in `/run/udev/data`
//! (udev_device_get_property_value(3), `ID_FS_LABEL` and `ID_SERIAL_SHORT`). Where neither says anything, nothing is said.

use super::dir::Dir;
use super::mounts::mount_holding;
use crate::text::printable;
use rustix::fs::{Stat, major, makedev, minor, stat};
use std::path::Path;

/// What is read to find out; a fence has to leave it.
pub const SOURCES: [&str; 3] = ["/sys/dev/block", "/sys/devices", "/run/udev/data"];
/// The longest file that is read there.
const LONGEST: u64 = 64 << 10;
/// How far above a disk the device that has its serial number may be.
const HIGHEST: usize = 8;

/// What a device says of itself, made safe to show: a drive may be called anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// The label of its file system.
    pub label: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
}

impl Device {
    /// The one that a directory is on.
    pub fn of(dir: &Dir) -> Device {
        let device = |stat: Stat| Device::below(Path::new("/"), block_device(dir, stat.st_dev));
        dir.metadata().map(device).unwrap_or_default()
    }

    fn below(root: &Path, device: u64) -> Device {
        let number = format!("{}:{}", major(device), minor(device));
        // Of what the kernel does not know, nothing is looked for anywhere else.
        let Ok(found) = std::fs::canonicalize(root.join("sys/dev/block").join(&number)) else {
            return Device::default();
        };
        let disk = match (found.join("partition").exists(), found.parent()) {
            (true, Some(above)) => above.to_owned(),
            _ => found,
        };
        let udev = read(&root.join("run/udev/data").join(format!("b{number}"))).unwrap_or_default();
        let said = |name: &str| {
            let mut lines =
                udev.lines().filter_map(|line| line.strip_prefix("E:")?.strip_prefix(name)?.strip_prefix('='));
            lines.next().and_then(shown)
        };
        // Of a virtual disk itself, of NVMe and SCSI the device that it is, of USB the one that it is plugged in as.
        let in_sysfs = || {
            let own = [disk.join("serial"), disk.join("device/serial")];
            let device = std::fs::canonicalize(disk.join("device")).ok();
            let higher = device.iter().flat_map(|device| device.ancestors().skip(1).take(HIGHEST));
            let higher = higher.filter(|above| above.join("idVendor").exists());
            own.into_iter().chain(higher.map(|d| d.join("serial"))).find_map(|path| read(&path).and_then(|t| shown(&t)))
        };
        Device { label: said("ID_FS_LABEL"), serial: said("ID_SERIAL_SHORT").or_else(in_sysfs) }
    }
}

/// A file system may have a number of its own (btrfs), or be served by a process (exFAT and NTFS often are): then where it is mounted
/// from tells.
fn block_device(dir: &Dir, device: u64) -> u64 {
    match major(device) {
        0 => {
            let source = mount_holding(dir).source;
            let block = source.is_absolute().then(|| stat(&source).ok()).flatten();
            block.map_or(makedev(0, 0), |stat| stat.st_rdev)
        }
        _ => device,
    }
}

fn read(path: &Path) -> Option<String> {
    super::read_small(path, LONGEST).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn shown(text: &str) -> Option<String> {
    let text = printable(text.trim().as_bytes());
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_stick_has_the_serial_number_of_what_is_plugged_in_and_the_label_of_its_partition() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        let usb = root.join("sys/devices/pci0/usb1/1-2");
        let disk = usb.join("1-2:1.0/host0/target0/0:0:0:0/block/sdb");
        fs::create_dir_all(disk.join("sdb1")).unwrap();
        fs::create_dir_all(root.join("sys/dev/block")).unwrap();
        fs::create_dir_all(root.join("run/udev/data")).unwrap();
        std::os::unix::fs::symlink(
            "../../devices/pci0/usb1/1-2/1-2:1.0/host0/target0/0:0:0:0/block/sdb/sdb1",
            root.join("sys/dev/block/8:17"),
        )
        .unwrap();
        std::os::unix::fs::symlink("../..", disk.join("device")).unwrap();
        fs::write(disk.join("sdb1/partition"), "1\n").unwrap();
        fs::write(usb.join("idVendor"), "0951\n").unwrap();
        fs::write(usb.join("serial"), "60A44C41\u{1b}[2J\n").unwrap();
        let known = |root: &Path| Device::below(root, makedev(8, 17));
        assert_eq!(known(&root), Device { label: None, serial: Some("60A44C41\\u{1b}[2J".into()) });
        fs::write(root.join("run/udev/data/b8:17"), "S:disk/by-label/CKV\nE:ID_FS_LABEL=CKV A\nE:ID_SERIAL_SHORT=77\n")
            .unwrap();
        assert_eq!(known(&root), Device { label: Some("CKV A".into()), serial: Some("77".into()) });
        assert_eq!(Device::below(&root, makedev(8, 18)), Device::default());
    }

    #[test]
    fn a_disk_of_another_bus_has_its_own() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("sys/dev/block/259:0/device")).unwrap();
        fs::write(root.join("sys/dev/block/259:0/device/serial"), "S4EWNX0\n").unwrap();
        assert_eq!(Device::below(&root, makedev(259, 0)).serial.as_deref(), Some("S4EWNX0"));
    }
}
