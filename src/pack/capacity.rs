//! Room on the drives at hand: whether one more frame still fits, with the parity, hashes and metadata that it brings along.

use crate::format::hashes::BlockSize;
use crate::format::inventory::{self, Entry, Kind};
use crate::media::drive::Drive;
use crate::pack::margins::{self, Beside};
use crate::pack::plan::Plan;

/// What the file systems of the drives can take.
pub struct Room {
    devices: Vec<Device>,
    k: usize,
    block: BlockSize,
    /// Metadata of a drive besides what grows with volumes and segments, once.
    metadata: u64,
    /// What `hashes.b3` and the manifest are given before they have contents.
    given: (u64, u64),
    /// So many segments an inventory has lines for, and of so many groups a manifest may name the volumes.
    segments: u64,
    groups: u64,
    /// The length of the line of a segment in the inventory.
    per_segment: u64,
}

struct Device {
    free: u64,
    /// Volumes of each group that go to it.
    volumes: Vec<usize>,
    /// Drives on it: directories on one file system share its free space.
    drives: u64,
}

/// Groups that are complete.
#[derive(Debug, Clone, Default)]
pub struct Closed {
    groups: u64,
    /// Bytes of each volume of a group, over all groups that were written since the room was measured.
    bytes: Vec<u64>,
    /// Blocks of all volumes of the part.
    blocks: u64,
    volumes: u64,
}

impl Closed {
    /// Groups that were on the drives when the room was measured: only their hashes are still to be written.
    pub fn before(block: BlockSize, lengths: impl IntoIterator<Item = u64>) -> Closed {
        let mut closed = Closed::default();
        for len in lengths {
            closed.blocks += block.blocks(len);
            closed.volumes += 1;
        }
        closed
    }

    /// One more group, with the lengths of all its volumes.
    pub fn add(&mut self, block: BlockSize, lengths: &[u64]) {
        self.groups += 1;
        self.bytes.resize(lengths.len(), 0);
        self.bytes.iter_mut().zip(lengths).for_each(|(all, len)| *all += len);
        self.blocks += lengths.iter().map(|len| block.blocks(*len)).sum::<u64>();
        self.volumes += lengths.len() as u64;
    }
}

impl Room {
    /// Of these drives, for volumes placed as planned, metadata of at most `metadata` bytes besides what grows with them, and at most
    /// `segments` segments; `hashes.b3` and the manifest are given so many bytes before they have contents.
    pub fn new(plan: &Plan, drives: &[Drive], metadata: u64, segments: u64, given: (u64, u64)) -> Room {
        let mut devices: Vec<(u64, Device)> = Vec::new();
        for (position, drive) in drives.iter().enumerate() {
            let own = (0..plan.placement.len()).filter(|v| plan.placement[*v] == position);
            match devices.iter_mut().find(|(device, _)| *device == drive.device) {
                Some((_, known)) => {
                    known.volumes.extend(own);
                    known.drives += 1;
                }
                None => devices.push((drive.device, Device { free: drive.free, volumes: own.collect(), drives: 1 })),
            }
        }
        Room {
            devices: devices.into_iter().map(|(_, d)| d).collect(),
            k: plan.k.into(),
            block: plan.block,
            metadata,
            given,
            segments,
            groups: plan.nameable_groups(),
            per_segment: plan.per_segment(),
        }
    }

    /// Whether there is room for the closed groups and one whose data volumes have these lengths, with so many segments in all of them.
    pub fn fits(&self, closed: &Closed, data: &[u64], segments: u64) -> bool {
        let longest = data.iter().copied().max().unwrap_or(0);
        let len = |volume: usize| data.get(volume).copied().filter(|_| volume < self.k).unwrap_or(longest);
        let n = self.devices.iter().map(|d| d.volumes.len()).sum::<usize>();
        let values = 32 * (closed.blocks + (0..n).map(|v| self.block.blocks(len(v))).sum::<u64>());
        let volumes = closed.volumes + n as u64;
        let beside = Beside {
            metadata: self.metadata + segments * self.per_segment,
            values,
            volumes,
            drives: self.devices.iter().map(|d| d.drives).sum(),
            given: self.given,
        };
        let each = beside.bytes();
        let room = |device: &Device| {
            let bytes = |v: &usize| closed.bytes.get(*v).copied().unwrap_or(0) + len(*v);
            let volume = |v: &usize| margins::of_volumes(bytes(v), closed.groups + 1);
            device.volumes.iter().map(volume).sum::<u64>() + device.drives * each <= device.free
        };
        segments <= self.segments && volumes <= self.groups.saturating_mul(n as u64) && self.devices.iter().all(room)
    }
}

/// About the length of the lines of entries in the inventory.
pub fn lines_of(entries: &[Entry]) -> u64 {
    let line = |entry: &Entry| {
        let xattrs: usize = entry.xattrs.iter().map(|(n, v)| n.0.len() + v.0.len()).sum();
        let extents = match &entry.kind {
            Kind::File { extents: Some(extents), .. } => extents.len() * 40,
            _ => 0,
        };
        (entry.path.0.len() * 2 + xattrs * 2 + extents + 300) as u64
    };
    entries.iter().map(line).sum()
}

/// For how many segments the inventory of a part has lines beside those of all entries, if that may be read.
pub fn most_segments(entries: &[Entry], plan: &Plan) -> u64 {
    inventory::MOST_BYTES.saturating_sub(lines_of(entries)) / plan.per_segment()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::device::Device;

    fn drive(device: u64, free: u64) -> Drive {
        Drive {
            path: "/d".into(),
            free,
            device,
            longest_file: u64::MAX >> 1,
            fs_type: "ext4".into(),
            source: "/dev/x".into(),
            known: Device::default(),
        }
    }

    fn plan(placement: &[usize]) -> Plan {
        Plan {
            k: 2,
            m: 1,
            volume_bytes: 1 << 30,
            block: BlockSize::SMALLEST,
            segment_bytes: 1 << 20,
            compression: Default::default(),
            placement: placement.into(),
            needed: vec![],
            most_groups: 0,
            in_parts: false,
        }
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn parity_is_as_long_as_the_longest() {
        let room = Room::new(&plan(&[0, 0, 0]), &[drive(1, 30 * MIB)], 0, 2, (0, 0));
        assert!(room.fits(&Closed::default(), &[8 * MIB, 7 * MIB], 1));
        assert!(!room.fits(&Closed::default(), &[14 * MIB, MIB], 1));
        let mut closed = Closed::default();
        closed.add(BlockSize::SMALLEST, &[4 * MIB, 4 * MIB, 4 * MIB]);
        assert!(room.fits(&closed, &[4 * MIB, 4 * MIB], 1));
        assert!(!room.fits(&closed, &[6 * MIB, 5 * MIB], 1));
        let before = Closed::before(BlockSize::SMALLEST, [4 * MIB; 3]);
        assert!(room.fits(&before, &[8 * MIB, 7 * MIB], 1));
    }

    #[test]
    fn an_inventory_that_is_full_ends_a_part_too() {
        let room = Room::new(&plan(&[0, 0, 0]), &[drive(1, 30 * MIB)], 0, 2, (0, 0));
        assert!(room.fits(&Closed::default(), &[MIB, MIB], 2));
        assert!(!room.fits(&Closed::default(), &[MIB, MIB], 3));
        // Their lines take room, too.
        let room = Room::new(&plan(&[0, 0, 0]), &[drive(1, 30 * MIB)], 0, u64::MAX, (0, 0));
        assert!(!room.fits(&Closed::default(), &[MIB, MIB], 1 << 18));
        assert!((1 << 24..1 << 25).contains(&most_segments(&[], &plan(&[0, 0, 0]))));
    }

    #[test]
    fn a_part_has_no_more_volumes_than_its_manifest_may_name() {
        let room = Room::new(&plan(&[0, 0, 0]), &[drive(1, 1 << 50)], 0, 2, (0, 0));
        let groups = plan(&[0, 0, 0]).nameable_groups();
        assert!((1000..1 << 16).contains(&groups), "{groups}");
        let lengths = |groups: u64| (0..3 * groups).map(|_| MIB);
        assert!(room.fits(&Closed::before(BlockSize::SMALLEST, lengths(groups - 1)), &[MIB, MIB], 1));
        assert!(!room.fits(&Closed::before(BlockSize::SMALLEST, lengths(groups)), &[MIB, MIB], 1));
    }

    #[test]
    fn the_fullest_drive_counts_and_directories_of_one_share_it() {
        let apart = Room::new(&plan(&[0, 1, 1]), &[drive(1, 100 * MIB), drive(2, 20 * MIB)], 0, 2, (0, 0));
        assert!(apart.fits(&Closed::default(), &[7 * MIB, 7 * MIB], 1));
        assert!(!apart.fits(&Closed::default(), &[10 * MIB, 10 * MIB], 1));
        let shared = Room::new(&plan(&[0, 1, 1]), &[drive(1, 20 * MIB), drive(1, 20 * MIB)], 0, 2, (0, 0));
        assert!(!shared.fits(&Closed::default(), &[7 * MIB, 7 * MIB], 1));
        let metadata = Room::new(&plan(&[0, 0, 0]), &[drive(1, 30 * MIB)], 20 * MIB, 2, (0, 0));
        assert!(!metadata.fits(&Closed::default(), &[MIB, MIB], 1));
    }
}
