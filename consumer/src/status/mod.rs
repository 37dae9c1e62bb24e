//! The status of a running consumer: its numbers and its health.

pub mod metrics;
pub mod outage;
pub mod health;
pub mod history;
pub mod logs;
pub mod report;
pub mod table;
pub mod ask;
mod set_aside;
pub(crate) mod told;
mod collect;
mod readiness;
mod traces;
mod traced;
#[cfg(test)]
#[path = "tests/report.rs"]
pub(crate) mod report_tests;
pub(crate) mod http;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use write_behind_shared::NextOffset;

use crate::apply::Stats;
use crate::config::{Config, Route};
use crate::core::batch::RoutePartition;
use crate::core::pipeline::action::{Counts, PartitionProgress, PipelineProgress};
use crate::status::health::Phase;
use crate::status::history::{History, Meter};
use crate::status::logs::LogsSeen;
use crate::status::metrics::Metrics;
use crate::status::outage::{Outage, Outages, Reporter, Subject};
use crate::status::set_aside::SetAsideLog;
use crate::status::traces::Spans;

/// How often the poll thread publishes its numbers.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// A running consumer's numbers and health. Shared by its threads.
#[derive(Debug)]
pub struct Status {
    metrics: Metrics,
    pipeline: String,
    brokers: String,
    database: String,
    routes: Vec<Route>,
    memory_limit: usize,
    /// Whether people may act on the page.
    actions: bool,
    /// How long a partition may wait for another producer's transaction.
    patience: Duration,
    /// How long the group waits for a member that did not leave.
    session: Duration,
    started: Instant,
    spans: OnceLock<Arc<Spans>>,
    state: Mutex<StatusState>,
}

#[derive(Debug)]
struct StatusState {
    counts: Counts,
    progress: PipelineProgress,
    published: Option<Duration>,
    phase: Phase,
    /// When the poll thread's loop last turned; `None`: it has not started yet.
    beat: Option<Duration>,
    in_group: bool,
    not_located: BTreeMap<RoutePartition, String>,
    outages: Outages,
    logs: LogsSeen,
    /// Up to where each partition was read when the poll thread last met an error that may last.
    poll_failed_at: Option<BTreeMap<RoutePartition, NextOffset>>,
    /// Since when the consumer waits for its group, and whether that was told.
    waits_for_group: Option<(Duration, bool)>,
    /// Of each route.
    written: Vec<RouteTotals>,
    /// Of each route: how many partitions its topic has; empty: not known yet.
    topic_partitions: Vec<usize>,
    /// Of each route: the open letters that the database holds; `None`: not counted yet.
    open_letters: Vec<Option<u64>>,
    /// Of each route: what to tell of records that were set aside.
    set_aside: Vec<SetAsideLog>,
    /// The oldest record of each partition that was read and is not written, with where the database
    /// stood then.
    oldest: BTreeMap<RoutePartition, (Option<NextOffset>, i64)>,
    /// Offsets read, of each partition.
    read: BTreeMap<RoutePartition, Meter>,
    /// Since the last sample.
    transactions: Transactions,
    history: History,
    sampled: Option<Duration>,
}

/// What was written of a route since the start.
#[derive(Clone, Debug, Default)]
struct RouteTotals {
    records: u64,
    rows: u64,
    dead_letters: u64,
    meter: Meter,
}

/// How long transactions took.
#[derive(Debug, Default)]
struct Transactions {
    count: u32,
    total: Duration,
    longest: Duration,
}

/// A running consumer's numbers at one moment.
#[derive(Clone, Debug)]
pub struct StatusSnapshot {
    /// What was counted.
    pub counts: Counts,
    /// What is held.
    pub progress: PipelineProgress,
    /// Records in the log that are not in the database, by the ends of the logs that were seen last;
    /// `None`: not known yet.
    pub lag: Option<u64>,
}

impl Status {
    /// The same of a consumer that has no client, and numbers of its own.
    ///
    /// # Errors
    /// Two metrics have one name.
    #[cfg(feature = "internals")]
    #[doc(hidden)]
    pub fn without_client(config: &Config) -> prometheus::Result<Self> {
        Ok(Self::new(Metrics::new(&prometheus::Registry::new(), &config.name)?, config))
    }

    /// A consumer that has not started yet.
    pub(crate) fn new(metrics: Metrics, config: &Config) -> Self {
        metrics.begin(config.routes.iter().map(|route| &*route.topic));
        let state = StatusState {
            counts: Counts::default(),
            progress: PipelineProgress::default(),
            published: None,
            phase: Phase::Starting,
            beat: None,
            in_group: false,
            not_located: BTreeMap::new(),
            outages: Outages::default(),
            logs: LogsSeen::default(),
            poll_failed_at: None,
            waits_for_group: None,
            written: vec![RouteTotals::default(); config.routes.len()],
            topic_partitions: Vec::new(),
            open_letters: vec![None; config.routes.len()],
            set_aside: vec![SetAsideLog::default(); config.routes.len()],
            oldest: BTreeMap::new(),
            read: BTreeMap::new(),
            transactions: Transactions::default(),
            history: History::default(),
            sampled: None,
        };
        Self {
            metrics,
            pipeline: config.name.clone(),
            brokers: brokers(config),
            database: format!("{:?}", config.database.target),
            routes: config.routes.clone(),
            memory_limit: config.memory.0,
            actions: config.page.actions.is_some(),
            patience: config.patience,
            session: config.session_timeout(),
            started: Instant::now(),
            spans: OnceLock::new(),
            state: Mutex::new(state),
        }
    }

    /// Its numbers now.
    pub fn snapshot(&self) -> StatusSnapshot {
        let state = self.lock();
        StatusSnapshot {
            counts: state.counts,
            progress: state.progress.clone(),
            lag: state.progress.partitions.iter().map(|partition| state.logs.lag(partition)).sum(),
        }
    }

    /// The subject in a person's words.
    fn name(&self, subject: Subject) -> String {
        match subject {
            Subject::Kafka => "kafka".to_owned(),
            Subject::Database => "the database".to_owned(),
            Subject::Route(route) => format!("topic {}", self.routes[route].topic),
        }
    }

    /// The partitions that are being read, each with the offset below which everything is in the
    /// database, as far as it is known.
    pub(crate) fn reading(&self) -> Vec<(RoutePartition, NextOffset)> {
        let state = self.lock();
        let partitions = state.progress.partitions.iter().filter(|partition| partition.reading);
        partitions.filter_map(|partition| Some((partition.tp, partition.written?))).collect()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The poll thread is alive. Every 100 ms it publishes its numbers.
    pub(crate) fn publish(
        &self,
        now: Duration,
        counts: Counts,
        progress: impl FnOnce() -> PipelineProgress,
    ) {
        let mut state = self.lock();
        let at = self.started.elapsed();
        state.beat = Some(at);
        if state.phase == Phase::Starting {
            state.phase = Phase::Running;
            state.waits_for_group = Some((at, false));
        }
        self.tell_wait(&mut state, at);
        if state.published.is_some_and(|published| now < published + PUBLISH_EVERY) {
            return;
        }
        state.published = Some(now);
        self.metrics.counted(&state.counts, &counts);
        state.counts = counts;
        let progress = progress();
        for (route, now) in progress.routes.iter().enumerate() {
            let before = state.progress.routes.get(route).copied().unwrap_or_default();
            let is_failing = state.outages.of_route(route).is_some()
                || progress.stopped.contains_key(&route)
                || progress.waiting.keys().any(|tp| tp.route == route);
            self.metrics.route(&self.routes[route].topic, &before, now, is_failing);
        }
        self.metrics.in_group(state.in_group);
        state.logs.observe(at, &progress.partitions);
        state.remember_oldest(&progress.partitions);
        state.progress = progress;
        self.metrics.held(&state.progress);
        let time_ms = unix_ms();
        let lag = |partition: &PartitionProgress| {
            let (records, seconds) =
                (state.logs.lag(partition)?, state.lag_seconds(partition, time_ms)?);
            let topic = &*self.routes[partition.tp.route].topic;
            Some((topic, partition.tp.partition.to_string(), records, seconds))
        };
        self.metrics.lag(state.progress.partitions.iter().filter_map(lag));
        self.sample(&mut state);
        drop(state);
        self.tell_set_aside(|log| log.due(self.started.elapsed()));
    }

    /// How many partitions each route's topic has.
    pub(crate) fn topics_have(&self, partitions: &[i32]) {
        let partitions = partitions.iter().map(|count| usize::try_from(*count).unwrap_or(0));
        self.lock().topic_partitions = partitions.collect();
    }

    /// How many rows it holds that are not in the database.
    pub(crate) fn held_rows(&self) -> usize {
        let progress = &self.lock().progress;
        progress.open_rows + progress.in_flight_rows
    }

    /// It was asked to end.
    pub(crate) fn draining(&self) {
        self.lock().phase = Phase::Draining;
    }

    /// The consumer has ended.
    pub(crate) fn stopped(&self) {
        self.lock().phase = Phase::Stopped;
        self.tell_the_end();
    }

    /// A batch of `route` is in the database, `took` after a worker took it.
    pub(crate) fn batch_written(&self, route: usize, records: u64, stats: &Stats, took: Duration) {
        self.metrics.batch_written(&self.routes[route].topic, records, stats, took);
        let mut state = self.lock();
        let written = &mut state.written[route];
        written.records += records;
        written.rows += (stats.rows + stats.row_by_row) as u64;
        written.dead_letters += stats.dead_letters as u64;
        let transactions = &mut state.transactions;
        transactions.count += 1;
        transactions.total += stats.took;
        transactions.longest = transactions.longest.max(stats.took);
    }

    /// An attempt of `reporter` failed.
    pub(crate) fn failed(&self, reporter: Reporter, subject: Subject, error: &impl ToString) {
        self.tell_failure(reporter, subject, None, error);
    }

    fn tell_failure(
        &self,
        reporter: Reporter,
        subject: Subject,
        route: Option<usize>,
        error: &impl ToString,
    ) {
        self.metrics.attempt_failed(match subject {
            Subject::Kafka => "kafka",
            Subject::Database => "database",
            Subject::Route(_) => "route",
        });
        let (now, message) = (self.started.elapsed(), error.to_string());
        let said = self.lock().outages.failed(now, reporter, subject, route, &message);
        self.say(said);
    }

    /// An attempt of `reporter` succeeded, or will not be made again.
    pub(crate) fn answered(&self, reporter: Reporter) {
        let said = self.lock().outages.answered(self.started.elapsed(), reporter);
        self.say(said);
    }

    /// Why partitions could not be located: all of those that can't be at the moment.
    pub(crate) fn not_located(&self, why: &BTreeMap<RoutePartition, String>) {
        self.lock().not_located.clone_from(why);
    }

    /// The partitions that this consumer has.
    pub(crate) fn partitions(&self) -> Vec<RoutePartition> {
        self.lock().progress.partitions.iter().map(|partition| partition.tp).collect()
    }

    fn lock(&self) -> MutexGuard<'_, StatusState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The brokers as the configuration names them.
fn brokers(config: &Config) -> String {
    let of = |name| config.kafka.get(name);
    of("bootstrap.servers").or(of("metadata.broker.list")).unwrap_or_default().to_owned()
}

pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
