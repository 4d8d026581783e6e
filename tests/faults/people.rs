//! Sender and receiver, as the library knows them.

use ckvault::commands::{export, import, keygen, verify};
use ckvault::error::{Error, Result};
use ckvault::media::disk::Disk;
use ckvault::pack::Request;
use ckvault::progress::{Nobody, Silent};
use ckvault::set::Where;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory with keys, a checkpoint in `source`, and drives.
pub struct Place {
    temp: TempDir,
}

impl Place {
    /// With a checkpoint of so many bytes of noise, and something of other kinds.
    pub fn new(bytes: usize) -> Place {
        // Whatever the umask is here: files that others may write are refused.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        // In memory, where there is such a place: hundreds of runs sync every file.
        let memory = Path::new("/dev/shm");
        let above = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let place = Place { temp: tempfile::Builder::new().prefix("ckvault-faults-").tempdir_in(above).unwrap() };
        let keys = keygen::Options { out: place.path("keys"), principal: "me@here".into(), ..Default::default() };
        keygen::run(&keys, &Nobody, &Silent::default()).unwrap();
        fs::create_dir_all(place.path("source/dir")).unwrap();
        fs::write(place.path("source/noise"), noise(bytes)).unwrap();
        fs::write(place.path("source/dir/empty"), "").unwrap();
        fs::write(place.path("source/dir/small"), "small\n".repeat(100)).unwrap();
        std::os::unix::fs::symlink("dir/small", place.path("source/link")).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Empties the drive and forgets what was begun.
    pub fn anew(&self, drives: &[&str]) {
        for name in drives.iter().chain(&["state"]) {
            let _ = fs::remove_dir_all(self.path(name));
            fs::create_dir(self.path(name)).unwrap();
        }
    }

    pub fn export_options(&self, disk: Disk, drives: &[&str]) -> export::Options {
        export::Options {
            disk,
            sources: vec![self.path("source")],
            drives: drives.iter().map(|d| self.path(d)).collect(),
            recipients: vec![self.path("keys/recipients.txt")],
            signing_key: Some(self.path("keys/signing_key")),
            request: Request { parity: Some((2, 1)), volume_bytes: Some(2 << 20), ..Request::default() },
            read_back: true,
            state_dir: self.path("state"),
            now: jiff::Timestamp::now(),
            ..export::Options::default()
        }
    }

    pub fn export(&self, disk: Disk, drives: &[&str]) -> Result<export::Report> {
        export::run(&self.export_options(disk, drives), Nobody, &Silent::default())
    }

    /// Goes on, or begins anew if there is nothing to go on with.
    pub fn export_again(&self, drives: &[&str]) -> Result<export::Report> {
        let resume = export::Options { resume: Some(None), ..self.export_options(Disk::default(), &[]) };
        match export::run(&resume, Nobody, &Silent::default()) {
            Err(Error::Usage { .. }) => self.export(Disk::default(), drives),
            other => other,
        }
    }

    pub fn look(&self, disk: Disk, drives: &[&str]) -> Where {
        Where {
            disk,
            drives: drives.iter().map(|d| self.path(d)).collect(),
            set: None,
            signers: Some(self.path("keys/allowed_signers")),
            now: jiff::Timestamp::now(),
            ..Where::default()
        }
    }

    /// The verdict on what is there.
    pub fn verdict(&self, drives: &[&str]) -> Result<String> {
        let options = verify::Options { place: self.look(Disk::default(), drives), this_drive: false };
        verify::run(&options, &Silent::default()).map(|r| r.verdict.to_owned())
    }

    /// Imports, and compares with the source.
    pub fn restores(&self, drives: &[&str]) {
        let to = self.path("restored");
        let _ = fs::remove_dir_all(&to);
        let options = import::Options {
            place: self.look(Disk::default(), drives),
            to: to.clone(),
            identities: vec![self.path("keys/identity.txt")],
            ..import::Options::default()
        };
        import::run(&options, Nobody, &Silent::default()).unwrap();
        assert!(contents(&to) == contents(&self.path("source")), "what came back differs");
    }
}

/// Noise that is the same every time.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(bytes).collect()
}

/// Every entry below a directory with what it holds.
pub fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    collect(dir, dir, &mut found);
    found
}

fn collect(top: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(top).unwrap().to_owned();
        let meta = path.symlink_metadata().unwrap();
        if meta.is_symlink() {
            found.insert(name, fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
        } else if meta.is_dir() {
            found.insert(name, b"dir".to_vec());
            collect(top, &path, found);
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
}
