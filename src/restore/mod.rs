//! The way back.

pub mod journal;
pub mod kept_blocks;
pub mod link_copies;
pub mod missing;
pub mod next_drive;
pub mod open_segments;
pub mod paths;
pub mod place;
pub mod placed;
pub mod reread;
pub mod rounds;
pub mod salvage;
pub mod schedule;
pub mod selection;
