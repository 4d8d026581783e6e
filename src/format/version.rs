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
        () if age(&format) > age(FORMAT) => Err(newer("format", format)),
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

/// Which of two versions is the older one: after all drafts, which are numbered, come the numbers alone. What is neither is older
/// than both, so that nobody is told to look for it.
fn age(format: &str) -> Option<(bool, u32)> {
    let (is_final, number) = match format.strip_prefix("draft-") {
        Some(number) => (false, number),
        None => (true, format),
    };
    let is_number =
        number.len() <= MOST_DIGITS && number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
    number.parse().ok().filter(|_| is_number).map(|number| (is_final, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_versions_are_told_from_older_ones_and_from_none() {
        require(FORMAT.into()).unwrap();
        for newer in ["draft-99", "99", "999999999"] {
            assert!(matches!(require(newer.into()), Err(FormatError::Newer { what: "format", .. })), "{newer}");
        }
        for other in ["draft-1", "draft-0", "0", "", "banana", "draft-", "+99", "099", "draft-+9", "99 ", "1000000000"]
        {
            assert_eq!(require(other.into()), Err(FormatError::Version(other.into())));
        }
        assert!(age("1") > age("draft-99") && age("draft-3") > age("draft-2") && age("10") > age("9"));
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
