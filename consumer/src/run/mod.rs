//! A running consumer: its poll thread, its workers and its other tasks, from start to end.
//!
//! It runs inside the caller's tokio runtime and keeps no global state, so one process can run
//! several. Dropping its future ends it at once, like a crash: nothing is lost.

#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod workers;
#[cfg(not(feature = "internals"))]
mod workers;
mod polling;
mod introduction;
mod page;
mod beside;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::apply::claim::claim;
use crate::apply::{Connections, Target};
use crate::check::refuse_compaction;
use crate::clock::MonotonicClock;
use crate::config::{Config, Route};
use crate::core::pipeline::placement::Placement;
use crate::dead_letters::maintenance::Maintenance;
use crate::kafka::bell::Bell;
use crate::kafka::broker::KafkaBroker;
use crate::kafka::client::BrokerError;
use crate::kafka::locator::{LocateQueue, Locator};
use crate::kafka::messages::{PollExit, PollMessage};
use crate::kafka::properties;
use crate::kafka::questions::Questions as _;
use crate::kafka::reread::{KafkaLog, RereadLimits};
use crate::kafka::skip_looks::{SkipLooks, SkipQueue};
use crate::kafka::source::Ends;
use crate::kafka::watch::Watch;
use crate::run::polling::start_polling;
use crate::run::workers::Workers;
use crate::status::Status;
use crate::status::metrics::Metrics;
use crate::status::outage::{Reporter, Subject};
use crate::store::{Store, StoreError, Timeouts};

pub use crate::store::QUIET_LOG;

/// How long closing the Kafka client may take. It only says goodbye to the group; nothing depends
/// on that.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How many workers there are for each connection: one writes while another prepares the next batch.
const WORKERS: usize = 2;
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How long the start waits for the topics' settings.
const SETTINGS_WITHIN: Duration = Duration::from_secs(1);

/// Options that are not in the configuration.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Where metrics are registered.
    pub registry: Registry,
    /// Whether a database that does not know a partition counts as holding what the group has
    /// committed.
    pub adopt_offsets: bool,
    /// Whether missing bookkeeping tables are created.
    pub init: bool,
}

impl Default for RunOptions {
    /// A registry of its own, no adopted offsets, missing bookkeeping tables created.
    fn default() -> Self {
        Self { registry: Registry::new(), adopt_offsets: false, init: true }
    }
}

/// Why a consumer ended unasked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// A safety check failed.
    #[error("{0}")]
    Refused(String),
    /// It can't continue.
    #[error("{0}")]
    Failed(String),
}

/// How a consumer ended as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Whether everything read was written; if not, the rest is read again after the next start.
    pub clean: bool,
}

/// A consumer, ready to run.
#[derive(Debug)]
pub struct Consumer {
    config: Config,
    options: RunOptions,
    status: Arc<Status>,
}

/// Runs a consumer until `shutdown` is ready, then drains it.
pub async fn run(
    config: Config,
    options: RunOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, RunError> {
    Consumer::new(config, options)?.run(shutdown).await
}

/// What every stage needs once the preparation is done.
struct Prepared {
    broker: KafkaBroker,
    targets: Arc<[Target]>,
    /// The routes whose tables are not usable yet.
    unclaimed: BTreeSet<usize>,
    /// Why a topic is refused for its settings, if a broker says so later.
    compaction: Option<JoinHandle<Option<String>>>,
}

impl Consumer {
    /// Creates a consumer and registers its metrics.
    pub fn new(config: Config, options: RunOptions) -> Result<Self, RunError> {
        properties::check(&config.kafka).map_err(failed)?;
        properties::fit_together(&config.kafka).map_err(failed)?;
        let metrics = Metrics::new(&options.registry, &config.name).map_err(failed)?;
        let status = Arc::new(Status::new(metrics, &config));
        Ok(Self { config, options, status })
    }

    /// Its metrics and health, also while it runs.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Runs until `shutdown` is ready, then drains.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Drained, RunError> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut tasks = JoinSet::new();
        let page = self.listen(&mut tasks).await?;
        tracing::info!("{}", introduction::first_line(&self.config, page));
        self.status.start_traces(&self.config).map_err(RunError::Failed)?;
        let prepared = tokio::select! {
            biased;
            () = &mut shutdown => return Ok(Drained { clean: true }),
            prepared = self.prepare() => prepared?,
        };
        let workers = self.config.database.connections * WORKERS;
        let (orders, inbox) = mpsc::channel(workers + 8);
        let (end_workers, shutdown_of_workers) = watch::channel(false);
        let bell = Arc::new(Bell::default());
        let partitions = prepared.targets.iter().map(|target| target.partitions as usize).sum();
        let answers = (&orders, Arc::clone(&bell));
        let ends = self.start(prepared, answers, inbox, shutdown_of_workers, &mut tasks)?;
        let (mut exit, closed) =
            start_polling(&self.config, partitions, ends, &bell).map_err(failed)?;
        let mut draining = false;
        let exit = loop {
            tokio::select! {
                biased;
                exit = &mut exit => break exit.map_err(failed)?,
                () = &mut shutdown, if !draining => {
                    draining = true;
                    self.status.draining();
                    tracing::info!(
                        rows = self.status.held_rows(),
                        at_most_seconds = self.config.batch.drain_time.as_secs(),
                        "draining: what is held is written; a second signal ends it at once"
                    );
                    order(&orders, PollMessage::Drain).await;
                    bell.ring();
                }
                Some(ended) = tasks.join_next() => {
                    let why = ended.unwrap_or_else(|error| error.to_string());
                    order(&orders, PollMessage::End(PollExit::Failed(why))).await;
                }
            }
        };
        self.status.stopped();
        let _ = end_workers.send(true);
        self.status.end_traces().await;
        if tokio::time::timeout(CLOSE_WITHIN, closed).await.is_err() {
            tracing::warn!("closing the Kafka client takes too long; leaving it");
        }
        match exit {
            PollExit::Drained { clean } => Ok(Drained { clean }),
            PollExit::Refused(why) => Err(RunError::Refused(why)),
            PollExit::Failed(why) => Err(RunError::Failed(why)),
        }
    }

    /// Starts the tasks, and returns the poll thread's connections to them.
    fn start(
        &self,
        prepared: Prepared,
        (answers, bell): (&mpsc::Sender<PollMessage>, Arc<Bell>),
        inbox: mpsc::Receiver<PollMessage>,
        shutdown: watch::Receiver<bool>,
        tasks: &mut JoinSet<String>,
    ) -> Result<Ends, RunError> {
        let Prepared { broker, targets, unclaimed, compaction } = prepared;
        let placements = placements(&self.config, &targets);
        let workers = Workers {
            connect: (self.config.database.target.clone(), Timeouts::STANDARD),
            log: Arc::new(KafkaLog::new(
                &self.config.kafka,
                &self.config.name,
                RereadLimits::of(self.config.memory, self.config.database.connections),
            )),
            broker: broker.clone(),
            targets: Arc::clone(&targets),
            clock: MonotonicClock::start(),
            seed: u64::from(std::process::id()),
            status: self.status(),
            answers: answers.clone(),
            bell,
            connections: Arc::new(Connections::new(self.config.database.connections)),
            shutdown,
        };
        let workers = workers.start(self.config.database.connections * WORKERS, tasks);
        let wanted = Arc::new(LocateQueue::default());
        let locator = Locator {
            targets: Arc::clone(&targets),
            connect: (self.config.database.target.clone(), Timeouts::STANDARD),
            broker: broker.clone(),
            clock: MonotonicClock::start(),
            adopt_offsets: self.options.adopt_offsets,
            wanted: Arc::clone(&wanted),
            unclaimed,
            status: self.status(),
            answers: answers.clone(),
        };
        let skips = Arc::new(SkipQueue::default());
        let (broker_of_looks, wanted_looks) = (broker.clone(), Arc::clone(&skips));
        let clock = MonotonicClock::start();
        let looks =
            SkipLooks::new(&self.config, broker_of_looks, clock, wanted_looks, answers.clone());
        tasks.spawn(ending("the look at skipped offsets", looks.run()));
        let maintenance = Maintenance::new(
            &self.config,
            (self.config.database.target.clone(), Timeouts::STANDARD),
            MonotonicClock::start(),
            Arc::clone(&targets),
            self.status(),
        );
        let maintenance = maintenance.map_err(failed)?;
        tasks.spawn(ending("the maintenance of dead letters", maintenance.run()));
        tasks.spawn(ending("the locator", locator.run()));
        let watch = Watch {
            broker,
            clock: MonotonicClock::start(),
            targets,
            patience: self.config.patience,
            servers: self.config.kafka.get("bootstrap.servers").unwrap_or("Kafka").to_owned(),
            status: self.status(),
            answers: answers.clone(),
        };
        tasks.spawn(ending("the watch over the partitions", watch.run()));
        if let Some(compaction) = compaction {
            tokio::spawn(refuse_later(compaction, answers.clone()));
        }
        Ok(Ends { workers, inbox, wanted, skips, placements, status: self.status() })
    }

    /// Waits for Kafka and the database, and collects what does not change during the run.
    async fn prepare(&self) -> Result<Prepared, RunError> {
        let broker = KafkaBroker::new(&self.config.kafka, &self.config.name).map_err(failed)?;
        let passes = |error: BrokerError| match error {
            BrokerError::Unreachable(_) | BrokerError::NoLeader(..) => {
                self.status.failed(Reporter::Start, Subject::Kafka, &error);
                Ok(())
            }
            BrokerError::NoTopic(_) | BrokerError::MembersUnknown(_) => Err(failed(error)),
        };
        let cluster = patiently(|| broker.cluster_id(), passes).await?;
        let mut partitions = Vec::new();
        for route in &self.config.routes {
            partitions.push(patiently(|| broker.partitions(&route.topic), passes).await?);
        }
        self.status.answered(Reporter::Start);
        let target = |(route, partitions): (&Route, i32)| {
            Target::of(&self.config, route, &cluster, partitions)
        };
        let targets: Arc<[Target]> =
            self.config.routes.iter().zip(partitions).map(target).collect();
        let judge = |error: StoreError| match error {
            StoreError::Stop(why) => Err(RunError::Failed(why)),
            StoreError::Refused(why) => Err(RunError::Refused(why)),
            passing => {
                self.status.failed(Reporter::Start, Subject::Database, &passing);
                Ok(())
            }
        };
        let compaction = tokio::spawn(refuse_compaction(self.config.clone()));
        // Before a table is claimed. A broker that never answers this must not hold up the start.
        let compaction = match beside::within(SETTINGS_WITHIN, compaction).await {
            Ok(Some(why)) => return Err(RunError::Refused(why)),
            Ok(None) => None,
            Err(goes_on) => Some(goes_on),
        };
        let unclaimed = patiently(|| self.look_at(&targets), judge).await?;
        self.status.answered(Reporter::Start);
        let partitions: Vec<i32> = targets.iter().map(|target| target.partitions).collect();
        self.status.topics_have(&partitions);
        tracing::info!("{}", introduction::ready_line(&self.config, &partitions));
        Ok(Prepared { broker, targets, unclaimed, compaction })
    }

    /// Finds out at the start, not at the first record, that a table is missing, has an unusable
    /// key or belongs to another pipeline. Returns the routes whose tables are not usable yet.
    async fn look_at(&self, targets: &[Target]) -> Result<BTreeSet<usize>, StoreError> {
        let database = &self.config.database.target;
        let mut store = database.connect(&Timeouts::STANDARD).await?;
        if let Some(why) = database.pooling(&mut store, &Timeouts::STANDARD).await? {
            return Err(StoreError::Refused(why));
        }
        if self.options.init {
            store.init().await?;
        }
        store.bookkeeping().await?.usable()?;
        let mut unclaimed = BTreeMap::new();
        for (route, target) in targets.iter().enumerate() {
            match claim(&mut store, target).await {
                Ok(table) => target.warn(&table),
                Err(StoreError::Stop(why)) => {
                    unclaimed.insert(route, why);
                }
                Err(passing) => return Err(passing),
            }
        }
        // One unusable table at the start must not hold up the other routes.
        if unclaimed.len() < targets.len() {
            return Ok(unclaimed.into_keys().collect());
        }
        let first = unclaimed.into_values().next();
        Err(StoreError::Stop(first.unwrap_or_else(|| "there are no routes".to_owned())))
    }
}

async fn order(orders: &mpsc::Sender<PollMessage>, input: PollMessage) {
    if orders.send(input).await.is_err() {
        tracing::debug!("the poll thread has ended already");
    }
}

/// Runs a task that should never end, and then says that it did.
async fn ending(what: &'static str, task: impl Future<Output = ()>) -> String {
    task.await;
    format!("{what} has ended")
}

/// Ends the run if a topic is refused after it has begun.
async fn refuse_later(refusal: JoinHandle<Option<String>>, orders: mpsc::Sender<PollMessage>) {
    if let Ok(Some(why)) = refusal.await {
        order(&orders, PollMessage::End(PollExit::Refused(why))).await;
    }
}

/// Where the keys of each route's topic belong.
fn placements(config: &Config, targets: &[Target]) -> Vec<Placement> {
    let placement = |(route, target): (&Route, &Target)| Placement {
        partitions: target.partitions,
        on_wrong: route.on_wrong_partition,
    };
    config.routes.iter().zip(targets).map(placement).collect()
}

/// Asks until there is an answer, or an error that `judge` calls permanent.
async fn patiently<T, E, F: Future<Output = Result<T, E>>>(
    mut ask: impl FnMut() -> F,
    judge: impl Fn(E) -> Result<(), RunError>,
) -> Result<T, RunError> {
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => judge(error)?,
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn failed(error: impl ToString) -> RunError {
    RunError::Failed(error.to_string())
}
