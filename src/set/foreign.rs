//! Volumes of another set, or of another part, among those of a set.

use crate::error::Error;
use crate::format::hashes::{BlockSize, PAGE};
use crate::format::header::Header;
use crate::format::hex;
use crate::format::manifest::volume_name;
use crate::set::blocks::Blocks;
use crate::set::part::{At, Part};
use crate::set::reading::Source;

/// Rule 57: so many blocks of a volume, spread over it, are compared before it is said to be another's.
const MOST_COMPARED: u64 = 64;

/// What the header page of a file says, if it is one.
pub fn header_of(set: &Part, source: &Source) -> Option<Header> {
    let read = |page: &mut [u8]| set.read_blocks(source, page, 0, &|_| true).iter().all(|read| *read);
    let mut page = vec![0; BlockSize::SMALLEST.size()];
    let length = if read(&mut page) { Header::length(&page)? } else { return None };
    page.resize(length, 0);
    let read = read(&mut page);
    Header::parse(&page).ok().filter(|_| read)
}

/// Whether a page is one of those that the volumes of this part have.
pub fn is_of_set(set: &Part, header: &Header) -> bool {
    set.manifest.header(header.group as usize, header.index.into()) == *header
}

/// Rule 57: which other set or part the file of a volume is of. Its page must fit its own hash, for a bit that was flipped in ours
/// would name another set too; and nothing behind it may be ours.
pub fn foreign(blocks: &Blocks, at: At, source: &Source) -> Option<String> {
    let manifest = &blocks.set.manifest;
    let header = header_of(blocks.set, source)?;
    let name = volume_name(at.group, at.index, manifest.groups[at.group].k);
    if volume_name(header.group as usize, header.index.into(), header.k) != name {
        return None;
    }
    let other = match header.set == manifest.id() {
        false => format!("another set ({}…)", &hex(&header.set)[..8]),
        true if header.part != manifest.part => format!("part {} of the set", header.part),
        true => return None,
    };
    let ours = blocks.compare(at, source).any(|fits| fits);
    (!ours).then_some(other)
}

impl Blocks<'_> {
    /// Reads blocks of a file of a volume, up to `MOST_COMPARED` of those behind the header page and spread evenly; for each of
    /// which it is known what it must be, whether it is that.
    pub fn compare<'s>(&'s self, at: At, source: &'s Source) -> impl Iterator<Item = bool> + 's {
        let behind = self.count(at) - 1;
        let compared = behind.min(MOST_COMPARED);
        (0..compared).map(move |i| 1 + i * behind / compared).filter_map(move |number| {
            let value = *self.page_at_hand(at, number as usize / PAGE)?.get(number as usize % PAGE)?;
            let (from, to) = self.bytes_of(at, &(number..number + 1));
            let mut block = vec![0; (to - from) as usize];
            let read = self.set.read_blocks(source, &mut block, number, &|_| true) == [true];
            read.then(|| self.block.value(number, &block, self.volume(at).bytes) == value)
        })
    }

    /// What cannot be restored because volumes of another set lie under this manifest is not lost, and nothing that could be
    /// brought makes it whole: somebody has mixed two sets, or passes one off as the other.
    pub fn or_foreign(&self, error: Error) -> Error {
        match error {
            Error::Lost { .. } | Error::Drive { .. } => self.foreign_volumes().unwrap_or(error),
            other => other,
        }
    }

    /// The refusal of volumes that are of another set, or of another part, if there are any here.
    pub fn foreign_volumes(&self) -> Option<Error> {
        // Looked for once: each of a million rows that cannot be had may ask.
        let (name, other) = self.foreign.get_or_init(|| self.find_foreign()).as_ref()?;
        let set = &self.set.manifest.set;
        Some(Error::untrusted(
            format!("{name} belongs to {other}, not to the set that the signed manifest names ({set})"),
            "sets are mixed here, or one is passed off as another: bring the drives as they were exported, or ask the sender",
        ))
    }

    fn find_foreign(&self) -> Option<(String, String)> {
        self.set.manifest.volumes().find_map(|(group, index, name, _)| {
            let at = At { group, index };
            let mut sources =
                self.set.volume_files(group, index).into_iter().filter_map(|file| self.set.source(&file, self.block));
            Some((name, sources.find_map(|source| foreign(self, at, &source))?))
        })
    }
}

impl Part {
    /// See [`Blocks::foreign_volumes`].
    pub fn foreign_volumes(&self) -> Option<Error> {
        Blocks::new(self).ok()?.foreign_volumes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::hashes::Value;
    use crate::format::manifest::tests::sample;
    use crate::format::manifest::{Listed, Manifest};
    use crate::format::names;
    use crate::set::part::tests::{Exporter, drive};
    use std::path::Path;

    const BLOCK: BlockSize = BlockSize::SMALLEST;
    const AT: At = At { group: 0, index: 0 };

    /// What lies in block `number` of a volume, by a seed; the header page is its first.
    fn volume(header: &Header, blocks: u64, seed: u8) -> Vec<u8> {
        let block = |number: u64| vec![seed ^ number as u8; BLOCK.size()];
        [header.encode()].into_iter().chain((1..blocks).map(block)).flatten().collect()
    }

    /// A manifest of volumes of so many blocks, made from a seed, and the `hashes.b3` that fits.
    fn manifest(blocks: u64, seed: u8) -> (Manifest, Vec<u8>) {
        let mut manifest = sample(1, 1, 1);
        let (mut hashes, len) = (Vec::new(), blocks * BLOCK.bytes());
        for index in 0..2 {
            let bytes = volume(&manifest.header(0, index), blocks, seed);
            let values: Vec<Value> =
                (0..).zip(bytes.chunks(BLOCK.size())).map(|(i, b)| BLOCK.value(i, b, len)).collect();
            let volume = &mut manifest.groups[0].volumes[index];
            (volume.bytes, volume.blake3) = (len, BLOCK.spans_and_root(&values, len).1);
            hashes.extend(values.concat());
        }
        manifest.files.insert(names::HASHES.to_owned(), Listed::of(&hashes));
        (manifest, hashes)
    }

    /// A part of which the first volume is this file, with `hashes.b3` if it is here.
    fn part(manifest: &Manifest, file: &[u8], hashes: Option<&[u8]>) -> (tempfile::TempDir, Part) {
        let (temp, dir) = drive();
        let put = |name: &str, bytes: &[u8]| std::fs::write(Path::join(temp.path(), name), bytes).unwrap();
        put(&volume_name(0, 0, 1), file);
        hashes.into_iter().for_each(|hashes| put(names::HASHES, hashes));
        (temp, Exporter::named("alice").part(manifest, vec![dir]))
    }

    fn source(part: &Part) -> Source {
        part.source(&part.volume_files(0, 0)[0], BLOCK).unwrap()
    }

    /// What is said of a file in the place of the first volume of a part.
    fn said(file: &[u8]) -> Option<String> {
        let (manifest, hashes) = manifest(5, 1);
        let (_temp, part) = part(&manifest, file, Some(&hashes));
        foreign(&Blocks::new(&part).unwrap(), AT, &source(&part))
    }

    #[test]
    fn a_volume_of_another_set_or_part_is_told_by_its_header() {
        let ours = manifest(5, 1).0.header(0, 0);
        let other_set = Header { set: [0xab; 16], ..ours.clone() };
        let other_part = Header { part: 7, ..ours.clone() };
        assert_eq!(said(&volume(&other_set, 5, 2)).as_deref(), Some("another set (abababab…)"));
        assert_eq!(said(&volume(&other_part, 5, 2)).as_deref(), Some("part 7 of the set"));
        assert_eq!(said(&volume(&ours, 5, 2)), None, "damaged from end to end, but ours");
        assert_eq!(said(&volume(&ours, 5, 1)), None);
        // The page of another volume of that set says that files were mixed up, not sets.
        assert_eq!(said(&volume(&Header { index: 1, ..other_set.clone() }, 5, 2)), None);
        assert_eq!(said(&volume(&Header { group: 1, ..other_set.clone() }, 5, 2)), None);
        // What is no page, or was flipped in one, names nothing.
        assert_eq!(said(&vec![7; 5 * BLOCK.size()]), None);
        assert_eq!(said(&volume(&other_set, 5, 2)[..100]), None);
        let mut flipped = volume(&other_set, 5, 2);
        flipped[20] ^= 1;
        assert_eq!(said(&flipped), None);
    }

    /// Rule 57: somebody may have written another header over a volume of ours.
    #[test]
    fn a_single_block_of_ours_behind_another_header_makes_it_ours() {
        let (own, _) = manifest(5, 1);
        let other = Header { set: [0xab; 16], ..own.header(0, 0) };
        let (foreign, ours) = (volume(&other, 5, 2), volume(&own.header(0, 0), 5, 1));
        for number in 1..5 {
            let mut file = foreign.clone();
            let at = number * BLOCK.size()..(number + 1) * BLOCK.size();
            file[at.clone()].copy_from_slice(&ours[at]);
            assert_eq!(said(&file), None, "block {number}");
        }
    }

    /// Rule 57: 64 blocks spread over the volume, without the header page; of a short one all.
    #[test]
    fn few_blocks_are_compared_and_spread_evenly() {
        for (blocks, compared) in [(2, 1), (5, 4), (65, 64), (66, 64), (300, 64)] {
            let (manifest, hashes) = manifest(blocks, 1);
            let good = volume(&manifest.header(0, 0), blocks, 1);
            let (_temp, whole) = part(&manifest, &good, Some(&hashes));
            let fits = Blocks::new(&whole).unwrap().compare(AT, &source(&whole)).collect::<Vec<_>>();
            assert_eq!(fits, vec![true; compared], "{blocks}");
            // In a file that is cut off, those of its first half.
            let (_temp, half) = part(&manifest, &good[..good.len() / 2], Some(&hashes));
            let fits = Blocks::new(&half).unwrap().compare(AT, &source(&half)).count();
            assert_eq!(
                fits,
                (0..compared).filter(|i| 2 + 2 * (i * (blocks as usize - 1) / compared + 1) <= blocks as usize).count()
            );
        }
    }

    /// Without `hashes.b3` nobody knows what a block must be: then none is ours.
    #[test]
    fn where_it_is_not_known_what_blocks_must_be_none_is_compared() {
        let (manifest, _) = manifest(5, 1);
        let other = Header { set: [0xab; 16], ..manifest.header(0, 0) };
        let (_temp, part) = part(&manifest, &volume(&other, 5, 1), None);
        let blocks = Blocks::new(&part).unwrap();
        assert_eq!(blocks.compare(AT, &source(&part)).count(), 0);
        assert!(foreign(&blocks, AT, &source(&part)).is_some());
    }

    /// Any field counts: what a page says and ours does not makes a volume another's.
    #[test]
    fn a_page_is_of_the_set_if_all_of_it_is() {
        let (manifest, hashes) = manifest(2, 1);
        let ours = manifest.header(0, 0);
        let (_temp, part) = part(&manifest, &volume(&ours, 2, 1), Some(&hashes));
        assert_eq!(header_of(&part, &source(&part)), Some(ours.clone()));
        assert!(is_of_set(&part, &ours) && is_of_set(&part, &manifest.header(0, 1)));
        for other in [
            Header { set: [1; 16], ..ours.clone() },
            Header { part: 2, ..ours.clone() },
            Header { k: 2, ..ours.clone() },
            Header { group: 1, ..ours.clone() },
            Header { segment_bytes: 1 << 16, ..ours.clone() },
        ] {
            assert!(!is_of_set(&part, &other), "{other:?}");
        }
    }

    #[test]
    fn what_is_missing_is_laid_to_foreign_volumes_if_there_are_any() {
        let (manifest, hashes) = manifest(5, 1);
        let other = Header { set: [0xab; 16], ..manifest.header(0, 0) };
        let lost = || Error::lost("gone", "ask");
        for (header, is_foreign) in [(&other, true), (&manifest.header(0, 0), false)] {
            let (_temp, part) = part(&manifest, &volume(header, 5, 2), Some(&hashes));
            let blocks = Blocks::new(&part).unwrap();
            for error in [lost(), Error::drive("gone", "bring it")] {
                assert_eq!(matches!(blocks.or_foreign(error), Error::Untrusted { .. }), is_foreign);
            }
            assert!(matches!(blocks.or_foreign(Error::usage("typed", "wrong")), Error::Usage { .. }));
            let said = part.foreign_volumes().map(|e| e.to_string()).unwrap_or_default();
            assert_eq!(said.contains("g00000-d000.ckv belongs to another set (abababab…)"), is_foreign, "{said}");
        }
    }

    /// The page of a set with longer blocks is longer than a block of ours, and counts if all of it is there.
    #[test]
    fn a_page_that_is_cut_off_names_nothing() {
        let (manifest, _) = manifest(5, 1);
        let longer = Header { block: BlockSize::new(2 * BLOCK.bytes()).unwrap(), ..manifest.header(0, 0) };
        let page = longer.encode();
        let read = |file: &[u8]| {
            let (_temp, part) = part(&manifest, file, None);
            header_of(&part, &source(&part))
        };
        assert_eq!(read(&page), Some(longer));
        assert_eq!(read(&page[..page.len() - 1]), None);
        assert_eq!(read(&page[..BLOCK.size()]), None);
    }
}
