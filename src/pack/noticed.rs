//! What is noticed on the walk and has to be told: what travels otherwise than it lies there, and what does not travel.

use serde::Serialize;

/// How many names are told.
const TOLD: usize = 10;

/// How many there are, and the first of them.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Noted {
    /// How many.
    pub count: u64,
    /// Bytes that are concerned.
    pub bytes: u64,
    /// The first names, made safe to show.
    pub first: Vec<String>,
}

impl Noted {
    /// One more.
    pub fn add(&mut self, name: String, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
        if self.first.len() < TOLD {
            self.first.push(name);
        }
    }
}

/// Something that was left out without being a special file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its path, made safe to show.
    pub path: String,
    /// Why: `pattern`, `cache`, `lost+found`, `staging` or `own` (a drive of this export, or its state).
    pub why: &'static str,
}

/// All of it.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Noticed {
    /// Links that lead out of the sources and were followed, and the bytes of what they led to.
    pub followed: Noted,
    /// Links that are kept, and that lead out of the set: whoever imports it has to allow them.
    pub leaving: Noted,
    /// Entries with access lists, capabilities or attributes that do not travel.
    pub attributes: Noted,
    /// What was left out; of what is in a directory that was, nothing is said.
    pub left_out: Vec<LeftOut>,
    /// Special files that were passed over.
    pub skipped: Vec<String>,
    /// Patterns of what was to be left out that match nothing.
    pub unmatched: Vec<String>,
}
