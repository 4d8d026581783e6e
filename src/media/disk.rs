//! All calls to file systems that may fail go through a [`Media`], so that a test can make any one of them fail as drives do. What is
//! in a directory is reached through `media::dir`. The fence and the programs that are run outside of it are asked for
//! here too, so that a library never raises the one or starts the other by itself.

use crate::media::act::Act;
use crate::media::cache;
use crate::media::errand::{Done, Errand};
use crate::media::fence::Needs;
use crate::media::pace::{Paces, Reach};
use crate::media::unfinished::{Note, Removal, Unfinished};
use rustix::fs::{OFlags, fstat};
use rustix::io::Errno;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::panic::Location;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

/// What is about to be done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A file is opened for reading.
    Open,
    /// A file or directory is made.
    Create,
    /// A file gets another length.
    Resize,
    /// Contents, a directory or a whole file system become durable.
    Sync,
    /// Something gets another name.
    Rename,
    /// Something is removed.
    Remove,
    /// Mode, times or attributes are set, or a link is made.
    Change,
}

/// What stands between ckvault and a file system. The defaults let everything pass.
pub trait Media: Send + Sync {
    /// Asked before each operation but reading and writing.
    fn allow(&self, _operation: Operation, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Told what has been done, when that went well.
    fn did(&self, _act: &Act) {}

    /// Reads some bytes at `offset`, as pread(2) does.
    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        file.read_at(buffer, offset)
    }

    /// Writes some bytes at `offset`, as pwrite(2) does.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        file.write_at(bytes, offset)
    }

    /// Waits until nothing that was written to a file system, by its device, is on its way any more without anybody waiting for it.
    fn settle(&self, _device: u64) -> io::Result<()> {
        Ok(())
    }

    /// Who writes has been told to stop: nobody waits for a drive any more before that is seen.
    fn stop(&self) {}

    /// Whether that was told.
    fn is_stopped(&self) -> bool {
        false
    }

    /// Takes note of how something is removed, if who began it is stopped and does not come to do that.
    fn note_unfinished(&self, _removal: Removal) -> Option<Note> {
        None
    }

    /// Removes all that is noted, for who ends this process.
    fn remove_unfinished(&self) {}

    /// How far what was written to a file system, by its device, is.
    fn reach(&self, _device: u64) -> Reach {
        Reach::default()
    }

    /// Told that somebody waits until what was written to a file system is durable.
    fn want_durable(&self, _device: u64) {}

    /// Told that what was written to a file system up to there is durable.
    fn synced(&self, _device: u64, _written: u64) {}

    /// Told that a file is durable. The error is what was said of it before, and to nobody.
    fn synced_file(&self, _device: u64, _inode: u64) -> io::Result<()> {
        Ok(())
    }

    /// Told what is needed from now on: a fence may be raised around that.
    fn confine(&self, _needs: &Needs) {}

    /// Runs a program.
    fn run(&self, errand: &Errand) -> io::Result<Done> {
        errand.run(Stdio::null())
    }
}

struct System;

impl Media for System {}

/// A shared [`Media`]; by default the system itself.
#[derive(Clone)]
pub struct Disk(Arc<dyn Media>);

/// A [`Media`] to which nobody writes faster than its drives take it.
struct Paced<M> {
    media: M,
    paces: Paces,
    unfinished: Arc<Unfinished>,
}

impl<M: Media> Media for Paced<M> {
    fn allow(&self, operation: Operation, path: &Path) -> io::Result<()> {
        self.media.allow(operation, path)
    }
    fn did(&self, act: &Act) {
        self.media.did(act);
    }
    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.media.read_at(file, buffer, offset)
    }
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let written = self.media.write_at(file, &bytes[..bytes.len().min(self.paces.piece())], offset)?;
        self.paces.wrote(file, written as u64)?;
        Ok(written)
    }
    fn settle(&self, device: u64) -> io::Result<()> {
        self.paces.settle(device)
    }
    fn stop(&self) {
        self.paces.end();
    }
    fn is_stopped(&self) -> bool {
        self.paces.is_over()
    }
    fn note_unfinished(&self, removal: Removal) -> Option<Note> {
        Some(self.unfinished.note(removal))
    }
    fn remove_unfinished(&self) {
        self.unfinished.remove();
    }
    fn reach(&self, device: u64) -> Reach {
        self.paces.reach(device)
    }
    fn want_durable(&self, device: u64) {
        self.paces.want(device);
    }
    fn synced(&self, device: u64, written: u64) {
        self.paces.synced(device, written);
    }
    fn synced_file(&self, device: u64, inode: u64) -> io::Result<()> {
        self.paces.synced_file(device, inode)
    }
    fn confine(&self, needs: &Needs) {
        self.media.confine(needs);
    }
    fn run(&self, errand: &Errand) -> io::Result<Done> {
        self.media.run(errand)
    }
}

impl Default for Disk {
    fn default() -> Disk {
        Disk::new(System)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Disk")
    }
}

/// A file that has been opened for reading through a [`Disk`].
#[derive(Debug)]
pub struct Opened {
    disk: Disk,
    file: File,
    at: u64,
}

impl Disk {
    /// All calls pass through `media`.
    pub fn new(media: impl Media + 'static) -> Disk {
        Disk(Arc::new(Paced { media, paces: Paces::default(), unfinished: Arc::default() }))
    }

    /// Tells that who writes has been told to stop.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Whether who writes has been told to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped()
    }

    /// Takes note of how something is removed, until what is returned is dropped.
    pub fn note_unfinished(&self, removal: impl FnOnce() + Send + 'static) -> Option<Note> {
        self.0.note_unfinished(Box::new(removal))
    }

    /// Removes all that is noted, for who ends this process.
    pub fn remove_unfinished(&self) {
        self.0.remove_unfinished();
    }

    /// Asks for an operation that the caller then does.
    pub fn allow(&self, operation: Operation, path: &Path) -> io::Result<()> {
        self.0.allow(operation, path)
    }

    /// Tells what the caller has done.
    pub fn did(&self, act: &Act) {
        self.0.did(act);
    }

    /// Says what is needed from now on, and that nothing else is.
    pub fn confine(&self, needs: &Needs) {
        self.0.confine(needs);
    }

    /// Runs a program to its end.
    pub fn run(&self, errand: &Errand) -> io::Result<Done> {
        self.0.run(errand)
    }

    /// Opens a file of the user's for reading, without touching its access time where the system lets its owner.
    pub fn open_source(&self, path: &Path) -> io::Result<Opened> {
        match self.open_with(path, OFlags::NOATIME | OFlags::NONBLOCK) {
            Err(e) if e.raw_os_error() == Some(Errno::PERM.raw_os_error()) => self.open_with(path, OFlags::NONBLOCK),
            other => other,
        }
    }

    fn open_with(&self, path: &Path, flags: OFlags) -> io::Result<Opened> {
        self.0.allow(Operation::Open, path)?;
        let flags = (flags | OFlags::CLOEXEC).bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        Ok(Opened { disk: self.clone(), file, at: 0 })
    }

    /// A file that has been opened elsewhere, to be read through here.
    pub fn opened(&self, file: File) -> Opened {
        Opened { disk: self.clone(), file, at: 0 }
    }

    /// Writes all of `bytes` at `offset`; waits if the drive is behind.
    pub fn write_all_at(&self, file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.0.write_at(file, bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => (bytes, offset) = (&bytes[n..], offset + n as u64),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Fills `buffer` from `offset` on; returns how many bytes there were.
    pub fn read_up_to(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(file, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// Gives a file another length.
    pub fn resize(&self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        self.0.allow(Operation::Resize, path)?;
        file.set_len(len)?;
        self.did(&Act::Resized(file.as_fd(), len));
        Ok(())
    }

    /// Gives a file that is no longer a place for its first `len` bytes, which read as zeros. Some file systems cannot do that.
    pub fn reserve(&self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        self.0.allow(Operation::Resize, path)?;
        cache::reserve(file, len)?;
        self.did(&Act::Resized(file.as_fd(), len));
        Ok(())
    }

    /// Makes the contents of a file durable.
    #[track_caller]
    pub fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        self.0.allow(Operation::Sync, path)?;
        let settled = self.settle(file);
        file.sync_all()?;
        let told = fstat(file)?;
        self.0.synced_file(told.st_dev, told.st_ino)?;
        self.did(&Act::Synced(file.as_fd(), Location::caller()));
        settled
    }

    /// Makes all that was written to a file system durable, where it can do that in one go.
    #[track_caller]
    pub fn sync_file_system(&self, file: &File, path: &Path) -> io::Result<()> {
        self.0.allow(Operation::Sync, path)?;
        self.settle(file)?;
        self.sync_all_of(file)
    }

    /// Makes all that was written to a file system durable, and takes note of that.
    #[track_caller]
    pub(in crate::media) fn sync_all_of(&self, file: &impl AsFd) -> io::Result<()> {
        let device = fstat(file)?.st_dev;
        let before = self.0.reach(device);
        rustix::fs::syncfs(file)?;
        self.0.synced(device, before.written);
        self.did(&Act::SyncedAll(file.as_fd(), Location::caller()));
        Ok(())
    }

    /// How far what was written to the file system of a file or directory is.
    pub fn reach(&self, file: &impl AsFd) -> io::Result<Reach> {
        Ok(self.0.reach(fstat(file)?.st_dev))
    }

    /// Has what was written to the file system of a file become durable soon.
    pub fn want_durable(&self, file: &impl AsFd) {
        if let Ok(stat) = fstat(file) {
            self.0.want_durable(stat.st_dev);
        }
    }

    /// Waits until nothing is under way on the file system of a file or directory. An error is one that was told to nobody.
    pub fn settle(&self, file: &impl AsFd) -> io::Result<()> {
        self.0.settle(fstat(file)?.st_dev)
    }
}

impl Opened {
    /// The file itself, for what does not read.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its metadata.
    pub fn metadata(&self) -> io::Result<std::fs::Metadata> {
        self.file.metadata()
    }

    /// Fills `buffer` from `offset` on; returns how many bytes there were.
    pub fn read_up_to(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.read_up_to(&self.file, buffer, offset)
    }
}

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.disk.0.read_at(&self.file, buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
