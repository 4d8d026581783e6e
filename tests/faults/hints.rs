//! What is said to who stops a verb, phase by phase.

use crate::people::Place;
use ckvault::commands::{export, import};
use ckvault::media::disk::Disk;
use ckvault::progress::{Lane, Nobody, Phase, Progress};
use std::sync::Mutex;

/// The hint that holds now, and the one that held when each phase began.
#[derive(Default)]
struct Hints(Mutex<(String, Vec<(Phase, String)>)>);

impl Hints {
    fn now(&self) -> String {
        self.0.lock().unwrap().0.clone()
    }

    /// Those of a phase, in the order in which it began.
    fn at(&self, phase: Phase) -> Vec<String> {
        self.0.lock().unwrap().1.iter().filter(|(p, _)| *p == phase).map(|(_, hint)| hint.clone()).collect()
    }
}

impl Progress for Hints {
    fn begin(&self, phase: Phase, _: u64, _: &[Lane]) {
        let mut hints = self.0.lock().unwrap();
        let now = hints.0.clone();
        hints.1.push((phase, now));
    }

    fn if_stopped(&self, hint: &str) {
        self.0.lock().unwrap().0 = hint.to_owned();
    }
}

#[test]
fn what_is_whole_is_not_to_be_gone_on_with() {
    let place = Place::new(1_000_000);
    let drives = ["usb1"];
    place.anew(&drives);
    let hints = Hints::default();
    export::run(&place.export_options(Disk::default(), &drives), Nobody, &hints).unwrap();
    assert!(hints.at(Phase::Sign).iter().all(|hint| hint.contains("--resume")), "{:?}", hints.at(Phase::Sign));
    // Metadata, manifest, and what is released.
    let syncs = hints.at(Phase::Sync);
    let [.., named, released] = &syncs[..] else { panic!("{syncs:?}") };
    assert!(named.contains("--resume"), "{syncs:?}");
    assert_eq!((released.as_str(), &*hints.now()), ("", ""));

    let hints = Hints::default();
    let options = import::Options {
        place: place.look(Disk::default(), &drives),
        to: place.path("restored"),
        identities: vec![place.path("keys/identity.txt")],
        ..import::Options::default()
    };
    import::run(&options, Nobody, &hints).unwrap();
    let named = hints.at(Phase::Name);
    assert!(!named.is_empty() && named.iter().all(|hint| !hint.is_empty()), "{named:?}");
    assert_eq!(hints.now(), "");
}
