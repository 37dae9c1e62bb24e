//! What the pipeline is told and what it answers: the words it shares with the source.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use write_behind_shared::{NextOffset, Offset, WriteId};

use crate::core::batch::{Batch, BatchId, Epoch, RoutePartition, Span, WriterSeen, Written};
use crate::core::pipeline::buffer::Buffer;
use crate::core::pipeline::commit::CommitId;
use crate::core::pipeline::schedule::Priority;

/// When a batch closes, and how much may be held.
#[derive(Clone, Copy, Debug)]
pub struct PipelineLimits {
    /// Rows of a partition that are held at most; a batch has fewer while the database is slow.
    pub max_rows: usize,
    /// Bytes after which it is ripe.
    pub max_bytes: usize,
    /// Age of its first record after which it is ripe.
    pub max_age: Duration,
    /// How long a transaction should take: the size of batches follows it.
    pub target_time: Duration,
    /// Bytes held at most, over all buffers and batches.
    pub memory: usize,
    /// Batches in flight at most.
    pub workers: usize,
    /// Rows written per second at most.
    pub rows_per_second: Option<u32>,
}

/// How the records of a route are taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteLimits {
    /// Its share of the database, while others want it too.
    pub priority: Priority,
    /// Rows of it written per second at most.
    pub rows_per_second: Option<u32>,
}

/// A batch on its way to a worker: its buffers are parsed there, not on the poll thread.
#[derive(Debug)]
pub struct Closed {
    /// Its number.
    pub id: BatchId,
    /// The route.
    pub route: usize,
    /// One buffer a partition, sorted by partition.
    pub buffers: Vec<Buffer>,
    /// How long before it was closed its oldest record was read.
    pub age: Duration,
}

/// How a batch ended.
#[derive(Debug)]
pub enum BatchResult {
    /// It is in the database.
    Written(Written, WriteCost),
    /// The database stands elsewhere: nothing of it was written.
    Fenced,
}

/// What a batch has cost the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteCost {
    /// How long the transaction took that wrote it, without those that failed and the waits.
    pub took: Duration,
    /// How many attempts the database gave up because they asked too much of it.
    pub saturated: u32,
}

/// Where a partition stands, in the database and in Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The partition.
    pub tp: RoutePartition,
    /// The question this answers.
    pub epoch: Epoch,
    /// Where the database stands.
    pub next: NextOffset,
    /// What the group has committed.
    pub committed: Option<NextOffset>,
    /// The last sequence of each writer.
    pub writers: Vec<WriterSeen>,
}

/// Something to be done.
#[derive(Debug)]
pub enum Action {
    /// Ask the database and Kafka where these stand, and answer with `located`.
    Locate(Vec<(RoutePartition, Epoch)>),
    /// Read these from here on.
    Read(Vec<(RoutePartition, NextOffset)>),
    /// Hand a batch to a worker, and answer with `finished`.
    Write(Closed),
    /// Hand a batch to a worker once more.
    WriteAgain(BatchId, Box<Batch>),
    /// Stop fetching these.
    Pause(Vec<RoutePartition>),
    /// Fetch these again.
    Resume(Vec<RoutePartition>),
    /// Commit to Kafka, and answer with `commit_answered` and the commit's number.
    Commit(CommitId, Vec<(RoutePartition, NextOffset)>),
    /// Nothing of these is held any more: the revoke may be acknowledged.
    Release(Vec<RoutePartition>),
    /// Everything read is written and committed.
    Drained,
    /// Something a person should know.
    Tell(Notice),
}

/// Something a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A writer's records before this one are missing from the log.
    RecordsMissing(RoutePartition, Offset, WriteId),
    /// The log has no records from the first up to the second: a transaction's markers, or records
    /// that a compaction took.
    OffsetsSkipped(RoutePartition, NextOffset, Offset),
    /// The database stands before what was written to it: it was restored. Read again from there.
    DatabaseWentBack(RoutePartition, NextOffset, NextOffset),
    /// The database stands beyond: another consumer wrote this partition.
    DatabaseWentAhead(RoutePartition, NextOffset, NextOffset),
    /// A route can't be written until a person mends this. It is tried again by itself.
    RouteStopped(usize, String),
    /// A stopped route is written again, after so long.
    RouteRuns(usize, Duration),
    /// Partitions let go with so many unwritten records, which their next owner will read again.
    Dropped(u64),
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records folded.
    pub records: u64,
    /// Records dropped because their writer's sequence was seen before.
    pub duplicates: u64,
    /// Records left out because a newer version of their row was folded already.
    pub older: u64,
    /// Jumps in a writer's sequence.
    pub gaps: u64,
    /// Records that cannot be decoded.
    pub bad: u64,
    /// Records below what was read already, or of partitions not read.
    pub strays: u64,
    /// Jumps in a partition's offsets.
    pub skips: u64,
    /// Batches handed to a worker.
    pub batches: u64,
    /// Rows in them.
    pub rows: u64,
    /// Batches fenced.
    pub fenced: u64,
    /// Commits that failed.
    pub commit_failures: u64,
}

/// What is held, and where the partitions stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineProgress {
    /// Rows in open buffers.
    pub open_rows: usize,
    /// Bytes in open buffers.
    pub open_bytes: usize,
    /// Rows in batches on their way.
    pub in_flight_rows: usize,
    /// Bytes in batches on their way.
    pub in_flight_bytes: usize,
    /// Each route, by its place in the configuration.
    pub routes: Vec<RouteProgress>,
    /// Each partition held.
    pub partitions: Vec<PartitionProgress>,
    /// The routes that are stopped until a person mends something, each with what it is.
    pub stopped: BTreeMap<usize, String>,
}

/// What one route has done since the start, and what it is about to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteProgress {
    /// Records read and folded.
    pub records_read: u64,
    /// Rows that a batch should have to take the target time.
    pub target_rows: usize,
    /// What it is doing.
    pub doing: Doing,
}

/// What a route is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doing {
    /// Nothing of it is held.
    #[default]
    Idle,
    /// Records are folded; no batch is ripe yet.
    Filling,
    /// A batch is ripe and waits for a worker, or for its turn.
    Waiting,
    /// A batch is ripe and waits for a ceiling of rows per second.
    Throttled,
    /// A batch is on its way, and nothing else is ripe.
    Writing,
}

/// Where one partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionProgress {
    /// The partition.
    pub tp: RoutePartition,
    /// Whether it is being read; if not, its position is not known yet, or it is being let go.
    pub reading: bool,
    /// Whether it is being let go.
    pub leaving: bool,
    /// Whether fetching is paused.
    pub paused: bool,
    /// The next offset to read.
    pub next: NextOffset,
    /// Everything below is in the database; `None`: not known yet.
    pub written: Option<NextOffset>,
    /// What Kafka was told of that; `None`: nothing, as far as it is known.
    pub committed: Option<NextOffset>,
    /// Rows in its open buffer.
    pub buffer_rows: usize,
    /// Bytes of them.
    pub buffer_bytes: usize,
    /// When the oldest record read and not yet written was written to the log, in milliseconds
    /// since 1970.
    pub oldest: Option<i64>,
}

impl Closed {
    /// The batch, its rows parsed.
    pub fn into_batch(self, topic: Arc<str>) -> Batch {
        let mut batch = Batch {
            route: self.route,
            topic,
            spans: Vec::with_capacity(self.buffers.len()),
            rows: Vec::new(),
            dead_letters: Vec::new(),
            duplicates: Vec::new(),
            writers: Vec::new(),
            forgotten: Vec::new(),
            last_records: Vec::new(),
            records: 0,
            refuse_missing_references: false,
        };
        for buffer in self.buffers {
            let (partition, start, end) = (buffer.partition(), buffer.start(), buffer.next());
            batch.spans.push(Span { partition, start, end });
            batch.records += buffer.records();
            batch.last_records.extend(buffer.last_record());
            let contents = buffer.into_contents();
            batch.rows.extend(contents.rows);
            batch.dead_letters.extend(contents.dead_letters);
            batch.duplicates.extend(contents.duplicates);
            batch.writers.extend(contents.writers);
            batch.forgotten.extend(contents.forgotten.map(|at| (partition, at)));
        }
        batch
    }
}
