//! The manifest: public, signed JSON. Its bytes are what is signed, so it is parsed only after the signature holds.

use super::deal::Shape;
use super::filter::Filter;
use super::hashes::{BlockSize, PAGE, Value};
use super::header::Header;
pub use super::limits::{LARGEST_VOLUME, LEAST_VOLUME, LONGEST_ROW, MOST_DRIVES, MOST_PARTS, MOST_VOLUMES, SEGMENTS};
use super::{FormatError, hash_hex, hex, json, names, parse_id, pieces, valid_label, version, within};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The most bytes that a manifest may have.
pub const LONGEST: u64 = 64 << 20;
/// The most bytes that a key slot may have.
pub const LONGEST_SLOT: u64 = 16 << 20;
/// The most bytes that a program that travels with a set may have.
pub const LONGEST_PROGRAM: u64 = 256 << 20;
const LONGEST_FILE: u64 = 1 << 50;
/// The longest age file of an inventory: what it may say, and room for what says nothing.
const LONGEST_INVENTORY: u64 = 4 << 30;
/// Rule 58: the most bytes of a text in it, as it is spelt.
const LONGEST_TEXT: u64 = 4 << 10;

/// What a set consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format.
    pub format: String,
    /// Features that a reader must know; unknown fields beside these may be ignored.
    #[serde(deserialize_with = "json::array::<_, _, 0, 64>")]
    pub critical: Vec<String>,
    /// The set's id: 32 hex digits.
    pub set: String,
    /// The public label, if one was given.
    #[serde(deserialize_with = "Option::deserialize")]
    pub label: Option<String>,
    /// Which part of the set, from 1: a set that did not fit the drives at hand goes on in a next part on the next drives.
    pub part: u32,
    /// Whether this is the last part.
    pub last: bool,
    /// BLAKE3 of the previous part's manifest.
    #[serde(with = "hash_hex::optional")]
    pub previous: Option<Value>,
    /// When the export was begun: `YYYY-MM-DDTHH:MM:SSZ`.
    pub created: String,
    /// The program that wrote it: 1 to 128 printable characters of ASCII.
    pub tool: String,
    /// BLAKE3 of the text of the set's own age recipient, to which segments and inventory are encrypted. The text itself is a
    /// secret (rule 75).
    #[serde(with = "hash_hex")]
    pub recipient_blake3: Value,
    /// What is done to segments before they are sealed: the name of a [`Filter`], or of one that only later readers know.
    pub filter: String,
    /// Bytes of the tar stream in each segment but the last.
    pub segment_bytes: u32,
    /// No volume is longer, in bytes.
    pub volume_bytes: u64,
    /// Bytes of a block, see [`Manifest::block`].
    pub block_bytes: u32,
    /// How many drives this part was written to, and every other part.
    pub drives: u16,
    /// The groups, in order.
    #[serde(deserialize_with = "json::objects::<_, _, 0, 65536>")]
    pub groups: Vec<Group>,
    /// Metadata files that are the same on every drive, by name.
    #[serde(deserialize_with = "json::named_objects::<_, _, 64>")]
    pub files: BTreeMap<String, Listed>,
}

/// K data volumes and M parity volumes that protect each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Data volumes.
    pub k: u16,
    /// Parity volumes.
    pub m: u16,
    /// All of them, data first.
    #[serde(deserialize_with = "json::objects::<_, _, 0, 255>")]
    pub volumes: Vec<Volume>,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The drive it was written to, from 1.
    pub drive: u16,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of the whole file.
    #[serde(with = "hash_hex")]
    pub blake3: Value,
    /// The values of its spans, of 2048 blocks each, if it has more than one.
    #[serde(default, deserialize_with = "json::array::<_, _, 1, 524288>", skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
}

/// The value of one span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(#[serde(with = "hash_hex")] pub Value);

/// One metadata file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of the whole file.
    #[serde(with = "hash_hex")]
    pub blake3: Value,
    /// The values of the pieces of the inventory, if it has more than one.
    #[serde(default, deserialize_with = "json::array::<_, _, 2, 256>", skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<Span>,
}

impl Listed {
    /// A file that has these bytes.
    pub fn of(bytes: &[u8]) -> Listed {
        Listed::without_pieces(bytes.len() as u64, *blake3::hash(bytes).as_bytes())
    }

    /// One of this length and hash.
    pub fn without_pieces(bytes: u64, blake3: Value) -> Listed {
        Listed { bytes, blake3, pieces: Vec::new() }
    }

    /// How many pieces it has that are proven one by one.
    pub fn count(&self) -> u64 {
        self.pieces.len().max(1) as u64
    }

    /// Where such a piece lies.
    pub fn range(&self, piece: u64) -> Range<u64> {
        if self.pieces.is_empty() { 0..self.bytes } else { pieces::range(self.bytes, piece) }
    }

    /// Whether these bytes are a piece of it.
    pub fn proves(&self, piece: u64, bytes: &[u8]) -> bool {
        match self.pieces.get(piece as usize) {
            Some(value) => pieces::value(self.bytes, piece, bytes) == value.0,
            None => self.pieces.is_empty() && blake3::hash(bytes) == self.blake3,
        }
    }

    /// Rule 78.
    fn pieces_agree(&self, name: &str) -> bool {
        let count = if name == names::INVENTORY { pieces::count(self.bytes) } else { 1 };
        let values: Vec<Value> = self.pieces.iter().map(|piece| piece.0).collect();
        match count {
            1 => values.is_empty(),
            _ => values.len() as u64 == count && pieces::root(&values, self.bytes) == self.blake3,
        }
    }
}

impl Volume {
    /// The value that page `page` of its block values must fold to.
    pub fn span(&self, page: usize) -> Value {
        match self.spans.get(page) {
            Some(span) => span.0,
            None => self.blake3,
        }
    }
}

impl Group {
    /// The longest volume, in bytes.
    pub fn longest(&self) -> u64 {
        self.volumes.iter().map(|v| v.bytes).max().unwrap_or(0)
    }

    /// Rows: blocks of the longest volume after its header page.
    pub fn rows(&self, block: BlockSize) -> u64 {
        block.blocks(self.longest()).saturating_sub(1)
    }
}

/// The file name of a volume.
pub fn volume_name(group: usize, index: usize, k: u16) -> String {
    match index.checked_sub(k.into()) {
        None => format!("g{group:05}-d{index:03}.ckv"),
        Some(parity) => format!("g{group:05}-p{parity:03}.ckv"),
    }
}

fn b3sums_line(name: &str, volume: &Volume) -> String {
    format!("{}  {name}\n", hex(&volume.blake3))
}

/// The group of a volume with this file name; `None` if it is not one of a volume.
pub fn group_of_volume(name: &str) -> Option<u32> {
    let (group, volume) = name.strip_suffix(names::VOLUME_SUFFIX)?.strip_prefix('g')?.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let volume = volume.strip_prefix(['d', 'p'])?;
    (digits(group) && digits(volume)).then(|| group.parse().ok()).flatten()
}

/// The name of the directory of a part of a set.
pub fn set_dir_name(label: Option<&str>, set: &str, part: u32) -> String {
    let short = set.get(..8).unwrap_or(set);
    let label = label.map(|l| format!("{l}-")).unwrap_or_default();
    let part = if part > 1 { format!("{}{part}", names::PART_INFIX) } else { String::new() };
    format!("{label}{short}{part}{}", names::SET_SUFFIX)
}

impl Manifest {
    /// The bytes that are signed.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads the bytes of a manifest whose signature has been verified, or that is shown as NOT VERIFIED.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, FormatError> {
        within("length of the manifest", bytes.len() as u64, 1, LONGEST)?;
        #[derive(Deserialize)]
        struct Version {
            format: String,
        }
        // Of a version that is not known nothing else is, and what a feature changes is not known without it.
        version::require(json::parse::<Version>(bytes, LONGEST_TEXT)?.format)?;
        json::parse::<version::Needs>(bytes, LONGEST_TEXT)?.require()?;
        let manifest: Manifest = json::parse(bytes, LONGEST_TEXT)?;
        if !bytes.ends_with(b"\n") {
            return Err(FormatError::Syntax("its last line has no line feed".into()));
        }
        manifest.validate()?;
        Ok(manifest)
    }

    /// The id as bytes.
    pub fn id(&self) -> [u8; 16] {
        parse_id(&self.set).unwrap_or_default()
    }

    /// How long blocks are. A manifest that says what is none has been refused.
    pub fn block(&self) -> BlockSize {
        BlockSize::try_from(self.block_bytes).unwrap_or_default()
    }

    /// What the places of its frames depend on.
    pub fn shape(&self) -> Shape {
        Shape { k: self.groups[0].k, volume_bytes: self.volume_bytes, block: self.block() }
    }

    /// The number of a drive of this part among all drives of the set.
    pub fn drive_number(&self, drive: u16) -> u32 {
        (self.part - 1) * u32::from(self.drives) + u32::from(drive)
    }

    /// Whether `next` can be the part after this one, whose manifest has the hash `own`.
    pub fn is_followed_by(&self, own: &Value, next: &Manifest) -> bool {
        !self.last && next.part == self.part + 1 && next.previous.as_ref() == Some(own) && self.shares_set_with(next)
    }

    /// Whether both are parts of one set: all that is said of the whole set is the same.
    pub fn shares_set_with(&self, other: &Manifest) -> bool {
        let shared = |m: &Manifest| {
            let slot = m.files.get(names::KEYS).cloned();
            let sizes = (m.segment_bytes, m.volume_bytes, m.block_bytes, m.drives, m.groups[0].k, m.groups[0].m);
            (m.set.clone(), m.label.clone(), m.created.clone(), m.recipient_blake3, slot, sizes)
        };
        shared(self) == shared(other)
    }

    /// The header page that volume `index` of group `group` must have.
    pub fn header(&self, group: usize, index: usize) -> Header {
        let (k, m) = self.groups.get(group).map_or((0, 0), |g| (g.k, g.m));
        Header {
            set: self.id(),
            group: group as u32,
            index: index as u16,
            k,
            m,
            part: self.part,
            block: self.block(),
            segment_bytes: self.segment_bytes,
            volume_bytes: self.volume_bytes,
        }
    }

    /// Every volume with its group, index and name.
    pub fn volumes(&self) -> impl Iterator<Item = (usize, usize, String, &Volume)> {
        self.groups.iter().enumerate().flat_map(|(g, group)| {
            let named = move |(i, v)| (g, i, volume_name(g, i, group.k), v);
            group.volumes.iter().enumerate().map(named)
        })
    }

    /// The names of the metadata files that each drive has.
    pub fn metadata(&self) -> impl Iterator<Item = &str> {
        let further = self.files.keys().map(String::as_str).filter(|name| !names::LISTED.contains(name));
        names::METADATA.into_iter().chain(further)
    }

    /// Where each drive must have such a file, outside of further directories first.
    pub fn places(&self, name: &str) -> impl DoubleEndedIterator<Item = String> + use<> {
        let (bytes, drives) = (self.files.get(name).map_or(0, |file| file.bytes), self.drives.into());
        names::copies(name).filter(move |place| names::is_needed(place, bytes, drives))
    }

    /// The program that travels with the set, if one does.
    pub fn program(&self) -> Option<&Listed> {
        self.files.get(names::PROGRAM)
    }

    /// The `B3SUMS` of a drive.
    pub fn b3sums(&self, drive: u16) -> Vec<u8> {
        let own = self.volumes().filter(|(_, _, _, v)| v.drive == drive);
        own.map(|(_, _, name, v)| b3sums_line(&name, v)).collect::<String>().into_bytes()
    }

    /// The hashes of the `B3SUMS` of all drives, in order.
    pub fn b3sums_hashes(&self) -> Vec<Value> {
        let mut all = vec![blake3::Hasher::new(); self.drives.into()];
        for (_, _, name, volume) in self.volumes() {
            all[usize::from(volume.drive) - 1].update(b3sums_line(&name, volume).as_bytes());
        }
        all.iter().map(|hasher| *hasher.finalize().as_bytes()).collect()
    }

    /// Where the block values of each volume begin in `hashes.b3`, in values; and how many there are.
    pub fn value_offsets(&self) -> (Vec<Vec<u64>>, u64) {
        let (mut at, block) = (0, self.block());
        let mut next = |v: &Volume| {
            let here = at;
            at += block.blocks(v.bytes);
            here
        };
        let offsets = self.groups.iter().map(|g| g.volumes.iter().map(&mut next).collect()).collect();
        (offsets, at)
    }

    /// What has to be undone after segments were opened. Who does not open them need not know it (rule 70).
    pub fn filter(&self) -> Result<Filter, FormatError> {
        Filter::parse(&self.filter).ok_or_else(|| version::newer("filter", self.filter.clone()))
    }

    fn validate(&self) -> Result<(), FormatError> {
        let text = |what, value: &str| FormatError::Text { what, value: value.to_owned() };
        if parse_id(&self.set).is_none() {
            return Err(text("set id", &self.set));
        }
        if self.label.as_deref().is_some_and(|l| !valid_label(l)) {
            return Err(text("label", self.label.as_deref().unwrap_or_default()));
        }
        if !is_utc_second(&self.created) {
            return Err(FormatError::Time(self.created.clone()));
        }
        if !version::is_name(&self.filter) {
            return Err(text("filter", &self.filter));
        }
        if !is_tool(&self.tool) {
            return Err(text("tool", &self.tool));
        }
        within("part", self.part.into(), 1, MOST_PARTS)?;
        if (self.part > 1) != self.previous.is_some() {
            return Err(FormatError::Contradiction("part and previous do not agree".into()));
        }
        within("drives", self.drives.into(), 1, MOST_DRIVES)?;
        within("volume size", self.volume_bytes, LEAST_VOLUME, LARGEST_VOLUME)?;
        within("segment size", self.segment_bytes.into(), *SEGMENTS.start(), *SEGMENTS.end())?;
        if !self.segment_bytes.is_power_of_two() {
            return Err(FormatError::Contradiction("the segment size is not a power of two".into()));
        }
        BlockSize::try_from(self.block_bytes)?;
        within("groups", self.groups.len() as u64, 1, MOST_VOLUMES)?;
        within("volumes", self.volumes().count() as u64, 1, MOST_VOLUMES)?;
        self.groups.iter().try_for_each(|g| self.validate_group(g))?;
        self.validate_files()
    }

    fn validate_group(&self, group: &Group) -> Result<(), FormatError> {
        let first = &self.groups[0];
        let n = u64::from(group.k) + u64::from(group.m);
        within("K", group.k.into(), 1, 254)?;
        within("M", group.m.into(), 1, 254)?;
        within("K+M", n, 1, 255)?;
        within("bytes of a row", n * self.block().bytes(), 0, LONGEST_ROW)?;
        if n != group.volumes.len() as u64 || (group.k, group.m) != (first.k, first.m) {
            return Err(FormatError::Contradiction("K, M and the number of volumes do not agree".into()));
        }
        let (data, parity) = group.volumes.split_at(group.k.into());
        let longest = data.iter().map(|v| v.bytes).max().unwrap_or(0);
        if parity.iter().any(|v| v.bytes != longest) {
            return Err(FormatError::Contradiction("a parity volume is not as long as the longest data volume".into()));
        }
        group.volumes.iter().try_for_each(|v| self.validate_volume(v))?;
        // Of rule 25 that is all that the manifest alone tells.
        match longest > self.block().bytes() {
            true => Ok(()),
            false => Err(FormatError::Contradiction("a group has no frame".into())),
        }
    }

    fn validate_volume(&self, volume: &Volume) -> Result<(), FormatError> {
        let block = self.block();
        within("drive number", volume.drive.into(), 1, self.drives.into())?;
        within("length of a volume", volume.bytes, block.bytes(), self.volume_bytes)?;
        let spans = block.blocks(volume.bytes).div_ceil(PAGE as u64);
        let values: Vec<Value> = volume.spans.iter().map(|s| s.0).collect();
        let agree = match spans {
            1 => values.is_empty(),
            _ => values.len() as u64 == spans && block.root_of_spans(&values, volume.bytes) == volume.blake3,
        };
        if !agree {
            return Err(FormatError::Contradiction(format!(
                "the {}-byte spans of a volume do not fold to its root",
                block.span()
            )));
        }
        Ok(())
    }

    fn validate_files(&self) -> Result<(), FormatError> {
        for name in names::LISTED {
            let Some(file) = self.files.get(name) else {
                return Err(FormatError::Contradiction(format!("{name} is not listed")));
            };
            let longest = match name {
                names::KEYS => LONGEST_SLOT,
                names::INVENTORY => LONGEST_INVENTORY,
                _ => LONGEST_FILE,
            };
            within("length of a metadata file", file.bytes, 1, longest)?;
        }
        if let Some(program) = self.program() {
            within("length of the program", program.bytes, 1, LONGEST_PROGRAM)?;
        }
        self.validate_further_files()?;
        if let Some((name, _)) = self.files.iter().find(|(name, file)| !file.pieces_agree(name)) {
            return Err(FormatError::Contradiction(format!("the pieces of {name} do not fold to its hash")));
        }
        let (_, values) = self.value_offsets();
        if self.files[names::HASHES].bytes != values * 32 {
            return Err(FormatError::Contradiction("hashes.b3 has not one value for each block".into()));
        }
        Ok(())
    }

    /// Rule 71: files that only later versions know are files all the same.
    fn validate_further_files(&self) -> Result<(), FormatError> {
        let mut seen = BTreeSet::new();
        let known = |name: &str| names::LISTED.contains(&name) || name == names::PROGRAM;
        for (name, file) in self.files.iter().filter(|(name, _)| !known(name)) {
            if !names::may_be_listed(name) || !seen.insert(name.to_ascii_lowercase()) {
                return Err(FormatError::Text { what: "metadata file", value: name.clone() });
            }
            within("length of a metadata file", file.bytes, 1, LONGEST_FILE)?;
        }
        Ok(())
    }
}

/// Whether a text is a second in the one spelling `YYYY-MM-DDTHH:MM:SSZ`, of any year that this has room for.
fn is_utc_second(text: &str) -> bool {
    let civil = text.strip_suffix('Z').filter(|civil| civil.len() == "YYYY-MM-DDTHH:MM:SS".len());
    civil.is_some_and(|civil| civil.parse::<jiff::civil::DateTime>().is_ok_and(|time| time.to_string() == civil))
}

/// Whether a text is the name of a program: 1 to 128 printable characters of ASCII.
fn is_tool(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::format::FORMAT;
    use crate::format::limits::of_page;
    use proptest::prelude::*;

    #[test]
    fn limits_are_those_of_the_page() {
        assert_eq!(of_page::of("manifest"), [1, LONGEST]);
        assert_eq!(of_page::of("key slot"), [1, LONGEST_SLOT]);
        assert_eq!(of_page::of("length of ckvault"), [1, LONGEST_PROGRAM]);
        assert_eq!(of_page::of("length of a listed file"), [1, LONGEST_FILE]);
        assert_eq!(of_page::of("length of inventory.age"), [1, LONGEST_INVENTORY]);
        assert_eq!(of_page::of("text in the manifest"), [0, LONGEST_TEXT]);
    }

    pub(crate) fn sample(k: u16, m: u16, groups: usize) -> Manifest {
        let volume = |i: usize| Volume {
            drive: 1 + (i % 2) as u16,
            bytes: BlockSize::SMALLEST.bytes() * 3,
            blake3: [i as u8; 32],
            spans: vec![],
        };
        let n = usize::from(k + m);
        let listed = |name: &&str| {
            let bytes = if *name == names::HASHES { (n * groups * 3 * 32) as u64 } else { 100 };
            (name.to_string(), Listed::without_pieces(bytes, [9; 32]))
        };
        Manifest {
            format: FORMAT.into(),
            critical: vec![],
            set: "00112233445566778899aabbccddeeff".into(),
            label: Some("llama".into()),
            part: 1,
            last: true,
            previous: None,
            created: "2026-11-23T06:00:00Z".into(),
            tool: "ckvault 0.1.0".into(),
            recipient_blake3: [7; 32],
            filter: "zstd".into(),
            segment_bytes: 1 << 20,
            volume_bytes: 1 << 30,
            block_bytes: 1 << 16,
            drives: 2,
            groups: (0..groups).map(|_| Group { k, m, volumes: (0..n).map(volume).collect() }).collect(),
            files: names::LISTED.iter().map(listed).collect(),
        }
    }

    proptest! {
        #[test]
        fn round_trip(k in 1u16..100, m in 1u16..100, groups in 1usize..4) {
            let manifest = sample(k, m, groups);
            prop_assert_eq!(Manifest::parse(&manifest.encode()), Ok(manifest));
        }
    }

    fn refused(change: impl FnOnce(&mut Manifest)) -> FormatError {
        let mut manifest = sample(4, 2, 2);
        change(&mut manifest);
        Manifest::parse(&manifest.encode()).unwrap_err()
    }

    #[test]
    fn each_broken_rule_is_named() {
        use FormatError as E;
        assert!(matches!(refused(|m| m.format = "0".into()), E::Version(_)));
        assert!(matches!(refused(|m| m.format = "draft-99".into()), E::Draft(_)));
        assert!(matches!(refused(|m| m.critical = vec!["x".into()]), E::Newer { what: "feature", .. }));
        assert!(matches!(refused(|m| m.format = "99".into()), E::Newer { what: "format", .. }));
        assert!(matches!(refused(|m| m.set = "../../etc".into()), E::Text { what: "set id", .. }));
        assert!(matches!(refused(|m| m.label = Some("../x".into())), E::Text { what: "label", .. }));
        assert!(matches!(refused(|m| m.filter = "Rot 13".into()), E::Text { what: "filter", .. }));
        assert!(matches!(refused(|m| m.groups[1].volumes[0].drive = 3), E::Limit { what: "drive number", .. }));
        assert!(matches!(refused(|m| m.groups[0].volumes[0].bytes = 1 << 60), E::Contradiction(_)));
        assert!(matches!(refused(|m| m.groups[0].volumes[5].bytes -= 1), E::Contradiction(_)));
        assert!(matches!(refused(|m| m.groups[0].k = 3), E::Contradiction(_)));
        assert!(matches!(refused(|m| m.groups.clear()), E::Limit { what: "groups", .. }));
        assert!(matches!(refused(|m| m.files.retain(|name, _| name != "keys.age")), E::Contradiction(_)));
        let long = Listed::without_pieces(LONGEST_PROGRAM + 1, [1; 32]);
        let with = |m: &mut Manifest, name: &str, file: Listed| m.files.extend([(name.to_owned(), file)]);
        assert!(matches!(
            refused(|m| with(m, "ckvault", long.clone())),
            E::Limit { what: "length of the program", .. }
        ));
        assert!(matches!(refused(|m| m.part = 2), E::Contradiction(_)));
        assert!(matches!(refused(|m| m.part = 0), E::Limit { what: "part", .. }));
        assert!(matches!(refused(|m| m.previous = Some([1; 32])), E::Contradiction(_)));
        assert!(matches!(refused(|m| m.groups[0].m = 0), E::Limit { what: "M", .. }));
        assert!(matches!(refused(|m| m.segment_bytes = 99_999), E::Contradiction(_)));
        for bad in [0, 1 << 15, 16 << 20, 1 << 31] {
            assert!(matches!(refused(|m| m.segment_bytes = bad), E::Limit { what: "segment size", .. }));
        }
        for bad in [0, 1 << 15, 1 << 21, u32::MAX] {
            assert!(matches!(refused(|m| m.block_bytes = bad), E::Limit { what: "block size", .. }));
        }
        assert!(matches!(refused(|m| m.block_bytes = 99_999), E::Contradiction(_)));
        // Volumes of three blocks of 64 KiB are none of larger blocks.
        assert!(matches!(refused(|m| m.block_bytes = 1 << 18), E::Limit { what: "length of a volume", .. }));
        let empty = |m: &mut Manifest| m.groups[1].volumes.iter_mut().for_each(|v| v.bytes = m.block_bytes.into());
        assert!(matches!(refused(empty), E::Contradiction(what) if what == "a group has no frame"));
        let wide = Manifest { block_bytes: 1 << 20, ..sample(30, 3, 1) };
        assert!(matches!(Manifest::parse(&wide.encode()), Err(E::Limit { what: "bytes of a row", .. })));
        for bad in [String::new(), "x".repeat(129), "ckvault\n".into(), "ckvault ü".into(), "\u{7f}".into()] {
            assert!(matches!(refused(|m| m.tool = bad), E::Text { what: "tool", .. }));
        }
    }

    /// What a later version may be like, nobody knows but that it says which one it is.
    #[test]
    fn of_a_newer_version_only_the_version_is_read() {
        for later in
            [r#"{"format":"2"}"#, r#"{"critical":7,"format":"2"}"#, r#"{"format":"2","set":null,"critical":["x"]}"#]
        {
            let refused = Manifest::parse(later.as_bytes()).unwrap_err();
            assert!(matches!(&refused, FormatError::Newer { what: "format", name } if name == "2"), "{later}");
        }
    }

    #[test]
    fn a_filter_that_is_not_known_stops_who_opens_segments() {
        let manifest = Manifest { filter: "bf16-delta.v2".into(), ..sample(4, 2, 2) };
        let parsed = Manifest::parse(&manifest.encode()).unwrap();
        assert!(matches!(parsed.filter(), Err(FormatError::Newer { what: "filter", .. })));
        assert_eq!(sample(4, 2, 2).filter(), Ok(Filter::Zstd));
    }

    #[test]
    fn each_value_has_one_form() {
        let text = String::from_utf8(sample(2, 1, 1).encode()).unwrap();
        let (volume, file) = ("{\"drive\":1,", "\"keys.age\":{\"bytes\":100,");
        for (from, to) in [
            (volume, "{\"spans\":[],\"drive\":1,"),
            (volume, "{\"spans\":null,\"drive\":1,"),
            (volume, "{\"drive\":1.0,"),
            (volume, "{\"drive\":1e0,"),
            (volume, "{\"drive\":null,"),
            (volume, "{\"drive\":1,\"dri\\u0076e\":1,"),
            (volume, "[1,196608,\"0000000000000000000000000000000000000000000000000000000000000000\"],{\"drive\":1,"),
            (
                file,
                "\"keys.age\":[100,\"0909090909090909090909090909090909090909090909090909090909090909\"],\"x\":{\"bytes\":100,",
            ),
            ("\"label\":\"llama\",", ""),
            ("\"previous\":null,", ""),
            ("\"last\":true", "\"last\":null"),
            ("\"part\":1", "\"part\":1,\"later\":0.5"),
            ("\"part\":1", "\"part\":1,\"later\":{\"a\":1,\"a\":1}"),
            ("\"part\":1", "\"part\":1,\"later\":\"\\ud800\""),
            ("\"critical\":[]", "\"critical\":{}"),
            ("\"critical\":[],", ""),
            ("\n", ""),
        ] {
            assert!(text.contains(from), "{from}");
            assert!(Manifest::parse(text.replacen(from, to, 1).as_bytes()).is_err(), "{from} {to}");
        }
        let null = text.replace("\"llama\"", "null");
        assert_eq!(Manifest::parse(null.as_bytes()).unwrap().label, None);
    }

    #[test]
    fn a_time_has_one_spelling() {
        for good in [
            "2026-11-23T06:00:00Z",
            "1970-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
            "2024-02-29T23:59:59Z",
        ] {
            assert!(is_utc_second(good), "{good}");
        }
        for bad in [
            "",
            "2026-11-23",
            "2026-11-23T06:00Z",
            "2026-11-23T06:00:00",
            "2026-11-23T06:00:00z",
            "2026-11-23t06:00:00Z",
            "2026-11-23 06:00:00Z",
            "2026-11-23T06:00:00.0Z",
            "2026-11-23T06:00:00.000000001Z",
            "2026-11-23T06:00:00+00:00",
            "2026-11-23T07:00:00+01:00",
            "2026-11-23T06:00:00Z[UTC]",
            "2026-11-23T06:00:00Z ",
            "2026-11-23T06:00:60Z",
            "2026-11-23T24:00:00Z",
            "2026-02-29T06:00:00Z",
            "20261123T060000Z",
            "+002026-11-23T06:00:00Z",
            "-000001-11-23T06:00:00Z",
        ] {
            assert_eq!(refused(|m| m.created = bad.into()), FormatError::Time(bad.into()));
        }
    }

    #[test]
    fn a_program_may_travel_with_the_set() {
        let mut manifest = sample(4, 2, 2);
        assert!(manifest.program().is_none() && manifest.metadata().eq(names::METADATA));
        manifest.files.insert(names::PROGRAM.into(), Listed::without_pieces(LONGEST_PROGRAM, [1; 32]));
        let parsed = Manifest::parse(&manifest.encode()).unwrap();
        assert_eq!(parsed.program().map(|p| p.bytes), Some(LONGEST_PROGRAM));
        assert_eq!(parsed.metadata().last(), Some("ckvault"));
    }

    /// Rule 71.
    #[test]
    fn files_that_are_not_known_are_listed_like_others() {
        let with = |listed: &[&str]| {
            let mut manifest = sample(4, 2, 2);
            manifest.files.extend(listed.iter().map(|n| (n.to_string(), Listed::without_pieces(1 << 40, [1; 32]))));
            Manifest::parse(&manifest.encode())
        };
        let long = "x".repeat(64);
        for good in
            ["NOTES.txt", "ckvault.exe", ".well-known", "read_me", "a", "-", "keys.agent", "manifest.json5", &long]
        {
            let parsed = with(&[good, "ckvault-arm"]);
            assert!(parsed.is_ok_and(|m| m.metadata().count() == names::METADATA.len() + 2), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "copy/x",
            "ü",
            "a b",
            "a.",
            "x.partial",
            "g00000-d000.ckv",
            "x.CKV",
            &(long.clone() + "x"),
        ] {
            assert!(matches!(with(&[bad]), Err(FormatError::Text { what: "metadata file", .. })), "{bad}");
        }
        for taken in [
            "manifest.json",
            "Manifest.json.sig",
            "manifest.json.sig2",
            "b3sums",
            "copy",
            "CUSTODY",
            "keys.age.sig",
            "Keys.age",
            "KEYS.age.2",
            "CKVAULT",
        ] {
            assert!(with(&[taken]).is_err(), "{taken}");
        }
        assert!(with(&["notes", "NOTES"]).is_err());
        // With those that each set has, at most 64.
        let names: Vec<String> = (0..60).map(|i| format!("further-{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(with(&names[..58]).is_ok() && with(&names[..59]).is_ok() && with(&names[..]).is_err());
    }

    /// Rule 78.
    #[test]
    fn the_pieces_of_the_inventory_fold_to_its_hash() {
        let of = |len: usize, change: fn(&mut BTreeMap<String, Listed>)| {
            let mut hasher = pieces::Hasher::default();
            hasher.update(&vec![7; len]);
            let (bytes, blake3, values) = hasher.finish();
            let mut manifest = sample(4, 2, 2);
            let listed = Listed { bytes, blake3, pieces: values.into_iter().map(Span).collect() };
            manifest.files.insert(names::INVENTORY.into(), listed);
            change(&mut manifest.files);
            Manifest::parse(&manifest.encode())
        };
        let least = pieces::LEAST as usize;
        assert!(of(least, |_| ()).is_ok() && of(least + 1, |_| ()).is_ok() && of(300 * least, |_| ()).is_ok());
        for change in [
            (|files| files.get_mut(names::INVENTORY).unwrap().pieces.clear()) as fn(&mut BTreeMap<String, Listed>),
            |files| files.get_mut(names::INVENTORY).unwrap().pieces[1].0[0] ^= 1,
            |files| files.get_mut(names::INVENTORY).unwrap().pieces.swap(0, 1),
            |files| files.get_mut(names::INVENTORY).unwrap().pieces.truncate(2),
            |files| files.get_mut(names::INVENTORY).unwrap().pieces.extend([Span([1; 32])]),
            |files| files.get_mut(names::INVENTORY).unwrap().bytes += 3 * pieces::LEAST,
            |files| files.get_mut(names::KEYS).unwrap().pieces = vec![Span([1; 32]); 2],
        ] {
            assert!(matches!(of(3 * least, change), Err(FormatError::Contradiction(_))));
        }
        let one = |files: &mut BTreeMap<String, Listed>| {
            files.get_mut(names::INVENTORY).unwrap().pieces = vec![Span([1; 32])]
        };
        assert!(matches!(of(least, one), Err(FormatError::Syntax(_))));
        assert!(matches!(
            of(least, |files| files.get_mut(names::INVENTORY).unwrap().pieces = vec![Span([1; 32]); 2]),
            Err(FormatError::Contradiction(_))
        ));
    }

    #[test]
    fn each_piece_is_proven_alone() {
        let bytes: Vec<u8> = (0..3 * pieces::LEAST + 5).map(|i| (i >> 10) as u8).collect();
        let mut hasher = pieces::Hasher::default();
        hasher.update(&bytes);
        let (len, blake3, values) = hasher.finish();
        let listed = Listed { bytes: len, blake3, pieces: values.into_iter().map(Span).collect() };
        assert_eq!((listed.count(), Listed::of(&bytes).count()), (4, 1));
        let part = |piece| &bytes[listed.range(piece).start as usize..listed.range(piece).end as usize];
        for piece in 0..4 {
            assert!(listed.proves(piece, part(piece)) && !listed.proves((piece + 1) % 4, part(piece)));
        }
        // A file with pieces is proven by them; one without by its hash.
        assert!(!listed.proves(4, &bytes) && !listed.proves(4, part(3)) && !listed.proves(0, &bytes));
        let whole = Listed::of(&bytes);
        assert_eq!(whole.range(0), 0..len);
        assert!(whole.proves(0, &bytes) && !whole.proves(0, part(0)));
    }

    /// Rule 30.
    #[test]
    fn spans_fold_to_the_hash_of_their_volume() {
        let block = BlockSize::SMALLEST;
        let with = |change: fn(&mut Vec<Span>)| {
            let mut manifest = sample(1, 1, 1);
            let bytes = block.span() + block.bytes();
            for volume in &mut manifest.groups[0].volumes {
                volume.bytes = bytes;
                volume.spans = vec![Span([1; 32]), Span([2; 32])];
                volume.blake3 = block.root_of_spans(&[[1; 32], [2; 32]], bytes);
            }
            assert_eq!((manifest.groups[0].longest(), manifest.groups[0].rows(block)), (bytes, 2048));
            assert_eq!(manifest.groups[0].volumes[0].span(1), [2; 32]);
            change(&mut manifest.groups[0].volumes[1].spans);
            manifest.files.get_mut(names::HASHES).unwrap().bytes = 2 * 2049 * 32;
            Manifest::parse(&manifest.encode())
        };
        assert!(with(|_| ()).is_ok());
        let changes: [fn(&mut Vec<Span>); 6] = [
            |spans| spans.swap(0, 1),
            |spans| spans[1] = Span([3; 32]),
            |spans| spans.truncate(1),
            |spans| spans.clear(),
            |spans| spans.push(Span([2; 32])),
            // The hash of the volume itself, which folds to that.
            |spans| {
                let bytes = BlockSize::SMALLEST.span() + BlockSize::SMALLEST.bytes();
                *spans = vec![Span(BlockSize::SMALLEST.root_of_spans(&[[1; 32], [2; 32]], bytes))];
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert!(matches!(with(change), Err(FormatError::Contradiction(_))), "change {number}");
        }
    }

    #[test]
    fn sums_are_hashed_as_they_are_written() {
        let manifest = Manifest { drives: 3, ..sample(4, 2, 2) };
        let hashes = manifest.b3sums_hashes();
        let written = (1..=3).map(|drive| *blake3::hash(&manifest.b3sums(drive)).as_bytes());
        assert!(hashes.iter().copied().eq(written) && hashes[2] == *blake3::hash(b"").as_bytes());
    }

    #[test]
    fn unknown_fields_are_ignored_unless_critical() {
        let text = String::from_utf8(sample(2, 1, 1).encode()).unwrap();
        assert!(Manifest::parse(text.replacen('{', "{\"later\":1,", 1).as_bytes()).is_ok());
    }

    #[test]
    fn names_of_volumes_and_directories() {
        assert_eq!(volume_name(3, 1, 2), "g00003-d001.ckv");
        assert_eq!(volume_name(3, 2, 2), "g00003-p000.ckv");
        assert_eq!(group_of_volume("g00003-d001.ckv"), Some(3));
        assert_eq!(group_of_volume("g00003-p000.ckv"), Some(3));
        for other in [
            "g00003-p000.ckv.partial",
            "g-d000.ckv",
            "gx-d000.ckv",
            "g+0001-d000.ckv",
            "g00001-x000.ckv",
            "g00001-d.ckv",
            "g00001-dx.ckv",
            "g00001-d+01.ckv",
            "notes.ckv",
        ] {
            assert_eq!(group_of_volume(other), None, "{other}");
        }
        assert_eq!(set_dir_name(Some("l"), "0011223344", 1), "l-00112233.ckvault");
        assert_eq!(set_dir_name(None, "0011223344", 1), "00112233.ckvault");
        assert_eq!(set_dir_name(Some("l"), "0011223344", 12), "l-00112233.p12.ckvault");
    }

    #[test]
    fn parts_follow_each_other() {
        let first = Manifest { last: false, ..sample(4, 2, 2) };
        let own = [3; 32];
        let next = Manifest { part: 2, previous: Some(own), ..sample(4, 2, 1) };
        assert!(first.is_followed_by(&own, &next));
        assert_eq!((first.drive_number(2), next.drive_number(2)), (2, 4));
        assert!(!first.is_followed_by(&[4; 32], &next));
        assert!(!Manifest { last: true, ..first.clone() }.is_followed_by(&own, &next));
        for other in [
            Manifest { part: 3, ..next.clone() },
            Manifest { label: None, ..next.clone() },
            Manifest { recipient_blake3: [8; 32], ..next.clone() },
            Manifest { segment_bytes: 1 << 16, ..next.clone() },
            Manifest { block_bytes: 1 << 17, ..next.clone() },
            Manifest { set: "00".repeat(16), ..next },
        ] {
            assert!(!first.is_followed_by(&own, &other), "{other:?}");
        }
    }

    #[test]
    fn shapes_and_numbers_at_their_limits_are_allowed_and_beyond_them_are_not() {
        for (k, m) in [(254, 1), (1, 254), (1, 1)] {
            assert!(Manifest::parse(&sample(k, m, 1).encode()).is_ok(), "{k}+{m}");
        }
        let what = |manifest: Manifest| match manifest.validate() {
            Err(FormatError::Limit { what, .. }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(what(sample(128, 128, 1)), "K+M");
        assert_eq!((sample(1, 1, 1 << 15).validate(), what(sample(1, 1, (1 << 15) + 1))), (Ok(()), "volumes"));
        let with = |change: fn(&mut Manifest)| {
            let mut manifest = sample(4, 2, 2);
            change(&mut manifest);
            manifest
        };
        assert_eq!(with(|m| m.drives = 255).validate(), Ok(()));
        assert_eq!((what(with(|m| m.drives = 0)), what(with(|m| m.drives = 256))), ("drives", "drives"));
        assert_eq!(what(with(|m| m.groups[0].volumes[0].drive = 0)), "drive number");
        for bytes in [LEAST_VOLUME, LARGEST_VOLUME] {
            assert_eq!(Manifest { volume_bytes: bytes, ..sample(4, 2, 2) }.validate(), Ok(()));
        }
        for bytes in [LEAST_VOLUME - 1, LARGEST_VOLUME + 1] {
            assert_eq!(what(Manifest { volume_bytes: bytes, ..sample(4, 2, 2) }), "volume size");
        }
        let on_one = |m: &mut Manifest| {
            m.drives = 1;
            m.groups.iter_mut().flat_map(|group| &mut group.volumes).for_each(|volume| volume.drive = 1);
        };
        assert_eq!(with(on_one).validate(), Ok(()));
        assert!(is_tool("c") && is_tool(&"c".repeat(128)) && !is_tool("") && !is_tool(&"c".repeat(129)));
    }

    #[test]
    fn files_are_as_long_as_they_may_be_and_not_empty() {
        let with = |name: &str, bytes: u64| {
            let mut manifest = sample(4, 2, 2);
            manifest.files.insert(name.into(), Listed::without_pieces(bytes, [1; 32]));
            Manifest::parse(&manifest.encode())
        };
        for (name, most) in [
            (names::RECOVER_TXT, LONGEST_FILE),
            (names::KEYS, LONGEST_SLOT),
            (names::PROGRAM, LONGEST_PROGRAM),
            ("notes", LONGEST_FILE),
        ] {
            assert!(with(name, 1).is_ok() && with(name, most).is_ok(), "{name}");
            for bytes in [0, most + 1] {
                assert!(matches!(with(name, bytes), Err(FormatError::Limit { .. })), "{name} {bytes}");
            }
        }
        assert!(matches!(with(names::INVENTORY, LONGEST_INVENTORY + 1), Err(FormatError::Limit { .. })));
        let values = 4 * 3 * 3;
        assert!(with(names::HASHES, values * 32).is_ok());
        for bytes in [(values - 1) * 32, values * 32 + 1] {
            assert!(matches!(with(names::HASHES, bytes), Err(FormatError::Contradiction(_))), "{bytes}");
        }
        let endless = vec![b' '; LONGEST as usize + 1];
        let refused = Manifest::parse(&endless);
        assert!(matches!(refused, Err(FormatError::Limit { what: "length of the manifest", .. })));
        assert!(matches!(Manifest::parse(&endless[1..]), Err(FormatError::Syntax(_))));
    }

    #[test]
    fn the_rows_of_a_group_are_those_of_its_longest_volume() {
        let block = BlockSize::SMALLEST;
        let mut manifest = sample(2, 1, 1);
        manifest.groups[0].volumes[1].bytes = block.bytes() + 1;
        assert_eq!((manifest.groups[0].longest(), manifest.groups[0].rows(block)), (3 * block.bytes(), 2));
        manifest.groups[0].volumes[0].bytes = 4 * block.bytes();
        assert_eq!((manifest.groups[0].longest(), manifest.groups[0].rows(block)), (4 * block.bytes(), 3));
    }

    #[test]
    fn all_groups_have_one_shape_and_as_many_volumes_as_it_says() {
        let with = |change: fn(&mut Manifest)| {
            let mut manifest = sample(4, 2, 2);
            change(&mut manifest);
            // So that nothing else is wrong.
            let volumes: usize = manifest.groups.iter().map(|group| group.volumes.len()).sum();
            manifest.files.get_mut(names::HASHES).unwrap().bytes = volumes as u64 * 3 * 32;
            manifest.validate()
        };
        assert_eq!(with(|_| ()), Ok(()));
        let changes: [fn(&mut Manifest); 4] = [
            |m| drop(m.groups[1].volumes.pop()),
            |m| m.groups[1].volumes.extend_from_within(..1),
            |m| (m.groups[1].k, m.groups[1].m) = (3, 3),
            |m| drop((m.groups[1].volumes.pop(), m.groups[1].m = 1)),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert!(matches!(with(change), Err(FormatError::Contradiction(_))), "change {number}");
        }
    }
}
