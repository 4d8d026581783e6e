//! What lies beside every set, so that it can be read without ckvault.

/// `recover.py`, as it is put on every drive.
pub const SCRIPT: &str = include_str!("recover.py");

/// `RECOVER.txt`, as it is put on every drive.
pub const TEXT: &str = include_str!("RECOVER.txt");
