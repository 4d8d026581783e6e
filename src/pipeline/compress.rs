//! zstd: a segment is compressed alone into one frame, so that it opens alone.

use crate::error::{Error, Result};
use std::io::{self, Read, Write};

/// Fast, and on weights as small as higher levels.
const SEGMENT_LEVEL: i32 = 1;
const INVENTORY_LEVEL: i32 = 3;

/// Compresses segments; one a worker, since it keeps its working memory.
pub struct Compressor(zstd::bulk::Compressor<'static>);

impl Compressor {
    /// A new one.
    pub fn new() -> Result<Compressor> {
        zstd::bulk::Compressor::new(SEGMENT_LEVEL).map(Compressor).map_err(internal)
    }

    /// Compresses `plain` into `out`, which is replaced.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        out.reserve(longest(plain.len()));
        self.0.compress_to_buffer(plain, out).map(drop).map_err(internal)
    }
}

/// The most bytes that `plain` bytes can compress to.
pub fn longest(plain: usize) -> usize {
    zstd::zstd_safe::compress_bound(plain)
}

/// Decompresses segments; one a worker.
pub struct Decompressor(zstd::bulk::Decompressor<'static>);

impl Decompressor {
    /// A new one.
    pub fn new() -> Result<Decompressor> {
        zstd::bulk::Decompressor::new().map(Decompressor).map_err(internal)
    }

    /// Decompresses into `out`, which is replaced; more than `limit` bytes are an error, whatever the frame declares.
    pub fn decompress(&mut self, packed: &[u8], limit: usize, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        out.reserve(limit);
        self.0.decompress_to_buffer(packed, out).map(drop)?;
        if out.len() > limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more bytes than a segment has"));
        }
        Ok(())
    }
}

/// Compresses a stream; `finish` returns the layer below.
#[must_use = "an unfinished stream is cut short"]
pub struct StreamCompressor<W: Write>(zstd::Encoder<'static, W>);

impl<W: Write> StreamCompressor<W> {
    /// Begins a stream.
    pub fn new(inner: W) -> io::Result<Self> {
        zstd::Encoder::new(inner, INVENTORY_LEVEL).map(StreamCompressor)
    }

    /// Ends the stream.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

impl<W: Write> Write for StreamCompressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Decompresses a stream.
pub fn reader<R: Read>(packed: R) -> io::Result<impl io::BufRead> {
    let mut decoder = zstd::Decoder::new(packed)?;
    // A window of 128 MiB is what `zstd -d` accepts without a flag.
    decoder.window_log_max(27)?;
    Ok(io::BufReader::with_capacity(1 << 17, decoder))
}

fn internal(e: io::Error) -> Error {
    Error::Internal(format!("zstd: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_limits() {
        let (mut packed, mut back) = (Vec::new(), Vec::new());
        let mut compressor = Compressor::new().unwrap();
        let mut decompressor = Decompressor::new().unwrap();
        for len in [0usize, 1, 65535, 65536, 1 << 20] {
            let plain: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            compressor.compress(&plain, &mut packed).unwrap();
            assert!(packed.len() <= longest(len));
            decompressor.decompress(&packed, len, &mut back).unwrap();
            assert_eq!(back, plain);
            assert!(len < 2 || Decompressor::new().unwrap().decompress(&packed, len / 2, &mut Vec::new()).is_err());
        }
    }

    #[test]
    fn streams_round_trip() {
        let mut writer = StreamCompressor::new(Vec::new()).unwrap();
        writer.write_all(b"line\n").unwrap();
        let packed = writer.finish().unwrap();
        let mut text = String::new();
        reader(&packed[..]).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "line\n");
    }
}
