//! One partition at work: the lock around its pending writes, and watermarks to wait on.
//!
//! The lock covers the sequence, the enqueueing and the pending entry of a write, so that the order
//! of reads, of `write-id`s and of the log are one (INV-3). Rows that become clean are put into the
//! cache under the same lock, so that no read falls between the two.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use uuid::Uuid;
use write_behind_shared::Partition;

use crate::core::bounds::Bounds;
use crate::core::gate::SendGate;
use crate::core::journaled::Journaled;
use crate::core::ledger::Sequence;
use crate::core::logged::Rules;
use crate::core::outbox::Outbox;
use crate::core::pending::Pending;
use crate::core::priority::Priority;
use crate::core::record_headers::RecordHeaders;
use crate::core::row_filter::RowFilter;
use crate::core::usage::{Full, Usage};
use crate::core::window::Window;
use crate::core::write_ids::WriteIds;
use crate::error::{DeliveryError, Halt};
use crate::partitions::journaling::Journaling;
use crate::partitions::loads::Loads;
use crate::partitions::outlet::Outlet;
use crate::partitions::sync::{Mutex, MutexGuard};
use crate::partitions::watermark::Watermark;

/// One partition's writes.
pub(crate) struct SharedPending {
    pub(crate) partition: Partition,
    state: Mutex<State>,
    /// Which rows may be pending, without the lock.
    filter: Arc<RowFilter>,
    /// Kafka answered since the watermarks were last published.
    pub(crate) answered: AtomicBool,
    /// A write waits to be given to the Kafka client.
    waiting: AtomicBool,
    replicated: Watermark,
    persisted: Watermark,
    /// Whether a write was ever lost, without the lock.
    has_lost: Arc<AtomicBool>,
    /// Of the whole handle, if it has one.
    #[cfg_attr(not(feature = "journal"), expect(dead_code, reason = "there is no journal"))]
    pub(crate) journal: Option<Arc<Journaling>>,
    /// Of the whole handle.
    halt: Arc<OnceLock<Halt>>,
}

/// What the lock covers.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) core: Pending,
    /// What it has permits for.
    pub(crate) granted: Usage,
    pub(crate) loads: Loads,
    /// The Kafka client; none while it is being replaced.
    pub(crate) outlet: Option<Arc<dyn Outlet>>,
    /// Which writes wait to be given to it.
    pub(crate) outbox: Outbox,
    /// Under which ids its writes are sent.
    pub(crate) ids: WriteIds,
    /// Where they stand in the journal.
    pub(crate) journaled: Journaled,
    /// Which must have recorded what is handed over.
    journal: Option<Arc<Journaling>>,
    /// Whether they may be.
    pub(crate) gate: SendGate,
    /// How much of it the client may have.
    pub(crate) window: Window,
    pub(crate) closed: bool,
    /// Of writes that Kafka has not answered: what goes with those that are not ordinary. It does
    /// not change once a client was given the write, which is sent again as it was (INV-14).
    pub(crate) extras: BTreeMap<Sequence, Extras>,
    /// A write that was accepted then, whose replication is timed.
    timed: Option<(Sequence, Instant)>,
    /// How long timed writes took to be replicated, until it is asked for.
    replicated_after: Vec<Duration>,
    /// Points in time: every write from the sequence on was accepted after the instant.
    marks: VecDeque<(Sequence, Instant)>,
}

/// What a record has beside a row's change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    /// Those that the service gave it.
    pub(crate) headers: Option<Arc<RecordHeaders>>,
    pub(crate) priority: Priority,
}

/// What all partitions of a handle have in common.
#[derive(Clone, Debug)]
pub(crate) struct WholeHandle {
    pub(crate) now: Instant,
    pub(crate) halt: Arc<OnceLock<Halt>>,
    pub(crate) writer: Uuid,
    pub(crate) journal: Option<Arc<Journaling>>,
}

/// A stage that a write can be waited for at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Replicated,
    Persisted,
}

/// What one partition shows, or all.
#[derive(Debug, Default)]
pub(crate) struct PartitionStats {
    pub(crate) accepted: u64,
    pub(crate) coalesced: u64,
    pub(crate) forgotten: u64,
    pub(crate) followed: u64,
    pub(crate) dead_letters: u64,
    pub(crate) lost: u64,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    pub(crate) in_flight: usize,
    pub(crate) in_flight_bytes: usize,
    /// Partitions whose writes Kafka does not take now.
    pub(crate) held: usize,
    pub(crate) replicated_lag: Duration,
    pub(crate) persisted_lag: Duration,
}

/// The oldest unpersisted write's age is known to within this.
const MARK_INTERVAL: Duration = Duration::from_millis(50);
/// Times that are kept until they are asked for, which is ten times a second.
const TIMES_MAX: usize = 64;
/// Marks that are kept; beyond, every other one is dropped.
const MARKS_MAX: usize = 4_096;

impl SharedPending {
    pub(crate) fn new(
        partition: Partition,
        rules: Rules,
        bounds: Bounds,
        coalesce: Option<Duration>,
        WholeHandle { now, halt, writer, journal }: WholeHandle,
    ) -> Self {
        let core = Pending::new(rules, bounds);
        let (filter, has_lost) = (core.filter(), core.ledger().lost.any());
        let state = State {
            core,
            granted: Usage::default(),
            loads: Loads::default(),
            outlet: None,
            outbox: Outbox::new(coalesce),
            ids: WriteIds::new(writer),
            journaled: Journaled::default(),
            journal: journal.clone(),
            gate: SendGate::new(),
            window: Window::UNBOUNDED,
            closed: false,
            extras: BTreeMap::new(),
            timed: None,
            replicated_after: Vec::new(),
            marks: VecDeque::from([(0, now)]),
        };
        Self {
            partition,
            state: Mutex::new(state),
            filter,
            answered: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            replicated: Watermark::new(),
            persisted: Watermark::new(),
            has_lost,
            journal,
            halt,
        }
    }

    /// Locks it. No code of a user runs under the lock. After a panic of one who held it, nothing
    /// more is accepted: its state is not known for sure.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            let _ = self.halt.set(Halt::Panicked);
            poisoned.into_inner()
        })
    }

    /// Whether a write of the row may be pending. Without the lock.
    pub(crate) fn may_have(&self, key: &[u8]) -> bool {
        self.filter.may_have(key)
    }

    /// Whether nobody has the lock.
    #[cfg(test)]
    pub(crate) fn is_unlocked(&self) -> bool {
        self.state.is_free()
    }

    /// Waits until all of `writes` have passed `stage`. A loss among them is told by this.
    pub(crate) async fn pass(
        &self,
        stage: Stage,
        writes: Range<Sequence>,
    ) -> Result<(), DeliveryError> {
        let passed = self.wait(stage, writes.end).await;
        // A loss is known before the write passes the stage.
        if passed && !self.has_lost.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.lock().core.ledger.lost.tell_first_in(&writes) {
            Some(loss) => Err(loss.into()),
            None if passed => Ok(()),
            None => Err(DeliveryError::Closed),
        }
    }

    /// Waits until all writes below `end` have passed `stage`. False: the handle was closed first.
    pub(crate) async fn wait(&self, stage: Stage, end: Sequence) -> bool {
        self.stage(stage).wait(end).await
    }

    /// Whether waiters were told that the write has passed `stage`, or is lost. Without the lock.
    pub(crate) fn has_passed(&self, stage: Stage, write: Sequence) -> bool {
        self.stage(stage).below() > write
    }

    fn stage(&self, stage: Stage) -> &Watermark {
        match stage {
            Stage::Replicated => &self.replicated,
            Stage::Persisted => &self.persisted,
        }
    }

    /// Whether a write waits to be given to the Kafka client.
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Says so. Only under the lock.
    pub(crate) fn set_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Release);
    }

    /// No watermark will move again: wakes everyone who still waits.
    pub(crate) fn close(&self) {
        self.notify_waiters();
        self.close_stage(Stage::Replicated);
        self.close_stage(Stage::Persisted);
    }

    /// Nothing will pass the stage any more: those who wait for that learn it.
    pub(crate) fn close_stage(&self, stage: Stage) {
        self.stage(stage).close();
    }

    /// Tells those who wait how far the stages are.
    pub(crate) fn notify_waiters(&self) {
        let (replicated, persisted) = {
            let state = self.lock();
            (state.core.ledger().replicated(), state.core.ledger().persisted())
        };
        self.replicated.advance(replicated);
        self.persisted.advance(persisted);
    }

    /// What the metrics show of it.
    pub(crate) fn stats(&self, now: Instant) -> PartitionStats {
        let mut state = self.lock();
        let ledger = state.core.ledger();
        let (next, replicated, persisted) =
            (ledger.next(), ledger.replicated(), ledger.persisted());
        let usage = state.core.usage();
        if replicated == next {
            state.gate.is_idle(now);
        }
        state.mark(next, persisted, now);
        state.core.give_back_memory();
        state.extras = state.extras.split_off(&replicated);
        PartitionStats {
            accepted: next,
            coalesced: state.outbox.coalesced,
            lost: state.core.lost_along(),
            rows: usage[Full::PendingRows],
            bytes: usage[Full::PendingBytes],
            in_flight: usage[Full::InFlight],
            in_flight_bytes: usage[Full::InFlightBytes],
            held: usize::from(state.gate.is_held()),
            replicated_lag: state.age(replicated, next, now),
            persisted_lag: state.age(persisted, next, now),
            ..PartitionStats::default()
        }
    }
}

impl std::fmt::Debug for SharedPending {
    /// Without the rows, and without the lock that covers them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedPending")
            .field("partition", &self.partition)
            .field("replicated", &self.replicated.below())
            .field("persisted", &self.persisted.below())
            .finish_non_exhaustive()
    }
}

impl State {
    /// INV-17: whether the write is recorded, if the handle has a journal: only then may a Kafka
    /// client be given it.
    pub(crate) fn is_recorded(&self, sequence: Sequence) -> bool {
        let journal = self.journal.as_ref();
        journal.is_none_or(|journal| journal.has_recorded(self.journaled.end_of(sequence)))
    }

    /// Times the replication of a write that was accepted at `start`, unless another is timed.
    pub(crate) fn time(&mut self, sequence: Sequence, start: Instant) {
        self.timed.get_or_insert((sequence, start));
    }

    /// Kafka has answered every write below.
    pub(crate) fn replicated_below(&mut self, replicated: Sequence, clock: fn() -> Instant) {
        if let Some((sequence, start)) = self.timed
            && sequence < replicated
        {
            self.timed = None;
            if self.replicated_after.len() < TIMES_MAX {
                self.replicated_after.push(clock().saturating_duration_since(start));
            }
        }
    }

    /// How long timed writes took to be replicated, since this was asked last.
    pub(crate) fn take_times(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.replicated_after)
    }

    /// Remembers when `next` had not been accepted yet, and forgets what is persisted.
    fn mark(&mut self, next: Sequence, persisted: Sequence, now: Instant) {
        while self.marks.get(1).is_some_and(|(sequence, _)| *sequence <= persisted) {
            self.marks.pop_front();
        }
        match self.marks.back_mut() {
            // Nothing was accepted since: the later instant is the better bound.
            Some((sequence, at)) if *sequence == next => *at = now,
            Some((_, at)) if now.duration_since(*at) < MARK_INTERVAL => {}
            _ => self.marks.push_back((next, now)),
        }
        if self.marks.len() > MARKS_MAX {
            let mut place = 0_usize;
            self.marks.retain(|_| {
                place += 1;
                !place.is_multiple_of(2)
            });
        }
    }

    /// The age of the oldest write that has not passed a stage which has come to `passed`.
    fn age(&self, passed: Sequence, next: Sequence, now: Instant) -> Duration {
        let marks_before = self.marks.partition_point(|(sequence, _)| *sequence <= passed);
        let since = marks_before.checked_sub(1).and_then(|place| self.marks.get(place));
        match since {
            Some((_, at)) if passed < next => now.duration_since(*at),
            _ => Duration::ZERO,
        }
    }
}
