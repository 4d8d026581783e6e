//! Commands, and what became of them.

use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// After this a command is taken to hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command that is yet to be run.
pub struct Call {
    program: OsString,
    arguments: Vec<OsString>,
    dir: PathBuf,
    root: PathBuf,
    set: Vec<(String, OsString)>,
    unset: Vec<String>,
    input: Vec<u8>,
}

impl Call {
    /// A program with arguments that are separated by blanks, to be run in `root`.
    pub fn new(program: &str, arguments: &str, root: &Path) -> Call {
        let arguments = arguments.split_whitespace().map(OsString::from).collect();
        Call {
            program: program.into(),
            arguments,
            dir: root.to_owned(),
            root: root.to_owned(),
            set: Vec::new(),
            unset: Vec::new(),
            input: Vec::new(),
        }
    }

    /// One more argument, of any bytes.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Call {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments, separated by blanks.
    pub fn args(mut self, arguments: &str) -> Call {
        self.arguments.extend(arguments.split_whitespace().map(OsString::from));
        self
    }

    /// The directory to run in.
    pub fn at(mut self, dir: impl AsRef<Path>) -> Call {
        self.dir = self.root.join(dir);
        self
    }

    /// A variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Call {
        self.set.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// A variable that is not in its environment.
    pub fn without(mut self, name: &str) -> Call {
        self.unset.push(name.to_owned());
        self
    }

    /// What it reads from stdin; without this it reads nothing.
    pub fn input(mut self, bytes: &[u8]) -> Call {
        self.input = bytes.to_vec();
        self
    }

    /// No file that it makes may be longer than so many KiB.
    pub fn with_files_up_to(mut self, kib: u64) -> Call {
        // In blocks of 512 bytes, as POSIX has it.
        let shell = format!("ulimit -f {} && exec \"$0\" \"$@\"", 2 * kib);
        let program = std::mem::replace(&mut self.program, "sh".into());
        self.arguments.splice(0..0, ["-c".into(), shell.into(), program]);
        self
    }

    /// The command as the standard library has it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.dir).env("HOME", &self.root);
        command
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_STATE_HOME")
            .env_remove("SSH_AUTH_SOCK")
            .envs(self.set.iter().cloned());
        for name in &self.unset {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Ran {
        let mut command = self.command();
        if !self.input.is_empty() {
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, &self.input).unwrap();
            std::io::Seek::rewind(&mut file).unwrap();
            command.stdin(file);
        }
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot run {:?}: {e}", self.program));
        let (pid, (ended, watched)) = (child.id(), mpsc::channel::<()>());
        // What hangs is killed, so that it fails its own test and not all of them.
        let watchdog = std::thread::spawn(move || {
            if watched.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("killing process {pid}, which has not ended in {PATIENCE:?}");
                let _ = Command::new("sh").args(["-c", &format!("kill -KILL {pid}")]).status();
            }
        });
        let output = child.wait_with_output().unwrap();
        drop(ended);
        watchdog.join().unwrap();
        Ran::new(&command, output)
    }
}

/// A command that has ended.
pub struct Ran {
    command: String,
    pub code: Option<i32>,
    pub out: Vec<u8>,
    pub stdout: String,
    pub stderr: String,
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(
            f,
            "{}\nexit code {:?}\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.command, self.code, self.stdout, self.stderr
        )
    }
}

impl Ran {
    pub fn new(command: &Command, output: Output) -> Ran {
        let words: Vec<_> =
            std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_string_lossy).collect();
        let dir = command.get_current_dir().unwrap_or(Path::new(".")).display();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Ran {
            command: format!("$ {}\nin {dir}", words.join(" ")),
            code: output.status.code(),
            out: output.stdout,
            stdout,
            stderr,
        }
    }

    /// Panics with everything that is known of the run, unless `holds`.
    #[track_caller]
    pub fn check(&self, holds: bool, what: &str) {
        assert!(holds, "{what}\n{self}");
    }

    /// It ended with `code`.
    #[track_caller]
    pub fn ends(self, code: i32) -> Ran {
        self.check(self.code == Some(code), &format!("expected the exit code {code}"));
        self
    }

    /// It succeeded.
    #[track_caller]
    pub fn ok(self) -> Ran {
        self.ends(0)
    }

    /// It failed with `code`: stdout is empty, or has the error for who asked for JSON; stderr has a message and, unless it was interrupted, a hint.
    #[track_caller]
    pub fn fails(self, code: i32) -> Ran {
        let ran = self.ends(code);
        if ran.command.contains(" --json") && !ran.stdout.is_empty() {
            let said = ran.json();
            let same = said["exit_code"] == code && ["error", "hint", "code"].iter().all(|name| said[name].is_string());
            ran.check(same, "stdout is not the error");
        } else {
            ran.check(ran.stdout.is_empty(), "stdout is not empty on a failure");
        }
        ran.check(
            ran.stderr.lines().any(|l| l.starts_with("ckvault: ") || l.starts_with("error: ")),
            "no message on stderr",
        );
        ran.check(ran.stderr.lines().any(|l| l.starts_with("hint: ") || l.contains("--help")), "no hint on stderr");
        ran
    }

    /// stderr has this text.
    #[track_caller]
    pub fn says(self, what: &str) -> Ran {
        self.check(self.stderr.contains(what), &format!("stderr does not say {what:?}"));
        self
    }

    /// stdout has this text.
    #[track_caller]
    pub fn shows(self, what: &str) -> Ran {
        self.check(self.stdout.contains(what), &format!("stdout does not show {what:?}"));
        self
    }

    /// stdout as JSON, which must be one object in one line.
    #[track_caller]
    pub fn json(&self) -> Value {
        let parsed: Result<Value, _> = serde_json::from_str(&self.stdout);
        self.check(self.stdout.lines().count() == 1, "stdout is not one line");
        self.check(parsed.as_ref().is_ok_and(Value::is_object), "stdout is not one JSON object");
        parsed.unwrap()
    }
}
