//! What a partition remembers from one buffer to the next: its writers, and what its values look like.
//!
//! Pure. Writers come and go for ever, so a partition remembers only the `WRITERS_MAX` whose last
//! records stand latest in the log. Which ones those are depends on the log alone: not on where
//! batches end, nor on how often a part of it is read again. The database forgets the others in the
//! transaction that moves the offset past the record that was one too many.

use std::sync::Arc;

use write_behind_shared::{Offset, SequenceCheck, Sequences, WriteId};

use crate::core::batch::WriterSeen;
use crate::core::pipeline::shape::Shapes;

/// How many writers a partition remembers.
const WRITERS_MAX: usize = 10_000;

/// What a partition remembers from one buffer to the next.
#[derive(Debug)]
pub struct PartitionMemory {
    sequences: Sequences,
    writers_max: usize,
    /// The record folded last, if its writer's records before it are missing.
    gap: Option<WriteId>,
    pub(super) shapes: Shapes,
    /// The member of a value that holds the row's version, on a route with a `version`.
    pub(super) version: Option<Arc<str>>,
}

impl PartitionMemory {
    /// The memory of a partition whose writers the database has seen so far.
    pub fn new(seen: impl IntoIterator<Item = WriterSeen>) -> Self {
        Self::remembering(seen, WRITERS_MAX)
    }

    /// The same, of which so many are remembered.
    pub(super) fn remembering(seen: impl IntoIterator<Item = WriterSeen>, most: usize) -> Self {
        let seen = seen.into_iter().map(|writer| (writer.last, writer.at));
        let (gap, shapes, version) = (None, Shapes::default(), None);
        Self { sequences: seen.collect(), writers_max: most, gap, shapes, version }
    }

    /// The same, for a route on which this member of a value is the row's version.
    #[must_use]
    pub fn with_version(self, version: Option<Arc<str>>) -> Self {
        Self { version, ..self }
    }

    /// The record folded last or set aside last, if its writer's records before it are missing.
    pub fn take_gap(&mut self) -> Option<WriteId> {
        self.gap.take()
    }

    /// Whether the writer's sequence was seen before; if not, it is now.
    pub(super) fn has_seen(&mut self, id: WriteId, at: Offset) -> bool {
        let check = self.sequences.observe(id, at);
        if check != SequenceCheck::Duplicate {
            self.gap = check.follows_a_gap().then_some(id);
        }
        check == SequenceCheck::Duplicate
    }

    /// Forgets the writers that are too many; says which record the latest of them had.
    pub(super) fn forget_writers(&mut self) -> Option<Offset> {
        self.sequences.forget_beyond(self.writers_max)
    }
}

impl Default for PartitionMemory {
    fn default() -> Self {
        Self::new([])
    }
}

#[cfg(test)]
#[path = "tests/writers.rs"]
mod tests;
