//! Drives the real binary on real file systems: ext4, exFAT, FAT32, tmpfs and ramfs, each mounted for its own test.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "shared with tests/cli, which uses all of it")]
#[path = "../cli/dice.rs"]
mod dice;
#[allow(dead_code, reason = "shared with tests/cli, which uses all of it")]
#[path = "../cli/harm.rs"]
mod harm;
#[allow(dead_code, reason = "shared with tests/cli, which uses all of it")]
#[path = "../cli/run.rs"]
mod run;
#[allow(dead_code, reason = "shared with tests/cli, which uses all of it")]
#[path = "../cli/support.rs"]
mod support;
#[allow(dead_code, reason = "shared with tests/cli, which uses all of it")]
#[path = "../cli/tree.rs"]
mod tree;

mod mount;
mod watch;

mod apart;
mod edges;
mod full;
mod links_copy;
mod modes;
mod names;
mod progress;
mod readonly;
mod roundtrip;
mod sizes;
mod vanish;
