//! The real binary meets every vector, and must answer as it says.

use crate::container::{Container, all_vectors, place};
use crate::vector::{VERBS, escaped};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn the_program_answers_every_vector_as_it_says() {
    let all = all_vectors(&place());
    assert!(all.len() > 500, "only {} vectors", all.len());
    each(&all, judge);
}

/// Judges all of them, as many at a time as there are processors, and names all that are wrong.
pub fn each(all: &[PathBuf], judge: impl Fn(&Container) -> Vec<String> + Sync) {
    // Whatever the umask is here: files that others may write are refused.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(BTreeSet::new()));
    let work = || {
        while let Some(path) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let wrong = judge(&Container::read(path));
            let name = path.strip_prefix(place()).unwrap().display();
            failed.lock().unwrap().extend(wrong.into_iter().map(|why| format!("{name}: {why}")));
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} are wrong\n{}", failed.len(), failed.into_iter().collect::<Vec<_>>().join("\n"));
}

/// Where one vector is met.
pub struct Met<'a> {
    vector: &'a Container,
    temp: tempfile::TempDir,
}

/// What is not as the vector says.
fn judge(vector: &Container) -> Vec<String> {
    if vector.get("revoked").is_some_and(|file| file.ends_with(".krl")) && !can_ask_ssh_keygen() {
        return Vec::new();
    }
    let met = Met::new(vector);
    let mut wrong = Vec::new();
    for verb in VERBS {
        let Some(expected) = vector.get(verb) else { continue };
        let (answer, output) = met.asks(verb);
        if answer != expected {
            wrong.push(format!("{verb} must answer {expected:?}, and answers {answer:?}\n    {output}"));
        }
        if verb == "import" {
            wrong.extend(met.restored(expected));
        }
    }
    wrong
}

/// Which reads KRLs. Says so if it is not here; an error where everything must be there (`CI` is set).
fn can_ask_ssh_keygen() -> bool {
    let there = Command::new("ssh-keygen").arg("-?").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "CI is set, and there is no ssh-keygen");
    if !there {
        eprintln!("SKIPPED: needs ssh-keygen");
    }
    there
}

impl<'a> Met<'a> {
    /// Unpacks it.
    pub fn new(vector: &'a Container) -> Met<'a> {
        let temp = tempfile::Builder::new().prefix("ckvault-vector-").tempdir().unwrap();
        let met = Met { vector, temp };
        fs::create_dir(met.path("drives")).unwrap();
        fs::create_dir(met.path("place")).unwrap();
        vector.unpack(&met.path("drives"));
        met.put_lines("allow", "allowed_signers");
        met.put_lines("revoke", "revoked");
        met
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Lines of the header become a file.
    fn put_lines(&self, key: &str, name: &str) {
        let lines: String = self.vector.all(key).map(|line| format!("{line}\n")).collect();
        if !lines.is_empty() {
            fs::write(self.path(name), lines).unwrap();
        }
    }

    /// Runs a verb; returns its answer, and what it said.
    fn asks(&self, verb: &str) -> (String, String) {
        let (verb, vector) = (if verb == "repaired" { "verify" } else { verb }, self.vector);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ckvault"));
        command.arg(verb).current_dir(self.temp.path()).stdin(Stdio::null());
        command.env("HOME", self.temp.path()).env("CKVAULT_HOME", self.path("home"));
        self.whom(&mut command);
        option(&mut command, "--set", vector.get("set").map(Into::into));
        if ["list", "import"].contains(&verb) {
            option(&mut command, "--identity", self.given("identity").map(Into::into));
        }
        if verb == "import" {
            command.args(["--modes", "exact", "--to"]).arg(self.path("place/target"));
        }
        let output = command.arg("--json").args(sorted(&self.path("drives"))).output().unwrap();
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8_lossy(&said).chars().take(600).collect::<String>().replace('\n', " ");
        let code = output.status.code().map_or("by a signal".into(), |code| code.to_string());
        let word = word(verb, &serde_json::from_slice(&output.stdout).unwrap_or_default());
        (format!("{word} {code}"), said)
    }

    /// A file beside the vectors.
    pub fn given(&self, key: &str) -> Option<PathBuf> {
        self.vector.get(key).map(|file| place().join(file))
    }

    /// Says who must have signed.
    pub fn whom(&self, command: &mut Command) {
        let own = |name: &str| Some(self.path(name)).filter(|path| path.exists());
        option(command, "--signers", own("allowed_signers").or(self.given("signers")).map(Into::into));
        option(command, "--revoked", own("revoked").or(self.given("revoked")).map(Into::into));
        option(command, "--signer", self.vector.get("signer").map(Into::into));
    }

    /// What is there after import, and should not be, or is not there.
    fn restored(&self, answer: &str) -> Vec<String> {
        let target = self.path("place/target");
        let left = fs::read_dir(self.path("place")).unwrap().count();
        if answer != "ok 0" {
            return if left == 0 { Vec::new() } else { vec!["import leaves something".into()] };
        }
        if !target.is_dir() {
            return vec!["nothing was restored".into()];
        }
        let mut wrong = Vec::new();
        let mut names = BTreeSet::new();
        for entry in self.vector.all("entry") {
            let words: Vec<&str> = entry.split(' ').collect();
            let name = match words[0] {
                "dir" => words[3],
                "file" => words[5],
                "symlink" => words[2],
                _ => words[1],
            };
            names.insert(name.to_owned());
            if !holds(&target, &words, name) {
                wrong.push(format!("{entry} is not what was restored"));
            }
        }
        let mut found = BTreeSet::new();
        walk(&target, &target, &mut found);
        // An entry need not be there for the directory itself.
        names.remove(".");
        if found != names || left != 1 {
            wrong.push(format!("{found:?} were restored, and {names:?} should be"));
        }
        wrong
    }
}

fn option(command: &mut Command, name: &str, value: Option<OsString>) {
    if let Some(value) = value {
        command.arg(name).arg(value);
    }
}

/// What is in a directory.
pub fn sorted(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The word of an answer.
fn word(verb: &str, told: &Value) -> String {
    let text = |name: &str| told[name].as_str().map(str::to_owned);
    match (verb, &told["verified"]) {
        ("inspect", Value::Bool(true)) => "verified".into(),
        ("inspect", Value::Bool(false)) => "not-verified".into(),
        _ if told.is_null() => "nothing".into(),
        _ => text("verdict").or(text("code")).unwrap_or("ok".into()),
    }
}

fn unescaped(name: &str) -> OsString {
    if name == "." {
        return OsString::new();
    }
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        bytes.push(match (first, more) {
            (b'%', [a, b, ..]) => {
                rest = &more[2..];
                u8::from_str_radix(std::str::from_utf8(&[*a, *b]).unwrap(), 16).unwrap()
            }
            _ => *first,
        });
    }
    OsString::from_vec(bytes)
}

/// Whether an entry was restored as its line says.
fn holds(target: &Path, words: &[&str], name: &str) -> bool {
    let path = target.join(unescaped(name));
    let Ok(meta) = fs::symlink_metadata(&path) else { return false };
    let has = |mode: &str, time: &str| {
        let time = format!("{}+{}", meta.mtime(), meta.mtime_nsec()) == time;
        time && (mode == "-" || format!("{:04o}", meta.permissions().mode() & 0o7777) == mode)
    };
    match words {
        ["dir", mode, time, _] => meta.is_dir() && has(mode, time),
        ["file", mode, time, size, hash, _] => {
            let whole = || blake3::hash(&fs::read(&path).unwrap()).to_string() == *hash;
            meta.is_file() && has(mode, time) && meta.len().to_string() == *size && whole()
        }
        ["symlink", time, _, to] => {
            let text = || fs::read_link(&path).unwrap().as_os_str() == unescaped(to);
            meta.is_symlink() && has("-", time) && text()
        }
        ["hardlink", _, to] => fs::metadata(target.join(unescaped(to))).is_ok_and(|file| file.ino() == meta.ino()),
        ["xattr", _, attribute, value] => holds_attribute(&path, &unescaped(attribute), value),
        _ => false,
    }
}

/// True also where the file system takes no attributes.
fn holds_attribute(path: &Path, name: &OsString, value: &str) -> bool {
    let mut bytes = vec![0; 1 << 16];
    let value = if value == "." { OsString::new() } else { unescaped(value) };
    match rustix::fs::lgetxattr(path, name.as_os_str(), &mut bytes[..]) {
        Ok(n) => bytes[..n] == *value.as_bytes(),
        Err(why) => why == rustix::io::Errno::OPNOTSUPP,
    }
}

fn walk(top: &Path, dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        found.insert(escaped(path.strip_prefix(top).unwrap().as_os_str().as_bytes()));
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            walk(top, &path, found);
        }
    }
}
