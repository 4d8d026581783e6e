//! The plan: K+M, which volume goes to which drive, and whether there is room. All of it is decided before the first byte is written.

use crate::error::{Error, Result};
use crate::format::deal::Shape;
use crate::format::hashes::BlockSize;
use crate::format::manifest::{Group, LONGEST, MOST_DRIVES, MOST_VOLUMES, Manifest};
use crate::media::drive::Drive;
use crate::pack::margins::{self, Beside, PER_VOLUME};
use crate::pack::one_place::{self, Places};
use crate::pack::place::{self, cannot_survive, most, on_device_of, place};
use crate::pack::sizes;
use crate::stages::compress::Compression;
use crate::text::human_bytes;
use serde::{Deserialize, Serialize};

const DEFAULT_PARITY: (u16, u16) = (16, 2);
/// The most volumes in a group that `--survive-drives` makes.
const SURVIVING_GROUP: usize = 24;
/// What helps where there is not enough room.
const MORE_ROOM: &str = "free some space, use larger or more drives (--to again) or less parity, or let --next-drive-command put in the next drive";
/// What the manifest says of a span.
const PER_SPAN: u64 = 67;

/// What the user asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `--parity K+M`.
    pub parity: Option<(u16, u16)>,
    /// `--survive-drives N`.
    pub survive: Option<u16>,
    /// `--volume-size`, in bytes.
    pub volume_bytes: Option<u64>,
    /// `--block-size`, in bytes.
    pub block_bytes: Option<u64>,
    /// `--segment-size`, in bytes.
    pub segment_bytes: Option<u64>,
    /// `--compress`.
    pub compression: Compression,
    /// Whether there is somebody who can put in the next drives.
    pub may_go_on: bool,
    /// `--trust-estimate`.
    pub trust_estimate: bool,
}

/// How a set will be written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Data volumes in a group.
    pub k: u16,
    /// Parity volumes in a group.
    pub m: u16,
    /// No volume will be longer.
    pub volume_bytes: u64,
    /// How long blocks are.
    pub block: BlockSize,
    /// Bytes of the tar stream in a segment.
    pub segment_bytes: u32,
    /// How segments are compressed.
    pub compression: Compression,
    /// For each volume of a group, the position of its drive.
    pub placement: Vec<usize>,
    /// For each drive, the most bytes that it will have to hold.
    pub needed: Vec<u64>,
    /// The most groups there will be.
    pub most_groups: u64,
    /// It may not fit, and goes on on the next drives where these end.
    pub in_parts: bool,
}

/// Plans a set for a tar stream of `tar_bytes` and metadata of at most `metadata` bytes besides what grows with it; whether there is room
/// is judged apart from that.
pub fn plan(request: &Request, drives: &[Drive], tar_bytes: u64, metadata: u64) -> Result<Plan> {
    crate::format::within("drives", drives.len() as u64, 1, MOST_DRIVES)
        .map_err(|e| Error::usage(e.to_string(), "use fewer drives"))?;
    let (k, m) = parity(request, drives.len())?;
    let volumes = u64::from(k) + u64::from(m);
    let bytes = tar_bytes.div_ceil(k.into()).saturating_mul(volumes);
    let block = sizes::block_size(request.block_bytes, volumes, bytes)?;
    let volume_bytes = sizes::volume_bytes(request.volume_bytes, drives, (volumes, bytes), block)?;
    let segment_bytes = sizes::segment_bytes(request.segment_bytes, (k, m), (volume_bytes, block), tar_bytes)?;
    let placement = place((k, m), request.survive, drives)?;
    let mut plan = Plan {
        k,
        m,
        volume_bytes,
        block,
        segment_bytes,
        compression: request.compression,
        placement,
        needed: Vec::new(),
        most_groups: 0,
        in_parts: false,
    };
    plan.measure(drives.len(), tar_bytes, metadata);
    plan.in_parts = plan.require_names(drives, request.may_go_on)?;
    Ok(plan)
}

fn parity(request: &Request, drives: usize) -> Result<(u16, u16)> {
    let (k, m) = match (request.parity, request.survive) {
        (Some(parity), _) => parity,
        (None, None) => DEFAULT_PARITY,
        (None, Some(lost)) => surviving_parity(drives, lost.into())?,
    };
    let fits = k >= 1 && m >= 1 && u32::from(k) + u32::from(m) <= 255;
    match fits {
        true => Ok((k, m)),
        false => Err(Error::usage(
            format!("{k}+{m} volumes are not possible"),
            "K and M are at least 1, and K+M at most 255",
        )),
    }
}

/// The smallest M with which all of N drives may vanish and one more volume be bad, at the largest group of equal shares.
fn surviving_parity(drives: usize, lost: usize) -> Result<(u16, u16)> {
    let n = (SURVIVING_GROUP / drives).max(1) * drives;
    let m = lost * (n / drives) + 1;
    match n.checked_sub(m) {
        Some(k) if k >= 1 && lost < drives && n <= 255 => Ok((k as u16, m as u16)),
        _ => Err(cannot_survive(drives, lost)),
    }
}

impl Plan {
    /// What the places of frames depend on.
    pub fn shape(&self) -> Shape {
        Shape { k: self.k, volume_bytes: self.volume_bytes, block: self.block }
    }

    /// The longest frame that a segment can become.
    pub fn longest_frame(&self) -> u64 {
        sizes::longest_frame(self.segment_bytes)
    }

    /// The length of the longest line of a segment in the inventory.
    pub fn per_segment(&self) -> u64 {
        let segments = self.most_groups.saturating_mul(self.in_volume()).saturating_mul(self.k.into());
        let numbers = [segments, self.most_groups, self.k.into(), self.volume_bytes, self.longest_frame()];
        sizes::SEGMENT_LINE + numbers.iter().map(|most| most.checked_ilog10().unwrap_or(0) as u64 + 1).sum::<u64>()
    }

    /// How many segments each volume of a group has room for, if none becomes shorter.
    fn in_volume(&self) -> u64 {
        (self.volume_bytes - self.block.bytes()) / self.longest_frame()
    }

    fn measure(&mut self, drives: usize, tar_bytes: u64, metadata: u64) {
        let segments = tar_bytes.div_ceil(self.segment_bytes.into());
        self.most_groups = segments.div_ceil(self.in_volume() * u64::from(self.k));
        let per_volume = self.most_per_volume(segments);
        let beside = self.beside(drives, tar_bytes, metadata);
        let on_drive = |d| self.volumes_on(d) as u64 * margins::of_volumes(per_volume, self.most_groups) + beside;
        self.needed = (0..drives).map(on_drive).collect();
    }

    /// Places the volumes of a set that has room here, and does not go on elsewhere, anew: by the bytes that drives take in a second, so
    /// that the slowest is done as early as can be. Where no such placement has room for sure, they stay where they are.
    pub fn favour(
        &mut self,
        request: &Request,
        (drives, speeds): (&[Drive], &[u64]),
        (tar_bytes, metadata): (u64, u64),
    ) {
        if self.in_parts {
            return;
        }
        let placed = |placement: &[usize]| {
            let mut plan = Plan { placement: placement.to_vec(), ..self.clone() };
            plan.measure(drives.len(), tar_bytes, metadata);
            plan
        };
        let needed = |placement: &[usize]| placed(placement).needed;
        let parity = (self.k, self.m);
        let found = place::by_speed(parity, request.survive, (drives, speeds), needed);
        if let Some(plan) = found.map(|placement| placed(&placement)) {
            *self = plan;
        }
    }

    /// The most bytes of a volume of each group together, in the order of the groups, if all frames are as long as can be.
    fn most_per_volume(&self, segments: u64) -> u64 {
        let (groups, frame) = (self.most_groups, self.longest_frame());
        let last = segments - (groups - 1) * self.in_volume() * u64::from(self.k);
        (groups - 1) * self.volume_bytes + self.block.bytes() + last.div_ceil(self.k.into()) * frame
    }

    /// The most that each drive needs besides its volumes.
    pub(crate) fn beside(&self, drives: usize, tar_bytes: u64, metadata: u64) -> u64 {
        let segments = tar_bytes.div_ceil(self.segment_bytes.into());
        let volumes = self.most_groups * self.placement.len() as u64;
        let in_volumes = self.most_per_volume(segments) * self.placement.len() as u64;
        let beside = Beside {
            metadata: metadata + segments * self.per_segment(),
            values: (self.block.blocks(in_volumes) + volumes) * 32,
            volumes,
            drives: drives as u64,
            given: (0, 0),
        };
        // Files are given room by all that there may be on the drives, which is somewhat more.
        let all = margins::of_volumes(in_volumes, volumes) + drives as u64 * (beside.bytes() + (1 << 20));
        Beside { given: margins::given(all, volumes, drives as u64, self.block), ..beside }.bytes()
    }

    /// What a part needs of a drive at least: for one frame in each data volume, and all that goes with these; but no more than all of
    /// the set does.
    pub fn least_on(&self, drive: usize, drives: usize, metadata: u64) -> u64 {
        let (own, volumes, drives) = (self.volumes_on(drive) as u64, self.placement.len() as u64, drives as u64);
        let volume = self.longest_frame() + self.block.bytes();
        let beside = Beside {
            metadata: metadata + u64::from(self.k) * self.per_segment(),
            values: 32 * volumes * self.block.blocks(volume),
            volumes,
            drives,
            given: margins::given(volumes * volume, volumes, drives, self.block),
        };
        (margins::of_volumes(own * volume, own) + beside.bytes()).min(self.needed[drive])
    }

    /// The volumes of so many groups a manifest may name.
    pub fn nameable_groups(&self) -> u64 {
        let spans = match self.volume_bytes.div_ceil(self.block.span()) {
            1 => 0,
            spans => spans * PER_SPAN,
        };
        MOST_VOLUMES.min(LONGEST / (PER_VOLUME + spans)) / (self.placement.len() as u64).max(1)
    }

    fn can_name(&self, groups: u64) -> bool {
        groups <= self.nameable_groups()
    }

    /// How many full groups these drives hold at most, the last of them in part. Directories on one file system share its free space.
    fn held_groups(&self, drives: &[Drive]) -> u64 {
        let full = self.volume_bytes.saturating_sub(self.longest_frame()).max(1);
        let holds = |drive: &Drive| {
            let together = (0..drives.len()).filter(|d| drives[*d].device == drive.device);
            drive.free.checked_div(full * together.map(|d| self.volumes_on(d) as u64).sum::<u64>())
        };
        drives.iter().filter_map(holds).min().unwrap_or(0).saturating_add(1)
    }

    /// So many groups a part on these drives has at most.
    pub fn most_groups_on(&self, drives: &[Drive]) -> u64 {
        self.most_groups.min(self.nameable_groups()).min(self.held_groups(drives))
    }

    /// Whether the set has more volumes than one manifest may name, so that it can be written in parts only: in as large ones as the
    /// drives hold. Refused if these are too large too, or there is nobody to change the drives.
    fn require_names(&self, drives: &[Drive], may_go_on: bool) -> Result<bool> {
        if self.can_name(self.most_groups) {
            return Ok(false);
        }
        if may_go_on && self.can_name(self.held_groups(drives)) {
            return Ok(true);
        }
        let volumes = self.most_groups.saturating_mul(self.placement.len() as u64);
        Err(Error::usage(
            format!("the set would have up to {volumes} volumes, which is more than one manifest can name"),
            "leave --volume-size and --block-size out, or write the set in parts: give no more drives than one part is to have, and --next-drive-command puts in the next",
        ))
    }

    /// How many volumes of each group a drive holds.
    pub fn volumes_on(&self, drive: usize) -> usize {
        self.placement.iter().filter(|d| **d == drive).count()
    }

    /// Requires room for all of it: as if nothing could be compressed, or, if what is expected is to be relied on, for what is enough then
    /// on each drive. Where it may not be enough, the set goes on on the next drives: if there is somebody who puts them in, or nobody is
    /// expected to have to.
    pub fn require_room(&mut self, request: &Request, drives: &[Drive], enough: Option<&[u64]>) -> Result<()> {
        let Some(short) = lacking(drives, &self.needed) else { return Ok(()) };
        let lack = enough.and_then(|enough| lacking(drives, enough));
        let is_expected = enough.is_some() && lack.is_none();
        if request.may_go_on || request.trust_estimate && is_expected {
            self.in_parts = true;
            return Ok(());
        }
        let short = lack.unwrap_or(short);
        let there = |wanted: &[u64]| human_bytes(on_device_of(short, drives, wanted));
        let expected =
            enough.map(|e| format!(", and is expected to need no more than {}", there(e))).unwrap_or_default();
        Err(Error::drive(
            format!(
                "{} has {} free, and the set may need {} there{expected}",
                drives[short].path.display(),
                human_bytes(drives[short].free),
                there(&self.needed)
            ),
            match lack.is_none() && !request.trust_estimate {
                true => format!("{MORE_ROOM}; or judge by samples of the sources, with --trust-estimate"),
                false => MORE_ROOM.into(),
            },
        ))
    }
}

/// Whether drives have so much free as is wanted of each.
pub fn has_room(drives: &[Drive], wanted: &[u64]) -> bool {
    lacking(drives, wanted).is_none()
}

/// The first drive that has not so much free as is wanted of it.
fn lacking(drives: &[Drive], wanted: &[u64]) -> Option<usize> {
    (0..drives.len()).find(|drive| on_device_of(*drive, drives, wanted) > drives[*drive].free)
}

/// One sentence that says what a set survives, derived from K, M and how many volumes of each group each drive holds; and from the damage
/// in one place that does no harm, if that is known.
pub fn survives(k: u16, m: u16, groups: &[Vec<usize>], in_one_place: Option<u64>) -> String {
    let (n, m) = (usize::from(k + m), usize::from(m));
    let any = format!(
        "any {m} of the {n} volumes of {} lost or damaged",
        if groups.len() == 1 { "the set" } else { "each group" }
    );
    let drives = groups.first().map_or(0, Vec::len);
    let place = |bytes: u64| {
        let length = if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) };
        format!(", or damage of up to {length} in one place that spares the tables of the file system")
    };
    let place = in_one_place.map(place).unwrap_or_default();
    if drives == 1 {
        return format!(
            "survives {any}, or damage to volumes that leaves {k} of {n} blocks in every row{place}; not the loss of the drive"
        );
    }
    // Volumes lost with the N drives that hold the most of a group, at worst.
    let worst = |lost: usize| groups.iter().map(|g| most(g, lost)).max().unwrap_or(0);
    match (1..drives).rev().find(|lost| worst(*lost) <= m) {
        Some(lost) => {
            let spare = m - worst(lost);
            let then = match spare {
                0 => "nothing more".to_owned(),
                1 => "1 more bad volume or block in every row".to_owned(),
                _ => format!("{spare} more bad volumes or blocks in every row"),
            };
            format!("survives the loss of any {lost} of {drives} drives and {then}; or {any}")
        }
        None => format!("survives {any}{place}; not the loss of any one of the {drives} drives"),
    }
}

/// The same sentence for a set as its manifests say it was placed, one of each part; what places the drives gave is known to
/// who wrote them. Of parts it says what each of them survives.
pub fn survives_as_placed(parts: &[&Manifest], places: Places) -> String {
    let count = |manifest: &Manifest, group: &Group| {
        let mut counts = vec![0; manifest.drives.into()];
        group.volumes.iter().for_each(|v| counts[usize::from(v.drive) - 1] += 1);
        counts
    };
    let groups: Vec<Vec<usize>> = parts.iter().flat_map(|m| m.groups.iter().map(|group| count(m, group))).collect();
    let (k, m) = parts.iter().flat_map(|m| &m.groups).next().map_or((1, 1), |g| (g.k, g.m));
    // What is said of each part must be known of all.
    let are_all = parts.iter().zip(1..).all(|(m, part)| m.part == part) && parts.last().is_some_and(|m| m.last);
    let in_one_place = || parts.iter().map(|m| one_place::survived(m, places)).min().flatten();
    let sentence = survives(k, m, &groups, if are_all { in_one_place() } else { None });
    match are_all && parts.len() == 1 {
        true => sentence,
        // Parity does not reach from part to part.
        false => {
            let sentence = sentence
                .replace(" of the set lost", " of the part lost")
                .replace("the loss of the drive", "the loss of its drive");
            format!("consists of parts, each of which {sentence}; all parts are needed")
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::format::manifest::tests::sample;
    use crate::media::device::Device;

    pub(crate) fn drives(free: &[u64]) -> Vec<Drive> {
        let drive = |(i, free): (usize, &u64)| Drive {
            path: format!("/d{i}").into(),
            free: *free,
            device: i as u64,
            longest_file: u64::MAX >> 1,
            fs_type: "ext4".into(),
            source: "/dev/x".into(),
            known: Device::default(),
        };
        free.iter().enumerate().map(drive).collect()
    }

    const GIB: u64 = 1 << 30;

    fn counts(plan: &Plan, drives: usize) -> Vec<usize> {
        (0..drives).map(|d| plan.volumes_on(d)).collect()
    }

    #[test]
    fn one_drive_gets_sixteen_and_two() {
        let plan = plan(&Request::default(), &drives(&[100 * GIB]), 10 * GIB, 0).unwrap();
        assert_eq!((plan.k, plan.m, plan.segment_bytes, plan.volume_bytes), (16, 2, 1 << 20, GIB));
    }

    #[test]
    fn surviving_one_of_three_drives() {
        let request = Request { survive: Some(1), ..Request::default() };
        let plan = plan(&request, &drives(&[100 * GIB, 70 * GIB, 60 * GIB]), 10 * GIB, 0).unwrap();
        assert_eq!((plan.k, plan.m), (15, 9));
        assert_eq!(counts(&plan, 3), [8, 8, 8]);
        let sentence = survives(15, 9, &[vec![8, 8, 8]], None);
        assert_eq!(
            sentence,
            "survives the loss of any 1 of 3 drives and 1 more bad volume or block in every row; or any 9 of the 24 volumes of the set lost or damaged"
        );
    }

    #[test]
    fn what_cannot_be_survived_is_a_mistake_of_usage() {
        for (lost, n) in [(1, 1), (2, 2), (3, 3), (5, 3)] {
            let request = Request { survive: Some(lost), ..Request::default() };
            assert_eq!(
                plan(&request, &drives(&vec![99 * GIB; n]), GIB, 0).unwrap_err().exit_code(),
                2,
                "{lost} of {n}"
            );
        }
        let weak = Request { survive: Some(1), parity: Some((16, 2)), ..Request::default() };
        assert_eq!(plan(&weak, &drives(&[GIB; 3]), GIB, 0).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_full_drive_is_found_before_the_first_byte() {
        let request = Request { survive: Some(1), ..Request::default() };
        let full = |request: &Request, drives: &[Drive], bytes: u64| {
            let mut plan = plan(request, drives, bytes, 0).unwrap();
            plan.require_room(request, drives, None).is_err_and(|e| e.exit_code() == 7)
                && !has_room(drives, &plan.needed)
        };
        assert!(full(&request, &drives(&[99 * GIB, 99 * GIB, GIB]), 30 * GIB));
        let mut same = drives(&[3 * GIB, 3 * GIB]);
        same[1].device = same[0].device;
        assert!(full(&Request::default(), &same, 4 * GIB) && !full(&Request::default(), &same, 2 * GIB));
    }

    #[test]
    fn what_is_expected_is_relied_on_where_that_is_wanted() {
        let drives = drives(&[4 * GIB]);
        let judged = |request: &Request, expected: Option<&[u64]>| {
            let mut plan = plan(request, &drives, 6 * GIB, 0).unwrap();
            plan.require_room(request, &drives, expected).map(|()| plan.in_parts).map_err(|e| e.to_string())
        };
        let trusting = Request { trust_estimate: true, ..Request::default() };
        assert_eq!(judged(&trusting, Some(&[4 * GIB])), Ok(true));
        for (request, expected) in
            [(&trusting, Some(&[4 * GIB + 1][..])), (&trusting, None), (&Request::default(), Some(&[4 * GIB]))]
        {
            let refused = judged(request, expected).unwrap_err();
            assert_eq!(refused.contains("is expected to need no more than 4.00 GiB"), expected.is_some(), "{refused}");
            assert!(refused.contains("4.00 GiB free") && refused.contains("may need 6."), "{refused}");
        }
        // Who has somebody to put in the next drives need not rely on anything.
        let going_on = Request { may_go_on: true, ..Request::default() };
        assert_eq!(judged(&going_on, Some(&[5 * GIB])), Ok(true));
        // What fits for sure is in no parts, whatever is expected.
        let mut small = plan(&trusting, &drives, GIB, 0).unwrap();
        small.require_room(&trusting, &drives, None).unwrap();
        assert!(!small.in_parts);
    }

    #[test]
    fn of_parts_it_is_said_what_each_of_them_survives() {
        let part = |part: u32, last: bool, bytes: u64| {
            let mut manifest = Manifest { part, last, drives: 1, ..sample(16, 1, 1) };
            manifest.groups[0].volumes.iter_mut().for_each(|volume| (volume.bytes, volume.drive) = (bytes, 1));
            manifest
        };
        let of = |parts: &[&Manifest]| survives_as_placed(parts, Places::InOrder);
        let (long, short) = (part(1, false, 2 << 20), part(2, true, 1 << 20));
        assert!(of(&[&long, &short]).contains("up to 512 KiB in one place"));
        assert!(of(&[&part(1, false, 1 << 20), &part(2, true, 2 << 20)]).contains("up to 512 KiB in one place"));
        // Nobody knows of the others.
        assert!(!of(&[&long]).contains("in one place") && !of(&[&short]).contains("in one place"));
        assert!(of(&[&part(1, true, 2 << 20)]).contains("up to 1 MiB in one place"));
    }

    #[test]
    fn what_one_manifest_cannot_name_is_written_in_parts() {
        let small = Request { volume_bytes: Some(64 << 20), ..Request::default() };
        let refused = plan(&small, &drives(&[20_000_000_000_000; 12]), 100_000_000_000_000, 0).unwrap_err();
        assert!(refused.exit_code() == 2 && refused.hint().contains("in parts"), "{refused}: {}", refused.hint());
        let goes_on = Request { may_go_on: true, ..small };
        assert!(plan(&goes_on, &drives(&[200_000_000_000; 12]), 100_000_000_000_000, 0).unwrap().in_parts);
        // All fits these, but in no one part, and no part would end.
        assert!(plan(&goes_on, &drives(&[20_000_000_000_000; 12]), 100_000_000_000_000, 0).is_err());
        assert!(!plan(&goes_on, &drives(&[200_000_000_000; 12]), 1_000_000_000_000, 0).unwrap().in_parts);
    }

    #[test]
    fn sentences() {
        assert!(survives(16, 2, &[vec![18]], None).contains("not the loss of the drive"));
        assert!(survives(16, 2, &[vec![9, 9]], None).contains("not the loss of any one"));
        let place = ", or damage of up to 512 KiB in one place that spares the tables of the file system; not the loss of the drive";
        assert!(survives(16, 2, &[vec![18]], Some(512 << 10)).ends_with(place));
        assert!(survives(16, 2, &[vec![9, 9]], Some(1 << 20)).contains("damage of up to 1 MiB in one place"));
        assert!(
            survives(4, 4, &[vec![4, 4], vec![4, 4]], None)
                .starts_with("survives the loss of any 1 of 2 drives and nothing more")
        );
    }
}
