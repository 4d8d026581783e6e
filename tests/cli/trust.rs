//! Who is trusted, who can open, and what is refused.

use crate::both::with_both_blocks;
use crate::harm;
use crate::support::*;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A vault with a small set on `usb`.
fn prepared() -> (Vault, Set) {
    prepared_with(harm::BLOCK)
}

fn prepared_with(block: u64) -> (Vault, Set) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(50_000, "2+1");
    (vault, set)
}

/// Runs verify and import with extra arguments: both must end with 5, say `why`, and leave nothing.
#[track_caller]
fn untrusted(vault: &Vault, arguments: &str, why: &str) {
    let ran = vault.receiver(&format!("verify usb {arguments}")).ends(5).says(why).says("hint: ");
    ran.check(ran.stdout.trim() == "untrusted", "the verdict is not on stdout");
    let report = vault.verdict(&format!("usb {arguments}"));
    assert_eq!(report["verdict"], "untrusted");
    vault.refuses(&format!("usb {arguments}"), 5).says(why);
    vault.receiver(&format!("list usb {arguments}")).fails(5).says(why);
}

/// The sender's public key, type and base64.
fn key(vault: &Vault) -> String {
    let line = fs::read_to_string(vault.path("sender.pub")).unwrap();
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn without_a_list_of_signers_nothing_is_trusted() {
    let (vault, _) = prepared();
    let ran = vault.call("stranger", "verify usb").run().ends(5);
    let list = vault.home("stranger").join("allowed_signers");
    let ran = ran.says(&format!("put the sender's line into {}, or give --signers sender.pub", list.display()));
    // It makes secrets that somebody who verifies must not have, and a list that trusts himself.
    ran.check(!ran.stderr.contains("keygen"), "keygen is advised to somebody who verifies");
    vault.call("stranger", "import usb --to restored").run().fails(5).says("--signers");
    fs::write(vault.path("nobody"), "# nobody yet\n").unwrap();
    untrusted(&vault, "--signers nobody", "names no signer");
    assert!(!vault.path("restored").exists());
}

#[test]
fn an_unknown_signer_is_named_by_fingerprint() {
    let (vault, _) = prepared();
    vault.call("stranger", "keygen").run().ok();
    fs::copy(vault.home("stranger").join("signing_key.pub"), vault.path("stranger.pub")).unwrap();
    untrusted(&vault, "--signers stranger.pub", "SHA256:");
}

#[test]
fn a_public_key_or_a_list_may_be_given() {
    let (vault, _) = prepared();
    vault.call("stranger", "verify usb --signers sender.pub").run().ok().shows("intact");
    fs::write(
        vault.path("list"),
        format!("# c\nlab@site namespaces=\"ckvault\",valid-after=\"20200101\" {}\n", key(&vault)),
    )
    .unwrap();
    vault.receiver("verify usb --signers list").ok().shows("lab@site");
    vault.restores("usb --signers list", "checkpoint");
}

#[test]
fn every_condition_of_a_signer_is_honoured_with_its_own_message() {
    let (vault, _) = prepared();
    for (options, why) in [
        ("valid-before=\"20200101\"", "no longer valid"),
        ("valid-after=\"29990101Z\"", "not valid yet"),
        ("namespaces=\"git,file\"", "not trusted for the namespace"),
        ("namespaces=\"*,!ckvault\"", "not trusted for the namespace"),
        ("cert-authority", "certificate authority"),
    ] {
        fs::write(vault.path("list"), format!("lab@site {options} {}\n", key(&vault))).unwrap();
        untrusted(&vault, "--signers list", why);
    }
    fs::write(vault.path("list"), format!("lab@site no-such-option {}\n", key(&vault))).unwrap();
    untrusted(&vault, "--signers list", "line 1");
}

#[test]
fn without_a_manifest_or_a_signature_nothing_is_trusted() {
    let (vault, set) = prepared();
    for name in ["manifest.json", "manifest.json.sig"] {
        let kept = fs::read(&set.copies(name)[0]).unwrap();
        harm::remove(set.copies(name));
        untrusted(&vault, "", "interrupted");
        set.copies(name).iter().for_each(|p| fs::write(p, &kept).unwrap());
    }
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
}

#[test]
fn a_manifest_with_one_bit_flipped_in_all_copies_is_not_trusted() {
    let (vault, set) = prepared();
    let len = harm::len(&set.copies("manifest.json")[0]);
    for at in [0, 10, len / 2, len - 1] {
        set.copies("manifest.json").iter().for_each(|p| harm::flip(p, at, 1));
        untrusted(&vault, "", "does not fit");
        set.copies("manifest.json").iter().for_each(|p| harm::flip(p, at, 1));
    }
    for at in [60, 200, harm::len(&set.copies("manifest.json.sig")[0]) - 40] {
        set.copies("manifest.json.sig").iter().for_each(|p| harm::flip(p, at, 0));
        untrusted(&vault, "", "signature");
        set.copies("manifest.json.sig").iter().for_each(|p| harm::flip(p, at, 0));
    }
}

#[test]
fn any_manifest_copy_may_pair_with_any_signature_copy() {
    let (vault, set) = prepared();
    harm::flip(&set.copies("manifest.json")[0], 20, 0);
    harm::flip(&set.copies("manifest.json.sig")[1], 100, 0);
    let verdict = vault.verdict("usb");
    assert_eq!(verdict["verdict"], "repairable");
    let damaged: Vec<&str> = list(&verdict["files"]).iter().map(|f| text(&f["path"])).collect();
    assert!(
        damaged.len() == 2 && damaged[0].ends_with("/manifest.json") && damaged[1].ends_with("copy/manifest.json.sig"),
        "{damaged:?}"
    );
    vault.restores("usb", "checkpoint");
}

#[test]
fn a_signature_over_another_set_does_not_fit() {
    let (vault, set) = prepared();
    vault.make(&["usb2"]);
    let other = vault.export("checkpoint --to usb2 --parity 2+1");
    for (mine, theirs) in set.copies("manifest.json.sig").iter().zip(other.copies("manifest.json.sig")) {
        fs::copy(theirs, mine).unwrap();
    }
    untrusted(&vault, "", "does not fit");
}

#[test]
fn a_manifest_replayed_over_volumes_of_another_set_is_refused_and_names_it() {
    let (vault, set) = prepared();
    vault.make(&["usb2"]);
    let other = vault.export("checkpoint --to usb2 --parity 2+1");
    for name in ["manifest.json", "manifest.json.sig"] {
        set.copies(name)
            .iter()
            .zip(other.copies(name))
            .for_each(|(mine, theirs)| assert!(fs::copy(theirs, mine).is_ok()));
    }
    untrusted(&vault, "", &format!("belongs to another set ({}…)", &set.id()[..8]));
    vault.receiver("repair usb").fails(5).says(&set.id()[..8]);
    // Key slot and inventory of the set that is named change nothing.
    for name in ["keys.age", "inventory.age", "hashes.b3"] {
        set.copies(name).iter().zip(other.copies(name)).for_each(|(a, b)| assert!(fs::copy(b, a).is_ok()));
    }
    let ran = vault.receiver("verify usb").ends(5).says(&set.id()[..8]);
    ran.check(ran.stdout.trim() == "untrusted", "the verdict is not on stdout");
    vault.refuses("usb", 5).says(&set.id()[..8]);
    vault.receiver("repair usb").fails(5).says(&set.id()[..8]);
}

#[test]
fn the_key_slot_of_another_set_is_refused() {
    let (vault, set) = prepared();
    vault.make(&["usb2"]);
    let other = vault.export("checkpoint --to usb2 --parity 2+1");
    set.copies("keys.age")
        .iter()
        .zip(other.copies("keys.age"))
        .for_each(|(mine, theirs)| assert!(fs::copy(theirs, mine).is_ok()));
    untrusted(&vault, "", "no keys.age here is the one that the signed manifest names");
    vault.receiver("repair usb").fails(5).says("keys.age");
    let bytes = harm::len(&set.copies("keys.age")[0]);
    set.copies("keys.age").iter().for_each(|path| fs::write(path, noise(7, bytes as usize)).unwrap());
    assert_eq!(vault.verdict("usb")["verdict"], "lost");
    vault.refuses("usb", 4).says("keys.age");
}

#[test]
fn a_wrong_or_missing_identity_opens_nothing() {
    let (vault, _) = prepared();
    vault.call("stranger", "keygen").run().ok();
    let identity = vault.home("stranger").join("identity.txt");
    let identity = identity.display();
    vault.refuses(&format!("usb --identity {identity}"), 6).says("none of the identities");
    vault.receiver(&format!("list usb --identity {identity}")).fails(6);
    vault.refuses("usb --identity no-such-file", 6).says("no-such-file");
    vault.call("nobody", "import usb --signers sender.pub --to restored").run().fails(6).says("ckvault keygen");
    fs::write(vault.path("garbage"), "not an identity\n").unwrap();
    vault.refuses("usb --identity garbage", 6);
    fs::write(vault.path("empty"), "# nothing\n").unwrap();
    vault.refuses("usb --identity empty", 6);
    vault.restores(&format!("usb --identity {identity} --identity home/receiver/identity.txt"), "checkpoint");
}

#[test]
fn without_a_signing_key_there_is_no_export() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 1000);
    vault.make(&["usb"]);
    vault.call("stranger", "export checkpoint --to usb --recipients keys.txt").run().fails(5).says("ckvault keygen");
    vault
        .sender("export checkpoint --to usb --recipients keys.txt --signing-key no-such-key")
        .fails(5)
        .says("no-such-key");
    vault.sender("export checkpoint --to usb --recipients keys.txt --signing-key keys.txt").fails(2);
    assert!(names_in(&vault.path("usb")).is_empty());
}

#[test]
fn without_a_recipient_there_is_no_export() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 1000);
    vault.make(&["usb"]);
    fs::write(vault.path("none.txt"), "# nobody\n\n").unwrap();
    fs::write(vault.path("bad.txt"), "# one\nage1notarecipient\n").unwrap();
    vault.sender("export checkpoint --to usb --recipients none.txt").fails(2).says("recipient");
    vault.sender("export checkpoint --to usb --recipients bad.txt").fails(2).says("line 2");
    let ran =
        vault.sender("export checkpoint --to usb --recipients home/receiver/identity.txt").fails(2).says("secret");
    ran.check(!ran.stderr.contains("AGE-SECRET-KEY"), "a secret is repeated");
    // The list that keygen makes names only the key of this machine, which is seldom what is meant.
    vault.sender("export checkpoint --to usb").fails(2).says("only the key of this machine").says("--recipients ");
    assert!(names_in(&vault.path("usb")).is_empty(), "something was written");
    vault.sender("export checkpoint --to usb --dry-run").ok().shows("only you can open this");
    let own = vault.sender("export checkpoint --to usb --recipients home/sender/recipients.txt --json").ok().json();
    assert_eq!(own["only_own"].to_string(), "true");
    fs::copy(vault.path("keys.txt"), vault.home("sender").join("recipients.txt")).unwrap();
    assert_eq!(vault.sender("export checkpoint --to usb --json").ok().json()["only_own"].to_string(), "false");
}

#[test]
fn a_lone_recipient_and_the_default_file_work() {
    let vault = Vault::new();
    vault.checkpoint("checkpoint", 1000);
    vault.make(&["usb"]);
    let recipients = fs::read_to_string(vault.path("keys.txt")).unwrap();
    let recipient = recipients.lines().find(|l| l.starts_with("age1")).unwrap();
    vault.sender(&format!("export checkpoint --to usb -r {recipient}")).ok();
    vault.restores("usb", "checkpoint");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn keygen_writes_secrets_for_their_owner_alone_and_overwrites_nothing() {
    let vault = Vault::empty();
    let ran = vault.sender("keygen").ok().shows("age1").shows("ssh-ed25519 ").shows("SHA256:");
    ran.check(!ran.stdout.contains("AGE-SECRET-KEY"), "a secret is shown");
    let home = vault.home("sender");
    assert_eq!(
        names_in(&home),
        [&b"allowed_signers"[..], b"identity.txt", b"recipients.txt", b"signing_key", b"signing_key.pub"]
    );
    assert_eq!((mode(&home.join("identity.txt")), mode(&home.join("signing_key"))), (0o600, 0o600));
    let before: Vec<_> =
        names_in(&home).iter().map(|n| fs::read(home.join(std::str::from_utf8(n).unwrap())).unwrap()).collect();
    let public = vault.sender("keygen").ok().shows("nothing was made").stdout;
    assert_eq!(vault.sender("keygen --show").ok().stdout, public);
    vault.sender("keygen --show --out nowhere").fails(1);
    let after: Vec<_> =
        names_in(&home).iter().map(|n| fs::read(home.join(std::str::from_utf8(n).unwrap())).unwrap()).collect();
    assert!(before == after);
    for name in ["identity.txt", "signing_key", "signing_key.pub", "allowed_signers", "recipients.txt"] {
        vault.make(&[&format!("half-{name}")]);
        fs::write(vault.path(format!("half-{name}")).join(name), "mine").unwrap();
        vault.sender(&format!("keygen --out half-{name}")).fails(2).says(name);
        assert_eq!(names_in(&vault.path(format!("half-{name}"))).len(), 1);
    }
    vault.sender("keygen --out elsewhere").ok();
    assert_eq!(names_in(&vault.path("elsewhere")).len(), 5);
}

#[test]
fn the_defaults_lie_where_xdg_says() {
    let vault = Vault::empty();
    vault.sender("keygen").ok();
    let call = |variable: &str, value: &Path| {
        vault.call("sender", "keygen").env("CKVAULT_HOME", "").env(variable, value).run().ok()
    };
    call("XDG_CONFIG_HOME", &vault.path("xdg"));
    call("HOME", &vault.path("user"));
    assert_eq!(names_in(&vault.path("xdg/ckvault")).len(), 5);
    assert_eq!(names_in(&vault.path("user/.config/ckvault")).len(), 5);
}

#[test]
fn inspect_shows_what_nobody_vouches_for_as_not_verified() {
    let (vault, set) = prepared();
    vault.call("stranger", "inspect usb").run().ok().shows("NOT VERIFIED").shows(set.id());
    let ran = vault.receiver("inspect usb").ok().shows("verified").shows(set.id());
    ran.check(!ran.stdout.contains("NOT VERIFIED"), "a trusted set is shown as NOT VERIFIED");
    for path in set.copies("manifest.json") {
        let forged = fs::read_to_string(&path).unwrap().replacen("\"label\":null", "\"label\":\"forged\"", 1);
        fs::write(&path, forged).unwrap();
    }
    vault.receiver("inspect usb").ok().shows("NOT VERIFIED").shows("forged");
    assert_eq!(vault.receiver("inspect usb --json").ok().json()["verified"], false);
    harm::remove(set.copies("manifest.json"));
    vault.receiver("inspect usb").fails(5);
}

/// Signs the manifest of a set anew as the sender, after changing its text.
fn sign_anew(vault: &Vault, set: &Set, namespace: &str, change: impl Fn(String) -> String) {
    let text = change(fs::read_to_string(&set.copies("manifest.json")[0]).unwrap());
    fs::write(vault.path("manifest.json"), &text).unwrap();
    let key = vault.home("sender").join("signing_key");
    let _ = fs::remove_file(vault.path("manifest.json.sig"));
    vault.tool("ssh-keygen", &format!("-Y sign -q -n {namespace} -f {} manifest.json", key.display())).run().ok();
    for name in ["manifest.json", "manifest.json.sig"] {
        set.copies(name).iter().for_each(|path| assert!(fs::copy(vault.path(name), path).is_ok()));
    }
}

#[test]
fn a_signature_for_another_namespace_is_refused_before_anything_is_parsed() {
    let (vault, set) = prepared();
    if !need(&["ssh-keygen"]) {
        return;
    }
    for manifest in [String::from("no JSON at all\n"), fs::read_to_string(&set.copies("manifest.json")[0]).unwrap()] {
        sign_anew(&vault, &set, "file", |_| manifest.clone());
        untrusted(&vault, "", "made for the namespace \"file\"");
        vault.receiver("repair usb").fails(5).says("namespace");
    }
}

#[test]
fn another_version_of_the_format_is_refused_whoever_signed_it() {
    let (vault, set) = prepared();
    if !need(&["ssh-keygen"]) {
        return;
    }
    let say = |version: &str| {
        sign_anew(&vault, &set, "ckvault", |text| {
            let at = text.find("\"format\":\"").unwrap() + 10;
            let end = at + text[at..].find('"').unwrap();
            format!("{}{version}{}", &text[..at], &text[end..])
        });
    };
    // An older one may lack what protects this one, and what is none is not believed.
    for (version, why, hint) in [
        ("0", "format \"0\" is not readable by this version", "use the version"),
        ("one", "format \"one\" is not readable by this version", "use the version"),
        ("draft-0", "the set has the format \"draft-0\": a development version wrote it", "recover.py restores it"),
        ("draft-1", "the set has the format \"draft-1\": a development version wrote it", "recover.py restores it"),
    ] {
        say(version);
        untrusted(&vault, "", why);
        vault.receiver("verify usb").ends(5).says(hint);
        vault.receiver("repair usb").fails(5).says(hint);
    }
    for version in ["2", "99"] {
        say(version);
        let newer = format!("the set needs the format \"{version}\", which is newer than this ckvault");
        vault.receiver("verify usb").ends(1).says(&newer).says("use a newer ckvault");
        vault.receiver("repair usb").fails(1).says(&newer);
        vault.refuses("usb", 1).says(&newer);
    }
}

fn a_volume_of_another_set_among_too_many_lost_ones_is_named(block: u64) {
    let (vault, set) = prepared_with(block);
    vault.make(&["usb2"]);
    let other = vault.export("checkpoint --to usb2 --parity 2+1");
    harm::remove([set.volume("g00000-d000.ckv")]);
    let whole = fs::read(set.volume("g00000-p000.ckv")).unwrap();
    fs::copy(other.volume("g00000-p000.ckv"), set.volume("g00000-p000.ckv")).unwrap();
    let why = format!("g00000-p000.ckv belongs to another set ({}…)", &other.id()[..8]);
    vault.receiver("verify usb").ends(5).says(&why);
    vault.refuses("usb", 5).says(&why);
    vault.receiver("repair usb").fails(5).says(&other.id()[..8]);
    fs::write(set.volume("g00000-p000.ckv"), whole).unwrap();
    vault.restores("usb", "checkpoint");
}

/// Writes to a set as far as others can tell.
fn writer(set: &Set) -> fs::File {
    let file = fs::File::create(set.dirs[0].join("writing.partial")).unwrap();
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    file
}

#[test]
fn a_set_that_is_being_written_is_not_judged_unless_it_is_whole() {
    let (vault, set) = prepared();
    let writing = writer(&set);
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
    vault.receiver("repair usb").fails(7).says("is being written now");
    harm::flip(&set.volume("g00000-d000.ckv"), 70_000, 3);
    let ran = vault.receiver("verify usb").ends(5).says("is being written now").says("hint: wait");
    ran.check(ran.stdout.trim() == "untrusted", "the verdict is not on stdout");
    harm::remove(set.copies("manifest.json"));
    untrusted(&vault, "", "is being written now");
    drop(writing);
    untrusted(&vault, "", "interrupted");
}

#[test]
fn who_may_only_read_a_drive_cannot_make_a_set_look_as_if_it_were_being_written() {
    use rustix::fs::{FlockOperation, fcntl_lock, flock};
    let (vault, set) = prepared();
    harm::flip(&set.volume("g00000-d000.ckv"), 70_000, 3);
    // What an earlier writer that was killed has left is no writer.
    fs::write(set.dirs[0].join("writing.partial"), "").unwrap();
    let names = ["", "copy", "third", "manifest.json", "keys.age", "writing.partial"];
    let readers: Vec<fs::File> = names.iter().map(|name| fs::File::open(set.dirs[0].join(name)).unwrap()).collect();
    for reader in &readers {
        flock(reader, FlockOperation::LockExclusive).unwrap();
        let _ = fcntl_lock(reader, FlockOperation::NonBlockingLockShared);
    }
    assert_eq!(vault.verdict("usb")["verdict"], "repairable");
    drop(readers);
    vault.receiver("repair usb").ok();
    assert_eq!(vault.verdict("usb")["verdict"], "intact");
    assert!(!set.dirs[0].join("writing.partial").exists());
}

/// That a header page names another set counts only if it fits its own hash, and nothing behind it is ours.
fn a_header_page_with_flipped_bits_is_of_no_other_set(block: u64) {
    let vault = Vault::with_blocks(block);
    let set = vault.exported(500_000, "2+1");
    vault.make(&["other"]);
    let other = vault.export("checkpoint --to other --parity 2+1");
    // Beyond repair, so that it matters what is said of the rest.
    ["g00000-d000.ckv", "g00000-d001.ckv"].iter().for_each(|name| harm::zero(&set.volume(name), 3 * block, 5));
    let path = set.volume("g00000-p000.ckv");
    let (ours, theirs) = (fs::read(&path).unwrap(), fs::read(other.volume("g00000-p000.ckv")).unwrap());
    let flipped = |of: &[u8], bits: &[usize]| {
        let mut bytes = of.to_vec();
        bits.iter().for_each(|bit| bytes[bit / 8] ^= 1 << (bit % 8));
        bytes
    };
    let id: Vec<usize> = (16 * 8..32 * 8).collect();
    let part = 44 * 8 + 1;
    let page_of = |page: &[u8], behind: &[u8]| [&page[..block as usize], &behind[block as usize..]].concat();
    let hashed = |mut bytes: Vec<u8>| {
        let hash = blake3::hash(&bytes[..64]);
        bytes[64..96].copy_from_slice(hash.as_bytes());
        bytes
    };
    let rubbish = noise(3, ours.len());
    for (name, bytes, verdict) in [
        ("one bit of the id", flipped(&ours, &id[77..78]), "lost"),
        ("all of the id", flipped(&ours, &id), "lost"),
        ("a bit of the id, and nothing behind it", flipped(&page_of(&ours, &rubbish), &id[..1]), "lost"),
        ("a bit of the part", flipped(&ours, &[part]), "lost"),
        ("a page of another set before our blocks", page_of(&theirs, &ours), "lost"),
        ("a page that names another set before our blocks", hashed(flipped(&ours, &id)), "lost"),
        ("a page of another set that is damaged", flipped(&theirs, &[8 * (block as usize - 5_536)]), "lost"),
        ("another volume of another set", fs::read(other.volume("g00000-d001.ckv")).unwrap(), "lost"),
        ("another set", theirs.clone(), "untrusted"),
        ("another set, a bit of its id", flipped(&theirs, &id[9..10]), "lost"),
        ("another set, a bit of its hash", flipped(&theirs, &[8 * 64 + 3]), "lost"),
        ("all of the id, and nothing behind it", flipped(&page_of(&ours, &rubbish), &id), "lost"),
        ("a part, and nothing behind it", flipped(&page_of(&ours, &rubbish), &[part]), "lost"),
        ("a page of another set and nothing of ours", page_of(&theirs, &rubbish), "untrusted"),
        (
            "a bit of the id, as if it had been written so",
            hashed(flipped(&page_of(&ours, &rubbish), &id[..1])),
            "untrusted",
        ),
        ("another part", hashed(flipped(&page_of(&ours, &rubbish), &[part])), "untrusted"),
    ] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(vault.verdict("usb")["verdict"], verdict, "{name}");
        let code = if verdict == "lost" { 4 } else { 5 };
        vault.refuses("usb", code);
        vault.receiver("repair usb").ends(code);
    }
}

with_both_blocks!(
    a_header_page_with_flipped_bits_is_of_no_other_set
    a_volume_of_another_set_among_too_many_lost_ones_is_named
);
