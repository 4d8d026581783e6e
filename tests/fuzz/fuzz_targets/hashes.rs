//! Hashes put together from parts: whatever the parts and their order, the result is BLAKE3. The first bytes say where to cut, the
//! rest is the file; and a page of `hashes.b3` with any values folds without harm.

#![no_main]

use ckvault::format::hashes::{self, BlockSize, FileHasher, PAGE, Part, Value};
use ckvault_fuzz::bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let repeat = 1 + usize::from(bytes.byte());
    let cuts: Vec<usize> = (0..bytes.byte() % 8).map(|_| bytes.below(1 << 16) * 4).collect();
    let turn = usize::from(bytes.byte());
    let file = bytes.0.repeat(repeat);
    from_parts(&file, cuts, turn);
    of_a_volume(&file);
    a_page(bytes.0);
});

fn from_parts(file: &[u8], mut cuts: Vec<usize>, turn: usize) {
    cuts.iter_mut().for_each(|c| *c %= file.len() + 1);
    cuts.extend([0, file.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    let mut parts: Vec<Part> = cuts.windows(2).map(|w| Part::new(w[0] as u64, &file[w[0]..w[1]])).collect();
    let turn = turn % parts.len().max(1);
    parts.rotate_left(turn);
    let mut hasher = FileHasher::default();
    parts.into_iter().for_each(|p| hasher.add(p));
    assert_eq!(hasher.finish(file.len() as u64), Some(*blake3::hash(file).as_bytes()));
}

fn of_a_volume(file: &[u8]) {
    let len = file.len() as u64;
    for block in [BlockSize::SMALLEST, BlockSize::LARGEST] {
        let blocks = file.chunks(block.size()).enumerate();
        let values: Vec<Value> = blocks.map(|(i, b)| block.value(i as u64, b, len)).collect();
        if !values.is_empty() {
            assert_eq!(block.spans_and_root(&values, len).1, *blake3::hash(file).as_bytes());
        }
    }
}

fn a_page(bytes: &[u8]) {
    let values = bytes.as_chunks::<32>().0;
    for page in values.chunks(PAGE) {
        let _ = (hashes::fold_page(page, true), hashes::fold_page(page, false));
    }
    let (block, span) = (BlockSize::LARGEST, BlockSize::LARGEST.span());
    for len in [0, 1, span - 1, span, span * values.len() as u64, u64::MAX] {
        let _ = block.root_of_spans(values, len);
    }
}
