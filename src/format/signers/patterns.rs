//! OpenSSH's pattern lists (ssh_config(5), PATTERNS), byte for byte: of namespaces, and of those who may use a key.

use crate::text::is_visible;

/// OpenSSH reads no pattern that is longer: with one in it, a list matches nothing.
const LONGEST: usize = 1022;

/// Whether some pattern matches, and none after a `!` does.
pub fn matches(list: &[u8], text: &[u8]) -> bool {
    let mut found = false;
    for (excluded, pattern) in patterns(list) {
        if pattern.len() > LONGEST {
            return false;
        }
        if matches_one(pattern, text) {
            if excluded {
                return false;
            }
            found = true;
        }
    }
    found
}

/// Whether a list means somebody, when nobody is asked for: it has a name, or a pattern and no exclusion. Whom a pattern with
/// an exclusion means is known only when a name is asked for; and what cannot be seen is no name.
pub fn names_somebody(list: &[u8]) -> bool {
    let excludes = patterns(list).any(|(excluded, _)| excluded);
    let is_name = |name: &[u8]| !name.is_empty() && is_visible(name) && !(excludes && is_wild(name));
    patterns(list).any(|(excluded, name)| !excluded && is_name(name) && matches(list, name))
}

fn is_wild(pattern: &[u8]) -> bool {
    pattern.iter().any(|b| b"*?".contains(b))
}

/// The patterns of a list, and whether a `!` stands before them. What follows the last comma is none if it is empty.
fn patterns(list: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    let list = list.strip_suffix(b",").unwrap_or(list);
    let all = list.split(|b| *b == b',').map(|pattern| match pattern.split_first() {
        Some((b'!', rest)) => (true, rest),
        _ => (false, pattern),
    });
    all.take(if list.is_empty() { 0 } else { usize::MAX })
}

/// `*` is any number of bytes, `?` is one. Only the last star is tried again, so the time is at most the product of the lengths.
fn matches_one(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same by trying everything.
    fn tried(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, end) => end.is_none(),
            (Some((b'*', p)), None) => tried(p, text),
            (Some((b'*', p)), Some((_, t))) => tried(p, text) || tried(pattern, t),
            (Some((c, p)), Some((d, t))) => (*c == b'?' || c == d) && tried(p, t),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn stars_are_tried_wherever_they_may_end(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            prop_assert_eq!(matches_one(pattern.as_bytes(), text.as_bytes()), tried(pattern.as_bytes(), text.as_bytes()));
        }
    }

    #[test]
    fn lists() {
        for (list, text) in [("a,b", "b"), ("*,!b", "a"), ("a,", "a"), (",a", "a"), ("!b,?", "a"), ("!!a,*", "a")] {
            assert!(matches(list.as_bytes(), text.as_bytes()), "{list}");
        }
        for (list, text) in
            [("", "a"), ("", ""), ("a, b", "b"), ("!a,*", "a"), ("*,!a", "a"), ("!b", "a"), ("A", "a"), ("a,", "")]
        {
            assert!(!matches(list.as_bytes(), text.as_bytes()), "{list}");
        }
        let long = "a".repeat(LONGEST);
        assert!(matches(format!("x,{long}").as_bytes(), b"x"));
        assert!(!matches(format!("x,{long}a").as_bytes(), b"x"));
    }

    #[test]
    fn many_stars_end() {
        let stars = "*a".repeat(500);
        assert!(!matches(format!("{stars}b").as_bytes(), "a".repeat(5_000).as_bytes()));
    }

    #[test]
    fn who_is_meant_when_nobody_is_asked_for() {
        for list in ["a", "*", "a,!b", "*@lab", "!b,a@lab", "\u{e4}", "a b", ",a"] {
            assert!(names_somebody(list.as_bytes()), "{list}");
        }
        for list in
            ["", ",", ",!a", "!a", "!*", "!a,*", "*,!a", "a,!a", "a,!*", "\u{feff}a", "\u{c}a", "a\u{7f}", "!a,?@lab"]
        {
            assert!(!names_somebody(list.as_bytes()), "{list}");
        }
    }
}
