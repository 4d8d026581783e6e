//! Signature before manifest: which of the copies on the drives is signed by somebody trusted.

use crate::error::{Error, Result};
use crate::format::manifest::{self, Manifest, set_dir_name};
use crate::format::names;
use crate::format::signature::{self, Message, Signature, TrustError};
use crate::media::dir::Dir;
use crate::media::lock::is_being_written;
use crate::media::sets::FoundPart;
use crate::set::in_place::instead_of_file;
use crate::set::trust::{Signer, Trust};
use crate::text::printable;
use std::collections::{BTreeSet, HashSet};
use std::io::ErrorKind;

/// All different copies of a metadata file, one after the other: there may be many drives, and no copy is signed. Returns whether
/// there were any; an error if there are some, but none can be read.
pub fn each_copy(dirs: &[Dir], name: &str, limit: u64, take: &mut dyn FnMut(Vec<u8>)) -> Result<bool> {
    let places = dirs.iter().flat_map(|dir| names::copies(name).map(|name| dir.at(name)));
    let (mut seen, mut failed) = (HashSet::new(), None);
    for at in places {
        match at.dir.read(&at.name, limit) {
            Ok(bytes) if seen.insert(blake3::hash(&bytes)) => take(bytes),
            Err(e) if failed.is_none() && could_be_there(&e) => failed = Some((at.path(), e)),
            _ => {}
        }
    }
    match failed {
        Some((path, error)) if seen.is_empty() => Err(Error::on_drive("read", path)(error)),
        _ => Ok(!seen.is_empty()),
    }
}

/// Whether an error leaves open that a file is there: else there is nothing, a directory or a link, or what is longer than any may be.
fn could_be_there(error: &std::io::Error) -> bool {
    let is_other = [ErrorKind::NotFound, ErrorKind::NotADirectory, ErrorKind::InvalidData, ErrorKind::FileTooLarge];
    !is_other.contains(&error.kind())
}

/// A manifest that is signed by somebody trusted.
pub struct Signed {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The signature over them.
    pub armour: Vec<u8>,
    /// Who made it.
    pub signer: Signer,
}

/// A manifest, with a signature over it by each key that is trusted: at least one.
struct Vouched {
    bytes: Vec<u8>,
    pairs: Vec<(Vec<u8>, Signer)>,
}

impl Vouched {
    /// Rule 20: only one key counts.
    fn by_one(self, name: &str) -> Result<Signed> {
        let Vouched { bytes, mut pairs } = self;
        match (pairs.len(), pairs.pop()) {
            (1, Some((armour, signer))) => Ok(Signed { bytes, armour, signer }),
            (_, last) => {
                let signers: Vec<Signer> = pairs.into_iter().chain(last).map(|(_, signer)| signer).collect();
                Err(several_signers(name, &signers.iter().collect::<Vec<_>>()))
            }
        }
    }
}

/// Rule 20, where one manifest was found in two places: an error if another key vouches for it here than there.
pub fn same_signer(name: &str, one: &Signer, other: &Signer) -> Result<()> {
    if one.key == other.key { Ok(()) } else { Err(several_signers(name, &[one, other])) }
}

/// Of several who are trusted only the user can say whose set it is: whoever has a drive in hand may have put their own signature
/// in the place of another's.
fn several_signers(name: &str, signers: &[&Signer]) -> Error {
    let names: BTreeSet<&str> = signers.iter().map(|s| s.name.as_str()).collect();
    let each: BTreeSet<String> =
        signers.iter().map(|s| format!("{} ({})", printable(s.name.as_bytes()), s.fingerprint)).collect();
    let what = format!(
        "{} is signed with {} keys, which are all trusted: {}",
        printable(name.as_bytes()),
        each.len(),
        each.into_iter().collect::<Vec<_>>().join(" and ")
    );
    match names.len() == signers.len() {
        true => Error::untrusted(what, "say who packed the set, with --signer NAME; else ask the sender"),
        false => Error::untrusted(
            what,
            "ask the sender with which key the set was signed, then give a list with that key alone (--signers FILE)",
        ),
    }
}

/// The one manifest in these directories that somebody trusted has signed, and the one key with which that was done.
pub fn trusted_manifest(found: &FoundPart, trust: &Trust) -> Result<Signed> {
    let mut signatures = Vec::new();
    let mut read = |armour: Vec<u8>| signatures.push((Signature::parse(&armour), armour));
    each_copy(&found.dirs, names::SIGNATURE, signature::LONGEST, &mut read)?;
    let mut trusted: Vec<Vouched> = Vec::new();
    let mut refusal: Option<TrustError> = None;
    let mut look = |manifest: Vec<u8>| {
        let message = Message::new(&manifest);
        let mut pairs: Vec<(Vec<u8>, Signer)> = Vec::new();
        for (signature, armour) in &signatures {
            match judge(signature, &message, trust) {
                Ok(signer) if pairs.iter().all(|(_, other)| other.key != signer.key) => {
                    pairs.push((armour.clone(), signer));
                }
                Ok(_) => {}
                Err(why) => refusal = more_telling(refusal.take(), why),
            }
        }
        if !pairs.is_empty() {
            trusted.push(Vouched { bytes: manifest, pairs });
        }
    };
    let any = each_copy(&found.dirs, names::MANIFEST, manifest::LONGEST, &mut look)?;
    if !any || signatures.is_empty() {
        if let Some(dir) = found.dirs.iter().find(|dir| is_being_written(dir)) {
            return Err(being_written(dir));
        }
        let what = if any { "signature" } else { "manifest" };
        let file = if any { names::SIGNATURE } else { names::MANIFEST };
        let other = found.dirs.iter().find_map(|dir| Some((dir, instead_of_file(dir, file)?)));
        let why = other.map_or("the export was interrupted, or the drive is damaged".to_owned(), |(dir, other)| {
            format!("{} is {other}", printable(dir.show(file).as_os_str().as_encoded_bytes()))
        });
        return Err(Error::untrusted(
            format!("{} has no {what}: {why}", printable(found.name.as_bytes())),
            "bring another drive of the set; if this is what an interrupted export left, go on with `ckvault export --resume` where it was begun, or begin anew there with --discard",
        ));
    }
    // A manifest of another set may lie here by mistake or by malice; the directory is named after its own.
    if trusted.len() > 1 && trusted.iter().any(|vouched| names_directory(&vouched.bytes, &found.name)) {
        trusted.retain(|vouched| names_directory(&vouched.bytes, &found.name));
    }
    match (trusted.len(), trusted.pop()) {
        (1, Some(vouched)) => vouched.by_one(&found.name),
        (0, _) => Err(trust.refuse(refusal.unwrap_or(TrustError::Invalid))),
        _ => Err(Error::untrusted(
            format!("{} holds different manifests, each signed by a trusted signer", printable(found.name.as_bytes())),
            "these drives are of different sets: bring those of one, or ask the sender which is right",
        )),
    }
}

/// A set that another process writes to is not what it will be.
pub fn being_written(dir: &Dir) -> Error {
    Error::untrusted(
        format!(
            "{} is being written now, by an export or a repair",
            printable(dir.path().as_os_str().as_encoded_bytes())
        ),
        "wait until the other command has ended, then run this one again",
    )
}

fn names_directory(manifest: &[u8], name: &str) -> bool {
    Manifest::parse(manifest).is_ok_and(|m| set_dir_name(m.label.as_deref(), &m.set, m.part) == name)
}

/// Who made a signature, if that is somebody trusted; else why not.
fn judge(
    signature: &Result<Signature, TrustError>,
    manifest: &Message,
    trust: &Trust,
) -> std::result::Result<Signer, TrustError> {
    trust.judge_over(signature.as_ref().map_err(TrustError::clone)?, manifest)
}

/// Of two refusals the one that says more; the first of equals.
fn more_telling(known: Option<TrustError>, why: TrustError) -> Option<TrustError> {
    match known {
        Some(known) if rank(&known) >= rank(&why) => Some(known),
        _ => Some(why),
    }
}

/// Which refusal says most: a signature that holds, by somebody who is not trusted, before one that does not fit.
fn rank(why: &TrustError) -> u8 {
    match why {
        TrustError::Armour | TrustError::AfterArmour | TrustError::NotCanonical | TrustError::Reserved => 0,
        TrustError::Invalid => 1,
        TrustError::Namespace(_) | TrustError::Algorithm(_) | TrustError::Untouched => 2,
        TrustError::Unknown(_) => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::manifest::tests::sample;
    use crate::media::disk::{Disk, Media, Operation};
    use crate::set::part::tests::{Exporter, drive, trust};
    use std::path::{Path, PathBuf};

    fn of_all(refusals: &[&TrustError]) -> Option<TrustError> {
        refusals.iter().map(|why| (*why).clone()).fold(None, more_telling)
    }

    #[test]
    fn the_refusal_that_says_most_is_told() {
        let ranked = [
            TrustError::Armour,
            TrustError::Invalid,
            TrustError::Untouched,
            TrustError::Unknown("a".into()),
            TrustError::Expired("a".into()),
        ];
        for (i, less) in ranked.iter().enumerate() {
            for more in &ranked[i + 1..] {
                assert_eq!(of_all(&[less, more]), Some(more.clone()));
                assert_eq!(of_all(&[more, less]), Some(more.clone()));
            }
        }
        assert_eq!(ranked.each_ref().map(rank), [0, 1, 2, 3, 4]);
        let (first, second) = (TrustError::Unknown("a".into()), TrustError::Unknown("b".into()));
        assert_eq!(of_all(&[&first, &second]), Some(first));
        assert_eq!(of_all(&[]), None);
    }

    /// Rule 20.
    #[test]
    fn one_manifest_in_two_places_has_one_signer() {
        let (alice, bob) = (Exporter::named("alice").signer(), Exporter::named("bob").signer());
        let renamed = Signer { name: "also alice".into(), ..alice.clone() };
        assert!(
            same_signer("llama.ckvault", &alice, &renamed).is_ok(),
            "a key is who it is, whatever the list calls it"
        );
        let several = same_signer("llama.ckvault", &alice, &bob).unwrap_err();
        assert!(matches!(&several, Error::Untrusted { hint, .. } if hint.contains("--signer NAME")), "{several}");
        assert!(several.to_string().contains("llama.ckvault is signed with 2 keys"), "{several}");
        // Whom a name does not tell apart cannot be asked for by it.
        let namesake = Signer { name: "alice".into(), ..bob };
        let several = same_signer("llama.ckvault", &alice, &namesake).unwrap_err();
        assert!(matches!(&several, Error::Untrusted { hint, .. } if hint.contains("--signers FILE")), "{several}");
    }

    /// A drive of which some files cannot be read.
    struct Failing(Vec<PathBuf>);

    impl Media for Failing {
        fn allow(&self, operation: Operation, path: &Path) -> std::io::Result<()> {
            match operation == Operation::Open && self.0.iter().any(|bad| path == bad) {
                true => Err(std::io::Error::from_raw_os_error(5)),
                false => Ok(()),
            }
        }
    }

    /// A copy that cannot be read hides none that can; and where none can, that is no reason to say that there is none.
    #[test]
    fn each_different_copy_is_taken_once_and_the_first_that_failed_is_told_if_there_is_none() {
        let temps = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let file = |i: usize| temps[i].path().join(names::HASHES);
        let read = |bad: &[usize]| {
            let disk = Disk::new(Failing(bad.iter().map(|i| file(*i)).collect()));
            let dirs: Vec<Dir> = temps.iter().map(|temp| Dir::given(&disk, temp.path()).unwrap()).collect();
            let mut taken = Vec::new();
            let any = each_copy(&dirs, names::HASHES, 100, &mut |bytes| taken.push(bytes));
            (any.map_err(|e| e.to_string()), taken)
        };
        assert_eq!(read(&[]), (Ok(false), vec![]));
        (0..3).for_each(|i| std::fs::write(file(i), [b"one", b"two", b"one"][i]).unwrap());
        assert_eq!(read(&[]), (Ok(true), vec![b"one".to_vec(), b"two".to_vec()]));
        assert_eq!(read(&[0, 1]), (Ok(true), vec![b"one".to_vec()]));
        let (none, taken) = read(&[0, 1, 2]);
        assert!(none.is_err_and(|why| why.contains(&*file(0).to_string_lossy())) && taken.is_empty());
        // What is no file is not one that could be read on another day.
        (0..2).for_each(|i| std::fs::remove_file(file(i)).unwrap());
        std::fs::create_dir(file(0)).unwrap();
        std::fs::remove_file(file(2)).unwrap();
        assert_eq!(read(&[]), (Ok(false), vec![]));
    }

    /// Rule 20: whoever has a drive in hand may have put their own signature in the place of another's.
    #[test]
    fn a_manifest_that_two_have_signed_is_that_of_neither_unless_one_alone_is_trusted() {
        let (alice, bob) = (Exporter::named("alice"), Exporter::named("bob"));
        let ((a, one), (b, two)) = (drive(), drive());
        alice.put(&sample(1, 1, 1), a.path());
        bob.put(&sample(1, 1, 1), b.path());
        let found = FoundPart { name: "llama.ckvault".into(), dirs: vec![one, two], said: None };
        let refused = trusted_manifest(&found, &trust(&[&alice, &bob])).map(drop).unwrap_err().to_string();
        for one in [&alice, &bob] {
            let signer = one.signer();
            assert!(refused.contains(&format!("{} ({})", signer.name, signer.fingerprint)), "{refused}");
            assert_eq!(trusted_manifest(&found, &trust(&[one])).unwrap().signer, signer);
        }
    }

    /// A manifest of another set may lie on a drive by mistake or by malice.
    #[test]
    fn of_several_manifests_that_one_counts_which_is_trusted_or_else_the_one_that_names_the_directory() {
        let (alice, bob) = (Exporter::named("alice"), Exporter::named("bob"));
        let ((a, one), (b, two)) = (drive(), drive());
        let ours = sample(1, 1, 1);
        let theirs = Manifest { label: Some("other".into()), ..ours.clone() };
        let found = |name: String| FoundPart { name, dirs: vec![two.clone(), one.clone()], said: None };
        let name_of = |m: &Manifest| set_dir_name(m.label.as_deref(), &m.set, m.part);
        let told = |name: &str, trust: &Trust| match trusted_manifest(&found(name.into()), trust) {
            Ok(signed) => Manifest::parse(&signed.bytes).unwrap().label.unwrap(),
            Err(refused) => refused.to_string(),
        };
        alice.put(&ours, a.path());
        bob.put(&theirs, b.path());
        assert_eq!(told("renamed.ckvault", &trust(&[&alice])), "llama");
        let stranger = told("renamed.ckvault", &trust(&[&Exporter::named("carol")]));
        assert!(stranger.contains("SHA256:"), "{stranger}");
        for exporters in [&[&alice, &bob][..], &[&bob, &alice]] {
            assert_eq!(told(&name_of(&ours), &trust(exporters)), "llama");
            assert_eq!(told(&name_of(&theirs), &trust(exporters)), "other");
            assert!(told("renamed.ckvault", &trust(exporters)).contains("different manifests"));
        }
    }

    #[test]
    fn what_is_missing_of_the_pair_is_named() {
        let alice = Exporter::named("alice");
        let (temp, dir) = drive();
        let found = FoundPart { name: "llama.ckvault".into(), dirs: vec![dir], said: None };
        let told = || trusted_manifest(&found, &trust(&[&alice])).map(drop).unwrap_err().to_string();
        assert!(told().contains("has no manifest"), "{}", told());
        std::fs::write(temp.path().join(names::MANIFEST), sample(1, 1, 1).encode()).unwrap();
        assert!(told().contains("has no signature"), "{}", told());
        std::fs::remove_file(temp.path().join(names::MANIFEST)).unwrap();
        std::fs::write(temp.path().join(names::SIGNATURE), alice.sign(b"a manifest")).unwrap();
        assert!(told().contains("has no manifest"), "{}", told());
    }
}
