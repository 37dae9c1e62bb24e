//! Reads ranges of a topic's log from their start to their end, for whoever wants each record once.
//!
//! A consumer of its own, which joins no group and commits nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::{NextOffset, Offset, Partition};

use crate::core::batch::Span;
use crate::core::record::Incoming;
use crate::kafka::client::{ANSWER_WITHIN, reader_config};

/// How long to wait for the next record before the log counts as unavailable.
const SILENCE: Duration = Duration::from_secs(30);

/// Hands every record of `spans` to `take`, in log order within a partition, and tells `progress` how
/// many offsets are behind it. Blocks.
///
/// # Errors
/// No broker answers, or the log has lost what a span begins with.
pub(crate) fn replay(
    settings: &KafkaSettings,
    group: &str,
    topic: &str,
    spans: &[Span],
    mut take: impl FnMut(&Incoming<'_>),
    progress: impl Fn(u64),
) -> Result<(), String> {
    let told = |error: KafkaError| error.to_string();
    let mut config = reader_config(settings, group);
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().map_err(told)?;
    consumer.fetch_metadata(Some(topic), ANSWER_WITHIN).map_err(told)?;
    let mut start = TopicPartitionList::new();
    let mut unread: BTreeMap<Partition, (NextOffset, NextOffset)> = BTreeMap::new();
    for span in spans.iter().filter(|span| span.start < span.end) {
        let at = KafkaOffset::Offset(span.start.0);
        start.add_partition_offset(topic, span.partition.0, at).map_err(told)?;
        unread.insert(span.partition, (span.start, span.end));
    }
    consumer.assign(&start).map_err(told)?;
    let mut last_heard = Instant::now();
    while !unread.is_empty() {
        if last_heard.elapsed() > SILENCE {
            return Err(format!("Kafka does not answer: no record within {SILENCE:?}"));
        }
        match consumer.poll(Duration::from_millis(100)) {
            None => continue,
            Some(Ok(message)) => {
                let partition = Partition(message.partition());
                let Some((at, end)) = unread.get_mut(&partition) else { continue };
                let next = Offset(message.offset()).next();
                if end.is_past(Offset(message.offset())) {
                    hand_over(&message, &mut take);
                }
                progress(at.distance_to(next.min(*end)));
                *at = next;
                if next >= *end {
                    unread.remove(&partition);
                }
            }
            // The last offsets below the end may be a transaction's markers.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                unread.remove(&Partition(partition));
            }
            Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))) => {
                return Err(format!(
                    "the log of {topic} lost records while it was read: its retention has passed them"
                ));
            }
            // librdkafka reconnects by itself; what matters is whether records still come.
            Some(Err(error)) => {
                tracing::debug!(%error, topic, "the log can't be read yet");
                continue;
            }
        }
        last_heard = Instant::now();
    }
    Ok(())
}

fn hand_over(message: &BorrowedMessage<'_>, take: &mut impl FnMut(&Incoming<'_>)) {
    let headers: Vec<(&str, Option<&[u8]>)> = message.headers().map_or(Vec::new(), |headers| {
        headers.iter().map(|header| (header.key, header.value)).collect()
    });
    take(&Incoming {
        partition: Partition(message.partition()),
        offset: Offset(message.offset()),
        timestamp: message.timestamp().to_millis(),
        key: message.key(),
        value: message.payload(),
        headers: &headers,
    });
}
