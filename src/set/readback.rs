//! Read-back of one file: what was written is read from the drive again and compared.

use crate::error::{Error, Result};
use crate::media::cache;
use crate::media::dir::Location;
use crate::progress::Progress;
use std::io::Read;

/// Where the bytes came from when they were read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The page cache did not hold them.
    Drive,
    /// The page cache may have held some of them.
    CachePossible,
}

impl Origin {
    /// Of two readings.
    pub fn and(self, other: Origin) -> Origin {
        if self == Origin::Drive { other } else { self }
    }
}

/// Compares a file with its hash, not from the cache; says whether the cache can be ruled out.
pub(crate) fn compare(
    file: &Location,
    len: u64,
    hash: &[u8; 32],
    progress: &dyn Progress,
    advance: impl Fn(u64),
) -> Result<bool> {
    let path = &file.path();
    let mut file = file.open().map_err(Error::on_drive("read back", path))?;
    cache::evict(file.file());
    let cached = cache::is_cached(file.file(), len);
    let (mut hasher, mut buffer, mut read) = (blake3::Hasher::new(), vec![0; 1 << 20], 0u64);
    loop {
        if progress.cancelled() {
            return Err(Error::Interrupted);
        }
        let n = file.read(&mut buffer).map_err(Error::on_drive("read back", path))?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        advance(n as u64);
        read += n as u64;
    }
    if read != len || hasher.finalize().as_bytes() != hash {
        return Err(Error::drive(
            format!("{} does not hold what was written to it", path.display()),
            "do not use this drive: it is failing, or its capacity is faked; use another",
        ));
    }
    Ok(!cached)
}
