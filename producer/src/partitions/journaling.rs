//! The journal as the partitions use it: a write is appended under its partition's lock, so that the
//! journal's order is the partition's, and is handed to no Kafka client before it is recorded.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::core::journaled::Position;
use crate::core::usage::Full;
use crate::error::{DeliveryError, Halt, Refusal, WriteError};
use crate::partitions::sync;
use crate::partitions::watermark::Watermark;

/// Takes entries and records them: a journal in a directory, or a test's stand-in.
pub(crate) trait Recording: Debug + Send + Sync {
    /// Takes an entry, and says where it stands. It never waits for the disk.
    fn append(&self, entry: &[u8]) -> Result<Position, NotAppended>;

    /// The position of the next entry.
    fn next(&self) -> Position;

    /// Entries below are needed no more.
    fn release(&self, below: Position);

    /// What the metrics show of it.
    fn stats(&self) -> JournalStats;
}

/// What a journal shows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct JournalStats {
    /// What it has of the disk.
    pub(crate) bytes: u64,
    /// The age of its oldest entry that Kafka may not have.
    pub(crate) oldest: Duration,
    pub(crate) batches: u64,
    /// How long they took to write, syncs included.
    pub(crate) batch_time: Duration,
    /// Writes of earlier lives that were found in it.
    pub(crate) replayed: u64,
    /// What was cut from its end when it was opened.
    pub(crate) cut_bytes: u64,
}

/// Why an entry was not taken.
#[derive(Clone, Debug)]
pub(crate) enum NotAppended {
    NoRoom,
    TooLarge { bytes: usize, limit: usize },
    Ended,
}

/// The journal of a handle, and how far it has come.
#[derive(Debug)]
pub(crate) struct Journaling {
    recording: Arc<dyn Recording>,
    /// Entries below are recorded.
    recorded: Watermark,
    /// Something happened that may have made room.
    progress: Notify,
    /// Why nothing is recorded any more.
    ended: OnceLock<Arc<str>>,
    /// Entries below were released.
    released: AtomicU64,
}

/// A write that waits for the journal's room looks again after this time at the latest.
const ROOM_INTERVAL: Duration = Duration::from_millis(50);
const CLOSED: &str = "the handle is closed";

impl Journaling {
    /// Everything below `recorded` is recorded already.
    pub(crate) fn new(recording: Arc<dyn Recording>, recorded: Position) -> Self {
        let watermark = Watermark::new();
        watermark.advance(recorded);
        Self {
            recording,
            recorded: watermark,
            progress: Notify::new(),
            ended: OnceLock::new(),
            released: AtomicU64::new(0),
        }
    }

    /// Entries below are needed no more.
    pub(crate) fn release(&self, below: Position) {
        if self.released.fetch_max(below, Ordering::AcqRel) < below {
            self.recording.release(below);
        }
    }

    /// Takes an entry. An error changes nothing.
    pub(crate) fn append(&self, entry: &[u8]) -> Result<Position, WriteError> {
        self.recording.append(entry).map_err(|error| match error {
            NotAppended::NoRoom => WriteError::Overloaded(Full::Journal),
            NotAppended::TooLarge { bytes, limit } => Refusal::TooLarge { bytes, limit }.into(),
            NotAppended::Ended => match self.ended.get() {
                Some(reason) => WriteError::Halted(Halt::Journal(Arc::clone(reason))),
                None => WriteError::Closed,
            },
        })
    }

    /// The position of the next entry.
    pub(crate) fn next(&self) -> Position {
        self.recording.next()
    }

    /// Whether all entries below are recorded.
    pub(crate) fn has_recorded(&self, below: Position) -> bool {
        self.recorded.below() >= below
    }

    /// Entries below are recorded.
    pub(crate) fn recorded(&self) -> Position {
        self.recorded.below()
    }

    /// Waits until all entries below are recorded.
    pub(crate) async fn wait(&self, below: Position) -> Result<(), DeliveryError> {
        if self.recorded.wait(below).await {
            return Ok(());
        }
        let reason = self.ended.get().map_or_else(|| CLOSED.into(), Arc::clone);
        Err(DeliveryError::NotRecorded(reason))
    }

    /// Waits until there may be room again.
    pub(crate) async fn wait_for_room(&self) {
        let _ = sync::timeout(ROOM_INTERVAL, self.progress.notified()).await;
    }

    /// Entries below are recorded by now.
    pub(crate) fn advance(&self, recorded: Position) {
        self.recorded.advance(recorded);
        self.progress.notify_waiters();
    }

    /// Nothing is recorded any more, for this reason.
    pub(crate) fn end(&self, reason: impl Into<Arc<str>>) {
        // The first reason counts.
        let _ = self.ended.set(reason.into());
        self.close();
    }

    /// What the metrics show of it.
    pub(crate) fn stats(&self) -> JournalStats {
        self.recording.stats()
    }

    /// Why nothing is recorded any more.
    pub(crate) fn ended(&self) -> Option<&Arc<str>> {
        self.ended.get()
    }

    /// Nothing is recorded any more: those who wait learn it.
    pub(crate) fn close(&self) {
        self.recorded.close();
        self.progress.notify_waiters();
    }
}
