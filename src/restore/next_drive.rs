//! Asking for another drive where one can be changed, and looking whether what has come is what was asked for.

use crate::error::{Error, Result};
use crate::format::names;
use crate::media::dir::Dir;
use crate::progress::{Ask, DriveWanted, Progress};
use crate::restore::missing::Candidates;
use crate::set::{self, Set, Where, name_drives};
use std::path::{Path, PathBuf};

/// Wrong drives in a row after which it is of no use to ask on.
const PATIENCE: u32 = 5;

/// Who is asked, and where drives are changed.
pub struct Changer<'a> {
    ask: &'a dyn Ask,
    place: Where,
    port: PathBuf,
    /// The port is a mount point: without a drive, what is there is a directory of this machine.
    mounted: bool,
    /// Drives in a row that brought nothing.
    useless: u32,
}

impl<'a> Changer<'a> {
    /// The last drive given is the port at which they are changed.
    pub fn new(ask: &'a dyn Ask, place: &Where, set: &Set) -> Changer<'a> {
        let mut place = place.clone();
        let port = place.drives.pop().map(|last| port(&last)).unwrap_or_default();
        place.drives.push(port.clone());
        place.set = Some(set.manifest().set.clone());
        let mounted = Dir::given(&place.disk, &port).is_ok_and(|dir| dir.is_mount_point());
        Changer { ask, place, port, mounted, useless: 0 }
    }

    /// Holds again what is still here of what was let go.
    pub fn take_back(&self, set: &mut Set) {
        set.take_back(&self.place.disk);
    }

    /// Whether the drive that came last was of any use.
    pub fn note(&mut self, useful: bool) {
        if useful {
            self.useless = 0;
        }
    }

    /// Asks for one of the drives until it is here; `None` if none of them will come.
    pub fn change(&mut self, known: &Set, wanted: &Candidates, progress: &dyn Progress) -> Result<Option<Set>> {
        let mut reason = String::new();
        while self.useless < PATIENCE {
            let question = DriveWanted {
                place: self.port.clone(),
                number: only_one(wanted),
                message: format!("{reason}{}", sentence(known, wanted, &self.port)),
            };
            let came = self.ask.next_drive(&question);
            if progress.cancelled() {
                return Err(Error::Interrupted);
            }
            if !came {
                return Ok(None);
            }
            self.useless += 1;
            match self.look(known, wanted, progress) {
                Ok(here) => return Ok(Some(here)),
                Err(why) => reason = format!("{why}; "),
            }
        }
        Err(Error::drive(
            format!("{PATIENCE} drives in a row were not the right ones"),
            format!("bring {}", wanted.one()),
        ))
    }

    /// What is here now, if a wanted drive is; else why what has come is not the right one.
    fn look(&self, known: &Set, wanted: &Candidates, progress: &dyn Progress) -> std::result::Result<Set, String> {
        let port = Dir::given(&self.place.disk, &self.port);
        if port.is_err() || self.mounted && !port.is_ok_and(|dir| dir.is_mount_point()) {
            return Err(format!("nothing is mounted at {}", self.port.display()));
        }
        let here = set::open(&self.place, progress).map_err(|e| self.explain(e, progress))?;
        known.fits(&here).map_err(|e| e.to_string())?;
        let present = here.present();
        // A drive may be too damaged to say which it is.
        let nameless = here.parts.iter().any(|p| p.present().is_empty());
        match nameless || present.iter().any(|d| wanted.includes(*d)) {
            true => Ok(here),
            false => Err(format!("of {} nothing more is needed", name_drives(&present))),
        }
    }

    /// Why there is nothing of the set.
    fn explain(&self, why: Error, progress: &dyn Progress) -> String {
        let port = self.port.display();
        let other = set::open(&Where { set: None, drives: vec![self.port.clone()], ..self.place.clone() }, progress);
        match other {
            Ok(set) if Some(&set.manifest().set) != self.place.set.as_ref() => {
                format!("the drive at {port} is of another set, {}", title(&set))
            }
            _ => why.to_string(),
        }
    }
}

/// Where drives are changed: a directory of a set lies on the drive that is.
pub fn port(drive: &Path) -> PathBuf {
    let is_set = drive.file_name().is_some_and(|n| n.to_string_lossy().ends_with(names::SET_SUFFIX));
    match drive.parent() {
        Some(parent) if is_set && parent.as_os_str().is_empty() => ".".into(),
        Some(parent) if is_set => parent.to_owned(),
        _ => drive.to_owned(),
    }
}

fn only_one(wanted: &Candidates) -> Option<u32> {
    match (&wanted.numbers()[..], wanted.later) {
        ([one], None) => Some(*one),
        _ => None,
    }
}

fn sentence(set: &Set, wanted: &Candidates, port: &Path) -> String {
    let repairs = wanted.unread.is_empty() && wanted.later.is_none();
    let why = match repairs {
        true => "what is damaged or lost elsewhere can be repaired with it",
        false => "not everything that is wanted has been read yet",
    };
    format!("mount {} of {} at {}: {why}", wanted.one(), title(set), port.display())
}

fn title(set: &Set) -> String {
    let manifest = set.manifest();
    let short = &manifest.set[..8];
    manifest.label.as_ref().map_or_else(|| format!("set {short}"), |label| format!("{label} ({short})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_where_the_drive_is_mounted() {
        for (given, expected) in
            [("/media/usb", "/media/usb"), ("/media/usb/l-0011.ckvault", "/media/usb"), ("l.ckvault", "."), (".", ".")]
        {
            assert_eq!(port(Path::new(given)), Path::new(expected), "{given}");
        }
    }

    #[test]
    fn drives_are_asked_for_by_number_if_there_is_only_one() {
        let wanted = |unread: &[u32], later| Candidates {
            unread: unread.iter().copied().collect(),
            later,
            ..Candidates::default()
        };
        for (candidates, number, words) in [
            (wanted(&[3], None), Some(3), "drive 3"),
            (wanted(&[1, 3], None), None, "one of drives 1, 3"),
            (wanted(&[], Some(4)), None, "drive 4 or a later one"),
            (wanted(&[2], Some(4)), None, "drive 2, or drive 4 or a later one"),
        ] {
            assert_eq!((only_one(&candidates), &candidates.one()[..]), (number, words));
        }
    }
}
