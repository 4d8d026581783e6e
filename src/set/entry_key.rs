//! By what an entry is recognised when an export or an import is resumed: its path, kind, size and metadata, but not its hash, which
//! may not be known yet.

use crate::format::inventory::{Entry, Kind};

/// Appends everything that must not change of an entry: neither its hash, which may not be known yet, nor its place, which
/// follows from others. No two different entries give the same bytes, and no entry those of several.
pub fn fixed(entry: &Entry, out: &mut Vec<u8>) {
    let mut number = |n: u64| out.extend_from_slice(&n.to_le_bytes());
    number(entry.mode.into());
    number(entry.mtime.0 as u64);
    number(entry.mtime.1.into());
    match &entry.kind {
        Kind::Dir => number(0),
        Kind::File { size, extents, .. } => {
            number(1);
            number(*size);
            number(extents.as_ref().map_or(u64::MAX, |all| all.len() as u64));
            extents.iter().flatten().for_each(|extent| {
                number(extent.0);
                number(extent.1);
            });
        }
        Kind::Symlink { .. } => number(2),
        Kind::Hardlink { .. } => number(3),
    }
    number(entry.xattrs.len() as u64);
    let mut text = |bytes: &[u8]| {
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    text(&entry.path.0);
    if let Kind::Symlink { target } | Kind::Hardlink { target } = &entry.kind {
        text(&target.0);
    }
    entry.xattrs.iter().for_each(|(name, value)| {
        text(&name.0);
        text(&value.0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::inventory::{Extent, Name};

    fn of(entry: &Entry) -> Vec<u8> {
        let mut bytes = Vec::new();
        fixed(entry, &mut bytes);
        bytes
    }

    fn file() -> Entry {
        let kind = Kind::File { size: 9, extents: None, blake3: None };
        Entry { path: Name::new(b"a"), kind, mode: 0o644, mtime: (1, 2), xattrs: vec![], offset: 0 }
    }

    #[test]
    fn hash_and_place_may_change_and_nothing_else() {
        let was = of(&file());
        let hashed = Kind::File { size: 9, extents: None, blake3: Some([7; 32]) };
        assert_eq!(was, of(&Entry { kind: hashed, offset: 512, ..file() }));
        let name = |text: &str| Name::new(text.as_bytes());
        let sparse = |extents: &[Extent]| Kind::File { size: 9, extents: Some(extents.into()), blake3: None };
        let others = [
            Entry { path: name("b"), ..file() },
            Entry { mode: 0o600, ..file() },
            Entry { mtime: (-1, 2), ..file() },
            Entry { mtime: (1, 3), ..file() },
            Entry { kind: Kind::Dir, ..file() },
            Entry { kind: Kind::File { size: 8, extents: None, blake3: None }, ..file() },
            Entry { kind: sparse(&[]), ..file() },
            Entry { kind: sparse(&[Extent(0, 1)]), ..file() },
            Entry { kind: Kind::Symlink { target: name("t") }, ..file() },
            Entry { kind: Kind::Symlink { target: name("u") }, ..file() },
            Entry { kind: Kind::Hardlink { target: name("t") }, ..file() },
            Entry { xattrs: vec![(name("user.a"), name("b"))], ..file() },
            Entry { xattrs: vec![(name("user.ab"), name(""))], ..file() },
        ];
        let mut all: Vec<Vec<u8>> = others.iter().map(of).chain([was]).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), others.len() + 1);
    }
}
