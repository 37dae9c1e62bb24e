//! What the consumer counts, on a registry that the embedding program owns.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use write_behind_shared::metrics::Register;

use crate::apply::Stats;
use crate::core::dead_letters::{DeadLetterState, Tally};
use crate::core::pipeline::action::{Counts, PartitionProgress, PipelineProgress, RouteProgress};

/// The consumer's metrics. Their names begin with `write_behind_consumer_`.
#[derive(Clone, Debug)]
pub struct Metrics {
    records: IntCounter,
    duplicates: IntCounter,
    older: IntCounter,
    gaps: IntCounter,
    undecodable: IntCounter,
    strays: IntCounter,
    skips: IntCounter,
    batches: IntCounter,
    rows: IntCounter,
    fenced: IntCounter,
    commit_failures: IntCounter,
    dead_letters: IntCounter,
    retries: IntCounter,
    broker_errors: IntCounter,
    read_anew: IntCounter,
    written_rows: IntCounter,
    transaction: Histogram,
    batch: Histogram,
    batch_age: Histogram,
    buffered_rows: IntGauge,
    buffered_bytes: IntGauge,
    in_flight_rows: IntGauge,
    in_flight_bytes: IntGauge,
    partitions: IntGauge,
    paused: IntGauge,
    lag_records: IntGaugeVec,
    lag_seconds: prometheus::GaugeVec,
    in_group: IntGauge,
    failures: IntCounterVec,
    route_records: IntCounterVec,
    route_written_records: IntCounterVec,
    route_written_rows: IntCounterVec,
    route_dead_letters: IntCounterVec,
    route_failing: IntGaugeVec,
    route_target_rows: IntGaugeVec,
    stored_dead_letters: IntGaugeVec,
    dead_letters_copied: IntCounter,
    dead_letters_deleted: IntCounter,
}

impl Metrics {
    /// Registers the metrics of the pipeline `name`.
    #[expect(clippy::too_many_lines, reason = "a list with an entry a metric")]
    pub fn new(registry: &Registry, name: &str) -> Result<Self, prometheus::Error> {
        let on = Register::new(registry, "write_behind_consumer").label("pipeline", name);
        let of_partition = ["topic", "partition"];
        let of_route = ["topic"];
        Ok(Self {
            records: on.counter("records_total", "Records read and folded.")?,
            duplicates: on.counter(
                "duplicates_total",
                "Records dropped because their writer's sequence was seen before.",
            )?,
            older: on.counter(
                "older_revisions_total",
                "Records left out because their row has a newer version.",
            )?,
            gaps: on.counter(
                "sequence_gaps_total",
                "Jumps in a writer's sequence: records are missing from the log.",
            )?,
            undecodable: on.counter("undecodable_total", "Records that can't be decoded.")?,
            strays: on.counter(
                "stray_records_total",
                "Records dropped because they were read before, or of a partition let go.",
            )?,
            skips: on.counter("offset_skips_total", "Jumps in a partition's offsets.")?,
            batches: on.counter("batches_total", "Batches handed to a worker.")?,
            rows: on.counter("rows_total", "Rows in them: records_total over it is the fold.")?,
            fenced: on.counter(
                "fenced_total",
                "Batches rolled back because the database stood elsewhere.",
            )?,
            commit_failures: on
                .counter("commit_failures_total", "Commits to Kafka that failed.")?,
            dead_letters: on.counter("dead_letters_total", "Records set aside.")?,
            retries: on
                .counter("retries_total", "Attempts to write that failed and were made again.")?,
            broker_errors: on.counter("broker_errors_total", "Errors of Kafka while reading.")?,
            read_anew: on.counter(
                "read_anew_total",
                "Partitions read anew because their records did not arrive.",
            )?,
            written_rows: on.counter("written_rows_total", "Rows committed to the database.")?,
            transaction: on.latency("transaction_seconds", "How long a transaction took.")?,
            batch: on.latency(
                "batch_seconds",
                "From handing a batch to a worker to its commit, retries included.",
            )?,
            batch_age: on
                .latency("batch_age_seconds", "Age of a batch's oldest record when it closes.")?,
            buffered_rows: on.gauge("buffered_rows", "Rows in open buffers.")?,
            buffered_bytes: on.gauge("buffered_bytes", "Bytes in open buffers.")?,
            in_flight_rows: on.gauge("in_flight_rows", "Rows being written.")?,
            in_flight_bytes: on.gauge("in_flight_bytes", "Bytes being written.")?,
            partitions: on.gauge("partitions", "Partitions being read.")?,
            paused: on.gauge("paused_partitions", "Partitions whose fetching is paused.")?,
            lag_records: on.with(
                "lag_records",
                "Records in the log that are not in the database.",
                |opts| IntGaugeVec::new(opts, &of_partition),
            )?,
            lag_seconds: on.with(
                "lag_seconds",
                "Age of the oldest record that is read and not in the database.",
                |opts| prometheus::GaugeVec::new(opts, &of_partition),
            )?,
            in_group: on.gauge("in_group", "1 while it is a member of its group, else 0.")?,
            failures: on.with(
                "failures_total",
                "Failed attempts to read or write, by what they were about.",
                |opts| IntCounterVec::new(opts, &["about"]),
            )?,
            route_records: on.with("route_records_total", "Records read, by topic.", |opts| {
                IntCounterVec::new(opts, &of_route)
            })?,
            route_written_records: on.with(
                "route_written_records_total",
                "Records that are in the database, by topic.",
                |opts| IntCounterVec::new(opts, &of_route),
            )?,
            route_written_rows: on.with(
                "route_written_rows_total",
                "Rows that they became: route_written_records_total over it is the fold.",
                |opts| IntCounterVec::new(opts, &of_route),
            )?,
            route_dead_letters: on.with(
                "route_dead_letters_total",
                "Records set aside, by topic.",
                |opts| IntCounterVec::new(opts, &of_route),
            )?,
            route_failing: on.with(
                "route_failing",
                "1 while a topic's records can't be written, else 0.",
                |opts| IntGaugeVec::new(opts, &of_route),
            )?,
            route_target_rows: on.with(
                "route_target_rows",
                "Rows that a batch should have to take the target time.",
                |opts| IntGaugeVec::new(opts, &of_route),
            )?,
            stored_dead_letters: on.with(
                "stored_dead_letters",
                "Dead letters in the database, by topic and state; looked at every 10 seconds.",
                |opts| IntGaugeVec::new(opts, &["topic", "state"]),
            )?,
            dead_letters_copied: on
                .counter("dead_letters_copied_total", "Dead letters copied to their topic.")?,
            dead_letters_deleted: on.counter(
                "dead_letters_deleted_total",
                "Dead letters deleted because their retention was over.",
            )?,
        })
    }

    /// Adds what was counted since `before`.
    pub(crate) fn counted(&self, before: &Counts, now: &Counts) {
        self.records.inc_by(now.records - before.records);
        self.duplicates.inc_by(now.duplicates - before.duplicates);
        self.older.inc_by(now.older - before.older);
        self.gaps.inc_by(now.gaps - before.gaps);
        self.undecodable.inc_by(now.bad - before.bad);
        self.strays.inc_by(now.strays - before.strays);
        self.skips.inc_by(now.skips - before.skips);
        self.batches.inc_by(now.batches - before.batches);
        self.rows.inc_by(now.rows - before.rows);
        self.fenced.inc_by(now.fenced - before.fenced);
        self.commit_failures.inc_by(now.commit_failures - before.commit_failures);
    }

    /// What is held.
    pub(crate) fn held(&self, progress: &PipelineProgress) {
        self.buffered_rows.set(progress.open_rows as i64);
        self.buffered_bytes.set(progress.open_bytes as i64);
        self.in_flight_rows.set(progress.in_flight_rows as i64);
        self.in_flight_bytes.set(progress.in_flight_bytes as i64);
        let count = |is: fn(&PartitionProgress) -> bool| {
            progress.partitions.iter().filter(|partition| is(partition)).count() as i64
        };
        self.partitions.set(count(|partition| partition.reading));
        self.paused.set(count(|partition| partition.paused));
    }

    /// What a route has done since `before`, and how it is.
    pub(crate) fn route(
        &self,
        topic: &str,
        before: &RouteProgress,
        now: &RouteProgress,
        is_failing: bool,
    ) {
        let read = self.route_records.with_label_values(&[topic]);
        read.inc_by(now.records_read - before.records_read);
        self.route_target_rows.with_label_values(&[topic]).set(now.target_rows as i64);
        self.route_failing.with_label_values(&[topic]).set(i64::from(is_failing));
    }

    /// Whether it is a member of its group.
    pub(crate) fn in_group(&self, is_in_group: bool) {
        self.in_group.set(i64::from(is_in_group));
    }

    /// An attempt failed; `about` is one of a few words.
    pub(crate) fn attempt_failed(&self, about: &str) {
        self.failures.with_label_values(&[about]).inc();
    }

    /// How far behind each partition is; partitions not named any more are forgotten.
    pub(crate) fn lag<'a>(&self, lags: impl Iterator<Item = (&'a str, String, u64, f64)>) {
        self.lag_records.reset();
        self.lag_seconds.reset();
        for (topic, partition, records, seconds) in lags {
            let labels = [topic, &partition];
            self.lag_records.with_label_values(&labels).set(records as i64);
            self.lag_seconds.with_label_values(&labels).set(seconds);
        }
    }

    /// A batch's age when a worker takes it.
    pub(crate) fn batch_taken(&self, age: Duration) {
        self.batch_age.observe(age.as_secs_f64());
    }

    /// A batch of so many records of `topic` is in the database, so long after it was taken.
    pub(crate) fn batch_written(&self, topic: &str, records: u64, stats: &Stats, took: Duration) {
        let (rows, letters) = ((stats.rows + stats.row_by_row) as u64, stats.dead_letters as u64);
        self.written_rows.inc_by(rows);
        self.dead_letters.inc_by(letters);
        self.route_written_records.with_label_values(&[topic]).inc_by(records);
        self.route_written_rows.with_label_values(&[topic]).inc_by(rows);
        self.route_dead_letters.with_label_values(&[topic]).inc_by(letters);
        self.older.inc_by(stats.older);
        self.batch.observe(took.as_secs_f64());
        self.transaction.observe(stats.took.as_secs_f64());
    }

    /// How many records were set aside so far.
    pub(crate) fn set_aside(&self) -> u64 {
        self.dead_letters.get()
    }

    /// How many dead letters the database holds now. A topic of which it holds none has no open one.
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
            let gauge = self.stored_dead_letters.with_label_values(&[topic, state.as_str()]);
            gauge.set(*letters as i64);
        }
    }

    /// Dead letters were copied to their topic.
    pub(crate) fn letters_copied(&self, letters: usize) {
        self.dead_letters_copied.inc_by(letters as u64);
    }

    /// Dead letters were deleted.
    pub(crate) fn letters_deleted(&self, letters: u64) {
        self.dead_letters_deleted.inc_by(letters);
    }

    /// A transaction failed and is tried again.
    pub(crate) fn retried(&self) {
        self.retries.inc();
    }

    /// A partition is read anew, because its records do not arrive.
    pub(crate) fn read_anew(&self) {
        self.read_anew.inc();
    }

    /// Kafka reported an error while reading.
    pub(crate) fn broker_error(&self) {
        self.broker_errors.inc();
    }
}
