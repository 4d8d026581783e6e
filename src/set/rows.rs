//! Rows of a group: as many blocks read as needed, the others computed from them.

use crate::error::{Error, Result};
use crate::media::buffer::Buffer;
use crate::set::blocks::{Blocks, Seen};
use crate::set::part::At;
use crate::stages::parity::Found;
use std::ops::Range;

/// Some rows of a group: those blocks of them that were asked for, and what was needed to have them.
pub struct Rows {
    range: Range<u64>,
    /// Bytes of a block.
    size: usize,
    bytes: Vec<Buffer>,
    seen: Vec<Vec<Seen>>,
}

impl Rows {
    fn new(volumes: usize, range: Range<u64>, size: usize) -> Rows {
        let count = (range.end - range.start) as usize;
        Rows { range, size, bytes: vec![Buffer::default(); volumes], seen: vec![vec![Seen::Unread; count]; volumes] }
    }

    /// The blocks of a volume that was asked for; zeros after its end.
    pub fn of(&self, index: usize) -> &[u8] {
        &self.bytes[index]
    }

    fn is_good(&self, index: usize, row: usize) -> bool {
        self.seen[index][row] == Seen::Good
    }

    fn count_good(&self, row: usize) -> usize {
        self.seen.iter().filter(|s| s[row] == Seen::Good).count()
    }

    /// Where a row is in the bytes of each volume.
    fn span(&self, row: usize) -> Range<usize> {
        row * self.size..(row + 1) * self.size
    }

    /// Volumes that were not read have no bytes yet.
    fn make_room(&mut self, index: usize) {
        let len = self.seen[index].len() * self.size;
        self.bytes[index].resize(len);
    }
}

impl Blocks<'_> {
    /// Computes those blocks of the volumes `wanted` that are not good, in rows `range`, from K others. What is computed is
    /// not proven: only who knows the value of a block can do that.
    pub fn solve(&self, group: usize, range: Range<u64>, wanted: &[usize]) -> Result<Rows> {
        self.require_enough(group, &range, wanted)?;
        let mut rows = self.read_rows(group, range.clone(), wanted);
        for row in 0..(range.end - range.start) as usize {
            match range.start + row as u64 {
                0 => self.fill_header(group, &mut rows, wanted),
                _ => self.solve_row(group, &mut rows, row, wanted)?,
            }
        }
        wanted.iter().for_each(|index| rows.make_room(*index));
        Ok(rows)
    }

    /// With fewer than K volumes here there is nothing to read for.
    fn require_enough(&self, group: usize, range: &Range<u64>, wanted: &[usize]) -> Result<()> {
        let of = &self.set.manifest.groups[group];
        let lacks = |i: &usize| {
            self.block.blocks(of.volumes[*i].bytes) > range.start.max(1)
                && self.files(At { group, index: *i }).is_empty()
        };
        let lacking: Vec<usize> = (0..of.volumes.len()).filter(lacks).collect();
        let m = usize::from(of.m);
        match wanted.first() {
            Some(first) if lacking.len() > m && range.end > 1 => {
                self.set.look_again();
                let absent = self.set.absent();
                let away = lacking.iter().filter(|i| absent.contains(&of.volumes[**i].drive)).count();
                let could_help = could_help(m, 0, lacking.len() - away, away);
                Err(self.beyond_repair(At { group, index: *first }, range.start, could_help))
            }
            _ => Ok(()),
        }
    }

    /// Whether all of the volumes `bad` can be had back in one row, as they were signed.
    pub fn can_mend(&self, group: usize, row: u64, bad: Vec<usize>) -> bool {
        let Ok(solved) = self.solve(group, row..row + 1, &bad) else { return false };
        bad.into_iter().all(|index| {
            let at = At { group, index };
            let (from, to) = self.bytes_of(at, &(row..row + 1));
            self.agrees(at, row, &solved.of(index)[..(to - from) as usize])
        })
    }

    /// Reads volumes until every row has K good blocks; those that are wanted last, since they are the bad ones.
    fn read_rows(&self, group: usize, range: Range<u64>, wanted: &[usize]) -> Rows {
        let of = &self.set.manifest.groups[group];
        let (n, k) = (of.volumes.len(), usize::from(of.k));
        let mut rows = Rows::new(n, range.clone(), self.block.size());
        let others = (0..n).filter(|i| !wanted.contains(i));
        let count = (range.end - range.start) as usize;
        for index in others.chain(wanted.iter().copied()) {
            if (0..count).all(|row| rows.count_good(row) >= k) {
                break;
            }
            let mut bytes = Buffer::default();
            rows.seen[index] = self.padded(At { group, index }, range.clone(), &mut bytes);
            bytes.resize(count * rows.size);
            rows.bytes[index] = bytes;
        }
        rows
    }

    /// Like [`Blocks::check`], but past its end a volume reads as zeros, which are good.
    fn padded(&self, at: At, range: Range<u64>, out: &mut Buffer) -> Vec<Seen> {
        let last = self.count(at).clamp(range.start, range.end);
        let mut seen = self.check(at, range.start..last, out);
        seen.resize((range.end - range.start) as usize, Seen::Good);
        seen
    }

    /// The header page belongs to no row: it is made from the manifest.
    fn fill_header(&self, group: usize, rows: &mut Rows, wanted: &[usize]) {
        for index in wanted {
            rows.make_room(*index);
            rows.bytes[*index][..rows.size].copy_from_slice(&self.set.manifest.header(group, *index).encode());
        }
    }

    fn solve_row(&self, group: usize, rows: &mut Rows, row: usize, wanted: &[usize]) -> Result<()> {
        let k = usize::from(self.set.manifest.groups[group].k);
        if wanted.iter().all(|index| rows.is_good(*index, row)) {
            return Ok(());
        }
        if rows.count_good(row) < k {
            self.mend_row(group, rows, row)?;
        }
        let Some(missing) = wanted.iter().copied().find(|index| !rows.is_good(*index, row)) else { return Ok(()) };
        if rows.count_good(row) < k {
            return Err(self.unsolvable(At { group, index: missing }, rows, row));
        }
        let good: Vec<bool> = (0..rows.seen.len()).map(|index| rows.is_good(index, row)).collect();
        (0..rows.seen.len()).for_each(|index| rows.make_room(index));
        let span = rows.span(row);
        let shards = rows.bytes.iter_mut().zip(&good).map(|(bytes, good)| (&mut bytes[span.clone()], *good));
        let mut shards: Vec<(&mut [u8], bool)> = shards.collect();
        match wanted.iter().all(|index| *index < k) {
            true => self.codec.reconstruct_data(&mut shards),
            false => self.codec.reconstruct(&mut shards),
        }
    }

    /// Where more than M blocks are bad, but can be read, nearly all bytes of them may be right.
    fn mend_row(&self, group: usize, rows: &mut Rows, row: usize) -> Result<()> {
        let span = rows.span(row);
        let number = rows.range.start + row as u64;
        let found = rows.bytes.iter().zip(&rows.seen).map(|(bytes, seen)| match seen[row] {
            Seen::Good => Found::Good(bytes[span.clone()].to_vec()),
            Seen::Wrong => Found::Doubtful(bytes[span.clone()].to_vec()),
            Seen::Unread => Found::Gone,
        });
        let mut found: Vec<Found> = found.collect();
        let agrees = |index: usize, block: &[u8]| {
            let at = At { group, index };
            let (from, to) = self.bytes_of(at, &(number..number + 1));
            let (own, padding) = block.split_at((to - from) as usize);
            padding.iter().all(|byte| *byte == 0) && self.agrees(at, number, own)
        };
        self.codec.mend(&mut found, &agrees)?;
        for (index, block) in found.into_iter().enumerate() {
            if let (Found::Good(bytes), false) = (block, rows.is_good(index, row)) {
                rows.make_room(index);
                rows.bytes[index][span.clone()].copy_from_slice(&bytes);
                self.recent.keep(At { group, index }, number, &bytes);
                rows.seen[index][row] = Seen::Good;
            }
        }
        Ok(())
    }

    /// What there is to say of a row that has too few good blocks.
    fn unsolvable(&self, at: At, rows: &Rows, row: usize) -> Error {
        self.set.look_again();
        let number = rows.range.start + row as u64;
        let volumes = &self.set.manifest.groups[at.group].volumes;
        let absent = self.set.absent();
        let (mut here, mut away) = (Vec::new(), 0);
        for (volume, seen) in volumes.iter().zip(&rows.seen).filter(|(_, seen)| seen[row] != Seen::Good) {
            match absent.contains(&volume.drive) {
                true => away += 1,
                false => here.push(seen[row]),
            }
        }
        let m = usize::from(self.set.manifest.groups[at.group].m);
        let unread = here.iter().filter(|seen| **seen == Seen::Unread).count();
        self.beyond_repair(at, number, could_help(m, here.len() - unread, unread, away))
    }
}

/// Whether a row that cannot be solved might be if the `away` blocks of it that are on absent drives were brought, given the
/// blocks that are wrong and that cannot be read here. To correct an error costs two parity blocks.
pub fn could_help(m: usize, wrong: usize, unread: usize, away: usize) -> bool {
    away > 0 && (wrong + unread <= m || unread + 2 <= m)
}
