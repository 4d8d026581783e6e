//! The program that travels with a set: for an operator who has the drives, and nothing else to read them with.

use crate::error::{Error, Result};
use crate::format::manifest::LONGEST_PROGRAM;
use crate::media::disk::Disk;
use crate::media::processor;
use crate::media::program::{OWN, Program};
use std::path::Path;

/// Opens a program that is to travel, and refuses one that might not run where it arrives.
pub fn program_to_travel(disk: &Disk, path: &Path) -> Result<Program> {
    let program = Program::open(disk, path)?;
    program.require_static()?;
    crate::format::within("length of the program", program.bytes(), 1, LONGEST_PROGRAM)
        .map_err(|e| Error::usage(e.to_string(), "give a smaller one: built with --release, and stripped"))?;
    let rare = processor::rare_needs();
    match program.is_own() && !rare.is_empty() {
        false => Ok(program),
        true => Err(Error::usage(
            format!("this ckvault needs a processor with {}, which the other machine may not have", rare.join(", ")),
            "build one for x86-64-v2 (README, One file for every machine), and export with that, or name it: --with-tool=PATH",
        )),
    }
}

/// The program that is running, if it has this length and this hash.
pub fn own_program(disk: &Disk, bytes: u64, hash: &[u8; 32]) -> Option<Program> {
    let own = Program::open(disk, Path::new(OWN)).ok().filter(|own| own.bytes() == bytes)?;
    let mut hasher = blake3::Hasher::new();
    let mut add = |piece: &[u8]| {
        hasher.update(piece);
        Ok(())
    };
    pass_on_program(&own, &mut add).ok()?;
    (hasher.finalize() == *hash).then_some(own)
}

/// Passes all of a program on, piece by piece; one that has another length than it had is refused.
pub fn pass_on_program(program: &Program, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let (mut piece, mut at) = (vec![0; 1 << 20], 0);
    loop {
        let read = program.read(&mut piece, at)?;
        if read == 0 {
            break;
        }
        take(&piece[..read])?;
        at += read as u64;
    }
    match at == program.bytes() {
        true => Ok(()),
        false => Err(Error::refused(
            format!("{} was changed while it was copied", program.name()),
            "wait until nothing writes to it any more",
        )),
    }
}
