//! `ckvault plan`: what drives an export would need, before there are any.

use super::export::{check_inventory, metadata_estimate, only_read, require_something, survey};
use super::reported::{self, Judged};
use crate::error::{Error, Result};
use crate::format::inventory::Entry;
use crate::format::limits::MOST_DRIVES;
use crate::media::device::Device;
use crate::media::disk::Disk;
use crate::media::drive::Drive;
use crate::pack::{
    Aside, Estimate, Expected, Links, Noticed, Plan, Request, Source, Walk, estimate, expected, plan, survives,
};
use crate::progress::{Phase, Progress};
use crate::text::human_bytes;
use serde::Serialize;
use std::path::PathBuf;

/// So many drives more than were asked for are looked at.
const MORE: usize = 2;

/// Which drives are thought of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drives {
    /// These, by the bytes that are free on each.
    These(Vec<u64>),
    /// As many as are needed, with so many bytes free on each.
    AsManyOf(u64),
}

/// What was typed.
#[derive(Debug)]
pub struct Options {
    /// What is read through.
    pub disk: Disk,
    /// Files and directories to export.
    pub sources: Vec<PathBuf>,
    /// Which drives are thought of.
    pub drives: Drives,
    /// Parity and sizes.
    pub request: Request,
    /// What to do with symbolic links.
    pub links: Links,
    /// Leave out fifos, sockets and devices.
    pub skip_special: bool,
    /// Leave out what matches one of these patterns.
    pub exclude: Vec<String>,
    /// Leave out what is in directories that are marked as caches.
    pub exclude_caches: bool,
    /// Bytes that a drive takes in a second.
    pub rate: Option<u64>,
    /// Everything will be read back after writing.
    pub read_back: bool,
}

/// What an export would be.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Entries in the set.
    pub entries: u64,
    /// Bytes of files that go in, without holes.
    pub bytes_in: u64,
    /// How long it becomes, and whether it fits.
    #[serde(flatten)]
    pub judged: Judged,
    /// The drives.
    pub drives: Vec<PlannedDrive>,
    /// Whether one part cannot hold all of it, however large drives are.
    pub in_parts: bool,
    /// K of each group.
    pub k: u16,
    /// M of each group.
    pub m: u16,
    /// Groups that are expected.
    pub groups: u64,
    /// No volume is longer.
    pub volume_bytes: u64,
    /// Bytes of a block.
    pub block_bytes: u64,
    /// Bytes of the tar stream in a segment.
    pub segment_bytes: u32,
    /// What the set survives.
    pub survives: String,
    /// The same with one drive more, and with two.
    pub with_more: Vec<More>,
    /// What travels otherwise than it lies there, and what does not travel.
    #[serde(flatten)]
    pub noticed: Noticed,
    /// Seconds that writing is expected to take, and reading back; null if no rate was given.
    pub seconds: Option<u64>,
}

/// A drive that is thought of.
#[derive(Debug, Serialize)]
pub struct PlannedDrive {
    /// Its number.
    pub drive: u32,
    /// Bytes that are free on it.
    pub free: u64,
    /// The most bytes that the set needs there, as if nothing could be compressed.
    pub needed: u64,
    /// Bytes that are expected there.
    pub expected: u64,
    /// Bytes that must be free there for who relies on what is expected.
    pub enough: u64,
    /// How many volumes of each group it holds.
    pub volumes_per_group: usize,
}

/// What more drives would change.
#[derive(Debug, Serialize)]
pub struct More {
    /// How many drives there are then.
    pub of_drives: usize,
    /// Bytes that are expected on the fullest of them.
    pub fullest: u64,
    /// What the set survives.
    pub survives: String,
}

impl Report {
    /// 7 if it does not fit.
    pub fn exit_code(&self) -> u8 {
        if self.judged.fits { 0 } else { Error::drive("", "").exit_code() }
    }
}

/// Looks at the sources, packs some of them, and plans.
pub fn run(options: &Options, progress: &dyn Progress) -> Result<Report> {
    options.disk.confine(&only_read());
    let how = Walk {
        links: options.links,
        skip_special: options.skip_special,
        exclude: options.exclude.clone(),
        exclude_caches: options.exclude_caches,
        own: Vec::new(),
    };
    let (walked, tar_bytes) = survey(&options.disk, &options.sources, &how, progress)?;
    require_something(&walked)?;
    progress.stage(Phase::Prepare);
    let aside = Aside::of(&walked.entries, None, metadata_estimate(&walked, None));
    let (entries, bytes_in) = (walked.entries.len() as u64, walked.entries.iter().map(|e| e.stored()).sum());
    // How long segments are depends little on the drives, and what they become depends little on that.
    let segment_bytes = {
        let paper = Paper { options, entries: &walked.entries, tar_bytes, aside };
        paper.on(&paper.free_of(options.drives.least()))?.segment_bytes
    };
    let noticed = walked.noticed.clone();
    let source = Source::new(&options.disk, walked, tar_bytes, segment_bytes);
    let estimate = estimate(&source, options.request.compression, progress)?;
    let paper = Paper { options, entries: source.entries(), tar_bytes, aside };
    let free = match &options.drives {
        Drives::These(free) => free.clone(),
        Drives::AsManyOf(each) => paper.fewest(*each, &estimate)?,
    };
    let plan = paper.on(&free)?;
    let expected = paper.expected(&plan, &estimate);
    let drives: Vec<PlannedDrive> = (0..free.len())
        .map(|i| PlannedDrive {
            drive: i as u32 + 1,
            free: free[i],
            needed: plan.needed[i],
            expected: expected.on_drives[i],
            enough: expected.enough[i],
            volumes_per_group: plan.volumes_on(i),
        })
        .collect();
    let fits = paper.fits(&plan, &free, &estimate);
    Ok(Report {
        entries,
        bytes_in,
        judged: Judged::of(&estimate, fits),
        drives,
        in_parts: fits && plan.in_parts,
        k: plan.k,
        m: plan.m,
        groups: expected.groups,
        volume_bytes: plan.volume_bytes,
        block_bytes: plan.block.bytes(),
        segment_bytes: plan.segment_bytes,
        survives: sentence(&plan, free.len(), expected.groups),
        with_more: paper.with_more(&free, &estimate),
        noticed,
        seconds: options.rate.and_then(|rate| {
            reported::seconds(expected.on_drives.iter().map(|bytes| (*bytes, rate)), options.read_back)
        }),
    })
}

impl Drives {
    /// The first of them; of as many as are needed there is one at least.
    fn least(&self) -> &[u64] {
        match self {
            Drives::These(free) => free,
            Drives::AsManyOf(each) => std::slice::from_ref(each),
        }
    }
}

/// What is planned with: the sources, and no drive.
struct Paper<'a> {
    options: &'a Options,
    entries: &'a [Entry],
    tar_bytes: u64,
    aside: Aside,
}

impl Paper<'_> {
    /// For who wants that drives may be lost, one more than these are needed at least.
    fn free_of(&self, given: &[u64]) -> Vec<u64> {
        let least = match self.options.drives {
            Drives::These(_) => given.len(),
            Drives::AsManyOf(_) => usize::from(self.options.request.survive.unwrap_or(0)) + 1,
        };
        let last = given.last().copied().unwrap_or(0);
        given.iter().copied().chain(std::iter::repeat(last)).take(least).collect()
    }

    /// The plan for drives with so many bytes free, whether all fits or not.
    fn on(&self, free: &[u64]) -> Result<Plan> {
        let drive = |(i, free): (usize, &u64)| Drive {
            path: format!("drive {}", i + 1).into(),
            free: *free,
            device: i as u64,
            longest_file: u64::MAX,
            fs_type: String::new(),
            source: PathBuf::new(),
            known: Device::default(),
        };
        let drives: Vec<Drive> = free.iter().enumerate().map(drive).collect();
        let request = Request { may_go_on: true, ..self.options.request.clone() };
        let mut plan = plan(&request, &drives, self.tar_bytes, self.aside.most)?;
        check_inventory(self.entries, self.tar_bytes.div_ceil(plan.segment_bytes.into()), &mut plan, true)?;
        Ok(plan)
    }

    fn expected(&self, plan: &Plan, estimate: &Estimate) -> Expected {
        expected(plan, plan.needed.len(), self.tar_bytes, estimate, &self.aside)
    }

    fn fits(&self, plan: &Plan, free: &[u64], estimate: &Estimate) -> bool {
        if !self.options.request.trust_estimate {
            return fits(&plan.needed, free);
        }
        // Where not even frames and parity fit, nothing need be dealt.
        let data = u128::from(estimate.frames) * (u128::from(plan.k) + u128::from(plan.m)) / u128::from(plan.k);
        let all: u128 = free.iter().map(|free| u128::from(*free)).sum();
        data <= all && fits(&self.expected(plan, estimate).enough, free)
    }

    /// As few drives as all fits on.
    fn fewest(&self, each: u64, estimate: &Estimate) -> Result<Vec<u64>> {
        let least = self.free_of(&[each]).len();
        for count in least..=MOST_DRIVES as usize {
            let free = vec![each; count];
            if self.fits(&self.on(&free)?, &free, estimate) {
                return Ok(free);
            }
        }
        Err(Error::drive(
            format!("no number of drives with {} free holds all of it", human_bytes(each)),
            "think of larger drives, or of less at once",
        ))
    }

    fn with_more(&self, free: &[u64], estimate: &Estimate) -> Vec<More> {
        let with = |more: usize| {
            let last = free.last()?;
            let free: Vec<u64> = free.iter().chain(std::iter::repeat_n(last, more)).copied().collect();
            // What cannot be with more drives, as a parity that was given, is not told.
            let plan = self.on(&free).ok()?;
            let expected = self.expected(&plan, estimate);
            let fullest = expected.on_drives.into_iter().max()?;
            Some(More { of_drives: free.len(), fullest, survives: sentence(&plan, free.len(), expected.groups) })
        };
        (1..=MORE).filter_map(with).collect()
    }
}

fn fits(wanted: &[u64], free: &[u64]) -> bool {
    wanted.iter().zip(free).all(|(wanted, free)| wanted <= free)
}

fn sentence(plan: &Plan, drives: usize, groups: u64) -> String {
    let counts: Vec<usize> = (0..drives).map(|drive| plan.volumes_on(drive)).collect();
    survives(plan.k, plan.m, &vec![counts; groups.min(2) as usize], None)
}
