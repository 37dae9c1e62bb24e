//! The open buffer of one partition: its records in log order, folded by key.
//!
//! A hot row is written over and over with the same columns. Each such value replaces the bytes of
//! the one before, without an allocation or a parsed tree; anything else becomes a
//! [`Change`](write_behind_shared::Change). Every record is checked for being well formed, because
//! a bad one must not replace the good one before it. Column types are not known here.
//!
//! INV-8: a buffer leaves whole, so a batch's offsets never pass a record that stays behind.

use std::collections::HashMap;
use std::time::Duration;

use ahash::RandomState;
use uuid::Uuid;
use write_behind_shared::{Headers, NextOffset, Offset, Partition, RecordError, WriteId, record};

use crate::core::batch::{FoldedRow, LastRecord, WriterSeen};
use crate::core::pipeline::heap_size;
pub use crate::core::pipeline::memory::PartitionMemory;
use crate::core::pipeline::rows::{BufferedRow, BufferedRows};
use crate::core::pipeline::shape::Shapes;
use crate::core::record::{DeadLetter, Incoming, dead_letter, write_id};
use crate::core::table::version::{Meeting, meet};

/// Memory of one writer in a buffer.
const WRITER: usize = 64;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folded {
    /// It is part of its row.
    Applied,
    /// Left out: its row already has a newer version.
    Older,
    /// Dropped: its writer's sequence was seen before.
    Duplicate,
}

/// The records of one partition from `start` up to `next`, folded by key.
#[derive(Debug)]
pub struct Buffer {
    partition: Partition,
    start: NextOffset,
    next: NextOffset,
    rows: BufferedRows,
    dead_letters: Vec<DeadLetter>,
    duplicates: Vec<(Partition, Offset)>,
    writers: HashMap<Uuid, (u64, Offset), RandomState>,
    /// Writers whose last records stand at or below this offset were forgotten.
    forgotten: Option<Offset>,
    /// The same, pending until the record that failed to fold is set aside.
    to_forget: Option<Offset>,
    records: u64,
    bytes: usize,
    opened: Duration,
    oldest: Option<i64>,
    newest: Option<i64>,
    /// A record in it asks to be written ahead of other partitions' records.
    is_urgent: bool,
}

/// The contents of a buffer.
#[derive(Debug)]
pub struct Contents {
    /// One row per key.
    pub rows: Vec<FoldedRow>,
    /// Records that can't be decoded, in log order.
    pub dead_letters: Vec<DeadLetter>,
    /// Records dropped as duplicates.
    pub duplicates: Vec<(Partition, Offset)>,
    /// The last sequence of each writer seen.
    pub writers: Vec<WriterSeen>,
    /// Writers whose last records stand at or below this offset are forgotten.
    pub forgotten: Option<Offset>,
}

impl Buffer {
    /// An empty buffer for the records of `partition` from `start` on, opened `now`.
    pub fn new(partition: Partition, start: NextOffset, now: Duration) -> Self {
        Self {
            partition,
            start,
            next: start,
            rows: BufferedRows::default(),
            dead_letters: Vec::new(),
            duplicates: Vec::new(),
            writers: HashMap::default(),
            forgotten: None,
            to_forget: None,
            records: 0,
            bytes: 0,
            opened: now,
            oldest: None,
            newest: None,
            is_urgent: false,
        }
    }

    /// A buffer that takes the offset from `start` to `end` past offsets without a record.
    pub fn without_records(
        partition: Partition,
        start: NextOffset,
        end: NextOffset,
        now: Duration,
    ) -> Self {
        Self { next: end, ..Self::new(partition, start, now) }
    }

    /// Folds the next record of the partition.
    ///
    /// # Errors
    /// The record can't be decoded. The buffer stays as it was and ends before the record until
    /// [`set_aside`](Self::set_aside) takes it.
    pub fn fold(
        &mut self,
        record: &Incoming<'_>,
        memory: &mut PartitionMemory,
    ) -> Result<Folded, RecordError> {
        let headers = Headers::read(record.headers.iter().copied());
        let id = match &headers {
            Ok(headers) => headers.write_id,
            Err(_) => write_id(record),
        };
        if let Some(id) = id
            && memory.has_seen(id, record.offset)
        {
            self.advance(record, None);
            self.duplicates.push((self.partition, record.offset));
            self.bytes += 2 * size_of::<(Partition, Offset)>();
            return Ok(Folded::Duplicate);
        }
        self.to_forget = memory.forget_writers();
        let headers = headers?;
        self.is_urgent |= headers.is_high;
        let key = record.key.ok_or(RecordError::NoKey)?;
        memory.place(self.partition, key, id.is_some())?;
        let add = headers.add.filter(|names| !names.is_empty());
        let folded = if let Some(version) = &memory.version {
            self.fold_versioned(key, record.value, add, version)?
        } else {
            self.fold_row(key, record.value, add, &mut memory.shapes)?;
            Folded::Applied
        };
        self.advance(record, id);
        Ok(folded)
    }

    /// Sets aside the bad record that just failed to fold.
    pub fn set_aside(&mut self, record: &Incoming<'_>, why: &RecordError) {
        self.advance(record, write_id(record));
        let letter = dead_letter(record, why);
        self.bytes += heap_size::of_dead_letter(&letter);
        self.dead_letters.push(letter);
    }

    /// The partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The next offset that the database must have before this buffer's records.
    pub fn start(&self) -> NextOffset {
        self.start
    }

    /// The next offset after them.
    pub fn next(&self) -> NextOffset {
        self.next
    }

    /// The number of rows. Dead letters count too, as each is a statement to the database.
    pub fn rows(&self) -> usize {
        self.rows.len() + self.dead_letters.len()
    }

    /// The number of records, those set aside or dropped included.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Approximate memory, allocations and tables included.
    pub fn bytes(&self) -> usize {
        self.bytes + self.rows.heap_size()
    }

    /// When its first record was read.
    pub fn opened(&self) -> Duration {
        self.opened
    }

    /// The timestamp of its first record, in milliseconds since 1970.
    pub fn oldest(&self) -> Option<i64> {
        self.oldest
    }

    /// Whether a record in it has the header `priority: high`.
    pub fn is_urgent(&self) -> bool {
        self.is_urgent
    }

    /// Its last record, if that has a timestamp.
    pub fn last_record(&self) -> Option<LastRecord> {
        let offset = Offset(self.next.0 - 1);
        self.newest.map(|timestamp| LastRecord { partition: self.partition, offset, timestamp })
    }

    /// Consumes the buffer and parses the values kept as bytes.
    pub fn into_contents(self) -> Contents {
        let partition = self.partition;
        let row = |row: BufferedRow| FoldedRow {
            partition,
            key: row.key().into(),
            row_by_row: row.is_row_by_row(),
            change: row.into_change(),
        };
        // A writer may have come and been forgotten within the same buffer.
        let kept = self.writers.into_iter().filter(|(_, (_, at))| Some(*at) > self.forgotten);
        let seen = |(writer, (sequence, at))| WriterSeen {
            partition,
            last: WriteId { writer, sequence },
            at,
        };
        Contents {
            rows: self.rows.into_iter().map(row).collect(),
            dead_letters: self.dead_letters,
            duplicates: self.duplicates,
            writers: kept.map(seen).collect(),
            forgotten: self.forgotten,
        }
    }
}

impl Buffer {
    fn fold_row(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        add: Option<&str>,
        shapes: &mut Shapes,
    ) -> Result<(), RecordError> {
        let Some(row) = self.rows.get_mut(key) else {
            let shape = match (value, add) {
                (Some(value), None) => shapes.of(value)?.map(|shape| (shape, value)),
                _ => None,
            };
            self.insert(match shape {
                Some((shape, value)) => BufferedRow::written(key, shape, value),
                None => BufferedRow::changed(key, record::decode(value, add)?),
            });
            return Ok(());
        };
        self.bytes -= row.heap_size();
        // The hot path: same row, same columns.
        let folded = if let (Some(shape), Some(value), None) = (row.shape(), value, add)
            && shapes.fits(shape, value)
        {
            row.write(value);
            Ok(())
        } else {
            row.change(|change| record::fold(change, value, add))
        };
        self.bytes += row.heap_size();
        folded
    }

    /// Folds a record of a route with a `version`.
    fn fold_versioned(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        add: Option<&str>,
        version: &str,
    ) -> Result<Folded, RecordError> {
        let later = record::decode(value, add)?;
        let Some(row) = self.rows.get_mut(key) else {
            self.insert(BufferedRow::changed(key, later));
            return Ok(Folded::Applied);
        };
        if row.is_row_by_row() && !later.resets() {
            return Ok(Folded::Applied);
        }
        self.bytes -= row.heap_size();
        let meeting = row.change(|change| {
            let meeting = meet(change, &later, version);
            if meeting == Meeting::Folds {
                change.fold(later);
            }
            meeting
        });
        if meeting == Meeting::RowByRow {
            row.take_row_by_row();
        }
        self.bytes += row.heap_size();
        Ok(if meeting == Meeting::Older { Folded::Older } else { Folded::Applied })
    }

    fn insert(&mut self, row: BufferedRow) {
        self.bytes += row.heap_size();
        self.rows.insert(row);
    }

    /// Moves the end of the buffer past `record`; `id` is its writer's last write.
    fn advance(&mut self, record: &Incoming<'_>, id: Option<WriteId>) {
        debug_assert!(!self.next.is_past(record.offset), "records come in log order");
        self.next = record.offset.next();
        self.records += 1;
        self.oldest = self.oldest.or(record.timestamp);
        self.newest = record.timestamp;
        self.forgotten = self.forgotten.max(self.to_forget.take());
        if let Some(id) = id {
            let known = self.writers.len();
            self.writers.insert(id.writer, (id.sequence, record.offset));
            self.bytes += (self.writers.len() - known) * WRITER;
        }
    }
}

#[cfg(test)]
#[path = "tests/buffer.rs"]
mod tests;
