//! Whether copies of small files lie as far apart as they should. They were given places at different times; but whoever asks a file system
//! for a place gets the one that it sees fit, and ext4 may put what is asked for last into a gap beside what was asked for first.

use crate::format::names;
use crate::media::dir::Dir;
use crate::media::extents;
use crate::pack::one_place::LONGEST;
use std::ops::Range;

/// Files without which the contents cannot be had, and that nothing but another copy can replace.
const NEEDED: [&str; 4] = [names::KEYS, names::MANIFEST, names::SIGNATURE, names::INVENTORY];

/// Whether damage to so much as is promised to do no harm could reach all copies of a file, by what the file system tells of their places.
/// One that does not tell gives places in the order in which it is asked for them.
pub fn copies_lie_near(dir: &Dir) -> bool {
    NEEDED.into_iter().any(|name| {
        let copies = names::copies(name).map(|place| extents::of(dir.open(place).ok()?.file()));
        copies.collect::<Option<Vec<_>>>().is_some_and(|copies| reached_together(&copies, LONGEST))
    })
}

/// Whether some stretch of `length` bytes has something of each of these.
fn reached_together(copies: &[Vec<Range<u64>>], length: u64) -> bool {
    // Where it begins with the last byte of a piece, the nearest pieces of the others are those that end there or behind.
    copies.iter().flatten().any(|first| {
        let from = first.end.saturating_sub(1);
        let begins =
            |copy: &Vec<Range<u64>>| copy.iter().filter(|piece| piece.end > from).map(|piece| piece.start).min();
        copies.iter().all(|copy| begins(copy).is_some_and(|start| start < from.saturating_add(length)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_something_of_each_copy_reaches_all() {
        const KIB: u64 = 1 << 10;
        let at = |places: &[u64]| places.iter().map(|kib| kib * KIB..(kib + 4) * KIB).collect::<Vec<_>>();
        let near =
            |copies: &[&[u64]]| reached_together(&copies.iter().map(|places| at(places)).collect::<Vec<_>>(), 64 * KIB);
        // The last byte of the first and the first of the last are as far apart as the stretch is long, or not.
        assert!(near(&[&[0], &[67]]) && near(&[&[67], &[0]]));
        assert!(!near(&[&[0], &[68]]));
        // Of three the one in the middle does not matter.
        assert!(near(&[&[0], &[30], &[67]]) && !near(&[&[0], &[30], &[68]]) && !near(&[&[0], &[68], &[30]]));
        // One piece of each is enough, whichever it is.
        assert!(near(&[&[0, 500], &[900, 540], &[100, 520, 2000]]));
        assert!(!near(&[&[0, 500], &[900, 600], &[100, 520, 2000]]));
        assert!(!near(&[&[0], &[]]), "of a file without contents there is nothing to be lost");
    }
}
