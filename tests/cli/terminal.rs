//! What is asked and shown on a terminal: questions, signals while they are open, and bars that fit.

use crate::run::Ran;
use crate::support::*;
use serde_json::{Value, json};
use std::fs;

/// What a command showed on a terminal.
struct Shown {
    ran: Ran,
    /// All of it, each byte a character.
    text: String,
    code: i64,
    /// Whether the terminal shows what is typed when the command has ended.
    echoes: bool,
}

impl Shown {
    #[track_caller]
    fn ends(self, code: i64) -> Shown {
        self.ran.check(self.code == code, &format!("expected the exit code {code}"));
        self.ran.check(self.echoes, "the terminal does not show any more what is typed");
        self
    }

    #[track_caller]
    fn says(self, what: &str) -> Shown {
        self.ran.check(self.text.contains(what), &format!("it does not say {what:?}"));
        self
    }
}

/// Runs ckvault on a terminal with so many columns, and does these steps; `None`, visibly, without Python.
#[track_caller]
fn on_terminal(vault: &Vault, who: &str, columns: u32, steps: &Value, typed: &str) -> Option<Shown> {
    if !need(&["python3"]) {
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/on_terminal.py");
    let call = vault.tool("python3", script).arg(columns.to_string()).arg(steps.to_string());
    let call = call.arg(env!("CARGO_BIN_EXE_ckvault")).args(typed).env("CKVAULT_HOME", vault.home(who));
    let ran = call.env("TERM", "xterm").env("LC_ALL", "C.UTF-8").run().ok();
    let said = ran.json();
    let (text, code) = (text(&said["shown"]).to_owned(), said["code"].as_i64().unwrap());
    Some(Shown { ran, text, code, echoes: said["echoes"] == true })
}

/// A receiver whose keys are behind a passphrase, typed in when they were made, and a set for them.
fn behind_a_passphrase() -> Option<Vault> {
    let vault = Vault::empty();
    vault.sender("keygen").ok();
    let twice =
        json!([["wait", "New passphrase"], ["send", "open sesame\n"], ["wait", "again"], ["send", "open sesame\n"]]);
    let made = on_terminal(&vault, "receiver", 80, &twice, "keygen --passphrase")?.ends(0).says("new keys");
    made.ran.check(!made.text.contains("sesame"), "the passphrase is shown");
    fs::copy(vault.home("receiver").join("recipients.txt"), vault.path("keys.txt")).unwrap();
    fs::copy(vault.home("sender").join("allowed_signers"), vault.home("receiver").join("allowed_signers")).unwrap();
    vault.exported(300_000, "2+1");
    Some(vault)
}

#[test]
fn keys_behind_a_passphrase_open_and_sign() {
    let Some(vault) = behind_a_passphrase() else { return };
    for name in ["identity.txt", "signing_key"] {
        let secret = fs::read_to_string(vault.home("receiver").join(name)).unwrap();
        assert!(secret.starts_with("-----BEGIN ") && !secret.contains("AGE-SECRET-KEY"), "{name}");
    }
    let steps = json!([["wait", "assphrase"], ["send", "wrong\n"], ["wait", "assphrase"], ["send", "open sesame\n"]]);
    on_terminal(&vault, "receiver", 80, &steps, "import usb --to out").unwrap().ends(0).says("every byte compared");
    let steps = json!([["wait", "assphrase"], ["send", "open sesame\n"]]);
    let again = "export checkpoint --to other --recipients keys.txt";
    vault.make(&["other"]);
    on_terminal(&vault, "receiver", 80, &steps, again).unwrap().ends(0).says("exported");
    if need(&["age", "ssh-keygen"]) {
        let public =
            vault.tool("ssh-keygen", "-y -P").arg("open sesame").args("-f home/receiver/signing_key").run().ok();
        let known = fs::read_to_string(vault.home("receiver").join("signing_key.pub")).unwrap();
        assert!(known.starts_with(public.stdout.split(' ').take(2).collect::<Vec<_>>().join(" ").trim_end()));
    }
}

#[test]
fn passphrases_that_differ_make_no_keys() {
    let vault = Vault::empty();
    let tries = ["one\n", "two\n", "\n", "one\n", "three\n"];
    let steps: Vec<Value> = tries.iter().flat_map(|t| [json!(["wait", ": "]), json!(["send", t])]).collect();
    let Some(shown) = on_terminal(&vault, "sender", 80, &steps.into(), "keygen --passphrase") else { return };
    shown.ends(2).says("two different ones").says("protects nothing").says("nothing was made");
    assert!(names_in(&vault.home("sender")).is_empty());
    vault.call("sender", "keygen --passphrase").run().fails(2).says("no terminal");
}

#[test]
fn a_question_ends_with_a_signal_and_leaves_the_terminal_as_it_was() {
    let Some(vault) = behind_a_passphrase() else { return };
    for typed in ["list usb", "import usb --to out", "export checkpoint --to out2 --recipients keys.txt"] {
        vault.make(&["out2"]);
        for end in
            [json!(["signal", "INT"]), json!(["signal", "TERM"]), json!(["signal", "HUP"]), json!(["send", "\u{3}"])]
        {
            let steps = json!([["wait", "assphrase"], end]);
            on_terminal(&vault, "receiver", 80, &steps, typed).unwrap().ends(130).says("interrupted");
        }
        assert!(names_in(&vault.path("out")).is_empty() && names_in(&vault.path("out2")).is_empty(), "{typed}");
    }
}

#[test]
fn who_exports_for_nobody_else_is_asked() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 1000);
    vault.make(&["usb"]);
    let export = "export checkpoint --to usb";
    let steps = json!([["wait", "or type q"], ["send", "what\n"], ["wait", "neither Enter nor q"], ["send", "q\n"]]);
    let Some(shown) = on_terminal(&vault, "sender", 80, &steps, export) else { return };
    shown.ends(2).says("nobody else could open");
    assert!(names_in(&vault.path("usb")).is_empty());
    let steps = json!([["wait", "or type q"], ["send", "\n"]]);
    on_terminal(&vault, "sender", 80, &steps, export).unwrap().ends(0).says("only you can open this");
}

#[test]
fn a_question_for_a_drive_is_explained_and_ends_with_q() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 3_000_000);
    vault.make(&["a", "b", "c"]);
    vault.export("checkpoint --to a --to b --to c --parity 2+1 --same-device-ok");
    let steps = json!([
        ["wait", "type q"],
        ["send", "yes\n"],
        ["wait", "neither Enter nor q"],
        ["send", "q\n"],
        ["wait", "type q"],
        ["send", "q\n"]
    ]);
    let Some(shown) = on_terminal(&vault, "receiver", 80, &steps, "import a --to out") else { return };
    shown.ends(7).says("bring drives 2, 3");
    let steps = json!([["wait", "type q"], ["signal", "INT"]]);
    on_terminal(&vault, "receiver", 80, &steps, "import a --to out --discard").unwrap().ends(130).says("interrupted");
}

#[test]
fn an_export_interrupted_at_the_question_for_a_drive_says_how_to_go_on() {
    let vault = Vault::new();
    let Some(_drives) = crate::parts::drives(&vault, 2) else { return };
    vault.checkpoint("source", 30_000_000);
    let export = "export source --to usb --recipients keys.txt --volume-size 2M --parity 4+2";
    for signal in ["INT", "TERM"] {
        let steps = json!([["wait", "type q"], ["signal", signal]]);
        let Some(shown) = on_terminal(&vault, "sender", 80, &steps, &format!("{export} --discard")) else { return };
        shown.ends(130).says("interrupted").says("ckvault export --resume ");
    }
    let steps = json!([["wait", "type q"], ["send", "q\n"]]);
    on_terminal(&vault, "sender", 80, &steps, "export --resume").unwrap().ends(7).says("there is no drive 2");
}

/// What a terminal was told to show, without what moves its cursor.
fn pieces(shown: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = shown.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                // CSI, its parameters, and the letter that ends it (ECMA-48, 5.4).
                rest.next_if_eq(&'[');
                while rest.next_if(|c| !c.is_ascii_alphabetic()).is_some() {}
                if rest.next() != Some('m') {
                    plain.push('\n');
                }
            }
            '\r' => plain.push('\n'),
            c => plain.push(c),
        }
    }
    plain.lines().map(str::to_owned).collect()
}

/// What a line of an export can begin with.
const NAMES: [&str; 10] = [
    "drive ",
    "exporting ",
    "reading back ",
    "ckvault: ",
    "getting ready ",
    "looking at the sources ",
    "preparing ",
    "writing metadata ",
    "syncing ",
    "signing ",
];

#[test]
fn bars_fit_the_terminal_and_its_characters() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 24_000_000);
    for columns in [200, 80, 60, 40] {
        vault.make(&["usb1", "usb2"]);
        let export = "export checkpoint --to usb1 --to usb2 --recipients keys.txt --same-device-ok";
        let Some(shown) = on_terminal(&vault, "sender", columns, &json!([]), export) else { return };
        let shown = shown.ends(0).says("exporting");
        // Each byte is a character in what was shown.
        let bytes: Vec<u8> = shown.text.chars().map(|c| c as u8).collect();
        let shown_pieces = pieces(&String::from_utf8_lossy(&bytes));
        for piece in shown_pieces.iter().take_while(|piece| !piece.starts_with("exported ")) {
            // Lines that stand below each other are filled up with blanks; the next begins where the terminal begins one.
            for line in piece.chars().collect::<Vec<char>>().chunks(columns as usize) {
                let line: String = line.iter().collect();
                let begins = NAMES.iter().any(|name| line.contains(name));
                shown.ran.check(line.trim().is_empty() || begins, &format!("{columns} columns: a rest {line:?}"));
            }
        }
        shown.ran.check(shown.text.contains("drive 2 ") == (columns >= 50), "drives are told apart by their numbers");
        let bars = shown.text.split("exported ").next().unwrap_or_default();
        shown.ran.check(!bars.contains("usb1"), "a path is in the bars");
        ["usb1", "usb2"].iter().for_each(|usb| fs::remove_dir_all(vault.path(usb)).unwrap());
    }
    vault.make(&["usb"]);
    let call = |locale: &str| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/on_terminal.py");
        let call = vault.tool("python3", script).arg("100").arg("[]").arg(env!("CARGO_BIN_EXE_ckvault"));
        let call =
            call.args("export checkpoint --to usb --recipients keys.txt").env("TERM", "xterm").env("LC_ALL", locale);
        let shown = call.env("CKVAULT_HOME", vault.home("sender")).run().ok();
        let bar = text(&shown.json()["shown"]).to_owned();
        fs::remove_dir_all(vault.path("usb")).unwrap();
        vault.make(&["usb"]);
        bar
    };
    assert!(call("C").is_ascii(), "the terminal does not say that it has more than ASCII");
    assert!(!call("C.UTF-8").is_ascii(), "there is nothing to tell the two apart by");
}

/// A terminal of a kind that its environment tells; what it was told of its tab.
fn in_the_tab(vault: &Vault, program: &str, steps: &Value, typed: &str) -> Option<(String, Vec<String>)> {
    if !need(&["python3"]) {
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/on_terminal.py");
    let call = vault.tool("python3", script).arg("80").arg(steps.to_string()).arg(env!("CARGO_BIN_EXE_ckvault"));
    let call = call.args(typed).env("CKVAULT_HOME", vault.home("sender")).env("TERM", "xterm").env("LC_ALL", "C");
    let call = ["WT_SESSION", "ConEmuANSI", "TMUX", "STY"].iter().fold(call, |call, name| call.without(name));
    let shown = text(&call.env("TERM_PROGRAM", program).run().ok().json()["shown"]).to_owned();
    let told = shown.split("\u{1b}]9;4;").skip(1).map(|rest| rest.split("\u{1b}\\").next().unwrap().to_owned());
    Some((shown.clone(), told.collect()))
}

#[test]
fn a_tab_is_told_how_far_it_is_where_it_understands_and_cleared() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 24_000_000);
    vault.make(&["usb"]);
    let export = "export checkpoint --to usb --recipients keys.txt --discard";
    let Some((_, told)) = in_the_tab(&vault, "xterm", &json!([]), export) else { return };
    assert!(told.is_empty(), "{told:?}");
    let (shown, told) = in_the_tab(&vault, "ghostty", &json!([]), export).unwrap();
    assert!(told.iter().any(|t| t.starts_with("1;")), "{told:?}");
    assert_eq!(told.last().unwrap(), "0;0");
    assert!(shown.contains("safe to unplug"), "{shown}");
    let stop = json!([["wait", "\u{1b}]9;4;"], ["signal", "INT"]]);
    let (_, told) = in_the_tab(&vault, "ghostty", &stop, export).unwrap();
    assert_eq!(told.last().unwrap(), "0;0");
    for how in ["plain", "json", "none"] {
        let (shown, told) = in_the_tab(&vault, "ghostty", &json!([]), &format!("{export} --progress {how}")).unwrap();
        assert!(told.is_empty() && !shown.contains('\u{1b}'), "{how}: {shown}");
        assert_eq!(shown.contains("exporting 22.89 MiB"), how == "plain", "{how}: {shown}");
    }
}

#[test]
fn without_a_terminal_lines_tell_where_something_begins_and_ends() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 300_000);
    vault.make(&["usb"]);
    let export = "export checkpoint --to usb --recipients keys.txt";
    for how in ["", " --progress auto", " --progress bar", " --progress plain"] {
        let ran = vault.sender(&format!("{export}{how}")).ok();
        for line in
            ["ckvault: exporting ", "ckvault: exporting: all ", "ckvault: reading back ", "ckvault: reading back: all "]
        {
            ran.check(ran.stderr.lines().any(|l| l.starts_with(line)), line);
        }
        ran.check(ran.stderr.is_ascii() && !ran.stderr.contains('\u{1b}'), "that is for terminals");
    }
    let ran = vault.sender(&format!("{export} --progress none")).ok();
    ran.check(ran.stderr.is_empty(), "something is shown");
    ran.check(ran.stdout.contains("safe to unplug"), "the report is missing");
    vault.sender("export --to usb --progress none").fails(2);
}
