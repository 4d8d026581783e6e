//! One part of a set that is here: its directories, its files, and which drives they are the copies of.

use crate::format::hashes::Value;
use crate::format::manifest::{self, Manifest};
use crate::media::dir::{Dir, Identity, Location};
use crate::media::disk::Disk;
use crate::set::failing_drives::Failing;
use crate::set::in_place::instead_of_file;
use crate::set::trust::{Signer, Trust};
use crate::set::trusted_manifest::Signed;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

/// What doubtful bytes turned out to be, and where they are.
pub type Answers = Vec<(usize, u8)>;

/// One volume of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct At {
    /// The group.
    pub group: usize,
    /// The index in the group.
    pub index: usize,
}

/// A part of a set, whose manifest is signed by somebody trusted.
#[derive(Debug)]
pub struct Part {
    /// What its drives are read through.
    pub disk: Disk,
    /// The manifest.
    pub manifest: Manifest,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The signature over them that is trusted.
    pub armour: Vec<u8>,
    /// Who signed it.
    pub signer: Signer,
    /// The directories that are here.
    pub dirs: Vec<Dir>,
    /// Those that were let go, to be found again.
    let_go: Vec<(PathBuf, Identity)>,
    /// Who was asked.
    pub trust: Trust,
    /// See [`Part::holdings`].
    pub(crate) holdings: OnceLock<Vec<BTreeSet<u16>>>,
    /// The hash of the `B3SUMS` of each drive, once they were needed.
    pub(crate) sums: OnceLock<Vec<Value>>,
    /// What its drives could not read.
    pub(crate) failing: Failing,
    /// The key slot as another part of the set has it, if that was needed.
    pub(crate) slot: OnceLock<Vec<u8>>,
    /// See [`Part::has_rewritten_slot`].
    pub(crate) rewritten: OnceLock<bool>,
    /// What doubtful bytes of its metadata turned out to be, by file and piece: guesses are made once, and a piece is proven again.
    pub(crate) guessed: Mutex<BTreeMap<(String, u64), Answers>>,
}

impl Part {
    /// With a manifest that is trusted, and the directories that hold it.
    pub fn new(disk: &Disk, manifest: Manifest, signed: Signed, dirs: Vec<Dir>, trust: &Trust) -> Part {
        let Signed { bytes, armour, signer } = signed;
        Part {
            disk: disk.clone(),
            manifest,
            bytes,
            armour,
            signer,
            dirs,
            let_go: Vec::new(),
            trust: trust.clone(),
            holdings: OnceLock::new(),
            sums: OnceLock::new(),
            failing: Failing::default(),
            slot: OnceLock::new(),
            rewritten: OnceLock::new(),
            guessed: Mutex::default(),
        }
    }

    /// None of its drives is here any more.
    pub fn leave(&mut self) {
        self.dirs.clear();
        self.let_go.clear();
        self.holdings = OnceLock::new();
    }

    /// Holds no directory any more, so that its drives can be unmounted.
    pub fn let_go(&mut self) {
        let known = |dir: Dir| Some((dir.path().to_owned(), dir.identity().ok()?));
        self.let_go = std::mem::take(&mut self.dirs).into_iter().filter_map(known).collect();
        self.holdings = OnceLock::new();
    }

    /// Holds again those directories that are still the same.
    pub fn take_back(&mut self, disk: &Disk) {
        let same = |(path, known): (PathBuf, Identity)| {
            let dir = Dir::given(disk, &path).ok()?;
            (dir.identity().ok()? == known).then_some(dir)
        };
        self.dirs = std::mem::take(&mut self.let_go).into_iter().filter_map(same).collect();
    }

    /// Whether a signature is one over this manifest by whom it is from. That of another is none of this set (rule 20).
    pub fn is_vouched_for_by(&self, armour: &[u8]) -> bool {
        self.trust.judge(armour, &self.bytes).is_ok_and(|signer| signer.key == self.signer.key)
    }

    /// The files that have the name of a volume. There should be one; but a drive may hold anything, and must not hide what
    /// is good on another.
    pub fn volume_files(&self, group: usize, index: usize) -> Vec<Location> {
        let name =
            self.manifest.groups.get(group).map(|g| manifest::volume_name(group, index, g.k)).unwrap_or_default();
        // A directory or a link in its place is no volume.
        let there = |at: &Location| !self.is_gone(&at.dir) && at.dir.has_file(&at.name);
        self.dirs.iter().map(|d| d.at(&name)).filter(there).collect()
    }

    /// Where something else has the place of a file, and what.
    pub fn occupied(&self) -> Vec<(Location, String)> {
        let volumes = self.manifest.volumes().map(|(_, _, name, _)| name);
        let metadata = self.manifest.metadata().flat_map(|name| self.manifest.places(name));
        let all: Vec<String> = metadata.chain(volumes).collect();
        let places =
            self.dirs.iter().filter(|dir| !self.is_gone(dir)).flat_map(|dir| all.iter().map(|name| dir.at(name)));
        places.filter_map(|at| instead_of_file(&at.dir, &at.name).map(|what| (at, what))).collect()
    }
}

/// How drives are named to people: `drive 2`, `drives 1, 3`.
pub fn name_drives(drives: &[u32]) -> String {
    let list = drives.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    format!("drive{} {list}", if drives.len() == 1 { "" } else { "s" })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::format::manifest::tests::sample;
    use crate::format::names;
    use crate::format::signature::{SigningKey, fingerprint, public_line};
    use crate::format::signers::Signers;
    use crate::set::trust::Conditions;
    use jiff::tz::TimeZone;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// Somebody who packs sets.
    pub(crate) struct Exporter {
        name: &'static str,
        key: SigningKey,
    }

    impl Exporter {
        /// With a key of their own.
        pub(crate) fn named(name: &'static str) -> Exporter {
            Exporter { name, key: SigningKey::generate("").unwrap() }
        }

        pub(crate) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
            self.key.sign(bytes).unwrap()
        }

        pub(crate) fn signer(&self) -> Signer {
            let key = self.key.public();
            Signer { name: self.name.to_owned(), key: public_line(&key), fingerprint: fingerprint(&key) }
        }

        /// Puts a manifest and its signature into a directory, as they lie on a drive.
        pub(crate) fn put(&self, manifest: &Manifest, dir: &Path) {
            let bytes = manifest.encode();
            std::fs::write(dir.join(names::SIGNATURE), self.sign(&bytes)).unwrap();
            std::fs::write(dir.join(names::MANIFEST), bytes).unwrap();
        }

        /// A part with this manifest, in these directories, as who trusts nobody else sees it.
        pub(crate) fn part(&self, manifest: &Manifest, dirs: Vec<Dir>) -> Part {
            let bytes = manifest.encode();
            let signed = Signed { armour: self.sign(&bytes), signer: self.signer(), bytes };
            Part::new(&Disk::default(), manifest.clone(), signed, dirs, &trust(&[self]))
        }
    }

    /// A list that trusts each of these.
    pub(crate) fn list(exporters: &[&Exporter]) -> String {
        exporters.iter().map(|one| format!("{} {}\n", one.name, one.signer().key)).collect()
    }

    /// Trust in each of these.
    pub(crate) fn trust(exporters: &[&Exporter]) -> Trust {
        let signers = Signers::parse(list(exporters).as_bytes(), &TimeZone::UTC);
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        Trust::new(Path::new("who.txt"), signers, Conditions::default(), now).unwrap()
    }

    /// A file that only its owner writes.
    pub(crate) fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    /// An empty directory, as a drive has one.
    pub(crate) fn drive() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::given(&Disk::default(), temp.path()).unwrap();
        (temp, dir)
    }

    /// Rule 20: a signature beside the manifest may be somebody else's, or over something else.
    #[test]
    fn only_who_signed_a_part_vouches_for_it() {
        let (alice, bob) = (Exporter::named("alice"), Exporter::named("bob"));
        let manifest = sample(1, 1, 1);
        let part = Part { trust: trust(&[&alice, &bob]), ..alice.part(&manifest, vec![]) };
        assert!(part.is_vouched_for_by(&alice.sign(&part.bytes)));
        assert!(!part.is_vouched_for_by(&bob.sign(&part.bytes)), "trusted, but not who packed it");
        assert!(!part.is_vouched_for_by(&alice.sign(b"something else")));
        assert!(!part.is_vouched_for_by(b"no signature"));
    }

    #[test]
    fn what_has_the_name_of_a_volume_counts_if_it_is_a_file_on_a_drive_that_answers() {
        let [(a, one), (b, two), (c, link), (d, gone)] = [(); 4].map(|()| drive());
        let name = manifest::volume_name(0, 1, 1);
        std::fs::write(a.path().join(&name), "any").unwrap();
        std::fs::create_dir(b.path().join(&name)).unwrap();
        symlink(a.path().join(&name), c.path().join(&name)).unwrap();
        std::fs::write(d.path().join(&name), "any").unwrap();
        let part = Exporter::named("alice").part(&sample(1, 1, 1), vec![one, two, link, gone.clone()]);
        part.failing.note_gone(&gone);
        let paths = |group, index| part.volume_files(group, index).iter().map(Location::path).collect::<Vec<_>>();
        assert_eq!(paths(0, 1), [a.path().join(&name)]);
        assert!(paths(0, 0).is_empty() && paths(1, 0).is_empty());
    }

    /// Between letting go and taking back a person may have exchanged what lies there.
    #[test]
    fn drives_that_were_let_go_are_taken_back_if_they_are_the_same() {
        let (kept, one) = drive();
        let other = tempfile::tempdir().unwrap();
        let place = other.path().join("usb");
        std::fs::create_dir(&place).unwrap();
        let mut part =
            Exporter::named("alice").part(&sample(1, 1, 1), vec![one, Dir::given(&Disk::default(), &place).unwrap()]);
        part.holdings();
        part.let_go();
        assert!(part.dirs.is_empty() && part.holdings().is_empty(), "nothing is held, and nothing is said to be");
        std::fs::rename(&place, other.path().join("was")).unwrap();
        std::fs::create_dir(&place).unwrap();
        part.take_back(&Disk::default());
        assert_eq!(part.dirs.iter().map(Dir::path).collect::<Vec<_>>(), [kept.path()]);
    }

    #[test]
    fn drives_that_left_are_not_taken_back() {
        let (kept, one) = drive();
        std::fs::write(kept.path().join(names::B3SUMS), sample(1, 1, 1).b3sums(2)).unwrap();
        let mut part = Exporter::named("alice").part(&sample(1, 1, 1), vec![one.clone()]);
        assert_eq!(part.present().into_iter().collect::<Vec<_>>(), [2]);
        part.let_go();
        part.leave();
        part.take_back(&Disk::default());
        assert!(part.dirs.is_empty() && part.present().is_empty());
        let mut part = Exporter::named("alice").part(&sample(1, 1, 1), vec![one]);
        assert_eq!(part.holdings().len(), 1);
        part.leave();
        assert!(part.holdings().is_empty());
    }

    #[test]
    fn drives_are_named_in_words() {
        assert_eq!(name_drives(&[2]), "drive 2");
        assert_eq!(name_drives(&[1, 3]), "drives 1, 3");
    }
}
