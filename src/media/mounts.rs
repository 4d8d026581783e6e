//! What is mounted, as the system tells (proc(5)).

use rustix::fs::{AtFlags, StatxFlags, statx};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::LazyLock;

/// Opened before the fence, behind which nothing in /proc can be.
static TABLE: LazyLock<Option<File>> = LazyLock::new(|| File::open("/proc/self/mountinfo").ok());

/// Gets ready to tell; what is mounted later is told too.
pub fn prepare() {
    LazyLock::force(&TABLE);
}

/// A file system that is mounted.
#[derive(Default)]
pub struct Mount {
    /// Its type, as the kernel names it.
    pub fs_type: String,
    /// Where it comes from, `/dev/sdb1` for example.
    pub source: PathBuf,
}

/// Where a device is mounted, the last time if it is several times; empty if that is not known.
pub fn mount_of(device: u64) -> Mount {
    let wanted = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    find(|_, device| device == wanted)
}

/// The last mount whose number and device are wanted.
fn find(wanted: impl Fn(&str, &str) -> bool) -> Mount {
    let table = TABLE.as_ref().and_then(|file| from_the_beginning(file).ok()).unwrap_or_default();
    table.lines().filter_map(|line| parse_mount(line, &wanted)).next_back().unwrap_or_default()
}

/// The mount that an open file is in, also where files have another device than their mount (btrfs); empty if that is not known.
pub fn mount_holding(file: impl AsFd) -> Mount {
    let told = statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok();
    match told.filter(|told| StatxFlags::from_bits_retain(told.stx_mask).contains(StatxFlags::MNT_ID)) {
        Some(told) => find(|id, _| id == told.stx_mnt_id.to_string()),
        None => rustix::fs::fstat(&file).map(|stat| mount_of(stat.st_dev)).unwrap_or_default(),
    }
}

/// Reads a file of /proc anew, which is made when its beginning is read.
fn from_the_beginning(file: &File) -> io::Result<String> {
    let (mut text, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match file.read_at(&mut piece, text.len() as u64)? {
            0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
            read => text.extend_from_slice(&piece[..read]),
        }
    }
}

fn parse_mount(line: &str, wanted: &impl Fn(&str, &str) -> bool) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    if !wanted(left.next()?, left.nth(1)?) {
        return None;
    }
    let mut right = right.split(' ');
    Some(Mount { fs_type: right.next()?.to_owned(), source: right.next()?.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mount = parse_mount(line, &|id, device| (id, device) == ("36", "98:0")).unwrap();
        assert_eq!((mount.fs_type.as_str(), mount.source.to_str().unwrap()), ("ext3", "/dev/root"));
        assert!(parse_mount(line, &|_, device| device == "98:1").is_none());
    }

    #[test]
    fn what_is_mounted_is_told_as_often_as_it_is_asked() {
        let device = rustix::fs::stat("/proc").unwrap().st_dev;
        (0..3).for_each(|_| assert_eq!(mount_of(device).fs_type, "proc"));
    }
}
