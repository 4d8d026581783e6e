//! What each stage of the two directions costs, on one core: `cargo bench`, or `cargo bench -- seal` for one of them.
//!
//! The data is made here: bf16 weights from a normal distribution, as trained ones are.

use ckvault::format::deal::Shape;
use ckvault::format::filter::Filter;
use ckvault::format::hashes::BlockSize;
use ckvault::format::inventory::{self, Entry, Head, Inventory, Kind, Name, Reader};
use ckvault::media::buffer::Buffer;
use ckvault::media::disk::Disk;
use ckvault::pack::Source;
use ckvault::pack::{Walk, walk};
use ckvault::restore;
use ckvault::stages::compress::{self, Compression, Compressor, Decompressor, StreamCompressor};
use ckvault::stages::parity::{Codec, Found};
use ckvault::stages::seal::SetIdentity;
use ckvault::stages::tar;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use std::io::{Read, Write};

/// As of a checkpoint of more than 128 MiB.
const SEGMENT: usize = 1 << 20;
const K: usize = 16;
const M: usize = 2;
const ENTRIES: usize = 20_000;

fn main() {
    divan::main();
}

/// Bytes of weights with a standard deviation of 0.02: bf16 is the upper half of an f32.
fn weights(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    // Twelve uniform numbers add up to one that is close to normal.
    let normal = || ((0..12).map(|_| uniform()).sum::<f64>() - 6.0) * 0.02;
    let bf16 = std::iter::repeat_with(normal).flat_map(|w| ((w as f32).to_bits() >> 16).to_le_bytes()[..2].to_vec());
    bf16.take(len).collect()
}

fn compressed() -> Vec<u8> {
    let mut packed = Vec::new();
    Compressor::new(Compression::Auto).unwrap().compress(&weights(SEGMENT), &mut packed).unwrap();
    packed
}

/// A checkpoint of one file in a directory of its own.
fn source(bytes: usize, dir: &tempfile::TempDir) -> Source {
    std::fs::write(dir.path().join("model.safetensors"), weights(bytes)).unwrap();
    let mut walked = walk(&Disk::default(), &[dir.path().to_owned()], &Walk::default()).unwrap();
    let tar_bytes = tar::lay_out(&mut walked.entries).unwrap();
    Source::new(&Disk::default(), walked, tar_bytes, SEGMENT as u32)
}

#[divan::bench]
fn a_read_and_hash_of_files(bencher: Bencher) {
    let dir = tempfile::tempdir().unwrap();
    let source = source(8 * SEGMENT, &dir);
    let mut buffer = Buffer::default();
    bencher.counter(BytesCount::new(8 * SEGMENT)).bench_local(|| {
        for segment in 0..8 {
            black_box(source.read(segment, &mut buffer).unwrap());
        }
    });
}

#[divan::bench]
fn b_compress(bencher: Bencher) {
    let (plain, mut packed, mut compressor) =
        (weights(SEGMENT), Vec::new(), Compressor::new(Compression::Auto).unwrap());
    bencher.counter(BytesCount::new(SEGMENT)).bench_local(|| compressor.compress(black_box(&plain), &mut packed));
}

#[divan::bench]
fn c_seal(bencher: Bencher) {
    let (plain, to) = (compressed(), SetIdentity::generate().recipient());
    bencher.counter(BytesCount::new(plain.len())).bench_local(|| {
        let mut sealed = Vec::with_capacity(plain.len() + (plain.len() >> 12) + 512);
        to.seal(black_box(&plain), &mut sealed).unwrap();
        sealed
    });
}

const BLOCK: usize = BlockSize::SMALLEST.size();
const SHAPE: Shape = Shape { k: K as u16, volume_bytes: 1 << 30, block: BlockSize::SMALLEST };

/// A row of K blocks of data and their M of parity.
fn row() -> Vec<Vec<u8>> {
    let noise = compressed();
    let mut row: Vec<Vec<u8>> = noise.chunks(noise.len() / K).take(K).map(|c| c.repeat(4)[..BLOCK].to_vec()).collect();
    row.extend(vec![vec![0; BLOCK]; M]);
    let (data, parity) = row.split_at_mut(K);
    let data: Vec<&[u8]> = data.iter().map(|d| &d[..]).collect();
    let mut parity: Vec<&mut [u8]> = parity.iter_mut().map(|p| &mut p[..]).collect();
    codec().encode(&data, &mut parity).unwrap();
    row
}

fn codec() -> Codec {
    Codec::new(K as u16, M as u16).unwrap()
}

/// Bytes of data, without the parity.
#[divan::bench]
fn d_parity_encode(bencher: Bencher) {
    let (mut row, codec) = (row(), codec());
    let (data, parity) = row.split_at_mut(K);
    let data: Vec<&[u8]> = data.iter().map(|d| &d[..]).collect();
    let mut parity: Vec<&mut [u8]> = parity.iter_mut().map(|p| &mut p[..]).collect();
    bencher.counter(BytesCount::new(K * BLOCK)).bench_local(|| codec.encode(black_box(&data), &mut parity));
}

#[divan::bench]
fn e_hash_of_volumes(bencher: Bencher) {
    let volume = weights(K * BLOCK);
    bencher.counter(BytesCount::new(volume.len())).bench_local(|| {
        let values = black_box(&volume).chunks(BLOCK).enumerate();
        values.map(|(i, block)| BlockSize::SMALLEST.value(i as u64, block, volume.len() as u64)).collect::<Vec<_>>()
    });
}

/// Bytes of data of a row of which the first M volumes are gone.
#[divan::bench]
fn f_parity_mend_lost_volumes(bencher: Bencher) {
    let (mut row, codec) = (row(), codec());
    bencher.counter(BytesCount::new(K * BLOCK)).bench_local(|| {
        let mut slices: Vec<(&mut [u8], bool)> =
            row.iter_mut().enumerate().map(|(i, s)| (&mut s[..], i >= M)).collect();
        codec.reconstruct_data(black_box(&mut slices))
    });
}

/// The same of a row with one flipped byte in each of five blocks, which is more than M.
#[divan::bench]
fn g_parity_mend_scattered_flips(bencher: Bencher) {
    let (row, codec) = (row(), codec());
    let damaged = row.iter().enumerate().map(|(i, block)| match i % 4 {
        0 => {
            let mut flipped = block.clone();
            flipped[i * 1000] ^= 1;
            Found::Doubtful(flipped)
        }
        _ => Found::Good(block.clone()),
    });
    let damaged: Vec<Found> = damaged.collect();
    let agrees = |i: usize, block: &[u8]| block == row[i];
    bencher.counter(BytesCount::new(K * BLOCK)).with_inputs(|| damaged.clone()).bench_local_values(|mut damaged| {
        assert!(codec.mend(&mut damaged, &agrees).unwrap());
        damaged
    });
}

#[divan::bench]
fn h_open(bencher: Bencher) {
    let (plain, identity) = (compressed(), SetIdentity::generate());
    let mut sealed = Vec::new();
    identity.recipient().seal(&plain, &mut sealed).unwrap();
    let limit = compress::longest(SEGMENT);
    let sealed = || sealed.clone();
    let open = |sealed: &mut Vec<u8>| identity.open(sealed, limit).unwrap().len();
    bencher.counter(BytesCount::new(plain.len())).with_inputs(sealed).bench_local_refs(open);
}

#[divan::bench]
fn i_decompress(bencher: Bencher) {
    let (packed, mut plain, mut decompressor) = (compressed(), Vec::new(), Decompressor::new().unwrap());
    bencher
        .counter(BytesCount::new(SEGMENT))
        .bench_local(|| decompressor.decompress(Filter::Planes, black_box(&packed), SEGMENT, &mut plain));
}

/// As many small files as a sharded checkpoint has.
fn entries() -> Vec<Entry> {
    let file = |i: usize| Entry {
        path: Name::new(format!("layer-{:05}/params.weight.{:04}.0", i / 1000, i % 1000).as_bytes()),
        kind: Kind::File { size: 300, extents: None, blake3: Some(*blake3_of(i).first_chunk().unwrap()) },
        mode: 0o644,
        mtime: (1_700_000_000 + i as i64, 5),
        xattrs: vec![],
        offset: 0,
    };
    let mut entries: Vec<Entry> = (0..ENTRIES).map(file).collect();
    tar::lay_out(&mut entries).unwrap();
    entries
}

fn blake3_of(i: usize) -> [u8; 32] {
    *blake3::hash(&i.to_le_bytes()).as_bytes()
}

#[divan::bench]
fn j_tar_headers(bencher: Bencher) {
    let entries = entries();
    bencher
        .counter(ItemsCount::new(ENTRIES))
        .bench_local(|| entries.iter().map(|e| tar::headers(black_box(e)).len()).sum::<usize>());
}

fn inventory() -> Inventory {
    let head = Head {
        inventory: ckvault::format::FORMAT.into(),
        critical: vec![],
        set: "0".repeat(32),
        part: 1,
        signer: "ssh-ed25519 AAAA".into(),
        tar_bytes: 1 << 24,
        entries: ENTRIES as u64,
        first: 0,
        segments: 256,
    };
    Inventory { head, entries: entries(), frames: vec![50_000; 256] }
}

fn written(inventory: &Inventory, to: &SetIdentity) -> Vec<u8> {
    let mut packed = StreamCompressor::new(to.recipient().writer(Vec::new()).unwrap()).unwrap();
    let lines = inventory::lines(&inventory.head, &inventory.entries, &inventory.frames, SHAPE);
    lines.for_each(|line| packed.write_all(&line).unwrap());
    packed.finish().unwrap().finish().unwrap()
}

/// To sealed bytes.
#[divan::bench]
fn k_inventory_write(bencher: Bencher) {
    let (inventory, identity) = (inventory(), SetIdentity::generate());
    bencher.counter(ItemsCount::new(ENTRIES)).bench_local(|| written(black_box(&inventory), &identity));
}

/// From sealed bytes.
#[divan::bench]
fn l_inventory_read(bencher: Bencher) {
    let (inventory, identity) = (inventory(), SetIdentity::generate());
    let sealed = written(&inventory, &identity);
    bencher.counter(ItemsCount::new(ENTRIES)).bench_local(|| {
        let (mut reader, mut lines) = (Reader::new(SHAPE), Vec::new());
        compress::reader(identity.reader(&sealed[..]).unwrap()).unwrap().read_to_end(&mut lines).unwrap();
        lines.split_inclusive(|b| *b == b'\n').for_each(|line| reader.line(line).unwrap());
        reader.finish().unwrap()
    });
}

/// What an import does with all entries before the first byte is placed.
#[divan::bench]
fn m_choice_of_entries(bencher: Bencher) {
    let entries = entries();
    bencher.counter(ItemsCount::new(ENTRIES)).bench_local(|| restore::choose(black_box(&entries), |_| true));
}
