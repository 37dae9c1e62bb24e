//! The writes of one row that are not placed in the log yet.

use crate::core::delta::{Delta, Row};
use crate::core::ledger::Sequence;
use crate::core::queue::Queue;

/// Writes in the order of their sequences.
#[derive(Debug)]
pub(crate) struct InFlight {
    writes: Queue<(Sequence, Delta)>,
    bytes: usize,
}

impl InFlight {
    pub(crate) fn new() -> Self {
        Self { writes: Queue::new(), bytes: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.writes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// An estimate of the memory that what they say takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, sequence: Sequence, delta: Delta) {
        self.bytes += delta.bytes();
        self.writes.push((sequence, delta));
    }

    /// Joins a write with the last one, if that is of `from` or later and one record of at most
    /// `bytes_max` says both.
    pub(crate) fn join(
        &mut self,
        from: Sequence,
        delta: &Delta,
        bytes_max: usize,
    ) -> Option<Sequence> {
        let (sequence, last) = self.writes.last_mut().filter(|(sequence, _)| *sequence >= from)?;
        let joined = last.joined_with(delta, bytes_max)?;
        self.bytes = self.bytes - last.bytes() + joined.bytes();
        *last = joined;
        Some(*sequence)
    }

    /// The write that `join` would join it with.
    pub(crate) fn would_join(
        &self,
        from: Sequence,
        delta: &Delta,
        bytes_max: usize,
    ) -> Option<Sequence> {
        let (sequence, last) =
            self.writes.iter().next_back().filter(|(other, _)| *other >= from)?;
        last.joined_with(delta, bytes_max).map(|_| *sequence)
    }

    pub(crate) fn get(&self, sequence: Sequence) -> Option<&Delta> {
        let (_, (_, delta)) = self.writes.find_by_key(sequence, |(other, _)| *other)?;
        Some(delta)
    }

    /// Takes the write out, and says where it stood.
    pub(crate) fn take(&mut self, sequence: Sequence) -> Option<(usize, Delta)> {
        let (place, _) = self.writes.find_by_key(sequence, |(other, _)| *other)?;
        let (_, delta) = self.writes.remove(place)?;
        self.bytes -= delta.bytes();
        Some((place, delta))
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &(Sequence, Delta)> {
        self.writes.iter()
    }

    /// The row after those from `place` on were done to `row`.
    pub(crate) fn over(&self, row: Option<Row>, place: usize) -> Option<Row> {
        self.writes.iter().skip(place).fold(row, |row, (_, delta)| delta.over(row))
    }

    /// The last one that needs no row before it: the place after it, and the row it leaves.
    pub(crate) fn last_whole(&self) -> Option<(usize, Option<Row>)> {
        let mut after = self.writes.len() + 1;
        self.writes.iter().rev().find_map(|(_, delta)| {
            after -= 1;
            delta.is_absolute().then(|| (after, delta.over(None)))
        })
    }
}

#[cfg(test)]
#[path = "tests/in_flight.rs"]
mod tests;
