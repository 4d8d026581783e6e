//! Whatever lies at a name that a verb uses, nothing but what the verb is for is touched, and nothing is taken for what it is
//! not. Each verb runs twice while its calls are recorded; then each name that it has used is planted in every way, and the
//! verb runs again.

mod judge;
mod plant;
mod recorder;
mod scenes;
mod snapshot;
mod yard;

use crate::site::Ran;
use judge::Judge;
use plant::{Kind, VICTIM, plant};
use scenes::Scene;
use snapshot::{Tree, tree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use yard::Yard;

/// Plants every name in every way.
fn meet(scene: &Scene) {
    if !can_record() {
        return;
    }
    let yard = Yard::new();
    (scene.prepare)(&yard);
    yard.keep();
    let (names, random) = names(&yard, scene);
    let undisturbed = undisturbed(&yard, scene);
    let (mut cases, mut failed) = (0, BTreeMap::<String, BTreeMap<String, Vec<Kind>>>::new());
    for at in &names {
        for kind in Kind::ALL {
            let Some(faults) = case(&yard, scene, at, kind, &undisturbed) else { continue };
            cases += 1;
            if !faults.is_empty() {
                let at = nameless(&at.display().to_string());
                failed.entry(told(&faults)).or_default().entry(at).or_default().push(kind);
            }
        }
    }
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("{test}: {} names in {cases} cases; {random} more were chosen at random", names.len());
    let lines: Vec<String> = failed.iter().map(|(fault, met)| format!("{fault}:\n    {met:?}")).collect();
    assert!(lines.is_empty(), "`{}`, {} kinds of faults:\n{}", scene.typed, lines.len(), lines.join("\n"));
}

/// The first of some faults.
fn told(faults: &[String]) -> String {
    const MOST: usize = 4;
    let mut told: Vec<String> = faults.iter().take(MOST).map(|f| nameless(f)).collect();
    if faults.len() > MOST {
        told.push(format!("and {} more", faults.len() - MOST));
    }
    told.join("; ")
}

/// What is wrong if the verb meets this; `None` if it cannot be planted.
fn case(yard: &Yard, scene: &Scene, at: &Path, kind: Kind, undisturbed: &Undisturbed) -> Option<Vec<String>> {
    yard.anew();
    let planted = plant(&yard.root(), at, kind)?;
    if !yard.path(scene.here).is_dir() {
        return None;
    }
    let before = tree(&yard.root());
    let ran = yard.run(scene.here, scene.typed);
    let after = tree(&yard.root());
    let mut faults = Judge::new(scene, &planted).faults(&ran, &before, &after, &undisturbed.tree);
    if ran.code == Some(0) {
        faults.extend(afterwards(yard, scene));
        if scene.typed.starts_with("list") && ran.stdout != undisturbed.ran.stdout {
            faults.push("status 0, but something else is shown".into());
        }
    }
    Some(faults)
}

/// What must succeed after success.
fn afterwards(yard: &Yard, scene: &Scene) -> Option<String> {
    for typed in scene.then {
        let ran = yard.run("", typed);
        if ran.code != Some(0) {
            return Some(format!("status 0, but then `{typed}` ends with {:?}", ran.code));
        }
    }
    let restored = yard.path("restored");
    let same = !restored.exists() || alike(&tree(&restored), &tree(&yard.path("source")));
    (!same).then(|| "status 0, but what was exported is not what was there".into())
}

fn alike(one: &Tree, other: &Tree) -> bool {
    one.len() == other.len() && one.iter().all(|(name, node)| other.get(name).is_some_and(|o| o.is_like(node)))
}

/// How the verb ends when nothing is planted.
struct Undisturbed {
    ran: Ran,
    tree: Tree,
}

fn undisturbed(yard: &Yard, scene: &Scene) -> Undisturbed {
    yard.anew();
    let before = tree(&yard.root());
    let ran = yard.run(scene.here, scene.typed).ends(scene.ends);
    let after = tree(&yard.root());
    let nothing = plant::Planted { at: PathBuf::new(), kind: Kind::File, all: Vec::new(), to: None };
    let faults = Judge::new(scene, &nothing).faults(&ran, &before, &after, &after);
    assert!(faults.is_empty(), "even if nothing is planted: {faults:?}\n{ran}");
    assert_eq!(afterwards(yard, scene), None);
    Undisturbed { ran, tree: after }
}

/// The names that can be known before the verb uses them, and how many others there are.
fn names(yard: &Yard, scene: &Scene) -> (BTreeSet<PathBuf>, usize) {
    let record = || {
        yard.anew();
        let command = yard.command(scene.here, scene.typed);
        let (output, names) = recorder::record(&command, &yard.root(), &yard.beside("calls"));
        assert!(output.status.code() == Some(scene.ends), "{output:?}");
        names
    };
    let (one, other) = (record(), record());
    let mut names = recorder::guessable(&one, &other);
    let random = one.difference(&names).count();
    yard.anew();
    if !scene.turns.is_empty() {
        let in_turn = names.iter().filter_map(|n| n.strip_prefix("usb").ok());
        let in_turn = in_turn.flat_map(|n| scene.turns.iter().map(move |t| Path::new(t).join(n)));
        names.extend(in_turn.collect::<Vec<_>>());
    }
    names.extend(scene.beside.iter().map(|name| filled_in(yard, name)));
    names.retain(|name| !["source", VICTIM, "nobody", "next"].iter().any(|not| name.starts_with(not)));
    (names, random)
}

/// A name in which `{set}` or `{staging}` stands for one that was chosen when the scene was prepared.
fn filled_in(yard: &Yard, name: &str) -> PathBuf {
    let staging = || std::fs::read_to_string(yard.beside("staging")).unwrap();
    let set = || yard.set("usb1").file_name().unwrap().to_string_lossy().into_owned();
    match (name.contains("{staging}"), name.contains("{set}")) {
        (true, _) => name.replace("{staging}", &staging()).into(),
        (_, true) => name.replace("{set}", &set()).into(),
        _ => name.into(),
    }
}

/// Without what is random of names.
fn nameless(text: &str) -> String {
    let mut short = String::new();
    let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    for word in text.split_inclusive(|c| !hexadecimal(c)) {
        let digits = word.trim_end_matches(|c| !hexadecimal(c));
        match digits.len() >= 8 {
            true => short += &format!("#{}", &word[digits.len()..]),
            false => short += word,
        }
    }
    short
}

/// Whether calls can be recorded here; an error where everything must be there (`CI` is set).
fn can_record() -> bool {
    let works = std::process::Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    let works = works.is_ok_and(|output| output.status.success());
    assert!(works || std::env::var_os("CI").is_none(), "CI is set, and strace does not work");
    if !works {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED: needs strace, and to be allowed to trace");
    }
    works
}

#[test]
fn keygen() {
    meet(&scenes::KEYGEN);
}

#[test]
fn export_to_one_drive() {
    meet(&scenes::EXPORT_ONE);
}

#[test]
fn export_to_two_drives() {
    meet(&scenes::EXPORT_TWO);
}

#[test]
fn export_that_goes_on() {
    meet(&scenes::EXPORT_RESUME);
}

#[test]
fn export_that_discards() {
    meet(&scenes::EXPORT_DISCARD);
}

#[test]
fn verify() {
    meet(&scenes::VERIFY);
}

#[test]
fn verify_of_a_damaged_set() {
    meet(&scenes::VERIFY_DAMAGED);
}

#[test]
fn list() {
    meet(&scenes::LIST);
}

#[test]
fn inspect() {
    meet(&scenes::INSPECT);
}

#[test]
fn repair_in_place() {
    meet(&scenes::REPAIR);
}

#[test]
fn repair_on_a_new_drive() {
    meet(&scenes::REPAIR_TO);
}

#[test]
fn import() {
    meet(&scenes::IMPORT);
}

#[test]
fn import_to_an_empty_directory() {
    meet(&scenes::IMPORT_EMPTY);
}

#[test]
fn import_to_the_current_directory() {
    meet(&scenes::IMPORT_HERE);
}

#[test]
fn import_that_goes_on() {
    meet(&scenes::IMPORT_RESUME);
}

#[test]
fn import_that_discards() {
    meet(&scenes::IMPORT_DISCARD);
}

#[test]
fn import_that_salvages() {
    meet(&scenes::IMPORT_SALVAGE);
}

#[test]
fn import_from_one_drive_after_the_other() {
    meet(&scenes::IMPORT_IN_TURN);
}
