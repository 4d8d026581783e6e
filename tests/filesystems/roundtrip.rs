//! Out to every file system, and back from and onto every one.

use crate::mount::{ALL, Kept, Kind, Mount, kept};
use crate::support::*;
use crate::tree;
use std::path::Path;

/// Exports to two directories of one file system, and reads the set after it has been mounted anew.
fn out_and_back(kind: Kind) {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 3_000_000);
    let Some(drive) = Mount::new(&vault, "drive", kind) else { return };
    vault.make(&["drive/1", "drive/2"]);
    vault.export("checkpoint --to drive/1 --to drive/2 --parity 4+2 --label llama-3");
    drive.again();
    let mut volumes = crate::watch::below(&drive.dir);
    volumes.retain(|path| path.extension().is_some_and(|ext| ext == "ckv"));
    assert_eq!(volumes.len(), 6);
    for volume in volumes {
        use std::os::unix::fs::MetadataExt;
        let meta = std::fs::metadata(&volume).unwrap();
        assert!(
            meta.blocks() * 512 <= meta.len() + (256 << 10),
            "{} keeps room that it does not need",
            volume.display()
        );
    }
    let verdict = vault.verdict("drive/1 drive/2");
    assert_eq!((&verdict["verdict"], &verdict["files"]), (&"intact".into(), &serde_json::json!([])), "{verdict}");
    assert_eq!(vault.restores("drive/1 drive/2", "checkpoint")["repaired_blocks"], 0);
}

#[test]
fn out_to_ext4_and_back() {
    out_and_back(Kind::Ext4);
}

#[test]
fn out_to_exfat_and_back() {
    out_and_back(Kind::Exfat);
}

#[test]
fn out_to_fat_and_back() {
    out_and_back(Kind::Fat);
}

#[test]
fn out_to_tmpfs_and_back() {
    out_and_back(Kind::Tmpfs("size=200M"));
}

#[test]
fn out_to_a_file_system_that_tells_no_size_and_back() {
    out_and_back(Kind::Ramfs);
}

#[test]
fn out_to_btrfs_and_back() {
    out_and_back(Kind::Btrfs);
}

#[test]
fn out_to_xfs_and_back() {
    out_and_back(Kind::Xfs);
}

#[test]
fn out_to_ntfs_and_back() {
    out_and_back(Kind::Ntfs);
}

#[test]
fn out_to_an_overlay_and_back() {
    out_and_back(Kind::Overlay);
}

#[test]
fn out_to_a_bind_mount_and_back() {
    out_and_back(Kind::Bind);
}

/// Files of a checkpoint, whose metadata every file system can keep.
fn plain(vault: &Vault) {
    vault.checkpoint("checkpoint", 3_000_000);
    for (name, second) in [("config.json", 1_700_000_000), ("model.safetensors", 1_500_000_001)] {
        tree::set_mtime(&vault.path("checkpoint").join(name), second, 0);
    }
    vault.make(&["usb"]);
    vault.export("checkpoint --to usb --parity 4+2");
}

#[track_caller]
fn assert_kept(left: &Path, right: &Path) {
    let (left, mut right) = (kept(left), kept(right));
    // What mkfs.ext4 makes.
    right.retain(|path, _| !path.ends_with("lost+found"));
    assert!(left.values().any(|k| matches!(k, Kept::File { .. })), "nothing to compare");
    assert_eq!(left, right);
}

/// Imports onto the mount point itself, and to a directory below it.
fn onto(kind: Kind) {
    let vault = Vault::new();
    plain(&vault);
    let Some(target) = Mount::new(&vault, "target", kind) else { return };
    vault.receiver("import usb --to target").ok();
    if kind != Kind::Ramfs {
        target.again();
    }
    assert_kept(&vault.path("checkpoint"), &target.dir);
    let Some(target) = Mount::new(&vault, "other", kind) else { return };
    vault.receiver("import usb --to other/models/llama").ok();
    if kind != Kind::Ramfs {
        target.again();
    }
    assert_kept(&vault.path("checkpoint"), &vault.path("other/models/llama"));
    assert_eq!(names_in(&vault.path("other/models")), [b"llama"]);
}

#[test]
fn onto_ext4() {
    onto(Kind::Ext4);
}

#[test]
fn onto_exfat() {
    onto(Kind::Exfat);
}

#[test]
fn onto_btrfs() {
    onto(Kind::Btrfs);
}

#[test]
fn onto_xfs() {
    onto(Kind::Xfs);
}

#[test]
fn onto_ntfs() {
    onto(Kind::Ntfs);
}

#[test]
fn onto_an_overlay() {
    onto(Kind::Overlay);
}

#[test]
fn onto_a_bind_mount() {
    onto(Kind::Bind);
}

#[test]
fn onto_tmpfs() {
    onto(Kind::Tmpfs("size=200M"));
}

#[test]
fn onto_a_file_system_that_tells_no_size() {
    onto(Kind::Ramfs);
}

/// The driver of FAT loses bytes that are written out of order: an import must not end there in a success that is none.
#[test]
fn a_driver_that_loses_bytes_is_no_target() {
    let vault = Vault::new();
    plain(&vault);
    let Some(target) = Mount::new(&vault, "target", Kind::Fat) else { return };
    for to in ["target", "target/there"] {
        vault.receiver(&format!("import usb --to {to}")).fails(7).says("driver");
        assert!(names_in(&target.dir).is_empty(), "{:?}", names_in(&target.dir));
    }
}

#[test]
fn one_drive_of_three_file_systems_is_lost() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 3_000_000);
    let kinds = [("ext4", Kind::Ext4), ("exfat", Kind::Exfat), ("fat", Kind::Fat)];
    let mounts: Vec<Mount> = kinds.iter().map_while(|(name, kind)| Mount::new(&vault, name, *kind)).collect();
    if mounts.len() < kinds.len() {
        return;
    }
    vault.export("checkpoint --to ext4 --to exfat --to fat --survive-drives 1 --same-device-ok");
    mounts.iter().for_each(Mount::again);
    assert_eq!(vault.verdict("ext4 exfat fat")["verdict"], "intact");
    for lost in 0..3 {
        let here = kinds.iter().enumerate().filter(|(i, _)| *i != lost).map(|(_, (name, _))| *name);
        let here = here.collect::<Vec<_>>().join(" ");
        let verdict = vault.verdict(&here);
        assert_eq!((&verdict["verdict"], &verdict["absent"]), (&"repairable".into(), &serde_json::json!([lost + 1])));
        assert!(number(&vault.restores(&here, "checkpoint")["repaired_blocks"]) > 0);
    }
}

/// Each is what it is taken for: else tests on it would say nothing.
#[test]
fn every_file_system_is_mounted_as_such() {
    let vault = Vault::new();
    let magics = [
        0xef53,
        0x6573_5546,
        0x6573_5546,
        0x0102_1994,
        0x8584_58f6,
        0x9123_683e,
        0x5846_5342,
        0x6573_5546,
        0x794c_7630,
    ];
    for (i, (kind, magic)) in ALL.iter().zip(magics).enumerate() {
        let Some(mount) = Mount::new(&vault, &format!("drive{i}"), *kind) else { continue };
        assert_eq!(rustix::fs::statfs(&mount.dir).unwrap().f_type as u64, magic, "{kind:?}");
    }
}
