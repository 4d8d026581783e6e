//! What is inside a set: the key slot opened, the inventory read, bounded and compared with the manifest.

use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::deal::Place;
use crate::format::hashes::BLOCK;
use crate::format::inventory::{Inventory, LONGEST_LINE, Reader};
use crate::format::manifest::LONGEST_SLOT;
use crate::format::names;
use crate::media::{open_regular, read_regular};
use crate::pipeline::open::{Set, name_drives};
use crate::pipeline::refusal::breaks;
use crate::pipeline::seal::SetIdentity;
use crate::pipeline::seal::identities::Identities;
use crate::pipeline::{compress, tar};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// An opened set.
pub struct Contents {
    /// What is in it.
    pub inventory: Inventory,
    /// Where each segment's frame lies.
    pub places: Vec<Place>,
    /// What opens its frames.
    pub identity: SetIdentity,
    /// Bytes of the tar stream in a segment.
    pub segment_bytes: u32,
}

/// Opens the key slot and reads the inventory.
pub fn open(set: &Set, identities: &Identities) -> Result<Contents> {
    let slot_path = required(set, names::KEYS)?;
    let slot = read_regular(&slot_path, LONGEST_SLOT).map_err(Error::on_drive("read", &slot_path))?;
    require_hash(set, names::KEYS, &slot_path, *blake3::hash(&slot).as_bytes())?;
    let identity = SetIdentity::from_slot(&slot, identities, &set.manifest.recipient)?;
    let inventory = read_inventory(set, &identity)?;
    let k = set.manifest.groups[0].k;
    let places: Vec<Place> = inventory.places(k, set.manifest.volume_bytes).collect();
    check(set, &inventory, &places).map_err(breaks(names::INVENTORY))?;
    if inventory.head.set != set.manifest.set || inventory.head.signer != set.signer.key {
        return Err(Error::untrusted(
            "the inventory names another set or another signer: somebody signed what is not theirs",
            "do not use this set; tell the sender and whoever is named as its signer",
        ));
    }
    Ok(Contents { inventory, places, identity, segment_bytes: set.manifest.segment_bytes })
}

/// A whole copy of a metadata file that nothing else can replace.
fn required(set: &Set, name: &str) -> Result<PathBuf> {
    if let Some(path) = set.good_copy(name) {
        return Ok(path);
    }
    set.require_here()?;
    let what = format!("every copy of {name} that is here is damaged or missing");
    let absent = set.absent();
    Err(match absent.is_empty() {
        true => Error::lost(what, "ask the sender for a new export"),
        false => Error::drive(what, format!("bring {} of the set", name_drives(&absent))),
    })
}

/// A drive may return other bytes when it is read again: what was used is what must have the signed hash.
fn require_hash(set: &Set, name: &str, path: &Path, hash: [u8; 32]) -> Result<()> {
    match set.manifest.files.get(name).is_some_and(|listed| listed.blake3 == hash) {
        true => Ok(()),
        false => Err(Error::drive(
            format!("{} changed between two readings", path.display()),
            "do not trust this drive: bring another one of the set",
        )),
    }
}

fn read_inventory(set: &Set, identity: &SetIdentity) -> Result<Inventory> {
    let path = required(set, names::INVENTORY)?;
    let file = open_regular(&path).map_err(Error::on_drive("read", &path))?;
    let mut hashing = Hashing { file, hasher: blake3::Hasher::new(), failed: None };
    let read = read_lines(set, identity, BufReader::with_capacity(1 << 17, &mut hashing));
    if let Some(error) = hashing.failed.take() {
        return Err(Error::on_drive("read", &path)(error));
    }
    std::io::copy(&mut hashing, &mut std::io::sink()).map_err(Error::on_drive("read", &path))?;
    require_hash(set, names::INVENTORY, &path, *hashing.hasher.finalize().as_bytes())?;
    read
}

fn read_lines(set: &Set, identity: &SetIdentity, sealed: impl Read) -> Result<Inventory> {
    let unreadable = |e: std::io::Error| breaks(names::INVENTORY)(FormatError::Syntax(e.to_string()));
    let plain = identity.reader(sealed).map_err(unreadable)?;
    let mut lines = compress::reader(plain).map_err(unreadable)?;
    let mut reader = Reader::new(set.manifest.groups[0].k, set.manifest.volume_bytes);
    let mut line = Vec::new();
    loop {
        line.clear();
        lines.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut line).map_err(unreadable)?;
        if line.is_empty() {
            break;
        }
        crate::format::within("length of a line", line.len() as u64, 1, LONGEST_LINE)
            .and_then(|()| reader.line(&line))
            .map_err(breaks(names::INVENTORY))?;
    }
    reader.finish().map_err(breaks(names::INVENTORY))
}

/// Hashes what is read, and keeps the error of a failing drive apart from those of the layers above.
struct Hashing {
    file: File,
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

/// Segments, tar stream and volumes must agree to the byte.
fn check(set: &Set, inventory: &Inventory, places: &[Place]) -> Result<(), FormatError> {
    let manifest = &set.manifest;
    tar::check_layout(&inventory.entries, inventory.head.tar_bytes)?;
    if inventory.head.segments != inventory.head.tar_bytes.div_ceil(manifest.segment_bytes.into()) {
        return Err(FormatError::Contradiction("the number of segments does not fit the tar stream".into()));
    }
    let mut lengths: HashMap<(u32, u16), u64> = HashMap::new();
    for place in places {
        *lengths.entry((place.group, place.volume)).or_insert(BLOCK as u64) += u64::from(place.bytes);
    }
    let groups = places.last().map_or(0, |p| p.group as usize + 1);
    let dealt = |g: usize, i: usize| lengths.get(&(g as u32, i as u16)).copied().unwrap_or(BLOCK as u64);
    let data = manifest.volumes().filter(|(g, i, _, _)| *i < usize::from(manifest.groups[*g].k));
    let mut agree = data.map(|(g, i, _, v)| v.bytes == dealt(g, i));
    match groups == manifest.groups.len() && agree.all(|a| a) {
        true => Ok(()),
        false => Err(FormatError::Contradiction("the frames do not fill the volumes that the manifest names".into())),
    }
}
