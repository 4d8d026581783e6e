//! The rooms of the library and the direction between them, read from its source.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file of the library by its path under `src`, without its tests and comments.
fn library() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    collect(&src, &src, &mut files);
    files.retain(|path, _| !path.starts_with("bin/"));
    assert!(files.len() > 20, "{:?}", files.keys());
    files
}

fn collect(src: &Path, dir: &Path, files: &mut BTreeMap<String, String>) {
    let paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    for path in paths {
        if path.is_dir() {
            collect(src, &path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(src).unwrap().to_str().unwrap().to_owned();
            files.insert(name, without_tests(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What a file consists of besides comments and the test module at its foot.
fn without_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code = code.split("#[cfg(test)]\npub(crate) mod tests").next().unwrap_or_default();
    code.lines().filter(|l| !l.trim_start().starts_with("//")).map(|l| format!("{l}\n")).collect()
}

/// The rooms that a file names: `crate::room` wherever it stands, and `crate::{room, …}`.
fn rooms_named(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = Vec::new();
    for (_, rest) in code.match_indices("crate::").map(|(at, m)| (at, &code[at + m.len()..])) {
        match rest.strip_prefix('{') {
            Some(list) => rooms.extend(list.split('}').next().unwrap_or_default().split(',').map(|r| word(r.trim()))),
            None => rooms.push(word(rest)),
        }
    }
    rooms
}

fn room_of(path: &str) -> &str {
    path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// What each room may name besides itself.
fn allowed(room: &str) -> &'static [&'static str] {
    match room {
        "commands" => {
            &["pack", "restore", "heal", "set", "stages", "format", "media", "threads", "error", "progress", "text"]
        }
        // Wings beside each other do not know each other.
        "pack" | "restore" | "heal" => &["set", "stages", "format", "media", "threads", "error", "progress", "text"],
        "set" => &["stages", "format", "media", "threads", "error", "progress", "text"],
        "stages" => &["format", "media", "threads", "error", "progress", "text"],
        "media" | "format" => &["threads", "error", "progress", "text"],
        "threads" => &["error", "text"],
        // The ground: nothing but the text that everybody may show.
        "error" | "progress" => &["text"],
        _ => &[],
    }
}

#[test]
fn rooms_depend_downwards_only() {
    let mut broken = Vec::new();
    for (path, code) in library() {
        let room = room_of(&path);
        for named in rooms_named(&code) {
            if named != room && !allowed(room).contains(&named.as_str()) {
                broken.push(format!("{path} names crate::{named}"));
            }
        }
    }
    broken.dedup();
    assert!(broken.is_empty(), "upwards or sideways:\n  {}", broken.join("\n  "));
}

/// The file of the library that a path leads to: the longest beginning of it that is one.
fn file_of(path: &str, files: &BTreeMap<String, String>) -> Option<String> {
    let mut parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
    while !parts.is_empty() {
        let stem = parts.join("/");
        let found = [format!("{stem}.rs"), format!("{stem}/mod.rs")].into_iter().find(|name| files.contains_key(name));
        if found.is_some() {
            return found;
        }
        parts.pop();
    }
    None
}

/// The paths that a list of imports stands for: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn spread(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, list)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().to_owned()];
    };
    let list = list.trim_end().strip_suffix('}').unwrap_or(list);
    let (mut depth, mut items) = (0, vec![String::new()]);
    for c in list.chars() {
        match c {
            ',' if depth == 0 => items.push(String::new()),
            c => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                items.last_mut().unwrap().push(c);
            }
        }
    }
    items.iter().filter(|i| !i.trim().is_empty()).flat_map(|i| spread(&format!("{before}{}", i.trim()))).collect()
}

/// The modules that a file declares.
fn declared(code: &str) -> Vec<String> {
    let name = |line: &str| Some(line.split_once("mod ")?.1.strip_suffix(';')?.to_owned());
    code.lines().filter(|l| l.trim_end().ends_with(';')).filter_map(|line| name(line.trim())).collect()
}

/// The files that a file names, by `crate::` or `super::`, or as a module of its own.
fn imports(path: &str, code: &str, files: &BTreeMap<String, String>) -> Vec<String> {
    let own: Vec<&str> = path.trim_end_matches(".rs").trim_end_matches("/mod").split('/').collect();
    let mut named = Vec::new();
    for (word, base) in [("crate::", &[][..]), ("super::", &own[..own.len() - 1])] {
        for (at, _) in code.match_indices(word) {
            if code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let in_use = code[..at].trim_end().ends_with("use");
            let end = |c: char| if in_use { c == ';' } else { !(c.is_ascii_alphanumeric() || c == '_' || c == ':') };
            let tree = code[at + word.len()..].split(end).next().unwrap_or_default();
            named.extend(spread(tree).iter().map(|rest| format!("{}::{rest}", base.join("::"))));
        }
    }
    let within = if path.ends_with("/mod.rs") || path == "lib.rs" {
        &own[..own.len() - usize::from(path == "lib.rs")]
    } else {
        &own[..]
    };
    for module in declared(code) {
        let at_word = |at: usize| !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        if code.match_indices(&format!("{module}::")).any(|(at, _)| at_word(at)) {
            named.push(format!("{}::{module}", within.join("::")));
        }
    }
    let mut found: Vec<String> = named.iter().filter_map(|path| file_of(path, files)).filter(|f| f != path).collect();
    found.sort();
    found.dedup();
    found
}

/// What is read from top to bottom has no circle in it.
#[test]
fn no_two_files_name_each_other_directly_or_through_others() {
    let files = library();
    let mut named: BTreeMap<String, Vec<String>> =
        files.iter().map(|(path, code)| (path.clone(), imports(path, code, &files))).collect();
    for (path, other) in [("set/opened.rs", "set/part.rs"), ("set/mod.rs", "set/opened.rs")] {
        assert!(named[path].contains(&other.to_owned()), "imports are not understood: {path} names {:?}", named[path]);
    }
    // Files that name no other that is left are not in a circle.
    loop {
        let free: Vec<String> = named.iter().filter(|(_, all)| all.is_empty()).map(|(path, _)| path.clone()).collect();
        if free.is_empty() {
            break;
        }
        named.retain(|path, _| !free.contains(path));
        named.values_mut().for_each(|all| all.retain(|path| !free.contains(path)));
    }
    let circle: Vec<String> = named.iter().map(|(path, all)| format!("{path} names {}", all.join(", "))).collect();
    assert!(circle.is_empty(), "in a circle, or above one:\n  {}", circle.join("\n  "));
}

#[test]
fn the_library_does_not_know_its_program() {
    let broken: Vec<String> = library()
        .into_iter()
        .filter(|(_, code)| code.contains("ckvault::") || code.contains("super::super::super"))
        .map(|(path, _)| path)
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
}

/// Asserts that a package is named only in files whose path begins with one of `places`.
#[track_caller]
fn only_in(package: &str, places: &[&str]) {
    let names = |code: &str| {
        let path = format!("{package}::");
        let at_word = |at: usize| !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        code.match_indices(&path).any(|(at, _)| at_word(at)) || code.contains(&format!("use {package};"))
    };
    let broken: Vec<String> = library()
        .into_iter()
        .filter(|(path, code)| names(code) && !places.iter().any(|p| path.starts_with(p)))
        .map(|(path, _)| path)
        .collect();
    assert!(broken.is_empty(), "{package} is named in {broken:?}, not only in {places:?}");
    let used = places.is_empty()
        || library().iter().any(|(path, code)| names(code) && places.iter().any(|p| path.starts_with(p)));
    assert!(used, "{package} is named nowhere in {places:?}: has it moved?");
}

#[test]
fn each_package_has_one_module() {
    only_in("age", &["stages/seal/"]);
    only_in("age_core", &["stages/seal/"]);
    only_in("ring", &["stages/seal/"]);
    only_in("zstd", &["stages/compress/"]);
    only_in("reed_solomon_erasure", &["stages/parity/"]);
    only_in("ssh_key", &["format/signature.rs", "format/signers/"]);
    only_in("landlock", &["media/fence.rs"]);
    only_in("region", &["media/memory.rs"]);
    only_in("clap", &[]);
    only_in("indicatif", &[]);
    only_in("signal_hook", &[]);
}

/// The package and our module have one name, so only what the package alone has can be told apart.
#[test]
fn tar_has_one_module() {
    let broken: Vec<String> = library()
        .into_iter()
        .filter(|(path, code)| {
            path != "stages/tar.rs"
                && (code.contains(" ::tar")
                    || code.contains("use tar::")
                    || code.contains("tar::Header")
                    || code.contains("tar::Archive")
                    || code.contains("tar::Builder")
                    || code.contains("tar::EntryType"))
        })
        .map(|(path, _)| path)
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
    assert!(library()["stages/tar.rs"].contains("tar::"));
}

#[test]
fn the_library_never_prints_prompts_reads_the_environment_or_exits() {
    let mut broken = Vec::new();
    for (path, code) in library() {
        for forbidden in [
            "println!",
            "eprintln!",
            "print!(",
            "eprint!(",
            "dbg!(",
            "std::env",
            "env::var",
            "process::exit",
            "process::abort",
            "io::stdin",
            "io::stdout",
            "io::stderr",
        ] {
            if code.contains(forbidden) {
                broken.push(format!("{path} has {forbidden}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Drives, targets, staging directories and what exports remember are reached through `media/dir.rs`, which holds them. What
/// is the user's own or the system's is read by its path, in these files.
#[test]
fn places_are_reached_by_the_handle_that_holds_them() {
    const BY_PATH: [&str; 16] = [
        "media/dir.rs",
        "media/beneath.rs",
        // The user's sources, and the program that travels.
        "media/disk.rs",
        "media/program.rs",
        "media/tree.rs",
        "pack/roots.rs",
        "pack/walk.rs",
        "pack/source.rs",
        // Keys and lists of the user's, step by step on the way to them; /proc, and the device below a drive.
        "media/guarded.rs",
        "media/mod.rs",
        "media/cache.rs",
        "media/drive.rs",
        "media/mounts.rs",
        "media/device.rs",
        "media/modes.rs",
        // What may be reached at all, before anything is.
        "media/fence.rs",
    ];
    const CALLS: [&str; 24] = [
        "fs::read",
        "fs::write",
        "fs::create_dir",
        "fs::remove_",
        "fs::rename",
        "fs::metadata",
        "fs::set_permissions",
        "fs::copy",
        "fs::hard_link",
        "File::open",
        "File::create",
        "OpenOptions",
        "DirBuilder",
        "read_dir(",
        "symlink_metadata(",
        "canonicalize(",
        ".is_dir()",
        ".is_file()",
        "fs::open",
        "fs::statvfs",
        "fs::access",
        "fs::chmod",
        "fs::getxattr",
        "CWD",
    ];
    // One path resolved in parts: only those that hold directories do that.
    const HOLDING: [&str; 3] = ["media/dir.rs", "media/beneath.rs", "media/guarded.rs"];
    const AT: [&str; 9] =
        ["openat", "statat", "unlinkat", "renameat", "mkdirat", "linkat", "chmodat", "utimensat", "readlinkat"];
    let files = library();
    let at_word = |code: &str, at: usize| !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let calls_it =
        |code: &str, call: &str| code.match_indices(call).any(|(at, _)| call.starts_with('.') || at_word(code, at));
    let mut broken = Vec::new();
    for (path, code) in &files {
        let calls = CALLS.iter().filter(|_| !BY_PATH.contains(&path.as_str()));
        let at = AT.iter().filter(|_| !HOLDING.contains(&path.as_str()));
        broken.extend(calls.chain(at).filter(|call| calls_it(code, call)).map(|call| format!("{path} has {call}")));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let idle: Vec<&&str> =
        BY_PATH.iter().filter(|path| !CALLS.iter().any(|call| files[**path].contains(call))).collect();
    assert!(idle.is_empty(), "these need not be excused: {idle:?}");
}

/// What is started elsewhere would be started behind the fence, where nothing can be.
#[test]
fn programs_are_started_in_one_place() {
    let starts = |code: &str| code.contains("Command::new") || code.contains("process::Command");
    let broken: Vec<String> = library()
        .into_iter()
        .filter(|(path, code)| path != "media/errand.rs" && starts(code))
        .map(|(path, _)| path)
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
    assert!(starts(&library()["media/errand.rs"]));
}

#[test]
fn the_format_does_no_input_or_output() {
    let mut broken = Vec::new();
    for (path, code) in library().into_iter().filter(|(path, _)| room_of(path) == "format") {
        for forbidden in ["std::fs", "fs::", "std::net", "std::process", "File::", "rustix"] {
            if code.contains(forbidden) {
                broken.push(format!("{path} has {forbidden}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn unsafe_code_is_forbidden_and_files_stay_short() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\"") && manifest.contains("missing_docs = \"deny\""));
    let long: Vec<String> =
        library().iter().filter(|(_, code)| code.lines().count() > 450).map(|(path, _)| path.clone()).collect();
    assert!(long.is_empty(), "{long:?}");
}

/// The map for whoever carries on names what is there.
#[test]
fn the_map_names_what_is_there() {
    let (files, map) = (library(), include_str!("../src/README.md"));
    let quoted = map.split('`').skip(1).step_by(2);
    let paths: Vec<&str> = quoted.filter(|text| text.contains("::") && !text.contains(' ')).collect();
    let is_there = |path: &str| {
        let (above, name) = path.rsplit_once("::").unwrap();
        let defines = |file: String| {
            let code = &files[&file];
            ["fn ", "struct ", "trait ", "mod "].iter().any(|word| code.contains(&format!("{word}{name}")))
        };
        file_of(path, &files).is_some_and(defines) || file_of(above, &files).is_some_and(defines)
    };
    let gone: Vec<&&str> = paths.iter().filter(|path| !is_there(path)).collect();
    assert!(paths.len() > 20 && gone.is_empty(), "{gone:?}");
}
