//! The configuration as it is written, section by section, and the checks that make it valid.

use std::time::Duration;

use serde::Deserialize;
use write_behind_shared::kafka::{KafkaSettings, RESERVED_BY_CONSUMER};

use crate::config::bad_records::BadRecordsFile;
use crate::config::dead_letters::DeadLettersFile;
use crate::config::error::{ConfigError, refuse};
use crate::config::http::HttpFile;
use crate::config::route::{Route, check_routes, unfit_name};
use crate::config::settings::{BatchSettings, Config, DatabaseSettings, session_timeout};
use crate::config::traces::TracesFile;
use crate::config::units::{HumanDuration, HumanSize};
use crate::core::defaults;
use crate::core::memory::MemoryLimits;
use crate::store;

/// How long draining may take, unless the session is too short for it.
const DRAIN_TIME_DEFAULT: Duration = Duration::from_secs(20);
/// The properties that the broker decides when it assigns the partitions, and the setting in its place.
const BY_THE_BROKER: [(&str, &str); 4] = [
    ("session.timeout.ms", "the broker's `group.consumer.session.timeout.ms` says it"),
    ("heartbeat.interval.ms", "the broker's `group.consumer.heartbeat.interval.ms` says it"),
    ("partition.assignment.strategy", "the broker assigns; `group.remote.assignor` chooses how"),
    ("group.protocol.type", "it belongs to the older protocol"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    name: String,
    kafka: toml::Table,
    database: DatabaseFile,
    #[serde(default)]
    batch: BatchFile,
    #[serde(default)]
    route: Vec<Route>,
    #[serde(default)]
    dead_letters: DeadLettersFile,
    #[serde(default)]
    bad_records: BadRecordsFile,
    #[serde(default)]
    memory: MemoryFile,
    #[serde(default)]
    watchdog: WatchdogFile,
    #[serde(default)]
    http: HttpFile,
    #[serde(default)]
    traces: TracesFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseFile {
    url: String,
    connections: Option<usize>,
    rows_per_second: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BatchFile {
    max_rows: usize,
    max_bytes: HumanSize,
    max_age: HumanDuration,
    target_time: HumanDuration,
    drain_time: Option<HumanDuration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MemoryFile {
    buffers: HumanSize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WatchdogFile {
    patience: HumanDuration,
}

impl Default for BatchFile {
    fn default() -> Self {
        Self {
            max_rows: defaults::MAX_ROWS,
            max_bytes: HumanSize(defaults::MAX_BYTES),
            max_age: HumanDuration(defaults::MAX_AGE),
            target_time: HumanDuration(defaults::TARGET_TIME),
            drain_time: None,
        }
    }
}

impl Default for MemoryFile {
    fn default() -> Self {
        Self { buffers: HumanSize(defaults::BUFFERS) }
    }
}

impl Default for WatchdogFile {
    fn default() -> Self {
        Self { patience: HumanDuration(Duration::from_mins(1)) }
    }
}

impl File {
    pub(super) fn check(self) -> Result<Config, ConfigError> {
        if let Some(why) = unfit_name(&self.name) {
            return Err(refuse("name", why));
        }
        let mut properties = Vec::new();
        flatten("", self.kafka, &mut properties)?;
        let kafka = KafkaSettings::new(properties, RESERVED_BY_CONSUMER)?;
        let database = self.database.check()?;
        let batch = self.batch.check(session_timeout(&kafka))?;
        let memory = MemoryLimits(self.memory.buffers.0);
        if memory.0 < batch.max_bytes {
            let why = "is less than `batch.max_bytes`, so a batch could never fill; raise it";
            return Err(refuse("memory.buffers", why));
        }
        check_routes(&self.route)?;
        let dead_letters = self.dead_letters.check(&self.route)?;
        let bad_records = self.bad_records.check()?;
        let patience = self.watchdog.patience.0;
        if patience < Duration::from_secs(1) {
            let why = "is too short to tell a slow fetch from none; set it to 1s or more";
            return Err(refuse("watchdog.patience", why));
        }
        let (http, page) = self.http.check()?;
        let traces = self.traces.check()?;
        let config = Config {
            name: self.name,
            kafka,
            database,
            batch,
            routes: self.route,
            dead_letters,
            bad_records,
            memory,
            patience,
            http,
            page,
            traces,
        };
        if config.has_new_protocol() {
            let set =
                BY_THE_BROKER.iter().find(|(property, _)| config.kafka.get(property).is_some());
            if let Some((property, instead)) = set {
                let why = format!(
                    "can't be set with `group.protocol` = \"consumer\"; remove it: {instead}"
                );
                return Err(refuse(format!("kafka.{property}"), why));
            }
        }
        if batch.drain_time >= config.session_timeout() {
            let why = "must be less than Kafka's `session.timeout.ms`, or a partition is given away \
                       while it is still being written; lower it, or raise the timeout";
            return Err(refuse("batch.drain_time", why));
        }
        Ok(config)
    }
}

/// librdkafka's properties by their dotted names. Without quotes around a name TOML reads its dots as
/// tables. Numbers and booleans need no quotes.
fn flatten(
    prefix: &str,
    table: toml::Table,
    properties: &mut Vec<(String, String)>,
) -> Result<(), ConfigError> {
    for (name, value) in table {
        let name = format!("{prefix}{name}");
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(boolean) => boolean.to_string(),
            toml::Value::Table(inner) => {
                flatten(&format!("{name}."), inner, properties)?;
                continue;
            }
            other => {
                let found = other.type_str();
                let why =
                    format!("is of the type {found}; a property is a text, a number or a boolean");
                return Err(refuse(format!("kafka.{name}"), why));
            }
        };
        properties.push((name, text));
    }
    Ok(())
}

impl DatabaseFile {
    fn check(self) -> Result<DatabaseSettings, ConfigError> {
        let parsed = store::Database::parse(&self.url);
        let target = parsed.map_err(|error| refuse("database.url", error.to_string()))?;
        // SQLite has one writer at a time.
        let default = if self.url.starts_with("sqlite") { 1 } else { 2 };
        let connections = self.connections.unwrap_or(default);
        if connections == 0 {
            return Err(refuse("database.connections", "is 0; set it to 1 or more"));
        }
        if self.rows_per_second == Some(0) {
            let why = "is 0, so nothing would ever be written; remove it or raise it";
            return Err(refuse("database.rows_per_second", why));
        }
        let rows_per_second = self.rows_per_second;
        Ok(DatabaseSettings { target, connections, rows_per_second })
    }
}

impl BatchFile {
    fn check(self, session_timeout: Duration) -> Result<BatchSettings, ConfigError> {
        let drain_time_default = DRAIN_TIME_DEFAULT.min(session_timeout * 2 / 3);
        let batch = BatchSettings {
            max_rows: self.max_rows,
            max_bytes: self.max_bytes.0,
            max_age: self.max_age.0,
            target_time: self.target_time.0,
            drain_time: self.drain_time.map_or(drain_time_default, |span| span.0),
        };
        if batch.max_rows == 0 {
            return Err(refuse("batch.max_rows", "is 0; set it to 1 or more"));
        }
        if batch.max_bytes == 0 {
            return Err(refuse("batch.max_bytes", "is 0; set it to a size such as \"8MiB\""));
        }
        if batch.target_time.is_zero() {
            return Err(refuse("batch.target_time", "is 0; set it to a time such as \"1s\""));
        }
        Ok(batch)
    }
}
