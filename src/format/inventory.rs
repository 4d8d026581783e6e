//! The inventory: private JSON lines. First the head, then one line an entry, then one line a segment.

use super::deal::{Dealer, Place};
use super::hashes::Value;
use super::manifest::MOST_PARTS;
use super::{FORMAT, FormatError, hash_hex, json, within};
use crate::text::printable;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashMap;
use std::fmt;

/// The most bytes in one line.
pub const LONGEST_LINE: u64 = 64 << 20;
/// The most entries in a set. All are held in memory: so many take about a GiB.
pub const MOST_ENTRIES: u64 = 1 << 22;
/// The most bytes of all lines, which bounds the names and segments that are held in memory.
pub const MOST_BYTES: u64 = 2 << 30;
/// The longest path, in bytes (Linux refuses longer ones).
pub const LONGEST_PATH: usize = 4095;
/// The most extended attributes of an entry; Linux has room for fewer.
pub const MOST_XATTRS: usize = 1 << 14;
/// The longest value of one, in bytes (Linux refuses longer ones).
pub const LONGEST_XATTR: usize = 64 << 10;
const LONGEST_XATTR_NAME: usize = 255;
/// Rule 58: the most bytes of a text in a line, as it is spelt: six for each of the longest.
const LONGEST_TEXT: u64 = 512 << 10;
/// The most extents of a sparse file.
pub const MOST_EXTENTS: usize = 1 << 16;
/// Extents begin, and but for the end of the file end, at multiples of this: tar pads each to its records.
pub const ALIGNMENT: u64 = 512;
/// The largest file and the longest tar stream, in bytes.
pub const LARGEST: u64 = 1 << 56;

/// Bytes that are mostly UTF-8: a JSON string if they are, else `{"base64": "…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Name(pub Box<[u8]>);

impl Name {
    /// From bytes.
    pub fn new(bytes: &[u8]) -> Name {
        Name(bytes.into())
    }

    /// As it may be shown on a terminal.
    pub fn printable(&self) -> String {
        printable(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Raw {
            base64: String,
        }
        match std::str::from_utf8(&self.0) {
            Ok(text) => s.serialize_str(text),
            Err(_) => Raw { base64: STANDARD.encode(&self.0) }.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(NameVisitor)
    }
}

/// Reads either form as it comes: to keep what could be one of them until it is known takes many times its length.
struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a string, or an object with base64")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Name, E> {
        Ok(Name::new(text.as_bytes()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Name, A::Error> {
        let mut bytes: Option<Vec<u8>> = None;
        while let Some(field) = map.next_key::<String>()? {
            if field != "base64" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let decoded = STANDARD.decode(map.next_value::<String>()?).map_err(A::Error::custom)?;
            if bytes.replace(decoded).is_some() {
                return Err(A::Error::duplicate_field("base64"));
            }
        }
        bytes.map(|b| Name(b.into())).ok_or_else(|| A::Error::missing_field("base64"))
    }
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The version of the format.
    pub inventory: String,
    /// The set that it belongs to.
    pub set: String,
    /// Which part of the set it lies with, from 1.
    pub part: u32,
    /// The signer's public key, as OpenSSH writes it without a comment.
    pub signer: String,
    /// Bytes of the whole tar stream.
    pub tar_bytes: u64,
    /// Entries of the whole set.
    pub entries: u64,
    /// The first segment of this part.
    pub first: u64,
    /// Segments of this part.
    pub segments: u64,
}

/// A stretch of a sparse file that has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent(pub u64, pub u64);

impl Extent {
    /// The first byte after it.
    pub fn end(&self) -> u64 {
        self.0.saturating_add(self.1)
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File {
        /// Its length with holes.
        size: u64,
        /// Where its data lies, if it has holes.
        #[serde(skip_serializing_if = "Option::is_none")]
        extents: Option<Box<[Extent]>>,
        /// BLAKE3 of its data: of the whole file, or of its extents one after the other. `None` if its data ends in a later
        /// part.
        #[serde(default, with = "hash_hex::optional")]
        blake3: Option<Value>,
    },
    /// A symbolic link.
    Symlink {
        /// What it says.
        target: Name,
    },
    /// Another name of a file that stands before it.
    Hardlink {
        /// The path of that file.
        target: Name,
    },
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EntryLine")]
pub struct Entry {
    /// Path in the set, components separated by `/`; empty for the directory that was exported itself.
    pub path: Name,
    /// What it is.
    #[serde(flatten)]
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Modification time: seconds, nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes in the `user.` namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<(Name, Name)>,
    /// Where its header begins in the tar stream.
    pub offset: u64,
}

/// The line of an entry, field by field. A tagged enum would have to keep all of the line, many times as large, until it knows
/// the tag.
#[derive(Deserialize)]
struct EntryLine {
    path: Name,
    kind: KindName,
    size: Option<u64>,
    extents: Option<Box<[Extent]>>,
    #[serde(default, with = "hash_hex::optional")]
    blake3: Option<Value>,
    target: Option<Name>,
    mode: u32,
    mtime: (i64, u32),
    #[serde(default)]
    xattrs: Vec<(Name, Name)>,
    offset: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindName {
    Dir,
    File,
    Symlink,
    Hardlink,
}

impl TryFrom<EntryLine> for Entry {
    type Error = String;

    fn try_from(line: EntryLine) -> Result<Entry, String> {
        let missing = |field| format!("missing field `{field}`");
        let target = line.target.ok_or_else(|| missing("target"));
        let kind = match line.kind {
            KindName::Dir => Kind::Dir,
            KindName::File => Kind::File {
                size: line.size.ok_or_else(|| missing("size"))?,
                extents: line.extents,
                blake3: line.blake3,
            },
            KindName::Symlink => Kind::Symlink { target: target? },
            KindName::Hardlink => Kind::Hardlink { target: target? },
        };
        Ok(Entry {
            path: line.path,
            kind,
            mode: line.mode,
            mtime: line.mtime,
            xattrs: line.xattrs,
            offset: line.offset,
        })
    }
}

impl Entry {
    /// Bytes of its contents in the tar stream.
    pub fn stored(&self) -> u64 {
        match &self.kind {
            Kind::File { extents: Some(extents), .. } => extents.iter().map(|e| e.1).sum(),
            Kind::File { size, .. } => *size,
            _ => 0,
        }
    }

    /// The length of a file with holes; 0 of what is none.
    pub fn size(&self) -> u64 {
        if let Kind::File { size, .. } = self.kind { size } else { 0 }
    }

    /// Whether another part says the same of this entry; takes over its hash, if that is known only there.
    pub fn agree(&mut self, mut said: Entry) -> bool {
        if let (Kind::File { blake3: mine, .. }, Kind::File { blake3: theirs, .. }) = (&mut self.kind, &mut said.kind) {
            *mine = mine.or(*theirs);
            *theirs = theirs.or(*mine);
        }
        *self == said
    }

    fn validate(&self) -> Result<(), FormatError> {
        within("length of a path", self.path.0.len() as u64, 0, LONGEST_PATH as u64)?;
        within("mode", self.mode.into(), 0, 0o7777)?;
        within("extended attributes", self.xattrs.len() as u64, 0, MOST_XATTRS as u64)?;
        for (name, value) in &self.xattrs {
            within("length of an extended attribute", value.0.len() as u64, 0, LONGEST_XATTR as u64)?;
            if !name.0.starts_with(b"user.") || name.0.len() > LONGEST_XATTR_NAME || name.0.contains(&0) {
                return Err(FormatError::Text { what: "extended attribute", value: name.printable() });
            }
        }
        within("nanoseconds", self.mtime.1.into(), 0, 999_999_999)?;
        match &self.kind {
            Kind::File { size, extents, .. } => {
                within("size of a file", *size, 0, LARGEST)?;
                extents.iter().try_for_each(|e| validate_extents(e, *size))
            }
            Kind::Symlink { target } | Kind::Hardlink { target } => {
                within("length of a link", target.0.len() as u64, 1, LONGEST_PATH as u64)
            }
            Kind::Dir => Ok(()),
        }
    }
}

fn validate_extents(extents: &[Extent], size: u64) -> Result<(), FormatError> {
    within("extents of a file", extents.len() as u64, 0, MOST_EXTENTS as u64)?;
    let mut end = 0;
    for extent in extents {
        if extent.0 % ALIGNMENT != 0 || (extent.1 % ALIGNMENT != 0 && extent.end() != size) {
            return Err(FormatError::Contradiction("extents are not aligned to the records of tar".into()));
        }
        if extent.1 == 0 || extent.0 < end || extent.end() > size {
            return Err(FormatError::Contradiction(
                "extents are out of order, empty or past the end of the file".into(),
            ));
        }
        end = extent.end();
    }
    Ok(())
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Segment {
    segment: u64,
    group: u32,
    volume: u16,
    offset: u64,
    bytes: u32,
}

/// Everything in a set, and where the segments of one part are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// The first line.
    pub head: Head,
    /// In the order of the tar stream.
    pub entries: Vec<Entry>,
    /// Bytes of the frame of each segment of the part.
    pub frames: Vec<u32>,
}

/// The lines of an inventory, one after the other, each with its end.
pub fn lines<'a>(
    head: &Head,
    entries: &'a [Entry],
    frames: &'a [u32],
    k: u16,
    volume_bytes: u64,
) -> impl Iterator<Item = Vec<u8>> + 'a {
    let segments = (head.first..).zip(places(frames, k, volume_bytes)).map(|(segment, p)| {
        line(&Segment { segment, group: p.group, volume: p.volume, offset: p.offset, bytes: p.bytes })
    });
    std::iter::once(line(head)).chain(entries.iter().map(line)).chain(segments)
}

/// Where the frame of each segment of a part lies.
pub fn places(frames: &[u32], k: u16, volume_bytes: u64) -> impl Iterator<Item = Place> + '_ {
    let mut dealer = Dealer::new(k, volume_bytes);
    frames.iter().map(move |bytes| dealer.deal(*bytes))
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Takes lines in and checks each against those before it, so that nothing is held that has not been bounded.
pub struct Reader {
    head: Option<Head>,
    entries: Vec<Entry>,
    /// How many entries there were.
    seen: u64,
    /// Entries are kept, not only looked at.
    keeps: bool,
    frames: Vec<u32>,
    dealer: Dealer,
    bytes: u64,
}

impl Reader {
    /// For a set with `k` data volumes a group.
    pub fn new(k: u16, volume_bytes: u64) -> Reader {
        let dealer = Dealer::new(k, volume_bytes);
        Reader { head: None, entries: Vec::new(), seen: 0, keeps: true, frames: Vec::new(), dealer, bytes: 0 }
    }

    /// The same for who has the entries, and only wants to know whether a reader would take their lines.
    pub fn checking(k: u16, volume_bytes: u64) -> Reader {
        Reader { keeps: false, ..Reader::new(k, volume_bytes) }
    }

    /// Takes the next line.
    pub fn line(&mut self, line: &[u8]) -> Result<(), FormatError> {
        self.bytes += line.len() as u64;
        within("length of the inventory", self.bytes, 1, MOST_BYTES)?;
        let Some(head) = &self.head else {
            self.head = Some(validate_head(parse(line)?)?);
            return Ok(());
        };
        if self.seen < head.entries {
            let entry: Entry = parse(line)?;
            entry.validate()?;
            self.seen += 1;
            if self.keeps {
                self.entries.push(entry);
            }
            return Ok(());
        }
        let segment: Segment = parse(line)?;
        within("length of a frame", segment.bytes.into(), 1, u64::from(super::frame::LONGEST))?;
        let place = self.dealer.deal(segment.bytes);
        let said = Place { group: segment.group, volume: segment.volume, offset: segment.offset, bytes: segment.bytes };
        let number = head.first + self.frames.len() as u64;
        if place != said || segment.segment != number || number >= head.first + head.segments {
            return Err(FormatError::Contradiction(format!(
                "segment {} does not lie where dealing puts it",
                segment.segment
            )));
        }
        self.frames.push(segment.bytes);
        Ok(())
    }

    /// The inventory, if all lines that the head promises have come.
    pub fn finish(self) -> Result<Inventory, FormatError> {
        let head = self.head.ok_or_else(|| FormatError::Contradiction("the inventory is empty".into()))?;
        if head.entries != self.seen || head.segments != self.frames.len() as u64 {
            return Err(FormatError::Contradiction("the inventory ends before all of its lines have come".into()));
        }
        refuse_duplicates(&self.entries)?;
        Ok(Inventory { head, entries: self.entries, frames: self.frames })
    }
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, FormatError> {
    json::parse(line, LONGEST_TEXT)
}

fn validate_head(head: Head) -> Result<Head, FormatError> {
    if head.inventory != FORMAT {
        return Err(FormatError::Version(head.inventory));
    }
    within("entries", head.entries, 0, MOST_ENTRIES)?;
    within("length of the tar stream", head.tar_bytes, 1024, LARGEST)?;
    within("part", head.part.into(), 1, MOST_PARTS)?;
    within("segments", head.segments, 1, LARGEST >> 16)?;
    within("first segment", head.first, 0, LARGEST >> 16)?;
    Ok(head)
}

/// Refuses what a reader refuses in entries, before there are lines.
pub fn check(entries: &[Entry]) -> Result<(), FormatError> {
    entries.iter().try_for_each(Entry::validate)?;
    refuse_duplicates(entries)
}

fn refuse_duplicates(entries: &[Entry]) -> Result<(), FormatError> {
    // In the order of a walk, as exports write them, each is the next of its neighbour and of no other.
    if entries.is_sorted_by(|a, b| in_walk(&a.path).lt(in_walk(&b.path))) {
        return Ok(());
    }
    let mut seen = HashMap::with_capacity(entries.len());
    for (i, entry) in entries.iter().enumerate() {
        if seen.insert(&entry.path, i).is_some() {
            let path = String::from_utf8_lossy(&entry.path.0).into_owned();
            return Err(FormatError::Contradiction(format!("{path:?} stands in the inventory twice")));
        }
    }
    Ok(())
}

/// What comes after a directory in a walk is what lies in it: no byte of a name stands before the slash.
fn in_walk(path: &Name) -> impl Iterator<Item = u16> + '_ {
    path.0.iter().map(|b| if *b == b'/' { 0 } else { u16::from(*b) + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind() -> impl Strategy<Value = Kind> {
        let name = || prop::collection::vec(any::<u8>(), 1..20).prop_map(|b| Name::new(&b));
        prop_oneof![
            Just(Kind::Dir),
            (0..LARGEST, any::<[u8; 32]>()).prop_map(|(size, blake3)| Kind::File {
                size,
                extents: None,
                blake3: Some(blake3)
            }),
            (0u64..1000, 1u64..1000, any::<[u8; 32]>())
                .prop_map(|(a, b, blake3)| (a * ALIGNMENT, b * ALIGNMENT, blake3))
                .prop_map(|(a, b, blake3)| Kind::File {
                    size: a + b + 7,
                    extents: Some([Extent(a, b)].into()),
                    blake3: Some(blake3).filter(|h| h[0] > 50),
                }),
            name().prop_map(|target| Kind::Symlink { target }),
            name().prop_map(|target| Kind::Hardlink { target }),
        ]
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..30).prop_map(|b| Name::new(&b));
        let attribute =
            || prop::collection::vec(1u8..=255, 0..30).prop_map(|b| Name::new(&[b"user.", &b[..]].concat()));
        (
            bytes(),
            kind(),
            0u32..0o10000,
            any::<i64>(),
            0u32..1_000_000_000,
            prop::collection::vec((attribute(), bytes()), 0..2),
            any::<u64>(),
        )
            .prop_map(|(path, kind, mode, s, ns, xattrs, offset)| Entry {
                path,
                kind,
                mode,
                mtime: (s, ns),
                xattrs,
                offset,
            })
    }

    fn read(lines: impl Iterator<Item = Vec<u8>>) -> Result<Inventory, FormatError> {
        let mut reader = Reader::new(3, 1 << 21);
        for line in lines {
            reader.line(&line)?;
        }
        reader.finish()
    }

    fn lines_of(inventory: &Inventory) -> Vec<Vec<u8>> {
        lines(&inventory.head, &inventory.entries, &inventory.frames, 3, 1 << 21).collect()
    }

    fn inventory(mut entries: Vec<Entry>, frames: Vec<u32>) -> Inventory {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries.dedup_by(|a, b| a.path == b.path);
        let head = Head {
            inventory: FORMAT.into(),
            set: "x".into(),
            part: 1,
            first: 0,
            signer: "y".into(),
            tar_bytes: 1024,
            entries: entries.len() as u64,
            segments: frames.len() as u64,
        };
        Inventory { head, entries, frames }
    }

    proptest! {
        #[test]
        fn round_trip(entries in prop::collection::vec(entry(), 0..20), frames in prop::collection::vec(1u32..1_000_000, 1..40)) {
            let inventory = inventory(entries, frames);
            prop_assert_eq!(read(lines_of(&inventory).into_iter()), Ok(inventory));
        }

        #[test]
        fn a_lost_or_moved_line_is_noticed(frames in prop::collection::vec(1u32..1000, 2..40), at in any::<usize>()) {
            let inventory = inventory(vec![], frames);
            let mut lines = lines_of(&inventory);
            let at = 1 + at % (lines.len() - 1);
            let lost = lines.remove(at);
            prop_assert!(read(lines.clone().into_iter()).is_err());
            lines.push(lost);
            prop_assert!(at == lines.len() - 1 || read(lines.into_iter()).is_err());
        }
    }

    #[test]
    fn a_path_that_stands_twice_is_found_in_any_order() {
        let dir = |path: &[u8]| Entry {
            path: Name::new(path),
            kind: Kind::Dir,
            mode: 0,
            mtime: (0, 0),
            xattrs: vec![],
            offset: 0,
        };
        let all = |paths: &[&[u8]]| refuse_duplicates(&paths.iter().map(|p| dir(p)).collect::<Vec<_>>());
        all(&[b"", b"a", b"a/b", b"a/b\x00", b"a/b-c", b"a-b", b"a0"]).unwrap();
        all(&[b"b", b"a"]).unwrap();
        for twice in [[&b"a"[..], b"a", b"b"], [b"a", b"b", b"a"], [b"b", b"b", b"a"], [b"", b"a", b""]] {
            assert!(all(&twice).is_err(), "{twice:?}");
        }
    }

    #[test]
    fn lies_about_extents_are_refused() {
        for bad in [
            vec![Extent(0, 0)],
            vec![Extent(512, 9000)],
            vec![Extent(1024, 512), Extent(0, 512)],
            vec![Extent(u64::MAX - 511, 512)],
            vec![Extent(1, 511)],
            vec![Extent(0, 100)],
        ] {
            assert!(validate_extents(&bad, 5000).is_err(), "{bad:?}");
        }
    }
}
