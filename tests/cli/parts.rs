//! One port, many drives: a set goes on on the next drive where one is full.

use crate::drives::Mount;
use crate::support::*;
use std::fs;
use std::os::unix::fs::symlink;

/// The command that puts in the drive that is asked for: `usb` leads to it.
const CHANGE: &str = "ln -sfn drive$CKVAULT_DRIVE_NUMBER $CKVAULT_DRIVE";

/// Drives of 20 MB, `drive1` and so on, the first of which is in the port `usb`.
pub fn drives(vault: &Vault, count: usize) -> Option<Vec<Mount>> {
    symlink("drive1", vault.path("usb")).unwrap();
    (1..=count).map(|i| Mount::new(vault, &format!("drive{i}"), "size=20M")).collect()
}

/// Exports 40 MB to as many drives as that needs, which are five.
pub fn export(vault: &Vault, more: &str) -> Call {
    vault.checkpoint("source", 40_000_000);
    let call =
        vault.call("sender", "export source --to usb --recipients keys.txt --volume-size 2M --parity 4+2 --json");
    let call = more.split_whitespace().fold(call, |call, word| call.arg(word));
    call.arg("--next-drive-command").arg(CHANGE)
}

const ALL: &str = "drive1 drive2 drive3 drive4 drive5";

#[test]
fn a_set_goes_on_on_the_next_drives() {
    let vault = Vault::new();
    let Some(_drives) = drives(&vault, 5) else { return };
    let report = export(&vault, "--label long").run().ok().json();
    assert_eq!((list(&report["parts"]).len(), report["last"].to_string()), (5, "true".into()));
    let numbers: Vec<u64> = list(&report["drives"]).iter().map(|d| number(&d["drive"])).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert_eq!(vault.verdict(ALL)["verdict"], "intact");
    vault.restores("drive3 drive1 drive5 drive2 drive4", "source");
    for drive in ["drive1", "drive3", "drive5"] {
        assert_eq!(vault.verdict(&format!("{drive} --this-drive"))["verdict"], "intact");
        let alone = vault.verdict(drive);
        assert_eq!(alone["verdict"], "incomplete", "{alone}");
        vault.receiver(&format!("verify {drive} --this-drive")).ok().shows(" of a chain, ");
        vault.receiver(&format!("list {drive}")).ok().shows("step-100/optimizer.bin");
    }
    let seen = vault.receiver("inspect drive2 drive3 --json").ok().json();
    assert_eq!((seen["parts"].to_string(), seen["last"].to_string()), ("[2,3]".into(), "false".into()));
    vault.refuses("drive1 drive2 drive4 drive5", 7).says("drive 3");
    recover_py_restores_it(&vault);
    // The key slot is one, and seen where it is whole.
    let dir = vault.path("drive2").join(std::str::from_utf8(&names_in(&vault.path("drive2"))[0]).unwrap());
    crate::harm::remove(copies_in(&dir, "keys.age"));
    for (drives, seen) in [("drive2", "unknown"), ("drive2 drive3", "classical"), ("drive3", "classical")] {
        assert_eq!(vault.receiver(&format!("inspect {drives} --json")).ok().json()["confidentiality"], seen);
    }
}

fn recover_py_restores_it(vault: &Vault) {
    if !need(&crate::interop::RECOVER) {
        return;
    }
    let dir = |n: usize| {
        let drive = vault.path(format!("drive{n}"));
        drive.join(std::str::from_utf8(&names_in(&drive)[0]).unwrap())
    };
    let call = || vault.tool("python3", "").arg(dir(4).join("recover.py"));
    let keys = "--identity home/receiver/identity.txt --signers home/receiver/allowed_signers";
    let args = format!("{keys} --to {}", vault.path("recovered").display());
    let with = |call: Call, dirs: &[usize]| dirs.iter().fold(call, |call, n| call.arg(dir(*n)));
    let all = args.split(' ').fold(with(call(), &[2, 1, 5, 3, 4]), |call, word| call.arg(word));
    all.run().ok();
    crate::tree::assert_same(&vault.path("source"), &vault.path("recovered"));
    let some = args.replace("recovered", "again");
    let some = some.split(' ').fold(with(call(), &[1, 2, 4, 5]), |call, word| call.arg(word)).run();
    some.check(some.code != Some(0) && some.stderr.contains("part 3"), "a part is missing, and it does not say so");
}

#[test]
fn wrong_and_used_drives_are_refused_and_the_export_can_go_on_later() {
    let vault = Vault::new();
    let Some(_drives) = drives(&vault, 5) else { return };
    vault.checkpoint("source", 40_000_000);
    let call = vault.call("sender", "export source --to usb --recipients keys.txt --volume-size 2M --parity 4+2");
    let ran = call.arg("--next-drive-command").arg("true").run();
    let ran = ran.fails(7).says("holds part 1").says("--resume");
    ran.check(ran.stderr.matches("holds part 1").count() > 3, "it was not asked again");
    vault.sender("export --resume").fails(7).says("drive 2 is needed");
    let call = vault.call("sender", "export --resume --next-drive-command").arg(CHANGE);
    call.run().ok();
    assert_eq!(vault.verdict(ALL)["verdict"], "intact");
    vault.restores(ALL, "source");
}

#[test]
fn without_anybody_to_ask_it_is_refused_before_the_first_byte() {
    let vault = Vault::new();
    let Some(_drives) = drives(&vault, 1) else { return };
    vault.checkpoint("source", 40_000_000);
    vault.sender("export source --to usb --recipients keys.txt").fails(7).says("--next-drive-command");
    assert!(names_in(&vault.path("drive1")).is_empty());
}

#[test]
fn parts_of_different_exports_do_not_belong_together() {
    let vault = Vault::new();
    let Some(_drives) = drives(&vault, 5) else { return };
    let report = export(&vault, "").run().ok().json();
    let id = &text(&report["set"])[..8];
    // The second part under the name of the third: its signature holds, and says what it is.
    let (two, three) = (format!("drive2/{id}.p2.ckvault"), format!("drive3/{id}.p3.ckvault"));
    for name in ["manifest.json", "manifest.json.sig"] {
        for place in ["", "copy/", "third/"] {
            fs::copy(vault.path(&two).join(place).join(name), vault.path(&three).join(place).join(name)).unwrap();
        }
    }
    vault.receiver(&format!("verify {ALL}")).ends(5).says("belongs to part 3 of the set");
    vault.refuses(ALL, 5);
}

#[test]
fn an_export_in_parts_that_is_killed_goes_on() {
    let vault = Vault::new();
    let Some(_drives) = drives(&vault, 5) else { return };
    let mut child = export(&vault, "").command().spawn().unwrap();
    while names_in(&vault.path("drive3")).is_empty() {
        assert!(child.try_wait().unwrap().is_none());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    vault.call("sender", "export --resume --next-drive-command").arg(CHANGE).run().ok();
    assert_eq!(vault.verdict(ALL)["verdict"], "intact");
    vault.restores(ALL, "source");
}
