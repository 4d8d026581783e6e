//! `ckvault repair`: makes volumes and metadata anew that are damaged or missing, in their places or on a new drive. Needs no
//! secret.

use super::verify;
use crate::error::{Error, Result};
use crate::media::drive::{MOUNTS, served_device};
use crate::media::fence::Needs;
use crate::media::lock_dir;
use crate::media::program::OWN;
use crate::pipeline::audit::{Audit, audit};
use crate::pipeline::blocks::Blocks;
use crate::pipeline::open::{self, Set, Where};
use crate::pipeline::part::Part;
use crate::pipeline::readback::Origin;
use crate::pipeline::rebuild::Why;
use crate::pipeline::remedy::{self, Remedy};
use crate::pipeline::verdict::Verdict;
use crate::progress::{Phase, Progress};
use crate::text::printable;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
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
    /// The id.
    pub set: String,
    /// The label.
    pub label: Option<String>,
    /// Who signed.
    pub signer: String,
    /// When it was exported.
    pub created: String,
    /// Files that were made anew in their places.
    pub repaired: Vec<Repaired>,
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
    /// What `verify` would say now.
    pub verdict: &'static str,
    /// What most stands in the way of a whole set, if something does.
    #[serde(skip)]
    pub trouble: Option<Why>,
}

/// A file that was made anew.
#[derive(Debug, Serialize)]
pub struct Repaired {
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
    let set = open::open(&options.place)?;
    let locks = lock_all(&set)?;
    set.parts.iter().for_each(remedy::sweep);
    set.share_slot();
    let blocks = set.parts.iter().map(Blocks::new).collect::<Result<Vec<Blocks>>>()?;
    let judge = |blocks: &Blocks| audit(blocks.set(), blocks, false, progress);
    let mut found = blocks.iter().map(judge).collect::<Result<Vec<Audit>>>()?;
    if verify::verdict(&set, &found, false) >= Verdict::Incomplete
        && let Some(refusal) = set.parts.iter().find_map(Part::refusal)
    {
        return Err(refusal);
    }
    let needs = remedy::needs(&set, &found);
    let (given, unused) = assign(&set, &found, &needs, &options.to)?;
    let mut remedies = set.parts.iter().map(|_| Remedy::default()).collect::<Vec<Remedy>>();
    for (i, found) in found.iter().enumerate() {
        match options.to.is_empty() {
            true => remedies[i].plan_in_place(&blocks[i], found),
            false => remedies[i].plan_replacements(&blocks[i], &given)?,
        }
    }
    progress.begin(Phase::Repair, remedies.iter().map(Remedy::bytes).sum(), &set.drive_names());
    for ((remedies, blocks), found) in remedies.iter_mut().zip(&blocks).zip(&mut found) {
        remedies.run(blocks, found, progress)?;
    }
    progress.end();
    drop(locks);
    Ok(report(&set, &found, remedies, unused))
}

/// Drives are written to; what is mounted where is asked of the system; and this program may be put on a drive.
fn needs(options: &Options) -> Needs {
    let mut needs = options.place.needs();
    needs.write = options.place.drives.iter().chain(&options.to).cloned().collect();
    needs.read.extend([MOUNTS.into(), OWN.into()]);
    needs.read.extend(needs.write.iter().filter_map(|drive| served_device(drive)));
    needs
}

/// Two repairs of one set would be in each other's way, and so would a repair and an export.
fn lock_all(set: &Set) -> Result<Vec<File>> {
    let dirs = set.parts.iter().flat_map(|p| &p.dirs);
    dirs.map(|dir| lock_dir(dir).map_err(Error::on_drive("lock", dir))?.ok_or_else(|| remedy::busy(dir))).collect()
}

/// Which new drive is for which number; and those that are not needed.
fn assign(set: &Set, found: &[Audit], needs: &[u32], to: &[PathBuf]) -> Result<(BTreeMap<u32, PathBuf>, Vec<PathBuf>)> {
    if to.is_empty() || needs.len() <= to.len() {
        let given = needs.iter().copied().zip(to.iter().cloned()).collect();
        return Ok((given, to.get(needs.len()..).unwrap_or_default().to_vec()));
    }
    let absent: Vec<u32> =
        set.parts.iter().zip(found).flat_map(|(p, f)| f.absent.iter().map(|d| p.manifest.drive_number(*d))).collect();
    let here: Vec<u32> = needs.iter().copied().filter(|n| !absent.contains(n)).collect();
    let hint = match here.is_empty() {
        true => "give --to once for each of them".to_owned(),
        false => format!(
            "give --to once for each of them; {} can be repaired in place before, by the same command without --to",
            crate::pipeline::part::name_drives(&here)
        ),
    };
    Err(Error::usage(
        format!(
            "{} of the set need{} a replacement, and --to names {}",
            crate::pipeline::part::name_drives(needs),
            if needs.len() == 1 { "s" } else { "" },
            to.len()
        ),
        hint,
    ))
}

fn report(set: &Set, found: &[Audit], restored: Vec<Remedy>, unused: Vec<PathBuf>) -> Report {
    let verdict = verify::verdict(set, found, false);
    let number = |part: &Part, drive: u16| part.manifest.drive_number(drive);
    let (mut repaired, mut replaced, mut left, mut origin) = (Vec::new(), Vec::new(), Vec::new(), None);
    let mut trouble: Option<Why> = None;
    for (part, restored) in set.parts.iter().zip(restored) {
        repaired.extend(restored.made.into_iter().map(|m| Repaired {
            path: shown(&m.path),
            drive: m.drive.map(|d| number(part, d)),
            blocks: m.blocks,
        }));
        replaced.extend(restored.replaced.into_iter().map(|r| Replaced {
            drive: number(part, r.drive),
            directory: shown(&r.dir),
            volumes: r.volumes,
            blocks: r.blocks,
        }));
        for (path, why) in restored.left {
            left.push(Left { path: shown(&path), why: printable(why.message.as_bytes()) });
            trouble = worse(trouble, why);
        }
        origin = [origin, restored.origin].into_iter().flatten().reduce(Origin::and);
    }
    let absent: Vec<u32> =
        set.parts.iter().zip(found).flat_map(|(p, f)| f.absent.iter().map(|d| number(p, *d))).collect();
    let trouble = match verdict {
        Verdict::Lost => worse(trouble, lost()),
        Verdict::Incomplete => worse(trouble, incomplete(set, &absent)),
        _ => trouble,
    };
    Report {
        set: set.manifest().set.clone(),
        label: set.manifest().label.clone(),
        signer: set.signer().name.clone(),
        created: set.manifest().created.clone(),
        repaired,
        replaced,
        left,
        absent,
        unused: unused.iter().map(|p| shown(p)).collect(),
        read_errors: set.read_errors(),
        read_back: origin.map(|o| if o == Origin::Drive { "device" } else { "cache-possible" }),
        verdict: verify::word(verdict),
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
        format!("bring {} of the set, and name all drives in one command", crate::pipeline::part::name_drives(&wanted)),
    )
    .into()
}
