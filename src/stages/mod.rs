//! What both ways share: stages that bytes pass on the way out and, in the other direction, on the way back.
//!
//! In come bytes, out come bytes: files as a tar stream, segments compressed, sealed, protected by parity. A stage knows no drive, no
//! set and no other stage; whoever needs one names it, so this list has no entry function.

pub mod compress;
pub mod filehash;
pub mod parity;
pub mod refusal;
pub mod runs;
pub mod seal;
pub mod tar;
