//! A set as it lies on its drives: found, trusted, opened, read block by block, mended in reading.
//!
//! In come the places where it may be, and the list of those whom the user trusts. Out come the parts that one of them has signed, what is in
//! them, and blocks of their volumes, each proven. Nothing unsigned is believed, and nothing is written to a drive.

mod block_set;
mod blocks;
mod contents;
mod entry_key;
mod failing_drives;
mod foreign;
mod homes;
mod in_place;
mod mended;
mod metadata_copies;
mod opened;
mod pages;
mod pages_from_rows;
mod part;
mod paths;
mod patterns;
mod place;
mod program;
mod proven_pages;
mod readback;
mod reading;
mod revoked;
mod rewritten_slot;
mod rows;
mod trust;
mod trusted_manifest;

pub use place::Where;

/// For benchmarks and fuzzers.
#[doc(hidden)]
pub use paths::check as check_paths;

pub(crate) use block_set::Bits;
pub(crate) use blocks::{Blocks, Seen, bad_runs};
pub(crate) use contents::{Contents, agree, read_contents};
pub(crate) use entry_key::fixed;
pub(crate) use foreign::{foreign, header_of, is_of_set};
pub(crate) use homes::said_homes;
pub(crate) use in_place::instead_of_file;
pub(crate) use metadata_copies::{Combined, confidentiality};
pub(crate) use opened::Set;
pub(crate) use part::{At, Part, name_drives};
pub(crate) use paths::{Ways, check_folded, check_folded_links, leaving};
pub(crate) use patterns::Patterns;
pub(crate) use program::{own_program, pass_on_program, program_to_travel};
pub(crate) use readback::{Expected, Origin, compare, compare_in_turn};
pub(crate) use reading::{Source, exhausted};
pub(crate) use rewritten_slot::Slot;
pub(crate) use rows::could_help;
pub(crate) use trust::Signer;
pub(crate) use trusted_manifest::being_written;

use crate::error::{Error, Result};
use crate::format::manifest::{self, Manifest};
use crate::format::{FormatError, names};
use crate::media::dir::Dir;
use crate::media::fence::Needs;
use crate::media::sets::Found;
use crate::progress::{Ask, Phase, Progress};
use crate::stages::refusal::{breaks, draft};
use crate::stages::seal::SetIdentity;
use crate::stages::seal::identities::Identities;
use crate::text::{for_shell, printable};
use contents::open_slot;
use opened::belong_together;
use std::path::PathBuf;
use trusted_manifest::{each_copy, same_signer, trusted_manifest};

/// Opens a set; [`Error::Untrusted`] if a part of it has no trusted pair, or the parts do not belong together.
pub(crate) fn open(place: &Where, progress: &dyn Progress) -> Result<Set> {
    progress.stage(Phase::Open);
    // The directories of one set, part by part.
    open_found(place, place.find()?, progress)
}

fn open_found(place: &Where, found: Found, progress: &dyn Progress) -> Result<Set> {
    // Whom the user trusts.
    let trust = place.trust(progress)?;
    let mut parts: Vec<Part> = Vec::new();
    for part in found.parts {
        // Signature before manifest, manifest before everything else.
        let signed = trusted_manifest(&part, &trust)?;
        // A directory that was renamed goes with the part that it is of.
        if let Some(known) = parts.iter_mut().find(|p| p.bytes == signed.bytes) {
            same_signer(&part.name, &known.signer, &signed.signer)?;
            known.dirs.extend(part.dirs);
            continue;
        }
        let manifest = Manifest::parse(&signed.bytes).map_err(unreadable(names::MANIFEST, &part.dirs))?;
        confirm(&manifest, place.set.as_deref())?;
        parts.push(Part::new(&place.disk, manifest, signed, part.dirs, &trust));
    }
    // Together they must be one set.
    parts.sort_by_key(|p| p.manifest.part);
    parts.windows(2).try_for_each(|pair| belong_together(&pair[0], &pair[1]))?;
    Ok(Set { parts, links: found.links })
}

/// What is wrong with the manifest of these directories. Of a draft it is said where the script lies that reads it.
fn unreadable(manifest: impl std::fmt::Display, dirs: &[Dir]) -> impl FnOnce(FormatError) -> Error {
    move |why| {
        let mut scripts = dirs.iter().flat_map(|dir| names::copies(names::RECOVER_PY).map(|name| dir.at(name)));
        match (&why, scripts.find(|at| at.dir.has_file(&at.name))) {
            (FormatError::Draft(_), Some(at)) => draft(format!("{manifest}: {why}"), for_shell(&at.path())),
            _ => breaks(manifest)(why),
        }
    }
}

/// A set was chosen by the names of directories, which nobody signed.
fn confirm(manifest: &Manifest, wanted: Option<&str>) -> Result<()> {
    match wanted {
        Some(wanted) if !manifest.set.starts_with(wanted) && manifest.label.as_deref() != Some(wanted) => {
            Err(Error::drive(
                format!("the directory is named like {wanted:?}, but holds the set {}", manifest.set),
                "the directory was renamed: choose with --set and the id",
            ))
        }
        _ => Ok(()),
    }
}

/// Finds and trusts a set and opens its key slot with the identities in `files`. From then on nothing is needed but `needs`;
/// and before that too, unless the slot may take a person or a program.
pub(crate) fn unlock(
    place: &Where,
    files: &[PathBuf],
    ask: impl Ask + 'static,
    needs: &Needs,
    progress: &dyn Progress,
) -> Result<(Set, SetIdentity, Slot)> {
    let identities = Identities::read(files, ask, progress);
    let later = identities.as_ref().is_ok_and(Identities::need_help);
    if !later {
        place.disk.confine(needs);
    }
    let set = open(place, progress)?;
    let occupied: Vec<_> = set.parts.iter().flat_map(Part::occupied).collect();
    for (at, what) in occupied.iter().take(MOST_TOLD) {
        let path = printable(at.path().as_os_str().as_encoded_bytes());
        progress.warn(&format!("{path} is {what}, and counts as missing: move it away, then `ckvault repair`"));
    }
    if let Some(more) = occupied.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
        progress.warn(&format!("{more} more files have something else in their place"));
    }
    // Before anybody is asked for a passphrase: what nobody here can undo is not opened either.
    set.parts.iter().try_for_each(|part| part.manifest.filter().map(drop)).map_err(breaks(names::MANIFEST))?;
    progress.stage(Phase::Unlock);
    let (identity, slot) = open_slot(&set, &identities?, progress)?;
    if later {
        place.disk.confine(needs);
    }
    Ok((set, identity, slot))
}

/// What anyone can see of a part, trusted or not.
pub(crate) struct SeenPart<T> {
    /// The number of the part.
    pub part: u32,
    /// What was made of the manifest.
    pub said: T,
    /// Who signed it, if the signature holds and the signer is trusted; else why not.
    pub signer: Result<Signer, String>,
    /// The directories that are here.
    pub dirs: Vec<Dir>,
}

/// Bytes of manifests of which something is kept although nobody vouches for them: nobody bounds how many there are.
const MOST_UNVERIFIED: u64 = 64 << 20;
/// So many places of files are named in which something else is.
const MOST_TOLD: usize = 20;

/// Looks at a set without asking that anybody be trusted: its parts that are here, in order, at least one. Of each manifest only
/// what `see` makes of it, with the directories that hold it, is kept.
pub(crate) fn peek<T>(
    place: &Where,
    see: impl Fn(&Manifest, &[Dir]) -> T,
    progress: &dyn Progress,
) -> Result<Vec<SeenPart<T>>> {
    // What is asked and cannot be answered is no reason to show a set without an answer.
    progress.stage(Phase::Open);
    place.conditions(progress)?;
    let of = |manifest: &Manifest, signer, dirs: Vec<Dir>| SeenPart {
        part: manifest.part,
        said: see(manifest, &dirs),
        signer,
        dirs,
    };
    let found = place.find()?;
    let refused = match open_found(place, found.clone(), progress) {
        Ok(set) => return Ok(set.parts.into_iter().map(|p| of(&p.manifest, Ok(p.signer), p.dirs)).collect()),
        Err(refused @ (Error::Untrusted { .. } | Error::Io { .. })) => refused,
        // A list that may not be believed; but who was asked for must be found out.
        Err(refused @ Error::Usage { .. }) if place.signer.is_none() => refused,
        Err(other) => return Err(other),
    };
    let (mut all, mut kept, mut other) = (Vec::new(), 0, None);
    for part in found.parts {
        let mut seen = None;
        let mut look = |bytes: Vec<u8>| {
            if seen.is_none() {
                match Manifest::parse(&bytes) {
                    Ok(manifest) => seen = Some(of(&manifest, Err(refused.to_string()), part.dirs.clone())),
                    Err(why @ (FormatError::Newer { .. } | FormatError::Version(_) | FormatError::Draft(_))) => {
                        other = Some(unreadable(format!("{} (NOT VERIFIED)", names::MANIFEST), &part.dirs)(why));
                    }
                    Err(_) => {}
                }
                kept += bytes.len() as u64;
            }
        };
        each_copy(&part.dirs, names::MANIFEST, manifest::LONGEST, &mut look)?;
        all.extend(seen);
        if kept > MOST_UNVERIFIED {
            return Err(Error::refused(
                "what is here says more of itself than can be shown, and nobody vouches for any of it",
                "give the directory of one part alone, or --signers FILE with the key of the sender",
            ));
        }
    }
    all.sort_by_key(|seen| seen.part);
    match (all.is_empty(), other) {
        (false, _) => Ok(all),
        (true, Some(why)) => Err(why),
        (true, None) => Err(Error::untrusted(
            "no manifest here can be read: the export was interrupted, or the drive is damaged",
            "bring another drive of the set",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::manifest::tests::sample;
    use crate::format::manifest::{Listed, set_dir_name};
    use crate::format::signature::SigningKey;
    use crate::media::disk::{Disk, Media, Operation};
    use crate::media::sets::FoundPart;
    use crate::progress::{Nobody, Silent};
    use crate::set::part::tests::{Exporter, drive, file, list};
    use crate::stages::seal::recipients::Recipients;
    use jiff::tz::TimeZone;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Arc, Mutex};

    /// The directories are named by whoever copied them.
    #[test]
    fn a_set_that_was_chosen_must_be_the_one_that_was_signed() {
        let (manifest, nameless) = (sample(1, 1, 1), Manifest { label: None, ..sample(1, 1, 1) });
        for wanted in [None, Some("llama"), Some("0011"), Some(&manifest.set[..])] {
            assert!(confirm(&manifest, wanted).is_ok(), "{wanted:?}");
        }
        for wanted in ["llam", "llama2", "1122", "eeff", "ffff"] {
            let refused = confirm(&manifest, Some(wanted)).unwrap_err();
            assert!(matches!(refused, Error::Drive { .. }), "{refused}");
        }
        assert!(confirm(&nameless, Some("0011")).is_ok());
        assert!(confirm(&nameless, Some("llama")).is_err());
    }

    /// A drive with the directory of a part that somebody has signed.
    fn usb(exporter: &Exporter, manifest: &Manifest) -> (tempfile::TempDir, PathBuf) {
        let usb = tempfile::tempdir().unwrap();
        let place = usb.path().join(set_dir_name(manifest.label.as_deref(), &manifest.set, manifest.part));
        std::fs::create_dir(&place).unwrap();
        exporter.put(manifest, &place);
        (usb, place)
    }

    /// Where to look, and a list that says whom to trust.
    fn place(signers: &std::path::Path, drives: &[&std::path::Path]) -> Where {
        let drives = drives.iter().map(|drive| drive.to_path_buf()).collect();
        Where { drives, signers: Some(signers.to_owned()), zone: Some(TimeZone::UTC), ..Where::default() }
    }

    /// Two parts that follow each other.
    fn two() -> [Manifest; 2] {
        let first = Manifest { last: false, ..sample(1, 1, 1) };
        let previous = Some(*blake3::hash(&first.encode()).as_bytes());
        [first.clone(), Manifest { part: 2, last: true, previous, ..first }]
    }

    #[test]
    fn a_set_is_opened_with_its_parts_in_order_if_it_is_the_one_that_was_chosen() {
        let alice = Exporter::named("alice");
        let [first, second] = two();
        let ((a, _), (b, _)) = (usb(&alice, &first), usb(&alice, &second));
        let signers = file(list(&[&alice]).as_bytes());
        let place = place(signers.path(), &[a.path(), b.path()]);
        let mut found = place.find().unwrap();
        found.parts.reverse();
        let opened = open_found(&place, found.clone(), &Silent::default()).unwrap();
        assert_eq!(opened.parts.iter().map(|part| part.manifest.part).collect::<Vec<_>>(), [1, 2]);
        let other = Where { set: Some("another".into()), ..place };
        assert!(matches!(open_found(&other, found, &Silent::default()), Err(Error::Drive { .. })));
    }

    /// It is one part with several drives, if one key vouches for all of them (rule 20).
    #[test]
    fn directories_with_one_manifest_are_one_part_whatever_their_names() {
        let (alice, bob) = (Exporter::named("alice"), Exporter::named("bob"));
        let manifest = sample(1, 1, 1);
        let (a, _) = usb(&alice, &manifest);
        let signers = file(list(&[&alice, &bob]).as_bytes());
        let place = place(signers.path(), &[a.path()]);
        let with = |exporter: &Exporter| {
            let (temp, dir) = drive();
            exporter.put(&manifest, temp.path());
            let mut found = place.find().unwrap();
            found.parts.push(FoundPart { name: "renamed.ckvault".into(), dirs: vec![dir], said: None });
            (temp, open_found(&place, found, &Silent::default()))
        };
        let (renamed, opened) = with(&alice);
        let opened = opened.unwrap();
        assert_eq!((opened.parts.len(), opened.parts[0].dirs.len()), (1, 2));
        assert_eq!(opened.parts[0].dirs[1].path(), renamed.path());
        assert!(matches!(with(&bob).1, Err(Error::Untrusted { .. })));
    }

    /// What `peek` sees: the number of each part, and whether it is trusted.
    fn seen(place: &Where) -> Result<Vec<(u32, bool)>> {
        let all = peek(place, |manifest, dirs| (manifest.part, dirs.len()), &Silent::default())?;
        all.iter().for_each(|seen| assert_eq!(seen.said, (seen.part, seen.dirs.len())));
        Ok(all.into_iter().map(|seen| (seen.part, seen.signer.is_ok())).collect())
    }

    #[test]
    fn what_nobody_trusts_is_seen_and_said_to_be_so() {
        let (alice, bob) = (Exporter::named("alice"), Exporter::named("bob"));
        // By their names, p10 comes before p2.
        let part = |part| Manifest { part, previous: Some([1; 32]), ..sample(1, 1, 1) };
        let ((a, _), (b, _)) = (usb(&alice, &part(2)), usb(&alice, &part(10)));
        let (trusts, strangers) = (file(list(&[&alice]).as_bytes()), file(list(&[&bob]).as_bytes()));
        let drives = [a.path(), b.path()];
        assert_eq!(seen(&place(strangers.path(), &drives)).unwrap(), [(2, false), (10, false)]);
        assert_eq!(seen(&place(trusts.path(), &drives[..1])).unwrap(), [(2, true)]);
        assert_eq!(seen(&place(std::path::Path::new("/none"), &drives[..1])).unwrap(), [(2, false)]);
    }

    /// A list that others may write says nothing; but who was asked for by name must be found out.
    #[test]
    fn a_list_that_may_not_be_believed_hides_no_set_unless_a_signer_was_asked_for() {
        let alice = Exporter::named("alice");
        let (a, _) = usb(&alice, &sample(1, 1, 1));
        let signers = file(list(&[&alice]).as_bytes());
        std::fs::set_permissions(signers.path(), std::fs::Permissions::from_mode(0o666)).unwrap();
        let place = place(signers.path(), &[a.path()]);
        assert_eq!(seen(&place).unwrap(), [(1, false)]);
        assert!(matches!(seen(&Where { signer: Some("alice".into()), ..place }), Err(Error::Usage { .. })));
    }

    #[test]
    fn where_no_manifest_can_be_read_the_reason_is_told() {
        let alice = Exporter::named("alice");
        let (a, dir) = usb(&alice, &sample(1, 1, 1));
        let signers = file(list(&[&alice]).as_bytes());
        let place = place(signers.path(), &[a.path()]);
        let told = |manifest: &[u8]| {
            std::fs::write(dir.join(names::MANIFEST), manifest).unwrap();
            seen(&place).unwrap_err().to_string()
        };
        assert!(told(b"{").contains("no manifest here can be read"));
        let later = Manifest { format: "99".into(), ..sample(1, 1, 1) }.encode();
        assert!(told(&later).contains("(NOT VERIFIED)"), "{}", told(&later));
        // A set as old as that is read by its own script.
        let draft = Manifest { format: "draft-99".into(), ..sample(1, 1, 1) }.encode();
        assert!(told(&draft).contains("(NOT VERIFIED)"));
        let script = dir.join(names::RECOVER_PY);
        let names_it = || seen(&place).unwrap_err().hint().contains(&*script.to_string_lossy());
        assert!(!names_it(), "there is none here");
        std::fs::write(&script, "").unwrap();
        assert!(names_it());
    }

    #[test]
    fn what_is_asked_of_signers_and_cannot_be_answered_shows_no_set() {
        let alice = Exporter::named("alice");
        let (a, _) = usb(&alice, &sample(1, 1, 1));
        let signers = file(list(&[&alice]).as_bytes());
        let place = Where { revoked: Some("/none".into()), ..place(signers.path(), &[a.path()]) };
        assert!(matches!(seen(&place), Err(Error::Io { .. })));
    }

    /// Of several that nobody vouches for the first is shown; and not without end.
    #[test]
    fn one_manifest_of_a_part_is_shown_and_few_are_read() {
        let alice = Exporter::named("alice");
        let part = |part| Manifest { part, previous: Some([1; 32]), ..sample(1, 1, 1) };
        let (a, dir) = usb(&alice, &part(2));
        let place = place(std::path::Path::new("/none"), &[a.path()]);
        let copy = dir.join(names::COPY);
        std::fs::create_dir(&copy).unwrap();
        alice.put(&part(3), &copy);
        assert_eq!(seen(&place).unwrap(), [(2, false)]);
        let long = |path: PathBuf, mib: u64| std::fs::File::create(path).unwrap().set_len(mib << 20).unwrap();
        long(dir.join(names::MANIFEST), 33);
        assert_eq!(seen(&place).unwrap(), [(3, false)]);
        long(copy.join(names::MANIFEST), 31);
        assert!(matches!(seen(&place), Err(Error::Untrusted { .. })));
        long(copy.join(names::MANIFEST), 32);
        assert!(matches!(seen(&place), Err(Error::Refused { .. })));
    }

    /// Notes in which order the key slot is opened and the fence asked for.
    #[derive(Clone, Default)]
    struct Noting(Arc<Mutex<Vec<&'static str>>>);

    impl Media for Noting {
        fn allow(&self, operation: Operation, path: &std::path::Path) -> std::io::Result<()> {
            if operation == Operation::Open && path.ends_with(names::KEYS) {
                self.0.lock().unwrap().push("slot");
            }
            Ok(())
        }
        fn confine(&self, _: &Needs) {
            self.0.lock().unwrap().push("fence");
        }
    }

    /// What lies on drives is looked at behind the fence, but for what may take a person or a program, who are asked before it.
    #[test]
    fn the_fence_is_raised_before_the_slot_is_opened_unless_that_may_take_help() {
        let (alice, key, me) = (Exporter::named("alice"), SetIdentity::generate(), SetIdentity::generate());
        let to = [me.recipient().text().to_string()];
        let to = Recipients::parse_all(&to, &[], Nobody, &Silent::default()).unwrap();
        let slot = key.slot(&to).unwrap();
        let mut manifest = sample(1, 1, 1);
        manifest.recipient_blake3 = key.recipient().blake3();
        manifest.files.insert(names::KEYS.to_owned(), Listed::of(&slot));
        let (a, dir) = usb(&alice, &manifest);
        std::fs::write(dir.join(names::KEYS), slot).unwrap();
        let signers = file(list(&[&alice]).as_bytes());
        let locked = SigningKey::generate("").unwrap().encrypt("a passphrase").unwrap();
        let (mine, locked) = (file(me.file().as_bytes()), file(locked.to_openssh().unwrap().as_bytes()));
        let order = |identities: &[&tempfile::NamedTempFile]| {
            let noting = Noting::default();
            let place = Where { disk: Disk::new(noting.clone()), ..place(signers.path(), &[a.path()]) };
            let files: Vec<PathBuf> = identities.iter().map(|file| file.path().to_owned()).collect();
            let needs = Needs::default();
            assert!(unlock(&place, &files, Nobody, &needs, &Silent::default()).is_ok());
            noting.0.lock().unwrap().clone()
        };
        assert_eq!(order(&[&mine]), ["fence", "slot"]);
        assert_eq!(order(&[&mine, &locked]), ["slot", "fence"]);
    }
}
