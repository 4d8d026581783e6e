//! The power is cut at any moment, and what was not durable may be there or not.
//!
//! [`recorder`] writes down what a verb does, [`worlds`] has the rules of what a cut may leave, and [`judge`] what the verbs themselves
//! make of that: what is there is whole, or can be gone on with, or is plainly nothing; and what was said to be done is done. [`cuts`]
//! looks at all of it, and then takes out each place in the source that makes something durable ([`sites`]), which some world must show.
//!
//! Worlds are sampled by a seed that is told when one is amiss (`CKVAULT_POWER_SEED`), and `CKVAULT_POWER_MORE` as many times.

mod cuts;
mod judge;
mod recorder;
mod sites;
mod worlds;

use crate::media::{Fault, Faulty};
use crate::people::Place;
use crate::power::cuts::Scene;
use crate::power::judge::{Outcome, groups, records};
use crate::power::worlds::Drive;
use ckvault::media::disk::Disk;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// What an import asks for it asks for all of a file system.
const HEARD: &[Drive] = &[Drive::Native, Drive::Coarse];

fn empty(place: &Place, roots: &[&str]) {
    for root in roots {
        let _ = fs::remove_dir_all(place.path(root));
        fs::create_dir(place.path(root)).unwrap();
    }
}

fn place() -> Place {
    Place::new(200_000)
}

/// A drive, and where exports are remembered: on another file system.
const ONE: [&str; 2] = ["usb", "host"];

/// Of an export, or one that goes on.
fn of_export<'a>(
    name: &'static str,
    place: &'a Place,
    roots: &'a [&'a str],
    judge: &'a dyn Fn() -> Outcome,
) -> Scene<'a> {
    Scene { name, place, roots, drives: &[Drive::Least], releases: true, promise: groups, judge }
}

#[test]
fn at_any_moment_of_an_export() {
    let place = place();
    empty(&place, &ONE);
    let judge = || place.judge_export(&["usb"]);
    let scene = of_export("export", &place, &ONE, &judge);
    scene.record(|disk| place.exports((disk(), disk()), &["usb"], false)).holds();
}

#[test]
#[ignore = "takes minutes, and finds no more than the one above unless groups and drives are treated anew"]
fn at_any_moment_of_an_export_in_several_groups_to_several_drives() {
    let place = Place::new(2_300_000);
    let roots = ["usb1", "usb2", "host"];
    empty(&place, &roots);
    let drives = ["usb1", "usb2"];
    let judge = || place.judge_export(&drives);
    let scene = of_export("export to two drives", &place, &roots, &judge);
    scene.record(|disk| place.exports((disk(), disk()), &drives, false)).holds();
}

/// Exports, and the power is cut at the n-th call to its drives.
fn cut_off(place: &Place, at: u64) -> bool {
    empty(place, &ONE);
    let faulty = Disk::new(Faulty::new(Fault::Forever, at).0);
    place.exports((faulty, Disk::default()), &["usb"], false).is_err()
}

#[test]
fn at_any_moment_of_an_export_that_goes_on() {
    let place = place();
    // It was cut off when its manifest had a name in one place. What is there then stays: cut off there once more, another call may be the
    // last one, since drives are written to beside each other.
    let is_named = |at: &u64| {
        assert!(cut_off(&place, *at), "it ended before");
        let mut sets = fs::read_dir(place.path("usb")).unwrap().map(|set| set.unwrap().path());
        sets.any(|set| set.join("copy/manifest.json").exists())
    };
    (1..).find(is_named).unwrap();
    let judge = || place.judge_export(&["usb"]);
    let scene = of_export("export --resume", &place, &ONE, &judge);
    scene.record(|disk| place.exports((disk(), disk()), &["usb"], true)).holds();
}

/// A set of which a volume and some metadata are damaged.
fn damaged(place: &Place) {
    empty(place, &["usb", "host", "new"]);
    place.exports((Disk::default(), Disk::default()), &["usb"], false).unwrap();
    let set = fs::read_dir(place.path("usb")).unwrap().next().unwrap().unwrap().path();
    let volume = set.join("g00000-d000.ckv");
    let mut bytes = fs::read(&volume).unwrap();
    bytes[100_000] ^= 1;
    fs::write(&volume, bytes).unwrap();
    fs::write(set.join("manifest.json"), "damaged").unwrap();
    fs::remove_file(set.join("copy/keys.age")).unwrap();
}

/// Of a repair that writes to a drive.
fn of_repair<'a>(
    name: &'static str,
    place: &'a Place,
    root: &'a [&'a str],
    judge: &'a dyn Fn() -> Outcome,
) -> Scene<'a> {
    Scene { name, place, roots: root, drives: &[Drive::Least], releases: true, promise: |_| 0, judge }
}

#[test]
fn at_any_moment_of_a_repair() {
    let place = place();
    damaged(&place);
    let judge = || place.judge_repair();
    of_repair("repair", &place, &["usb"], &judge).record(|disk| place.repairs(disk(), &["usb"], &[])).holds();
}

#[test]
fn at_any_moment_of_a_repair_that_makes_a_new_drive() {
    let place = place();
    damaged(&place);
    let judge = || place.judge_new_drive();
    of_repair("repair --to", &place, &["new"], &judge).record(|disk| place.repairs(disk(), &["usb"], &["new"])).holds();
}

/// A whole set, and somewhere to import to.
fn exported() -> Place {
    // So many segments that they are recorded more than once.
    let place = Place::new(700_000);
    empty(&place, &["usb", "host", "out"]);
    place.exports((Disk::default(), Disk::default()), &["usb"], false).unwrap();
    place
}

/// Of an import.
fn of_import<'a>(name: &'static str, place: &'a Place, judge: &'a dyn Fn() -> Outcome) -> Scene<'a> {
    Scene { name, place, roots: &["out"], drives: HEARD, releases: false, promise: records, judge }
}

#[test]
fn at_any_moment_of_an_import() {
    let (place, to) = (exported(), "out/new/there");
    let judge = || place.judge_import(to);
    of_import("import", &place, &judge).record(|disk| place.imports(disk(), &["usb"], to, false)).holds();
}

#[test]
fn at_any_moment_of_an_import_into_a_directory_that_stays() {
    let (place, to) = (exported(), "out");
    fs::set_permissions(place.path(to), fs::Permissions::from_mode(0o2755)).unwrap();
    let judge = || place.judge_import(to);
    of_import("import into what stays", &place, &judge)
        .record(|disk| place.imports(disk(), &["usb"], to, false))
        .holds();
}

#[test]
fn at_any_moment_of_an_import_that_goes_on() {
    let (place, to) = (exported(), "out/there");
    // It was cut off when there was something to go on with.
    let is_resumable = |at: &u64| {
        empty(&place, &["out"]);
        let ended = place.imports(Disk::new(Faulty::new(Fault::Forever, *at).0), &["usb"], to, false);
        ended.unwrap_err().hint().contains("--resume")
    };
    (1..).find(is_resumable).unwrap();
    let judge = || place.judge_import(to);
    of_import("import --resume", &place, &judge).record(|disk| place.imports(disk(), &["usb"], to, true)).holds();
}

#[test]
fn at_any_moment_of_making_keys() {
    let place = place();
    empty(&place, &["home"]);
    let judge = || place.judge_keys();
    let (name, roots) = ("keygen", &["home"]);
    let scene =
        Scene { name, place: &place, roots, drives: &[Drive::Least], releases: false, promise: |_| 0, judge: &judge };
    scene.record(|disk| place.makes_keys(disk())).holds();
}
