//! The time zone of this machine.

use jiff::tz::TimeZone;
use std::path::Path;

/// Files of time zones have some thousand bytes.
const LONGEST: u64 = 1 << 20;

/// The one that `TZ` names, or else the system; `None` if that would be read from what is no file, or has no end.
pub fn of_this_machine() -> Option<TimeZone> {
    let named = std::env::var("TZ").unwrap_or_default();
    may_be_read(Path::new(named.trim_start_matches(':'))).then(TimeZone::system)
}

/// Whether a file can be read to its end: it may also be none, since most names are those of zones and of no file.
fn may_be_read(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |meta| meta.is_dir() || meta.is_file() && meta.len() <= LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_not_read() {
        for path in ["", "Europe/Berlin", "/usr/share/zoneinfo", "/no/such/file"] {
            assert!(may_be_read(Path::new(path)), "{path}");
        }
        assert!(!may_be_read(Path::new("/dev/zero")));
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("long");
        std::fs::File::create(&long).unwrap().set_len(LONGEST + 1).unwrap();
        assert!(!may_be_read(&long));
        std::fs::File::create(&long).unwrap().set_len(LONGEST).unwrap();
        assert!(may_be_read(&long));
    }
}
