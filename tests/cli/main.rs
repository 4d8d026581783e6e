//! Drives the real binary from end to end: each test in a directory of its own, with homes of its own.

#![forbid(unsafe_code)]

mod begun;
mod both;
mod harm;
mod run;
mod support;
mod tree;
mod users;

mod claim;
mod copies;
mod damage;
mod dice;
mod documented;
mod drives;
mod durability;
mod edges;
mod failing;
mod fence;
mod flips;
mod golden;
mod goon;
mod guarded;
mod inplace;
mod interop;
mod keys;
mod kills;
mod links;
mod lists;
mod man;
mod modes;
mod nohome;
mod oneport;
mod oracle;
mod parts;
mod plan;
mod probe;
mod program;
mod quantum;
mod repair;
mod reports;
mod resume;
mod roundtrip;
mod salvage;
mod secrets;
mod segments;
mod signers;
mod stopped;
mod strayed;
mod swap;
mod target;
mod terminal;
mod trees;
mod trust;
mod unhashed;
