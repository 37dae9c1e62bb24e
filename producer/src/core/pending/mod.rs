//! Pending rows: what one partition's writes have not yet put into the database.
//!
//! [`Pending`] folds writes, Kafka's answers, committed offsets and loaded rows into the row that
//! reads see. It knows neither Kafka nor a clock nor the cache itself: a row that
//! became clean goes to the cache in the same step in which it stops being pending.
//!
//! - INV-1: nothing pending is ever evicted: an entry leaves only when all its writes are persisted
//!   or failed.
//! - INV-2: a row is clean only when the committed offset is past its last write.

mod failures;
mod loads;
mod tail;
mod forget;
mod pins;
pub(crate) mod release;
pub(crate) mod dead_letters;

use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use write_behind_shared::{NextOffset, Offset};

use crate::core::bounds::Bounds;
use crate::core::cache::Cache;
use crate::core::commit_queue::CommitWaiter;
use crate::core::delta::Delta;
use crate::core::entry::{Entry, OVERHEAD_BYTES, RowState};
use crate::core::forgotten::Forgotten;
use crate::core::ledger::{Key, Ledger, Sequence};
use crate::core::logged::Rules;
use crate::core::lost_writes::Loss;
use crate::core::row_filter::RowFilter;
use crate::core::rows::Rows;
use crate::core::tail::ForeignWriters;
use crate::core::unanswered::PersistedWhen;
use crate::core::usage::{Full, Usage};

/// The writes of one partition that are not in the database.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) entries: Rows,
    /// Which rows may be among them.
    filter: Arc<RowFilter>,
    pub(crate) ledger: Ledger,
    /// Logged rows by the committed offset that releases them.
    pub(crate) waiters: BinaryHeap<CommitWaiter>,
    /// Rows that wait for the end of the log to be sampled, by their write's sequence.
    pub(crate) unsampled: BTreeMap<Sequence, Key>,
    pub(crate) rules: Rules,
    /// With `follow`: what is known of the writers of other records.
    pub(crate) foreign: ForeignWriters,
    pub(crate) forgotten: Forgotten,
    /// Writes below are of an earlier life: the database may have each already, and then drops the
    /// one that is in the log here.
    replayed_below: Sequence,
    /// Writes that were lost because later ones have overtaken them, and not told yet.
    overtaken: Vec<(Key, Loss)>,
    /// How many writes have gone with an earlier one, by its sequence; of those that Kafka has answered,
    /// until they are forgotten.
    joined: BTreeMap<Sequence, u64>,
    /// Writes that were lost with the earlier one that they had gone with.
    lost_along: u64,
    /// The sum over all entries.
    rows_take: Usage,
    /// Rows that are released under one lock.
    rows_at_once: usize,
}

/// Writes of one row are joined though there is no room, as long as they take no more bytes than
/// this: a row may take that much beyond the limit, and no more with any number of writes.
const JOINED_ANYWAY: usize = 512;
/// Tables with no more than this are next to empty.
const FEW: usize = 256;

/// The memory, in bytes, that a write takes at least until it is persisted.
pub(crate) fn cost(key: &[u8], delta: &Delta) -> usize {
    OVERHEAD_BYTES + key.len() + delta.bytes()
}

impl Pending {
    /// Nothing pending.
    pub(crate) fn new(rules: Rules, bounds: Bounds) -> Self {
        Self {
            entries: Rows::default(),
            filter: Arc::new(RowFilter::new()),
            ledger: Ledger::new(bounds),
            waiters: BinaryHeap::new(),
            unsampled: BTreeMap::new(),
            rules,
            foreign: ForeignWriters::new(bounds.writers),
            forgotten: Forgotten::new(bounds.forgotten_slots),
            replayed_below: 0,
            overtaken: Vec::new(),
            joined: BTreeMap::new(),
            lost_along: 0,
            rows_take: Usage::default(),
            rows_at_once: bounds.rows_at_once,
        }
    }

    /// The sequences of the writes, and how far they are.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Says which rows may be pending, without the lock that covers the rest.
    pub(crate) fn filter(&self) -> Arc<RowFilter> {
        Arc::clone(&self.filter)
    }

    /// What its rows take of each limit.
    pub(crate) fn usage(&self) -> Usage {
        self.rows_take + Usage::of_in_flight(self.ledger.in_flight())
    }

    /// An estimate of the memory that its rows take.
    pub(crate) fn bytes(&self) -> usize {
        self.rows_take[Full::PendingBytes]
    }

    /// Whether the row has something pending.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.entries.get(key).is_some_and(Entry::has_writes)
    }

    /// A new write. A change of a row that is not pending is folded over its cached row.
    pub(crate) fn accept(&mut self, key: &[u8], delta: Delta, cache: &impl Cache) -> Sequence {
        let mut is_new = false;
        let (key, entry) = self.entries.get_or_insert_with(key, || {
            is_new = true;
            let cached = if delta.is_absolute() { None } else { cache.get(key) };
            self.filter.add(key);
            Entry::over(cached)
        });
        let sequence = self.ledger.issue(Key::clone(key));
        let before = if is_new { Usage::default() } else { entry.usage(key.len()) };
        entry.leaves.changes();
        entry.accept(sequence, delta);
        let after = entry.usage(key.len());
        self.account(before, after);
        sequence
    }

    /// A new write, if it can go with an earlier one of its row that no Kafka client was given yet:
    /// the sequence of both.
    pub(crate) fn join(&mut self, key: &[u8], delta: &Delta, bytes_max: usize) -> Option<Sequence> {
        let never_sent = self.ledger.never_sent();
        let mut sequence = None;
        self.change(key, |entry| sequence = entry.join(never_sent, delta, bytes_max));
        if let Some(sequence) = sequence {
            *self.joined.entry(sequence).or_default() += 1;
        }
        sequence
    }

    /// The write that `join` would join it with.
    pub(crate) fn would_join(
        &self,
        key: &[u8],
        delta: &Delta,
        bytes_max: usize,
    ) -> Option<Sequence> {
        self.entries.get(key)?.would_join(self.ledger.never_sent(), delta, bytes_max)
    }

    /// How large a write may become that another is joined with though there is no room: no larger
    /// than it is, or very small.
    pub(crate) fn joined_without_room(&self, key: &[u8]) -> Option<usize> {
        let entry = self.entries.get(key)?;
        let bytes = entry.in_flight(entry.sequences().next_back()?)?.bytes();
        Some(bytes.max(JOINED_ANYWAY))
    }

    /// All writes so far are of an earlier life of the process: each may be in the log, and in the
    /// database.
    #[cfg(feature = "journal")]
    pub(crate) fn are_replayed(&mut self) {
        self.ledger.are_replayed();
        self.replayed_below = self.ledger.next();
    }

    /// The write that the Kafka client gets next.
    pub(crate) fn next_unsent(&self) -> Option<(Sequence, &Key, &Delta)> {
        let (sequence, key) = self.ledger.next_unsent()?;
        Some((sequence, key, self.entries.get(key)?.in_flight(sequence)?))
    }

    /// The write and all before it were given to the Kafka client.
    pub(crate) fn mark_sent(&mut self, sequence: Sequence) {
        self.ledger.mark_sent(sequence);
    }

    /// Kafka has the write that was sent with these low bits of its sequence.
    pub(crate) fn acked(&mut self, low_bits: usize, offset: i64, cache: &impl Cache) {
        let Some((sequence, key)) = self.ledger.find(low_bits) else { return };
        let offset = self.ledger.trusted_offset(sequence, offset);
        self.answered(sequence, &key, offset, cache);
    }

    /// Kafka has the write, at `offset` if that is known.
    pub(crate) fn answered(
        &mut self,
        sequence: Sequence,
        key: &Key,
        offset: Option<Offset>,
        cache: &impl Cache,
    ) {
        self.lose_overtaken(sequence, cache);
        let is_first = || {
            let entry = self.entries.get(key);
            entry.and_then(|entry| entry.sequences().next()) == Some(sequence)
        };
        if self.rules.tail.is_some()
            && !(offset.is_some() && is_first())
            && !self.foreign.is_from_before_a_gap(sequence)
        {
            // It stays in flight until the tail brings it, which knows its place among the records
            // of others. Placed now, without an offset or before an earlier write of its row, it
            // would be folded in at the wrong place, and reads would see an older write win.
            self.ledger.acknowledge(sequence, when_committed(offset));
        } else {
            self.acked_at(sequence, key, offset, cache);
        }
    }

    /// Puts a write that is in the log where it belongs, at `offset` if that is known.
    pub(crate) fn acked_at(
        &mut self,
        sequence: Sequence,
        key: &Key,
        offset: Option<Offset>,
        cache: &impl Cache,
    ) {
        let rules = self.rules;
        let is_uncertain =
            self.foreign.is_from_before_a_gap(sequence) || sequence < self.replayed_below;
        self.place(sequence, key, offset, cache, |entry| {
            entry.acked(sequence, offset, rules);
            if is_uncertain {
                entry.mark_uncertain_below(offset.map_or(NextOffset::ZERO, Offset::next));
            }
        });
    }

    /// The group has committed `next`.
    pub(crate) fn committed(&mut self, next: NextOffset) {
        self.ledger.commit(next);
        self.forgotten.passed(next);
    }

    /// How far the log is in the database, and was read here if it is followed. A row leaves only
    /// then: otherwise what the tail has yet to bring would be folded over a cached row that holds
    /// it.
    pub(crate) fn passed(&self) -> Option<NextOffset> {
        let committed = self.ledger.committed()?;
        Some(self.rules.tail.map_or(committed, |tail| tail.min(committed)))
    }

    /// The log ended at `end` after all writes below `mark` were answered.
    pub(crate) fn sampled(&mut self, mark: Sequence, end: NextOffset, cache: &impl Cache) {
        self.ledger.sampled(mark, end);
        let later = self.unsampled.split_off(&mark);
        for key in std::mem::replace(&mut self.unsampled, later).into_values() {
            self.change(&key, |entry| entry.sampled(end));
            self.wait_for_commit(&key);
            self.let_leave(&key, cache);
        }
    }

    /// Below which sequence writes need the end of the log, because their offsets are unknown.
    pub(crate) fn wants_sample(&self) -> Option<Sequence> {
        let last = self.unsampled.last_key_value().map(|(sequence, _)| sequence + 1);
        self.ledger.wants_sample().max(last)
    }

    /// The row that reads see; `None`: nothing is pending, ask the cache.
    pub(crate) fn read(&mut self, key: &[u8]) -> Option<RowState> {
        self.entries.get_mut(key).filter(|entry| entry.has_writes()).map(Entry::read)
    }

    /// Below which offset a write of the row was forgotten that the group has not committed past.
    pub(crate) fn forgotten_below(&self, key: &[u8]) -> Option<NextOffset> {
        self.forgotten.forgotten_below(key, self.ledger.committed())
    }

    /// Gives back the memory that its tables took at their peak, once next to nothing is in them:
    /// then it is quick.
    pub(crate) fn give_back_memory(&mut self) {
        let is_a_peak = |capacity: usize, len: usize| len <= FEW && capacity > 16 * (FEW + len);
        if is_a_peak(self.entries.capacity(), self.entries.len()) {
            self.entries.shrink();
        }
        if is_a_peak(self.waiters.capacity(), self.waiters.len()) {
            self.waiters.shrink_to(FEW);
        }
        self.ledger.give_back_memory(|capacity, len| is_a_peak(capacity, len).then_some(FEW));
    }

    /// Whether committed offsets are needed.
    pub(crate) fn wants_commits(&self) -> bool {
        self.ledger.is_behind() || !self.entries.is_empty()
    }

    fn place(
        &mut self,
        sequence: Sequence,
        key: &Key,
        offset: Option<Offset>,
        cache: &impl Cache,
        change: impl FnOnce(&mut Entry),
    ) {
        let passed = self.passed();
        let (mut waits, mut may_leave) = (None, false);
        // One look-up for all: this is done for every write, by one thread for all that write.
        self.change(key, |entry| {
            change(entry);
            waits = entry.begins_to_wait(passed);
            may_leave = entry.may_leave(passed);
        });
        if let Some(next) = waits {
            self.waiters.push(CommitWaiter { next, key: Key::clone(key) });
        }
        self.ledger.acknowledge(sequence, when_committed(offset));
        if offset.is_none() {
            self.unsampled.insert(sequence, Key::clone(key));
        }
        if may_leave {
            self.let_leave(key, cache);
        }
    }

    /// Queues the row, to be released when the committed offset passes its last logged write.
    pub(crate) fn wait_for_commit(&mut self, key: &Key) {
        let passed = self.passed();
        let entry = self.entries.get_mut(key);
        if let Some(next) = entry.and_then(|entry| entry.begins_to_wait(passed)) {
            self.waiters.push(CommitWaiter { next, key: Key::clone(key) });
        }
    }

    pub(crate) fn insert(&mut self, key: Key, entry: Entry) {
        self.account(Usage::default(), entry.usage(key.len()));
        self.filter.add(&key);
        self.entries.insert(key, entry);
    }

    /// The row is no longer pending. What reads are to find in the cache from now on must be there,
    /// and what they are not to find must be gone: they may look there without the lock.
    pub(crate) fn remove(&mut self, key: &[u8]) {
        if let Some((key, entry)) = self.entries.remove(key) {
            self.account(entry.usage(key.len()), Usage::default());
            self.filter.remove(&key);
        }
    }

    pub(crate) fn change(&mut self, key: &[u8], change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let before = entry.usage(key.len());
        entry.leaves.changes();
        change(entry);
        let after = entry.usage(key.len());
        self.account(before, after);
    }

    /// An entry took `before`, and takes `after` now.
    fn account(&mut self, before: Usage, after: Usage) {
        self.rows_take = self.rows_take + after - before;
    }
}

/// When a write at `offset` is persisted.
fn when_committed(offset: Option<Offset>) -> PersistedWhen {
    offset.map_or(PersistedWhen::EndCommitted, |offset| PersistedWhen::Committed(offset.next()))
}

#[cfg(test)]
mod tests;

#[cfg(test)]
#[path = "tests/races.rs"]
mod races;

#[cfg(test)]
#[path = "tests/filter.rs"]
mod filter;

#[cfg(test)]
#[path = "tests/ages.rs"]
mod ages;

#[cfg(test)]
#[path = "tests/overlaps.rs"]
mod overlaps;
