//! The write-id rule: a record whose sequence its writer has reached before is a duplicate.
//!
//! A producer may send a record again, and a writer numbers its records of one partition from 0
//! without gaps. So the last sequence of each writer, seen in the order of the log, tells a
//! duplicate from a new record, and a new record from one whose predecessors are missing.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

use ahash::RandomState;
use uuid::Uuid;

use crate::offset::Offset;
use crate::record::WriteId;

/// The writers of one partition: the last sequence of each, and the record that had it.
#[derive(Clone, Debug, Default)]
pub struct Sequences(HashMap<Uuid, (u64, Offset), RandomState>);

/// How a record stands to the earlier records of its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceCheck {
    /// It repeats one of them.
    Duplicate,
    /// It is the one after them; of a new writer, the record with sequence 0.
    Next,
    /// It is the first that was seen of its writer, but not its record with sequence 0. Either
    /// those before it are missing, or the writer was forgotten, and the record may be a duplicate.
    FirstSeen,
    /// Some records between them and this one are missing.
    Gap,
}

impl SequenceCheck {
    /// Whether records of the writer are missing before this one.
    #[must_use]
    pub fn follows_a_gap(self) -> bool {
        matches!(self, Self::FirstSeen | Self::Gap)
    }
}

impl Sequences {
    /// Checks the write-id of the record at `offset`, and remembers it unless it is a duplicate.
    pub fn observe(&mut self, id: WriteId, offset: Offset) -> SequenceCheck {
        match self.0.entry(id.writer) {
            Occupied(last) if id.sequence <= last.get().0 => SequenceCheck::Duplicate,
            Occupied(mut last) => {
                let (last, _) = last.insert((id.sequence, offset));
                if id.sequence == last + 1 { SequenceCheck::Next } else { SequenceCheck::Gap }
            }
            Vacant(new) => {
                new.insert((id.sequence, offset));
                if id.sequence == 0 { SequenceCheck::Next } else { SequenceCheck::FirstSeen }
            }
        }
    }

    /// How many writers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no writer is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all but the `most` writers whose last records stand latest in the log. Returns the
    /// last record of the latest writer forgotten, if any was.
    ///
    /// Whom it forgets depends on the log alone. It looks at every writer, once for each new one;
    /// keeping them in order would cost something with every record.
    pub fn forget_beyond(&mut self, most: usize) -> Option<Offset> {
        let too_many = self.len().checked_sub(most).filter(|count| *count > 0)?;
        let mut offsets: Vec<Offset> = self.0.values().map(|(_, offset)| *offset).collect();
        let (_, last, _) = offsets.select_nth_unstable(too_many - 1);
        let last = *last;
        self.0.retain(|_, (_, offset)| *offset > last);
        Some(last)
    }
}

impl FromIterator<(WriteId, Offset)> for Sequences {
    /// The writers of a partition, each with its last write-id and the record that had it.
    fn from_iter<T: IntoIterator<Item = (WriteId, Offset)>>(seen: T) -> Self {
        let of_writer = |(id, offset): (WriteId, Offset)| (id.writer, (id.sequence, offset));
        Self(seen.into_iter().map(of_writer).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(writer: u128, sequence: u64) -> WriteId {
        WriteId { writer: Uuid::from_u128(writer), sequence }
    }

    /// Observes a log of (writer, sequence) pairs from its beginning.
    fn observed(log: &[(u128, u64)]) -> (Sequences, Vec<SequenceCheck>) {
        let mut sequences = Sequences::default();
        let mut observe = |(at, (writer, sequence)): (usize, &(u128, u64))| {
            sequences.observe(id(*writer, *sequence), Offset(at as i64))
        };
        let checks = log.iter().enumerate().map(&mut observe).collect();
        (sequences, checks)
    }

    #[test]
    fn a_sequence_that_its_writer_reached_before_is_a_duplicate() {
        use SequenceCheck::{Duplicate, Next};
        let (_, checks) = observed(&[(1, 0), (2, 0), (1, 1), (1, 0), (1, 1), (2, 1), (1, 2)]);
        assert_eq!(checks, [Next, Next, Next, Duplicate, Duplicate, Next, Next]);
    }

    #[test]
    fn missing_records_are_noticed_and_told_from_a_writer_met_midway() {
        let (_, checks) = observed(&[(1, 0), (1, 2), (2, 5), (2, 6)]);
        assert_eq!(
            checks[1..],
            [SequenceCheck::Gap, SequenceCheck::FirstSeen, SequenceCheck::Next]
        );
        assert!(checks[1].follows_a_gap() && checks[2].follows_a_gap());
        assert!(!checks[3].follows_a_gap() && !SequenceCheck::Duplicate.follows_a_gap());
    }

    #[test]
    fn a_duplicate_does_not_make_its_writer_later() {
        let (mut sequences, _) = observed(&[(1, 0), (2, 0), (1, 0)]);
        assert_eq!(sequences.forget_beyond(1), Some(Offset(0)));
        assert_eq!(sequences.observe(id(2, 0), Offset(3)), SequenceCheck::Duplicate);
    }

    #[test]
    fn the_writers_whose_last_records_stand_latest_are_remembered() {
        let (mut sequences, _) = observed(&[(1, 0), (2, 0), (3, 0), (1, 1)]);
        assert_eq!(sequences.forget_beyond(3), None);
        assert_eq!(sequences.forget_beyond(2), Some(Offset(1)));
        assert_eq!(sequences.len(), 2);
        assert_eq!(sequences.observe(id(2, 1), Offset(4)), SequenceCheck::FirstSeen);
    }

    #[test]
    fn writers_that_were_kept_elsewhere_go_on_where_they_were() {
        let mut sequences: Sequences = [(id(1, 7), Offset(40))].into_iter().collect();
        assert_eq!(sequences.observe(id(1, 7), Offset(50)), SequenceCheck::Duplicate);
        assert_eq!(sequences.observe(id(1, 8), Offset(51)), SequenceCheck::Next);
    }
}
