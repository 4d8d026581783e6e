//! Sources on file systems that lie, and targets that cannot hold what a set has.

use crate::mount::{Kind, Mount};
use crate::support::*;
use crate::watch::ended;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A file system that lies, for as long as this lives.
pub struct Liar<'a> {
    vault: &'a Vault,
    child: Child,
}

impl Liar<'_> {
    /// Mounts it at `liar`; `None`, visibly, where that cannot be.
    pub fn new<'a>(vault: &'a Vault, lie: &str) -> Option<Liar<'a>> {
        let python = |script: &str| {
            let mut command = Command::new("python3");
            command.args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        if !is_root() || !std::path::Path::new("/dev/fuse").exists() || !python("import fuse") {
            skip("needs root, FUSE and fusepy");
            return None;
        }
        vault.make(&["liar"]);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/filesystems/liar.py");
        let child = Command::new("python3").arg(script).arg(lie).arg(vault.path("liar")).stderr(Stdio::null()).spawn();
        let liar = Liar { vault, child: child.unwrap() };
        let device = |name: &str| fs::metadata(vault.path(name)).unwrap().dev();
        while device("liar") == device("") {
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(liar)
    }
}

impl Drop for Liar<'_> {
    fn drop(&mut self) {
        // Who waits for what never comes is let go.
        let _ = fs::write(self.vault.path("liar.behind.open"), "");
        let _ = Command::new("umount").args(["-l"]).arg(self.vault.path("liar")).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_a_file_system_says_of_its_files_is_not_believed() {
    for (lie, refusal) in [
        ("none", None),
        ("inodes", None),
        ("restless", None),
        ("twice", Some("lists two twice")),
        ("gone", Some("gone changed")),
        ("empty", Some("two has another length than the 0 bytes")),
        ("short", Some("two has another length than the 4 bytes")),
        ("long", Some("two has another length than the 20 bytes")),
    ] {
        let vault = Vault::new();
        let Some(_liar) = Liar::new(&vault, lie) else { return };
        vault.make(&["usb"]);
        let ran = vault.sender("export liar --to usb --recipients keys.txt --volume-size 2M");
        if let Some(why) = refusal {
            ran.fails(1).says(why);
            assert!(names_in(&vault.path("usb")).is_empty(), "{lie}: something is left");
            continue;
        }
        ran.ok();
        vault.receiver("import usb --to out").ok();
        let read = |name: &str| fs::read(vault.path("out").join(name)).unwrap();
        assert_eq!((read("one"), read("two")), (b"first\n".to_vec(), b"something else\n".to_vec()), "{lie}");
        assert_eq!(read("three").len(), 100_000, "{lie}");
    }
}

#[test]
fn times_that_a_target_cannot_hold_are_told() {
    let vault = Vault::new();
    vault.make(&["source", "usb"]);
    for (name, day) in [("far", "2100-01-01"), ("near", "2020-02-03T04:05:06.789")] {
        fs::write(vault.path("source").join(name), name).unwrap();
        vault.tool("touch", &format!("-d {day} source/{name}")).run().ok();
    }
    vault.tool("touch", "-d 2020-01-01 source").run().ok();
    vault.export("source --to usb");
    let Some(_drive) = Mount::new(&vault, "small", Kind::Ext4Small) else { return };
    let report = vault.receiver("import usb --to small/out --json").ok().json();
    let few = |name: &str| (number(&report[name]["count"]), report[name]["example"].as_str().unwrap_or("-").to_owned());
    assert_eq!((few("lost_times"), few("rounded_times")), ((1, "far".into()), (1, "near".into())), "{report}");
    assert_eq!(number(&report["lost_attributes"]["count"]), 0, "{report}");
    vault.receiver("import usb --to small/again").ok().shows("times were changed").shows("far");
}

#[test]
fn keys_are_made_all_or_none() {
    let vault = Vault::empty();
    for kib in (8..60).step_by(4) {
        let options: &'static str = Box::leak(format!("size={kib}k").into_boxed_str());
        let Some(drive) = Mount::new(&vault, "full", Kind::Tmpfs(options)) else { return };
        let ran = vault.sender("keygen --out full/keys");
        let names = names_in(&drive.dir.join("keys"));
        ran.check(
            [0, 5].contains(&names.len()) && (names.len() == 5) == (ran.code == Some(0)),
            "some of them are left",
        );
        if ran.code == Some(0) {
            assert!(kib > 8, "there was room from the beginning");
            return;
        }
        ran.fails(7);
    }
    panic!("there was never room");
}

#[test]
fn where_there_are_no_locks_it_is_said_and_gone_on() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 300_000);
    let Some(_liar) = Liar::new(&vault, "locks") else { return };
    let ran = vault.sender("export checkpoint --to liar --recipients keys.txt --parity 2+1");
    let said = |ran: &crate::run::Ran| ran.stderr.matches("there are no locks on").count();
    ran.check(said(&ran) == 1, "it is not said once");
    ran.ok();
    fs::remove_file(
        crate::harm::files_under(&vault.path("liar.behind"))
            .into_keys()
            .map(|p| vault.path("liar.behind").join(p))
            .find(|p| p.ends_with("g00000-d000.ckv"))
            .unwrap(),
    )
    .unwrap();
    let ran = vault.receiver("repair liar");
    ran.check(said(&ran) == 1, "it is not said once");
    ran.ok();
    let ran = vault.receiver("import liar --to out").ok();
    ran.check(said(&ran) == 0, "what only reads needs no lock");
}

#[test]
fn a_quota_that_is_used_up_is_called_that() {
    let vault = Vault::new();
    vault.exported(900_000, "2+1");
    let Some(_liar) = Liar::new(&vault, "quota") else { return };
    let behind = vault.path("liar.behind");
    vault.sender("export checkpoint --to liar --recipients keys.txt --parity 2+1").fails(7).says("quota");
    assert!(names_in(&behind).is_empty(), "{:?}", names_in(&behind));
    vault.receiver("import usb --to liar/out").fails(7).says("quota");
    assert!(!behind.join("out").exists());
}

#[test]
fn a_target_that_takes_no_modes_and_times_gets_the_rest() {
    // One refuses, the other says yes and does nothing.
    for lie in ["modes", "deaf"] {
        let vault = Vault::new();
        vault.exported(300_000, "2+1");
        let Some(_liar) = Liar::new(&vault, lie) else { return };
        let report = vault.receiver("import usb --to liar/out --json").ok().json();
        assert!(number(&report["lost_attributes"]["count"]) >= 4, "{lie}: {report}");
        assert_eq!(
            fs::read(vault.path("liar.behind/out/model.safetensors")).unwrap(),
            fs::read(vault.path("checkpoint/model.safetensors")).unwrap()
        );
    }
}

#[test]
fn what_is_lost_when_a_directory_is_moved_is_missed_whatever_the_cache_says() {
    let vault = Vault::new();
    vault.exported(300_000, "2+1");
    let Some(_liar) = Liar::new(&vault, "forgets") else { return };
    vault.receiver("import usb --to liar/out").fails(1).says("lost config.json");
}

#[test]
fn who_stops_a_command_does_not_wait_for_a_drive_that_stands_still() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 900_000);
    vault.make(&["one", "two", "usb", "drive"]);
    vault.export("checkpoint --to one --to two --parity 2+2");
    let volume = |p: &PathBuf| p.extension().is_some_and(|e| e == "ckv");
    let removed = crate::harm::files_under(&vault.path("two")).into_keys().find(volume).unwrap();
    fs::remove_file(vault.path("two").join(removed)).unwrap();
    let Some(_liar) = Liar::new(&vault, "stands") else { return };
    // A disk whose bytes come from a process that may cease to answer.
    let sh = |script: &str| {
        let ran = Command::new("sh").args(["-ec", script]).current_dir(vault.path("")).output().unwrap();
        assert!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
    };
    sh(
        "truncate -s 64M image; mkfs.ext4 -q -F image; mount -o loop image drive; cp -r checkpoint one drive; umount drive",
    );
    sh("mv image liar.behind");
    let (stands, waits) = (vault.path("liar.stands"), vault.path("liar.waits"));
    let stopped = |who: &str, arguments: &str| {
        sh("mount -o loop liar/image drive; ls -lR drive > files");
        fs::write(&stands, "").unwrap();
        let mut command = vault.call(who, arguments).command();
        let mut child = command.spawn().unwrap();
        while !waits.exists() {
            if child.try_wait().unwrap().is_some() {
                panic!("it ended before it read from the drive: {}", ended(&command, child).stderr);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let sent = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
        assert!(sent.success());
        let ran = ended(&command, child);
        sh("rm liar.stands liar.waits; umount drive");
        ran.fails(130).says("interrupted")
    };
    stopped("sender", "export drive/checkpoint --to usb --recipients keys.txt --parity 2+1").says("--resume");
    stopped("receiver", "import drive/one two --to out");
    stopped("receiver", "repair drive/one two");
    let left = crate::harm::files_under(&vault.path("two"));
    assert!(!left.keys().any(|p| p.extension().is_some_and(|e| e == "partial")), "{:?}", left.keys());
    sh("mount -o loop liar/image drive");
    let ran = [
        vault.sender("export --resume"),
        vault.receiver("import usb --to out"),
        vault.receiver("repair drive/one two"),
    ];
    sh("umount drive");
    ran.into_iter().for_each(|ran| drop(ran.ok()));
}
