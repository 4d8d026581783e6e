//! The inventory, line by line: what is taken means the same when it is written again, covers the tar stream, and has no path
//! that leaves the target. The first two bytes choose K and the length of volumes.

#![no_main]

use ckvault::format::deal::Shape;
use ckvault::format::hashes::BlockSize;
use ckvault::format::inventory::{Inventory, Kind, Reader, lines};
use ckvault::restore::choose;
use ckvault::set::check_paths;
use ckvault::stages::tar;
use libfuzzer_sys::fuzz_target;

fn read(lines: impl Iterator<Item = Vec<u8>>, shape: Shape) -> Option<Inventory> {
    let mut reader = Reader::new(shape);
    for line in lines {
        reader.line(&line).ok()?;
    }
    reader.finish().ok()
}

fuzz_target!(|data: &[u8]| {
    let [k, shift, text @ ..] = data else { return };
    let volume_bytes = 2 << (20 + shift % 20);
    let shape = Shape { k: 1 + u16::from(k % 4), volume_bytes, block: BlockSize::SMALLEST };
    let said = text.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec);
    let Some(inventory) = read(said, shape) else { return };
    let again = read(lines(&inventory.head, &inventory.entries, &inventory.frames, shape), shape);
    assert_eq!(again.as_ref(), Some(&inventory));
    let entries = &inventory.entries;
    if tar::check_layout(entries, inventory.head.tar_bytes).is_ok() {
        covers(&inventory);
    }
    if check_paths(entries, |name| name.starts_with(b".ckvault-"), |_| true).is_ok() {
        stays_inside(&inventory);
    }
    assert_eq!(choose(entries, |name| name.0.starts_with(b"a")).len(), entries.len());
});

/// The first and the last bytes of the stream have pieces, and each byte one.
fn covers(inventory: &Inventory) {
    const WINDOW: u64 = 4096;
    let end = inventory.head.tar_bytes;
    for (from, to) in [(0, end.min(WINDOW)), (end.saturating_sub(WINDOW), end)] {
        let length = |piece| match piece {
            tar::Piece::Header { entry, range } => {
                assert!(range.end <= tar::headers(&inventory.entries[entry]).len());
                range.len()
            }
            tar::Piece::Data { entry, offset, len } => {
                let ranges = tar::file_ranges(&inventory.entries[entry], offset, len);
                assert_eq!(ranges.iter().map(|(_, len)| len).sum::<usize>(), len);
                len
            }
            tar::Piece::Zeros(len) => len,
        };
        let total: usize = tar::pieces(&inventory.entries, from, to).map(length).sum();
        assert_eq!(total as u64, to - from);
    }
}

fn stays_inside(inventory: &Inventory) {
    for entry in &inventory.entries {
        let path = &entry.path.0;
        assert!(!path.contains(&0) && !path.starts_with(b"/") && !path.ends_with(b"/"));
        assert!(!path.split(|b| *b == b'/').any(|c| c == b".." || c == b"."));
        if let Kind::Symlink { target } = &entry.kind {
            assert!(!target.0.starts_with(b"/"));
        }
    }
}
