//! Secrets where public keys belong: refused, and never repeated.

use crate::support::*;
use std::fs;

/// The secret half of a key in all its forms, and what must not be seen of it.
fn secrets(vault: &Vault) -> Vec<(String, String)> {
    let file = fs::read_to_string(vault.home("receiver").join("identity.txt")).unwrap();
    let age = file.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap().to_owned();
    let ssh = fs::read_to_string(vault.home("sender").join("signing_key")).unwrap();
    let body = ssh.lines().nth(1).unwrap().to_owned();
    let inner = age[16..].to_owned();
    vec![
        (age.clone(), inner.clone()),
        (age.to_lowercase(), inner.clone()),
        (format!("  {age}\n"), inner.clone()),
        (format!("age1 {age}"), inner),
        ("AGE-SECRET-KEY-1TYPED-WRONGLY".into(), "TYPED-WRONGLY".into()),
        ("AGE-PLUGIN-TOY-1W3HHJN6HVV8".into(), "W3HHJN6HVV8".into()),
        ("age-plugin-toy-1w3hhjn6hvv8".into(), "W3HHJN6HVV8".into()),
        (ssh, body.clone()),
        (body.clone(), body),
    ]
}

#[track_caller]
fn says_nothing_of(ran: &Ran, inner: &str) {
    let said = format!("{}{}", ran.stdout, ran.stderr).to_uppercase();
    // A part of it is too much already.
    let seen = inner.to_uppercase().as_bytes().windows(8).any(|part| said.as_bytes().windows(8).any(|w| w == part));
    ran.check(!seen, "a secret is repeated");
}

/// Where it may stand by mistake: in the place of anything at all.
const COMMANDS: [&str; 21] = [
    "export f --to usb -r @",
    "export f --to usb -r@",
    "export f --to usb --json --recipient @",
    "export f --to usb --recipient=@",
    "export f --to usb --recipients @",
    "export f --to usb --label @",
    "export f --to usb --parity @",
    "export f --to usb --no-such-flag @",
    "export f --to usb --signing-key=@",
    "export --to usb @",
    "export --resume=@",
    "import usb --to x --identity @",
    "import usb --to x --identity=@ --json",
    "list usb --identity @",
    "verify usb --set @",
    "verify @",
    "verify -@",
    "verify --@",
    "keygen @",
    "help @",
    "@",
];

#[test]
fn a_secret_on_the_command_line_is_refused_without_being_repeated() {
    let vault = Vault::new();
    vault.make(&["usb"]);
    fs::write(vault.path("f"), "f").unwrap();
    for (secret, inner) in secrets(&vault) {
        for command in COMMANDS {
            let words = command.split(' ').map(|word| word.replace('@', &secret));
            let ran = words.fold(vault.call("sender", ""), |call, word| call.arg(word)).run().fails(2);
            says_nothing_of(&ran, &inner);
            ran.says("secret");
        }
    }
    assert!(names_in(&vault.path("usb")).is_empty());
}

#[test]
fn a_secret_in_a_file_of_recipients_is_refused_without_being_repeated() {
    let vault = Vault::new();
    vault.make(&["usb"]);
    fs::write(vault.path("f"), "f").unwrap();
    for (secret, inner) in secrets(&vault) {
        let public = fs::read_to_string(vault.path("keys.txt")).unwrap();
        for text in [secret.clone(), format!("{public}{secret}"), format!("# a\n\t{secret}\r\n")] {
            fs::write(vault.path("list"), &text).unwrap();
            for more in ["", " --json", " --dry-run"] {
                let ran =
                    vault.sender(&format!("export f --to usb --recipients list{more}")).fails(2).says("list, line ");
                says_nothing_of(&ran, &inner);
                ran.says("secret");
            }
        }
    }
    assert!(names_in(&vault.path("usb")).is_empty());
}

/// Others than the one that says what it is: keys given as lists, lists given as keys.
#[test]
fn a_secret_in_a_file_of_another_kind_is_not_repeated() {
    let vault = Vault::new();
    vault.exported(1000, "1+1");
    for (secret, inner) in secrets(&vault) {
        fs::write(vault.path("list"), format!("x {secret}\n")).unwrap();
        fs::write(vault.path("list2"), format!("{secret}\n")).unwrap();
        for list in ["list", "list2"] {
            for command in ["verify usb --signers", "list usb --identity", "export f --to usb --signing-key"] {
                let ran = vault.receiver(&format!("{command} {list}"));
                ran.check(ran.code != Some(0) || command.starts_with("list"), "a secret serves as something else");
                says_nothing_of(&ran, &inner);
            }
        }
    }
}

#[test]
fn a_file_may_be_named_like_a_secret() {
    let vault = Vault::new();
    vault.exported(1000, "1+1");
    let secret = "AGE-SECRET-KEY-1ME.txt";
    fs::copy(vault.home("receiver").join("identity.txt"), vault.path(secret)).unwrap();
    vault.receiver(&format!("list usb --identity {secret}")).ok();
    vault.receiver(&format!("list usb --identity={secret}")).ok();
}
