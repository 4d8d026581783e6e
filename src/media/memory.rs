//! Memory for secrets: it is kept out of swap as far as the limit of locked memory goes, and cleared when it is dropped.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use zeroize::Zeroizing;

/// What a secret whose length is not known in advance gets at first.
const FIRST_ROOM: usize = 4 << 10;

static REFUSED: AtomicBool = AtomicBool::new(false);

/// Keeps the memory of a secret out of swap, where it lies: what it has on the heap besides stays as it is. That is until the
/// process ends, since another secret may lie in the same page.
pub fn lock<T: ?Sized>(secret: &T) {
    let bytes = size_of_val(secret);
    if bytes == 0 {
        return;
    }
    match region::lock(std::ptr::from_ref(secret).cast::<u8>(), bytes) {
        Ok(held) => std::mem::forget(held),
        Err(_) => REFUSED.store(true, Ordering::Relaxed),
    }
}

/// Whether the system has refused to lock the memory of a secret.
pub fn was_refused() -> bool {
    REFUSED.load(Ordering::Relaxed)
}

/// Room for a text of so many bytes, that never moves while it is no longer.
pub fn text(most: usize) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::from_utf8(vec![0; most]).unwrap_or_default());
    lock(text.as_bytes());
    text.clear();
    text
}

/// Reads a small file of secrets whole, up to `limit` bytes; a longer one is an error of kind `FileTooLarge`.
pub fn read_secret(file: File, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let expected = file.metadata()?.len().min(limit) as usize;
    read_all(file, expected, limit)
}

/// Reads to the end, and leaves no copies behind where a growing vector would.
fn read_all(mut source: impl Read, expected: usize, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = room(FIRST_ROOM.max(expected + 1));
    let mut filled = 0;
    loop {
        match source.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        if filled as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes")));
        }
        if filled == bytes.len() {
            let mut larger = room(2 * filled);
            larger[..filled].copy_from_slice(&bytes);
            bytes = larger;
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn room(bytes: usize) -> Zeroizing<Vec<u8>> {
    let room = Zeroizing::new(vec![0; bytes]);
    lock(&room[..]);
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_whole_or_refused() {
        let source: Vec<u8> = (0..3 * FIRST_ROOM).map(|i| (i % 251) as u8).collect();
        for (len, expected) in [(0, 0), (1, 1), (FIRST_ROOM - 1, 0), (FIRST_ROOM, 0), (3 * FIRST_ROOM, 10)] {
            let read = |limit| read_all(&source[..len], expected, limit);
            assert_eq!(*read(len as u64).unwrap(), source[..len], "{len}");
            if len > 0 {
                assert_eq!(read(len as u64 - 1).unwrap_err().kind(), io::ErrorKind::FileTooLarge, "{len}");
            }
        }
    }

    #[test]
    fn locked_memory_is_counted_by_the_kernel() {
        let locked = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|l| l.strip_prefix("VmLck:")).unwrap().to_owned();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let before = locked();
        let secret = text(64 << 10);
        assert!(was_refused() || locked() >= before + 60, "{before} kB, then {} kB", locked());
        assert_eq!((secret.len(), secret.capacity()), (0, 64 << 10));
    }
}
