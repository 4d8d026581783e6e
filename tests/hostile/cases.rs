//! Tables of lies: each is told by itself, met by all verbs, and must be refused for what it is.

use crate::compose::Recipe;
pub use crate::edits::{list_program, small, with, with_program};
use crate::site::Site;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What is told, the exit code of import, and what it says.
pub type Case = (&'static str, Recipe, i32, &'static str);

/// Meets each; all that are not refused are named.
#[track_caller]
pub fn refuse(cases: Vec<Case>) {
    let mut failed = Vec::new();
    for (name, recipe, code, why) in cases {
        let met = AssertUnwindSafe(|| drop(Site::new().refuses(&recipe, code, why)));
        if catch_unwind(met).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "not refused as they should be: {failed:?}");
}
