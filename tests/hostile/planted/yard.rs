//! A sender, a receiver, drives and a victim in one directory, which can be had again as it was prepared.

use super::plant;
use crate::site::Ran;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// After this a command is taken to hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where a verb is met.
pub struct Yard {
    _temp: TempDir,
    above: PathBuf,
}

impl Yard {
    /// With keys, a checkpoint in `source`, and a victim.
    pub fn new() -> Yard {
        // In memory, where there is such a place: it is made anew some hundred times.
        let memory = Path::new("/dev/shm");
        let above = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let temp = tempfile::Builder::new().prefix("ckvault-planted-").tempdir_in(above).unwrap();
        let yard = Yard { above: temp.path().canonicalize().unwrap(), _temp: temp };
        yard.make(&["source/dir", "place", "state", "home"]);
        fs::write(yard.path("source/model.bin"), noise(340_000)).unwrap();
        fs::write(yard.path("source/config.json"), "{\"hidden_size\": 4096}\n".repeat(9)).unwrap();
        fs::write(yard.path("source/dir/part"), noise(20_000)).unwrap();
        fs::hard_link(yard.path("source/dir/part"), yard.path("source/hard")).unwrap();
        std::os::unix::fs::symlink("config.json", yard.path("source/link")).unwrap();
        plant::make_victim(&yard.root());
        yard
    }

    /// The directory itself.
    pub fn root(&self) -> PathBuf {
        self.above.join("site")
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join(name)
    }

    /// Where something is kept that is no part of it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.above.join(name)
    }

    pub fn make(&self, dirs: &[&str]) {
        dirs.iter().for_each(|dir| fs::create_dir_all(self.path(dir)).unwrap());
    }

    /// Takes what there is now for what [`Yard::anew`] makes.
    pub fn keep(&self) {
        fs::rename(self.root(), self.beside("kept")).unwrap();
    }

    /// All is as it was prepared, at the same place.
    pub fn anew(&self) {
        let _ = fs::remove_dir_all(self.root());
        let copied = Command::new("cp").arg("-a").arg(self.beside("kept")).arg(self.root()).status().unwrap();
        assert!(copied.success());
    }

    /// A command that is typed in the directory `here`, its words separated by blanks.
    pub fn command(&self, here: &str, typed: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ckvault"));
        command.args(typed.split_whitespace()).current_dir(self.path(here));
        for (name, value) in [("HOME", "nobody"), ("CKVAULT_HOME", "home"), ("XDG_STATE_HOME", "state")] {
            command.env(name, self.path(value));
        }
        command
    }

    pub fn run(&self, here: &str, typed: &str) -> Ran {
        Ran::of(self.command(here, typed), typed, PATIENCE)
    }

    /// Runs what prepares for something else.
    #[track_caller]
    pub fn does(&self, typed: &str, code: i32) {
        drop(self.run("", typed).ends(code));
    }

    /// Runs a command that is killed as soon as `reached`. It has one processor, and waits a little after each time that it makes
    /// something durable, so that it is then at the same point every time.
    #[track_caller]
    pub fn killed(&self, typed: &str, reached: impl Fn(&Yard) -> bool) {
        let command = self.command("", typed);
        let mut slowed = Command::new("taskset");
        // -D: what is started here is the command, and strace its child.
        slowed.args([
            "-c",
            &processor(),
            "strace",
            "-D",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=fsync,fdatasync,syncfs",
        ]);
        slowed.args(["-e", "inject=fsync,fdatasync,syncfs:delay_exit=30000"]);
        slowed.arg(command.get_program()).args(command.get_args()).current_dir(self.root());
        slowed.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        slowed.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let (mut child, begun) = (slowed.spawn().unwrap(), Instant::now());
        while !reached(self) {
            assert!(child.try_wait().unwrap().is_none(), "`{typed}` ended before it could be killed");
            assert!(begun.elapsed() < PATIENCE, "`{typed}` does not get there");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        assert!(child.wait().unwrap().code().is_none(), "`{typed}` ended before it was killed");
    }

    /// The directory of the set on a drive, by its name.
    pub fn set(&self, drive: &str) -> PathBuf {
        let named = |p: &PathBuf| p.extension().is_some_and(|e| e == "ckvault");
        let all = fs::read_dir(self.path(drive)).unwrap().map(|e| e.unwrap().path());
        all.into_iter().find(named).unwrap_or_else(|| panic!("no set on {drive}"))
    }

    /// A volume of a set on two drives. Which of them has it depends on what was free when it was dealt.
    pub fn volume(&self, name: &str) -> PathBuf {
        let on = ["usb1", "usb2"].map(|drive| self.set(drive).join(name));
        on.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("no drive has {name}"))
    }

    /// The directory in which an import was stopped, if there is one.
    pub fn staging(&self) -> Option<PathBuf> {
        let all = fs::read_dir(self.path("place")).unwrap().map(|e| e.unwrap().path());
        all.into_iter().find(|p| p.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b".ckvault-")))
    }
}

/// The first processor that may be used.
fn processor() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap();
    list.trim().chars().take_while(char::is_ascii_digit).collect()
}

/// Bytes that do not compress, the same every time.
pub fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}
