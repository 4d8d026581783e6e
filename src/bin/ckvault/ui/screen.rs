//! The one place at which progress is shown, whoever tells of it: standard error. A thread keeps it alive while nobody tells anything.

use super::canvas::Canvas;
use super::voice::{For, Voice, percent};
use super::{taskbar, terminal, wrote};
use ckvault::progress::{Board, Lane, Phase};
use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often is looked whether there is something to show.
const TICK: Duration = Duration::from_millis(250);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Bars.
    Bars,
    /// Lines.
    Lines(For),
    /// Not at all.
    Silent,
}

impl How {
    /// Bars where they can be shown, and lines elsewhere.
    pub fn bars_if_able() -> How {
        if terminal::is_able() { How::Bars } else { How::Lines(For::People) }
    }
}

static SCREEN: Mutex<Option<Screen>> = Mutex::new(None);
static TICKER: Mutex<Option<(Sender<()>, JoinHandle<()>)>> = Mutex::new(None);

struct Screen {
    begun: Instant,
    board: Option<Board>,
    shown: Shown,
    /// How many wait for a person or another program, which have the terminal meanwhile.
    awaited: usize,
}

enum Shown {
    Bars { canvas: Option<Canvas>, taskbar: bool },
    Lines(Voice),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on progress is shown.
pub fn show(how: How) {
    let shown = match how {
        How::Silent => return,
        How::Bars => Shown::Bars { canvas: None, taskbar: taskbar::is_there() },
        How::Lines(whom) => Shown::Lines(Voice::new(whom)),
    };
    *lock(&SCREEN) = Some(Screen { begun: Instant::now(), board: None, shown, awaited: 0 });
}

/// Says something, above what is drawn.
pub fn above(say: impl FnOnce()) {
    match &*lock(&SCREEN) {
        Some(Screen { shown: Shown::Bars { canvas: Some(canvas), .. }, .. }) => canvas.above(say),
        _ => say(),
    }
}

/// A phase begins, and the one before ends.
pub fn begin(phase: Phase, total: u64, drives: &[Lane]) {
    if let Some(screen) = &mut *lock(&SCREEN) {
        screen.end();
        let now = screen.begun.elapsed();
        let board = screen.board.insert(Board::new(now, phase, total, drives));
        match &mut screen.shown {
            Shown::Lines(voice) => print(&voice.begins(board, now)),
            // Others would only flicker.
            Shown::Bars { .. } if total > 0 => screen.tick(),
            Shown::Bars { .. } => {}
        }
    }
    start_ticker();
}

/// Nothing is shown any more, for now.
pub fn end() {
    if let Some(screen) = &mut *lock(&SCREEN) {
        screen.end();
    }
    taskbar::clear();
}

/// Tells the phase that is shown something.
pub fn tell(act: impl FnOnce(&mut Board, Duration)) {
    if let Some(Screen { board: Some(board), begun, .. }) = &mut *lock(&SCREEN) {
        act(board, begun.elapsed());
    }
}

/// While a person or another program has the terminal.
pub fn awaiting<T>(wait: impl FnOnce() -> T) -> T {
    let change = |more: isize| {
        if let Some(screen) = &mut *lock(&SCREEN) {
            screen.awaited = screen.awaited.saturating_add_signed(more);
            screen.hide();
        }
    };
    change(1);
    let answer = wait();
    change(-1);
    answer
}

/// Does something that holds only for threads that are started later: a fence, for example.
pub fn without_thread<T>(act: impl FnOnce() -> T) -> T {
    let stopped = lock(&TICKER).take();
    let was_there = stopped.is_some();
    if let Some((stop, thread)) = stopped {
        drop(stop);
        let _ = thread.join();
    }
    let done = act();
    if was_there {
        start_ticker();
    }
    done
}

fn start_ticker() {
    let mut ticker = lock(&TICKER);
    if ticker.is_some() || lock(&SCREEN).is_none() {
        return;
    }
    let (stop, stopped) = channel();
    let tick = move || {
        while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            if let Some(screen) = &mut *lock(&SCREEN) {
                screen.tick();
            }
        }
    };
    // Without it, there are only the lines of those who tell something.
    *ticker = std::thread::Builder::new().name("progress".into()).spawn(tick).ok().map(|thread| (stop, thread));
}

fn print(lines: &[String]) {
    for line in lines {
        wrote(writeln!(std::io::stderr(), "{line}"));
    }
}

impl Screen {
    fn tick(&mut self) {
        let (now, Some(board)) = (self.begun.elapsed(), &self.board) else { return };
        match &mut self.shown {
            Shown::Lines(voice) => print(&voice.beats(board, now, self.awaited > 0)),
            Shown::Bars { .. } if self.awaited > 0 => {}
            Shown::Bars { canvas, taskbar } => {
                canvas.get_or_insert_with(Canvas::new).draw(board, now);
                if *taskbar {
                    taskbar::show(board.counts().then(|| percent(&board.all(now))));
                }
            }
        }
    }

    fn hide(&mut self) {
        if let Shown::Bars { canvas, .. } = &mut self.shown
            && let Some(canvas) = canvas.take()
        {
            canvas.clear();
        }
    }

    fn end(&mut self) {
        let Some(board) = self.board.take() else { return };
        let now = self.begun.elapsed();
        match &mut self.shown {
            Shown::Lines(voice) => print(&voice.ends(&board, now)),
            Shown::Bars { canvas: Some(canvas), .. } if board.counts() => canvas.draw(&board, now),
            Shown::Bars { .. } => {}
        }
        self.hide();
    }
}
