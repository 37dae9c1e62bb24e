//! The open buffer of one partition: takes its records in log order and folds them by key.
//!
//! A hot row is written again and again with the same columns. Such a value replaces the earlier
//! one's bytes, without an allocation and without building a tree; whatever else happens to a row
//! becomes a [`Change`]. Every record is taken apart far enough to know that it is well formed, for
//! a bad one must not push out the good one before it. Types are not known here.
//!
//! INV-8: a buffer leaves whole, so a batch's offsets never pass a record that stays behind.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use uuid::Uuid;
use write_behind_shared::{
    Change, Headers, NextOffset, Offset, Partition, RecordError, WriteId, record,
};

use crate::batch::{DeadLetter, FoldedRow, RawRecord, WriterSeen};
use crate::pipeline::revision::{Meeting, meet};
use crate::pipeline::shape::{Shape, Shapes};

/// What a row takes in memory beside its key and its columns: the table's slot and two allocations.
const ROW_OVERHEAD: usize = 96;
/// What a dead letter takes beside its record.
const DEAD_LETTER_OVERHEAD: usize = 256;

/// A record as it is read, still borrowed from the client.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
    /// When it was written, in milliseconds since 1970, if the log says so.
    pub timestamp: Option<i64>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in their order.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folded {
    /// It is part of its row.
    Applied,
    /// It is part of its row, but its writer's records before it are missing.
    AppliedAfterGap(WriteId),
    /// Its row has a newer revision already: left out.
    Older,
    /// Its writer's sequence was seen before: dropped.
    Duplicate,
    /// It cannot be decoded: a dead letter.
    Bad,
}

/// What a partition remembers from one buffer to the next.
#[derive(Debug, Default)]
pub struct Memory {
    /// The last sequence seen of each writer.
    writers: HashMap<Uuid, u64, RandomState>,
    shapes: Shapes,
    /// The member of a value that holds the row's revision, on a route that heeds it.
    version: Option<Arc<str>>,
}

/// How a sequence follows those seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    Next,
    Gap,
    Seen,
}

/// The records of one partition from `start` up to `next`, folded by key.
#[derive(Debug)]
pub struct Buffer {
    partition: Partition,
    start: NextOffset,
    next: NextOffset,
    rows: HashMap<Box<[u8]>, Row, RandomState>,
    dead_letters: Vec<DeadLetter>,
    duplicates: Vec<(Partition, Offset)>,
    writers: HashMap<Uuid, u64, RandomState>,
    records: u64,
    bytes: usize,
    opened: Duration,
    oldest: Option<i64>,
}

/// What a buffer holds, taken apart.
#[derive(Debug)]
pub struct Contents {
    /// One row a key.
    pub rows: Vec<FoldedRow>,
    /// Records that cannot be decoded, in log order.
    pub dead_letters: Vec<DeadLetter>,
    /// Records dropped as duplicates.
    pub duplicates: Vec<(Partition, Offset)>,
    /// The writers seen, with their last sequences.
    pub writers: Vec<WriterSeen>,
}

#[derive(Debug)]
enum Row {
    /// The row is written with just these columns: the last record's value, as it came.
    Values(Shape, Vec<u8>),
    /// Anything else.
    Change(Change),
    /// The row's records are to be tried one by one, read again from the log.
    Singly,
}

impl Memory {
    /// The memory of a partition whose writers the database has seen so far.
    pub fn new(seen: impl IntoIterator<Item = WriteId>) -> Self {
        let writers = seen.into_iter().map(|id| (id.writer, id.sequence)).collect();
        Self { writers, shapes: Shapes::default(), version: None }
    }

    /// The same, for a route on which this member of a value is the row's revision.
    #[must_use]
    pub fn heeding(self, version: Option<Arc<str>>) -> Self {
        Self { version, ..self }
    }

    fn see(&mut self, id: WriteId) -> Follows {
        match self.writers.get_mut(&id.writer) {
            Some(last) if id.sequence <= *last => Follows::Seen,
            Some(last) => {
                let follows = if id.sequence == *last + 1 { Follows::Next } else { Follows::Gap };
                *last = id.sequence;
                follows
            }
            None => {
                self.writers.insert(id.writer, id.sequence);
                if id.sequence == 0 { Follows::Next } else { Follows::Gap }
            }
        }
    }
}

impl Buffer {
    /// An empty buffer for the records of `partition` from `start` on; the first one is read `now`.
    pub fn new(partition: Partition, start: NextOffset, now: Duration) -> Self {
        Self {
            partition,
            start,
            next: start,
            rows: HashMap::default(),
            dead_letters: Vec::new(),
            duplicates: Vec::new(),
            writers: HashMap::default(),
            records: 0,
            bytes: 0,
            opened: now,
            oldest: None,
        }
    }

    /// Takes the next record of the partition.
    pub fn fold(&mut self, record: &Incoming<'_>, memory: &mut Memory) -> Folded {
        debug_assert!(!self.next.is_past(record.offset), "records come in log order");
        self.next = record.offset.next();
        self.records += 1;
        self.oldest = self.oldest.or(record.timestamp);
        let headers = match Headers::read(record.headers.iter().copied()) {
            Ok(headers) => headers,
            Err(error) => return self.set_aside(record, &error),
        };
        let follows = headers.write_id.map_or(Follows::Next, |id| memory.see(id));
        if follows == Follows::Seen {
            self.duplicates.push((self.partition, record.offset));
            self.bytes += size_of::<(Partition, Offset)>();
            return Folded::Duplicate;
        }
        if let Some(id) = headers.write_id {
            self.writers.insert(id.writer, id.sequence);
        }
        let Some(key) = record.key else { return self.set_aside(record, &RecordError::NoKey) };
        let add = headers.add.filter(|names| !names.is_empty());
        let folded = match &memory.version {
            Some(version) => self.fold_revision(key, record.value, add, version),
            None => self.fold_row(key, record.value, add, &mut memory.shapes),
        };
        match (folded, follows, headers.write_id) {
            (Err(error), ..) => self.set_aside(record, &error),
            (Ok(_), Follows::Gap, Some(id)) => Folded::AppliedAfterGap(id),
            (Ok(folded), ..) => folded,
        }
    }

    /// The partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// What the database's bookkeeping must say before this buffer's records.
    pub fn start(&self) -> NextOffset {
        self.start
    }

    /// What it says after them.
    pub fn next(&self) -> NextOffset {
        self.next
    }

    /// How many rows it holds; records set aside are statements to the database too.
    pub fn rows(&self) -> usize {
        self.rows.len() + self.dead_letters.len()
    }

    /// How many records were folded, those set aside or dropped included.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Roughly what it takes in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When its first record was read.
    pub fn opened(&self) -> Duration {
        self.opened
    }

    /// When its first record was written, in milliseconds since 1970.
    pub fn oldest(&self) -> Option<i64> {
        self.oldest
    }

    /// The last record that cannot be decoded, if there is one.
    pub fn last_bad(&self) -> Option<&DeadLetter> {
        self.dead_letters.last()
    }

    /// Parses what was only kept as bytes, and gives everything away.
    pub fn into_contents(self) -> Contents {
        let partition = self.partition;
        let row = |(key, row)| FoldedRow {
            partition,
            key,
            singly: matches!(row, Row::Singly),
            change: Row::into_change(row),
        };
        let seen =
            |(writer, sequence)| WriterSeen { partition, last: WriteId { writer, sequence } };
        Contents {
            rows: self.rows.into_iter().map(row).collect(),
            dead_letters: self.dead_letters,
            duplicates: self.duplicates,
            writers: self.writers.into_iter().map(seen).collect(),
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
    ) -> Result<Folded, RecordError> {
        let Some(row) = self.rows.get_mut(key) else {
            let shape = match (value, add) {
                (Some(value), None) => shapes.of(value)?.map(|shape| (shape, value)),
                _ => None,
            };
            let row = match shape {
                Some((shape, value)) => Row::Values(shape, value.to_vec()),
                None => Row::Change(record::decode(value, add)?),
            };
            self.bytes += ROW_OVERHEAD + key.len() + row.bytes();
            self.rows.insert(key.into(), row);
            return Ok(Folded::Applied);
        };
        // The hot path: same row, same columns.
        if let (Row::Values(shape, bytes), Some(value), None) = (&mut *row, value, add)
            && shapes.fits(*shape, value)
        {
            self.bytes = self.bytes - bytes.len() + value.len();
            bytes.clear();
            bytes.extend_from_slice(value);
            // One large value must not keep its room, which is not counted any more.
            if bytes.capacity() / 4 > value.len().max(ROW_OVERHEAD) {
                bytes.shrink_to_fit();
            }
            return Ok(Folded::Applied);
        }
        self.bytes -= row.bytes();
        let mut change = std::mem::replace(row, Row::Change(Change::default())).into_change();
        let folded = record::fold(&mut change, value, add);
        *row = Row::Change(change);
        self.bytes += row.bytes();
        folded.map(|()| Folded::Applied)
    }

    /// Takes a record of a route that heeds revisions.
    fn fold_revision(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        add: Option<&str>,
        version: &str,
    ) -> Result<Folded, RecordError> {
        let later = record::decode(value, add)?;
        let Some(row) = self.rows.get_mut(key) else {
            self.bytes += ROW_OVERHEAD + key.len() + later.bytes();
            self.rows.insert(key.into(), Row::Change(later));
            return Ok(Folded::Applied);
        };
        self.bytes -= row.bytes();
        let mut change = match std::mem::replace(row, Row::Singly) {
            Row::Singly if !later.resets() => return Ok(Folded::Applied),
            before => before.into_change(),
        };
        let folded = match meet(&change, &later, version) {
            Meeting::Singly => return Ok(Folded::Applied),
            Meeting::Older => Folded::Older,
            Meeting::Folds => {
                change.fold(later);
                Folded::Applied
            }
        };
        *row = Row::Change(change);
        self.bytes += row.bytes();
        Ok(folded)
    }

    fn set_aside(&mut self, record: &Incoming<'_>, why: &RecordError) -> Folded {
        let record = RawRecord::from(record);
        self.bytes += DEAD_LETTER_OVERHEAD + record.bytes();
        self.dead_letters.push(DeadLetter { record, reason: why.to_string(), sqlstate: None });
        Folded::Bad
    }
}

impl Row {
    fn bytes(&self) -> usize {
        match self {
            Row::Values(_, bytes) => bytes.len(),
            Row::Change(change) => change.bytes(),
            Row::Singly => 0,
        }
    }

    fn into_change(self) -> Change {
        match self {
            #[expect(clippy::expect_used, reason = "only values that were taken apart are kept")]
            Row::Values(_, bytes) => {
                record::decode(Some(&bytes), None).expect("the value is well formed")
            }
            Row::Change(change) => change,
            Row::Singly => Change::default(),
        }
    }
}

impl From<&Incoming<'_>> for RawRecord {
    fn from(record: &Incoming<'_>) -> Self {
        let header = |(name, value): &(&str, Option<&[u8]>)| {
            ((*name).to_owned(), value.map(Box::<[u8]>::from))
        };
        Self {
            partition: record.partition,
            offset: record.offset,
            key: record.key.map(Into::into),
            value: record.value.map(Into::into),
            headers: record.headers.iter().map(header).collect(),
        }
    }
}

impl RawRecord {
    fn bytes(&self) -> usize {
        let length = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        let headers = self.headers.iter().map(|(name, value)| name.len() + length(value));
        length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }
}

#[cfg(test)]
#[path = "buffer_tests.rs"]
mod tests;
