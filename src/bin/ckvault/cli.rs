//! What can be typed.

pub mod again;
mod meant;
mod values;

use crate::outside;
use crate::ui::For;
use crate::ui::screen::How;
use ckvault::commands::plan::Drives;
use ckvault::error::{Error, Result};
use ckvault::media::program::OWN;
use ckvault::stages::compress::Compression;
use ckvault::text::is_secret;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use values::{parse_compression, parse_drives, parse_name, parse_parity, parse_size};

/// Carry AI checkpoints across an air gap: encrypted, erasure-coded, signed volumes on removable drives.
#[derive(Debug, Parser)]
#[command(
    name = "ckvault",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 success or intact, 1 failure, 2 usage, 3 repairable, 4 lost, 5 untrusted, 6 identity, 7 drives or incomplete, 130 interrupted.\nSee ckvault(1) and, for the format, ckvault-format(5)."
)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
    /// Say more: what this process is fenced in to, and with verify each volume
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// How progress is shown on standard error: bars on a terminal and else lines (auto, and bar is the same), lines, JSON, or nothing
    #[arg(long, global = true, value_name = "HOW", default_value = "auto")]
    pub progress: Shape,
}

/// `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    Auto,
    Bar,
    Plain,
    Json,
    None,
}

impl Shape {
    /// What that means where we are. Bars need a terminal.
    pub fn how(self) -> How {
        match self {
            Shape::Auto | Shape::Bar => How::bars_if_able(),
            Shape::Plain => How::Lines(For::People),
            Shape::Json => How::Lines(For::Programs),
            Shape::None => How::Silent,
        }
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make the keys that this machine needs to send and to receive
    Keygen(Keygen),
    /// Say what drives an export needs, before there are any
    Plan(Plan),
    /// Pack files into an encrypted, signed set on drives
    Export(Export),
    /// Check whether a set is whole; needs no secret
    Verify(Verify),
    /// Make damaged and missing files of a set anew, in place or on a new drive; needs no secret
    Repair(Repair),
    /// Restore the files of a set, repairing it on the way
    Import(Import),
    /// Show what is inside a set; needs an identity
    List(List),
    /// Show what anyone can see of a set; needs no secret
    Inspect(Inspect),
    /// Show it all: export to three drives, lose one, damage another, import
    Demo,
    /// Runs programs for another ckvault, which may not
    #[command(hide = true, name = outside::VERB)]
    RunErrands,
}

impl Verb {
    /// The command that mounts the next drive.
    pub fn next_drive_command(&self) -> Option<String> {
        match self {
            Verb::Export(typed) => typed.next_drive_command.clone(),
            Verb::Import(typed) => typed.next_drive_command.clone(),
            _ => None,
        }
    }

    /// Whether a reader of what it prints may have enough at any time.
    pub fn may_be_cut(&self) -> bool {
        matches!(self, Verb::List(_) | Verb::Inspect(_) | Verb::Plan(_))
    }

    /// Whether it leaves everything as it is.
    pub fn only_reads(&self) -> bool {
        matches!(self, Verb::Verify(_) | Verb::List(_) | Verb::Inspect(_) | Verb::Plan(_))
    }

    /// Whether it waits for others to end, which hear themselves of what stops them.
    pub fn waits_for_others(&self) -> bool {
        matches!(self, Verb::Demo | Verb::RunErrands)
    }
}

/// `keygen`.
#[derive(Debug, Args)]
pub struct Keygen {
    /// Write to DIR instead of the directory that holds the defaults
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The name under which others trust the signing key [default: user@host]
    #[arg(long, value_name = "NAME", value_parser = parse_name, conflicts_with = "show")]
    name: Option<String>,
    /// Make nothing: show what others need to know of the keys that are there
    #[arg(long)]
    show: bool,
    /// Ask for a passphrase, and keep both secret halves behind it
    #[arg(long, conflicts_with = "show")]
    passphrase: bool,
}

/// `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Files and directories to export [default: the current directory]
    #[arg(value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// Mount point of a drive to write to, or any directory; several times for several drives
    #[arg(long, value_name = "DRIVE", required_unless_present = "resume")]
    to: Vec<PathBuf>,
    /// File with those who can open the set, one a line: age1…, ssh-ed25519 …, ssh-rsa … [default: recipients.txt]
    #[arg(long, value_name = "FILE")]
    recipients: Vec<PathBuf>,
    /// One who can open the set
    #[arg(short, long, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// OpenSSH private key that signs: ssh-ed25519 or a security key [default: signing_key]
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// Public name of the set: letters, digits, dots, underscores, hyphens
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    #[command(flatten)]
    packing: Packing,
    /// Take several directories on one file system for drives, though they are lost together
    #[arg(long)]
    same_device_ok: bool,
    /// Try for two seconds how fast each drive is: faster ones get more volumes, as far as they have room, and the time is told
    #[arg(long)]
    probe: bool,
    /// Go on with an interrupted export: the only one, or the one whose id begins with ID; --to, --signing-key and --with-tool if they have moved, and anything else only as it was
    #[arg(long, value_name = "ID", num_args = 0..=1, conflicts_with_all = ["discard", "dry_run"])]
    resume: Option<Option<String>>,
    /// With --resume, drive N is lost: what it had is made again from the others, on the drive that is in its place
    #[arg(long, value_name = "N", requires = "resume")]
    replace_drive: Vec<u32>,
    /// Remove what an interrupted export left on these drives, and begin anew
    #[arg(long)]
    discard: bool,
    /// Do not read everything back from the drives after writing
    #[arg(long)]
    no_read_back: bool,
    /// Put a program on the drives that runs on any x86-64 Linux: this one, or that in PATH; it must be linked statically
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = OWN)]
    with_tool: Option<PathBuf>,
    /// Run by `sh -c` when the next drive is needed: mounts drive $CKVAULT_DRIVE_NUMBER at $CKVAULT_DRIVE
    #[arg(long, value_name = "CMD")]
    next_drive_command: Option<String>,
    /// Print the plan, write nothing (with --probe, a file that is removed again)
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is packed, and how.
#[derive(Debug, Args)]
struct Packing {
    /// K data and M parity volumes in each group [default: 16+2]
    #[arg(long, value_name = "K+M", value_parser = parse_parity)]
    parity: Option<(u16, u16)>,
    /// Choose K+M and the places of volumes so that any N drives may be lost
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    survive_drives: Option<u16>,
    /// Length of the longest volume, for example 512M or 4G [default: 1G, longer for larger sets]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    volume_size: Option<u64>,
    /// Length of the blocks in which damage is located and repaired: 64K, 128K, 256K, 512K or 1M [default: longer for larger sets]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    block_size: Option<u64>,
    /// Length of the segments in which all is compressed and sealed: 64K, twice as much and so on up to 8M [default: 1M, longer for very large sets]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    segment_size: Option<u64>,
    /// auto (made for weights), zstd, zstd:LEVEL (1 to 19), or none [default: auto]
    #[arg(long, value_name = "HOW", value_parser = parse_compression)]
    compress: Option<Compression>,
    /// Take all symbolic links as they are, or follow all [default: keep those that stay inside the source]
    #[arg(long, value_name = "HOW")]
    links: Option<LinksArg>,
    /// Leave out fifos, sockets and devices instead of stopping
    #[arg(long)]
    skip_special: bool,
    /// Leave out what matches: * matches / too, and a directory stands for all that is in it
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Leave out what is in directories that have a CACHEDIR.TAG
    #[arg(long)]
    exclude_caches: bool,
    /// Judge room by samples that are packed, and not as if nothing could be compressed; an export that runs out of it goes on on the next drive
    #[arg(long)]
    trust_estimate: bool,
}

/// `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// Files and directories to export [default: the current directory]
    #[arg(value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// Drives to think of, by the room that is free on them: 3x2T, several times if they differ, or 2T for as many as are needed
    #[arg(long, value_name = "DRIVES", value_parser = parse_drives, required = true)]
    drives: Vec<Drives>,
    #[command(flatten)]
    packing: Packing,
    /// What a drive writes and reads in a second, for example 100M: says how long it takes
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    rate: Option<u64>,
    /// Think of an export that does not read everything back
    #[arg(long)]
    no_read_back: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// `--links` of `export`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum LinksArg {
    Keep,
    Follow,
}

/// `--links` of `import`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum PlacedLinks {
    Keep,
    Copy,
}

/// `--modes` of `import`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum PlacedModes {
    Exact,
}

/// Where a set is, and whom to trust.
#[derive(Debug, Args)]
struct Place {
    /// Mount points that hold *.ckvault directories, or such directories [default: the current directory]
    #[arg(value_name = "DRIVE")]
    drives: Vec<PathBuf>,
    /// Choose a set by its label or the first digits of its id
    #[arg(long, value_name = "ID")]
    set: Option<String>,
}

/// Whom to trust.
#[derive(Debug, Args)]
struct Signers {
    /// Trusted signers: an allowed_signers file of OpenSSH, or a .pub [default: allowed_signers]
    #[arg(long, value_name = "FILE")]
    signers: Option<PathBuf>,
    /// Who of them must have signed: a name, matched as `ssh-keygen -Y verify -I NAME` does [default: anybody]
    #[arg(long, value_name = "NAME")]
    signer: Option<OsString>,
    /// Keys that count for nobody: a KRL of OpenSSH, or public keys, one a line
    #[arg(long, value_name = "FILE")]
    revoked: Option<PathBuf>,
}

/// Who opens.
#[derive(Debug, Args)]
struct Identity {
    /// age identity file, SSH private key or plugin identity that opens the set [default: identity.txt]
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    signers: Signers,
    /// Judge only what the drives given should hold
    #[arg(long)]
    this_drive: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// `repair`.
#[derive(Debug, Args)]
pub struct Repair {
    #[command(flatten)]
    place: Place,
    /// Empty drive that takes the place of an absent or damaged one; several times for several drives
    #[arg(long, value_name = "DRIVE")]
    to: Vec<PathBuf>,
    #[command(flatten)]
    signers: Signers,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// `import`.
#[derive(Debug, Args)]
pub struct Import {
    #[command(flatten)]
    place: Place,
    /// Directory to restore to: empty, or not there yet
    #[arg(long, value_name = "DIR", required = true)]
    to: PathBuf,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    signers: Signers,
    /// Restore only what matches, and read only what that needs; several times for several patterns
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// Run by `sh -c` when the next drive is needed: mounts drive $CKVAULT_DRIVE_NUMBER (any, if empty) at $CKVAULT_DRIVE
    #[arg(long, value_name = "CMD")]
    next_drive_command: Option<String>,
    /// Restore symbolic links that leave DIR too, or place copies instead of all links [default: refuse links that leave DIR]
    #[arg(long, value_name = "HOW")]
    links: Option<PlacedLinks>,
    /// Restore the modes that were recorded, whatever the umask [default: less the umask, as for any new file]
    #[arg(long, value_name = "HOW")]
    modes: Option<PlacedModes>,
    /// Go on with an import that was stopped; repeat its other options
    #[arg(long, conflicts_with = "discard")]
    resume: bool,
    /// Remove what an import that was stopped has left, and begin anew
    #[arg(long)]
    discard: bool,
    /// If not everything can be had, restore the files that are whole, and others as NAME.incomplete
    #[arg(long)]
    salvage: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// `list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    signers: Signers,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// `inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    signers: Signers,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Refuses a secret among the arguments before anything can repeat it, messages about arguments that are wrong among them.
/// What is the name of a file is none.
pub fn refuse_secrets(arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let is_file = |text: &str| Path::new(text).symlink_metadata().is_ok();
    let holds_secret = |argument: OsString| {
        let text = argument.to_string_lossy();
        let value = text.split_once('=').map_or(&*text, |(_, value)| value);
        is_secret(&text) && !is_file(&text) && !is_file(value)
    };
    match arguments.skip(1).any(holds_secret) {
        false => Ok(()),
        true => Err(Error::usage(
            "an argument is a secret key; it is not repeated here",
            "it may have been seen in the list of processes, and kept by the shell: make a new one; -r takes the public half (age1…), --identity a file of mode 0600",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
