//! Where ckvault meets the world: what is told of sources, targets, patterns, output, limits and names.

use crate::support::*;
use crate::users::{NOBODY, admit, ckvault};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

const EXPORT: &str = "--recipients keys.txt --volume-size 2M";

/// Whether the set that is being written to `usb` has this file.
fn holds(vault: &Vault, name: &str) -> bool {
    let mut dirs = fs::read_dir(vault.path("usb")).unwrap().flatten();
    dirs.any(|dir| dir.path().join(name).exists())
}

fn exported(vault: &Vault, arguments: &str) -> serde_json::Value {
    vault.sender(&format!("export {arguments} {EXPORT} --json")).ok().json()
}

#[test]
fn what_was_left_out_is_told() {
    let vault = Vault::new();
    vault.make(&["src/cache/deep", "src/usb", "src/.ckvault-00112233-x-0011.partial", "src/keep", "src/linked"]);
    fs::write(vault.path("src/cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n").unwrap();
    for name in ["cache/deep/x", "keep/a.bin", "keep/a.tmp", ".ckvault-00112233-x-0011.partial/journal"] {
        fs::write(vault.path("src").join(name), "x").unwrap();
    }
    symlink("../usb", vault.path("src/linked/drive")).unwrap();
    let report = exported(&vault, "src --to src/usb --exclude *.tmp --exclude nothing* --exclude-caches");
    let left: Vec<_> = list(&report["left_out"])
        .iter()
        .map(|l| (text(&l["path"]).rsplit('/').next().unwrap(), text(&l["why"])))
        .collect();
    for expected in
        [(".ckvault-00112233-x-0011.partial", "staging"), ("cache", "cache"), ("a.tmp", "pattern"), ("usb", "own")]
    {
        assert!(left.contains(&expected), "{expected:?} is not among {left:?}");
    }
    assert_eq!(report["unmatched"], serde_json::json!(["nothing*"]));
    vault.receiver("import src/usb --to out").ok();
    let names: Vec<_> = crate::harm::files_under(&vault.path("out")).into_keys().collect();
    assert_eq!(names, [std::path::Path::new("cache/CACHEDIR.TAG"), "keep/a.bin".as_ref()]);
}

#[test]
fn the_state_of_an_export_may_lie_in_its_source() {
    let vault = Vault::new();
    vault.make(&["home/user/data", "usb"]);
    fs::write(vault.path("home/user/data/a"), "x").unwrap();
    for _ in 0..2 {
        let export = vault.call("sender", &format!("export home/user --to usb {EXPORT} --label again"));
        export.env("XDG_STATE_HOME", vault.path("home/user/.state")).run().ok().shows("left out");
        fs::remove_dir_all(vault.path("usb")).unwrap();
        vault.make(&["usb"]);
    }
}

#[test]
fn links_that_leave_are_told_with_what_comes_that_way() {
    let vault = Vault::new();
    vault.make(&["src", "elsewhere", "usb", "usb2"]);
    fs::write(vault.path("elsewhere/weights"), [7; 5000]).unwrap();
    fs::write(vault.path("src/own"), "x").unwrap();
    symlink("../elsewhere/weights", vault.path("src/out")).unwrap();
    symlink("own", vault.path("src/in")).unwrap();
    let report = exported(&vault, "src --to usb");
    assert_eq!((number(&report["followed"]["count"]), number(&report["followed"]["bytes"])), (1, 5000));
    assert!(text(&report["followed"]["first"][0]).ends_with("src/out"), "{report}");
    vault.sender(&format!("export src --to usb --dry-run {EXPORT}")).ok().shows("1 link leads out of the source");
    let kept = exported(&vault, "src --to usb2 --links keep");
    assert_eq!((number(&kept["followed"]["count"]), number(&kept["leaving"]["count"])), (0, 1));
    vault.receiver("import usb2 --to refused").fails(1).says("leaves the target");
}

#[test]
fn every_pattern_must_match_and_links_bring_what_they_lead_to() {
    let vault = Vault::new();
    vault.make(&["hub/blobs", "hub/snapshots/rev", "hub/empty", "usb"]);
    fs::write(vault.path("hub/blobs/aa"), "weights").unwrap();
    fs::write(vault.path("hub/blobs/bb"), "others").unwrap();
    symlink("../../blobs/aa", vault.path("hub/snapshots/rev/model")).unwrap();
    exported(&vault, "hub --to usb");
    let only = |patterns: &str| vault.receiver(&format!("import usb --to out {patterns}"));
    only("--only snapshots --only blob/aa").fails(2).says("blob/aa");
    only("--only empty").fails(2).says("without any file");
    assert!(!vault.path("out").exists());
    let report = only("--only snapshots --json").ok().json();
    assert_eq!((number(&report["files"]), number(&report["taken_along"])), (1, 1), "{report}");
    assert_eq!(fs::read(vault.path("out/snapshots/rev/model")).unwrap(), b"weights");
    assert!(!vault.path("out/blobs/bb").exists());
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let vault = Vault::new();
    vault.exported(100_000, "1+1");
    let to = |typed: &str, full: &str| {
        let out = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = vault.call("receiver", typed).command();
        match full {
            "stdout" => command.stdout(out).stderr(Stdio::piped()),
            _ => command.stdout(Stdio::piped()).stderr(out),
        };
        command.output().unwrap()
    };
    for typed in
        ["verify usb", "verify usb --json", "list usb", "list usb --json", "inspect usb", "--help", "--version"]
    {
        let output = to(typed, "stdout");
        assert_eq!(output.status.code(), Some(1), "{typed}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("could not be written"), "{typed}");
    }
    assert_eq!(to("verify usb", "stderr").status.code(), Some(1));
    // Who reads on no longer has seen enough of a list, but not of a verdict.
    let cut = |typed: &str| {
        let mut child =
            vault.call("receiver", typed).command().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        child.wait().unwrap().code()
    };
    assert_eq!((cut("list usb"), cut("inspect usb"), cut("verify usb")), (Some(0), Some(0), Some(1)));
}

#[test]
fn errors_are_json_for_who_asked_for_it() {
    let vault = Vault::new();
    for (typed, code, word) in [
        ("verify nowhere --json", 7, "drive"),
        ("import nowhere --json", 2, "usage"),
        ("export nowhere --to usb --recipients keys.txt --json", 1, "io"),
        ("list usb --json --frobnicate", 2, "usage"),
    ] {
        vault.make(&["usb"]);
        let said = vault.sender(typed).fails(code).json();
        assert_eq!(text(&said["code"]), word, "{said}");
    }
}

#[test]
fn sets_are_known_by_their_manifests_whatever_directories_are_called() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 300_000);
    vault.make(&["usb1", "usb2", "all", "other"]);
    let set = vault.export("checkpoint --to usb1 --to usb2 --parity 2+2 --label two");
    exported(&vault, "checkpoint --to other --label two");
    let id = text(&set.report["set"]).to_owned();
    let copy = |from: usize, to: &str| crate::harm::copy_tree(&set.dirs[from], &vault.path(to));
    let name = set.dirs[0].file_name().unwrap().to_str().unwrap().to_owned();
    copy(0, &format!("all/{name}"));
    copy(1, &format!("all/{} (2).ckvault", name.trim_end_matches(".ckvault")));
    copy(0, "ren/A.CKVAULT");
    copy(1, "ren/b.ckvault");
    copy(0, "plain/one");
    copy(1, "plain/two");
    let intact = |typed: &str| drop(vault.receiver(&format!("verify {typed}")).ok().shows("intact"));
    for drives in ["all", "ren", "ren/A.CKVAULT ren/b.ckvault", "plain/one plain/two", "usb1 all usb2"] {
        for chosen in ["", "--set two", &format!("--set {id}"), &format!("--set {}", &id[..6])] {
            intact(&format!("{drives} {chosen}"));
        }
    }
    // From a directory of further copies, too.
    for copies in ["copy", "third"].map(|name| set.dirs[0].join(name)) {
        vault.call("receiver", "verify --this-drive").at(&copies).run().ok().shows("intact");
    }
    vault.receiver("verify all other").fails(2).says("there are several sets").says("created");
    intact(&format!("all other --set {id}"));
}

#[test]
fn what_may_not_be_read_is_neither_damaged_nor_lost() {
    let vault = Vault::new();
    if !admit(&vault) {
        return;
    }
    let set = vault.exported(300_000, "2+1");
    for name in ["keys.age", "inventory.age", "hashes.b3", "recover.py"] {
        let places = copies_in(&set.dirs[0], name);
        places.iter().for_each(|p| fs::set_permissions(p, fs::Permissions::from_mode(0o600)).unwrap());
        let verify = ckvault(&vault, NOBODY, "", "verify usb --signers sender.pub").run();
        verify.fails(7).says(name).says("Permission denied");
        places.iter().for_each(|p| fs::set_permissions(p, fs::Permissions::from_mode(0o644)).unwrap());
    }
    ckvault(&vault, NOBODY, "", "verify usb --signers sender.pub").run().ok();
    // One volume is missed like any other, whoever has closed it; of more than parity replaces it is told why they are missed.
    let close = |name: &str| fs::set_permissions(set.volume(name), fs::Permissions::from_mode(0o600)).unwrap();
    close("g00000-d000.ckv");
    ckvault(&vault, NOBODY, "", "verify usb --signers sender.pub").run().ends(3).shows("repairable");
    close("g00000-p000.ckv");
    ckvault(&vault, NOBODY, "", "verify usb --signers sender.pub")
        .run()
        .fails(7)
        .says(".ckv")
        .says("Permission denied");
}

#[test]
fn directories_on_one_file_system_are_no_drives_that_can_be_lost() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 300_000);
    vault.make(&["usb1", "usb2"]);
    let two = format!("export checkpoint --to usb1 --to usb2 {EXPORT}");
    vault.sender(&format!("{two} --survive-drives 1")).fails(2).says("drives 1 and 2").says("--same-device-ok");
    assert!(names_in(&vault.path("usb1")).is_empty());
    vault.sender(&two).ok().says("warning").says("lost together");
    let quiet = vault.sender(&format!("{two} --survive-drives 1 --same-device-ok")).ok();
    quiet.check(!quiet.stderr.contains("warning"), "a warning");
}

#[test]
fn few_open_files_are_enough() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 400_000);
    vault.make(&["usb"]);
    vault.export("checkpoint --to usb --parity 200+55");
    (1..5).for_each(|n| crate::harm::copy_tree(&vault.path("usb"), &vault.path(format!("copy{n}"))));
    let drives = "usb copy1 copy2 copy3 copy4";
    for typed in [format!("verify {drives}"), format!("import {drives} --to out"), format!("repair {drives}")] {
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ckvault")]);
        limited.args(typed.split(' ')).current_dir(&vault.root).env("CKVAULT_HOME", vault.home("receiver"));
        let output = limited.output().unwrap();
        assert!(output.status.success(), "{typed}: {}", String::from_utf8_lossy(&output.stderr));
    }
    crate::tree::assert_same(&vault.path("checkpoint"), &vault.path("out"));
}

#[test]
fn too_few_open_files_are_told_before_anything_is_written() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 400_000);
    vault.make(&["usb"]);
    let export = |parity: &str| {
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ckvault")]);
        limited.args(format!("export checkpoint --to usb {EXPORT} --parity {parity}").split(' '));
        limited.current_dir(&vault.root).env("CKVAULT_HOME", vault.home("sender"));
        let output = limited.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = export("200+55");
    assert!(code == Some(1) && said.contains("ulimit -n 512"), "{code:?} {said}");
    assert!(names_in(&vault.path("usb")).is_empty());
    assert_eq!(export("16+2").0, Some(0), "the usual number of volumes is not many");
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 30_000_000);
    vault.make(&["usb"]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ckvault")]);
    command.args(format!("export checkpoint --to usb {EXPORT}").split(' ')).current_dir(&vault.root);
    command.env("CKVAULT_HOME", vault.home("sender")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    while fs::read_dir(vault.path("usb")).unwrap().next().is_none() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    vault.tool("kill", &format!("-HUP {}", child.id())).run().ok();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_name_can_be_given_to_keys() {
    let vault = Vault::empty();
    vault.make(&["k"]);
    vault.sender("keygen --out k/one --name alice@lab").ok();
    assert!(fs::read_to_string(vault.path("k/one/allowed_signers")).unwrap().starts_with("alice@lab "));
    for bad in ["*", "a,b", "!a", "-x", "a\u{fc}"] {
        vault.call("sender", "keygen --out k/two --name").arg(bad).run().ends(2);
    }
    assert!(!vault.path("k/two").exists());
}

#[test]
fn programs_in_relative_directories_are_not_run() {
    let vault = Vault::new();
    if !need(&["ssh-keygen"]) {
        return;
    }
    vault.exported(100_000, "1+1");
    vault.tool("ssh-keygen", "-q -t ed25519 -f other -N").arg("").run().ok();
    vault.tool("ssh-keygen", "-q -k -f krl other.pub").run().ok();
    let planted = vault.path("usb/ssh-keygen");
    fs::write(&planted, "#!/bin/sh\ntouch ../ran\nexit 0\n").unwrap();
    fs::set_permissions(&planted, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    for path in [format!(".:{path}"), format!(":{path}"), format!("{path}:"), format!("../usb:{path}")] {
        let verify = vault.call("receiver", "verify --revoked ../krl").at(vault.path("usb")).env("PATH", &path);
        verify.run().ok().shows("intact");
        assert!(!vault.path("ran").exists(), "PATH={path}");
    }
}

#[test]
fn a_limit_of_threads_is_told() {
    let vault = Vault::new();
    if !admit(&vault) {
        return;
    }
    vault.exported(100_000, "1+1");
    let user = format!("--reuid={NOBODY} --regid={NOBODY} --clear-groups bash -c");
    let limited = vault.tool("setpriv", &user).arg("ulimit -u 1; exec ./ckvault verify usb --signers sender.pub");
    limited.run().fails(1).says("threads");
}

/// Nothing of it was complete, so it begins anew; but what lies on the drive can only be removed when that is here.
#[test]
fn a_drive_that_is_not_here_does_not_end_an_export_that_had_hardly_begun() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 30_000_000);
    vault.make(&["usb"]);
    let export = "export checkpoint --to usb --recipients keys.txt --volume-size 1G";
    let mut child = vault.call("sender", export).command().stderr(Stdio::null()).spawn().unwrap();
    let begun = || holds(&vault, "g00000-d000.ckv.partial");
    while !begun() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    fs::rename(vault.path("usb"), vault.path("away")).unwrap();
    vault.sender("export --resume").fails(7).says("--resume");
    fs::rename(vault.path("away"), vault.path("usb")).unwrap();
    vault.sender("export --resume").ok();
    vault.restores("usb", "checkpoint");
}

#[test]
fn resume_can_be_added_to_the_very_command_that_was_interrupted() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 30_000_000);
    vault.make(&["usb", "other"]);
    fs::write(vault.path("more.txt"), fs::read(vault.home("sender").join("recipients.txt")).unwrap()).unwrap();
    let export =
        "export checkpoint --to usb --recipients keys.txt --volume-size 2M --parity 2+1 --label step --links keep";
    let mut child = vault.call("sender", export).command().stderr(Stdio::null()).spawn().unwrap();
    let begun = || holds(&vault, "g00001-d000.ckv");
    while !begun() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for (more, what) in [
        ("other --resume", "the sources"),
        ("--recipients more.txt --resume", "the recipients"),
        ("--exclude x --resume", "--exclude"),
        ("--no-read-back --resume", "--no-read-back"),
    ] {
        vault.sender(&format!("{export} {more}")).fails(2).says(what);
    }
    for (was, is) in
        [("--parity 2+1", "--parity 3+1"), ("--label step", "--label other"), ("keep", "follow"), ("2M", "4M")]
    {
        vault.sender(&format!("{} --resume", export.replace(was, is))).fails(2).says("differs");
    }
    vault.sender(&format!("{export} --resume")).ok().shows("sealed for age1").shows("signed by the key SHA256:");
    vault.restores("usb --links keep", "checkpoint");
}

#[test]
fn for_whom_a_set_is_sealed_is_told_with_the_comments() {
    let vault = Vault::new();
    vault.make(&["src", "usb"]);
    fs::write(vault.path("src/a"), "x").unwrap();
    if !need(&["ssh-keygen"]) {
        return;
    }
    vault.tool("ssh-keygen", "-q -t ed25519 -C carol@lab -f carol -N").arg("").run().ok();
    let own = fs::read_to_string(vault.path("keys.txt")).unwrap();
    let carol = fs::read_to_string(vault.path("carol.pub")).unwrap();
    fs::write(vault.path("all.txt"), format!("# bob, the receiver\n{}\n{carol}", own.lines().last().unwrap())).unwrap();
    let report = vault.sender("export src --to usb --recipients all.txt --json").ok().json();
    let comments: Vec<_> = list(&report["recipients"]).iter().map(|r| text(&r["comment"])).collect();
    assert_eq!(comments, ["bob, the receiver", "carol@lab"]);
    assert!(text(&report["signer_fingerprint"]).starts_with("SHA256:"));
}

/// All verbs, as root and as a user who is nobody in particular.
#[test]
fn every_verb_works_for_root_and_for_an_ordinary_user() {
    for uid in [0, NOBODY] {
        let vault = Vault::empty();
        if !admit(&vault) {
            return;
        }
        vault.checkpoint("own/checkpoint", 300_000);
        vault.make(&["own/home", "own/usb1", "own/usb2", "own/new"]);
        vault.tool("chown", &format!("-R {uid}:{uid} own")).run().ok();
        let run = |typed: &str| {
            let home = format!("HOME={}/own/home", vault.root.display());
            let ran = ckvault(&vault, uid, &home, typed).at("own").run();
            ran.check(!ran.stderr.contains("warning"), "there is a warning");
            ran
        };
        run("keygen --name op@site").ok();
        run("keygen --show").ok().shows("op@site");
        let set = "--recipients home/.config/ckvault/recipients.txt --parity 2+1 --same-device-ok";
        run(&format!("export checkpoint --to usb1 --to usb2 {set} --dry-run")).ok();
        run(&format!("export checkpoint --to usb1 --to usb2 {set}")).ok().shows("exported");
        run("verify usb1 usb2").ok().shows("intact");
        run("inspect usb1").ok().shows("signed by op@site");
        run("list usb1 usb2").ok().shows("model.safetensors");
        fs::remove_dir_all(vault.path("own/usb2")).unwrap();
        run("verify usb1").ends(3);
        run("repair usb1 --to new").ok().shows("replaced drive 2");
        run("import usb1 new --to out").ok().shows("every byte compared");
        crate::tree::assert_same(&vault.path("own/checkpoint"), &vault.path("own/out"));
        run("demo").ok();
        // What is a root's is out of reach, and says so.
        if uid != 0 {
            vault.make(&["closed"]);
            crate::tree::set_mode(&vault.path("closed"), 0o700);
            run("export checkpoint --to ../closed --recipients home/.config/ckvault/recipients.txt")
                .fails(7)
                .says("Permission denied");
            run("import usb1 new --to ../closed/out").says("Permission denied");
        }
    }
}

#[test]
fn where_there_are_no_locks_imports_and_exports_go_on() {
    let vault = Vault::new();
    if !need(&["strace"]) {
        return;
    }
    vault.exported(300_000, "2+1");
    vault.make(&["other"]);
    for (who, typed) in
        [("receiver", "import usb --to out"), ("sender", "export checkpoint --to other --recipients keys.txt")]
    {
        let traced = vault.tool("strace", "-f -o trace -e trace=flock -e inject=flock:error=EOPNOTSUPP");
        let ran = traced.arg(env!("CARGO_BIN_EXE_ckvault")).args(typed).env("CKVAULT_HOME", vault.home(who)).run().ok();
        ran.check(ran.stderr.matches("there are no locks on").count() == 1, "it is not said once");
    }
}

#[test]
fn several_sets_are_listed_with_what_tells_them_apart() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 300_000);
    vault.make(&["a", "b"]);
    vault.export("checkpoint --to a --to b --label llama --parity 2+1 --same-device-ok");
    vault.export("checkpoint --to a --parity 1+1");
    let ran = vault.receiver("verify a").fails(2).says("several sets").says("--set");
    let line =
        |ran: &crate::run::Ran, of: &str| ran.stderr.lines().find(|l| l.contains(of)).unwrap_or_default().to_owned();
    let (with, without) = (line(&ran, "llama-"), line(&ran, "1 drive,"));
    for told in ["label llama", "created 20", "signed by ", "KiB", "2 drives", "1 here"] {
        ran.check(with.contains(told), &format!("the first does not tell {told}"));
    }
    ran.check(without.contains("1 here") && !without.contains("label"), "the second is told wrongly");
    let ran = vault.call("stranger", "verify a").run();
    ran.check(line(&ran, "llama-").contains("NOT VERIFIED"), "who is not trusted is named");
}

#[test]
fn what_editors_put_into_keys_is_named() {
    let vault = Vault::new();
    vault.exported(1000, "1+1");
    vault.make(&["out"]);
    let with = |name: &str, from: &str, before: &str, after: &str| {
        let text = fs::read_to_string(vault.path(from)).unwrap();
        fs::write(vault.path(name), format!("{before}{text}{after}")).unwrap();
        crate::tree::set_mode(&vault.path(name), 0o600);
    };
    const BOM: &str = "\u{feff}";
    with("recipients", "keys.txt", BOM, "");
    with("identity", "home/receiver/identity.txt", BOM, "");
    with("list", "home/receiver/allowed_signers", BOM, "");
    with("key", "home/sender/signing_key", BOM, "");
    with("tail", "home/sender/signing_key", "", "and more\n");
    vault.sender("export checkpoint --to out --recipients recipients").fails(1).says("byte order mark");
    vault.sender("export checkpoint --to out --recipients keys.txt --signing-key key").fails(5).says("byte order mark");
    vault
        .sender("export checkpoint --to out --recipients keys.txt --signing-key tail")
        .fails(5)
        .says("ends its armour");
    vault.receiver("import usb --to there --identity identity").fails(6).says("byte order mark");
    vault.receiver("verify usb --signers list").says("byte order mark");
    let set = vault.path("usb").join(OsStr::from_bytes(&names_in(&vault.path("usb"))[0]));
    for path in copies_in(&set, "manifest.json.sig") {
        let signed = fs::read_to_string(&path).unwrap();
        fs::write(path, signed + "and more\n").unwrap();
    }
    vault.receiver("verify usb").ends(5).says("text after the end of the signature's armour");
}

#[test]
fn a_clock_that_is_wrong_is_shown() {
    let vault = Vault::new();
    vault.exported(1000, "1+1");
    let list = fs::read_to_string(vault.home("receiver").join("allowed_signers")).unwrap();
    for option in ["valid-after=\"29990101Z\"", "valid-before=\"20200101Z\""] {
        fs::write(vault.path("list"), list.replace(" namespaces=", &format!(" {option},namespaces="))).unwrap();
        vault
            .receiver("verify usb --signers list")
            .ends(5)
            .says("the clock of this machine says 20")
            .says("set the clock");
    }
}

#[test]
fn drives_groups_and_parts_have_one_shape_in_all_reports() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 3_000_000);
    vault.make(&["a", "b", "model"]);
    let export = "export checkpoint --to a --to b --recipients keys.txt --parity 2+1 --same-device-ok --json";
    let reports = [
        vault.sender(&format!("{export} --dry-run")).ok().json(),
        vault.sender(export).ok().json(),
        vault.receiver("verify a b --json").ok().json(),
        vault.receiver("inspect a b --json").ok().json(),
        vault.receiver("list a b --json").ok().json(),
        vault.receiver("repair a b --json").ok().json(),
        vault.receiver("import a b --to out --json").ok().json(),
    ];
    for (i, report) in reports.iter().enumerate() {
        assert_eq!(report["parts"].to_string(), "[1]", "{report}");
        assert_eq!(report["last"], true, "{report}");
        assert!(text(&report["signer_fingerprint"]).starts_with("SHA256:"), "{report}");
        let drives = list(&report["drives"]);
        assert_eq!(drives.iter().map(|d| number(&d["drive"])).collect::<Vec<_>>(), [1, 2], "{report}");
        for drive in drives {
            for name in ["path", "directory", "label", "serial", "volumes", "bytes"] {
                assert!(drive.get(name).is_some(), "{name} in {report}");
            }
            // A plan knows no volumes.
            let volumes = if drive["drive"] == 1 { 2 } else { 1 };
            assert!(i == 0 || number(&drive["volumes"]) >= volumes, "{report}");
        }
        assert!(drives.iter().all(|drive| drive["path"].is_string()), "{report}");
        if [1, 3].contains(&i) {
            assert_eq!(report["groups"], reports[1]["groups"], "{report}");
        }
    }
}

#[test]
fn an_absent_drive_is_one_line_and_more_is_told_to_who_asks() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 3_000_000);
    vault.make(&["a", "b"]);
    vault.export("checkpoint --to a --to b --parity 2+1 --same-device-ok");
    fs::rename(vault.path("b"), vault.path("gone")).unwrap();
    let ran = vault.receiver("verify a").ends(3);
    ran.check(ran.stdout.matches("drive 2").count() == 1, "an absent drive is more than a line");
    ran.check(ran.stdout.contains("here     drive 1: a/"), "the drive that is here is not told");
    ran.check(ran.stdout.contains("`ckvault repair --to NEW a`"), "the next command would make nothing whole");
    let ran = vault.receiver("verify a -v").ends(3);
    ran.check(
        ran.stdout.lines().any(|l| l.starts_with("missing ") && l.contains(".ckv (drive 2)")),
        "-v tells no more",
    );
}

#[test]
fn a_mistake_beside_discard_costs_nothing() {
    let vault = Vault::new();
    vault.checkpoint("source", 8_000_000);
    vault.make(&["usb"]);
    let interrupted = format!("export source --to usb {EXPORT} --parity 4+2");
    let mut child = vault.call("sender", &interrupted).command().spawn().unwrap();
    while !holds(&vault, "g00000-d000.ckv") && child.try_wait().unwrap().is_none() {}
    let _ = child.kill();
    child.wait().unwrap();
    let there = crate::harm::files_under(&vault.path("usb"));
    for mistake in [
        "--survive-drives 1",
        "--parity 300+2",
        "--volume-size 1M",
        "--block-size 32K",
        "--block-size 96K",
        "--block-size 2M",
        "--parity 30+3 --block-size 1M",
        "--segment-size 32K",
        "--segment-size 96K",
        "--segment-size 16M",
        "--segment-size 2M",
        "--segment-size 8M --parity 19+2",
        "--label -x",
        "--exclude [",
    ] {
        let set = mistake.split(' ').next().unwrap();
        let recipients = if set == "--volume-size" { "--recipients keys.txt" } else { EXPORT };
        let ran = vault.sender(&format!("export source --to usb {recipients} --discard {mistake}"));
        ran.check(ran.code == Some(2), "it is no mistake");
        assert_eq!(crate::harm::files_under(&vault.path("usb")), there, "{mistake}");
    }
    vault.sender(&format!("export source --to usb {EXPORT} --discard")).ok();
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
}

#[test]
fn an_export_of_nothing_is_none() {
    let vault = Vault::new();
    vault.checkpoint("source", 1000);
    vault.make(&["usb", "empty"]);
    vault.tool("mkfifo", "fifo").run().ok();
    vault.sender(&format!("export source --to usb {EXPORT} --exclude *")).fails(1).says("nothing to export");
    vault.sender(&format!("export fifo --to usb {EXPORT} --skip-special")).fails(1).says("nothing to export");
    assert!(names_in(&vault.path("usb")).is_empty());
    vault.sender(&format!("export empty --to usb {EXPORT}")).ok();
}

#[test]
fn the_own_key_is_known_however_often_and_however_it_is_written() {
    let vault = Vault::new();
    vault.checkpoint("source", 1000);
    vault.make(&["usb"]);
    let list = vault.home("sender").join("recipients.txt");
    let own = fs::read_to_string(&list).unwrap().lines().last().unwrap().to_owned();
    fs::write(&list, format!("{own}\n# again\n{own}\n")).unwrap();
    vault.sender("export source --to usb").fails(2).says("only the key of this machine");
    vault.sender("keygen --passphrase").fails(2).says("nothing was made").says("ssh-keygen -p");
}
