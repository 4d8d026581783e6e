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
