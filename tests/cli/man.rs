//! The manual pages name exactly the flags that there are.

use crate::support::Vault;
use std::collections::BTreeSet;
use std::path::Path;

/// The long flags in a text, without those that every program has.
fn flags<'a>(words: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let plain = |word: &str| word.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect::<String>();
    let all = words.map(plain).filter(|w| w.len() > 1);
    all.filter(|w| !["help", "version"].contains(&w.as_str())).collect()
}

/// In the help: lines that begin with `--flag` or `-f, --flag`.
fn in_help(help: &str) -> BTreeSet<String> {
    let options = help.lines().map(str::trim_start).filter(|l| l.starts_with('-'));
    flags(options.filter_map(|l| l.split_whitespace().take(2).find_map(|w| w.strip_prefix("--"))))
}

/// In mdoc: the word after `Fl` begins with one more hyphen. Only lines of which `wanted` holds count.
fn in_page(page: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let requests = page.lines().filter(|l| wanted(l));
    flags(requests.flat_map(|line| {
        let words: Vec<&str> = line.split_whitespace().map(|w| w.trim_start_matches('.')).collect();
        let after: Vec<&str> = words.windows(2).filter(|w| w[0] == "Fl").map(|w| w[1]).collect();
        after.into_iter().filter_map(|w| w.strip_prefix('-').or_else(|| w.strip_prefix("\\-")))
    }))
}

/// A synopsis in which `Fl r` is the long flag that the help has beside `-r`.
fn with_long_flags(synopsis: &str, help: &str) -> String {
    let pairs = help.lines().filter_map(|l| l.trim_start().split_once(", --"));
    pairs.fold(synopsis.to_owned(), |text, (short, long)| {
        let long = long.split_whitespace().next().unwrap_or_default();
        text.replace(&format!("Fl {} ", short.trim_start_matches('-')), &format!("Fl -{long} "))
    })
}

/// The synopsis and the list of options each name exactly the flags of the help. Prose may name those of other verbs.
#[track_caller]
fn agree(verb: &str) {
    let help = Vault::empty().sender(&format!("{verb} --help")).ok();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("man/ckvault-{verb}.1"));
    let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let synopsis = page.split(".Sh ").find(|s| s.starts_with("SYNOPSIS")).unwrap_or_default();
    let synopsis = with_long_flags(synopsis, &help.stdout);
    let usual = in_help(&help.stdout);
    assert_eq!(
        usual,
        in_page(&page, |l| l.starts_with(".It Fl ")),
        "flags of --help (left) and in the list of {} (right)",
        path.display()
    );
    assert_eq!(
        usual,
        in_page(&synopsis, |l| l.starts_with('.')),
        "flags of --help (left) and in the synopsis of {} (right)",
        path.display()
    );
}

#[test]
fn keygen_has_its_flags() {
    agree("keygen");
}

#[test]
fn plan_has_its_flags() {
    agree("plan");
}

#[test]
fn export_has_its_flags() {
    agree("export");
}

#[test]
fn verify_has_its_flags() {
    agree("verify");
}

#[test]
fn repair_has_its_flags() {
    agree("repair");
}

#[test]
fn import_has_its_flags() {
    agree("import");
}

#[test]
fn list_has_its_flags() {
    agree("list");
}

#[test]
fn inspect_has_its_flags() {
    agree("inspect");
}

#[test]
fn demo_has_its_flags() {
    agree("demo");
}

#[test]
fn every_verb_is_known_here() {
    let help = Vault::empty().sender("--help").ok();
    let verbs: Vec<&str> = help
        .stdout
        .lines()
        .skip_while(|l| *l != "Commands:")
        .skip(1)
        .take_while(|l| !l.is_empty())
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert_eq!(verbs, ["keygen", "plan", "export", "verify", "repair", "import", "list", "inspect", "demo", "help"]);
}

/// All names of fields in a report. Numbers are not names.
fn fields(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(all) => all.iter().for_each(|(name, value)| {
            if name.parse::<u32>().is_err() {
                found.insert(name.clone());
            }
            fields(value, found);
        }),
        serde_json::Value::Array(all) => all.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

/// The words that a page marks as names of fields, in its section about JSON.
fn documented(verb: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("man/ckvault-{verb}.1"));
    let page = std::fs::read_to_string(path).unwrap();
    let section = page.split(".Ss JSON").nth(1).unwrap().split(".Sh ").next().unwrap().to_owned();
    let marked = section.lines().filter_map(|l| l.strip_prefix(".It Va ").or_else(|| l.strip_prefix(".Va ")));
    let words = marked
        .flat_map(|l| l.split_whitespace())
        .filter(|w| w.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit()));
    words.filter(|w| w.len() > 1 || ["k", "m"].contains(w)).map(str::to_owned).collect()
}

/// The page of a verb names every field of its reports. Those that only some reports have are looked for in all of these.
#[track_caller]
fn every_field(verb: &str, reports: &[serde_json::Value], rare: &[&str]) {
    let mut found = BTreeSet::new();
    reports.iter().for_each(|report| fields(report, &mut found));
    found.extend(rare.iter().map(|name| (*name).to_owned()));
    assert_eq!(found, documented(verb), "fields of {verb} --json (left) and in its page (right)");
}

#[test]
fn every_field_of_the_reports_is_documented() {
    let vault = Vault::new();
    vault.make(&["usb1", "usb2", "model/empty"]);
    std::fs::write(vault.path("model/a"), [7; 300_000]).unwrap();
    std::os::unix::fs::symlink("a", vault.path("model/link")).unwrap();
    vault.tool("setfattr", "-n user.kind -v test model/a").run().ok();
    vault.tool("mkfifo", "model/fifo").run().ok();
    let json = |who: &str, typed: &str| vault.call(who, &format!("{typed} --json")).run().json();
    let export = "export model --to usb1 --to usb2 --parity 2+2 --recipients keys.txt --skip-special";
    let exports = [json("sender", &format!("{export} --dry-run --probe")), json("sender", export)];
    every_field("plan", &[json("sender", "plan model --drives 2x1G --rate 100M --skip-special")], &["path", "why"]);
    every_field("export", &exports, &["blake3", "program", "path_bytes", "directory_bytes", "why"]);
    every_field("list", &[json("receiver", "list usb1 usb2")], &["path_bytes", "directory_bytes", "sparse", "why"]);
    every_field(
        "inspect",
        &[json("receiver", "inspect usb1 usb2"), json("stranger", "inspect usb1 usb2")],
        &["blake3", "directories_bytes", "path_bytes", "directory_bytes", "why"],
    );
    let set =
        crate::harm::files_under(&vault.path("usb1")).into_keys().find(|p| p.ends_with("g00000-d000.ckv")).unwrap();
    let volume = vault.path("usb1").join(set);
    std::fs::write(&volume, "damaged").unwrap();
    std::fs::remove_file(volume.with_file_name("B3SUMS")).unwrap();
    let verifies = [json("receiver", "verify usb1 usb2"), json("stranger", "verify usb1 usb2")];
    every_field("verify", &verifies, &["why", "newer", "path_bytes", "directory_bytes"]);
    every_field(
        "import",
        &[json("receiver", "import usb1 usb2 --to out")],
        &[
            "why",
            "left",
            "directory_bytes",
            "to_bytes",
            "path",
            "path_bytes",
            "written_as",
            "written_as_bytes",
            "missing",
        ],
    );
    every_field("repair", &[json("receiver", "repair usb1 usb2")], &["why", "path_bytes", "directory_bytes"]);
}

/// The table of the lines of `--progress json`, and of the phases.
#[test]
fn lines_of_progress_are_documented() {
    let page = include_str!("../../man/ckvault.1");
    let section = page.split(".Sh PROGRESS").nth(1).unwrap().split(".Sh ").next().unwrap();
    let marked = |what: &str| -> Vec<&str> { section.lines().filter_map(|l| l.strip_prefix(what)).collect() };
    assert_eq!(marked(".It Ql "), ckvault::progress::Phase::ALL.map(|phase| phase.word()));
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 300_000);
    vault.make(&["usb"]);
    let export = "export checkpoint --to usb --recipients keys.txt --progress json";
    let ran = vault.sender(export).ok();
    let lines: Vec<serde_json::Value> = ran.stderr.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let documented: BTreeSet<&str> = marked(".It Va ").into_iter().collect();
    for line in &lines {
        let found: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(found, documented, "{line}");
    }
    // Documented is what a word means, and what is counted.
    let of_all: Vec<&serde_json::Value> = lines.iter().filter(|l| l["drive"].is_null()).collect();
    let mut phases: Vec<&str> = of_all.iter().map(|l| l["phase"].as_str().unwrap()).collect();
    phases.dedup();
    let expected = "start walk prepare remove prepare export walk metadata sync read-back sign sync";
    assert_eq!(phases.join(" "), expected);
    for phase in ["export", "read-back"] {
        let last = of_all.iter().rfind(|l| l["phase"] == phase).unwrap();
        assert!(last["total"].as_u64().unwrap() > 0);
        assert_eq!((&last["done"], &last["eta"]), (&last["total"], &0.0.into()), "{last}");
        let drive = lines.iter().rfind(|l| l["phase"] == phase && l["drive"] == 1).unwrap();
        assert_eq!(drive["done"], drive["total"], "{drive}");
    }
    assert!(of_all.iter().filter(|l| l["phase"] == "sync").all(|l| l["total"].is_null() && l["done"] == 0));
}
