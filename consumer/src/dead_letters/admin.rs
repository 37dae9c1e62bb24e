//! An operator's work on dead letters: listing, counting, discarding and replaying those that a
//! filter fits, a page at a time.

use std::sync::Arc;
use std::time::Duration;

use crate::apply::Target;
use crate::clock::MonotonicClock;
use crate::config::Config;
use crate::core::dead_letters::{DeadLetterState, Filter, StoredDeadLetter, Tally};
use crate::dead_letters::fate::Fate;
use crate::dead_letters::replay::{ReplayError, ReplayOptions, Replayer};
use crate::kafka::broker::KafkaBroker;
use crate::kafka::client::BrokerError;
use crate::kafka::questions::Questions as _;
use crate::kafka::reread::{KafkaLog, RereadLimits};
use crate::store::{AnyStore, Store as _, StoreError, Timeouts, letters};

/// How many letters are held at a time.
const PAGE: u32 = 200;
/// The log is also read while a partition's lock is held. Waiting for its silence longer than the
/// consumer waits for that lock would make the consumer's transactions fail.
const LIMITS: RereadLimits =
    RereadLimits { silence: Duration::from_secs(5), ..RereadLimits::STANDARD };

/// A connection to the database of one pipeline, for its dead letters.
#[derive(Debug)]
pub struct Admin<'a> {
    config: &'a Config,
    store: AnyStore,
}

/// Why an operator's command failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Kafka.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A Kafka client could not be made.
    #[error("Kafka: {0}")]
    Client(String),
    /// Replaying.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Letters of a topic that no route reads.
    #[error("no route reads {0:?}, so it is not known which table its letters belong to")]
    NoRoute(String),
}

impl AdminError {
    /// Whether a safety check refuses it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            AdminError::Store(StoreError::Refused(_))
                | AdminError::Replay(ReplayError::Store(StoreError::Refused(_)))
        )
    }
}

impl<'a> Admin<'a> {
    /// Connects to the database.
    ///
    /// # Errors
    /// [`AdminError`]; also where the bookkeeping tables are not there, or not this version's.
    pub async fn open(config: &'a Config) -> Result<Self, AdminError> {
        let mut store = config.database.target.connect(&Timeouts::STANDARD).await?;
        store.bookkeeping().await?.usable()?;
        Ok(Self { config, store })
    }

    /// Counts the letters that fit, by topic and state.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tally(&mut self, filter: &Filter) -> Result<Vec<Tally>, StoreError> {
        letters::tally(&mut self.store, &self.config.name, filter).await
    }

    /// Calls `take` with the first `limit` letters that fit, in the order of their places.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(
        &mut self,
        filter: &Filter,
        limit: u64,
        mut take: impl FnMut(StoredDeadLetter),
    ) -> Result<(), StoreError> {
        let mut pages = Pages::new(filter, limit);
        while let Some(page) = pages.next(&mut self.store, &self.config.name).await? {
            page.into_iter().for_each(&mut take);
        }
        Ok(())
    }

    /// Discards the first `limit` open letters that fit, and returns how many.
    ///
    /// # Errors
    /// [`StoreError`]. Some letters may have been discarded.
    pub async fn discard(&mut self, filter: &Filter, limit: u64) -> Result<u64, StoreError> {
        let filter = Filter { state: Some(DeadLetterState::Open), ..filter.clone() };
        let mut pages = Pages::new(&filter, limit);
        let mut discarded = 0;
        while let Some(page) = pages.next(&mut self.store, &self.config.name).await? {
            discarded += letters::discard(&mut self.store, &page).await?;
        }
        Ok(discarded)
    }

    /// Replays the first `limit` open letters that fit, in log order, and calls `tell` with each
    /// one's fate.
    ///
    /// # Errors
    /// [`AdminError`]. Replaying the same letters again is safe.
    pub async fn replay(
        &mut self,
        filter: &Filter,
        limit: u64,
        options: ReplayOptions,
        mut tell: impl FnMut(&StoredDeadLetter, &Fate),
    ) -> Result<(), AdminError> {
        let client = |error: &dyn ToString| AdminError::Client(error.to_string());
        let broker = KafkaBroker::new(&self.config.kafka, &self.config.name);
        let broker = broker.map_err(|error| client(&error))?;
        let cluster = broker.cluster_id().await?;
        let log = Arc::new(KafkaLog::new(&self.config.kafka, &self.config.name, LIMITS));
        let filter = Filter {
            cluster: Some(cluster.clone()),
            state: Some(DeadLetterState::Open),
            ..filter.clone()
        };
        let mut pages = Pages::new(&filter, limit);
        while let Some(page) = pages.next(&mut self.store, &self.config.name).await? {
            let of_partition = |a: &StoredDeadLetter, b: &StoredDeadLetter| {
                a.scope.topic == b.scope.topic && a.partition() == b.partition()
            };
            for letters in page.chunk_by(of_partition) {
                let topic = &letters[0].scope.topic;
                let route = self.config.routes.iter().find(|route| route.topic == *topic);
                let route = route.ok_or_else(|| AdminError::NoRoute(topic.clone()))?;
                let replayer = Replayer {
                    connect: (self.config.database.target.clone(), Timeouts::STANDARD),
                    clock: MonotonicClock::start(),
                    target: Target::of(self.config, route, &cluster, 0),
                    log: Arc::clone(&log),
                    options,
                };
                replayer.replay(letters, &mut tell).await?;
            }
        }
        Ok(())
    }
}

/// The letters that fit a filter, page by page.
struct Pages<'f> {
    filter: &'f Filter,
    left: u64,
    after: Option<StoredDeadLetter>,
}

impl<'f> Pages<'f> {
    fn new(filter: &'f Filter, limit: u64) -> Self {
        Self { filter, left: limit, after: None }
    }

    async fn next(
        &mut self,
        store: &mut AnyStore,
        pipeline: &str,
    ) -> Result<Option<Vec<StoredDeadLetter>>, StoreError> {
        let size = u32::try_from(self.left).unwrap_or(PAGE).min(PAGE);
        if size == 0 {
            return Ok(None);
        }
        let after = self.after.as_ref();
        let page = letters::find(store, pipeline, self.filter, after, size).await?;
        self.left -= page.len() as u64;
        self.after = page.last().cloned();
        Ok((!page.is_empty()).then_some(page))
    }
}
