//! What lies beside every set, so that it can be read without ckvault.

use std::borrow::Cow;

/// `recover.py`, as it is put on every drive.
pub const SCRIPT: &str = include_str!("recover.py");

const TEXT: &str = include_str!("RECOVER.txt");
const WITH_PROGRAM: &str = include_str!("RECOVER-program.txt");

/// `RECOVER.txt`, as it is put on every drive, with or without the program beside it.
pub fn text(with_program: bool) -> Cow<'static, str> {
    match with_program {
        false => Cow::Borrowed(TEXT),
        true => Cow::Owned([TEXT, WITH_PROGRAM].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_program_only_who_has_it_is_told() {
        assert_eq!(text(false), TEXT);
        assert_eq!(text(true), format!("{TEXT}{WITH_PROGRAM}"));
        assert!(text(true).contains("ckvault") && text(true).len() > text(false).len());
    }
}
