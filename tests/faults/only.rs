//! What is read of the volumes, and when.

use crate::people::Place;
use ckvault::commands::import;
use ckvault::media::disk::{Disk, Media};
use ckvault::progress::{Nobody, Silent};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Counts bytes that are read of volumes.
struct Counting(Arc<AtomicU64>);

impl Media for Counting {
    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = file.read_at(buffer, offset)?;
        if volume(file).is_some() {
            self.0.fetch_add(read as u64, Ordering::Relaxed);
        }
        Ok(read)
    }
}

/// The path of an open volume, if it is one.
fn volume(file: &File) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    path.extension().is_some_and(|e| e == "ckv").then_some(path)
}

/// Imports what matches of the set on these drives.
fn import(place: &Place, media: impl Media + 'static, drives: &[&str], only: &[&str]) {
    place.anew(&["out"]);
    let options = import::Options {
        place: place.look(Disk::new(media), drives),
        to: place.path("out/there"),
        identities: vec![place.path("keys/identity.txt")],
        only: only.iter().map(|s| (*s).to_owned()).collect(),
        ..import::Options::default()
    };
    import::run(&options, Nobody, &Silent::default()).unwrap();
}

/// How many bytes are read of the volumes for what matches.
fn read_for(place: &Place, only: &[&str]) -> u64 {
    let read = Arc::new(AtomicU64::new(0));
    import(place, Counting(read.clone()), &["usb"], only);
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

/// A drive that gives nothing of its volumes before there have been so many readings of the other.
struct Late {
    drive: PathBuf,
    readings: Mutex<u64>,
    one_more: Condvar,
    in_vain: AtomicBool,
}

const READINGS: u64 = 20;

struct Waiting(Arc<Late>);

impl Media for Waiting {
    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let Waiting(late) = self;
        match volume(file) {
            Some(path) if path.starts_with(&late.drive) => {
                let given_up = late.in_vain.load(Ordering::Relaxed);
                let readings = late.readings.lock().unwrap();
                let too_few = |readings: &mut u64| *readings < READINGS && !given_up;
                let waited = late.one_more.wait_timeout_while(readings, Duration::from_secs(60), too_few).unwrap();
                late.in_vain.fetch_or(waited.1.timed_out(), Ordering::Relaxed);
            }
            Some(_) => {
                *late.readings.lock().unwrap() += 1;
                late.one_more.notify_all();
            }
            None => {}
        }
        file.read_at(buffer, offset)
    }
}

#[test]
fn a_drive_that_is_late_does_not_keep_the_others_from_being_read() {
    let place = Place::new(24 << 20);
    let drives = ["a", "b", "c"];
    place.anew(&drives);
    place.export(Disk::default(), &drives).unwrap();
    let (readings, one_more, in_vain) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
    let late = Arc::new(Late { drive: place.path("a"), readings, one_more, in_vain });
    import(&place, Waiting(late.clone()), &drives, &[]);
    assert!(!late.in_vain.load(Ordering::Relaxed), "the other drive was not read either");
    assert!(*late.readings.lock().unwrap() > READINGS);
    assert_eq!(fs::read(place.path("out/there/noise")).unwrap(), fs::read(place.path("source/noise")).unwrap());
}
