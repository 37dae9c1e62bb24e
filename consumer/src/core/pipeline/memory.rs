//! What a partition remembers from one buffer to the next: its writers, and what its values look like.
//!
//! Pure.

use std::sync::Arc;

use write_behind_shared::{Offset, WriteId};

use crate::core::batch::WriterSeen;
use crate::core::pipeline::shape::Shapes;
use crate::core::pipeline::writers::{Sighting, WRITERS_MAX, Writers};

/// What a partition remembers from one buffer to the next.
#[derive(Debug, Default)]
pub struct PartitionMemory {
    pub(super) writers: Writers,
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
        Self { writers: Writers::of(seen, most), ..Self::default() }
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
        let sighting = self.writers.see(id, at);
        if sighting != Sighting::Before {
            self.gap = (sighting == Sighting::Jump).then_some(id);
        }
        sighting == Sighting::Before
    }
}
