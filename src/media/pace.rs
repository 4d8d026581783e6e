//! What has been written is on its way to the drive, and never far behind: a job that is done when all of it is durable would
//! otherwise seem to be at its end when it has filled the memory of the machine, and could not be stopped while that is emptied.
//!
//! For each file system that is written to, a thread has it make durable what was written, in steps of a second of its own speed,
//! or a quarter of one. Who writes waits when a whole step has come together while another is under way.

use crate::media::kind::Kind;
use rustix::fs::{fstat, syncfs};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a step should take, of a drive of more than [`FAST`] bytes a second: each costs a disk some thirty ways to and fro, besides
/// the bytes.
const STEP_TIME: Duration = Duration::from_secs(1);
/// The same of a slower one, which is no disk: who stops a job waits for its step.
const SHORT_STEP_TIME: Duration = Duration::from_millis(250);
/// Bytes a second that disks have, and many sticks have not.
const FAST: f64 = 64e6;
/// No more is written at a time, so that steps can be short: a slow drive takes a quarter of a second for it.
pub const PIECE: usize = 512 << 10;
/// The same as long as nothing is known of a drive, or as it is known to be very slow: what is written while a step is under way is in
/// the next, and nobody who stops a job waits for more than that.
const SMALL_PIECE: usize = 128 << 10;
/// The first step, before anything is known of the drive.
const FIRST_STEP: u64 = 1 << 20;
/// Steps are no shorter.
const LEAST_STEP: u64 = 512 << 10;
/// Steps are no longer, however fast a drive is.
const MOST_STEP: u64 = 512 << 20;
/// How many steps are judged at a time.
const SOME: usize = 4;
/// No more files are made durable one by one.
const FEW: usize = 32;

/// The paces of all file systems that are written to.
#[derive(Default)]
pub struct Paces {
    of: Mutex<HashMap<u64, Arc<Pace>>>,
    over: AtomicBool,
    /// Whether the drive that was written to last takes long pieces.
    is_quick: AtomicBool,
}

impl Paces {
    /// How many bytes are to be written at a time, at most.
    pub fn piece(&self) -> usize {
        if self.is_quick.load(Ordering::Relaxed) { PIECE } else { SMALL_PIECE }
    }

    /// Takes note of `bytes` that have been written to `file`; waits while too much is on its way. The error is that of an earlier
    /// step.
    pub fn wrote(&self, file: &File, bytes: u64) -> io::Result<()> {
        let told = fstat(file)?;
        let pace = guard(&self.of).entry(told.st_dev).or_default().clone();
        if self.is_over() {
            guard(&pace.state).reach.written += bytes;
            return Ok(());
        }
        let is_quick = pace.wrote(file, told.st_ino, bytes)?;
        self.is_quick.store(is_quick, Ordering::Relaxed);
        Ok(())
    }

    /// No further step begins: whoever writes has been told to stop.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether whoever writes has been told to stop.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// How far what was written to a file system is.
    pub fn reach(&self, device: u64) -> Reach {
        let pace = guard(&self.of).get(&device).cloned();
        pace.map_or(Reach::default(), |pace| guard(&pace.state).reach)
    }

    /// Somebody else has made durable what was written up to here.
    pub fn synced(&self, device: u64, written: u64) {
        if let Some(pace) = guard(&self.of).get(&device) {
            let mut state = guard(&pace.state);
            state.reach.is_durable(written);
            if state.reach.written == written {
                state.files.forget();
            }
        }
    }

    /// Somebody waits for what was written to be durable: a step begins with what is written next, however little has come together.
    pub fn want(&self, device: u64) {
        if let Some(pace) = guard(&self.of).get(&device) {
            guard(&pace.state).wanted = true;
        }
    }

    /// Somebody else has made a file durable, which need not be done once more; nobody waits for its descriptor to be closed, either. The
    /// error is that of an earlier step, which the system does not tell a second time.
    pub fn synced_file(&self, device: u64, inode: u64) -> io::Result<()> {
        let Some(pace) = guard(&self.of).get(&device).cloned() else { return Ok(()) };
        let files = &mut guard(&pace.state).files;
        files.by_inode.retain(|(known, _)| *known != inode);
        match files.failed.iter().position(|(failed, _)| *failed == inode) {
            Some(at) => Err(io::Error::from_raw_os_error(files.failed.swap_remove(at).1)),
            None => Ok(()),
        }
    }

    /// Waits until nothing is under way on a file system. The error is that of the last step, which nobody may have been told.
    pub fn settle(&self, device: u64) -> io::Result<()> {
        let pace = guard(&self.of).get(&device).cloned();
        pace.map_or(Ok(()), |pace| pace.settle())
    }
}

/// How far what was written to a file system is, in bytes since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// So many were written.
    pub written: u64,
    /// Of these, the first so many are durable.
    pub durable: u64,
}

impl Reach {
    fn is_durable(&mut self, written: u64) {
        self.durable = self.durable.max(written);
    }
}

/// The pace of one file system.
#[derive(Default)]
struct Pace {
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    /// All that was written, and what of that is durable.
    reach: Reach,
    /// Up to where the step makes durable that is under way.
    going: u64,
    /// Bytes written since the last step began.
    written: u64,
    /// What they were written to.
    files: Files,
    /// Bytes at which a step begins.
    step: u64,
    /// Whether one is under way.
    under_way: bool,
    /// Whether somebody waits for the next one.
    wanted: bool,
    /// What the last ones were, the newest first.
    last: [Step; 2 * SOME],
    /// What the last one said, if it failed: an error number.
    failed: Option<i32>,
    /// The thread that takes steps, once there was one to take.
    thread: Option<Sender<(Due, u64)>>,
}

/// What was written to since a step began.
#[derive(Default)]
struct Files {
    /// That of the file system, once it is known.
    kind: Option<Kind>,
    /// On ext4, the files, in the order in which each was written to for the first time.
    by_inode: Vec<(u64, File)>,
    /// There were more than a few, or not all of them are known: the next step is for all of the file system.
    are_many: bool,
    /// Those that could not be made durable, with what was said. Each is told of that once, and whoever has it open must be.
    failed: Vec<(u64, i32)>,
}

impl Files {
    fn note(&mut self, file: &File, inode: u64) {
        let kind = *self.kind.get_or_insert_with(|| Kind::of(file));
        if kind != Kind::Ext4 || self.are_many || self.by_inode.iter().any(|(known, _)| *known == inode) {
            return;
        }
        match (self.by_inode.len() < FEW).then(|| file.try_clone()) {
            Some(Ok(handle)) => self.by_inode.push((inode, handle)),
            _ => {
                self.are_many = true;
                self.by_inode.clear();
            }
        }
    }

    /// What a step that begins when `file` was written to makes durable.
    fn take(&mut self, file: &File) -> io::Result<Due> {
        if !self.are_many && !self.by_inode.is_empty() {
            return Ok(Due::Files(std::mem::take(&mut self.by_inode)));
        }
        let handle = file.try_clone()?;
        self.forget();
        Ok(Due::FileSystem(handle, self.kind))
    }

    /// All that was written is durable.
    fn forget(&mut self) {
        self.are_many = false;
        self.by_inode.clear();
    }

    /// A step was not taken, or failed with some file: nobody knows which of the others are durable.
    fn note_failed(&mut self, file: Option<u64>, error: &io::Error) {
        self.are_many = true;
        self.by_inode.clear();
        self.failed.extend(file.zip(error.raw_os_error()));
    }
}

/// What a step makes durable.
enum Due {
    Files(Vec<(u64, File)>),
    FileSystem(File, Option<Kind>),
}

impl Due {
    /// All of the file system at once where that is no detour: file by file, each would cost it the same ways. ext4 then also writes to
    /// their places what it has in its journal; there the file comes first that was the last to be written to, for at its end those before
    /// it have mostly come to theirs, and one entry in the journal does for all. A driver that is a process hears of no call for all, but of one
    /// for a file, and most then make all durable.
    fn make_durable(&self) -> Result<(), (Option<u64>, io::Error)> {
        match self {
            Due::Files(files) => {
                files.iter().rev().try_for_each(|(inode, each)| each.sync_data().map_err(|e| (Some(*inode), e)))
            }
            Due::FileSystem(file, kind) => {
                if *kind == Some(Kind::Fuse) {
                    file.sync_data().map_err(|e| (None, e))?;
                }
                syncfs(file).map_err(|e| (None, e.into()))
            }
        }
    }
}

/// What was made durable at a time, and how long it took.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    bytes: u64,
    took: Duration,
}

impl Default for State {
    fn default() -> State {
        let reach = Reach::default();
        State {
            reach,
            going: 0,
            written: 0,
            step: FIRST_STEP,
            under_way: false,
            wanted: false,
            last: Default::default(),
            failed: None,
            files: Files::default(),
            thread: None,
        }
    }
}

impl Pace {
    /// Says whether its drive takes long pieces, as far as that is known.
    fn wrote(self: &Arc<Pace>, file: &File, inode: u64, bytes: u64) -> io::Result<bool> {
        let mut state = guard(&self.state);
        state.files.note(file, inode);
        state.written += bytes;
        state.reach.written += bytes;
        // After waiting no step is begun before more is written: who has been told to stop does not write more.
        let mut waited = false;
        while state.written >= state.step && state.under_way {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
            waited = true;
        }
        if let Some(code) = state.failed.take() {
            return Err(io::Error::from_raw_os_error(code));
        }
        let is_quick = state.step > FIRST_STEP;
        let due = state.written >= state.step || (state.wanted && !state.under_way);
        if due && !waited {
            state.wanted = false;
            self.begin(state, file);
        }
        Ok(is_quick)
    }

    fn settle(&self) -> io::Result<()> {
        let mut state = guard(&self.state);
        while state.under_way {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failed.take().map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
    }

    /// Begins a step. Where there is no thread or no descriptor to be had, the end of the file will make all durable.
    fn begin(self: &Arc<Pace>, mut state: MutexGuard<State>, file: &File) {
        let Ok(due) = state.files.take(file) else { return };
        let step = (due, std::mem::take(&mut state.written));
        state.going = state.reach.written;
        let sent = match &state.thread {
            Some(thread) => thread.send(step).is_ok(),
            None => self.start().is_some_and(|thread| {
                let sent = thread.send(step).is_ok();
                state.thread = Some(thread);
                sent
            }),
        };
        state.under_way = sent;
        if !sent {
            state.files.are_many = true;
        }
    }

    fn start(self: &Arc<Pace>) -> Option<Sender<(Due, u64)>> {
        let (to, steps) = channel::<(Due, u64)>();
        // It ends when nobody writes any more: what it is told with is in the state, which it does not keep alive.
        let pace = Arc::downgrade(self);
        let take = move || {
            for (due, bytes) in steps {
                let begun = Instant::now();
                let done = due.make_durable();
                drop(due);
                match pace.upgrade() {
                    Some(pace) => pace.end(bytes, begun.elapsed(), done),
                    None => return,
                }
            }
        };
        std::thread::Builder::new().name("pace".into()).spawn(take).ok().map(|_| to)
    }

    fn end(&self, bytes: u64, took: Duration, done: Result<(), (Option<u64>, io::Error)>) {
        let mut state = guard(&self.state);
        state.under_way = false;
        state.last.rotate_right(1);
        state.last[0] = Step { bytes, took };
        state.step = next_step(&state.last);
        match done {
            Ok(()) => {
                let going = state.going;
                state.reach.is_durable(going);
            }
            Err((file, error)) => {
                state.failed = error.raw_os_error();
                state.files.note_failed(file, &error);
            }
        }
        self.ended.notify_all();
    }
}

/// As many bytes as the drive makes durable in the time of a step, if it goes on as it did in the last ones, of which the newest comes
/// first; but no more than four times those of one before: a drive takes its first bytes into a memory of its own. Steps are judged
/// some at a time: one also makes durable what was written in the meantime, and the next then has nothing to do.
fn next_step(last: &[Step; 2 * SOME]) -> u64 {
    let bytes: u64 = last[..SOME].iter().map(|step| step.bytes).sum();
    let took: Duration = last[..SOME].iter().map(|step| step.took).sum();
    let known = || last.iter().filter(|step| step.bytes > 0);
    let (least, most) = (known().min_by_key(|step| step.bytes), known().max_by_key(|step| step.bytes));
    let largest = most.map_or(0, |step| step.bytes.saturating_mul(4));
    // Others may write to the file system too, and have it make theirs durable: shorter steps do not take less time then.
    let in_vain = least.zip(most).is_some_and(|(least, most)| {
        least.bytes <= most.bytes / 2 && least.took > most.took / 4 * 3 && least.took > 2 * STEP_TIME
    });
    if in_vain {
        return last[0].bytes.saturating_mul(4).clamp(LEAST_STEP, MOST_STEP);
    }
    let rate = bytes as f64 / took.as_secs_f64().max(1e-6);
    let time = if rate >= FAST { STEP_TIME } else { SHORT_STEP_TIME };
    ((rate * time.as_secs_f64()) as u64).min(largest).clamp(LEAST_STEP, MOST_STEP)
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_the_speed_of_the_drive() {
        let step = |bytes: u64, took: f64| Step { bytes, took: Duration::from_secs_f64(took) };
        let none = Step::default();
        let next = |bytes, took| next_step(&[step(bytes, took), none, none, none, none, none, none, none]);
        assert_eq!(next(200_000_000, 2.0), 100_000_000);
        assert_eq!(next(50_000_000, 2.0), 6_250_000);
        assert_eq!(next(16 << 20, 40.0), LEAST_STEP);
        assert_eq!(next(16 << 20, 0.0), 64 << 20);
        assert_eq!(next(MOST_STEP, 0.0), MOST_STEP);
        // The second has nothing left to do: the drive is no faster for that.
        let (some, nothing) = (step(13_000_000, 1.0), step(12_000_000, 0.0));
        assert_eq!(next_step(&[nothing, nothing, some, some, nothing, some, nothing, some]), 6_250_000);
    }

    #[test]
    fn what_is_written_is_counted_and_a_step_is_taken() {
        let file = tempfile::tempfile().unwrap();
        let paces = Paces::default();
        let pace = || guard(&paces.of).values().next().unwrap().clone();
        paces.wrote(&file, FIRST_STEP - 1).unwrap();
        assert_eq!(guard(&pace().state).written, FIRST_STEP - 1);
        assert!(guard(&pace().state).thread.is_none());
        paces.wrote(&file, 1).unwrap();
        assert_eq!(guard(&pace().state).written, 0);
        paces.end();
        let before = guard(&pace().state).reach.written;
        paces.wrote(&file, MOST_STEP).unwrap();
        assert_eq!(guard(&pace().state).written, 0, "who was told to stop has to wait for a step");
        assert_eq!(
            guard(&pace().state).reach.written,
            before + MOST_STEP,
            "it would count as durable with what came before"
        );
        assert_eq!(paces.piece(), SMALL_PIECE);
        let pace = pace();
        let mut state = guard(&pace.state);
        while state.under_way {
            state = pace.ended.wait(state).unwrap();
        }
        assert!(state.thread.is_some() && state.failed.is_none());
    }

    #[test]
    fn after_waiting_no_step_begins_before_more_is_written() {
        let (file, pace) = (Arc::new(tempfile::tempfile().unwrap()), Arc::new(Pace::default()));
        let mut state = guard(&pace.state);
        (state.under_way, state.written) = (true, FIRST_STEP - 1);
        drop(state);
        let waiting = std::thread::spawn({
            let (pace, file) = (pace.clone(), file.clone());
            move || pace.wrote(&file, 1, 1)
        });
        while guard(&pace.state).written < FIRST_STEP {
            std::thread::yield_now();
        }
        pace.end(FIRST_STEP, Duration::from_secs(1), Ok(()));
        assert!(!waiting.join().unwrap().unwrap());
        assert!(guard(&pace.state).thread.is_none(), "who was told to stop meanwhile has to wait for another");
        pace.wrote(&file, 1, 1).unwrap();
        assert!(guard(&pace.state).thread.is_some());
    }

    #[test]
    fn a_few_files_of_ext4_are_made_durable_one_by_one_and_after_an_error_all_are() {
        let made: Vec<File> = (0..=FEW).map(|_| tempfile::tempfile().unwrap()).collect();
        let mut files = Files { kind: Some(Kind::Ext4), ..Files::default() };
        let taken = |files: &mut Files, count: usize, of: &[File]| {
            of.iter().zip(0..).for_each(|(file, inode)| files.note(file, inode));
            match files.take(&made[0]).unwrap() {
                Due::Files(few) => assert_eq!(
                    few.iter().map(|(inode, _)| *inode).collect::<Vec<_>>(),
                    (0..count as u64).collect::<Vec<_>>()
                ),
                Due::FileSystem(..) => assert_eq!(count, 0),
            }
        };
        taken(&mut files, FEW, &made[..FEW]);
        taken(&mut files, 0, &made);
        taken(&mut files, 2, &made[..2]);
        files.note_failed(Some(1), &io::Error::from_raw_os_error(5));
        taken(&mut files, 0, &made[..1]);
        taken(&mut files, 1, &made[..1]);
        files.kind = Some(Kind::Xfs);
        taken(&mut files, 0, &made[..1]);
    }

    #[test]
    fn what_a_step_was_told_of_a_file_is_told_to_who_has_it_once() {
        let (file, paces) = (tempfile::tempfile().unwrap(), Paces::default());
        let told = fstat(&file).unwrap();
        paces.wrote(&file, 1).unwrap();
        let pace = guard(&paces.of).values().next().unwrap().clone();
        pace.end(1, Duration::ZERO, Err((Some(told.st_ino), io::Error::from_raw_os_error(5))));
        let synced = |inode| paces.synced_file(told.st_dev, inode).map_err(|e| e.raw_os_error());
        assert_eq!([synced(told.st_ino + 1), synced(told.st_ino), synced(told.st_ino)], [Ok(()), Err(Some(5)), Ok(())]);
    }

    #[test]
    fn what_a_step_began_with_is_durable_when_it_has_ended_well() {
        let (file, paces) = (tempfile::tempfile().unwrap(), Paces::default());
        let device = fstat(&file).unwrap().st_dev;
        let reach = |written, durable| assert_eq!(paces.reach(device), Reach { written, durable });
        reach(0, 0);
        paces.wrote(&file, FIRST_STEP - 1).unwrap();
        reach(FIRST_STEP - 1, 0);
        let pace = guard(&paces.of).values().next().unwrap().clone();
        guard(&pace.state).going = 700;
        pace.end(700, Duration::ZERO, Err((None, io::Error::from_raw_os_error(5))));
        reach(FIRST_STEP - 1, 0);
        pace.end(700, Duration::ZERO, Ok(()));
        reach(FIRST_STEP - 1, 700);
        paces.synced(device, 600);
        reach(FIRST_STEP - 1, 700);
        paces.synced(device, FIRST_STEP - 1);
        reach(FIRST_STEP - 1, FIRST_STEP - 1);
    }

    #[test]
    fn a_step_that_somebody_waits_for_begins_with_the_next_bytes() {
        let (file, paces) = (tempfile::tempfile().unwrap(), Paces::default());
        let device = fstat(&file).unwrap().st_dev;
        paces.want(device);
        paces.wrote(&file, 1).unwrap();
        paces.want(device);
        paces.wrote(&file, 1).unwrap();
        paces.settle(device).unwrap();
        assert_eq!(paces.reach(device), Reach { written: 2, durable: 2 });
        paces.wrote(&file, 1).unwrap();
        paces.settle(device).unwrap();
        assert_eq!(paces.reach(device), Reach { written: 3, durable: 2 });
    }

    #[test]
    fn a_step_that_failed_is_told_to_who_writes_next() {
        let file = tempfile::tempfile().unwrap();
        let paces = Paces::default();
        paces.wrote(&file, 1).unwrap();
        let pace = guard(&paces.of).values().next().unwrap().clone();
        pace.end(1, Duration::ZERO, Err((None, io::Error::from_raw_os_error(5))));
        assert_eq!(paces.wrote(&file, 1).unwrap_err().raw_os_error(), Some(5));
        paces.wrote(&file, 1).unwrap();
        pace.end(1, Duration::ZERO, Err((None, io::Error::from_raw_os_error(5))));
        let device = fstat(&file).unwrap().st_dev;
        assert_eq!(paces.settle(device).unwrap_err().raw_os_error(), Some(5));
        paces.settle(device).unwrap();
        paces.settle(0).unwrap();
    }

    #[test]
    fn steps_do_not_shrink_for_what_others_write() {
        let pace = Pace::default();
        let (mut step, took) = (guard(&pace.state).step, Duration::from_secs(20));
        let mut steps = Vec::new();
        for _ in 0..12 {
            pace.end(step, took, Ok(()));
            step = guard(&pace.state).step;
            steps.push(step);
        }
        assert!(steps.iter().max().unwrap() > &FIRST_STEP, "{steps:?}");
    }
}
