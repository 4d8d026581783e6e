//! Drives and targets that are mounted for reading only.

use crate::mount::{Kind, Mount, kept};
use crate::support::*;

const KINDS: [Kind; 4] = [Kind::Ext4, Kind::Exfat, Kind::Fat, Kind::Tmpfs("size=100M")];

#[test]
fn a_set_is_read_from_where_nothing_can_be_written() {
    for kind in KINDS {
        let vault = Vault::new();
        vault.checkpoint("checkpoint", 1_000_000);
        let Some(drive) = Mount::new(&vault, "drive", kind) else { continue };
        vault.export("checkpoint --to drive --parity 4+2");
        drive.read_only();
        std::fs::write(drive.dir.join("x"), "").unwrap_err();
        assert_eq!(vault.verdict("drive")["verdict"], "intact", "{kind:?}");
        vault.restores("drive", "checkpoint");
        ["inspect", "list", "verify"].iter().for_each(|verb| drop(vault.receiver(&format!("{verb} drive")).ok()));
    }
}

#[test]
fn nothing_is_exported_to_where_nothing_can_be_written() {
    for kind in KINDS {
        let vault = Vault::new();
        vault.checkpoint("checkpoint", 10_000);
        vault.make(&["usb"]);
        let Some(drive) = Mount::new(&vault, "drive", kind) else { continue };
        drive.read_only();
        let before = kept(&drive.dir);
        let export = "export checkpoint --recipients keys.txt --to usb --to drive";
        vault.sender(export).fails(7).says("drive").says("read-only");
        assert_eq!(kept(&drive.dir), before, "{kind:?}");
        assert!(names_in(&vault.path("usb")).is_empty(), "{kind:?}");
    }
}

#[test]
fn nothing_is_imported_to_where_nothing_can_be_written() {
    for kind in KINDS {
        let vault = Vault::new();
        vault.exported(10_000, "1+1");
        let Some(target) = Mount::new(&vault, "target", kind) else { continue };
        target.read_only();
        let before = kept(&target.dir);
        for to in ["target", "target/new", "target/new/newer"] {
            let ran = vault.receiver(&format!("import usb --to {to}"));
            let code = ran.code;
            let ran = ran.fails(code.unwrap()).says("target");
            ran.check(matches!(code, Some(1 | 7)), "neither 1 nor 7");
            ran.check(ran.stderr.to_lowercase().contains("read-only"), "it does not say why");
            assert_eq!(kept(&target.dir), before, "{kind:?}");
        }
    }
}
