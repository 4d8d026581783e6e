//! recover.py beside what a courier has put there, and on a drive that changes while it reads. Each change is made by a program
//! that it calls, before that program becomes what it is called: so it happens at the same place every time.

use crate::cases::{small, with};
use crate::compose::seal;
use crate::honest::noise;
use crate::recover::{SIGNERS, TOOLS, can_recover, find};
use crate::site::{Ran, SCRIPT, Site};
use crate::ustar::*;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Every module that Python could look for first beside the script.
fn modules() -> Vec<String> {
    let all = "import sys, pkgutil; print(*{m.name for m in pkgutil.iter_modules()} | set(sys.builtin_module_names))";
    let output = Command::new("python3").args(["-I", "-c", all]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

#[test]
fn modules_beside_the_script_are_not_loaded() {
    if !can_recover() {
        return;
    }
    let site = Site::new();
    let dir = site.compose(&small(), 1).remove(0);
    let mark = site.path("it-was-loaded");
    let evil = format!("open({:?}, 'a').write(__name__ + ' ')\n", mark.display().to_string());
    modules().iter().for_each(|name| fs::write(dir.join(format!("{name}.py")), &evil).unwrap());
    // They would be, by a script that is not careful.
    fs::write(dir.join("careless.py"), "import argparse\n").unwrap();
    let _ = Command::new("python3").arg(dir.join("careless.py")).output().unwrap();
    assert!(mark.exists());
    fs::remove_file(&mark).unwrap();
    fs::copy(SCRIPT, dir.join("recover.py")).unwrap();
    let path = dir.join("recover.py").display().to_string();
    let calls =
        [vec!["recover.py"], vec!["./recover.py"], vec!["-I", "recover.py"], vec!["-S", "recover.py"], vec![&path]];
    for (call, cwd) in calls.iter().flat_map(|call| [(call, dir.clone()), (call, site.path("place"))]) {
        if cwd == dir || call == &[&path] {
            let mut command = site.python(call);
            command.arg("--signers").arg(site.path("home/allowed_signers")).current_dir(cwd);
            site.recovers(command).ends(0);
            fs::remove_dir_all(site.target()).unwrap();
            assert!(!mark.exists(), "{call:?} loads {}", fs::read_to_string(&mark).unwrap());
        }
    }
}

/// PATH as some have it: what is in the current directory, and what is empty, which is the same.
#[test]
fn programs_in_the_current_directory_are_not_run() {
    if !can_recover() {
        return;
    }
    let site = Site::new();
    let dir = site.compose(&small(), 1).remove(0);
    let mark = site.path("it-was-run");
    for program in TOOLS.iter().chain(&["rm"]) {
        script(&dir.join(program), &format!("touch {}; exit 1", mark.display()));
    }
    for path in [".:", "", ":", "./:.:"] {
        let mut command = site.python(&["-I", SCRIPT]);
        command.arg("--signers").arg(site.path("home/allowed_signers")).current_dir(&dir);
        // The shell that sets the limits looks for python3 there too, and finds none.
        command.env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap()));
        site.recovers(command).ends(0);
        fs::remove_dir_all(site.target()).unwrap();
        assert!(!mark.exists(), "PATH={path}");
    }
}

/// Runs recover.py with a program that, when it is called for the nth time, does something first.
fn when(site: &Site, program: &str, nth: usize, act: &str) -> Command {
    let (bin, calls) = (site.path("bin"), site.path("bin/calls"));
    let _ = fs::remove_dir_all(&bin);
    fs::create_dir(&bin).unwrap();
    let real = find(program).unwrap();
    let count = format!("echo >> {0}; if test $(wc -l < {0}) = {nth}; then {act}; fi", calls.display());
    script(&bin.join(program), &format!("{count}\nexec {} \"$@\"", real.display()));
    let mut command = site.python(&["-I", SCRIPT]);
    command.args(SIGNERS.split(' '));
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    command
}

/// Whatever the drive did: the tree of the honest exporter is there, or none is.
#[track_caller]
fn honest_or_nothing(site: &Site, ran: &Ran, contents: &[u8]) -> bool {
    let there = site.target().exists();
    assert_eq!(there, ran.code == Some(0), "{ran}");
    if there {
        assert!(fs::read(site.target().join("a")).unwrap() == contents, "it is another file\n{ran}");
        fs::remove_dir_all(site.target()).unwrap();
    }
    assert_eq!(fs::read_dir(site.path("place")).unwrap().count(), 0, "something is left\n{ran}");
    there
}

#[test]
fn metadata_that_change_after_they_were_read() {
    if !can_recover() {
        return;
    }
    let (site, other) = (Site::new(), Site::new());
    let dir = site.compose(&small(), 1).remove(0);
    // Signed and encrypted by somebody else, to the same receiver as far as anybody can say who has no identity.
    let evil = other.compose(&with([file("a", "evil!")]), 1).remove(0);
    let whole = site.path("whole");
    let copy =
        |from: &Path, to: &Path| assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    copy(&dir, &whole);
    // age opens the slot, proves in two calls whose key it holds, and opens the inventory.
    let calls = [("ssh-keygen", 1), ("ssh-keygen", 2), ("age", 1), ("age", 2), ("age", 4), ("zstd", 1), ("b3sum", 1)];
    for name in ["manifest.json", "manifest.json.sig", "keys.age", "inventory.age"] {
        for (program, nth) in calls {
            let change = |how: &str| {
                format!(
                    "for d in . copy; do {how} {e}/{name} {d}/$d/{name}; done",
                    e = evil.display(),
                    d = dir.display()
                )
            };
            for how in ["cp", "ln -f"] {
                let ran = site.recovers(when(&site, program, nth, &change(how)));
                let restored = honest_or_nothing(&site, &ran, b"hello");
                // What had been read before is what was used.
                let before = name.starts_with("manifest")
                    || program != "ssh-keygen" && ((name, program) != ("inventory.age", "age") || nth > 2);
                assert!(restored || !before, "{name} before call {nth} of {program}\n{ran}");
                fs::remove_dir_all(&dir).unwrap();
                copy(&whole, &dir);
            }
        }
    }
}

/// A volume of the same length with other frames, sealed to the set as only who can open its key slot can.
fn forged(site: &Site, honest: &Path, items: &[Item]) -> Vec<u8> {
    let mut slot = String::new();
    let sealed = fs::read(honest.with_file_name("keys.age")).unwrap();
    let identity: &dyn age::Identity = &site.keys.receiver;
    let opened = age::Decryptor::new(&sealed[..]).unwrap().decrypt(std::iter::once(identity));
    opened.unwrap().read_to_string(&mut slot).unwrap();
    let own: age::x25519::Identity = slot.lines().last().unwrap().parse().unwrap();
    let honest = fs::read(honest).unwrap();
    let frame = |n: usize, packed: &[u8]| {
        let sealed = seal(packed, &own.to_public());
        [&b"ckvF"[..], &(sealed.len() as u32).to_le_bytes(), &(n as u64).to_le_bytes(), &sealed].concat()
    };
    let mut volume = honest[..65536].to_vec();
    let tar = stream(items).0;
    let mut pieces = tar.chunks(65536).map(|plain| zstd::bulk::compress(plain, 1).unwrap()).enumerate().peekable();
    while let Some((n, packed)) = pieces.next() {
        if pieces.peek().is_some() {
            volume.extend(frame(n, &packed));
            continue;
        }
        // What is missing goes into a frame that zstd skips. An age header has something random in it, of any length up to
        // some two hundred bytes: it is drawn until all fits.
        let (room, mut length) = (honest.len() - volume.len(), frame(n, &packed).len());
        let last = std::iter::repeat_with(|| {
            let skipped = room.checked_sub(length + 8).expect("the forged frames are shorter");
            let padded =
                [&packed[..], &0x184D_2A50_u32.to_le_bytes(), &(skipped as u32).to_le_bytes(), &vec![0; skipped]];
            let last = frame(n, &padded.concat());
            length = last.len() - 8 - skipped;
            last
        });
        volume.extend(last.take(100_000).find(|last| last.len() == room).expect("one of them fits"));
    }
    volume
}

#[test]
fn volumes_that_change_while_they_are_read() {
    if !can_recover() {
        return;
    }
    let site = Site::new();
    let recipe = with([file("a", noise(1, 300_000))]);
    let volume: PathBuf = site.compose(&recipe, 1).remove(0).join("g00000-d000.ckv");
    let whole = fs::read(&volume).unwrap();
    // Zeros leave room for a random header that is longer than that of the honest frame.
    let other = [noise(2, 296_000), vec![0; 4_000]].concat();
    let evil = forged(&site, &volume, &[dir(""), file("a", other)]);
    assert_eq!(evil.len(), whole.len());
    let mut header = whole.clone();
    header[40_000] = 1;
    for (what, bytes) in
        [("forged", evil), ("header", header), ("short", whole[..whole.len() - 1].to_vec()), ("nothing", vec![])]
    {
        fs::write(site.path("evil"), bytes).unwrap();
        let mut outcomes = [0, 0];
        for (program, nth) in
            [("ssh-keygen", 1), ("age", 2), ("b3sum", 1), ("age", 3), ("zstd", 2), ("age", 5), ("b3sum", 2)]
        {
            for how in ["cat evil >", "cp evil evil2 && mv evil2"] {
                let act = format!("cd {} && {how} {}", site.path("").display(), volume.display());
                let ran = site.recovers(when(&site, program, nth, &act));
                outcomes[usize::from(honest_or_nothing(&site, &ran, &noise(1, 300_000)))] += 1;
                fs::write(&volume, &whole).unwrap();
            }
        }
        // Which of them comes too late depends on how far reading has gone ahead.
        assert!(outcomes.iter().all(|some| *some > 0), "{what}: {outcomes:?}");
    }
}

/// Nobody else can look into what is being restored, or put anything there.
#[test]
fn what_is_being_restored_is_private() {
    if !can_recover() {
        return;
    }
    let site = Site::new();
    site.compose(&with([dir("d"), file("d/f", "secret")]), 1);
    let seen = site.path("seen");
    for (program, nth) in [("ssh-keygen", 2), ("age", 3), ("b3sum", 2)] {
        let act = format!(
            "ls -d {0}/.recover-*/* >> {1}; find {0} -mindepth 1 -perm /077 >> {1}.open",
            site.path("place").display(),
            seen.display()
        );
        let mut command = when(&site, program, nth, &act);
        command.env("UMASK", "000");
        site.recovers(command).ends(0);
        fs::remove_dir_all(site.target()).unwrap();
        assert!(!fs::read_to_string(&seen).unwrap().is_empty());
        assert_eq!(fs::read_to_string(seen.with_extension("open")).unwrap(), "");
    }
}

/// Somebody who may rename where the target will be puts another directory, or a link, in the place of what is in the making.
#[test]
fn what_is_in_the_making_is_held() {
    if !can_recover() {
        return;
    }
    for (program, nth) in [("ssh-keygen", 1), ("ssh-keygen", 2), ("age", 1), ("age", 3), ("zstd", 2)] {
        for swap in ["mkdir $d; ln -s ../../victim $d/tree; ln -s ../../victim/x $d/signature1", "ln -s ../victim $d"] {
            let site = Site::new();
            site.compose(&small(), 1);
            fs::create_dir(site.path("victim")).unwrap();
            fs::write(site.path("victim/x"), "mine").unwrap();
            let act =
                format!("(cd {}; for d in .recover-*; do mv $d moved; {swap}; done)", site.path("place").display());
            let ran = site.recovers(when(&site, program, nth, &act)).ends(0);
            assert_eq!(fs::read(site.target().join("a")).unwrap(), b"hello", "{ran}");
            let names: Vec<_> = fs::read_dir(site.path("victim")).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(
                (names, fs::read(site.path("victim/x")).unwrap()),
                (vec!["x".into()], b"mine".to_vec()),
                "{ran}"
            );
        }
    }
}

#[test]
fn who_interrupts_it_finds_nothing() {
    if !can_recover() {
        return;
    }
    let site = Site::new();
    site.compose(&small(), 1);
    let before = |site: &Site| fs::read_dir(site.path("place")).unwrap().count();
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        for (program, nth) in [("ssh-keygen", 1), ("age", 1), ("age", 3), ("zstd", 2), ("b3sum", 2)] {
            let status =
                when(&site, program, nth, &format!("kill -{signal} $PPID; sleep 0.2")).output().unwrap().status;
            assert_eq!(status.code(), Some(code), "{signal} at {program}");
            assert_eq!(before(&site), 0, "{signal} at {program}");
        }
    }
}
