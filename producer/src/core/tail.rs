//! A record read from the log, and what is known of the writers of such records.

use std::collections::{BTreeSet, VecDeque};

use write_behind_shared::{NextOffset, Offset, SequenceCheck, Sequences, WriteId};

use crate::core::delta::Delta;
use crate::core::ledger::{Key, Sequence};

/// A record of the log.
#[derive(Clone, Debug)]
pub(crate) struct LogRecord {
    pub(crate) offset: Offset,
    pub(crate) key: Key,
    pub(crate) delta: Delta,
    pub(crate) write_id: Option<WriteId>,
}

/// What is known of the writers of other records.
#[derive(Debug)]
pub(crate) struct ForeignWriters {
    sequences: Sequences,
    /// How many are remembered; beyond, all are forgotten.
    writers_max: usize,
    /// The rows that came only from the log, oldest first; some may have left since.
    pub(crate) rows: VecDeque<Key>,
    /// Dead letters that the tail has not come to.
    pub(crate) dead_letters: BTreeSet<Offset>,
    /// Writes of this handle below may lie where the log was lost before it was read.
    pub(crate) lost_below: Sequence,
}

impl ForeignWriters {
    /// None seen yet; `writers_max` are remembered.
    pub(crate) fn new(writers_max: usize) -> Self {
        Self {
            sequences: Sequences::default(),
            writers_max,
            rows: VecDeque::new(),
            dead_letters: BTreeSet::new(),
            lost_below: 0,
        }
    }

    /// How the record at `offset` stands to the earlier records of its writer. One without a
    /// write-id stands after them.
    pub(crate) fn check(&mut self, write_id: Option<WriteId>, offset: Offset) -> SequenceCheck {
        let Some(write_id) = write_id else { return SequenceCheck::Next };
        if self.sequences.len() >= self.writers_max {
            self.sequences = Sequences::default();
        }
        self.sequences.observe(write_id, offset)
    }

    /// The record at `offset` is a dead letter.
    pub(crate) fn skip(&mut self, offset: Offset, tail: Option<NextOffset>) {
        if tail.is_some_and(|tail| !tail.is_past(offset)) {
            self.dead_letters.insert(offset);
        }
    }

    /// Whether the write may be in the part of the log that was deleted before it was read.
    pub(crate) fn is_from_before_a_gap(&self, sequence: Sequence) -> bool {
        sequence < self.lost_below
    }
}
