//! What the fuzz targets share: sets composed by hand (see `tests/hostile`), and what must hold whatever comes in.

#![forbid(unsafe_code)]

#[path = "../../hostile/compose.rs"]
pub mod compose;
#[path = "../../hostile/field.rs"]
pub mod field;
#[path = "../../hostile/ustar.rs"]
pub mod ustar;

pub mod bytes;
pub mod importer;
pub mod lies;
