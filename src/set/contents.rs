//! What is inside a set: the key slot opened, the inventory read, bounded and compared with the manifest.

use crate::error::{Error, Result};
use crate::format::deal::Place;
use crate::format::inventory::{Entry, Head, Inventory, Kind, LONGEST_LINE, Reader, places};
use crate::format::manifest::Manifest;
use crate::format::{FormatError, frame, names};
use crate::media::dir::Location;
use crate::media::disk::Opened;
use crate::progress::{Phase, Progress};
use crate::set::opened::Set;
use crate::set::part::Part;
use crate::set::rewritten_slot::{Slot, open_rewritten};
use crate::stages::compress;
use crate::stages::refusal::breaks;
use crate::stages::seal::SetIdentity;
use crate::stages::seal::identities::Identities;
use crate::stages::tar;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read};

/// An opened set: what is in it, and where those of its segments are that lie in parts that have been seen.
pub struct Contents {
    /// What is in it, in the order of the tar stream. All parts say the same, but for hashes that an early one cannot know.
    pub entries: Vec<Entry>,
    /// Bytes of the whole tar stream.
    pub tar_bytes: u64,
    /// Bytes of the tar stream in a segment.
    pub segment_bytes: u32,
    /// What opens its frames.
    pub identity: SetIdentity,
    /// The segments of each part that has been seen, by the number of the part.
    pub tables: BTreeMap<u32, Table>,
}

/// Where the segments of a part are.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// The first of them.
    pub first: u64,
    /// Where the frame of each lies.
    pub places: Vec<Place>,
}

impl Table {
    /// The number of the first segment after them.
    pub fn end(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    /// Where the frame of a segment lies, if it is one of them.
    pub fn place(&self, segment: u64) -> Option<Place> {
        self.places.get(segment.checked_sub(self.first)? as usize).copied()
    }
}

/// Reads the inventory of each part that is here, compared with its manifest.
pub fn read_contents(set: &Set, identity: &SetIdentity, progress: &dyn Progress) -> Result<Contents> {
    progress.stage(Phase::Contents);
    let mut contents: Option<Contents> = None;
    for part in &set.parts {
        let inventory = read_inventory(part, identity, progress)?;
        match &mut contents {
            None => contents = Some(Contents::begin(part, inventory, identity.clone())?),
            Some(contents) => contents.add(part, inventory)?,
        }
    }
    contents.ok_or_else(|| Error::Internal("a set without parts".into()))
}

/// Opens the key slot with one of these identities: that which was signed with the set, or else one that was written anew.
pub fn open_slot(set: &Set, identities: &Identities, progress: &dyn Progress) -> Result<(SetIdentity, Slot)> {
    let Some(signed) = set.parts.iter().find_map(|part| part.proven(names::KEYS)) else {
        let opened = open_rewritten(set, identities, progress)?;
        return opened.map(|it| (it, Slot::WrittenAnew)).ok_or_else(|| set.parts[0].without(names::KEYS));
    };
    match SetIdentity::from_slot(&signed, identities, &set.manifest().recipient_blake3) {
        Ok(identity) => Ok((identity, Slot::Signed)),
        // It was written anew for others, and not on every drive yet.
        Err(not_for_us @ Error::Identity { .. }) => match open_rewritten(set, identities, progress) {
            Ok(Some(identity)) => Ok((identity, Slot::WrittenAnew)),
            Ok(None) | Err(Error::Identity { .. }) => Err(not_for_us),
            Err(other) => Err(other),
        },
        Err(other) => Err(other),
    }
}

impl Contents {
    fn begin(part: &Part, inventory: Inventory, identity: SetIdentity) -> Result<Contents> {
        let (first, places) = check(part, &inventory)?;
        Ok(Contents {
            tar_bytes: inventory.head.tar_bytes,
            segment_bytes: part.manifest.segment_bytes,
            entries: inventory.entries,
            identity,
            tables: BTreeMap::from([(part.manifest.part, Table { first, places })]),
        })
    }

    /// Reads what a part of the set says, if that is not known yet; returns whether it was not.
    pub fn learn(&mut self, part: &Part, progress: &dyn Progress) -> Result<bool> {
        if self.tables.contains_key(&part.manifest.part) {
            return Ok(false);
        }
        let inventory = read_inventory(part, &self.identity, progress)?;
        self.add(part, inventory).map(|()| true)
    }

    /// Takes in what another part of the set, or the same again, says.
    pub fn add(&mut self, part: &Part, inventory: Inventory) -> Result<()> {
        let (first, places) = check(part, &inventory)?;
        let number = part.manifest.part;
        self.merge(number, Table { first, places }, inventory)
            .map_err(breaks(format!("{} of part {number}", names::INVENTORY)))
    }

    fn merge(&mut self, number: u32, table: Table, inventory: Inventory) -> Result<(), FormatError> {
        let wrong = |what: String| Err(FormatError::Contradiction(what));
        if inventory.head.tar_bytes != self.tar_bytes || inventory.entries.len() != self.entries.len() {
            return wrong("it is not of the same files as that of another part".into());
        }
        for (known, said) in self.entries.iter_mut().zip(inventory.entries) {
            if !known.agree(said) {
                return wrong(format!("{} is not the same as in another part", known.path.printable()));
            }
        }
        let before = self.tables.range(..number).next_back().map(|(n, t)| (*n, t.end()));
        let after = self.tables.range(number + 1..).next().map(|(n, t)| (*n, t.first));
        let follows = before.is_none_or(|(n, end)| end <= table.first && (n + 1 < number || end == table.first));
        let leads = after.is_none_or(|(n, first)| table.end() <= first && (number + 1 < n || table.end() == first));
        match follows && leads && self.tables.get(&number).is_none_or(|known| *known == table) {
            true => {
                self.tables.insert(number, table);
                Ok(())
            }
            false => wrong("its segments do not fit those of another part".into()),
        }
    }

    /// Bytes of the stream in a segment.
    pub fn bytes_of(&self, segment: u64) -> u64 {
        let all = u64::from(self.segment_bytes);
        self.tar_bytes.saturating_sub(segment.saturating_mul(all)).min(all)
    }

    /// Segments of the whole set.
    pub fn segments(&self) -> u64 {
        self.tar_bytes.div_ceil(self.segment_bytes.into())
    }
}

/// Reads the inventory from a good copy, or from another one if the drive fails meanwhile.
fn read_inventory(set: &Part, identity: &SetIdentity, progress: &dyn Progress) -> Result<Inventory> {
    let mut failed = None;
    for copy in set.good_copies(names::INVENTORY) {
        match read_copy(set, identity, &copy, progress) {
            Err(error @ Error::Drive { .. }) => failed = Some(error),
            other => return other,
        }
    }
    match set.combined(names::INVENTORY) {
        Some(combined) => read_lines(set, identity, BufReader::with_capacity(1 << 17, combined), progress),
        None => Err(failed.unwrap_or_else(|| set.without(names::INVENTORY))),
    }
}

/// A drive may return other bytes when it is read again: what was used is what must have the signed hash.
fn read_copy(set: &Part, identity: &SetIdentity, copy: &Location, progress: &dyn Progress) -> Result<Inventory> {
    let path = &copy.path();
    let file = copy.open().map_err(Error::on_drive("read", path))?;
    let mut hashing = Hashing { file, hasher: blake3::Hasher::new(), failed: None };
    let read = read_lines(set, identity, BufReader::with_capacity(1 << 17, &mut hashing), progress);
    if let Err(Error::Interrupted) = read {
        return read;
    }
    if let Some(error) = hashing.failed.take() {
        return Err(Error::on_drive("read", path)(error));
    }
    std::io::copy(&mut hashing, &mut std::io::sink()).map_err(Error::on_drive("read", path))?;
    let hash = *hashing.hasher.finalize().as_bytes();
    match set.manifest.files.get(names::INVENTORY).is_some_and(|listed| listed.blake3 == hash) {
        true => read,
        false => Err(Error::drive(
            format!("{} changed between two readings", path.display()),
            "do not trust this drive: bring another one of the set",
        )),
    }
}

fn read_lines(set: &Part, identity: &SetIdentity, sealed: impl BufRead, progress: &dyn Progress) -> Result<Inventory> {
    let rule = |e: std::io::Error| e.downcast().unwrap_or_else(|e| FormatError::Syntax(e.to_string()));
    let unreadable = |e| breaks(names::INVENTORY)(rule(e));
    let plain = identity.reader(sealed).map_err(unreadable)?;
    let mut lines = compress::reader(plain).map_err(unreadable)?;
    let mut reader = Reader::new(set.manifest.shape());
    let mut line = Vec::new();
    while !progress.cancelled() {
        line.clear();
        lines.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut line).map_err(unreadable)?;
        if line.is_empty() {
            return reader.finish().map_err(breaks(names::INVENTORY));
        }
        crate::format::within("length of a line", line.len() as u64, 1, LONGEST_LINE)
            .and_then(|()| reader.line(&line))
            .map_err(breaks(names::INVENTORY))?;
    }
    Err(Error::Interrupted)
}

/// Hashes what is read, and keeps the error of a failing drive apart from those of the layers above.
struct Hashing {
    file: Opened,
    hasher: blake3::Hasher,
    failed: Option<std::io::Error>,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.file.read(buffer) {
            Ok(n) => {
                self.hasher.update(&buffer[..n]);
                Ok(n)
            }
            Err(error) => {
                let again = std::io::Error::from(error.kind());
                self.failed = Some(error);
                Err(again)
            }
        }
    }
}

/// Set, signer, segments, tar stream and volumes must agree to the byte. Returns the first segment and where all lie.
fn check(part: &Part, inventory: &Inventory) -> Result<(u64, Vec<Place>)> {
    let head = &inventory.head;
    if head.set != part.manifest.set || head.signer != part.signer.key || head.part != part.manifest.part {
        return Err(Error::untrusted(
            "the inventory names another set, another part or another signer: somebody signed what is not theirs",
            "do not use this set; tell the sender and whoever is named as its signer",
        ));
    }
    let places: Vec<Place> = places(&inventory.frames, part.manifest.shape()).collect();
    agree(&part.manifest, head, &inventory.entries, &places).map_err(breaks(names::INVENTORY))?;
    Ok((head.first, places))
}

/// Whether manifest and inventory of a part say the same of its volumes, segments and hashes.
pub fn agree(manifest: &Manifest, head: &Head, entries: &[Entry], places: &[Place]) -> Result<(), FormatError> {
    places.iter().try_for_each(|place| frame::check_length(place.bytes, manifest.segment_bytes))?;
    check_volumes(manifest, places)?;
    tar::check_layout(entries, head.tar_bytes)?;
    let (end, all) = (head.first + head.segments, head.tar_bytes.div_ceil(manifest.segment_bytes.into()));
    if (head.first == 0) != (manifest.part == 1) || end > all || (end == all) != manifest.last {
        return Err(FormatError::Contradiction("the segments do not fit the tar stream".into()));
    }
    let known_until = end * u64::from(manifest.segment_bytes);
    let nothing = *blake3::hash(b"").as_bytes();
    for entry in entries {
        let Kind::File { blake3: hash, .. } = &entry.kind else { continue };
        let (stored, ends) = (entry.stored(), entry.offset + tar::header_len(entry) + entry.stored());
        let wrong = match hash {
            _ if hash.is_some() != (stored == 0 || ends <= known_until) => "is missing or cannot be known",
            Some(hash) if stored == 0 && *hash != nothing => "is not that of nothing, and it has no contents",
            _ => continue,
        };
        return Err(FormatError::Contradiction(format!("the hash of {} {wrong}", entry.path.printable())));
    }
    Ok(())
}

fn check_volumes(manifest: &Manifest, places: &[Place]) -> Result<(), FormatError> {
    let mut lengths: HashMap<(u32, u16), u64> = HashMap::new();
    let header = manifest.block().bytes();
    for place in places {
        *lengths.entry((place.group, place.volume)).or_insert(header) += u64::from(place.bytes);
    }
    let groups = places.last().map_or(0, |p| p.group as usize + 1);
    let dealt = |g: usize, i: usize| lengths.get(&(g as u32, i as u16)).copied().unwrap_or(header);
    let data = manifest.volumes().filter(|(g, i, _, _)| *i < usize::from(manifest.groups[*g].k));
    let mut agree = data.map(|(g, i, _, v)| v.bytes == dealt(g, i));
    match groups == manifest.groups.len() && agree.all(|a| a) {
        true => Ok(()),
        false => Err(FormatError::Contradiction("the frames do not fill the volumes that the manifest names".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::FORMAT;
    use crate::format::inventory::{Extent, Name};
    use crate::format::manifest::tests::sample;

    /// The first of two parts, in which the contents of the first of three files end too late, and the others have none.
    fn first_part() -> (Manifest, Head, Vec<Entry>, Vec<Place>) {
        let frame = 300;
        let mut manifest = Manifest { segment_bytes: 1 << 16, last: false, ..sample(1, 1, 1) };
        let header = manifest.block().bytes();
        manifest.groups[0].volumes.iter_mut().for_each(|volume| volume.bytes = header + u64::from(frame));
        let file = |path: &str, size, extents: Option<Box<[Extent]>>, blake3| Entry {
            path: Name::new(path.as_bytes()),
            kind: Kind::File { size, extents, blake3 },
            mode: 0o644,
            mtime: (0, 0),
            xattrs: vec![],
            offset: 0,
        };
        let nothing = Some(*blake3::hash(b"").as_bytes());
        let mut entries = vec![
            file("a", 100_000, None, None),
            file("empty", 0, None, nothing),
            file("hole", 1 << 20, Some([].into()), nothing),
        ];
        let tar_bytes = tar::lay_out(&mut entries).unwrap();
        let head = Head {
            inventory: FORMAT.into(),
            critical: vec![],
            set: manifest.set.clone(),
            part: 1,
            signer: String::new(),
            tar_bytes,
            entries: 3,
            first: 0,
            segments: 1,
        };
        let places = places(&[frame], manifest.shape()).collect();
        (manifest, head, entries, places)
    }

    /// Rule 50: the parts of a set take its segments in turn, whatever part is seen first, and none is left out between neighbours.
    #[test]
    fn the_segments_of_parts_follow_each_other() {
        let identity = SetIdentity::generate();
        let (manifest, head, entries, places) = first_part();
        let table = |first: u64, count: usize| Table { first, places: vec![places[0]; count] };
        let known = |tables: &[(u32, u64, usize)]| Contents {
            entries: entries.clone(),
            tar_bytes: head.tar_bytes,
            segment_bytes: manifest.segment_bytes,
            identity: identity.clone(),
            tables: tables.iter().map(|(number, first, count)| (*number, table(*first, *count))).collect(),
        };
        let inventory = || Inventory { head: head.clone(), entries: entries.clone(), frames: vec![] };
        let fits = |tables: &[(u32, u64, usize)], (number, first, count): (u32, u64, usize)| {
            known(tables).merge(number, table(first, count), inventory()).is_ok()
        };
        type Numbered = (u32, u64, usize);
        let good: [(&[Numbered], Numbered); 6] = [
            (&[(1, 0, 5)], (2, 5, 3)),
            (&[(1, 0, 5)], (3, 6, 3)),
            (&[(1, 0, 5)], (1, 0, 5)),
            (&[(3, 10, 5)], (2, 7, 3)),
            (&[(3, 10, 5)], (1, 0, 7)),
            (&[(1, 0, 5), (3, 8, 2)], (2, 5, 3)),
        ];
        let bad: [(&[Numbered], Numbered); 9] = [
            (&[(1, 0, 5)], (2, 4, 3)),
            (&[(1, 0, 5)], (2, 6, 3)),
            (&[(1, 0, 5)], (3, 4, 3)),
            (&[(1, 0, 5)], (1, 0, 4)),
            (&[(3, 10, 5)], (2, 6, 3)),
            (&[(3, 10, 5)], (2, 8, 3)),
            (&[(3, 10, 5)], (1, 8, 3)),
            (&[(1, 0, 5), (3, 8, 2)], (2, 5, 2)),
            (&[(1, 0, 5), (3, 8, 2)], (2, 4, 4)),
        ];
        for (tables, next) in good {
            assert!(fits(tables, next), "{tables:?} {next:?}");
        }
        for (tables, next) in bad {
            assert!(!fits(tables, next), "{tables:?} {next:?}");
        }
        let longer = Head { tar_bytes: head.tar_bytes + 512, ..head.clone() };
        for other in
            [Inventory { head: longer, ..inventory() }, Inventory { entries: entries[..2].to_vec(), ..inventory() }]
        {
            assert!(known(&[(1, 0, 5)]).merge(2, table(5, 3), other).is_err());
        }
    }

    /// Rule 51: what has no stored byte has the hash of nothing, wherever its header lies.
    #[test]
    fn a_hash_is_null_where_contents_end_later_and_nowhere_else() {
        let (manifest, head, entries, places) = first_part();
        agree(&manifest, &head, &entries, &places).unwrap();
        for (at, hash) in [(0, Some([1; 32])), (1, None), (2, None)] {
            let mut entries = entries.clone();
            let Kind::File { blake3, .. } = &mut entries[at].kind else { panic!("no file") };
            *blake3 = hash;
            let refused = agree(&manifest, &head, &entries, &places).unwrap_err();
            assert!(refused.to_string().contains("is missing or cannot be known"), "{at}: {refused}");
        }
        for at in [1, 2] {
            let mut entries = entries.clone();
            let Kind::File { blake3, .. } = &mut entries[at].kind else { panic!("no file") };
            *blake3 = Some([1; 32]);
            let refused = agree(&manifest, &head, &entries, &places).unwrap_err();
            assert!(refused.to_string().contains("is not that of nothing"), "{at}: {refused}");
        }
    }

    /// Rule 36: the last part ends with the stream, and no other.
    #[test]
    fn segments_fit_the_stream_and_the_place_of_the_part() {
        let (manifest, head, entries, places) = first_part();
        for (head, manifest) in [
            (Head { first: 1, ..head.clone() }, manifest.clone()),
            (Head { segments: 2, ..head.clone() }, manifest.clone()),
            (Head { segments: 3, ..head.clone() }, manifest.clone()),
            (head.clone(), Manifest { last: true, ..manifest.clone() }),
            (head.clone(), Manifest { part: 2, ..manifest.clone() }),
        ] {
            assert!(agree(&manifest, &head, &entries, &places).is_err(), "{head:?}");
        }
    }

    /// Rule 88: whoever reads frames has room for those of segments of this length, and no longer ones.
    #[test]
    fn frames_are_no_longer_than_segments_need() {
        let (mut manifest, head, entries, mut places) = first_part();
        places[0].bytes = (128 << 10) + 1;
        manifest.groups[0].volumes[0].bytes = (64 << 10) + u64::from(places[0].bytes);
        let refused = agree(&manifest, &head, &entries, &places).unwrap_err();
        assert!(matches!(refused, FormatError::Limit { what: "length of a frame", .. }), "{refused}");
        manifest.segment_bytes = 128 << 10;
        let refused = agree(&manifest, &head, &entries, &places).unwrap_err();
        assert!(!matches!(refused, FormatError::Limit { .. }), "{refused}");
    }
}
