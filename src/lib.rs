//! ckvault carries AI checkpoints between machines that share no network. It packs a checkpoint into an encrypted,
//! erasure-coded, signed *set* of volumes on removable drives; a courier carries the drives; the air-gapped machine
//! verifies, repairs and restores.
//!
//! * A *set* is one export: volumes, a signed manifest, an encrypted inventory, a key slot.
//! * A *drive* is a destination directory; a *volume* is one file on it.
//! * K data volumes and M parity volumes form a *group* and protect each other.
//! * The tar stream of the sources is cut into *segments*; each is compressed and sealed alone and lies as a *frame* in a
//!   volume.
//! * Damage is located and repaired in *blocks* of 64 KiB; the blocks at the same place in all volumes of a group are a *row*.
//!
//! [`commands`] has a file for each verb. They build on [`pipeline`], which knows the order of the stages; it builds on
//! [`mod@format`], which is bytes to structs without I/O, and [`media`], which is drives and file systems. The library reports
//! and asks through [`progress`]; it never prints, prompts, reads the environment or exits.

pub mod commands;
pub mod error;
pub mod format;
pub mod heal;
pub mod media;
pub mod pack;
pub mod progress;
pub mod restore;
pub mod set;
pub mod stages;
pub mod text;
pub mod threads;
