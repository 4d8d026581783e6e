//! How long a file may be.

use crate::mount::{Kind, Mount};
use crate::support::*;
use std::fs::{self, File};

const FAT_ENDS: u64 = 4 << 30;

#[test]
fn volumes_on_fat_are_shorter_than_four_gibibytes() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 10_000);
    let Some(drive) = Mount::new(&vault, "fat", Kind::Fat) else { return };
    let plan = |more: &str| vault.sender(&format!("export checkpoint --recipients keys.txt --to fat {more}"));
    for size in ["", "--volume-size 4095M"] {
        let report = plan(&format!("--dry-run --json {size}")).ok().json();
        assert!(number(&report["volume_bytes"]) < FAT_ENDS, "{report}");
    }
    for size in ["4G", "5G"] {
        plan(&format!("--dry-run --volume-size {size}")).fails(2).says("fusefat").says("4 GiB");
        plan(&format!("--volume-size {size}")).fails(2).says("fusefat").says("4 GiB");
    }
    assert!(names_in(&drive.dir).is_empty());
}

#[test]
fn volumes_of_four_gibibytes_may_go_elsewhere() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 10_000);
    let Some(_drive) = Mount::new(&vault, "ext4", Kind::Ext4) else { return };
    let ran = vault.sender("export checkpoint --recipients keys.txt --to ext4 --dry-run --json --volume-size 4G");
    assert_eq!(number(&ran.ok().json()["volume_bytes"]), FAT_ENDS);
}

/// The limit of a process stands for that of a file system; the system's answer is the same.
#[test]
fn a_file_that_is_too_long_is_an_error_that_names_it() {
    let vault = Vault::new();
    vault.make(&["source", "usb", "place"]);
    fs::write(vault.path("source/config.json"), "{}").unwrap();
    File::create(vault.path("source/sparse.bin")).unwrap().set_len(FAT_ENDS + 1).unwrap();
    vault.export("source --to usb --parity 1+1");
    let limited = "trap '' XFSZ; ulimit -f 4194304 || exit 99; exec \"$0\" import usb --to place/there";
    let import = vault.tool("bash", "-c").arg(limited).arg(env!("CARGO_BIN_EXE_ckvault"));
    let ran = import.env("CKVAULT_HOME", vault.home("receiver")).run();
    ran.fails(1).says("sparse.bin").says("4 GiB");
    assert!(names_in(&vault.path("place")).is_empty(), "{:?}", names_in(&vault.path("place")));
}
