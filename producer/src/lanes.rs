//! The pending core at work: one lock per partition around it, and watermarks to wait on.
//!
//! The lock covers the ticket, the enqueueing and the pending entry of a write, so that the order
//! of reads, of `write-id`s and of the log are one (INV-3). Rows that become clean are put into the
//! cache of clean copies under the same lock, so that no read falls between the two.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use ahash::{HashMap, RandomState};
use tokio::sync::{Notify, watch};
use write_behind_shared::{NextOffset, Partition};

use crate::admission::{Gate, WhenFull};
use crate::delta::Row;
use crate::error::{DeliveryError, Halt};
use crate::ledger::{Key, Loss, Ticket};
use crate::load::LoadResult;
use crate::pending::{CleanCopies, Lane};

/// All that a handle, its threads and its loads share.
#[derive(Debug)]
pub(crate) struct Lanes {
    by_partition: Box<[Arc<SharedLane>]>,
    pub(crate) clean: Clean,
    pub(crate) bytes: Gate,
    pub(crate) rows: Option<Gate>,
    pub(crate) when_full: WhenFull,
    pub(crate) halt: OnceLock<Halt>,
    pub(crate) line: Line,
}

/// The writes that wait for librdkafka's queue, in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) length: AtomicUsize,
    pub(crate) turn: tokio::sync::Mutex<()>,
    pub(crate) moved: Notify,
}

/// The cache of clean copies.
#[derive(Debug)]
pub(crate) struct Clean(pub(crate) moka::sync::Cache<Key, Row, RandomState>);

/// One partition's writes.
#[derive(Debug)]
pub(crate) struct SharedLane {
    state: Mutex<State>,
    /// Kafka answered since the watermarks were last published.
    answered: AtomicBool,
    replicated: watch::Sender<Watermark>,
    persisted: watch::Sender<Watermark>,
}

/// What the lock covers.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) core: Lane,
    pub(crate) loads: HashMap<Key, watch::Receiver<Option<LoadResult>>>,
    pub(crate) closed: bool,
    /// Points in time: every write from the ticket on was accepted after the instant.
    marks: VecDeque<(Ticket, Instant)>,
}

/// How far a stage has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Watermark {
    below: Ticket,
    closed: bool,
}

/// A stage that a write can be waited for at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Replicated,
    Persisted,
}

/// What one look at a lane finds, for the metrics.
#[derive(Debug, Default)]
pub(crate) struct Glance {
    pub(crate) accepted: u64,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    pub(crate) in_flight: usize,
    pub(crate) replicated_lag: Duration,
    pub(crate) persisted_lag: Duration,
}

/// The oldest unpersisted write's age is known to within this.
const MARK_INTERVAL: Duration = Duration::from_millis(50);
/// Marks that are kept; beyond, every other one is dropped.
const MARKS_MAX: usize = 4_096;

impl Lanes {
    /// As many as there are partitions; `exact`: there is a loader.
    pub(crate) fn new(
        partitions: usize,
        exact: bool,
        clean: Clean,
        (bytes, rows, when_full): (Gate, Option<Gate>, WhenFull),
    ) -> Self {
        Self {
            by_partition: (0..partitions).map(|_| Arc::new(SharedLane::new(exact))).collect(),
            clean,
            bytes,
            rows,
            when_full,
            halt: OnceLock::new(),
            line: Line::default(),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> i32 {
        self.by_partition.len() as i32
    }

    /// All, with their partitions.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Partition, &Arc<SharedLane>)> {
        (0..).map(Partition).zip(&self.by_partition)
    }

    /// The lane of a partition of this topic.
    pub(crate) fn of(&self, partition: Partition) -> Option<&Arc<SharedLane>> {
        self.by_partition.get(usize::try_from(partition.0).ok()?)
    }

    /// Changes a lane, and settles what its writes then take with what was `granted` for it on top
    /// of what they took before.
    pub(crate) fn change<R>(
        &self,
        mut state: MutexGuard<'_, State>,
        granted: (usize, usize),
        change: impl FnOnce(&mut State, &Clean) -> R,
    ) -> R {
        let before = (state.core.bytes() + granted.0, state.core.rows() + granted.1);
        let result = change(&mut state, &self.clean);
        let after = (state.core.bytes(), state.core.rows());
        drop(state);
        self.bytes.settle(before.0, after.0);
        if let Some(rows) = &self.rows {
            rows.settle(before.1, after.1);
        }
        result
    }

    /// Kafka answered for writes of one partition, in the order given: each one's offset, or how it
    /// was lost. They are taken under one lock.
    pub(crate) fn answered(
        &self,
        partition: Partition,
        answers: impl Iterator<Item = (usize, Result<i64, Loss>)>,
    ) {
        let Some(lane) = self.of(partition) else { return };
        let were_last = self.change(lane.lock(), (0, 0), |state, clean| {
            for (low_bits, at) in answers {
                match at {
                    Ok(offset) => state.core.acked(low_bits, offset, clean),
                    Err(loss) => state.core.lost(low_bits, loss, clean),
                }
            }
            state.core.ledger().in_flight() == 0
        });
        // Nobody need wait for the end of the poll turn when this is all there was.
        if were_last {
            lane.publish();
        } else {
            lane.answered.store(true, Ordering::Release);
        }
    }

    /// The group committed `next` of `partition`.
    pub(crate) fn committed(&self, partition: Partition, next: NextOffset) {
        let Some(lane) = self.of(partition) else { return };
        self.change(lane.lock(), (0, 0), |state, clean| state.core.committed(next, clean));
        lane.publish();
    }

    /// The log of `partition` ended at `end` after all writes below `mark` were answered.
    pub(crate) fn sampled(&self, partition: Partition, mark: Ticket, end: NextOffset) {
        let Some(lane) = self.of(partition) else { return };
        self.change(lane.lock(), (0, 0), |state, clean| {
            state.core.sampled(mark, end, clean);
        });
        lane.publish();
    }

    /// A turn of the polling thread is over: whoever waits is told how far things are.
    pub(crate) fn turn_ends(&self) {
        for lane in
            self.by_partition.iter().filter(|lane| lane.answered.swap(false, Ordering::AcqRel))
        {
            lane.publish();
        }
        if self.line.length.load(Ordering::Acquire) > 0 {
            self.line.moved.notify_waiters();
        }
    }

    /// No write is accepted from here on.
    pub(crate) fn stop_intake(&self) {
        for lane in &self.by_partition {
            lane.lock().closed = true;
        }
        self.turn_waiters_away();
    }

    /// No write is accepted from here on, for this reason. False, if there was a reason before.
    pub(crate) fn halt(&self, reason: Halt) -> bool {
        let first = self.halt.set(reason).is_ok();
        self.turn_waiters_away();
        first
    }

    fn turn_waiters_away(&self) {
        self.bytes.close();
        if let Some(rows) = &self.rows {
            rows.close();
        }
        self.line.moved.notify_waiters();
    }

    /// Nothing will move any more: whoever still waits is told so.
    pub(crate) fn close(&self) {
        self.stop_intake();
        for lane in &self.by_partition {
            lane.publish();
            lane.replicated.send_modify(|mark| mark.closed = true);
            lane.persisted.send_modify(|mark| mark.closed = true);
        }
    }

    /// The keys of all writes that Kafka has not answered.
    pub(crate) fn keys_in_flight(&self) -> Vec<Key> {
        let keys = |lane: &Arc<SharedLane>| {
            lane.lock().core.ledger().keys_in_flight().cloned().collect::<Vec<_>>()
        };
        self.by_partition.iter().flat_map(keys).collect()
    }

    /// How all lanes stand.
    pub(crate) fn glance(&self, now: Instant) -> Glance {
        self.by_partition.iter().fold(Glance::default(), |sum, lane| {
            let one = lane.glance(now);
            Glance {
                accepted: sum.accepted + one.accepted,
                rows: sum.rows + one.rows,
                bytes: sum.bytes + one.bytes,
                in_flight: sum.in_flight + one.in_flight,
                replicated_lag: sum.replicated_lag.max(one.replicated_lag),
                persisted_lag: sum.persisted_lag.max(one.persisted_lag),
            }
        })
    }
}

impl SharedLane {
    fn new(exact: bool) -> Self {
        let state = State {
            core: Lane::new(exact),
            loads: HashMap::default(),
            closed: false,
            marks: VecDeque::from([(0, Instant::now())]),
        };
        Self {
            state: Mutex::new(state),
            answered: AtomicBool::new(false),
            replicated: watch::Sender::default(),
            persisted: watch::Sender::default(),
        }
    }

    /// Locks it. No code of a user runs under the lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        #[expect(clippy::expect_used, reason = "after a panic in the core its state is not known")]
        self.state.lock().expect("the pending core does not panic")
    }

    /// Waits until all of `writes` have passed `stage`.
    pub(crate) async fn pass(
        &self,
        stage: Stage,
        writes: Range<Ticket>,
    ) -> Result<(), DeliveryError> {
        let mut receiver = match stage {
            Stage::Replicated => self.replicated.subscribe(),
            Stage::Persisted => self.persisted.subscribe(),
        };
        let passed = |mark: &Watermark| mark.below >= writes.end || mark.closed;
        let mark = receiver.wait_for(passed).await.map(|mark| *mark).unwrap_or_default();
        match self.lock().core.ledger().loss_in(&writes) {
            Some(Loss::Failed(reason)) => Err(DeliveryError::Failed(reason)),
            Some(Loss::Unknown(reason)) => Err(DeliveryError::Unknown(reason)),
            None if mark.below >= writes.end => Ok(()),
            None => Err(DeliveryError::Closed),
        }
    }

    fn publish(&self) {
        let (replicated, persisted) = {
            let state = self.lock();
            (state.core.ledger().replicated(), state.core.ledger().persisted())
        };
        for (sender, below) in [(&self.replicated, replicated), (&self.persisted, persisted)] {
            sender.send_if_modified(|mark| {
                let advances = below > mark.below;
                mark.below = mark.below.max(below);
                advances
            });
        }
    }

    fn glance(&self, now: Instant) -> Glance {
        let mut state = self.lock();
        let ledger = state.core.ledger();
        let (next, replicated, persisted) =
            (ledger.next(), ledger.replicated(), ledger.persisted());
        let in_flight = ledger.in_flight();
        state.mark(next, persisted, now);
        Glance {
            accepted: next,
            rows: state.core.rows(),
            bytes: state.core.bytes(),
            in_flight,
            replicated_lag: state.age(replicated, next, now),
            persisted_lag: state.age(persisted, next, now),
        }
    }
}

impl State {
    /// Remembers when `next` had not been accepted yet, and forgets what is persisted.
    fn mark(&mut self, next: Ticket, persisted: Ticket, now: Instant) {
        while self.marks.get(1).is_some_and(|(ticket, _)| *ticket <= persisted) {
            self.marks.pop_front();
        }
        match self.marks.back_mut() {
            // Nothing was accepted since: the later instant is the better bound.
            Some((ticket, at)) if *ticket == next => *at = now,
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
    fn age(&self, passed: Ticket, next: Ticket, now: Instant) -> Duration {
        let marks_before = self.marks.partition_point(|(ticket, _)| *ticket <= passed);
        let since = marks_before.checked_sub(1).and_then(|place| self.marks.get(place));
        match since {
            Some((_, at)) if passed < next => now.duration_since(*at),
            _ => Duration::ZERO,
        }
    }
}

impl CleanCopies for Clean {
    fn keep(&self, key: Key, row: Row) {
        self.0.insert(key, row);
    }

    fn forget(&self, key: &Key) {
        self.0.invalidate(key);
    }
}
