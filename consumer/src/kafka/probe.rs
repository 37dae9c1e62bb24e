//! A second opinion on a partition: takes an offset, says whether a client of its own finds a record
//! from there on.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use write_behind_shared::kafka::KafkaSettings;
use write_behind_shared::{NextOffset, Partition};

use crate::core::pipeline::watchdog::ProbeResult;
use crate::kafka::client::{ANSWER_WITHIN, Quiet, client_config};

/// Reads one record of the partition from `next` on, without joining the group. Blocks until there
/// is one, the end is reached, or the time for an answer is over.
pub(crate) fn probe(
    settings: &KafkaSettings,
    group: &str,
    topic: &str,
    partition: Partition,
    next: NextOffset,
) -> KafkaResult<ProbeResult> {
    let mut config = client_config(settings, group);
    config.set("enable.partition.eof", "true");
    config.set("auto.offset.reset", "error");
    config.set("isolation.level", "read_committed");
    // One record is enough.
    config.set("queued.min.messages", "1");
    config.set("queued.max.messages.kbytes", "1024");
    let client: BaseConsumer<Quiet> = config.create_with_context(Quiet::default())?;
    let (_, end) = client.fetch_watermarks(topic, partition.0, ANSWER_WITHIN)?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, partition.0, Offset::Offset(next.0))?;
    client.assign(&from)?;
    let asked = Instant::now();
    while asked.elapsed() < ANSWER_WITHIN {
        match client.poll(Duration::from_millis(100)) {
            Some(Ok(_)) => return Ok(ProbeResult::Record),
            Some(Err(KafkaError::PartitionEOF(_))) => {
                return Ok(ProbeResult::NothingBelow(NextOffset(end)));
            }
            // It connects again by itself.
            Some(Err(_)) | None => {}
        }
    }
    Ok(ProbeResult::NoAnswer)
}
