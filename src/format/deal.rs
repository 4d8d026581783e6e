//! Dealing: which frame lies where. A pure function of K, the volume size and the lengths of the frames, so export and
//! import agree without trusting each other, and a segment table that says otherwise is refused.

use super::hashes::BlockSize;

/// Where a frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its group.
    pub group: u32,
    /// Its data volume, by index in the group.
    pub volume: u16,
    /// Bytes from the beginning of the volume.
    pub offset: u64,
    /// Bytes of frame header and age file.
    pub bytes: u32,
}

/// What the places of frames depend on besides their lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Data volumes in a group.
    pub k: u16,
    /// No volume is longer, in bytes.
    pub volume_bytes: u64,
    /// Blocks; the first of a volume is its header page.
    pub block: BlockSize,
}

/// Deals frames to the data volumes of one group after another.
#[derive(Debug, Clone)]
pub struct Dealer {
    shape: Shape,
    group: u32,
    lengths: Vec<u64>,
}

impl Dealer {
    /// Begins with group 0.
    pub fn new(shape: Shape) -> Dealer {
        Dealer { shape, group: 0, lengths: vec![shape.block.bytes(); shape.k.into()] }
    }

    /// Goes on after group `group`, which is complete and whose data volumes have these lengths in bytes.
    pub fn after(shape: Shape, group: u32, lengths: Vec<u64>) -> Dealer {
        Dealer { shape, group, lengths }
    }

    /// Whether a frame of `bytes` bytes would begin a new group.
    pub fn ends_group(&self, bytes: u32) -> bool {
        let (_, shortest) = self.shortest();
        shortest + u64::from(bytes) > self.shape.volume_bytes
    }

    /// Deals the next frame, to the shortest data volume (the first of several), in a new group if it does not fit.
    pub fn deal(&mut self, bytes: u32) -> Place {
        if self.ends_group(bytes) {
            self.group += 1;
            self.lengths.fill(self.shape.block.bytes());
        }
        let (volume, offset) = self.shortest();
        self.lengths[volume] += u64::from(bytes);
        Place { group: self.group, volume: volume as u16, offset, bytes }
    }

    /// The group at hand.
    pub fn group(&self) -> u32 {
        self.group
    }

    /// The lengths in bytes of the data volumes of the group at hand.
    pub fn lengths(&self) -> &[u64] {
        &self.lengths
    }

    fn shortest(&self) -> (usize, u64) {
        let shortest = self.lengths.iter().enumerate().min_by_key(|(_, len)| **len);
        shortest.map(|(i, len)| (i, *len)).unwrap_or((0, u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn round_robin_while_equal_and_shortest_first() {
        let mut dealer = Dealer::new(Shape { k: 3, volume_bytes: 1 << 21, block: BlockSize::LARGEST });
        let order: Vec<u16> = [10, 30, 20, 5, 5, 5].iter().map(|b| dealer.deal(*b).volume).collect();
        assert_eq!(order, [0, 1, 2, 0, 0, 0]);
        assert_eq!(dealer.deal(1).volume, 2);
    }

    #[test]
    fn a_frame_that_fills_its_volume_ends_no_group() {
        let block = BlockSize::SMALLEST;
        let shape = Shape { k: 2, volume_bytes: block.bytes() + 100, block };
        let mut dealer = Dealer::new(shape);
        assert!(!dealer.ends_group(100) && dealer.ends_group(101));
        let places = [100, 99, 1, 100].map(|bytes| dealer.deal(bytes)).map(|place| (place.group, place.volume));
        assert_eq!(places, [(0, 0), (0, 1), (0, 1), (1, 0)]);
        assert_eq!((dealer.group(), dealer.lengths()), (1, &[block.bytes() + 100, block.bytes()][..]));
        let after = Dealer::after(shape, 6, vec![block.bytes() + 100; 2]);
        assert_eq!((after.clone().deal(1).group, after.group()), (7, 6));
    }

    proptest! {
        #[test]
        fn no_volume_is_too_long_and_no_frame_overlaps(k in 1u16..20, lens in prop::collection::vec(1u32..70_000, 1..400)) {
            let (size, block) = (300_000, BlockSize::SMALLEST);
            let mut dealer = Dealer::new(Shape { k, volume_bytes: size, block });
            let mut ends = std::collections::HashMap::new();
            for len in &lens {
                let place = dealer.deal(*len);
                prop_assert!(place.offset + u64::from(place.bytes) <= size);
                let end = ends.entry((place.group, place.volume)).or_insert(block.bytes());
                prop_assert_eq!(*end, place.offset);
                *end += u64::from(*len);
                let (longest, shortest) = (dealer.lengths().iter().max().unwrap(), dealer.lengths().iter().min().unwrap());
                prop_assert!(longest - shortest <= 70_000);
            }
        }
    }
}
