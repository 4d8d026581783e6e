//! Where a hostile set is met: a directory with a drive, keys, a place for the target, and a file that must not change.

use crate::compose::{Keys, Recipe};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// After this a command is taken to hang.
const PATIENCE: Duration = Duration::from_secs(300);
/// The address space that a command gets, in KiB: what it holds in memory is less.
const MEMORY: u64 = 1 << 20;

/// recover.py, as it is put on every drive.
pub const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/format/recover.py");

/// The Python that `python3` comes to: on PATH there may be a script that looks for it each time.
pub static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
    let output = Command::new("python3").args(["-I", "-c", "import sys; print(sys.executable)"]).output();
    output.map(|o| String::from_utf8(o.stdout).unwrap().trim().into()).unwrap_or_default()
});

/// A receiver who trusts the exporter.
pub struct Site {
    temp: TempDir,
    pub keys: Keys,
    memory: u64,
}

impl Site {
    pub fn new() -> Site {
        use age::secrecy::ExposeSecret as _;
        // Whatever the umask is here: files that others may write are refused.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let site = Site {
            temp: tempfile::Builder::new().prefix("ckvault-hostile-").tempdir().unwrap(),
            keys: Keys::new(),
            memory: MEMORY,
        };
        let identity = site.keys.receiver.to_string();
        fs::create_dir(site.path("home")).unwrap();
        fs::write(site.path("home/identity.txt"), format!("{}\n", identity.expose_secret())).unwrap();
        site.trusts(&format!("exporter@site {}\n", site.keys.public()));
        fs::create_dir(site.path("place")).unwrap();
        fs::write(site.path("precious"), "must not change").unwrap();
        site
    }

    /// For reports: how much a command needs when nobody stops it.
    pub fn with_memory(mut self, kib: u64) -> Site {
        self.memory = kib;
        self
    }

    /// The list of signers that the receiver has.
    pub fn trusts(&self, list: &str) {
        fs::write(self.path("home/allowed_signers"), list).unwrap();
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Where import is told to put the files.
    pub fn target(&self) -> PathBuf {
        self.path("place/target")
    }

    /// Composes a set onto so many drives, in place of what was there.
    pub fn compose(&self, recipe: &Recipe, drives: usize) -> Vec<PathBuf> {
        let _ = fs::remove_dir_all(self.path("drives"));
        let drives: Vec<PathBuf> = (1..=drives).map(|d| self.path(format!("drives/{d}"))).collect();
        recipe.write(&self.keys, &drives).unwrap()
    }

    /// Runs a verb (and more arguments, separated by blanks) on the set. Whatever comes of it, it comes in order.
    #[track_caller]
    pub fn run(&self, verb: &str) -> Ran {
        self.run_in(verb, &[])
    }

    /// The same with these variables in its environment.
    #[track_caller]
    pub fn run_in(&self, verb: &str, environment: &[(&str, &Path)]) -> Ran {
        let mut command = self.limited(env!("CARGO_BIN_EXE_ckvault"));
        command.args(verb.split_whitespace()).envs(environment.iter().copied());
        let mut drives: Vec<PathBuf> = fs::read_dir(self.path("drives")).unwrap().map(|d| d.unwrap().path()).collect();
        drives.sort();
        command.args(drives);
        if verb.starts_with("import") {
            command.arg("--to").arg(self.target());
        }
        let ran = Ran::of(command, verb, PATIENCE);
        ran.is_orderly();
        ran
    }

    /// Restores the set with recover.py, with more arguments (separated by blanks). Whatever comes of it, it comes in order.
    #[track_caller]
    pub fn recover(&self, arguments: &str) -> Ran {
        let mut command = self.python(&["-I", SCRIPT]);
        command.args(arguments.split_whitespace());
        self.recovers(command)
    }

    /// Python, and what it is to restore with a script.
    pub fn python(&self, script: &[&str]) -> Command {
        let mut command = self.limited(PYTHON.to_str().unwrap());
        command.args(script).args(self.set_dirs());
        command.arg("--identity").arg(self.path("home/identity.txt")).arg("--to").arg(self.target());
        command
    }

    #[track_caller]
    pub fn recovers(&self, command: Command) -> Ran {
        let ran = Ran::of(command, "recover.py", PATIENCE);
        assert!(ran.signal.is_none() && matches!(ran.code, Some(0..=7)), "not an exit code of ours\n{ran}");
        assert!(!ran.stderr.contains("Traceback"), "an exception\n{ran}");
        ran.says_nothing_evil();
        let lines = |start: &str| ran.stderr.lines().filter(|l| l.starts_with(start)).count();
        let failed = usize::from(ran.code != Some(0));
        assert_eq!((lines("recover.py: "), lines("hint: ")), (failed, failed), "{ran}");
        ran
    }

    /// The directories of the set on all drives.
    pub fn set_dirs(&self) -> Vec<PathBuf> {
        let within = |dir: &Path| fs::read_dir(dir).unwrap().map(|d| d.unwrap().path()).collect::<Vec<_>>();
        let mut dirs: Vec<PathBuf> = within(&self.path("drives")).iter().flat_map(|d| within(d)).collect();
        dirs.sort();
        dirs
    }

    /// A program that gets its arguments later, and little memory. It has the umask that the variable says, if it is set.
    fn limited(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        let limits = format!("umask ${{UMASK:-022}} && ulimit -n 1024 && ulimit -v {}", self.memory);
        command.args(["-c", &(limits + " && exec \"$0\" \"$@\""), program]).current_dir(self.temp.path());
        command.env("HOME", self.temp.path()).env("CKVAULT_HOME", self.path("home"));
        command
    }

    /// All verbs meet the set; import refuses it with `code`, says `why`, and changes nothing anywhere.
    #[track_caller]
    pub fn refuses(&self, recipe: &Recipe, code: i32, why: &str) -> Ran {
        self.compose(recipe, 1);
        self.refuses_what_is_there(code, why)
    }

    /// The same for a set that has been composed.
    #[track_caller]
    pub fn refuses_what_is_there(&self, code: i32, why: &str) -> Ran {
        let before = self.everything();
        // What takes seconds to read is read once by each verb.
        let long = before.values().any(|(len, ..)| *len > 16 << 20);
        let verbs = ["verify", "inspect", "list", "verify --json", "inspect --json", "list --json"];
        for verb in &verbs[..if long { 3 } else { 6 }] {
            self.run(verb);
        }
        let ran = self.run("import").ends(code);
        assert!(ran.stderr.contains(why), "not refused because of {why:?}\n{ran}");
        assert!(ran.stdout.is_empty(), "stdout is not empty\n{ran}");
        let after = self.everything();
        assert!(after == before, "something changed\n{before:#?}\n{after:#?}\n{ran}");
        crate::recover::refuses_too(self, why);
        ran
    }

    /// What is in the directory, but for what a set is made of.
    pub fn everything(&self) -> BTreeMap<PathBuf, (u64, i64, i64)> {
        let mut found = BTreeMap::new();
        walk(self.temp.path(), &mut found);
        found
    }
}

impl Drop for Site {
    /// A tree may be too deep for the standard library, which holds each directory open on its way down.
    fn drop(&mut self) {
        let _ = Command::new("rm").arg("-rf").arg(self.temp.path()).status();
    }
}

fn walk(dir: &Path, found: &mut BTreeMap<PathBuf, (u64, i64, i64)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        // A staging directory that came and went leaves its mark on the time of its parent.
        let time = if meta.is_dir() { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) };
        found.insert(path.clone(), (if meta.is_dir() { 0 } else { meta.len() }, time.0, time.1));
        if meta.is_dir() {
            walk(&path, found);
        }
    }
}

/// A command that has ended.
pub struct Ran {
    verb: String,
    pub code: Option<i32>,
    signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    raw: Vec<u8>,
    /// The processor time that it was seen to use, which does not depend on what else is going on.
    pub took: Duration,
    /// It was killed because it did not end.
    pub hung: bool,
    /// The most memory that it was seen to hold, in KiB.
    pub peak: u64,
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let short = |text: &str| text.chars().take(4000).collect::<String>();
        write!(
            f,
            "ckvault {}: code {:?}, signal {:?}, {:?}, {} KiB\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.verb,
            self.code,
            self.signal,
            self.took,
            self.peak,
            short(&self.stdout),
            short(&self.stderr)
        )
    }
}

impl Ran {
    /// Runs it to its end; what has not ended after `patience` is killed.
    pub fn of(mut command: Command, verb: &str, patience: Duration) -> Ran {
        let begun = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (pid, (ended, watched)) = (child.id(), mpsc::channel::<()>());
        let watch = std::thread::spawn(move || {
            let (mut peak, mut took, mut hung) = (0, Duration::ZERO, false);
            while watched.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
                peak = memory(pid).unwrap_or(0).max(peak);
                took = processor_time(pid).unwrap_or_default().max(took);
                if begun.elapsed() > patience {
                    hung = true;
                    let _ = Command::new("sh").args(["-c", &format!("kill -KILL {pid}")]).status();
                }
            }
            (peak, took, hung)
        });
        let output = child.wait_with_output().unwrap();
        drop(ended);
        let (peak, took, hung) = watch.join().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            verb: verb.to_owned(),
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            raw: [output.stdout, output.stderr].concat(),
            took,
            hung,
            peak,
        }
    }

    /// Why it is not as a command has to be, whatever it meets: ended by itself, with an exit code of ours.
    pub fn disorder(&self) -> Option<&'static str> {
        match self.code {
            None => Some("ended by a signal"),
            _ if self.stderr.contains("panicked") || self.code == Some(101) => Some("a panic"),
            Some(0..=7) => None,
            _ => Some("not an exit code of ours"),
        }
    }

    /// It ended in order, and said nothing that a terminal would obey.
    #[track_caller]
    fn is_orderly(&self) {
        assert!(self.disorder().is_none(), "{:?}\n{self}", self.disorder());
        self.says_nothing_evil();
        let strays: Vec<&str> = self.stderr.lines().filter(|l| !expected_line(l)).collect();
        assert!(strays.is_empty(), "lines on stderr that are not ours: {strays:?}\n{self}");
        assert!(self.stderr.lines().filter(|l| l.starts_with("hint: ")).count() <= 1, "two hints\n{self}");
    }

    #[track_caller]
    fn says_nothing_evil(&self) {
        let text = std::str::from_utf8(&self.raw).unwrap_or_else(|_| panic!("not UTF-8\n{self}"));
        let bad = text.chars().find(|c| (c.is_control() && *c != '\n') || is_invisible(*c));
        assert!(bad.is_none(), "{bad:?} reaches the terminal\n{self}");
    }

    #[track_caller]
    pub fn ends(self, code: i32) -> Ran {
        assert!(self.code == Some(code), "expected the exit code {code}\n{self}");
        self
    }

    #[track_caller]
    pub fn shows(self, what: &str) -> Ran {
        assert!(self.stdout.contains(what), "stdout does not show {what:?}\n{self}");
        self
    }
}

fn expected_line(line: &str) -> bool {
    line.starts_with("ckvault: ") || line.starts_with("hint: ") || line.starts_with("  ")
}

/// Marks of direction, and others that are not to be seen.
fn is_invisible(c: char) -> bool {
    let marks = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    marks
        || "\u{ad}\u{34f}\u{115f}\u{3164}\u{fe0f}\u{feff}\u{1d173}".contains(c)
        || ('\u{e0000}'..='\u{e0fff}').contains(&c)
}

/// What a process that still runs, and its children that have ended, have used.
fn processor_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Fields 14 to 17, of which the second is in brackets (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    // Linux counts hundredths for programs, whatever its own clock (USER_HZ).
    Some(Duration::from_millis(10 * ticks))
}

/// The peak of a process that still runs.
fn memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}
