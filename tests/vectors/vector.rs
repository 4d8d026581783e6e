//! A vector before it is a file: what to compose, what to do to it then, and what a reader must answer.

use crate::compose::{FORMAT, Keys, Recipe};
use crate::container::{Container, VERSION, pack};
use crate::ustar::{Item, Kind};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What is done to the drives when the set has been composed: the keys, the place of the drives, the directories of the set.
type Act = Box<dyn Fn(&Keys, &Path, &[PathBuf])>;

pub struct Vector {
    pub name: String,
    rules: Vec<u32>,
    fault: String,
    layer: &'static str,
    recipe: Recipe,
    drives: usize,
    act: Act,
    /// More lines of the header: who is trusted, and what is asked for.
    more: Vec<(&'static str, String)>,
    answers: Vec<(&'static str, String)>,
}

/// The verbs, in the order in which they are asked; `repaired` is what `verify` says after `repair`.
pub const VERBS: [&str; 6] = ["inspect", "verify", "list", "import", "repair", "repaired"];

pub fn vector(name: impl Into<String>, rules: &[u32], fault: impl Into<String>, recipe: Recipe) -> Vector {
    Vector {
        name: name.into(),
        rules: rules.to_vec(),
        fault: fault.into(),
        layer: "none",
        recipe,
        drives: 1,
        act: Box::new(|_, _, _| ()),
        more: Vec::new(),
        answers: Vec::new(),
    }
}

impl Vector {
    pub fn on(mut self, drives: usize) -> Vector {
        self.drives = drives;
        self
    }

    /// Done to the directories of the set when they have been written.
    pub fn then(self, act: impl Fn(&[PathBuf]) + 'static) -> Vector {
        self.acts(move |_, _, dirs| act(dirs))
    }

    pub fn acts(mut self, act: impl Fn(&Keys, &Path, &[PathBuf]) + 'static) -> Vector {
        self.act = Box::new(act);
        self
    }

    /// Something more, with all the drives, when everything else is done.
    pub fn acts_also(mut self, act: impl Fn(&Path) + 'static) -> Vector {
        let before = std::mem::replace(&mut self.act, Box::new(|_, _, _| ()));
        self.acts(move |keys, place, dirs| {
            before(keys, place, dirs);
            act(place);
        })
    }

    /// Other rules.
    pub fn by(self, rules: &[u32]) -> Vector {
        Vector { rules: rules.to_vec(), ..self }
    }

    /// A line of `allowed_signers`, in place of the file of all vectors.
    pub fn allow(self, line: impl Into<String>) -> Vector {
        self.with("allow", line)
    }

    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Vector {
        self.more.push((key, value.into()));
        self
    }

    pub fn says(mut self, verb: &'static str, answer: &str) -> Vector {
        assert!(VERBS.contains(&verb), "{verb}");
        self.answers.retain(|(v, _)| *v != verb);
        self.answers.push((verb, answer.to_owned()));
        self
    }

    fn all(self, layer: &'static str, answers: [(&'static str, &str); 4]) -> Vector {
        let this = Vector { layer, ..self };
        answers.into_iter().fold(this, |v, (verb, answer)| v.says(verb, answer))
    }

    /// A reader takes it.
    pub fn taken(self) -> Vector {
        self.all("none", [("inspect", "verified 0"), ("verify", "intact 0"), ("list", "ok 0"), ("import", "ok 0")])
    }

    /// Nobody vouches for the manifest.
    pub fn untrusted(self, layer: &'static str) -> Vector {
        let no = "untrusted 5";
        self.all(layer, [("inspect", "not-verified 0"), ("verify", no), ("list", no), ("import", no)])
            .says("repair", no)
    }

    /// Every verb refuses it.
    pub fn refused(self, layer: &'static str, answer: &str) -> Vector {
        self.all(layer, [("inspect", answer), ("verify", answer), ("list", answer), ("import", answer)])
            .says("repair", answer)
    }

    /// The manifest breaks a rule.
    pub fn manifest(self) -> Vector {
        self.refused("manifest", "format 1")
    }

    /// Who has no identity cannot see it; who lists or restores refuses it.
    pub fn inside(self, layer: &'static str, answer: &str) -> Vector {
        self.all(layer, [("inspect", "verified 0"), ("verify", "intact 0"), ("list", answer), ("import", answer)])
    }

    /// Only who restores can see it.
    pub fn unpacked(self, layer: &'static str) -> Vector {
        self.inside(layer, "refused 1").says("list", "ok 0")
    }

    /// Who restores refuses it; what who lists does is not said.
    pub fn placed(self, layer: &'static str) -> Vector {
        self.inside(layer, "refused 1").silent("list")
    }

    /// The page does not say what this verb must answer.
    pub fn silent(mut self, verb: &'static str) -> Vector {
        self.answers.retain(|(v, _)| *v != verb);
        self
    }

    /// Everything can be had, and what is damaged can be repaired.
    pub fn damaged(self, layer: &'static str) -> Vector {
        let answers = [("inspect", "verified 0"), ("verify", "repairable 3"), ("list", "ok 0"), ("import", "ok 0")];
        self.all(layer, answers).says("repair", "intact 0").says("repaired", "intact 0")
    }

    /// More is damaged than can be repaired.
    pub fn lost(self, layer: &'static str) -> Vector {
        let no = "lost 4";
        self.all(layer, [("inspect", "verified 0"), ("verify", no), ("list", "ok 0"), ("import", no)])
            .says("repair", no)
    }

    /// Drives are missing.
    pub fn incomplete(self) -> Vector {
        let answers = [("inspect", "verified 0"), ("verify", "incomplete 7"), ("list", "ok 0"), ("import", "drive 7")];
        self.all("files", answers)
    }

    /// Composes it, in a directory that is empty.
    pub fn compose(&self, keys: &Keys, place: &Path) -> Container {
        let drives: Vec<PathBuf> = (1..=self.drives).map(|d| place.join(d.to_string())).collect();
        let dirs = self.recipe.write(keys, &drives).unwrap();
        (self.act)(keys, place, &dirs);
        let mut head = vec![
            ("vector", VERSION.to_owned()),
            ("format", FORMAT.to_owned()),
            ("rule", self.rules.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")),
            ("fault", self.fault.clone()),
            ("layer", self.layer.to_owned()),
            ("identity", "keys/identity.txt".to_owned()),
        ];
        if self.more.iter().all(|(key, _)| !["allow", "signers"].contains(key)) {
            head.push(("signers", "keys/allowed_signers".to_owned()));
        }
        head.extend(self.more.clone());
        head.push(("body", "tar zstd".to_owned()));
        for verb in VERBS {
            head.extend(self.answers.iter().filter(|(v, _)| *v == verb).cloned());
        }
        if self.answers.iter().any(|(verb, answer)| *verb == "import" && answer == "ok 0") {
            head.extend(self.recipe.items.iter().flat_map(described).map(|line| ("entry", line)));
        }
        let head = head.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Container { head, body: pack(place) }
    }
}

/// A name in which every byte that is not a visible one of ASCII, and `%`, is `%` and two digits; an empty one is `.`.
pub fn escaped(name: &[u8]) -> String {
    if name.is_empty() {
        return ".".into();
    }
    let byte =
        |b: &u8| if b.is_ascii_graphic() && *b != b'%' { char::from(*b).to_string() } else { format!("%{b:02X}") };
    name.iter().map(byte).collect()
}

/// The lines that say what must be restored of an entry.
fn described(item: &Item) -> Vec<String> {
    let path = escaped(&item.path);
    let never = if matches!(item.kind, Kind::Dir) { 0o4000 } else { 0o6000 };
    let (mode, time) = (item.mode & !never, format!("{}+{}", item.mtime.0, item.mtime.1));
    let file = |bytes: &[u8]| format!("file {mode:04o} {time} {} {} {path}", bytes.len(), blake3::hash(bytes));
    let mut lines = vec![match &item.kind {
        Kind::Dir => format!("dir {mode:04o} {time} {path}"),
        Kind::File(bytes) => file(bytes),
        Kind::Sparse(size, data) => {
            let mut bytes = vec![0; *size as usize];
            data.iter().for_each(|(at, data)| bytes[*at as usize..][..data.len()].copy_from_slice(data));
            file(&bytes)
        }
        Kind::Symlink(target) => format!("symlink {time} {path} {}", escaped(target)),
        Kind::Hardlink(target) => format!("hardlink {path} {}", escaped(target)),
    }];
    lines.extend(item.xattrs.iter().map(|(name, value)| format!("xattr {path} {} {}", escaped(name), escaped(value))));
    lines
}

impl Recipe {
    /// Another edit of the manifest, after those there are.
    pub fn also_manifest(mut self, edit: impl Fn(&mut Value) + 'static) -> Recipe {
        let before = std::mem::replace(&mut self.edit_manifest, Box::new(|_| ()));
        self.manifest(move |m| {
            before(m);
            edit(m);
        })
    }

    /// Signs the manifest in another way.
    pub fn signed_by(mut self, sign: impl Fn(&[u8]) -> Vec<u8> + 'static) -> Recipe {
        let before = std::mem::replace(&mut self.edit_signed, Box::new(|_| ()));
        let message = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let seen = message.clone();
        let this = self.with_edit(
            |r| &mut r.edit_signed,
            move |bytes| {
                before(bytes);
                *seen.borrow_mut() = bytes.clone();
            },
        );
        this.with_edit(|r| &mut r.edit_signature, move |signature| *signature = sign(&message.borrow()))
    }

    /// K and M.
    pub fn shape(self, k: u16, m: u16) -> Recipe {
        Recipe { k, m, ..self }
    }
}

/// Bytes that nothing compresses, the same every time.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
