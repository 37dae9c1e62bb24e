//! The writers that a partition remembers: takes the `write-id`s of its records in log order, says of
//! each whether it was seen before.
//!
//! Pure. Writers come and go for ever, so only the [`WRITERS_MAX`] whose last records stand latest in
//! the log are remembered. Which ones those are depends on the log alone: not on where batches end,
//! nor on how often a part of it is read again. The database forgets them in the transaction that
//! moves the offset past the record that was one too many.

use std::collections::HashMap;

use ahash::RandomState;
use uuid::Uuid;
use write_behind_shared::{Offset, WriteId};

use crate::core::batch::WriterSeen;

/// How many writers a partition remembers.
pub(super) const WRITERS_MAX: usize = 10_000;

/// The writers that are remembered.
#[derive(Debug)]
pub(super) struct Writers {
    most: usize,
    /// Each one's last sequence, and the record that had it.
    seen: HashMap<Uuid, (u64, Offset), RandomState>,
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
        let seen = seen.into_iter();
        let seen = seen.map(|WriterSeen { last, at, .. }| (last.writer, (last.sequence, at)));
        Self { most, seen: seen.collect() }
    }

    /// Sees the `write-id` of the record at `at`.
    pub(super) fn see(&mut self, id: WriteId, at: Offset) -> Sighting {
        let expected = match self.seen.get_mut(&id.writer) {
            Some((last, _)) if id.sequence <= *last => return Sighting::Before,
            Some(last) => std::mem::replace(last, (id.sequence, at)).0 + 1,
            None => {
                self.seen.insert(id.writer, (id.sequence, at));
                0
            }
        };
        if id.sequence == expected { Sighting::Next } else { Sighting::Jump }
    }

    /// Forgets those that are too many; says which record the latest of them had.
    ///
    /// Looks at all of them, which happens once a new writer; keeping them in order would cost
    /// something with every record.
    pub(super) fn forget(&mut self) -> Option<Offset> {
        let too_many = self.seen.len().checked_sub(self.most).filter(|count| *count > 0)?;
        let mut places: Vec<Offset> = self.seen.values().map(|(_, at)| *at).collect();
        let (_, last, _) = places.select_nth_unstable(too_many - 1);
        let last = *last;
        self.seen.retain(|_, (_, at)| *at > last);
        Some(last)
    }
}

impl Default for Writers {
    fn default() -> Self {
        Self::of([], WRITERS_MAX)
    }
}

#[cfg(test)]
#[path = "tests/writers.rs"]
mod tests;
