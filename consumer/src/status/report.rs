//! The status report: what `/status` serves and `write-behind status` prints, from a running process
//! or from Kafka and the database.
//!
//! `docs/status.md` describes every field. Within one schema number fields are only added; readers
//! are to ignore those that they do not know. What is not known is null.

use std::ops::Add;

use serde::{Deserialize, Serialize};

/// The schema's number.
pub const SCHEMA: u32 = 1;

/// Where a pipeline stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The schema's number.
    pub schema: u32,
    /// Who was asked.
    pub source: ReportSource,
    /// The pipeline's name.
    pub pipeline: String,
    /// When it was asked, in milliseconds since 1970.
    pub time_ms: u64,
    /// The process that answered; `None`: Kafka and the database did.
    pub process: Option<Process>,
    /// What is wrong now.
    pub troubles: Vec<OutageReport>,
    /// Each route, in the configuration's order.
    pub routes: Vec<RouteReport>,
}

/// Who was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportSource {
    /// A running consumer: it knows its own partitions.
    Process,
    /// Kafka and the database: they know all partitions, whoever reads them, if anyone does.
    KafkaAndDatabase,
}

/// A running consumer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its version.
    pub version: String,
    /// For how long it has run.
    pub uptime_seconds: u64,
    /// `starting`, `running`, `draining` or `stopped`.
    pub state: String,
    /// Why it is not ready: nothing, if it is.
    pub not_ready: Vec<String>,
    /// Whether it is a member of its group, with its part of the partitions.
    pub in_group: bool,
    /// How many partitions it has.
    pub partitions: usize,
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
    /// Of the whole process; `None`: the system does not tell.
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
    /// `high`, `normal` or `low`.
    pub priority: String,
    /// `running`, `failing` (it is tried again), `stopped` (a person must act) or `unknown`.
    pub state: String,
    /// `idle`, `filling`, `waiting` (for a worker, or its turn), `throttled` or `writing`.
    pub doing: Option<String>,
    /// What is wrong with it now.
    pub error: Option<String>,
    /// What was wrong with it last.
    pub last_error: Option<LastError>,
    /// Records that are in the database since the process started.
    pub records_written: Option<u64>,
    /// Rows that they became.
    pub rows_written: Option<u64>,
    /// Records set aside since the process started; from Kafka and the database: those still open.
    pub dead_letters: Option<u64>,
    /// Rows that a batch should have to take the target time.
    pub target_rows: Option<usize>,
    /// How many records became one row, since the process started.
    pub fold: Option<f64>,
    /// Its pace and its lag, over its partitions.
    #[serde(flatten)]
    pub flow: Flow,
    /// Its partitions.
    pub partitions: Vec<PartitionReport>,
}

/// Something that was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// What it said.
    pub message: String,
    /// When it was seen last, in milliseconds since 1970.
    pub time_ms: u64,
}

/// Pace and lag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Records in the log that are not in the database.
    pub lag_records: Option<u64>,
    /// Age of the oldest record that was read and is not in the database.
    pub lag_seconds: Option<f64>,
    /// Records read per second, over the last seconds.
    pub records_per_second: Option<f64>,
    /// Of a route: rows written per second, over the last seconds.
    pub rows_per_second: Option<f64>,
    /// Rows held that are not written yet.
    pub buffer_rows: Option<usize>,
    /// Bytes of them.
    pub buffer_bytes: Option<usize>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionReport {
    /// Its number.
    pub partition: i32,
    /// `locating`, `reading`, `paused`, `revoking`, `stopped` or `unknown`.
    pub state: String,
    /// Why it is not located.
    pub error: Option<String>,
    /// The end of the log.
    pub log_end: Option<i64>,
    /// The next offset to read.
    pub read_offset: Option<i64>,
    /// Everything below is in the database.
    pub database_offset: Option<i64>,
    /// What Kafka was told of that.
    pub committed_offset: Option<i64>,
    /// Its pace and its lag.
    #[serde(flatten)]
    pub flow: Flow,
}

impl Flow {
    /// The whole of several parts: sums, and the age of the oldest. What no part knows is unknown.
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
