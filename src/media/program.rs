//! A program that is to run on a machine of which nothing is known: one ELF file that needs no other.

use crate::error::{Error, Result};
use crate::media::disk::{Disk, Opened};
use std::path::{Path, PathBuf};

/// The program that is running, even if its file has been replaced or removed meanwhile.
pub const OWN: &str = "/proc/self/exe";

/// Length of the ELF header, of an entry in the table of program headers, and the most entries that are looked at.
const HEADER: usize = 64;
const ENTRY: usize = 56;
const MOST_ENTRIES: u16 = 512;
/// The kind of program header that names the dynamic linker.
const PT_INTERP: u32 = 3;
const EXECUTABLE: u16 = 2;
const SHARED: u16 = 3;

/// What ELF calls the processors that this program is built for; others are not told apart.
const MACHINE: Option<u16> = if cfg!(target_arch = "x86_64") {
    Some(62)
} else if cfg!(target_arch = "aarch64") {
    Some(183)
} else {
    None
};

/// A program file, opened once: what is copied is what was looked at, also if the file is replaced meanwhile.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    file: Opened,
    bytes: u64,
}

impl Program {
    /// Opens it; whether it can run elsewhere is asked by [`Program::require_static`].
    pub fn open(disk: &Disk, path: &Path) -> Result<Program> {
        let file = disk.open_source(path).map_err(Error::io("read", path))?;
        let meta = file.file().metadata().map_err(Error::io("read", path))?;
        match meta.is_file() {
            true => Ok(Program { path: path.to_owned(), file, bytes: meta.len() }),
            false => Err(Error::usage(format!("{} is not a file", path.display()), "give a program file")),
        }
    }

    /// Its length when it was opened.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How it is called towards people.
    pub fn name(&self) -> String {
        if self.is_own() { "this ckvault".into() } else { self.path.display().to_string() }
    }

    /// Whether it is the one that is running.
    pub fn is_own(&self) -> bool {
        self.path == Path::new(OWN)
    }

    /// Reads some bytes of it, as many as there are up to the length of `buffer`.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_up_to(buffer, offset).map_err(Error::io("read", &self.path))
    }

    /// Refuses what would not run without the files of this machine, or not on its kind of processor.
    pub fn require_static(&self) -> Result<()> {
        let mut header = [0; HEADER];
        let read = self.read(&mut header, 0)?;
        let elf = Header::parse(&header[..read]).ok_or_else(|| self.refused("is not a program for 64-bit Linux"))?;
        if MACHINE.is_some_and(|own| own != elf.machine) {
            return Err(self.refused("is a program for another kind of processor"));
        }
        let mut table = vec![0; usize::from(elf.entries) * ENTRY];
        let read = self.read(&mut table, elf.table)?;
        if read < table.len() || elf.entry == 0 {
            return Err(self.refused("is not a program that can be run: a library, or cut short"));
        }
        let mut kinds = table.chunks_exact(ENTRY).filter_map(|entry| number(entry, 0, 4));
        match kinds.any(|kind| kind == u64::from(PT_INTERP)) {
            true => Err(self.refused("is linked dynamically, and needs libraries that another machine may not have")),
            false => Ok(()),
        }
    }

    fn refused(&self, why: &str) -> Error {
        Error::usage(
            format!("{} {why}", self.name()),
            "build a static ckvault (README, One file for every machine), and export with that, or name it: --with-tool=PATH",
        )
    }
}

/// What is needed of the header of an ELF file of 64-bit little-endian words.
struct Header {
    machine: u16,
    entry: u64,
    table: u64,
    entries: u16,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Header> {
        let kind = number(bytes, 16, 2)? as u16;
        let header = Header {
            machine: number(bytes, 18, 2)? as u16,
            entry: number(bytes, 24, 8)?,
            table: number(bytes, 32, 8)?,
            entries: number(bytes, 56, 2)? as u16,
        };
        let known = bytes.starts_with(b"\x7fELF\x02\x01") && number(bytes, 54, 2)? == ENTRY as u64;
        let sound = (1..=MOST_ENTRIES).contains(&header.entries) && header.table <= u64::MAX >> 1;
        (known && sound && [EXECUTABLE, SHARED].contains(&kind)).then_some(header)
    }
}

/// A little-endian number of `len` bytes.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let field = bytes.get(at..at + len)?;
    Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with program headers of these kinds and nothing else.
    fn elf(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(HEADER, 0);
        bytes[16] = EXECUTABLE as u8;
        bytes[18..20].copy_from_slice(&MACHINE.unwrap_or(62).to_le_bytes());
        bytes[24] = 1;
        bytes[32] = HEADER as u8;
        bytes[54] = ENTRY as u8;
        bytes[56] = kinds.len() as u8;
        for kind in kinds {
            bytes.extend(kind.to_le_bytes());
            bytes.resize(bytes.len() + ENTRY - 4, 0);
        }
        bytes
    }

    fn judged(bytes: &[u8]) -> std::result::Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        std::fs::write(&path, bytes).unwrap();
        let program = Program::open(&Disk::default(), &path).unwrap();
        program.require_static().map_err(|e| e.to_string().replace(&path.display().to_string(), "it"))
    }

    #[test]
    fn only_static_programs_of_this_kind_of_processor_will_do() {
        assert_eq!(judged(&elf(&[1, 1, 2])), Ok(()));
        let changed = |at: usize, byte: u8| {
            let mut bytes = elf(&[1]);
            bytes[at] = byte;
            judged(&bytes).unwrap_err()
        };
        assert!(judged(&elf(&[1, PT_INTERP])).unwrap_err().contains("dynamically"));
        assert!(changed(18, 3).contains("another kind of processor"));
        assert!(changed(24, 0).contains("a library, or cut short"));
        assert!(changed(56, 9).contains("a library, or cut short"));
        for (at, byte) in [(0, 0), (4, 1), (5, 2), (16, 1), (39, 255), (54, 32), (56, 0), (57, 255)] {
            assert!(changed(at, byte).contains("not a program"), "{at}");
        }
        let whole = elf(&[1, 1]);
        for len in 0..whole.len() {
            assert!(judged(&whole[..len]).is_err(), "{len}");
        }
        assert!(judged(b"#!/bin/sh\nexec ckvault \"$@\"\n").is_err());
    }
}
