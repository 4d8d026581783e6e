//! BLAKE3: roots put together from subtrees, so that any worker can hash any piece of a volume or a file.
//!
//! A *value* is the chaining value of one block. [`PAGE`] values fold to a span value, and spans to the root. A node
//! that covers a whole volume is finalised as the root (rule 30), so that `b3sum` agrees with the manifest.

use super::limits::BLOCKS;
use super::{FormatError, within};
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Values in a page of `hashes.b3`.
pub const PAGE: usize = 2048;

/// Bytes in a block, the same in a whole set: a power of two from 64 KiB to 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct BlockSize(u32);

/// The chaining value of a subtree, or a root.
pub type Value = [u8; 32];

/// What is hashed and protected at a time where frames become volumes, whatever the size of blocks: what is in the caches then
/// stays small.
pub const SLICE: BlockSize = BlockSize::SMALLEST;

const CHUNK: u64 = blake3::CHUNK_LEN as u64;

/// The value of the subtree `bytes` that begins `offset` bytes into its file.
pub fn subtree(offset: u64, bytes: &[u8]) -> Value {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

impl BlockSize {
    /// The smallest blocks, of which all others consist: 64 KiB.
    pub const SMALLEST: BlockSize = BlockSize(*BLOCKS.start() as u32);
    /// The largest.
    pub const LARGEST: BlockSize = BlockSize(*BLOCKS.end() as u32);

    /// Rule 86.
    pub fn new(bytes: u64) -> Result<BlockSize, FormatError> {
        within("block size", bytes, *BLOCKS.start(), *BLOCKS.end())?;
        match bytes.is_power_of_two() {
            true => Ok(BlockSize(bytes as u32)),
            false => Err(FormatError::Contradiction("the block size is not a power of two".into())),
        }
    }

    /// Bytes in a block.
    pub const fn bytes(self) -> u64 {
        self.0 as u64
    }

    /// The same as a size in memory.
    pub const fn size(self) -> usize {
        self.0 as usize
    }

    /// Bytes of a volume that a page covers.
    pub const fn span(self) -> u64 {
        self.bytes() * PAGE as u64
    }

    /// How many blocks `len` bytes have.
    pub const fn blocks(self, len: u64) -> u64 {
        len.div_ceil(self.bytes())
    }

    /// So many blocks as there are in `bytes`, but one at least.
    pub const fn within(self, bytes: u64) -> u64 {
        match bytes / self.bytes() {
            0 => 1,
            blocks => blocks,
        }
    }

    /// The value of block `index` of a volume of `len` bytes.
    pub fn value(self, index: u64, bytes: &[u8], len: u64) -> Value {
        if len <= self.bytes() {
            return *blake3::hash(bytes).as_bytes();
        }
        subtree(index * self.bytes(), bytes)
    }

    /// Span values and root of a volume of `len` bytes from its block values.
    pub fn spans_and_root(self, values: &[Value], len: u64) -> (Vec<Value>, Value) {
        let single = values.len() <= PAGE;
        let spans: Vec<Value> = values.chunks(PAGE).map(|page| fold_page(page, single)).collect();
        let root = self.root_of_spans(&spans, len);
        (spans, root)
    }

    /// The root of a volume of `len` bytes from its span values.
    pub fn root_of_spans(self, spans: &[Value], len: u64) -> Value {
        let mut tree = Tree::default();
        for (i, span) in spans.iter().enumerate() {
            tree.push(*span, self.span().min(len - (i as u64 * self.span()).min(len)));
        }
        tree.root().unwrap_or_default()
    }
}

impl Default for BlockSize {
    fn default() -> BlockSize {
        BlockSize::SMALLEST
    }
}

impl TryFrom<u32> for BlockSize {
    type Error = FormatError;

    fn try_from(bytes: u32) -> Result<BlockSize, FormatError> {
        BlockSize::new(bytes.into())
    }
}

impl From<BlockSize> for u32 {
    fn from(block: BlockSize) -> u32 {
        block.0
    }
}

/// Folds subtrees that arrive in order into the node above them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    stack: Vec<(Value, u64)>,
}

impl Tree {
    /// Adds the next subtree, of `len` bytes. All but the last are complete, and aligned to their own length.
    pub fn push(&mut self, value: Value, len: u64) {
        while let [.., (left, a), (right, b)] = self.stack[..] {
            if a != b {
                break;
            }
            self.stack.truncate(self.stack.len() - 2);
            self.stack.push((merge_subtrees_non_root(&left, &right, Mode::Hash), a + b));
        }
        self.stack.push((value, len));
    }

    fn fold(&self, top: impl Fn(&Value, &Value) -> Value) -> Option<Value> {
        let mut values = self.stack.iter().rev().map(|(v, _)| *v);
        let mut right = values.next()?;
        let rest: Vec<Value> = values.collect();
        for (i, left) in rest.iter().enumerate() {
            right =
                if i + 1 == rest.len() { top(left, &right) } else { merge_subtrees_non_root(left, &right, Mode::Hash) };
        }
        Some(right)
    }

    /// The root of the whole; a single subtree is taken to be one already. `None` if nothing was pushed.
    pub fn root(&self) -> Option<Value> {
        self.fold(|l, r| *merge_subtrees_root(l, r, Mode::Hash).as_bytes())
    }

    /// The value of the whole as a part of something larger.
    pub fn node(&self) -> Option<Value> {
        self.fold(|l, r| merge_subtrees_non_root(l, r, Mode::Hash))
    }
}

/// The value of one page; `whole` if it is the only one of its volume, and so its root.
pub fn fold_page(page: &[Value], whole: bool) -> Value {
    let mut tree = Tree::default();
    for value in page {
        // However long they are, all are of one length, but for the last.
        tree.push(*value, 1);
    }
    (if whole { tree.root() } else { tree.node() }).unwrap_or_default()
}

/// Block values of a volume, put together from those of its slices as these come, see [`SLICE`].
#[derive(Debug, Clone)]
pub struct BlockValues {
    block: BlockSize,
    /// Slices of a block that is not complete.
    open: Tree,
    filled: u64,
    values: Vec<Value>,
}

impl BlockValues {
    /// For a volume with such blocks, after its header page.
    pub fn new(block: BlockSize) -> BlockValues {
        BlockValues { block, open: Tree::default(), filled: 0, values: Vec::new() }
    }

    /// Adds the values of the next slices: all are of [`SLICE`] bytes, but the last of the volume.
    pub fn extend(&mut self, slices: &[Value]) {
        if self.block == SLICE {
            return self.values.extend(slices);
        }
        for slice in slices {
            self.open.push(*slice, 1);
            self.filled += 1;
            if self.filled == self.block.bytes() / SLICE.bytes() {
                self.complete();
            }
        }
    }

    fn complete(&mut self) {
        self.values.extend(self.open.node());
        self.open = Tree::default();
        self.filled = 0;
    }

    /// All of them, the header page's first.
    pub fn finish(mut self, header: Value) -> Vec<Value> {
        self.complete();
        self.values.insert(0, header);
        self.values
    }
}

/// What a worker knows of a file after it has seen one stretch of its bytes: complete subtrees, and the ragged ends.
#[derive(Debug)]
pub struct Part {
    offset: u64,
    head: Vec<u8>,
    nodes: Vec<(Value, u64)>,
    tail: Vec<u8>,
}

impl Part {
    /// Hashes the stretch that begins `offset` bytes into the file.
    pub fn new(offset: u64, bytes: &[u8]) -> Part {
        let ragged = (offset.next_multiple_of(CHUNK) - offset).min(bytes.len() as u64) as usize;
        let (head, mut rest) = bytes.split_at(ragged);
        let (mut at, mut nodes) = (offset + ragged as u64, Vec::new());
        // The last chunk always stays in the tail: it may turn out to be all there is, and then it is the root.
        while rest.len() as u64 > CHUNK {
            let len = aligned_subtree(at, rest.len() as u64 - 1);
            let (now, later) = rest.split_at(len as usize);
            nodes.push((subtree(at, now), len));
            (at, rest) = (at + len, later);
        }
        Part { offset, head: head.to_vec(), nodes, tail: rest.to_vec() }
    }

    fn len(&self) -> u64 {
        let nodes: u64 = self.nodes.iter().map(|(_, len)| len).sum();
        (self.head.len() + self.tail.len()) as u64 + nodes
    }
}

/// The largest complete subtree that begins at `at` and has no more than `available` bytes (at least a chunk).
fn aligned_subtree(at: u64, available: u64) -> u64 {
    let chunks = available / CHUNK;
    let largest = 1 << chunks.ilog2();
    match at / CHUNK {
        0 => largest * CHUNK,
        n => largest.min(1 << n.trailing_zeros()) * CHUNK,
    }
}

/// Puts the hash of a file together from its parts, in whatever order they come.
#[derive(Default)]
pub struct FileHasher {
    tree: Tree,
    carry: Vec<u8>,
    next: u64,
    waiting: BTreeMap<u64, Part>,
}

/// How far a [`FileHasher`] is that has been given everything up to some point: small, and the same wherever it is taken up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HasherState {
    tree: Tree,
    carry: Vec<u8>,
    next: u64,
}

impl FileHasher {
    /// Goes on from a state.
    pub fn from_state(state: HasherState) -> FileHasher {
        FileHasher { tree: state.tree, carry: state.carry, next: state.next, waiting: BTreeMap::new() }
    }

    /// The state after the first bytes, those that came without a gap.
    pub fn state(&self) -> HasherState {
        HasherState { tree: self.tree.clone(), carry: self.carry.clone(), next: self.next }
    }

    /// How many of the first bytes have been added without a gap.
    pub fn reached(&self) -> u64 {
        self.next
    }

    /// Adds a part. Parts must neither overlap nor repeat.
    pub fn add(&mut self, part: Part) {
        self.waiting.insert(part.offset, part);
        while let Some(part) = self.waiting.remove(&self.next) {
            self.next += part.len();
            self.absorb(&part.head);
            for (value, len) in part.nodes {
                self.flush();
                self.tree.push(value, len);
            }
            self.absorb(&part.tail);
        }
    }

    /// How many parts wait for one before them.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Keeps the ragged end of a part, which does not reach beyond its chunk.
    fn absorb(&mut self, bytes: &[u8]) {
        if self.carry.len() as u64 == CHUNK && !bytes.is_empty() {
            self.flush();
        }
        self.carry.extend_from_slice(bytes);
    }

    /// Pushes the chunk in hand, which is complete because more follows it.
    fn flush(&mut self) {
        if !self.carry.is_empty() {
            let len = self.carry.len() as u64;
            let at = self.tree.stack.iter().map(|(_, len)| len).sum();
            self.tree.push(subtree(at, &self.carry), len);
            self.carry.clear();
        }
    }

    /// The file's hash, if exactly its first `len` bytes have been added.
    pub fn finish(mut self, len: u64) -> Option<Value> {
        if self.next != len || !self.waiting.is_empty() {
            return None;
        }
        if self.tree.stack.is_empty() {
            return Some(*blake3::hash(&self.carry).as_bytes());
        }
        self.flush();
        self.tree.root()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_follow_from_the_length_of_a_block() {
        for (block, bytes) in [(BlockSize::SMALLEST, 65_536), (BlockSize::LARGEST, 1_048_576)] {
            assert_eq!((block.bytes(), block.size(), block.span()), (bytes, bytes as usize, 2048 * bytes));
            for (len, blocks) in [(0, 0), (1, 1), (bytes, 1), (bytes + 1, 2), (5 * bytes, 5)] {
                assert_eq!(block.blocks(len), blocks, "{len}");
            }
            for (len, blocks) in [(0, 1), (1, 1), (bytes, 1), (2 * bytes - 1, 1), (2 * bytes, 2), (5 * bytes + 1, 5)] {
                assert_eq!(block.within(len), blocks, "{len}");
            }
        }
    }

    #[test]
    fn only_a_file_that_is_all_there_has_a_hash() {
        let bytes = paint(5000);
        let hashed = |parts: &[(usize, usize)], len: u64| {
            let mut hasher = FileHasher::default();
            parts.iter().for_each(|(from, to)| hasher.add(Part::new(*from as u64, &bytes[*from..*to])));
            (hasher.waiting(), hasher.finish(len))
        };
        let hash = |len: usize| Some(*blake3::hash(&bytes[..len]).as_bytes());
        assert_eq!(hashed(&[(3000, 5000), (0, 3000)], 5000), (0, hash(5000)));
        assert_eq!(hashed(&[(0, 3000)], 3000), (0, hash(3000)));
        assert_eq!(hashed(&[(0, 3000)], 5000), (0, None));
        assert_eq!(hashed(&[(3000, 4000), (4000, 5000)], 5000), (2, None));
        assert_eq!(hashed(&[(0, 2000), (3000, 5000)], 2000), (1, None));
    }

    fn paint(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    fn cut(bytes: &[u8], cuts: &[usize]) -> Vec<Part> {
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        cuts.windows(2).map(|w| Part::new(w[0] as u64, &bytes[w[0]..w[1]])).collect()
    }

    #[test]
    fn volume_roots_equal_blake3_of_the_file() {
        for block in [1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20].map(|bytes| BlockSize::new(bytes).unwrap()) {
            let size = block.size();
            for len in [1, size - 1, size, size + 1, 3 * size, 5 * size + (1 << 16), 7 * size + 13] {
                let bytes = paint(len);
                let values = values(block, &bytes);
                let (spans, root) = block.spans_and_root(&values, len as u64);
                assert_eq!(&root, blake3::hash(&bytes).as_bytes(), "{len}");
                assert_eq!(spans, [root]);
            }
        }
    }

    fn values(block: BlockSize, bytes: &[u8]) -> Vec<Value> {
        let blocks = bytes.chunks(block.size()).enumerate();
        blocks.map(|(i, b)| block.value(i as u64, b, bytes.len() as u64)).collect()
    }

    #[test]
    fn block_values_from_slices_that_come_in_any_portions() {
        for block in [SLICE, BlockSize::new(1 << 18).unwrap(), BlockSize::LARGEST] {
            for behind in [0, 1, SLICE.size(), 7 * SLICE.size(), 33 * SLICE.size(), 37 * SLICE.size() + 5] {
                let bytes = paint(block.size() + behind);
                let slices: Vec<Value> = bytes[block.size()..]
                    .chunks(SLICE.size())
                    .enumerate()
                    .map(|(i, b)| subtree((block.size() + i * SLICE.size()) as u64, b))
                    .collect();
                for portion in [1, 3, 16, 40] {
                    let mut found = BlockValues::new(block);
                    slices.chunks(portion).for_each(|slices| found.extend(slices));
                    let header = block.value(0, &bytes[..block.size()], bytes.len() as u64);
                    assert_eq!(found.finish(header), values(block, &bytes), "{block:?} {behind} {portion}");
                }
            }
        }
    }

    #[test]
    fn blocks_have_few_sizes() {
        let sizes = (0..=1 << 21).filter(|bytes| BlockSize::new(*bytes).is_ok());
        assert!(sizes.eq([1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20]));
        assert!(serde_json::from_str::<BlockSize>("65537").is_err());
    }

    #[test]
    fn roots_over_several_spans() {
        let block = BlockSize::SMALLEST;
        let len = block.span() as usize * 2 + 3 * block.size() + 5;
        let bytes = paint(len);
        let (spans, root) = block.spans_and_root(&values(block, &bytes), len as u64);
        assert_eq!(spans.len(), 3);
        assert_eq!(&root, blake3::hash(&bytes).as_bytes());
    }

    #[test]
    fn files_at_the_boundaries() {
        for len in [0usize, 1, 512, 1023, 1024, 1025, 2048, 4096, 65536, 65537] {
            let bytes = paint(len);
            for step in [512usize, 1024, 1536, 65536] {
                let mut hasher = FileHasher::default();
                for (i, piece) in bytes.chunks(step).enumerate().rev() {
                    hasher.add(Part::new((i * step) as u64, piece));
                }
                let hash = hasher.finish(len as u64).unwrap();
                assert_eq!(&hash, blake3::hash(&bytes).as_bytes(), "{len} by {step}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_hasher_goes_on_from_its_state(len in 1usize..200_000, cuts in prop::collection::vec(any::<usize>(), 1..6)) {
            let bytes = paint(len);
            let mut hasher = FileHasher::default();
            for part in cut(&bytes, &cuts) {
                hasher.add(part);
                hasher = FileHasher::from_state(hasher.state());
            }
            prop_assert_eq!(hasher.finish(len as u64), Some(*blake3::hash(&bytes).as_bytes()));
        }

        #[test]
        fn files_from_any_parts_in_any_order(len in 0usize..200_000,
                cuts in prop::collection::vec(any::<usize>(), 0..12), seed in any::<u64>()) {
            let bytes = paint(len);
            let mut parts = cut(&bytes, &cuts);
            let turn = (seed as usize) % parts.len().max(1);
            parts.rotate_left(turn);
            let mut hasher = FileHasher::default();
            for part in parts { hasher.add(part); }
            let kept = serde_json::to_vec(&hasher.state()).unwrap();
            prop_assert_eq!(hasher.reached(), len as u64);
            let hasher = FileHasher::from_state(serde_json::from_slice(&kept).unwrap());
            let hash = hasher.finish(len as u64).unwrap();
            prop_assert_eq!(blake3::Hash::from(hash), blake3::hash(&bytes));
        }

        #[test]
        fn a_missing_part_is_noticed(len in 2usize..100_000, at in any::<usize>()) {
            let bytes = paint(len);
            let at = 1 + at % (len - 1);
            let mut hasher = FileHasher::default();
            hasher.add(Part::new(at as u64, &bytes[at..]));
            prop_assert!(hasher.finish(len as u64).is_none());
        }
    }

    #[test]
    fn four_spans_fold_by_pairs_and_a_single_one_is_the_root() {
        let (block, spans) = (BlockSize::SMALLEST, [1, 2, 3, 4].map(|byte| [byte; 32]));
        let pair = |left: &Value, right: &Value| merge_subtrees_non_root(left, right, Mode::Hash);
        let (left, right) = (pair(&spans[0], &spans[1]), pair(&spans[2], &spans[3]));
        let root = *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes();
        for len in [3 * block.span() + 1, 4 * block.span()] {
            assert_eq!(block.root_of_spans(&spans, len), root, "{len}");
        }
        // A page that is full, and the only one.
        let values = [[5; 32]; PAGE];
        let root = fold_page(&values, true);
        assert_ne!(root, fold_page(&values, false));
        assert_eq!(block.spans_and_root(&values, block.span()), (vec![root], root));
    }
}
