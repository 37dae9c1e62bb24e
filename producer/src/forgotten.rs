//! What was dropped from memory although the database does not have it yet: takes rows and offsets,
//! says whether a row may be newer in the log than in the database.
//!
//! Its size does not depend on how many rows were forgotten: rows share slots by their hash, so a
//! row may be suspected that was not forgotten, and never the other way round.
//!
//! Pure: no clock, no task, no Kafka.

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;
use write_behind_shared::NextOffset;

use crate::ledger::{Key, Needs};
use crate::pending::{CleanCopies, Lane};

/// How many rows in a row are looked at in vain before a lane is let be.
const IN_VAIN_MAX: usize = 256;
/// How many slots there are, 128 KiB of them; a power of two.
const SLOTS: usize = 1 << 14;

/// The forgotten writes of one partition.
#[derive(Debug)]
pub(crate) struct Forgotten {
    /// Empty until something is forgotten. In each slot: below which offset a row was forgotten.
    slots: Vec<NextOffset>,
    /// Every row may have been written below this offset.
    all: NextOffset,
    hash: RandomState,
}

impl Forgotten {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), all: NextOffset::ZERO, hash: RandomState::new() }
    }

    /// The row's latest write that was forgotten lies below `next`.
    pub(crate) fn add(&mut self, key: &[u8], next: NextOffset) {
        if self.slots.is_empty() {
            self.slots = vec![NextOffset::ZERO; SLOTS];
        }
        let slot = self.slot(key);
        self.slots[slot] = self.slots[slot].max(next);
    }

    /// Any row may have a write below `next` that was never seen here.
    pub(crate) fn add_all(&mut self, next: NextOffset) {
        self.all = self.all.max(next);
    }

    /// Below which offset the row may have a forgotten write, if the group has not `committed` so
    /// far yet.
    pub(crate) fn reach(&self, key: &[u8], committed: Option<NextOffset>) -> Option<NextOffset> {
        let slot = self.slots.get(self.slot(key)).copied().unwrap_or_default();
        let reach = slot.max(self.all);
        (reach > committed.unwrap_or_default()).then_some(reach)
    }

    fn slot(&self, key: &[u8]) -> usize {
        let mut hasher = self.hash.build_hasher();
        hasher.write(key);
        hasher.finish() as usize & (SLOTS - 1)
    }
}

impl Lane {
    /// Forgets rows, the oldest first, until `enough` bytes are free: those that came only from the
    /// log, and if `own_too`, those that Kafka has of ours. The rest can't be read again from
    /// anywhere and stays. Gives how many rows were forgotten.
    pub(crate) fn forget_some(
        &mut self,
        enough: usize,
        own_too: bool,
        clean: &impl CleanCopies,
    ) -> u64 {
        let goal = self.bytes().saturating_sub(enough);
        let (mut forgotten, mut in_vain) = (0, 0);
        while self.bytes() > goal
            && let Some(key) = self.others.rows.pop_front()
        {
            forgotten += u64::from(self.forget(&key, false, clean));
        }
        let mut kept = Vec::new();
        while own_too
            && self.bytes() > goal
            && in_vain < IN_VAIN_MAX
            && let Some(due) = self.due.pop()
        {
            if self.forget(&due.key, true, clean) {
                forgotten += 1;
                in_vain = 0;
            } else if self.entries.contains_key(&due.key) {
                in_vain += 1;
                kept.push(due);
            }
        }
        self.due.extend(kept);
        if self.due.len() > 2 * self.entries.len() + 1_024 {
            let entries = &self.entries;
            self.due.retain(|due| entries.contains_key(&due.key));
        }
        forgotten
    }

    fn forget(&mut self, key: &Key, own_too: bool, clean: &impl CleanCopies) -> bool {
        let Some(entry) = self.entries.get(key) else { return false };
        let Needs::Commit(next) = entry.needs() else { return false };
        // What others wrote before it would else look like the newest there is.
        let is_tailed = self.rules.tail.is_none_or(|tail| next <= tail);
        if !is_tailed || !entry.can_be_forgotten(own_too) {
            return false;
        }
        self.remove(key);
        self.forgotten.add(key, next);
        clean.forget(key);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_suspected_until_the_group_has_committed_past_what_was_forgotten() {
        let mut forgotten = Forgotten::new();
        assert_eq!(forgotten.reach(b"7", None), None);
        forgotten.add(b"7", NextOffset(5));
        forgotten.add(b"7", NextOffset(3));
        assert_eq!(forgotten.reach(b"7", None), Some(NextOffset(5)));
        assert_eq!(forgotten.reach(b"7", Some(NextOffset(4))), Some(NextOffset(5)));
        assert_eq!(forgotten.reach(b"7", Some(NextOffset(5))), None);
    }

    #[test]
    fn few_rows_are_suspected_wrongly_and_none_is_missed() {
        let mut forgotten = Forgotten::new();
        let key = |n: i32| n.to_string().into_bytes();
        (0..1_000).for_each(|n| forgotten.add(&key(n), NextOffset(1)));
        let suspected = |from: i32| {
            (from..from + 1_000).filter(|n| forgotten.reach(&key(*n), None).is_some()).count()
        };
        assert_eq!(suspected(0), 1_000);
        assert!(suspected(1_000) < 150, "{} of 1000 others", suspected(1_000));
    }

    #[test]
    fn a_gap_in_the_log_makes_every_row_suspect() {
        let mut forgotten = Forgotten::new();
        forgotten.add_all(NextOffset(9));
        assert_eq!(forgotten.reach(b"anything", Some(NextOffset(8))), Some(NextOffset(9)));
        assert_eq!(forgotten.reach(b"anything", Some(NextOffset(9))), None);
    }
}
