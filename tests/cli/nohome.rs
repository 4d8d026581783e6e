//! Trust, keys and state never come from the current directory, which may be a drive: whatever lies there by the names that
//! ckvault knows, and whatever the environment lacks.

use crate::support::*;
use crate::tree;
use crate::users::{NOBODY, admit, among, ckvault};
use std::fs;
use std::path::Path;

/// Relative directories in which ckvault would find its files, if it looked for them from here.
const LAIRS: [&str; 8] =
    ["", ".ckvault", "ckvault", ".config/ckvault", "rel", "rel/ckvault", "rel/.config/ckvault", ".ckvault-state"];

/// Environments that name no home: nothing at all, and what is not an absolute path.
const HOMELESS: [&str; 6] = [
    "",
    "HOME= CKVAULT_HOME= XDG_CONFIG_HOME= XDG_STATE_HOME=",
    "HOME=. XDG_CONFIG_HOME=. XDG_STATE_HOME=.",
    "HOME=rel XDG_CONFIG_HOME=rel XDG_STATE_HOME=rel",
    "HOME=./rel",
    "XDG_CONFIG_HOME=.config XDG_STATE_HOME=.ckvault-state",
];

/// The receiver's vault with a set of the sender's on `good` and one of an attacker's on `bad`; `lair` is a directory in which
/// the attacker has planted keys, lists and programs.
fn prepared() -> Option<Vault> {
    let vault = Vault::new();
    if !admit(&vault) {
        return None;
    }
    vault.checkpoint("checkpoint", 1000);
    vault.make(&["good", "bad", "empty", "open", "lair"]);
    ["open", "empty"].iter().for_each(|name| tree::set_mode(&vault.path(name), 0o777));
    vault.export("checkpoint --to good --parity 1+1");
    vault.call("attacker", "keygen").run().ok();
    vault.call("attacker", "export checkpoint --to bad --recipients keys.txt --parity 1+1 --volume-size 2M").run().ok();
    for lair in LAIRS {
        let dir = vault.path("lair").join(lair);
        fs::create_dir_all(&dir).unwrap();
        for name in ["allowed_signers", "signing_key", "signing_key.pub", "recipients.txt", "identity.txt"] {
            fs::copy(vault.home("attacker").join(name), dir.join(name)).unwrap();
        }
    }
    for program in ["sh", "ssh-keygen", "age-plugin-toy", "env"] {
        let path = vault.path("lair").join(program);
        fs::write(&path, format!("#!/bin/sh\ntouch {}/ran\n", vault.path("open").display())).unwrap();
        tree::set_mode(&path, 0o755);
    }
    // Theirs may be read by whoever it is.
    for name in ["identity.txt", "signing_key"] {
        tree::set_mode(&vault.home("receiver").join(name), 0o644);
    }
    for dir in ["home", "home/receiver", "home/sender"] {
        tree::set_mode(&vault.path(dir), 0o755);
    }
    Some(vault)
}

/// Commands that need what a home has, with what they say if there is none.
const NEED_A_HOME: [(&str, &str); 11] = [
    ("keygen", "CKVAULT_HOME"),
    ("export @/checkpoint --to @/open", "CKVAULT_HOME"),
    ("export @/checkpoint --to @/open --recipients @/keys.txt", "CKVAULT_HOME"),
    ("export @/checkpoint --to @/open --signing-key @/home/receiver/signing_key", "CKVAULT_HOME"),
    (
        "export @/checkpoint --to @/open --recipients @/keys.txt --signing-key @/home/receiver/signing_key",
        "XDG_STATE_HOME",
    ),
    ("export --resume", "XDG_STATE_HOME"),
    ("verify @/bad", "CKVAULT_HOME"),
    ("repair @/bad", "CKVAULT_HOME"),
    ("import @/bad --to @/open/there", "CKVAULT_HOME"),
    ("import @/good --signers @/sender.pub --to @/open/there", "CKVAULT_HOME"),
    ("list @/bad --identity @/home/receiver/identity.txt", "CKVAULT_HOME"),
];

/// Commands that name all that they need.
const NEED_NONE: [&str; 9] = [
    "export @/checkpoint --to @/empty --recipients @/keys.txt --signing-key @/home/receiver/signing_key --dry-run",
    "verify @/good --signers @/sender.pub",
    "repair @/good --signers @/sender.pub",
    "list @/good --signers @/sender.pub --identity @/home/receiver/identity.txt",
    "import @/good --signers @/sender.pub --identity @/home/receiver/identity.txt --to @/open/there",
    "keygen --out @/open/keys",
    "inspect @/good",
    "inspect @/bad",
    "help verify",
];

/// Runs a command of a user without an account in the lair. What it did there, it did not: nothing is changed, and no program
/// of the attacker's has run. Where calls can be recorded, none named anything there.
#[track_caller]
fn in_the_lair(vault: &Vault, variables: &str, command: &str) -> Ran {
    let before = tree::read(&vault.path("lair"));
    let arguments = command.replace('@', vault.root.to_str().unwrap());
    let ran = ckvault(vault, NOBODY, variables, &arguments).at("lair").run();
    ran.check(tree::read(&vault.path("lair")) == before, "something in the current directory has changed");
    ran.check(!vault.path("open/ran").exists(), "a program in the current directory has run");
    ran
}

#[test]
fn without_a_home_what_needs_one_stops_and_says_what_to_set() {
    let Some(vault) = prepared() else { return };
    set_open(&vault);
    for variables in HOMELESS {
        for (command, variable) in NEED_A_HOME {
            let ran = in_the_lair(&vault, variables, command).fails(2).says("there is no home directory");
            ran.says(&format!("hint: set HOME, or {variable}"));
            assert!(names_in(&vault.path("open")).is_empty(), "{variables} {command}");
        }
    }
    for home in [".ckvault", ".", "rel", "./rel/ckvault"] {
        for (command, _) in NEED_A_HOME.iter().filter(|(_, variable)| *variable == "CKVAULT_HOME") {
            in_the_lair(&vault, &format!("CKVAULT_HOME={home} HOME=/nonexistent"), command)
                .fails(2)
                .says("not an absolute path");
        }
    }
}

/// The good set may be repaired by anybody.
fn set_open(vault: &Vault) {
    vault.tool("chmod", "-R a+rwX good").run().ok();
}

#[test]
fn without_a_home_what_names_all_that_it_needs_works() {
    let Some(vault) = prepared() else { return };
    set_open(&vault);
    for variables in HOMELESS.iter().chain(&["CKVAULT_HOME=.ckvault"]) {
        // Where keys are made, nobody else may write.
        tree::set_mode(&vault.path("open"), 0o1777);
        for command in NEED_NONE {
            let ran = in_the_lair(&vault, variables, command).ok();
            if command.starts_with("inspect") {
                ran.shows("NOT VERIFIED").shows("it is not known whom to trust");
            }
        }
        assert_eq!(names_in(&vault.path("open/keys")).len(), 5);
        for name in ["there", "keys"] {
            fs::remove_dir_all(vault.path("open").join(name)).unwrap();
        }
    }
}

#[test]
fn the_home_of_the_password_database_is_used_and_no_other() {
    let Some(vault) = prepared() else { return };
    let home = vault.path("user");
    let config = home.join(".config/ckvault");
    fs::create_dir_all(&config).unwrap();
    for name in ["allowed_signers", "identity.txt"] {
        fs::copy(vault.home("receiver").join(name), config.join(name)).unwrap();
    }
    let passwd = format!("root:x:0:0::/root:\nme:x:{NOBODY}:{NOBODY}::{}:/bin/sh\n", home.display());
    let homeless = HOMELESS.into_iter().chain(["HOME=. XDG_CONFIG_HOME=.config CKVAULT_HOME="]);
    for variables in homeless {
        for (command, code) in [
            ("verify @/good", 0),
            ("list @/good", 0),
            ("inspect @/good", 0),
            ("verify @/bad", 5),
            ("import @/bad --to @/open/there", 5),
            ("import @/good --to @/open/there", 0),
        ] {
            let command = command.replace('@', vault.root.to_str().unwrap());
            let before = tree::read(&vault.path("lair"));
            let Some(call) = among(&vault, (&passwd, "root:x:0:\n"), NOBODY, variables, &command) else { return };
            let ran = call.run().ends(code);
            ran.check(!command.starts_with("inspect") || !ran.stdout.contains("NOT VERIFIED"), "the list is not used");
            assert!(tree::read(&vault.path("lair")) == before);
        }
        fs::remove_dir_all(vault.path("open/there")).unwrap();
    }
}

/// The paths that a command names in calls, with the directory from which each is looked up.
#[test]
fn nothing_in_the_current_directory_is_looked_at() {
    if !need(&["strace"]) {
        return;
    }
    let Some(vault) = prepared() else { return };
    set_open(&vault);
    tree::set_mode(&vault.path("open"), 0o1777);
    let lair = vault.path("lair");
    let all = NEED_A_HOME.iter().map(|(command, _)| command).chain(&NEED_NONE);
    for command in all {
        for variables in ["", HOMELESS[3]] {
            let log = vault.path("calls");
            let program =
                format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups /usr/bin/env -i {variables}");
            let arguments = command.replace('@', vault.root.to_str().unwrap());
            let recorded = vault.tool("strace", "-f -y -s 4096 -e trace=%file -o").arg(&log).args(&program);
            let ran = recorded.arg(vault.path("ckvault")).args(&arguments).at("lair").run();
            let calls = fs::read_to_string(&log).unwrap();
            let from = calls.find(vault.path("ckvault").to_str().unwrap());
            let own = &calls[from.unwrap_or_else(|| panic!("no call is recorded: {calls}\n{ran}"))..];
            own.lines().for_each(|call| ran.check(!is_within(call, &lair), &format!("it looks into the lair: {call}")));
            for name in ["there", "keys"] {
                let _ = fs::remove_dir_all(vault.path("open").join(name));
            }
        }
    }
}

/// Whether a call that strace has recorded names something in a directory, which is the current one.
fn is_within(call: &str, dir: &Path) -> bool {
    let dir = dir.to_str().unwrap();
    let relative = |after: &str| call.match_indices(after).any(|(at, m)| !call[at + m.len()..].starts_with(['/', '"']));
    let here = format!("<{dir}>, \"");
    relative("(\"") || relative(&here) || relative("AT_FDCWD, \"") || call.contains(&format!("\"{dir}/"))
}
