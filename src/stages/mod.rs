//! What both ways share, each stage in both directions.

pub mod compress;
pub mod filehash;
pub mod parity;
pub mod refusal;
pub mod seal;
pub mod tar;
