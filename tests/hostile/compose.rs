//! A malicious exporter whose signature is trusted: composes a whole set by hand from `ckvault-format(5)`, with none of the
//! encoders of ckvault, so that anything can be said in it, each lie signed. Shared with the fuzz targets.

use super::field;
use super::ustar::{self, Item, hex};
use blake3::hazmat::HasherExt as _;
use serde_json::{Value, json};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, LineEnding, PrivateKey};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The version of the format that is spoken here.
pub const FORMAT: &str = "1";

/// Bytes in a block, but for who says otherwise.
pub const BLOCK: usize = 64 << 10;

/// Changes what an honest exporter would have written.
pub type Edit<T> = Box<dyn Fn(&mut T)>;

/// Writes lines as a stream, or something else in their place.
pub type WriteLines = dyn Fn(&[Vec<u8>], &mut dyn Write) -> io::Result<()>;

/// What a frame holds, from the inside to the outside.
#[derive(Debug, Clone)]
pub enum Segment {
    /// Bytes of the tar stream.
    Plain(Vec<u8>),
    /// What stands for them in the age file.
    Packed(Vec<u8>),
    /// What stands for the age file.
    Sealed(Vec<u8>),
    /// What stands for the frame, its header too.
    Frame(Vec<u8>),
}

/// Where a frame lies.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub group: u64,
    pub volume: u64,
    pub offset: u64,
    pub bytes: u64,
}

/// Who exports, and who can open: the same keys every time.
pub struct Keys {
    pub signing: PrivateKey,
    pub receiver: age::x25519::Identity,
}

impl Keys {
    pub fn new() -> Keys {
        let mut signing = PrivateKey::from(Ed25519Keypair::from_seed(&[42; 32]));
        signing.set_comment("exporter");
        Keys { signing, receiver: age::x25519::Identity::generate() }
    }

    /// Type and base64.
    pub fn public(&self) -> String {
        let line = self.signing.public_key().to_openssh().unwrap();
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    pub fn sign(&self, namespace: &str, message: &[u8]) -> Vec<u8> {
        self.sign_with(HashAlg::Sha512, namespace, message)
    }

    pub fn sign_with(&self, hash: HashAlg, namespace: &str, message: &[u8]) -> Vec<u8> {
        let armour = self.signing.sign(namespace, hash, message).unwrap().to_pem(LineEnding::LF).unwrap();
        (armour.trim_end().to_owned() + "\n").into_bytes()
    }
}

/// What to compose. Edits are made in the order of the fields, each before what follows from it is made.
pub struct Recipe {
    /// The identity of the set.
    pub own: age::x25519::Identity,
    pub k: u16,
    pub m: u16,
    pub set: [u8; 16],
    /// The number of the part, and of its first segment.
    pub part: u32,
    pub first: u64,
    pub label: Option<String>,
    pub segment_bytes: usize,
    pub volume_bytes: usize,
    pub block_bytes: usize,
    pub items: Vec<Item>,
    /// The tar stream that `items` give.
    pub edit_tar: Edit<Vec<u8>>,
    pub edit_segments: Edit<Vec<Segment>>,
    /// The lines of the inventory: head, entries, segments.
    pub edit_lines: Edit<Vec<Vec<u8>>>,
    /// Writes the inventory, before it is compressed.
    pub write_inventory: Box<WriteLines>,
    /// The inventory after it was compressed.
    pub edit_packed: Edit<Vec<u8>>,
    /// What the key slot holds.
    pub edit_slot: Edit<String>,
    /// Who else can open the inventory and the frames.
    pub others: [Vec<Box<dyn age::Recipient>>; 2],
    /// The files that the manifest lists, by name, as they are then listed.
    pub edit_listed: Edit<Vec<(&'static str, Vec<u8>)>>,
    /// All volumes, by group and index.
    pub edit_volumes: Edit<Vec<Vec<u8>>>,
    pub edit_hashes: Edit<Vec<u8>>,
    pub edit_manifest: Edit<Value>,
    /// The bytes that are signed.
    pub edit_signed: Edit<Vec<u8>>,
    pub edit_signature: Edit<Vec<u8>>,
}

impl Recipe {
    /// An honest one.
    pub fn new(items: Vec<Item>) -> Recipe {
        Recipe {
            own: age::x25519::Identity::generate(),
            k: 1,
            m: 1,
            set: *b"hostile exporter",
            part: 1,
            first: 0,
            label: Some("hostile".into()),
            segment_bytes: BLOCK,
            volume_bytes: 2 << 20,
            block_bytes: BLOCK,
            items,
            edit_tar: Box::new(|_| ()),
            edit_segments: Box::new(|_| ()),
            edit_lines: Box::new(|_| ()),
            write_inventory: Box::new(|lines, out| {
                lines.iter().try_for_each(|l| out.write_all(l).and_then(|()| out.write_all(b"\n")))
            }),
            edit_packed: Box::new(|_| ()),
            edit_slot: Box::new(|_| ()),
            others: [Vec::new(), Vec::new()],
            edit_listed: Box::new(|_| ()),
            edit_volumes: Box::new(|_| ()),
            edit_hashes: Box::new(|_| ()),
            edit_manifest: Box::new(|_| ()),
            edit_signed: Box::new(|_| ()),
            edit_signature: Box::new(|_| ()),
        }
    }

    /// Composes the set onto drives; returns its directory on each.
    pub fn write(&self, keys: &Keys, drives: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
        let own = &self.own;
        let (mut tar, offsets) = ustar::stream(&self.items);
        let head = self.head(keys, tar.len() as u64);
        (self.edit_tar)(&mut tar);
        let frames = self.frames(&tar, own);
        let (places, mut data) = self.deal(&frames);
        let mut volumes = Vec::new();
        data.iter_mut().enumerate().for_each(|(group, data)| volumes.extend(self.with_parity(group as u32, data)));
        (self.edit_volumes)(&mut volumes);
        let mut hashes = volumes.iter().flat_map(|v| values(v, self.block_bytes)).collect();
        (self.edit_hashes)(&mut hashes);
        let lines = self.make_lines(head, &offsets, &places);
        let mut listed = vec![
            ("keys.age", self.slot(keys, own)),
            ("inventory.age", self.make_inventory(&lines, own)?),
            ("hashes.b3", hashes),
            ("RECOVER.txt", b"see ckvault-format(5)\n".to_vec()),
            ("recover.py", b"raise SystemExit('see ckvault-format(5)')\n".to_vec()),
        ];
        (self.edit_listed)(&mut listed);
        let manifest = self.make_manifest(own, &volumes, &listed, drives.len());
        let mut signature = keys.sign("ckvault", &manifest);
        (self.edit_signature)(&mut signature);
        let mut files: Vec<(&str, Vec<u8>)> = listed;
        files.extend([("manifest.json", manifest), ("manifest.json.sig", signature)]);
        self.put(&files, &volumes, drives)
    }

    /// The first line of the inventory: what the format says of the set goes here and nowhere else.
    fn head(&self, keys: &Keys, tar_bytes: u64) -> Value {
        json!({
            "inventory": FORMAT, "critical": [], "set": hex(&self.set), "part": self.part, "first": self.first, "signer": keys.public(), "tar_bytes": tar_bytes,
            "entries": self.items.len(), "segments": tar_bytes.div_ceil(self.segment_bytes as u64),
        })
    }

    fn make_lines(&self, head: Value, offsets: &[u64], places: &[Place]) -> Vec<Vec<u8>> {
        let entries = self.items.iter().zip(offsets).map(|(item, offset)| item.line(*offset));
        let segment = |(n, p): (usize, &Place)| json!({ "segment": self.first + n as u64, "group": p.group, "volume": p.volume, "offset": p.offset, "bytes": p.bytes });
        let all = std::iter::once(head).chain(entries).chain(places.iter().enumerate().map(segment));
        let mut lines = all.map(|line| line.to_string().into_bytes()).collect();
        (self.edit_lines)(&mut lines);
        lines
    }

    fn frames(&self, tar: &[u8], own: &age::x25519::Identity) -> Vec<Vec<u8>> {
        let mut segments = tar.chunks(self.segment_bytes).map(|s| Segment::Plain(s.to_vec())).collect();
        (self.edit_segments)(&mut segments);
        let own = own.to_public();
        let to = all_of(&own, &self.others[1]);
        segments.into_iter().enumerate().map(|(n, segment)| frame(self.first + n as u64, segment, &to)).collect()
    }

    /// Each frame to the shortest data volume, in a new group if it does not fit.
    fn deal(&self, frames: &[Vec<u8>]) -> (Vec<Place>, Vec<Vec<Vec<u8>>>) {
        let begin = |group: usize| (0..self.k).map(|i| self.header(group as u32, i)).collect::<Vec<_>>();
        let (mut places, mut groups) = (Vec::new(), vec![begin(0)]);
        for frame in frames {
            let shortest = |group: &[Vec<u8>]| (0..group.len()).min_by_key(|i| group[*i].len()).unwrap();
            let last = groups.last().unwrap();
            if last[shortest(last)].len() + frame.len() > self.volume_bytes {
                groups.push(begin(groups.len()));
            }
            let group = groups.len() - 1;
            let volume = shortest(&groups[group]);
            let offset = groups[group][volume].len() as u64;
            places.push(Place { group: group as u64, volume: volume as u64, offset, bytes: frame.len() as u64 });
            groups[group][volume].extend(frame);
        }
        (places, groups)
    }

    fn with_parity(&self, group: u32, data: &mut Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let bodies: Vec<Vec<u8>> = data.iter().map(|v| v[self.block_bytes..].to_vec()).collect();
        let mut volumes = std::mem::take(data);
        for index in self.k..self.k + self.m {
            let mut volume = self.header(group, index);
            volume.extend(field::parity(&bodies, index as u8));
            volumes.push(volume);
        }
        volumes
    }

    fn header(&self, group: u32, index: u16) -> Vec<u8> {
        let mut page = b"ckvault\n".to_vec();
        page.extend([1u32.to_le_bytes(), (self.block_bytes as u32).to_le_bytes()].concat());
        page.extend(self.set);
        page.extend(group.to_le_bytes());
        page.extend([index, self.k, self.m, 0].map(u16::to_le_bytes).concat());
        page.extend([self.part, self.segment_bytes as u32, 0].map(u32::to_le_bytes).concat());
        page.extend((self.volume_bytes as u64).to_le_bytes());
        page.extend(blake3::hash(&page).as_bytes().to_owned());
        page.resize(self.block_bytes, 0);
        page
    }

    fn make_inventory(&self, lines: &[Vec<u8>], own: &age::x25519::Identity) -> io::Result<Vec<u8>> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1)?;
        (self.write_inventory)(lines, &mut encoder)?;
        let mut packed = encoder.finish()?;
        (self.edit_packed)(&mut packed);
        Ok(seal_to(&packed, &all_of(&own.to_public(), &self.others[0])))
    }

    fn slot(&self, keys: &Keys, own: &age::x25519::Identity) -> Vec<u8> {
        use age::secrecy::ExposeSecret as _;
        let mut text = format!("# public key: {}\n{}\n", own.to_public(), own.to_string().expose_secret());
        (self.edit_slot)(&mut text);
        seal(text.as_bytes(), &keys.receiver.to_public())
    }

    fn make_manifest(
        &self,
        own: &age::x25519::Identity,
        volumes: &[Vec<u8>],
        listed: &[(&str, Vec<u8>)],
        drives: usize,
    ) -> Vec<u8> {
        let n = usize::from(self.k + self.m);
        let file = |bytes: &[u8]| json!({ "bytes": bytes.len(), "blake3": hex(blake3::hash(bytes).as_bytes()) });
        let volume = |(i, bytes): (usize, &Vec<u8>)| {
            let mut volume = file(bytes);
            volume["drive"] = (1 + i % drives).into();
            volume
        };
        let group = |group: &[Vec<u8>]| {
            let volumes: Vec<Value> = group.iter().enumerate().map(volume).collect();
            json!({ "k": self.k, "m": self.m, "volumes": volumes })
        };
        let mut files: serde_json::Map<String, Value> = listed.iter().map(|(n, b)| (n.to_string(), file(b))).collect();
        if let Some((name, bytes)) = listed.iter().find(|(name, _)| *name == "inventory.age") {
            let pieces = pieces(bytes);
            if pieces.len() > 1 {
                files[*name]["pieces"] = pieces.into();
            }
        }
        let mut manifest = json!({
            "format": FORMAT, "critical": [], "set": hex(&self.set), "label": self.label, "part": self.part, "last": true,
            "previous": null, "created": "2026-11-23T06:00:00Z", "tool": "a hostile exporter",
            "recipient_blake3": blake3::hash(own.to_public().to_string().as_bytes()).to_hex().as_str(), "filter": "zstd", "segment_bytes": self.segment_bytes,
            "volume_bytes": self.volume_bytes, "block_bytes": self.block_bytes, "drives": drives, "files": files,
            "groups": volumes.chunks(n).map(group).collect::<Vec<_>>(),
        });
        (self.edit_manifest)(&mut manifest);
        let mut bytes = (manifest.to_string() + "\n").into_bytes();
        (self.edit_signed)(&mut bytes);
        bytes
    }

    fn put(&self, files: &[(&str, Vec<u8>)], volumes: &[Vec<u8>], drives: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
        let id = &hex(&self.set)[..8];
        let part = if self.part > 1 { format!(".p{}", self.part) } else { String::new() };
        let label = self.label.as_ref().map_or(String::new(), |label| format!("{label}-"));
        let name = format!("{label}{id}{part}.ckvault");
        let mut dirs = Vec::new();
        for (drive, path) in drives.iter().enumerate() {
            let dir = path.join(&name);
            fs::create_dir_all(dir.join("copy"))?;
            fs::create_dir_all(dir.join("third"))?;
            let sums = self.put_volumes(volumes, &dir, drive, drives.len())?;
            for place in [&dir, &dir.join("copy")] {
                files.iter().try_for_each(|(name, bytes)| fs::write(place.join(name), bytes))?;
                fs::write(place.join("B3SUMS"), &sums)?;
            }
            let small = |name: &str| ["keys.age", "manifest.json", "manifest.json.sig"].contains(&name);
            let mut third = files.iter().filter(|(name, _)| small(name));
            third.try_for_each(|(name, bytes)| fs::write(dir.join("third").join(name), bytes))?;
            dirs.push(dir);
        }
        Ok(dirs)
    }

    /// The volumes of one drive; returns its `B3SUMS`.
    fn put_volumes(&self, volumes: &[Vec<u8>], dir: &Path, drive: usize, drives: usize) -> io::Result<String> {
        let (k, n) = (usize::from(self.k), usize::from(self.k + self.m));
        let mut sums = String::new();
        for (i, bytes) in volumes.iter().enumerate().filter(|(i, _)| i % n % drives == drive) {
            let (group, index) = (i / n, i % n);
            let (kind, number) = if index < k { ("d", index) } else { ("p", index - k) };
            let name = format!("g{group:05}-{kind}{number:03}.ckv");
            sums += &format!("{}  {name}\n", blake3::hash(bytes));
            fs::write(dir.join(&name), bytes)?;
        }
        Ok(sums)
    }
}

fn all_of<'a>(own: &'a dyn age::Recipient, others: &'a [Box<dyn age::Recipient>]) -> Vec<&'a dyn age::Recipient> {
    std::iter::once(own).chain(others.iter().map(|other| &**other)).collect()
}

fn frame(n: u64, segment: Segment, to: &[&dyn age::Recipient]) -> Vec<u8> {
    let sealed = match segment {
        Segment::Plain(plain) => seal_to(&zstd::bulk::compress(&plain, 1).unwrap(), to),
        Segment::Packed(packed) => seal_to(&packed, to),
        Segment::Sealed(sealed) => sealed,
        Segment::Frame(frame) => return frame,
    };
    [&b"ckvF"[..], &(sealed.len() as u32).to_le_bytes(), &n.to_le_bytes(), &sealed].concat()
}

/// A binary age file.
pub fn seal(plain: &[u8], to: &age::x25519::Recipient) -> Vec<u8> {
    seal_to(plain, &[to])
}

fn seal_to(plain: &[u8], to: &[&dyn age::Recipient]) -> Vec<u8> {
    let encryptor = age::Encryptor::with_recipients(to.iter().copied()).unwrap();
    let mut writer = encryptor.wrap_output(Vec::new()).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

/// The values of the pieces of the inventory.
pub fn pieces(bytes: &[u8]) -> Vec<String> {
    let mut len = 64 << 10;
    while bytes.len() > 256 * len {
        len *= 2;
    }
    let value = |(i, piece): (usize, &[u8])| {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset((i * len) as u64).update(piece);
        hex(&hasher.finalize_non_root())
    };
    bytes.chunks(len).enumerate().map(value).collect()
}

/// The values of the blocks of a volume, which must not have more than one span.
fn values(volume: &[u8], block_bytes: usize) -> Vec<u8> {
    if volume.len() <= block_bytes {
        return blake3::hash(volume).as_bytes().to_vec();
    }
    let value = |(i, block): (usize, &[u8])| {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset((i * block_bytes) as u64).update(block);
        hasher.finalize_non_root()
    };
    volume.chunks(block_bytes).enumerate().flat_map(value).collect()
}
