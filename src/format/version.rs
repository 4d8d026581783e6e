//! Versions and features of the format: what a reader says of one that it does not have (rules 1, 2, 69 and 70).

use super::{FORMAT, FormatError, json};
use serde::Deserialize;

/// The most features that a set may need.
const MOST_FEATURES: usize = 64;
/// The most digits of a version.
const MOST_DIGITS: usize = 9;
/// The longest name of a feature or a filter.
const LONGEST_NAME: usize = 64;

/// What a reader must have, beside the version.
#[derive(Deserialize)]
pub struct Needs {
    #[serde(deserialize_with = "json::array::<_, _, 0, MOST_FEATURES>")]
    critical: Vec<String>,
}

impl Needs {
    /// Refuses features, of which this version has none.
    pub fn require(self) -> Result<(), FormatError> {
        self.critical.into_iter().try_for_each(|feature| Err(newer("feature", feature)))
    }
}

/// Refuses every version but the own one.
pub fn require(format: String) -> Result<(), FormatError> {
    match () {
        () if format == FORMAT => Ok(()),
        () if is_draft(&format) => Err(FormatError::Draft(format)),
        () if number(&format) > number(FORMAT) => Err(newer("format", format)),
        () => Err(FormatError::Version(format)),
    }
}

/// What is known by its name, and not known here.
pub fn newer(what: &'static str, name: String) -> FormatError {
    match is_name(&name) {
        true => FormatError::Newer { what, name },
        false => FormatError::Text { what, value: name },
    }
}

/// A name of a feature or a filter: `[a-z0-9.-]{1,64}`.
pub fn is_name(name: &str) -> bool {
    let of_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(of_name)
}

/// The number of a version; what has none is older than all, so that nobody is told to look for it.
fn number(format: &str) -> Option<u32> {
    format.parse().ok().filter(|_| are_digits(format) && !format.starts_with('0'))
}

/// Drafts came before all versions, and no version reads any.
fn is_draft(format: &str) -> bool {
    format.strip_prefix("draft-").is_some_and(are_digits)
}

fn are_digits(text: &str) -> bool {
    (1..=MOST_DIGITS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_versions_are_told_from_older_ones_and_from_none() {
        require(FORMAT.into()).unwrap();
        for newer in ["99", "999999999"] {
            assert!(matches!(require(newer.into()), Err(FormatError::Newer { what: "format", .. })), "{newer}");
        }
        for other in ["0", "", "banana", "draft-", "+99", "099", "draft-+9", "draft-1000000000", "99 ", "1000000000"] {
            assert_eq!(require(other.into()), Err(FormatError::Version(other.into())));
        }
        for draft in ["draft-0", "draft-1", "draft-99", "draft-999999999"] {
            assert_eq!(require(draft.into()), Err(FormatError::Draft(draft.into())));
        }
        assert!(number("10") > number("9") && number("1") > number("draft-99"));
    }

    #[test]
    fn features_are_named_in_one_form() {
        assert_eq!(Needs { critical: vec![] }.require(), Ok(()));
        let needs = |name: &str| Needs { critical: vec![name.into()] }.require().unwrap_err();
        let long = "x".repeat(LONGEST_NAME);
        for good in ["slot-shares", "a", "v1.2", &long] {
            assert_eq!(needs(good), FormatError::Newer { what: "feature", name: good.into() });
        }
        for bad in ["", "A", "a b", "\u{1b}[2J", &(long.clone() + "x")] {
            assert_eq!(needs(bad), FormatError::Text { what: "feature", value: bad.into() });
        }
    }
}
