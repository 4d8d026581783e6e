//! A set as it lies on its drives.

pub mod block_set;
pub mod blocks;
pub mod contents;
pub mod entry_key;
pub mod failing_drives;
pub mod foreign;
pub mod homes;
pub mod mended;
pub mod metadata_copies;
pub mod open;
pub mod pages;
pub mod part;
pub mod program;
pub mod proven_pages;
pub mod readback;
pub mod reading;
pub mod revoked;
pub mod rows;
pub mod trust;

pub use open::Where;
