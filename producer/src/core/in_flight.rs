//! The writes of one row that are not placed in the log: takes them in the order of their tickets,
//! gives them back as answers come.

use crate::core::delta::{Delta, Row};
use crate::core::ledger::Ticket;
use crate::core::queue::Queue;

/// Writes in the order of their tickets.
#[derive(Debug)]
pub(crate) struct InFlight {
    writes: Queue<(Ticket, Delta)>,
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

    pub(crate) fn push(&mut self, ticket: Ticket, delta: Delta) {
        self.bytes += delta.bytes();
        self.writes.push((ticket, delta));
    }

    /// Joins a write with the last one, if that is of `from` or later and one record of at most
    /// `bytes_max` says both.
    pub(crate) fn join(&mut self, from: Ticket, delta: &Delta, bytes_max: usize) -> Option<Ticket> {
        let (ticket, last) = self.writes.last_mut().filter(|(ticket, _)| *ticket >= from)?;
        let joined = last.joined_with(delta, bytes_max)?;
        self.bytes = self.bytes - last.bytes() + joined.bytes();
        *last = joined;
        Some(*ticket)
    }

    pub(crate) fn get(&self, ticket: Ticket) -> Option<&Delta> {
        self.writes.find(|(other, _)| *other == ticket).map(|(_, (_, delta))| delta)
    }

    /// Takes the write out, and says where it stood.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<(usize, Delta)> {
        let (place, _) = self.writes.find(|(other, _)| *other == ticket)?;
        let (_, delta) = self.writes.remove(place)?;
        self.bytes -= delta.bytes();
        Some((place, delta))
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &(Ticket, Delta)> {
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
