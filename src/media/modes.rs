//! Which of the recorded permissions are restored: whoever imports decides, by the umask or with `--modes exact`.

use rustix::fs::Mode;

const PERMISSIONS: u32 = 0o777;
const STICKY: u32 = 0o1000;
const SETGID: u32 = 0o2000;
/// Where the system tells the umask without changing it (proc(5), since Linux 4.7).
const STATUS: &str = "/proc/self/status";

/// How modes are restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modes {
    /// As any new file gets them: without the bits of this umask, and without sticky bits.
    Masked(u32),
    /// As they were recorded; but a file never runs with another user's rights.
    Exact,
}

impl Modes {
    /// With the umask of this process.
    pub fn masked() -> Modes {
        Modes::Masked(umask())
    }

    /// The mode of a file.
    pub fn of_file(self, recorded: u32) -> u32 {
        match self {
            Modes::Masked(umask) => recorded & PERMISSIONS & !umask,
            Modes::Exact => recorded & (PERMISSIONS | STICKY),
        }
    }

    /// The mode of a directory that has `current` as it was made: one that hands down its group goes on doing so.
    pub fn of_dir(self, recorded: u32, current: u32) -> u32 {
        match self {
            Modes::Masked(umask) => recorded & PERMISSIONS & !umask | current & SETGID,
            Modes::Exact => recorded & (PERMISSIONS | STICKY | SETGID),
        }
    }
}

fn umask() -> u32 {
    let status = std::fs::read_to_string(STATUS).unwrap_or_default();
    let told = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    told.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or_else(|| {
        // The only other way to learn it is to set it.
        let umask = rustix::process::umask(Mode::from_raw_mode(0o077));
        rustix::process::umask(umask);
        umask.as_raw_mode()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_masked_unless_they_are_to_be_exact() {
        let (masked, exact) = (Modes::Masked(0o027), Modes::Exact);
        for (recorded, file, dir) in [(0o7777, 0o750, 0o750), (0o666, 0o640, 0o640), (0o400, 0o400, 0o400)] {
            assert_eq!((masked.of_file(recorded), masked.of_dir(recorded, 0o700)), (file, dir), "{recorded:o}");
        }
        assert_eq!(masked.of_dir(0o777, 0o2700), 0o2750);
        assert_eq!((exact.of_file(0o7777), exact.of_dir(0o7777, 0o2700)), (0o1777, 0o3777));
    }
}
