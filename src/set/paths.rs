//! Paths from a set are hostile, even when the signer is trusted: they are checked before anything is placed.

use crate::error::{Error, Result};
use crate::format::inventory::{Entry, Kind, Name};
use std::collections::{HashMap, VecDeque};

/// Rule 43: Linux follows no more links on the way of one path.
const MOST_HOPS: usize = 40;
/// Rule 43: more components than the longest path has.
const MOST_STEPS: usize = 4096;
/// Rule 43: what following all links of a set may cost, in components and in 64 bytes of their paths: some seconds. A link of a
/// checkpoint costs about ten.
const MOST_WORK: u64 = 1 << 27;
const LONGEST_COMPONENT: usize = 255;

/// Refuses entries that could reach outside of the target, or each other, or have a name at the top that is `reserved`; and links
/// that leave the target, of those entries that `placed` says are wanted.
pub fn check(entries: &[Entry], reserved: impl Fn(&[u8]) -> bool, placed: impl Fn(usize) -> bool) -> Result<()> {
    let mut before: HashMap<&[u8], &Entry> = HashMap::with_capacity(entries.len());
    let mut links: HashMap<&[u8], &[u8]> = HashMap::new();
    for (i, entry) in entries.iter().enumerate() {
        let path = &entry.path.0[..];
        check_path(&entry.path, i, &entry.kind, &reserved)?;
        let parent = path.iter().rposition(|b| *b == b'/').map_or(&b""[..], |at| &path[..at]);
        if !parent.is_empty() && before.get(parent).is_none_or(|e| e.kind != Kind::Dir) {
            return Err(refuse(&entry.path, "its parent is not a directory of the set"));
        }
        match &entry.kind {
            Kind::Hardlink { target } => check_hardlink(entry, before.get(&target.0[..]))?,
            Kind::Symlink { target } => {
                if target.0.contains(&0) {
                    return Err(refuse(&entry.path, "its target has a NUL"));
                }
                links.insert(path, &target.0);
            }
            _ => {}
        }
        if before.insert(path, entry).is_some() {
            return Err(refuse(&entry.path, "it stands in the set twice"));
        }
    }
    let wanted = entries.iter().enumerate().filter(|(i, _)| placed(*i)).map(|(_, e)| &e.path.0[..]);
    let mut work = 0;
    wanted.filter(|path| links.contains_key(path)).try_for_each(|path| check_link(path, &links, &mut work))
}

/// Links that leave the set, or take too long to follow: those that an importer has to allow.
pub fn leaving(entries: &[Entry]) -> Vec<&Name> {
    let mut ways = Ways::new(entries);
    let links = entries.iter().filter(|e| matches!(e.kind, Kind::Symlink { .. })).map(|e| &e.path);
    links.filter(|path| ways.follow(&path.0).is_empty()).collect()
}

/// The same rule for links on a file system that takes two spellings of a name for the same.
pub fn check_folded_links(entries: &[Entry]) -> Result<()> {
    let fold = |name: &Name| String::from_utf8_lossy(&name.0).to_lowercase().into_bytes();
    let link = |e: &Entry| match &e.kind {
        Kind::Symlink { target } => Some((fold(&e.path), fold(target))),
        _ => None,
    };
    let folded: Vec<(Vec<u8>, Vec<u8>)> = entries.iter().filter_map(link).collect();
    let links: HashMap<&[u8], &[u8]> = folded.iter().map(|(path, target)| (&path[..], &target[..])).collect();
    let mut work = 0;
    links.keys().try_for_each(|path| check_link(path, &links, &mut work))
}

fn check_path(name: &Name, position: usize, kind: &Kind, reserved: impl Fn(&[u8]) -> bool) -> Result<()> {
    let path = &name.0[..];
    if path.is_empty() {
        return match (position, kind) {
            (0, Kind::Dir) => Ok(()),
            _ => Err(refuse(name, "the path is empty")),
        };
    }
    if path.contains(&0) {
        return Err(refuse(name, "the path has a NUL"));
    }
    for component in path.split(|b| *b == b'/') {
        match component {
            b"" => return Err(refuse(name, "the path is absolute, or has an empty component")),
            b"." | b".." => return Err(refuse(name, "the path has a component . or ..")),
            long if long.len() > LONGEST_COMPONENT => return Err(refuse(name, "a component is longer than 255 bytes")),
            _ => {}
        }
    }
    match path.split(|b| *b == b'/').next().is_some_and(reserved) {
        true => Err(refuse(name, "the name is reserved for ckvault itself")),
        false => Ok(()),
    }
}

/// Rules 42 and 68: a hard link is another name of a file that stands before it, and says the same of it.
fn check_hardlink(link: &Entry, file: Option<&&Entry>) -> Result<()> {
    match file {
        Some(file) if !matches!(file.kind, Kind::File { .. }) => {}
        Some(file) if (file.mode, file.mtime) == (link.mode, link.mtime) => return Ok(()),
        Some(_) => return Err(refuse(&link.path, "it is a hard link with another mode or time than its file")),
        None => {}
    }
    Err(refuse(&link.path, "it is a hard link to what is no file of the set before it"))
}

/// Where links lead.
pub struct Ways<'a> {
    links: HashMap<&'a [u8], &'a [u8]>,
    work: u64,
}

impl<'a> Ways<'a> {
    /// Through the links among these entries.
    pub fn new(entries: &'a [Entry]) -> Ways<'a> {
        let link = |e: &'a Entry| match &e.kind {
            Kind::Symlink { target } => Some((&e.path.0[..], &target.0[..])),
            _ => None,
        };
        Ways { links: entries.iter().filter_map(link).collect(), work: 0 }
    }

    /// The paths that a link leads over to its end within the set, that end the last; none if it leads out.
    pub fn follow(&mut self, path: &[u8]) -> Vec<Vec<u8>> {
        let mut over = Vec::new();
        match follow(path, &self.links, &mut self.work, &mut over) {
            Ok(end) => over.into_iter().chain([end]).collect(),
            Err(_) => Vec::new(),
        }
    }
}

/// Follows a link through the set alone; refuses it if the way leaves the set.
fn check_link(path: &[u8], links: &HashMap<&[u8], &[u8]>, work: &mut u64) -> Result<()> {
    follow(path, links, work, &mut Vec::new()).map(drop)
}

/// The same; returns where the way ends, and notes the links that it leads over.
fn follow(path: &[u8], links: &HashMap<&[u8], &[u8]>, work: &mut u64, over: &mut Vec<Vec<u8>>) -> Result<Vec<u8>> {
    let leaves = || {
        let target = links.get(path).map(|t| Name::new(t).printable()).unwrap_or_default();
        Error::refused(
            format!("{} is a link that leaves the target (to {target})", Name::new(path).printable()),
            "import with --links keep if you trust it, or only some files with --only",
        )
    };
    // The directory that the way has led to so far.
    let mut at = path[..path.iter().rposition(|b| *b == b'/').unwrap_or(0)].to_vec();
    let mut ahead: VecDeque<&[u8]> = VecDeque::new();
    ahead.extend(path.rsplit(|b| *b == b'/').next());
    let (mut hops, mut steps) = (0, 0);
    while let Some(component) = ahead.pop_front() {
        steps += 1;
        *work += 1 + at.len() as u64 / 64;
        if steps > MOST_STEPS {
            return Err(leaves());
        }
        if *work > MOST_WORK {
            return Err(refuse(&Name::new(path), "the links of the set take too long to follow"));
        }
        match component {
            b"" | b"." => continue,
            b".." if at.is_empty() => return Err(leaves()),
            b".." => {
                leave(&mut at);
                continue;
            }
            name => enter(&mut at, name),
        }
        let Some(target) = links.get(&at[..]) else { continue };
        hops += 1;
        if hops > MOST_HOPS {
            // A loop leads nowhere, so not out either.
            return Ok(at);
        }
        over.push(at.clone());
        if target.starts_with(b"/") {
            return Err(leaves());
        }
        leave(&mut at);
        for component in target.split(|b| *b == b'/').rev() {
            ahead.push_front(component);
        }
    }
    Ok(at)
}

fn enter(at: &mut Vec<u8>, name: &[u8]) {
    if !at.is_empty() {
        at.push(b'/');
    }
    at.extend_from_slice(name);
}

fn leave(at: &mut Vec<u8>) {
    at.truncate(at.iter().rposition(|b| *b == b'/').unwrap_or(0));
}

/// Refuses names that a file system takes for the same when it does not tell upper from lower case.
pub fn check_folded(entries: &[Entry]) -> Result<()> {
    let mut seen: HashMap<String, &Name> = HashMap::with_capacity(entries.len());
    let mut clashes = Vec::new();
    for entry in entries {
        let folded = String::from_utf8_lossy(&entry.path.0).to_lowercase();
        if let Some(first) = seen.insert(folded, &entry.path) {
            clashes.push(format!("\n  {} and {}", first.printable(), entry.path.printable()));
        }
    }
    match clashes.is_empty() {
        true => Ok(()),
        false => Err(Error::refused(
            format!("the file system of the target takes these names for the same:{}", clashes.concat()),
            "import to a file system that tells upper from lower case, or only some files with --only",
        )),
    }
}

fn refuse(path: &Name, why: &str) -> Error {
    Error::refused(
        format!("the set holds the path {:?}, which is refused: {why}", path.printable()),
        "the sender signed a hostile or broken set: ask what happened there",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::limits::of_page;

    #[test]
    fn limits_are_those_of_the_page() {
        assert_eq!(of_page::of("component of a path"), [1, LONGEST_COMPONENT as u64]);
        let rule = format!("fewer than {MOST_HOPS} links have been followed");
        assert!(include_str!("../../man/ckvault-format.5").contains(&rule));
        assert_eq!(of_page::of("steps on the way of a link")[1], MOST_STEPS as u64);
        assert_eq!(of_page::of("following all links")[1], MOST_WORK);
    }

    const STAGING: &str = ".ckvault-00112233.partial";

    fn check(entries: &[Entry], keep_links: bool) -> Result<()> {
        super::check(entries, |name| name == STAGING.as_bytes(), |_| !keep_links)
    }

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: Name::new(path.as_bytes()), kind, mode: 0o644, mtime: (0, 0), xattrs: vec![], offset: 0 }
    }

    fn file(path: &str) -> Entry {
        entry(path, Kind::File { size: 0, extents: None, blake3: None })
    }

    fn dir(path: &str) -> Entry {
        entry(path, Kind::Dir)
    }

    fn link(path: &str, target: &str) -> Entry {
        entry(path, Kind::Symlink { target: Name::new(target.as_bytes()) })
    }

    #[test]
    fn hostile_paths_are_refused() {
        for bad in [
            "/etc/passwd",
            "/x",
            "a/",
            "../x",
            "a/../../x",
            "./x",
            "a//b",
            "x\0y",
            "..",
            ".ckvault-00112233.partial/x",
            &"n".repeat(256),
        ] {
            let parent = bad.split_once('/').map(|(p, _)| dir(p));
            let entries: Vec<Entry> = parent.into_iter().chain([file(bad)]).collect();
            assert!(check(&entries, true).is_err(), "{bad:?}");
        }
        assert!(check(&[file(&"n".repeat(255))], true).is_ok());
        assert!(check(&[file("a"), file("a")], true).is_err());
        assert!(check(&[file("")], true).is_err());
        assert!(check(&[dir("d"), dir("")], true).is_err());
    }

    #[test]
    fn nothing_is_placed_through_a_link_or_a_file() {
        assert!(check(&[link("l", "/etc"), file("l/passwd")], true).is_err());
        assert!(check(&[file("f"), file("f/x")], true).is_err());
        assert!(check(&[file("missing/x")], true).is_err());
        assert!(check(&[file("d/x"), dir("d")], true).is_err());
    }

    #[test]
    fn hard_links_lead_to_files_before_them() {
        let hard = |path, target: &str| entry(path, Kind::Hardlink { target: Name::new(target.as_bytes()) });
        assert!(check(&[file("a"), hard("b", "a")], false).is_ok());
        let other = [Entry { mode: 0o600, ..hard("b", "a") }, Entry { mtime: (0, 1), ..hard("b", "a") }];
        other.into_iter().for_each(|hard| assert!(check(&[file("a"), hard], true).is_err()));
        for (set, why) in [
            (vec![hard("b", "/etc/passwd")], "outside"),
            (vec![hard("b", "a"), file("a")], "after"),
            (vec![dir("d"), hard("b", "d")], "dir"),
            (vec![link("l", "x"), hard("b", "l")], "link"),
        ] {
            assert!(check(&set, true).is_err(), "{why}");
        }
    }

    #[test]
    fn links_may_not_leave() {
        for (entries, ok) in [
            (vec![dir(""), dir("a"), link("a/l", "../b")], true),
            (vec![dir("a"), link("a/l", "../../b")], false),
            (vec![link("l", "/etc")], false),
            (vec![link("l", "..")], false),
            (vec![link("l", ".")], true),
            (vec![link("l", "nowhere/at/all")], true),
            (vec![link("l", "l")], true),
            (vec![dir("d"), dir("d/e"), link("d/e/s", "../.."), link("t", "d/e/s/../x")], false),
            (vec![dir("d"), dir("d/e"), link("d/e/s", "../.."), link("t", "d/e/s/d/x")], true),
            (vec![dir("d"), link("d/up", ".."), link("x", "d/up/d/up/d/../../..")], false),
        ] {
            assert_eq!(check(&entries, false).is_ok(), ok, "{:?}", entries.last());
            assert!(check(&entries, true).is_ok());
        }
    }

    /// Rule 43: Linux follows forty, and says of the next that there is a loop.
    #[test]
    fn forty_links_are_followed_and_no_more() {
        let chain = |links: usize, end: &str| {
            let to = |i: usize| if i + 1 < links { format!("l{}", i + 1) } else { end.to_owned() };
            (0..links).map(|i| link(&format!("l{i}"), &to(i))).collect::<Vec<_>>()
        };
        // Each link of a chain is followed for itself: only the first is as long as the chain.
        let first = |entries: &[Entry]| super::check(entries, |_| false, |i| i == 0).is_ok();
        for end in ["..", "/etc"] {
            assert!(!first(&chain(40, end)) && first(&chain(41, end)), "{end}");
        }
        assert!(first(&chain(40, "x")) && first(&chain(41, "x")));
    }

    /// Rule 43: a way has no more than 4096 components, those of links on it among them.
    #[test]
    fn steps_are_counted_and_made_by_name() {
        let to = |steps: usize| [link("l", &("./".repeat(steps - 2) + "x"))];
        assert!(check(&to(MOST_STEPS), false).is_ok() && check(&to(MOST_STEPS + 1), false).is_err());
        // What is no directory, or is not there, is left by `..` as if it were one.
        for (entries, ok) in [
            (vec![file("f"), link("l", "f/../f")], true),
            (vec![link("l", "none/none/../../x")], true),
            (vec![link("l", "none/../../x")], false),
            (vec![file("f"), link("l", "f/../..")], false),
        ] {
            assert_eq!(check(&entries, false).is_ok(), ok, "{:?}", entries.last());
        }
    }

    #[test]
    fn links_are_followed_as_a_folding_file_system_does() {
        let entries = [dir("a"), dir("a/b"), link("a/b/s", "../.."), link("t", "a/b/S/../x")];
        assert!(check(&entries, false).is_ok());
        assert!(check_folded_links(&entries).is_err());
    }

    #[test]
    fn case_clashes_are_listed() {
        let error = check_folded(&[file("Model.bin"), file("model.bin"), file("x")]).unwrap_err();
        assert!(error.to_string().contains("Model.bin and model.bin"));
        assert!(check_folded(&[file("a"), file("b")]).is_ok());
    }

    #[test]
    fn a_link_to_what_has_a_nul_is_refused_even_if_links_are_kept() {
        assert!(check(&[link("l", "x\0y")], true).is_err());
    }

    /// What an importer may have to allow, and what has to be placed for a link to lead somewhere.
    #[test]
    fn the_way_of_a_link_is_known_to_its_end() {
        let entries =
            [dir("d"), file("d/x"), link("one", "./two"), link("two", "d/../d/x"), link("out", "one/../../../y")];
        assert_eq!(leaving(&entries).iter().map(|name| &name.0[..]).collect::<Vec<_>>(), [b"out"]);
        let mut ways = Ways::new(&entries);
        let mut follow =
            |path: &str| ways.follow(path.as_bytes()).into_iter().map(String::from_utf8).collect::<Vec<_>>();
        let names = |names: &[&str]| names.iter().map(|name| Ok(name.to_string())).collect::<Vec<_>>();
        assert_eq!(follow("one"), names(&["one", "two", "d/x"]));
        assert_eq!(follow("d/x"), names(&["d/x"]));
        assert_eq!(follow("out"), names(&[]));
    }

    /// Rule 43: a component costs one, and one more for each 64 bytes of the path before it.
    #[test]
    fn following_all_links_costs_no_more_than_so_much() {
        let long = format!("{}/x", "n".repeat(128));
        let entries = [link("l", &long)];
        let ways = Ways::new(&entries);
        let cost = |mut work: u64| follow(b"l", &ways.links, &mut work, &mut Vec::new()).map(|_| work);
        assert_eq!(cost(0).unwrap(), 1 + 1 + (1 + 2));
        assert_eq!(cost(MOST_WORK - 5).unwrap(), MOST_WORK);
        assert!(cost(MOST_WORK - 4).unwrap_err().to_string().contains("take too long to follow"));
    }
}
