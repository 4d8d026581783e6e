//! Where the defaults lie. Never beneath the current directory, which may be a drive: relative paths in the environment are
//! passed over, as the XDG base directory specification says, and where nothing is left, the verb that needs it stops.

use ckvault::error::{Error, Result};
use ckvault::media::accounts::Accounts;
use std::path::PathBuf;

/// Keys and lists: `$CKVAULT_HOME`, else `$XDG_CONFIG_HOME/ckvault`, else `~/.config/ckvault`.
pub fn config() -> Result<PathBuf> {
    match set("CKVAULT_HOME") {
        Some(dir) if dir.is_absolute() => Ok(dir),
        Some(dir) => Err(Error::usage(
            format!("CKVAULT_HOME is {}, which is not an absolute path", dir.display()),
            "set it to the whole path: whom to trust must not depend on the current directory",
        )),
        None => beneath("XDG_CONFIG_HOME", ".config", "CKVAULT_HOME"),
    }
}

/// A file there.
pub fn file(name: &str) -> Result<PathBuf> {
    Ok(config()?.join(name))
}

/// How far exports are: `$XDG_STATE_HOME/ckvault`, else `~/.local/state/ckvault`.
pub fn state() -> Result<PathBuf> {
    beneath("XDG_STATE_HOME", ".local/state", "XDG_STATE_HOME")
}

fn beneath(variable: &str, dir: &str, or: &str) -> Result<PathBuf> {
    let base = set(variable).filter(|dir| dir.is_absolute()).or_else(|| home().map(|home| home.join(dir)));
    base.map(|dir| dir.join("ckvault")).ok_or_else(|| {
        Error::usage(
            "there is no home directory: HOME is not an absolute path, and the password database has none for this user",
            format!("set HOME, or {or}, to an absolute path"),
        )
    })
}

fn set(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// `$HOME`, else what the password database says.
fn home() -> Option<PathBuf> {
    let mut found = set("HOME").filter(|dir| dir.is_absolute());
    // The standard library asks the name services; in a static program that can end in a segmentation fault.
    if cfg!(not(target_feature = "crt-static")) {
        found = found.or_else(std::env::home_dir).filter(|dir| dir.is_absolute());
    }
    found.or_else(|| Accounts::read().home(rustix::process::getuid().as_raw()))
}
