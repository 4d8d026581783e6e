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
    assert_eq!(verbs, ["keygen", "export", "verify", "repair", "import", "list", "inspect", "demo", "help"]);
}
