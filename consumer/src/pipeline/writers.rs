//! The writers that a partition remembers: takes the `write-id`s of its records in log order, says of
//! each whether it was seen before.
//!
//! Pure. Writers come and go for ever, so only the [`WRITERS_MAX`] whose last records stand latest in
//! the log are remembered. Which ones those are depends on the log alone: not on where batches end,
//! nor on how often a part of it is read again. The database forgets them in the transaction that
//! moves the offset past the record that was one too many.

use std::collections::{BTreeSet, HashMap};

use ahash::RandomState;
use uuid::Uuid;
use write_behind_shared::{Offset, WriteId};

use crate::batch::WriterSeen;

/// How many writers a partition remembers.
pub(super) const WRITERS_MAX: usize = 10_000;

/// The writers that are remembered.
#[derive(Debug)]
pub(super) struct Writers {
    most: usize,
    /// Each one's last sequence, and the record that had it.
    seen: HashMap<Uuid, (u64, Offset), RandomState>,
    /// The same, the one that was seen least lately first.
    order: BTreeSet<(Offset, Uuid)>,
}

/// What a `write-id` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sighting {
    /// Its sequence was seen before.
    Before,
    /// The next one of its writer, or its first.
    Next,
    /// A later one: records of its writer are missing.
    Jump,
}

impl Writers {
    /// Those that the database remembers, of which so many are kept.
    pub(super) fn of(seen: impl IntoIterator<Item = WriterSeen>, most: usize) -> Self {
        let mut writers = Self { most, seen: HashMap::default(), order: BTreeSet::new() };
        for WriterSeen { last, at, .. } in seen {
            writers.note(last, at);
        }
        writers
    }

    /// Sees the `write-id` of the record at `at`.
    pub(super) fn see(&mut self, id: WriteId, at: Offset) -> Sighting {
        let last = self.seen.get(&id.writer).map(|(last, _)| *last);
        if last.is_some_and(|last| id.sequence <= last) {
            return Sighting::Before;
        }
        self.note(id, at);
        let expected = last.map_or(0, |last| last + 1);
        if id.sequence == expected { Sighting::Next } else { Sighting::Jump }
    }

    /// Forgets those that are too many; says which record the latest of them had.
    pub(super) fn forget(&mut self) -> Option<Offset> {
        let mut forgotten = None;
        while self.order.len() > self.most
            && let Some((at, writer)) = self.order.pop_first()
        {
            self.seen.remove(&writer);
            forgotten = Some(at);
        }
        forgotten
    }

    fn note(&mut self, id: WriteId, at: Offset) {
        if let Some((_, before)) = self.seen.insert(id.writer, (id.sequence, at)) {
            self.order.remove(&(before, id.writer));
        }
        self.order.insert((at, id.writer));
    }
}

impl Default for Writers {
    fn default() -> Self {
        Self::of([], WRITERS_MAX)
    }
}

#[cfg(test)]
#[path = "writers_tests.rs"]
mod tests;
