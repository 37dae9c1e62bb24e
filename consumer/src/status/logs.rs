//! What is known of the logs, by the client and by the watch: where they end, how far behind the database is,
//! and which partition stands still before its end.
//!
//! The consumer's client learns with each fetch where the log ends and how far committed records go;
//! that is newest while a partition is read. The watch asks every few seconds, also of a partition
//! that is paused. Neither is taken back when one of them has no answer.

use std::collections::BTreeMap;
use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::RoutePartition;
use crate::core::pipeline::action::PartitionProgress;

/// How long a partition may stand still before its end until a person is told.
pub const STILL_AFTER: Duration = Duration::from_secs(10);

/// What the client learnt of a partition with its last fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The end of the log, records of open transactions included.
    pub end: NextOffset,
    /// Where the first open transaction begins, or the end of the log.
    pub stable: NextOffset,
    /// The offset after the last record or transaction marker that was passed on.
    pub position: Option<NextOffset>,
}

/// The logs of the partitions that this consumer has.
#[derive(Debug, Default)]
pub struct LogsSeen(BTreeMap<RoutePartition, LogSeen>);

#[derive(Clone, Copy, Debug, Default)]
struct LogSeen {
    asked: Option<NextOffset>,
    fetched: Option<Fetched>,
    /// Up to where it was read when it last moved, and when that was.
    moved: Option<(NextOffset, Duration)>,
}

/// A partition that stands still before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standstill {
    /// Up to where it is read.
    pub at: NextOffset,
    /// How many offsets are left.
    pub left: u64,
    /// For how long.
    pub lasting: Duration,
    /// Whether another producer's open transaction holds the records back.
    pub in_transaction: bool,
}

impl LogsSeen {
    /// Somebody asked where these logs end.
    pub fn asked(&mut self, ends: impl IntoIterator<Item = (RoutePartition, NextOffset)>) {
        for (tp, end) in ends {
            self.0.entry(tp).or_default().asked = Some(end);
        }
    }

    /// The client fetched of these.
    pub fn fetched(&mut self, logs: impl IntoIterator<Item = (RoutePartition, Fetched)>) {
        for (tp, fetched) in logs {
            self.0.entry(tp).or_default().fetched = Some(fetched);
        }
    }

    /// Notes which partitions move, and forgets those that are not ours any more.
    pub fn observe(&mut self, now: Duration, partitions: &[PartitionProgress]) {
        let is_ours = |tp: &RoutePartition| partitions.iter().any(|one| one.tp == *tp);
        self.0.retain(|tp, _| is_ours(tp));
        for partition in partitions {
            let at = self.read_to(partition);
            let waits = partition.reading && !partition.paused && self.end(partition) > Some(at);
            let seen = self.0.entry(partition.tp).or_default();
            let stands = waits && seen.moved.is_some_and(|(before, _)| before == at);
            if !stands {
                seen.moved = Some((at, now));
            }
        }
    }

    /// Up to where a partition is read, transaction markers included.
    pub fn read_to(&self, partition: &PartitionProgress) -> NextOffset {
        let fetched = self.0.get(&partition.tp).and_then(|seen| seen.fetched);
        let position = fetched.and_then(|fetched| fetched.position);
        partition.next.max(position.unwrap_or(partition.next))
    }

    /// The end of a partition's log, which is never before what is read of it.
    pub fn end(&self, partition: &PartitionProgress) -> Option<NextOffset> {
        let seen = self.0.get(&partition.tp)?;
        let end = seen.asked.max(seen.fetched.map(|fetched| fetched.end))?;
        Some(if partition.reading { end.max(partition.next) } else { end })
    }

    /// How many records of a partition are not in the database. Markers behind its last record are
    /// none.
    pub fn lag(&self, partition: &PartitionProgress) -> Option<u64> {
        let (written, end) = (partition.written?, self.end(partition)?);
        let all_read_is_written = partition.reading && written == partition.next;
        let done = if all_read_is_written { self.read_to(partition) } else { written };
        Some(done.distance_to(end))
    }

    /// Whether the partition has stood still before its end for long enough to be told.
    pub fn standing(&self, now: Duration, partition: &PartitionProgress) -> Option<Standstill> {
        let seen = self.0.get(&partition.tp)?;
        let (at, since) = seen.moved?;
        let (end, lasting) = (self.end(partition)?, now.saturating_sub(since));
        let waits = partition.reading && !partition.paused && end > at;
        let in_transaction = seen.fetched.is_some_and(|log| log.stable <= at && log.end > at);
        let left = at.distance_to(end);
        (waits && lasting >= STILL_AFTER).then_some(Standstill {
            at,
            left,
            lasting,
            in_transaction,
        })
    }
}

#[cfg(test)]
#[path = "tests/logs.rs"]
mod tests;
