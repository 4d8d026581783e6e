//! Entries and their bytes in a tar stream, written by hand from `ckvault-format(5)`: what an exporter says, and what it hides.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// What an entry is.
#[derive(Debug, Clone)]
pub enum Kind {
    Dir,
    File(Vec<u8>),
    /// Length with holes, and what lies where.
    Sparse(u64, Vec<(u64, Vec<u8>)>),
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
}

/// An entry as an honest exporter has it.
#[derive(Debug, Clone)]
pub struct Item {
    pub path: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub mtime: (i64, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

pub fn item(path: impl AsRef<[u8]>, kind: Kind) -> Item {
    let mode = match kind {
        Kind::Dir => 0o755,
        Kind::Symlink(_) => 0o777,
        _ => 0o644,
    };
    Item { path: path.as_ref().to_vec(), kind, mode, mtime: (1_700_000_000, 5), xattrs: Vec::new() }
}

pub fn dir(path: impl AsRef<[u8]>) -> Item {
    item(path, Kind::Dir)
}

pub fn file(path: impl AsRef<[u8]>, contents: impl AsRef<[u8]>) -> Item {
    item(path, Kind::File(contents.as_ref().to_vec()))
}

pub fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Item {
    item(path, Kind::Symlink(target.as_ref().to_vec()))
}

pub fn hardlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Item {
    item(path, Kind::Hardlink(target.as_ref().to_vec()))
}

/// A name in JSON.
pub fn name(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Item {
    /// Its line of the inventory, if it begins at `offset` of the tar stream.
    pub fn line(&self, offset: u64) -> Value {
        let mut line = json!({ "path": name(&self.path), "mode": self.mode, "mtime": self.mtime, "offset": offset });
        let more = match &self.kind {
            Kind::Dir => json!({ "kind": "dir" }),
            Kind::File(bytes) => {
                json!({ "kind": "file", "size": bytes.len(), "blake3": hex(blake3::hash(bytes).as_bytes()) })
            }
            Kind::Sparse(size, data) => {
                let extents: Vec<_> = data.iter().map(|(at, bytes)| (at, bytes.len())).collect();
                let hash = hex(blake3::hash(&self.contents()).as_bytes());
                json!({ "kind": "file", "size": size, "extents": extents, "blake3": hash })
            }
            Kind::Symlink(target) => json!({ "kind": "symlink", "target": name(target) }),
            Kind::Hardlink(target) => json!({ "kind": "hardlink", "target": name(target) }),
        };
        let more = more.as_object().cloned().unwrap_or_default();
        line.as_object_mut().unwrap().extend(more);
        if !self.xattrs.is_empty() {
            line["xattrs"] = self.xattrs.iter().map(|(n, v)| json!([name(n), name(v)])).collect();
        }
        line
    }

    fn contents(&self) -> Vec<u8> {
        match &self.kind {
            Kind::File(bytes) => bytes.clone(),
            Kind::Sparse(_, data) => data.iter().flat_map(|(_, bytes)| bytes.clone()).collect(),
            _ => Vec::new(),
        }
    }

    /// Its bytes in the tar stream.
    pub fn tar(&self) -> Vec<u8> {
        let (mut out, path, contents) = (Vec::new(), self.tar_path(), self.contents());
        let link = match &self.kind {
            Kind::Symlink(target) | Kind::Hardlink(target) => &target[..],
            _ => b"",
        };
        long_text(&mut out, b'K', link);
        long_text(&mut out, b'L', &path);
        let map = self.map();
        out.extend(self.header(&path, link, contents.len() as u64, &map));
        if let Some(rest) = map.get(4..) {
            let count = rest.chunks(21).count();
            rest.chunks(21).enumerate().for_each(|(i, part)| out.extend(extension(part, i + 1 < count)));
        }
        out.extend(contents);
        pad(&mut out);
        out
    }

    fn tar_path(&self) -> Vec<u8> {
        match &self.kind {
            Kind::Dir if self.path.is_empty() => b"./".to_vec(),
            Kind::Dir => [&self.path[..], b"/"].concat(),
            _ => self.path.clone(),
        }
    }

    fn map(&self) -> Vec<(u64, u64)> {
        let Kind::Sparse(size, data) = &self.kind else { return Vec::new() };
        let mut map: Vec<(u64, u64)> = data.iter().map(|(at, bytes)| (*at, bytes.len() as u64)).collect();
        if map.last().is_none_or(|(at, len)| at + len != *size) {
            map.push((*size, 0));
        }
        map
    }

    fn header(&self, path: &[u8], link: &[u8], stored: u64, map: &[(u64, u64)]) -> [u8; 512] {
        let kind = match &self.kind {
            Kind::Dir => b'5',
            Kind::File(_) => b'0',
            Kind::Sparse(..) => b'S',
            Kind::Symlink(_) => b'2',
            Kind::Hardlink(_) => b'1',
        };
        let mut header = plain_header(path, self.mode, stored, u64::try_from(self.mtime.0).unwrap_or(0), kind);
        put(&mut header, 157, &link[..link.len().min(100)]);
        if let Kind::Sparse(size, _) = &self.kind {
            for (i, (at, len)) in map.iter().take(4).enumerate() {
                put(&mut header, 386 + 24 * i, &number(*at));
                put(&mut header, 398 + 24 * i, &number(*len));
            }
            header[482] = u8::from(map.len() > 4);
            put(&mut header, 483, &number(*size));
        }
        sum(&mut header);
        header
    }
}

/// The whole stream over `items`, and where each begins.
pub fn stream(items: &[Item]) -> (Vec<u8>, Vec<u64>) {
    let (mut tar, mut offsets) = (Vec::new(), Vec::new());
    for item in items {
        offsets.push(tar.len() as u64);
        tar.extend(item.tar());
    }
    tar.extend([0; 1024]);
    (tar, offsets)
}

fn put(header: &mut [u8], at: usize, bytes: &[u8]) {
    header[at..at + bytes.len()].copy_from_slice(bytes);
}

fn number(value: u64) -> [u8; 12] {
    let mut field = [0; 12];
    match value < 1 << 33 {
        true => put(&mut field, 0, format!("{value:011o}").as_bytes()),
        false => {
            field[0] = 0x80;
            put(&mut field, 4, &value.to_be_bytes());
        }
    }
    field
}

fn plain_header(path: &[u8], mode: u32, size: u64, mtime: u64, kind: u8) -> [u8; 512] {
    let mut header = [0; 512];
    put(&mut header, 0, &path[..path.len().min(100)]);
    put(&mut header, 100, format!("{mode:07o}").as_bytes());
    put(&mut header, 108, b"0000000\x000000000");
    put(&mut header, 124, &number(size));
    put(&mut header, 136, &number(mtime));
    header[156] = kind;
    put(&mut header, 257, b"ustar  ");
    header
}

fn sum(header: &mut [u8; 512]) {
    header[148..156].fill(b' ');
    let total: u32 = header.iter().map(|b| u32::from(*b)).sum();
    put(header, 148, format!("{total:07o}\0").as_bytes());
}

fn long_text(out: &mut Vec<u8>, kind: u8, text: &[u8]) {
    if text.len() > 100 {
        let mut header = plain_header(b"././@LongLink", 0o644, text.len() as u64 + 1, 0, kind);
        sum(&mut header);
        out.extend(header);
        out.extend(text);
        out.push(0);
        pad(out);
    }
}

fn extension(map: &[(u64, u64)], more: bool) -> [u8; 512] {
    let mut extension = [0; 512];
    for (i, (at, len)) in map.iter().enumerate() {
        put(&mut extension, 24 * i, &number(*at));
        put(&mut extension, 24 * i + 12, &number(*len));
    }
    extension[504] = u8::from(more);
    extension
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(512), 0);
}
