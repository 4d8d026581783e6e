//! Files that are complete or not there: written as `.partial`, fsynced, renamed, the directory fsynced.

use crate::error::{Error, Result, is_failure};
use crate::media::cache;
use crate::media::dir::Dir;
use crate::media::kind::Kind;
use crate::media::pace::Reach;
use crate::media::unfinished::Note;
use crate::threads::FirstError;
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// No file that is to lie by itself is given less: ext4 keeps those that are shorter than 64 KiB together.
pub const LEAST_ROOM: u64 = 128 << 10;
/// Bytes of zeros that are written at once.
const FILLED_AT_ONCE: u64 = 1 << 20;

/// What the name of an unfinished file ends with.
pub const PARTIAL_SUFFIX: &str = ".partial";

/// A name of ours that nobody can know before it is there: 64 random bits between `.ckvault-KIND-` and `.partial`.
pub fn private_name(kind: &str) -> std::io::Result<String> {
    let random = getrandom::u64().map_err(|e| std::io::Error::other(e.to_string()))?;
    Ok(format!(".ckvault-{kind}-{random:016x}{}", PARTIAL_SUFFIX))
}

/// A file in the making. Dropped without [`Partial::finish`], it keeps its `.partial` name.
#[derive(Debug)]
#[must_use = "an unfinished file keeps its .partial name"]
pub struct Partial {
    dir: Dir,
    name: String,
    file: File,
    /// It was given a place before it had contents, and where these end.
    placed: bool,
    end: AtomicU64,
    /// An earlier run began it, and may have been given room behind what it wrote.
    goes_on: bool,
    /// Keeps it noted as long as it is unfinished.
    _note: Option<Note>,
}

impl Partial {
    /// Begins a new file; one of the same name, finished or not, must not exist.
    pub fn create(dir: &Dir, name: &str) -> Result<Partial> {
        if dir.has(name) {
            return Err(Error::on_drive("create", dir.show(name))(std::io::ErrorKind::AlreadyExists.into()));
        }
        Partial::replacing(dir, name)
    }

    /// Begins a file that may take the place of another one when it is finished.
    pub fn replacing(dir: &Dir, name: &str) -> Result<Partial> {
        let partial = format!("{name}{PARTIAL_SUFFIX}");
        let file = dir.create(&partial, 0o644).map_err(Error::on_drive("create", dir.show(&partial)))?;
        // Whatever the umask of the sender: the receiver is another user. File systems without modes refuse, and need none.
        let _ = file.set_permissions(Permissions::from_mode(0o644));
        Ok(Partial {
            dir: dir.clone(),
            name: name.to_owned(),
            file,
            placed: false,
            end: AtomicU64::new(0),
            goes_on: false,
            _note: None,
        })
    }

    /// Begins a file in the place of whatever is unfinished there.
    pub fn anew(dir: &Dir, name: &str) -> Result<Partial> {
        let partial = format!("{name}{PARTIAL_SUFFIX}");
        match dir.remove(&partial) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::on_drive("remove", dir.show(&partial))(e)),
            _ => Partial::replacing(dir, name),
        }
    }

    /// Takes up an unfinished file that has a place of at least `least` bytes, to be written anew there. A link, or a file that has
    /// another name as well, is none.
    pub fn taken_up(dir: &Dir, name: &str, least: u64) -> Option<Partial> {
        Partial::at_its_place(dir, name, least).ok()?
    }

    fn at_its_place(dir: &Dir, name: &str, least: u64) -> std::io::Result<Option<Partial>> {
        let file = dir.open_to_write(format!("{name}{PARTIAL_SUFFIX}"))?;
        let known = file.metadata()?;
        let ours = known.nlink() == 1 && known.len() >= least;
        let end = AtomicU64::new(0);
        Ok(ours.then(|| Partial {
            dir: dir.clone(),
            name: name.to_owned(),
            file,
            placed: true,
            end,
            goes_on: false,
            _note: None,
        }))
    }

    /// Its length.
    pub fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |known| known.len())
    }

    /// Takes up an unfinished file where it stands, to be read and written on; one that has its name already is unfinished again. A
    /// link, or a file that has another name as well, is none.
    /// An error is one of the drive.
    pub fn unfinished(dir: &Dir, name: &str) -> Result<Option<Partial>> {
        let partial = format!("{name}{PARTIAL_SUFFIX}");
        let failed = |e: std::io::Error| match is_failure(&e) {
            true => Err(Error::on_drive("open", dir.show(&partial))(e)),
            false => Ok(None),
        };
        if !dir.has_file(&partial)
            && dir.has_file(name)
            && let Err(e) = dir.rename(name, &partial)
        {
            return failed(e);
        }
        match Partial::at_its_place(dir, name, 0) {
            Ok(file) => Ok(file.map(|file| Partial { placed: false, goes_on: true, ..file })),
            Err(e) => failed(e),
        }
    }

    /// What is behind this is not of the file any more, whatever is written there now.
    pub fn stands_at(&self, end: u64) {
        self.end.store(end, Ordering::Relaxed);
    }

    /// What is read of it next comes from the drive, as far as the system lets it.
    pub fn forget(&self) {
        cache::evict(&self.file);
    }

    /// Fills `buffer` from `offset` on; returns how many bytes there were.
    pub fn read_up_to(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.dir.disk().read_up_to(&self.file, buffer, offset)
    }

    /// It is of no use unfinished: removed if the verb is stopped.
    pub fn fleeting(mut self) -> Partial {
        let (dir, partial) = (self.dir.clone(), self.partial_name());
        self._note = self.dir.disk().note_unfinished(move || drop(dir.remove(partial)));
        self
    }

    /// It is a program that anybody may run, where the file system has modes.
    pub fn executable(self) -> Partial {
        let _ = self.file.set_permissions(Permissions::from_mode(0o755));
        self
    }

    /// It gets a place for this many bytes now, on file systems that keep one. What it does not need is given back when it is
    /// finished; without room it gets none.
    pub fn reserving(mut self, bytes: u64) -> Result<Partial> {
        let (disk, path) = (self.dir.disk(), self.path());
        let placed = match disk.reserve(&self.file, &path, bytes) {
            Err(e) if !is_full(&e) => self.fill(bytes),
            other => other,
        };
        match placed {
            Ok(()) => self.placed = bytes > 0,
            // What there was room for is given back: file systems may have given that much before they found no more.
            Err(e) if is_full(&e) => disk.resize(&self.file, &path, 0).map_err(Error::on_drive("write", &path))?,
            Err(e) => return Err(Error::on_drive("write", &path)(e)),
        }
        Ok(self)
    }

    /// Whether it was given a place before it had contents.
    pub fn is_placed(&self) -> bool {
        self.placed
    }

    /// Where a place cannot be asked for, zeros get one.
    fn fill(&self, bytes: u64) -> std::io::Result<()> {
        let zeros = vec![0; bytes.min(FILLED_AT_ONCE) as usize];
        for at in (0..bytes).step_by(FILLED_AT_ONCE as usize) {
            let some = &zeros[..(bytes - at).min(FILLED_AT_ONCE) as usize];
            self.dir.disk().write_all_at(&self.file, some, at)?;
        }
        self.dir.disk().sync(&self.file, &self.path())
    }

    /// Whether it has more than it needs, whoever gave it that, or may have room behind its end.
    fn is_too_long(&self) -> Result<bool> {
        let has = self.file.metadata().map_err(Error::on_drive("look at", self.path()))?.len();
        Ok(has + u64::from(self.goes_on) > self.end.load(Ordering::Relaxed))
    }

    /// Gives back what it has and does not need; returns whether that was anything.
    pub fn cut(&self) -> Result<bool> {
        let end = self.end.load(Ordering::Relaxed);
        if !self.is_too_long()? {
            return Ok(false);
        }
        self.dir.disk().resize(&self.file, &self.path(), end).map_err(Error::on_drive("cut", self.path()))?;
        Ok(true)
    }

    /// Whether it is to get this name in this directory.
    pub fn is(&self, dir: &Dir, name: &str) -> bool {
        self.dir == *dir && self.name == name
    }

    /// The directory that it is in.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The name that it has now.
    pub fn partial_name(&self) -> String {
        format!("{}{PARTIAL_SUFFIX}", self.name)
    }

    /// Where it is now, to be shown.
    pub fn path(&self) -> PathBuf {
        self.dir.show(self.partial_name())
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.dir.disk().write_all_at(&self.file, bytes, offset).map_err(|e| {
            let path = format!("{} at byte {offset}", self.path().display());
            Error::on_drive("write", path)(e)
        })?;
        self.end.fetch_max(offset + bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The bytes from `from` to `to` are written next, and get one place.
    pub fn place(&self, from: u64, to: u64) {
        cache::place(&self.file, from, to - from);
    }

    /// Has the drive begin to write the bytes from `from` to `to`, and these before others that it is told of later.
    pub fn begin_writing(&self, from: u64, to: u64) {
        cache::begin_writing(&self.file, from, to - from);
    }

    /// Makes the contents durable, so that they can be read back before they get their name.
    #[track_caller]
    pub fn sync(&self) -> Result<()> {
        self.dir.disk().sync(&self.file, &self.path()).map_err(Error::on_drive("sync", self.path()))
    }

    /// Makes all that was written to its file system durable.
    #[track_caller]
    pub fn sync_file_system(&self) -> Result<()> {
        let disk = self.dir.disk();
        disk.sync_file_system(&self.file, &self.path()).map_err(Error::on_drive("sync", self.path()))?;
        self.sync()
    }

    /// How far what was written to its file system is.
    pub fn reach(&self) -> Reach {
        self.dir.disk().reach(&self.file).unwrap_or_default()
    }

    /// Has what was written become durable soon, without waiting for it.
    pub fn want_durable(&self) {
        self.dir.disk().want_durable(&self.file);
    }

    /// Removes it, as far as the drive lets it.
    pub fn discard(self) {
        let _ = self.dir.remove(self.partial_name());
    }

    /// Makes the contents durable, then gives the file its name, then makes the name durable.
    pub fn finish(self) -> Result<()> {
        finish_all(vec![self])
    }
}

/// The same with several files, of one drive or more: first the contents of all are durable, then they get their names in this order,
/// then these are durable. One by one, a disk would go to and fro several times for each.
pub fn finish_all(files: Vec<Partial>) -> Result<()> {
    let mut drives: BTreeMap<u64, Vec<&Partial>> = BTreeMap::new();
    for file in &files {
        let device = file.file.metadata().map_err(Error::on_drive("look at", file.path()))?.dev();
        drives.entry(device).or_default().push(file);
    }
    let failure = FirstError::default();
    std::thread::scope(|scope| {
        for files in drives.values() {
            let failure = &failure;
            scope.spawn(move || failure.keep(make_durable(files), || ()));
        }
    });
    failure.check()?;
    for file in &files {
        file.dir.rename(file.partial_name(), &file.name).map_err(Error::on_drive("rename", file.path()))?;
    }
    let mut synced: Vec<&Dir> = Vec::new();
    for dir in files.iter().map(|file| &file.dir) {
        if !synced.contains(&dir) {
            dir.sync().map_err(Error::on_drive("sync", dir.path()))?;
            synced.push(dir);
        }
    }
    Ok(())
}

/// The contents of files on one file system. Nothing is given back before all have their places: it would be the next place to be taken.
fn make_durable(files: &[&Partial]) -> Result<()> {
    let too_long: Vec<_> = files.iter().map(|file| file.is_too_long()).collect::<Result<_>>()?;
    if too_long.contains(&true) {
        let without_place: Vec<_> = files.iter().copied().filter(|file| !file.placed).collect();
        begin_writing(&without_place)?;
        files.iter().try_for_each(|file| file.cut().map(drop))?;
    }
    sync_all(files)
}

/// All files on one file system: in one go, then each says whether that went well. The last one comes first: at its end those before it
/// have come to theirs, and have nothing left to do.
#[track_caller]
pub fn sync_all(files: &[&Partial]) -> Result<()> {
    if files.len() > 1 {
        begin_writing(files)?;
    }
    // No closure: it would be the place that is said to have done it.
    for file in files.iter().rev() {
        file.sync()?;
    }
    Ok(())
}

/// What was written to files on one file system has its place then, and is on its way there.
fn begin_writing(files: &[&Partial]) -> Result<()> {
    match files {
        [first, ..] if !Kind::of(&first.file).gives_places_when_asked() => first.sync_file_system(),
        _ => {
            files.iter().for_each(|file| file.begin_writing(0, file.len()));
            Ok(())
        }
    }
}

/// Whether there is no room, or none for this user.
fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Writes a small file, which still has to be finished.
pub fn write(dir: &Dir, name: &str, bytes: &[u8]) -> Result<Partial> {
    let partial = Partial::create(dir, name)?;
    partial.write_at(bytes, 0)?;
    Ok(partial)
}

/// Makes a directory on a drive, durably, for anybody to read.
pub fn create_dir(parent: &Dir, name: &str) -> Result<Dir> {
    let dir = parent.make_dir(name, 0o755).map_err(Error::on_drive("create", parent.show(name)))?;
    // Whatever the umask of the sender.
    let _ = dir.set_own_mode(0o755);
    parent.sync().map_err(Error::on_drive("sync", parent.path()))?;
    Ok(dir)
}

/// The directory of that name on a drive: the one that is there, or a new one, also in the place of what is none.
pub fn ensure_dir(parent: &Dir, name: &str) -> Result<Dir> {
    if matches!(parent.kind(name), Ok(Some(kind)) if kind != FileType::Directory) {
        parent.remove(name).map_err(Error::on_drive("remove", parent.show(name)))?;
    }
    match parent.dir(name) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => create_dir(parent, name),
        other => other.map_err(Error::on_drive("open", parent.show(name))),
    }
}

/// Writes a secret of the user's: mode 0600, never over an existing file.
pub fn write_secret(dir: &Dir, name: &str, bytes: &[u8]) -> Result<()> {
    create_new(dir, name, bytes, 0o600)
}

/// Writes a public file of the user's, never over an existing one.
pub fn write_public(dir: &Dir, name: &str, bytes: &[u8]) -> Result<()> {
    create_new(dir, name, bytes, 0o644)
}

fn create_new(dir: &Dir, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let (disk, path) = (dir.disk(), dir.show(name));
    let file = dir.create(name, mode).map_err(Error::io("create", &path))?;
    disk.write_all_at(&file, bytes, 0).map_err(Error::io("write", &path))?;
    disk.sync(&file, &path).map_err(Error::io("sync", &path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::disk::Disk;

    #[test]
    fn a_file_that_is_gone_on_with_ends_where_it_stands_or_where_it_is_written_to() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::given(&Disk::default(), temp.path()).unwrap();
        for (written, len) in [(0, 3), (1, 4)] {
            let file = Partial::anew(&dir, "a").unwrap();
            file.write_at(b"longer than before", 0).unwrap();
            drop(file);
            let file = Partial::unfinished(&dir, "a").unwrap().unwrap();
            let mut bytes = [0; 6];
            assert_eq!((file.len(), file.read_up_to(&mut bytes, 0).unwrap(), &bytes), (18, 6, b"longer"));
            file.write_at(b"header", 0).unwrap();
            file.stands_at(3);
            file.write_at(&b"x"[..written], 3).unwrap();
            file.finish().unwrap();
            assert_eq!(dir.read("a", 99).unwrap().len(), len);
            // It goes on under the name of what is unfinished, and a link is nothing to go on with.
            assert_eq!(Partial::unfinished(&dir, "a").unwrap().unwrap().len(), len as u64);
            assert!(!dir.has("a"));
            dir.hard_link("a.partial", "b.partial").unwrap();
            dir.symlink("a.partial".as_ref(), "c.partial").unwrap();
            assert!(["a", "b", "c", "d"].iter().all(|name| Partial::unfinished(&dir, name).unwrap().is_none()));
            ["a.partial", "b.partial", "c.partial"].iter().for_each(|name| dir.remove(name).unwrap());
        }
    }
}
