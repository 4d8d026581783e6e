//! `recover.py` is a second reader: where the page does not say that it looks less closely, it takes and refuses what the vectors say.

use crate::container::{Container, all_vectors, place};
use crate::judge::{Met, each, sorted};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What it is asked about: it does not look at all that a manifest says, or at the form of what it does not use.
const TOPICS: [&str; 6] = ["parts", "paths", "signature", "signers", "slot", "stream"];

/// What it does look at elsewhere, by what the names begin with.
const ALSO: [&str; 7] = [
    "inventory/another-line-",
    "inventory/array-ignored",
    "inventory/digits-",
    "inventory/null-ignored",
    "manifest/array-ignored",
    "manifest/digits-",
    "manifest/null-ignored",
];

/// What it does not compare between parts, and a list that `ssh-keygen` does not take.
const OTHERWISE: [&str; 11] = [
    "parts/block-bytes",
    "parts/created",
    "parts/drives",
    "parts/entries-xattr",
    "parts/hash-too-soon",
    "parts/label",
    "parts/null-hash-of-a-hole",
    "parts/null-hash-of-nothing",
    "parts/shape",
    "parts/volume-bytes",
    "signers/public-key",
];

/// Python itself, if it and all programs that the script needs are here. Says so if not; an error where they must be (`CI` is set).
fn python() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &&str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let mut missing = ["python3", "age", "zstd", "ssh-keygen", "b3sum"].into_iter().filter(|p| !is_there(p)).peekable();
    if missing.peek().is_some() {
        let missing: Vec<&str> = missing.collect();
        assert!(std::env::var_os("CI").is_none(), "CI is set, and there is no {missing:?}");
        eprintln!("SKIPPED: needs {missing:?}");
        return None;
    }
    let output = Command::new("python3").args(["-I", "-c", "import sys; print(sys.executable)"]).output().unwrap();
    Some(String::from_utf8(output.stdout).unwrap().trim().into())
}

#[test]
fn recover_py_takes_and_refuses_what_the_vectors_say() {
    let Some(python) = python() else { return };
    let asked = |path: &PathBuf| {
        let name = path.strip_prefix(place()).unwrap().with_extension("");
        let also = |begin: &&str| name.to_str().is_some_and(|name| name.starts_with(begin));
        (TOPICS.iter().any(|topic| name.starts_with(topic)) || ALSO.iter().any(also))
            && OTHERWISE.iter().all(|other| !name.ends_with(other))
    };
    let all: Vec<PathBuf> = all_vectors(&place()).into_iter().filter(asked).collect();
    assert!(all.len() > 100, "only {} vectors", all.len());
    each(&all, |vector| judge(&python, vector));
}

fn judge(python: &PathBuf, vector: &Container) -> Vec<String> {
    // It restores undamaged sets.
    let Some(answer) = vector.get("import").filter(|_| !vector.get("fault").unwrap().starts_with("damage")) else {
        return Vec::new();
    };
    let met = Met::new(vector);
    let mut command = Command::new(python);
    command.args(["-I", concat!(env!("CARGO_MANIFEST_DIR"), "/src/format/recover.py")]).stdin(Stdio::null());
    command.args(sorted(&met.path("drives")).iter().flat_map(|drive| sorted(drive)));
    met.whom(&mut command);
    command.arg("--identity").arg(met.given("identity").unwrap()).arg("--to").arg(met.path("place/target"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() != (answer == "ok 0") || said.contains("Traceback") {
        return vec![format!(
            "import must answer {answer:?}, and recover.py ends with {:?}: {said}",
            output.status.code()
        )];
    }
    let left = sorted(&met.path("place")).len();
    if left == usize::from(output.status.success()) {
        Vec::new()
    } else {
        vec![format!("recover.py leaves something: {said}")]
    }
}
