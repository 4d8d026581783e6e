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
        "commands" => &["pipeline", "format", "media", "error", "progress", "text"],
        "pipeline" => &["format", "media", "error", "progress", "text"],
        "media" => &["error", "progress", "text"],
        "format" => &["error", "progress", "text"],
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
    only_in("age", &["pipeline/seal/"]);
    only_in("age_core", &["pipeline/seal/"]);
    only_in("ring", &["pipeline/seal/"]);
    only_in("zstd", &["pipeline/compress/"]);
    only_in("reed_solomon_erasure", &["pipeline/parity/"]);
    only_in("ssh_key", &["format/signature.rs", "format/signers.rs"]);
    only_in("landlock", &["media/fence.rs"]);
    only_in("region", &["media/memory.rs"]);
    only_in("clap", &[]);
    only_in("indicatif", &[]);
    only_in("rpassword", &[]);
    only_in("signal_hook", &[]);
}

/// The package and our module have one name, so only what the package alone has can be told apart.
#[test]
fn tar_has_one_module() {
    let broken: Vec<String> = library()
        .into_iter()
        .filter(|(path, code)| {
            path != "pipeline/tar.rs"
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
    assert!(library()["pipeline/tar.rs"].contains("tar::"));
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
fn unsafe_code_is_forbidden_and_functions_and_files_stay_short() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\"") && manifest.contains("missing_docs = \"deny\""));
    let long: Vec<String> =
        library().iter().filter(|(_, code)| code.lines().count() > 600).map(|(path, _)| path.clone()).collect();
    assert!(long.is_empty(), "{long:?}");
}
