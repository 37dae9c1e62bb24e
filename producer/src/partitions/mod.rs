//! All partitions of a handle: Kafka's answers, committed offsets and records read from the log go
//! to their partition, and the memory that they free goes back to the limits.

pub(crate) mod partition;
pub(crate) mod admission;
pub(crate) mod cache;
pub(crate) mod outlet;
pub(crate) mod commits;
pub(crate) mod hand_over;
#[cfg_attr(
    not(any(feature = "journal", test)),
    expect(dead_code, reason = "nothing makes one without the feature")
)]
pub(crate) mod journaling;
#[cfg(any(feature = "journal", test))]
pub(crate) mod recorded;
#[cfg(feature = "journal")]
pub(crate) mod replay;
pub(crate) mod loads;
pub(crate) mod losses;
pub(crate) mod tail;
pub(crate) mod sync;
mod timer;
pub(crate) mod wake;
mod watermark;
mod dead_letters;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tracing::{error, warn};
use uuid::Uuid;
use write_behind_shared::{NextOffset, Partition};

use crate::core::bounds::Bounds;
use crate::core::ledger::Key;
use crate::core::logged::Rules;
use crate::core::lost_writes::Loss;
use crate::core::tail::LogRecord;
use crate::core::usage::Full;
use crate::error::Halt;
use crate::event::{Event, Events};
use crate::partitions::admission::{Limit, Limits, WhenFull};
use crate::partitions::cache::RowCache;
use crate::partitions::journaling::Journaling;
use crate::partitions::losses::Losses;
use crate::partitions::outlet::Outlet;
use crate::partitions::partition::{PartitionStats, SharedPending, State, WholeHandle};
use crate::partitions::sync::MutexGuard;
use crate::partitions::wake::Wake;

/// All that a handle, its threads and its loads share.
#[derive(Debug)]
pub(crate) struct Partitions {
    by_partition: Box<[Arc<SharedPending>]>,
    pub(crate) cache: RowCache,
    pub(crate) limits: Limits,
    pub(crate) when_full: WhenFull,
    pub(crate) halt: Arc<OnceLock<Halt>>,
    pub(crate) events: Events,
    /// Where a write is recorded before any Kafka client is given it; without one, nowhere.
    pub(crate) journal: Option<Arc<Journaling>>,
    pub(crate) bounds: Bounds,
    pub(crate) clock: fn() -> Instant,
    /// Wakes the thread that asks for committed offsets.
    pub(crate) wake: Wake,
    follows: bool,
    counts: Counts,
    losses: Losses,
}

/// What happened so far.
#[derive(Debug, Default)]
struct Counts {
    forgotten: AtomicU64,
    followed: AtomicU64,
    dead_letters: AtomicU64,
    lost: AtomicU64,
}

/// What partitions are made with.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) partitions: usize,
    /// Whether there is a loader.
    pub(crate) loads: bool,
    pub(crate) follows: bool,
    pub(crate) cache: RowCache,
    pub(crate) limits: Limits,
    pub(crate) when_full: WhenFull,
    /// How long writes of one row are gathered into one record.
    pub(crate) coalesce: Option<Duration>,
    pub(crate) bounds: Bounds,
    /// Who writes here: what every new `write-id` begins with.
    pub(crate) writer: Uuid,
    pub(crate) journal: Option<Arc<Journaling>>,
    pub(crate) clock: fn() -> Instant,
}

impl Partitions {
    /// As many as there are partitions.
    pub(crate) fn new(setup: Setup) -> Self {
        let rules = Rules { exact: setup.loads, tail: setup.follows.then_some(NextOffset::ZERO) };
        let bounds = setup.bounds;
        let halt = Arc::<OnceLock<Halt>>::default();
        let whole = WholeHandle {
            now: (setup.clock)(),
            halt: Arc::clone(&halt),
            writer: setup.writer,
            journal: setup.journal.clone(),
        };
        let pending = |partition| {
            let whole = whole.clone();
            Arc::new(SharedPending::new(partition, rules, bounds, setup.coalesce, whole))
        };
        Self {
            by_partition: (0..).map(Partition).take(setup.partitions).map(pending).collect(),
            cache: setup.cache,
            limits: setup.limits,
            when_full: setup.when_full,
            halt,
            events: Events::default(),
            bounds: setup.bounds,
            journal: setup.journal,
            clock: setup.clock,
            wake: Wake::default(),
            follows: setup.follows,
            counts: Counts::default(),
            losses: Losses::default(),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> i32 {
        self.by_partition.len() as i32
    }

    /// All, with their partitions.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Partition, &Arc<SharedPending>)> {
        (0..).map(Partition).zip(&self.by_partition)
    }

    /// The pending writes of a partition of this topic.
    pub(crate) fn of(&self, partition: Partition) -> Option<&Arc<SharedPending>> {
        self.by_partition.get(usize::try_from(partition.0).ok()?)
    }

    /// Changes a partition. Permits that it has and no longer needs are free afterwards.
    pub(crate) fn change<R>(
        &self,
        mut state: MutexGuard<'_, State>,
        change: impl FnOnce(&mut State, &RowCache) -> R,
    ) -> R {
        let result = change(&mut state, &self.cache);
        let usage = state.core.usage();
        let granted = std::mem::replace(&mut state.granted, usage);
        // Outside the lock: writes that are woken take it at once.
        drop(state);
        self.limits.adjust(granted, usage);
        result
    }

    /// Kafka answered for writes of one partition, in the order given: each one's offset, or how it
    /// was lost. They are taken under one lock. Says whether writes that wait may go now.
    pub(crate) fn answered(
        &self,
        partition: Partition,
        answers: impl Iterator<Item = (usize, Result<i64, Loss>)>,
    ) -> bool {
        let Some(pending) = self.of(partition) else { return false };
        let mut lost = Vec::new();
        let (were_last, delivered, opened) = self.change(pending.lock(), |state, cache| {
            let mut delivered = false;
            for (low_bits, at) in answers {
                match at {
                    Ok(offset) => {
                        delivered = true;
                        state.core.acked(low_bits, offset, cache);
                    }
                    Err(loss) => lost.extend(state.core.lost(low_bits, loss, cache)),
                }
            }
            lost.append(&mut state.core.take_overtaken());
            let ledger = state.core.ledger();
            let (replicated, left) = (ledger.replicated(), ledger.in_flight());
            state.replicated_below(replicated, self.clock);
            let opened = delivered && state.gate.delivered(replicated);
            (left == 0, delivered, opened || state.may_go_on())
        });
        // After the change, which released the lock: a waiter that wakes takes it to look for its
        // loss. When nothing is left in flight, waiters need not wait for the end of the poll turn.
        if were_last {
            pending.notify_waiters();
        } else {
            pending.answered.store(true, Ordering::Release);
        }
        if delivered {
            self.wake.wake();
        }
        self.tell_lost(partition, lost);
        opened
    }

    fn tell_lost(&self, partition: Partition, lost: Vec<(Key, Loss)>) {
        self.counts.lost.fetch_add(lost.len() as u64, Ordering::Relaxed);
        for (key, loss) in lost {
            self.losses.add(partition, &loss);
            self.events.tell(|| Event::WriteLost { key: text(&key), error: loss.into() });
        }
    }

    /// Logs what was lost since the last time: one line per partition and reason.
    pub(crate) fn log_losses(&self, topic: &str) {
        for ((partition, error), writes) in self.losses.take() {
            warn!(topic, partition = partition.0, writes, %error, "writes are lost");
        }
    }

    /// Records of one partition's log, in its order; afterwards every record below `next` was read.
    pub(crate) fn log_read(&self, partition: Partition, records: Vec<LogRecord>, next: NextOffset) {
        let Some(pending) = self.of(partition) else { return };
        let (followed, lost) = self.change(pending.lock(), |state, cache| {
            let followed = state.core.log_read(&state.ids, records, next, cache);
            (followed, state.core.take_overtaken())
        });
        self.tell_lost(partition, lost);
        self.release(pending);
        self.counts.followed.fetch_add(followed, Ordering::Relaxed);
        pending.notify_waiters();
        // What others wrote must not take the room of this handle's writes.
        let overdraft = self.limits.of(Full::PendingBytes).map_or(0, Limit::overdraft);
        if overdraft > 0 {
            self.make_room(partition, overdraft);
        }
    }

    /// The records of a partition's log below `next` are gone, unread.
    pub(crate) fn log_lost(&self, partition: Partition, next: NextOffset) {
        let Some(pending) = self.of(partition) else { return };
        self.change(pending.lock(), |state, cache| {
            state.core.log_lost(next);
            // Cached rows do not know their partition. Under the lock: no row is cached in between.
            cache.clear();
        });
        self.release(pending);
        self.events.tell(|| Event::LogLost { partition: partition.0, below: next.0 });
    }

    /// Drops rows that can be read again from the database, sooner or later, until there is room
    /// for `bytes`; beginning with those of `partition`. Says whether there were any.
    pub(crate) fn make_room(&self, partition: Partition, bytes: usize) -> bool {
        let own_too = self.when_full == WhenFull::ForgetRows;
        if !own_too && !self.follows {
            return false;
        }
        let first = usize::try_from(partition.0).unwrap_or(0);
        let partitions = self.by_partition.iter().cycle().skip(first).take(self.by_partition.len());
        // More than is needed, so that not every write pays for it.
        let mut wanted = bytes.max(self.limits.of(Full::PendingBytes).map_or(0, Limit::max) / 64);
        let mut forgotten = 0;
        for pending in partitions {
            let (rows, freed) = self.change(pending.lock(), |state, cache| {
                let before = state.core.bytes();
                let rows = state.core.forget_some(wanted, own_too, cache);
                (rows, before - state.core.bytes())
            });
            forgotten += rows;
            wanted = wanted.saturating_sub(freed);
            if wanted == 0 {
                break;
            }
        }
        self.counts.forgotten.fetch_add(forgotten, Ordering::Relaxed);
        forgotten > 0
    }

    /// The client that writes are given to; with none, they wait.
    pub(crate) fn set_outlet(&self, outlet: Option<&Arc<dyn Outlet>>) {
        for pending in &self.by_partition {
            let before = std::mem::replace(&mut pending.lock().outlet, outlet.cloned());
            // Outside the lock: a client that ends reports what it has not sent, which takes it.
            drop(before);
        }
    }

    /// Tells those who wait for writes of a partition how far the stages are.
    pub(crate) fn notify_waiters(&self, partition: Partition) {
        if let Some(pending) = self.of(partition) {
            pending.notify_waiters();
        }
    }

    /// A turn of the polling thread is over: those who wait learn how far the stages are.
    pub(crate) fn turn_ends(&self) {
        let answered =
            |pending: &&Arc<SharedPending>| pending.answered.swap(false, Ordering::AcqRel);
        self.by_partition.iter().filter(answered).for_each(|pending| pending.notify_waiters());
        if self.limits.waiting.load(Ordering::Acquire) > 0 {
            self.make_room(Partition(0), 0);
            if self.halt.get().is_some() {
                // No room would ever come.
                self.limits.close();
            }
        }
    }

    /// No write is accepted from here on.
    pub(crate) fn stop_intake(&self) {
        for pending in &self.by_partition {
            pending.lock().closed = true;
        }
        self.limits.close();
    }

    /// No write is accepted from here on, for this reason. False, if there was a reason before.
    pub(crate) fn halt(&self, reason: Halt) -> bool {
        let first = self.halt.set(reason).is_ok();
        self.limits.close();
        first
    }

    /// A thread of the handle panicked: those who wait for it learn it, and nothing is accepted.
    pub(crate) fn panicked(&self) {
        if self.halt(Halt::Panicked) {
            error!("a thread of the handle panicked; its writes are halted");
        }
        self.close();
    }

    /// Nothing will move any more: those who still wait learn it.
    pub(crate) fn close(&self) {
        self.stop_intake();
        for pending in &self.by_partition {
            pending.close();
        }
    }

    /// The keys of all writes that Kafka has not answered.
    pub(crate) fn keys_in_flight(&self) -> Vec<Key> {
        let keys = |pending: &Arc<SharedPending>| {
            pending.lock().core.ledger().keys_in_flight().cloned().collect::<Vec<_>>()
        };
        self.by_partition.iter().flat_map(keys).collect()
    }

    /// How long timed writes took to be replicated, since this was asked last.
    pub(crate) fn take_times(&self) -> Vec<Duration> {
        let times = self.by_partition.iter().map(|pending| pending.lock().take_times());
        times.flatten().collect()
    }

    /// What all partitions show.
    pub(crate) fn stats(&self, now: Instant) -> PartitionStats {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let start = PartitionStats {
            forgotten: count(&self.counts.forgotten),
            followed: count(&self.counts.followed),
            dead_letters: count(&self.counts.dead_letters),
            lost: count(&self.counts.lost),
            ..PartitionStats::default()
        };
        self.by_partition.iter().fold(start, |sum, pending| {
            let one = pending.stats(now);
            PartitionStats {
                accepted: sum.accepted + one.accepted,
                coalesced: sum.coalesced + one.coalesced,
                lost: sum.lost + one.lost,
                rows: sum.rows + one.rows,
                bytes: sum.bytes + one.bytes,
                in_flight: sum.in_flight + one.in_flight,
                in_flight_bytes: sum.in_flight_bytes + one.in_flight_bytes,
                held: sum.held + one.held,
                replicated_lag: sum.replicated_lag.max(one.replicated_lag),
                persisted_lag: sum.persisted_lag.max(one.persisted_lag),
                ..sum
            }
        })
    }
}

/// A key as events name it.
pub(crate) fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

#[cfg(test)]
#[path = "tests/outlets.rs"]
mod outlets;
#[cfg(test)]
#[path = "tests/setup.rs"]
pub(crate) mod setup;
#[cfg(test)]
#[path = "tests/crashes.rs"]
mod crashes;
#[cfg(test)]
#[path = "tests/disk.rs"]
mod disk;
