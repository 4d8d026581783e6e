//! What the file system of a target could not take of the metadata of a set: that is counted, and no reason to stop.

use crate::text::printable;
use crate::threads::lock;
use serde::Serialize;
use std::sync::Mutex;

/// Seconds by which the time of a file may be rounded; FAT has even ones only.
const ROUNDED: u64 = 2;

/// How many entries are concerned, and one of them.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Few {
    /// How many.
    pub count: u64,
    /// The first, made safe to show; null if there is none.
    pub example: Option<String>,
}

impl Few {
    fn add(&mut self, path: &[u8]) {
        self.count += 1;
        self.example.get_or_insert_with(|| if path.is_empty() { ".".into() } else { printable(path) });
    }
}

/// All of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// Modes, times and extended attributes that were refused.
    pub refused: Few,
    /// Times that came out as others.
    pub times: Few,
    /// Times that were rounded, by two seconds at most.
    pub rounded: Few,
}

/// The same while it is counted.
#[derive(Debug, Default)]
pub struct Shortfalls(Mutex<Shortfall>);

impl Shortfalls {
    /// Something of an entry was refused.
    pub fn refused(&self, path: &[u8]) {
        lock(&self.0).refused.add(path);
    }

    /// A time was set, and is this now; both in seconds and nanoseconds.
    pub fn compare(&self, path: &[u8], wanted: (i64, u32), is: (i64, u32)) {
        if wanted == is {
            return;
        }
        let mut all = lock(&self.0);
        match wanted.0.abs_diff(is.0) {
            0..=ROUNDED => all.rounded.add(path),
            _ => all.times.add(path),
        }
    }

    /// What has been counted.
    pub fn told(&self) -> Shortfall {
        lock(&self.0).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_same_or_rounded_or_others() {
        let all = Shortfalls::default();
        all.compare(b"same", (5, 6), (5, 6));
        all.compare(b"rounded", (1001, 6), (1000, 0));
        all.compare(b"other", (4_102_444_800, 0), (i64::from(i32::MAX), 0));
        all.compare(b"far", (i64::MIN, 0), (i64::MAX, 0));
        let told = all.told();
        let few = |count, example: &str| Few { count, example: Some(example.to_owned()) };
        assert_eq!((told.rounded, told.times, told.refused), (few(1, "rounded"), few(2, "other"), Few::default()));
    }
}
