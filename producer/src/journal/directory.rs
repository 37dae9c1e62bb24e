//! A journal at work: its own thread records, and another hands over what is recorded and releases
//! what Kafka has.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::thread::{Builder, JoinHandle, Thread, park_timeout};
use std::time::{Duration, Instant};

use tracing::warn;
use write_behind_journal::{AppendError, Ended, OpenedJournal, Progress, Recorder};

use crate::core::journaled::Position;
use crate::error::BuildError;
use crate::partitions::Partitions;
use crate::partitions::journaling::{JournalStats, Journaling, NotAppended, Recording};

/// The journal in a directory, until it is closed.
#[derive(Debug)]
struct Directory {
    /// Read by all who write; written once, when it is closed.
    recorder: RwLock<Option<Recorder>>,
    /// Where it ended.
    end: OnceLock<Progress>,
    /// What it held when it was opened.
    found: Inherited,
}

/// What an earlier life left in a journal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inherited {
    /// Writes that Kafka may not have.
    pub(crate) writes: u64,
    /// Bytes that were cut from its end.
    pub(crate) cut_bytes: u64,
}

/// Listeners for the journal's progress; they are created after it.
#[derive(Debug, Default)]
struct Told {
    journaling: OnceLock<Arc<Journaling>>,
    hands_over: OnceLock<Thread>,
}

/// A journal that has begun to record.
#[derive(Debug)]
pub(crate) struct StartedJournal {
    pub(crate) journaling: Arc<Journaling>,
    directory: Arc<Directory>,
    told: Arc<Told>,
}

/// The thread of a journal's handle. Dropped, it closes the journal: before the Kafka client ends,
/// whose last reports are no answers.
#[derive(Debug)]
pub(crate) struct JournalGuard {
    partitions: Arc<Partitions>,
    directory: Arc<Directory>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How often what Kafka has is released, and the longest that anything recorded waits for its
/// hand-over if nobody tells of it.
const RELEASE_INTERVAL: Duration = Duration::from_millis(100);

impl StartedJournal {
    /// Begins to record behind what the journal holds.
    pub(crate) fn start(journal: OpenedJournal, found: Inherited) -> Result<Self, BuildError> {
        let told = Arc::<Told>::default();
        let telling = Arc::clone(&told);
        let recorder = journal.start(move |progress| telling.of(progress))?;
        let recorded = recorder.progress().recorded;
        let recorder = RwLock::new(Some(recorder));
        let directory = Arc::new(Directory { recorder, end: OnceLock::new(), found });
        let recording: Arc<dyn Recording> = Arc::<Directory>::clone(&directory);
        let journaling = Arc::new(Journaling::new(recording, recorded));
        // It is set once, here.
        let _ = told.journaling.set(Arc::clone(&journaling));
        told.of(&directory.progress());
        Ok(Self { journaling, directory, told })
    }

    /// Starts the thread that hands over what is recorded.
    pub(crate) fn work_for(self, partitions: &Arc<Partitions>) -> Result<JournalGuard, BuildError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, shared) = (Arc::clone(&stop), Arc::clone(partitions));
        let builder = Builder::new().name("write-behind-journal".to_owned());
        let thread = builder.spawn(move || {
            let run = AssertUnwindSafe(|| run(&shared, &stopped));
            if catch_unwind(run).is_err() {
                shared.panicked();
            }
        })?;
        let _ = self.told.hands_over.set(thread.thread().clone());
        let (partitions, directory) = (Arc::clone(partitions), self.directory);
        Ok(JournalGuard { partitions, directory, stop, thread: Some(thread) })
    }
}

fn run(partitions: &Partitions, stopped: &AtomicBool) {
    let mut released = Instant::now();
    while !stopped.load(Ordering::Acquire) {
        partitions.hand_over_recorded();
        partitions.halt_if_the_journal_ended();
        if released.elapsed() >= RELEASE_INTERVAL {
            partitions.release_answered();
            released = Instant::now();
        }
        park_timeout(RELEASE_INTERVAL);
    }
}

impl JournalGuard {
    /// Records what was accepted, and closes the journal. Says how many writes it has that Kafka has
    /// not answered.
    pub(crate) fn close(mut self) -> usize {
        self.end();
        self.partitions.recorded_unanswered()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        // A panic of the thread has told itself.
        let _ = thread.join();
        self.partitions.release_answered();
        if let Err(error) = self.directory.close() {
            warn!(%error, "the journal was not closed well");
        }
        if let Some(journal) = &self.partitions.journal {
            journal.advance(self.directory.progress().recorded);
            journal.close();
        }
    }
}

impl Drop for JournalGuard {
    fn drop(&mut self) {
        self.end();
    }
}

impl Told {
    /// The journal is so far. Called on its own thread, which records nothing meanwhile.
    fn of(&self, progress: &Progress) {
        if let Some(journaling) = self.journaling.get() {
            journaling.advance(progress.recorded);
            if let Some(ended @ (Ended::Disk { .. } | Ended::Panicked)) = &progress.ended {
                journaling.end(ended.to_string());
            }
        }
        if let Some(thread) = self.hands_over.get() {
            thread.unpark();
        }
    }
}

impl Directory {
    fn with<R>(&self, of: impl FnOnce(&Recorder) -> R) -> Option<R> {
        let recorder = self.recorder.read().unwrap_or_else(PoisonError::into_inner);
        recorder.as_ref().map(of)
    }

    fn progress(&self) -> Progress {
        let open = self.with(Recorder::progress);
        open.or_else(|| self.end.get().cloned()).unwrap_or_default()
    }

    fn close(&self) -> Result<(), Ended> {
        let recorder = self.recorder.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(recorder) = recorder else { return Ok(()) };
        let before = recorder.progress();
        let closed = recorder.close();
        // What had been recorded before an error is.
        let _ = self.end.set(closed.clone().unwrap_or(before));
        closed.map(drop)
    }
}

impl Recording for Directory {
    fn append(&self, entry: &[u8]) -> Result<Position, NotAppended> {
        let appended = self.with(|recorder| recorder.append(entry));
        appended.ok_or(NotAppended::Ended)?.map_err(|error| match error {
            AppendError::NoRoom(_) => NotAppended::NoRoom,
            AppendError::TooLarge { bytes, bytes_max } => {
                NotAppended::TooLarge { bytes, limit: bytes_max }
            }
            _ => NotAppended::Ended,
        })
    }

    fn next(&self) -> Position {
        self.progress().next
    }

    fn release(&self, below: Position) {
        self.with(|recorder| recorder.release(below));
    }

    fn stats(&self) -> JournalStats {
        let Progress { bytes, oldest, batches, batch_time, .. } = self.progress();
        let (oldest, Inherited { writes, cut_bytes }) = (oldest.unwrap_or_default(), self.found);
        JournalStats { bytes, oldest, batches, batch_time, replayed: writes, cut_bytes }
    }
}
