//! Every rule that a reader can check has a vector, or a reason why it has none; `README.md` says which.

use crate::container::{Container, all_vectors, place};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- rules: made by `cargo test --test vectors -- --ignored make` -->\n";
const END: &str = "<!-- end of rules -->\n";

/// The numbered rules of the page, and for whom each is.
fn rules() -> BTreeMap<u32, String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/ckvault-format.5")).unwrap();
    let rule = |line: &str| {
        let (number, whom) = line.strip_prefix(".It Rule ")?.split_once(' ')?;
        Some((number.parse().ok()?, whom.trim_matches(['(', ')']).to_owned()))
    };
    page.lines().filter_map(rule).collect()
}

/// The vectors of each rule, by name.
fn vectors() -> BTreeMap<u32, BTreeSet<String>> {
    let mut found: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for path in all_vectors(&place()) {
        let name = path.strip_prefix(place()).unwrap().with_extension("").to_str().unwrap().to_owned();
        for rule in Container::read(&path).get("rule").unwrap().split(' ') {
            found.entry(rule.parse().unwrap()).or_default().insert(name.clone());
        }
    }
    found
}

fn readme() -> String {
    fs::read_to_string(place().join("README.md")).unwrap()
}

fn table() -> String {
    let mut rows = String::from("| rule | | vectors |\n|---|---|---|\n");
    let vectors = vectors();
    for (number, whom) in rules() {
        if let Some(names) = vectors.get(&number) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            rows += &format!("| {number} | {whom} | {} |\n", names.join(", "));
        }
    }
    rows
}

pub fn write_table() {
    let text = readme();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    fs::write(place().join("README.md"), [before, BEGIN, &table(), END, after].concat()).unwrap();
}

/// The rules that `README.md` says have no vector: rows `| number | whom | reason |` after that heading.
fn without() -> BTreeMap<u32, String> {
    let text = readme();
    let (_, rest) = text.split_once("## Rules without a vector").unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        Some((cells.next()?.parse().ok()?, cells.nth(1)?.to_owned()))
    };
    rest.lines().filter_map(row).collect()
}

#[test]
fn every_rule_has_a_vector_or_a_reason() {
    let (rules, vectors, without) = (rules(), vectors(), without());
    assert!(rules.len() > 70 && without.values().all(|reason| reason.len() > 20));
    let named: BTreeSet<u32> = vectors.keys().chain(without.keys()).copied().collect();
    let unknown: Vec<&u32> = named.iter().filter(|n| !rules.contains_key(n)).collect();
    assert!(unknown.is_empty(), "the page does not have the rules {unknown:?}");
    let missing: Vec<&u32> = rules.keys().filter(|n| !named.contains(n)).collect();
    assert!(missing.is_empty(), "neither a vector nor a reason in testdata/vectors/README.md: rules {missing:?}");
    let both: Vec<&u32> = without.keys().filter(|n| vectors.contains_key(n)).collect();
    assert!(both.is_empty(), "there are vectors for the rules {both:?}, which are said to have none");
}

#[test]
fn the_table_of_rules_is_that_of_the_vectors() {
    let text = readme();
    let there = text.split_once(BEGIN).unwrap().1.split_once(END).unwrap().0;
    assert_eq!(there, table(), "run cargo test --test vectors -- --ignored make");
}

/// So that they can be in the repository.
#[test]
fn all_vectors_together_are_small() {
    let bytes: u64 = all_vectors(&place()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes < 6 << 20, "{bytes} bytes");
}
