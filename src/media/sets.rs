//! Finding the directories of sets on the drives given.

use crate::error::{Error, Result, is_failure};
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::text::printable;
use rustix::fs::FileType;
use std::collections::HashSet;
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
    /// The directories with further copies.
    pub copies: &'static [&'static str],
}

/// What can be given.
const GIVE: &str = "give the mount point that holds a *.ckvault directory, or that directory itself";

/// What stands for the name of directories of which nobody knows what they hold.
const UNKNOWN: &str = "(unknown)";

/// What a directory says that it holds. Nobody vouches for that yet: it tells what belongs together, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The id of the set.
    pub set: String,
    /// Its label.
    pub label: Option<String>,
    /// Which part it is.
    pub part: u32,
    /// When it was exported.
    pub created: String,
    /// How many drives this part has.
    pub drives: u32,
    /// Bytes of its volumes.
    pub bytes: u64,
    /// The name that the directory was given.
    pub name: String,
}

/// The directories that belong together by what they say, or else by their names.
#[derive(Debug, Clone)]
pub struct Found {
    /// The name of the set.
    pub name: String,
    /// Its parts that are here.
    pub parts: Vec<FoundPart>,
    /// Links on the drives that are named like directories of it. They lead to who knows where, and are not followed.
    pub links: Vec<PathBuf>,
    /// What one of its directories says, if any does.
    said: Option<Said>,
}

/// The directories of one part of a set.
#[derive(Debug, Clone)]
pub struct FoundPart {
    /// The name that its directory was given, if that is known, or that it has.
    pub name: String,
    /// One directory for each drive that has one, in the order of the drives.
    pub dirs: Vec<Dir>,
    /// What one of these says, if any does.
    pub said: Option<Said>,
}

/// Finds the one set on the drives that `wanted` (a prefix of its id, or its label) describes, or the only one. `ask` tells what
/// the files in a directory say of it, each of them; `describe` what a person should know who has to choose.
pub fn find(
    disk: &Disk,
    drives: &[PathBuf],
    wanted: Option<&str>,
    layout: &Layout,
    ask: &dyn Fn(&Dir) -> Vec<Said>,
    describe: &dyn Fn(&Found) -> String,
) -> Result<Found> {
    let (mut sets, links) = all(disk, drives, layout, ask)?;
    if let Some(wanted) = wanted {
        sets.retain(|set| set.is_wanted(wanted, layout));
    }
    // What an interrupted export left behind does not make the whole set beside it ambiguous.
    if sets.len() > 1 && sets.iter().filter(|set| is_whole(set, layout)).count() == 1 {
        sets.retain(|set| is_whole(set, layout));
    }
    if sets.len() > 1 {
        let listing = sets.iter().map(|s| format!("  {}", describe(s))).collect::<Vec<_>>().join("\n");
        return Err(Error::usage(
            format!("there are several sets here:\n{listing}"),
            "choose one with --set and its label or the first digits of its id",
        ));
    }
    match sets.pop() {
        Some(set) => {
            let own = |link: &PathBuf| without_part(&name_of(link), layout) == set.name;
            Ok(Found { links: links.into_iter().filter(own).collect(), ..set })
        }
        None => Err(nothing(drives, wanted, &links)),
    }
}

impl Found {
    fn is_wanted(&self, wanted: &str, layout: &Layout) -> bool {
        match &self.said {
            Some(said) => !wanted.is_empty() && (said.set.starts_with(wanted) || said.label.as_deref() == Some(wanted)),
            None => self.name == UNKNOWN || names_set(&self.name, wanted, layout),
        }
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
    Error::drive(format!("no set{which} in {places}{}", link.unwrap_or_default()), GIVE)
}

/// Every set on the drives, and links that are named like one.
fn all(
    disk: &Disk,
    drives: &[PathBuf],
    layout: &Layout,
    ask: &dyn Fn(&Dir) -> Vec<Said>,
) -> Result<(Vec<Found>, Vec<PathBuf>)> {
    let (mut dirs, mut links) = (Vec::new(), Vec::new());
    for drive in drives {
        let drive = Dir::given(disk, drive).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotADirectory => Error::usage(format!("{} is not a directory", drive.display()), GIVE),
            _ => Error::on_drive("read", drive)(e),
        })?;
        dirs.extend(on_drive(&drive, layout, &mut links)?);
    }
    let mut seen = HashSet::new();
    dirs.retain(|d| d.identity().is_ok_and(|identity| seen.insert(identity)));
    let mut sets: Vec<Found> = Vec::new();
    let (mut silent, mut unknown) = (Vec::new(), Vec::new());
    for dir in dirs {
        let name = dir.name().to_string_lossy().into_owned();
        let mut all = ask(&dir);
        // A file of another set may lie here by mistake: the name of the directory tells, if one fits.
        let own = all.iter().position(|said| said.name == name).unwrap_or(0);
        match (all.is_empty(), is_named(&name, layout)) {
            (false, _) => take_in(&mut sets, all.swap_remove(own), dir, layout),
            (true, true) => silent.push((name, dir)),
            (true, false) => unknown.push(dir),
        }
    }
    // What says nothing is of the set whose name it has.
    for (name, dir) in silent {
        let set = without_part(&name, layout);
        let known = sets.iter().position(|found| found.name == set);
        let at = known.unwrap_or_else(|| {
            sets.push(Found { name: set, parts: Vec::new(), links: Vec::new(), said: None });
            sets.len() - 1
        });
        sets[at].put(name, dir, None);
    }
    // What has another name as well goes with the only part of the only set there is, or stands alone in that set, or altogether.
    for dir in unknown {
        match &mut sets[..] {
            [only] => {
                let part = match &only.parts[..] {
                    [part] => part.name.clone(),
                    _ => UNKNOWN.into(),
                };
                only.put(part, dir, None);
            }
            _ => {
                let mut alone = Found { name: UNKNOWN.into(), parts: Vec::new(), links: Vec::new(), said: None };
                alone.put(UNKNOWN.into(), dir, None);
                sets.push(alone);
            }
        }
    }
    sets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((sets, links))
}

fn take_in(sets: &mut Vec<Found>, said: Said, dir: Dir, layout: &Layout) {
    let (name, own) = (said.name.clone(), Some(said.clone()));
    match sets.iter_mut().find(|found| found.said.as_ref().is_some_and(|s| s.set == said.set)) {
        Some(found) => found.put(name, dir, own),
        None => {
            let set = without_part(&name, layout);
            let mut found = Found { name: set, parts: Vec::new(), links: Vec::new(), said: Some(said) };
            found.put(name, dir, own);
            sets.push(found);
        }
    }
}

impl Found {
    fn put(&mut self, part: String, dir: Dir, said: Option<Said>) {
        match self.parts.iter_mut().find(|known| known.name == part) {
            Some(known) => {
                known.dirs.push(dir);
                known.said = known.said.take().or(said);
            }
            None => {
                self.parts.push(FoundPart { name: part, dirs: vec![dir], said });
                self.parts.sort_by(|a, b| a.name.cmp(&b.name));
            }
        }
    }
}

/// Whether a name ends as that of a set; some systems do not keep the case of letters.
fn is_named(name: &str, layout: &Layout) -> bool {
    let end = name.len().checked_sub(layout.suffix.len()).and_then(|at| name.get(at..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(layout.suffix))
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
    if is_named(&drive.name().to_string_lossy(), layout) {
        return Ok(vec![drive.clone()]);
    }
    // Who stands in a directory of further copies means the set.
    if layout.copies.iter().any(|sub| drive.name() == *sub)
        && let Ok(above) = drive.above()
        && (is_set(&above, layout) || is_named(&above.name().to_string_lossy(), layout))
    {
        return Ok(vec![above]);
    }
    let mut dirs = Vec::new();
    for name in drive.names().map_err(Error::on_drive("read", drive.path()))? {
        if !is_named(&name.to_string_lossy(), layout) {
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
    let all_in = |sub: &str| layout.marks.iter().all(|mark| dir.has_file(format!("{sub}{mark}")));
    all_in("") || layout.copies.iter().any(|sub| all_in(&format!("{sub}/")))
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

    const LAYOUT: Layout = Layout {
        suffix: ".ckvault",
        infix: ".p",
        marks: ["manifest.json", "manifest.json.sig"],
        copies: &["copy", "third"],
    };

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
