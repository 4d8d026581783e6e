//! Memory that files are read into.

use std::ops::{Deref, DerefMut};

/// Bytes of a page of the page cache. The kernel copies from such pages, with the processor's own instruction for it; on AMD's, Zen 3 at
/// least, that takes more than three times as long where the copy begins a few bytes further behind such a boundary than what is copied,
/// and a long `Vec` always begins sixteen bytes behind one.
const PAGE: usize = 4096;

/// Bytes that begin at the boundary of a page. What else is to be known of it, a `Vec` has too.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// So many zeros.
    pub fn new(len: usize) -> Buffer {
        let bytes = vec![0; len + PAGE];
        let start = bytes.as_ptr().align_offset(PAGE).min(PAGE);
        Buffer { bytes, start, len }
    }

    /// Cuts it off, or appends zeros.
    pub fn resize(&mut self, len: usize) {
        if self.start + len > self.bytes.len() {
            let mut longer = Buffer::new(len);
            longer[..self.len].copy_from_slice(self);
            *self = longer;
        } else if len > self.len {
            self.bytes[self.start + self.len..self.start + len].fill(0);
        }
        self.len = len;
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        let mut clone = Buffer::new(self.len);
        clone.copy_from_slice(self);
        clone
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_what_a_vec_would_be_and_begins_at_a_page(lengths in prop::collection::vec(0usize..3 * PAGE, 1..12)) {
            let (mut buffer, mut vec) = (Buffer::default(), Vec::new());
            for (n, len) in lengths.into_iter().enumerate() {
                buffer.resize(len);
                vec.resize(len, 0);
                prop_assert!(*buffer == vec[..] && *buffer.clone() == vec[..]);
                for at in (0..len).step_by(100) {
                    (buffer[at], vec[at]) = (n as u8 + 1, n as u8 + 1);
                }
                prop_assert!(len == 0 || buffer.as_ptr().align_offset(PAGE) == 0);
            }
        }
    }
}
