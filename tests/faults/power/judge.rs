//! What the verbs themselves make of a world that a power cut left.

use crate::people::{Place, contents};
use ckvault::commands::{export, import, keygen, repair};
use ckvault::error::{Error, Result};
use ckvault::media::disk::Disk;
use ckvault::pack::Request;
use ckvault::progress::{Nobody, Silent};
use ckvault::restore::Leftovers;
use std::fs;
use std::path::{Path, PathBuf};

/// All that was to be done.
pub const ALL: u64 = u64::MAX;

/// What is in a world.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What may not be in any.
    pub fault: Option<String>,
    /// How much of what was done is there, [`ALL`] if it is all.
    pub kept: u64,
}

impl Outcome {
    fn bad(why: String) -> Outcome {
        Outcome { fault: Some(why), kept: 0 }
    }

    fn keeps(kept: u64) -> Outcome {
        Outcome { fault: None, kept }
    }

    /// What may not be, after so much was promised.
    pub fn broken(self, promised: u64) -> Option<String> {
        let lost = || (self.kept < promised).then(|| format!("{} is kept of {promised}", self.kept));
        self.fault.clone().or_else(lost)
    }
}

/// Whole lines that begin with one of these words.
fn lines(text: &[u8], words: &[&str]) -> u64 {
    let whole = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    whole.filter(|line| words.iter().any(|word| line.starts_with(word.as_bytes()))).count() as u64
}

/// Groups that the state of an export says are there.
pub fn groups(text: &[u8]) -> u64 {
    lines(text, &["{\"group\""])
}

/// What the journal of an import says was placed.
pub fn records(text: &[u8]) -> u64 {
    lines(text, &["placed ", "concluded "])
}

/// What is in a directory, if it is there.
fn inside(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path())
}

fn begins(path: &Path, with: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(with))
}

/// Whether a path leads into what only we name.
fn is_private(path: &Path) -> bool {
    path.iter().any(|name| begins(Path::new(name), ".ckvault-"))
}

impl Place {
    /// Exports to drives, or goes on with that.
    pub fn exports(&self, (disk, host): (Disk, Disk), drives: &[&str], goes_on: bool) -> Result<export::Report> {
        let options = self.export_options(disk, if goes_on { &[] } else { drives });
        let parity = Some(if drives.len() > 1 { (1, 1) } else { (2, 1) });
        let options = export::Options {
            host,
            state_dir: self.path("host/state/ckvault"),
            resume: goes_on.then_some(None),
            request: Request { parity, block_bytes: Some(64 << 10), segment_bytes: Some(64 << 10), ..options.request },
            ..options
        };
        export::run(&options, Nobody, &Silent::default())
    }

    pub fn repairs(&self, disk: Disk, drives: &[&str], to: &[&str]) -> Result<repair::Report> {
        let to = to.iter().map(|drive| self.path(drive)).collect();
        repair::run(&repair::Options { place: self.look(disk, drives), to }, &Silent::default())
    }

    pub fn imports(&self, disk: Disk, drives: &[&str], to: &str, goes_on: bool) -> Result<import::Report> {
        let options = import::Options {
            place: self.look(disk, drives),
            to: self.path(to),
            identities: vec![self.path("keys/identity.txt")],
            leftovers: if goes_on { Leftovers::Resume } else { Leftovers::Refuse },
            ..import::Options::default()
        };
        import::run(&options, Nobody, &Silent::default())
    }

    fn judged(&self, drives: &[&str]) -> String {
        self.verdict(drives).unwrap_or_else(|_| "none".into())
    }

    /// Why not all of a set can be had back, if it cannot.
    fn does_not_give_back(&self, drives: &[&str], verdict: &str) -> Option<String> {
        let _ = fs::remove_dir_all(self.path("back"));
        match self.imports(Disk::default(), drives, "back", false) {
            Ok(_) if contents(&self.path("back")) == contents(&self.path("source")) => None,
            Ok(_) => Some(format!("it is {verdict}, and gives back something else")),
            Err(error) => Some(format!("it is {verdict}, and gives nothing back: {error}")),
        }
    }

    /// An export is whole, or can be gone on with, or begun anew.
    pub fn judge_export(&self, drives: &[&str]) -> Outcome {
        let unheard = || (Disk::default(), Disk::default());
        let mut states = inside(&self.path("host/state/ckvault")).filter(|path| !begins(path, "."));
        let kept = states.next().map(|path| groups(&fs::read(path).unwrap()));
        let verdict = self.judged(drives);
        let gives = match &verdict[..] {
            "none" | "untrusted" => None,
            "intact" | "repairable" => self.does_not_give_back(drives, &verdict),
            _ => Some(format!("it is {verdict}")),
        };
        if let Some(why) = gives {
            return Outcome::bad(why);
        }
        match self.exports(unheard(), drives, true) {
            Ok(_) => {}
            Err(Error::Usage { .. }) if verdict == "intact" && kept.is_none() => return Outcome::keeps(ALL),
            // There is nothing to go on with.
            Err(Error::Usage { .. }) if kept.is_none() => {
                if let Err(error) = self.exports(unheard(), drives, false) {
                    return Outcome::bad(format!("it is {verdict}, and a new one cannot be made: {error}"));
                }
            }
            Err(error) => return Outcome::bad(format!("it is {verdict}, and cannot go on: {error}")),
        }
        match &self.judged(drives)[..] {
            "intact" => Outcome::keeps(kept.unwrap_or(0)),
            other => Outcome::bad(format!("in the end it is {other}")),
        }
    }

    /// What was in need may still be so; but all can be had back, and another repair does what one could not.
    pub fn judge_repair(&self) -> Outcome {
        let verdict = self.judged(&["usb"]);
        if !["intact", "repairable"].contains(&&verdict[..]) {
            return Outcome::bad(format!("it is {verdict}"));
        }
        if let Some(why) = self.does_not_give_back(&["usb"], &verdict) {
            return Outcome::bad(why);
        }
        let ended = self.repairs(Disk::default(), &["usb"], &[]);
        match &self.judged(&["usb"])[..] {
            "intact" => Outcome::keeps(if verdict == "intact" { ALL } else { 0 }),
            other => Outcome::bad(format!("in the end it is {other}: {:?}", ended.err())),
        }
    }

    /// The new drive looks like nothing until it is whole; and another repair makes it, or makes it whole.
    pub fn judge_new_drive(&self) -> Outcome {
        let verdict = self.judged(&["new"]);
        if !["none", "untrusted", "intact", "repairable"].contains(&&verdict[..]) {
            return Outcome::bad(format!("it is {verdict}"));
        }
        // What a stopped repair has made is named among the drives then.
        let again = self.repairs(Disk::default(), &["usb"], &["new"]);
        let ended = again.map(drop).or_else(|_| self.repairs(Disk::default(), &["new"], &[]).map(drop));
        match &self.judged(&["new"])[..] {
            "intact" => Outcome::keeps(if verdict == "intact" { ALL } else { 0 }),
            other => Outcome::bad(format!("it is {verdict}, and in the end {other}: {:?}", ended.err())),
        }
    }

    /// Nothing wrong has its final name, and what is lacking can be placed.
    pub fn judge_import(&self, to: &str) -> Outcome {
        let (target, source) = (self.path(to), contents(&self.path("source")));
        let placed = || {
            let mut found = if target.exists() { contents(&target) } else { Default::default() };
            found.retain(|path, _| !is_private(path));
            found
        };
        let before = placed();
        if let Some((path, _)) = before.iter().find(|(path, bytes)| source.get(*path) != Some(bytes)) {
            return Outcome::bad(format!("{} is not what it was", path.display()));
        }
        let around = [target.clone(), target.parent().unwrap().to_owned()];
        let staging = around.iter().flat_map(|dir| inside(dir)).find(|path| begins(path, ".ckvault-"));
        let journal = staging.and_then(|staging| fs::read(staging.join("journal")).ok());
        let kept = if before == source { ALL } else { records(&journal.unwrap_or_default()) };
        let ended = match self.imports(Disk::default(), &["usb"], to, true) {
            Err(Error::Usage { .. }) if before != source => self.imports(Disk::default(), &["usb"], to, false),
            other => other,
        };
        match placed() == source {
            true => Outcome::keeps(kept),
            false => Outcome::bad(format!(
                "it cannot go on: {}",
                ended.map_or_else(|e| e.to_string(), |_| "it ended well".into())
            )),
        }
    }

    pub fn makes_keys(&self, disk: Disk) -> Result<keygen::Report> {
        let out = self.path("home/config/ckvault");
        let made = keygen::run(&keygen::Options { disk, out, ..self.as_me() }, &Nobody, &Silent::default());
        // What they are, for who wants to compare.
        if !self.path("made").exists() {
            fs::create_dir(self.path("made")).unwrap();
            for path in inside(&self.path("home/config/ckvault")) {
                fs::copy(&path, self.path("made").join(path.file_name().unwrap())).unwrap();
            }
        }
        made
    }

    fn as_me(&self) -> keygen::Options {
        keygen::Options { principal: "me@here".into(), ..keygen::Options::default() }
    }

    /// A key that has its name is whole; and all are made, if none has.
    pub fn judge_keys(&self) -> Outcome {
        let (made, home) = (contents(&self.path("made")), self.path("home/config/ckvault"));
        let mut there = if home.exists() { contents(&home) } else { Default::default() };
        there.retain(|path, _| !is_private(path));
        if let Some((path, _)) = there.iter().find(|(path, bytes)| made.get(*path) != Some(bytes)) {
            return Outcome::bad(format!("{} is not what was made", path.display()));
        }
        match self.makes_keys(Disk::default()) {
            Ok(_) => Outcome::keeps(if there == made { ALL } else { 0 }),
            // Some of them are there, which is told.
            Err(Error::Usage { .. }) if !there.is_empty() => Outcome::keeps(0),
            Err(error) => Outcome::bad(format!("none can be made: {error}")),
        }
    }
}
