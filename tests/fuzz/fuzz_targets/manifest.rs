//! The manifest: what is taken means the same when it is written again, and all that is derived from it can be.

#![no_main]

use ckvault::format::manifest::Manifest;
use ckvault::pack::{Places, survives_as_placed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(manifest) = Manifest::parse(data) else { return };
    assert_eq!(Manifest::parse(&manifest.encode()).as_ref(), Ok(&manifest));
    let (offsets, _) = manifest.value_offsets();
    assert_eq!(offsets.len(), manifest.groups.len());
    for (group, index, name, _) in manifest.volumes() {
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.'), "{name}");
        let _ = manifest.header(group, index);
    }
    let _ = manifest.b3sums(1);
    for places in [Places::Unknown, Places::InOrder] {
        let _ = survives_as_placed(&[&manifest], places);
    }
});
