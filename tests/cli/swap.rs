//! Drives that are really unmounted and mounted, at one mount point, while a command waits for the next one.

use crate::drives::Mount;
use crate::support::*;
use crate::tree;
use std::fs;
use std::process::Command;

/// A port, and drives that are mounted there one at a time.
struct Port {
    vault: Vault,
    drives: Vec<Mount>,
}

impl Port {
    /// With so many drives of 20 MB, of which the first is in.
    fn new(count: usize) -> Option<Port> {
        let vault = Vault::new();
        vault.make(&["usb"]);
        let drives: Vec<Mount> =
            (1..=count).map_while(|i| Mount::new(&vault, &format!("drive{i}"), "size=20M")).collect();
        let port = Port { vault, drives };
        (port.drives.len() == count && port.put_in(1)).then_some(port)
    }

    fn put_in(&self, number: usize) -> bool {
        let mut mount = Command::new("mount");
        mount.arg("--bind").arg(&self.drives[number - 1].0).arg(self.vault.path("usb"));
        mount.status().is_ok_and(|s| s.success())
    }

    fn take_out(&self) {
        assert!(Command::new("umount").arg(self.vault.path("usb")).status().unwrap().success(), "something holds it");
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--quiet").arg(self.vault.path("usb")).status();
    }
}

/// Unmounts, and mounts the drive that is asked for, or if any will do the next one.
const SWAP: &str = "n=$CKVAULT_DRIVE_NUMBER; [ -n \"$n\" ] || { n=$(head -n1 list); sed -i 1d list; }; \
    umount $CKVAULT_DRIVE && mount --bind drive$n $CKVAULT_DRIVE";
/// Unmounts, and says that it has mounted something; the next time it has nothing to unmount.
const FORGET: &str = "umount --quiet $CKVAULT_DRIVE; true";

fn export(port: &Port, command: &str) -> Call {
    port.vault.checkpoint("source", 40_000_000);
    let export = "export source --to usb --recipients keys.txt --volume-size 2M --parity 4+2 --next-drive-command";
    port.vault.call("sender", export).arg(command)
}

#[test]
fn drives_can_be_unmounted_while_the_next_one_is_asked_for() {
    let Some(port) = Port::new(5) else { return };
    export(&port, SWAP).run().ok();
    port.take_out();
    let all = "drive1 drive2 drive3 drive4 drive5";
    assert_eq!(port.vault.verdict(all)["verdict"], "intact");
    assert!(port.put_in(1));
    fs::write(port.vault.path("list"), "2\n3\n4\n5\n").unwrap();
    let import = port.vault.call("receiver", "import usb --to restored --next-drive-command").arg(SWAP);
    import.run().ok();
    tree::assert_same(&port.vault.path("source"), &port.vault.path("restored"));
}

#[test]
fn what_is_not_mounted_any_more_is_not_written_to() {
    let Some(port) = Port::new(1) else { return };
    let ran = export(&port, FORGET).run().fails(7).says("nothing is mounted at").says("--resume");
    ran.check(ran.stderr.matches("nothing is mounted at").count() > 1, "it was not asked again");
    assert!(names_in(&port.vault.path("usb")).is_empty(), "it went to the disk of the host");
    // Another process, the next day: it remembers what the drive was.
    port.vault.sender("export --resume").fails(7).says("nothing is mounted at");
    assert!(names_in(&port.vault.path("usb")).is_empty());
}

#[test]
fn a_mount_point_without_a_drive_is_told_as_such_on_the_way_back() {
    let Some(port) = Port::new(5) else { return };
    export(&port, SWAP).run().ok();
    port.take_out();
    assert!(port.put_in(2));
    let import = port.vault.call("receiver", "import usb --to restored --next-drive-command").arg(FORGET);
    import.run().fails(7).says("nothing is mounted at");
    assert!(!fs::exists(port.vault.path("restored")).unwrap());
}

#[test]
fn drives_that_stay_are_used_on_when_nobody_brings_another() {
    let Some(port) = Port::new(5) else { return };
    export(&port, SWAP).run().ok();
    // Nobody comes: what is here is still here, and everything that it holds is restored.
    let import = port.vault.call("receiver", "import drive1 drive2 usb --to restored --salvage --next-drive-command");
    let ran = import.arg("false").run();
    ran.check(ran.code == Some(4), "what is not here is lost");
    assert!(fs::exists(port.vault.path("restored/config.json")).unwrap());
}
