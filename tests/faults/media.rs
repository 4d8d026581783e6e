//! File systems that fail.

use ckvault::media::disk::{Media, Operation};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None does.
    None,
    /// One does, as a bad sector or a bad cable makes it.
    Once(ErrorKind),
    /// That one and all after it, as when the power is cut.
    Forever,
    /// None does, but reading and writing never does all that was asked.
    Short,
}

/// Counts calls, and lets the n-th fail.
pub struct Faulty {
    fault: Fault,
    at: u64,
    calls: Arc<AtomicU64>,
}

impl Faulty {
    /// With the counter of its calls.
    pub fn new(fault: Fault, at: u64) -> (Faulty, Arc<AtomicU64>) {
        let calls = Arc::new(AtomicU64::new(0));
        (Faulty { fault, at, calls: calls.clone() }, calls)
    }

    fn call(&self) -> io::Result<u64> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        match self.fault {
            Fault::Once(kind) if call == self.at => Err(kind.into()),
            Fault::Forever if call >= self.at => Err(io::Error::other("the power is gone")),
            _ => Ok(call),
        }
    }

    /// How much of `len` bytes is done.
    fn some(&self, call: u64, len: usize) -> usize {
        match self.fault {
            Fault::Short if len > 1 => 1 + (call.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) as usize % (len - 1),
            _ => len,
        }
    }
}

impl Media for Faulty {
    fn allow(&self, _: Operation, _: &Path) -> io::Result<()> {
        self.call().map(drop)
    }

    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let some = self.some(self.call()?, buffer.len());
        file.read_at(&mut buffer[..some], offset)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let some = self.some(self.call()?, bytes.len());
        file.write_at(&bytes[..some], offset)
    }
}
