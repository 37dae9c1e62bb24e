//! Writes of one row that go as one record.

use super::{Entry, RowState};
use crate::core::delta::Delta;
use crate::core::ledger::Sequence;

impl Entry {
    /// A write was accepted that can go with the latest one, if that is among those that no Kafka
    /// client was given: the sequence of both.
    pub(crate) fn join(
        &mut self,
        never_sent: Sequence,
        delta: &Delta,
        bytes_max: usize,
    ) -> Option<Sequence> {
        let is_visible = self.folded == self.in_flight.len();
        let sequence = self.in_flight.join(never_sent, delta, bytes_max)?;
        if let (true, RowState::Known(row)) = (is_visible, &mut self.visible) {
            *row = delta.over(row.take());
        }
        Some(sequence)
    }

    /// The write that `join` would join it with.
    pub(crate) fn would_join(
        &self,
        never_sent: Sequence,
        delta: &Delta,
        bytes_max: usize,
    ) -> Option<Sequence> {
        self.in_flight.would_join(never_sent, delta, bytes_max)
    }
}
