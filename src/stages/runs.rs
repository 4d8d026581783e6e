//! In which order a drive holds the volumes of a group: a run of each in turn. Who writes gathers rows until there is one of each, who
//! reads takes them in that order: a disk that holds several volumes would go to and fro between them for each row otherwise.

use crate::format::hashes::SLICE;

/// Bytes of a run, unless there are many volumes: a disk reads or writes them in some five times as long as it takes to find them.
const LONGEST: u64 = 8 << 20;
/// Bytes that are gathered over all volumes of a group, at most.
const GATHERED: u64 = 160 << 20;
/// The stripes to which frames are dealt take much memory where there are more volumes than this, or longer segments than those: less
/// is gathered then.
const WIDE: usize = 192;
const LONG: u32 = 1 << 20;

/// Bytes of a run where a group has so many volumes, for segments of that length. Runs begin at the multiples of it in their volumes,
/// as file systems like it.
pub fn run_bytes(volumes: usize, segment_bytes: u32) -> u64 {
    let gathered = if volumes > WIDE || segment_bytes > LONG { GATHERED / 2 } else { GATHERED };
    let most = gathered / volumes.max(1) as u64;
    (1 << most.max(1).ilog2()).clamp(SLICE.bytes(), LONGEST)
}

/// The end of the run of this length that a byte of a volume is in.
pub fn run_end(offset: u64, run: u64) -> u64 {
    offset / run * run + run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_long_and_all_of_them_fit_into_memory() {
        for (volumes, bytes) in
            [(1, 8 << 20), (18, 8 << 20), (20, 8 << 20), (21, 4 << 20), (192, 512 << 10), (255, 256 << 10)]
        {
            assert_eq!(run_bytes(volumes, LONG), bytes, "{volumes}");
            assert_eq!(
                [run_end(0, bytes), run_end(bytes - 1, bytes), run_end(bytes, bytes)],
                [bytes, bytes, 2 * bytes]
            );
        }
        for segment in [64 << 10, LONG, 8 << 20] {
            (1..=255).for_each(|n| assert!(run_bytes(n, segment) * n as u64 <= GATHERED));
            (1..=255).for_each(|n| assert!(run_bytes(n, segment) >= 256 << 10));
        }
        assert_eq!([10, 18, 20].map(|volumes| run_bytes(volumes, 8 << 20)), [8 << 20, 4 << 20, 4 << 20]);
    }
}
