//! The questions that are asked of Kafka beside reading: what a cluster, a topic and a group say of
//! themselves.
//!
//! Everything that decides by the answers names this trait and no client, so it can be driven by
//! answers that were made up.

use std::collections::BTreeMap;

use write_behind_shared::{NextOffset, Offset, Partition};

use crate::core::pipeline::watchdog::ProbeResult;
use crate::kafka::client::BrokerError;

/// A topic's partitions, and where the logs of some of them begin and end.
#[derive(Debug)]
pub struct Logs {
    /// How many partitions the topic has.
    pub partitions: i32,
    /// The first offset and the end of each partition asked about, in the order of the question; or
    /// why they are not known.
    pub ends: Vec<Result<(NextOffset, NextOffset), BrokerError>>,
}

/// An offset that a group has committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    pub next: NextOffset,
    /// Whether it, or one before it, was adopted.
    pub was_adopted: bool,
}

/// A cluster that answers questions. Each is answered within seconds, if only by an error; dropping
/// the future of an answer is safe.
pub trait Questions: Send + Sync + 'static {
    /// The cluster's id.
    fn cluster_id(&self) -> impl Future<Output = Result<String, BrokerError>> + Send;

    /// How many partitions `topic` has.
    fn partitions(&self, topic: &str) -> impl Future<Output = Result<i32, BrokerError>> + Send;

    /// The offsets that the group has committed, where it has.
    fn committed(
        &self,
        topic: &str,
        partitions: &[Partition],
    ) -> impl Future<Output = Result<BTreeMap<Partition, GroupOffset>, BrokerError>> + Send;

    /// Where the log of each of `partitions` begins and ends. One that has no leader, or whose
    /// leader does not answer, does not keep the others from their answer.
    fn logs(
        &self,
        topic: &str,
        partitions: &[Partition],
    ) -> impl Future<Output = Result<Logs, BrokerError>> + Send;

    /// When the record at each offset was written, in milliseconds since 1970; `None`: there is no
    /// record, or it does not say. Without the partitions that did not answer in time. Every offset
    /// must lie within its log.
    fn timestamps(
        &self,
        topic: &str,
        wanted: &BTreeMap<Partition, Offset>,
    ) -> impl Future<Output = Result<BTreeMap<Partition, Option<i64>>, BrokerError>> + Send;

    /// Whether a new client finds a record of the partition from `next` on.
    fn probe(
        &self,
        topic: &str,
        partition: Partition,
        next: NextOffset,
    ) -> impl Future<Output = ProbeResult> + Send;
}
