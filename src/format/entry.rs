//! An entry of a set: what its line in the inventory says, and the rules for each field.

use super::hashes::Value;
use super::json::Absent;
use super::{FormatError, hash_hex, json, within};
use crate::text::printable;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The longest path, in bytes (Linux refuses longer ones).
pub const LONGEST_PATH: usize = 4095;
/// The most extended attributes of an entry; Linux has room for fewer.
pub const MOST_XATTRS: usize = 1 << 14;
/// The longest value of one, in bytes (Linux refuses longer ones).
pub const LONGEST_XATTR: usize = 64 << 10;
const LONGEST_XATTR_NAME: usize = 255;
/// What a name of one begins with, and at least one byte more.
const USER: &[u8] = b"user.";
/// The mode of every symbolic link: nobody asks for it, and not every file system says the same.
pub const LINK_MODE: u32 = 0o777;
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
            if std::str::from_utf8(&decoded).is_ok() {
                return Err(A::Error::custom("a name that is UTF-8 is in base64"));
            }
            if bytes.replace(decoded).is_some() {
                return Err(A::Error::duplicate_field("base64"));
            }
        }
        bytes.map(|b| Name(b.into())).ok_or_else(|| A::Error::missing_field("base64"))
    }
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
        #[serde(with = "hash_hex::optional")]
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
    #[serde(deserialize_with = "json::word")]
    kind: KindName,
    #[serde(default, deserialize_with = "json::present")]
    size: Option<u64>,
    #[serde(default, deserialize_with = "json::present")]
    extents: Option<Box<[Extent]>>,
    #[serde(default, deserialize_with = "json::present")]
    blake3: Option<Hash>,
    #[serde(default, deserialize_with = "json::present")]
    target: Option<Name>,
    mode: u32,
    mtime: (i64, u32),
    #[serde(default, deserialize_with = "json::array::<_, _, 1, MOST_XATTRS>")]
    xattrs: Vec<(Name, Name)>,
    offset: u64,
    #[serde(default)]
    inventory: Absent,
    #[serde(default)]
    segment: Absent,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindName {
    Dir,
    File,
    Symlink,
    Hardlink,
}

/// A hash, or null.
#[derive(Deserialize)]
#[serde(transparent)]
struct Hash(#[serde(with = "hash_hex::optional")] Option<Value>);

impl TryFrom<EntryLine> for Entry {
    type Error = &'static str;

    /// Rule 67: it has the fields of its kind, and none of another; nor those by which other lines are known.
    fn try_from(line: EntryLine) -> Result<Entry, &'static str> {
        let EntryLine { path, kind, size, extents, blake3, target, mode, mtime, xattrs, offset, .. } = line;
        let EntryLine { inventory: Absent, segment: Absent, .. } = line;
        let kind = match (kind, size, extents, blake3, target) {
            (KindName::Dir, None, None, None, None) => Kind::Dir,
            (KindName::File, Some(size), extents, Some(Hash(blake3)), None) => Kind::File { size, extents, blake3 },
            (KindName::Symlink, None, None, None, Some(target)) => Kind::Symlink { target },
            (KindName::Hardlink, None, None, None, Some(target)) => Kind::Hardlink { target },
            _ => return Err("an entry does not have the fields of its kind, or has one of another"),
        };
        Ok(Entry { path, kind, mode, mtime, xattrs, offset })
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

    /// Checks the rules for each field.
    pub(super) fn validate(&self) -> Result<(), FormatError> {
        within("length of a path", self.path.0.len() as u64, 0, LONGEST_PATH as u64)?;
        within("mode", self.mode.into(), 0, 0o7777)?;
        within("nanoseconds", self.mtime.1.into(), 0, 999_999_999)?;
        self.validate_xattrs()?;
        match &self.kind {
            Kind::File { size, extents, .. } => {
                within("size of a file", *size, 0, LARGEST)?;
                extents.iter().try_for_each(|e| validate_extents(e, *size))
            }
            Kind::Symlink { target } | Kind::Hardlink { target } => {
                within("length of a link", target.0.len() as u64, 1, LONGEST_PATH as u64)?;
                self.validate_link()
            }
            Kind::Dir => Ok(()),
        }
    }

    fn validate_xattrs(&self) -> Result<(), FormatError> {
        within("extended attributes", self.xattrs.len() as u64, 0, MOST_XATTRS as u64)?;
        for (name, value) in &self.xattrs {
            within("length of an extended attribute", value.0.len() as u64, 0, LONGEST_XATTR as u64)?;
            let own = name.0.strip_prefix(USER).is_some_and(|own| !own.is_empty() && !own.contains(&0));
            if !own || name.0.len() > LONGEST_XATTR_NAME {
                return Err(FormatError::Text { what: "extended attribute", value: name.printable() });
            }
        }
        match self.xattrs.is_sorted_by(|(a, _), (b, _)| a < b) {
            true => Ok(()),
            false => Err(FormatError::Contradiction(
                "the names of extended attributes are not in order, or one stands twice".into(),
            )),
        }
    }

    /// Rule 68, but for what only the file of a hard link tells.
    fn validate_link(&self) -> Result<(), FormatError> {
        let is_symlink = matches!(self.kind, Kind::Symlink { .. });
        match self.xattrs.is_empty() && (!is_symlink || self.mode == LINK_MODE) {
            true => Ok(()),
            false => Err(FormatError::Contradiction(
                "a link has extended attributes, or a symbolic link another mode than 511".into(),
            )),
        }
    }
}

fn validate_extents(extents: &[Extent], size: u64) -> Result<(), FormatError> {
    within("extents of a file", extents.len() as u64, 0, MOST_EXTENTS as u64)?;
    let wrong = |what: &str| Err(FormatError::Contradiction(what.into()));
    let (mut before, mut stored) = (None, 0);
    for extent in extents {
        if extent.0 % ALIGNMENT != 0 || (extent.1 % ALIGNMENT != 0 && extent.end() != size) {
            return wrong("extents are not aligned to the records of tar");
        }
        if extent.1 == 0 || before.is_some_and(|end| extent.0 <= end) || extent.end() > size {
            return wrong("extents touch, or are out of order, empty or past the end of the file");
        }
        before = Some(extent.end());
        stored += extent.1;
    }
    if stored == size { wrong("a file without holes has extents") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::limits::of_page;

    #[test]
    fn limits_are_those_of_the_page() {
        assert_eq!(of_page::of("path"), [0, LONGEST_PATH as u64]);
        assert_eq!(of_page::of("extended attributes of an entry"), [0, MOST_XATTRS as u64]);
        assert_eq!(of_page::of("name of an extended attribute"), [USER.len() as u64 + 1, LONGEST_XATTR_NAME as u64]);
        assert_eq!(of_page::of("value of an extended attribute"), [0, LONGEST_XATTR as u64]);
        assert_eq!(of_page::of("mode")[1], 0o7777);
        assert_eq!(of_page::of("extents of a file"), [0, MOST_EXTENTS as u64]);
        assert_eq!(of_page::of("size of a file"), [0, LARGEST]);
        assert_eq!(of_page::of("tar_bytes")[1], LARGEST);
    }

    const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    fn read(line: &str) -> Result<Entry, FormatError> {
        let entry: Entry = json::parse(line.replace("HASH", HASH).as_bytes(), 1 << 19)?;
        entry.validate().map(|()| entry)
    }

    /// One line of each kind.
    const FILE: &str = r#"{"path":"a","kind":"file","size":5,"blake3":"HASH","mode":420,"mtime":[-1,5],"offset":512}"#;
    const DIR: &str =
        r#"{"path":"d","kind":"dir","mode":493,"mtime":[0,0],"xattrs":[["user.a",""],["user.b","x"]],"offset":0}"#;
    const SYMLINK: &str = r#"{"path":"l","kind":"symlink","target":"a","mode":511,"mtime":[0,0],"offset":0}"#;
    const HARDLINK: &str = r#"{"path":"h","kind":"hardlink","target":"a","mode":420,"mtime":[0,0],"offset":0}"#;

    /// Whatever changes in the line, it is refused.
    #[track_caller]
    fn refused(line: &str, changes: &[(&str, &str)]) {
        read(line).unwrap();
        for (from, to) in changes {
            assert!(line.contains(from), "{from}");
            let changed = line.replacen(from, to, 1);
            assert!(read(&changed).is_err(), "{changed}");
        }
    }

    #[test]
    fn what_is_stored_is_no_longer_than_what_there_is() {
        let sizes = |line: &str| read(line).map(|entry| (entry.size(), entry.stored())).unwrap();
        assert_eq!(sizes(FILE), (5, 5));
        assert_eq!(sizes(&FILE.replace("\"size\":5", "\"size\":2000,\"extents\":[[512,512]]")), (2000, 512));
        assert!([DIR, SYMLINK, HARDLINK].iter().all(|line| sizes(line) == (0, 0)));
    }

    #[test]
    fn parts_agree_on_an_entry_but_for_a_hash_that_one_cannot_know() {
        let (known, open) = (read(FILE).unwrap(), read(&FILE.replace("\"HASH\"", "null")).unwrap());
        for (mut mine, theirs) in [(known.clone(), open.clone()), (open.clone(), known.clone())] {
            assert!(mine.agree(theirs));
            assert_eq!(mine, known);
        }
        let other = read(&FILE.replace("HASH", &"1".repeat(64))).unwrap();
        assert!(!known.clone().agree(other) && !known.clone().agree(read(DIR).unwrap()));
        assert!(!open.clone().agree(Entry { mode: 0o600, ..known }));
    }

    #[test]
    fn each_kind_has_its_fields_and_no_others() {
        read(&FILE.replace("\"HASH\"", "null")).unwrap();
        let more = |field: &'static str| ("\"mode\"", field);
        let (size, extents) = (more(r#""size":5,"mode""#), more(r#""extents":[],"mode""#));
        let (blake3, target) = (more(r#""blake3":null,"mode""#), more(r#""target":"a","mode""#));
        refused(DIR, &[size, extents, blake3, target, more(r#""size":null,"mode""#)]);
        refused(SYMLINK, &[size, extents, blake3, ("\"target\":\"a\",", "")]);
        refused(HARDLINK, &[size, extents, blake3, ("\"target\":\"a\",", "")]);
        refused(FILE, &[target, ("\"size\":5,", ""), ("\"blake3\":\"HASH\",", ""), ("\"size\":5", "\"size\":null")]);
        refused(
            FILE,
            &[("\"size\":5", "\"size\":5,\"extents\":null"), ("\"file\"", "{\"file\":null}"), ("\"file\"", "\"fifo\"")],
        );
        for line in [FILE, DIR, SYMLINK, HARDLINK] {
            refused(line, &[more(r#""inventory":"1","mode""#), more(r#""segment":null,"mode""#)]);
        }
    }

    #[test]
    fn each_field_has_one_spelling() {
        refused(
            FILE,
            &[("[-1,5]", "[-1]"), ("[-1,5]", "[-1,5,0]"), ("[-1,5]", "[-1.0,5]"), ("[-1,5]", "{\"0\":-1,\"1\":5}")],
        );
        refused(
            FILE,
            &[
                (":5,", ":5.0,"),
                (":5,", ":5e0,"),
                (":5,", ":\"5\","),
                ("[-1,5]", "[-0,5]"),
                ("[-1,5]", "[-1,1000000000]"),
            ],
        );
        refused(FILE, &[("\"a\"", "{\"base64\":\"YQ==\"}"), ("\"a\"", "[\"a\"]"), ("\"a\"", "null"), ("420", "4096")]);
        let bytes = FILE.replace("\"a\"", "{\"base64\":\"/w==\"}");
        assert_eq!(read(&bytes).unwrap().path, Name::new(b"\xff"));
        // Without padding, with bits that say nothing, in the alphabet of URLs, with a blank.
        refused(
            &bytes,
            &[("/w==", "/w"), ("/w==", "/x=="), ("/w==", "_w=="), ("/w==", "/w== "), ("{\"base64\":\"/w==\"}", "{}")],
        );
    }

    #[test]
    fn attributes_are_of_users_in_order_and_each_once() {
        refused(
            DIR,
            &[
                ("user.a", "user."),
                ("user.a", "user.a\\u0000"),
                ("user.a", "security.a"),
                ("user.a", "user.b"),
                ("user.a", "user.c"),
            ],
        );
        refused(
            DIR,
            &[
                (r#"[["user.a",""],["user.b","x"]]"#, "[]"),
                (r#"[["user.a",""],["user.b","x"]]"#, "null"),
                ("[\"user.a\",\"\"]", "[\"user.a\"]"),
            ],
        );
        let longest = format!("user.{}", "a".repeat(250));
        read(&DIR.replace("user.a", &longest)).unwrap();
        refused(DIR, &[("user.a", &(longest + "a"))]);
    }

    #[test]
    fn links_say_nothing_of_their_own() {
        let attribute = (r#""mtime""#, r#""xattrs":[["user.a",""]],"mtime""#);
        refused(SYMLINK, &[attribute, ("511", "420"), ("\"target\":\"a\"", "\"target\":\"\"")]);
        refused(HARDLINK, &[attribute, ("\"target\":\"a\"", "\"target\":\"\"")]);
    }

    #[test]
    fn lies_about_extents_are_refused() {
        let size = 5000;
        for good in [&[][..], &[Extent(512, 512)], &[Extent(0, 512), Extent(1024, 512)], &[Extent(512, size - 512)]] {
            validate_extents(good, size).unwrap();
        }
        for bad in [
            &[Extent(0, 0)][..],
            &[Extent(512, 9000)],
            &[Extent(1024, 512), Extent(0, 512)],
            &[Extent(0, 1024), Extent(512, 512)],
            &[Extent(u64::MAX - 511, 512)],
            &[Extent(1, 511)],
            &[Extent(1, 512)],
            &[Extent(0, 100)],
            // They touch, and are one.
            &[Extent(0, 512), Extent(512, 512)],
            // There is no hole.
            &[Extent(0, size)],
        ] {
            assert!(validate_extents(bad, size).is_err(), "{bad:?}");
        }
        assert!(validate_extents(&[], 0).is_err());
    }

    #[test]
    fn the_most_is_allowed_and_one_more_is_not() {
        let name = |len: usize| Name::new(&vec![b'x'; len]);
        let attributes = |number: usize, len: usize| -> Vec<(Name, Name)> {
            (0..number).map(|i| (Name::new(format!("user.{i:05}").as_bytes()), name(len))).collect()
        };
        let file = |size: u64, extents: usize| {
            let each = (0..extents as u64).map(|i| Extent(2 * i * ALIGNMENT, ALIGNMENT));
            Kind::File { size, extents: (extents > 0).then(|| each.collect()), blake3: None }
        };
        let entry = read(FILE).unwrap();
        let dir = read(DIR).unwrap();
        let holes = 2 * (MOST_EXTENTS as u64 + 1) * ALIGNMENT;
        for (what, most, more) in [
            (
                "length of a path",
                Entry { path: name(LONGEST_PATH), ..dir.clone() },
                Entry { path: name(LONGEST_PATH + 1), ..dir.clone() },
            ),
            (
                "size of a file",
                Entry { kind: file(LARGEST, 0), ..entry.clone() },
                Entry { kind: file(LARGEST + 1, 0), ..entry.clone() },
            ),
            (
                "extents of a file",
                Entry { kind: file(holes, MOST_EXTENTS), ..entry.clone() },
                Entry { kind: file(holes, MOST_EXTENTS + 1), ..entry.clone() },
            ),
            (
                "extended attributes",
                Entry { xattrs: attributes(MOST_XATTRS, 0), ..dir.clone() },
                Entry { xattrs: attributes(MOST_XATTRS + 1, 0), ..dir.clone() },
            ),
            (
                "length of an extended attribute",
                Entry { xattrs: attributes(1, LONGEST_XATTR), ..dir.clone() },
                Entry { xattrs: attributes(1, LONGEST_XATTR + 1), ..dir },
            ),
        ] {
            assert_eq!(most.validate(), Ok(()), "{what}");
            assert!(matches!(more.validate(), Err(FormatError::Limit { what: limit, .. }) if limit == what), "{what}");
        }
        assert_eq!(Entry { kind: file(0, 0), mode: 0o7777, mtime: (0, 999_999_999), ..entry }.validate(), Ok(()));
    }

    #[test]
    fn beside_the_base64_of_a_name_there_may_be_what_is_not_known() {
        let line = FILE.replace("\"a\"", r#"{"later":{"base64":1},"base64":"/w==","other":"x"}"#);
        assert_eq!(read(&line).unwrap().path, Name::new(b"\xff"));
        refused(&line, &[("\"base64\":\"/w==\",", "")]);
        // Also by a parser that does not look for fields that stand twice.
        assert!(serde_json::from_str::<Name>(r#"{"base64":"/w==","base64":"/g=="}"#).is_err());
    }
}
