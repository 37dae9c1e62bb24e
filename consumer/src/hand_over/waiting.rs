//! The records that wait in the log, looked through for keys that wait in two partitions. Such a
//! key's records have no order between them; all others are as safe as before partitions were added.

use write_behind_shared::Partition;

use crate::config::Config;
use crate::core::assign::PartitionFacts;
use crate::core::batch::Span;
use crate::core::torn_keys::{KeysSeen, TornKeys};
use crate::kafka::client::reader_config;
use crate::kafka::log_reader::{LogReader, PATIENCE, ReadError};

/// The keys whose records wait in two partitions.
pub(super) async fn torn_keys(
    config: &Config,
    topic: &str,
    partitions: &[(Partition, PartitionFacts)],
) -> Result<Option<TornKeys>, String> {
    let reader = LogReader::new(reader_config(&config.kafka, &config.name), PATIENCE);
    let spans = partitions.iter().map(|(partition, facts)| {
        let start = facts.database.unwrap_or(facts.low).max(facts.low);
        Span { partition: *partition, start, end: facts.high.max(start) }
    });
    let spans: Vec<Span> = spans.filter(|span| span.start < span.end).collect();
    let topic = topic.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let mut seen = KeysSeen::default();
        reader.read::<ReadError>(&topic, &spans, &mut |record, _| {
            seen.see(record.key.unwrap_or_default(), (record.partition, record.offset));
            Ok(())
        })?;
        Ok::<_, ReadError>(seen.torn())
    });
    let read = reading.await.map_err(|error| error.to_string())?;
    read.map_err(|error| format!("the log can't be read: {error}"))
}
