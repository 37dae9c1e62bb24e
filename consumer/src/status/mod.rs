//! What the world may know of a running consumer: numbers, and whether it is well.

pub mod metrics;
pub mod trouble;
pub mod health;
pub mod history;
pub mod report;
pub mod table;
pub mod ask;
mod collect;
#[cfg(test)]
#[path = "tests/report.rs"]
mod report_tests;
pub(crate) mod http;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use write_behind_shared::NextOffset;

use crate::apply::Stats;
use crate::apply::retry::Trouble as Failed;
use crate::config::{Config, Route};
use crate::core::batch::Place;
use crate::core::pipeline::action::{Counts, PartProgress, Progress};
use crate::status::health::{Facts, Phase};
use crate::status::history::{History, Meter};
use crate::status::metrics::Metrics;
use crate::status::trouble::{About, Say, Teller, Trouble, Troubles};
use crate::store::StoreError;

/// How often the poll thread writes its numbers down.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// A running consumer's numbers and health. Shared by its threads.
#[derive(Debug)]
pub struct Status {
    metrics: Metrics,
    pipeline: String,
    routes: Vec<Named>,
    memory_limit: usize,
    started: Instant,
    state: Mutex<State>,
}

/// A route's names.
#[derive(Debug)]
struct Named {
    topic: Arc<str>,
    table: String,
    priority: &'static str,
}

#[derive(Debug)]
struct State {
    counts: Counts,
    progress: Progress,
    published: Option<Duration>,
    phase: Phase,
    /// When the poll thread last turned; `None`: it has not started yet.
    beat: Option<Duration>,
    in_group: bool,
    not_located: BTreeMap<Place, String>,
    troubles: Troubles,
    ends: BTreeMap<Place, NextOffset>,
    /// Of each route.
    written: Vec<Written>,
    /// Offsets read, of each partition.
    read: BTreeMap<Place, Meter>,
    /// Records folded.
    records: Meter,
    /// Since the last sample.
    transactions: Transactions,
    history: History,
    sampled: Option<Duration>,
}

/// What a route has brought into the database since the start.
#[derive(Clone, Debug, Default)]
struct Written {
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
pub struct Snapshot {
    /// What was counted.
    pub counts: Counts,
    /// What is held.
    pub progress: Progress,
    /// Records in the log that are not in the database, as of the last look at the log's ends;
    /// `None`: not known yet.
    pub lag: Option<u64>,
}

impl Status {
    /// A consumer that has not started yet.
    pub(crate) fn new(metrics: Metrics, config: &Config) -> Self {
        let state = State {
            counts: Counts::default(),
            progress: Progress::default(),
            published: None,
            phase: Phase::Starting,
            beat: None,
            in_group: false,
            not_located: BTreeMap::new(),
            troubles: Troubles::default(),
            ends: BTreeMap::new(),
            written: vec![Written::default(); config.routes.len()],
            read: BTreeMap::new(),
            records: Meter::default(),
            transactions: Transactions::default(),
            history: History::default(),
            sampled: None,
        };
        let named = |route: &Route| Named {
            topic: Arc::from(&*route.topic),
            table: route.table.clone(),
            priority: route.priority.name(),
        };
        Self {
            metrics,
            pipeline: config.name.clone(),
            routes: config.routes.iter().map(named).collect(),
            memory_limit: config.memory.0,
            started: Instant::now(),
            state: Mutex::new(state),
        }
    }

    /// Its numbers now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        Snapshot {
            counts: state.counts,
            progress: state.progress.clone(),
            lag: state.progress.parts.iter().map(|part| state.lag_records(part)).sum(),
        }
    }

    /// Why the process should be replaced, if it should.
    pub fn sickness(&self) -> Option<&'static str> {
        health::sickness(&self.facts(&self.lock()))
    }

    /// Why it is not doing its work, if it is not.
    pub fn unreadiness(&self) -> Option<String> {
        let why = health::unreadiness(&self.facts(&self.lock()));
        (!why.is_empty()).then(|| why.join("\n"))
    }

    fn facts(&self, state: &State) -> Facts {
        let not_read = |part: &PartProgress| {
            let name =
                || format!("{} {}", self.routes[part.place.route].topic, part.place.partition);
            let why = state.not_located.get(&part.place).cloned();
            (!part.reading).then(|| (name(), why))
        };
        let trouble = |(about, trouble): (About, &Trouble)| {
            let (name, message) = (self.name(about), &trouble.message);
            if message.starts_with(&name) { message.clone() } else { format!("{name}: {message}") }
        };
        let stopped = state.progress.stopped.iter();
        let stopped =
            stopped.map(|(route, why)| format!("{}: {why}", self.name(About::Route(*route))));
        Facts {
            phase: state.phase,
            silent: state.beat.map(|beat| self.started.elapsed().saturating_sub(beat)),
            in_group: state.in_group,
            not_read: state.progress.parts.iter().filter_map(not_read).collect(),
            troubles: state.troubles.now().map(trouble).chain(stopped).collect(),
        }
    }

    /// What people call it.
    fn name(&self, about: About) -> String {
        match about {
            About::Kafka => "kafka".to_owned(),
            About::Database => "the database".to_owned(),
            About::Route(route) => format!("topic {}", self.routes[route].topic),
        }
    }

    /// The partitions that are being read, each with the offset below which everything was in the
    /// database when last heard of.
    pub(crate) fn held(&self) -> Vec<(Place, NextOffset)> {
        let state = self.lock();
        let parts = state.progress.parts.iter().filter(|part| part.reading);
        parts.filter_map(|part| Some((part.place, part.written?))).collect()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The poll thread is alive; every now and then it writes down its numbers.
    pub(crate) fn publish(
        &self,
        now: Duration,
        counts: Counts,
        progress: impl FnOnce() -> Progress,
    ) {
        let mut state = self.lock();
        state.beat = Some(self.started.elapsed());
        if state.phase == Phase::Starting {
            state.phase = Phase::Running;
        }
        if state.published.is_some_and(|published| now < published + PUBLISH_EVERY) {
            return;
        }
        state.published = Some(now);
        self.metrics.counted(&state.counts, &counts);
        state.counts = counts;
        let progress = progress();
        for (route, now) in progress.routes.iter().enumerate() {
            let before = state.progress.routes.get(route).copied().unwrap_or_default();
            let is_failing =
                state.troubles.of_route(route).is_some() || progress.stopped.contains_key(&route);
            self.metrics.route(&self.routes[route].topic, &before, now, is_failing);
        }
        self.metrics.in_group(state.in_group);
        state.progress = progress;
        self.metrics.held(&state.progress);
        let time_ms = unix_ms();
        let lag = |part: &PartProgress| {
            let (records, seconds) = (state.lag_records(part)?, state.lag_seconds(part, time_ms)?);
            let topic = &*self.routes[part.place.route].topic;
            Some((topic, part.place.partition.to_string(), records, seconds))
        };
        self.metrics.lag(state.progress.parts.iter().filter_map(lag));
        self.sample(&mut state);
    }

    /// The group has given this consumer its part, if only none.
    pub(crate) fn joined(&self) {
        self.lock().in_group = true;
    }

    /// The group has given this consumer's part to others; it is about to join again.
    pub(crate) fn left(&self) {
        self.lock().in_group = false;
    }

    /// It was asked to end.
    pub(crate) fn draining(&self) {
        self.lock().phase = Phase::Draining;
    }

    /// The consumer has ended.
    pub(crate) fn stopped(&self) {
        self.lock().phase = Phase::Stopped;
    }

    /// A batch of so many records of `route` is in the database, so long after it was taken.
    pub(crate) fn batch_written(&self, route: usize, records: u64, stats: &Stats, took: Duration) {
        self.metrics.batch_written(&self.routes[route].topic, records, stats, took);
        let mut state = self.lock();
        let written = &mut state.written[route];
        written.records += records;
        written.rows += (stats.rows + stats.singly) as u64;
        written.dead_letters += stats.dead_letters as u64;
        let transactions = &mut state.transactions;
        transactions.count += 1;
        transactions.total += stats.took;
        transactions.longest = transactions.longest.max(stats.took);
    }

    /// An attempt to write a batch of `route` failed, and will be made again.
    pub(crate) fn write_failed(&self, worker: u64, route: usize, failed: &Failed) {
        self.metrics.retried();
        let about = match failed {
            Failed::Connect(_)
            | Failed::Store(StoreError::Unavailable(_) | StoreError::Saturated(_)) => {
                About::Database
            }
            Failed::Store(StoreError::NotYet(_) | StoreError::Stop(_)) => About::Route(route),
            Failed::Log(_) => About::Kafka,
        };
        self.tell_failure(Teller::Worker(worker), about, Some(route), failed);
    }

    /// An attempt of `teller` failed.
    pub(crate) fn failed(&self, teller: Teller, about: About, error: &impl ToString) {
        self.tell_failure(teller, about, None, error);
    }

    fn tell_failure(
        &self,
        teller: Teller,
        about: About,
        route: Option<usize>,
        error: &impl ToString,
    ) {
        self.metrics.attempt_failed(match about {
            About::Kafka => "kafka",
            About::Database => "database",
            About::Route(_) => "route",
        });
        let (now, message) = (self.started.elapsed(), error.to_string());
        let said = self.lock().troubles.failed(now, teller, about, route, &message);
        self.say(said);
    }

    /// An attempt of `teller` succeeded, or is given up.
    pub(crate) fn answered(&self, teller: Teller) {
        let said = self.lock().troubles.answered(self.started.elapsed(), teller);
        self.say(said);
    }

    /// An outage is two lines in the log, its beginning and its end.
    fn say(&self, said: Vec<Say>) {
        for say in said {
            match say {
                Say::Began(about, error) => tracing::warn!(
                    what = %self.name(about), %error,
                    "trouble begins; trying again until it is over"
                ),
                Say::Ended(about, lasted, attempts) => tracing::info!(
                    what = %self.name(about), seconds = lasted.as_secs(), attempts,
                    "trouble is over"
                ),
            }
        }
    }

    /// The database answered whoever asks where partitions stand.
    pub(crate) fn database_answered(&self) {
        self.answered(Teller::Locator);
    }

    /// The database did not answer whoever asks where partitions stand.
    pub(crate) fn database_failed(&self, error: &impl ToString) {
        self.failed(Teller::Locator, About::Database, error);
    }

    /// Why these partitions are not located yet: all of those that can't be at the moment.
    pub(crate) fn not_located(&self, why: &BTreeMap<Place, String>) {
        self.lock().not_located.clone_from(why);
    }

    /// Kafka answered: whatever the poll thread heard of it is over.
    pub(crate) fn kafka_answered(&self) {
        self.answered(Teller::Poll);
    }

    /// The log of these partitions ends here.
    pub(crate) fn logs_end(&self, ends: BTreeMap<Place, NextOffset>) {
        if !ends.is_empty() {
            self.kafka_answered();
        }
        self.lock().ends = ends;
    }

    /// Partitions whose log's end is of interest.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.lock().progress.parts.iter().map(|part| part.place).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
