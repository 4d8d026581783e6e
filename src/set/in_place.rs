//! What lies where a file of a set belongs, and is none.

use crate::format::names;
use crate::media::dir::{Dir, LINK, what};
use rustix::fs::FileType;

/// What has the place of a file in a directory of a set, if that is anything but a file. The directory of a copy may be something else,
/// too.
pub fn instead_of_file(dir: &Dir, name: &str) -> Option<String> {
    let kind = |name: &str| dir.kind(name).ok().flatten();
    let told = |kind: FileType, belongs: &str| match kind {
        FileType::Symlink => LINK.to_owned(),
        other => format!("{}, where a {belongs} belongs", what(other)),
    };
    if let Some((above, _)) = name.split_once('/').filter(|(above, _)| names::COPIES.contains(above)) {
        let above_is = kind(above).filter(|kind| *kind != FileType::Directory);
        if let Some(other) = above_is {
            return Some(format!("{above} is {}", told(other, "directory")));
        }
    }
    kind(name).filter(|kind| *kind != FileType::RegularFile).map(|other| told(other, "file"))
}
