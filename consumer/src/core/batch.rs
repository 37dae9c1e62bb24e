//! What crosses from the pipeline to the workers and back: a batch, and the proof that it is written.
//!
//! A batch holds the folded records of whole offset ranges, one [`Span`] a partition. Because a
//! span's fold is indivisible, a batch can be written or not, never half; and because only
//! [`Written`] can be committed, Kafka's offset never passes the database's.
//!
//! INV-7: only [`Written`] can be committed to Kafka.

use std::collections::HashSet;
use std::sync::Arc;

use crate::core::record::DeadLetter;
use write_behind_shared::{Change, NextOffset, Offset, Partition, WriteId};

/// A partition of a route's topic, the route by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoutePartition {
    /// The route.
    pub route: usize,
    /// The partition.
    pub partition: Partition,
}

/// The number of one life of a partition here: answers to an earlier life are ignored.
pub type Epoch = u64;
/// The number of a batch.
pub type BatchId = u64;

/// A range of one partition's offsets: from `start` up to, but without, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The partition.
    pub partition: Partition,
    /// What the database's bookkeeping must say before.
    pub start: NextOffset,
    /// What it says afterwards.
    pub end: NextOffset,
}

/// The folded records of some spans of one route.
#[derive(Debug)]
pub struct Batch {
    /// The route, by its place in the configuration.
    pub route: usize,
    /// The topic of all spans.
    pub topic: Arc<str>,
    /// One span a partition, sorted by partition.
    pub spans: Vec<Span>,
    /// One row a key; keys of one partition stand in no other.
    pub rows: Vec<FoldedRow>,
    /// Records that could not even be decoded.
    pub dead_letters: Vec<DeadLetter>,
    /// Records dropped because their writer's sequence had been seen: reading the spans again to
    /// apply a row's records row by row must skip them too.
    pub duplicates: Vec<(Partition, Offset)>,
    /// The last sequence seen of each writer, per partition.
    pub writers: Vec<WriterSeen>,
    /// Partitions in which the writers are forgotten whose last records stand so far back.
    pub forgotten: Vec<(Partition, Offset)>,
    /// The last record of each span, where the log says when it was written.
    pub last_records: Vec<LastRecord>,
    /// How many records were folded, the dead letters and duplicates included.
    pub records: u64,
    /// Whether a row that refers to a missing one is refused. If not, the batch waits for it.
    pub refuse_missing_references: bool,
}

/// The records of one key, folded.
#[derive(Debug)]
pub struct FoldedRow {
    /// The partition they came from.
    pub partition: Partition,
    /// The record key.
    pub key: Box<[u8]>,
    /// What is to be done to the row.
    pub change: Change,
    /// What becomes of its records depends on what the row holds: each is to be tried alone.
    pub row_by_row: bool,
}

/// The last sequence seen of a writer in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterSeen {
    /// The partition.
    pub partition: Partition,
    /// The writer and its last sequence.
    pub last: WriteId,
    /// The record that had it.
    pub at: Offset,
}

/// The last record of a partition that is in the database. Another log of the same name may be as
/// long, but has another record there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRecord {
    /// The partition.
    pub partition: Partition,
    /// Where it stands.
    pub offset: Offset,
    /// When it was written, in milliseconds since 1970.
    pub timestamp: i64,
}

/// The proof that a batch is in the database. Only a worker makes one, after COMMIT.
#[derive(Debug)]
#[must_use = "the offsets of a written batch are to be committed"]
pub struct Written {
    spans: Vec<Span>,
}

impl Written {
    /// Only [`crate::apply`] calls this, when the database has answered COMMIT, or says on being
    /// asked that the spans are in it.
    pub(crate) fn new(spans: Vec<Span>) -> Self {
        Self { spans }
    }

    /// The spans that are now in the database.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Up to where `partition` is now in the database.
    #[must_use]
    pub fn end_of(&self, partition: Partition) -> Option<NextOffset> {
        self.spans.iter().find(|span| span.partition == partition).map(|span| span.end)
    }
}

/// Why a batch can't be written until a person acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The cause, and what to do about it.
    pub why: String,
    /// The partition whose record it is; `None`: the cause lies in the table.
    pub partition: Option<Partition>,
}

/// The keys whose records are wanted.
pub type WantedKeys = HashSet<(Partition, Box<[u8]>)>;
