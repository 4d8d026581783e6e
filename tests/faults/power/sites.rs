//! Places in the source where something is made durable, as people name them.

use ckvault::media::act::Site;
use std::fs;
use std::path::{Path, PathBuf};

/// Every such place: its file, its function and the call; the verbs in which some world shows that it is needed; and, where there are
/// none, what else it is for.
pub const SITES: &[(&str, &[&str], &str)] = &[
    ("commands/keygen.rs name_all: dir.sync()", &["keygen"], ""),
    ("heal/repair.rs begin_manifests: file.sync()", &[], PLACE),
    ("heal/volumes.rs confirm: file.sync()", &[], READ_BACK),
    ("heal/volumes.rs make_file: file.sync()", &[], PLACE),
    ("media/dir.rs made_with: parent.sync()", &["export", "keygen"], ""),
    ("media/dir.rs release: self.sync()", &["export", "export --resume", "repair", "repair --to"], ""),
    ("media/dir.rs release: self.disk().sync_all_of(&self)", &["export", "export --resume", "repair --to"], ""),
    ("media/durable.rs create_dir: parent.sync()", &["export"], ""),
    ("media/durable.rs create_new: disk.sync(&file, &path)", &["keygen"], ""),
    ("media/durable.rs fill: self.dir.disk().sync(&self.file, &self.path())", &[], PLACE),
    ("media/durable.rs finish_all: dir.sync()", &["export", "export --resume", "repair", "repair --to"], ""),
    ("media/durable.rs begin_writing: first.sync_file_system()", &[], PLACE),
    ("media/durable.rs make_durable: sync_all(files)", &["export", "export --resume"], ""),
    ("media/probe.rs measure: file.sync()", &[], SPEED),
    ("media/staging/claim.rs begin_journal: dir.sync()", &["import", "import into what stays"], ""),
    ("media/staging/claim.rs begin_journal: disk.sync(&journal, &path)", &["import", "import into what stays"], ""),
    ("media/staging/commit.rs commit: place.sync()", &["import", "import into what stays", "import --resume"], ""),
    ("media/staging/commit.rs sync: self.own.sync()", &["import", "import into what stays", "import --resume"], ""),
    (
        "media/staging/commit.rs sync: self.disk.sync_all_of(&self.own)",
        &["import", "import into what stays", "import --resume"],
        "",
    ),
    ("media/statefile.rs append: disk.sync(&self.file, &path)", &["export"], ""),
    ("media/statefile.rs create: state.dir.sync()", &["export"], ""),
    ("media/statefile.rs remove: self.dir.sync()", &["export", "export --resume"], ""),
    ("pack/directories.rs tidy: place.sync()", &["export --resume"], ""),
    ("pack/writers.rs pass: sync_all(&files)", &[], PLACE),
    ("pack/writers.rs save: file.sync_file_system()", &[], MARKED),
    (
        "restore/journal.rs sync: self.at.dir.disk().sync(&self.file, &path)",
        &["import", "import into what stays", "import --resume"],
        "",
    ),
];

/// File systems that choose places when they write are to do that now.
const PLACE: &str = "it has its place before others get theirs";
/// It is removed then.
const SPEED: &str = "only what is durable says how fast a drive is";
/// What lies before a mark is compared when it is gone on behind it.
const MARKED: &str = "more of what was written before an error is gone on with";
const READ_BACK: &str = "it is read back from the drive, and not from memory";

/// Where those above come in the end; and what keeps the pace of a drive, on which nothing depends but how long its end takes.
const WAYS: &[&str] = &[
    "media/dir.rs sync: rustix::fs::fsync(&self.0.fd)",
    "media/disk.rs sync: file.sync_all()",
    "media/disk.rs sync_all_of: rustix::fs::syncfs(file)",
    "media/disk.rs sync_file_system: self.sync_all_of(file)",
    "media/durable.rs sync: self.dir.disk().sync(&self.file, &self.path())",
    "media/durable.rs sync_all: file.sync()",
    "media/durable.rs sync_file_system: disk.sync_file_system(&self.file, &self.path())",
    "media/durable.rs sync_file_system: self.sync()",
    "media/pace.rs make_durable: each.sync_data()",
    "media/pace.rs make_durable: file.sync_data()",
    "media/pace.rs make_durable: syncfs(file)",
    "restore/journal.rs again: self.sync()",
    "restore/journal.rs concluded: self.sync()",
    "restore/journal.rs placed: self.sync()",
    "restore/placed.rs conclude: self.staging.sync()",
    "restore/placed.rs record_in: self.staging.sync()",
];

/// How a site is named.
pub fn shown(site: Site) -> String {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(site.file())).unwrap();
    named(site.file(), &source, site.line() as usize, site.column() as usize - 1)
}

/// The same of the call in this column of a line.
fn named(file: &str, source: &str, line: usize, column: usize) -> String {
    let lines: Vec<&str> = source.lines().take(line).collect();
    let (text, above) = lines.split_last().unwrap();
    let name = |line: &&str| {
        let (before, after) = line.split_once("fn ")?;
        let is_item = before.trim().is_empty() || before.trim().starts_with("pub");
        is_item.then(|| after.split(['(', '<']).next().unwrap_or_default().to_owned())
    };
    let function = above.iter().rev().find_map(name).unwrap_or_default();
    let mut depth = 0;
    let before = text[..column].char_indices().rev().find(|(_, c)| {
        depth += i32::from(*c == ')') - i32::from(*c == '(');
        depth < 0 || !c.is_alphanumeric() && !"_.():".contains(*c)
    });
    let start = before.map_or(0, |(at, _)| at + 1);
    let mut depth = 0;
    let end = text[column..].char_indices().find(|(_, c)| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        *c == ')' && depth == 0
    });
    let end = end.map_or(text.len(), |(at, _)| column + at + 1);
    format!("{} {function}: {}", file.trim_start_matches("src/"), &text[start..end])
}

/// All calls in a file that make something durable.
fn calls(file: &str, source: &str) -> Vec<String> {
    const CALLS: [&str; 7] =
        ["sync(", "sync_all(", "sync_all_of(", "sync_file_system(", "sync_data(", "syncfs(", "fsync("];
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
        for call in CALLS {
            for (column, _) in line.match_indices(call) {
                let before = line[..column].chars().next_back().unwrap_or(' ');
                if !before.is_alphanumeric() && before != '_' && !line[..column].ends_with("fn ") {
                    found.push(named(file, source, number + 1, column));
                }
            }
        }
    }
    found
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn nothing_is_made_durable_of_which_nobody_knows_what_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut all, mut paths) = (Vec::new(), Vec::new());
    files(&root.join("src"), &mut paths);
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        all.extend(calls(name, &fs::read_to_string(path).unwrap()));
    }
    let mut known: Vec<&str> = SITES.iter().map(|(site, ..)| *site).chain(WAYS.iter().copied()).collect();
    all.sort();
    known.sort();
    assert_eq!(all, known);
    assert!(SITES.iter().all(|(_, verbs, why)| verbs.is_empty() != why.is_empty()));
}
