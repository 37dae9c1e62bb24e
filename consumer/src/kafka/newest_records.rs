//! The newest records of a topic, looked at without being applied: whether they can be read at all,
//! what they say, and whether they lie in the partitions of their keys.

use rdkafka::config::ClientConfig;
use write_behind_shared::partition::partition_of;
use write_behind_shared::{NextOffset, Offset, Partition};

use crate::core::batch::Span;
use crate::core::pipeline::heap_size;
use crate::core::record::RawRecord;
use crate::kafka::client::{ANSWER_WITHIN, BrokerError};
use crate::kafka::log_reader::LogReader;

/// How many offsets before the end are looked at: a few of them may be transaction markers.
const LOOK_BACK: i64 = 10;

/// The most bytes of records that are kept to be judged, beside one more record.
const BYTES_MAX: usize = 16 << 20;

/// What was seen of a topic's newest records.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct NewestRecords {
    /// How many there were.
    pub(crate) seen: usize,
    /// Themselves, if they do not take too much memory.
    pub(crate) records: Vec<RawRecord>,
    /// Those in another partition than their key's: where each lies, and where it belongs.
    pub(crate) misplaced: Vec<(Partition, Offset, Partition)>,
    /// The partitions that could not be read in time.
    pub(crate) unread: Vec<Partition>,
}

/// Reads the newest records of each partition, with a new client. `config` is that of a client that
/// reads records. Blocks.
pub(super) fn newest_records(
    config: ClientConfig,
    topic: &str,
    partitions: i32,
) -> Result<NewestRecords, BrokerError> {
    let reader = LogReader::new(config, ANSWER_WITHIN);
    let (mut found, mut spans) = (NewestRecords::default(), Vec::new());
    for partition in (0..partitions).map(Partition) {
        match reader.ends(topic, partition) {
            Ok((low, end)) => {
                let start = low.max(NextOffset(end.0 - LOOK_BACK));
                spans.push(Span { partition, start, end });
            }
            Err(_) => found.unread.push(partition),
        }
    }
    let mut bytes = 0;
    let unread = reader.read_best_effort(topic, &spans, &mut |record| {
        found.seen += 1;
        if bytes < BYTES_MAX {
            let kept = RawRecord::from(record);
            bytes += heap_size::of_record(&kept);
            found.records.push(kept);
        }
        let belongs_to = record.key.map(|key| partition_of(key, partitions));
        if let Some(belongs_to) = belongs_to.filter(|belongs_to| *belongs_to != record.partition) {
            found.misplaced.push((record.partition, record.offset, belongs_to));
        }
    });
    found.unread.extend(unread.map_err(|error| BrokerError::Unreachable(error.to_string()))?);
    Ok(found)
}
