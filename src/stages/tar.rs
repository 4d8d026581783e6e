//! The tar stream as a pure function of inventory and contents, in the GNU dialect: export fills it, import checks it, and
//! both ask here what lies where.

use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::inventory::{Entry, Extent, Kind, Name};
use std::ops::Range;
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

const RECORD: u64 = 512;
/// Two records of zeros end the stream.
const TRAILER: u64 = 2 * RECORD;
const SHORT_NAME: usize = 100;
const EXTENTS_IN_HEADER: usize = 4;
const EXTENTS_IN_EXTENSION: usize = 21;

/// A stretch of the stream that lies within one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes `range` of the headers of entry `entry`.
    Header {
        /// Which entry.
        entry: usize,
        /// Which of its header bytes.
        range: Range<usize>,
    },
    /// Bytes of the contents of entry `entry`.
    Data {
        /// Which entry.
        entry: usize,
        /// Where in its stored bytes.
        offset: u64,
        /// How many.
        len: usize,
    },
    /// Padding.
    Zeros(usize),
}

/// Gives every entry its place in the stream; returns the length of the stream.
pub fn lay_out(entries: &mut [Entry]) -> Result<u64> {
    let mut at = 0u64;
    for entry in entries.iter_mut() {
        entry.offset = at;
        at = end_of(entry).ok_or_else(|| Error::source("the sources are larger than 64 PiB", "export less at once"))?;
    }
    Ok(at + TRAILER)
}

/// Whether the places in an inventory are those that [`lay_out`] gives.
pub fn check_layout(entries: &[Entry], tar_bytes: u64) -> Result<(), FormatError> {
    let wrong = |entry: &Entry| {
        FormatError::Contradiction(format!("{} does not lie where the tar stream has it", entry.path.printable()))
    };
    let mut at = 0;
    for entry in entries {
        if entry.offset != at {
            return Err(wrong(entry));
        }
        at = end_of(entry).ok_or_else(|| wrong(entry))?;
    }
    match at + TRAILER == tar_bytes {
        true => Ok(()),
        false => {
            Err(FormatError::Contradiction("the tar stream does not have the length that its entries need".into()))
        }
    }
}

fn end_of(entry: &Entry) -> Option<u64> {
    let data = entry.stored().checked_next_multiple_of(RECORD)?;
    let end = entry.offset.checked_add(header_len(entry))?.checked_add(data)?;
    (end < crate::format::inventory::LARGEST).then_some(end)
}

/// Bytes of headers before the contents of an entry.
pub fn header_len(entry: &Entry) -> u64 {
    let long = |len: usize| if len > SHORT_NAME { RECORD + (len as u64 + 1).next_multiple_of(RECORD) } else { 0 };
    let path = entry.path.0.len().max(1) + usize::from(entry.kind == Kind::Dir);
    let link = link_target(entry).map_or(0, |t| t.0.len());
    let extensions = sparse_len(entry).saturating_sub(EXTENTS_IN_HEADER).div_ceil(EXTENTS_IN_EXTENSION);
    RECORD + long(path) + long(link) + extensions as u64 * RECORD
}

/// The headers of an entry: long-name records if it needs them, its own header, extensions of a sparse map.
pub fn headers(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(header_len(entry) as usize);
    let path = tar_path(entry);
    if let Some(target) = link_target(entry) {
        long_name(&mut bytes, &target.0, EntryType::GNULongLink);
    }
    long_name(&mut bytes, &path, EntryType::GNULongName);
    let mut header = Header::new_gnu();
    copy_name(&mut header, &path);
    header.set_entry_type(entry_type(entry));
    header.set_mode(entry.mode);
    header.set_uid(0);
    header.set_gid(0);
    // Times before 1970 stand in the inventory; tar has no portable way to say them.
    header.set_mtime(u64::try_from(entry.mtime.0).unwrap_or(0));
    header.set_size(entry.stored());
    if let (Some(target), Some(gnu)) = (link_target(entry), header.as_gnu_mut()) {
        let len = target.0.len().min(SHORT_NAME);
        gnu.linkname[..len].copy_from_slice(&target.0[..len]);
    }
    let map = sparse_map(entry).unwrap_or_default();
    fill_sparse(&mut header, entry, &map);
    header.set_cksum();
    bytes.extend_from_slice(header.as_bytes());
    append_extensions(&mut bytes, &map);
    bytes
}

fn tar_path(entry: &Entry) -> Vec<u8> {
    let mut path = entry.path.0.to_vec();
    if path.is_empty() {
        path.push(b'.');
    }
    if matches!(entry.kind, Kind::Dir) {
        path.push(b'/');
    }
    path
}

fn link_target(entry: &Entry) -> Option<&Name> {
    match &entry.kind {
        Kind::Symlink { target } | Kind::Hardlink { target } => Some(target),
        _ => None,
    }
}

fn entry_type(entry: &Entry) -> EntryType {
    match &entry.kind {
        Kind::Dir => EntryType::Directory,
        Kind::File { extents: Some(_), .. } => EntryType::GNUSparse,
        Kind::File { .. } => EntryType::Regular,
        Kind::Symlink { .. } => EntryType::Symlink,
        Kind::Hardlink { .. } => EntryType::Link,
    }
}

fn copy_name(header: &mut Header, name: &[u8]) {
    if let Some(gnu) = header.as_gnu_mut() {
        let len = name.len().min(SHORT_NAME);
        gnu.name[..len].copy_from_slice(&name[..len]);
    }
}

fn long_name(bytes: &mut Vec<u8>, name: &[u8], kind: EntryType) {
    if name.len() <= SHORT_NAME {
        return;
    }
    let mut header = Header::new_gnu();
    copy_name(&mut header, b"././@LongLink");
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(name.len() as u64 + 1);
    header.set_cksum();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(name);
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(RECORD as usize), 0);
}

/// The extents as GNU tar has them: an empty one at the end tells it how long a file is that ends with a hole.
fn sparse_map(entry: &Entry) -> Option<Vec<Extent>> {
    let Kind::File { size, extents: Some(extents), .. } = &entry.kind else { return None };
    let mut map = extents.to_vec();
    if ends_with_hole(extents, *size) {
        map.push(Extent(*size, 0));
    }
    Some(map)
}

/// How many extents [`sparse_map`] gives.
fn sparse_len(entry: &Entry) -> usize {
    match &entry.kind {
        Kind::File { size, extents: Some(extents), .. } => extents.len() + usize::from(ends_with_hole(extents, *size)),
        _ => 0,
    }
}

fn ends_with_hole(extents: &[Extent], size: u64) -> bool {
    extents.last().is_none_or(|e| e.end() != size)
}

fn fill_sparse(header: &mut Header, entry: &Entry, map: &[Extent]) {
    let Kind::File { size, extents: Some(_), .. } = &entry.kind else { return };
    if let Some(gnu) = header.as_gnu_mut() {
        gnu.set_real_size(*size);
        gnu.set_is_extended(map.len() > EXTENTS_IN_HEADER);
        set_extents(&mut gnu.sparse, map);
    }
}

fn append_extensions(bytes: &mut Vec<u8>, map: &[Extent]) {
    let rest = map.get(EXTENTS_IN_HEADER..).unwrap_or_default();
    let extensions = rest.chunks(EXTENTS_IN_EXTENSION);
    let last = extensions.len().saturating_sub(1);
    for (i, chunk) in extensions.enumerate() {
        let mut extension = GnuExtSparseHeader::new();
        extension.set_is_extended(i < last);
        set_extents(extension.sparse_mut(), chunk);
        bytes.extend_from_slice(extension.as_bytes());
    }
}

fn set_extents(slots: &mut [GnuSparseHeader], extents: &[Extent]) {
    for (slot, extent) in slots.iter_mut().zip(extents) {
        slot.set_offset(extent.0);
        slot.set_length(extent.1);
    }
}

/// What lies in bytes `start` to `end` of the stream over `entries`, in order.
pub fn pieces(entries: &[Entry], start: u64, end: u64) -> impl Iterator<Item = Piece> + '_ {
    let first = entries.partition_point(|e| e.offset <= start).saturating_sub(1);
    let mut walk = Walk { entries, entry: first, at: start, end };
    std::iter::from_fn(move || walk.next_piece())
}

struct Walk<'a> {
    entries: &'a [Entry],
    entry: usize,
    at: u64,
    end: u64,
}

impl Walk<'_> {
    fn next_piece(&mut self) -> Option<Piece> {
        while self.at < self.end {
            let Some(entry) = self.entries.get(self.entry) else {
                return Some(Piece::Zeros(self.take(self.end)));
            };
            let data = entry.offset + header_len(entry);
            let padding = data + entry.stored();
            let next = padding.next_multiple_of(RECORD);
            if self.at < data {
                let from = (self.at - entry.offset) as usize;
                let len = self.take(data);
                return Some(Piece::Header { entry: self.entry, range: from..from + len });
            }
            if self.at < padding {
                let offset = self.at - data;
                return Some(Piece::Data { entry: self.entry, offset, len: self.take(padding) });
            }
            if self.at < next {
                return Some(Piece::Zeros(self.take(next)));
            }
            self.entry += 1;
        }
        None
    }

    fn take(&mut self, until: u64) -> usize {
        let len = until.min(self.end) - self.at;
        self.at += len;
        len as usize
    }
}

/// Where stored bytes `offset..offset+len` of an entry lie in its file: offset in the file and length, one after the other.
pub fn file_ranges(entry: &Entry, offset: u64, len: usize) -> Vec<(u64, usize)> {
    let Kind::File { extents: Some(extents), .. } = &entry.kind else { return vec![(offset, len)] };
    let (mut ranges, mut before, end) = (Vec::new(), 0u64, offset + len as u64);
    for extent in extents.iter() {
        let (from, to) = (offset.max(before), end.min(before + extent.1));
        if from < to {
            ranges.push((extent.0 + (from - before), (to - from) as usize));
        }
        before += extent.1;
        if before >= end {
            break;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    fn entry(path: &[u8], kind: Kind) -> Entry {
        Entry { path: Name::new(path), kind, mode: 0o644, mtime: (1_700_000_000, 5), xattrs: vec![], offset: 0 }
    }

    fn file(path: &[u8], size: u64) -> Entry {
        entry(path, Kind::File { size, extents: None, blake3: None })
    }

    fn sparse(size: u64, extents: &[Extent]) -> Entry {
        entry(b"sparse", Kind::File { size, extents: Some(extents.into()), blake3: None })
    }

    /// The whole stream, contents painted with the number of their entry.
    fn stream(entries: &[Entry], tar_bytes: u64, segment: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut start = 0;
        while start < tar_bytes {
            for piece in pieces(entries, start, (start + segment).min(tar_bytes)) {
                match piece {
                    Piece::Header { entry, range } => bytes.extend_from_slice(&headers(&entries[entry])[range]),
                    Piece::Data { entry, len, .. } => bytes.resize(bytes.len() + len, entry as u8 + 1),
                    Piece::Zeros(len) => bytes.resize(bytes.len() + len, 0),
                }
            }
            start += segment;
        }
        bytes
    }

    fn samples() -> Vec<Entry> {
        let many: Vec<Extent> = (0..60).map(|i| Extent(i * 1024, 512)).collect();
        vec![
            entry(b"", Kind::Dir),
            entry(b"dir", Kind::Dir),
            file(b"dir/empty", 0),
            file(b"dir/one", 1),
            file(b"dir/record", 512),
            file(&[b'x'; 100], 513),
            file(&[b'y'; 101], 100_000),
            file(b"not-utf8-\xff\n", 3),
            entry(b"link", Kind::Symlink { target: Name::new(&[b't'; 300]) }),
            entry(b"hard", Kind::Hardlink { target: Name::new(b"dir/one") }),
            sparse(1 << 40, &[Extent(4096, 10_240), Extent(1 << 39, 512)]),
            sparse(70_000, &many),
            sparse(1 << 30, &[]),
        ]
    }

    #[test]
    fn another_reader_of_tar_agrees() {
        let mut entries = samples();
        let tar_bytes = lay_out(&mut entries).unwrap();
        check_layout(&entries, tar_bytes).unwrap();
        let bytes = stream(&entries, tar_bytes, 1 << 16);
        assert_eq!(bytes.len() as u64, tar_bytes);
        for entry in &entries {
            assert_eq!(headers(entry).len() as u64, header_len(entry), "{}", entry.path.printable());
        }
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut seen = 0;
        for (read, expected) in archive.entries().unwrap().zip(&entries) {
            let mut read = read.unwrap();
            assert_eq!(&*read.path_bytes(), &tar_path(expected)[..]);
            assert_eq!(read.link_name_bytes().map(|l| l.to_vec()), link_target(expected).map(|t| t.0.to_vec()));
            if let Kind::File { size, extents: None, .. } = expected.kind {
                let mut contents = Vec::new();
                read.read_to_end(&mut contents).unwrap();
                assert_eq!(contents, vec![seen as u8 + 1; size as usize]);
            }
            seen += 1;
        }
        assert_eq!(seen, entries.len());
    }

    #[test]
    fn segments_cut_at_any_length_give_the_same_stream() {
        let mut entries = samples();
        let tar_bytes = lay_out(&mut entries).unwrap();
        let whole = stream(&entries, tar_bytes, tar_bytes);
        for segment in [512, 513, 1000, 65536, tar_bytes - 1, tar_bytes + 1] {
            assert!(stream(&entries, tar_bytes, segment) == whole, "{segment}");
        }
    }

    #[test]
    fn streams_of_boundary_lengths() {
        let s = 65536u64;
        for stored in [0, 1, s - 1, s, s + 1, 5 * s, 5 * s - 1536] {
            let mut entries = vec![file(b"f", stored)];
            let tar_bytes = lay_out(&mut entries).unwrap();
            assert_eq!(tar_bytes, 512 + stored.next_multiple_of(512) + 1024);
            let data: u64 = (0..tar_bytes.div_ceil(s))
                .flat_map(|n| pieces(&entries, n * s, ((n + 1) * s).min(tar_bytes)).collect::<Vec<_>>())
                .map(|p| if let Piece::Data { len, .. } = p { len as u64 } else { 0 })
                .sum();
            assert_eq!(data, stored);
        }
    }

    #[test]
    fn moved_entries_are_refused() {
        let mut entries = samples();
        let tar_bytes = lay_out(&mut entries).unwrap();
        assert!(check_layout(&entries, tar_bytes + 512).is_err());
        entries[3].offset += 512;
        assert!(check_layout(&entries, tar_bytes).is_err());
        let mut huge = vec![file(b"f", u64::MAX - 600)];
        assert!(lay_out(&mut huge).is_err());
    }

    proptest! {
        #[test]
        fn file_ranges_cover_what_is_asked(lens in prop::collection::vec((1u64..50, 1u64..50), 1..10), a in any::<u64>(), b in any::<u64>()) {
            let (mut extents, mut at, mut stored) = (vec![], 0, 0);
            for (gap, len) in lens { extents.push(Extent(at + gap, len)); at += gap + len; stored += len; }
            let (a, b) = (a % (stored + 1), b % (stored + 1));
            let (from, to) = (a.min(b), a.max(b));
            let entry = sparse(at, &extents);
            let every: Vec<u64> = extents.iter().flat_map(|e| e.0..e.end()).collect();
            let ranges = file_ranges(&entry, from, (to - from) as usize);
            let got: Vec<u64> = ranges.iter().flat_map(|(o, l)| *o..*o + *l as u64).collect();
            prop_assert_eq!(&got[..], &every[from as usize..to as usize]);
        }
    }
}
