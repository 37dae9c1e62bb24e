//! One partition in the pipeline: where it stands, what it holds, and what the source was told.

use write_behind_shared::NextOffset;

use crate::core::batch::{BatchId, Epoch};
use crate::core::pipeline::buffer::Buffer;
use crate::core::pipeline::memory::PartitionMemory;
use crate::core::pipeline::skips::Skips;
use crate::core::pipeline::stand_still::StandStill;

/// The state of a partition.
#[derive(Debug)]
pub(super) struct PartitionState {
    pub(super) epoch: Epoch,
    /// Whether its records are folded: its position is known, and it is not being released.
    pub(super) reading: bool,
    /// The next offset to read.
    pub(super) next: NextOffset,
    /// Everything below is known to be in the database.
    pub(super) written: Option<NextOffset>,
    /// The last known end of its log.
    pub(super) end: Option<NextOffset>,
    pub(super) buffer: Option<Buffer>,
    pub(super) in_flight: Option<BatchId>,
    pub(super) memory: PartitionMemory,
    /// Whether it is located again once its batch in flight is written.
    pub(super) locates_again: bool,
    /// What the source was last told to do.
    pub(super) fetching: Fetching,
    /// The offsets that the client passed over.
    pub(super) skips: Skips,
    /// Whether it stands still before its end.
    pub(super) still: StandStill,
}

/// What the source does with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetching {
    NotYet,
    Yes,
    Paused,
}

impl PartitionState {
    /// A newly assigned partition.
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            reading: false,
            next: NextOffset::ZERO,
            written: None,
            end: None,
            buffer: None,
            in_flight: None,
            locates_again: false,
            memory: PartitionMemory::default(),
            fetching: Fetching::NotYet,
            skips: Skips::default(),
            still: StandStill::default(),
        }
    }

    /// Whether its buffer may leave. One batch per partition at a time: of two in flight, the later
    /// one could reach the database first and would be fenced.
    pub(super) fn is_open(&self) -> bool {
        self.buffer.is_some() && self.in_flight.is_none()
    }

    /// Stops folding records, and ignores any answer about its position.
    pub(super) fn let_go(&mut self) {
        self.reading = false;
        self.epoch = 0;
    }
}
