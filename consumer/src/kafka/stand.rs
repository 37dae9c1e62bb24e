//! Where partitions stand: takes a topic's partitions, asks Kafka and the database, gives what the
//! judgement needs. Changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use write_behind_shared::{NextOffset, Partition};

use super::assign::{Standing, Trace};
use super::broker::{Broker, BrokerError};
use crate::batch::LastRecord;
use crate::store::inspect::{Inspect, Known};
use crate::store::{AnyStore, Scope, StoreError};

/// Who did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unknown {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// What Kafka says of a topic's log.
struct Logs {
    partitions: i32,
    watermarks: Vec<(NextOffset, NextOffset)>,
    /// When the record was written that stands where the database's last record stood.
    timestamps: BTreeMap<Partition, Option<i64>>,
}

/// Where each of `partitions` stands, in their order.
///
/// The order of the questions matters. Whoever owned a partition before may still be writing: asked
/// the other way round, what it wrote in between looks like offsets without a database, or like a
/// database beyond the end of the log.
pub(crate) async fn stand(
    broker: &Arc<Broker>,
    store: &mut AnyStore,
    scope: &Scope,
    partitions: &[Partition],
) -> Result<Vec<Standing>, Unknown> {
    let (topic, asked) = (scope.topic.clone(), partitions.to_vec());
    let committed = ask(broker, move |broker| broker.committed(&topic, &asked)).await?;
    let known = store.known(scope).await?;
    let (topic, asked) = (scope.topic.clone(), partitions.to_vec());
    let last_records: Vec<LastRecord> =
        known.iter().filter_map(|known| known.last_record).collect();
    let logs = ask(broker, move |broker| look(broker, &topic, &asked, &last_records)).await?;
    let standing = |(partition, (low, high)): (&Partition, &(NextOffset, NextOffset))| {
        let of_it = known.iter().find(|known| known.partition == *partition);
        // What the database says of any partition tells how many there were.
        let then = of_it.or(known.first()).map_or(logs.partitions, |known| known.partitions);
        let trace = |known: &Known| {
            let last = known.last_record?;
            let in_the_log = *low <= NextOffset(last.offset.0) && last.offset.next() <= *high;
            let there = logs.timestamps.get(partition).copied().flatten();
            in_the_log.then_some(Trace { last, there })
        };
        Standing {
            database: of_it.map(|known| known.next),
            partitions_then: then,
            partitions_now: logs.partitions,
            committed: committed.get(partition).copied(),
            low: *low,
            high: *high,
            trace: of_it.and_then(trace),
        }
    };
    Ok(partitions.iter().zip(&logs.watermarks).map(standing).collect())
}

fn look(
    broker: &Broker,
    topic: &str,
    partitions: &[Partition],
    last_records: &[LastRecord],
) -> Result<Logs, BrokerError> {
    let count = broker.partitions(topic)?;
    let watermarks = partitions.iter().map(|partition| broker.watermarks(topic, *partition));
    let watermarks = watermarks.collect::<Result<Vec<_>, _>>()?;
    let mut wanted = BTreeMap::new();
    for (partition, (low, high)) in partitions.iter().zip(&watermarks) {
        let last = last_records.iter().find(|last| last.partition == *partition);
        if let Some(last) = last
            && *low <= NextOffset(last.offset.0)
            && last.offset.next() <= *high
        {
            wanted.insert(*partition, last.offset);
        }
    }
    let timestamps = broker.timestamps(topic, &wanted)?;
    Ok(Logs { partitions: count, watermarks, timestamps })
}

/// Asks Kafka on a thread that may block.
pub(crate) async fn ask<T: Send + 'static>(
    broker: &Arc<Broker>,
    question: impl FnOnce(&Broker) -> Result<T, BrokerError> + Send + 'static,
) -> Result<T, BrokerError> {
    let broker = Arc::clone(broker);
    let answer = tokio::task::spawn_blocking(move || question(&broker)).await;
    answer.unwrap_or_else(|error| Err(BrokerError::Unreachable(error.to_string())))
}
