//! Metrics of the consumer, on a registry that the embedding program owns.

use std::time::Duration;

use prometheus::{
    Error, GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};
use write_behind_shared::metrics::Register;

use crate::apply::Stats;
use crate::core::dead_letters::{DeadLetterState, Tally};
use crate::core::pipeline::action::{Counts, PartitionProgress, PipelineProgress, RouteProgress};
use crate::version;

/// A counter, and the count that it follows.
type CountOf = (IntCounter, fn(&Counts) -> u64);
/// A gauge, and the number that it shows.
type GaugeOf = (IntGauge, fn(&PipelineProgress) -> usize);

/// The consumer's metrics. Their names begin with `write_behind_consumer_`.
#[derive(Clone, Debug)]
pub struct Metrics {
    counts: Vec<CountOf>,
    gauges: Vec<GaugeOf>,
    older: IntCounter,
    dead_letters: IntCounter,
    retries: IntCounter,
    broker_errors: IntCounter,
    read_anew: IntCounter,
    written_rows: IntCounter,
    transaction: Histogram,
    batch: Histogram,
    batch_age: Histogram,
    lag_records: IntGaugeVec,
    lag_seconds: GaugeVec,
    in_group: IntGauge,
    ready: IntGauge,
    failures: IntCounterVec,
    routes: RouteMetrics,
    stored_dead_letters: IntGaugeVec,
    dead_letters_copied: IntCounter,
    dead_letters_deleted: IntCounter,
}

/// Metrics by topic.
#[derive(Clone, Debug)]
struct RouteMetrics {
    records: IntCounterVec,
    written_records: IntCounterVec,
    written_rows: IntCounterVec,
    dead_letters: IntCounterVec,
    failing: IntGaugeVec,
    target_rows: IntGaugeVec,
}

impl Metrics {
    /// Registers the metrics of the pipeline `name`.
    ///
    /// # Errors
    /// They are registered already.
    pub fn new(registry: &Registry, name: &str) -> Result<Self, Error> {
        let on = &Register::new(registry, "write_behind_consumer").label("pipeline", name);
        let labelled_gauge = |name, labels: &[&str], help| {
            on.with(name, help, |opts| IntGaugeVec::new(opts, labels))
        };
        build_info(on)?;
        let older = on.counter(
            "older_revisions_total",
            "Records left out because their row has a newer version.",
        )?;
        Ok(Self {
            counts: counts(on, &older)?,
            gauges: gauges(on)?,
            older,
            dead_letters: on.counter("dead_letters_total", "Records set aside.")?,
            retries: on.counter("retries_total", "Failed attempts to write that were retried.")?,
            broker_errors: on.counter("broker_errors_total", "Kafka errors while reading.")?,
            read_anew: on.counter(
                "read_anew_total",
                "Partitions read again because their records did not arrive.",
            )?,
            written_rows: on.counter("written_rows_total", "Rows committed to the database.")?,
            transaction: on.latency("transaction_seconds", "Duration of a transaction.")?,
            batch: on.latency(
                "batch_seconds",
                "From handing a batch to a worker to its commit, retries included.",
            )?,
            batch_age: on.latency(
                "batch_age_seconds",
                "Age of a batch's oldest record when the batch closes.",
            )?,
            lag_records: labelled_gauge(
                "lag_records",
                &["topic", "partition"],
                "Records in the log that are not in the database.",
            )?,
            lag_seconds: on.with(
                "lag_seconds",
                "Age of the oldest record that is read and not in the database.",
                |opts| GaugeVec::new(opts, &["topic", "partition"]),
            )?,
            in_group: on
                .gauge("in_group", "1 while the consumer is a member of its group, else 0.")?,
            ready: on.gauge("ready", "1 while the consumer is ready, as /readyz says, else 0.")?,
            failures: on.with(
                "failures_total",
                "Failed attempts to read or write, by cause.",
                |opts| IntCounterVec::new(opts, &["about"]),
            )?,
            routes: RouteMetrics::new(on)?,
            stored_dead_letters: labelled_gauge(
                "stored_dead_letters",
                &["topic", "state"],
                "Dead letters in the database, by topic and state; counted every 10 seconds, or less often if counting takes long.",
            )?,
            dead_letters_copied: on
                .counter("dead_letters_copied_total", "Dead letters copied to their topic.")?,
            dead_letters_deleted: on.counter(
                "dead_letters_deleted_total",
                "Dead letters deleted at the end of their retention.",
            )?,
        })
    }

    /// Shows what counts attempts and these topics from the start: a counter that appears with its
    /// first count hides that count from everybody who asks how much it has grown.
    pub(crate) fn begin<'a>(&self, topics: impl Iterator<Item = &'a str>) {
        for about in FAILURES_ABOUT {
            self.failures.with_label_values(&[about]);
        }
        for topic in topics {
            let RouteMetrics { records, written_records, written_rows, dead_letters, .. } =
                &self.routes;
            for counter in [records, written_records, written_rows, dead_letters] {
                counter.with_label_values(&[topic]);
            }
            self.routes.failing.with_label_values(&[topic]).set(0);
        }
    }

    /// Shows whether the consumer does its work.
    pub(crate) fn ready(&self, is_ready: bool) {
        self.ready.set(i64::from(is_ready));
    }

    /// Adds what was counted since `before`.
    pub(crate) fn counted(&self, before: &Counts, now: &Counts) {
        for (counter, count) in &self.counts {
            counter.inc_by(count(now) - count(before));
        }
    }

    /// Shows what is held.
    pub(crate) fn held(&self, progress: &PipelineProgress) {
        for (gauge, number) in &self.gauges {
            gauge.set(number(progress) as i64);
        }
    }

    /// Shows what a route has done since `before`, and whether it can be written.
    pub(crate) fn route(
        &self,
        topic: &str,
        before: &RouteProgress,
        now: &RouteProgress,
        is_failing: bool,
    ) {
        let read = self.routes.records.with_label_values(&[topic]);
        read.inc_by(now.records_read - before.records_read);
        self.routes.target_rows.with_label_values(&[topic]).set(now.target_rows as i64);
        self.routes.failing.with_label_values(&[topic]).set(i64::from(is_failing));
    }

    /// Shows whether the consumer is a member of its group.
    pub(crate) fn in_group(&self, is_in_group: bool) {
        self.in_group.set(i64::from(is_in_group));
    }

    /// Counts a failed attempt; `about` is one of a few words.
    pub(crate) fn attempt_failed(&self, about: &str) {
        self.failures.with_label_values(&[about]).inc();
    }

    /// Shows how far behind each partition is, and no partition that is not named any more.
    pub(crate) fn lag<'a>(&self, lags: impl Iterator<Item = (&'a str, String, u64, f64)>) {
        self.lag_records.reset();
        self.lag_seconds.reset();
        for (topic, partition, records, seconds) in lags {
            let labels = [topic, &partition];
            self.lag_records.with_label_values(&labels).set(records as i64);
            self.lag_seconds.with_label_values(&labels).set(seconds);
        }
    }

    /// Notes the age of a batch that a worker takes.
    pub(crate) fn batch_taken(&self, age: Duration) {
        self.batch_age.observe(age.as_secs_f64());
    }

    /// Counts a batch of `topic` that is in the database, `took` after a worker took it.
    pub(crate) fn batch_written(&self, topic: &str, records: u64, stats: &Stats, took: Duration) {
        let (rows, letters) = ((stats.rows + stats.row_by_row) as u64, stats.dead_letters as u64);
        self.written_rows.inc_by(rows);
        self.dead_letters.inc_by(letters);
        self.routes.written_records.with_label_values(&[topic]).inc_by(records);
        self.routes.written_rows.with_label_values(&[topic]).inc_by(rows);
        self.routes.dead_letters.with_label_values(&[topic]).inc_by(letters);
        self.older.inc_by(stats.older);
        self.batch.observe(took.as_secs_f64());
        self.transaction.observe(stats.took.as_secs_f64());
    }

    /// How many records have been set aside.
    pub(crate) fn set_aside(&self) -> u64 {
        self.dead_letters.get()
    }

    /// Shows how many dead letters the database holds; a topic without any has 0 open ones.
    pub(crate) fn stored_letters<'a>(
        &self,
        topics: impl Iterator<Item = &'a str>,
        tallies: &[Tally],
    ) {
        self.stored_dead_letters.reset();
        for topic in topics {
            self.stored_dead_letters
                .with_label_values(&[topic, DeadLetterState::Open.as_str()])
                .set(0);
        }
        for Tally { topic, state, letters } in tallies {
            let labels: [&str; 2] = [topic, state.as_str()];
            let gauge = self.stored_dead_letters.with_label_values(&labels);
            gauge.set(*letters as i64);
        }
    }

    /// Counts dead letters that were copied to their topic.
    pub(crate) fn letters_copied(&self, letters: usize) {
        self.dead_letters_copied.inc_by(letters as u64);
    }

    /// Counts dead letters that were deleted.
    pub(crate) fn letters_deleted(&self, letters: u64) {
        self.dead_letters_deleted.inc_by(letters);
    }

    /// Counts a transaction that failed and is tried again.
    pub(crate) fn retried(&self) {
        self.retries.inc();
    }

    /// Counts a partition that is read again because its records did not arrive.
    pub(crate) fn read_anew(&self) {
        self.read_anew.inc();
    }

    /// Counts an error that Kafka reported while reading.
    pub(crate) fn broker_error(&self) {
        self.broker_errors.inc();
    }
}

impl RouteMetrics {
    fn new(on: &Register<'_>) -> Result<Self, Error> {
        let route_counter =
            |name, help| on.with(name, help, |opts| IntCounterVec::new(opts, &["topic"]));
        let route_gauge =
            |name, help| on.with(name, help, |opts| IntGaugeVec::new(opts, &["topic"]));
        Ok(Self {
            records: route_counter("route_records_total", "Records read, by topic.")?,
            written_records: route_counter(
                "route_written_records_total",
                "Records that are in the database, by topic.",
            )?,
            written_rows: route_counter(
                "route_written_rows_total",
                "Rows that those became; route_written_records_total over it is the fold.",
            )?,
            dead_letters: route_counter(
                "route_dead_letters_total",
                "Records set aside, by topic.",
            )?,
            failing: route_gauge(
                "route_failing",
                "1 while a topic's records can't be written, else 0.",
            )?,
            target_rows: route_gauge(
                "route_target_rows",
                "How many rows a batch should have to take the target time.",
            )?,
        })
    }
}

/// What failed attempts are about.
const FAILURES_ABOUT: [&str; 3] = ["kafka", "database", "route"];

/// The version and the commit, as labels of a gauge that is always 1.
fn build_info(on: &Register<'_>) -> Result<(), Error> {
    let info = on.with("build_info", "Always 1; the labels say version and commit.", |opts| {
        IntGaugeVec::new(opts, &["commit", "version"])
    })?;
    info.with_label_values(&[version::COMMIT, version::VERSION]).set(1);
    Ok(())
}

/// The counters that follow the pipeline's counts.
fn counts(on: &Register<'_>, older: &IntCounter) -> Result<Vec<CountOf>, Error> {
    let counter = |name, help, count: fn(&Counts) -> u64| Ok((on.counter(name, help)?, count));
    let older: CountOf = (older.clone(), |now| now.older);
    let counts = [
        counter("records_total", "Records read and folded.", |now| now.records),
        counter(
            "duplicates_total",
            "Records dropped because their writer's sequence was seen before.",
            |now| now.duplicates,
        ),
        counter(
            "sequence_gaps_total",
            "Jumps in a writer's sequence: records are missing from the log.",
            |now| now.gaps,
        ),
        counter("undecodable_total", "Records that can't be decoded.", |now| now.bad),
        counter(
            "stray_records_total",
            "Records dropped because they were read before, or belong to a revoked partition.",
            |now| now.strays,
        ),
        counter(
            "misplaced_records_total",
            "Records in another partition than their key's.",
            |now| now.misplaced,
        ),
        counter("offset_skips_total", "Places where no record came at an offset.", |now| now.skips),
        counter(
            "records_lost_total",
            "Records that a compaction may have removed before they were written, at most.",
            |now| now.lost,
        ),
        counter("batches_total", "Batches handed to a worker.", |now| now.batches),
        counter("rows_total", "Rows in those batches; records_total over it is the fold.", |now| {
            now.rows
        }),
        counter(
            "fenced_total",
            "Batches rolled back because the database's offset was not the expected one.",
            |now| now.fenced,
        ),
        counter("commit_failures_total", "Commits to Kafka that failed.", |now| {
            now.commit_failures
        }),
    ];
    counts.into_iter().chain([Ok(older)]).collect()
}

/// The gauges that show what the pipeline holds.
fn gauges(on: &Register<'_>) -> Result<Vec<GaugeOf>, Error> {
    let gauge =
        |name, help, number: fn(&PipelineProgress) -> usize| Ok((on.gauge(name, help)?, number));
    let gauges = [
        gauge("buffered_rows", "Rows in open buffers.", |now| now.open_rows),
        gauge("buffered_bytes", "Bytes in open buffers.", |now| now.open_bytes),
        gauge("in_flight_rows", "Rows being written.", |now| now.in_flight_rows),
        gauge("in_flight_bytes", "Bytes being written.", |now| now.in_flight_bytes),
        gauge("partitions", "Partitions being read.", |now| partitions(now, |one| one.reading)),
        gauge("paused_partitions", "Partitions that are paused.", |now| {
            partitions(now, |one| one.paused)
        }),
    ];
    gauges.into_iter().collect()
}

fn partitions(now: &PipelineProgress, is: fn(&PartitionProgress) -> bool) -> usize {
    now.partitions.iter().filter(|one| is(one)).count()
}
