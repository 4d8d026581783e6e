//! `ckvault repair`: makes volumes and metadata anew that are damaged or missing, in their places or on a new drive. Needs no
//! secret.

use crate::commands::reported::About;
use crate::error::{Error, Result};
use crate::heal::{self, Repaired, Verdict, Why};
use crate::media::dir::Dir;
use crate::media::drive::served_device;
use crate::media::fence::Needs;
use crate::media::program::OWN;
use crate::progress::{Phase, Progress};
use crate::set::{self, Origin, Part, Set, Where, name_drives};
use crate::text::printable;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What was typed.
#[derive(Debug, Default)]
pub struct Options {
    /// Where the set is, and whom to trust.
    pub place: Where,
    /// Drives that take the place of absent or damaged ones; none to repair in place.
    pub to: Vec<PathBuf>,
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What the set says of itself.
    #[serde(flatten)]
    pub about: About,
    /// Files that were made anew in their places.
    pub repaired: Vec<RepairedFile>,
    /// Drives that were made anew.
    pub replaced: Vec<Replaced>,
    /// Files that could not be made.
    pub left: Vec<Left>,
    /// Drives that are named and not here.
    pub absent: Vec<u32>,
    /// Drives given with `--to` that were not needed.
    pub unused: Vec<String>,
    /// Blocks that drives could not read, by the number of the drive.
    pub read_errors: BTreeMap<u32, u64>,
    /// Where what was written was read back from: `device` or `cache-possible`; null if nothing was written.
    pub read_back: Option<&'static str>,
    /// Whether all that was written is synced, and no file on the drives is open.
    pub safe_to_unplug: bool,
    /// What `verify` would say now.
    pub verdict: &'static str,
    /// What most stands in the way of a whole set, if something does.
    #[serde(skip)]
    pub trouble: Option<Why>,
}

/// A file that was made anew.
#[derive(Debug, Serialize)]
pub struct RepairedFile {
    /// Where it is.
    pub path: String,
    /// The number of its drive, if that is known.
    pub drive: Option<u32>,
    /// How many of its blocks were computed from others; 0 for metadata.
    pub blocks: u64,
}

/// A drive that was made anew.
#[derive(Debug, Serialize)]
pub struct Replaced {
    /// Its number.
    pub drive: u32,
    /// The directory of the set on it.
    pub directory: String,
    /// How many volumes it has.
    pub volumes: u64,
    /// How many blocks of them were computed from others.
    pub blocks: u64,
}

/// A file that could not be made.
#[derive(Debug, Serialize)]
pub struct Left {
    /// Where it is, or should be.
    pub path: String,
    /// Why.
    pub why: String,
}

impl Report {
    /// The exit code: 0 if all that was in need is whole now.
    pub fn exit_code(&self) -> u8 {
        self.trouble.as_ref().map_or(0, |t| t.exit_code)
    }
}

/// Judges everything, makes anew what is not as signed, reads that back, and says what the set is then.
pub fn run(options: &Options, progress: &dyn Progress) -> Result<Report> {
    options.place.disk.confine(&needs(options));
    let set = set::open(&options.place, progress)?;
    progress.if_stopped("run the command again: what was made is kept");
    let mut repaired = heal::repair(&set, &options.place.disk, &options.to, progress)?;
    let given = std::mem::take(&mut repaired.given);
    let report = report(&set, repaired);
    // Locks have been removed, and what they were in is to be durable too.
    progress.stage(Phase::Sync);
    let released = given.into_iter().map(Dir::release).fold(set.release(), |all, released| all && released);
    Ok(Report { safe_to_unplug: released, ..report })
}

/// Drives are written to; and this program may be put on a drive.
fn needs(options: &Options) -> Needs {
    let mut needs = options.place.needs();
    needs.write = options.place.drives.iter().chain(&options.to).cloned().collect();
    needs.read.push(OWN.into());
    // Only what may be read follows from that: what is written to is opened once, later.
    needs.read.extend(needs.write.iter().filter_map(|drive| served_device(drive)));
    needs
}

fn report(set: &Set, done: Repaired) -> Report {
    let (found, unused) = (&done.found, &done.unused);
    let mut verdict = heal::verdict(set, found, false);
    let number = |part: &Part, drive: u16| part.manifest.drive_number(drive);
    let (mut repaired, mut replaced, mut left, mut origin) = (Vec::new(), Vec::new(), Vec::new(), None);
    let mut trouble: Option<Why> = None;
    for (part, restored) in set.parts.iter().zip(done.remedies) {
        repaired.extend(restored.made.into_iter().map(|m| RepairedFile {
            path: shown(&m.at.path()),
            drive: m.drive.map(|d| number(part, d)),
            blocks: m.blocks,
        }));
        replaced.extend(restored.replaced.into_iter().map(|r| Replaced {
            drive: number(part, r.drive),
            directory: shown(r.dir.path()),
            volumes: r.volumes,
            blocks: r.blocks,
        }));
        for (at, why) in restored.left {
            left.push(Left { path: shown(&at.path()), why: printable(why.message.as_bytes()) });
            // What is computed from blocks that are all as signed, and is not as signed itself, no audit has seen.
            if why.exit_code == lost().exit_code {
                verdict = verdict.max(Verdict::Lost);
            }
            trouble = worse(trouble, why);
        }
        origin = [origin, restored.origin].into_iter().flatten().reduce(Origin::and);
    }
    let absent: Vec<u32> =
        set.parts.iter().zip(found).flat_map(|(p, f)| f.absent.iter().map(|d| number(p, *d))).collect();
    let trouble = match verdict {
        Verdict::Lost => worse(trouble, lost()),
        Verdict::Incomplete => worse(trouble, incomplete(set, &absent)),
        Verdict::Newer => worse(trouble, heal::rewritten_slot().into()),
        _ => trouble,
    };
    Report {
        about: About::of(set),
        repaired,
        replaced,
        left,
        absent,
        unused: unused.iter().map(|p| shown(p)).collect(),
        read_errors: set.read_errors(),
        read_back: origin.map(|o| if o == Origin::Drive { "device" } else { "cache-possible" }),
        safe_to_unplug: false,
        verdict: verdict.word(),
        trouble,
    }
}

fn shown(path: &Path) -> String {
    printable(path.as_os_str().as_encoded_bytes())
}

/// What is lost counts most, then what is not trusted, then what fails; of two alike the first.
fn worse(one: Option<Why>, other: Why) -> Option<Why> {
    let rank = |why: &Why| [7, 5, 4].iter().position(|code| *code == why.exit_code).map_or(0, |at| at + 1);
    match one {
        Some(one) if rank(&one) >= rank(&other) => Some(one),
        _ => Some(other),
    }
}

fn lost() -> Why {
    Error::lost("some of the set is beyond repair, whatever is brought", "ask the sender for a new export").into()
}

fn incomplete(set: &Set, absent: &[u32]) -> Why {
    let wanted = if absent.is_empty() { set.absent() } else { absent.to_vec() };
    Error::drive(
        "what is here does not suffice to make the set whole",
        format!("bring {} of the set, and name all drives in one command", name_drives(&wanted)),
    )
    .into()
}
