//! Conformance as data: the vectors in `testdata/vectors`, which the real binary must answer as they say. They are made by
//! `cargo test --test vectors -- --ignored make`, from sets that are composed by hand, with none of the encoders of ckvault.

#![forbid(unsafe_code)]

#[path = "../hostile/compose.rs"]
#[allow(dead_code, reason = "shared with tests/hostile")]
mod compose;
#[path = "../hostile/edits.rs"]
#[allow(dead_code, reason = "shared with tests/hostile")]
mod edits;
#[path = "../hostile/field.rs"]
mod field;
#[path = "../hostile/ustar.rs"]
#[allow(dead_code, reason = "shared with tests/hostile")]
mod ustar;

mod container;
mod judge;
mod keys;
mod make;
mod recover;
mod rules;
mod sshsig;
mod vector;

mod blocks;
mod damage;
mod inventory;
mod later;
mod manifest;
mod parts;
mod paths;
mod pieces;
mod segments;
mod signature;
mod slot;
mod stream;
mod volumes;
mod whole;
