//! Metadata files on their way out: every one on every drive, twice.

use crate::error::{Error, Result};
use crate::format::manifest::Listed;
use crate::format::names;
use crate::media::dir::Dir;
use crate::media::durable::{self, Partial};
use crate::media::program::Program;
use crate::pack::directories::SetDirs;
use crate::set::pass_on_program;
use crate::stages::compress::StreamCompressor;
use crate::stages::seal::SetRecipient;
use std::io::{self, BufWriter, Write};

/// Writes the same small file to every place of a set.
pub fn write_everywhere(dirs: &SetDirs, name: &str, bytes: &[u8]) -> Result<Listed> {
    for place in dirs.places() {
        durable::write(&place, name, bytes)?;
    }
    Ok(Listed { bytes: bytes.len() as u64, blake3: *blake3::hash(bytes).as_bytes() })
}

/// The same where some of them may be there: those that are as they should be stay.
pub fn ensure_everywhere(dirs: &SetDirs, name: &str, bytes: &[u8]) -> Result<Listed> {
    for place in dirs.places() {
        if place.read(name, bytes.len() as u64).is_ok_and(|there| there == bytes) {
            continue;
        }
        if place.has(name) {
            place.remove(name).map_err(Error::on_drive("remove", place.show(name)))?;
        }
        durable::write(&place, name, bytes)?;
    }
    Ok(Listed { bytes: bytes.len() as u64, blake3: *blake3::hash(bytes).as_bytes() })
}

/// Writes the `B3SUMS` of each drive, which differ.
pub fn write_b3sums(dirs: &SetDirs, of: impl Fn(u16) -> Vec<u8>) -> Result<()> {
    for drive in 0..dirs.dirs.len() {
        let bytes = of(drive as u16 + 1);
        dirs.places_on(drive).into_iter().try_for_each(|place| durable::write(place, names::B3SUMS, &bytes))?;
    }
    Ok(())
}

/// Compresses and seals the lines of the inventory straight into its places.
pub fn write_inventory(dirs: &SetDirs, lines: impl Iterator<Item = Vec<u8>>, to: &SetRecipient) -> Result<Listed> {
    let mut out = BufWriter::with_capacity(1 << 20, Everywhere::create(dirs, names::INVENTORY, |file| file)?);
    let sealed = seal_lines(&mut out, lines, to);
    let mut everywhere = out.into_inner().map_err(|e| Error::Internal(e.error().to_string()))?;
    if let Some(error) = everywhere.failed.take() {
        return Err(error);
    }
    sealed.map_err(|e| Error::Internal(format!("inventory: {e}")))?;
    everywhere.finish()
}

/// Copies a program to every place of a set, from one reading of it.
pub fn write_program(dirs: &SetDirs, program: &Program) -> Result<Listed> {
    let mut out = Everywhere::create(dirs, names::PROGRAM, Partial::executable)?;
    pass_on_program(program, &mut |piece| out.put(piece))?;
    out.finish()
}

fn seal_lines(out: &mut impl Write, lines: impl Iterator<Item = Vec<u8>>, to: &SetRecipient) -> io::Result<()> {
    let mut packed = StreamCompressor::new(to.writer(out)?)?;
    for line in lines {
        packed.write_all(&line)?;
    }
    packed.finish()?.finish()?.flush()
}

/// Writes to several files at once; keeps the error of a drive, which `io::Error` cannot carry.
struct Everywhere {
    files: Vec<Partial>,
    written: u64,
    hasher: blake3::Hasher,
    failed: Option<Error>,
}

impl Everywhere {
    fn create(dirs: &SetDirs, name: &str, made: impl Fn(Partial) -> Partial) -> Result<Everywhere> {
        let create = |place: &Dir| Partial::create(place, name).map(&made);
        let files = dirs.places().iter().map(create).collect::<Result<_>>()?;
        Ok(Everywhere { files, written: 0, hasher: blake3::Hasher::new(), failed: None })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.files.iter().try_for_each(|f| f.write_at(bytes, self.written))?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn finish(self) -> Result<Listed> {
        let listed = Listed { bytes: self.written, blake3: *self.hasher.finalize().as_bytes() };
        self.files.into_iter().try_for_each(Partial::finish)?;
        Ok(listed)
    }
}

impl Write for Everywhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed.is_none() {
            self.failed = self.put(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
