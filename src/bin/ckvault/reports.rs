//! What each verb has done, in words for people, or as one JSON object.

mod export;
mod import;
mod json;
mod plan;
mod repair;
mod show;
mod verify;

pub use export::export;
pub use import::import;
pub use json::{json, json_error};
pub use plan::plan;
pub use repair::repair;
pub use show::{inspect, keygen, list};
pub use verify::verify;

use crate::ui::say;
use ckvault::commands::{About, Judged, ReportedDrive};
use ckvault::format::sealed::Confidentiality;
use ckvault::text::printable;
use indicatif::{HumanBytes, HumanDuration};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is to be said of a set on the day of quantum computers.
fn quantum(of: Confidentiality) -> &'static str {
    match of {
        Confidentiality::PostQuantum => "confidentiality is post-quantum; the signature, Ed25519, is not",
        Confidentiality::Classical => {
            "confidentiality is not post-quantum, since not all recipients are; nor is the signature, Ed25519"
        }
        Confidentiality::Unknown => {
            "whether confidentiality is post-quantum cannot be told from the key slot; the signature, Ed25519, is not"
        }
    }
}

/// Bytes over time.
fn rate(bytes: u64, time: Duration) -> String {
    format!(
        "{} in {}, {}/s",
        HumanBytes(bytes),
        human_time(time),
        HumanBytes((bytes as f64 / time.as_secs_f64().max(0.001)) as u64)
    )
}

fn human_time(time: Duration) -> String {
    if time.as_secs() < 60 { format!("{:.1} s", time.as_secs_f64()) } else { HumanDuration(time).to_string() }
}

fn title(set: &str, label: Option<&str>) -> String {
    label.map_or_else(|| set.to_owned(), |label| format!("{label} ({set})"))
}

/// Bytes from which on a share says something.
const MEANINGFUL: u64 = 1 << 20;

/// What all of so many bytes is expected to become.
fn becoming(bytes_in: u64, judged: &Judged) -> String {
    // Of next to nothing, what lies around it is many times as much: that says nothing.
    let share = match bytes_in {
        0..MEANINGFUL => String::new(),
        bytes => format!(" ({:.0} %)", judged.packed as f64 / bytes as f64 * 100.0),
    };
    let (packed, sampled) = (HumanBytes(judged.packed), HumanBytes(judged.sampled));
    format!("about {packed}{share} before parity, judged by {sampled} of them")
}

/// What a drive would hold: as many bytes as are expected, and the most that there can be.
fn share_of(volumes: usize, (expected, needed): (u64, u64), free: Option<u64>) -> String {
    let volumes = counted(volumes as u64, "volume", "volumes");
    let free = free.map_or_else(|| "an unknown number of bytes".into(), |free| HumanBytes(free).to_string());
    format!("{volumes} of each group, about {}, at most {}, of {free} free", HumanBytes(expected), HumanBytes(needed))
}

/// A number and what it counts.
fn counted(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// Whether drives that were written to may go.
fn unplugging(safe: bool) {
    match safe {
        true => say!("everything is synced, and no file on the drives is open: safe to unplug"),
        false => say!("not everything could be synced at the end: unmount the drives before you unplug them"),
    }
}

/// One line for each drive that could not read everything.
fn read_errors(errors: &BTreeMap<u32, u64>) {
    for (drive, blocks) in errors {
        say!(
            "failing  drive {drive} could not read {}: replace it while the others are whole",
            counted(*blocks, "block", "blocks")
        );
    }
}

/// A drive, told apart from others: by its number, where it is, and what the device says of itself.
fn named(drive: &ReportedDrive) -> String {
    format!("drive {}{}", drive.drive, whereabouts(": ", drive))
}

/// Where a drive is, and what the device says of itself; nothing of one that is not here.
fn whereabouts(before: &str, drive: &ReportedDrive) -> String {
    let place = drive.directory.as_ref().or(drive.path.as_ref());
    let place =
        place.map(|path| format!("{before}{}", printable(path.as_os_str().as_encoded_bytes()))).unwrap_or_default();
    let label = drive.label.as_ref().map(|label| format!("label {label}"));
    let serial = drive.serial.as_ref().map(|serial| format!("serial {serial}"));
    let known: Vec<String> = label.into_iter().chain(serial).collect();
    let known = if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) };
    format!("{place}{known}")
}

/// The drives that are here.
fn here(drives: &[ReportedDrive]) {
    drives.iter().filter(|drive| drive.path.is_some()).for_each(|drive| say!("here     {}", named(drive)));
}

/// Who vouches for a set, and where it is.
fn signed(about: &About) {
    say!("signed by {} ({}), created {}", about.signer, about.signer_fingerprint, about.created);
    here(&about.drives);
    chain(&about.parts, about.last);
}

/// Which parts of a chain these are, if it has several.
fn chain(parts: &[u32], last: bool) {
    let list = parts.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    match (parts, last) {
        ([1], true) | ([], _) => {}
        ([_], false) => say!("part {list} of a chain, more follow"),
        (_, false) => say!("parts {list} of a chain, more follow"),
        ([last], true) => say!("part {last} of a chain, the last"),
        (_, true) => say!("parts {list} of a chain, the last among them"),
    }
}
