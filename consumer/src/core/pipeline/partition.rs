//! One partition within the pipeline: where it stands, what is held of it, what the source was told.

use write_behind_shared::NextOffset;

use crate::core::batch::{BatchId, Epoch};
use crate::core::pipeline::buffer::Buffer;
use crate::core::pipeline::memory::PartitionMemory;

/// What is known and held of a partition.
#[derive(Debug)]
pub(super) struct PartitionState {
    pub(super) epoch: Epoch,
    /// Whether its records are taken: its position is known, and it is not being let go.
    pub(super) reading: bool,
    /// The next offset to read.
    pub(super) next: NextOffset,
    /// Everything below is known to be in the database.
    pub(super) written: Option<NextOffset>,
    /// Where its log was last seen to end.
    pub(super) end: NextOffset,
    pub(super) buffer: Option<Buffer>,
    pub(super) in_flight: Option<BatchId>,
    pub(super) memory: PartitionMemory,
    /// What the source was told last.
    pub(super) fetching: Fetching,
    pub(super) told_skip: bool,
}

/// What the source does about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetching {
    NotYet,
    Yes,
    Paused,
}

impl PartitionState {
    /// One that was just assigned.
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            reading: false,
            next: NextOffset::ZERO,
            written: None,
            end: NextOffset::ZERO,
            buffer: None,
            in_flight: None,
            memory: PartitionMemory::default(),
            fetching: Fetching::NotYet,
            told_skip: false,
        }
    }

    /// Takes no more records, and no answer to where it stands.
    pub(super) fn let_go(&mut self) {
        self.reading = false;
        self.epoch = 0;
    }
}
