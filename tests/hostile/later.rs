//! What a later version may write: what is harmless is passed over, and what is not is refused, with the name of what is wanted.

use crate::cases::{refuse, small};
use crate::compose::{Recipe, seal};
use crate::recover::{SIGNERS, can_recover};
use crate::site::Site;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// All verbs take it, and recover.py does.
#[track_caller]
fn taken(site: &Site) {
    for verb in ["verify", "inspect", "list", "import"] {
        site.run(verb).ends(0);
    }
    assert_eq!(fs::read(site.target().join("a")).unwrap(), b"hello");
    fs::remove_dir_all(site.target()).unwrap();
    if can_recover() {
        site.recover(SIGNERS).ends(0);
        fs::remove_dir_all(site.target()).unwrap();
    }
}

/// Rule 8, and the names that are set aside.
#[test]
fn fields_that_are_not_known_are_ignored() {
    let site = Site::new();
    let recipe = small().manifest(|m| {
        m["family"] = "ab".repeat(16).into();
        m["public"] = json!({ "model": "llama", "parameters": 70 });
        m["parents"] = json!(["0".repeat(64)]);
        m["groups"][0]["later"] = json!([null, true, { "a": -1 }]);
        m["files"]["keys.age"]["later"] = 1.into();
    });
    site.compose(&recipe.field(2, "later", "x"), 1);
    taken(&site);
}

/// One exit code, and the name of what is wanted.
#[test]
fn what_is_newer_says_what_is_wanted() {
    let newer = "which is newer than this";
    let manifest = |field: &'static str, value: Value| small().manifest(move |m| m[field] = value.clone());
    refuse(vec![
        ("a format", manifest("format", "99".into()), 1, "the set needs the format \"99\", which is newer than this"),
        ("the last version that there can be", manifest("format", "999999999".into()), 1, newer),
        ("no version that there can be", manifest("format", "1000000000".into()), 5, "is not readable"),
        ("a draft", manifest("format", "draft-99".into()), 5, "a development version wrote it"),
        ("no draft", manifest("format", "draft-x".into()), 5, "format \"draft-x\" is not readable"),
        (
            "a draft inside",
            small().field(0, "inventory", "draft-2"),
            5,
            "inventory.age: the set has the format \"draft-2\"",
        ),
        ("no format", manifest("format", "x".into()), 5, "format \"x\" is not readable"),
        ("a feature", manifest("critical", json!(["slot-shares"])), 1, "the set needs the feature \"slot-shares\""),
        ("a format inside", small().field(0, "inventory", "99"), 1, "the set needs the format \"99\""),
        ("a filter", manifest("filter", "bf16-delta".into()), 1, "the set needs the filter \"bf16-delta\""),
        ("no filter", manifest("filter", "".into()), 1, "filter \"\" is not valid"),
    ]);
}

/// The manifest is the same for all verbs; and who trusts nobody is told no less.
#[test]
fn a_manifest_that_is_newer_stops_every_verb() {
    for (field, value) in [("format", json!("99")), ("critical", json!(["slot-shares"]))] {
        let site = Site::new();
        site.compose(&small().manifest(move |m| m[field] = value.clone()), 1);
        for verb in ["verify", "inspect", "list", "repair", "import"] {
            let ran = site.run(verb).ends(1);
            assert!(ran.stderr.contains("manifest.json: the set needs the "), "{ran}");
        }
        let told: Value = serde_json::from_str(&site.run("verify --json").ends(1).stdout).unwrap();
        assert_eq!(told["code"], "newer");
        site.trusts("# nobody\n");
        site.run("verify").ends(5);
        let ran = site.run("inspect").ends(1);
        assert!(ran.stderr.contains("manifest.json (NOT VERIFIED): the set needs the "), "{ran}");
    }
}

/// Rule 70: an old set may be whole, and nobody should throw it away. Who has nobody to ask is told what reads it, and where that lies.
#[test]
fn of_a_draft_every_verb_says_what_reads_it() {
    for draft in ["draft-1", "draft-2", "draft-3", "draft-4", "draft-5", "draft-6", "draft-77"] {
        let site = Site::new();
        let dir = site.compose(&small().manifest(move |m| m["format"] = draft.into()), 1).remove(0);
        let why = format!("the set has the format \"{draft}\": a development version wrote it, and this ckvault (");
        let says = |verb: &str, script: &str| {
            let ran = site.run(verb).ends(5);
            let hint = ran.stderr.lines().find(|line| line.starts_with("hint: ")).unwrap_or_default();
            let told = ran.stderr.contains(&why) && ran.stderr.contains("reads no drafts");
            assert!(told && hint.contains(script) && hint.contains("READING A SET BY HAND"), "{script}\n{ran}");
        };
        let beside = dir.join("recover.py");
        for verb in ["verify", "inspect", "list", "repair", "import"] {
            says(verb, beside.to_str().unwrap());
        }
        let told: Value = serde_json::from_str(&site.run("verify --json").ends(5).stdout).unwrap();
        assert_eq!(told["verdict"], "untrusted");
        if can_recover() {
            let ran = site.recover(SIGNERS).ends(5);
            let script = ran.stderr.contains(&format!("check '{}' and run a copy", beside.display()));
            assert!(script && ran.stderr.contains("a development version wrote it"), "{ran}");
        }
        site.trusts("# nobody\n");
        says("inspect", beside.to_str().unwrap());
        assert!(site.run("inspect").stderr.contains("manifest.json (NOT VERIFIED): the set has the format"));
        fs::remove_file(&beside).unwrap();
        says("inspect", dir.join("copy/recover.py").to_str().unwrap());
        fs::remove_file(dir.join("copy/recover.py")).unwrap();
        says("inspect", "its own recover.py restores it");
    }
}

/// Rule 70: verify and repair need not know what files mean.
#[track_caller]
fn is_kept_but_not_read(recipe: &Recipe, why: &str) {
    let site = Site::new();
    let dirs = site.compose(recipe, 1);
    fs::remove_file(dirs[0].join("g00000-p000.ckv")).unwrap();
    fs::remove_file(dirs[0].join("hashes.b3")).unwrap();
    site.run("verify").ends(3).shows("repairable");
    site.run("repair").ends(0);
    site.run("verify").ends(0).shows("intact");
    site.run("inspect").ends(0);
    for verb in ["list", "import"] {
        let ran = site.run(verb).ends(1);
        assert!(ran.stderr.contains(why) && ran.stderr.contains("hint: use a newer ckvault"), "{ran}");
    }
    assert!(!site.target().exists());
}

#[test]
fn a_filter_that_is_not_known_stops_list_and_import_only() {
    is_kept_but_not_read(&small().manifest(|m| m["filter"] = "bf16-delta".into()), "the filter \"bf16-delta\"");
}

/// Rule 69.
#[test]
fn a_feature_of_the_inventory_stops_list_and_import_only() {
    let needs = || small().field(0, "critical", json!(["builds-on"]));
    is_kept_but_not_read(&needs(), "inventory.age: the set needs the feature \"builds-on\"");
    refuse(vec![
        ("a feature", needs(), 1, "the set needs the feature \"builds-on\""),
        ("no list", small().field(0, "critical", json!({})), 1, "inventory.age"),
        ("nothing", small().text(0, "\"critical\":[],", ""), 1, "`critical`"),
    ]);
}

/// Lists a further file, and lays it beside the others.
fn with_further(name: &'static str, text: &'static str) -> Recipe {
    small().with_edit(|r| &mut r.edit_listed, move |files| files.push((name, text.as_bytes().to_vec())))
}

/// Rule 71.
#[test]
fn files_that_are_not_known_are_checked_by_their_hash() {
    let site = Site::new();
    let dirs = site.compose(&with_further("NOTES.txt", "whatever\n"), 1);
    taken(&site);
    let path = dirs[0].join("NOTES.txt");
    for damage in ["echo another > ", "rm "] {
        let damaged = std::process::Command::new("sh").args(["-c", &format!("{damage}{}", path.display())]).status();
        assert!(damaged.unwrap().success());
        site.run("verify").ends(3).shows("repairable");
        site.run("repair").ends(0);
        assert_eq!(fs::read(&path).unwrap(), b"whatever\n");
    }
    // A new drive gets it too.
    let site_of_two = Site::new();
    let lost = site_of_two.compose(&with_further("NOTES.txt", "whatever\n"), 2).remove(1);
    fs::remove_dir_all(lost.parent().unwrap()).unwrap();
    let new = site_of_two.path("new");
    fs::create_dir(&new).unwrap();
    site_of_two.run(&format!("repair --to {}", new.display())).ends(0);
    for name in ["NOTES.txt", "copy/NOTES.txt"] {
        let made = new.join(lost.file_name().unwrap()).join(name);
        assert_eq!(fs::read(&made).unwrap(), b"whatever\n", "{}", made.display());
    }
    // Nothing depends on it, and nobody can make it.
    fs::remove_file(&path).unwrap();
    fs::remove_file(dirs[0].join("copy/NOTES.txt")).unwrap();
    site.run("verify").ends(3).shows("repairable");
    let ran = site.run("repair");
    assert!(format!("{ran}").contains("no copy of NOTES.txt is whole"), "{ran}");
    site.run("import").ends(0);
}

#[test]
fn files_have_names_that_no_other_file_has() {
    let listed = |name: &'static str| small().manifest(move |m| m["files"][name] = m["files"]["recover.py"].clone());
    refuse(
        [
            "manifest.json",
            "b3sums",
            "Keys.age",
            "custody",
            "copy",
            "third",
            "keys.age.sig",
            "g00000-d000.ckv",
            "x.partial",
            "a.",
            "a b",
            "..",
        ]
        .into_iter()
        .map(|name| (name, listed(name), 1, "metadata file"))
        .collect(),
    );
}

/// Rule 72.
#[test]
fn what_lies_in_custody_is_nobodys_business() {
    let site = Site::new();
    let dirs = site.compose(&small(), 1);
    fs::create_dir(dirs[0].join("custody")).unwrap();
    fs::write(dirs[0].join("custody/manifest.json"), "{}").unwrap();
    std::os::unix::fs::symlink("/dev/zero", dirs[0].join("custody/receipt.sig")).unwrap();
    taken(&site);
    fs::remove_file(dirs[0].join("keys.age")).unwrap();
    site.run("repair").ends(0);
    assert!(dirs[0].join("custody/receipt.sig").is_symlink());
}

/// In place of all copies of the key slot: one that holds what the signed one does, with something beside it that a later version
/// may take for its signature. Returns where they are.
fn write_slot_anew(site: &Site, dirs: &[PathBuf], own: &age::x25519::Identity) -> Vec<PathBuf> {
    use age::secrecy::ExposeSecret as _;
    let text = format!("# public key: {}\n{}\n", own.to_public(), own.to_string().expose_secret());
    let slot = seal(text.as_bytes(), &site.keys.receiver.to_public());
    let places = dirs.iter().flat_map(|dir| ["", "copy", "third"].map(|place| dir.join(place)));
    let place = |place: PathBuf| {
        fs::write(place.join("keys.age"), &slot).unwrap();
        fs::write(place.join("keys.age.sig"), "of a later version").unwrap();
        [place.join("keys.age"), place.join("keys.age.sig")]
    };
    places.flat_map(place).collect()
}

/// Rule 81: who can open it is told that it was not signed with the set; who cannot leaves it as it is, and says what it is.
#[test]
fn a_key_slot_that_was_written_anew_is_used_and_never_repaired_away() {
    let (site, recipe) = (Site::new(), small());
    let dirs = site.compose(&recipe, 2);
    let places = write_slot_anew(&site, &dirs, &recipe.own);
    // Something else is damaged too.
    fs::remove_file(dirs[0].join("RECOVER.txt")).unwrap();
    fs::remove_file(dirs[1].join("third/keys.age")).unwrap();
    let state = || places.iter().map(|path| fs::read(path).ok()).collect::<Vec<_>>();
    let before = state();
    for verb in ["verify", "repair", "verify", "repair"] {
        let ran = site.run(verb).ends(1).shows("newer");
        assert!(ran.stderr.contains("feature \"keys.age.sig\", which is newer than this ckvault"), "{ran}");
        assert!(ran.stderr.contains("whoever has an identity can import"), "{ran}");
    }
    assert!(state() == before, "the key slot was changed");
    assert!(dirs[0].join("RECOVER.txt").exists());
    let told: Value = serde_json::from_str(&site.run("verify --json").ends(1).stdout).unwrap();
    assert_eq!((&told["verdict"], &told["newer"][1].is_string()), (&json!("newer"), &true));
    let files = told["files"].as_array().unwrap();
    assert_eq!(files.iter().filter(|file| file["state"] == "newer").count(), 5, "{files:?}");
    for verb in ["list --json", "import --json"] {
        let ran = site.run(verb).ends(0);
        assert!(ran.stderr.contains("it was written anew"), "{ran}");
        assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["key_slot"], "written-anew");
    }
    assert_eq!(fs::read(site.target().join("a")).unwrap(), b"hello");
    fs::remove_dir_all(site.target()).unwrap();
    if can_recover() {
        let ran = site.recover(SIGNERS).ends(0);
        assert!(ran.stderr.contains("it was written anew"), "{ran}");
    }
    // A new drive has no key slot, and all else.
    fs::create_dir(site.path("new")).unwrap();
    fs::remove_dir_all(&dirs[1]).unwrap();
    let ran = site.run("repair --to new").ends(1).shows("newer");
    assert!(ran.stdout.contains("keep the old drive"), "{ran}");
    let new = site.path("new").join(dirs[1].file_name().unwrap());
    for (name, there) in
        [("manifest.json", true), ("third/manifest.json.sig", true), ("keys.age", false), ("keys.age.sig", false)]
    {
        assert_eq!(new.join(name).exists(), there, "{name}");
    }
}

/// Rule 81: whoever writes the slots of a set anew does it on one drive after the other. Who cannot judge that puts neither the signed slot
/// in the place of the new one, nor the new one in that of the signed, and each opens for whom it is.
#[test]
fn a_key_slot_that_was_written_anew_on_one_drive_only_stays_where_it_is() {
    let (site, recipe) = (Site::new(), small());
    let dirs = site.compose(&recipe, 2);
    let anew = write_slot_anew(&site, &dirs[..1], &recipe.own);
    let signed = ["", "copy", "third"].map(|place| dirs[1].join(place).join("keys.age"));
    fs::remove_file(&signed[2]).unwrap();
    fs::remove_file(dirs[1].join("RECOVER.txt")).unwrap();
    let state = || anew.iter().chain(&signed).map(|path| fs::read(path).ok()).collect::<Vec<_>>();
    let before = state();
    for verb in ["verify", "repair", "verify"] {
        let ran = site.run(verb).ends(1).shows("newer");
        assert!(ran.stderr.contains("feature \"keys.age.sig\", which is newer than this ckvault"), "{ran}");
    }
    assert!(state() == before, "a key slot was changed");
    assert!(dirs[1].join("RECOVER.txt").exists(), "all else is repaired");
    for verb in ["list --json", "import --json"] {
        let told: Value = serde_json::from_str(&site.run(verb).ends(0).stdout).unwrap();
        assert_eq!(told["key_slot"], "signed", "who is a recipient of the signed slot needs no other");
    }
    // With what the manifest says in its place, what lies beside it is nobody's business.
    ["", "copy", "third"]
        .iter()
        .for_each(|place| assert!(fs::copy(&signed[0], dirs[0].join(place).join("keys.age")).unwrap() > 0));
    site.run("repair").ends(0).shows("intact");
    assert!(dirs[0].join("keys.age.sig").exists());
}
