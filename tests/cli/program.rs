//! `export --with-tool`: the program travels with the set, and whoever has nothing else can check it and run it.

use crate::harm;
use crate::support::*;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The least program: it needs no library, no linker, and no compiler to be made. Ends with status 42; some bytes follow it.
pub fn write_program(path: &Path, bytes: usize) -> PathBuf {
    let code = [0xbf, 42, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]; // mov edi, 42; mov eax, 60; syscall
    let (base, start) = (0x40_0000u64, 64 + 56u64);
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2u16, 62].map(u16::to_le_bytes).concat());
    elf.extend(1u32.to_le_bytes());
    elf.extend([base + start, 64, 0].map(u64::to_le_bytes).concat());
    elf.extend(0u32.to_le_bytes());
    elf.extend([64u16, 56, 1, 64, 0, 0].map(u16::to_le_bytes).concat());
    elf.extend([1u32, 5].map(u32::to_le_bytes).concat());
    let len = start + code.len() as u64;
    elf.extend([0, base, base, len, len, 0x1000].map(u64::to_le_bytes).concat());
    elf.extend(code);
    elf.extend(noise(9, bytes.saturating_sub(elf.len())));
    fs::write(path, elf).unwrap();
    path.to_owned()
}

/// Where programs of this kind cannot be run, they cannot be told from others either.
pub fn is_x86_64() -> bool {
    let is = cfg!(target_arch = "x86_64");
    if !is {
        skip("the program that travels here is one for x86-64");
    }
    is
}

fn files(verdict: &Value) -> Vec<(String, String)> {
    let file = |f: &Value| {
        let path = Path::new(text(&f["path"]));
        let in_copy = path.parent().is_some_and(|p| p.ends_with("copy"));
        let name = path.file_name().unwrap().to_str().unwrap();
        (format!("{}{name}", if in_copy { "copy/" } else { "" }), text(&f["state"]).to_owned())
    };
    list(&verdict["files"]).iter().map(file).collect()
}

#[track_caller]
fn is_program(path: &Path, like: &Path) {
    assert!(fs::read(path).unwrap() == fs::read(like).unwrap(), "{} is another file", path.display());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o755, "{}", path.display());
}

/// Two drives of 2+1 volumes with a program of two megabytes and a bit.
fn exported() -> (Vault, Set, PathBuf) {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 700_000);
    let program = write_program(&vault.path("ckvault-static"), (2 << 20) + 77);
    vault.make(&["usb1", "usb2"]);
    let set = vault.export("checkpoint --to usb1 --to usb2 --parity 2+1 --with-tool=ckvault-static");
    (vault, set, program)
}

#[test]
fn it_lies_on_every_drive_twice_as_the_manifest_says_and_runs() {
    if !is_x86_64() {
        return;
    }
    let (vault, set, program) = exported();
    for copy in set.copies("ckvault") {
        is_program(&copy, &program);
        assert_eq!(std::process::Command::new(&copy).status().unwrap().code(), Some(42));
    }
    let manifest: Value = serde_json::from_slice(&fs::read(set.dirs[0].join("manifest.json")).unwrap()).unwrap();
    let listed = &manifest["files"]["ckvault"];
    assert_eq!(
        (number(&listed["bytes"]), text(&listed["blake3"])),
        (harm::len(&program), &*crate::tree::hash(&program))
    );
    assert_eq!(&set.report["program"], listed);
    assert_eq!(&vault.receiver("inspect usb1 --json").ok().json()["program"], listed);
    vault.receiver("inspect usb1").ok().shows(text(&listed["blake3"]));
    assert_eq!(vault.verdict("usb1 usb2")["verdict"], "intact");
    vault.restores("usb1 usb2", "checkpoint");
}

#[test]
fn without_the_flag_no_program_travels() {
    let vault = Vault::new();
    let set = vault.exported(10_000, "1+1");
    assert!(set.copies("ckvault").iter().all(|path| !path.exists()));
    assert_eq!(set.report["program"], Value::Null);
    assert!(!fs::read_to_string(set.dirs[0].join("manifest.json")).unwrap().contains("\"ckvault\""));
    assert!(!fs::read_to_string(set.dirs[0].join("RECOVER.txt")).unwrap().contains("copy/ckvault"));
}

#[test]
fn what_might_not_run_elsewhere_is_refused_before_anything_is_written() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 10_000);
    vault.make(&["usb"]);
    let export = |more: &str| vault.sender(&format!("export checkpoint --to usb --recipients keys.txt {more}"));
    if cfg!(target_feature = "crt-static") {
        skip("these tests were built statically");
    } else {
        export("--with-tool").fails(2).says("this ckvault is linked dynamically").says("--with-tool=PATH");
    }
    let own = env!("CARGO_BIN_EXE_ckvault");
    export(&format!("--with-tool={own}")).fails(2).says("linked dynamically");
    export("--with-tool=checkpoint/config.json").fails(2).says("config.json is not a program");
    export("--with-tool=checkpoint").fails(2).says("not a file");
    export("--with-tool=nowhere").fails(1).says("nowhere");
    assert!(names_in(&vault.path("usb")).is_empty());
}

#[test]
fn a_damaged_one_is_named_and_made_anew_from_any_whole_one() {
    if !is_x86_64() {
        return;
    }
    let (vault, set, program) = exported();
    let copies = set.copies("ckvault");
    harm::flip(&copies[0], 1 << 20, 3);
    harm::remove([&copies[1]]);
    harm::zero(&copies[2], 0, 4096);
    let verdict = vault.verdict("usb1 usb2");
    assert_eq!(verdict["verdict"], "repairable");
    let state = |name: &str, state: &str| (name.to_owned(), state.to_owned());
    let bad = [state("ckvault", "damaged"), state("copy/ckvault", "missing"), state("ckvault", "damaged")];
    assert_eq!(files(&verdict), bad);
    vault.receiver("verify usb1 usb2").ends(3).shows("/ckvault: do not run it");
    vault.restores("usb1 usb2", "checkpoint");
    vault.receiver("repair usb1 usb2").ok();
    copies.iter().for_each(|copy| is_program(copy, &program));
    assert_eq!(vault.verdict("usb1 usb2")["verdict"], "intact");
}

/// Nothing of the contents depends on it: the set is not lost with it, and nothing waits for it.
#[test]
fn where_none_is_whole_everything_else_goes_on() {
    if !is_x86_64() {
        return;
    }
    let (vault, set, _) = exported();
    set.copies("ckvault").iter().for_each(|copy| harm::zero(copy, 1 << 20, 100_000));
    assert_eq!(vault.verdict("usb1 usb2")["verdict"], "repairable");
    vault.restores("usb1 usb2", "checkpoint");
    let ran = vault.receiver("repair usb1 usb2").ends(1).says("no copy of ckvault is whole");
    ran.shows("left ").shows("repairable");
    fs::remove_dir_all(vault.path("usb2")).unwrap();
    vault.make(&["new"]);
    let made = vault.receiver("repair usb1 --to new --json").ends(1).json();
    assert_eq!((list(&made["replaced"]).len(), list(&made["left"]).len()), (1, 2), "{made}");
    assert_eq!(made["verdict"], "repairable");
    let verdict = vault.verdict("usb1 new");
    assert_eq!((&verdict["verdict"], files(&verdict).len()), (&"repairable".into(), 4), "{verdict}");
    vault.restores("usb1 new", "checkpoint");
}

#[test]
fn a_new_drive_gets_it_too() {
    if !is_x86_64() {
        return;
    }
    let (vault, set, program) = exported();
    fs::remove_dir_all(vault.path("usb2")).unwrap();
    vault.make(&["new"]);
    vault.receiver("repair usb1 --to new").ok();
    let name = set.dirs[0].file_name().unwrap();
    for copy in ["ckvault", "copy/ckvault"] {
        is_program(&vault.path("new").join(name).join(copy), &program);
    }
    assert_eq!(vault.verdict("usb1 new")["verdict"], "intact");
}

#[test]
fn there_must_be_room_for_it() {
    if !is_x86_64() {
        return;
    }
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 100_000);
    write_program(&vault.path("tool"), 5_000_000);
    vault.make(&["usb"]);
    let needed = |more: &str| {
        let plan = vault.sender(&format!("export checkpoint --to usb --recipients keys.txt --dry-run --json {more}"));
        number(&plan.ok().json()["drives"][0]["needed"])
    };
    let more = needed("--with-tool=tool") - needed("");
    assert!((10_000_000..11_000_000).contains(&more), "{more}");
}

#[test]
fn an_interrupted_export_goes_on_with_it() {
    if !is_x86_64() {
        return;
    }
    let vault = Vault::new();
    vault.checkpoint("source", 30_000_000);
    let program = write_program(&vault.path("tool"), 3 << 20);
    let export = "export source --to usb --recipients keys.txt --volume-size 2M --parity 4+2 --with-tool=tool";
    // Whether the copy is written or not yet when it ends.
    for name in ["g00001-p001.ckv", "copy/ckvault"] {
        let set = crate::resume::killed(&vault, export, name);
        fs::rename(&program, vault.path("moved")).unwrap();
        vault.sender("export --resume").fails(1).says("tool");
        let report = vault.sender("export --resume --with-tool=moved --json").ok().json();
        assert_eq!(number(&report["program"]["bytes"]), 3 << 20);
        for copy in ["ckvault", "copy/ckvault"] {
            is_program(&set.join(copy), &vault.path("moved"));
        }
        assert_eq!(vault.verdict("usb")["verdict"], "intact");
        fs::rename(vault.path("moved"), &program).unwrap();
    }
    crate::resume::killed(&vault, export.trim_end_matches(" --with-tool=tool"), "g00001-p001.ckv");
    vault.sender("export --resume --with-tool=tool").fails(2).says("begun without a program");
    vault.sender("export --resume").ok();
}
