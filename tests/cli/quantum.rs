//! Who records a set now and has a quantum computer later: the set's own recipient is a secret, and what the key slot shows of
//! those who can open it is said.

use crate::harm;
use crate::resume::killed;
use crate::support::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The directory of the only set on a drive.
fn set_on(drive: &Path) -> PathBuf {
    fs::read_dir(drive).unwrap().next().unwrap().unwrap().path()
}

/// The set's own recipient, as whoever can open the key slot knows it.
fn recipient_of(vault: &Vault, set: &Path) -> String {
    let file = fs::read_to_string(vault.home("receiver").join("identity.txt")).unwrap();
    let identity: age::x25519::Identity = file.lines().last().unwrap().parse().unwrap();
    let slot = fs::read(set.join("keys.age")).unwrap();
    let identity: &dyn age::Identity = &identity;
    let mut text = String::new();
    let mut opened = age::Decryptor::new(&slot[..]).unwrap().decrypt(std::iter::once(identity)).unwrap();
    opened.read_to_string(&mut text).unwrap();
    text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned()
}

/// The point itself: bech32 without its checksum, five bits a character.
fn point(recipient: &str) -> Vec<u8> {
    const DIGITS: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let data = &recipient["age1".len()..recipient.len() - 6];
    let bits = data.chars().flat_map(|c| (0..5).rev().map(move |i| DIGITS.find(c).unwrap() >> i & 1));
    let bits: Vec<usize> = bits.collect();
    bits.as_chunks::<8>().0.iter().map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | *bit as u8)).collect()
}

/// Whether these bytes have the recipient in any spelling.
fn has(bytes: &[u8], recipient: &str) -> bool {
    let point = point(recipient);
    assert_eq!(point.len(), 32);
    let hex: String = point.iter().map(|b| format!("{b:02x}")).collect();
    let spellings = [
        recipient.as_bytes(),
        recipient.to_uppercase().as_bytes(),
        STANDARD_NO_PAD.encode(&point).as_bytes(),
        hex.as_bytes(),
        &point[..],
    ]
    .map(<[u8]>::to_vec);
    spellings.iter().any(|spelling| bytes.windows(spelling.len()).any(|w| w == &spelling[..]))
}

/// The files in and below a directory that have it.
fn files_with(recipient: &str, dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let within = |path: PathBuf| match path.symlink_metadata().unwrap().is_dir() {
        true => files_with(recipient, &path),
        false => fs::read(&path).is_ok_and(|bytes| has(&bytes, recipient)).then_some(path).into_iter().collect(),
    };
    entries.flat_map(within).collect()
}

#[test]
fn the_recipient_of_a_set_stands_nowhere_but_in_what_is_encrypted() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 300_000);
    vault.make(&["usb"]);
    let mut said = vec![vault.sender("export checkpoint --to usb --recipients keys.txt --volume-size 2M -v").ok()];
    let set = set_on(&vault.path("usb"));
    let recipient = recipient_of(&vault, &set);
    assert!(has(recipient.as_bytes(), &recipient), "it would not be found");
    for verb in
        ["inspect usb", "inspect usb --json", "verify usb -v", "verify usb --json", "list usb", "list usb --json"]
    {
        said.push(vault.receiver(verb).ok());
    }
    said.push(vault.receiver("import usb --to restored --json -v").ok());
    harm::flip(&set.join("manifest.json"), 30, 0);
    said.push(vault.receiver("repair usb --json -v").ok());
    for ran in said {
        ran.check(!has(ran.stdout.as_bytes(), &recipient) && !has(ran.stderr.as_bytes(), &recipient), "it is said");
    }
    assert_eq!(files_with(&recipient, &vault.root), [] as [PathBuf; 0]);
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(set.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["recipient_blake3"], blake3::hash(recipient.as_bytes()).to_hex().as_str());
}

#[test]
fn an_interrupted_export_keeps_the_recipient_to_itself_and_goes_on_with_it() {
    let vault = Vault::new();
    vault.checkpoint("source", 30_000_000);
    let export = "export source --to usb --recipients keys.txt --volume-size 2M --parity 4+2";
    let set = killed(&vault, export, "g00002-p001.ckv");
    let recipient = recipient_of(&vault, &set);
    let kept = files_with(&recipient, &vault.root);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].starts_with(vault.path(".local/state/ckvault")), "{kept:?}");
    assert_eq!(kept[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    vault.sender("export --resume").ok();
    assert_eq!(recipient_of(&vault, &set), recipient);
    assert_eq!(files_with(&recipient, &vault.root), [] as [PathBuf; 0]);
    vault.restores("usb", "source");
}

/// With the plugin for tests under both of its names on PATH; a set for these recipients, planned, written and looked at.
#[track_caller]
fn is_said(vault: &Vault, recipients: &str, code: &str, sentence: &str) {
    let (drive, path) = (vault.path("usb"), path_with_plugins(vault));
    let _ = fs::remove_dir_all(&drive);
    vault.make(&["usb"]);
    fs::write(vault.path("these.txt"), recipients).unwrap();
    let call = |who, arguments: &str| vault.call(who, arguments).env("PATH", &path).run();
    let export = "export checkpoint --to usb --recipients these.txt --parity 1+1 --volume-size 2M";
    for (who, command) in [
        ("sender", &format!("{export} --dry-run")[..]),
        ("sender", &format!("{export} --dry-run --json")),
        ("sender", export),
        ("receiver", "inspect usb"),
        ("receiver", "inspect usb --json"),
        ("stranger", "inspect usb"),
        ("stranger", "inspect usb --json"),
    ] {
        let ran = call(who, command).ok();
        match command.ends_with("--json") {
            true => {
                let report = ran.json();
                ran.check(report["confidentiality"] == code && report["signature"] == "Ed25519", "in JSON");
            }
            false => {
                ran.check(ran.stdout.contains(sentence) && ran.stdout.contains("the signature, Ed25519"), "in words")
            }
        }
    }
}

fn path_with_plugins(vault: &Vault) -> String {
    let toy = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/age-plugin-toy");
    vault.make(&["bin"]);
    for name in ["age-plugin-toy", "age-plugin-pq"] {
        fs::copy(&toy, vault.path("bin").join(name)).unwrap();
    }
    format!("{}:{}", vault.path("bin").display(), std::env::var("PATH").unwrap_or_default())
}

const TAGPQ: &str = include_str!("tagpq.txt");
const TOY: &str = "age1toy1w3hhjuj5ahe\n";
const PQ: &str = "age1pq1w3hhjcqaehu\n";

#[test]
fn it_is_said_of_each_set_whether_a_quantum_computer_opens_it() {
    if !need(&["python3"]) {
        return;
    }
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 50_000);
    let native = fs::read_to_string(vault.path("keys.txt")).unwrap();
    for (recipients, code, sentence) in [
        (native.clone(), "classical", "confidentiality is not post-quantum"),
        (TAGPQ.to_owned(), "post-quantum", "confidentiality is post-quantum"),
        (TOY.to_owned(), "unknown", "whether confidentiality is post-quantum cannot be told"),
        (native.clone() + TOY, "classical", "confidentiality is not post-quantum"),
        (PQ.to_owned() + TAGPQ, "post-quantum", "confidentiality is post-quantum"),
    ] {
        is_said(&vault, &recipients, code, sentence);
    }
    // The last opens as any other does.
    fs::write(vault.path("pq.txt"), "AGE-PLUGIN-PQ-1W3HHJEJ32KP\n").unwrap();
    let import = vault.call("receiver", "import usb --to restored --identity pq.txt");
    import.env("PATH", path_with_plugins(&vault)).run().ok();
    crate::tree::assert_same(&vault.path("checkpoint"), &vault.path("restored"));
    // What age 1.3 knows without a plugin, this does not.
    fs::write(vault.path("native.txt"), "# age-keygen -pq\nAGE-SECRET-KEY-PQ-1QQQQ\n").unwrap();
    let ran = vault.receiver("import usb --to again --identity native.txt").fails(6);
    ran.check(ran.stderr.contains("age-plugin-pq -identity") && !ran.stderr.contains("1QQQQ"), "what to do");
    // Without a whole slot nothing is seen.
    for slot in copies_in(&set_on(&vault.path("usb")), "keys.age") {
        fs::write(slot, "age-encryption.org/v1\n-> mlkem768x25519 AAAA\n\n--- ").unwrap();
    }
    assert_eq!(vault.receiver("inspect usb --json").ok().json()["confidentiality"], "unknown");
}

/// age encrypts to nobody who would spoil what the others have; and says so before anything is written or planned.
#[test]
fn what_is_post_quantum_is_not_mixed_with_what_is_not() {
    if !need(&["python3"]) {
        return;
    }
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 50_000);
    vault.make(&["usb"]);
    let path = path_with_plugins(&vault);
    let native = fs::read_to_string(vault.path("keys.txt")).unwrap();
    let all = [native.clone() + TAGPQ, native + PQ, TOY.to_owned() + PQ];
    for (recipients, more) in all.iter().flat_map(|all| ["", " --dry-run"].map(|more| (all, more))) {
        fs::write(vault.path("mixed.txt"), recipients).unwrap();
        let export = vault.call("sender", &format!("export checkpoint --to usb --recipients mixed.txt{more}"));
        let ran = export.env("PATH", &path).run().fails(2);
        ran.check(
            ran.stderr.contains("postquantum") && !ran.stderr.contains('\u{2068}'),
            "the reason is not shown well",
        );
        assert!(names_in(&vault.path("usb")).is_empty());
    }
}
