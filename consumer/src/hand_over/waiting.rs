//! The records that wait in the log, looked through for a key that waits in two partitions. Such a
//! key's records have no order between them; all others are as safe as before partitions were added.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use write_behind_shared::Partition;

use crate::config::Config;
use crate::core::assign::PartitionFacts;
use crate::core::batch::Span;
use crate::kafka::client::reader_config;
use crate::kafka::log_reader::{LogReader, PATIENCE, ReadError};

/// The most characters of a key that are shown.
const SHOWN: usize = 60;

/// A key whose records wait in two partitions, and these. Two keys of one hash count as one, which
/// errs on the safe side.
pub(super) async fn torn_key(
    config: &Config,
    topic: &str,
    partitions: &[(Partition, PartitionFacts)],
) -> Result<Option<(String, Partition, Partition)>, String> {
    let reader = LogReader::new(reader_config(&config.kafka, &config.name), PATIENCE);
    let spans = partitions.iter().map(|(partition, facts)| {
        let start = facts.database.unwrap_or(facts.low).max(facts.low);
        Span { partition: *partition, start, end: facts.high.max(start) }
    });
    let spans: Vec<Span> = spans.filter(|span| span.start < span.end).collect();
    let topic = topic.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let (mut partition_of, mut torn) = (HashMap::new(), None);
        reader.read::<ReadError>(&topic, &spans, &mut |record, _| {
            let key = record.key.unwrap_or_default();
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            match partition_of.entry(hasher.finish()) {
                Entry::Vacant(entry) => {
                    entry.insert(record.partition);
                }
                Entry::Occupied(entry) if *entry.get() != record.partition && torn.is_none() => {
                    let shown = String::from_utf8_lossy(key).chars().take(SHOWN).collect();
                    torn = Some((shown, *entry.get(), record.partition));
                }
                Entry::Occupied(_) => {}
            }
            Ok(())
        })?;
        Ok::<_, ReadError>(torn)
    });
    let read = reading.await.map_err(|error| error.to_string())?;
    read.map_err(|error| format!("the log can't be read: {error}"))
}
