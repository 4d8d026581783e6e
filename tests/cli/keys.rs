//! Keys that sites already have: age and SSH recipients and identities, OpenSSH signing keys, passphrases, plugins.

use crate::harm;
use crate::support::*;
use std::fs;

/// A vault with a checkpoint and a drive.
fn prepared() -> Vault {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 50_000);
    vault.make(&["usb"]);
    vault
}

fn ssh_keygen(vault: &Vault, kind: &str, name: &str, passphrase: &str) {
    let call = vault.tool("ssh-keygen", &format!("-q -t {kind} -C {name}@test -f {name} -N"));
    call.arg(passphrase).run().ok();
}

#[test]
fn ssh_keygen_accepts_the_signature() {
    if !need(&["ssh-keygen"]) {
        return;
    }
    let vault = prepared();
    let set = vault.export("checkpoint --to usb --parity 2+1");
    let signers = fs::read_to_string(vault.home("sender").join("allowed_signers")).unwrap();
    let name = signers.split_whitespace().next().unwrap();
    let verify = |manifest: &[u8]| {
        vault
            .tool("ssh-keygen", &format!("-Y verify -n ckvault -f home/sender/allowed_signers -I {name} -s"))
            .arg(set.dirs[0].join("manifest.json.sig"))
            .input(manifest)
            .run()
    };
    let mut manifest = fs::read(set.dirs[0].join("manifest.json")).unwrap();
    verify(&manifest).ok().shows("Good \"ckvault\" signature");
    manifest[30] ^= 1;
    assert_ne!(verify(&manifest).code, Some(0));
}

#[test]
fn a_signature_by_ssh_keygen_is_accepted() {
    if !need(&["ssh-keygen"]) {
        return;
    }
    let vault = prepared();
    let set = vault.export("checkpoint --to usb --parity 2+1");
    let sign = |namespace: &str| {
        fs::copy(set.dirs[0].join("manifest.json"), vault.path("manifest")).unwrap();
        let _ = fs::remove_file(vault.path("manifest.sig"));
        vault.tool("ssh-keygen", &format!("-q -Y sign -n {namespace} -f home/sender/signing_key manifest")).run().ok();
        set.copies("manifest.json.sig").iter().for_each(|p| assert!(fs::copy(vault.path("manifest.sig"), p).is_ok()));
    };
    sign("ckvault");
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
    vault.restores("usb", "checkpoint");
    sign("git");
    vault.receiver("verify usb").ends(5).says("namespace");
}

#[test]
fn two_different_trusted_manifests_of_one_set_are_not_trusted() {
    if !need(&["ssh-keygen"]) {
        return;
    }
    let vault = prepared();
    let set = vault.export("checkpoint --to usb --parity 2+1");
    let manifest = fs::read_to_string(set.dirs[0].join("manifest.json")).unwrap();
    fs::write(vault.path("manifest"), manifest.replacen("\"part\":1", "\"part\": 1", 1)).unwrap();
    vault.tool("ssh-keygen", "-q -Y sign -n ckvault -f home/sender/signing_key manifest").run().ok();
    for place in ["copy", "third"].map(|name| set.dirs[0].join(name)) {
        fs::copy(vault.path("manifest"), place.join("manifest.json")).unwrap();
        fs::copy(vault.path("manifest.sig"), place.join("manifest.json.sig")).unwrap();
    }
    vault.receiver("verify usb").ends(5).says("different manifests");
    vault.refuses("usb", 5);
}

#[test]
fn nobody_can_sign_the_set_of_another_as_their_own() {
    if !need(&["ssh-keygen"]) {
        return;
    }
    let vault = prepared();
    let set = vault.export("checkpoint --to usb --parity 2+1");
    ssh_keygen(&vault, "ed25519", "thief", "");
    fs::copy(set.dirs[0].join("manifest.json"), vault.path("manifest")).unwrap();
    vault.tool("ssh-keygen", "-q -Y sign -n ckvault -f thief manifest").run().ok();
    set.copies("manifest.json.sig").iter().for_each(|p| assert!(fs::copy(vault.path("manifest.sig"), p).is_ok()));
    vault.refuses("usb --signers thief.pub", 5).says("another signer");
}

#[test]
fn signing_keys_made_by_ssh_keygen_work_and_other_types_are_refused() {
    if !need(&["ssh-keygen"]) {
        return;
    }
    let vault = prepared();
    ssh_keygen(&vault, "ed25519", "old", "");
    ssh_keygen(&vault, "rsa", "rsa", "");
    ssh_keygen(&vault, "ecdsa", "ecdsa", "");
    for refused in ["rsa", "ecdsa", "old.pub"] {
        vault
            .sender(&format!("export checkpoint --to usb --recipients keys.txt --signing-key {refused}"))
            .fails(2)
            .says("ssh-ed25519");
    }
    assert!(names_in(&vault.path("usb")).is_empty());
    vault.export("checkpoint --to usb --signing-key old --parity 2+1");
    let verdict = vault.verdict("usb --signers old.pub");
    assert!(verdict["verdict"] == "intact" && verdict["signer"] == "old@test", "{verdict}");
    vault.restores("usb --signers old.pub", "checkpoint");
}

#[test]
fn recipients_of_all_kinds_open_the_set_each_alone() {
    if !need(&["age", "age-keygen", "ssh-keygen"]) {
        return;
    }
    let vault = prepared();
    let made = vault.tool("age-keygen", "-o age.key").run().ok();
    let native = made.stderr.split_whitespace().last().unwrap().to_owned();
    ssh_keygen(&vault, "ed25519", "id_ed25519", "");
    ssh_keygen(&vault, "rsa", "id_rsa", "");
    let public = |name: &str| fs::read_to_string(vault.path(name)).unwrap();
    let ours = fs::read_to_string(vault.path("keys.txt")).unwrap();
    fs::write(
        vault.path("many.txt"),
        format!("# all of us\n{native}\n\n# ssh\n{}\n  {}\n{ours}", public("id_ed25519.pub"), public("id_rsa.pub")),
    )
    .unwrap();
    vault.sender("export checkpoint --to usb --recipients many.txt --volume-size 2M").ok();
    let set = vault.path("usb").join(String::from_utf8(names_in(&vault.path("usb"))[0].clone()).unwrap());
    for identity in ["age.key", "id_ed25519", "id_rsa", "home/receiver/identity.txt"] {
        vault.restores(&format!("usb --identity {identity}"), "checkpoint");
        vault.tool("age", &format!("-d -i {identity}")).arg(set.join("keys.age")).run().ok().shows("AGE-SECRET-KEY-1");
    }
}

#[test]
fn a_plugin_that_is_not_there_is_named() {
    let vault = prepared();
    // bech32("age1ckvtest", 0, 1, … 15)
    let recipient = PLUGIN_RECIPIENT;
    vault.sender(&format!("export checkpoint --to usb -r {recipient}")).fails(2).says("age-plugin-ckvtest");
    assert!(names_in(&vault.path("usb")).is_empty());
}

#[test]
fn a_plugin_wraps_and_unwraps_through_the_protocol_of_age() {
    if !need(&["python3"]) {
        return;
    }
    let vault = prepared();
    let plugins = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let path = format!("{}:{}", plugins.display(), std::env::var("PATH").unwrap_or_default());
    let receiver = fs::read_to_string(vault.path("keys.txt")).unwrap();
    fs::write(vault.path("both.txt"), format!("{receiver}age1toy1w3hhjuj5ahe\n")).unwrap();
    fs::write(vault.path("toy.txt"), "# a token\nAGE-PLUGIN-TOY-1W3HHJN6HVV8\n").unwrap();
    vault.call("sender", "export checkpoint --to usb --recipients both.txt").env("PATH", &path).run().ok();
    // The plugin opens the set, and so does the native recipient beside it, without any plugin.
    vault.call("receiver", "import usb --to one --identity toy.txt").env("PATH", &path).run().ok();
    vault.receiver("import usb --to two").ok();
    for copy in ["one", "two"] {
        crate::tree::assert_same(&vault.path("checkpoint"), &vault.path(copy));
    }
    vault.receiver("import usb --to three --identity toy.txt").fails(6).says("age-plugin-toy");
}

const PLUGIN_RECIPIENT: &str = "age1ckvtest1qqqsyqcyq5rqwzqfpg9scrgwpu44dgnj";

/// A command under a terminal of its own, to which `typed` is typed.
fn on_a_terminal(vault: &Vault, command: &str, typed: &str) -> Ran {
    let home = vault.home("receiver");
    vault.tool("script", "-qec").arg(command).arg("/dev/null").env("CKVAULT_HOME", home).input(typed.as_bytes()).run()
}

#[test]
fn an_identity_with_a_passphrase_asks_on_the_terminal_and_nowhere_else() {
    if !need(&["age", "script", "setsid"]) {
        return;
    }
    let vault = prepared();
    vault.export("checkpoint --to usb --parity 2+1");
    on_a_terminal(&vault, "age -p -o locked.age home/receiver/identity.txt", "open sesame\nopen sesame\n").ok();
    let import = format!("{} import usb --identity locked.age --to", env!("CARGO_BIN_EXE_ckvault"));
    let ran = vault
        .tool("setsid", &format!("-w {import} restored"))
        .env("CKVAULT_HOME", vault.home("receiver"))
        .input(b"open sesame\n")
        .run()
        .fails(6);
    ran.check(!vault.path("restored").exists(), "something was written");
    let wrong = on_a_terminal(&vault, &format!("{import} restored"), "abracadabra\n");
    wrong.check(wrong.code == Some(6) && !vault.path("restored").exists(), "a wrong passphrase");
    on_a_terminal(&vault, &format!("{import} restored"), "open sesame\n").ok();
    crate::tree::assert_same(&vault.path("checkpoint"), &vault.path("restored"));
}

#[test]
fn a_signing_key_with_a_passphrase_asks_on_the_terminal_and_nowhere_else() {
    if !need(&["ssh-keygen", "script", "setsid"]) {
        return;
    }
    let vault = prepared();
    ssh_keygen(&vault, "ed25519", "locked", "open sesame");
    let export = format!(
        "{} export checkpoint --to usb --recipients keys.txt --signing-key locked --volume-size 2M",
        env!("CARGO_BIN_EXE_ckvault")
    );
    vault.tool("setsid", &format!("-w {export}")).input(b"open sesame\n").run().fails(2).says("passphrase");
    let wrong = on_a_terminal(&vault, &export, "abracadabra\n");
    wrong.check(wrong.code == Some(2), "a wrong passphrase");
    assert!(names_in(&vault.path("usb")).is_empty());
    on_a_terminal(&vault, &export, "open sesame\n").ok();
    vault.restores("usb --signers locked.pub", "checkpoint");
}

#[test]
fn an_ssh_identity_with_a_passphrase_opens_the_set() {
    if !need(&["ssh-keygen", "script", "setsid"]) {
        return;
    }
    let vault = prepared();
    ssh_keygen(&vault, "ed25519", "id_ed25519", "open sesame");
    vault.sender("export checkpoint --to usb --recipients id_ed25519.pub --volume-size 2M").ok();
    let import = format!("{} import usb --identity id_ed25519 --to restored", env!("CARGO_BIN_EXE_ckvault"));
    vault.tool("setsid", &format!("-w {import}")).env("CKVAULT_HOME", vault.home("receiver")).run().fails(6);
    on_a_terminal(&vault, &import, "open sesame\n").ok();
    crate::tree::assert_same(&vault.path("checkpoint"), &vault.path("restored"));
}

#[test]
fn a_damaged_signature_copy_beside_one_by_ssh_keygen_is_damage() {
    if !need(&["ssh-keygen"]) {
        return;
    }
    let vault = prepared();
    let set = vault.export("checkpoint --to usb --parity 2+1");
    let copies = set.copies("manifest.json.sig");
    let mut armour = fs::read(&copies[0]).unwrap();
    armour.push(b'\n');
    fs::write(&copies[0], &armour).unwrap();
    assert_eq!(vault.verdict("usb")["verdict"], "repairable", "armour that is not canonical is damage");
    harm::remove(&copies[1..]);
    vault.receiver("verify usb").ends(5);
}
