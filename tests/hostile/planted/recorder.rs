//! Which names a command uses: it runs once with its calls recorded.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// Runs `command` under strace; returns how it ended, and every name beneath `root` that it gave to the system, with the
/// directories on the way. It does not matter whether a name was absolute or began at an open directory.
pub fn record(command: &Command, root: &Path, log: &Path) -> (std::process::Output, BTreeSet<PathBuf>) {
    let mut traced = Command::new("strace");
    traced.args(["-f", "-y", "-qq", "-e", "signal=none", "-e", "trace=%file", "-o"]).arg(log);
    traced.arg(command.get_program()).args(command.get_args());
    traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    traced.current_dir(command.get_current_dir().unwrap());
    let output = traced.stdin(std::process::Stdio::null()).output().unwrap();
    let calls = std::fs::read(log).unwrap();
    let names = names(&String::from_utf8_lossy(&calls), traced.get_current_dir().unwrap(), root);
    assert!(!names.is_empty(), "nothing was recorded: {output:?}");
    (output, names)
}

/// The names beneath `root` in what strace has written of a command that was run in `here`.
fn names(log: &str, here: &Path, root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for path in log.lines().flat_map(|line| paths(line, here)) {
        let Ok(name) = path.strip_prefix(root) else { continue };
        found.extend(name.ancestors().filter(|a| !a.as_os_str().is_empty()).map(Path::to_owned));
    }
    found
}

/// The paths in a line: `123 call(5</open/directory>, "name", …`.
fn paths(line: &str, here: &Path) -> Vec<PathBuf> {
    let Some((call, arguments)) = line.split_once('(') else { return Vec::new() };
    let call = call.rsplit(' ').next().unwrap_or_default();
    let texts = texts(arguments, here);
    // What a link says, and what is found out, are not names that are used.
    let used = match call {
        "symlink" | "symlinkat" => texts.get(1..2),
        "getcwd" => None,
        "rename" | "renameat" | "renameat2" | "link" | "linkat" => texts.get(..),
        _ => texts.get(..1),
    };
    used.unwrap_or_default().iter().map(|path| plain(path)).collect()
}

/// The texts among the arguments of a call, each as a path: absolute, or from the directory that stands before it.
fn texts(arguments: &str, here: &Path) -> Vec<PathBuf> {
    let (mut found, mut from, mut rest) = (Vec::new(), here.to_owned(), arguments);
    while let Some(at) = rest.find(['"', '<', '{', '[', ')']) {
        let inner = &rest[at + 1..];
        let (end, is_text) = match rest.as_bytes()[at] {
            b'"' => (inner.find('"'), true),
            b'<' => (inner.find('>'), false),
            _ => break,
        };
        let Some(end) = end else { break };
        match is_text {
            true => found.push(std::mem::replace(&mut from, here.to_owned()).join(&inner[..end])),
            false => from = PathBuf::from(&inner[..end]),
        }
        rest = &inner[end + 1..];
    }
    found
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// The names of two recordings of the same run but for those that were chosen at random: which stand in a directory in which
/// each run has used a name that the other has not.
pub fn guessable(one: &BTreeSet<PathBuf>, other: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let own = |these: &BTreeSet<PathBuf>, those: &BTreeSet<PathBuf>| -> BTreeSet<PathBuf> {
        these.difference(those).filter_map(|p| p.parent()).map(Path::to_owned).collect()
    };
    let random_in: BTreeSet<PathBuf> = &own(one, other) & &own(other, one);
    let alone: BTreeSet<&PathBuf> = one.symmetric_difference(other).collect();
    let random = |p: &Path| alone.contains(&p.to_owned()) && p.parent().is_some_and(|d| random_in.contains(d));
    one.union(other).filter(|name| !name.ancestors().any(random)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn names_are_found_in_every_kind_of_call() {
        let log = r#"7 openat(AT_FDCWD</r/home>, "x", O_RDONLY) = 3</r/home/x>
7 openat2(5</r/usb>, "set/copy/m", {flags=O_RDONLY|O_NOFOLLOW, resolve=RESOLVE_BENEATH}, 24) = -1 ELOOP
7 renameat2(5</r/a>, "one.partial", 6</r/b>, "one", RENAME_NOREPLACE <unfinished ...>
7 <... renameat2 resumed>) = 0
7 symlinkat("text", 4</r/a>, "link") = 0
7 readlink("/r/a/link", "target", 1023) = 6
7 lsetxattr("/r/a/x", "user.name", "value", 5, 0) = 0
7 statx(5</r/usb>, "", AT_EMPTY_PATH, STATX_ALL, {stx_mask=1}) = 0
7 mkdir("../out/./dir", 0700) = 0
7 openat(AT_FDCWD</r/home>, "/etc/passwd", O_RDONLY) = 4</etc/passwd>"#;
        let all = [
            "home",
            "home/x",
            "usb",
            "usb/set",
            "usb/set/copy",
            "usb/set/copy/m",
            "a",
            "a/one.partial",
            "b",
            "b/one",
            "a/link",
            "a/x",
            "out",
            "out/dir",
        ];
        assert_eq!(names(log, Path::new("/r/home"), Path::new("/r")), set(&all));
    }

    #[test]
    fn only_what_differs_in_both_is_random() {
        let one = set(&["d", "d/0123", "d/0123/m", "d/sometimes", "e", "e/only-here"]);
        let other = set(&["d", "d/4567", "d/4567/m", "e"]);
        let left = guessable(&one, &other);
        assert!(!left.contains(Path::new("d/0123/m")) && !left.contains(Path::new("d/4567")));
        assert!(left.contains(Path::new("e/only-here")));
    }
}
