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
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};

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

/// A path as text; what is not UTF-8 in it is replaced, and stands in a field beside it.
fn lossy<S: Serializer>(path: &Path, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

/// The same of a path that may be missing.
fn lossy_option<S: Serializer>(path: &Option<PathBuf>, to: S) -> std::result::Result<S::Ok, S::Error> {
    match path {
        Some(path) => lossy(path, to),
        None => to.serialize_none(),
    }
}

/// The same of several.
fn lossy_all<S: Serializer>(paths: &[PathBuf], to: S) -> std::result::Result<S::Ok, S::Error> {
    to.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

/// The exact bytes of a path in base64, if they are not UTF-8.
fn exact(path: &Path) -> Option<String> {
    path.to_str().is_none().then(|| base64_of(path))
}

fn base64_of(path: &Path) -> String {
    base64::engine::general_purpose::STANDARD.encode(path.as_os_str().as_encoded_bytes())
}
