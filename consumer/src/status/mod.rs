//! What the world may know of a running consumer: numbers, and whether it is well.

pub mod metrics;
pub(crate) mod http;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use write_behind_shared::NextOffset;

use crate::apply::retry::Trouble;
use crate::pipeline::action::{Counts, PartProgress, Place, Progress};
use crate::status::metrics::Metrics;

/// How often the poll thread writes its numbers down.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
/// A poll thread silent for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// A running consumer's numbers and health. Shared by its threads.
#[derive(Debug)]
pub struct Status {
    metrics: Metrics,
    topics: Vec<Arc<str>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    counts: Counts,
    progress: Progress,
    published: Option<Duration>,
    /// When the poll thread last turned; `None`: it has not started yet.
    beat: Option<Instant>,
    joined: bool,
    not_located: BTreeMap<Place, String>,
    database: Option<String>,
    stopped: bool,
    ends: BTreeMap<Place, NextOffset>,
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
    pub(crate) fn new(metrics: Metrics, topics: Vec<Arc<str>>) -> Self {
        let state = State {
            counts: Counts::default(),
            progress: Progress::default(),
            published: None,
            beat: None,
            joined: false,
            not_located: BTreeMap::new(),
            database: None,
            stopped: false,
            ends: BTreeMap::new(),
        };
        Self { metrics, topics, state: Mutex::new(state) }
    }

    /// Its numbers now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        let lag = |part: &PartProgress| {
            let end = state.ends.get(&part.place)?;
            part.written.map(|written| written.distance_to(*end))
        };
        Snapshot {
            counts: state.counts,
            progress: state.progress.clone(),
            lag: state.progress.parts.iter().map(lag).sum(),
        }
    }

    /// Why the process should be replaced, if it should.
    pub fn sickness(&self) -> Option<&'static str> {
        let state = self.lock();
        let is_stuck = state.beat.is_some_and(|beat| beat.elapsed() > STUCK_AFTER);
        if !state.stopped && is_stuck {
            return Some("the poll thread is stuck");
        }
        state.stopped.then_some("the consumer has stopped")
    }

    /// Why it is not doing its work, if it is not.
    pub fn unreadiness(&self) -> Option<String> {
        if let Some(sickness) = self.sickness() {
            return Some(sickness.to_owned());
        }
        let state = self.lock();
        if let Some((route, why)) = state.progress.stopped.first_key_value() {
            return Some(format!("the route of topic {} is stopped: {why}", self.topics[*route]));
        }
        if let Some(error) = &state.database {
            return Some(error.clone());
        }
        if !state.joined {
            return Some("the consumer has not joined its group yet".to_owned());
        }
        let locating: Vec<Place> =
            state.progress.parts.iter().filter(|p| !p.reading).map(|p| p.place).collect();
        let why = locating.iter().find_map(|place| state.not_located.get(place));
        let why = why.map_or(String::new(), |why| format!(": {why}"));
        let count = locating.len();
        (count > 0).then(|| format!("{count} partitions are not located yet{why}"))
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
        state.beat = Some(Instant::now());
        if state.published.is_some_and(|published| now < published + PUBLISH_EVERY) {
            return;
        }
        state.published = Some(now);
        self.metrics.counted(&state.counts, &counts);
        state.counts = counts;
        state.progress = progress();
        self.metrics.held(&state.progress);
        let stopped = &state.progress.stopped;
        let topics = self.topics.iter().enumerate();
        self.metrics.routes(topics.map(|(at, topic)| (&**topic, !stopped.contains_key(&at))));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let lag = |part: &PartProgress| {
            let records = part.written?.distance_to(*state.ends.get(&part.place)?);
            let oldest = part.oldest.filter(|_| records > 0);
            let seconds = oldest.map_or(0.0, |oldest| (now - oldest as f64 / 1_000.0).max(0.0));
            let topic = &*self.topics[part.place.route];
            Some((topic, part.place.partition.to_string(), records, seconds))
        };
        self.metrics.lag(state.progress.parts.iter().filter_map(lag));
    }

    /// The group has given this consumer its part, if only none.
    pub(crate) fn joined(&self) {
        self.lock().joined = true;
    }

    /// The group has given this consumer's part to others; it is about to join again.
    pub(crate) fn left(&self) {
        self.lock().joined = false;
    }

    /// Why these partitions are not located yet: all of those that can't be at the moment.
    pub(crate) fn not_located(&self, why: &BTreeMap<Place, String>) {
        self.lock().not_located.clone_from(why);
    }

    /// The database answered.
    pub(crate) fn database_answered(&self) {
        self.lock().database = None;
    }

    /// The database did not answer.
    pub(crate) fn database_failed(&self, error: &impl ToString) {
        self.lock().database = Some(error.to_string());
    }

    /// An attempt to write failed.
    pub(crate) fn failed(&self, trouble: &Trouble) {
        self.metrics.retried();
        self.database_failed(trouble);
    }

    /// The log of these partitions ends here.
    pub(crate) fn logs_end(&self, ends: BTreeMap<Place, NextOffset>) {
        self.lock().ends = ends;
    }

    /// Partitions whose log's end is of interest.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.lock().progress.parts.iter().map(|part| part.place).collect()
    }

    /// The consumer has ended.
    pub(crate) fn stopped(&self) {
        self.lock().stopped = true;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    #[test]
    fn a_consumer_that_waits_to_start_is_well_and_not_ready() {
        let metrics = Metrics::new(&Registry::new(), "scores").unwrap();
        let status = Status::new(metrics, vec![Arc::from("scores")]);
        let long_ago = Instant::now().checked_sub(STUCK_AFTER * 2);
        assert_eq!(status.sickness(), None);
        assert!(status.unreadiness().is_some_and(|why| why.contains("not joined")));
        // Once the poll thread has turned, its silence counts.
        status.lock().beat = long_ago;
        assert_eq!(status.sickness(), long_ago.map(|_| "the poll thread is stuck"));
    }
}
