//! Drives that are tried before they are written to: one that takes its time, one that fails, and somebody who does not wait.

use crate::people::Place;
use ckvault::commands::export::{self, Options};
use ckvault::media::disk::{Disk, Media};
use ckvault::progress::{Nobody, Silent};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// What happens when a file is written to.
type Happens = Box<dyn Fn(&Path) -> io::Result<()> + Send + Sync>;

struct Watched(Happens);

impl Media for Watched {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        (self.0)(&path)?;
        file.write_at(bytes, offset)
    }
}

/// Whether a drive is tried with this file.
fn is_test(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".ckvault-probe-"))
}

/// Something happens whenever drives are tried, and nothing when they are written to.
fn trying(happens: impl Fn(&Path) -> io::Result<()> + Send + Sync + 'static) -> Disk {
    Disk::new(Watched(Box::new(move |path| if is_test(path) { happens(path) } else { Ok(()) })))
}

fn names_in(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn options(place: &Place, disk: Disk, drives: &[&str]) -> Options {
    Options { probe: true, ..place.export_options(disk, drives) }
}

#[test]
fn a_drive_that_takes_its_time_gets_no_more() {
    let place = Place::new(1_000_000);
    let other = tempfile::tempdir().unwrap();
    let drives = ["usb", other.path().to_str().unwrap()];
    place.anew(&["usb"]);
    let device = |dir: &Path| dir.metadata().unwrap().dev();
    if device(other.path()) == device(&place.path("usb")) {
        return;
    }
    let slow = other.path().to_owned();
    let takes_its_time = trying(move |path| {
        if path.starts_with(&slow) {
            std::thread::sleep(Duration::from_millis(40));
        }
        Ok(())
    });
    let mut options = options(&place, takes_its_time, &drives);
    options.request.parity = Some((6, 2));
    let report = export::run(&options, Nobody, &Silent::default()).unwrap();
    let volumes: Vec<usize> = report.drives.iter().map(|drive| drive.volumes_per_group).collect();
    let speeds: Vec<u64> = report.drives.iter().map(|drive| drive.speed.unwrap()).collect();
    // Which of them is the slower one is what was measured.
    let (slower, faster) = if speeds[0] < speeds[1] { (0, 1) } else { (1, 0) };
    assert!(volumes[slower] <= volumes[faster] && volumes.iter().sum::<usize>() == 8, "{speeds:?} {volumes:?}");
    assert_eq!(place.verdict(&drives).unwrap(), "intact");
    place.restores(&drives);
}

#[test]
fn a_drive_that_fails_when_it_is_tried_is_named_and_left_as_it_was() {
    let place = Place::new(1_000_000);
    place.anew(&["usb"]);
    for dry_run in [true, false] {
        let fails = trying(|_| Err(io::Error::other("a bad cable")));
        let options = Options { dry_run, ..options(&place, fails, &["usb"]) };
        let error = export::run(&options, Nobody, &Silent::default()).unwrap_err();
        let message = error.to_string();
        assert!(error.exit_code() == 7 && message.contains("a bad cable"), "{message}");
        assert!(message.contains(place.path("usb").to_str().unwrap()), "{message}");
        assert!(names_in(&place.path("usb")).is_empty());
    }
}

#[test]
fn who_does_not_wait_finds_nothing_on_the_drive() {
    let place = Place::new(1_000_000);
    place.anew(&["usb"]);
    let (progress, seen) = (Arc::new(Silent::default()), Arc::new(Mutex::new(Vec::new())));
    let all: Arc<OnceLock<Disk>> = Arc::default();
    let stopped = {
        let (progress, seen, all, usb) = (progress.clone(), seen.clone(), all.clone(), place.path("usb"));
        trying(move |_| {
            progress.cancel();
            seen.lock().unwrap().push(names_in(&usb).len());
            // As it is done if the drive does not answer.
            all.get().unwrap().remove_unfinished();
            seen.lock().unwrap().push(names_in(&usb).len());
            Ok(())
        })
    };
    all.set(stopped.clone()).unwrap();
    let error = export::run(&options(&place, stopped, &["usb"]), Nobody, &*progress).unwrap_err();
    assert_eq!((error.exit_code(), error.hint()), (130, "run the command again to begin anew"));
    assert_eq!(seen.lock().unwrap()[..2], [1, 0]);
    assert!(names_in(&place.path("usb")).is_empty());
}
