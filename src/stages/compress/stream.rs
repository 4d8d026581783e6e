//! zstd over a stream, for the inventory.

use std::io::{self, Read, Write};

const LEVEL: i32 = 3;

/// Compresses a stream; `finish` returns the layer below.
#[must_use = "an unfinished stream is cut short"]
pub struct StreamCompressor<W: Write>(zstd::Encoder<'static, W>);

impl<W: Write> StreamCompressor<W> {
    /// Begins a stream.
    pub fn new(inner: W) -> io::Result<Self> {
        zstd::Encoder::new(inner, LEVEL).map(StreamCompressor)
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

#[cfg(test)]
mod tests {
    use super::*;

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
