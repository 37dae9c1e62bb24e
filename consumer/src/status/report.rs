//! The status report: what `/status` serves and `write-behind status` prints, from a running process
//! or from Kafka and the database.
//!
//! `docs/status.md` describes every field. Within one schema number fields are only added; readers
//! ignore those that they do not know. Unknown values are null.

use std::ops::Add;

use serde::{Deserialize, Serialize};

use crate::config::Route;
use crate::core::pipeline::action::Doing;
use crate::core::pipeline::schedule::Priority;
use crate::status::health::Phase;

/// The schema's number.
pub const SCHEMA: u32 = 1;

/// The state of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The schema's number.
    pub schema: u32,
    /// Who answered.
    pub source: ReportSource,
    /// The pipeline's name.
    pub pipeline: String,
    /// When the report was made, in milliseconds since 1970.
    pub time_ms: u64,
    /// The process that answered; `None`: Kafka and the database did.
    pub process: Option<Process>,
    /// What is wrong now.
    pub troubles: Vec<OutageReport>,
    /// Each route, in the configuration's order.
    pub routes: Vec<RouteReport>,
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportSource {
    /// A running consumer: it knows its own partitions.
    Process,
    /// Kafka and the database: they know all partitions, read or not.
    KafkaAndDatabase,
}

/// A running consumer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its version.
    pub version: String,
    /// The commit that it was built from; empty: not known.
    #[serde(default)]
    pub commit: String,
    /// How long it has been running.
    pub uptime_seconds: u64,
    /// The phase of its life.
    pub state: Phase,
    /// Why it is not ready; empty if it is.
    pub not_ready: Vec<String>,
    /// Whether it is a member of its group and has an assignment.
    pub in_group: bool,
    /// How many partitions it has.
    pub partitions: usize,
    /// The brokers that it was told of: `bootstrap.servers`.
    #[serde(default)]
    pub brokers: String,
    /// The database that it writes to, without user and password.
    #[serde(default)]
    pub database: String,
    /// Whether dead letters can be replayed and discarded on its page: `http.actions`.
    #[serde(default)]
    pub actions: bool,
    /// Its memory.
    pub memory: MemoryReport,
}

/// A process's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReport {
    /// Held by buffers and batches.
    pub held_bytes: usize,
    /// What they may hold: `memory.buffers`.
    pub limit_bytes: usize,
    /// Of the whole process; `None`: the system does not say.
    pub resident_bytes: Option<u64>,
}

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutageReport {
    /// What it is about: `kafka`, `the database`, or `topic` and its name.
    pub about: String,
    /// What the last failure said.
    pub message: String,
    /// When it began, in milliseconds since 1970.
    pub since_ms: u64,
    /// How many attempts failed.
    pub attempts: u64,
}

/// A topic and its table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteReport {
    /// The topic.
    pub topic: String,
    /// The table.
    pub table: String,
    /// Its share of the database.
    pub priority: Priority,
    /// Whether its records can be written.
    pub state: RouteStatus,
    /// What it is doing.
    pub doing: Option<Doing>,
    /// What is wrong with it now.
    pub error: Option<String>,
    /// Its last error, over or not.
    pub last_error: Option<LastError>,
    /// Records written to the database since the process started.
    pub records_written: Option<u64>,
    /// Rows that these became.
    pub rows_written: Option<u64>,
    /// Records set aside since the process started.
    pub dead_letters: Option<u64>,
    /// Open dead letters in the database, counted every ten seconds.
    #[serde(default)]
    pub open_dead_letters: Option<u64>,
    /// How many rows a batch should have to take the target time.
    pub target_rows: Option<usize>,
    /// How many records became one row, on average.
    pub fold: Option<f64>,
    /// The rates and the lag of all its partitions.
    #[serde(flatten)]
    pub flow: Flow,
    /// How many partitions the topic has, read here or elsewhere.
    #[serde(default)]
    pub topic_partitions: Option<usize>,
    /// Its partitions.
    pub partitions: Vec<PartitionReport>,
}

/// Whether a route's records can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteStatus {
    /// They can.
    Running,
    /// They can't, and the consumer tries again.
    Failing,
    /// They can't until a person acts.
    Stopped,
    /// No process says; also a state that a later version has added.
    #[serde(other)]
    Unknown,
}

/// An error that may be over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// What it said.
    pub message: String,
    /// When it last occurred, in milliseconds since 1970.
    pub time_ms: u64,
}

/// Rates and lag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Records in the log that are not in the database.
    pub lag_records: Option<u64>,
    /// Age of the oldest record that was read and is not in the database.
    pub lag_seconds: Option<f64>,
    /// Records read per second, over the last five seconds.
    pub records_per_second: Option<f64>,
    /// Of a route: rows written per second, over the last five seconds.
    pub rows_per_second: Option<f64>,
    /// Rows in open buffers.
    pub buffer_rows: Option<usize>,
    /// Bytes of them.
    pub buffer_bytes: Option<usize>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionReport {
    /// Its number.
    pub partition: i32,
    /// What the consumer does with it.
    pub state: PartitionStatus,
    /// Why it could not be located, or what it waits for.
    pub error: Option<String>,
    /// The end of the log.
    pub log_end: Option<i64>,
    /// The next offset to read.
    pub read_offset: Option<i64>,
    /// Everything below is in the database.
    pub database_offset: Option<i64>,
    /// What is committed to Kafka of that.
    pub committed_offset: Option<i64>,
    /// Its rates and its lag.
    #[serde(flatten)]
    pub flow: Flow,
}

/// What a consumer does with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionStatus {
    /// It asks for the offset to read from.
    Locating,
    /// It reads it.
    Reading,
    /// It does not fetch more of it for now, because its buffer is full.
    Paused,
    /// It writes what it holds of it, and lets it go.
    Revoking,
    /// What it holds can't be written for now, and is tried again: the error says why.
    Waiting,
    /// Its route is stopped.
    Stopped,
    /// No process says; also a state that a later version has added.
    #[serde(other)]
    Unknown,
}

impl Process {
    /// Its version, and the commit that tells apart what has the same one.
    pub(crate) fn version_told(&self) -> String {
        if self.commit.is_empty() {
            return self.version.clone();
        }
        format!("{} ({})", self.version, self.commit)
    }
}

impl RouteReport {
    /// A route of which no more is known than its partitions.
    pub(crate) fn of(route: &Route, partitions: Vec<PartitionReport>) -> Self {
        Self {
            topic: route.topic.clone(),
            table: route.table.clone(),
            priority: route.priority,
            state: RouteStatus::Unknown,
            doing: None,
            error: None,
            last_error: None,
            records_written: None,
            rows_written: None,
            dead_letters: None,
            open_dead_letters: None,
            target_rows: None,
            fold: None,
            flow: Flow::over(partitions.iter().map(|partition| &partition.flow)),
            topic_partitions: None,
            partitions,
        }
    }
}

impl StatusReport {
    /// How many partitions the process has, and of how many if that is more.
    pub(crate) fn partitions_told(&self, own: usize) -> String {
        let all: Option<usize> = self.routes.iter().map(|route| route.topic_partitions).sum();
        match all.filter(|all| *all > own) {
            Some(all) => format!("{own} of {all} partitions"),
            None if own == 1 => "1 partition".to_owned(),
            None => format!("{own} partitions"),
        }
    }
}

impl Flow {
    /// The sums of several flows, and the age of the oldest. What none of them knows is unknown.
    pub fn over<'a>(parts: impl Iterator<Item = &'a Flow> + Clone) -> Self {
        let ages = parts.clone().filter_map(|part| part.lag_seconds);
        Self {
            lag_records: total(parts.clone().map(|part| part.lag_records)),
            lag_seconds: ages.reduce(f64::max),
            records_per_second: total(parts.clone().map(|part| part.records_per_second)),
            rows_per_second: total(parts.clone().map(|part| part.rows_per_second)),
            buffer_rows: total(parts.clone().map(|part| part.buffer_rows)),
            buffer_bytes: total(parts.map(|part| part.buffer_bytes)),
        }
    }
}

/// The sum of what is known; `None`: nothing is.
fn total<T: Add<Output = T>>(parts: impl Iterator<Item = Option<T>>) -> Option<T> {
    parts.flatten().reduce(T::add)
}
