//! The inventory: private JSON lines. First the head, then one line an entry, then one line a segment.

use super::deal::{Dealer, Place, Shape};
pub use super::entry::{
    ALIGNMENT, Entry, Extent, Kind, LARGEST, LINK_MODE, LONGEST_PATH, LONGEST_XATTR, MOST_EXTENTS, MOST_XATTRS, Name,
};
use super::json::Absent;
use super::manifest::MOST_PARTS;
use super::{FormatError, frame, json, version, within};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The most bytes in one line.
pub const LONGEST_LINE: u64 = 64 << 20;
/// The most entries in a set. All are held in memory: so many take about a GiB.
pub const MOST_ENTRIES: u64 = 1 << 22;
/// The most bytes of all lines, which bounds the names and segments that are held in memory.
pub const MOST_BYTES: u64 = 2 << 30;
/// Rule 58: the most bytes of a text in a line, as it is spelt: six for each of the longest.
const LONGEST_TEXT: u64 = 512 << 10;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The version of the format.
    pub inventory: String,
    /// Features that who lists or restores must know.
    #[serde(deserialize_with = "json::array::<_, _, 0, 64>")]
    pub critical: Vec<String>,
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

/// The line of a segment.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Segment {
    /// Its number in the set.
    pub segment: u64,
    /// The group of its frame.
    pub group: u32,
    /// The data volume, by index in the group.
    pub volume: u16,
    /// Where in that volume.
    pub offset: u64,
    /// Bytes of the frame.
    pub bytes: u32,
}

/// The same as it is read. The fields by which other lines are known must not be there (rule 67): who looks for a kind of line by
/// them would take it for another.
#[derive(Deserialize)]
struct SegmentLine {
    segment: u64,
    group: u32,
    volume: u16,
    offset: u64,
    bytes: u32,
    #[serde(default)]
    inventory: Absent,
    #[serde(default)]
    kind: Absent,
    #[serde(default)]
    path: Absent,
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
    shape: Shape,
) -> impl Iterator<Item = Vec<u8>> + 'a {
    let segments = (head.first..).zip(places(frames, shape)).map(|(segment, p)| {
        line(&Segment { segment, group: p.group, volume: p.volume, offset: p.offset, bytes: p.bytes })
    });
    std::iter::once(line(head)).chain(entries.iter().map(line)).chain(segments)
}

/// Where the frame of each segment of a part lies.
pub fn places(frames: &[u32], shape: Shape) -> impl Iterator<Item = Place> + '_ {
    let mut dealer = Dealer::new(shape);
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
    /// For a set of such a shape.
    pub fn new(shape: Shape) -> Reader {
        let dealer = Dealer::new(shape);
        Reader { head: None, entries: Vec::new(), seen: 0, keeps: true, frames: Vec::new(), dealer, bytes: 0 }
    }

    /// The same for who has the entries, and only wants to know whether a reader would take their lines.
    pub fn checking(shape: Shape) -> Reader {
        Reader { keeps: false, ..Reader::new(shape) }
    }

    /// Takes the next line.
    pub fn line(&mut self, line: &[u8]) -> Result<(), FormatError> {
        self.bytes += line.len() as u64;
        within("length of the inventory", self.bytes, 1, MOST_BYTES)?;
        let line = line.strip_suffix(b"\n").ok_or_else(|| FormatError::Syntax("a line has no line feed".into()))?;
        let Some(head) = &self.head else {
            self.head = Some(parse_head(line)?);
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
        let line: SegmentLine = parse(line)?;
        let SegmentLine { segment, group, volume, offset, bytes, inventory: Absent, kind: Absent, path: Absent } = line;
        within("length of a frame", bytes.into(), frame::HEADER as u64 + 1, frame::LONGEST as u64)?;
        let place = self.dealer.deal(bytes);
        let number = head.first + self.frames.len() as u64;
        let in_its_place = place == Place { group, volume, offset, bytes } && segment == number;
        if !in_its_place || number >= head.first + head.segments {
            return Err(FormatError::Contradiction(format!("segment {segment} does not lie where dealing puts it")));
        }
        self.frames.push(bytes);
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

fn parse_head(line: &[u8]) -> Result<Head, FormatError> {
    #[derive(Deserialize)]
    struct Version {
        inventory: String,
    }
    // Of a version that is not known nothing else is.
    version::require(parse::<Version>(line)?.inventory)?;
    parse::<version::Needs>(line)?.require()?;
    #[derive(Deserialize)]
    struct OfOtherLines {
        #[serde(default)]
        kind: Absent,
        #[serde(default)]
        path: Absent,
        #[serde(default)]
        segment: Absent,
    }
    let OfOtherLines { kind: Absent, path: Absent, segment: Absent } = parse(line)?;
    let head: Head = parse(line)?;
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
    use crate::format::FORMAT;
    use crate::format::hashes::BlockSize;
    use crate::format::limits::of_page;
    use proptest::prelude::*;

    #[test]
    fn limits_are_those_of_the_page() {
        assert_eq!(of_page::of("line of the inventory"), [1, LONGEST_LINE]);
        assert_eq!(of_page::of("inventory, all lines"), [1, MOST_BYTES]);
        assert_eq!(of_page::of("entries"), [0, MOST_ENTRIES]);
        assert_eq!(of_page::of("text in a line of the inventory"), [0, LONGEST_TEXT]);
    }

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
            || prop::collection::vec(1u8..=255, 1..30).prop_map(|b| Name::new(&[b"user.", &b[..]].concat()));
        (
            bytes(),
            kind(),
            0u32..0o10000,
            any::<i64>(),
            0u32..1_000_000_000,
            prop::collection::vec((attribute(), bytes()), 0..3),
            any::<u64>(),
        )
            .prop_map(|(path, kind, mode, s, ns, mut xattrs, offset)| {
                xattrs.sort();
                xattrs.dedup_by(|a, b| a.0 == b.0);
                let mode = if matches!(kind, Kind::Symlink { .. }) { LINK_MODE } else { mode };
                if matches!(kind, Kind::Symlink { .. } | Kind::Hardlink { .. }) {
                    xattrs.clear();
                }
                Entry { path, kind, mode, mtime: (s, ns), xattrs, offset }
            })
    }

    const SHAPE: Shape = Shape { k: 3, volume_bytes: 1 << 21, block: BlockSize::SMALLEST };

    fn read(lines: impl Iterator<Item = Vec<u8>>) -> Result<Inventory, FormatError> {
        let mut reader = Reader::new(SHAPE);
        for line in lines {
            reader.line(&line)?;
        }
        reader.finish()
    }

    fn lines_of(inventory: &Inventory) -> Vec<Vec<u8>> {
        lines(&inventory.head, &inventory.entries, &inventory.frames, SHAPE).collect()
    }

    fn inventory(mut entries: Vec<Entry>, frames: Vec<u32>) -> Inventory {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries.dedup_by(|a, b| a.path == b.path);
        let head = Head {
            inventory: FORMAT.into(),
            critical: vec![],
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
        fn round_trip(entries in prop::collection::vec(entry(), 0..20), frames in prop::collection::vec(17u32..1_000_000, 1..40)) {
            let inventory = inventory(entries, frames);
            prop_assert_eq!(read(lines_of(&inventory).into_iter()), Ok(inventory));
        }

        #[test]
        fn a_lost_or_moved_line_is_noticed(frames in prop::collection::vec(17u32..1000, 2..40), at in any::<usize>()) {
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
    fn each_line_ends_with_a_line_feed_and_a_frame_holds_something() {
        let frames = |bytes: u32| lines_of(&inventory(vec![], vec![300, bytes]));
        read(frames(17).into_iter()).unwrap();
        read(frames(frame::LONGEST as u32).into_iter()).unwrap();
        for bytes in [0, 16, frame::LONGEST as u32 + 1] {
            assert!(matches!(
                read(frames(bytes).into_iter()),
                Err(FormatError::Limit { what: "length of a frame", .. })
            ));
        }
        for at in 0..3 {
            let mut lines = frames(300);
            lines[at].pop();
            assert!(matches!(read(lines.into_iter()), Err(FormatError::Syntax(_))));
        }
    }

    #[test]
    fn segments_are_numbered_on_and_no_more_than_the_head_says() {
        let mut part = inventory(vec![], vec![300, 301]);
        part.head.first = 7;
        let lines = lines_of(&part);
        assert_eq!(read(lines.clone().into_iter()), Ok(part));
        let changed = |from: &str, to: &str| {
            let text = String::from_utf8(lines[1].clone()).unwrap();
            assert!(text.contains(from), "{text}");
            read([lines[0].clone(), text.replace(from, to).into_bytes(), lines[2].clone()].into_iter())
        };
        for (from, to) in [
            ("\"segment\":7", "\"segment\":6"),
            ("\"segment\":7", "\"segment\":8"),
            ("\"group\":0", "\"group\":1"),
            ("\"volume\":0", "\"volume\":1"),
            ("\"offset\":65536", "\"offset\":65537"),
        ] {
            assert!(matches!(changed(from, to), Err(FormatError::Contradiction(_))), "{to}");
        }
        let three = lines_of(&inventory(vec![], vec![300, 301, 302]));
        let two = lines_of(&inventory(vec![], vec![300, 301]));
        assert!(read([&two[..1], &three[1..]].concat().into_iter()).is_err());
        assert!(read([&three[..1], &two[1..]].concat().into_iter()).is_err());
    }

    #[test]
    fn of_a_newer_version_only_the_version_is_read() {
        let refused = read([b"{\"inventory\":\"2\",\"set\":7}\n".to_vec()].into_iter()).unwrap_err();
        assert_eq!(refused, FormatError::Newer { what: "format", name: "2".into() });
    }

    #[test]
    fn who_has_the_entries_is_told_the_same_and_given_none() {
        let entry = |path: &[u8], mode| Entry {
            path: Name::new(path),
            kind: Kind::Dir,
            mode,
            mtime: (0, 0),
            xattrs: vec![],
            offset: 0,
        };
        let (good, bad) = ([entry(b"a", 0), entry(b"b", 0)], [entry(b"a", 0), entry(b"b", 0o10000)]);
        assert!(check(&good).is_ok() && check(&bad).is_err());
        assert!(check(&[good[0].clone(), good[0].clone()]).is_err());
        let checked = |entries: &[Entry]| {
            let mut reader = Reader::checking(SHAPE);
            lines_of(&inventory(entries.to_vec(), vec![300])).iter().try_for_each(|line| reader.line(line))?;
            reader.finish()
        };
        assert!(checked(&good).is_ok_and(|read| read.entries.is_empty() && read.head.entries == 2));
        assert!(checked(&bad).is_err());
    }

    /// Rule 67.
    #[test]
    fn no_line_has_a_field_by_which_another_is_known() {
        let entry = Entry { path: Name::default(), kind: Kind::Dir, mode: 0, mtime: (0, 0), xattrs: vec![], offset: 0 };
        let honest = lines_of(&inventory(vec![entry], vec![300]));
        let with = |at: usize, field: &str| {
            let mut lines = honest.clone();
            lines[at].splice(1..1, format!("\"{field}\":null,").into_bytes());
            read(lines.into_iter())
        };
        for (at, fields) in [(0, ["kind", "path", "segment"]), (1, ["inventory", "segment", "segment"])] {
            assert!(with(at, "later").is_ok());
            fields.iter().for_each(|field| assert!(matches!(with(at, field), Err(FormatError::Syntax(_))), "{field}"));
        }
        for field in ["inventory", "kind", "path"] {
            assert!(with(2, "later").is_ok() && matches!(with(2, field), Err(FormatError::Syntax(_))), "{field}");
        }
    }

    /// Rule 69.
    #[test]
    fn a_feature_that_is_not_known_is_named() {
        let refused = |critical: &str| {
            let line = format!("{{\"inventory\":\"{FORMAT}\",{critical}\"set\":7}}\n").into_bytes();
            read([line].into_iter()).unwrap_err()
        };
        let newer = FormatError::Newer { what: "feature", name: "builds-on".into() };
        assert_eq!(refused("\"critical\":[\"builds-on\"],"), newer);
        for other in ["\"critical\":{},", "\"critical\":null,", "\"critical\":\"builds-on\",", "\"critical\":[],", ""] {
            assert!(matches!(refused(other), FormatError::Syntax(_)), "{other}");
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
    fn each_number_of_the_head_has_its_limits() {
        type Change = fn(&mut Head);
        let head = |change: &Change| {
            let mut head = inventory(vec![], vec![300]).head;
            change(&mut head);
            parse_head(line(&head).trim_ascii_end()).map(|read| assert_eq!(read, head))
        };
        let allowed: [Change; 10] = [
            |h| h.entries = 0,
            |h| h.entries = MOST_ENTRIES,
            |h| h.tar_bytes = 1024,
            |h| h.tar_bytes = LARGEST,
            |h| h.part = 1,
            |h| h.part = 1 << 16,
            |h| h.segments = 1,
            |h| h.segments = 1 << 40,
            |h| h.first = 0,
            |h| h.first = 1 << 40,
        ];
        for (number, change) in allowed.iter().enumerate() {
            assert_eq!(head(change), Ok(()), "change {number}");
        }
        let refused: [(&str, Change); 8] = [
            ("entries", |h| h.entries = MOST_ENTRIES + 1),
            ("length of the tar stream", |h| h.tar_bytes = 1023),
            ("length of the tar stream", |h| h.tar_bytes = LARGEST + 1),
            ("part", |h| h.part = 0),
            ("part", |h| h.part = (1 << 16) + 1),
            ("segments", |h| h.segments = 0),
            ("segments", |h| h.segments = (1 << 40) + 1),
            ("first segment", |h| h.first = (1 << 40) + 1),
        ];
        for (what, change) in refused {
            assert!(matches!(head(&change), Err(FormatError::Limit { what: limit, .. }) if limit == what), "{what}");
        }
    }

    #[test]
    fn all_lines_have_no_more_bytes_than_a_reader_takes() {
        let first = lines_of(&inventory(vec![], vec![300])).remove(0);
        let after = |before: u64| {
            let mut reader = Reader::new(SHAPE);
            reader.bytes += before;
            reader.line(&first)
        };
        let room = MOST_BYTES - first.len() as u64;
        assert_eq!(after(room), Ok(()));
        assert!(matches!(after(room + 1), Err(FormatError::Limit { what: "length of the inventory", .. })));
    }

    #[test]
    fn a_segment_too_many_is_refused_when_it_comes() {
        let lines = lines_of(&inventory(vec![], vec![300, 301, 302]));
        let mut reader = Reader::new(SHAPE);
        reader.line(&lines_of(&inventory(vec![], vec![300, 301]))[0]).unwrap();
        let taken = lines[1..].iter().map(|line| reader.line(line).is_ok());
        assert_eq!(taken.collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn who_reads_all_lines_is_told_of_a_path_that_stands_twice() {
        let dir = Entry { path: Name::new(b"a"), kind: Kind::Dir, mode: 0, mtime: (0, 0), xattrs: vec![], offset: 0 };
        let mut twice = inventory(vec![dir.clone()], vec![300]);
        twice.entries.push(dir);
        twice.head.entries = 2;
        assert!(matches!(read(lines_of(&twice).into_iter()), Err(FormatError::Contradiction(_))));
    }
}
