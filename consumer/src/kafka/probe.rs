//! A second opinion on a partition: whether another client finds a record from an offset on.

use rdkafka::config::ClientConfig;
use write_behind_shared::{NextOffset, Partition};

use crate::core::batch::Span;
use crate::core::pipeline::watchdog::ProbeResult;
use crate::kafka::client::ANSWER_WITHIN;
use crate::kafka::log_reader::{LogReader, ReadError};

/// How a probe ends before the end of the log.
enum Stop {
    Found,
    Failed(ReadError),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Stop::Failed(error)
    }
}

/// Reads one record of the partition from `next` on, with a new client. Blocks until there is one,
/// the end of the log is reached, or the time for an answer is over. `config` is that of a client
/// that reads records.
pub(super) fn probe(
    mut config: ClientConfig,
    topic: &str,
    partition: Partition,
    next: NextOffset,
) -> Result<ProbeResult, ReadError> {
    // One record is enough.
    config.set("queued.min.messages", "1");
    config.set("queued.max.messages.kbytes", "1024");
    let reader = LogReader::new(config, ANSWER_WITHIN);
    let (_, end) = reader.ends(topic, partition)?;
    let span = Span { partition, start: next, end };
    match reader.read(topic, &[span], &mut |_, _| Err(Stop::Found)) {
        Err(Stop::Found) => Ok(ProbeResult::Record),
        Ok(()) => Ok(ProbeResult::NothingBelow(end)),
        Err(Stop::Failed(error)) => Err(error),
    }
}
