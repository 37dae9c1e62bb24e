//! What the writers of a journal and its thread share, and what it shows.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::core::bytes::Position;
use crate::core::tail::Tail;
use crate::error::Ended;

/// How far a journal has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The position of the next entry.
    pub next: Position,
    /// Entries below are recorded.
    pub recorded: Position,
    /// Entries below are released.
    pub released: Position,
    /// Bytes of the disk that the journal has.
    pub bytes: u64,
    /// How long ago the oldest entry was appended that is not released, to within a second; one of
    /// an earlier process counts from when the journal was started. None: all are released.
    pub oldest: Option<Duration>,
    /// Why the disk gave no more room when it was asked last.
    pub refused: Option<io::ErrorKind>,
    /// Batches that were written.
    pub batches: u64,
    /// How long that took, all together, syncs included.
    pub batch_time: Duration,
    /// Why the journal has ended.
    pub ended: Option<Ended>,
}

/// What writers and the journal's thread share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    pub(crate) work: Condvar,
    /// Something was written.
    pub(crate) progress: Condvar,
}

/// What the lock covers.
pub(crate) struct State {
    pub(crate) tail: Tail,
    /// The thread waits for work.
    pub(crate) is_idle: bool,
    /// The thread lets entries gather, and looks for them by itself soon.
    pub(crate) is_gathering: bool,
    pub(crate) closes: bool,
    /// Grows with each thing that the thread has done.
    pub(crate) steps: u64,
    pub(crate) ended: Option<Ended>,
    pub(crate) batches: u64,
    pub(crate) batch_time: Duration,
    /// Points in time: every entry from the position on was appended after the instant.
    marks: VecDeque<(Position, Instant)>,
}

/// The age of the oldest entry is known to within this.
const MARK_INTERVAL: Duration = Duration::from_secs(1);

impl Shared {
    pub(crate) fn new(tail: Tail) -> Self {
        let state = State {
            tail,
            is_idle: false,
            is_gathering: false,
            closes: false,
            steps: 0,
            ended: None,
            batches: 0,
            batch_time: Duration::ZERO,
            marks: VecDeque::from([(0, Instant::now())]),
        };
        Self { state: Mutex::new(state), work: Condvar::new(), progress: Condvar::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            let mut state = poisoned.into_inner();
            state.ended.get_or_insert(Ended::Panicked);
            state
        })
    }
}

impl State {
    /// The age of the oldest entry that is not released.
    fn oldest(&self) -> Option<Duration> {
        let released = self.tail.released();
        let before = self.marks.iter().take_while(|(position, _)| *position <= released);
        let (_, at) = before.last().filter(|_| released < self.tail.next())?;
        Some(at.elapsed())
    }

    /// Remembers when `next` had not been appended yet, and forgets what is released.
    pub(crate) fn mark(&mut self, next: Position, now: Instant) {
        while self.marks.get(1).is_some_and(|(position, _)| *position <= self.tail.released()) {
            self.marks.pop_front();
        }
        match self.marks.back_mut() {
            // Nothing was appended since: the later instant is the better bound.
            Some((position, at)) if *position == next => *at = now,
            Some((_, at)) if now.duration_since(*at) < MARK_INTERVAL => {}
            _ => self.marks.push_back((next, now)),
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            next: self.tail.next(),
            recorded: self.tail.recorded(),
            released: self.tail.released(),
            bytes: self.tail.bytes(),
            oldest: self.oldest(),
            refused: self.tail.refused(),
            batches: self.batches,
            batch_time: self.batch_time,
            ended: self.ended.clone(),
        }
    }
}
