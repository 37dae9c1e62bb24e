//! A filter of forgotten rows: they were dropped from memory although the database does not have
//! them yet, so the log may have a newer row than the database.
//!
//! Its size does not depend on how many rows were forgotten: rows share slots by their hash, so a
//! row may look forgotten that was not, and never the other way round.

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;
use write_behind_shared::NextOffset;

/// The forgotten writes of one partition.
#[derive(Debug)]
pub(crate) struct Forgotten {
    /// Empty until something is forgotten. In each slot: below which offset a row was forgotten.
    slots: Vec<NextOffset>,
    /// The highest of them.
    highest: NextOffset,
    /// How many there are then: a power of two.
    slot_count: usize,
    /// Every row may have been written below this offset.
    all: NextOffset,
    hash: RandomState,
}

impl Forgotten {
    /// Nothing forgotten yet.
    pub(crate) fn new(slots: usize) -> Self {
        let slot_count = slots.next_power_of_two();
        Self {
            slots: Vec::new(),
            highest: NextOffset::ZERO,
            slot_count,
            all: NextOffset::ZERO,
            hash: RandomState::new(),
        }
    }

    /// The row's latest write that was forgotten lies below `next`.
    pub(crate) fn add(&mut self, key: &[u8], next: NextOffset) {
        if self.slots.is_empty() {
            self.slots = vec![NextOffset::ZERO; self.slot_count];
        }
        let slot = self.slot(key);
        self.slots[slot] = self.slots[slot].max(next);
        self.highest = self.highest.max(next);
    }

    /// The group has committed `committed`: with all of them in the database, their memory is given
    /// back.
    pub(crate) fn passed(&mut self, committed: NextOffset) {
        if !self.slots.is_empty() && committed >= self.highest {
            self.slots = Vec::new();
        }
    }

    /// Any row may have a write below `next` that was never seen here.
    pub(crate) fn add_all(&mut self, next: NextOffset) {
        self.all = self.all.max(next);
    }

    /// Below which offset the row may have a forgotten write, if the group has not `committed` so
    /// far yet.
    pub(crate) fn forgotten_below(
        &self,
        key: &[u8],
        committed: Option<NextOffset>,
    ) -> Option<NextOffset> {
        let slot = self.slots.get(self.slot(key)).copied().unwrap_or_default();
        let forgotten_below = slot.max(self.all);
        (forgotten_below > committed.unwrap_or_default()).then_some(forgotten_below)
    }

    fn slot(&self, key: &[u8]) -> usize {
        let mut hasher = self.hash.build_hasher();
        hasher.write(key);
        hasher.finish() as usize & (self.slot_count - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::bounds::Bounds;

    #[test]
    fn a_row_is_suspected_until_the_group_has_committed_past_what_was_forgotten() {
        let mut forgotten = Forgotten::new(Bounds::STANDARD.forgotten_slots);
        assert_eq!(forgotten.forgotten_below(b"7", None), None);
        forgotten.add(b"7", NextOffset(5));
        forgotten.add(b"7", NextOffset(3));
        assert_eq!(forgotten.forgotten_below(b"7", None), Some(NextOffset(5)));
        assert_eq!(forgotten.forgotten_below(b"7", Some(NextOffset(4))), Some(NextOffset(5)));
        assert_eq!(forgotten.forgotten_below(b"7", Some(NextOffset(5))), None);
    }

    #[test]
    fn the_memory_is_given_back_once_all_that_was_forgotten_is_in_the_database() {
        let mut forgotten = Forgotten::new(Bounds::STANDARD.forgotten_slots);
        forgotten.add(b"7", NextOffset(5));
        forgotten.passed(NextOffset(4));
        assert!(!forgotten.slots.is_empty());
        forgotten.passed(NextOffset(5));
        assert!(forgotten.slots.is_empty());
        forgotten.add(b"8", NextOffset(9));
        assert_eq!(forgotten.forgotten_below(b"8", None), Some(NextOffset(9)));
    }

    #[test]
    fn few_rows_are_suspected_wrongly_and_none_is_missed() {
        let mut forgotten = Forgotten::new(Bounds::STANDARD.forgotten_slots);
        let key = |n: i32| n.to_string().into_bytes();
        (0..1_000).for_each(|n| forgotten.add(&key(n), NextOffset(1)));
        let hits = |from: i32| {
            (from..from + 1_000)
                .filter(|n| forgotten.forgotten_below(&key(*n), None).is_some())
                .count()
        };
        assert_eq!(hits(0), 1_000);
        assert!(hits(1_000) < 150, "{} of 1000 others", hits(1_000));
    }

    #[test]
    fn a_gap_in_the_log_makes_every_row_suspect() {
        let mut forgotten = Forgotten::new(Bounds::STANDARD.forgotten_slots);
        forgotten.add_all(NextOffset(9));
        assert_eq!(
            forgotten.forgotten_below(b"anything", Some(NextOffset(8))),
            Some(NextOffset(9))
        );
        assert_eq!(forgotten.forgotten_below(b"anything", Some(NextOffset(9))), None);
    }
}
