//! Every call of an export fails once.

use crate::media::{Fault, Faulty};
use crate::people::Place;
use ckvault::commands::export;
use ckvault::media::disk::{Disk, Media, Operation};
use ckvault::progress::{Nobody, Silent};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const DRIVES: [&str; 2] = ["usb1", "usb2"];

/// How many calls a run makes that nothing disturbs.
fn calls(place: &Place, fault: Fault) -> u64 {
    let (media, calls) = Faulty::new(fault, 0);
    place.anew(&DRIVES);
    place.export(Disk::new(media), &DRIVES).unwrap();
    assert_eq!(place.verdict(&DRIVES).unwrap(), "intact");
    place.restores(&DRIVES);
    calls.load(Ordering::Relaxed)
}

/// Lets the n-th call fail for every n, and then goes on.
fn every_call(name: &str, fault: Fault) {
    let place = Place::new(5_000_000);
    let calls = calls(&place, Fault::None);
    let (mut resumed, mut survived) = (0, 0);
    for n in 1..=calls {
        place.anew(&DRIVES);
        match place.export(Disk::new(Faulty::new(fault, n).0), &DRIVES) {
            // What fails without harm: a directory of a failed attempt that cannot be removed, for example.
            Ok(_) => survived += 1,
            Err(error) => {
                // When the first manifest has its name, all else is durable and has been read back.
                match &*place.verdict(&DRIVES).unwrap_or_else(|_| "none".into()) {
                    "none" | "untrusted" => {}
                    "repairable" | "intact" => place.restores(&DRIVES),
                    verdict => panic!("call {n} of {calls}: {verdict} after {error}"),
                }
                resumed += u64::from(error.hint().contains("--resume"));
                place.export_again(&DRIVES).unwrap_or_else(|e| panic!("call {n} of {calls}: {e} after {error}"));
            }
        }
        assert_eq!(place.verdict(&DRIVES).unwrap(), "intact", "call {n} of {calls}");
        if n % 8 == 0 {
            place.restores(&DRIVES);
        }
    }
    assert!(resumed > calls / 10, "{resumed} of {calls} could go on");
    println!("{name}: {calls} calls, {resumed} could go on, {survived} did no harm");
}

#[test]
fn an_error_in_any_call_of_an_export() {
    every_call("export, EIO", Fault::Once(ErrorKind::Other));
}

#[test]
fn no_space_in_any_call_of_an_export() {
    every_call("export, ENOSPC", Fault::Once(ErrorKind::StorageFull));
}

#[test]
fn the_power_is_cut_at_any_call_of_an_export() {
    every_call("export, power cut", Fault::Forever);
}

#[test]
fn short_reads_and_writes_are_no_errors() {
    let place = Place::new(1_000_000);
    assert!(calls(&place, Fault::Short) > 0);
}

/// Counts how often files below the source are opened.
struct Sources {
    source: std::path::PathBuf,
    opened: Arc<AtomicU64>,
}

impl Media for Sources {
    fn allow(&self, operation: Operation, path: &Path) -> std::io::Result<()> {
        if operation == Operation::Open && path.ends_with("noise") && path.starts_with(&self.source) {
            self.opened.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn lines_of_groups(state: &Path) -> usize {
    std::fs::read_to_string(state).unwrap().lines().filter(|l| l.starts_with("{\"group\"")).count()
}

#[test]
fn what_is_finished_is_not_read_from_the_source_again() {
    let place = Place::new(16_000_000);
    let counting = || {
        let opened = Arc::new(AtomicU64::new(0));
        (Disk::new(Sources { source: place.path("source"), opened: opened.clone() }), opened)
    };
    place.anew(&DRIVES);
    let (disk, all) = counting();
    place.export(disk, &DRIVES).unwrap();
    place.anew(&DRIVES);
    // The power is cut when three of four groups are complete.
    let mut at = 300;
    let finished = loop {
        place.anew(&DRIVES);
        place.export(Disk::new(Faulty::new(Fault::Forever, at).0), &DRIVES).unwrap_err();
        let state = std::fs::read_dir(place.path("state")).unwrap().next().map(|e| e.unwrap().path());
        let groups = state.map_or(0, |s| lines_of_groups(&s));
        match groups {
            3.. => break groups as u64,
            _ => at += 20,
        }
    };
    let (disk, again) = counting();
    let resume = export::Options { disk, resume: Some(None), ..place.export_options(Disk::default(), &[]) };
    export::run(&resume, Nobody, &Silent::default()).unwrap();
    let (all, again) = (all.load(Ordering::Relaxed), again.load(Ordering::Relaxed));
    println!("{all} times in all, {again} times after {finished} groups were finished");
    assert!(again <= all - finished * 25, "{again} of {all} after {finished} groups");
    assert_eq!(place.verdict(&DRIVES).unwrap(), "intact");
    place.restores(&DRIVES);
}
