//! The producer's metrics; [`Builder::metrics`](crate::Builder::metrics) lists them for users.
//!
//! Accepting a write costs about a microsecond, and reading the clock twice is a good part of that,
//! so only every 64th write of a thread is timed; and what the partitions show is read off them,
//! ten times a second, by the polling thread.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use prometheus::core::{AtomicF64, GenericGauge};
use prometheus::{Gauge, Histogram, IntCounter, IntGauge, Registry};
use write_behind_shared::metrics::{Register, Registration};

use crate::error::{BuildError, WriteError};
use crate::partitions::partition::Stats;

/// The counters of one handle.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) reads: IntCounter,
    pub(crate) hits_pending: IntCounter,
    pub(crate) hits_cache: IntCounter,
    pub(crate) misses: IntCounter,
    pub(crate) loads: IntCounter,
    writes: IntCounter,
    refused: IntCounter,
    overloaded: IntCounter,
    coalesced: IntCounter,
    forgotten: IntCounter,
    followed: IntCounter,
    dead_letters: IntCounter,
    lost: IntCounter,
    pending_rows: IntGauge,
    pending_bytes: IntGauge,
    in_flight: IntGauge,
    held: IntGauge,
    replicated_lag: GenericGauge<AtomicF64>,
    persisted_lag: GenericGauge<AtomicF64>,
    write_seconds: Histogram,
    client_errors: IntCounter,
    client_failures: IntCounter,
    watch_errors: IntCounter,
    follow_lag: IntGauge,
    counting: Mutex<()>,
}

/// One in this many writes of a thread is timed.
const SAMPLE: u32 = 64;

impl Metrics {
    /// Registers all on `registry`, until the registration is dropped; or nothing.
    pub(crate) fn new(
        registry: &Registry,
        topic: &str,
    ) -> Result<(Self, Registration), BuildError> {
        let register = Register::new(registry, "write_behind_producer").label("topic", topic);
        let metrics = Self::register(&register);
        let registration = register.registration();
        match metrics {
            Ok(metrics) => Ok((metrics, registration)),
            Err(prometheus::Error::AlreadyReg) => Err(BuildError::MetricsTaken(topic.to_owned())),
            Err(error) => Err(BuildError::Metrics(error)),
        }
    }

    fn register(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        let counter = |name, help| register.counter(name, help);
        let gauge = |name, help| register.gauge(name, help);
        let seconds = |name, help| register.with(name, help, Gauge::with_opts);
        Ok(Self {
            writes: counter("writes_total", "Writes accepted.")?,
            refused: counter("refused_total", "Writes refused for what they are.")?,
            overloaded: counter("overloaded_total", "Writes that found no room.")?,
            coalesced: counter("coalesced_total", "Writes that went with an earlier one.")?,
            forgotten: counter("forgotten_total", "Rows dropped from memory to make room.")?,
            followed: counter("followed_total", "Records of others read from the log.")?,
            dead_letters: counter("dead_letters_total", "Writes that the database refused.")?,
            lost: counter("lost_total", "Accepted writes that failed or are unknown.")?,
            reads: counter("reads_total", "Reads.")?,
            hits_pending: counter("hits_pending_total", "Reads answered by pending writes.")?,
            hits_cache: counter("hits_clean_total", "Reads answered by the cache.")?,
            misses: counter("misses_total", "Reads that needed the loader or found nothing.")?,
            loads: counter("loads_total", "Loads begun.")?,
            pending_rows: gauge("pending_rows", "Rows not yet in the database.")?,
            pending_bytes: gauge("pending_bytes", "Memory taken by pending writes.")?,
            in_flight: gauge("in_flight", "Writes that Kafka has not answered.")?,
            held: gauge("held_partitions", "Partitions whose writes Kafka does not take now.")?,
            replicated_lag: seconds(
                "replicated_lag_seconds",
                "Age of the oldest write that Kafka has not answered.",
            )?,
            persisted_lag: seconds(
                "persisted_lag_seconds",
                "Age of the oldest write that is not in the database.",
            )?,
            write_seconds: register
                .latency("write_seconds", "Time until a write is accepted, every 64th.")?,
            client_errors: counter("client_errors_total", "Errors of the Kafka client.")?,
            client_failures: counter(
                "client_failures_total",
                "Kafka clients that failed for good and were replaced.",
            )?,
            watch_errors: counter("watch_errors_total", "Failed looks at the sink group.")?,
            follow_lag: gauge("follow_lag_records", "Records in the log that were not read.")?,
            counting: Mutex::default(),
        })
    }

    /// The moment, for every 64th write of this thread.
    pub(crate) fn sampled_start() -> Option<Instant> {
        thread_local!(static WRITES: Cell<u32> = const { Cell::new(0) });
        let count = WRITES.get().wrapping_add(1);
        WRITES.set(count);
        count.is_multiple_of(SAMPLE).then(Instant::now)
    }

    /// How a write was answered that began at `start`.
    pub(crate) fn written<T>(&self, start: Option<Instant>, result: &Result<T, WriteError>) {
        match result {
            Ok(_) => {
                if let Some(start) = start {
                    self.write_seconds.observe(start.elapsed().as_secs_f64());
                }
            }
            Err(WriteError::Refused(_)) => self.refused.inc(),
            Err(WriteError::Overloaded(_)) => self.overloaded.inc(),
            Err(WriteError::NoRoomInTime | WriteError::Closed | WriteError::Halted(_)) => {}
        }
    }

    pub(crate) fn client_error(&self) {
        self.client_errors.inc();
    }

    pub(crate) fn client_failed(&self) {
        self.client_failures.inc();
    }

    pub(crate) fn watch_error(&self) {
        self.watch_errors.inc();
    }

    pub(crate) fn follow_lag(&self, records: u64) {
        self.follow_lag.set(records as i64);
    }

    /// What all partitions show.
    pub(crate) fn measured(&self, stats: &Stats) {
        // One at a time: two threads that add the same difference would count it twice.
        let _counting = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
        for (counter, now) in [
            (&self.writes, stats.accepted + stats.coalesced),
            (&self.coalesced, stats.coalesced),
            (&self.forgotten, stats.forgotten),
            (&self.followed, stats.followed),
            (&self.dead_letters, stats.dead_letters),
            (&self.lost, stats.lost),
        ] {
            counter.inc_by(now.saturating_sub(counter.get()));
        }
        self.pending_rows.set(stats.rows as i64);
        self.pending_bytes.set(stats.bytes as i64);
        self.in_flight.set(stats.in_flight as i64);
        self.held.set(stats.held as i64);
        self.replicated_lag.set(stats.replicated_lag.as_secs_f64());
        self.persisted_lag.set(stats.persisted_lag.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use write_behind_shared::metrics::render;

    #[test]
    fn every_metric_stands_in_the_table_for_users_and_the_other_way_round() {
        let registry = Registry::new();
        let _metrics = Metrics::new(&registry, "scores").unwrap();
        let text = render(&registry).unwrap();
        let mut registered: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# HELP write_behind_producer_"))
            .filter_map(|rest| rest.split(' ').next())
            .collect();
        let mut listed: Vec<&str> = include_str!("builder/mod.rs")
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("/// | `"))
            .filter_map(|rest| rest.split('`').next())
            .filter(|name| !name.starts_with("write_behind"))
            .collect();
        registered.sort_unstable();
        listed.sort_unstable();
        assert_eq!(registered, listed);
    }
}
