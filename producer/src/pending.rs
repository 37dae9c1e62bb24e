//! The pure core: what one partition's writes have not yet put into the database.
//!
//! A [`Lane`] takes writes, Kafka's answers, committed offsets and loaded rows, and gives the row
//! that reads see. It knows neither Kafka nor a clock nor the cache of clean copies: rows that
//! became clean are handed out, in the same step in which they stop being pending.
//!
//! - INV-1: nothing pending is ever evicted: an entry leaves only when all its writes are persisted
//!   or failed.
//! - INV-2: a row is clean only when the committed offset is past its last write.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use std::collections::hash_map::Entry::{Occupied, Vacant};

use ahash::HashMap;
use write_behind_shared::NextOffset;

use crate::delta::{Delta, Row};
use crate::entry::{Entry, Found, Loaded, OVERHEAD_BYTES, RowState, Visible};
use crate::ledger::{Key, Ledger, Loss, Needs, Ticket};

/// Where rows go that stopped being pending.
pub(crate) trait CleanCopies {
    /// The row is in the database just so.
    fn keep(&self, key: Key, row: Row);
    /// The row is deleted, or what the database holds is not known here.
    fn forget(&self, key: &Key);
}

/// The writes of one partition that are not in the database.
#[derive(Debug)]
pub(crate) struct Lane {
    entries: HashMap<Key, Entry>,
    ledger: Ledger,
    /// Settled rows by what they wait for.
    due: BinaryHeap<Due>,
    /// Rows that wait for the end of the log to be sampled, by their ticket.
    unsampled: Vec<(Ticket, Key)>,
    /// Whether a loader may need the offsets of changes over an unknown row.
    exact: bool,
    rows: usize,
    bytes: usize,
}

/// An entry of the queue `due`: the lowest offset comes first out of the heap.
#[derive(Debug)]
struct Due {
    next: NextOffset,
    key: Key,
}

/// The memory that a write takes until it is persisted, at least.
pub(crate) fn cost(key: &[u8], delta: &Delta) -> usize {
    OVERHEAD_BYTES + key.len() + delta.bytes()
}

impl Lane {
    /// Nothing pending. `exact`: there is a loader.
    pub(crate) fn new(exact: bool) -> Self {
        Self {
            entries: HashMap::default(),
            ledger: Ledger::default(),
            due: BinaryHeap::new(),
            unsampled: Vec::new(),
            exact,
            rows: 0,
            bytes: 0,
        }
    }

    /// The tickets.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Rows with something pending.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// An estimate of the memory that pending writes take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the row has something pending.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.entries.get(key).is_some_and(Entry::has_writes)
    }

    /// A write that was just handed to Kafka under this ticket. `clean` is the clean copy of the
    /// row, over which a change (not a put or a delete) of an idle row is folded.
    pub(crate) fn accept(&mut self, key: Key, delta: Delta, clean: Option<Row>) -> Ticket {
        let key_bytes = key.len();
        let ticket = self.ledger.issue(Key::clone(&key));
        let mut before = (false, 0);
        let entry = match self.entries.entry(key) {
            Occupied(entry) => {
                before = measure(entry.key(), entry.get());
                entry.into_mut()
            }
            Vacant(entry) => entry.insert(Entry::over(clean)),
        };
        entry.accept(ticket, delta);
        let after = (true, entry.bytes(key_bytes));
        self.account(before, after);
        ticket
    }

    /// Kafka has the write that was handed over with these low bits of its ticket.
    pub(crate) fn acked(&mut self, low_bits: usize, offset: i64, clean: &impl CleanCopies) {
        let Some((ticket, key)) = self.ledger.find(low_bits) else { return };
        let offset = self.ledger.believe(offset);
        let exact = self.exact;
        self.settle(ticket, &key, clean, |entry| entry.acked(ticket, offset, exact));
    }

    /// Kafka has the write or not.
    pub(crate) fn lost(&mut self, low_bits: usize, loss: Loss, clean: &impl CleanCopies) {
        let Some((ticket, key)) = self.ledger.find(low_bits) else { return };
        let exact = self.exact;
        let failed = matches!(loss, Loss::Failed(_));
        self.ledger.lose(ticket, loss);
        if failed {
            self.change(&key, |entry| entry.failed(ticket));
            self.ledger.settle(ticket, Needs::Nothing);
            self.let_leave(&key, clean);
        } else {
            self.settle(ticket, &key, clean, |entry| entry.unknown(ticket, exact));
        }
    }

    /// The group has committed `next`.
    pub(crate) fn committed(&mut self, next: NextOffset, clean: &impl CleanCopies) {
        self.ledger.commit(next);
        while self.due.peek().is_some_and(|due| due.next <= next) {
            let Some(Due { key, .. }) = self.due.pop() else { break };
            self.change(&key, |entry| {
                entry.queued = false;
                entry.prune(next);
            });
            self.queue(&key);
            self.let_leave(&key, clean);
        }
    }

    /// The log ended at `end` after all writes below `mark` were answered.
    pub(crate) fn sampled(&mut self, mark: Ticket, end: NextOffset, clean: &impl CleanCopies) {
        self.ledger.sampled(mark, end);
        let later = self.unsampled.iter().position(|(ticket, _)| *ticket >= mark);
        let sampled = self.unsampled.drain(..later.unwrap_or(self.unsampled.len()));
        for (_, key) in sampled.collect::<Vec<_>>() {
            self.change(&key, |entry| entry.sampled(end));
            self.queue(&key);
            self.let_leave(&key, clean);
        }
    }

    /// The row that reads see; `None`: nothing is pending, ask the clean copies.
    pub(crate) fn read(&mut self, key: &[u8]) -> Option<Visible> {
        self.entries.get_mut(key).filter(|entry| entry.has_writes()).map(Entry::read)
    }

    /// A load of the row begins.
    pub(crate) fn load_begins(&mut self, key: &Key) {
        self.entries.entry(Key::clone(key)).or_insert_with(|| Entry::over(None)).loading = true;
    }

    /// The load that began found `found`; writes from `horizon` on were accepted after that.
    pub(crate) fn loaded(
        &mut self,
        key: &Key,
        found: &Found,
        horizon: Ticket,
        clean: &impl CleanCopies,
    ) -> Loaded {
        let first_unanswered = self.ledger.first_unanswered();
        let mut outcome = Loaded::Row(found.row.clone());
        self.change(key, |entry| outcome = entry.loaded(found, horizon, first_unanswered));
        if matches!(outcome, Loaded::Row(_)) {
            self.load_ends(key, clean);
        }
        outcome
    }

    /// The load is over, whatever it found.
    pub(crate) fn load_ends(&mut self, key: &Key, clean: &impl CleanCopies) {
        self.change(key, |entry| entry.loading = false);
        self.let_leave(key, clean);
    }

    fn settle(
        &mut self,
        ticket: Ticket,
        key: &Key,
        clean: &impl CleanCopies,
        settle: impl FnOnce(&mut Entry),
    ) {
        let mut needs = Needs::Nothing;
        self.change(key, |entry| {
            settle(entry);
            needs = entry.needs();
        });
        self.ledger.settle(ticket, needs);
        if needs == Needs::Sample {
            self.unsampled.push((ticket, Key::clone(key)));
        }
        self.queue(key);
        self.let_leave(key, clean);
    }

    /// Looks at the row again when commits have reached its last settled write.
    fn queue(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Needs::Commit(next) = entry.needs()
            && !entry.queued
            && !entry.needs().are_met_by(self.ledger.committed())
        {
            entry.queued = true;
            self.due.push(Due { next, key: Key::clone(key) });
        }
    }

    /// The row becomes a clean copy in the same step in which it stops being pending, so that no
    /// read falls between the two.
    fn let_leave(&mut self, key: &Key, clean: &impl CleanCopies) {
        let committed = self.ledger.committed();
        if !self.entries.get(key).is_some_and(|entry| entry.may_leave(committed)) {
            return;
        }
        let Some((key, entry)) = self.entries.remove_entry(key) else { return };
        let before = measure(&key, &entry);
        self.account(before, (false, 0));
        let outdates_clean_copy = entry.outdates_clean_copy;
        match entry.into_clean() {
            RowState::Known(Some(row)) => clean.keep(key, row),
            RowState::Known(None) => clean.forget(&key),
            RowState::Unknown if outdates_clean_copy => clean.forget(&key),
            RowState::Unknown => {}
        }
    }

    fn change(&mut self, key: &Key, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let before = measure(key, entry);
        change(entry);
        let after = measure(key, entry);
        self.account(before, after);
    }

    fn account(&mut self, before: (bool, usize), after: (bool, usize)) {
        self.rows = self.rows + usize::from(after.0) - usize::from(before.0);
        self.bytes = self.bytes + after.1 - before.1;
    }
}

/// Whether the entry has writes, and what it takes.
fn measure(key: &Key, entry: &Entry) -> (bool, usize) {
    (entry.has_writes(), entry.bytes(key.len()))
}

impl Ord for Due {
    /// Reversed: the heap gives the largest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.next.cmp(&self.next)
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.next == other.next
    }
}

impl Eq for Due {}

#[cfg(test)]
#[path = "pending_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "race_tests.rs"]
mod races;
