//! Looks at single records: takes partitions with an offset each, gives when the record there was
//! written.
//!
//! A consumer of its own, which joins no group and commits nothing. It is made when it is first needed
//! and kept for as long as it answers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use write_behind_shared::{Offset, Partition};

use crate::kafka::client::{ANSWER_WITHIN, BrokerError, Quiet, unreachable};

/// A client that looks at single records.
pub(super) struct RecordTimestamps {
    config: ClientConfig,
    consumer: Mutex<Option<BaseConsumer<Quiet>>>,
}

impl RecordTimestamps {
    /// With the properties of `config`. Connects when it is first asked.
    pub(super) fn new(mut config: ClientConfig) -> Self {
        config
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            // A record a partition is wanted, and the broker answers with one batch at least.
            .set("fetch.message.max.bytes", "1024")
            .set("queued.min.messages", "1")
            .set("fetch.wait.max.ms", "10");
        Self { config, consumer: Mutex::new(None) }
    }

    /// When the record at each offset was written, in milliseconds since 1970; `None`: there is no
    /// record, or it does not say. Without those partitions that did not answer in time. Every offset
    /// must lie within its log. Blocks.
    pub(super) fn timestamps(
        &self,
        topic: &str,
        wanted: &BTreeMap<Partition, Offset>,
    ) -> Result<BTreeMap<Partition, Option<i64>>, BrokerError> {
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        // Whoever panicked left a consumer that the next assignment makes as good as new.
        let mut kept = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        let consumer = match kept.take() {
            Some(consumer) => consumer,
            None => self
                .config
                .create_with_context(Quiet::default())
                .map_err(|error| unreachable(&error))?,
        };
        let found = read_timestamps(&consumer, topic, wanted);
        // A client that knows a topic by an earlier id may get no record of it ever again.
        if matches!(&found, Ok(found) if found.len() == wanted.len()) {
            consumer.unassign().map_err(|error| unreachable(&error))?;
            *kept = Some(consumer);
        } else {
            // On a thread of its own, which may wait for brokers that do not answer.
            std::thread::spawn(move || drop(consumer));
        }
        found
    }
}

fn read_timestamps(
    consumer: &BaseConsumer<Quiet>,
    topic: &str,
    wanted: &BTreeMap<Partition, Offset>,
) -> Result<BTreeMap<Partition, Option<i64>>, BrokerError> {
    // A client that does not know the topic's leaders yet would look for them a second later.
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_WITHIN);
    metadata.map_err(|error| unreachable(&error))?;
    let mut start = TopicPartitionList::with_capacity(wanted.len());
    for (partition, offset) in wanted {
        let added = start.add_partition_offset(topic, partition.0, KafkaOffset::Offset(offset.0));
        added.map_err(|error| unreachable(&error))?;
    }
    consumer.assign(&start).map_err(|error| unreachable(&error))?;
    let mut waiting = wanted.clone();
    let mut found = BTreeMap::new();
    let asked = Instant::now();
    while !waiting.is_empty() && asked.elapsed() < ANSWER_WITHIN {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let partition = Partition(message.partition());
                if let Some(offset) = waiting.remove(&partition) {
                    let is_it = offset == Offset(message.offset());
                    let written = message.timestamp().to_millis();
                    found.insert(partition, written.filter(|_| is_it));
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let waited = waiting.remove(&Partition(partition));
                found.extend(waited.map(|_| (Partition(partition), None)));
            }
            // librdkafka tries again by itself; what matters is whether the records still come.
            Some(Err(error)) => tracing::debug!(%error, topic, "no record yet"),
            None => {}
        }
    }
    Ok(found)
}
