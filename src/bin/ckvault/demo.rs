//! `ckvault demo`: the whole journey on simulated drives, told with the command lines that a user would type, each of which
//! is really run by this very program.

use crate::cli::Shape;
use crate::ui::{Bars, say};
use ckvault::error::{Error, Result};
use ckvault::progress::Progress;
use clap::ValueEnum;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

const SHARDS: u64 = 3;
const SHARD_PARAMETERS: u64 = 20 << 20;
const OPTIMIZER_PARAMETERS: u64 = 12 << 20;
const DAMAGE: usize = 1 << 20;

/// Makes a checkpoint, exports it, loses a drive, damages another, imports, compares.
pub fn run(progress: &Bars, verbose: bool, shape: Shape) -> Result<()> {
    let place = tempfile::Builder::new()
        .prefix("ckvault-demo-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .map_err(Error::io("create", std::env::temp_dir()))?;
    let root = place.path().canonicalize().map_err(Error::io("resolve", place.path()))?;
    let stage = Stage { root, progress, verbose, shape };
    stage.act()?;
    say!("\n# done: nothing of this remains in {}", place.path().display());
    place.close().map_err(Error::io("remove", "the demo's directory"))
}

struct Stage<'a> {
    root: PathBuf,
    progress: &'a Bars,
    verbose: bool,
    shape: Shape,
}

impl Stage<'_> {
    fn act(&self) -> Result<()> {
        say!("# The machine in the air gap makes its keys, and so does the sender. Only public halves are exchanged.");
        self.ckvault("receiver", ".", &["keygen"], 0)?;
        self.ckvault("sender", ".", &["keygen"], 0)?;
        self.copy("keys/receiver/recipients.txt", "keys.txt")?;
        self.copy("keys/sender/signing_key.pub", "sender.pub")?;

        say!("\n# A checkpoint: bf16 safetensors, config, tokenizer, optimizer state.");
        make_checkpoint(&self.root.join("checkpoint"), &|| self.progress.cancelled())?;
        for drive in ["usb1", "usb2", "usb3"] {
            self.make_dir(drive)?;
        }
        say!("\n# The sender exports it to three drives, so that any one of them may get lost.");
        let export = [
            "export",
            "checkpoint",
            "--to",
            "usb1",
            "--to",
            "usb2",
            "--to",
            "usb3",
            "--recipients",
            "keys.txt",
            "--survive-drives",
            "1",
            // Here they are simulated.
            "--same-device-ok",
            "--label",
            "demo",
        ];
        self.ckvault("sender", ".", &export, 0)?;
        say!("\n# The gate officer checks the drives without any secret: whose they are, and whether they are whole.");
        self.ckvault("gate", ".", &["verify", "usb1", "usb2", "usb3", "--signers", "sender.pub"], 0)?;

        say!("\n# On the road, drive 2 is lost, and a megabyte of drive 3 is wiped.");
        fs::remove_dir_all(self.root.join("usb2")).map_err(Error::io("remove", "usb2"))?;
        self.wipe_some("usb3")?;
        self.ckvault("receiver", ".", &["verify", "usb1", "usb3", "--signers", "sender.pub"], 3)?;
        say!("\n# What is left suffices. Import repairs it in passing, and restores only what has been proven.");
        self.ckvault("receiver", ".", &["import", "usb1", "usb3", "--to", "restored", "--signers", "sender.pub"], 0)?;
        let (files, bytes) = compare(&self.root.join("checkpoint"), &self.root.join("restored"))?;
        say!("\n# Compared with the original: {files} files, {bytes} bytes, all equal.");
        Ok(())
    }

    /// Runs this program as one of the people of the story, and expects a certain exit code.
    fn ckvault(&self, who: &str, dir: &str, arguments: &[&str], expected: i32) -> Result<()> {
        if self.progress.cancelled() {
            return Err(Error::Interrupted);
        }
        say!("\n{who}$ ckvault {}", arguments.join(" "));
        let program = std::env::current_exe().map_err(Error::io("find", "ckvault"))?;
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(self.root.join(dir)).env("XDG_STATE_HOME", self.root.join("state"));
        command.env("CKVAULT_HOME", self.root.join("keys").join(who));
        if self.verbose {
            command.arg("--verbose");
        }
        if let Some(shape) = self.shape.to_possible_value() {
            command.arg("--progress").arg(shape.get_name());
        }
        let status = command.status().map_err(Error::io("run", &program))?;
        match status.code() {
            Some(code) if code == expected => Ok(()),
            Some(130) => Err(Error::Interrupted),
            code => Err(Error::Internal(format!("ckvault {} ended with {code:?}, not {expected}", arguments[0]))),
        }
    }

    fn copy(&self, from: &str, to: &str) -> Result<()> {
        fs::copy(self.root.join(from), self.root.join(to)).map(drop).map_err(Error::io("copy", from))
    }

    fn make_dir(&self, name: &str) -> Result<()> {
        fs::create_dir(self.root.join(name)).map_err(Error::io("create", name))
    }

    fn wipe_some(&self, drive: &str) -> Result<()> {
        let set = entries(&self.root.join(drive))?.into_iter().next().unwrap_or_default();
        let volume = entries(&set)?.into_iter().find(|p| p.extension().is_some_and(|e| e == "ckv")).unwrap_or_default();
        let file = File::options().write(true).open(&volume).map_err(Error::io("open", &volume))?;
        file.write_all_at(&vec![0; DAMAGE], 1 << 20).map_err(Error::io("damage", &volume))
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        paths.push(entry.map_err(Error::io("read", dir))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Xorshift: noise that is the same on every machine.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// About normal, as weights are: the sum of four uniform numbers.
    fn weight(&mut self) -> f32 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|i| bits >> (16 * i) & 0xffff).sum();
        (sum as f32 / 65536.0 - 2.0) * 0.035
    }
}

fn make_checkpoint(dir: &Path, stop: &dyn Fn() -> bool) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let mut noise = Noise(0x0063_6B76_6175_6C74);
    for shard in 1..=SHARDS {
        let path = dir.join(format!("model-{shard:05}-of-{SHARDS:05}.safetensors"));
        write_tensor(&path, ("BF16", 2), SHARD_PARAMETERS, stop, |out| {
            out.write_all(&noise.weight().to_bits().to_le_bytes()[2..])
        })?;
    }
    let optimizer = dir.join("optimizer.safetensors");
    write_tensor(&optimizer, ("F32", 4), OPTIMIZER_PARAMETERS, stop, |out| {
        out.write_all(&(noise.weight() * 1e-3).to_le_bytes())
    })?;
    let config = "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 4096, \"torch_dtype\": \"bfloat16\"}\n";
    fs::write(dir.join("config.json"), config).map_err(Error::io("write", dir))?;
    let vocabulary: String = (0..32_000).map(|i| format!("\"token{i}\": {i},\n")).collect();
    fs::write(dir.join("tokenizer.json"), format!("{{\"model\": {{\"vocab\": {{\n{vocabulary}\"</s>\": 32000}}}}}}\n"))
        .map_err(Error::io("write", dir))
}

/// A safetensors file with one tensor.
fn write_tensor(
    path: &Path,
    (dtype, width): (&str, u64),
    parameters: u64,
    stop: &dyn Fn() -> bool,
    mut next: impl FnMut(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let header = format!(
            "{{\"weight\":{{\"dtype\":\"{dtype}\",\"shape\":[{parameters}],\"data_offsets\":[0,{}]}}}}",
            parameters * width
        );
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        for at in 0..parameters {
            if at % (1 << 20) == 0 && stop() {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            next(&mut out)?;
        }
        out.flush()
    };
    let mut write = write;
    write().map_err(Error::io("write", path))
}

/// Compares two directories file by file, byte by byte.
fn compare(left: &Path, right: &Path) -> Result<(usize, u64)> {
    let (ours, theirs) = (entries(left)?, entries(right)?);
    let mut bytes = 0;
    let differ = |path: &Path| Error::Internal(format!("{} differs from the original", path.display()));
    if ours.len() != theirs.len() {
        return Err(differ(right));
    }
    for (a, b) in ours.iter().zip(&theirs) {
        let same_name = a.file_name() == b.file_name();
        bytes += fs::metadata(a).map_err(Error::io("read", a))?.len();
        if !same_name || hash(a)? != hash(b)? {
            return Err(differ(b));
        }
    }
    Ok((ours.len(), bytes))
}

fn hash(path: &Path) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let file = File::open(path).map_err(Error::io("read", path))?;
    hasher.update_reader(file).map_err(Error::io("read", path))?;
    Ok(hasher.finalize())
}
