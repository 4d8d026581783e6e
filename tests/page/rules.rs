//! Rules are numbered, say for whom they are, say MUST, and why; and what names a rule names one that there is.

use crate::{PAGE, section};
use std::collections::BTreeSet;

struct Rule {
    number: u32,
    whom: &'static str,
    text: &'static str,
}

fn rules() -> Vec<Rule> {
    let begin = |text: &'static str| {
        let (title, text) = text.split_once('\n').unwrap();
        let (number, whom) = title.split_once(' ').unwrap_or_else(|| panic!("for whom is rule {title}?"));
        let number = number.parse().unwrap_or_else(|_| panic!("a rule has no number: {title}"));
        let ends = ["\n.It ", "\n.El"].into_iter().filter_map(|end| text.find(end));
        Rule { number, whom, text: &text[..ends.min().unwrap_or(text.len())] }
    };
    PAGE.split("\n.It Rule ").skip(1).map(begin).collect()
}

#[test]
fn each_rule_has_a_number_of_its_own_and_says_for_whom_it_is() {
    let rules = rules();
    assert!(rules.len() > 80);
    let mut numbers = BTreeSet::new();
    for rule in &rules {
        assert!(numbers.insert(rule.number), "there are two rules {}", rule.number);
        assert!(["(W)", "(R)", "(WR)"].contains(&rule.whom), "rule {} is for {}", rule.number, rule.whom);
    }
}

#[test]
fn each_rule_says_must_and_why() {
    for Rule { number, text, .. } in rules() {
        let (rule, reason) = text
            .split_once("\nReason: ")
            .unwrap_or_else(|| panic!("rule {number} has no reason, or not on a line of its own"));
        assert!(rule.contains("MUST"), "rule {number} does not say MUST");
        assert!(!reason.contains("MUST"), "the reason of rule {number} says MUST");
        assert!(!reason.contains("Reason:"), "rule {number} has two reasons");
        assert!(reason.len() > 20 && reason.trim_end().contains('.'), "rule {number} has half a reason: {reason}");
    }
}

/// What a rule asks is found by its number.
#[test]
fn nothing_but_rules_says_must() {
    let in_rules: usize = rules().iter().map(|rule| rule.text.matches("MUST").count()).sum();
    let said = "Only a rule says MUST.";
    assert!(PAGE.contains(said));
    assert_eq!(PAGE.matches("MUST").count(), in_rules + 1, "MUST stands outside of a rule");
}

/// Whether a text ends with the first letter of the word.
fn is_rule(text: &str) -> bool {
    let before = text.strip_suffix(['r', 'R']);
    before.is_some_and(|before| !before.ends_with(|c: char| c.is_alphanumeric() || "_-".contains(c)))
}

/// The numbers behind `rule` and `rules`: to the bracket that closes if one was opened before it, else those that stand in a row.
fn named(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("ule").filter(|(at, _)| is_rule(&text[..*at])) {
        let Some(rest) = text[at + 3..].strip_prefix("s ").or_else(|| text[at + 3..].strip_prefix(' ')) else {
            continue;
        };
        let in_brackets = text[..at - 1].ends_with('(');
        let rest = if in_brackets { rest.split(')').next().unwrap() } else { rest };
        for word in rest.split_whitespace() {
            let plain = word.trim_end_matches([',', '.', ':', ';', ')']);
            match plain.parse() {
                Ok(number) => found.push(number),
                Err(_) if ["and", "to"].contains(&word) || in_brackets => {}
                Err(_) => break,
            }
            if !in_brackets && word.ends_with(['.', ':', ';', ')']) {
                break;
            }
        }
    }
    found
}

#[test]
fn numbers_are_read() {
    assert_eq!(named("see rule 71. 5 is none"), [71]);
    assert_eq!(named("(rules 1 to 6, 21, 25 to 26 as far as it tells, 30) 7"), [1, 6, 21, 25, 26, 30]);
    assert_eq!(named("Rules 34 to 38, 51 and 60: 12 bytes; rules for JSON, overrules 3"), [34, 38, 51, 60]);
}

/// The last column of one table, and the fourth of the other, are numbers of rules.
fn in_tables() -> Vec<u32> {
    let limits = section("LIMITS").lines().map(|line| line.split('\t').nth(3).filter(|_| line.ends_with("\tT{")));
    let unknown = section("WHAT A READER DOES WITH WHAT IT DOES NOT KNOW").lines();
    let unknown = unknown.map(|line| line.strip_prefix("T}\t").filter(|rules| *rules != "T{"));
    let cells: Vec<&str> = limits.chain(unknown).flatten().collect();
    assert!(cells.len() > 60, "{cells:?}");
    let number = |word: &str| match word {
        "to" => None,
        word => Some(word.parse().unwrap_or_else(|_| panic!("{word} is no number of a rule"))),
    };
    cells.iter().flat_map(|cell| cell.split([' ', ','])).filter(|word| !word.is_empty()).filter_map(number).collect()
}

#[test]
fn rules_that_are_named_are_there() {
    let there: BTreeSet<u32> = rules().iter().map(|rule| rule.number).collect();
    let flat = PAGE.replace('\n', " ");
    let named: BTreeSet<u32> = named(&flat).into_iter().chain(in_tables()).collect();
    assert!(named.len() > 40, "{named:?}");
    let missing: Vec<&u32> = named.iter().filter(|number| !there.contains(number)).collect();
    assert!(missing.is_empty(), "there are no rules {missing:?}");
}

/// Who looks a rule up in the order of checks, or in that of writing, finds it.
#[test]
fn each_rule_for_readers_stands_in_the_order_of_checks_or_is_kept_all_the_time() {
    let ranges = section("ORDER OF CHECKS").replace('\n', " ");
    let mut checked = BTreeSet::new();
    let words: Vec<&str> = ranges.split([' ', ',', '(', ')', '.', ';']).filter(|word| !word.is_empty()).collect();
    for (i, word) in words.iter().enumerate() {
        let number = |word: &str| word.parse::<u32>().ok();
        match (*word, number(word)) {
            ("to", _) => {
                if let (Some(from), Some(to)) = (number(words[i - 1]), words.get(i + 1).and_then(|w| number(w))) {
                    checked.extend(from..=to);
                }
            }
            (_, Some(number)) => drop(checked.insert(number)),
            _ => {}
        }
    }
    // What is opened, run, left alone, not missed, taken for damage, tried, and restored: these are no steps of their own.
    let always = [7, 8, 10, 11, 49, 52, 57, 59, 72, 76, 77, 82];
    let readers = rules().into_iter().filter(|rule| rule.whom.contains('R')).map(|rule| rule.number);
    let missing: Vec<u32> = readers.filter(|number| !checked.contains(number) && !always.contains(number)).collect();
    assert!(missing.is_empty(), "the order of checks does not say when: rules {missing:?}");
}

/// Wherever the page, the script and the README say which version this is.
#[test]
fn the_version_is_the_same_everywhere() {
    use ckvault::format::FORMAT;
    for said in [
        format!(".Nd the format of ckvault sets, version {FORMAT}\n"),
        format!("It describes the version\n.Ql {FORMAT} .\n"),
        format!("The version of the format MUST be\n.Ql {FORMAT} ,\n"),
        format!("T{{\nthe version: {FORMAT}\nT}}\n"),
        format!("{{\"inventory\":\"{FORMAT}\",\"critical\":[],\n"),
        format!(".It Va inventory\nThe version: {FORMAT}.\n"),
        format!("{{\"format\":\"{FORMAT}\",\"critical\":[],"),
        format!(".It {FORMAT}\nThe first.\n"),
    ] {
        assert!(PAGE.contains(&said), "the page does not say {said}");
    }
    assert!(include_str!("../../README.md").contains(&format!("It is version {FORMAT} of the format,")));
    assert!(include_str!("../../src/format/recover.py").contains(&format!("\nFORMAT = {FORMAT:?}\n")));
    assert!(include_str!("../../testdata/vectors/README.md").contains(&format!("that the set is of, `{FORMAT}` |")));
}
