//! Somebody who may rename where a verb works takes a directory away at any moment, and lays a link to somebody's directory, or that
//! directory itself, in its place. What was opened before may be gone on with; but nothing is touched where the link leads.

use crate::media::{Fault, Faulty};
use crate::people::Place;
use ckvault::commands::{export, import, repair};
use ckvault::error::Error;
use ckvault::media::disk::{Disk, Media, Operation};

use ckvault::progress::{Nobody, Silent};
use ckvault::restore::Leftovers;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Which directory is swapped, below a place: the first of several names that fit.
#[derive(Debug, Clone, Copy)]
enum Which {
    /// This one.
    Named(&'static str),
    /// The first in this one whose name has this in it.
    In(&'static str, &'static str),
    /// The one of this name in such a one.
    Below(&'static str, &'static str, &'static str),
}

impl Which {
    fn find(self, root: &Path) -> Option<PathBuf> {
        let found = match self {
            Which::Named(name) => root.join(name),
            Which::In(dir, part) => {
                let names = fs::read_dir(root.join(dir)).ok()?.flatten();
                names.map(|e| e.path()).find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().contains(part)))?
            }
            Which::Below(dir, part, name) => Which::In(dir, part).find(root)?.join(name),
        };
        found.symlink_metadata().is_ok_and(|meta| meta.is_dir()).then_some(found)
    }
}

/// What is put in the place of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum With {
    /// A link to somebody's directory.
    Link,
    /// That directory.
    Directory,
}

/// Swaps a directory at the n-th call. In somebody's directory there is all that was in it, under the same names.
struct Swapping {
    root: PathBuf,
    which: Which,
    with: With,
    at: u64,
    seen: Arc<Mutex<Seen>>,
}

/// What has been seen of a run.
#[derive(Default)]
struct Seen {
    calls: u64,
    /// Something in the directory that was named was used before it was swapped.
    used: bool,
    swapped: Option<Swapped>,
}

/// How things were when the directory was swapped.
struct Swapped {
    /// What was about to be done.
    call: String,
    /// Where somebody's directory is now, and what it is like.
    victim_at: PathBuf,
    victim: Kept,
    taken: Kept,
}

impl Media for Swapping {
    fn allow(&self, operation: Operation, path: &Path) -> io::Result<()> {
        let mut seen = self.seen.lock().unwrap();
        seen.calls += 1;
        if seen.calls == self.at {
            seen.swapped =
                self.swap(&format!("{operation:?} {}", path.strip_prefix(&self.root).unwrap_or(path).display()));
        }
        if seen.swapped.is_none() {
            seen.used |= self.which.find(&self.root).is_some_and(|dir| path.starts_with(dir));
        }
        Ok(())
    }
}

impl Swapping {
    fn swap(&self, call: &str) -> Option<Swapped> {
        let dir = self.which.find(&self.root)?;
        let (victim, taken) = (self.root.join("victim"), self.root.join("taken"));
        copy(&dir, &victim);
        fs::rename(&dir, &taken).unwrap();
        let victim_at = match self.with {
            With::Link => symlink(&victim, &dir).map(|()| victim),
            With::Directory => fs::rename(&victim, &dir).map(|()| dir),
        };
        let victim_at = victim_at.unwrap();
        Some(Swapped { call: call.to_owned(), victim: kept(&victim_at), victim_at, taken: kept(&taken) })
    }
}

impl Seen {
    /// Whether something was touched that may not be. A link that the user has named is followed if it was one before anything
    /// in it was used, and then for all that is to be done; so is a directory that was there, and like what is looked for, from
    /// the beginning.
    fn is_touched(&self, swapped: &Swapped, root: &Path, (which, with): (Which, With)) -> bool {
        let may_be = matches!(which, Which::Named(_)) || with == With::Directory;
        let followed = may_be && !self.used && kept(&root.join("taken")) == swapped.taken;
        let is_there = swapped.victim_at.symlink_metadata().is_ok();
        !followed && (!is_there || kept(&swapped.victim_at) != swapped.victim)
    }
}

/// Names, modes, times and contents.
type Kept = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>;

fn kept(dir: &Path) -> Kept {
    let mut all = Kept::new();
    let mut rest = vec![dir.to_owned()];
    while let Some(path) = rest.pop() {
        let meta = path.symlink_metadata().unwrap();
        let holds = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        if meta.is_dir() {
            rest.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        all.insert(path.strip_prefix(dir).unwrap().to_owned(), (meta.mode(), meta.mtime(), meta.mtime_nsec(), holds));
    }
    all
}

/// Copies a tree, into what is there already. No program does it: a child holds the locks of this process until it runs.
fn copy(from: &Path, to: &Path) {
    let meta = from.symlink_metadata().unwrap();
    if meta.is_symlink() {
        symlink(fs::read_link(from).unwrap(), to).unwrap();
    } else if meta.is_dir() {
        fs::create_dir_all(to).unwrap();
        let names = fs::read_dir(from).unwrap().map(|e| e.unwrap().file_name());
        names.for_each(|name| copy(&from.join(&name), &to.join(&name)));
        fs::set_permissions(to, meta.permissions()).unwrap();
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// Somebody's directory, with names that verbs use.
fn make_victim(victim: &Path) {
    let names = [
        "thesis",
        "manifest.json",
        "keys.age",
        "keys.age.partial",
        "g00000-d000.ckv",
        "g00000-d000.ckv.partial",
        "copy/manifest.json",
        "copy/recover.py",
        "files/noise",
        "scratch/1",
        "there/mine",
    ];
    for name in names {
        let path = victim.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("my {name}\n")).unwrap();
    }
}

/// A verb in a situation that can be had again.
struct Scene<'a> {
    name: &'a str,
    place: &'a Place,
    /// What it changes of the place, each time as it was.
    changes: &'a [&'a str],
    run: &'a dyn Fn(Disk) -> Result<(), Error>,
}

impl Scene<'_> {
    /// Takes what is there for what is to be had again.
    fn keep(&self) {
        self.copy("", "kept-");
    }

    fn copy(&self, from: &str, to: &str) {
        for name in self.changes {
            let (from, to) = (self.place.path(&format!("{from}{name}")), self.place.path(&format!("{to}{name}")));
            let _ = fs::remove_file(&to);
            let _ = fs::remove_dir_all(&to);
            copy(&from, &to);
        }
    }

    /// Swaps at every call; returns how often, and what was about to be done when something was touched then.
    fn swap(&self, which: Which, with: With) -> (u64, Vec<String>) {
        let (root, mut swaps, mut touched) = (self.place.path(""), 0, Vec::new());
        for at in 1.. {
            self.copy("kept-", "");
            ["taken", "victim"].iter().for_each(|name| drop(fs::remove_dir_all(root.join(name))));
            make_victim(&root.join("victim"));
            let seen = Arc::new(Mutex::new(Seen::default()));
            // It may fail or succeed: what was opened before is still there.
            let ended = (self.run)(Disk::new(Swapping { root: root.clone(), which, with, at, seen: seen.clone() }));
            let seen = seen.lock().unwrap();
            if let Some(swapped) = &seen.swapped {
                swaps += 1;
                if seen.is_touched(swapped, &root, (which, with)) {
                    touched.push(format!("{at} ({})", swapped.call));
                }
            }
            if seen.calls < at {
                assert!(ended.is_ok(), "{}, {which:?}, {with:?}, {at}: undisturbed, and {ended:?}", self.name);
                return (swaps, touched);
            }
        }
        unreachable!("a run has an end")
    }

    fn swap_each(&self, all: &[Which]) {
        self.keep();
        let mut faults = Vec::new();
        // Nobody else can put a directory of theirs into one that only we may write to.
        let both = |which: &Which| match which {
            Which::Below(..) => vec![(*which, With::Link)],
            _ => vec![(*which, With::Link), (*which, With::Directory)],
        };
        for (which, with) in all.iter().flat_map(both) {
            let (swaps, touched) = self.swap(which, with);
            eprintln!("{}: {which:?} swapped with a {with:?} at {swaps} calls", self.name);
            assert!(swaps > 3, "{}: {which:?} was hardly ever there", self.name);
            if let Some(first) = touched.first() {
                faults.push(format!("{which:?}, {with:?}: at {} of {swaps} calls, first {first}", touched.len()));
            }
        }
        assert!(faults.is_empty(), "{}: somebody's directory was touched\n{}", self.name, faults.join("\n"));
    }
}

const SET: Which = Which::In("usb", ".ckvault");
const COPY: Which = Which::Below("usb", ".ckvault", "copy");
const STAGING: Which = Which::In("out", ".ckvault-");
const FILES: Which = Which::Below("out", ".ckvault-", "files");

fn place() -> Place {
    let place = Place::new(300_000);
    // The path of a place is what links and files say of themselves.
    place.anew(&["usb", "out"]);
    place
}

fn set(place: &Place) -> PathBuf {
    SET.find(&place.path("")).unwrap()
}

fn damage(place: &Place) {
    let set = set(place);
    fs::remove_file(set.join("g00000-d000.ckv")).unwrap();
    fs::write(set.join("manifest.json"), "damaged").unwrap();
    fs::remove_file(set.join("copy/keys.age")).unwrap();
}

#[test]
fn while_an_export_writes() {
    let place = place();
    let run = |disk| place.export(disk, &["usb"]).map(drop);
    let scene = Scene { name: "export", place: &place, changes: &["usb", "state"], run: &run };
    scene.swap_each(&[Which::Named("usb"), SET, COPY]);
}

#[test]
fn while_an_export_goes_on() {
    let place = place();
    // The power is cut when the only group is complete.
    let complete = |at| {
        place.anew(&["usb"]);
        place.export(Disk::new(Faulty::new(Fault::Forever, at).0), &["usb"]).unwrap_err();
        let states = fs::read_dir(place.path("state")).unwrap().flatten();
        states.map(|s| fs::read_to_string(s.path()).unwrap()).any(|text| text.contains("{\"group\""))
    };
    (1..).find(|at| complete(*at)).unwrap();
    let run = |disk| {
        let resume = export::Options { disk, resume: Some(None), ..place.export_options(Disk::default(), &[]) };
        export::run(&resume, Nobody, &Silent::default()).map(drop)
    };
    let scene = Scene { name: "export --resume", place: &place, changes: &["usb", "state"], run: &run };
    scene.swap_each(&[Which::Named("usb"), SET, COPY]);
}

#[test]
fn while_a_repair_writes() {
    let place = place();
    place.export(Disk::default(), &["usb"]).unwrap();
    damage(&place);
    let run = |disk| {
        let options = repair::Options { place: place.look(disk, &["usb"]), to: Vec::new() };
        repair::run(&options, &Silent::default()).map(drop)
    };
    let scene = Scene { name: "repair", place: &place, changes: &["usb"], run: &run };
    scene.swap_each(&[Which::Named("usb"), SET, COPY]);
}

#[test]
fn while_a_repair_makes_a_new_drive() {
    let place = place();
    place.anew(&["new"]);
    place.export(Disk::default(), &["usb"]).unwrap();
    damage(&place);
    let run = |disk| {
        let options = repair::Options { place: place.look(disk, &["usb"]), to: vec![place.path("new")] };
        repair::run(&options, &Silent::default()).map(drop)
    };
    let scene = Scene { name: "repair --to", place: &place, changes: &["usb", "new"], run: &run };
    let (set, copy) = (Which::In("new", ".ckvault"), Which::Below("new", ".ckvault", "copy"));
    scene.swap_each(&[Which::Named("new"), set, copy]);
}

fn import(place: &Place, disk: Disk, leftovers: Leftovers) -> Result<(), Error> {
    let options = import::Options {
        place: place.look(disk, &["usb"]),
        to: place.path("out/there"),
        identities: vec![place.path("keys/identity.txt")],
        leftovers,
        ..import::Options::default()
    };
    import::run(&options, Nobody, &Silent::default()).map(drop)
}

#[test]
fn while_an_import_places() {
    let place = place();
    place.export(Disk::default(), &["usb"]).unwrap();
    let run = |disk| import(&place, disk, Leftovers::Refuse);
    let scene = Scene { name: "import", place: &place, changes: &["out"], run: &run };
    scene.swap_each(&[Which::Named("out"), STAGING, FILES]);
}

/// Lets an import stop when something can be gone on with.
fn stop(place: &Place) {
    place.export(Disk::default(), &["usb"]).unwrap();
    let resumable = |at| {
        place.anew(&["out"]);
        let stopped = import(place, Disk::new(Faulty::new(Fault::Forever, at).0), Leftovers::Refuse);
        stopped.is_err_and(|e| e.hint().contains("--resume"))
    };
    (1..).find(|at| resumable(*at)).unwrap();
}

#[test]
fn while_an_import_goes_on() {
    let place = place();
    stop(&place);
    let run = |disk| import(&place, disk, Leftovers::Resume);
    let scene = Scene { name: "import --resume", place: &place, changes: &["out"], run: &run };
    scene.swap_each(&[Which::Named("out"), STAGING, FILES]);
}

#[test]
fn while_an_import_discards() {
    let place = place();
    stop(&place);
    let run = |disk| import(&place, disk, Leftovers::Discard);
    let scene = Scene { name: "import --discard", place: &place, changes: &["out"], run: &run };
    scene.swap_each(&[Which::Named("out"), STAGING, FILES]);
}
