//! Where one partition's writes stand in the journal: what must be recorded before a write is sent,
//! and what can be released once Kafka has answered.

use std::collections::{BTreeMap, VecDeque};

use crate::core::ledger::Sequence;

/// An entry's place in the journal, which all partitions share.
pub(crate) type Position = u64;

/// The entries of the writes that Kafka has not answered.
#[derive(Debug, Default)]
pub(crate) struct Journaled {
    first: Sequence,
    /// Of each write from `first` on, in order.
    entries: VecDeque<Position>,
    /// Of each write that others were joined with: the last of their entries.
    joined: BTreeMap<Sequence, Position>,
    /// What an entry is written into before it is appended.
    pub(crate) buffer: Vec<u8>,
}

/// An empty queue with room for more than this gives its memory back.
#[cfg(any(feature = "journal", test))]
const FEW: usize = 1_024;

impl Journaled {
    /// The next write's entry stands here.
    pub(crate) fn push(&mut self, position: Position) {
        self.entries.push_back(position);
    }

    /// An entry that belongs to an earlier write stands here.
    pub(crate) fn join(&mut self, sequence: Sequence, position: Position) {
        self.joined.insert(sequence, position);
    }

    /// All entries of the write stand below.
    pub(crate) fn end_of(&self, sequence: Sequence) -> Position {
        let place = sequence.checked_sub(self.first).map(|place| place as usize);
        let first = place.and_then(|place| self.entries.get(place)).map_or(0, |first| first + 1);
        first.max(self.joined.get(&sequence).map_or(0, |joined| joined + 1))
    }

    /// Every write below was answered: gives the first entry that is still needed, if any.
    #[cfg(any(feature = "journal", test))]
    pub(crate) fn answered_below(&mut self, replicated: Sequence) -> Option<Position> {
        let answered = replicated.saturating_sub(self.first).min(self.entries.len() as u64);
        self.entries.drain(..answered as usize);
        self.first += answered;
        if !self.joined.is_empty() {
            self.joined = self.joined.split_off(&self.first);
        }
        if self.entries.is_empty() && self.entries.capacity() > FEW {
            self.entries = VecDeque::new();
        }
        self.entries.front().copied()
    }

    /// How many of the writes have all their entries below.
    #[cfg(any(feature = "journal", test))]
    pub(crate) fn recorded(&self, below: Position) -> usize {
        let writes = self.first..self.first + self.entries.len() as u64;
        writes.filter(|sequence| self.end_of(*sequence) <= below).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_needs_all_its_entries_and_the_first_unanswered_one_is_kept() {
        let mut journaled = Journaled::default();
        for position in [10, 12, 15] {
            journaled.push(position);
        }
        journaled.join(1, 20);
        assert_eq!([0, 1, 2].map(|write| journaled.end_of(write)), [11, 21, 16]);
        assert_eq!(journaled.recorded(16), 2, "the second waits for what was joined with it");
        assert_eq!(journaled.answered_below(1), Some(12));
        assert_eq!([0, 1, 2].map(|write| journaled.end_of(write)), [0, 21, 16]);
        assert_eq!(journaled.answered_below(3), None);
        journaled.push(30);
        assert_eq!((journaled.end_of(3), journaled.answered_below(3)), (31, Some(30)));
    }
}
