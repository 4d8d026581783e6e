//! Metadata files on their way out: every one on every drive, twice, and the small ones once more.

use crate::error::{Error, Result};
use crate::format::manifest::{Listed, Span};
use crate::format::{names, pieces};
use crate::media::dir::Dir;
use crate::media::durable::{self, Partial};
use crate::media::process::open_files;
use crate::media::program::Program;
use crate::pack::directories::SetDirs;
use crate::set::pass_on_program;
use crate::stages::compress::StreamCompressor;
use crate::stages::seal::SetRecipient;
use std::io::{self, BufWriter, Write};

/// Files that are written, and are to be finished together.
#[derive(Default)]
#[must_use = "unfinished files keep their .partial names"]
pub struct Drafts(Vec<Partial>);

impl Drafts {
    /// Begins with files that have been written elsewhere.
    pub fn new(written: Vec<Partial>) -> Drafts {
        Drafts(written)
    }

    /// Gives all of them their names, in the order in which they were written, once their contents are durable.
    pub fn finish(self) -> Result<()> {
        durable::finish_all(self.0)
    }

    /// The same small file in every place of a set.
    pub fn everywhere(&mut self, dirs: &SetDirs, name: &str, bytes: &[u8]) -> Result<Listed> {
        for place in dirs.places(name) {
            let file = dirs.begin(&place, name)?;
            file.write_at(bytes, 0)?;
            self.keep(file)?;
        }
        Ok(Listed::of(bytes))
    }

    /// The `B3SUMS` of each drive, which differ.
    pub fn b3sums(&mut self, dirs: &SetDirs, of: impl Fn(u16) -> Vec<u8>) -> Result<()> {
        for drive in 0..dirs.dirs.len() {
            let bytes = of(drive as u16 + 1);
            for place in dirs.places_on(drive, names::B3SUMS) {
                self.keep(durable::write(place, names::B3SUMS, &bytes)?)?;
            }
        }
        Ok(())
    }

    /// The lines of the inventory, compressed and sealed straight into its places.
    pub fn inventory(
        &mut self,
        dirs: &SetDirs,
        lines: impl Iterator<Item = Vec<u8>>,
        to: &SetRecipient,
    ) -> Result<Listed> {
        let mut out = BufWriter::with_capacity(1 << 20, Everywhere::create(dirs, names::INVENTORY, |file| file)?);
        let sealed = seal_lines(&mut out, lines, to);
        let mut everywhere = out.into_inner().map_err(|e| Error::Internal(e.error().to_string()))?;
        if let Some(error) = everywhere.failed.take() {
            return Err(error);
        }
        sealed.map_err(|e| Error::Internal(format!("inventory: {e}")))?;
        self.take(everywhere)
    }

    /// A program, in every place of a set, from one reading of it.
    pub fn program(&mut self, dirs: &SetDirs, program: &Program) -> Result<Listed> {
        let mut out = Everywhere::create(dirs, names::PROGRAM, Partial::executable)?;
        pass_on_program(program, &mut |piece| out.put(piece))?;
        Ok(Listed { pieces: Vec::new(), ..self.take(out)? })
    }

    fn take(&mut self, written: Everywhere) -> Result<Listed> {
        written.files.into_iter().try_for_each(|file| self.keep(file))?;
        let (bytes, blake3, pieces) = written.hasher.finish();
        Ok(Listed { bytes, blake3, pieces: pieces.into_iter().map(Span).collect() })
    }

    /// Files are open until they are finished: with many drives, that is done before there are too many.
    fn keep(&mut self, file: Partial) -> Result<()> {
        self.0.push(file);
        match self.0.len() > open_files() / 4 {
            true => durable::finish_all(std::mem::take(&mut self.0)),
            false => Ok(()),
        }
    }
}

/// The same small file in these places, where it may be: what is as it should be stays.
pub fn ensure(dirs: &SetDirs, places: &[Dir], name: &str, bytes: &[u8]) -> Result<Listed> {
    let mut written = Vec::new();
    for place in places {
        if place.read(name, bytes.len() as u64).is_ok_and(|there| there == bytes) {
            continue;
        }
        if place.has(name) {
            place.remove(name).map_err(Error::on_drive("remove", place.show(name)))?;
        }
        let file = dirs.begin(place, name)?;
        file.write_at(bytes, 0)?;
        written.push(file);
    }
    durable::finish_all(written)?;
    Ok(Listed::of(bytes))
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
    hasher: pieces::Hasher,
    failed: Option<Error>,
}

impl Everywhere {
    fn create(dirs: &SetDirs, name: &str, made: impl Fn(Partial) -> Partial) -> Result<Everywhere> {
        let create = |place: &Dir| dirs.begin(place, name).map(&made);
        let files = dirs.places(name).iter().map(create).collect::<Result<_>>()?;
        Ok(Everywhere { files, written: 0, hasher: pieces::Hasher::default(), failed: None })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.files.iter().try_for_each(|f| f.write_at(bytes, self.written))?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
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
