//! The numbers of a handle at one moment.

use std::time::Duration;

/// What a handle has counted since it was built, and what it holds now: the numbers of
/// [`Builder::metrics`](crate::Builder::metrics), under the same names, at the moment of asking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Writes accepted.
    pub writes: u64,
    /// Writes refused for what they are.
    pub refused: u64,
    /// Writes that found no room and were told so.
    pub overloaded: u64,
    /// Accepted writes that went with an earlier one of their row.
    pub coalesced: u64,
    /// Rows that were dropped from memory to make room.
    pub forgotten: u64,
    /// Records of others that were read from the log.
    pub followed: u64,
    /// Writes that the database refused.
    pub dead_letters: u64,
    /// Accepted writes that failed or whose outcome is unknown.
    pub lost: u64,
    /// Reads.
    pub reads: u64,
    /// Reads answered by pending writes.
    pub hits_pending: u64,
    /// Reads answered by the cache.
    pub hits_cached: u64,
    /// Reads that needed the loader, or found nothing.
    pub misses: u64,
    /// Rows asked of the loader; several reads may share one.
    pub loads: u64,
    /// Rows that the loader could not give.
    pub load_failures: u64,
    /// Rows with a write that is not in the database.
    pub pending_rows: usize,
    /// Memory that these take, in bytes, estimated.
    pub pending_bytes: usize,
    /// Writes that Kafka has not answered.
    pub in_flight: usize,
    /// Memory that these take, in bytes, estimated.
    pub in_flight_bytes: usize,
    /// Writes that wait for room.
    pub waiting_writes: usize,
    /// Partitions whose writes Kafka does not take now.
    pub held_partitions: usize,
    /// The limit of `pending_bytes`.
    pub max_pending_bytes: Option<usize>,
    /// The limit of `pending_rows`, if there is one.
    pub max_pending_rows: Option<usize>,
    /// The limit of `in_flight`, if there is one.
    pub max_in_flight: Option<usize>,
    /// The limit of `in_flight_bytes`, if there is one.
    pub max_in_flight_bytes: Option<usize>,
    /// Age of the oldest write that Kafka has not answered.
    pub replicated_lag: Duration,
    /// Age of the oldest write that is not in the database.
    pub persisted_lag: Duration,
    /// Errors of the Kafka client: brokers away, and so on.
    pub client_errors: u64,
    /// Kafka clients that failed for good and were replaced.
    pub client_failures: u64,
    /// Looks at the sink group's offsets that failed.
    pub watch_errors: u64,
    /// Records in the log that were not read yet; only with [`follow`](crate::Builder::follow).
    pub follow_lag_records: u64,
    /// What the journal has of its disk, in bytes; this and what follows only with
    /// a journal.
    pub journal_bytes: u64,
    /// Age of the journal's oldest write that Kafka may not have.
    pub journal_oldest: Duration,
    /// Batches that were written to the journal.
    pub journal_batches: u64,
    /// How long these took in all, syncs included.
    pub journal_writing: Duration,
    /// What was cut from the journal's end when it was opened, in bytes.
    pub journal_cut_bytes: u64,
    /// Writes of an earlier life of the process that the journal held.
    pub replayed: u64,
}
