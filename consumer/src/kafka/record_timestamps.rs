//! Timestamps of single records, read from the log by a client of its own.

use std::collections::BTreeMap;

use rdkafka::config::ClientConfig;
use write_behind_shared::{NextOffset, Offset, Partition};

use crate::core::batch::Span;
use crate::kafka::client::{ANSWER_WITHIN, BrokerError};
use crate::kafka::log_reader::LogReader;

/// A client that reads single records.
pub(super) struct RecordTimestamps(LogReader);

impl RecordTimestamps {
    /// With the properties of `config`. It connects when it is first asked.
    pub(super) fn new(mut config: ClientConfig) -> Self {
        config
            // A record a partition is wanted. A batch of a loaded topic should fit, so that one answer
            // has those of all partitions; of a larger one the broker sends one an answer.
            .set("fetch.message.max.bytes", "65536")
            .set("queued.min.messages", "1")
            .set("fetch.wait.max.ms", "10");
        Self(LogReader::new(config, ANSWER_WITHIN))
    }

    /// When the record at each offset was written, in milliseconds since 1970; `None`: there is no
    /// record, or it does not say. Without the partitions that did not answer in time. Every offset
    /// must lie within its log. Blocks.
    pub(super) fn timestamps(
        &self,
        topic: &str,
        wanted: &BTreeMap<Partition, Offset>,
    ) -> Result<BTreeMap<Partition, Option<i64>>, BrokerError> {
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let span = |(partition, offset): (&Partition, &Offset)| {
            let (start, end) = (NextOffset(offset.0), offset.next());
            Span { partition: *partition, start, end }
        };
        let spans: Vec<Span> = wanted.iter().map(span).collect();
        let mut found = BTreeMap::new();
        let unfinished = self.0.read_best_effort(topic, &spans, &mut |record| {
            found.insert(record.partition, record.timestamp);
        });
        // Even if no partition answered, that is an answer: an error would hold up the partitions
        // that nothing was asked about.
        let unfinished = unfinished.map_err(|error| BrokerError::Unreachable(error.to_string()))?;
        // Where all was read and nothing was found, there is no record.
        for partition in wanted.keys().filter(|partition| !unfinished.contains(partition)) {
            found.entry(*partition).or_insert(None);
        }
        Ok(found)
    }
}
