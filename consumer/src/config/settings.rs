//! The settings that the consumer runs with: complete, and valid together.

use std::net::SocketAddr;
use std::time::Duration;

use write_behind_shared::kafka::KafkaSettings;

use crate::config::dead_letters::DeadLetterSettings;
use crate::config::http::HttpSettings;
use crate::config::route::Route;
use crate::config::traces::TraceSettings;
use crate::core::flood::FloodLimits;
use crate::core::memory::MemoryLimits;
use crate::store;

/// librdkafka's own default of `session.timeout.ms`, and a broker's of `group.consumer.session.timeout.ms`.
const SESSION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(45);

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pipeline's name, which is also the consumer group's.
    pub name: String,
    /// How to reach Kafka.
    pub kafka: KafkaSettings,
    /// How to reach the database, and how much to ask of it.
    pub database: DatabaseSettings,
    /// When a batch closes.
    pub batch: BatchSettings,
    /// Which topic goes to which table.
    pub routes: Vec<Route>,
    /// How many bad records a route sets aside before it stops.
    pub bad_records: FloodLimits,
    /// The memory that records may take, over all partitions.
    pub memory: MemoryLimits,
    /// What becomes of records that were set aside.
    pub dead_letters: DeadLetterSettings,
    /// How long a partition may make no progress before the end of its log until it is read again.
    pub patience: Duration,
    /// Where to serve metrics and health; `None`: nowhere.
    pub http: Option<SocketAddr>,
    /// What the page may do, and where the other members are.
    pub page: HttpSettings,
    /// Where spans of traced records are sent; `None`: nowhere.
    pub traces: Option<TraceSettings>,
}

/// The target database.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// Where it is, and how to log in.
    pub target: store::Database,
    /// How many transactions run in parallel.
    pub connections: usize,
    /// How many rows are written per second at most.
    pub rows_per_second: Option<u32>,
}

/// When a batch closes.
#[derive(Clone, Copy, Debug)]
pub struct BatchSettings {
    /// When it has this many rows of a partition.
    pub max_rows: usize,
    /// When it has this many bytes of a partition.
    pub max_bytes: usize,
    /// When its oldest record was read this long ago; sooner while the database has little to do.
    pub max_age: Duration,
    /// How long a transaction should take.
    pub target_time: Duration,
    /// How long writing what is held may take when a partition is revoked or the process stops; the
    /// next owner reads the rest again.
    pub drain_time: Duration,
}

impl Config {
    /// Whether the group follows the protocol of KIP-848, in which the broker assigns.
    pub fn has_new_protocol(&self) -> bool {
        let protocol = self.kafka.get("group.protocol");
        protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer"))
    }

    /// How long Kafka waits for this consumer's heartbeat. With the new protocol the broker decides,
    /// and this is its default.
    pub fn session_timeout(&self) -> Duration {
        session_timeout(&self.kafka)
    }
}

pub(super) fn session_timeout(kafka: &KafkaSettings) -> Duration {
    let millis = kafka.get("session.timeout.ms").and_then(|text| text.parse().ok());
    millis.map_or(SESSION_TIMEOUT_DEFAULT, Duration::from_millis)
}
