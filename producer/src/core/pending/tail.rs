//! Records read from the log, as they reach a partition's pending rows.
//!
//! A row may be read from the log before Kafka has answered for an earlier write of ours, or after;
//! either way it ends where the log has it.

use write_behind_shared::{NextOffset, SequenceCheck};

use crate::core::cache::Cache;
use crate::core::entry::Entry;
use crate::core::ledger::{Key, Sequence};
use crate::core::lost_writes::Loss;
use crate::core::pending::Pending;
use crate::core::tail::LogRecord;
use crate::core::write_ids::WriteIds;

impl Pending {
    /// Records of the log, in its order; afterwards every record below `next` was read. `own`: the
    /// ids of this handle's writes. Gives how many were of others.
    pub(crate) fn log_read(
        &mut self,
        own: &WriteIds,
        records: Vec<LogRecord>,
        next: NextOffset,
        cache: &impl Cache,
    ) -> u64 {
        let mut of_others = 0;
        for record in records {
            self.read_up_to(record.offset.next());
            let is_refused = self.foreign.dead_letters.remove(&record.offset);
            let check = self.foreign.check(record.write_id, record.offset);
            match record.write_id.and_then(|id| own.sequence_of(id)) {
                _ if check == SequenceCheck::Duplicate => {}
                Some(sequence) => self.own_record(sequence, record, cache),
                None if is_refused => {}
                None => {
                    of_others += 1;
                    self.foreign_record(record, check == SequenceCheck::FirstSeen, cache);
                }
            }
        }
        self.read_up_to(next);
        of_others
    }

    /// The records below `next` are gone, unread. No row that is here now is cached as it is.
    pub(crate) fn log_lost(&mut self, next: NextOffset) {
        self.forgotten.add_all(next);
        self.foreign.lost_below = self.ledger.next();
        self.foreign.dead_letters = self.foreign.dead_letters.split_off(&next.offset());
        let keys: Vec<Key> = self.entries.keys().cloned().collect();
        for key in keys {
            self.change(&key, |entry| {
                entry.mark_uncertain_below(next);
                if !entry.has_writes() {
                    // A pinned row is no newer than a cached one, and those are all removed.
                    entry.invalidate();
                }
            });
            self.place_no_longer(&key);
        }
        self.read_up_to(next);
    }

    /// The tail will not say any more where the row's writes are.
    fn place_no_longer(&mut self, key: &Key) {
        let Some(entry) = self.entries.get(key) else { return };
        let answered = |sequence: &Sequence| self.ledger.unanswered(*sequence).is_none();
        let unplaced: Vec<Sequence> = entry.sequences().filter(answered).collect();
        let rules = self.rules;
        for sequence in unplaced {
            self.change(key, |entry| entry.unknown(sequence, rules));
            self.unsampled.insert(sequence, Key::clone(key));
        }
    }

    fn read_up_to(&mut self, next: NextOffset) {
        self.rules.tail = self.rules.tail.max(Some(next));
    }

    /// A write of ours is in the log, so it needs no other answer.
    fn own_record(&mut self, sequence: Sequence, record: LogRecord, cache: &impl Cache) {
        let LogRecord { offset, key, .. } = &record;
        // Kafka's answer and the tail both bring this write, in either order, and it must be folded
        // in once: the first takes it out of the writes in flight, and the second finds it gone.
        let is_unplaced = self.entries.get(key).is_some_and(|e| e.in_flight(sequence).is_some());
        if is_unplaced {
            self.lose_overtaken(sequence, cache);
            self.ledger.seen_at(*offset);
            self.acked_at(sequence, key, Some(*offset), cache);
        } else {
            let is_unknown = || {
                matches!(
                    self.ledger.lost.first_in(&(sequence..sequence + 1)),
                    Some(Loss::Unknown(_))
                )
            };
            if self.foreign.is_from_before_a_gap(sequence) || is_unknown() {
                // So it is in the log, and perhaps not where it was folded in.
                self.foreign_record(record, true, cache);
            }
        }
    }

    fn foreign_record(&mut self, record: LogRecord, may_be_repeated: bool, cache: &impl Cache) {
        let LogRecord { offset, key, delta, .. } = record;
        let rules = self.rules;
        if !self.entries.contains_key(&key) {
            let cached = cache.get(&key);
            let in_database = self.passed().is_some_and(|passed| passed.is_past(offset));
            if in_database && cached.is_none() && !delta.is_absolute() {
                // The database has it, and nothing is cached to fold it over. The cache may still
                // remember that there is no such row, which was true before this record.
                cache.remove(&key);
                return;
            }
            self.insert(Key::clone(&key), Entry::over(cached));
            self.remember_foreign(&key);
        }
        self.change(&key, |entry| {
            entry.foreign_record(offset, delta, rules);
            if may_be_repeated {
                entry.mark_uncertain_below(offset.next());
            }
        });
        self.wait_for_commit(&key);
        self.let_leave(&key, cache);
    }

    fn remember_foreign(&mut self, key: &Key) {
        if self.foreign.rows.len() > 2 * self.entries.len() + 1_024 {
            let entries = &self.entries;
            self.foreign.rows.retain(|key| entries.contains_key(key));
        }
        self.foreign.rows.push_back(Key::clone(key));
    }
}
