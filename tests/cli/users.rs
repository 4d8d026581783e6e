//! Commands as other users, with an environment and with accounts of their own. For tests that root runs.

use crate::support::*;
use crate::tree;
use std::fs;

/// A user of no account.
pub const NOBODY: u32 = 54321;

/// Opens the vault to other users, and puts the program where they may run it; false, visibly, where that is not possible.
pub fn admit(vault: &Vault) -> bool {
    if !is_root() {
        skip("needs root, to run commands as another user");
        return false;
    }
    if !need(&["setpriv", "env"]) {
        return false;
    }
    let from = std::path::Path::new(env!("CARGO_BIN_EXE_ckvault"));
    if fs::hard_link(from, vault.path("ckvault")).is_err() {
        fs::copy(from, vault.path("ckvault")).unwrap();
    }
    tree::set_mode(&vault.root, 0o755);
    true
}

/// ckvault as this user, with these variables in the environment and no others; the arguments are separated by blanks.
pub fn ckvault(vault: &Vault, uid: u32, variables: &str, arguments: &str) -> Call {
    let user = format!("--reuid={uid} --regid={uid} --clear-groups env -i {variables}");
    vault.tool("setpriv", &user).arg(vault.path("ckvault")).args(arguments)
}

/// The same where `/etc/passwd` and `/etc/group` are these; `None`, visibly, where that cannot be.
pub fn among(vault: &Vault, (passwd, group): (&str, &str), uid: u32, variables: &str, arguments: &str) -> Option<Call> {
    fs::write(vault.path("passwd"), passwd).unwrap();
    fs::write(vault.path("group"), group).unwrap();
    let mount = "mount --bind passwd /etc/passwd && mount --bind group /etc/group";
    let alone = |then: &str| vault.tool("unshare", "-m sh -c").arg(format!("{mount} && {then}"));
    if !need(&["unshare", "mount"]) || alone("true").run().code != Some(0) {
        skip("cannot put files of a test in the place of /etc/passwd");
        return None;
    }
    let user = format!("sh setpriv --reuid={uid} --regid={uid} --clear-groups env -i {variables}");
    Some(alone("exec \"$@\"").args(&user).arg(vault.path("ckvault")).args(arguments))
}
