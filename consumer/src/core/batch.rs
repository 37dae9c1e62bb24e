//! A batch on its way to a worker, and the proof that comes back once it is written.
//!
//! A batch holds the folded records of whole offset ranges, one [`Span`] per partition. A span's
//! fold is indivisible, so a batch is written whole or not at all; and only [`Written`] can be
//! committed, so Kafka's offset never passes the database's.
//!
//! INV-7: only [`Written`] can be committed to Kafka.

use std::collections::HashSet;
use std::sync::Arc;

use crate::core::record::DeadLetter;
use write_behind_shared::{Change, NextOffset, Offset, Partition, WriteId};

/// A partition of a route's topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoutePartition {
    /// The route's index in the configuration.
    pub route: usize,
    /// The partition.
    pub partition: Partition,
}

/// The number of an assignment of a partition: answers to an earlier assignment are ignored.
pub type Epoch = u64;
/// The number of a batch.
pub type BatchId = u64;

/// A range of one partition's offsets, from `start` up to but not including `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The partition.
    pub partition: Partition,
    /// The next offset that the database must have before the batch.
    pub start: NextOffset,
    /// The next offset that it has after the batch.
    pub end: NextOffset,
}

/// The folded records of spans of one route.
#[derive(Debug, Default)]
pub struct Batch {
    /// The route's index in the configuration.
    pub route: usize,
    /// The topic of all spans.
    pub topic: Arc<str>,
    /// One span per partition, sorted by partition.
    pub spans: Vec<Span>,
    /// One row per key and partition.
    pub rows: Vec<FoldedRow>,
    /// Records that could not be decoded.
    pub dead_letters: Vec<DeadLetter>,
    /// Records dropped as duplicates. A second read that applies a row's records one by one must
    /// skip them too.
    pub duplicates: Vec<(Partition, Offset)>,
    /// The last sequence of each writer, per partition.
    pub writers: Vec<WriterSeen>,
    /// Per partition, the offset up to which writers are forgotten: those whose last record stands
    /// there or before.
    pub forgotten: Vec<(Partition, Offset)>,
    /// The last record of each span, if it has a timestamp.
    pub last_records: Vec<LastRecord>,
    /// How many records the batch stands for, dead letters and duplicates included.
    pub records: u64,
    /// Whether a row that refers to a missing row counts as refused. If not, the batch waits for
    /// that row.
    pub refuse_missing_references: bool,
}

impl Batch {
    /// Takes in another batch of the same route, of other partitions.
    pub(crate) fn join(&mut self, other: Self) {
        self.spans.extend(other.spans);
        self.spans.sort_by_key(|span| span.partition);
        self.rows.extend(other.rows);
        self.dead_letters.extend(other.dead_letters);
        self.duplicates.extend(other.duplicates);
        self.writers.extend(other.writers);
        self.forgotten.extend(other.forgotten);
        self.last_records.extend(other.last_records);
        self.records += other.records;
    }
}

/// The records of one key, folded.
#[derive(Debug)]
pub struct FoldedRow {
    /// The partition of the records.
    pub partition: Partition,
    /// The record key.
    pub key: Box<[u8]>,
    /// What the records change in the row.
    pub change: Change,
    /// Whether the row's records must be tried one by one, because their effect depends on what the
    /// row holds.
    pub row_by_row: bool,
}

/// The last sequence seen of a writer in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterSeen {
    /// The partition.
    pub partition: Partition,
    /// The writer and its last sequence.
    pub last: WriteId,
    /// The offset of that record.
    pub at: Offset,
}

/// The last record of a partition that is in the database. It tells logs of the same name apart:
/// another log may be as long, but has another record at that offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRecord {
    /// The partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp, in milliseconds since 1970.
    pub timestamp: i64,
}

/// The proof that a batch is in the database. Only a worker creates one, after COMMIT.
#[derive(Debug)]
#[must_use = "commit the offsets of a written batch"]
pub struct Written {
    spans: Vec<Span>,
}

impl Written {
    /// Only [`crate::apply`] calls this: after the database has answered COMMIT, or when its
    /// bookkeeping shows that it holds the spans.
    pub(crate) fn new(spans: Vec<Span>) -> Self {
        Self { spans }
    }

    /// The spans that are now in the database.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The database's next offset for `partition`.
    #[must_use]
    pub fn end_of(&self, partition: Partition) -> Option<NextOffset> {
        self.spans.iter().find(|span| span.partition == partition).map(|span| span.end)
    }
}

/// Why a batch can't be written until a person intervenes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The cause, and what to do about it.
    pub why: String,
    /// The partition of the record at fault; `None`: the table is at fault.
    pub partition: Option<Partition>,
}

/// The keys whose records are read again.
pub type WantedKeys = HashSet<(Partition, Box<[u8]>)>;
