//! What our Kafka clients have in common: their properties, their quiet context, and the reasons
//! why a question has no answer.

use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use write_behind_shared::Partition;
use write_behind_shared::kafka::KafkaSettings;

use crate::kafka::failures::ConnectionFailures;

/// How long to wait for the answer to one question.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What the group notes beside an offset of a partition whose offset was adopted, now or before.
pub(crate) const ADOPTED: &str = "write-behind: adopted";

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// No broker answered; it may later.
    #[error("Kafka does not answer: {0}")]
    Unreachable(String),
    /// There is no such topic.
    #[error(
        "the topic {0:?} does not exist; create it, with the number of partitions it is to keep"
    )]
    NoTopic(String),
    /// A partition has no leader at the moment.
    #[error("partition {1} of {0} has no leader; a broker that has a copy of it must come back")]
    NoLeader(String, Partition),
    /// It is unknown whether the group has members.
    #[error(
        "the group {0} was assigned by the broker (group.protocol=consumer) and has committed nothing, \
         so it can't be found out whether it has members: end its consumers, and try again once \
         `kafka-groups.sh --list` does not show it any more"
    )]
    MembersUnknown(String),
}

/// Properties that no setting overrides; `RESERVED_BY_CONSUMER` says why.
const FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("allow.auto.create.topics", "false"),
];

/// The properties of a client that reads no records.
pub(crate) fn client_config(settings: &KafkaSettings, group: &str) -> ClientConfig {
    let mut config: ClientConfig = settings.with(&[], FIXED).collect();
    // librdkafka wants a group even of a consumer that joins none.
    config.set("group.id", group);
    config
}

/// The properties of a client that reads records: it skips nothing, and reads nothing aborted or
/// damaged.
pub(crate) fn reader_config(settings: &KafkaSettings, group: &str) -> ClientConfig {
    let mut config = client_config(settings, group);
    config.set("auto.offset.reset", "error");
    config.set("isolation.level", "read_committed");
    config.set("check.crcs", "true");
    config
}

/// A context that logs at debug level: what matters comes back as an error. Only why a connection
/// fails comes nowhere else, so it is kept.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    pub(super) failures: ConnectionFailures,
}

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        self.failures.note(&error, reason);
    }
}

impl ConsumerContext for Quiet {}
