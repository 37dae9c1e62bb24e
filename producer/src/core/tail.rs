//! A record read from the log, and what is known of the writers of such records.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeSet, VecDeque};

use ahash::{HashMap, HashMapExt as _};
use uuid::Uuid;
use write_behind_shared::{NextOffset, Offset, WriteId};

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
#[derive(Debug, Default)]
pub(crate) struct ForeignWriters {
    last_sequences: HashMap<Uuid, u64>,
    /// The rows that came only from the log, oldest first; some may have left since.
    pub(crate) rows: VecDeque<Key>,
    /// Dead letters that the tail has not come to.
    pub(crate) dead_letters: BTreeSet<Offset>,
    /// Writes of this handle below may lie where the log was lost before it was read.
    pub(crate) lost_below: Sequence,
}

/// Writers that are remembered; beyond, all are forgotten, and the next records are their first.
const WRITERS_MAX: usize = 10_000;

/// How a record stands to those of its writer before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SequenceStep {
    /// It comes after them, or says nothing of itself.
    Next,
    /// None was read before: it may repeat one that is in the database already.
    First,
    /// It was read before.
    Repeated,
}

impl ForeignWriters {
    /// Where a record stands among those of its writer, which is then the last one seen.
    pub(crate) fn step(&mut self, write_id: Option<WriteId>) -> SequenceStep {
        let Some(WriteId { writer, sequence }) = write_id else { return SequenceStep::Next };
        if self.last_sequences.len() >= WRITERS_MAX {
            self.last_sequences = HashMap::new();
        }
        match self.last_sequences.entry(writer) {
            Occupied(last) if sequence <= *last.get() => SequenceStep::Repeated,
            Occupied(mut last) => {
                last.insert(sequence);
                SequenceStep::Next
            }
            Vacant(last) => {
                last.insert(sequence);
                if sequence == 0 { SequenceStep::Next } else { SequenceStep::First }
            }
        }
    }

    /// The record at `offset` is a dead letter.
    pub(crate) fn skip(&mut self, offset: Offset, tail: Option<NextOffset>) {
        if tail.is_some_and(|tail| !tail.is_past(offset)) {
            self.dead_letters.insert(offset);
        }
    }

    /// Whether the write may lie where the log was lost before it was read.
    pub(crate) fn is_from_before_a_gap(&self, sequence: Sequence) -> bool {
        sequence < self.lost_below
    }
}
