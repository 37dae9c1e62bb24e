//! The pipeline's vocabulary: its limits, actions, results, notices and progress.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use write_behind_shared::{NextOffset, Offset, Partition, WriteId};

use crate::core::batch::{Batch, BatchId, Epoch, RoutePartition, Span, WriterSeen, Written};
use crate::core::pipeline::bounds::Bounds;
use crate::core::pipeline::buffer::Buffer;
use crate::core::pipeline::commit::CommitId;
use crate::core::pipeline::schedule::Priority;
use crate::core::pipeline::skips::{LookId, SkipLook};

/// The limits on batches and on what is held.
#[derive(Clone, Copy, Debug)]
pub struct PipelineLimits {
    /// The most rows held of one partition; a batch has fewer while the database is slow.
    pub max_rows: usize,
    /// Bytes at which a buffer is ripe.
    pub max_bytes: usize,
    /// Age of its first record at which a buffer is ripe.
    pub max_age: Duration,
    /// How long a transaction should take: the batch size follows it.
    pub target_time: Duration,
    /// The most bytes held, over all buffers and batches.
    pub memory: usize,
    /// The most batches written at a time.
    pub workers: usize,
    /// How many more may be in flight, to be parsed and judged while those are written.
    pub prepared: usize,
    /// The most rows written per second.
    pub rows_per_second: Option<u32>,
    /// The limits that no setting changes.
    pub bounds: Bounds,
}

/// The limits of one route.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteLimits {
    /// Its share of the database while other routes want it too.
    pub priority: Priority,
    /// The most rows of it written per second.
    pub rows_per_second: Option<u32>,
}

/// A batch on its way to a worker, which parses its buffers off the poll thread.
#[derive(Debug)]
pub struct Closed {
    /// Its number.
    pub id: BatchId,
    /// The route.
    pub route: usize,
    /// One buffer per partition, sorted by partition.
    pub buffers: Vec<Buffer>,
    /// Age of its oldest record when it was closed, counted from when that was read.
    pub age: Duration,
}

/// How a batch ended.
#[derive(Debug)]
pub enum BatchResult {
    /// It is in the database.
    Written(Written, WriteCost),
    /// The database stands elsewhere: nothing of the batch was written.
    Fenced,
}

/// What a batch cost the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteCost {
    /// How long the successful transaction took, without failed attempts and waits.
    pub took: Duration,
    /// How many attempts the database gave up because they asked too much of it.
    pub saturated: u32,
}

/// Where a partition stands in the database and in Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The partition.
    pub tp: RoutePartition,
    /// The epoch of the question that this answers.
    pub epoch: Epoch,
    /// The database's next offset.
    pub next: NextOffset,
    /// The offset that the group has committed; `None`, too, if it must commit again.
    pub committed: Option<NextOffset>,
    /// Whether its offset was adopted, now or before.
    pub was_adopted: bool,
    /// The last sequence of each writer.
    pub writers: Vec<WriterSeen>,
}

/// Something for the source to do.
#[derive(Debug)]
pub enum Action {
    /// Ask the database and Kafka where these stand, and answer with
    /// [`Pipeline::located`](super::Pipeline::located).
    Locate(Vec<(RoutePartition, Epoch)>),
    /// Read these partitions from these offsets on.
    Read(Vec<(RoutePartition, NextOffset)>),
    /// Hand a batch to a worker, and answer with [`Pipeline::finished`](super::Pipeline::finished).
    Write(Closed),
    /// Hand a parked batch to a worker again.
    WriteAgain(BatchId, Box<Batch>),
    /// Have another client read a span with skipped offsets, and answer with
    /// [`Pipeline::looked_at_skip`](super::Pipeline::looked_at_skip) and the look's number.
    LookAtSkip(RoutePartition, LookId, SkipLook),
    /// Stop: from this offset on, the client passes over records that are in the log, also after the
    /// partition was read again.
    GiveUp(RoutePartition, NextOffset),
    /// Stop fetching these.
    Pause(Vec<RoutePartition>),
    /// Resume fetching these.
    Resume(Vec<RoutePartition>),
    /// Commit to Kafka, and answer with
    /// [`Pipeline::commit_answered`](super::Pipeline::commit_answered) and the commit's number.
    Commit(CommitId, Vec<(RoutePartition, NextOffset)>),
    /// Nothing of these is held any more: the revoke can be acknowledged.
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
    /// The record at this offset lies in another partition than its key's, which is this one. Told
    /// once a route.
    Misplaced(RoutePartition, Offset, Partition),
    /// A compaction may have removed this many records between the offsets, before they were
    /// written.
    RecordsLost(RoutePartition, NextOffset, NextOffset, u64),
    /// The client passed over records between the offsets. The partition is read again.
    PassedOver(RoutePartition, NextOffset, NextOffset),
    /// Why it is not known what the skipped offsets from this one on were. The partition is read
    /// again.
    SkipUnknown(RoutePartition, NextOffset, String),
    /// The database is behind what was written to it: it was restored. Its records are read again
    /// from there.
    DatabaseWentBack(RoutePartition, NextOffset, NextOffset),
    /// The database is ahead: another consumer has written this partition.
    DatabaseWentAhead(RoutePartition, NextOffset, NextOffset),
    /// A route can't be written until a person fixes this. It retries on its own.
    RouteStopped(usize, String),
    /// Partitions of a route can't be written for now, for this reason. They are tried again.
    Held(usize, String),
    /// No partition of the route is held any more, after this time.
    HeldNoMore(usize, Duration),
    /// A stopped route is written again, after this time.
    RouteRuns(usize, Duration),
    /// This many unwritten records were dropped with released partitions; their next owner reads
    /// them again.
    Dropped(u64),
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records folded.
    pub records: u64,
    /// Records dropped as duplicates.
    pub duplicates: u64,
    /// Records left out because a newer version of their row was folded already.
    pub older: u64,
    /// Gaps in a writer's sequence.
    pub gaps: u64,
    /// Records that can't be decoded.
    pub bad: u64,
    /// Records below the next offset, or of partitions not being read.
    pub strays: u64,
    /// Records in another partition than their key's.
    pub misplaced: u64,
    /// Places where offsets were skipped.
    pub skips: u64,
    /// Records that a compaction may have removed before they were written.
    pub lost: u64,
    /// Batches handed to workers.
    pub batches: u64,
    /// Rows in those batches.
    pub rows: u64,
    /// Batches that were fenced.
    pub fenced: u64,
    /// Commits that failed.
    pub commit_failures: u64,
}

/// What is held, and where routes and partitions stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineProgress {
    /// Rows in open buffers.
    pub open_rows: usize,
    /// Bytes in open buffers.
    pub open_bytes: usize,
    /// Rows in flight.
    pub in_flight_rows: usize,
    /// Bytes in flight.
    pub in_flight_bytes: usize,
    /// Each route, by its index in the configuration.
    pub routes: Vec<RouteProgress>,
    /// Each assigned partition.
    pub partitions: Vec<PartitionProgress>,
    /// The stopped routes, each with what a person must fix.
    pub stopped: BTreeMap<usize, String>,
    /// The partitions that wait for something before they are written on, each with what it is.
    pub waiting: BTreeMap<RoutePartition, PartitionWaits>,
}

/// What a partition waits for before it is written on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionWaits {
    /// Its batch can't be written for now, for this reason.
    Held(String),
    /// A row refers to one that is missing, and that these partitions may still bring; of each,
    /// whether it is known where its log ends.
    ForRow(Vec<(RoutePartition, bool)>),
}

/// What one route has done since the start, and what it is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteProgress {
    /// Records folded.
    pub records_read: u64,
    /// Rows of a batch that would take the target time.
    pub target_rows: usize,
    /// Its activity.
    pub doing: Doing,
}

/// A route's activity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doing {
    /// Nothing is held.
    #[default]
    Idle,
    /// Records are folded; no batch is ripe yet.
    Filling,
    /// A batch is ripe and waits for a worker, or for its turn.
    Waiting,
    /// A batch is ripe and waits for a ceiling of rows per second.
    Throttled,
    /// A batch is in flight, and nothing else is ripe.
    Writing,
}

/// Where one partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionProgress {
    /// The partition.
    pub tp: RoutePartition,
    /// Whether it is being read; if not, its position is not known yet, or it is being released.
    pub reading: bool,
    /// Whether it is being released.
    pub leaving: bool,
    /// Whether fetching is paused.
    pub paused: bool,
    /// The next offset to read.
    pub next: NextOffset,
    /// Everything below is in the database; `None`: unknown.
    pub written: Option<NextOffset>,
    /// The offset that the group has committed; `None`: none, as far as known.
    pub committed: Option<NextOffset>,
    /// Rows in its open buffer.
    pub buffer_rows: usize,
    /// Bytes in its open buffer.
    pub buffer_bytes: usize,
    /// The timestamp of the oldest record read and not yet written, in milliseconds since 1970.
    pub oldest: Option<i64>,
}

impl Closed {
    /// Parses the buffers into a batch.
    pub fn into_batch(self, topic: Arc<str>) -> Batch {
        let mut batch = Batch {
            route: self.route,
            topic,
            spans: Vec::with_capacity(self.buffers.len()),
            ..Batch::default()
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
