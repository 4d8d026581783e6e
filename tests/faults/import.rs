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
        Err(Error::Usage { .. } | Error::Refused { .. }) => {
            // Refused where all was restored before the call that failed: who called looks at what is there.
            let _ = run(place, Disk::default(), Leftovers::Refuse);
            false
        }
        Err(other) => panic!("it cannot go on: {other} ({})", other.hint()),
    }
}

fn is_restored(place: &Place, what: &str) {
    assert!(contents(&place.path("out/there")) == contents(&place.path("source")), "{what}: what came back differs");
    let names: Vec<_> = fs::read_dir(place.path("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["there"], "{what}: something is left");
}

/// Lets each call of an import fail; returns how many calls there were, and after how many it could be gone on with.
fn each_call(place: &Place, fault: Fault) -> (u64, u64) {
    let mut resumed = 0;
    for at in 1.. {
        place.anew(&["out"]);
        let (media, calls) = Faulty::new(fault, at);
        let what = format!("{fault:?} at call {at}");
        match run(place, Disk::new(media), Leftovers::Refuse) {
            // Reading from a drive may fail: parity makes up for it.
            Ok(_) => is_restored(place, &what),
            Err(why) => {
                // What cannot be looked at after it was moved is taken for lost, though it is there.
                let keeps = why.hint().contains("--resume") || why.to_string().contains("lost");
                let left = fs::read_dir(place.path("out")).unwrap().count();
                // Where nothing works any more, what was just begun cannot be removed either.
                let gone = matches!(fault, Fault::Forever);
                assert!(gone || keeps == (left > 0), "{what}: {why} ({}), and {left} are left", why.hint());
                resumed += u64::from(again(place));
                is_restored(place, &what);
            }
        }
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
    for fault in [Fault::Once(ErrorKind::Other), Fault::Once(ErrorKind::StorageFull), Fault::Forever] {
        let (calls, resumed) = each_call(&place, fault);
        eprintln!("{fault:?}: {calls} calls, gone on after {resumed} of them");
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
