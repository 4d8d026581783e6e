//! Writing to drives: one thread each behind a queue that the stripe pool bounds. A volume gets its name when its group is
//! complete and durable.

use crate::error::{Error, Result};
use crate::format::hashes::{BLOCK, spans_and_root};
use crate::format::header::Header;
use crate::format::manifest::{Group, Listed, Span, Volume, volume_name};
use crate::format::names;
use crate::media::disk::Disk;
use crate::media::durable::{self, Partial};
use crate::pipeline::lock;
use crate::pipeline::plan::Plan;
use crate::pipeline::stripe::{GroupEnd, Order, Sink};
use crate::progress::Progress;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

/// Passes orders to the writers of all drives, and keeps the record for the manifest.
pub struct Drives {
    /// `None` once there are no more orders.
    writers: Mutex<Option<Vec<Sender<Order>>>>,
    template: Header,
    placement: Vec<usize>,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    groups: Vec<Group>,
    hashes: blake3::Hasher,
    values: u64,
}

impl Drives {
    /// The passing side, and the queue of each of the `drives` drives.
    pub fn new(plan: &Plan, template: Header, drives: usize) -> (Drives, Vec<Receiver<Order>>) {
        let (writers, queues): (Vec<_>, _) = (0..drives).map(|_| channel()).unzip();
        let drives = Drives {
            writers: Mutex::new(Some(writers)),
            template,
            placement: plan.placement.clone(),
            record: Mutex::default(),
        };
        (drives, queues)
    }

    /// Ends the queues.
    pub fn close(&self) {
        *lock(&self.writers) = None;
    }

    /// The groups, and what the manifest says of `hashes.b3`.
    pub fn finish(self) -> (Vec<Group>, Listed) {
        let record = self.record.into_inner().unwrap_or_else(PoisonError::into_inner);
        let listed = Listed { bytes: record.values * 32, blake3: *record.hashes.finalize().as_bytes() };
        (record.groups, listed)
    }

    fn keep(&self, end: &GroupEnd) {
        let mut record = lock(&self.record);
        let mut volumes = Vec::new();
        for (v, values) in end.values.iter().enumerate() {
            let (spans, root) = spans_and_root(values, end.lengths[v]);
            let spans = if spans.len() > 1 { spans.into_iter().map(Span).collect() } else { Vec::new() };
            volumes.push(Volume { drive: self.placement[v] as u16 + 1, bytes: end.lengths[v], blake3: root, spans });
            values.iter().for_each(|value| {
                record.hashes.update(value);
            });
            record.values += values.len() as u64;
        }
        record.groups.push(Group { k: self.template.k, m: self.template.m, volumes });
    }
}

impl Sink for Drives {
    fn order(&self, order: Order) -> Result<()> {
        if let Order::End(end) = &order {
            self.keep(end);
        }
        let writers = lock(&self.writers);
        for writer in writers.iter().flatten() {
            // A writer that has ended has left its error; the workers are being stopped.
            writer.send(order.clone()).map_err(|_| Error::Interrupted)?;
        }
        Ok(())
    }

    fn header(&self, group: u32, volume: usize) -> Vec<u8> {
        self.template.at(group, volume as u16).encode()
    }
}

/// The writer of one drive.
pub struct Writer<'a> {
    /// Its position among the drives.
    pub drive: usize,
    /// What it writes through.
    pub disk: &'a Disk,
    /// The set's directory on it.
    pub dir: &'a Path,
    /// Which volumes of a group are its own.
    pub volumes: Vec<usize>,
    /// Header pages of volumes.
    pub template: Header,
    /// Where to report.
    pub progress: &'a dyn Progress,
}

impl Writer<'_> {
    /// Carries out orders until there are no more.
    pub fn run(&self, queue: &Receiver<Order>) -> Result<()> {
        let copy = self.dir.join(names::COPY);
        let hashes =
            [Partial::create(self.disk, self.dir, names::HASHES)?, Partial::create(self.disk, &copy, names::HASHES)?];
        let (mut open, mut written) = (Vec::new(), 0u64);
        for order in queue {
            match order {
                Order::Begin(group) => open = self.begin(group)?,
                Order::Rows(stripe) => {
                    for (volume, file) in &open {
                        let wrote = stripe
                            .with_column(*volume, |bytes| file.write_at(bytes, stripe.offset).map(|()| bytes.len()));
                        self.progress.drive(self.drive, wrote? as u64);
                    }
                }
                Order::End(end) => {
                    for (_, file) in open.drain(..) {
                        file.finish()?;
                    }
                    for values in &end.values {
                        let bytes = values.as_flattened();
                        hashes.iter().try_for_each(|file| file.write_at(bytes, written))?;
                        written += bytes.len() as u64;
                    }
                }
            }
        }
        match open.is_empty() {
            true => hashes.into_iter().try_for_each(Partial::finish),
            false => Err(Error::Interrupted),
        }
    }

    fn begin(&self, group: u32) -> Result<Vec<(usize, Partial)>> {
        let create = |volume: &usize| {
            let file = Partial::create(self.disk, self.dir, &volume_name(group as usize, *volume, self.template.k))?;
            file.write_at(&self.template.at(group, *volume as u16).encode(), 0)?;
            self.progress.drive(self.drive, BLOCK as u64);
            Ok((*volume, file))
        };
        self.volumes.iter().map(create).collect()
    }
}

/// The directories of a set in the making, one a drive. They are ours alone; [`SetDirs::remove`] removes them.
pub struct SetDirs {
    /// What they are written and read through.
    pub disk: Disk,
    /// In the order of the drives.
    pub dirs: Vec<PathBuf>,
}

impl SetDirs {
    /// Makes them; none of this name may exist.
    pub fn create(disk: &Disk, drives: &[PathBuf], name: &str) -> Result<SetDirs> {
        let mut made = SetDirs { disk: disk.clone(), dirs: Vec::new() };
        for drive in drives {
            let dir = durable::create_dir(disk, drive, name).inspect(|dir| made.dirs.push(dir.clone()));
            if let Err(e) = dir.and_then(|dir| durable::create_dir(disk, &dir, names::COPY)) {
                made.remove();
                return Err(e);
            }
        }
        Ok(made)
    }

    /// Where a metadata file goes: on every drive, the second copy first.
    pub fn places(&self) -> Vec<PathBuf> {
        let copies = self.dirs.iter().map(|d| d.join(names::COPY));
        copies.chain(self.dirs.iter().cloned()).collect()
    }

    /// Removes an export that did not end well, as far as the drives let it.
    pub fn remove(&self) {
        for dir in &self.dirs {
            let _ = self.disk.remove_tree(dir);
        }
    }
}
