//! What a set is expected to become: how many groups, how many bytes on each drive, and how many are enough there for who relies on that.

use crate::format::deal::Dealer;
use crate::format::inventory::{Entry, Kind};
use crate::format::names;
use crate::format::recovery;
use crate::media::program::Program;
use crate::pack::estimate::Estimate;
use crate::pack::margins;
use crate::pack::plan::Plan;
use crate::stages::compress::StreamCompressor;
use std::io::Write;

/// Entries that are looked at together, since lines are alike that stand beside each other; and how often, spread evenly.
const TOGETHER: usize = 1 << 10;
const LOOKS: usize = 64;
/// What is enough is told in whole steps of so many bytes.
const ENOUGH: u64 = 1 << 18;
/// About what the line of a segment becomes.
const PER_SEGMENT: u64 = 13;
/// About what the manifest says of a set, of a volume and of a span, and what a line of `B3SUMS` has.
const MANIFEST: u64 = 950;
const PER_VOLUME: u64 = 104;
const PER_SPAN: u64 = 67;
const PER_SUM: u64 = 82;
/// About the length of what hardly differs from set to set: the signature; the key slot, for a recipient or two; the ends of an inventory.
const SIGNATURE: u64 = 298;
const SLOT: u64 = 410;
const ENDS: u64 = 700;

/// What is known of metadata before anything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aside {
    /// An upper bound, once, of what does not grow with volumes and segments.
    pub most: u64,
    /// What the lines of entries become in the inventory.
    entries: u64,
    /// What helps to restore without an installed ckvault: texts, and the program if one travels with the set.
    aids: u64,
}

impl Aside {
    /// Of these entries, and a program.
    pub fn of(entries: &[Entry], program: Option<&Program>, most: u64) -> Aside {
        let aids = (recovery::SCRIPT.len() + recovery::text(program.is_some()).len()) as u64;
        Aside { most, entries: lines(entries), aids: aids + program.map_or(0, Program::bytes) }
    }
}

/// About how long the lines of entries are when they are compressed, with hashes that are as long as those that are not known yet.
fn lines(entries: &[Entry]) -> u64 {
    let apart = entries.len().div_ceil(TOGETHER).div_ceil(LOOKS).max(1);
    let (mut looked, mut packed) = (0, 0u64);
    for (look, some) in entries.chunks(TOGETHER).enumerate().step_by(apart) {
        let text: Vec<u8> = some.iter().zip(look * TOGETHER..).flat_map(|(entry, i)| line(entry.clone(), i)).collect();
        let compressed = StreamCompressor::new(Vec::new()).and_then(|mut packed| {
            packed.write_all(&text)?;
            packed.finish()
        });
        looked += some.len();
        packed += compressed.map_or(text.len(), |bytes| bytes.len()) as u64;
    }
    let all = u128::from(packed) * entries.len() as u128 / looked.max(1) as u128;
    u64::try_from(all).unwrap_or(u64::MAX)
}

fn line(mut entry: Entry, number: usize) -> Vec<u8> {
    if let Kind::File { blake3, .. } = &mut entry.kind {
        blake3.get_or_insert_with(|| *blake3::hash(&number.to_le_bytes()).as_bytes());
    }
    let mut line = serde_json::to_vec(&entry).unwrap_or_default();
    line.push(b'\n');
    line
}

/// What a set is expected to become on the drives of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Groups.
    pub groups: u64,
    /// On each drive, the lengths of all files together.
    pub on_drives: Vec<u64>,
    /// On each drive, what is enough for that, for what its file system needs, for what is given to files on the way, and for an estimate
    /// that is somewhat wrong.
    pub enough: Vec<u64>,
}

/// Deals frames of the lengths that are expected, as an export would.
pub fn expected(plan: &Plan, drives: usize, tar_bytes: u64, estimate: &Estimate, aside: &Aside) -> Expected {
    let (segments, whole) = (tar_bytes.div_ceil(plan.segment_bytes.into()), u64::from(plan.segment_bytes));
    let (mut dealer, mut dealt) = (Dealer::new(plan.shape()), Dealt::default());
    for segment in 0..segments {
        let bytes = whole.min(tar_bytes - segment * whole);
        let frame = estimate.frame(segment, segments, bytes).clamp(1, plan.longest_frame()) as u32;
        if dealer.ends_group(frame) {
            dealt.end_group(plan, dealer.lengths());
        }
        dealer.deal(frame);
    }
    dealt.end_group(plan, dealer.lengths());
    let (everywhere, beside) =
        (dealt.metadata(segments, (plan.placement.len(), drives), aside), plan.beside(drives, tar_bytes, aside.most));
    let of = |drive: usize| {
        let (volumes, most) = dealt.volumes(plan, drive);
        let files = dealt.groups * plan.volumes_on(drive) as u64;
        let enough = margins::of_volumes(margins::for_estimated(most), files) + beside;
        // Samples are packed with other keys each time, and become some bytes longer or shorter.
        let enough = enough.next_multiple_of(ENOUGH).max(plan.least_on(drive, drives, aside.most));
        (volumes + everywhere + 2 * files * PER_SUM, enough.min(plan.needed[drive]))
    };
    let (on_drives, enough) = (0..drives).map(of).unzip();
    Expected { groups: dealt.groups, on_drives, enough }
}

/// Groups that have been dealt to. Which data volume gets one frame more than another one depends on lengths that nobody knows to the
/// byte: they are taken to be alike.
#[derive(Default)]
struct Dealt {
    groups: u64,
    /// Bytes of all data volumes, and of the longest of each group.
    data: u64,
    longest: u64,
    /// Blocks and spans of all volumes.
    blocks: u64,
    spans: u64,
}

impl Dealt {
    /// Parity volumes are as long as the longest data volume.
    fn end_group(&mut self, plan: &Plan, data: &[u64]) {
        let longest = data.iter().copied().max().unwrap_or(0);
        self.groups += 1;
        self.data += data.iter().sum::<u64>();
        self.longest += longest;
        for bytes in data.iter().copied().chain(std::iter::repeat_n(longest, plan.m.into())) {
            let spans = bytes.div_ceil(plan.block.span());
            self.blocks += plan.block.blocks(bytes);
            self.spans += if spans > 1 { spans } else { 0 };
        }
    }

    /// Bytes of the volumes of a drive, and the most that these may be, however the frames come to be dealt.
    fn volumes(&self, plan: &Plan, drive: usize) -> (u64, u64) {
        let on = |volumes: &[usize]| volumes.iter().filter(|d| **d == drive).count() as u64;
        let (data, parity) = plan.placement.split_at(plan.k.into());
        let (data, parity) = (on(data), on(parity) * self.longest);
        let share = u128::from(self.data) * u128::from(data) / u128::from(plan.k);
        (share as u64 + parity, self.data.min(data * self.longest) + parity)
    }

    /// Bytes of the metadata of each drive, but its `B3SUMS`.
    fn metadata(&self, segments: u64, (volumes, drives): (usize, usize), aside: &Aside) -> u64 {
        let hashes = self.blocks * 32;
        let copies =
            names::copies(names::HASHES).filter(|place| names::is_needed(place, hashes, drives as u64)).count();
        let manifest = MANIFEST + self.groups * volumes as u64 * PER_VOLUME + self.spans * PER_SPAN;
        let inventory = aside.entries + segments * PER_SEGMENT + ENDS;
        copies as u64 * hashes + 3 * (manifest + SIGNATURE + SLOT) + 2 * (inventory + aside.aids)
    }
}
