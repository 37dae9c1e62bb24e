//! The configuration: takes TOML and the environment, gives settings that are valid together or says
//! which one is not and how to mend it.
//!
//! `${NAME}` in any text is replaced by the environment variable `NAME`. Every key has a variable
//! of its own, which wins over the file: `WRITE_BEHIND_` and the key's path in capitals with
//! underscores, as in `WRITE_BEHIND_DATABASE_URL`, `WRITE_BEHIND_BATCH_MAX_ROWS`,
//! `WRITE_BEHIND_ROUTE_0_TOPIC`, and `WRITE_BEHIND_KAFKA_BOOTSTRAP_SERVERS` for the librdkafka
//! property `bootstrap.servers`. Lists are separated by commas there.
//!
//! Secrets live in [`store::Database`] and [`KafkaSettings`], which never show them.

pub mod error;
pub mod environment;
pub mod secrets;
pub mod units;
mod file;
pub mod memory;
pub mod route;
mod bad_records;
mod dead_letters;
pub mod transport;

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use write_behind_shared::kafka::KafkaSettings;

use crate::config::environment::Variables;
use crate::config::file::File;
use crate::config::memory::MemoryLimits;
use crate::core::flood::FloodLimits;
use crate::store;

pub use crate::config::dead_letters::DeadLetterSettings;
pub use crate::config::error::ConfigError;
pub use crate::config::route::{OnBadRecord, Route};

/// librdkafka's own default of `session.timeout.ms`, and a broker's of `group.consumer.session.timeout.ms`.
const SESSION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(45);

/// The least that a configuration must say, for tests.
#[cfg(test)]
pub(crate) const LEAST: &str = r#"
name = "scores"
kafka = { "bootstrap.servers" = "localhost:9092" }
database = { url = "sqlite://scores.db" }
[[route]]
topic = "scores"
"#;

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
    /// What records may take, over all partitions.
    pub memory: MemoryLimits,
    /// What becomes of records that were set aside.
    pub dead_letters: DeadLetterSettings,
    /// How long a partition may stand still before the end of its log until it is read anew.
    pub patience: Duration,
    /// Where to serve metrics and health; `None`: nowhere.
    pub http: Option<SocketAddr>,
}

/// The target database.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// Where it is, and how to log in.
    pub target: store::Database,
    /// How many transactions run in parallel.
    pub connections: usize,
    /// At most so many rows are written per second.
    pub rows_per_second: Option<u32>,
}

/// When a batch closes.
#[derive(Clone, Copy, Debug)]
pub struct BatchSettings {
    /// At so many rows of a partition.
    pub max_rows: usize,
    /// At so many bytes of a partition.
    pub max_bytes: usize,
    /// When its oldest record was read so long ago.
    pub max_age: Duration,
    /// How long a transaction should take.
    pub target_time: Duration,
    /// How long what is held may take to be written when a partition is let go or the process
    /// stops; what is not written by then is read again by the next owner.
    pub drain_time: Duration,
}

impl Config {
    /// Reads the configuration `text`; `variables` are the process's environment.
    pub fn read(text: &str, variables: &Variables) -> Result<Self, ConfigError> {
        let unreadable = |error: toml::de::Error| ConfigError::Unreadable(error.to_string());
        let mut table: toml::Table = text.parse().map_err(unreadable)?;
        environment::substitute(&mut table, variables)?;
        environment::override_by(&mut table, variables)?;
        let file = File::deserialize(toml::Value::Table(table)).map_err(unreadable)?;
        file.check()
    }

    /// Whether the group follows the protocol of KIP-848, in which the broker assigns.
    pub fn has_new_protocol(&self) -> bool {
        let protocol = self.kafka.get("group.protocol");
        protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer"))
    }

    /// How long Kafka waits for this consumer's heartbeat. With the new protocol the broker decides,
    /// and this is its default.
    pub fn session_timeout(&self) -> Duration {
        let millis = self.kafka.get("session.timeout.ms").and_then(|text| text.parse().ok());
        millis.map_or(SESSION_TIMEOUT_DEFAULT, Duration::from_millis)
    }
}

#[cfg(test)]
#[path = "tests/config.rs"]
mod tests;
