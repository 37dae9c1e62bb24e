//! The facts by which a partition is judged, as Kafka and the database tell them. Changes nothing.

use std::collections::BTreeMap;

use write_behind_shared::{NextOffset, Offset, Partition};

use crate::core::assign::{PartitionFacts, RecordCheck};
use crate::core::batch::LastRecord;
use crate::core::bookkeeping_key::BookkeepingKey;
use crate::kafka::client::BrokerError;
use crate::kafka::questions::Questions;
use crate::store::{Known, Store, StoreError};

/// The database or Kafka did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FactsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// A partition's facts; or why Kafka does not tell them.
pub(crate) type FactsAnswer = Result<PartitionFacts, BrokerError>;

/// The facts of each of `partitions`, in their order. A partition without an answer does
/// not delay the others. The log is asked for a partition's record in `anchors`; without one, for the
/// last record that the database holds.
///
/// # Errors
/// [`FactsError`]: nothing is known of any partition.
///
/// The order of the questions matters, because a partition's last owner may still be writing. If
/// the database were asked before the group's offsets, those could be ahead of it; if the log were
/// asked before the database, the database could be beyond its end.
pub(crate) async fn partition_facts<Q: Questions, S: Store>(
    broker: &Q,
    store: &mut S,
    scope: &BookkeepingKey,
    partitions: &[Partition],
    anchors: &BTreeMap<Partition, LastRecord>,
) -> Result<Vec<FactsAnswer>, FactsError> {
    facts_with(broker, store.known(scope), scope, partitions, anchors).await
}

/// The same, where `known` asks what the database knows of the topic.
///
/// # Errors
/// [`FactsError`].
pub(crate) async fn facts_with<Q: Questions>(
    broker: &Q,
    known: impl Future<Output = Result<Vec<Known>, StoreError>>,
    scope: &BookkeepingKey,
    partitions: &[Partition],
    anchors: &BTreeMap<Partition, LastRecord>,
) -> Result<Vec<FactsAnswer>, FactsError> {
    let committed = broker.committed(&scope.topic, partitions).await?;
    let known = known.await?;
    let logs = broker.logs(&scope.topic, partitions).await?;
    let newest = |partition| of(&known, partition).and_then(|known| known.last_record);
    let traced = |partition, ends: &(NextOffset, NextOffset)| {
        let record = anchors.get(&partition).copied().or_else(|| newest(partition));
        record.filter(|record| has(ends, record.offset))
    };
    let wanted: BTreeMap<Partition, Offset> = partitions
        .iter()
        .zip(&logs.ends)
        .filter_map(|(partition, ends)| {
            let record = traced(*partition, ends.as_ref().ok()?)?;
            Some((*partition, record.offset))
        })
        .collect();
    let there = broker.timestamps(&scope.topic, &wanted).await?;
    let stood = |(partition, ends): (&Partition, Result<(NextOffset, NextOffset), BrokerError>)| {
        let (low, high) = ends?;
        let of_it = of(&known, *partition);
        let unread = || BrokerError::Unreachable("no answer to a look at one record".to_owned());
        let trace = traced(*partition, &(low, high)).map(|record| match there.get(partition) {
            Some(there) => Ok(RecordCheck { record, there: *there }),
            None => Err(unread()),
        });
        Ok(PartitionFacts {
            database: of_it.map(|known| known.next),
            // What the database says of any partition tells how many there were.
            partitions_then: of_it.or(known.first()).map_or(logs.partitions, |one| one.partitions),
            partitions_now: logs.partitions,
            committed: committed.get(partition).map(|of_group| of_group.next),
            was_adopted: committed.get(partition).is_some_and(|of_group| of_group.was_adopted),
            low,
            high,
            last: newest(*partition),
            trace: trace.transpose()?,
        })
    };
    Ok(partitions.iter().zip(logs.ends).map(stood).collect())
}

fn of(known: &[Known], partition: Partition) -> Option<&Known> {
    known.iter().find(|known| known.partition == partition)
}

/// Whether a log of these ends has the offset.
fn has((low, high): &(NextOffset, NextOffset), offset: Offset) -> bool {
    !low.is_past(offset) && high.is_past(offset)
}
