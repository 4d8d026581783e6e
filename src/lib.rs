//! ckvault carries AI checkpoints between machines that share no network. It packs a checkpoint into an encrypted,
//! erasure-coded, signed *set* of volumes on removable drives; a courier carries the drives; the air-gapped machine
//! verifies, repairs and restores.
//!
//! * A *set* is one export: volumes, a signed manifest, an encrypted inventory, a key slot.
//! * A *drive* is a destination directory; a *volume* is one file on it.
//! * K data volumes and M parity volumes form a *group* and protect each other.
//! * The tar stream of the sources is cut into *segments*; each is compressed and sealed alone and lies as a *frame* in a
//!   volume.
//! * Damage is located and repaired in *blocks* of 64 KiB to 1 MiB, longer in larger sets; the blocks at the same place in all
//!   volumes of a group are a *row*.
//!
//! # Out
//!
//! ```
//! use ckvault::commands::{export, keygen};
//! use ckvault::progress::{Lane, Nobody, Phase, Progress};
//!
//! /// Whoever waits for an export sees what it is doing.
//! struct Shown;
//!
//! impl Progress for Shown {
//!     fn begin(&self, phase: Phase, bytes: u64, drives: &[Lane]) {
//!         println!("{phase:?}: {bytes} bytes, {} drive(s)", drives.len());
//!     }
//! }
//!
//! # use ckvault::progress::Silent;
//! # let temp = tempfile::tempdir().unwrap();
//! # let at = |name: &str| temp.path().join(name);
//! # for dir in ["checkpoint", "usb", "state"] { std::fs::create_dir(at(dir)).unwrap(); }
//! # std::fs::write(at("checkpoint/model.safetensors"), vec![7; 100_000]).unwrap();
//! # keygen::run(&keygen::Options { out: at("keys"), principal: "alice@lab".into(), ..Default::default() }, &Nobody, &Silent::default())?;
//! let options = export::Options {
//!     sources: vec![at("checkpoint")],
//!     drives: vec![at("usb")],
//!     recipients: vec![at("keys/recipients.txt")],
//!     signing_key: Some(at("keys/signing_key")),
//!     read_back: true,
//!     state_dir: at("state"),
//!     now: jiff::Timestamp::now(),
//!     ..export::Options::default()
//! };
//! let report = export::run(&options, Nobody, &Shown)?;
//! println!("the set {} {}", report.set.unwrap_or_default(), report.survives);
//! # Ok::<(), ckvault::error::Error>(())
//! ```
//!
//! # Anyone, without a secret
//!
//! ```
//! use ckvault::commands::verify;
//! use ckvault::progress::Silent;
//! use ckvault::set::Where;
//! # use ckvault::{commands::{export, keygen}, progress::Nobody};
//! # let temp = tempfile::tempdir().unwrap();
//! # let at = |name: &str| temp.path().join(name);
//! # for dir in ["checkpoint", "usb", "state"] { std::fs::create_dir(at(dir)).unwrap(); }
//! # std::fs::write(at("checkpoint/model.safetensors"), vec![7; 100_000]).unwrap();
//! # keygen::run(&keygen::Options { out: at("keys"), principal: "alice@lab".into(), ..Default::default() }, &Nobody, &Silent::default())?;
//! # let options = export::Options {
//! #     sources: vec![at("checkpoint")], drives: vec![at("usb")], recipients: vec![at("keys/recipients.txt")],
//! #     signing_key: Some(at("keys/signing_key")), state_dir: at("state"), now: jiff::Timestamp::now(),
//! #     ..export::Options::default()
//! # };
//! # export::run(&options, Nobody, &Silent::default())?;
//!
//! let place = Where {
//!     drives: vec![at("usb")],
//!     signers: Some(at("keys/signing_key.pub")),
//!     now: jiff::Timestamp::now(),
//!     ..Where::default()
//! };
//! let report = verify::run(&verify::Options { place, this_drive: false }, &Silent::default())?;
//! assert_eq!(report.verdict, "intact");
//! # Ok::<(), ckvault::error::Error>(())
//! ```
//!
//! # Back
//!
//! ```
//! use ckvault::commands::import;
//! use ckvault::progress::{Nobody, Silent};
//! use ckvault::set::Where;
//! # use ckvault::commands::{export, keygen};
//! # let temp = tempfile::tempdir().unwrap();
//! # let at = |name: &str| temp.path().join(name);
//! # for dir in ["checkpoint", "usb", "state"] { std::fs::create_dir(at(dir)).unwrap(); }
//! # std::fs::write(at("checkpoint/model.safetensors"), vec![7; 100_000]).unwrap();
//! # keygen::run(&keygen::Options { out: at("keys"), principal: "alice@lab".into(), ..Default::default() }, &Nobody, &Silent::default())?;
//! # let options = export::Options {
//! #     sources: vec![at("checkpoint")], drives: vec![at("usb")], recipients: vec![at("keys/recipients.txt")],
//! #     signing_key: Some(at("keys/signing_key")), state_dir: at("state"), now: jiff::Timestamp::now(),
//! #     ..export::Options::default()
//! # };
//! # export::run(&options, Nobody, &Silent::default())?;
//!
//! let place = Where {
//!     drives: vec![at("usb")],
//!     signers: Some(at("keys/signing_key.pub")),
//!     now: jiff::Timestamp::now(),
//!     ..Where::default()
//! };
//! let options = import::Options {
//!     place,
//!     to: at("restored"),
//!     identities: vec![at("keys/identity.txt")],
//!     ..import::Options::default()
//! };
//! let report = import::run(&options, Nobody, &Silent::default())?;
//! assert_eq!((report.files, report.bytes), (1, 100_000));
//! # Ok::<(), ckvault::error::Error>(())
//! ```
//!
//! # Inside
//!
//! [`commands`] has a file for each verb. They build on the wings: `pack` is the way out, `restore` the way back, `heal` audit and
//! repair. These build on `set`, which is a set as it lies on its drives, on `stages`, which both ways share, on
//! [`mod@format`], which is bytes to structs without I/O, and on [`media`], which is drives and file systems. The library reports
//! and asks through [`progress`]; it never prints, prompts, reads the environment or exits. `src/README.md` has the map.

pub mod commands;
pub mod error;
pub mod format;
pub(crate) mod heal;
pub mod media;
pub mod pack;
pub mod progress;
pub mod restore;
pub mod set;
/// For benchmarks and fuzzers.
#[doc(hidden)]
pub mod stages;
pub mod text;
pub mod threads;
