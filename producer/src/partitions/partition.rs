//! One partition's lane at work: the lock around its pending core, and watermarks to wait on.
//!
//! The lock covers the ticket, the enqueueing and the pending entry of a write, so that the order
//! of reads, of `write-id`s and of the log are one (INV-3). Rows that become clean are put into the
//! cache of clean copies under the same lock, so that no read falls between the two.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ahash::HashMap;
use tokio::sync::watch;

use crate::core::ledger::{Key, Ticket};
use crate::core::logged::Rules;
use crate::core::outbox::Handing;
use crate::core::pending::Lane;
use crate::error::DeliveryError;
use crate::load::LoadResult;
use crate::partitions::admission::Held;
use crate::partitions::outlet::Outlet;
use crate::partitions::sync::{Mutex, MutexGuard};

/// One partition's writes.
#[derive(Debug)]
pub(crate) struct SharedLane {
    state: Mutex<State>,
    /// Kafka answered since the watermarks were last published.
    pub(crate) answered: AtomicBool,
    /// A write waits to be given to the Kafka client.
    waiting: AtomicBool,
    replicated: watch::Sender<Watermark>,
    persisted: watch::Sender<Watermark>,
}

/// What the lock covers.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) core: Lane,
    pub(crate) loads: HashMap<Key, watch::Receiver<Option<LoadResult>>>,
    /// The Kafka client; none while it is being replaced.
    pub(crate) outlet: Option<Arc<dyn Outlet>>,
    /// Which writes wait to be given to it.
    pub(crate) handing: Handing,
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
    pub(crate) coalesced: u64,
    pub(crate) forgotten: u64,
    pub(crate) followed: u64,
    pub(crate) dead_letters: u64,
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

impl SharedLane {
    pub(crate) fn new(rules: Rules, coalesce: Option<Duration>) -> Self {
        let state = State {
            core: Lane::new(rules),
            loads: HashMap::default(),
            outlet: None,
            handing: Handing::new(coalesce),
            closed: false,
            marks: VecDeque::from([(0, Instant::now())]),
        };
        Self {
            state: Mutex::new(state),
            answered: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
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
            Some(loss) => Err(loss.into()),
            None if mark.below >= writes.end => Ok(()),
            None => Err(DeliveryError::Closed),
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

    /// Nothing will move any more: whoever still waits is told so.
    pub(crate) fn close(&self) {
        self.publish();
        self.replicated.send_modify(|mark| mark.closed = true);
        self.persisted.send_modify(|mark| mark.closed = true);
    }

    /// Tells whoever waits how far things are.
    pub(crate) fn publish(&self) {
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

    /// How it stands.
    pub(crate) fn glance(&self, now: Instant) -> Glance {
        let mut state = self.lock();
        let ledger = state.core.ledger();
        let (next, replicated, persisted) =
            (ledger.next(), ledger.replicated(), ledger.persisted());
        let in_flight = ledger.in_flight();
        state.mark(next, persisted, now);
        Glance {
            accepted: next,
            coalesced: state.handing.joined,
            rows: state.core.rows(),
            bytes: state.core.bytes(),
            in_flight,
            replicated_lag: state.age(replicated, next, now),
            persisted_lag: state.age(persisted, next, now),
            ..Glance::default()
        }
    }
}

impl State {
    /// What its writes take.
    pub(crate) fn held(&self) -> Held {
        Held {
            bytes: self.core.bytes(),
            rows: self.core.rows(),
            in_flight: self.core.ledger().in_flight(),
            in_flight_bytes: self.core.bytes_in_flight(),
        }
    }

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
