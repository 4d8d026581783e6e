//! The worked example: every number in it, made by ckvault and by what is written by hand from the page.

use crate::field;
use crate::section;
use crate::ustar::{self, dir, file, hex, symlink};
use ckvault::format::filter::{self, Filter, Range, Shape};
use ckvault::format::frame;
use ckvault::format::hashes::{BlockSize, Value};
use ckvault::format::header::Header;
use ckvault::format::signature::{Signature, SigningKey};
use ckvault::stages::compress::Decompressor;

const BLOCK: BlockSize = BlockSize::SMALLEST;

/// What stands between `.Bd` and `.Ed`, block by block.
fn blocks() -> Vec<&'static str> {
    let (_, example) = section("HOW TO WRITE VERSION 1 FROM SCRATCH").split_once(".Ss A worked example\n").unwrap();
    example.split(".Bd -literal -offset 2n\n").skip(1).map(|block| block.split_once(".Ed").unwrap().0).collect()
}

/// Names, each with the lines below it.
fn told() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in blocks()[0].lines() {
        match (line.strip_prefix("    "), all.last_mut()) {
            (Some(bytes), Some((_, lines))) => lines.push(bytes),
            _ => all.push((line, Vec::new())),
        }
    }
    all
}

/// The volumes of the example: two with a frame each, and parity.
fn volumes() -> Vec<Vec<u8>> {
    let set = [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
    let (k, m, part, segment_bytes, volume_bytes) = (2, 1, 1, 1 << 16, 2 << 20);
    let header = Header { set, group: 0, index: 0, k, m, part, block: BLOCK, segment_bytes, volume_bytes };
    let frames = frames();
    let bodies = [frames[0].clone(), frames[1].clone(), field::parity(&frames, 2)];
    let volume = |(i, body): (u16, Vec<u8>)| [header.at(0, i).encode(), body].concat();
    (0..).zip(bodies).map(volume).collect()
}

fn frames() -> Vec<Vec<u8>> {
    let frame = |(n, text): (u64, &[u8])| [&frame::header(n, text.len() as u32)[..], text].concat();
    (0..).zip([&b"first"[..], b"second frame"]).map(frame).collect()
}

fn values(volume: &[u8]) -> Vec<Value> {
    let len = volume.len() as u64;
    (0..).zip(volume.chunks(BLOCK.size())).map(|(i, block)| BLOCK.value(i, block, len)).collect()
}

/// In lines of 32 bytes.
fn lines(bytes: &[u8]) -> Vec<String> {
    bytes.chunks(32).map(hex).collect()
}

fn hash(bytes: &[u8]) -> Vec<String> {
    lines(blake3::hash(bytes).as_bytes())
}

#[test]
fn the_tar_stream_is_that_of_the_example() {
    let entries = [dir(""), file("a", "hello\n"), symlink("l", "a")];
    let (stream, offsets) = ustar::stream(&entries);
    assert_eq!((stream.len(), &offsets[..]), (3072, &[0, 512, 1536][..]));
    let sums: Vec<String> = offsets.iter().map(|at| hex(&stream[*at as usize + 148..][..8])).collect();
    says("checksum fields of the three headers", &sums);
    says("hash of the tar stream, 3072 bytes", &hash(&stream));
    says("hash of the contents of a", &hash(b"hello\n"));
}

#[track_caller]
fn says(name: &str, expected: &[String]) {
    let told = told();
    let (_, lines) =
        told.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("the example does not have {name}"));
    assert_eq!(lines, expected, "{name}");
}

#[test]
fn the_recipient_of_the_example_has_the_hash_that_it_says() {
    let text = section("HOW TO WRITE VERSION 1 FROM SCRATCH");
    let word =
        |start: &str| text.lines().find_map(|l| l.strip_prefix(".Ql ").filter(|l| l.starts_with(start))).unwrap();
    let identity: age::x25519::Identity = word("AGE-SECRET-KEY-1Q").trim_end_matches(" ,").parse().unwrap();
    let recipient = identity.to_public().to_string();
    assert_eq!(word("age1mz").trim_end_matches(" ."), recipient);
    says("recipient_blake3", &hash(recipient.as_bytes()));
}

#[test]
fn the_filter_of_the_example_gives_its_bytes() {
    let plain = [0x80, 0x3f, 0x00, 0xc0, 0x34, 0x12, 0xff];
    let planes = [0x00, 0x01, 0x68, 0x7f, 0x80, 0x24, 0xff];
    says("bytes of a segment: three words and one byte", &lines(&plain));
    says("the same as planes of words of 2, rotated", &lines(&planes));
    let mut packed = Vec::new();
    filter::write(&[Range { len: 7, shape: Shape::new(2, true).unwrap() }], &mut packed);
    says("filter header for that", &lines(&packed));
    packed.extend(zstd::bulk::compress(&planes, 3).unwrap());
    let mut out = Vec::new();
    Decompressor::new().unwrap().decompress(Filter::Planes, &packed, 7, &mut out).unwrap();
    assert_eq!(out, plain);
}

#[test]
fn the_volumes_of_the_example_are_what_it_says() {
    let volumes = volumes();
    says("header page of g00000-d000.ckv, bytes 0 to 95", &lines(&volumes[0][..96]));
    says("frames of segments 0 and 1", &frames().iter().map(|frame| hex(frame)).collect::<Vec<_>>());
    says("parity of their row, of 2+1", &lines(&volumes[2][BLOCK.size()..]));
    let bytes: Vec<Vec<u8>> = [0x01, 0x80, 0xff].map(|byte| vec![byte]).into();
    says("parity of the bytes 01 80 ff, of 3+2", &[hex(&[field::parity(&bytes, 3)[0], field::parity(&bytes, 4)[0]])]);
    let all: Vec<String> = volumes.iter().flat_map(|volume| values(volume)).map(|value| hex(&value)).collect();
    says("hashes.b3: blocks 0 and 1 of d000, of d001, and of p000", &all);
    let hashes: Vec<String> = volumes.iter().flat_map(|volume| hash(volume)).collect();
    says("blake3 of d000, d001 and p000 in the manifest", &hashes);
    for (volume, hash) in volumes.iter().zip(hashes) {
        let (spans, root) = BLOCK.spans_and_root(&values(volume), volume.len() as u64);
        assert_eq!((spans.len(), hex(&root)), (1, hash));
    }
}

#[test]
fn blocks_of_a_longer_file_are_what_the_example_says() {
    let bytes: Vec<u8> = (0..200_000).map(|i| (i % 251) as u8).collect();
    let values = values(&bytes);
    let (_, root) = BLOCK.spans_and_root(&values, bytes.len() as u64);
    says(
        "200000 bytes, byte i being i mod 251: blocks 1 and 3, and the hash",
        &[values[1], values[3], root].map(|v| hex(&v)),
    );
    assert_eq!([hex(&root)], hash(&bytes)[..]);
}

/// Signatures of Ed25519 are the same each time.
#[test]
fn the_signature_of_the_example_is_that_of_its_key() {
    let pair = ssh_key::private::Ed25519Keypair::from_seed(&[42; 32]);
    let pem = ssh_key::PrivateKey::from(pair).to_openssh(ssh_key::LineEnding::LF).unwrap();
    let armour = blocks()[1];
    assert_eq!(String::from_utf8(SigningKey::parse(pem.as_bytes()).unwrap().sign(b"{}\n").unwrap()).unwrap(), armour);
    Signature::parse(armour.as_bytes()).unwrap().verify(b"{}\n").unwrap();
}

/// What is not compared above would be nobody's promise.
#[test]
fn nothing_else_stands_in_the_example() {
    let lines: usize = told().iter().map(|(_, lines)| lines.len()).sum();
    assert_eq!((told().len(), lines, blocks().len()), (14, 28, 2));
}
