//! Finding the directories of sets on the drives given.

use crate::error::{Error, Result};
use crate::media::dir::Dir;
use crate::media::disk::{Disk, is_failure};
use crate::text::printable;
use rustix::fs::FileType;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

/// What the directory of a set looks like; the format knows.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// How its name ends.
    pub suffix: &'static str,
    /// What stands between the name of a set and the number of a later part of it.
    pub infix: &'static str,
    /// Files that are in every set.
    pub marks: [&'static str; 2],
    /// The directory with second copies.
    pub copies: &'static str,
}

/// What stands for the name of directories that have been renamed.
const RENAMED: &str = "(renamed)";

/// The directories that belong together by their names.
#[derive(Debug, Clone)]
pub struct Found {
    /// The name of the set.
    pub name: String,
    /// Its parts that are here.
    pub parts: Vec<FoundPart>,
    /// Links on the drives that are named like directories of it. They lead to who knows where, and are not followed.
    pub links: Vec<PathBuf>,
}

/// The directories of one part of a set.
#[derive(Debug, Clone)]
pub struct FoundPart {
    /// The name of the directory.
    pub name: String,
    /// One directory for each drive that has one, in the order of the drives.
    pub dirs: Vec<Dir>,
}

/// Finds the one set on the drives that `wanted` (a prefix of its id, or its label) describes, or the only one.
pub fn find(disk: &Disk, drives: &[PathBuf], wanted: Option<&str>, layout: &Layout) -> Result<Found> {
    let (mut sets, links) = all(disk, drives, layout)?;
    if let Some(wanted) = wanted {
        sets.retain(|set| set.name == RENAMED || names_set(&set.name, wanted, layout));
    }
    // What an interrupted export left behind does not make the whole set beside it ambiguous.
    if sets.len() > 1 && sets.iter().filter(|set| is_whole(set, layout)).count() == 1 {
        sets.retain(|set| is_whole(set, layout));
    }
    let listing = sets.iter().map(|s| format!("  {}", printable(s.name.as_bytes()))).collect::<Vec<_>>().join("\n");
    match (sets.len(), sets.pop()) {
        (1, Some(set)) => {
            let own = |link: &PathBuf| without_part(&name_of(link), layout) == set.name;
            Ok(Found { links: links.into_iter().filter(own).collect(), ..set })
        }
        (0, _) => Err(nothing(drives, wanted, &links)),
        _ => Err(Error::usage(
            format!("there are several sets here:\n{listing}"),
            "choose one with --set and its label or the first digits of its id",
        )),
    }
}

fn is_whole(set: &Found, layout: &Layout) -> bool {
    set.parts.iter().flat_map(|p| &p.dirs).any(|dir| is_set(dir, layout))
}

fn nothing(drives: &[PathBuf], wanted: Option<&str>, links: &[PathBuf]) -> Error {
    let places = drives.iter().map(|d| d.display().to_string()).collect::<Vec<_>>().join(", ");
    let which = wanted.map(|w| format!(" that matches {w:?}")).unwrap_or_default();
    let link = links.first().map(|link| {
        format!(" ({} is a symbolic link, which is not followed)", printable(link.as_os_str().as_encoded_bytes()))
    });
    Error::drive(
        format!("no set{which} in {places}{}", link.unwrap_or_default()),
        "give the mount point that holds a *.ckvault directory, or that directory itself",
    )
}

/// Every set on the drives, by the names of the directories; and links with such names.
fn all(disk: &Disk, drives: &[PathBuf], layout: &Layout) -> Result<(Vec<Found>, Vec<PathBuf>)> {
    let mut sets: BTreeMap<String, BTreeMap<String, Vec<Dir>>> = BTreeMap::new();
    let (mut renamed, mut links) = (Vec::new(), Vec::new());
    for drive in drives {
        let drive = Dir::given(disk, drive).map_err(Error::on_drive("read", drive))?;
        for dir in on_drive(&drive, layout, &mut links)? {
            let name = dir.name().to_string_lossy().into_owned();
            if name.ends_with(layout.suffix) {
                sets.entry(without_part(&name, layout)).or_default().entry(name).or_default().push(dir);
            } else {
                renamed.push(dir);
            }
        }
    }
    // A directory that was given by itself and has been renamed goes with the only part of the only set there is, or stands
    // alone in that set, or altogether.
    for dir in renamed {
        let only = (sets.len() == 1).then(|| sets.iter().next()).flatten();
        let (set, part) = match only {
            Some((set, parts)) if parts.len() == 1 => (set.clone(), parts.keys().next().cloned()),
            Some((set, _)) => (set.clone(), None),
            None => (RENAMED.into(), None),
        };
        sets.entry(set).or_default().entry(part.unwrap_or_else(|| RENAMED.into())).or_default().push(dir);
    }
    let unique = |(name, mut dirs): (String, Vec<Dir>)| {
        let mut seen = HashSet::new();
        dirs.retain(|d| d.identity().is_ok_and(|identity| seen.insert(identity)));
        FoundPart { name, dirs }
    };
    let found = |(name, parts): (String, BTreeMap<String, Vec<Dir>>)| Found {
        name,
        parts: parts.into_iter().map(unique).collect(),
        links: Vec::new(),
    };
    Ok((sets.into_iter().map(found).collect(), links))
}

/// The name of the set that a directory holds a part of.
fn without_part(name: &str, layout: &Layout) -> String {
    let stem = name.strip_suffix(layout.suffix).unwrap_or(name);
    match stem.rsplit_once(layout.infix) {
        Some((set, part)) if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{set}{}", layout.suffix)
        }
        _ => name.to_owned(),
    }
}

fn on_drive(drive: &Dir, layout: &Layout, links: &mut Vec<PathBuf>) -> Result<Vec<Dir>> {
    if drive.name().to_string_lossy().ends_with(layout.suffix) {
        return Ok(vec![drive.clone()]);
    }
    let mut dirs = Vec::new();
    for name in drive.names().map_err(Error::on_drive("read", drive.path()))? {
        if !name.to_string_lossy().ends_with(layout.suffix) {
            continue;
        }
        match drive.kind(&name) {
            Ok(Some(FileType::Directory)) => match drive.dir(&name) {
                // A drive that fails now is as good as absent.
                Err(e) if is_failure(&e) => {}
                opened => dirs.push(opened.map_err(Error::on_drive("read", drive.show(&name)))?),
            },
            Ok(Some(FileType::Symlink)) => links.push(drive.show(&name)),
            _ => {}
        }
    }
    // A set whose directory has been renamed, given by itself.
    if dirs.is_empty() && is_set(drive, layout) {
        dirs.push(drive.clone());
    }
    dirs.sort();
    Ok(dirs)
}

fn is_set(dir: &Dir, layout: &Layout) -> bool {
    let copy = |mark: &str| format!("{}/{mark}", layout.copies);
    layout.marks.iter().all(|mark| dir.has_file(mark)) || layout.marks.iter().all(|mark| dir.has_file(copy(mark)))
}

fn name_of(path: &std::path::Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether a directory's name is that of a set with this label or this beginning of its id.
fn names_set(name: &str, wanted: &str, layout: &Layout) -> bool {
    let stem = name.strip_suffix(layout.suffix).unwrap_or(name);
    let (label, short) = match stem.rsplit_once('-') {
        Some((label, short)) => (Some(label), short),
        None => (None, stem),
    };
    let id = !wanted.is_empty() && short.starts_with(wanted.get(..8).unwrap_or(wanted));
    id || label == Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout =
        Layout { suffix: ".ckvault", infix: ".p", marks: ["manifest.json", "manifest.json.sig"], copies: "copy" };

    #[test]
    fn parts_belong_to_their_set() {
        for (name, set) in [
            ("l-00112233.p2.ckvault", "l-00112233.ckvault"),
            ("00112233.p12.ckvault", "00112233.ckvault"),
            ("a.p1-00112233.ckvault", "a.p1-00112233.ckvault"),
            ("l-00112233.px.ckvault", "l-00112233.px.ckvault"),
        ] {
            assert_eq!(without_part(name, &LAYOUT), set);
        }
    }

    #[test]
    fn sets_are_chosen_by_label_or_id() {
        let name = "llama-3-00112233.ckvault";
        for yes in ["llama-3", "0011", "00112233", "00112233445566778899aabbccddeeff"] {
            assert!(names_set(name, yes, &LAYOUT), "{yes}");
        }
        for no in ["llama", "3", "1122", "", "00112234"] {
            assert!(!names_set(name, no, &LAYOUT), "{no}");
        }
        assert!(names_set("00112233.ckvault", "001", &LAYOUT));
    }
}
