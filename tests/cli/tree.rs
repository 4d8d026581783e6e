//! Comparing two trees completely, and making the parts of one that the standard library cannot.

use rustix::fs::XattrFlags;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, OsStr};
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Allocated bytes that do not tell a sparse file from another.
const SLACK: u64 = 128 << 10;

/// Everything that must travel with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    kind: &'static str,
    mode: u32,
    mtime: (i64, i64),
    size: u64,
    contents: String,
    target: Vec<u8>,
    /// The first name of the same file, if it has several.
    first: Option<Vec<u8>>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: bool,
}

/// A tree by the bytes of its paths; the empty path is the directory itself.
pub type Tree = BTreeMap<Vec<u8>, Node>;

/// Reads a tree.
pub fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut inodes = HashMap::new();
    visit(root, b"", &mut tree, &mut inodes);
    tree
}

fn visit(path: &Path, name: &[u8], tree: &mut Tree, inodes: &mut HashMap<(u64, u64), Vec<u8>>) {
    let meta = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut node = node(path, &meta);
    if meta.is_file() && meta.nlink() > 1 {
        node.first = Some(inodes.entry((meta.dev(), meta.ino())).or_insert_with(|| name.to_vec()).clone());
    }
    tree.insert(name.to_vec(), node);
    if meta.is_dir() {
        for child in crate::support::names_in(path) {
            let inner = if name.is_empty() { child.clone() } else { [name, b"/", &child].concat() };
            visit(&path.join(OsStr::from_bytes(&child)), &inner, tree, inodes);
        }
    }
}

fn node(path: &Path, meta: &Metadata) -> Node {
    let kind = match meta.file_type() {
        t if t.is_dir() => "directory",
        t if t.is_file() => "file",
        t if t.is_symlink() => "symlink",
        t if t.is_fifo() => "fifo",
        _ => "other",
    };
    let is_file = meta.is_file();
    Node {
        kind,
        mode: if kind == "symlink" { 0 } else { meta.mode() & 0o7777 },
        mtime: (meta.mtime(), meta.mtime_nsec()),
        size: if is_file { meta.size() } else { 0 },
        contents: if is_file { hash(path) } else { String::new() },
        target: fs::read_link(path).map(|t| t.as_os_str().as_bytes().to_vec()).unwrap_or_default(),
        first: None,
        xattrs: if is_file || meta.is_dir() { xattrs(path) } else { Vec::new() },
        sparse: is_file && meta.blocks() * 512 + SLACK < meta.size(),
    }
}

/// A tree as `testdata/golden_tree.py` describes it.
pub fn described(json: &Path) -> Tree {
    let entries: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let named = |e: &serde_json::Value| (unspelt(&e["path"]), node_described(e));
    entries.as_array().unwrap().iter().map(named).collect()
}

fn node_described(entry: &serde_json::Value) -> Node {
    let text = |name: &str| entry[name].as_str().unwrap_or_default();
    let time = |n: usize| entry["mtime"][n].as_i64().unwrap();
    let attributes = entry["xattrs"].as_object().into_iter().flatten();
    let mut xattrs: Vec<_> = attributes.map(|(n, v)| (unspelt(&n[..].into()), unspelt(v))).collect();
    xattrs.sort();
    Node {
        kind: ["directory", "file", "symlink"].into_iter().find(|kind| *kind == text("kind")).unwrap(),
        mode: entry["mode"].as_str().map_or(0, |mode| u32::from_str_radix(mode, 8).unwrap()),
        mtime: (time(0), time(1)),
        size: entry["size"].as_u64().unwrap_or(0),
        contents: text("blake3").to_owned(),
        target: unspelt(&entry["target"]),
        first: entry["first"].is_string().then(|| unspelt(&entry["first"])),
        xattrs,
        sparse: entry["sparse"].as_bool().unwrap_or(false),
    }
}

/// The bytes that are meant by a text in percent-encoding.
fn unspelt(text: &serde_json::Value) -> Vec<u8> {
    let mut pieces = text.as_str().unwrap_or_default().split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    bytes
}

/// Panics with every difference between a tree that is expected and a directory. The directory itself is compared if it is expected,
/// and modes as far as `mask` goes.
#[track_caller]
pub fn assert_is(mut expected: Tree, root: &Path, mask: u32) {
    let mut there = read(root);
    if !expected.contains_key(&b""[..]) {
        there.remove(&b""[..]);
    }
    let takes_attributes = takes_xattrs(root);
    for node in expected.values_mut().chain(there.values_mut()) {
        node.mode &= mask;
        if !takes_attributes {
            node.xattrs.clear();
        }
    }
    compare(expected, there, &format!("what is expected and {}", root.display()));
}

/// Whether the file system of a directory takes extended attributes; says so if not.
fn takes_xattrs(dir: &Path) -> bool {
    let probe = tempfile::NamedTempFile::new_in(dir.parent().unwrap()).unwrap();
    let takes = set_xattr(probe.path(), "user.probe", b"");
    if !takes {
        crate::support::skip("no extended attributes here: they are not compared");
    }
    takes
}

/// BLAKE3 of a file.
pub fn hash(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).unwrap()).unwrap();
    hasher.finalize().to_hex().to_string()
}

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut list = vec![0u8; 64 << 10];
    let len = rustix::fs::listxattr(path, &mut list[..]).unwrap_or(0);
    let mut found = Vec::new();
    for name in list[..len].split(|b| *b == 0).filter(|n| n.starts_with(b"user.")) {
        let mut value = vec![0u8; 64 << 10];
        let len = rustix::fs::getxattr(path, CString::new(name).unwrap(), &mut value[..]).unwrap();
        found.push((name.to_vec(), value[..len].to_vec()));
    }
    found.sort();
    found
}

/// Panics with every difference between two trees, the directories themselves included.
#[track_caller]
pub fn assert_same(left: &Path, right: &Path) {
    compare(read(left), read(right), &format!("{} and {}", left.display(), right.display()));
}

/// The same, but for the directories themselves, where several sources were put into one.
#[track_caller]
pub fn assert_same_inside(left: &Path, right: &Path) {
    let inside = |root| {
        let mut tree = read(root);
        tree.remove(&b""[..]);
        tree
    };
    compare(inside(left), inside(right), &format!("{} and {}", left.display(), right.display()));
}

#[track_caller]
fn compare(left: Tree, right: Tree, what: &str) {
    let show = |name: &[u8]| name.escape_ascii().to_string();
    let mut differences = Vec::new();
    for (name, node) in &left {
        match right.get(name) {
            None => differences.push(format!("only on the left: {}", show(name))),
            Some(other) if other != node => differences.push(format!("{}:\n    {node:?}\n    {other:?}", show(name))),
            _ => {}
        }
    }
    differences
        .extend(right.keys().filter(|n| !left.contains_key(*n)).map(|n| format!("only on the right: {}", show(n))));
    assert!(differences.is_empty(), "{what} differ:\n  {}", differences.join("\n  "));
}

/// Allocated bytes of a file.
pub fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// Sets the modification time, also before 1970.
pub fn set_mtime(path: &Path, seconds: i64, nanoseconds: u32) {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 { SystemTime::UNIX_EPOCH - whole } else { SystemTime::UNIX_EPOCH + whole };
    File::open(path).unwrap().set_modified(at + Duration::from_nanos(nanoseconds.into())).unwrap();
}

/// Sets the permission bits.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Sets an extended attribute; false if the file system has none.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) -> bool {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).is_ok()
}
