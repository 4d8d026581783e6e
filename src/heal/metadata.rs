//! Metadata made anew: from the trusted pair, from any good copy, or from what the manifest says.

use crate::error::{Error, Result};
use crate::format::{names, recovery};
use crate::heal::volumes::make_file;
use crate::media::dir::{Dir, Location};
use crate::media::durable;
use crate::set::{At, Blocks, Combined, Origin, Part, name_drives, own_program, pass_on_program};

/// Takes some bytes of a file that is being written.
type Take<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// Makes the metadata file `name_in_dir` in `dir`, which is the copy of `drive` if that is known.
pub fn renew(blocks: &Blocks, dir: &Dir, name_in_dir: &str, drive: Option<u16>) -> Result<Origin> {
    let set = blocks.set;
    let (place, name) = match name_in_dir.rsplit_once('/') {
        Some((sub, name)) => (durable::ensure_dir(dir, sub)?, name),
        None => (dir.clone(), name_in_dir),
    };
    let whole = |bytes: &[u8]| {
        let expected = (bytes.len() as u64, *blake3::hash(bytes).as_bytes());
        make_file(&place, name, expected, |take| take(bytes))
    };
    match name {
        names::MANIFEST => whole(&set.bytes),
        names::SIGNATURE => whole(&set.armour),
        names::B3SUMS => whole(&set.manifest.b3sums(drive.ok_or_else(|| unknown_drive(dir))?)),
        _ => {
            let listed =
                set.manifest.files.get(name).ok_or_else(|| Error::Internal(format!("{name} is not listed")))?;
            make_file(&place, name, (listed.bytes, listed.blake3), |take| listed_file(blocks, name, take))
        }
    }
}

fn unknown_drive(dir: &Dir) -> Error {
    Error::drive(
        format!("which drive of the set {} is of cannot be told: too little of it is left", dir.path().display()),
        "make a replacement with --to, if its drive is named as absent",
    )
}

/// The bytes of a listed file, from a good copy or from elsewhere.
fn listed_file(blocks: &Blocks, name: &str, take: Take) -> Result<()> {
    if let Some(good) = blocks.set.good_copies(name).next() {
        return copy(blocks.set, &good, take);
    }
    match blocks.set.combined(name) {
        Some(combined) => pass_on(combined, take),
        None if name == names::HASHES => put_together(blocks, take),
        None if name == names::RECOVER_PY => take(own_text(blocks.set, name, recovery::SCRIPT)?.as_bytes()),
        None if name == names::RECOVER_TXT => {
            let text = recovery::text(blocks.set.manifest.program().is_some());
            take(own_text(blocks.set, name, &text)?.as_bytes())
        }
        None if name == names::PROGRAM => carry_program(blocks.set, take),
        None if names::is_aid(name) => Err(Error::refused(
            format!("no copy of {name} is whole, and this version does not know what it is"),
            "nothing of the contents depends on it; ask the sender for it",
        )),
        None => Err(blocks.set.without(name)),
    }
}

/// Piece by piece: what is passed on has been proven.
fn pass_on(mut combined: Combined, take: Take) -> Result<()> {
    while let Some(piece) = combined.piece() {
        take(&piece.map_err(|e| Error::drive(e.to_string(), "bring another drive of the set"))?)?;
    }
    Ok(())
}

/// What this version puts beside every set, if it is what the sender's version put there.
fn own_text<'a>(set: &Part, name: &str, text: &'a str) -> Result<&'a str> {
    let same =
        set.manifest.files.get(name).is_some_and(|listed| listed.blake3 == *blake3::hash(text.as_bytes()).as_bytes());
    if same { Ok(text) } else { Err(another(name)) }
}

fn another(name: &str) -> Error {
    Error::refused(
        format!("no copy of {name} is whole, and that of this version is another"),
        "nothing of the contents depends on it; take that of the version that wrote the set",
    )
}

/// The program that is running, if it is the one that the sender put beside the set.
fn carry_program(set: &Part, take: Take) -> Result<()> {
    let own = set.manifest.program().and_then(|listed| own_program(&set.disk, listed.bytes, &listed.blake3));
    pass_on_program(&own.ok_or_else(|| another(names::PROGRAM))?, take)
}

fn copy(set: &Part, from: &Location, take: Take) -> Result<()> {
    let mut failed = None;
    let read = set.read_through(from, u64::MAX, &mut |piece| {
        if failed.is_none() {
            failed = take(piece).err();
        }
    });
    match (failed, read) {
        (Some(error), _) => Err(error),
        (None, Some(_)) => Ok(()),
        (None, None) => Err(Error::on_drive("read", from.path())(std::io::ErrorKind::UnexpectedEof.into())),
    }
}

/// `hashes.b3` page by page, each from wherever it can be proven.
fn put_together(blocks: &Blocks, take: Take) -> Result<()> {
    let manifest = &blocks.set.manifest;
    let mut hasher = blake3::Hasher::new();
    for (group, index, name, _) in manifest.volumes() {
        for values in blocks.values(At { group, index }) {
            let values = values.ok_or_else(|| without_hashes(blocks.set, &name))?;
            hasher.update(values.as_flattened());
            take(values.as_flattened())?;
        }
    }
    let signed = manifest.files.get(names::HASHES).is_some_and(|listed| listed.blake3 == *hasher.finalize().as_bytes());
    if signed { Ok(()) } else { Err(another_hashes()) }
}

/// Whoever wrote the set did not keep rule 74.
fn another_hashes() -> Error {
    Error::refused(
        format!("no copy of {} is whole, and what was signed is not the hashes of the volumes", names::HASHES),
        "nothing of the contents depends on it: import the set, and ask the sender for a new export, made with another version",
    )
}

fn without_hashes(set: &Part, volume: &str) -> Error {
    let what =
        format!("the hashes of the blocks of {volume} cannot be found out: it is damaged, and so are all copies");
    let absent = set.absent_numbers();
    match absent.is_empty() {
        true => Error::lost(what, "ask the sender for a new export"),
        false => Error::drive(what, format!("bring {} of the set", name_drives(&absent))),
    }
}
