//! The thread of a journal: it alone writes, and takes all that was appended meanwhile at once.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::core::bytes::{BootId, JournalId};
use crate::core::tail::{Layout, Work};
use crate::disk::Disk;
use crate::error::Ended;
use crate::file_system::DirectoryLock;
use crate::progress::{Progress, Shared, State};
use crate::store::{perform, write_head};

/// How long entries gather after a batch that was not synced. To wake the thread for each costs a
/// writer more than the rest of the call; a sync takes so long that they gather by themselves.
const GATHER: Duration = Duration::from_millis(1);
/// The disk is asked again for room after this time, if it refused.
const RETRY: Duration = Duration::from_millis(500);

/// What is told after each step.
pub(crate) type OnProgress = Box<dyn Fn(&Progress) + Send>;

/// The thread that writes.
pub(crate) struct Appender<D> {
    shared: Arc<Shared>,
    disk: D,
    identity: (JournalId, BootId),
    layout: Layout,
    /// A batch was written, and entries may gather now.
    gathers: bool,
    /// When the disk is asked for room again.
    retry_at: Option<Instant>,
    on_progress: OnProgress,
    /// Held until the last write is done.
    _lock: DirectoryLock,
}

impl<D: Disk> Appender<D> {
    /// For what the store has opened. The lock is held until the last write is done.
    pub(crate) fn new(
        shared: Arc<Shared>,
        disk: D,
        (identity, layout): ((JournalId, BootId), Layout),
        lock: DirectoryLock,
        on_progress: OnProgress,
    ) -> Self {
        let (gathers, retry_at) = (false, None);
        Self { shared, disk, identity, layout, gathers, retry_at, on_progress, _lock: lock }
    }

    /// Writes until the journal is closed, or an error or a panic ends it.
    pub(crate) fn run(mut self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work())) {
            let mut state = self.shared.lock();
            state.ended.get_or_insert(Ended::Panicked);
            self.tell(state);
            resume_unwind(panic);
        }
    }

    fn work(&mut self) {
        while let Some(work) = self.next() {
            let start = Instant::now();
            let step = step_name(&work);
            let outcome = self.perform(work, start);
            let mut state = self.shared.lock();
            if let Err(error) = outcome {
                let (message, recorded) = (error.to_string(), state.tail.recorded());
                state.ended.get_or_insert(Ended::Disk { step, message, recorded });
            }
            self.tell(state);
        }
        let mut state = self.shared.lock();
        if state.ended.is_none() {
            let head = state.tail.head();
            drop(state);
            let written = write_head(&mut self.disk, &head);
            state = self.shared.lock();
            let recorded = state.tail.recorded();
            state.ended = Some(match written {
                Ok(()) => Ended::Closed,
                Err(error) => {
                    Ended::Disk { step: "the last head", message: error.to_string(), recorded }
                }
            });
        }
        self.tell(state);
    }

    /// Waits for work. None: all is done, or nothing can be done any more.
    fn next(&mut self) -> Option<Work> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if std::mem::take(&mut self.gathers) && !state.closes && !state.tail.has_closed_batch() {
            state.is_gathering = true;
            let gathers = |state: &mut State| state.is_gathering;
            let waited = shared.work.wait_timeout_while(state, GATHER, gathers);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.is_gathering = false;
        }
        loop {
            if state.ended.is_some() {
                return None;
            }
            if let Some(work) = state.tail.work() {
                if let Work::Batch { .. } = work {
                    // All that is appended from here on goes with a later batch.
                    let next = state.tail.next();
                    state.mark(next, Instant::now());
                }
                return Some(work);
            }
            if state.closes {
                return None;
            }
            let mut waits = Duration::MAX;
            if state.tail.refused().is_some() {
                let now = Instant::now();
                let at = *self.retry_at.get_or_insert(now + RETRY);
                if now >= at {
                    self.retry_at = None;
                    state.tail.retry();
                    continue;
                }
                waits = at - now;
            }
            state.is_idle = true;
            let waited = self.shared.work.wait_timeout(state, waits);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.is_idle = false;
        }
    }

    fn perform(&mut self, mut work: Work, start: Instant) -> io::Result<()> {
        let step = perform(&mut self.disk, &mut work, self.identity, &self.layout)?;
        let took = start.elapsed();
        let mut state = self.shared.lock();
        if let Work::Batch { .. } = work {
            self.gathers = !self.layout.syncs;
            state.batches += 1;
            state.batch_time += took;
        }
        state.tail.done(work, step);
        Ok(())
    }

    fn tell(&self, mut state: MutexGuard<'_, State>) {
        state.steps += 1;
        let progress = state.progress();
        drop(state);
        self.shared.progress.notify_all();
        (self.on_progress)(&progress);
    }
}

fn step_name(work: &Work) -> &'static str {
    match work {
        Work::Batch { .. } => "a batch",
        Work::Create { .. } => "a new segment",
        Work::Head { .. } => "the head, or a segment's removal",
    }
}
