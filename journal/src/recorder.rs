//! A journal at work: writers append, one thread records.
//!
//! The thread takes all that was appended while it wrote before: one write, and one sync, for as
//! many writers as there are.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

use crate::appender::{Appender, OnProgress};
use crate::core::bytes::Position;
use crate::disk::Disk;
use crate::error::{AppendError, Ended};
use crate::file_system::DirectoryLock;
use crate::progress::{Progress, Shared, State};
use crate::store::Store;

/// Takes entries and records them. Closed when it is dropped.
pub struct Recorder {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    pub(crate) fn start(
        store: Store,
        disk: impl Disk + Send + 'static,
        lock: DirectoryLock,
        on_progress: OnProgress,
    ) -> io::Result<Self> {
        let made = ((store.id, store.boot), store.tail.layout);
        let shared = Arc::new(Shared::new(store.tail));
        let appender = Appender::new(Arc::clone(&shared), disk, made, lock, on_progress);
        let thread = thread::Builder::new().name("journal".to_owned()).spawn(|| appender.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes an entry, and says where it stands. It is recorded soon: see
    /// [`wait_recorded`](Self::wait_recorded). Never waits for the disk.
    ///
    /// # Errors
    /// Nothing was taken.
    pub fn append(&self, entry: &[u8]) -> Result<Position, AppendError> {
        let mut state = self.shared.lock();
        if let Some(ended) = &state.ended {
            return Err(ended.clone().into());
        }
        let taken = state.tail.append(entry).ok_or_else(|| AppendError::TooLarge {
            bytes: entry.len(),
            bytes_max: state.tail.entry_bytes_max(),
        })?;
        // Asleep, it learns of this entry; awake, it looks for more before it sleeps.
        // While entries gather, it is woken if they are many, or have no room until it works.
        let hurries = taken.is_err() || state.tail.has_closed_batch();
        let wakes = taken.is_ok() && std::mem::take(&mut state.is_idle)
            || hurries && std::mem::take(&mut state.is_gathering);
        drop(state);
        if wakes {
            self.shared.work.notify_one();
        }
        taken.map_err(AppendError::NoRoom)
    }

    /// Takes an entry, and waits for room where there is none. It waits for as long as nothing is
    /// released, or the disk stays full.
    ///
    /// # Errors
    /// Nothing was taken: the entry is too large, or the journal ended.
    pub fn append_when_there_is_room(&self, entry: &[u8]) -> Result<Position, AppendError> {
        loop {
            let seen = self.shared.lock().steps;
            match self.append(entry) {
                Err(AppendError::NoRoom(_)) => {}
                taken => return taken,
            }
            // A step since the look may have made room: it is seen here, and not waited for.
            let state = self.shared.lock();
            let is_unchanged = |state: &mut State| state.steps == seen && state.ended.is_none();
            drop(self.shared.progress.wait_while(state, is_unchanged));
        }
    }

    /// Waits until all entries below a position are recorded.
    ///
    /// # Errors
    /// The journal ended first.
    pub fn wait_recorded(&self, below: Position) -> Result<(), Ended> {
        let mut state = self.shared.lock();
        loop {
            if state.tail.recorded() >= below {
                return Ok(());
            }
            if std::mem::take(&mut state.is_gathering) {
                self.shared.work.notify_one();
            }
            if let Some(ended) = &state.ended {
                return Err(ended.clone());
            }
            state = self.shared.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Entries below a position are needed no more: their room is given back, a file at a time.
    /// What is not recorded yet is not released.
    pub fn release(&self, below: Position) {
        let mut state = self.shared.lock();
        state.tail.release(below);
        let wakes = std::mem::take(&mut state.is_idle);
        drop(state);
        if wakes {
            self.shared.work.notify_one();
        }
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.shared.lock().progress()
    }

    /// Records what was appended, and ends. The next process finds what was not released.
    ///
    /// # Errors
    /// The journal had ended, or ended before all was recorded.
    pub fn close(mut self) -> Result<Progress, Ended> {
        self.finish();
        let progress = self.progress();
        match &progress.ended {
            Some(Ended::Closed) | None => Ok(progress),
            Some(ended) => Err(ended.clone()),
        }
    }

    fn finish(&mut self) {
        let mut state = self.shared.lock();
        state.closes = true;
        state.is_gathering = false;
        state.tail.close();
        drop(state);
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has told itself: the journal has ended.
            let _ = thread.join();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.finish();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("progress", &self.progress()).finish_non_exhaustive()
    }
}
