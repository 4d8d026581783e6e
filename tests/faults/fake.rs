//! Drives that lie about their size: what is written past the real one is gone, or lands on what was written before.

use crate::people::Place;
use ckvault::media::disk::{Disk, Media};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Past {
    /// Reads as zeros.
    Vanishes,
    /// Overwrites what is at the beginning of the drive.
    WrapsAround,
}

/// A drive with `real` bytes that takes as many as anybody likes.
struct Fake {
    real: u64,
    past: Past,
    written: Mutex<Vec<Extent>>,
}

/// Where some bytes of a file are on the drive, if it had all the room it pretends to have.
struct Extent {
    address: u64,
    len: u64,
    file: File,
    offset: u64,
}

impl Fake {
    fn new(real: u64, past: Past) -> Fake {
        Fake { real, past, written: Mutex::default() }
    }

    /// Puts bytes for `address` wherever that is in truth: into every file that has the same place.
    fn wrap(&self, written: &[Extent], address: u64, bytes: &[u8]) -> io::Result<()> {
        for old in written {
            for (i, byte) in bytes.iter().enumerate().step_by(512) {
                let place = (address + i as u64) % self.real;
                let turns = (0..).map(|turn| place + turn * self.real).take_while(|a| *a < old.address + old.len);
                for at in turns.filter(|a| *a >= old.address && *a != address + i as u64) {
                    old.file.write_all_at(&[*byte], old.offset + (at - old.address))?;
                }
            }
        }
        Ok(())
    }
}

impl Media for Fake {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut written = self.written.lock().unwrap();
        let address = written.last().map_or(0, |e| e.address + e.len);
        match self.past {
            Past::Vanishes if address >= self.real => file.write_all_at(&vec![0; bytes.len()], offset)?,
            _ => file.write_all_at(bytes, offset)?,
        }
        if self.past == Past::WrapsAround {
            self.wrap(&written, address, bytes)?;
        }
        let len = bytes.len() as u64;
        written.push(Extent { address, len, file: reopened(file)?, offset });
        Ok(bytes.len())
    }
}

fn reopened(file: &File) -> io::Result<File> {
    file.try_clone()
}

fn is_found_out(past: Past) {
    let place = Place::new(5_000_000);
    place.anew(&["usb"]);
    let error = place.export(Disk::new(Fake::new(3 << 20, past)), &["usb"]).unwrap_err();
    assert_eq!(error.exit_code(), 7, "{error}");
    assert!(error.to_string().contains("does not hold what was written"), "{error}");
    assert!(error.hint().contains("faked"), "{}", error.hint());
    assert_eq!(place.verdict(&["usb"]).unwrap(), "untrusted");
    // As large as it says, it is a drive like any other.
    place.anew(&["usb"]);
    place.export(Disk::new(Fake::new(1 << 40, past)), &["usb"]).unwrap();
    place.restores(&["usb"]);
}

#[test]
fn what_vanishes_past_the_real_size_is_found_by_reading_back() {
    is_found_out(Past::Vanishes);
}

#[test]
fn what_wraps_around_at_the_real_size_is_found_by_reading_back() {
    is_found_out(Past::WrapsAround);
}
