//! What records read from the log do to a partition's pending rows.
//!
//! A row may be read from the log before Kafka has answered for an earlier write of ours, or after;
//! either way it ends where the log has it.

use uuid::Uuid;
use write_behind_shared::NextOffset;

use crate::core::entry::Entry;
use crate::core::ledger::{Key, Loss, Ticket};
use crate::core::pending::{CleanCopies, Lane};
use crate::core::tail::{Place, Tailed};

impl Lane {
    /// Records of the log, in its order; afterwards every record below `next` was read. `own`: this
    /// handle's writer. Gives how many were of others.
    pub(crate) fn tailed(
        &mut self,
        own: Uuid,
        records: Vec<Tailed>,
        next: NextOffset,
        clean: &impl CleanCopies,
    ) -> u64 {
        let mut of_others = 0;
        for record in records {
            self.read_up_to(record.offset.next());
            let is_refused = self.others.refused.remove(&record.offset);
            let place = self.others.place(record.write_id);
            match record.write_id {
                _ if place == Place::Repeated => {}
                Some(id) if id.writer == own => self.saw_own(id.sequence, record, clean),
                _ if is_refused => {}
                _ => {
                    of_others += 1;
                    self.saw_other(record, place == Place::First, clean);
                }
            }
        }
        self.read_up_to(next);
        self.let_due_leave(clean);
        of_others
    }

    /// The records below `next` are gone, unread. No row that is here now is cached as it is.
    pub(crate) fn tail_lost(&mut self, next: NextOffset, clean: &impl CleanCopies) {
        self.forgotten.add_all(next);
        self.others.lost_below = self.ledger.next();
        self.others.refused = self.others.refused.split_off(&next.offset());
        let keys: Vec<Key> = self.entries.keys().cloned().collect();
        for key in keys {
            self.change(&key, |entry| entry.doubt_below(next));
            self.place_no_longer(&key);
        }
        self.read_up_to(next);
        self.let_due_leave(clean);
    }

    /// What the tail was to say of the row's writes it will not.
    fn place_no_longer(&mut self, key: &Key) {
        let Some(entry) = self.entries.get(key) else { return };
        let answered = |ticket: &Ticket| self.ledger.unanswered(*ticket).is_none();
        let unplaced: Vec<Ticket> = entry.tickets().filter(answered).collect();
        let rules = self.rules;
        for ticket in unplaced {
            self.change(key, |entry| entry.unknown(ticket, rules));
            self.unsampled.insert(ticket, Key::clone(key));
        }
    }

    fn read_up_to(&mut self, next: NextOffset) {
        self.rules.tail = self.rules.tail.max(Some(next));
    }

    /// A write of ours is in the log, so it needs no other answer.
    fn saw_own(&mut self, ticket: Ticket, record: Tailed, clean: &impl CleanCopies) {
        let Tailed { offset, key, .. } = &record;
        let is_unplaced = self.entries.get(key).is_some_and(|e| e.in_flight(ticket).is_some());
        if is_unplaced {
            self.ledger.saw(*offset);
            self.acked_at(ticket, key, Some(*offset), clean);
        } else {
            let is_unknown =
                || matches!(self.ledger.loss_in(&(ticket..ticket + 1)), Some(Loss::Unknown(_)));
            if self.others.is_from_before_a_gap(ticket) || is_unknown() {
                // So it is in the log, and perhaps not where it was folded in.
                self.saw_other(record, true, clean);
            }
        }
    }

    fn saw_other(&mut self, record: Tailed, may_be_repeated: bool, clean: &impl CleanCopies) {
        let Tailed { offset, key, delta, .. } = record;
        let rules = self.rules;
        if !self.entries.contains_key(&key) {
            let copy = clean.get(&key);
            let in_database = self.passed().is_some_and(|passed| passed.is_past(offset));
            if in_database && copy.is_none() && !delta.is_absolute() {
                // That the row is missing may be what is remembered of it.
                clean.forget(&key);
                return;
            }
            self.insert(Key::clone(&key), Entry::over(copy));
            self.remember_other(&key);
        }
        self.change(&key, |entry| {
            entry.tailed(offset, delta, rules);
            if may_be_repeated {
                entry.doubt_below(offset.next());
            }
        });
        self.queue(&key);
        self.let_leave(&key, clean);
    }

    fn remember_other(&mut self, key: &Key) {
        if self.others.rows.len() > 2 * self.entries.len() + 1_024 {
            let entries = &self.entries;
            self.others.rows.retain(|key| entries.contains_key(key));
        }
        self.others.rows.push_back(Key::clone(key));
    }
}
