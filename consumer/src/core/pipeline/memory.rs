//! What a partition remembers across buffers: its writers' sequences and its values' shapes.
//!
//! Pure. Writers come and go forever, so a partition remembers only a bounded number of them,
//! those whose last records stand latest in the log. That choice depends on the log alone, not on where batches end
//! or how often a part of it is read again. The database forgets the others in the transaction that
//! moves the offset past the record that exceeded the limit.

use std::sync::Arc;

use write_behind_shared::{Offset, Partition, RecordError, SequenceCheck, Sequences, WriteId};

use crate::core::batch::WriterSeen;
use crate::core::pipeline::bounds::Bounds;
use crate::core::pipeline::placement::{OnWrongPartition, Placement};
use crate::core::pipeline::shape::Shapes;

/// What a partition remembers across buffers.
#[derive(Debug)]
pub struct PartitionMemory {
    sequences: Sequences,
    writers_max: usize,
    /// The last folded record's id, if records of its writer before it are missing.
    gap: Option<WriteId>,
    pub(super) shapes: Shapes,
    /// The value's member that holds the row's version, on a route with a `version`.
    pub(super) version: Option<Arc<str>>,
    /// Where the route's keys belong, if that is looked at.
    placement: Option<Placement>,
    /// The partition that the last record's key belongs to, if it lies in another.
    misplaced: Option<Partition>,
}

impl PartitionMemory {
    /// The memory of a partition, of which the database has seen these writers.
    pub fn new(bounds: &Bounds, seen: impl IntoIterator<Item = WriterSeen>) -> Self {
        let seen = seen.into_iter().map(|writer| (writer.last, writer.at));
        Self {
            sequences: seen.collect(),
            writers_max: bounds.writers,
            gap: None,
            shapes: Shapes::new(bounds.shapes),
            version: None,
            placement: None,
            misplaced: None,
        }
    }

    /// The same, on a route whose row version is this member of the value.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn with_version(self, version: Option<Arc<str>>) -> Self {
        Self { version, ..self }
    }

    /// It is of a route with this version and placement.
    pub(super) fn of_route(&mut self, version: Option<Arc<str>>, placement: Option<Placement>) {
        (self.version, self.placement) = (version, placement);
    }

    /// Notes whether the key lies where it belongs.
    ///
    /// # Errors
    /// It lies elsewhere, and the route sets such records aside.
    pub(super) fn place(
        &mut self,
        partition: Partition,
        key: &[u8],
        has_write_id: bool,
    ) -> Result<(), RecordError> {
        let Some(placement) = self.placement else { return Ok(()) };
        self.misplaced = placement.elsewhere(partition, key, has_write_id);
        match (self.misplaced, placement.on_wrong) {
            (Some(belongs_to), OnWrongPartition::DeadLetter) => {
                Err(RecordError::WrongPartition(belongs_to))
            }
            _ => Ok(()),
        }
    }

    /// The partition that the last record's key belongs to, if it lies in another.
    pub fn take_misplaced(&mut self) -> Option<Partition> {
        self.misplaced.take()
    }

    /// The id of the record folded or set aside last, if records of its writer before it are
    /// missing.
    pub fn take_gap(&mut self) -> Option<WriteId> {
        self.gap.take()
    }

    /// Whether the writer's sequence was seen before; if not, it now counts as seen.
    pub(super) fn has_seen(&mut self, id: WriteId, at: Offset) -> bool {
        let check = self.sequences.observe(id, at);
        if check != SequenceCheck::Duplicate {
            self.gap = check.follows_a_gap().then_some(id);
        }
        check == SequenceCheck::Duplicate
    }

    /// Forgets the oldest writers beyond the limit, and returns the last offset of the newest one
    /// forgotten.
    pub(super) fn forget_writers(&mut self) -> Option<Offset> {
        self.sequences.forget_beyond(self.writers_max)
    }
}

impl Default for PartitionMemory {
    fn default() -> Self {
        Self::new(&Bounds::STANDARD, [])
    }
}

#[cfg(test)]
#[path = "tests/writers.rs"]
mod tests;
