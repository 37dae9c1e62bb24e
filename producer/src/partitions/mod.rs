//! All lanes of a handle: takes Kafka's answers, committed offsets and records read from the log,
//! gives each to its lane, and settles what that frees.

pub(crate) mod partition;
pub(crate) mod admission;
pub(crate) mod cache;
pub(crate) mod outlet;
pub(crate) mod hand_over;
pub(crate) mod tail;
pub(crate) mod sync;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use uuid::Uuid;
use write_behind_shared::{NextOffset, Partition};

use crate::core::ledger::{Key, Loss, Ticket};
use crate::core::logged::Rules;
use crate::core::pending::dead_letters::Refused;
use crate::core::tail::Tailed;
use crate::error::Halt;
use crate::event::{Event, Events};
use crate::load::DeadLetter;
use crate::partitions::admission::{Gates, Held, WhenFull};
use crate::partitions::cache::Clean;
use crate::partitions::outlet::Outlet;
use crate::partitions::partition::{Glance, SharedLane, State};
use crate::partitions::sync::MutexGuard;

/// All that a handle, its threads and its loads share.
#[derive(Debug)]
pub(crate) struct Lanes {
    by_partition: Box<[Arc<SharedLane>]>,
    pub(crate) clean: Clean,
    pub(crate) gates: Gates,
    pub(crate) when_full: WhenFull,
    pub(crate) halt: OnceLock<Halt>,
    pub(crate) events: Events,
    /// Who writes here: what every `write-id` begins with.
    pub(crate) writer: Uuid,
    follows: bool,
    counts: Counts,
}

/// What happened so far, for the metrics.
#[derive(Debug, Default)]
struct Counts {
    forgotten: AtomicU64,
    followed: AtomicU64,
    dead_letters: AtomicU64,
}

/// What lanes are made with.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) partitions: usize,
    /// Whether there is a loader.
    pub(crate) loads: bool,
    pub(crate) follows: bool,
    pub(crate) clean: Clean,
    pub(crate) gates: Gates,
    pub(crate) when_full: WhenFull,
    /// How long writes of one row are gathered into one record.
    pub(crate) coalesce: Option<Duration>,
}

impl Lanes {
    /// As many as there are partitions.
    pub(crate) fn new(setup: Setup) -> Self {
        let rules = Rules { exact: setup.loads, tail: setup.follows.then_some(NextOffset::ZERO) };
        let lane = |_| Arc::new(SharedLane::new(rules, setup.coalesce));
        Self {
            by_partition: (0..setup.partitions).map(lane).collect(),
            clean: setup.clean,
            gates: setup.gates,
            when_full: setup.when_full,
            halt: OnceLock::new(),
            events: Events::default(),
            writer: Uuid::new_v4(),
            follows: setup.follows,
            counts: Counts::default(),
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
        granted: Held,
        change: impl FnOnce(&mut State, &Clean) -> R,
    ) -> R {
        let granted = state.held().and(granted);
        let result = change(&mut state, &self.clean);
        let held = state.held();
        drop(state);
        self.gates.settle(granted, held);
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
        let mut lost = Vec::new();
        let were_last = self.change(lane.lock(), Held::default(), |state, clean| {
            for (low_bits, at) in answers {
                match at {
                    Ok(offset) => state.core.acked(low_bits, offset, clean),
                    Err(loss) => {
                        let key = state.core.lost(low_bits, loss.clone(), clean);
                        lost.extend(key.map(|key| (key, loss)));
                    }
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
        for (key, loss) in lost {
            self.events.tell(|| Event::WriteLost { key: text(&key), error: loss.into() });
        }
    }

    /// Records of one partition's log, in its order; afterwards every record below `next` was read.
    pub(crate) fn tailed(&self, partition: Partition, records: Vec<Tailed>, next: NextOffset) {
        let Some(lane) = self.of(partition) else { return };
        let followed = self.change(lane.lock(), Held::default(), |state, clean| {
            state.core.tailed(self.writer, records, next, clean)
        });
        self.counts.followed.fetch_add(followed, Ordering::Relaxed);
        lane.publish();
        // What others wrote is not to take the room of this handle's writes.
        let debt = self.gates.bytes.debt();
        if debt > 0 {
            self.make_room(partition, debt);
        }
    }

    /// The records of a partition's log below `next` are gone, unread.
    pub(crate) fn tail_lost(&self, partition: Partition, next: NextOffset) {
        let Some(lane) = self.of(partition) else { return };
        self.change(lane.lock(), Held::default(), |state, clean| {
            state.core.tail_lost(next, clean);
            // Clean copies do not know their partition. Under the lock: nothing is written over one.
            clean.forget_all();
        });
        self.events.tell(|| Event::LogLost { partition: partition.0, below: next.0 });
    }

    /// Drops rows that can be read again from the database, sooner or later, until there is room for
    /// `bytes`; beginning with those of `partition`. Says whether there were any.
    pub(crate) fn make_room(&self, partition: Partition, bytes: usize) -> bool {
        let own_too = self.when_full == WhenFull::Forget;
        if !own_too && !self.follows {
            return false;
        }
        let first = usize::try_from(partition.0).unwrap_or(0);
        let lanes = self.by_partition.iter().cycle().skip(first).take(self.by_partition.len());
        // Not every write is to pay for it.
        let mut wanted = bytes.max(self.gates.bytes.limit() / 64);
        let mut forgotten = 0;
        for lane in lanes {
            let (rows, freed) = self.change(lane.lock(), Held::default(), |state, clean| {
                let before = state.core.bytes();
                let rows = state.core.forget_some(wanted, own_too, clean);
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

    /// The group committed `next` of `partition`.
    pub(crate) fn committed(&self, partition: Partition, next: NextOffset) {
        let Some(lane) = self.of(partition) else { return };
        self.change(lane.lock(), Held::default(), |state, clean| state.core.committed(next, clean));
        lane.publish();
    }

    /// The log of `partition` ended at `end` after all writes below `mark` were answered.
    pub(crate) fn sampled(&self, partition: Partition, mark: Ticket, end: NextOffset) {
        let Some(lane) = self.of(partition) else { return };
        self.change(lane.lock(), Held::default(), |state, clean| {
            state.core.sampled(mark, end, clean);
        });
        lane.publish();
    }

    /// Dead letters of a partition that the group is about to commit past, and this handle's writes
    /// that they were.
    pub(crate) fn dead_letters<'l>(
        &self,
        letters: impl Iterator<Item = &'l DeadLetter>,
        committed: NextOffset,
    ) {
        for letter in letters {
            let Some(lane) = self.of(letter.partition) else { continue };
            let own = letter.write_id.filter(|id| id.writer == self.writer).map(|id| id.sequence);
            let refused = Refused {
                offset: letter.offset,
                key: Key::from(&*letter.key),
                own,
                reason: (*letter.reason).into(),
            };
            self.change(lane.lock(), Held::default(), |state, clean| {
                state.core.dead_letter(&refused, committed, clean);
            });
            if own.is_some() {
                self.counts.dead_letters.fetch_add(1, Ordering::Relaxed);
                self.events.tell(|| Event::DeadLetter {
                    key: text(&letter.key),
                    partition: letter.partition.0,
                    offset: letter.offset.0,
                    reason: letter.reason.clone(),
                });
            }
        }
    }

    /// The client that writes are given to; with none, they wait.
    pub(crate) fn set_outlet(&self, outlet: Option<&Arc<dyn Outlet>>) {
        for lane in &self.by_partition {
            lane.lock().outlet = outlet.cloned();
        }
    }

    /// The client is gone: what it has not answered is to be given to another.
    pub(crate) fn take_back(&self) {
        for lane in &self.by_partition {
            let mut state = lane.lock();
            state.core.take_back();
            lane.set_waiting(!state.core.ledger().all_are_handed());
        }
    }

    /// Whoever waits for the writes of a partition is told how far things are.
    pub(crate) fn publish(&self, partition: Partition) {
        if let Some(lane) = self.of(partition) {
            lane.publish();
        }
    }

    /// A turn of the polling thread is over: whoever waits is told how far things are.
    pub(crate) fn turn_ends(&self) {
        for lane in
            self.by_partition.iter().filter(|lane| lane.answered.swap(false, Ordering::AcqRel))
        {
            lane.publish();
        }
        if self.gates.waiting.load(Ordering::Acquire) > 0 {
            self.make_room(Partition(0), 0);
        }
    }

    /// No write is accepted from here on.
    pub(crate) fn stop_intake(&self) {
        for lane in &self.by_partition {
            lane.lock().closed = true;
        }
        self.gates.close();
    }

    /// No write is accepted from here on, for this reason. False, if there was a reason before.
    pub(crate) fn halt(&self, reason: Halt) -> bool {
        let first = self.halt.set(reason).is_ok();
        self.gates.close();
        first
    }

    /// Nothing will move any more: whoever still waits is told so.
    pub(crate) fn close(&self) {
        self.stop_intake();
        for lane in &self.by_partition {
            lane.close();
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
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let start = Glance {
            forgotten: count(&self.counts.forgotten),
            followed: count(&self.counts.followed),
            dead_letters: count(&self.counts.dead_letters),
            ..Glance::default()
        };
        self.by_partition.iter().fold(start, |sum, lane| {
            let one = lane.glance(now);
            Glance {
                accepted: sum.accepted + one.accepted,
                coalesced: sum.coalesced + one.coalesced,
                rows: sum.rows + one.rows,
                bytes: sum.bytes + one.bytes,
                in_flight: sum.in_flight + one.in_flight,
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
