//! The page of the format, read as a stranger would read it: each rule has what a rule has, and the numbers of the worked example are
//! what ckvault makes.

#![forbid(unsafe_code)]

#[path = "../hostile/field.rs"]
mod field;
#[path = "../hostile/ustar.rs"]
#[allow(dead_code, reason = "shared with tests/hostile")]
mod ustar;

mod example;
mod rules;

/// The source of the page.
const PAGE: &str = include_str!("../../man/ckvault-format.5");

/// A section, without its heading.
fn section(name: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("\n.Sh {name}\n")).unwrap_or_else(|| panic!("there is no section {name}"));
    rest.split_once("\n.Sh ").map_or(rest, |(section, _)| section)
}
