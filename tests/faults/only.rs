//! What is read of the volumes when only some files are wanted.

use crate::people::Place;
use ckvault::commands::import;
use ckvault::media::disk::{Disk, Media};
use ckvault::progress::{Nobody, Silent};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts bytes that are read of volumes.
struct Counting(Arc<AtomicU64>);

impl Media for Counting {
    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let read = file.read_at(buffer, offset)?;
        if path.extension().is_some_and(|e| e == "ckv") {
            self.0.fetch_add(read as u64, Ordering::Relaxed);
        }
        Ok(read)
    }
}

/// Imports what matches, and returns how many bytes were read of the volumes.
fn read_for(place: &Place, only: &[&str]) -> u64 {
    place.anew(&["out"]);
    let read = Arc::new(AtomicU64::new(0));
    let options = import::Options {
        place: place.look(Disk::new(Counting(read.clone())), &["usb"]),
        to: place.path("out/there"),
        identities: vec![place.path("keys/identity.txt")],
        only: only.iter().map(|s| (*s).to_owned()).collect(),
        ..import::Options::default()
    };
    import::run(&options, Nobody, &Silent::default()).unwrap();
    read.load(Ordering::Relaxed)
}

#[test]
fn a_small_file_costs_no_more_than_three_segments_of_a_large_set() {
    const SEGMENT: u64 = 128 << 10;
    let place = Place::new(24 << 20);
    place.anew(&["usb"]);
    let report = place.export(Disk::default(), &["usb"]).unwrap();
    assert!(report.groups.len() > 5, "{} groups", report.groups.len());
    let small = read_for(&place, &["dir/small"]);
    assert!((1..=3 * SEGMENT).contains(&small), "{small} bytes");
    assert_eq!(fs::read(place.path("out/there/dir/small")).unwrap(), fs::read(place.path("source/dir/small")).unwrap());
    let none = read_for(&place, &["dir/empty"]);
    assert!(none <= SEGMENT, "{none} bytes for an empty file");
    // The count itself: when everything is wanted, everything is read.
    let all = read_for(&place, &[]);
    assert!(all > 24 << 20, "{all} bytes for everything");
}
