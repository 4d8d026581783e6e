//! The signature, and whose counts.

use crate::compose::{Keys, Recipe};
use crate::edits::small;
use crate::keys::{NAME, file};
use crate::sshsig::{HONEST, Sshsig, armour, not_reduced};
use crate::vector::{Vector, vector};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Every copy of a metadata file: those in `third` are the last of a drive.
pub fn copies(dirs: &[PathBuf], name: &str) -> Vec<PathBuf> {
    let third = ["keys.age", "manifest.json", "manifest.json.sig"].contains(&name);
    let places = if third { &["", "copy", "third"][..] } else { &["", "copy"] };
    dirs.iter().flat_map(|dir| places.iter().map(|place| dir.join(place).join(name))).collect()
}

/// In place of all copies of a file.
fn directories(name: &'static str) -> impl Fn(&[PathBuf]) {
    move |dirs| {
        for path in copies(dirs, name) {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
        }
    }
}

fn signed(sshsig: Sshsig) -> Recipe {
    signed_and(sshsig, |armour| armour)
}

/// Signed in another way, and the armour changed.
fn signed_and(sshsig: Sshsig, edit: impl Fn(String) -> String + 'static) -> Recipe {
    let key = sshsig.public();
    let recipe = small().signed_by(move |message| edit(String::from_utf8(sshsig.sign(message)).unwrap()).into_bytes());
    recipe.field(0, "signer", key)
}

fn armoured(edit: impl Fn(String) -> String + 'static) -> Recipe {
    small().with_edit(
        |r| &mut r.edit_signature,
        move |all| {
            *all = edit(String::from_utf8(all.clone()).unwrap()).into_bytes();
        },
    )
}

fn public() -> String {
    HONEST.public()
}

pub fn all() -> Vec<Vector> {
    [forms(), lists(), pairs(), signers()].into_iter().flatten().collect()
}

fn forms() -> Vec<Vector> {
    let sk = |touched: u8| Sshsig { touched: Some(touched), seed: 5, ..HONEST };
    let key = move || format!("{NAME} {}", sk(1).public());
    let damaged = |name: &str, fault: &str, edit: fn(String) -> String| {
        vector(format!("signature/{name}"), &[18], fault, armoured(edit)).untrusted("signature")
    };
    let mut all = vec![
        vector(
            "signature/sha256",
            &[15],
            "none: the signature uses sha256",
            signed(Sshsig { hash: "sha256", ..HONEST }),
        )
        .taken(),
        vector("signature/security-key", &[16, 17], "none: signed by a security key that was touched", signed(sk(1)))
            .allow(key())
            .taken(),
        vector(
            "signature/security-key-and-verified",
            &[17],
            "none: the flags of the security key have bits 0 and 2",
            signed(sk(5)),
        )
        .allow(key())
        .taken(),
        vector("signature/security-key-untouched", &[17], "the security key was not touched", signed(sk(0)))
            .allow(key())
            .untrusted("signature"),
        vector("signature/security-key-only-verified", &[17], "the flags of the security key have bit 2 alone", {
            signed(sk(4))
        })
        .allow(key())
        .untrusted("signature"),
        vector("signature/version-2", &[15], "the version in the SSHSIG is 2", signed(Sshsig { version: 2, ..HONEST }))
            .untrusted("signature"),
        vector("signature/version-0", &[15], "the version in the SSHSIG is 0", signed(Sshsig { version: 0, ..HONEST }))
            .untrusted("signature"),
        vector("signature/another-namespace", &[15], "the namespace is that of files", {
            signed(Sshsig { namespace: "file", ..HONEST })
        })
        .untrusted("signature"),
        vector("signature/longer-namespace", &[15], "the namespace begins with ckvault, and goes on", {
            signed(Sshsig { namespace: "ckvault-keys", ..HONEST })
        })
        .untrusted("signature"),
        vector("signature/reserved", &[15], "the reserved field is not empty", {
            signed(Sshsig { reserved: b"later", ..HONEST })
        })
        .untrusted("signature"),
        vector("signature/another-hash", &[15], "the hash is neither sha512 nor sha256", {
            signed(Sshsig { hash: "sha384", ..HONEST })
        })
        .untrusted("signature"),
        vector("signature/ecdsa", &[16], "signed by a key of type ecdsa-sha2-nistp256, which is in the list", {
            small().signed_by(with_ecdsa)
        })
        .allow(ecdsa_line())
        .untrusted("signature"),
        vector("signature/after-its-end", &[15, 18], "bytes behind the signature, in the base64", {
            small().signed_by(|message| armour(&[HONEST.blob(message), vec![0; 3]].concat(), 70))
        })
        .untrusted("signature"),
        vector(
            "signature/not-reduced",
            &[18],
            "the second half of the signature is greater by the order of the group",
            {
                small().signed_by(|message| {
                    let mut blob = HONEST.blob(message);
                    let end = blob.len();
                    not_reduced(&mut blob[end - 32..]);
                    armour(&blob, 70)
                })
            },
        )
        .untrusted("signature"),
        vector(
            "signature/security-key-not-reduced",
            &[18],
            "the same of a security key, whose flags and counter stand behind",
            {
                small().signed_by(move |message| {
                    let mut blob = sk(1).blob(message);
                    let end = blob.len() - 5;
                    not_reduced(&mut blob[end - 32..end]);
                    armour(&blob, 70)
                })
            },
        )
        .allow(key())
        .untrusted("signature"),
        vector("signature/lines-of-76", &[18], "lines of base64 of 76 characters", {
            small().signed_by(|message| armour(&HONEST.blob(message), 76))
        })
        .untrusted("signature"),
    ];
    let padded = |name: &str, fault: &str, edit: fn(String) -> String| {
        vector(format!("signature/{name}"), &[18], fault, signed_and(sk(1), edit)).allow(key()).untrusted("signature")
    };
    all.extend([
        padded("without-padding", "base64 without its padding", |a| a.replace("==", "")),
        padded("left-over-bits", "the bits of base64 that are left over are not 0", |a| {
            let at = a.find("==").unwrap() - 1;
            let other = if a.as_bytes()[at] == b'A' { "B" } else { "C" };
            format!("{}{other}{}", &a[..at], &a[at + 1..])
        }),
        damaged("crlf", "lines end with CR and LF", |a| a.replace('\n', "\r\n")),
        damaged("no-last-line-feed", "the last line has no line feed", |a| a.trim_end().to_owned()),
        damaged("blank-behind", "a blank after the armour", |a| a + " "),
        damaged("line-feed-behind", "an empty line after the armour", |a| a + "\n"),
        damaged("text-before", "a line before the armour", |a| format!("signed\n{a}")),
        damaged("another-alphabet", "base64 in the alphabet for names of files", |a| {
            let (head, rest) = a.split_once('\n').unwrap();
            let (body, foot) = rest.split_once("\n--").unwrap();
            // There may be neither, so one letter is exchanged too.
            let mut body = body.replace('+', "-").replace('/', "_");
            body.replace_range(100..101, "_");
            format!("{head}\n{body}\n--{foot}")
        }),
        damaged("empty", "the signature file is empty in all copies", |_| String::new()),
    ]);
    all
}

fn with_ecdsa(message: &[u8]) -> Vec<u8> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-Y", "sign", "-n", "ckvault", "-f"]).arg(file("ecdsa"));
    fs::set_permissions(file("ecdsa"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), message).unwrap();
    child.wait_with_output().unwrap().stdout
}

fn ecdsa_line() -> String {
    let line = fs::read_to_string(file("ecdsa.pub")).unwrap();
    format!("{NAME} {}", line.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

/// Rules 19 and 59.
fn lists() -> Vec<Vector> {
    let other = || Sshsig { seed: 43, ..HONEST }.public();
    let one =
        |name: &str, fault: &str, line: String| vector(format!("signers/{name}"), &[19], fault, small()).allow(line);
    let option = |name: &str, fault: &str, options: &str| one(name, fault, format!("{NAME} {options} {}", public()));
    let named = |name: &str, fault: &str, patterns: &str, who: &str| {
        one(name, fault, format!("{patterns} {}", public())).with("signer", who)
    };
    let bad = "signature";
    vec![
        one("unknown-key", "the list has another key", format!("{NAME} {}", other())).untrusted(bad),
        one("nobody", "the list has only a comment", "# nobody".into()).untrusted(bad),
        option("expired", "the line was valid until 2020", "valid-before=\"20200101Z\"").untrusted(bad),
        option("not-yet", "the line is valid from 2999 on", "valid-after=\"29990101Z\"").untrusted(bad),
        option(
            "valid",
            "none: the line is valid from 2020 to 2999",
            "valid-after=\"20200101Z\",valid-before=\"299901010000UTC\"",
        )
        .taken(),
        option("before-1970", "a time of the line is not after 1970 began", "valid-after=\"19700101Z\"").untrusted(bad),
        option(
            "no-such-day",
            "none: a 31st of February is the 3rd of March, as OpenSSH reads it",
            "valid-before=\"29990231Z\"",
        )
        .taken(),
        option("other-namespaces", "the line is for other namespaces", "namespaces=\"git,file\"").untrusted(bad),
        option("excluded-namespace", "the line excludes the namespace", "namespaces=\"*,!ckvault\"").untrusted(bad),
        option("namespaces", "none: a pattern of the line matches the namespace", "namespaces=\"git,ckva?lt\"").taken(),
        option("certificate-authority", "the line is for a certificate authority", "cert-authority").untrusted(bad),
        option("unknown-option", "the line has an option that is not known", "no-such-option").untrusted(bad),
        option("unended-option", "the quotes of an option do not end", "namespaces=\"ckvault").untrusted(bad),
        option("second-line-valid", "none: of two lines with the key one is valid", "valid-before=\"20200101Z\"")
            .allow(format!("another@site {}", public()))
            .taken(),
        one("other-types", "none: lines with keys of other types are passed over", ecdsa_line())
            .allow(format!("{NAME} {}", public()))
            .taken(),
        one(
            "bad-line",
            "none: a line that cannot be read trusts nobody, and the next one does",
            "x ssh-ed25519 AAAA".into(),
        )
        .allow(format!("{NAME} {}", public()))
        .taken(),
        one(
            "only-exclusions",
            "the line means nobody: it has only what it excludes",
            format!("!bob@site {}", public()),
        )
        .untrusted(bad),
        one("pattern-and-exclusion", "the line means nobody: a pattern, and an exclusion", {
            format!("*@site,!bob@site {}", public())
        })
        .untrusted(bad),
        one("pattern", "none: a pattern without exclusions means somebody", format!("*@site {}", public())).taken(),
        vector("signers/public-key", &[19], "none: the list is one public key", small())
            .with("signers", "keys/signer.pub")
            .taken(),
        named("asked-for", "none: who is asked for by name is meant", "*@site,!bob@site", NAME).taken(),
        named("another-name", "who is asked for by name is not meant", "alice@lab,*@else", NAME).untrusted(bad),
        named("excluded-name", "who is asked for by name is excluded", "*@site,!exporter@site", NAME).untrusted(bad),
        vector("signers/revoked", &[59], "the key is in the list, and revoked", small())
            .with("revoke", public())
            .untrusted(bad),
        vector("signers/another-is-revoked", &[59], "none: another key is revoked", small())
            .with("revoke", other())
            .taken(),
        vector("signers/revoked-by-a-krl", &[59], "the key is revoked by a KRL of OpenSSH", small())
            .with("revoked", "keys/revoked.krl")
            .untrusted(bad),
        vector("signers/another-is-revoked-by-a-krl", &[59], "none: a KRL of OpenSSH has another key", small())
            .with("revoked", "keys/another.krl")
            .taken(),
    ]
}

/// Another set of the same exporter.
fn another() -> Recipe {
    Recipe { set: *b"another exporter", ..small() }
}

fn flip(path: &PathBuf, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The manifest and the signature of another set, composed beside this one.
fn manifest_of(recipe: &Recipe, keys: &Keys) -> [Vec<u8>; 2] {
    let temp = tempfile::tempdir().unwrap();
    let dir = recipe.write(keys, &[temp.path().join("1")]).unwrap().remove(0);
    ["manifest.json", "manifest.json.sig"].map(|name| fs::read(dir.join(name)).unwrap())
}

fn put(dir: &std::path::Path, pair: &[Vec<u8>; 2]) {
    ["manifest.json", "manifest.json.sig"]
        .iter()
        .zip(pair)
        .for_each(|(name, bytes)| fs::write(dir.join(name), bytes).unwrap());
}

/// Rules 14 and 20.
fn pairs() -> Vec<Vector> {
    let remove = |name: &'static str| {
        move |dirs: &[PathBuf]| copies(dirs, name).iter().for_each(|p| fs::remove_file(p).unwrap())
    };
    vec![
        vector("signature/manifest-changed", &[14], "one bit of the manifest is flipped in all copies", small())
            .then(|dirs| {
                for path in copies(dirs, "manifest.json") {
                    // Within a text, so that it can still be read.
                    let at = fs::read_to_string(&path).unwrap().find("hostile exporter").unwrap();
                    flip(&path, at);
                }
            })
            .untrusted("signature"),
        vector("signature/manifest-garbage", &[14], "the manifest is no JSON, and not what was signed", small())
            .then(|dirs| copies(dirs, "manifest.json").iter().for_each(|p| fs::write(p, "{\"format\":").unwrap()))
            .untrusted("signature")
            .says("inspect", "untrusted 5"),
        vector("signature/no-manifest", &[13], "an export that was interrupted: there is no manifest", small())
            .then(remove("manifest.json"))
            .untrusted("signature")
            .says("inspect", "untrusted 5"),
        vector("signature/no-file-manifest", &[20, 10], "a directory in place of every copy of the manifest", small())
            .then(directories("manifest.json"))
            .untrusted("signature")
            .says("inspect", "untrusted 5"),
        vector(
            "signature/no-file-signature",
            &[20, 10],
            "a directory in place of every copy of the signature",
            small(),
        )
        .then(directories("manifest.json.sig"))
        .untrusted("signature"),
        vector("signature/no-signature", &[14, 20], "there is no signature", small())
            .then(remove("manifest.json.sig"))
            .untrusted("signature"),
        vector(
            "signature/any-pair",
            &[20],
            "damage: of the manifest one copy is whole, of the signature another",
            small(),
        )
        .then(|dirs| {
            ["", "third"].iter().for_each(|place| flip(&dirs[0].join(place).join("manifest.json"), 12));
            ["copy", "third"].iter().for_each(|place| flip(&dirs[0].join(place).join("manifest.json.sig"), 100));
        })
        .damaged("signature"),
        vector("signature/third-pair", &[20, 9], "damage: manifest and signature are whole in third alone", small())
            .then(|dirs| {
                copies(dirs, "manifest.json")[..2].iter().for_each(|path| flip(path, 12));
                copies(dirs, "manifest.json.sig")[..2].iter().for_each(|path| fs::remove_file(path).unwrap());
            })
            .damaged("signature"),
        vector(
            "signature/two-sets",
            &[20],
            "damage: the second copies are another manifest with its trusted signature",
            small(),
        )
        .acts(|keys, _, dirs| put(&dirs[0].join("copy"), &manifest_of(&another(), keys)))
        .damaged("signature"),
        vector(
            "signature/two-manifests-of-a-set",
            &[20],
            "two manifests of one id and label, each with a trusted signature",
            small(),
        )
        .acts(|keys, _, dirs| {
            put(&dirs[0].join("copy"), &manifest_of(&small().manifest(|m| m["tool"] = "another".into()), keys));
        })
        .untrusted("signature"),
    ]
}

/// Another who signs, and is trusted too.
const OTHER: Sshsig = Sshsig { seed: 43, ..HONEST };

/// In place of some copies of the signature lies that of another, over the same manifest.
fn also_signed(paths: &[PathBuf], by: &Sshsig) {
    for path in paths {
        fs::write(path, by.sign(&fs::read(path.with_extension("")).unwrap())).unwrap();
    }
}

/// Rule 20: whose signatures there are over one manifest.
fn signers() -> Vec<Vector> {
    let own = || format!("{NAME} {}", public());
    let two = |name: &str, fault: &str, by: Sshsig, copy: usize| {
        vector(format!("signature/{name}"), &[20], fault, small()).then(move |dirs| {
            also_signed(&copies(dirs, "manifest.json.sig")[copy..=copy], &by);
        })
    };
    let all_of_the_second = |dirs: &[PathBuf]| also_signed(&copies(&dirs[1..], "manifest.json.sig"), &OTHER);
    let trusted = |v: Vector| v.allow(own()).allow(format!("other@site {}", OTHER.public()));
    vec![
        trusted(two("two-signers", "the first copy of the signature is that of another who is trusted", OTHER, 0))
            .untrusted("signature"),
        trusted(two(
            "two-signers-in-third",
            "the third copy of the signature is that of another who is trusted",
            OTHER,
            2,
        ))
        .untrusted("signature"),
        trusted(vector(
            "signature/two-signers-on-two-drives",
            &[20],
            "all copies on the second drive are signed by another who is trusted",
            small(),
        ))
        .on(2)
        .then(all_of_the_second)
        .untrusted("signature"),
        trusted(vector(
            "signature/two-signers-in-two-directories",
            &[20],
            "the same, and the directory on the second drive was renamed",
            small(),
        ))
        .on(2)
        .then(move |dirs| {
            all_of_the_second(dirs);
            fs::rename(&dirs[1], dirs[1].with_file_name("renamed-686f7374.ckvault")).unwrap();
        })
        .with("set", "686f7374")
        .untrusted("signature"),
        trusted(two(
            "two-signers-one-asked-for",
            "damage: the first copy of the signature is that of another, and who is asked for has signed the others",
            OTHER,
            0,
        ))
        .with("signer", NAME)
        .damaged("signature"),
        two("two-keys-of-one-name", "two keys that are trusted under the name that is asked for have signed", OTHER, 0)
            .allow(own())
            .allow(format!("{NAME} {}", OTHER.public()))
            .with("signer", NAME)
            .untrusted("signature"),
        two("second-signer-unknown", "damage: the first copy of the signature is that of a stranger", OTHER, 0)
            .damaged("signature"),
        trusted(two(
            "second-signer-revoked",
            "damage: the key of the first copy of the signature is revoked",
            OTHER,
            0,
        ))
        .with("revoke", OTHER.public())
        .damaged("signature"),
        two(
            "two-signatures-of-a-key",
            "none: two different signatures, both by the key that is trusted",
            Sshsig { hash: "sha256", ..HONEST },
            0,
        )
        .taken(),
        vector(
            "signature/not-reduced-copy",
            &[18, 20],
            "damage: one copy of the signature is greater by the order",
            small(),
        )
        .then(|dirs| {
            let mut blob = HONEST.blob(&fs::read(dirs[0].join("manifest.json")).unwrap());
            let end = blob.len();
            not_reduced(&mut blob[end - 32..]);
            fs::write(dirs[0].join("manifest.json.sig"), armour(&blob, 70)).unwrap();
        })
        .damaged("signature"),
    ]
}
