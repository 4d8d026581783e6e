//! What an interrupted export has written counts if what is on the drives is still that: groups that were completed, and the one that
//! was begun. Volumes that are not, or that went with a drive, are made again from the others, where parity suffices.

use crate::error::{Error, Result, is_failure};
use crate::format::hashes::{BlockSize, Value};
use crate::format::manifest::{Group, Volume, volume_name};
use crate::media::dir::Location;
use crate::media::durable::{Partial, finish_all};
use crate::pack::begun_group;
use crate::pack::capacity::Closed;
use crate::pack::deal::Start;
use crate::pack::directories::SetDirs;
use crate::pack::packing::Packing;
use crate::pack::rebuild::Rebuilding;
use crate::pack::writers::{Drives, Known};
use crate::progress::{Phase, Progress};
use crate::stages::filehash::Ledger;
use crate::stages::parity::Codec;
use std::collections::BTreeMap;
use std::io;

/// Bytes that are read at a time: as much as the largest block has.
const RUN: usize = BlockSize::LARGEST.size();

/// Reads the known groups of a part again and tells `sink` of those that are as they were, up to the first that is not, and of that
/// which was begun behind the last. Returns where to go on, in that part.
pub fn recheck(packing: &Packing, sink: &Drives, progress: &dyn Progress) -> Result<Start> {
    let (known, dirs, block) = (packing.known, packing.dirs, packing.plan.block);
    let ledger = Ledger::from_page(packing.page.clone());
    let mut start = Start { segment: packing.first, first: packing.first, ledger, ..Start::default() };
    if known.is_empty() && packing.marks.is_empty() {
        return Ok(start);
    }
    packing.recheck(0, progress);
    let mut lengths = Vec::new();
    for (number, group) in known.iter().enumerate() {
        let mut found = reread(number, (&group.group, block), dirs, progress)?;
        if remake(number, &group.group, packing, &mut found, progress)? {
            packing.recheck(number + 1, progress);
        }
        let Some(values) = found.into_iter().collect::<Option<Vec<_>>>() else { return Ok(start) };
        sink.know(group, values)?;
        lengths.extend(lengths_of(group));
        start.segment += group.frames.len() as u64;
        start.after = Some((number as u32, lengths_of(group)[..usize::from(group.group.k)].to_vec()));
        start.ledger = Ledger::from_page(group.page.clone());
        start.closed = Closed::before(block, lengths.iter().copied());
    }
    start.begun = begun_group::take_up(known.len() as u32, packing, sink, progress)?;
    if let Some(begun) = &start.begun {
        start.segment += begun.frames.len() as u64;
        start.ledger = begun.ledger();
    }
    Ok(start)
}

fn lengths_of(known: &Known) -> Vec<u64> {
    known.group.volumes.iter().map(|v| v.bytes).collect()
}

/// The values of the blocks of each volume of a group, as it is on the drives; `None` of one that is not what was written.
fn reread(
    number: usize,
    (group, block): (&Group, BlockSize),
    dirs: &SetDirs,
    progress: &dyn Progress,
) -> Result<Vec<Option<Vec<Value>>>> {
    let on_drive = |drive: usize| {
        let own = group.volumes.iter().enumerate().filter(move |(_, v)| usize::from(v.drive) == drive + 1);
        own.map(|(i, v)| (i, dirs.dirs[drive].at(volume_name(number, i, group.k)), v)).collect::<Vec<_>>()
    };
    let read = |drive: usize| -> Result<Vec<(usize, Option<Vec<Value>>)>> {
        let own = on_drive(drive).into_iter();
        own.map(|(i, file, volume)| Ok((i, values_of(&file, (volume, block), drive, progress)?))).collect()
    };
    let read = &read;
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..dirs.dirs.len()).map(|drive| scope.spawn(move || read(drive))).collect();
        let join = |t: std::thread::ScopedJoinHandle<Result<Vec<_>>>| {
            t.join().unwrap_or_else(|_| Err(Error::Internal("a reader ended early".into())))
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let mut all: Vec<_> = all.into_iter().flatten().collect();
    all.sort_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, values)| values).collect())
}

/// Makes volumes of a group that are not what was written from the others, if these suffice, and reads them back. Returns whether there
/// were any.
fn remake(
    number: usize,
    group: &Group,
    packing: &Packing,
    found: &mut [Option<Vec<Value>>],
    progress: &dyn Progress,
) -> Result<bool> {
    let (block, dirs) = (packing.plan.block, packing.dirs);
    let lost: Vec<usize> = (0..found.len()).filter(|v| found[*v].is_none()).collect();
    if lost.is_empty() || lost.len() > group.m.into() {
        return Ok(false);
    }
    let place = |v: usize| {
        let drive = usize::from(group.volumes[v].drive) - 1;
        dirs.dirs[drive].at(volume_name(number, v, group.k))
    };
    let mut made = BTreeMap::new();
    for v in &lost {
        let Location { dir, name } = place(*v);
        let _ = dir.remove(&name);
        let file = Partial::anew(&dir, &name)?;
        file.write_at(&packing.header.at(number as u32, *v as u16).encode(), 0)?;
        made.insert(*v, file);
    }
    let whole = (0..found.len()).filter(|v| found[*v].is_some());
    let Ok(sources) =
        whole.take(group.k.into()).map(|v| Ok((v, place(v).open()?))).collect::<io::Result<BTreeMap<_, _>>>()
    else {
        return Ok(true);
    };
    let read = |v: usize, bytes: &mut [u8], at: u64| {
        let there = sources[&v].read_up_to(bytes, at)?;
        bytes[there..].fill(0);
        Ok(at + there as u64 >= group.volumes[v].bytes.min(at + bytes.len() as u64))
    };
    let write = |v: usize, bytes: &[u8], at: u64| made[&v].write_at(bytes, at);
    let targets: Vec<(usize, u64)> = lost.iter().map(|v| (*v, group.volumes[*v].bytes)).collect();
    let rows = block.bytes()..group.volumes.iter().map(|v| v.bytes).max().unwrap_or(0);
    let rebuilding = Rebuilding {
        codec: &Codec::new(group.k, group.m)?,
        volumes: found.len(),
        sources: &sources.keys().copied().collect::<Vec<_>>(),
        targets: &targets,
        read: &read,
        write: &write,
    };
    if !rebuilding.run(rows, progress)? {
        return Ok(true);
    }
    finish_all(made.into_values().collect())?;
    progress.begin(Phase::ReadBack, targets.iter().map(|(_, bytes)| bytes).sum(), &[]);
    for v in lost {
        let volume = &group.volumes[v];
        found[v] = values_of(&place(v), (volume, block), usize::from(volume.drive) - 1, progress)?;
    }
    Ok(true)
}

/// The values of a volume, if it has the hash that it was written with. Bad sectors make it another; a drive that is not there any more
/// is an error.
fn values_of(
    file: &Location,
    (volume, block): (&Volume, BlockSize),
    drive: usize,
    progress: &dyn Progress,
) -> Result<Option<Vec<Value>>> {
    let file = match file.open() {
        Err(e) if is_failure(&e) => return Err(Error::on_drive("open", file.path())(e)),
        Err(_) => return Ok(None),
        Ok(file) => file,
    };
    if file.metadata().is_ok_and(|m| m.len() != volume.bytes) {
        return Ok(None);
    }
    crate::media::cache::evict(file.file());
    let (mut values, mut buffer, mut at) = (Vec::new(), vec![0; RUN], 0u64);
    while at < volume.bytes {
        if progress.cancelled() {
            return Err(Error::Interrupted);
        }
        let len = RUN.min((volume.bytes - at) as usize);
        match file.read_up_to(&mut buffer[..len], at) {
            Ok(n) if n == len => {}
            _ => return Ok(None),
        }
        let blocks = buffer[..len].chunks(block.size()).enumerate();
        values.extend(blocks.map(|(i, b)| block.value(at / block.bytes() + i as u64, b, volume.bytes)));
        progress.drive(drive, len as u64);
        progress.advance(len as u64);
        at += len as u64;
    }
    let (_, root) = block.spans_and_root(&values, volume.bytes);
    Ok((root == volume.blake3).then_some(values))
}
