//! Every call of an export fails once.

use crate::media::{Fault, Faulty};
use crate::people::Place;
use ckvault::media::disk::Disk;
use std::io::ErrorKind;
use std::sync::atomic::Ordering;

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
