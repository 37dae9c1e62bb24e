//! The `write-id`s of one partition's writes: those of this life of the process, and those that
//! earlier lives gave to what the journal has kept.
//!
//! A sequence is a write's place here; its id is what the log and the consumer know it by. A write
//! of an earlier life comes before all that are new, and keeps its id, so that the consumer drops
//! what it has already.

use uuid::Uuid;
use write_behind_shared::WriteId;

use crate::core::ledger::Sequence;

/// Which id each write has.
#[derive(Debug)]
pub(crate) struct WriteIds {
    writer: Uuid,
    /// The first sequence of this life.
    own_from: Sequence,
    /// The earlier ones, in order: a handful, however many writes they are.
    earlier: Vec<Run>,
}

/// Writes of one life, one after the other.
#[derive(Debug)]
struct Run {
    first: Sequence,
    writes: u64,
    first_id: WriteId,
}

impl WriteIds {
    /// Those of a writer that begins.
    pub(crate) fn new(writer: Uuid) -> Self {
        Self { writer, own_from: 0, earlier: Vec::new() }
    }

    /// The id of a write.
    pub(crate) fn of(&self, sequence: Sequence) -> WriteId {
        if let Some(sequence) = sequence.checked_sub(self.own_from) {
            return WriteId { writer: self.writer, sequence };
        }
        // The runs have no gaps: each sequence before this life's first is in one.
        let run = self.earlier.iter().rev().find(|run| run.first <= sequence);
        run.map_or(WriteId { writer: self.writer, sequence }, |run| {
            let place = sequence - run.first;
            WriteId { sequence: run.first_id.sequence + place, ..run.first_id }
        })
    }

    /// The write with this id; none: it is another handle's.
    pub(crate) fn sequence_of(&self, id: WriteId) -> Option<Sequence> {
        if id.writer == self.writer {
            return Some(self.own_from + id.sequence);
        }
        self.earlier.iter().find_map(|run| {
            let place = id.sequence.checked_sub(run.first_id.sequence)?;
            let is_in = id.writer == run.first_id.writer && place < run.writes;
            is_in.then_some(run.first + place)
        })
    }

    /// The next write is of an earlier life. Only before the first of this one.
    #[cfg(feature = "journal")]
    pub(crate) fn push_earlier(&mut self, id: WriteId) {
        let sequence = self.own_from;
        self.own_from += 1;
        if let Some(last) = self.earlier.last_mut() {
            let next = WriteId { sequence: last.first_id.sequence + last.writes, ..last.first_id };
            if next == id {
                last.writes += 1;
                return;
            }
        }
        self.earlier.push(Run { first: sequence, writes: 1, first_id: id });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(writer: u128, sequence: u64) -> WriteId {
        WriteId { writer: Uuid::from_u128(writer), sequence }
    }

    #[test]
    fn earlier_writes_keep_their_ids_and_new_ones_count_from_zero() {
        let mut ids = WriteIds::new(Uuid::from_u128(9));
        let earlier = [id(1, 5), id(1, 6), id(2, 0), id(2, 1), id(1, 7), id(1, 9)];
        for earlier in earlier {
            ids.push_earlier(earlier);
        }
        for (sequence, earlier) in (0..).zip(earlier) {
            assert_eq!((ids.of(sequence), ids.sequence_of(earlier)), (earlier, Some(sequence)));
        }
        assert_eq!((ids.of(6), ids.of(8)), (id(9, 0), id(9, 2)));
        assert_eq!(ids.sequence_of(id(9, 2)), Some(8));
        for strange in [id(1, 4), id(1, 8), id(1, 10), id(2, 2), id(3, 0)] {
            assert_eq!(ids.sequence_of(strange), None, "{strange:?}");
        }
    }
}
