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
pub mod units;

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use write_behind_shared::kafka::{KafkaSettings, RESERVED_BY_CONSUMER};

use crate::config::environment::Variables;
use crate::config::error::refuse;

pub use crate::config::error::ConfigError;
use crate::config::units::{Size, Span};
use crate::store;

/// librdkafka's own default of `session.timeout.ms`.
const SESSION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(45);

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pipeline's name, which is also the consumer group's.
    pub name: String,
    /// How to reach Kafka.
    pub kafka: KafkaSettings,
    /// How to reach the database, and how much to ask of it.
    pub database: Database,
    /// When a batch closes.
    pub batch: Batch,
    /// Which topic goes to which table.
    pub routes: Vec<Route>,
    /// Bytes of records held at most, over all partitions.
    pub memory_buffers: usize,
    /// Where to serve metrics and health; `None`: nowhere.
    pub http: Option<SocketAddr>,
}

/// The target database.
#[derive(Clone, Debug)]
pub struct Database {
    /// Where it is, and how to log in.
    pub target: store::Database,
    /// How many transactions run in parallel.
    pub connections: usize,
    /// At most so many rows are written per second.
    pub rows_per_second: Option<u32>,
}

/// When a batch closes.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
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

/// A topic and its table.
#[derive(Clone, Debug)]
pub struct Route {
    /// The topic.
    pub topic: String,
    /// The table.
    pub table: String,
    /// The key columns; empty: the primary key.
    pub key: Vec<String>,
    /// The columns a record may name beside the key; `None`: all.
    pub columns: Option<Vec<String>>,
    /// What happens to a record that cannot be applied.
    pub on_bad_record: OnBadRecord,
}

/// What happens to a record that cannot be applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnBadRecord {
    /// It is set aside in the dead-letter table, and the ones after it are applied.
    #[default]
    DeadLetter,
    /// The consumer stops before it.
    Stop,
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

    /// How long Kafka waits for this consumer's heartbeat.
    pub fn session_timeout(&self) -> Duration {
        let millis = self.kafka.get("session.timeout.ms").and_then(|text| text.parse().ok());
        millis.map_or(SESSION_TIMEOUT_DEFAULT, Duration::from_millis)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    kafka: toml::Table,
    database: DatabaseFile,
    #[serde(default)]
    batch: BatchFile,
    #[serde(default)]
    route: Vec<RouteFile>,
    #[serde(default)]
    memory: MemoryFile,
    #[serde(default)]
    http: HttpFile,
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
    max_bytes: Size,
    max_age: Span,
    target_time: Span,
    drain_time: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteFile {
    topic: String,
    table: Option<String>,
    #[serde(default)]
    key: Vec<String>,
    columns: Option<Vec<String>>,
    priority: Option<String>,
    version: Option<String>,
    #[serde(default)]
    on_bad_record: OnBadRecord,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MemoryFile {
    buffers: Size,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpFile {
    listen: String,
}

impl Default for BatchFile {
    fn default() -> Self {
        Self {
            max_rows: 10_000,
            max_bytes: Size(8 << 20),
            max_age: Span(Duration::from_millis(200)),
            target_time: Span(Duration::from_secs(1)),
            drain_time: Span(Duration::from_secs(20)),
        }
    }
}

impl Default for MemoryFile {
    fn default() -> Self {
        Self { buffers: Size(256 << 20) }
    }
}

impl Default for HttpFile {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9464".to_owned() }
    }
}

impl File {
    fn check(self) -> Result<Config, ConfigError> {
        if self.name.trim().is_empty() {
            return Err(refuse("name", "is empty; it names the pipeline and its consumer group"));
        }
        let mut properties = Vec::new();
        flatten("", self.kafka, &mut properties)?;
        let kafka = KafkaSettings::new(properties, RESERVED_BY_CONSUMER)?;
        let database = self.database.check()?;
        let batch = self.batch.check()?;
        let memory_buffers = self.memory.buffers.0;
        if memory_buffers < batch.max_bytes {
            let why = "is less than `batch.max_bytes`, so a batch could never fill; raise it";
            return Err(refuse("memory.buffers", why));
        }
        let routes = check_routes(self.route)?;
        let http = self.http.check()?;
        let config =
            Config { name: self.name, kafka, database, batch, routes, memory_buffers, http };
        if batch.drain_time >= config.session_timeout() {
            let why = "must be less than Kafka's `session.timeout.ms`, or a partition is given away \
                       while it is still being written; lower it, or raise the timeout";
            return Err(refuse("batch.drain_time", why));
        }
        Ok(config)
    }
}

/// librdkafka's properties by their dotted names, whether TOML read the dots as part of the name or,
/// where it is not quoted, as tables. Numbers and booleans may stand without quotes.
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
                let why = format!("is {other}, but a property is a text, a number or a boolean");
                return Err(refuse(format!("kafka.{name}"), why));
            }
        };
        properties.push((name, text));
    }
    Ok(())
}

impl DatabaseFile {
    fn check(self) -> Result<Database, ConfigError> {
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
        Ok(Database { target, connections, rows_per_second })
    }
}

impl BatchFile {
    fn check(self) -> Result<Batch, ConfigError> {
        let batch = Batch {
            max_rows: self.max_rows,
            max_bytes: self.max_bytes.0,
            max_age: self.max_age.0,
            target_time: self.target_time.0,
            drain_time: self.drain_time.0,
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

impl HttpFile {
    fn check(self) -> Result<Option<SocketAddr>, ConfigError> {
        if self.listen == "off" {
            return Ok(None);
        }
        let why = "must be an address such as \"127.0.0.1:9464\", or \"off\"";
        self.listen.parse().map(Some).map_err(|_| refuse("http.listen", why))
    }
}

fn check_routes(files: Vec<RouteFile>) -> Result<Vec<Route>, ConfigError> {
    if files.is_empty() {
        return Err(refuse("route", "is missing; add a [[route]] with the topic to read"));
    }
    let mut routes: Vec<Route> = Vec::with_capacity(files.len());
    for (place, file) in files.into_iter().enumerate() {
        let setting = |name| format!("route[{place}].{name}");
        if routes.iter().any(|route| route.topic == file.topic) {
            let why = "names a topic that another route reads already; a topic has one route";
            return Err(refuse(setting("topic"), why));
        }
        if file.topic.trim().is_empty() {
            return Err(refuse(setting("topic"), "is empty; set it to the topic's name"));
        }
        if file.version.is_some() {
            return Err(refuse(setting("version"), "is not supported yet; remove it"));
        }
        if file.priority.is_some_and(|priority| priority != "normal") {
            return Err(refuse(setting("priority"), "other than \"normal\" is not supported yet"));
        }
        if file.columns.as_ref().is_some_and(Vec::is_empty) {
            let why = "is empty, so no record could be applied; remove it or name columns";
            return Err(refuse(setting("columns"), why));
        }
        routes.push(Route {
            table: file.table.unwrap_or_else(|| file.topic.clone()),
            topic: file.topic,
            key: file.key,
            columns: file.columns,
            on_bad_record: file.on_bad_record,
        });
    }
    Ok(routes)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
