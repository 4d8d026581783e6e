//! People, drives and commands: what every test begins with.

use crate::harm::BLOCK;
pub use crate::run::{Call, Ran};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory with a sender and a receiver who know each other's public keys.
pub struct Vault {
    _temp: TempDir,
    pub root: PathBuf,
    /// Bytes of a block of what is exported here; what is made is as many times longer as blocks are.
    pub block: u64,
}

impl Vault {
    /// Keys are made, `keys.txt` and `sender.pub` exchanged; the receiver trusts the sender.
    pub fn new() -> Vault {
        let vault = Vault::empty();
        vault.make_keys();
        vault
    }

    /// The same, where sets have such blocks, and as many of them as sets with small ones.
    pub fn with_blocks(block: u64) -> Vault {
        let mut vault = Vault::new();
        vault.block = block;
        vault
    }

    fn make_keys(&self) {
        self.sender("keygen").ok();
        self.receiver("keygen").ok();
        fs::copy(self.home("receiver").join("recipients.txt"), self.path("keys.txt")).unwrap();
        fs::copy(self.home("sender").join("signing_key.pub"), self.path("sender.pub")).unwrap();
        self.trust_sender();
    }

    /// The same in memory, where there is such a place, for tests that sync thousands of files.
    pub fn in_memory() -> Vault {
        let memory = Path::new("/dev/shm");
        let vault = Vault::under(if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() });
        vault.make_keys();
        vault
    }

    /// Nothing but the directory.
    pub fn empty() -> Vault {
        Vault::under(std::env::temp_dir())
    }

    fn under(above: PathBuf) -> Vault {
        // Whatever the umask is here: files that others may write are refused.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let temp = tempfile::Builder::new().prefix("ckvault-test-").tempdir_in(above).unwrap();
        let root = temp.path().canonicalize().unwrap();
        Vault { _temp: temp, root, block: BLOCK }
    }

    fn trust_sender(&self) {
        let list = |who| fs::read_to_string(self.home(who).join("allowed_signers")).unwrap();
        fs::write(self.home("receiver").join("allowed_signers"), list("receiver") + &list("sender")).unwrap();
    }

    /// A path in the vault.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// The home of ckvault of one of the people.
    pub fn home(&self, who: &str) -> PathBuf {
        self.root.join("home").join(who)
    }

    /// Makes directories, drives for example.
    pub fn make(&self, names: &[&str]) {
        names.iter().for_each(|name| fs::create_dir_all(self.path(name)).unwrap());
    }

    /// Runs ckvault as the sender, in the vault's directory; the arguments are separated by blanks.
    pub fn sender(&self, arguments: &str) -> Ran {
        self.call("sender", arguments).run()
    }

    /// The same as the receiver.
    pub fn receiver(&self, arguments: &str) -> Ran {
        self.call("receiver", arguments).run()
    }

    /// A command that is yet to be run.
    pub fn call(&self, who: &str, arguments: &str) -> Call {
        Call::new(env!("CARGO_BIN_EXE_ckvault"), arguments, &self.root).env("CKVAULT_HOME", self.home(who))
    }

    /// Another program, in the vault's directory.
    pub fn tool(&self, program: &str, arguments: &str) -> Call {
        Call::new(program, arguments, &self.root).env("CKVAULT_HOME", self.home("sender"))
    }

    /// Exports as the sender to the receiver, in volumes of 32 blocks; must succeed.
    #[track_caller]
    pub fn export(&self, arguments: &str) -> Set {
        let ran = self
            .sender(&format!(
                "export {arguments} --recipients keys.txt --volume-size {} --block-size {} --json",
                32 * self.block,
                self.block
            ))
            .ok();
        let report = ran.json();
        let dirs = list(&report["drives"]).iter().map(|d| self.path(text(&d["directory"]))).collect();
        Set { dirs, report }
    }

    /// Makes a checkpoint of about `bytes` bytes that do not compress, one drive `usb`, and exports with K+M.
    #[track_caller]
    pub fn exported(&self, bytes: usize, parity: &str) -> Set {
        self.checkpoint("checkpoint", bytes);
        self.make(&["usb"]);
        self.export(&format!("checkpoint --to usb --parity {parity}"))
    }

    /// A directory shaped like a checkpoint.
    pub fn checkpoint(&self, name: &str, bytes: usize) -> PathBuf {
        let dir = self.path(name);
        let bytes = bytes * (self.block / BLOCK) as usize;
        fs::create_dir_all(dir.join("step-100/empty")).unwrap();
        fs::write(dir.join("config.json"), "{\"hidden_size\": 4096}\n".repeat(40)).unwrap();
        fs::write(dir.join("model.safetensors"), noise(1, bytes - bytes / 3)).unwrap();
        fs::write(dir.join("step-100/optimizer.bin"), noise(2, bytes / 3)).unwrap();
        fs::write(dir.join("step-100/done"), "").unwrap();
        dir
    }

    /// Verifies as the receiver: the report, of which the exit code must fit the verdict.
    #[track_caller]
    pub fn verdict(&self, arguments: &str) -> Value {
        let ran = self.receiver(&format!("verify {arguments} --json"));
        let report = ran.json();
        let code = ["intact", "", "", "repairable", "lost", "untrusted", "", "incomplete"]
            .iter()
            .position(|v| *v == report["verdict"]);
        ran.check(code.is_some_and(|c| ran.code == Some(c as i32)), "the exit code does not fit the verdict");
        report
    }

    /// Imports as the receiver to a fresh directory with the modes that were recorded, compares with `source`, modes and all,
    /// and returns the report.
    #[track_caller]
    pub fn restores(&self, arguments: &str, source: &str) -> Value {
        let to = tempfile::Builder::new().prefix("restored-").tempdir_in(&self.root).unwrap();
        let ran =
            self.receiver(&format!("import {arguments} --modes exact --to {}/there --json", to.path().display())).ok();
        crate::tree::assert_same(&self.path(source), &to.path().join("there"));
        ran.json()
    }

    /// Imports as the receiver, which must fail with `code`, print nothing on stdout, and leave nothing behind unless it can
    /// be gone on with.
    #[track_caller]
    pub fn refuses(&self, arguments: &str, code: i32) -> Ran {
        let parent = tempfile::Builder::new().prefix("refused-").tempdir_in(&self.root).unwrap();
        let ran = self.receiver(&format!("import {arguments} --to {}/there", parent.path().display())).fails(code);
        let left = names_in(parent.path());
        let resumable = ran.stderr.contains("` goes on");
        assert!(left.is_empty() != resumable, "left behind: {left:?} by {ran}");
        assert!(!left.contains(&b"there".to_vec()), "there is a target after a failure of {ran}");
        ran
    }
}

/// A set that has been exported.
pub struct Set {
    /// Its directory on each drive.
    pub dirs: Vec<PathBuf>,
    /// What export reported.
    pub report: Value,
}

/// The metadata files of which there is a third copy.
pub const SMALL: [&str; 3] = ["keys.age", "manifest.json", "manifest.json.sig"];

/// All copies of a metadata file in one directory of a set.
pub fn copies_in(dir: &Path, name: &str) -> Vec<PathBuf> {
    let places = if SMALL.contains(&name) { &["", "copy", "third"][..] } else { &["", "copy"] };
    places.iter().map(|place| dir.join(place).join(name)).collect()
}

impl Set {
    /// The id.
    pub fn id(&self) -> &str {
        text(&self.report["set"])
    }

    /// Every file of the set, metadata and copies too.
    pub fn files(&self) -> Vec<PathBuf> {
        let copies = self.dirs.iter().flat_map(|d| [d.join("copy"), d.join("third")]);
        let dirs: Vec<PathBuf> = self.dirs.iter().cloned().chain(copies).filter(|d| d.is_dir()).collect();
        let all = dirs.iter().flat_map(|d| names_in(d).into_iter().map(|n| d.join(OsStr::from_bytes(&n))));
        all.filter(|p| p.is_file()).collect()
    }

    /// Every volume, by its name.
    pub fn volumes(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> =
            self.files().into_iter().filter(|p| p.extension() == Some(OsStr::new("ckv"))).collect();
        all.sort_by_key(|p| p.file_name().map(OsStr::to_owned));
        all
    }

    /// A volume, on whichever drive it is.
    #[track_caller]
    pub fn volume(&self, name: &str) -> PathBuf {
        self.dirs.iter().map(|d| d.join(name)).find(|p| p.exists()).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// All copies of a metadata file, on all drives.
    pub fn copies(&self, name: &str) -> Vec<PathBuf> {
        self.dirs.iter().flat_map(|dir| copies_in(dir, name)).collect()
    }
}

/// What `verify` says of a volume.
#[track_caller]
pub fn volume<'a>(verdict: &'a Value, name: &str) -> &'a Value {
    let found = list(&verdict["volumes"]).iter().find(|v| v["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {verdict}"))
}

/// A JSON array.
#[track_caller]
pub fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("not an array: {value}"))
}

/// A JSON string.
#[track_caller]
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}"))
}

/// A JSON number.
#[track_caller]
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a number: {value}"))
}

/// The names in a directory, sorted; none if it does not exist.
pub fn names_in(dir: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(dir).map(|all| all.map(|e| e.unwrap().file_name().as_bytes().to_vec()).collect());
    let mut names: Vec<Vec<u8>> = entries.unwrap_or_default();
    names.sort();
    names
}

/// Bytes that do not compress, the same every time.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Says visibly that a test could not be run here: not with `eprintln!`, of which nothing is seen when the test passes.
pub fn skip(why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Whether programs are on PATH. Says so if not; an error where everything must be there (`CI` is set).
pub fn need(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|d| d.join(program).is_file());
    let missing: Vec<&str> = programs.iter().filter(|p| !has(p)).copied().collect();
    if missing.is_empty() {
        return true;
    }
    let why = format!("needs {}", missing.join(", "));
    assert!(std::env::var_os("CI").is_none(), "CI is set, and this {why}");
    skip(&why);
    false
}

/// Whether these tests run as root, who may read and write everything.
pub fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0"))
}
