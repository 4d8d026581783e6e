//! The fence around this process: what it may reach from now on. The kernel enforces it (Landlock), for this thread and those
//! that it starts, and nothing takes it down again. What is open stays open, and metadata (stat, chmod) is not fenced.

use crate::media::errand::Errand;
use crate::media::mounts;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
    path_beneath_rules,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The newest version of the kernel's interface that this was written for.
const NEWEST: ABI = ABI::V10;
const ROOT: &str = "/";

/// What is needed from now on. Everything else is refused: other files, running programs, the network.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Files that are read, and directories with all that is in them.
    pub read: Vec<PathBuf>,
    /// Directories in which files, directories and links are read, made, changed and removed.
    pub write: Vec<PathBuf>,
    /// Directories into which whole directories are moved, and from which empty ones are removed.
    pub receive: Vec<PathBuf>,
    /// Where drives may be changed for others.
    pub changed: Vec<PathBuf>,
    /// Programs that are run outside of the fence.
    pub errands: Vec<Errand>,
}

/// A fence that stands, as far as it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fence {
    /// `full`; `partial` if the kernel knows only some of what is to be refused; or `none`.
    pub level: &'static str,
    /// The version of the kernel's interface, if there is one.
    pub landlock_abi: Option<i32>,
    /// Why there is no fence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Fence {
    /// There is none.
    pub fn none(why: impl Into<String>) -> Fence {
        Fence { level: "none", landlock_abi: None, why: Some(why.into()) }
    }
}

/// What can be said of the places of drives before they are needed.
impl Needs {
    /// What a drive that may be changed for another needs. What is mounted later is not beneath its mount point, but beneath
    /// the directory around that; and of a link nobody knows where it will lead.
    pub fn around(place: &Path) -> PathBuf {
        let place = place.components().as_path();
        if place.is_symlink() {
            return ROOT.into();
        }
        let place = std::path::absolute(place).unwrap_or_else(|_| ROOT.into());
        let place = place.canonicalize().unwrap_or(place);
        Needs::nearest(place.parent().unwrap_or(Path::new(ROOT)))
    }

    /// A directory, or as long as it does not exist the nearest above it that does.
    pub fn nearest(dir: &Path) -> PathBuf {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| ROOT.into());
        dir.ancestors().find(|d| d.is_dir()).map_or_else(|| ROOT.into(), Path::to_owned)
    }
}

/// Raises the fence. A kernel that cannot is no reason to stop.
pub fn raise(needs: &Needs) -> Fence {
    // The files that tell it cannot be read behind the fence.
    crate::threads::workers();
    mounts::prepare();
    // A statically linked program may have no other source than /dev/urandom, which stays open from the first time on.
    let _ = getrandom::u64();
    match enforce(needs) {
        Ok(status) => stands(&status),
        Err(error) => Fence::none(format!("this kernel cannot fence in what is needed: {error}")),
    }
}

fn enforce(needs: &Needs) -> Result<RestrictionStatus, RulesetError> {
    // The first version of Landlock forbids all renames between directories.
    let renames = !needs.write.is_empty() || !needs.receive.is_empty();
    let must = if renames { CompatLevel::HardRequirement } else { CompatLevel::BestEffort };
    let mut fence = Ruleset::default()
        .set_compatibility(must)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let receive = make_bitflags!(AccessFs::{ReadDir | MakeDir | RemoveDir | Refer});
    let write = read | receive | make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | MakeSym | RemoveFile});
    for (paths, access) in [(&needs.read, read), (&needs.write, write), (&needs.receive, receive)] {
        allow(&mut fence, paths, access);
    }
    fence.restrict_self()
}

/// What does not exist needs no permission, and neither does what is on no file system, a pipe for example.
fn allow(fence: &mut RulesetCreated, paths: &[PathBuf], access: BitFlags<AccessFs>) {
    for rule in path_beneath_rules(paths, access).flatten() {
        let _ = fence.add_rule(rule);
    }
}

fn stands(status: &RestrictionStatus) -> Fence {
    let landlock_abi = match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => Some(kernel_abi.unwrap_or(effective_abi as i32)),
        _ => None,
    };
    match (&status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => Fence { level: "full", landlock_abi, why: None },
        (RulesetStatus::PartiallyEnforced, _) => Fence { level: "partial", landlock_abi, why: None },
        (_, LandlockStatus::NotEnabled) => Fence::none("Landlock is not enabled on this kernel"),
        _ => Fence::none("this kernel has no Landlock"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_needed_around_a_drive() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("usb")).unwrap();
        symlink("usb", root.join("link")).unwrap();
        symlink(&root, root.join("self")).unwrap();
        for (place, around) in [
            (root.join("usb"), root.as_path()),
            (root.join("usb/"), &root),
            (root.join("self/usb"), &root),
            (root.join("gone"), &root),
            (root.join("gone/usb"), &root),
            (root.join("link"), Path::new("/")),
            (root.join("link/"), Path::new("/")),
            ("/".into(), Path::new("/")),
        ] {
            assert_eq!(Needs::around(&place), around, "{}", place.display());
        }
        assert_eq!(Needs::nearest(&root.join("usb/a/b")), root.join("usb"));
    }
}
