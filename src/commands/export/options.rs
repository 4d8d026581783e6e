//! What can be asked of an export.

use crate::commands::keygen::OwnKey;
use crate::media::disk::Disk;
use crate::pack::{Links, Request};
use crate::stages::compress::Compression;
use std::path::PathBuf;

/// What has a default otherwise, and is compared if it is said again on resuming.
#[derive(Debug, Default)]
pub struct Restated {
    /// Files and directories.
    pub sources: Vec<PathBuf>,
    /// `--compress`.
    pub compression: Option<Compression>,
    /// `--links`.
    pub links: Option<Links>,
}

/// What was typed.
#[derive(Debug, Default)]
pub struct Options {
    /// What is read and written through.
    pub disk: Disk,
    /// Files and directories to export.
    pub sources: Vec<PathBuf>,
    /// Destinations; on resuming, where those are now if not where they were.
    pub drives: Vec<PathBuf>,
    /// Files of recipients.
    pub recipients: Vec<PathBuf>,
    /// Lone recipients.
    pub recipient: Vec<String>,
    /// The files of recipients are those of this machine, and nobody has named them.
    pub recipients_by_default: bool,
    /// The key that opens sets on this machine.
    pub own: OwnKey,
    /// The OpenSSH private key that signs; on resuming, only if it is not where it was.
    pub signing_key: Option<PathBuf>,
    /// The public label.
    pub label: Option<String>,
    /// Parity and sizes.
    pub request: Request,
    /// What to do with symbolic links.
    pub links: Links,
    /// Leave out fifos, sockets and devices.
    pub skip_special: bool,
    /// Leave out what matches one of these patterns.
    pub exclude: Vec<String>,
    /// Leave out what is in directories that are marked as caches.
    pub exclude_caches: bool,
    /// Read everything back after writing.
    pub read_back: bool,
    /// The program that is to travel with the set; on resuming, only if it is not where it was.
    pub program: Option<PathBuf>,
    /// Take several directories on one file system for drives that can be lost one by one.
    pub same_device_ok: bool,
    /// Try how fast the drives are, and place volumes by that.
    pub probe: bool,
    /// Plan only.
    pub dry_run: bool,
    /// On resuming, drives by their numbers that are lost: what they had is made again on those that are given in their places.
    pub replaced: Vec<u32>,
    /// Go on with an interrupted export: the only one, or that with this beginning of its id.
    pub resume: Option<Option<String>>,
    /// Remove what an interrupted export left on the drives, and begin anew.
    pub discard: bool,
    /// What is read and written through of what no drive has: how far exports are.
    pub host: Disk,
    /// Where that is kept.
    pub state_dir: PathBuf,
    /// On resuming, what is said again of how it was begun.
    pub restated: Restated,
    /// The time, for `created`.
    pub now: jiff::Timestamp,
}
