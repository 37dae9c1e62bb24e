//! The producer's metrics; [`Builder::metrics`](crate::Builder::metrics) lists them for users.
//!
//! Accepting a write costs about a microsecond, and reading the clock twice is a good part of that,
//! so only every 64th write of a thread is timed; and what the partitions show is read off them,
//! ten times a second, by the polling thread.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::core::{AtomicF64, GenericGauge};
use prometheus::{Counter, Gauge, Histogram, IntCounter, IntGauge, Registry};
use write_behind_shared::metrics::{Register, Registration};

use crate::core::stats::Stats;
use crate::core::usage::Full;
use crate::error::{BuildError, WriteError};
use crate::partitions::Partitions;
use crate::partitions::admission::Limit;

/// The counters of one handle.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) reads: IntCounter,
    pub(crate) hits_pending: IntCounter,
    pub(crate) hits_cache: IntCounter,
    pub(crate) misses: IntCounter,
    pub(crate) loads: IntCounter,
    pub(crate) load_failures: IntCounter,
    pub(crate) load_seconds: Histogram,
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
    in_flight_bytes: IntGauge,
    waiting: IntGauge,
    held: IntGauge,
    limits: [Gauge; Full::ALL.len()],
    replicated_lag: GenericGauge<AtomicF64>,
    persisted_lag: GenericGauge<AtomicF64>,
    write_seconds: Histogram,
    replicated_seconds: Histogram,
    client_errors: IntCounter,
    client_failures: IntCounter,
    watch_errors: IntCounter,
    follow_lag: IntGauge,
    journal: JournalMetrics,
    counting: Mutex<()>,
}

/// What a journal shows; nothing without one.
#[derive(Debug)]
struct JournalMetrics {
    bytes: IntGauge,
    oldest: Gauge,
    batches: IntCounter,
    writing: Counter,
    cut_bytes: IntGauge,
    replayed: IntCounter,
}

impl JournalMetrics {
    fn register(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            bytes: register.gauge("journal_bytes", "What the journal has of its disk.")?,
            oldest: register.with(
                "journal_oldest_seconds",
                "Age of the journal's oldest write that Kafka may not have.",
                Gauge::with_opts,
            )?,
            batches: register
                .counter("journal_batches_total", "Batches written to the journal.")?,
            writing: register.with(
                "journal_writing_seconds_total",
                "Time that these took, syncs included.",
                Counter::with_opts,
            )?,
            cut_bytes: register.gauge("journal_cut_bytes", "Cut from the journal's end.")?,
            replayed: register
                .counter("replayed_total", "Writes that the journal held at the start.")?,
        })
    }
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
            Err(error) => Err(BuildError::Metrics(error.into())),
        }
    }

    fn register(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        let counter = |name, help| register.counter(name, help);
        let gauge = |name, help| register.gauge(name, help);
        let seconds = |name, help| register.with(name, help, Gauge::with_opts);
        let limit_with = |name, which: Full| {
            let help = format!("The limit `{}`; infinite without one.", which.setting());
            register.with(name, &help, Gauge::with_opts)
        };
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
            hits_cache: counter("hits_cached_total", "Reads answered by the cache.")?,
            misses: counter("misses_total", "Reads that needed the loader or found nothing.")?,
            loads: counter("loads_total", "Rows asked of the loader.")?,
            load_failures: counter("load_failures_total", "Rows that could not be loaded.")?,
            load_seconds: register.latency("load_seconds", "Time of a question to the loader.")?,
            pending_rows: gauge("pending_rows", "Rows not yet in the database.")?,
            pending_bytes: gauge("pending_bytes", "Memory taken by pending writes.")?,
            in_flight: gauge("in_flight", "Writes that Kafka has not answered.")?,
            in_flight_bytes: gauge("in_flight_bytes", "Memory of what Kafka has not answered.")?,
            waiting: gauge("waiting_writes", "Writes that wait for room.")?,
            limits: [
                limit_with("max_pending_bytes", Full::PendingBytes)?,
                limit_with("max_pending_rows", Full::PendingRows)?,
                limit_with("max_in_flight", Full::InFlight)?,
                limit_with("max_in_flight_bytes", Full::InFlightBytes)?,
            ],
            held: gauge("held_partitions", "Partitions whose writes Kafka does not take now.")?,
            replicated_lag: seconds(
                "replicated_lag_seconds",
                "Age of the oldest write that Kafka has not answered.",
            )?,
            persisted_lag: seconds(
                "persisted_lag_seconds",
                "Age of the oldest write that is not in the database.",
            )?,
            write_seconds: register.latency(
                "write_sampled_seconds",
                "Time until a write is accepted, of every 64th.",
            )?,
            replicated_seconds: register.latency(
                "replicated_sampled_seconds",
                "Time from a write to Kafka's answer, of every 64th at most.",
            )?,
            client_errors: counter("client_errors_total", "Errors of the Kafka client.")?,
            client_failures: counter(
                "client_failures_total",
                "Kafka clients that failed for good and were replaced.",
            )?,
            watch_errors: counter(
                "watch_errors_total",
                "Failed queries of the sink group's offsets.",
            )?,
            follow_lag: gauge("follow_lag_records", "Records in the log that were not read.")?,
            journal: JournalMetrics::register(register)?,
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

    /// What a handle has counted and holds.
    pub(crate) fn stats(&self, partitions: &Partitions, now: Instant) -> Stats {
        let held = partitions.stats(now);
        let limit = |which| partitions.limits.of(which).map(Limit::max);
        let journal = partitions.journal.as_ref().map(|journal| journal.stats());
        let journal = journal.unwrap_or_default();
        Stats {
            writes: held.accepted + held.coalesced,
            refused: self.refused.get(),
            overloaded: self.overloaded.get(),
            coalesced: held.coalesced,
            forgotten: held.forgotten,
            followed: held.followed,
            dead_letters: held.dead_letters,
            lost: held.lost,
            reads: self.reads.get(),
            hits_pending: self.hits_pending.get(),
            hits_cached: self.hits_cache.get(),
            misses: self.misses.get(),
            loads: self.loads.get(),
            load_failures: self.load_failures.get(),
            pending_rows: held.rows,
            pending_bytes: held.bytes,
            in_flight: held.in_flight,
            in_flight_bytes: held.in_flight_bytes,
            waiting_writes: partitions.limits.waiting.load(Ordering::Acquire),
            held_partitions: held.held,
            max_pending_bytes: limit(Full::PendingBytes),
            max_pending_rows: limit(Full::PendingRows),
            max_in_flight: limit(Full::InFlight),
            max_in_flight_bytes: limit(Full::InFlightBytes),
            replicated_lag: held.replicated_lag,
            persisted_lag: held.persisted_lag,
            client_errors: self.client_errors.get(),
            client_failures: self.client_failures.get(),
            watch_errors: self.watch_errors.get(),
            follow_lag_records: self.follow_lag.get() as u64,
            journal_bytes: journal.bytes,
            journal_oldest: journal.oldest,
            journal_batches: journal.batches,
            journal_writing: journal.batch_time,
            journal_cut_bytes: journal.cut_bytes,
            replayed: journal.replayed,
        }
    }

    /// Shows what partitions hold.
    pub(crate) fn show(&self, stats: &Stats) {
        // One at a time: two threads that add the same difference would count it twice.
        let _counting = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
        for (counter, now) in [
            (&self.writes, stats.writes),
            (&self.coalesced, stats.coalesced),
            (&self.forgotten, stats.forgotten),
            (&self.followed, stats.followed),
            (&self.dead_letters, stats.dead_letters),
            (&self.lost, stats.lost),
            (&self.journal.batches, stats.journal_batches),
            (&self.journal.replayed, stats.replayed),
        ] {
            counter.inc_by(now.saturating_sub(counter.get()));
        }
        for (gauge, now) in [
            (&self.pending_rows, stats.pending_rows),
            (&self.pending_bytes, stats.pending_bytes),
            (&self.in_flight, stats.in_flight),
            (&self.in_flight_bytes, stats.in_flight_bytes),
            (&self.waiting, stats.waiting_writes),
            (&self.held, stats.held_partitions),
        ] {
            gauge.set(now as i64);
        }
        let journal = &self.journal;
        journal.bytes.set(stats.journal_bytes as i64);
        journal.oldest.set(stats.journal_oldest.as_secs_f64());
        journal.cut_bytes.set(stats.journal_cut_bytes as i64);
        let writing = stats.journal_writing.as_secs_f64();
        journal.writing.inc_by((writing - journal.writing.get()).max(0.0));
        let limits = [
            stats.max_pending_bytes,
            stats.max_pending_rows,
            stats.max_in_flight,
            stats.max_in_flight_bytes,
        ];
        for (gauge, limit) in self.limits.iter().zip(limits) {
            gauge.set(limit.map_or(f64::INFINITY, |limit| limit as f64));
        }
        self.replicated_lag.set(stats.replicated_lag.as_secs_f64());
        self.persisted_lag.set(stats.persisted_lag.as_secs_f64());
    }

    /// Writes were replicated, each after this time.
    pub(crate) fn replicated(&self, times: &[Duration]) {
        for time in times {
            self.replicated_seconds.observe(time.as_secs_f64());
        }
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

    /// Each metric but a histogram is a field of `Stats`, under its name without the unit that
    /// its type tells.
    #[test]
    fn stats_have_every_number_that_the_metrics_show() {
        let registry = Registry::new();
        let _metrics = Metrics::new(&registry, "scores").unwrap();
        let text = render(&registry).unwrap();
        let kinds = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE write_behind_producer_")?.split_once(' '));
        let mut shown: Vec<&str> = kinds
            .filter(|(_, kind)| *kind != "histogram")
            .map(|(name, _)| name.trim_end_matches("_total").trim_end_matches("_seconds"))
            .collect();
        let stats = format!("{:#?}", Stats::default());
        let mut fields: Vec<&str> = stats
            .lines()
            .filter_map(|line| line.strip_prefix("    ")?.split_once(':'))
            .map(|(name, _)| name)
            .collect();
        shown.sort_unstable();
        fields.sort_unstable();
        assert_eq!(shown, fields);
    }
}
