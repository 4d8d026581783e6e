//! How long blocks, volumes and segments are: as the user says, or as the size of the set wants it.

use crate::error::{Error, Result};
use crate::format::frame;
use crate::format::hashes::BlockSize;
use crate::format::inventory::MOST_BYTES;
use crate::format::limits::{HASHES_TWICE, SEGMENTS};
use crate::format::manifest::{LARGEST_VOLUME, LEAST_VOLUME, LONGEST_ROW};
use crate::media::drive::Drive;
use crate::stages::compress;
use crate::text::human_bytes;

/// Bytes of the tar stream in a segment of a set that is not very large.
const USUAL_SEGMENT: u64 = 1 << 20;
/// Bytes of as many segments as a group has volumes, if these are longer than usual: their stripes are in memory until all of them have
/// been sealed.
pub(crate) const LONG_SEGMENTS: u64 = 160 << 20;
/// The line of a segment in the inventory, without its numbers; and all of it, about.
pub(crate) const SEGMENT_LINE: u64 = 51;
const ABOUT_A_LINE: u64 = 90;
const DEFAULT_VOLUME: u64 = 1 << 30;
/// Volumes become longer than that rather than more.
const FEW_VOLUMES: u64 = 1 << 14;
/// Bytes of data and parity up to which a set has the smallest blocks; twice as much goes with blocks twice as long.
const SMALL_BLOCKS: u64 = 4 << 40;
/// The most bytes of block values of one group.
const VALUES: u64 = 64 << 20;
/// The most that the header of an age file to one native recipient takes, and the tags of its chunks.
const SEAL: u64 = 512;

/// The blocks of a set of `bytes` bytes of data and parity: short, so that damage is located well, and no more of them than hashes
/// are worth it.
pub fn block_size(asked: Option<u64>, volumes: u64, bytes: u64) -> Result<BlockSize> {
    let may = |bytes: u64| crate::format::within("bytes of a row", volumes * bytes, 0, LONGEST_ROW);
    if let Some(asked) = asked {
        let hint = "64K, 128K, 256K, 512K and 1M are possible, and not the longer ones where a group has many volumes";
        let block = BlockSize::new(asked).map_err(|e| Error::usage(e.to_string(), hint))?;
        let (long, row) = (human_bytes(asked), human_bytes(LONGEST_ROW));
        let why =
            || format!("blocks of {long} are too long for groups of {volumes} volumes: a row has no more than {row}");
        return may(asked).map(|()| block).map_err(|_| Error::usage(why(), hint));
    }
    let wanted = bytes.div_ceil(SMALL_BLOCKS).next_power_of_two().saturating_mul(BlockSize::SMALLEST.bytes());
    let sizes = std::iter::successors(Some(BlockSize::LARGEST.bytes()), |bytes| Some(bytes / 2));
    let chosen =
        sizes.map_while(|bytes| BlockSize::new(bytes).ok()).find(|b| b.bytes() <= wanted && may(b.bytes()).is_ok());
    Ok(chosen.unwrap_or_default())
}

/// The longest volumes of groups of `volumes` volumes, of a set of `bytes` bytes of data and parity.
pub fn volume_bytes(
    asked: Option<u64>,
    drives: &[Drive],
    (volumes, bytes): (u64, u64),
    block: BlockSize,
) -> Result<u64> {
    // The values of a group's blocks are in memory until it is complete.
    let most = VALUES / 32 / volumes * block.bytes();
    let Some(asked) = asked else {
        let least = drives.iter().map(|d| d.longest_file).min().unwrap_or(u64::MAX);
        let few = bytes.div_ceil(FEW_VOLUMES).checked_next_power_of_two().unwrap_or(LARGEST_VOLUME);
        return Ok(few.max(DEFAULT_VOLUME).min(least).min(most));
    };
    crate::format::within("the volume size", asked, LEAST_VOLUME, most).map_err(|e| {
        Error::usage(e.to_string(), "sizes look like 512M or 4G; at least 2M, and less the more volumes a group has")
    })?;
    match drives.iter().find(|d| !d.can_hold(asked, None)) {
        None => Ok(asked),
        Some(drive) => Err(cannot_hold(drive, asked)),
    }
}

/// The refusal of volumes that are too long for a file system.
pub fn cannot_hold(drive: &Drive, bytes: u64) -> Error {
    Error::usage(
        format!(
            "the file system of {} ({}) cannot hold files of {}",
            drive.path.display(),
            drive.fs_type,
            human_bytes(bytes)
        ),
        "leave --volume-size out, or choose one below 4 GiB",
    )
}

/// The longest frame that a segment of `segment_bytes` can become.
pub fn longest_frame(segment_bytes: u32) -> u64 {
    let packed = compress::longest(segment_bytes as usize) as u64;
    frame::HEADER as u64 + packed + SEAL + packed.div_ceil(64 << 10) * 16
}

/// How long segments are, where volumes and blocks have these lengths.
pub fn segment_bytes(
    asked: Option<u64>,
    (k, m): (u16, u16),
    (volume_bytes, block): (u64, BlockSize),
    tar_bytes: u64,
) -> Result<u32> {
    match asked {
        None => Ok(fitting_segment((k, m), volume_bytes, tar_bytes)),
        Some(asked) => asked_segment(asked, (k, m), volume_bytes - block.bytes()),
    }
}

/// The largest power of two up to 1 MiB with K·S ≤ 128 MiB, S ≤ volume size / 16 and 8·K·S ≤ length of the tar stream. Longer ones only
/// where the lines of these would fill more than half of an inventory.
fn fitting_segment((k, m): (u16, u16), volume_bytes: u64, tar_bytes: u64) -> u32 {
    let (volumes, k) = (u64::from(k) + u64::from(m), u64::from(k));
    let in_memory = |s: u64| if s > USUAL_SEGMENT { volumes * s <= LONG_SEGMENTS } else { k * s <= 128 << 20 };
    let fits = |s: u64| in_memory(s) && s * 16 <= volume_bytes && 8 * k * s <= tar_bytes;
    let mut size = USUAL_SEGMENT;
    while size > *SEGMENTS.start() && !fits(size) {
        size /= 2;
    }
    let many = |s: u64| tar_bytes.div_ceil(s) > MOST_BYTES / 2 / ABOUT_A_LINE;
    while size >= USUAL_SEGMENT && many(size) && 2 * size <= *SEGMENTS.end() && fits(2 * size) {
        size *= 2;
    }
    size as u32
}

/// The most bytes of a second copy of `hashes.b3` that becomes so long, on each of so many drives: where it is not needed in the end, it
/// is not written any more when that is seen.
pub fn second_hashes(bytes: u64, drives: u64) -> u64 {
    if drives > 1 { bytes.min(HASHES_TWICE) } else { bytes }
}

/// The segments that the user wants, in volumes that have room for so many bytes of frames.
fn asked_segment(asked: u64, (k, m): (u16, u16), room: u64) -> Result<u32> {
    let hint = "64K, 128K, 256K, 512K, 1M, 2M, 4M and 8M are possible; what is longer than 1M not in groups of many volumes, nor in short volumes";
    let volumes = u64::from(k) + u64::from(m);
    let (long, size) = (human_bytes(asked), u32::try_from(asked).unwrap_or(0));
    let why = match () {
        () if !SEGMENTS.contains(&asked) || !asked.is_power_of_two() => format!("segments of {long} are not possible"),
        () if asked > USUAL_SEGMENT && volumes * asked > LONG_SEGMENTS => {
            let most = human_bytes(LONG_SEGMENTS);
            format!("segments of {long} are too long for groups of {volumes} volumes: one for each is at most {most}")
        }
        () if longest_frame(size) > room => {
            format!("segments of {long} are too long for the volumes, which have room for {}", human_bytes(room))
        }
        () => return Ok(size),
    };
    Err(Error::usage(why, hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::deal::Place;
    use crate::format::inventory::{self, Segment};
    use crate::format::manifest::tests::sample;
    use crate::format::manifest::{Group, Manifest, Span, Volume};
    use crate::format::names;
    use crate::pack::capacity::most_segments;
    use crate::pack::plan::tests::drives;
    use crate::pack::plan::{Plan, Request, plan};
    use crate::stages::compress::StreamCompressor;
    use crate::stages::compress::samples::Dice;
    use std::io::Write;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    #[test]
    fn blocks_and_volumes_grow_with_the_set() {
        const TIB: u64 = 1 << 40;
        let drives = drives(&[1000 * TIB]);
        let sizes = |request: &Request, bytes: u64| {
            // Of data and parity, at 16+2.
            plan(request, &drives, bytes / 18 * 16, 0).map(|p| (p.block.bytes() >> 10, p.volume_bytes >> 30))
        };
        let chosen = |bytes| sizes(&Request::default(), bytes).unwrap();
        for (bytes, expected) in [
            (TIB / 2, (64, 1)),
            (4 * TIB, (64, 1)),
            (4 * TIB + TIB / 8, (128, 1)),
            (16 * TIB, (256, 1)),
            (17 * TIB, (512, 2)),
            (32 * TIB, (512, 2)),
            (33 * TIB, (1024, 4)),
            (200 * TIB, (1024, 16)),
        ] {
            assert_eq!(chosen(bytes), expected, "{bytes}");
        }
        let asked = |kib: u64| Request { block_bytes: Some(kib << 10), ..Request::default() };
        assert_eq!(sizes(&asked(256), TIB).unwrap().0, 256);
        for bad in [0, 32, 96, 2048] {
            assert_eq!(sizes(&asked(bad), TIB).unwrap_err().exit_code(), 2, "{bad}");
        }
        // Rule 87: of many volumes blocks stay shorter, whatever the set's size.
        for (k, m, bytes, most) in
            [(16, 2, 40, 1024), (30, 2, 40, 1024), (30, 3, 40, 512), (100, 27, 40, 256), (128, 127, 20, 128)]
        {
            let wide = Request { parity: Some((k, m)), ..Request::default() };
            assert_eq!(plan(&wide, &drives, bytes * TIB, 0).unwrap().block.bytes() >> 10, most, "{k}+{m}");
            let more = Request { block_bytes: Some(most << 11), ..wide };
            assert_eq!(plan(&more, &drives, TIB, 0).unwrap_err().exit_code(), 2, "{k}+{m}");
        }
        let fat = Drive { longest_file: (4 << 30) - 1, ..drives[0].clone() };
        assert_eq!(plan(&Request::default(), &[fat], 100 * TIB, 0).unwrap().volume_bytes, (4 << 30) - 1);
    }

    /// The manifest of a set that was written as planned, with volumes as long as they can be.
    fn as_planned(plan: &Plan, drives: u16) -> Manifest {
        let block = plan.block;
        let spans = vec![[7; 32]; plan.volume_bytes.div_ceil(block.span()) as usize];
        let root = block.root_of_spans(&spans, plan.volume_bytes);
        let volume = |drive: &usize| Volume {
            drive: *drive as u16 + 1,
            bytes: plan.volume_bytes,
            blake3: root,
            spans: spans.iter().copied().map(Span).collect(),
        };
        let group = |_| Group { k: plan.k, m: plan.m, volumes: plan.placement.iter().map(volume).collect() };
        let mut manifest = Manifest {
            segment_bytes: plan.segment_bytes,
            volume_bytes: plan.volume_bytes,
            block_bytes: block.into(),
            drives,
            groups: (0..plan.most_groups).map(group).collect(),
            ..sample(1, 1, 1)
        };
        let values = manifest.value_offsets().1;
        manifest.files.entry(names::HASHES.into()).and_modify(|file| file.bytes = 32 * values);
        manifest
    }

    /// Bytes that the lines of so many segments have in an inventory, judged by those of a hundred thousand.
    fn packed_lines(plan: &Plan, segments: u64) -> u64 {
        const SOME: u64 = 100_000;
        let mut dice = Dice(9);
        let frames: Vec<u32> =
            (0..SOME).map(|_| plan.segment_bytes / 2 + dice.number() % (plan.segment_bytes / 2)).collect();
        let mut packed = StreamCompressor::new(Vec::new()).unwrap();
        for (number, place) in (segments - SOME..).zip(inventory::places(&frames, plan.shape())) {
            let Place { volume, offset, bytes, .. } = place;
            let group = plan.most_groups as u32 - 1;
            let line = serde_json::to_vec(&Segment { segment: number, group, volume, offset, bytes }).unwrap();
            assert!((line.len() as u64) < plan.per_segment(), "{}", String::from_utf8_lossy(&line));
            packed.write_all(&line).unwrap();
        }
        packed.finish().unwrap().len() as u64 * segments / SOME
    }

    #[test]
    fn two_hundred_terabytes_are_one_part_and_have_little_metadata() {
        const SET: u64 = 200_000_000_000_000;
        // Of 18 volumes, twelve drives would have one or two each, and two of 200 TB do not fit on one.
        let drives = drives(&[20_000_000_000_000; 18]);
        let plan = plan(&Request::default(), &drives, SET, 0).unwrap();
        assert!(!plan.in_parts && plan.most_groups * 18 <= 16_384, "{plan:?}");
        // The lines of segments leave room for those of some hundred thousand files, and more would not in one part.
        let segments = SET.div_ceil(plan.segment_bytes.into());
        let of_entries = MOST_BYTES.checked_sub(segments * plan.per_segment()).unwrap();
        assert!(plan.segment_bytes == 8 << 20 && of_entries > 150 << 20, "{of_entries} bytes for entries");
        assert!((segments..segments + segments / 8).contains(&most_segments(&[], &plan)));
        let begun = std::time::Instant::now();
        let inventory = packed_lines(&plan, segments);
        let dealt = begun.elapsed();
        let manifest = as_planned(&plan, 18);
        let begun = std::time::Instant::now();
        let bytes = manifest.encode();
        let encoded = begun.elapsed();
        assert!(bytes.len() < 16 << 20, "{} bytes of manifest", bytes.len());
        assert!(Manifest::parse(&bytes).as_ref() == Ok(&manifest));
        let parsed = begun.elapsed();
        let hashes = manifest.files[names::HASHES].bytes;
        let b3sums = (1..=18).map(|drive| manifest.b3sums(drive).len()).max().unwrap() as u64;
        let copies = manifest.places(names::HASHES).count() as u64;
        let metadata = copies * hashes + 2 * (inventory + b3sums) + 3 * bytes.len() as u64;
        let memory = segments * (size_of::<u32>() + size_of::<Place>()) as u64;
        eprintln!(
            "200 TB at 16+2 on 18 drives: {segments} segments, {} volumes of {} GiB; manifest of {} bytes (encoded in {encoded:.1?}, parsed after {parsed:.1?}); inventory of {inventory} bytes (a hundred thousand lines in {dealt:.1?}), of which {memory} are held in memory; hashes of {hashes} bytes; {} ppm of a drive",
            manifest.volumes().count(),
            plan.volume_bytes >> 30,
            bytes.len(),
            metadata / 20_000_000
        );
        assert!(copies == 1 && metadata < drives[0].free / 2000, "{metadata} bytes of metadata a drive");
        // Of one drive alone all copies are on it.
        assert_eq!(Manifest { drives: 1, ..manifest }.places(names::HASHES).count(), 2);
    }

    #[test]
    fn no_line_of_a_segment_is_longer_than_was_reckoned_with() {
        for (bytes, volume) in [(1 << 20, None), (10 << 30, None), (3 << 40, Some(64 * MIB)), (60 << 40, None)] {
            let request = Request { volume_bytes: volume, ..Request::default() };
            let plan = plan(&request, &drives(&[1 << 50]), bytes, 0).unwrap();
            let (volume, group) = (plan.k - 1, plan.most_groups as u32 - 1);
            let (offset, bytes) = (plan.volume_bytes, plan.longest_frame() as u32);
            let segment = plan.most_groups * u64::from(plan.k) * (plan.volume_bytes / plan.longest_frame());
            let line = serde_json::to_vec(&Segment { segment, group, volume, offset, bytes }).unwrap().len() as u64 + 1;
            assert!((line..line + 5).contains(&plan.per_segment()), "{line}: {plan:?}");
        }
    }

    #[test]
    fn segments_shrink_with_the_set() {
        assert_eq!(fitting_segment((16, 2), GIB, 128 << 20), 1 << 20);
        assert_eq!(fitting_segment((16, 2), GIB, (128 << 20) - 1), 1 << 19);
        assert_eq!(fitting_segment((254, 1), GIB, 1 << 40), 1 << 19);
        assert_eq!(fitting_segment((16, 2), 2 << 20, 1 << 40), 1 << 17);
        assert_eq!(fitting_segment((16, 2), GIB, 1), 1 << 16);
    }

    #[test]
    fn segments_grow_where_the_inventory_would_be_full() {
        const TB: u64 = 1_000_000_000_000;
        let mib = |k, m, volume, terabytes| fitting_segment((k, m), volume, terabytes * TB) >> 20;
        assert_eq!(
            [1, 12, 13, 25, 26, 50, 51, 200, 9999].map(|tb| mib(16, 2, 16 * GIB, tb)),
            [1, 1, 2, 2, 4, 4, 8, 8, 8]
        );
        // No longer than memory holds one of for each volume, and volumes sixteen of.
        assert_eq!(
            [(18, 2), (19, 2), (38, 2), (39, 2), (80, 1)].map(|(k, m)| mib(k, m, 16 * GIB, 200)),
            [8, 4, 4, 2, 1]
        );
        assert_eq!([128, 127, 64, 32, 31].map(|mib_of_volume| mib(16, 2, mib_of_volume * MIB, 200)), [8, 4, 4, 2, 1]);
    }

    #[test]
    fn segments_that_are_asked_for_fit_volumes_and_memory() {
        let of = |asked: u64, k: u16, m: u16, volume: u64| {
            let request = Request {
                segment_bytes: Some(asked),
                parity: Some((k, m)),
                volume_bytes: Some(volume),
                ..Request::default()
            };
            plan(&request, &drives(&[GIB]), MIB, 0).map(|plan| u64::from(plan.segment_bytes))
        };
        for asked in [64 << 10, 1 << 20, 2 << 20, 8 << 20] {
            assert_eq!(of(asked, 16, 2, 16 * MIB).unwrap(), asked);
        }
        for (asked, k, m, volume) in [
            (0, 4, 2, 16 * MIB),
            (32 << 10, 4, 2, 16 * MIB),
            (96 << 10, 4, 2, 16 * MIB),
            (16 << 20, 4, 2, 64 * MIB),
            (1 << 40, 4, 2, 64 * MIB),
            // A frame and its header page do not fit.
            (8 << 20, 4, 2, 8 * MIB),
            (2 << 20, 4, 2, 2 * MIB),
            // One for each volume does not fit into memory.
            (8 << 20, 19, 2, 64 * MIB),
            (2 << 20, 79, 2, 64 * MIB),
        ] {
            assert_eq!(of(asked, k, m, volume).unwrap_err().exit_code(), 2, "{asked} {k}+{m} {volume}");
        }
        assert_eq!(of(MIB, 200, 55, 64 * MIB).unwrap(), MIB);
    }
}
