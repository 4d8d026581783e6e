//! Whom a list of signers trusts: lists of every kind, each judged by `ssh-keygen -Y verify` and by ckvault.

use crate::dice::Dice;
use crate::lists::{Clock, List, NAMES, NEAR, key_types, list};
use crate::support::*;
use ckvault::format::signature::{KeyData, Signature};
use ckvault::format::signers::Signers;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// How many random lists; every which of them is asked for nobody as well; and every which meets the real binary.
const LISTS: usize = 500;
const ANYBODY: usize = 3;
const BINARY: usize = 10;

/// Both judges, a key and a signature by it.
struct Court {
    vault: Vault,
    key: KeyData,
    /// Public keys, type and base64: the key's own, and others.
    own: String,
    others: Vec<String>,
}

impl Court {
    /// None where OpenSSH is not there, or too old to read times as it does since 9.1.
    fn new() -> Option<Court> {
        if !need(&["ssh-keygen", "ssh"]) {
            return None;
        }
        let vault = Vault::new();
        if version(&vault) < (9, 1) {
            skip("needs OpenSSH 9.1 or later");
            return None;
        }
        fs::write(vault.path("message"), "a message\n").unwrap();
        vault.tool("ssh-keygen", "-q -Y sign -n ckvault -f home/sender/signing_key message").run().ok();
        let signature = fs::read(vault.path("message.sig")).unwrap();
        let key = Signature::parse(&signature).unwrap().verify(b"a message\n").unwrap();
        let public = |path: &str| {
            let line = fs::read_to_string(vault.path(path)).unwrap();
            line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
        };
        let others = key_types().map(|kind| {
            vault.tool("ssh-keygen", &format!("-q -t {kind} -f other-{kind} -N")).arg("").run().ok();
            public(&format!("other-{kind}.pub"))
        });
        let (own, others) = (public("sender.pub"), others.collect());
        Some(Court { vault, key, own, others })
    }

    /// Whether OpenSSH trusts the signature as one by `name`; at the time of `clock`, or now.
    fn openssh(&self, list: &[u8], name: &[u8], clock: Option<&Clock>) -> bool {
        fs::write(self.vault.path("list"), list).unwrap();
        let mut call = self.vault.tool("ssh-keygen", "-Y verify -n ckvault -s message.sig -f list -I");
        call = call.arg(OsStr::from_bytes(name)).input(b"a message\n").env("TZ", clock.map_or("UTC", |c| c.zone));
        if let Some(clock) = clock {
            call = call.arg(format!("-Overify-time={}Z", clock.now));
        }
        let ran = call.run();
        let good = ran.stdout.starts_with("Good ");
        ran.check(good == (ran.code == Some(0)), "ssh-keygen contradicts itself");
        good
    }

    /// Whether ckvault does; as one by anybody if there is no name.
    fn ckvault(&self, list: &[u8], name: Option<&[u8]>, clock: &Clock) -> bool {
        let signers = Signers::parse(list, &clock.zone());
        (name.is_none() || signers.has_names()) && signers.judge(&self.key, name, clock.timestamp()).is_ok()
    }

    /// Both judge alike whether the signature is one by `name`; returns how.
    #[track_caller]
    fn agree(&self, list: &[u8], name: &[u8], clock: &Clock) -> bool {
        let (theirs, ours) = (self.openssh(list, name, Some(clock)), self.ckvault(list, Some(name), clock));
        assert_eq!(
            theirs,
            ours,
            "OpenSSH (left) and ckvault (right) on {} and the list\n{}",
            name.escape_ascii(),
            list.escape_ascii()
        );
        theirs
    }

    /// Without a name, a line trusts a key if OpenSSH does under a name that stands there, or under one that a pattern there
    /// means if nothing is excluded beside it; and a list does if one of its lines does.
    #[track_caller]
    fn agree_on_anybody(&self, list: &[u8], clock: &Clock) {
        let lines = || list.split(|b| *b == b'\n').filter(|line| Signers::parse(line, &clock.zone()).has_names());
        let trusted = |list: &[u8]| self.ckvault(list, None, clock);
        assert!(lines().count() < 2 || trusted(list) == lines().any(trusted), "{}", list.escape_ascii());
        for line in lines().filter(|line| line.windows(8).any(|w| w == &self.own.as_bytes()[..8])) {
            let what = line.escape_ascii();
            let is_trusted = |name: &[u8]| self.openssh(line, name, Some(clock));
            match self.name(line, clock) {
                Some(names) => {
                    assert!(names.split(',').any(|n| is_trusted(&in_latin(n))), "nobody is trusted by\n{what}")
                }
                None => {
                    let named = NAMES.iter().find(|name| stands_in(line, name) && is_trusted(name));
                    assert!(named.is_none(), "{} is trusted by\n{what}", named.unwrap().escape_ascii());
                }
            }
        }
    }

    /// The names under which ckvault trusts the key when it is asked for none.
    fn name(&self, list: &[u8], clock: &Clock) -> Option<String> {
        Signers::parse(list, &clock.zone()).judge(&self.key, None, clock.timestamp()).ok()
    }

    fn write(&self, list: &str) -> Vec<u8> {
        let encoded = self.own.split_once(' ').unwrap().1;
        list.replace("B64", encoded)
            .replace("KEY", &self.own)
            .replace("OTHER", &self.others[0])
            .replace("RSA", &self.others[1])
            .into_bytes()
    }
}

/// A name as it stands in a list, of which bytes of another encoding are shown escaped.
fn in_latin(shown: &str) -> Vec<u8> {
    match shown.strip_prefix("\\xe4") {
        Some(rest) => [b"\xe4", rest.as_bytes()].concat(),
        None => shown.into(),
    }
}

/// Whether a name is in a line, before the key, by itself, and not only a part of another.
fn stands_in(line: &[u8], name: &[u8]) -> bool {
    let before = line.windows(11).rposition(|w| w == b"ssh-ed25519").unwrap_or(line.len());
    let plain: Vec<u8> = line[..before].iter().copied().filter(|b| *b != b'"').collect();
    let ends = |b: Option<&u8>| b.is_none_or(|b| b" \t\r,".contains(b));
    let mut places = (0..plain.len()).filter(|at| plain[*at..].starts_with(name));
    places.any(|at| ends(plain[..at].last()) && ends(plain.get(at + name.len())))
}

fn version(vault: &Vault) -> (u32, u32) {
    let said = vault.tool("ssh", "-V").run().stderr;
    let numbers = said.strip_prefix("OpenSSH_").unwrap_or_default().split(|c: char| !c.is_ascii_digit());
    let mut numbers = numbers.map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[test]
fn random_lists_are_judged_as_openssh_judges_them() {
    let Some(court) = Court::new() else { return };
    court.vault.exported_by_sender();
    let seed = 20_261_125;
    println!("seed {seed}");
    let (mut dice, mut trusted) = (Dice(seed), 0);
    for case in 0..LISTS {
        let List { bytes, asked, clock } = list(&mut dice, &court.own, &court.others);
        trusted += usize::from(court.agree(&bytes, &asked, &clock));
        if case % ANYBODY == 0 {
            court.agree_on_anybody(&bytes, &clock);
        }
        if case % BINARY == 0 && !NEAR.as_flattened().iter().any(|t| bytes.windows(8).any(|w| w == &t.as_bytes()[..8]))
        {
            let theirs = court.openssh(&bytes, &asked, None);
            let ran = court.vault.call("receiver", "verify usb --signers list --signer").env("TZ", "UTC");
            let ran = ran.arg(OsStr::from_bytes(&asked)).run();
            let usage = ran.code == Some(2) && ran.stderr.contains("is a public key");
            ran.check(usage || ran.code == Some(if theirs { 0 } else { 5 }), "the binary judges otherwise");
            ran.check(!(usage && theirs), "a list is taken for a public key");
        }
    }
    println!("{trusted} of {LISTS} trusted");
    assert!((LISTS / 8..LISTS * 7 / 8).contains(&trusted), "{trusted} of {LISTS} are trusted: too few of one kind");
}

#[test]
fn each_known_trap_is_judged_as_openssh_judges_it() {
    let Some(court) = Court::new() else { return };
    let (yes, no) = (true, false);
    for (trusted, list) in [
        (yes, "alice KEY"),
        (yes, "ssh-alice,alice KEY"),
        (yes, "alice ssh-ed25519    \t B64"),
        (no, "!alice KEY"),
        (no, "!* KEY"),
        (no, "!alice,* KEY"),
        (no, "\"\" KEY"),
        (no, ", KEY"),
        (no, ",, KEY"),
        (yes, "\"al\"\tKEY\nalice KEY"),
        (no, "alice namespaces=\"git\",namespaces=\"ckvault\" KEY"),
        (no, "alice valid-before=\"20990101\",valid-before=\"20990101\" KEY"),
        (no, "alice namespaces=ckvault KEY"),
        (no, "alice namespaces=\"\"ckvault\"\" KEY"),
        (no, "alice namespaces=\"git, ckvault\" KEY"),
        (yes, "alice namespaces=\"git,ckvault\" KEY"),
        (yes, "alice NameSpaces=\"g\\\"it,ckvault\" KEY"),
        (yes, "alice namespaces=\"a b,ckvault\" KEY"),
        (no, "alice valid-after=\"19691231Z\" KEY"),
        (no, "alice valid-after=\"19700101Z\" KEY"),
        (yes, "alice valid-after=\"19700102z\" KEY"),
        (yes, "alice valid-after=\"20000101utc\",valid-before=\"20990231\" KEY"),
        (no, "alice valid-after=\"20000101\",valid-before=\"20000101\" KEY"),
        (no, "\u{feff}alice KEY"),
        (no, "\u{c}alice KEY"),
        (no, "alice\u{c}KEY"),
        (no, "alice\u{b} KEY"),
        (no, "\u{a0}alice KEY"),
        (no, "alice\u{a0}KEY"),
        (yes, "\t alice KEY"),
        (yes, "alice\rKEY\r\n"),
        (yes, "alice,\"a KEY\nalice OTHER\nnobody foo KEY\nalice ssh-rsa AAAA\nalice KEY"),
        (yes, "alice RSA\nalice KEY"),
        (no, "alice cert-authority KEY"),
        (no, "alice no-such-option KEY"),
        (no, "alice cert-authority, KEY"),
        (yes, "alice ,namespaces=\"ckvault\",,valid-after=\"20000101\" KEY"),
        (no, "KEY alice"),
        (yes, "# alice\n\n \t\n#\nalice KEY # comment"),
        (no, "alice OTHER"),
    ] {
        for end in ["", "\n", "\r\n"] {
            let list = court.write(&format!("{list}{end}"));
            assert_eq!(court.agree(&list, b"alice", &Clock::UTC), trusted, "{}", list.escape_ascii());
        }
    }
    // Clocks are taken to show standard time, also where it is noon in summer: now it is one o'clock.
    for (trusted, options) in [
        (yes, "valid-after=\"20260701130000\""),
        (no, "valid-after=\"20260701130001\""),
        (yes, "valid-before=\"20260701130000\""),
        (no, "valid-before=\"20260701125959\""),
        (no, "valid-after=\"20260701120001Z\""),
    ] {
        let list = court.write(&format!("alice {options} KEY\n"));
        assert_eq!(court.agree(&list, b"alice", &Clock::SUMMER), trusted, "{options}");
    }
    let latin = [court.write("alice KEY "), b"caf\xe9\nalice OTHER \xff\n".to_vec()].concat();
    assert!(court.agree(&latin, b"alice", &Clock::UTC));
}

/// Where ckvault trusts less than OpenSSH, or more, by design. Nothing else may differ.
#[test]
fn what_is_judged_otherwise_is_known() {
    let Some(court) = Court::new() else { return };
    let clock = &Clock::UTC;
    // A certificate: who signs with one is trusted by its authority, and the format has plain keys only.
    let vault = &court.vault;
    fs::copy(vault.home("sender").join("signing_key"), vault.path("signer")).unwrap();
    fs::write(vault.path("signer.pub"), court.write("KEY\n")).unwrap();
    vault.tool("ssh-keygen", "-q -s other-ed25519 -I id -n alice signer.pub").run().ok();
    fs::rename(vault.path("signer-cert.pub"), vault.path("signer.pub")).unwrap();
    fs::remove_file(vault.path("message.sig")).unwrap();
    vault.tool("ssh-keygen", "-q -Y sign -n ckvault -f signer.pub message").run().ok();
    assert!(court.openssh(&court.write("alice cert-authority OTHER"), b"alice", None));
    let signature = Signature::parse(&fs::read(vault.path("message.sig")).unwrap());
    assert!(signature.is_err() || signature.is_ok_and(|s| s.verify(b"a message\n").is_err()));
    // A `valid-before` before 1970: OpenSSH from 10.4 on takes it for a time that never comes.
    assert!(!court.ckvault(&court.write("alice valid-before=\"19600101Z\" KEY"), Some(b"alice"), clock));
    // A line that begins with a carriage return: OpenSSH from 9.7 on passes over it.
    assert!(!court.ckvault(&court.write("\ralice KEY"), Some(b"alice"), clock));
    // Without a name (OpenSSH always has one) a pattern beside an exclusion means nobody, and neither does what is not seen.
    for list in ["!alice,* KEY", "*@lab,!eve@lab KEY", "\u{feff}alice KEY", "\u{c}alice KEY"] {
        assert!(!court.ckvault(&court.write(list), None, clock), "{list}");
    }
    for list in ["!eve,alice KEY", "* KEY", "*@lab KEY", "alice,bob KEY"] {
        assert!(court.ckvault(&court.write(list), None, clock), "{list}");
    }
    // A file that is one public key is trusted, which is no list for OpenSSH.
    assert!(court.ckvault(&court.write("KEY me@lab\n"), None, clock));
}

impl Vault {
    /// A tiny set of the sender's on `usb`.
    fn exported_by_sender(&self) {
        self.exported(1000, "1+1");
    }

    fn signers(&self, name: &str, list: &str) {
        let key = |path: &str| {
            let line = fs::read_to_string(self.path(path)).unwrap_or_default();
            line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
        };
        let list = list.replace("KEY", &key("sender.pub")).replace("OTHER", &key("home/receiver/signing_key.pub"));
        fs::write(self.path(name), list).unwrap();
    }
}

/// Every verb that asks who signed, on `usb`.
const VERBS: [&str; 5] = ["verify usb", "repair usb", "list usb", "import usb --to restored", "inspect usb"];

/// Runs every verb with these arguments: all are refused because nobody vouches, and say `why`.
#[track_caller]
fn untrusted(vault: &Vault, arguments: &str, why: &[&str]) {
    for verb in VERBS {
        let ran = vault.receiver(&format!("{verb} {arguments}"));
        let said = match verb {
            "inspect usb" => ran.ok().shows("NOT VERIFIED").stdout,
            _ => ran.ends(5).stderr,
        };
        assert!(why.iter().all(|w| said.contains(w)), "{verb}: not {why:?}, but\n{said}");
    }
    assert!(!vault.path("restored").exists());
}

/// Runs every verb with these arguments: all end with 2, say `why`, and show nothing.
#[track_caller]
fn cannot_be_asked(vault: &Vault, arguments: &str, env: (&str, &str), why: &str) {
    for verb in VERBS {
        vault.call("receiver", &format!("{verb} {arguments}")).env(env.0, env.1).run().fails(2).says(why);
    }
    assert!(!vault.path("restored").exists());
}

/// Runs every verb with these arguments: all trust, under this name if there is one. Returns what they say on stderr.
#[track_caller]
fn trusted(vault: &Vault, arguments: &str, name: Option<&str>) -> Vec<Ran> {
    let ran = VERBS.map(|verb| {
        let report = vault.receiver(&format!("{verb} {arguments} --json")).ok();
        let signer = report.json()["signer"].clone();
        report.check(name.is_none_or(|name| signer == name), "another signer is named");
        let _ = fs::remove_dir_all(vault.path("restored"));
        report
    });
    ran.into()
}

#[test]
fn who_must_have_signed_is_named() {
    let vault = Vault::new();
    vault.exported_by_sender();
    vault.signers("list", "# ours\nalice@lab,al KEY\n*@site,!eve@site,!\u{202e} KEY\nbob@lab OTHER\n");
    for name in ["alice@lab", "al", "ann@site"] {
        trusted(&vault, &format!("--signers list --signer {name}"), Some(name));
    }
    trusted(&vault, "--signers list", Some("alice@lab,al"));
    for name in ["bob@lab", "eve@site", "alice@la", "Alice@lab", "alice@lab,al"] {
        untrusted(
            &vault,
            &format!("--signers list --signer {name}"),
            &["signed by alice@lab,al,", &format!("not by {name}")],
        );
    }
    vault.signers("one", "bob@lab OTHER\n");
    untrusted(&vault, "--signers one --signer bob@lab", &["SHA256:", "not a trusted signer"]);
    vault.signers("late", "alice KEY\nbob valid-before=\"20200101\" KEY\n");
    untrusted(&vault, "--signers late --signer bob", &["bob is no longer valid"]);
    vault.signers("not", "!eve,* KEY\n");
    untrusted(&vault, "--signers not", &["names nobody"]);
    trusted(&vault, "--signers not --signer alice", Some("alice"));
    cannot_be_asked(&vault, "--signers list --signer=", ("X", ""), "names nobody");
    cannot_be_asked(&vault, "--signers sender.pub --signer alice", ("X", ""), "is a public key");
}

#[test]
fn a_line_that_cannot_be_read_is_a_warning_with_file_and_line() {
    let vault = Vault::new();
    vault.exported_by_sender();
    vault.signers("list", "# ours\nbob no-such-option OTHER\nalice KEY caf\u{e9}\n");
    for ran in trusted(&vault, "--signers list", Some("alice")) {
        ran.says("ckvault: warning: list, line 2: there is an unknown option");
    }
    trusted(&vault, "--signers sender.pub", None).iter().for_each(|ran| {
        ran.check(!ran.stderr.contains("warning"), "a warning");
    });
    // Where nobody is trusted, the line may have been meant to.
    vault.signers("list", "alice OTHER\nalice valid-after=\"1\" KEY\n\nbob OTHER\nbob\n");
    untrusted(&vault, "--signers list", &["not a trusted signer", "line 2: valid-after is not a time", "line 5"]);
    vault.signers("list", "alice namespaces=\"ckvault KEY\n");
    untrusted(&vault, "--signers list", &["list, line 1: a double quote is missing"]);
    let many = "me\n".repeat(1000);
    vault.signers("list", &format!("{many}alice KEY\n"));
    let ran = vault.receiver("verify usb --signers list").ok().says("and 980 more");
    assert!(ran.stderr.lines().count() < 30, "{ran}");
}

#[track_caller]
#[test]
fn a_revoked_key_counts_for_nobody() {
    if !need(&["ssh-keygen"]) {
        return;
    }
    let vault = Vault::new();
    vault.exported_by_sender();
    vault.signers("list", "alice KEY\nbob OTHER\n");
    vault.signers("mine", "# gone\n\n KEY me@lab\n");
    vault.signers("others", "OTHER\n");
    let spec = |kind: &str, who: &str| {
        vault.signers("spec", &format!("{kind}: {who}\n"));
        vault.tool("ssh-keygen", "-q -k -f krl spec").run().ok();
        fs::rename(vault.path("krl"), vault.path(format!("krl-{kind}-{who}"))).unwrap();
    };
    ["key", "sha1", "sha256"].iter().for_each(|kind| ["KEY", "OTHER"].iter().for_each(|who| spec(kind, who)));
    // A certificate in a list revokes the key in it.
    vault.tool("ssh-keygen", "-q -t ed25519 -f ca -N").arg("").run().ok();
    vault.tool("ssh-keygen", "-q -s ca -I id -n alice sender.pub").run().ok();
    for revoked in ["mine", "sender-cert.pub", "krl-key-KEY", "krl-sha1-KEY", "krl-sha256-KEY"] {
        for signer in ["", "--signer alice"] {
            untrusted(&vault, &format!("--signers list {signer} --revoked {revoked}"), &["alice is revoked"]);
        }
        untrusted(&vault, &format!("--signers sender.pub --revoked {revoked}"), &["is revoked"]);
    }
    for revoked in ["others", "/dev/null", "ca.pub", "krl-key-OTHER", "krl-sha1-OTHER", "krl-sha256-OTHER"] {
        trusted(&vault, &format!("--signers list --revoked {revoked}"), Some("alice"));
    }
}

#[test]
fn what_is_revoked_is_known_or_nothing_is_trusted() {
    if !need(&["ssh-keygen"]) {
        return;
    }
    let vault = Vault::new();
    vault.exported_by_sender();
    vault.signers("others", "OTHER\n");
    vault.tool("ssh-keygen", "-q -k -f krl others").run().ok();
    let krl = fs::read(vault.path("krl")).unwrap();
    let none = ("X", "");
    // What is neither a KRL nor a list.
    for (i, bad) in [&krl[..krl.len() - 3], &krl[..9], &krl[..7], b"\n", b"me", b"hash: SHA256:x\n"].iter().enumerate()
    {
        let bad = if i < 3 { bad.to_vec() } else { [b"# c\n", *bad, b" x\n"].concat() };
        fs::write(vault.path("bad"), bad).unwrap();
        cannot_be_asked(&vault, "--signers sender.pub --revoked bad", none, "bad");
    }
    vault.receiver("verify usb --signers sender.pub --revoked no-such-file").fails(1).says("no-such-file");
    // A KRL without anybody who reads it; a list needs nobody.
    vault.make(&["empty", "fake"]);
    let path = |dir: &str| vault.path(dir).display().to_string();
    cannot_be_asked(&vault, "--signers sender.pub --revoked krl", ("PATH", &path("empty")), "no ssh-keygen here");
    let ran = vault.call("receiver", "verify usb --signers sender.pub --revoked krl").env("PATH", path("empty")).run();
    ran.fails(2).says("install openssh-client");
    vault.call("receiver", "verify usb --signers sender.pub --revoked others").env("PATH", path("empty")).run().ok();
    // Somebody who reads it, and gives no plain answer.
    for (code, answer) in [(0, ""), (0, "key.pub: REVOKED"), (1, "key.pub: ok"), (1, ""), (2, "key.pub: ok"), (255, "")]
    {
        let script = format!("#!/bin/sh\n[ $# = 5 ] || exit 0\necho '{answer}'\nexit {code}\n");
        let program = vault.path("fake/ssh-keygen");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let call = vault.call("receiver", "verify usb --signers sender.pub --revoked krl");
        let path = format!("{}:{}", path("fake"), std::env::var("PATH").unwrap_or_default());
        call.env("PATH", path).run().ends(5).says("cannot be found out");
    }
}
