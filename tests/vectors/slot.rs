//! The key slot.

use crate::compose::{Keys, Recipe, seal};
use crate::edits::small;
use crate::signature::copies;
use crate::sshsig::{HONEST, Sshsig, armour};
use crate::vector::{Vector, vector};
use std::cell::RefCell;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::rc::Rc;

fn slot(edit: impl Fn(&mut String) + 'static) -> Recipe {
    small().with_edit(|r| &mut r.edit_slot, edit)
}

/// A slot that is sealed as this function does it.
fn sealed(seal: impl Fn(&[u8]) -> Vec<u8> + 'static) -> Recipe {
    let text = Rc::new(RefCell::new(String::new()));
    let seen = text.clone();
    slot(move |slot| *seen.borrow_mut() = slot.clone()).with_edit(
        |r| &mut r.edit_listed,
        move |files| {
            files
                .iter_mut()
                .filter(|(name, _)| *name == "keys.age")
                .for_each(|(_, bytes)| *bytes = seal(text.borrow().as_bytes()));
        },
    )
}

/// To the receiver, and before that to so many others.
fn to_many(text: &[u8], others: usize) -> Vec<u8> {
    let stranger = age::x25519::Identity::generate().to_public();
    let receiver = crate::keys::shared().receiver.to_public();
    let all = std::iter::repeat_n(&stranger, others).chain([&receiver]).map(|r| r as &dyn age::Recipient);
    let mut writer = age::Encryptor::with_recipients(all).unwrap().wrap_output(Vec::new()).unwrap();
    writer.write_all(text).unwrap();
    writer.finish().unwrap()
}

/// An age file whose header has so many stanzas of so many bytes, and which nobody can open.
pub fn stanzas(count: usize, lines: usize) -> Vec<u8> {
    let body = format!("{}\n", "A".repeat(64)).repeat(lines) + &format!("{}\n", "A".repeat(43));
    let stanza = format!("-> someone {}\n{body}", "B".repeat(43));
    format!("age-encryption.org/v1\n{}--- {}\n{}", stanza.repeat(count), "A".repeat(43), "x".repeat(200)).into_bytes()
}

/// What lies there in place of all copies, which nobody signed.
fn replaced(bytes: impl Fn(&Keys) -> Vec<u8> + 'static) -> impl Fn(&Keys, &std::path::Path, &[PathBuf]) + 'static {
    move |keys, _, dirs| copies(dirs, "keys.age").iter().for_each(|path| fs::write(path, bytes(keys)).unwrap())
}

/// What the key slot of the small set holds: the identity of the set, or another one.
fn identity_file(identity: &age::x25519::Identity) -> Vec<u8> {
    use age::secrecy::ExposeSecret as _;
    format!("# public key: {}\n{}\n", identity.to_public(), identity.to_string().expose_secret()).into_bytes()
}

/// In place of some copies of the key slot lies another, with a signature by rule 15 but for its namespace beside it.
fn anew(paths: &[PathBuf], slot: &[u8]) {
    for path in paths {
        fs::write(path, slot).unwrap();
        let signature = armour(&Sshsig { namespace: "ckvault-keys", ..HONEST }.blob(slot), 70);
        fs::write(path.with_extension("age.sig"), signature).unwrap();
    }
}

/// The small set, in which all copies of the key slot were written anew, for the receiver or another.
fn written_anew(name: &str, fault: &str, holds: Option<age::x25519::Identity>, strange: bool) -> Vector {
    let recipe = small();
    let text = identity_file(&holds.unwrap_or_else(|| recipe.own.clone()));
    vector(format!("slot/anew{name}"), &[81], fault, recipe)
        .acts(move |keys, _, dirs| {
            let stranger = age::x25519::Identity::generate().to_public();
            let to = if strange { stranger } else { keys.receiver.to_public() };
            anew(&copies(dirs, "keys.age"), &seal(&text, &to));
        })
        .inside("slot", "ok 0")
        .says("verify", "newer 1")
        .says("repair", "newer 1")
        .says("repaired", "newer 1")
}

/// Rule 81.
fn all_anew() -> Vec<Vector> {
    let drawn = || Some(age::x25519::Identity::generate());
    let with = |name: &str, fault: &str, act: fn(&[u8], &Keys, &[PathBuf])| {
        let recipe = small();
        let text = identity_file(&recipe.own);
        vector(format!("slot/anew-{name}"), &[81], fault, recipe).acts(move |keys, _, dirs| act(&text, keys, dirs))
    };
    // The slot that was signed is whole on the second drive.
    let for_strangers_as_signed = |name: &str, fault: &str, act: fn(&[u8], &Keys, &[PathBuf])| {
        let recipe = small();
        let text = identity_file(&recipe.own);
        let stranger = age::x25519::Identity::generate().to_public();
        let recipe = recipe.with_edit(|r| &mut r.edit_listed, {
            let text = text.clone();
            move |files: &mut Vec<(&str, Vec<u8>)>| files[0].1 = seal(&text, &stranger)
        });
        vector(format!("slot/anew-{name}"), &[81], fault, recipe)
            .acts(move |keys, _, dirs| act(&text, keys, dirs))
            .on(2)
            .inside("slot", "ok 0")
            .says("verify", "newer 1")
            .says("repair", "newer 1")
            .says("repaired", "newer 1")
    };
    let refused = |vector: Vector, answer: &str| vector.says("list", answer).says("import", answer);
    vec![
        written_anew("", "none for who has an identity: all copies of the key slot were written anew", None, false),
        refused(
            written_anew("-for-others", "the key slot was written anew, and not for the reader", None, true),
            "identity 6",
        ),
        refused(
            written_anew(
                "-another-identity",
                "the key slot was written anew, and holds another identity",
                drawn(),
                false,
            ),
            "untrusted 5",
        )
        .by(&[81, 31]),
        with("and-damage", "damage: a volume is missing, and the key slot was written anew", |text, keys, dirs| {
            anew(&copies(dirs, "keys.age"), &seal(text, &keys.receiver.to_public()));
            fs::remove_file(dirs[0].join("g00000-d000.ckv")).unwrap();
        })
        .inside("slot", "ok 0")
        .says("verify", "newer 1")
        .says("repair", "newer 1")
        .says("repaired", "newer 1"),
        with(
            "and-lost",
            "the key slot was written anew, and both volumes of the set are missing",
            |text, keys, dirs| {
                anew(&copies(dirs, "keys.age"), &seal(text, &keys.receiver.to_public()));
                ["g00000-d000.ckv", "g00000-p000.ckv"]
                    .iter()
                    .for_each(|name| fs::remove_file(dirs[0].join(name)).unwrap());
            },
        )
        .lost("slot"),
        with(
            "one-copy",
            "none for who has an identity: one copy was written anew, one is for strangers, one is missing",
            |text, keys, dirs| {
                let all = copies(dirs, "keys.age");
                anew(&all[..1], &seal(text, &age::x25519::Identity::generate().to_public()));
                fs::remove_file(&all[1]).unwrap();
                anew(&all[2..], &seal(text, &keys.receiver.to_public()));
            },
        )
        .inside("slot", "ok 0")
        .says("verify", "newer 1")
        .says("repair", "newer 1")
        .says("repaired", "newer 1"),
        with(
            "signed-on-another-drive",
            "none for who has an identity: on one drive the key slot was written anew, on the other it is as signed",
            |text, _, dirs| {
                let stranger = age::x25519::Identity::generate().to_public();
                anew(&copies(&dirs[..1], "keys.age"), &seal(text, &stranger));
                fs::remove_file(dirs[1].join("third/keys.age")).unwrap();
            },
        )
        .on(2)
        .inside("slot", "ok 0")
        .says("verify", "newer 1")
        .says("repair", "newer 1")
        .says("repaired", "newer 1"),
        for_strangers_as_signed(
            "signed-for-others",
            "none for who has an identity: as signed it is for strangers, and written anew for the reader",
            |text, keys, dirs| {
                anew(&copies(&dirs[..1], "keys.age"), &seal(text, &keys.receiver.to_public()));
            },
        ),
        refused(
            for_strangers_as_signed(
                "signed-for-others-and-another-identity",
                "as signed it is for strangers, and written anew it holds another identity",
                |_, keys, dirs| {
                    let another = identity_file(&age::x25519::Identity::generate());
                    anew(&copies(&dirs[..1], "keys.age"), &seal(&another, &keys.receiver.to_public()));
                },
            ),
            "untrusted 5",
        )
        .by(&[81, 31]),
        with(
            "without-its-signature",
            "the key slot was written anew, and keys.age.sig lies beside none of the copies",
            |text, keys, dirs| {
                let all = copies(dirs, "keys.age");
                all.iter().for_each(|path| fs::write(path, seal(text, &keys.receiver.to_public())).unwrap());
                fs::create_dir(dirs[0].join("custody")).unwrap();
                fs::write(dirs[0].join("custody/keys.age.sig"), "elsewhere").unwrap();
                fs::create_dir(dirs[0].join("third/keys.age.sig")).unwrap();
            },
        )
        .untrusted("slot")
        .says("inspect", "verified 0"),
        with("no-age-file", "keys.age.sig lies beside all copies of the key slot, which are rubbish", |_, _, dirs| {
            anew(&copies(dirs, "keys.age"), &[7; 300]);
        })
        .lost("slot")
        .says("list", "lost 4"),
        with("long-header", "a key slot that was written anew has a header of 1025 stanzas", |_, _, dirs| {
            anew(&copies(dirs, "keys.age"), &stanzas(1025, 0));
        })
        .by(&[81, 56])
        .untrusted("slot")
        .says("inspect", "verified 0"),
        with("signature-alone", "none: keys.age.sig lies beside a key slot that is as signed", |_, _, dirs| {
            fs::write(dirs[0].join("keys.age.sig"), "whatever").unwrap();
        })
        .by(&[81, 72])
        .taken(),
    ]
}

pub fn all() -> Vec<Vector> {
    use age::secrecy::ExposeSecret as _;
    let one =
        |name: &str, rules: &[u32], fault: &str, recipe: Recipe| vector(format!("slot/{name}"), rules, fault, recipe);
    let foreign =
        |name: &str, fault: &str, recipe: Recipe| one(name, &[31], fault, recipe).inside("slot", "untrusted 5");
    let mut all = all_anew();
    let listed = |bytes: fn() -> Vec<u8>| small().with_edit(|r| &mut r.edit_listed, move |files| files[0].1 = bytes());
    all.extend([
        one("many-recipients", &[56], "none: twenty strangers can open the set too", sealed(|text| to_many(text, 20)))
            .taken(),
        one("other-identities", &[31], "none: identities of later types beside that of the set", {
            slot(|s| *s = format!("AGE-SECRET-KEY-PQ-1QQQQ\n{s}# public key: age1pq1qqqq\nAGE-LATER-1QQQQ\n"))
        })
        .taken(),
        one("crlf", &[31], "none: the lines of the opened slot end with CR and LF", {
            slot(|s| *s = s.replace('\n', "\r\n"))
        })
        .taken(),
        one("two-identities", &[31], "none: the first identity of the known type is used", {
            slot(|s| *s += age::x25519::Identity::generate().to_string().expose_secret())
        })
        .taken(),
        one("only-later-identities", &[70], "there is only an identity of a later type", {
            slot(|s| *s = "AGE-SECRET-KEY-PQ-1QQQQ\n".into())
        })
        .inside("slot", "newer 1"),
        foreign("another-identity", "the identity is not that of the set", {
            slot(|s| *s = age::x25519::Identity::generate().to_string().expose_secret().to_owned())
        }),
        foreign(
            "no-public-key",
            "there is no line with the recipient",
            slot(|s| *s = s.split_once('\n').unwrap().1.to_owned()),
        ),
        foreign("another-public-key", "the line names another recipient", {
            slot(|s| *s = s.replacen("age1", "age1q", 1))
        }),
        foreign("empty", "the slot holds nothing", slot(String::clear)),
        foreign("not-an-identity", "the identity is none", slot(|s| *s = "AGE-SECRET-KEY-1\n".into())),
        foreign("recipient-hash", "recipient_blake3 is the hash of another text", {
            small().manifest(|m| m["recipient_blake3"] = "0".repeat(64).into())
        }),
        foreign("recipient-hash-line-feed", "recipient_blake3 is the hash of the recipient and a line feed", {
            let recipe = small();
            let text = format!("{}\n", recipe.own.to_public());
            recipe.manifest(move |m| m["recipient_blake3"] = blake3::hash(text.as_bytes()).to_string().into())
        }),
        one(
            "longest",
            &[4],
            "none: the opened slot has 64 KiB",
            slot(|s| *s = format!("{}\n{s}", "#".repeat((64 << 10) - s.len() - 1))),
        )
        .taken(),
        one(
            "too-long",
            &[4],
            "the opened slot has 64 KiB and 1",
            slot(|s| *s = format!("{}\n{s}", "#".repeat((64 << 10) - s.len()))),
        )
        .inside("slot", "format 1"),
        one("stanzas-1025", &[56], "the header of the signed slot has 1025 stanzas", listed(|| stanzas(1025, 0)))
            .inside("slot", "format 1"),
        one("long-header", &[56], "the header of the signed slot is longer than 2 MiB", listed(|| stanzas(1, 33_000)))
            .inside("slot", "format 1"),
        one(
            "for-strangers",
            &[56],
            "no identity of the reader opens the slot, which is whole: 1024 stanzas",
            listed(|| stanzas(1024, 0)),
        )
        .inside("slot", "identity 6"),
        one("one-bad-copy", &[22], "damage: one copy of the key slot is another one, for the same receiver", small())
            .acts(|keys, _, dirs| {
                fs::write(dirs[0].join("keys.age"), seal(b"another", &keys.receiver.to_public())).unwrap();
            })
            .damaged("slot"),
        one("third-alone", &[22, 9], "damage: of three copies of the key slot that in third alone is whole", small())
            .acts(|keys, _, dirs| {
                let all = copies(dirs, "keys.age");
                fs::write(&all[0], seal(b"another", &keys.receiver.to_public())).unwrap();
                fs::remove_file(&all[1]).unwrap();
            })
            .damaged("slot"),
        one("exchanged", &[22], "an age file that nobody signed, in place of all copies", small())
            .acts(replaced(|keys| seal(b"another", &keys.receiver.to_public())))
            .untrusted("slot")
            .says("inspect", "verified 0"),
        one("exchanged-endless", &[56, 22], "a header without an end, in place of all copies", small())
            .acts(replaced(|_| [b"age-encryption.org/v1\n".to_vec(), b"-> a\n\n".repeat(400_000)].concat()))
            .untrusted("slot")
            .says("inspect", "verified 0"),
        one("cut-off", &[22], "an age file that is cut off within its header, in place of all copies", small())
            .acts(replaced(|keys| seal(b"another", &keys.receiver.to_public())[..100].to_vec()))
            .lost("slot")
            .says("list", "lost 4"),
        one("rubbish", &[22], "rubbish in place of all copies", small())
            .acts(replaced(|_| vec![7; 300]))
            .lost("slot")
            .says("list", "lost 4"),
    ]);
    all
}
