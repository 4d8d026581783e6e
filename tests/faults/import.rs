//! Every call of a small import fails once.

use crate::media::{Fault, Faulty};
use crate::people::{Place, contents};
use ckvault::commands::import;
use ckvault::error::{Error, Result};
use ckvault::media::disk::Disk;
use ckvault::progress::{Nobody, Silent};
use ckvault::restore::Leftovers;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

fn run(place: &Place, disk: Disk, leftovers: Leftovers) -> Result<import::Report> {
    let options = import::Options {
        place: place.look(disk, &["usb"]),
        to: place.path("out/there"),
        identities: vec![place.path("keys/identity.txt")],
        leftovers,
        ..import::Options::default()
    };
    import::run(&options, Nobody, &Silent::default())
}

/// Goes on, or begins anew if there is nothing to go on with; whether it was the former.
fn again(place: &Place) -> bool {
    match run(place, Disk::default(), Leftovers::Resume) {
        Ok(_) => true,
        Err(Error::Usage { .. }) => {
            run(place, Disk::default(), Leftovers::Refuse).unwrap();
            false
        }
        Err(other) => panic!("it cannot go on: {other} ({})", other.hint()),
    }
}

/// What is only there while an import is at it.
fn staging(place: &Place) -> Option<PathBuf> {
    let places = ["out", "out/there"].map(|dir| fs::read_dir(place.path(dir)));
    let all = places.into_iter().flatten().flatten().map(|entry| entry.unwrap().path());
    all.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with(".ckvault-"))
}

fn is_restored(place: &Place, what: &str) {
    assert!(contents(&place.path("out/there")) == contents(&place.path("source")), "{what}: what came back differs");
    let names: Vec<_> = fs::read_dir(place.path("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["there"], "{what}: something is left");
}

/// What is there before an import.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// Nothing: what was placed is renamed.
    New,
    /// A directory that it is renamed over.
    There,
    /// One that stays, and receives everything.
    Stays,
}

impl Target {
    fn make(self, place: &Place) {
        place.anew(&["out"]);
        let mode = match self {
            Target::New => return,
            Target::There => 0o755,
            Target::Stays => 0o2755,
        };
        fs::create_dir(place.path("out/there")).unwrap();
        fs::set_permissions(place.path("out/there"), fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Lets each call of an import fail; returns how many calls there were, and after how many it could be gone on with.
fn each_call(place: &Place, target: Target, fault: Fault) -> (u64, u64) {
    let mut resumed = 0;
    for at in 1.. {
        target.make(place);
        let (media, calls) = Faulty::new(fault, at);
        let what = format!("{target:?}, {fault:?} at call {at}");
        match run(place, Disk::new(media), Leftovers::Refuse) {
            // Reading from a drive may fail: parity makes up for it.
            Ok(report) => {
                assert_eq!(report.left, staging(place), "{what}: what is left is told");
                report.left.iter().for_each(|left| fs::remove_dir_all(left).unwrap());
            }
            Err(why) if why.to_string().starts_with("everything is in") => assert_eq!(staging(place), None, "{what}"),
            Err(why) => {
                // Where nothing works any more, what was just begun cannot be removed either.
                let told = why.hint().contains("--resume") || why.hint().contains("could not be removed");
                assert_eq!(told, staging(place).is_some(), "{what}: {why} ({})", why.hint());
                resumed += u64::from(again(place));
            }
        }
        is_restored(place, &what);
        if calls.load(Ordering::Relaxed) < at {
            return (at - 1, resumed);
        }
    }
    unreachable!("a run has an end")
}

#[test]
fn whatever_call_of_an_import_fails_it_ends_well_or_goes_on() {
    let place = Place::new(600_000);
    place.anew(&["usb"]);
    place.export(Disk::default(), &["usb"]).unwrap();
    let (once, full) = (Fault::Once(ErrorKind::Other), Fault::Once(ErrorKind::StorageFull));
    for (target, fault) in [
        (Target::New, once),
        (Target::New, full),
        (Target::New, Fault::Forever),
        (Target::There, Fault::Forever),
        (Target::Stays, once),
        (Target::Stays, Fault::Forever),
    ] {
        let (calls, resumed) = each_call(&place, target, fault);
        eprintln!("{target:?}, {fault:?}: {calls} calls, gone on after {resumed} of them");
        assert!(calls > 50 && resumed > 0);
    }
}

#[test]
fn short_reads_and_writes_are_no_faults() {
    let place = Place::new(600_000);
    place.anew(&["usb", "out"]);
    place.export(Disk::default(), &["usb"]).unwrap();
    run(&place, Disk::new(Faulty::new(Fault::Short, 0).0), Leftovers::Refuse).unwrap();
    is_restored(&place, "short");
}
