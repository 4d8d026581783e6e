//! One verb a file: its story from top to bottom. Options in, a report out; nothing is printed, read from the environment
//! or asked except through [`crate::progress`].

pub mod export;
pub mod import;
pub mod inspect;
pub mod keygen;
pub mod list;
pub mod repair;
pub mod verify;

use crate::format::inventory::Name;
use base64::Engine as _;
use serde::Serialize;

/// A path in a report: always readable, and exact where it is not UTF-8.
#[derive(Debug, Clone, Serialize)]
pub struct ReportedPath {
    /// UTF-8, with U+FFFD for what is not.
    pub path: String,
    /// The exact bytes in base64, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
}

impl ReportedPath {
    /// From the bytes of a path.
    pub fn new(name: &Name) -> ReportedPath {
        let exact = std::str::from_utf8(&name.0).is_err();
        ReportedPath {
            path: String::from_utf8_lossy(&name.0).into_owned(),
            path_bytes: exact.then(|| base64::engine::general_purpose::STANDARD.encode(&name.0)),
        }
    }
}
