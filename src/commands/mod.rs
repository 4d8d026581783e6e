//! One verb a file: its story from top to bottom. Options in, a report out; nothing is printed, read from the environment
//! or asked except through [`crate::progress`].

pub mod export;
pub mod import;
pub mod inspect;
pub mod keygen;
pub mod list;
pub mod plan;
pub mod repair;
pub mod verify;

mod reported;

pub use reported::{About, Judged, ReportedDrive, ReportedGroup, ReportedPath, ReportedProgram, ReportedVolume};
