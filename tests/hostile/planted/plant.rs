//! What somebody lays into the way of a command.

use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// What is laid at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A link to a file of somebody's.
    LinkToFile,
    /// A link to a directory of somebody's.
    LinkToDirectory,
    /// A link to one that has names which commands like to take up, to replace and to remove.
    LinkToBait,
    /// A link to a name in a directory of somebody's that nothing has.
    Dangling,
    /// A link to what was here, which is elsewhere now.
    LinkToOriginal,
    /// A fifo, which nobody opens at the other end.
    Fifo,
    /// A directory with a file in it.
    Directory,
    /// A regular file.
    File,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::LinkToFile,
        Kind::LinkToDirectory,
        Kind::LinkToBait,
        Kind::Dangling,
        Kind::LinkToOriginal,
        Kind::Fifo,
        Kind::Directory,
        Kind::File,
    ];
}

/// What somebody has and wants to keep, in the site.
pub const VICTIM: &str = "victim";
const FILE: &str = "victim/file";
const DIRECTORY: &str = "victim/directory";
const BAIT: &str = "victim/bait";
/// Where what was here is, when a link to it stands in its place.
const ORIGINAL: &str = "victim/original";

/// A plant.
#[derive(Debug)]
pub struct Planted {
    /// Its name in the site.
    pub at: PathBuf,
    pub kind: Kind,
    /// All that was made: itself, what is in it, and directories on the way to it.
    pub all: Vec<PathBuf>,
    /// Where a link leads to.
    pub to: Option<PathBuf>,
}

/// Makes what links will lead to.
pub fn make_victim(root: &Path) {
    let names = [
        "copy/manifest.json",
        "copy/keys.age.partial",
        "files/model.bin",
        "scratch/1",
        "manifest.json",
        "recover.py",
        "keys.age",
        "keys.age.partial",
        "thesis.partial",
        "g00000-d000.ckv",
        "g00000-d000.ckv.partial",
        "identity.txt",
    ];
    let bait = names.iter().map(|name| format!("{BAIT}/{name}"));
    let all = ["victim/directory/docs/deep/thesis.txt", "victim/directory/id_rsa", FILE].map(str::to_owned);
    for name in bait.chain(all) {
        fs::create_dir_all(root.join(&name).parent().unwrap()).unwrap();
        fs::write(root.join(&name), format!("my {name}\n")).unwrap();
    }
}

/// Lays something at a name, in place of what is there; `None` where that is not possible.
pub fn plant(root: &Path, at: &Path, kind: Kind) -> Option<Planted> {
    let full = root.join(at);
    let there = full.symlink_metadata().is_ok();
    if kind == Kind::LinkToOriginal && !there {
        return None;
    }
    let mut all = ways(root, at)?;
    if there {
        move_away(&full, (kind == Kind::LinkToOriginal).then(|| root.join(ORIGINAL)));
    }
    let to = match kind {
        Kind::LinkToFile => Some(FILE),
        Kind::LinkToDirectory => Some(DIRECTORY),
        Kind::LinkToBait => Some(BAIT),
        Kind::Dangling => Some("victim/directory/nothing"),
        Kind::LinkToOriginal => Some(ORIGINAL),
        _ => None,
    };
    match (&to, kind) {
        (Some(to), _) => symlink(root.join(to), &full).unwrap(),
        (None, Kind::Fifo) => mknodat(CWD, &full, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap(),
        (None, Kind::Directory) => {
            fs::create_dir(&full).unwrap();
            fs::write(full.join("mine"), "mine\n").unwrap();
            all.push(at.join("mine"));
        }
        (None, _) => fs::write(&full, "mine\n").unwrap(),
    }
    all.push(at.to_owned());
    Some(Planted { at: at.to_owned(), kind, all, to: to.map(PathBuf::from) })
}

/// Makes the directories on the way to a name; `None` if something else is in the way.
fn ways(root: &Path, at: &Path) -> Option<Vec<PathBuf>> {
    let mut above: Vec<&Path> = at.ancestors().skip(1).filter(|a| !a.as_os_str().is_empty()).collect();
    above.reverse();
    let mut made = Vec::new();
    for dir in above {
        match root.join(dir).symlink_metadata() {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return None,
            Err(_) => {
                fs::create_dir(root.join(dir)).ok()?;
                made.push(dir.to_owned());
            }
        }
    }
    Some(made)
}

fn move_away(full: &Path, to: Option<PathBuf>) {
    match to {
        Some(to) => fs::rename(full, to).unwrap(),
        None if full.symlink_metadata().unwrap().is_dir() => fs::remove_dir_all(full).unwrap(),
        None => fs::remove_file(full).unwrap(),
    }
}
