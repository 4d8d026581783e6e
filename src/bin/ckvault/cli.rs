//! What can be typed.

pub mod again;
mod meant;

use crate::outside;
use crate::ui::For;
use crate::ui::screen::How;
use ckvault::error::{Error, Result};
use ckvault::media::program::OWN;
use ckvault::stages::compress::Compression;
use ckvault::text::is_secret;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

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
        matches!(self, Verb::List(_) | Verb::Inspect(_))
    }

    /// Whether it leaves everything as it is.
    pub fn only_reads(&self) -> bool {
        matches!(self, Verb::Verify(_) | Verb::List(_) | Verb::Inspect(_))
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
    /// Take several directories on one file system for drives, though they are lost together
    #[arg(long)]
    same_device_ok: bool,
    /// Go on with an interrupted export: the only one, or the one whose id begins with ID; --to, --signing-key and --with-tool if they have moved, and anything else only as it was
    #[arg(long, value_name = "ID", num_args = 0..=1, conflicts_with_all = ["discard", "dry_run"])]
    resume: Option<Option<String>>,
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
    /// Print the plan, write nothing
    #[arg(long)]
    dry_run: bool,
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

/// A principal that OpenSSH reads as one word and as no pattern.
fn parse_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
    match !text.is_empty() && text.len() <= 128 && !text.starts_with(['-', '@']) && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("letters, digits and . _ @ + -, at most 128, for example alice@lab".into()),
    }
}

/// `16+2`.
fn parse_parity(text: &str) -> Result<(u16, u16), String> {
    let parse = |n: &str| n.parse::<u16>().map_err(|_| "K+M looks like 16+2".to_owned());
    let (k, m) = text.split_once('+').ok_or("K+M looks like 16+2")?;
    Ok((parse(k)?, parse(m)?))
}

/// `auto`, `zstd`, `zstd:19`, `none`.
fn parse_compression(text: &str) -> Result<Compression, String> {
    let level = |level: &str| level.parse().ok().filter(|level| Compression::LEVELS.contains(level));
    let meant = match text.split_once(':') {
        None => {
            [("auto", Compression::Auto), ("zstd", Compression::Zstd(Compression::LEVEL)), ("none", Compression::None)]
                .into_iter()
                .find_map(|(name, meant)| (name == text).then_some(meant))
        }
        Some(("zstd", text)) => level(text).map(Compression::Zstd),
        Some(_) => None,
    };
    meant.ok_or_else(|| "HOW is auto, none, zstd, or zstd:LEVEL with a level from 1 to 19".to_owned())
}

/// `4194304`, `4096K`, `4M`, `1.5G`, `2TiB`; powers of 1024. By `MB` some mean a power of 1000, so nobody is told that it is one.
fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "sizes look like 512M, 1.5G or 4GiB, in powers of 1024; MB and the like are not taken".to_owned();
    let upper = text.to_ascii_uppercase();
    let unit = upper.find(|c: char| "KMGT".contains(c)).unwrap_or(upper.len());
    let (digits, unit) = upper.split_at(unit);
    let shift = match unit.get(1..) {
        None => 0,
        Some("" | "IB") => "KMGT".find(&unit[..1]).map_or(0, |i| 10 * (i + 1)),
        _ => return Err(wrong()),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number * (1u64 << shift) as f64;
    if !bytes.is_finite() || !(1.0..=9e15).contains(&bytes) {
        return Err(wrong());
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_parities() {
        for (text, bytes) in
            [("1", 1), ("4096k", 4 << 20), ("512M", 512 << 20), ("1.5G", 3 << 29), ("4GiB", 4 << 30), ("2TIB", 2 << 40)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "G", "-1", "1X", "nan", "1e99", "1MB", "1.5gb", "5IB", "5B", "5iB", "1KM", "1MiBi", "1Mi"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_compression("auto"), Ok(Compression::Auto));
        assert_eq!(parse_compression("zstd"), Ok(Compression::Zstd(3)));
        assert_eq!(parse_compression("zstd:19"), Ok(Compression::Zstd(19)));
        assert!(["zstd:20", "zstd:0", "zstd:", "auto:3", "lz4", ""].iter().all(|t| parse_compression(t).is_err()));
        assert_eq!(parse_parity("16+2"), Ok((16, 2)));
        assert!(parse_parity("16").is_err() && parse_parity("a+b").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
