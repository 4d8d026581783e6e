//! The verbs, each in a situation that lets it do all it does, and what it may do there.

use super::yard::Yard;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

/// A verb, and its rights. Names are globs in the yard, of which `*` matches no `/`; each stands for all beneath it too.
pub struct Scene {
    pub prepare: fn(&Yard),
    /// Where the command is typed.
    pub here: &'static str,
    pub typed: &'static str,
    /// How it ends if nothing is planted.
    pub ends: i32,
    /// What may change.
    pub writes: &'static [&'static str],
    /// What it is documented to replace, if it is no directory: alone, not what is beneath.
    pub replaces: &'static [&'static str],
    /// Directories that it is documented to remove, with all that is in them.
    pub removes: &'static [&'static str],
    /// Further names, which are found by listing directories: `{set}` is that of the set on the first drive, `{staging}` that of
    /// a directory in which an import was stopped.
    pub beside: &'static [&'static str],
    /// What must be as it is without plants, if the command ends with 0.
    pub result: &'static [&'static str],
    /// What must succeed then.
    pub then: &'static [&'static str],
    /// Where drives are that are given as `usb`, one after the other.
    pub turns: &'static [&'static str],
}

/// Nothing may be done.
const READS: Scene = Scene {
    prepare: exported,
    here: "",
    typed: "",
    ends: 0,
    writes: &[],
    replaces: &[],
    removes: &[],
    beside: &[],
    result: &[],
    then: &[],
    turns: &[],
};

/// Places that the user names, and may therefore be links, which are followed once. The homes and the directory of the target
/// are on the way to what he names.
pub const NAMED: [&str; 9] = ["usb", "usb1", "usb2", "usb3", "home", "state", "state/ckvault", "place", "place/there"];

/// What a set consists of on its drives, finished or not.
const FILES: &[&str] = &[
    "usb?/*.ckvault/{copy,third,writing.partial}",
    "usb?/*.ckvault/{g0*,manifest.json*,keys.age*,inventory.age*,hashes.b3*,B3SUMS*,RECOVER.txt*,recover.py*}",
    "usb?/*.ckvault/third/{manifest.json*,keys.age*}",
    "usb?/*.ckvault/copy/{manifest.json*,keys.age*,inventory.age*,hashes.b3*,B3SUMS*,RECOVER.txt*,recover.py*}",
];

pub const KEYGEN: Scene = Scene { prepare: |_| (), typed: "keygen", writes: &["home"], result: &[], ..READS };

const EXPORT: &str = "export source --to usb1 --label t --parity 2+1 --volume-size 2M";

pub const EXPORT_ONE: Scene = Scene {
    prepare: keys,
    typed: EXPORT,
    writes: &["usb1/*.ckvault", "state/ckvault"],
    beside: &["state/ckvault/00112233445566778899aabbccddeeff", "usb1/t-00112233.ckvault"],
    then: &["verify usb1 --set t", "import usb1 --set t --to restored --identity kept.txt"],
    ..READS
};

pub const EXPORT_TWO: Scene = Scene {
    typed: "export source --to usb1 --to usb2 --label t --parity 2+2 --volume-size 2M",
    writes: &["usb?/*.ckvault", "state/ckvault"],
    beside: &[],
    then: &["verify usb1 usb2", "import usb1 usb2 --to restored --identity kept.txt"],
    ..EXPORT_ONE
};

pub const EXPORT_RESUME: Scene = Scene {
    prepare: killed_export,
    typed: "export --resume",
    replaces: FILES,
    then: &["verify usb1", "import usb1 --to restored --identity kept.txt"],
    beside: &["state/ckvault/00112233445566778899aabbccddeeff"],
    ..EXPORT_ONE
};

pub const EXPORT_DISCARD: Scene = Scene {
    prepare: killed_export,
    typed: "export source --to usb1 --label t --parity 2+1 --volume-size 2M --discard",
    removes: &["usb1/*.ckvault"],
    ..EXPORT_RESUME
};

pub const VERIFY: Scene =
    Scene { typed: "verify usb1 usb2", beside: &["usb1/other-00112233.ckvault"], result: &["usb?"], ..READS };

pub const VERIFY_DAMAGED: Scene = Scene { prepare: damaged, ends: 3, ..VERIFY };

pub const LIST: Scene = Scene { typed: "list usb1 usb2", result: &[], ..VERIFY };

pub const INSPECT: Scene = Scene { typed: "inspect usb1 usb2", result: &[], ..VERIFY };

pub const REPAIR: Scene = Scene {
    prepare: damaged,
    typed: "repair usb1 usb2",
    writes: &["usb?/*.ckvault"],
    replaces: FILES,
    beside: &["usb1/{set}/thesis.partial", "usb1/{set}/copy/thesis.partial"],
    result: &["usb?"],
    then: &["verify usb1 usb2"],
    ..READS
};

pub const REPAIR_TO: Scene = Scene {
    prepare: one_of_two,
    typed: "repair usb1 --to usb3",
    writes: &["usb3/*.ckvault"],
    result: &["usb1", "usb3"],
    then: &["verify usb1 usb3"],
    beside: &["usb3/{set}/thesis.partial"],
    ..REPAIR
};

const PLACES: Scene = Scene {
    typed: "import usb1 usb2 --to place/there",
    writes: &["place/there", "place/.ckvault-*"],
    result: &["place/there"],
    ..READS
};

pub const IMPORT: Scene =
    Scene { prepare: import_was_stopped, beside: &["place/{staging}", "place/{staging}/files"], ..PLACES };

pub const IMPORT_EMPTY: Scene = Scene { prepare: empty_target, ..PLACES };

pub const IMPORT_HERE: Scene = Scene {
    prepare: empty_target,
    here: "place/there",
    typed: "import ../../usb1 ../../usb2 --to .",
    writes: &["place/there"],
    ..PLACES
};

pub const IMPORT_RESUME: Scene = Scene {
    prepare: killed_import,
    typed: "import usb1 usb2 --to place/there --resume",
    replaces: &["place/.ckvault-*/*"],
    removes: &["place/.ckvault-*/*"],
    ..PLACES
};

pub const IMPORT_DISCARD: Scene = Scene { typed: "import usb1 usb2 --to place/there --discard", ..IMPORT_RESUME };

pub const IMPORT_SALVAGE: Scene =
    Scene { prepare: beyond_repair, typed: "import usb1 usb2 --to place/there --salvage", ends: 4, ..PLACES };

pub const IMPORT_IN_TURN: Scene = Scene {
    prepare: in_turn,
    typed: "import usb --to place/there --next-drive-command ./next",
    writes: &["place/there", "place/.ckvault-*", "usb"],
    // By the command that changes drives.
    replaces: &["usb"],
    turns: &["drive1", "drive2"],
    ..PLACES
};

fn keys(yard: &Yard) {
    yard.does("keygen", 0);
    // Another's key beside the own one: a set for nobody else would be asked about.
    let list = yard.path("home").join("recipients.txt");
    let other = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj\n";
    fs::write(&list, fs::read_to_string(&list).unwrap() + other).unwrap();
    // An export asks for the own key too, and something else may be there when its set is looked at.
    fs::copy(yard.path("home").join("identity.txt"), yard.path("kept.txt")).unwrap();
    yard.make(&["usb1", "usb2"]);
}

/// Two drives, of which one may be lost.
fn exported(yard: &Yard) {
    keys(yard);
    yard.does(EXPORT_TWO.typed, 0);
    fs::remove_dir_all(yard.path("state")).unwrap();
}

/// A volume and two metadata files are damaged, others are missing.
fn damaged(yard: &Yard) {
    exported(yard);
    let (one, other) = (yard.set("usb1"), yard.set("usb2"));
    flip(&yard.volume("g00000-d000.ckv"));
    fs::remove_file(yard.volume("g00000-p001.ckv")).unwrap();
    flip(&one.join("copy/manifest.json"));
    flip(&one.join("hashes.b3"));
    fs::remove_file(one.join("copy/recover.py")).unwrap();
    fs::remove_file(other.join("manifest.json.sig")).unwrap();
}

fn flip(path: &std::path::Path) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (mut byte, at) = ([0], file.metadata().unwrap().len() / 2);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn one_of_two(yard: &Yard) {
    exported(yard);
    fs::remove_dir_all(yard.path("usb2")).unwrap();
    yard.make(&["usb3"]);
}

fn empty_target(yard: &Yard) {
    exported(yard);
    yard.make(&["place/there"]);
}

fn beyond_repair(yard: &Yard) {
    exported(yard);
    for volume in ["g00000-p000.ckv", "g00000-p001.ckv", "g00000-d001.ckv"] {
        fs::remove_file(yard.volume(volume)).unwrap();
    }
}

/// Drives that are mounted at one place, one after the other, and a program that does it.
fn in_turn(yard: &Yard) {
    damaged(yard);
    for (from, to) in [("usb1", "drive1"), ("usb2", "drive2")] {
        fs::rename(yard.path(from), yard.path(to)).unwrap();
    }
    symlink(yard.path("drive1"), yard.path("usb")).unwrap();
    let change = "#!/bin/sh\nln -sfn \"$PWD/drive${CKVAULT_DRIVE_NUMBER:-2}\" usb\n";
    fs::write(yard.path("next"), change).unwrap();
    fs::set_permissions(yard.path("next"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Killed when its volumes are durable, and have not been read back.
fn killed_export(yard: &Yard) {
    keys(yard);
    yard.killed(EXPORT, |yard| {
        let states = fs::read_dir(yard.path("state/ckvault")).into_iter().flatten().flatten();
        states.map(|s| fs::read_to_string(s.path()).unwrap_or_default()).any(|text| text.contains("{\"group\""))
    });
}

/// Killed when the first segments are durable.
fn killed_import(yard: &Yard) {
    exported(yard);
    yard.killed(IMPORT.typed, |yard| {
        let journal = yard.staging().map(|dir| fs::read(dir.join("journal")).unwrap_or_default());
        journal.is_some_and(|journal| journal.iter().filter(|b| **b == b'\n').count() >= 2)
    });
}

/// The same, but only its name is left of it.
fn import_was_stopped(yard: &Yard) {
    killed_import(yard);
    let staging = yard.staging().unwrap();
    fs::write(yard.beside("staging"), staging.file_name().unwrap().as_encoded_bytes()).unwrap();
    fs::remove_dir_all(staging).unwrap();
}
