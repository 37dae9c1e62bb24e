//! The pure core: what one partition's writes have not yet put into the database.
//!
//! A [`Lane`] takes writes, Kafka's answers, committed offsets and loaded rows, and gives the row
//! that reads see. It knows neither Kafka nor a clock nor the cache of clean copies: rows that
//! became clean are handed out, in the same step in which they stop being pending.
//!
//! - INV-1: nothing pending is ever evicted: an entry leaves only when all its writes are persisted
//!   or failed.
//! - INV-2: a row is clean only when the committed offset is past its last write.

mod loads;
mod tail;
mod forget;
pub(crate) mod dead_letters;

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, BinaryHeap};

use ahash::HashMap;
use write_behind_shared::{NextOffset, Offset};

use crate::core::commit_queue::Due;
use crate::core::delta::{Delta, Row};
use crate::core::entry::{Entry, OVERHEAD_BYTES, RowState, Visible};
use crate::core::forgotten::Forgotten;
use crate::core::ledger::{Key, Ledger, Loss, Needs, Ticket};
use crate::core::logged::Rules;
use crate::core::tail::Others;

/// Where rows go that stopped being pending, and where they are until they are pending again.
pub(crate) trait CleanCopies {
    /// The row, if there is a clean copy.
    fn get(&self, key: &Key) -> Option<Row>;
    /// The row is in the database just so.
    fn keep(&self, key: Key, row: Row);
    /// The database has no such row.
    fn keep_missing(&self, key: Key) {
        self.forget(&key);
    }
    /// What the database holds is not known here.
    fn forget(&self, key: &Key);
}

/// The writes of one partition that are not in the database.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) entries: HashMap<Key, Entry>,
    pub(crate) ledger: Ledger,
    /// Settled rows by what they wait for.
    pub(crate) due: BinaryHeap<Due>,
    /// Rows that wait for the end of the log to be sampled, by their ticket.
    pub(crate) unsampled: BTreeMap<Ticket, Key>,
    pub(crate) rules: Rules,
    /// With `follow`: what is known of the writers of other records.
    pub(crate) others: Others,
    pub(crate) forgotten: Forgotten,
    taken: Taken,
}

/// What rows take.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// How many have writes.
    rows: usize,
    bytes: usize,
    /// The part of `bytes` that writes take which are not placed in the log.
    in_flight: usize,
}

/// The memory that a write takes until it is persisted, at least.
pub(crate) fn cost(key: &[u8], delta: &Delta) -> usize {
    OVERHEAD_BYTES + key.len() + delta.bytes()
}

impl Lane {
    /// Nothing pending.
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            entries: HashMap::default(),
            ledger: Ledger::default(),
            due: BinaryHeap::new(),
            unsampled: BTreeMap::new(),
            rules,
            others: Others::default(),
            forgotten: Forgotten::new(),
            taken: Taken::default(),
        }
    }

    /// The tickets.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Rows with something pending.
    pub(crate) fn rows(&self) -> usize {
        self.taken.rows
    }

    /// An estimate of the memory that pending writes take.
    pub(crate) fn bytes(&self) -> usize {
        self.taken.bytes
    }

    /// The part of it that writes take which Kafka has not answered.
    pub(crate) fn bytes_in_flight(&self) -> usize {
        self.taken.in_flight
    }

    /// Whether the row has something pending.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.entries.get(key).is_some_and(Entry::has_writes)
    }

    /// A new write. A change of a row that is not pending is folded over its clean copy.
    pub(crate) fn accept(&mut self, key: Key, delta: Delta, clean: &impl CleanCopies) -> Ticket {
        let key_bytes = key.len();
        let ticket = self.ledger.issue(Key::clone(&key));
        let mut before = Taken::default();
        let entry = match self.entries.entry(key) {
            Occupied(entry) => {
                before = Taken::by(key_bytes, entry.get());
                entry.into_mut()
            }
            Vacant(entry) => {
                let copy = if delta.is_absolute() { None } else { clean.get(entry.key()) };
                entry.insert(Entry::over(copy))
            }
        };
        entry.accept(ticket, delta);
        let after = Taken::by(key_bytes, entry);
        self.account(before, after);
        ticket
    }

    /// A new write, if it can go with an earlier one of its row that no Kafka client was given yet:
    /// gives the ticket of both.
    pub(crate) fn join(&mut self, key: &Key, delta: &Delta, bytes_max: usize) -> Option<Ticket> {
        let never_handed = self.ledger.never_handed();
        let mut ticket = None;
        self.change(key, |entry| ticket = entry.join(never_handed, delta, bytes_max));
        ticket
    }

    /// The write that the Kafka client is to be given next.
    pub(crate) fn next_to_hand(&self) -> Option<(Ticket, &Key, &Delta)> {
        let (ticket, key) = self.ledger.next_to_hand()?;
        Some((ticket, key, self.entries.get(key)?.in_flight(ticket)?))
    }

    /// `ticket` and all before it were given to the Kafka client.
    pub(crate) fn hand(&mut self, ticket: Ticket) {
        self.ledger.hand(ticket);
    }

    /// The Kafka client is gone: what it has not answered is to be given to another.
    pub(crate) fn take_back(&mut self) {
        self.ledger.take_back();
    }

    /// Kafka has the write that was handed over with these low bits of its ticket.
    pub(crate) fn acked(&mut self, low_bits: usize, offset: i64, clean: &impl CleanCopies) {
        let Some((ticket, key)) = self.ledger.find(low_bits) else { return };
        let offset = self.ledger.believe(ticket, offset);
        self.answered(ticket, &key, offset, clean);
    }

    /// Kafka has the write, at `offset` if that is known.
    pub(crate) fn answered(
        &mut self,
        ticket: Ticket,
        key: &Key,
        offset: Option<Offset>,
        clean: &impl CleanCopies,
    ) {
        let first = self.entries.get(key).and_then(|entry| entry.tickets().next());
        let is_placed = offset.is_some() && first == Some(ticket);
        if self.rules.tail.is_some() && !is_placed && !self.others.is_from_before_a_gap(ticket) {
            // The tail will say where: others may have written the row before and after it.
            self.ledger.settle(ticket, needs(offset));
        } else {
            self.acked_at(ticket, key, offset, clean);
        }
    }

    /// Puts a write that is in the log where it belongs, at `offset` if that is known.
    pub(crate) fn acked_at(
        &mut self,
        ticket: Ticket,
        key: &Key,
        offset: Option<Offset>,
        clean: &impl CleanCopies,
    ) {
        let rules = self.rules;
        let may_be_in_gap = self.others.is_from_before_a_gap(ticket);
        self.settle(ticket, key, offset, clean, |entry| {
            entry.acked(ticket, offset, rules);
            if may_be_in_gap {
                entry.doubt_below(offset.map_or(NextOffset::ZERO, Offset::next));
            }
        });
    }

    /// Kafka has the write or not.
    pub(crate) fn lost(
        &mut self,
        low_bits: usize,
        loss: Loss,
        clean: &impl CleanCopies,
    ) -> Option<Key> {
        let (ticket, key) = self.ledger.find(low_bits)?;
        let rules = self.rules;
        let loss = match loss {
            // Another client was given it too, and that one's copy may be in the log.
            Loss::Failed(reason) if self.ledger.was_sent_again(ticket) => Loss::Unknown(reason),
            loss => loss,
        };
        let failed = matches!(loss, Loss::Failed(_));
        self.ledger.lose(ticket, loss);
        if failed {
            self.change(&key, |entry| entry.failed(ticket));
            self.ledger.settle(ticket, Needs::Nothing);
            self.let_leave(&key, clean);
        } else {
            self.settle(ticket, &key, None, clean, |entry| entry.unknown(ticket, rules));
        }
        Some(key)
    }

    /// The group has committed `next`.
    pub(crate) fn committed(&mut self, next: NextOffset, clean: &impl CleanCopies) {
        self.ledger.commit(next);
        self.let_due_leave(clean);
    }

    /// How far the log is in the database, and was read here if it is followed. A row leaves only
    /// then: what the tail has not brought yet would else be folded over a copy that holds it.
    pub(crate) fn passed(&self) -> Option<NextOffset> {
        let committed = self.ledger.committed()?;
        Some(self.rules.tail.map_or(committed, |tail| tail.min(committed)))
    }

    /// Looks again at the rows whose last settled write has been passed.
    pub(crate) fn let_due_leave(&mut self, clean: &impl CleanCopies) {
        let Some(passed) = self.passed() else { return };
        while self.due.peek().is_some_and(|due| due.next <= passed) {
            let Some(Due { key, .. }) = self.due.pop() else { break };
            self.change(&key, |entry| {
                entry.queued = false;
                entry.prune(passed);
            });
            self.queue(&key);
            self.let_leave(&key, clean);
        }
    }

    /// The log ended at `end` after all writes below `mark` were answered.
    pub(crate) fn sampled(&mut self, mark: Ticket, end: NextOffset, clean: &impl CleanCopies) {
        self.ledger.sampled(mark, end);
        let later = self.unsampled.split_off(&mark);
        for key in std::mem::replace(&mut self.unsampled, later).into_values() {
            self.change(&key, |entry| entry.sampled(end));
            self.queue(&key);
            self.let_leave(&key, clean);
        }
    }

    /// Whether the end of the log is wanted, to place writes whose offset is unknown; and if so
    /// below which ticket.
    pub(crate) fn wants_sample(&self) -> Option<Ticket> {
        let last = self.unsampled.last_key_value().map(|(ticket, _)| ticket + 1);
        self.ledger.wants_sample().max(last)
    }

    /// The row that reads see; `None`: nothing is pending, ask the clean copies.
    pub(crate) fn read(&mut self, key: &[u8]) -> Option<Visible> {
        self.entries.get_mut(key).filter(|entry| entry.has_writes()).map(Entry::read)
    }

    /// Below which offset a write of the row was forgotten that the group has not committed past.
    pub(crate) fn forgotten(&self, key: &[u8]) -> Option<NextOffset> {
        self.forgotten.reach(key, self.ledger.committed())
    }

    /// Whether committed offsets are of interest.
    pub(crate) fn wants_commits(&self) -> bool {
        self.ledger.is_behind() || !self.entries.is_empty()
    }

    fn settle(
        &mut self,
        ticket: Ticket,
        key: &Key,
        offset: Option<Offset>,
        clean: &impl CleanCopies,
        settle: impl FnOnce(&mut Entry),
    ) {
        self.change(key, settle);
        self.ledger.settle(ticket, needs(offset));
        if offset.is_none() {
            self.unsampled.insert(ticket, Key::clone(key));
        }
        self.queue(key);
        self.let_leave(key, clean);
    }

    /// Looks at the row again when its last settled write has been passed.
    pub(crate) fn queue(&mut self, key: &Key) {
        let passed = self.passed();
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Needs::Commit(next) = entry.needs()
            && !entry.queued
            && !entry.needs().are_met_by(passed)
        {
            entry.queued = true;
            self.due.push(Due { next, key: Key::clone(key) });
        }
    }

    /// The row becomes a clean copy in the same step in which it stops being pending, so that no
    /// read falls between the two.
    pub(crate) fn let_leave(&mut self, key: &Key, clean: &impl CleanCopies) {
        let passed = self.passed();
        if !self.entries.get(key).is_some_and(|entry| entry.may_leave(passed)) {
            return;
        }
        let Some((key, entry)) = self.remove(key) else { return };
        let outdates_clean_copy = entry.outdates_clean_copy;
        match entry.into_clean() {
            RowState::Known(Some(row)) => clean.keep(key, row),
            RowState::Known(None) => clean.keep_missing(key),
            RowState::Unknown if outdates_clean_copy => clean.forget(&key),
            RowState::Unknown => {}
        }
    }

    pub(crate) fn insert(&mut self, key: Key, entry: Entry) {
        self.account(Taken::default(), Taken::by(key.len(), &entry));
        self.entries.insert(key, entry);
    }

    pub(crate) fn remove(&mut self, key: &Key) -> Option<(Key, Entry)> {
        let (key, entry) = self.entries.remove_entry(key)?;
        self.account(Taken::by(key.len(), &entry), Taken::default());
        Some((key, entry))
    }

    pub(crate) fn change(&mut self, key: &Key, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let before = Taken::by(key.len(), entry);
        change(entry);
        let after = Taken::by(key.len(), entry);
        self.account(before, after);
    }

    fn account(&mut self, before: Taken, after: Taken) {
        let Taken { rows, bytes, in_flight } = &mut self.taken;
        *rows = *rows + after.rows - before.rows;
        *bytes = *bytes + after.bytes - before.bytes;
        *in_flight = *in_flight + after.in_flight - before.in_flight;
    }
}

/// What a write at `offset` needs.
fn needs(offset: Option<Offset>) -> Needs {
    offset.map_or(Needs::Sample, |offset| Needs::Commit(offset.next()))
}

impl Taken {
    fn by(key_bytes: usize, entry: &Entry) -> Self {
        Self {
            rows: usize::from(entry.has_writes()),
            bytes: entry.bytes(key_bytes),
            in_flight: entry.bytes_in_flight(key_bytes),
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
#[path = "tests/races.rs"]
mod races;

#[cfg(test)]
#[path = "tests/overlaps.rs"]
mod overlaps;
