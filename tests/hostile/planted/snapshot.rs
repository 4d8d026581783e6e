//! What lies in a directory, to the last bit.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Something that lies somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Type and permission bits.
    pub mode: u32,
    pub mtime: (i64, i64),
    /// The hash of a file, or the text of a link.
    pub holds: Vec<u8>,
}

impl Node {
    pub fn is_dir(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// The same but for its time.
    pub fn is_like(&self, other: &Node) -> bool {
        (self.mode, &self.holds) == (other.mode, &other.holds)
    }

    pub fn kind(&self) -> &'static str {
        match self.mode & 0o170_000 {
            0o040_000 => "a directory",
            0o100_000 => "a file",
            0o120_000 => "a link",
            0o010_000 => "a fifo",
            _ => "something else",
        }
    }
}

/// All that is beneath a directory. No link is followed.
pub type Tree = BTreeMap<PathBuf, Node>;

pub fn tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    visit(root, root, &mut tree);
    tree
}

fn visit(root: &Path, dir: &Path, tree: &mut Tree) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let holds = match meta.file_type() {
            t if t.is_symlink() => fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec(),
            t if t.is_file() => blake3::hash(&fs::read(&path).unwrap()).as_bytes().to_vec(),
            _ => Vec::new(),
        };
        let node = Node { mode: meta.mode(), mtime: (meta.mtime(), meta.mtime_nsec()), holds };
        tree.insert(path.strip_prefix(root).unwrap().to_owned(), node);
        if meta.is_dir() {
            visit(root, &path, tree);
        }
    }
}
