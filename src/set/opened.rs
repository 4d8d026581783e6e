//! A set that was opened: its parts that are here, and what they say together.

use crate::error::{Error, Result};
use crate::format::manifest::{Manifest, set_dir_name};
use crate::format::names;
use crate::media::dir::Dir;
use crate::media::disk::Disk;
use crate::media::lock::is_being_written;
use crate::set::part::Part;
use crate::set::trust::Signer;
use crate::set::trusted_manifest::same_signer;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A set of which each part that is here has a manifest that is signed by somebody trusted.
#[derive(Debug)]
pub struct Set {
    /// Its parts that are here, in order; at least one.
    pub parts: Vec<Part>,
    /// Links on the drives that are named like directories of it.
    pub links: Vec<PathBuf>,
}

impl Set {
    /// What all parts say alike stands in the manifest of the first that is here.
    pub fn manifest(&self) -> &Manifest {
        &self.parts[0].manifest
    }

    /// Who signed all parts.
    pub fn signer(&self) -> &Signer {
        &self.parts[0].signer
    }

    /// Whether these are parts of the same set.
    pub fn fits(&self, here: &Set) -> Result<()> {
        for known in &self.parts {
            for part in here.parts.iter().filter(|part| part.bytes == known.bytes) {
                let m = &part.manifest;
                same_signer(&set_dir_name(m.label.as_deref(), &m.set, m.part), &known.signer, &part.signer)?;
            }
        }
        let now = |known: &Part| here.parts.iter().any(|p| p.bytes == known.bytes);
        let mut all: Vec<&Part> = self.parts.iter().filter(|p| !now(p)).chain(&here.parts).collect();
        all.sort_by_key(|p| p.manifest.part);
        all.windows(2).try_for_each(|pair| belong_together(pair[0], pair[1]))
    }

    /// Takes in what is here now: parts that were known stay known, with the drives that are here now.
    pub fn arrive(&mut self, here: Set) -> Result<()> {
        self.fits(&here)?;
        let now = |known: &Part| here.parts.iter().any(|p| p.bytes == known.bytes);
        self.parts.retain(|known| !now(known));
        self.parts.iter_mut().for_each(Part::leave);
        self.links = here.links;
        self.parts.extend(here.parts);
        self.parts.sort_by_key(|p| p.manifest.part);
        Ok(())
    }

    /// Whether every part is here, if only with some of its drives.
    pub fn has_all_parts(&self) -> bool {
        let last = &self.parts[self.parts.len() - 1].manifest;
        last.last && last.part as usize == self.parts.len()
    }

    /// The numbers of the drives that are here.
    pub fn present(&self) -> Vec<u32> {
        let of = |p: &Part| p.present().into_iter().map(|d| p.manifest.drive_number(d)).collect::<Vec<_>>();
        self.parts.iter().flat_map(of).collect()
    }

    /// The numbers of the drives that are known to exist and are not here: those of parts that are here, and of parts before
    /// one of these. Of parts after the last one here, at least the first drive, if there are any.
    pub fn absent(&self) -> Vec<u32> {
        let drives = u32::from(self.manifest().drives);
        let last = &self.parts[self.parts.len() - 1].manifest;
        let after = u32::from(!last.last);
        let present = self.present();
        (1..=last.part * drives + after).filter(|d| !present.contains(d)).collect()
    }

    /// All parts have the same key slot: one that has no good copy of it any more takes that of another; and one that was written
    /// anew is that of all.
    pub fn share_slot(&self) {
        if self.parts.len() == 1 {
            return;
        }
        let rewritten = self.parts.iter().any(Part::finds_rewritten_slot);
        self.parts.iter().for_each(|part| _ = part.rewritten.set(rewritten));
        if let Some(slot) = self.parts.iter().find_map(|part| part.proven(names::KEYS)) {
            self.parts.iter().for_each(|part| drop(part.slot.set(slot.clone())));
        }
    }

    /// Holds no drive any more, so that all can be unmounted.
    pub fn let_go(&mut self) {
        self.parts.iter_mut().for_each(Part::let_go);
    }

    /// Makes durable what was written to its drives, and holds none of them any more. Whether that went well.
    pub fn release(self) -> bool {
        let dirs = self.parts.into_iter().flat_map(|part| part.dirs);
        dirs.map(Dir::release).filter(|released| !released).count() == 0
    }

    /// Holds again those drives that are still here.
    pub fn take_back(&mut self, disk: &Disk) {
        self.parts.iter_mut().for_each(|part| part.take_back(disk));
    }

    /// A directory of the set that another process writes to right now.
    pub fn being_written(&self) -> Option<&Dir> {
        self.parts.iter().flat_map(|p| &p.dirs).find(|dir| is_being_written(dir))
    }

    /// Blocks that drives could not read, by the number of the drive.
    pub fn read_errors(&self) -> BTreeMap<u32, u64> {
        self.parts.iter().flat_map(Part::read_errors).collect()
    }

    /// The numbers of all drives that are known of.
    pub fn drive_numbers(&self) -> impl Iterator<Item = u32> + use<> {
        let manifest = &self.parts[self.parts.len() - 1].manifest;
        1..=manifest.part * u32::from(manifest.drives)
    }
}

/// Parts that follow each other name each other; of others one can only say that they are of one set.
pub fn belong_together(one: &Part, next: &Part) -> Result<()> {
    let own = blake3::hash(&one.bytes);
    let (a, b) = (&one.manifest, &next.manifest);
    let adjacent = a.part + 1 == b.part;
    let fits = match adjacent {
        true => a.is_followed_by(own.as_bytes(), b),
        false => a.part < b.part && !a.last && a.shares_set_with(b),
    };
    match fits && one.signer.key == next.signer.key {
        true => Ok(()),
        false => Err(Error::untrusted(
            format!("part {} and part {} of {} do not belong together", a.part, b.part, a.set),
            "these drives are of different exports: bring those of one, or ask the sender which is right",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::manifest::Listed;
    use crate::format::manifest::tests::sample;
    use crate::set::part::tests::{Exporter, drive};

    /// The manifests of so many parts of one set, the last of them the last of it.
    fn chain(parts: u32) -> Vec<Manifest> {
        let mut all: Vec<Manifest> = Vec::new();
        for part in 1..=parts {
            let previous = all.last().map(|before| *blake3::hash(&before.encode()).as_bytes());
            all.push(Manifest { part, last: part == parts, previous, ..sample(1, 1, 1) });
        }
        all
    }

    fn set(parts: Vec<Part>) -> Set {
        Set { parts, links: Vec::new() }
    }

    fn numbers(set: &Set) -> Vec<u32> {
        set.parts.iter().map(|part| part.manifest.part).collect()
    }

    #[test]
    fn parts_of_one_export_belong_together_in_their_order() {
        let alice = Exporter::named("alice");
        let parts: Vec<Part> = chain(4).iter().map(|m| alice.part(m, vec![])).collect();
        for (i, one) in parts.iter().enumerate() {
            for (j, next) in parts.iter().enumerate() {
                assert_eq!(belong_together(one, next).is_ok(), i < j, "{} and {}", i + 1, j + 1);
            }
        }
    }

    /// Rule 20: whoever packed one part packed all of them, whoever else is trusted, and whether a part between them is missing.
    #[test]
    fn a_part_of_another_exporter_does_not_belong() {
        let (alice, bob) = (Exporter::named("alice"), Exporter::named("bob"));
        let all = chain(3);
        let first = alice.part(&all[0], vec![]);
        for next in &all[1..] {
            assert!(belong_together(&first, &alice.part(next, vec![])).is_ok());
            let refused = belong_together(&first, &bob.part(next, vec![])).unwrap_err();
            assert!(matches!(refused, Error::Untrusted { .. }), "{refused}");
        }
    }

    #[test]
    fn a_part_of_another_export_under_the_same_label_does_not_belong() {
        let alice = Exporter::named("alice");
        let all = chain(3);
        let refuses = |one: &Manifest, next: &Manifest| {
            assert!(belong_together(&alice.part(one, vec![]), &alice.part(next, vec![])).is_err(), "{one:?}\n{next:?}");
        };
        // Of neighbours the later names the manifest of the earlier.
        refuses(&all[0], &Manifest { previous: Some([1; 32]), ..all[1].clone() });
        refuses(&Manifest { tool: "another 1".into(), ..all[0].clone() }, &all[1]);
        // Of others, what all parts say alike is all that there is.
        let id = "ff112233445566778899aabbccddeeff".to_owned();
        refuses(&all[0], &Manifest { set: id, ..all[2].clone() });
        refuses(&all[0], &Manifest { created: "2026-11-23T06:00:01Z".into(), ..all[2].clone() });
        // After the last part there is none.
        let last = Manifest { last: true, ..all[0].clone() };
        refuses(&last, &all[2]);
        refuses(&last, &Manifest { previous: Some(*blake3::hash(&last.encode()).as_bytes()), ..all[1].clone() });
        // There is one part of each number.
        refuses(&all[1], &Manifest { tool: "another 1".into(), ..all[1].clone() });
    }

    #[test]
    fn parts_that_arrive_are_taken_in_and_those_that_were_known_stay_known() {
        let alice = Exporter::named("alice");
        let all = chain(3);
        let (_a, one) = drive();
        let (_b, two) = drive();
        let mut known = set(vec![alice.part(&all[1], vec![one.clone()])]);
        let link = PathBuf::from("/mnt/usb/llama.ckvault");
        known.arrive(Set { links: vec![link.clone()], ..set(vec![alice.part(&all[0], vec![two.clone()])]) }).unwrap();
        assert_eq!(numbers(&known), [1, 2]);
        assert_eq!((&known.parts[0].dirs[..], &known.parts[1].dirs[..]), (&[two.clone()][..], &[][..]));
        assert_eq!(known.links, [link]);
        // The same part on another drive.
        known
            .arrive(set(vec![alice.part(&all[1], vec![two.clone()]), alice.part(&all[2], vec![one.clone()])]))
            .unwrap();
        assert_eq!(numbers(&known), [1, 2, 3]);
        let dirs: Vec<&[Dir]> = known.parts.iter().map(|part| &part.dirs[..]).collect();
        assert_eq!(dirs, [&[][..], &[two], &[one]]);
        assert!(known.links.is_empty());
    }

    #[test]
    fn what_arrives_and_does_not_belong_changes_nothing() {
        let (alice, bob) = (Exporter::named("alice"), Exporter::named("bob"));
        let all = chain(3);
        let (_a, one) = drive();
        let mut known = set(vec![alice.part(&all[1], vec![one.clone()])]);
        let other = Manifest { tool: "another 1".into(), ..all[1].clone() };
        for here in [
            bob.part(&all[0], vec![]),
            alice.part(&Manifest { previous: Some([1; 32]), ..all[2].clone() }, vec![]),
            alice.part(&other, vec![]),
            // The same manifest, for which another key vouches here.
            bob.part(&all[1], vec![]),
        ] {
            let here = set(vec![here]);
            assert!(known.fits(&here).is_err());
            assert!(known.arrive(here).is_err());
            assert_eq!(
                known.parts.iter().map(|p| (p.manifest.part, &p.dirs[..])).collect::<Vec<_>>(),
                [(2, &[one.clone()][..])]
            );
        }
        // What came together belongs together too.
        let both =
            [alice.part(&all[0], vec![]), alice.part(&Manifest { previous: Some([1; 32]), ..all[1].clone() }, vec![])];
        assert!(set(vec![alice.part(&all[2], vec![])]).fits(&set(both.into())).is_err());
    }

    /// A directory with what says that it is the copy of a drive.
    fn copy_of(manifest: &Manifest, number: u16) -> (tempfile::TempDir, Dir) {
        let (temp, dir) = drive();
        std::fs::write(temp.path().join(names::B3SUMS), manifest.b3sums(number)).unwrap();
        (temp, dir)
    }

    #[test]
    fn drives_are_numbered_over_all_parts() {
        let alice = Exporter::named("alice");
        let all = chain(4);
        let ((_a, one), (_b, three)) = (copy_of(&all[0], 2), copy_of(&all[2], 1));
        let some = set(vec![alice.part(&all[0], vec![one.clone()]), alice.part(&all[2], vec![three])]);
        assert_eq!(some.present(), [2, 5]);
        assert_eq!(some.absent(), [1, 3, 4, 6, 7], "one drive at least is to come, if this is not the last part");
        assert_eq!(some.drive_numbers().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        let whole = set(vec![alice.part(&chain(1)[0], vec![one])]);
        assert_eq!((whole.present(), whole.absent()), (vec![2], vec![1]));
    }

    #[test]
    fn all_parts_are_here_if_none_is_missing_before_or_behind() {
        let alice = Exporter::named("alice");
        let all = chain(3);
        let has_all =
            |which: &[usize]| set(which.iter().map(|i| alice.part(&all[*i], vec![])).collect()).has_all_parts();
        assert!(has_all(&[0, 1, 2]));
        for some in [&[0, 1][..], &[1, 2], &[0, 2], &[2], &[0]] {
            assert!(!has_all(some), "{some:?}");
        }
    }

    /// A part whose manifest names this key slot, with these files on its drive.
    fn with_slot(manifest: &Manifest, slot: &[u8], files: &[(&str, &[u8])]) -> (tempfile::TempDir, Part) {
        let (temp, dir) = drive();
        files.iter().for_each(|(name, bytes)| std::fs::write(temp.path().join(name), bytes).unwrap());
        let mut manifest = manifest.clone();
        manifest.files.insert(names::KEYS.to_owned(), Listed::of(slot));
        (temp, Exporter::named("alice").part(&manifest, vec![dir]))
    }

    #[test]
    fn a_part_without_a_good_key_slot_takes_that_of_another() {
        let all = chain(2);
        let ((_a, one), (_b, two)) =
            (with_slot(&all[0], b"slot", &[]), with_slot(&all[1], b"slot", &[(names::KEYS, b"slot")]));
        let set = set(vec![one, two]);
        assert_eq!(set.parts[0].proven(names::KEYS), None);
        set.share_slot();
        assert_eq!(set.parts[0].proven(names::KEYS).as_deref(), Some(&b"slot"[..]));
    }

    /// The shortest that looks like an age file.
    const OTHER_SLOT: &[u8] = b"age-encryption.org/v1\n-> X25519 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n--- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nAAAAAAAAAAAAAAAA";

    /// Rule 81.
    #[test]
    fn a_slot_that_was_written_anew_in_one_part_is_that_of_all() {
        let all = chain(2);
        let anew = [(names::KEYS, OTHER_SLOT), (names::KEYS_SIGNATURE, b"of whomever")];
        let sets = |one: &[(&str, &[u8])], two: &[(&str, &[u8])]| {
            let ((a, one), (b, two)) = (with_slot(&all[0], b"slot", one), with_slot(&all[1], b"slot", two));
            ([a, b], set(vec![one, two]))
        };
        let says = |(_temps, set): ([tempfile::TempDir; 2], Set)| {
            set.share_slot();
            let [one, two] = [0, 1].map(|part: usize| set.parts[part].has_rewritten_slot());
            assert_eq!(one, two);
            one
        };
        assert!(says(sets(&anew, &[])));
        assert!(says(sets(&[], &anew)));
        assert!(says(sets(&anew, &[(names::KEYS, b"slot")])), "on some drives it is still the signed one");
        assert!(!says(sets(&[(names::KEYS, OTHER_SLOT)], &[])), "nobody signed it anew");
        assert!(!says(sets(&[(names::KEYS, b"slot2"), anew[1]], &[])), "it is no key slot");
        // A part alone finds out for itself.
        let (_a, alone) = with_slot(&all[0], b"slot", &anew);
        let alone = set(vec![alone]);
        alone.share_slot();
        assert!(alone.parts[0].has_rewritten_slot());
    }

    #[test]
    fn a_set_that_lets_go_holds_nothing_until_it_is_taken_back() {
        let (temp, dir) = drive();
        let mut set = set(vec![Exporter::named("alice").part(&sample(1, 1, 1), vec![dir])]);
        set.let_go();
        assert!(set.parts[0].dirs.is_empty());
        set.take_back(&Disk::default());
        assert_eq!(set.parts[0].dirs[0].path(), temp.path());
        assert!(set.being_written().is_none());
    }

    #[test]
    fn drives_that_took_everything_are_released() {
        let ((_a, one), (_b, two)) = (drive(), drive());
        assert!(set(vec![Exporter::named("alice").part(&sample(1, 1, 1), vec![one, two])]).release());
    }
}
