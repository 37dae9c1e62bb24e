//! The log: partitions of records and of offsets that have none.

use std::sync::Arc;

use write_behind_consumer::core::batch::RoutePartition;
use write_behind_consumer::core::record::{Incoming, RawRecord};
use write_behind_shared::{Offset, Partition};

use crate::meaning::Meaning;

/// A record as it lies in the log.
#[derive(Clone, Debug)]
pub struct LogRecord {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// In milliseconds since 1970.
    pub timestamp: i64,
    pub meaning: Meaning,
}

impl LogRecord {
    /// Lends it as a client does.
    pub fn lend<T>(
        &self,
        partition: Partition,
        offset: i64,
        hear: impl FnOnce(&Incoming<'_>) -> T,
    ) -> T {
        let headers: Vec<(&str, Option<&[u8]>)> =
            self.headers.iter().map(|(name, value)| (*name, Some(&**value))).collect();
        hear(&Incoming {
            partition,
            offset: Offset(offset),
            timestamp: Some(self.timestamp),
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
        })
    }

    #[must_use]
    pub fn copied(&self, partition: Partition, offset: i64) -> RawRecord {
        self.lend(partition, offset, |record| RawRecord::from(record))
    }
}

/// One partition's log: what stands at each offset from 0 on. `None`: a transaction's marker.
#[derive(Clone, Debug, Default)]
pub struct PartitionLog {
    /// The first offset that is still there.
    pub low: i64,
    entries: Vec<Option<Arc<LogRecord>>>,
}

impl PartitionLog {
    /// The offset behind the last.
    #[must_use]
    pub fn high(&self) -> i64 {
        self.entries.len() as i64
    }

    pub fn append(&mut self, record: LogRecord) -> i64 {
        self.entries.push(Some(Arc::new(record)));
        self.high() - 1
    }

    pub fn append_marker(&mut self) {
        self.entries.push(None);
    }

    /// The record at an offset, if there is one.
    #[must_use]
    pub fn at(&self, offset: i64) -> Option<&Arc<LogRecord>> {
        let entry = self.entries.get(usize::try_from(offset).ok()?)?;
        entry.as_ref().filter(|_| offset >= self.low)
    }

    /// The first record at or behind an offset.
    #[must_use]
    pub fn next_from(&self, offset: i64) -> Option<(i64, &Arc<LogRecord>)> {
        (offset.max(self.low)..self.high()).find_map(|at| Some((at, self.at(at)?)))
    }

    /// The records that were ever at or behind `from` and before `end`.
    pub fn ever(&self, from: i64, end: i64) -> impl Iterator<Item = (i64, &Arc<LogRecord>)> {
        let at = |at| Some((at, self.entries[usize::try_from(at).ok()?].as_ref()?));
        (from..end.min(self.high())).filter_map(at)
    }

    /// The records at or behind `from` and before `end`.
    pub fn records(&self, from: i64, end: i64) -> impl Iterator<Item = (i64, &Arc<LogRecord>)> {
        (from.max(self.low)..end.min(self.high())).filter_map(|at| Some((at, self.at(at)?)))
    }
}

/// The topics of the routes: one log for each partition.
#[derive(Clone, Debug, Default)]
pub struct Topics(pub Vec<Vec<PartitionLog>>);

impl Topics {
    #[must_use]
    pub fn new(partitions: &[i32]) -> Self {
        let logs = |count: &i32| vec![PartitionLog::default(); *count as usize];
        Self(partitions.iter().map(logs).collect())
    }

    #[must_use]
    pub fn log(&self, tp: RoutePartition) -> &PartitionLog {
        &self.0[tp.route][tp.partition.0 as usize]
    }

    pub fn log_mut(&mut self, tp: RoutePartition) -> &mut PartitionLog {
        &mut self.0[tp.route][tp.partition.0 as usize]
    }

    /// Every partition of every route.
    pub fn tps(&self) -> Vec<RoutePartition> {
        let of = |(route, logs): (usize, &Vec<PartitionLog>)| {
            let tp = move |partition| RoutePartition { route, partition: Partition(partition) };
            (0..logs.len() as i32).map(tp).collect::<Vec<_>>()
        };
        self.0.iter().enumerate().flat_map(of).collect()
    }

    /// The name of a route's topic.
    #[must_use]
    pub fn name(route: usize) -> String {
        format!("topic{route}")
    }

    /// The route whose topic has this name.
    #[must_use]
    pub fn route(name: &str) -> usize {
        name.strip_prefix("topic").and_then(|route| route.parse().ok()).expect("a topic of ours")
    }
}
